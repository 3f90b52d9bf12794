//! Opening a store to look at it: nothing is changed, and no lock is taken.

use std::path::Path;
use std::sync::Arc;

use tracemq_model::{Gap, TimeMs};
use tracemq_store::StoreError;

use super::log::ReplayedLog;
use super::{Opening, view_of};
use crate::SegmentSettings;
use crate::carried::Carried;
use crate::fs::Fs;
use crate::manifest::Manifest;
use crate::store::Damage;
use crate::view::{Erasures, View};
use crate::wal::{self, Mode, Replayed};

/// What a look found.
pub(crate) struct Looked {
    pub(crate) manifest: Manifest,
    pub(crate) view: View,
    /// What can't be read, and what that leaves out of answers.
    pub(crate) damaged: Vec<(Damage, Gap)>,
    pub(crate) log: Replayed,
    /// Segments that are in no manifest.
    pub(crate) orphaned: Vec<std::path::PathBuf>,
    /// Whether a file that the manifest names was not there.
    pub(crate) is_incomplete: bool,
}

/// Looks at the store in `dir` as `manifest` has it. Without `with_events` the log is read, but not kept in memory.
///
/// # Errors
/// As [`Segments::open`](crate::Segments::open), which it has in common what can be damaged and what can't.
pub(crate) fn look(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    manifest: Manifest,
    last_alive: Option<TimeMs>,
    with_events: bool,
) -> Result<Looked, StoreError> {
    let store = manifest.store;
    let mut opening = opening(fs, dir, manifest, last_alive);
    let segments = opening.segments(store)?;
    let carried = Carried::default();
    let mut log = ReplayedLog::new(&opening.settings, &carried);
    let first = opening.manifest.first_wal;
    let replayed = log.gather(|feed| {
        wal::replay(&**fs, dir, store, first, Mode::Look, &mut |file, entry| {
            if with_events || matches!(entry, wal::Entry::Erased { .. }) {
                feed.take(file, entry);
            }
        })
    })?;
    opening.note(&replayed);
    let (_, orphaned) = opening.orphaned_files()?;
    let Opening { manifest, recovery, mut unreadable, .. } = opening;
    // The gap of an unfinished write is the last one: a server that runs will finish it.
    unreadable.truncate(recovery.damaged.len());
    let is_incomplete = recovery.damaged.iter().any(|damage| damage.length == 0);
    let newest = segments.iter().map(|segment| *segment.meta().sequence.end());
    let newest = newest.chain(manifest.erasures.iter().map(|erasure| erasure.seq)).max().unwrap_or(0);
    let mut erasures = manifest.erasures.clone();
    super::hide_erased(&mut erasures, log.erased(), newest);
    let last = replayed.files.last().map_or(0, |(number, _)| *number);
    let (frozen, active, _) = log.memtables(newest + 1, last, 0, &replayed.files);
    let mut gaps = manifest.gaps.clone();
    gaps.extend(unreadable.iter().filter(|gap| !manifest.gaps.contains(gap)));
    gaps.sort_by_key(|gap| gap.from);
    let mut view = view_of(&manifest, segments, frozen, active);
    view.gaps = Arc::new(gaps);
    view.erasures = Arc::new(Erasures::of(&erasures));
    let damaged = recovery.damaged.into_iter().zip(unreadable).collect();
    Ok(Looked { manifest, view, damaged, log: replayed, orphaned, is_incomplete })
}

/// Why the store in `dir` can't be opened with `manifest`; none when it can. Changes nothing.
pub(crate) fn refusal(fs: &Arc<dyn Fs>, dir: &Path, manifest: &Manifest) -> Result<Option<Damage>, StoreError> {
    let mut opening = opening(fs, dir, manifest.clone(), None);
    opening.segments(manifest.store)?;
    let (_, orphaned) = opening.orphaned_files()?;
    match opening.refuse_an_older_manifest(&orphaned) {
        Ok(()) => Ok(None),
        Err(StoreError::Damaged { path, offset, length, what }) => Ok(Some(Damage { path, offset, length, what })),
        Err(error) => Err(error),
    }
}

fn opening(fs: &Arc<dyn Fs>, dir: &Path, manifest: Manifest, last_alive: Option<TimeMs>) -> Opening {
    Opening {
        has_workers: false,
        fs: Arc::clone(fs),
        dir: dir.to_owned(),
        settings: SegmentSettings { memtable_events: 0, ..SegmentSettings::default() },
        last_alive,
        manifest,
        new_log: None,
        recovery: super::Recovery::default(),
        list_is_damaged: false,
        unreadable: Vec::new(),
    }
}
