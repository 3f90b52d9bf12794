//! The embedded store: an append-only log on disk, its index in memory.
//!
//! A batch is one record, written at once and synced once; a record that a crash cut off is cut away at the next start,
//! so that a batch is there as a whole or not at all. The index (which event of which client stands where) is rebuilt
//! by reading the log through at start. A page is two binary searches and at most as many reads as it has rows; the
//! exact total falls out of the searches.
//!
//! What it is not: small. All that an answer needs of an event's place is held in memory, so that the log is bounded
//! in bytes ([`JournalSettings::total_bytes_max`]) and the oldest history goes first.
//!
//! Made for Linux and other Unix systems: positioned reads, and folders that can be synced.

mod format;
mod fs;
mod index;
mod journal;
mod lock;
mod log;
mod recovery;
mod settings;

pub use journal::Journal;
pub use recovery::{Damage, Recovery};
pub use settings::JournalSettings;
