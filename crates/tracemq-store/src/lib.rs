//! The seam between recording and reading: the [`EventStore`] trait, its errors, the in-memory store, and the
//! contract suite that every store must pass.
//!
//! Calls may block on a disk or a network. The recorder calls from a thread of its own; whoever serves requests calls
//! from a thread that may block.

mod beginnings;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod memory;
mod paging;

pub use beginnings::Beginnings;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use paging::{check, gaps_overlapping, window};

use tracemq_model::{Event, Gap, TimeMs, TimeRange, TracePage, TraceQuery};

/// What a recorder hands over at once: durable together, visible together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order of arrival.
    pub events: Vec<Event>,
    /// Spans for which the record is incomplete.
    pub gaps: Vec<Gap>,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Events that can be asked for.
    pub events: u64,
    /// Subjects (clients and addresses) that have events.
    pub subjects: u64,
    /// Bytes on disk; 0 where there is no disk.
    pub bytes: u64,
}

/// Keeps events and answers questions about them.
///
/// What every store promises is written as tests in the module `contract` (feature `contract`).
pub trait EventStore: Send + Sync + 'static {
    /// Takes a batch. On `Ok` all of it is durable and visible to the next query; on `Err` none of it is visible,
    /// now or after a restart, unless the error says otherwise.
    ///
    /// # Errors
    /// See [`StoreError`]; after [`StoreError::Poisoned`] no batch is taken until the store is opened anew.
    fn append(&self, batch: &Batch) -> Result<(), StoreError>;

    /// A page of one subject's events, with the exact number of all that match and the gaps in the range.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] when `limit` is above [`TraceQuery::LIMIT_MAX`]; [`StoreError::Io`] or
    /// [`StoreError::Damaged`] when a part that the answer needs can't be read: never a page with rows left out.
    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError>;

    /// The gaps that overlap `range`, oldest first, at most [`GAPS_MAX`] (the newest of them).
    ///
    /// # Errors
    /// When they can't be read.
    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError>;

    /// The beginnings (open or connect events; the later of the two) of connections without an end, as found when the
    /// store was opened. A recorder closes them at start; see [`tracemq_model::close_orphan`].
    ///
    /// # Errors
    /// When they can't be read.
    fn orphans(&self) -> Result<Vec<Event>, StoreError>;

    /// Notes that the recorder runs at `now`. Called about once a second; need not survive power loss.
    ///
    /// # Errors
    /// When it can't be noted.
    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError>;

    /// The last moment at which a recorder is known to have run before this store was opened; none for a new store.
    fn last_alive(&self) -> Option<TimeMs>;

    /// How much it holds.
    fn stats(&self) -> StoreStats;
}

/// The most gaps in one answer.
pub const GAPS_MAX: usize = 1_000;
