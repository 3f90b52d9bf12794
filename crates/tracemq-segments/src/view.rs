//! What a question sees: the files and memtables that are live, and what of them is hidden.

use std::sync::Arc;

use tracemq_model::{Gap, InstanceId, TimeMs, TimeRange};

use crate::key;
use crate::manifest::Erasure;
use crate::memtable::Memtable;
use crate::segment::Segment;

/// What is live. Replaced as a whole when a file comes or goes.
#[derive(Clone)]
pub(crate) struct View {
    /// By age: all rows of one arrived before those of the next, as far as they share a moment.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Full ones, on their way into segments; oldest first.
    pub(crate) frozen: Vec<Frozen>,
    /// The one that takes what arrives.
    pub(crate) active: Arc<Memtable>,
    pub(crate) erasures: Arc<Vec<Erasure>>,
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
        self.view.erasures.iter().any(|erasure| segment.meta().sequence.end() <= &erasure.seq && erasure.key == key)
    }

    /// All keys whose rows in `segment`, if it has any, have been erased.
    pub(crate) fn erased_keys<'a>(&'a self, segment: &Segment) -> impl Iterator<Item = &'a [u8]> {
        let newest = *segment.meta().sequence.end();
        self.view.erasures.iter().filter(move |erasure| newest <= erasure.seq).map(|erasure| &*erasure.key)
    }

    /// The keys of `instance` whose rows in `segment` have been erased.
    pub(crate) fn erased<'a>(&'a self, segment: &Segment, instance: &InstanceId) -> impl Iterator<Item = &'a [u8]> {
        let mut prefix = Vec::new();
        key::push_instance(instance, &mut prefix);
        self.erased_keys(segment).filter(move |key| key.starts_with(&prefix))
    }
}
