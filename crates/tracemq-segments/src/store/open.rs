//! Opening: from what is on disk to a store that takes and answers.

mod left_over;
mod log;
mod look;
mod rebuilt;

pub(crate) use look::{Looked, look, refusal};
pub(crate) use rebuilt::left_open;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use serde::Serialize;
use tracemq_model::{Gap, GapCause, TimeMs, TimeRange};
use tracemq_store::{Batch, StoreError};
use tracing::warn;

use super::append::Writer;
use super::erase::Erasing;
use super::orphans::Orphans;
use super::publish::{Publisher, age_of};
use super::retain::Clock;
use super::syncer::Syncer;
use super::{Changes, Segments, Shared};
use crate::SegmentSettings;
use crate::carried::Carried;
use crate::fs::{Fs, RealFs};
use crate::lock::Lock;
use crate::manifest::{self, Erasure, Manifest};
use crate::memtable::Memtable;
use crate::segment::{Segment, SegmentId};
use crate::view::{Erasures, Frozen, View};
use crate::wal::{self, Mode, Replayed, StoreId, Wal};
use log::ReplayedLog;

/// The number of the operating system's error for what a disk can't read: EIO.
const UNREADABLE: i32 = 5;

/// What was found at the opening of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Events that can be asked for.
    pub events: u64,
    /// Segments that they stand in.
    pub segments: usize,
    /// Events that were read from the log.
    pub replayed: u64,
    /// Connections that the last run left open. What was erased of them may count.
    pub orphans: usize,
    /// Bytes of an unfinished write that were cut off the end of the log.
    pub cut_bytes: u64,
    /// What can't be read, but was left as it is. Each is a gap with cause [`GapCause::Damaged`] as well, but for a list of open
    /// connections that could be made anew from the segments.
    pub damaged: Vec<Damage>,
}

/// A part of a file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes; 0 when the whole file is missing.
    pub length: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl Segments {
    /// Opens the store in `dir`, which is made when it is missing, and says what was found. Reads the log, at most a memtable
    /// or [three](SegmentSettings::FROZEN_MAX) (a second for a million events), of each segment its indexes, and which connections
    /// were open (a tenth of a second for five millions).
    ///
    /// Files that are not the store's are left alone. What is damaged is reported and left as it is, but for an unfinished
    /// write at the end of the log, which is cut off. Files that a crash has left over are deleted when all else is done.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open; [`StoreError::UnknownFormat`], with nothing changed, when a
    /// later version wrote to it; [`StoreError::Damaged`] when the manifest is not what was written; [`StoreError::Io`] when
    /// the operating system refuses.
    pub fn open(dir: &Path, settings: SegmentSettings) -> Result<(Self, Recovery), StoreError> {
        Self::open_on(Arc::new(RealFs), dir, settings, true)
    }

    /// As [`Segments::open`], on any file system, and with or without the threads that seal and merge.
    pub(crate) fn open_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        mut settings: SegmentSettings,
        with_workers: bool,
    ) -> Result<(Self, Recovery), StoreError> {
        if let Some(bytes) = settings.retention.bytes {
            // Files are what retention deletes: the oldest is an eighth of all, at about sixteen bytes an event.
            settings.segment_events = settings.segment_events.min(bytes / 128).max(1);
        }
        create_dir(dir)?;
        let lock = Lock::take(dir)?;
        let mut opening = Opening::new(fs, dir, settings, lock.last_alive())?;
        opening.has_workers = with_workers;
        let Opened { shared, orphans, recovery, left_over } = opening.open()?;
        let shared = Arc::new(shared);
        let workers = if with_workers { shared.start() } else { Ok(Vec::new()) };
        let workers = workers.map_err(|source| StoreError::Io {
            operation: "start the threads of",
            path: dir.to_owned(),
            source,
        })?;
        // Only now: a start that is refused has deleted nothing. Nobody makes files of these names any more.
        left_over::remove(&*shared.fs, left_over);
        let orphans = Mutex::new(Some(Arc::new(orphans)));
        let store = Self { shared, lock, orphans, workers };
        Ok((store, recovery))
    }
}

fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { operation: "create", path: dir.to_owned(), source };
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => RealFs.sync_dir(parent).map_err(failed),
        None => Ok(()),
    }
}

/// What an opening leads to.
struct Opened {
    shared: Shared,
    orphans: Orphans,
    recovery: Recovery,
    /// Files of the store that nothing needs.
    left_over: Vec<PathBuf>,
}

/// What is gathered on the way.
struct Opening {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    settings: SegmentSettings,
    has_workers: bool,
    last_alive: Option<TimeMs>,
    manifest: Manifest,
    /// Set for a store that did not exist before.
    new_log: Option<Wal>,
    recovery: Recovery,
    /// Whether the list of open connections was.
    list_is_damaged: bool,
    unreadable: Vec<Gap>,
}

impl Opening {
    fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        settings: SegmentSettings,
        last_alive: Option<TimeMs>,
    ) -> Result<Self, StoreError> {
        let (manifest, new_log) = match Manifest::load(&*fs, dir)? {
            Some(manifest) => (manifest, None),
            None => {
                refuse_rows_without_a_manifest(&*fs, dir)?;
                let store = new_id(dir)?;
                let first = 1;
                // A manifest never names a log that isn't durable.
                let wal = Wal::create(Arc::clone(&fs), dir, store, first)?;
                let manifest = Manifest::new(store, first);
                manifest.publish(&*fs, dir)?;
                (manifest, Some(wal))
            }
        };
        let (dir, recovery, unreadable) = (dir.to_owned(), Recovery::default(), Vec::new());
        Ok(Self {
            fs,
            dir,
            settings,
            has_workers: true,
            last_alive,
            manifest,
            new_log,
            recovery,
            list_is_damaged: false,
            unreadable,
        })
    }

    fn open(mut self) -> Result<Opened, StoreError> {
        let store: StoreId = self.manifest.store;
        let segments = self.segments(store)?;
        let (next_number, mut left_over) = self.orphaned_files()?;
        self.refuse_an_older_manifest(&left_over)?;
        let mut carried = self.carried(&segments)?;
        carried.forget_others(|number| self.manifest.segments.iter().any(|entry| entry.number == number));
        let syncer = Syncer::start().map_err(|source| {
            let (operation, path) = ("start the threads of", self.dir.clone());
            StoreError::Io { operation, path, source }
        })?;
        let mut log = ReplayedLog::new(&self.settings, &carried);
        let (wal, log_files) = self.replay(&mut log, &mut left_over)?;
        manifest::remove_unfinished(&*self.fs, &self.dir)?;
        let newest = segments.iter().map(|segment| *segment.meta().sequence.end());
        let newest = newest.chain(self.manifest.erasures.iter().map(|erasure| erasure.seq)).max().unwrap_or(0);
        hide_erased(&mut self.manifest.erasures, log.erased(), newest);
        let (left, in_memory) = log.orphans(&carried);
        let orphans = Orphans::new(left, &segments, Erasures::of(&self.manifest.erasures), in_memory);
        self.recovery.orphans = orphans.len();
        let (frozen, active, sequence) =
            log.memtables(newest + 1, wal.number(), self.settings.memtable_events, &log_files);
        self.recovery.segments = segments.len();
        self.recovery.events = segments.iter().map(|segment| segment.meta().rows).sum::<u64>() + self.recovery.replayed;
        let view = view_of(&self.manifest, segments, frozen, Arc::clone(&active));
        let gaps = self.log_gaps();
        let erasing = Erasing::at_start(&self.manifest.erasures);
        let shared = Shared {
            fs: self.fs,
            dir: self.dir,
            id: store,
            settings: self.settings,
            has_workers: self.has_workers,
            active_log_bytes: AtomicU64::new(wal.bytes()),
            writer: Mutex::new(Writer { wal, active, sequence }),
            waiting: Mutex::default(),
            syncer,
            clock: Mutex::new(Clock::new(self.manifest.clock.trusted)),
            publisher: Mutex::new(Publisher::new(self.manifest, carried, self.list_is_damaged)),
            view: RwLock::new(Arc::new(view)),
            sealing: Mutex::new(()),
            merging: Mutex::new(()),
            changes: Mutex::new(Changes::default()),
            changed: Condvar::new(),
            next_number: AtomicU64::new(next_number),
            stopping: AtomicBool::new(false),
            unmergeable: Mutex::default(),
            erasing: Mutex::new(erasing),
            unreadable: self.unreadable,
            now: AtomicI64::new(i64::MIN),
        };
        let recorded = super::lock(&shared.publisher).manifest.gaps.clone();
        shared.change_view(|view| view.gaps = Arc::new(shared.sorted(recorded)));
        shared.write_down(gaps);
        shared.renew_a_damaged_list();
        Ok(Opened { shared, orphans, recovery: self.recovery, left_over })
    }

    /// The connections that were open when the log began. Where their list can't be read, they are looked for in all that is on
    /// record.
    fn carried(&mut self, segments: &[Arc<Segment>]) -> Result<Carried, StoreError> {
        let Some(number) = self.manifest.orphans else { return Ok(Carried::default()) };
        if let Some(carried) = Carried::load(&*self.fs, &self.dir, self.manifest.store, number)? {
            return Ok(carried);
        }
        let path = Carried::path(&self.dir, number);
        warn!(path = %path.display(), "the list of open connections is not what was written; looking for them in all that is on record");
        let what = "the list of open connections is not what was written";
        let length = self.fs.open_to_read(&path).and_then(|file| file.length()).unwrap_or_default();
        self.recovery.damaged.push(Damage { path, offset: 0, length, what });
        self.list_is_damaged = true;
        let mut carried = Carried::in_place_of(number);
        // An end may stand in what can't be read, and no connection has two.
        let is_whole = segments.len() == self.manifest.segments.len();
        let found = if is_whole { rebuilt::left_open(segments, &self.manifest.cutoffs)? } else { None };
        match found {
            Some(unpaired) => carried.advance(unpaired),
            None => {
                // The ends that a start would have recorded for them.
                let at = self.last_alive.unwrap_or(TimeMs::MAX);
                self.unreadable.push(Gap { from: at, to: at, lost: None, cause: GapCause::Damaged });
            }
        }
        Ok(carried)
    }

    /// Reads the log into `log`, and gives it to be written on, with its files and their lengths. Files of it that nothing needs
    /// go to `left_over`.
    fn replay(
        &mut self,
        log: &mut ReplayedLog,
        left_over: &mut Vec<PathBuf>,
    ) -> Result<(Wal, Vec<(u64, u64)>), StoreError> {
        if let Some(new) = self.new_log.take() {
            return Ok((new, Vec::new()));
        }
        let (fs, dir) = (Arc::clone(&self.fs), self.dir.clone());
        let (store, first) = (self.manifest.store, self.manifest.first_wal);
        let replayed = log.gather(|feed| {
            wal::replay(&*fs, &dir, store, first, Mode::Recover, &mut |file, entry| feed.take(file, entry))
        })?;
        self.note(&replayed);
        left_over.extend(replayed.stale.iter().map(|number| wal::path(&dir, *number)));
        let wal = match Wal::resume(Arc::clone(&fs), &dir, &replayed.tail) {
            // It may be what a crash has left over that fills the disk.
            Err(StoreError::Full { .. }) if !left_over.is_empty() => {
                left_over::remove(&*fs, std::mem::take(left_over));
                Wal::resume(fs, &dir, &replayed.tail)?
            }
            resumed => resumed?,
        };
        Ok((wal, replayed.files))
    }

    /// The live segments that can be opened. Those that can't stay where they are, and leave a gap.
    fn segments(&mut self, store: StoreId) -> Result<Vec<Arc<Segment>>, StoreError> {
        let mut segments = Vec::with_capacity(self.manifest.segments.len());
        for entry in &self.manifest.segments {
            let id = SegmentId { store, number: entry.number };
            let path = self.dir.join(id.file_name());
            let what = match Segment::open(&*self.fs, &path, id) {
                Ok(segment) if entry.is_of(segment.meta()) => {
                    segments.push(Arc::new(segment));
                    continue;
                }
                Ok(_) => (0, entry.bytes, "it is another segment than the manifest says"),
                Err(StoreError::Damaged { offset, length, what, .. }) => (offset, length, what),
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    (0, 0, "the file is missing")
                }
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::IsADirectory => {
                    (0, 0, "the file is missing, and a folder has its name")
                }
                Err(StoreError::Io { source, .. }) if source.raw_os_error() == Some(UNREADABLE) => {
                    (0, entry.bytes, "the disk can't read it")
                }
                Err(error) => return Err(error),
            };
            let (offset, length, what) = what;
            self.recovery.damaged.push(Damage { path, offset, length, what });
            let (from, to) = (entry.min_time, entry.max_time);
            self.unreadable.push(Gap { from, to, lost: Some(entry.rows), cause: GapCause::Damaged });
        }
        segments.sort_by_key(|segment| age_of(segment));
        Ok(segments)
    }

    fn note(&mut self, replayed: &Replayed) {
        self.recovery.replayed = replayed.events;
        self.recovery.cut_bytes = replayed.cut.as_ref().map_or(0, |cut| cut.bytes);
        let outer = TimeRange { from: TimeMs::MIN, to: self.last_alive.unwrap_or(TimeMs::MAX) };
        for damage in &replayed.damaged {
            let wal::Damage { path, offset, length, what, .. } = damage.clone();
            self.recovery.damaged.push(Damage { path, offset, length, what });
            self.unreadable.push(damage.gap(outer));
        }
        // Damage to the last batch that was acknowledged would leave the same traces.
        self.unreadable.extend(replayed.cut.as_ref().map(|cut| cut.gap(outer)));
    }

    /// The gaps that are to be written down, since the damage won't be there to be seen when the log is gone.
    fn log_gaps(&mut self) -> Vec<Gap> {
        let known = &self.manifest.gaps;
        let of_log = self.unreadable.iter().filter(|gap| gap.lost.is_none() && !known.contains(gap)).copied().collect();
        self.unreadable.retain(|gap| gap.lost.is_some());
        of_log
    }
}

