//! What became of the events that were handed over.

use std::time::Duration;

use tracemq_model::{Gap, GapCause, TimeMs};

/// What became of the events that were handed over, at one moment.
///
/// `recorded + lost.total() + queued` is what was handed over, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecorderCounts {
    /// Events that are durable in the store.
    pub recorded: u64,
    /// Events that are not and never will be.
    pub lost: LostCounts,
    /// Events that wait or are being written.
    pub queued: u64,
    /// Batches of events that the store took.
    pub batches: u64,
    /// What the store said when it last failed, with all its causes; none if it never did.
    pub last_error: Option<String>,
    /// Whether the store did not take what it was last given: events pile up, or are being lost.
    pub failing: bool,
    /// For how long the oldest of the queued has been waiting, at least; 0 when none is.
    pub lag: Duration,
}

/// Lost events by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostCounts {
    /// See [`GapCause::QueueFull`].
    pub queue_full: u64,
    /// See [`GapCause::StoreFailed`].
    pub store_failed: u64,
    /// See [`GapCause::NotRunning`]: handed over after the recorder was told to stop.
    pub not_running: u64,
}

impl LostCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.queue_full + self.store_failed + self.not_running
    }

    /// Those lost by `cause`; 0 for a cause that is none of the recorder's.
    pub fn by(self, cause: GapCause) -> u64 {
        match cause {
            GapCause::QueueFull => self.queue_full,
            GapCause::StoreFailed => self.store_failed,
            GapCause::NotRunning => self.not_running,
            GapCause::Damaged => 0,
        }
    }

    pub(crate) fn add(&mut self, cause: GapCause, lost: u64) {
        match cause {
            GapCause::QueueFull => self.queue_full += lost,
            GapCause::StoreFailed => self.store_failed += lost,
            GapCause::NotRunning => self.not_running += lost,
            GapCause::Damaged => {}
        }
    }
}

/// Losses that the store does not know of yet: one span for each cause.
#[derive(Debug, Default)]
pub(crate) struct PendingGaps(Vec<Gap>);

impl PendingGaps {
    /// One more event is lost.
    pub(crate) fn note(&mut self, cause: GapCause, time: TimeMs) {
        self.merge(Gap { from: time, to: time, lost: Some(1), cause });
    }

    /// Puts gaps back that could not be written.
    pub(crate) fn put_back(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            self.merge(gap);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn as_slice(&self) -> &[Gap] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn merge(&mut self, gap: Gap) {
        match self.0.iter_mut().find(|known| known.cause == gap.cause) {
            Some(known) => {
                known.from = known.from.min(gap.from);
                known.to = known.to.max(gap.to);
                known.lost = known.lost.zip(gap.lost).map(|(a, b)| a.saturating_add(b));
            }
            None => self.0.push(gap),
        }
    }
}
