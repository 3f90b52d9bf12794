//! A segment: events sorted by key, time and arrival, in one file that is written front to back and never changed.
//!
//! All numbers are little-endian or varints (LEB128). Version 1:
//!
//! ```text
//! header       magic "TMQSEGM\n" | version u32 | store id [16] | segment number u64 | checksum
//! blocks       in the order in which they fill: blocks of rows, of the directory, of texts; each with its checksum
//! minutes      how many events of each kind each minute has, by instance
//! row index    of each block of rows: gap before it, length, earliest time less the previous block's (zigzag),
//!              latest time less the earliest
//! directory index   of each block: gap before it, length, rows, the separator (see `directory`)
//! text index   of each block: gap before it, length, texts
//! instances    of each: length of the name, name, rows, earliest time (zigzag), latest less earliest, bytes about
//! footer       see `footer`
//! tail         length of the footer u32 | its checksum | magic "TMQSEGE\n"
//! ```
//!
//! Every piece but the tail ends in a crc32 that also covers the store's id, the segment's number, what kind of piece it
//! is and where it stands, so that bytes which are valid elsewhere (another store's, another segment's, another
//! block's) are not valid here. The footer is written last: half a file is never a segment.
//!
//! A reader holds the indexes in memory and reads all else by position, each piece with one read; it trusts no length
//! or number that it has not held against a bound.

mod affected;
mod ahead;
mod bits;
mod block;
mod checksum;
mod cursor;
mod directory;
mod footer;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod index;
mod meta;
mod minutes;
mod output;
mod places;
mod reader;
mod search;
mod source;
mod texts;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use block::{Block, ROWS, Scan};
pub(crate) use checksum::SegmentId;
pub(crate) use cursor::{KeyCursor, RowCursor};
pub(crate) use meta::{InstanceTotal, SegmentMeta};
pub(crate) use places::Unread;
pub(crate) use reader::{Lookup, Segment};
pub(crate) use search::Sought;
pub(crate) use texts::Translation;
pub(crate) use writer::SegmentWriter;