/// What the log says was erased is hidden in all segments up to `newest` as well: they are older than the log. A crash may have come
/// between the note in the log and the manifest; the next one that is published says it again.
pub(super) fn hide_erased(erasures: &mut Vec<Erasure>, erased: &HashSet<Vec<u8>>, newest: u64) {
    let mut all = Erasures::of(&*erasures);
    erased.iter().for_each(|key| all.add(key, newest));
    *erasures = all.to_list();
}

impl Shared {
    fn write_down(&self, mut gaps: Vec<Gap>) {
        let known: Vec<Gap> = self.snapshot().memtables().flat_map(|(memtable, _)| memtable.gaps()).collect();
        gaps.retain(|gap| !known.contains(gap));
        if let Err(error) = self.append(&Batch { events: Vec::new(), gaps: gaps.clone() }) {
            let error = super::seal::describe(&error);
            warn!(error, "can't write down that a part of the log is damaged; the gap is shown until the next start");
            self.view().active.add_gaps(&gaps);
        }
    }
}

/// What the manifest and the log show. Gaps are the caller's to add.
fn view_of(manifest: &Manifest, segments: Vec<Arc<Segment>>, frozen: Vec<Frozen>, active: Arc<Memtable>) -> View {
    View {
        segments,
        frozen,
        active,
        erasures: Arc::new(Erasures::of(&manifest.erasures)),
        hidden: Arc::default(),
        cutoffs: Arc::new(manifest.cutoffs.iter().map(|cutoff| (cutoff.instance.clone(), cutoff.time)).collect()),
        gaps: Arc::default(),
    }
}

/// A folder that has segments, or a log with records, and no manifest is no new store.
fn refuse_rows_without_a_manifest(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    if !crate::repair::has_rows(fs, dir)? {
        return Ok(());
    }
    Err(StoreError::Damaged { path: dir.join("manifest"), offset: 0, length: 0, what: manifest::MISSING })
}

fn new_id(dir: &Path) -> Result<StoreId, StoreError> {
    let mut store = StoreId::default();
    match getrandom::fill(&mut store) {
        Ok(()) => Ok(store),
        Err(error) => {
            let source = std::io::Error::other(error.to_string());
            Err(StoreError::Io { operation: "draw a random name for", path: dir.to_owned(), source })
        }
    }
}
