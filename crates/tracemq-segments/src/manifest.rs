//! The manifest: which files are live, and what no file of rows can say.
//!
//! # On disk, version 1
//! A file `manifest` of text, since people read it at the worst of times, and it is small: a line for each thing that
//! it lists.
//!
//! ```text
//! tracemq-manifest 1 crc32 9a3c11d0         the version; the checksum of all that follows this line
//! {                                         JSON, see `format`
//! ```
//!
//! The checksum of a later version covers its number, as decimal digits, and then all that follows the line: a flipped bit in the
//! number of this one is damage, and is not taken for a later one.
//!
//! # How it is replaced
//! The new one is written to `manifest.new`, synced, and renamed; then the folder is synced. Before the rename the present
//! one gets the second name `manifest.old`, by a link: so `manifest` is there at every moment from the first
//! one on, and no two manifests are ever written at the same time. A crash leaves the old or the new one, whole. What it leaves
//! of `manifest.new` says nothing and is removed by [`remove_unfinished`].
//!
//! # Why a damaged one is not replaced by the one before
//! The one before names segments that were merged and deleted since, and doesn't name those that were written since, whose
//! rows are in no log any more: a start would remove them as orphans. So [`Manifest::load`] refuses, and changes
//! nothing. The list of segments can be made anew from the segments themselves; what can't (erasures, cutoffs,
//! gaps) stands in the one before, as it was then: that is what [`Manifest::load_previous`] is for. A missing `manifest`
//! beside a `manifest.old` is damage too, never a new store. [`Manifest::publish_repaired`] is how the new one comes: what was
//! there keeps a name, `manifest.before-repair-1`.

mod format;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracemq_model::{Gap, InstanceId, TimeMs};
use tracemq_store::StoreError;
use tracing::{error, warn};

use crate::fs::{Fs, not_written, read_exact_at, write_all_at};

const NAME: &str = "manifest";
const NEW: &str = "manifest.new";
const OLD: &str = "manifest.old";

/// More gaps than this are not kept apart.
pub(crate) const GAPS_MAX: usize = 10_000;
/// When there are more, so many fewer are made of them, so that it need not be done for each.
const GAPS_SPARE: usize = 100;

/// No manifest is longer: a million segments would fit.
const BYTES_MAX: u64 = 256 << 20;

/// What is wrong with a folder that has files of a store and no manifest.
pub(crate) const MISSING: &str =
    "it is missing, though there are files of a store; make a new one with: tracemq store repair";

/// Which files are live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Tells one store's files from another's.
    pub(crate) store: [u8; 16],
    /// One more with each that is published.
    pub(crate) generation: u64,
    /// The number that the next segment gets: no file ever had it.
    pub(crate) next_file: u64,
    /// The first file of the log whose rows are in no segment.
    pub(crate) first_wal: u64,
    pub(crate) segments: Vec<SegmentEntry>,
    pub(crate) erasures: Vec<Erasure>,
    pub(crate) cutoffs: Vec<Cutoff>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) clock: RetentionClock,
    /// The file that the beginnings of connections without an end are in.
    pub(crate) orphans: Option<u64>,
}

/// A segment that is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    /// Of its rows, by arrival.
    pub(crate) seq_lo: u64,
    pub(crate) seq_hi: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) min_time: TimeMs,
    pub(crate) max_time: TimeMs,
    /// Tells the file from any other that ever had its name.
    pub(crate) footer_checksum: u32,
}

/// Rows under `key` are hidden in segments that end at or before `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) key: Vec<u8>,
    pub(crate) seq: u64,
}

/// Rows of `instance` that are older than `time` are hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cutoff {
    pub(crate) instance: InstanceId,
    pub(crate) time: TimeMs,
}

/// What retention knows of the time, so that a clock that steps forward deletes nothing at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetentionClock {
    /// When it last looked, by the wall clock.
    pub(crate) seen: Option<TimeMs>,
    /// Up to when it believes that time has passed.
    pub(crate) trusted: Option<TimeMs>,
}

