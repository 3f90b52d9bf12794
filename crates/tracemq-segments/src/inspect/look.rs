//! A store as it was at one moment, to read from.

use std::path::Path;

use tracemq_model::{Action, Event, Filter, Gap, InstanceId, Order, Reason, Subject, TimeRange};
use tracemq_store::{StoreError, Visit};

use super::check::{self, Finding};
use super::figures::{self, Figures};
use super::steady;
use crate::key::{self, Key};
use crate::query;
use crate::store::Looked;
use crate::view::Snapshot;

/// A store as it was at one moment. Holds what stands in its log in memory, as the server does.
pub struct Look {
    pub(super) looked: Looked,
    pub(super) snapshot: Snapshot,
    pub(super) dir: std::path::PathBuf,
}

/// Which events.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of these instances; of all when empty.
    pub instances: Vec<InstanceId>,
    /// When.
    pub range: TimeRange,
    /// Of these; of everybody when empty.
    pub subjects: Vec<Subject>,
    /// With one of these actions; with any when empty.
    pub actions: Vec<Action>,
    /// For one of these reasons; for any when empty.
    pub reasons: Vec<Reason>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            instances: Vec::new(),
            range: TimeRange::ALL,
            subjects: Vec::new(),
            actions: Vec::new(),
            reasons: Vec::new(),
        }
    }
}

impl Look {
    /// Looks at the store in `dir`, which may be in use. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the manifest is not what was written; [`StoreError::UnknownFormat`] when a later version
    /// wrote it; [`StoreError::Io`] when there is none, or the operating system refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let looked = steady(dir, true)?;
        let snapshot = Snapshot::new(std::sync::Arc::new(looked.view.clone()));
        Ok(Self { looked, snapshot, dir: dir.to_owned() })
    }

    /// What was found damaged on the way. More may come to light when the events are read.
    pub fn findings(&self) -> Vec<Finding> {
        check::findings_of(&self.looked)
    }

    /// How many events are in the files that may hold some of those selected.
    pub fn events_at_most(&self, selection: &Selection) -> u64 {
        let is_selected = |name: &InstanceId| selection.instances.is_empty() || selection.instances.contains(name);
        let segments = self.snapshot.segments().iter().filter(|segment| segment.meta().times.overlaps(selection.range));
        let sealed =
            segments.flat_map(|segment| &segment.meta().instances).filter(|total| is_selected(&total.instance));
        let in_memory: usize = self.snapshot.memtables().map(|(_, visible)| visible).sum();
        sealed.map(|total| total.rows).sum::<u64>() + u64::try_from(in_memory).unwrap_or(u64::MAX)
    }

    /// The instances that it has, or had, events of.
    pub fn instances(&self) -> Vec<InstanceId> {
        let segments = self.snapshot.segments().iter().flat_map(|segment| &segment.meta().instances);
        let mut names: Vec<InstanceId> = segments.map(|total| total.instance.clone()).collect();
        for (memtable, visible) in self.snapshot.memtables() {
            memtable.each_key(visible, |key, _| {
                let is_known = names.iter().any(|name| {
                    key.strip_prefix(name.as_str().as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
                });
                if !is_known {
                    names.extend(Key::read(key).map(|key| key.instance));
                }
            });
        }
        names.extend(self.snapshot.erasures().iter().filter_map(|(key, _)| Some(Key::read(key)?.instance)));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// All gaps on record that share a moment with `range`, by their first moment.
    pub fn gaps(&self, range: TimeRange) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = self.snapshot.memtables().flat_map(|(memtable, _)| memtable.gaps()).collect();
        gaps.extend_from_slice(self.snapshot.gaps());
        gaps.retain(|gap| gap.range().overlaps(range));
        gaps.sort_by_key(|gap| (gap.from, gap.to, gap.cause.code(), gap.lost));
        gaps
    }

    /// Whether `subject` was erased, and its bytes or its name may not be gone yet.
    pub fn is_being_erased(&self, instance: &InstanceId, subject: &Subject) -> bool {
        let mut key = Vec::new();
        key::push_key(instance, subject, &mut key);
        self.snapshot.erasures().up_to(&key).is_some()
    }

    /// Shows `visit` the events selected: by time; those of the same millisecond by instance, then by subject, then by arrival.
    /// Gives the gaps that parts leave that turned out to be unreadable.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the operating system refuses to read.
    pub fn scan(&self, selection: &Selection, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        let instances = if selection.instances.is_empty() { self.instances() } else { selection.instances.clone() };
        let mut subjects: Vec<Subject> = selection.subjects.iter().map(Subject::canonical).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let mut filters = Vec::new();
        for instance in instances {
            let all = Filter {
                actions: selection.actions.clone(),
                reasons: selection.reasons.clone(),
                ..Filter::all(instance, selection.range)
            };
            if subjects.is_empty() {
                filters.push(all);
            } else {
                let of = |subject: &Subject| Filter { subject: Some(subject.clone()), ..all.clone() };
                filters.extend(subjects.iter().map(of));
            }
        }
        let unreadable = query::scan_all(&self.snapshot, &filters, Order::OldestFirst, visit)?;
        Ok(unreadable.into_gaps(selection.range).collect())
    }

    /// What takes how much room.
    pub fn figures(&self) -> Figures {
        figures::of(self)
    }

    /// Some hundred events or a few more, from all over the segments, or else from the log: to see what is typical.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the operating system refuses to read.
    pub fn sample(&self) -> Result<Vec<Event>, StoreError> {
        figures::sample(&self.snapshot)
    }
}
