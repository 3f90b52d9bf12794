//! A block of rows: up to [`ROWS`] of them, column after column, so that one read brings all that a page needs.
//!
//! ```text
//! block        rows u16 | time | kind | connection | peer | cells
//! time         a signed column (see `bits`)
//! kind         count u16 | the distinct kinds u16 ... | a column of their places
//! connection   references | mode u8 | the new ids
//!   mode 0     16 bytes an id
//!   mode 1     nodes u8 | the distinct nodes u32 ... | their places | delays | counters
//!   delays     of each new id the time of its row less its own: how many stand beside the column varint
//!              | place varint (ascending), delay zigzag ... | the column, signed
//! peer         mode u8: 0 no row has one; 1 like the connection's references; 2 references follow
//!              | of each new peer the family (0 none, 4, 6) | of each with an address: references to the addresses,
//!              the new v4 addresses, the new v6 addresses [16] ..., the ports
//! cells        count u8 | of each column: number u8 | presence u8: 0 all rows; 1 a bitmap follows; 2 + n that of this
//!              block's column n | the bitmap | the values of the rows that have one
//! references   a column: 0 for a new thing, else how many rows before it the same stands
//! ```
//!
//! A reference never leaves its block. The ids of mode 1 are those that `tracemq_model::ConnectionIds` makes.

mod connections;
mod decode;
mod encode;
mod peers;
mod rare;
mod references;

pub(crate) use decode::{Block, Scan};
pub(super) use encode::BlockEncoder;

/// Rows of every block but the last, so that the block of a row is a division.
pub(crate) const ROWS: usize = 512;