impl Manifest {
    /// That of a new store, whose log begins with the file `first_wal`. Not published yet.
    pub(crate) fn new(store: [u8; 16], first_wal: u64) -> Self {
        Self {
            store,
            generation: 0,
            next_file: 1,
            first_wal,
            segments: Vec::new(),
            erasures: Vec::new(),
            cutoffs: Vec::new(),
            gaps: Vec::new(),
            clock: RetentionClock::default(),
            orphans: None,
        }
    }

    /// Puts `gap` behind the others. When there are too many, those of one cause become one that touch each other, and then
    /// those that are nearest to each other: no moment that is in a gap is ever in none.
    pub(crate) fn push_gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
        if self.gaps.len() > GAPS_MAX {
            join_gaps(&mut self.gaps, GAPS_MAX - GAPS_SPARE);
        }
    }

    /// The manifest of the store in `dir`; none when there never was one. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is not what was written, or missing; [`StoreError::UnknownFormat`] when a later version
    /// wrote it.
    pub(crate) fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(NAME);
        if let Some(bytes) = read(fs, &path)? {
            return decode(&bytes, path).map(Some);
        }
        match read(fs, &dir.join(OLD))? {
            None => Ok(None),
            Some(_) => Err(damaged(path, 0, MISSING)),
        }
    }

    /// The one before, for whoever makes a new one in the place of a damaged one; none when there is none.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub(crate) fn load_previous(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(OLD);
        read(fs, &path)?.map(|bytes| decode(&bytes, path)).transpose()
    }

    /// Makes this the manifest of the store in `dir`. The generation is the caller's to count up.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] when it is unknown which one is live: nothing may be deleted or published before the store is
    /// opened anew. After any other error the one before is live.
    pub(crate) fn publish(&self, fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
        let (path, new) = (dir.join(NAME), dir.join(NEW));
        let refused = |what| {
            let source = io::Error::new(ErrorKind::InvalidInput, what);
            StoreError::Io { operation: "publish", path: path.clone(), source }
        };
        // What would be refused when it is read is refused now, while the one before is there.
        let bytes = format::encode(self).map_err(refused)?;
        if let Err((operation, source)) = write_new(fs, &new, &bytes) {
            let _ = fs.remove(&new);
            return Err(not_written(operation, &new, source));
        }
        keep_previous(fs, &path, &dir.join(OLD));
        if let Err(source) = fs.rename(&new, &path).and_then(|()| fs.sync_dir(dir)) {
            error!(error = %source, path = %path.display(), "can't tell which manifest is on disk; nothing more is written");
            return Err(StoreError::Poisoned { path });
        }
        Ok(())
    }

    /// Makes this the manifest in the place of one that can't be used. That one gets a name of its own as well, and so does the
    /// one before, which stays where it is: gives these names. Cut off anywhere, the next repair finds what this one found.
    ///
    /// # Errors
    /// As [`Manifest::publish`].
    pub(crate) fn publish_repaired(&self, fs: &dyn Fs, dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let (path, new) = (dir.join(NAME), dir.join(NEW));
        let kept = keep_unusable(fs, dir)?;
        let bytes = format::encode(self).map_err(|what| damaged(path.clone(), 0, what))?;
        if let Err((operation, source)) = write_new(fs, &new, &bytes) {
            let _ = fs.remove(&new);
            return Err(not_written(operation, &new, source));
        }
        let renamed = fs.sync_dir(dir).and_then(|()| fs.rename(&new, &path)).and_then(|()| fs.sync_dir(dir));
        renamed.map_err(|source| StoreError::Io { operation: "replace", path, source })?;
        Ok(kept)
    }
}

/// Gives each manifest that is there a name under which nothing ever replaces it.
fn keep_unusable(fs: &dyn Fs, dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = fs.list(dir);
    let names = listed.map_err(|source| StoreError::Io { operation: "list", path: dir.to_owned(), source })?;
    let is_there = |name: &str| names.iter().any(|known| known == name);
    let kept_as = |name: &str, number: u32| format!("{name}.before-repair-{number}");
    let Some(number) = (1..=u32::MAX).find(|number| [NAME, OLD].iter().all(|name| !is_there(&kept_as(name, *number))))
    else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    for name in [NAME, OLD].into_iter().filter(|name| is_there(name)) {
        let (path, to) = (dir.join(name), dir.join(kept_as(name, number)));
        if let Err(error) = fs.link(&path, &to) {
            // Not every file system knows second names.
            warn!(%error, path = %path.display(), "can't be kept by a link; it is copied");
            let bytes = read(fs, &path)?.unwrap_or_default();
            write_new(fs, &to, &bytes).map_err(|(operation, source)| not_written(operation, &to, source))?;
        }
        kept.push(to);
    }
    Ok(kept)
}

