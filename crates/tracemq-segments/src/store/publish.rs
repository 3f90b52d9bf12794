//! What is live, on disk and on view: changed together, the disk first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_model::{Gap, TimeMs};
use tracemq_store::StoreError;
use tracing::warn;

use super::{Shared, lock};
use crate::carried::Carried;
use crate::manifest::{Manifest, SegmentEntry};
use crate::segment::{Segment, SegmentId, SegmentMeta};
use crate::view::View;

/// The manifest that is on disk, and what goes with it.
pub(super) struct Publisher {
    pub(super) manifest: Manifest,
    pub(super) carried: Carried,
    /// Whether the file of that number is not what was written, and `carried` stands nowhere yet.
    pub(super) list_is_damaged: bool,
    /// Files that nothing names any more, and that could not be deleted yet; with how often that was tried.
    pub(super) rubbish: BTreeMap<std::path::PathBuf, u32>,
    /// Set for good once it is unknown which manifest is live: nothing is published or deleted any more.
    pub(super) poisoned: Option<std::path::PathBuf>,
}

/// What segments are ordered by: of two that share a moment, the rows of the lesser all arrived first.
pub(super) fn age_of(segment: &Segment) -> (u64, u64, TimeMs) {
    let meta = segment.meta();
    (*meta.sequence.end(), *meta.sequence.start(), meta.times.from)
}

impl Publisher {
    pub(super) fn new(manifest: Manifest, carried: Carried, list_is_damaged: bool) -> Self {
        Self { manifest, carried, list_is_damaged, rubbish: BTreeMap::new(), poisoned: None }
    }
}

impl Shared {
    /// A number that no file has.
    pub(super) fn new_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// The identity of a new segment.
    pub(super) fn new_segment(&self) -> SegmentId {
        SegmentId { store: self.id, number: self.new_number() }
    }

    /// Makes the manifest durable as `change` makes it, then the view as `show` makes it; with them go the open connections
    /// `carried`, when there are others. Nothing is changed when that fails.
    pub(super) fn publish(
        &self,
        publisher: &mut Publisher,
        carried: Option<Carried>,
        change: impl FnOnce(&mut Manifest),
        show: impl FnOnce(&mut View),
    ) -> Result<(), StoreError> {
        if let Some(path) = &publisher.poisoned {
            return Err(StoreError::Poisoned { path: path.clone() });
        }
        let is_new = |carried: &Carried| publisher.list_is_damaged || carried.differs_from(&publisher.carried);
        let mut carried = carried.filter(is_new);
        if let Some(carried) = &mut carried {
            let number = self.new_number();
            let written = carried.write(&*self.fs, &self.dir, self.id, number);
            written.inspect_err(|_| self.discard(publisher, Carried::path(&self.dir, number)))?;
        }
        let mut next = publisher.manifest.clone();
        change(&mut next);
        let erased = self.add_erasures(&mut next);
        next.generation += 1;
        next.next_file = self.next_number.load(Ordering::Relaxed);
        next.orphans = carried.as_ref().unwrap_or(&publisher.carried).number();
        if let Err(error) = next.publish(&*self.fs, &self.dir) {
            if let StoreError::Poisoned { path } = &error {
                publisher.poisoned = Some(path.clone());
            }
            if let Some(number) = carried.and_then(|carried| carried.number()) {
                self.discard(publisher, Carried::path(&self.dir, number));
            }
            return Err(error);
        }
        publisher.manifest = next;
        self.erasures_are_published(&erased);
        if let Some(carried) = carried {
            let old = std::mem::replace(&mut publisher.carried, carried).number();
            publisher.list_is_damaged = false;
            if let Some(number) = old {
                self.discard(publisher, Carried::path(&self.dir, number));
            }
        }
        self.change_view(|view| {
            show(view);
            view.segments.sort_by_key(|segment| age_of(segment));
            self.show_erasures(view, &publisher.manifest);
            view.gaps = Arc::new(self.sorted(publisher.manifest.gaps.clone()));
            view.cutoffs = Arc::new(
                publisher.manifest.cutoffs.iter().map(|cutoff| (cutoff.instance.clone(), cutoff.time)).collect(),
            );
        });
        self.announce(|_| {});
        Ok(())
    }

    /// Puts a whole list of open connections in the place of a damaged one, so that the next start neither looks for them in all
    /// that is on record nor tells the same damage once more.
    pub(super) fn renew_a_damaged_list(&self) {
        let mut publisher = lock(&self.publisher);
        if publisher.list_is_damaged {
            let carried = publisher.carried.clone();
            if let Err(error) = self.publish(&mut publisher, Some(carried), |_| {}, |_| {}) {
                let error = super::seal::describe(&error);
                warn!(error, "can't write the list of open connections anew; it is with the next segment");
            }
        }
    }

    /// Opens a segment that was just written and makes its name durable.
    pub(super) fn open_new(&self, meta: &SegmentMeta) -> Result<Arc<Segment>, StoreError> {
        let synced = self.fs.sync_dir(&self.dir);
        synced.map_err(|source| StoreError::Io { operation: "sync", path: self.dir.clone(), source })?;
        Ok(Arc::new(Segment::open(&*self.fs, &self.dir.join(meta.id.file_name()), meta.id)?))
    }

    /// Deletes a file that nothing names, now or later.
    pub(super) fn discard(&self, publisher: &mut Publisher, path: std::path::PathBuf) {
        publisher.rubbish.insert(path, 0);
        self.empty_the_bin(publisher);
    }

    /// Deletes what can be deleted of what nothing names.
    pub(super) fn empty_the_bin(&self, publisher: &mut Publisher) {
        if publisher.poisoned.is_some() {
            return;
        }
        publisher.rubbish.retain(|path, tries| match self.fs.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                if *tries == 0 {
                    warn!(%error, path = %path.display(), "can't delete a file that is not needed any more; tried again");
                }
                *tries = tries.saturating_add(1);
                true
            }
            Ok(()) | Err(_) => false,
        });
    }

    /// The gaps on record and those that unreadable files leave, by their first moment.
    pub(super) fn sorted(&self, mut gaps: Vec<Gap>) -> Vec<Gap> {
        gaps.extend_from_slice(&self.unreadable);
        gaps.sort_by_key(|gap| gap.from);
        gaps
    }

    /// Deletes files that nothing ever named.
    pub(super) fn discard_now(&self, paths: impl IntoIterator<Item = std::path::PathBuf>) {
        let mut publisher = lock(&self.publisher);
        for path in paths {
            self.discard(&mut publisher, path);
        }
    }
}

impl SegmentEntry {
    /// What the manifest says of a segment.
    pub(crate) fn of(meta: &SegmentMeta) -> Self {
        Self {
            number: meta.id.number,
            seq_lo: *meta.sequence.start(),
            seq_hi: *meta.sequence.end(),
            rows: meta.rows,
            bytes: meta.bytes,
            min_time: meta.times.from,
            max_time: meta.times.to,
            footer_checksum: meta.checksum,
        }
    }

    /// Whether that is what the segment says of itself.
    pub(crate) fn is_of(&self, meta: &SegmentMeta) -> bool {
        *self == Self::of(meta)
    }
}
