//! The seam between recording and reading: the [`EventStore`] trait, its errors, the in-memory store, and the
//! contract suite that every store must pass.
//!
//! Calls may block on a disk or a network. The recorder calls from a thread of its own; whoever serves requests calls
//! from a thread that may block.

mod beginnings;
mod by_message;
#[cfg(feature = "contract")]
pub mod contract;
mod counting;
mod error;
mod memory;
mod paging;
mod sessions;

pub use beginnings::Beginnings;
pub use by_message::ByMessage;
pub use counting::{CountsBuilder, TallyBuilder, bucket_of};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use paging::{check, check_limit, gaps_overlapping, window};

use std::ops::ControlFlow;

use tracemq_model::{
    Counts, CurrentState, Event, Filter, Gap, InstanceId, Order, Pattern, SessionPage, Subject, SubjectPage, Tally,
    TimeMs, TimeRange, TracePage, TraceQuery,
};

/// Takes events one after the other; `Break` ends the scan.
pub type Visit<'a> = dyn FnMut(&Event) -> ControlFlow<()> + 'a;

/// Takes tallies one after the other; `Break` ends the walk.
pub type VisitTally<'a> = dyn FnMut(&Tally) -> ControlFlow<()> + 'a;

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
    /// Events on record. Erased ones may count until their bytes are gone.
    pub events: u64,
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
    /// What stands in a damaged part is left out, here and in every other answer, and a gap with cause
    /// [`Damaged`](tracemq_model::GapCause::Damaged) that covers it says so. Rows that are known to be there keep their place
    /// in `total` and in the paging.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] when `limit` is above [`TraceQuery::LIMIT_MAX`]; [`StoreError::Io`] when the
    /// operating system refuses to read.
    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError>;

    /// The same page, if it can be had without waiting for a disk; none otherwise. For callers whose thread others need.
    ///
    /// # Errors
    /// As [`EventStore::page`].
    fn page_at_once(&self, _query: &TraceQuery) -> Result<Option<TracePage>, StoreError> {
        Ok(None)
    }

    /// Sessions of one subject: its events, put together by connection. A session is listed where its first event by
    /// (time, arrival) is, if that is in the range; its other parts may lie behind the range. They are looked for among the
    /// [`SESSION_REACH`] events of the subject behind that first one, and an event is a first one when none of the
    /// [`SESSION_REACH`] events before it is of the same connection.
    ///
    /// `offset` counts events of the range to pass over in the order asked for, `limit` counts sessions. Going on at
    /// [`SessionPage::next_offset`] until there is none shows each session once, as long as no event arrives in what was
    /// passed over. One call looks at a bounded number of events, so that an answer may be shorter than `limit`.
    ///
    /// # Errors
    /// As [`EventStore::page`].
    fn sessions(&self, query: &TraceQuery) -> Result<SessionPage, StoreError> {
        sessions::sessions(self, query)
    }

    /// What is known of a subject now, from its newest [`SESSION_REACH`] events; none without any.
    ///
    /// # Errors
    /// As [`EventStore::page`].
    fn current_state(&self, instance: &InstanceId, subject: &Subject) -> Result<Option<CurrentState>, StoreError> {
        sessions::current_state(self, instance, subject)
    }

    /// Shows `visit` the events that `filter` asks for, by time; those of the same millisecond by [`Subject`] (events that no
    /// subject leads to come first), then by arrival; all exactly reversed in [`Order::NewestFirst`]. Sees the store as it
    /// was when the call began, keeps no more than a bounded number of events at a time, and never holds up an append: `visit`
    /// may take its time, and may ask the store. Gives the gaps in the range.
    ///
    /// # Errors
    /// As [`EventStore::page`].
    fn scan(&self, filter: &Filter, order: Order, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError>;

    /// How many of the events that `filter` asks for fall into each bucket of `bucket_ms` milliseconds; see [`bucket_of`].
    /// Events that no subject leads to count as well.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] when `bucket_ms` is 0, or when the answer would hold more than [`COUNTS_MAX`] counts;
    /// else as [`EventStore::page`].
    fn counts(&self, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError>;

    /// Shows `visit` each subject that has events that `filter` asks for, in the order of [`Subject`], with what it has.
    /// The newest of events of the same millisecond is the one that arrived last. Gives the gaps in the range.
    ///
    /// # Errors
    /// As [`EventStore::page`].
    fn tally(&self, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError>;

    /// The subjects of `instance` that have events and match `pattern`, in the order of [`Subject`], at most `limit` of them,
    /// from behind `after` on, which need not be one of them.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] when `limit` is above [`TraceQuery::LIMIT_MAX`]; else as [`EventStore::page`].
    fn subjects(
        &self,
        instance: &InstanceId,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<SubjectPage, StoreError>;

    /// Hides all that is on record for `subject` up to now from every answer, durably, and has the bytes removed from disk
    /// when its files are next rewritten. What arrives later is kept. Gives the number of events that were hidden.
    ///
    /// A hidden beginning is no orphan; a hidden end still ends a connection that began under another subject.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError>;

    /// The gaps that overlap `range`, oldest first, at most [`GAPS_MAX`]: of more the oldest are told as one that covers them, here and
    /// in every other answer.
    ///
    /// # Errors
    /// When they can't be read.
    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError>;

    /// Shows `visit` the beginnings (open or connect events; the later of the two) of connections without an end, as found
    /// when the store was opened, in any order. A recorder closes them at start; see [`tracemq_model::close_orphan`]. Up to the
    /// first [`EventStore::mark_alive`] they can be asked for any number of times, later there may be none left. Keeps no more
    /// than a bounded number of events at a time, and `visit` may append.
    ///
    /// # Errors
    /// When they can't be read.
    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError>;

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

/// The most counts in one answer.
pub const COUNTS_MAX: usize = 100_000;

/// Among how many of a subject's events behind a session's first one its other parts are looked for.
pub const SESSION_REACH: usize = TraceQuery::LIMIT_MAX;