/// Makes `most` of `gaps`, or fewer when some touch. Gaps of different causes stay apart.
fn join_gaps(gaps: &mut Vec<Gap>, most: usize) {
    gaps.sort_by_key(|gap| (gap.cause.code(), gap.from, gap.to));
    // How far each is from those of its cause before it; those that follow each other within a millisecond touch.
    let (mut apart, mut before): (Vec<(u64, TimeMs, usize)>, Option<Gap>) = (Vec::with_capacity(gaps.len()), None);
    for (at, gap) in gaps.iter().enumerate() {
        let to = before.filter(|before| before.cause == gap.cause).map(|before| before.to);
        apart.extend(to.map(|to| (gap.from.since(to).saturating_sub(1), gap.from, at)));
        before = Some(Gap { to: to.map_or(gap.to, |to| to.max(gap.to)), ..*gap });
    }
    // Of those that are equally far apart the oldest.
    apart.sort_unstable();
    let touching = apart.partition_point(|(apart, ..)| *apart == 0);
    apart.truncate(touching.max(gaps.len().saturating_sub(most)));
    let with_the_one_before: HashSet<usize> = apart.into_iter().map(|(.., at)| at).collect();
    let mut joined: Vec<Gap> = Vec::with_capacity(gaps.len());
    for (at, gap) in gaps.iter().enumerate() {
        match joined.last_mut() {
            Some(last) if with_the_one_before.contains(&at) => {
                last.to = last.to.max(gap.to);
                last.lost = last.lost.zip(gap.lost).map(|(one, other)| one.saturating_add(other));
            }
            Some(_) | None => joined.push(*gap),
        }
    }
    joined.sort_by_key(|gap| gap.from);
    *gaps = joined;
}

/// Removes what a crash left of a manifest that was not published.
pub(crate) fn remove_unfinished(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(NEW);
    match fs.remove(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(StoreError::Io { operation: "delete", path, source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_new(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<(), (&'static str, io::Error)> {
    let file = fs.create(path).map_err(|error| ("create", error))?;
    write_all_at(&*file, bytes, 0).map_err(|error| ("write", error))?;
    file.sync().map_err(|error| ("sync", error))
}

/// Gives the present manifest its second name. Only a repair ever asks for it: a failure is no reason not to go on.
fn keep_previous(fs: &dyn Fs, path: &Path, old: &Path) {
    let removed = match fs.remove(old) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    match removed.and_then(|()| fs.link(path, old)) {
        // The first one has none before it.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            warn!(%error, path = %old.display(), "can't keep the manifest before");
        }
        Ok(()) | Err(_) => {}
    }
}

/// What stands in the file at `path`; none when there is no file.
fn read(fs: &dyn Fs, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = |operation| move |source| StoreError::Io { operation, path: path.to_owned(), source };
    let file = match fs.open_to_read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open"))?,
    };
    let length = file.length().map_err(failed("read"))?;
    if length > BYTES_MAX {
        return Err(damaged(path.to_owned(), length, "it is longer than any manifest"));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    read_exact_at(&*file, &mut bytes, 0).map_err(failed("read"))?;
    Ok(Some(bytes))
}

fn decode(bytes: &[u8], path: PathBuf) -> Result<Manifest, StoreError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    format::decode(bytes).map_err(|fault| match fault {
        format::Fault::Newer(found) => StoreError::UnknownFormat { path, found, known: format::VERSION },
        format::Fault::Invalid(what) => damaged(path, length, what),
    })
}

fn damaged(path: PathBuf, length: u64, what: &'static str) -> StoreError {
    StoreError::Damaged { path, offset: 0, length, what }
}
