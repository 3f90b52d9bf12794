//! What a question sees: the files and memtables that are live, and what of them is hidden.

mod erased;

use std::sync::Arc;

use tracemq_model::{Gap, InstanceId, TimeMs, TimeRange};
use tracemq_store::StoreError;

use crate::memtable::Memtable;
use crate::segment::Segment;
pub(crate) use erased::{Erasures, Hidden, HiddenCache};

/// What is live. Replaced as a whole when a file comes or goes.
#[derive(Clone)]
pub(crate) struct View {
    /// By age: all rows of one arrived before those of the next, as far as they share a moment.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Full ones, on their way into segments; oldest first.
    pub(crate) frozen: Vec<Frozen>,
    /// The one that takes what arrives.
    pub(crate) active: Arc<Memtable>,
    pub(crate) erasures: Arc<Erasures>,
    /// In which rows of the segments they are; shared by all views.
    pub(crate) hidden: Arc<HiddenCache>,
    pub(crate) cutoffs: Arc<Vec<(InstanceId, TimeMs)>>,
    /// Sorted by their first moment.
    pub(crate) gaps: Arc<Vec<Gap>>,
}

/// A memtable that takes no more.
#[derive(Clone)]
pub(crate) struct Frozen {
    /// The arrival sequence of its segments.
    pub(crate) sequence: u64,
    /// The log file that holds the same.
    pub(crate) log: u64,
    pub(crate) log_bytes: u64,
    pub(crate) memtable: Arc<Memtable>,
}

/// A view at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    view: Arc<View>,
    /// Rows of the active memtable that were visible.
    visible: usize,
}

impl Snapshot {
    pub(crate) fn new(view: Arc<View>) -> Self {
        let visible = view.active.visible();
        Self { view, visible }
    }

    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.view.segments
    }

    /// The memtables, oldest first, with the number of their rows that can be seen.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = (&Arc<Memtable>, usize)> {
        let frozen = self.view.frozen.iter().map(|frozen| (&frozen.memtable, frozen.memtable.visible()));
        frozen.chain([(&self.view.active, self.visible)])
    }

    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.view.gaps
    }

    /// What of `range` retention has left to `instance`.
    pub(crate) fn kept(&self, instance: &InstanceId, range: TimeRange) -> TimeRange {
        TimeRange { from: range.from.max(self.cutoff(instance)), to: range.to }
    }

    /// The first moment that retention has left to `instance`.
    pub(crate) fn cutoff(&self, instance: &InstanceId) -> TimeMs {
        let found = self.view.cutoffs.iter().find(|(known, _)| known == instance);
        found.map_or(TimeMs::MIN, |(_, time)| *time)
    }

    /// Whether the rows under `key` in `segment` have been erased.
    pub(crate) fn is_erased(&self, segment: &Segment, key: &[u8]) -> bool {
        self.view.erasures.cover(segment, key)
    }

    /// The rows of `segment` that have been erased; none when there are none.
    ///
    /// # Errors
    /// When the operating system refuses to read.
    pub(crate) fn hidden(&self, segment: &Segment) -> Result<Option<Arc<Hidden>>, StoreError> {
        if self.view.erasures.len() == 0 {
            return Ok(None);
        }
        self.view.hidden.of(segment, &self.view.erasures, &self.view.segments).map(Some)
    }

    /// Memtables on their way into segments that are no newer than `sequence`.
    pub(crate) fn frozen_until(&self, sequence: u64) -> impl Iterator<Item = &Arc<Memtable>> {
        let frozen = self.view.frozen.iter().filter(move |frozen| frozen.sequence <= sequence);
        frozen.map(|frozen| &frozen.memtable)
    }

    pub(crate) fn erasures(&self) -> &Erasures {
        &self.view.erasures
    }

    /// How many subjects have been erased and may still be in files.
    pub(crate) fn erased_subjects(&self) -> usize {
        self.view.erasures.len()
    }
}
