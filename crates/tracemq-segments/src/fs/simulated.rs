//! A disk in memory that fails when told to, and forgets what was not synced when the power goes.

mod controls;
mod dice;
mod faults;
mod gate;
mod memory;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::{Fs, LogFile};
pub(crate) use dice::Dice;
pub(crate) use faults::{Fault, Unsynced};
use gate::Gate;
pub(crate) use gate::Slow;
use memory::Memory;
use trace::Trace;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// Shared by its clones.
#[derive(Clone, Default)]
pub(crate) struct SimulatedFs(Arc<Mutex<Disk>>, Arc<Gate>);

#[derive(Default)]
struct Disk {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// What was done to names since their folder was synced, in order: each call's changes together.
    name_changes: Vec<Vec<(PathBuf, Option<usize>)>>,
    files: Vec<Content>,
    calls: usize,
    reads: usize,
    memory: Memory,
    trace: Trace,
    fault: Option<Fault>,
    unreadable: BTreeSet<PathBuf>,
    /// How many more bytes files may take in all; none for any number.
    room: Option<usize>,
    read_only: bool,
    /// Syncs say that they worked, and did nothing.
    lies: bool,
    /// The same of folders alone.
    forgets_names: bool,
    /// What has no room is told as a quota is, which free space knows nothing of.
    is_quota: bool,
    /// Every third call that may be interrupted is; counts them.
    interrupts: Option<usize>,
    /// Nothing can be opened.
    no_descriptors: bool,
    /// Only a sync, or who takes room beforehand, is told that there is none.
    tells_late: bool,
    /// Whoever makes a segment panics.
    panics_at_segments: bool,
    /// No segment can be made, for this reason.
    unwritable_segments: Option<ErrorKind>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// So many bytes have room of their own, on a disk that tells late.
    allocated: usize,
}

struct SimulatedFile {
    disk: SimulatedFs,
    at: usize,
    path: PathBuf,
}

impl SimulatedFs {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

impl Content {
    fn durable(bytes: Vec<u8>) -> Self {
        Self { allocated: bytes.len(), now: bytes.clone(), durable: bytes }
    }

    fn after_power_loss(&self, unsynced: Unsynced, dice: &mut Dice) -> Self {
        let mut content = self.durable.clone();
        let new = self.now.get(content.len()..).unwrap_or_default();
        match unsynced {
            Unsynced::Lost => {}
            Unsynced::Torn(bytes) => content.extend(&new[..bytes.min(new.len())]),
            Unsynced::Zeros => content.resize(content.len() + new.len(), 0),
            Unsynced::Any(_) => content = self.any_sectors(dice),
        }
        Self::durable(content)
    }

    /// The length of before, of now, or one in between; of each sector what it held before or holds now. A part of the
    /// disks loses all, and a part nothing.
    fn any_sectors(&self, dice: &mut Dice) -> Vec<u8> {
        let (old, new) = (&self.durable, &self.now);
        let kept_of_four = [0, 1, 2, 3, 4][dice.roll(5)];
        let mut keep = || dice.roll(4) < kept_of_four;
        let mut content = old.clone();
        if keep() {
            content.resize(new.len(), 0);
        }
        for start in (0..new.len()).step_by(SECTOR) {
            let end = new.len().min(start + SECTOR);
            if keep() {
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(&new[start..end]);
            }
        }
        content
    }
}

impl Disk {
    /// Counts the call; the fault if it has to fail.
    fn call(&mut self) -> Option<Fault> {
        self.calls += 1;
        let fault = self.fault?;
        let fails = self.calls == fault.first || (fault.for_good && self.calls > fault.first);
        fails.then_some(fault)
    }

    fn may(&mut self) -> io::Result<()> {
        self.call().map_or(Ok(()), |fault| Err(fault.kind.into()))
    }

    fn may_write(&mut self) -> io::Result<()> {
        self.may()?;
        if self.read_only { Err(ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// Before a call that a signal may interrupt.
    fn may_go_on(&mut self) -> io::Result<()> {
        let Some(calls) = &mut self.interrupts else { return Ok(()) };
        *calls += 1;
        if calls.is_multiple_of(3) { Err(Errno::INTR.into()) } else { Ok(()) }
    }

    /// What says that there is no room.
    fn full(&self) -> io::Error {
        if self.is_quota { Errno::DQUOT.into() } else { Errno::NOSPC.into() }
    }

    fn may_open(&self) -> io::Result<()> {
        if self.no_descriptors { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// What no name is left of gives its room back.
    fn name(&mut self, changes: Vec<(PathBuf, Option<usize>)>) {
        let had: BTreeSet<usize> = changes.iter().filter_map(|(path, _)| self.names.get(path).copied()).collect();
        Self::apply(&mut self.names, &changes);
        for at in had {
            if !self.names.values().any(|named| *named == at) {
                self.give_back(self.files[at].now.len());
            }
        }
        self.name_changes.push(changes);
    }

    fn allocate(&mut self, at: usize, end: usize) -> io::Result<()> {
        let more = end.saturating_sub(self.files[at].allocated);
        let left = self.room.map(|room| room.checked_sub(more).ok_or_else(|| self.full())).transpose()?;
        self.room = left;
        self.files[at].allocated += more;
        Ok(())
    }

    fn give_back(&mut self, bytes: usize) {
        self.room = self.room.map(|room| room + bytes);
    }

    fn apply(names: &mut BTreeMap<PathBuf, usize>, changes: &[(PathBuf, Option<usize>)]) {
        for (path, at) in changes {
            match at {
                Some(at) => names.insert(path.clone(), *at),
                None => names.remove(path),
            };
        }
    }

    /// Of the changes that were not synced the first few, or any, or of each name any of its states: a rename may be there
    /// by half.
    fn any_names(&self, dice: &mut Dice) -> BTreeMap<PathBuf, usize> {
        let mut names = self.durable_names.clone();
        match dice.roll(3) {
            0 => {
                let kept = dice.roll(self.name_changes.len() + 1);
                self.name_changes[..kept].iter().for_each(|changes| Self::apply(&mut names, changes));
            }
            1 => {
                let kept = self.name_changes.iter().filter(|_| dice.roll(2) == 0);
                kept.for_each(|changes| Self::apply(&mut names, changes));
            }
            _ => {
                let kept = self.name_changes.iter().flatten().filter(|_| dice.roll(2) == 0);
                kept.for_each(|change| Self::apply(&mut names, std::slice::from_ref(change)));
            }
        }
        names
    }
}

impl Fs for SimulatedFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut disk = self.disk();
        disk.trace.note("list", Path::new(""), &[]);
        disk.may()?;
        disk.may_open()?;
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let is_segment = path.extension().is_some_and(|kind| kind == "segment");
        let panics = is_segment && self.disk().panics_at_segments;
        assert!(!panics, "as it was told to");
        let mut disk = self.disk();
        disk.trace.note("create", path, &[]);
        disk.may_write()?;
        if let Some(kind) = disk.unwritable_segments.filter(|_| is_segment) {
            return Err(kind.into());
        }
        disk.may_open()?;
        let at = match disk.find(path) {
            Ok(at) => at,
            Err(_) => {
                disk.files.push(Content::default());
                let at = disk.files.len() - 1;
                disk.name(vec![(path.to_owned(), Some(at))]);
                at
            }
        };
        let before = disk.files[at].now.len();
        disk.give_back(before);
        disk.files[at].now.clear();
        Ok(Arc::new(SimulatedFile { disk: self.clone(), at, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk();
        disk.trace.note("open", path, &[]);
        disk.may_write()?;
        disk.may_open()?;
        let at = disk.find(path)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), at, path: path.to_owned() }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk();
        disk.trace.note("open to read", path, &[]);
        disk.may()?;
        disk.may_open()?;
        let at = disk.find(path)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), at, path: path.to_owned() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.trace.note("remove", path, &[]);
        disk.may_write()?;
        disk.find(path)?;
        disk.name(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.trace.note("rename", to, &[]);
        disk.may_write()?;
        let at = disk.find(from)?;
        disk.name(vec![(to.to_owned(), Some(at)), (from.to_owned(), None)]);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.trace.note("link", to, &[]);
        disk.may_write()?;
        let at = disk.find(from)?;
        if disk.names.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        disk.name(vec![(to.to_owned(), Some(at))]);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.trace.note("sync folder", Path::new(""), &[]);
        disk.may()?;
        disk.may_open()?;
        if disk.lies || disk.forgets_names {
            return Ok(());
        }
        let (synced, left): (Vec<_>, Vec<_>) = std::mem::take(&mut disk.name_changes)
            .into_iter()
            .flatten()
            .partition(|(path, _)| path.parent() == Some(dir));
        disk.name_changes = left.into_iter().map(|change| vec![change]).collect();
        Disk::apply(&mut disk.durable_names, &synced);
        Ok(())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.room.filter(|_| !disk.is_quota).map_or(u64::MAX, |room| room as u64))
    }
}

impl LogFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let mut disk = self.disk.disk();
        disk.may()?;
        Ok(disk.files[self.at].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.gate().pass(Slow::Reads);
        let mut disk = self.disk.disk();
        disk.trace.note("read", &self.path, &[offset, buffer.len() as u64]);
        disk.may_go_on()?;
        disk.may()?;
        disk.reads += 1;
        if disk.unreadable.contains(&self.path) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let rest = disk.files[self.at].now.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // A part, as an operating system may: nobody relies on getting all.
        let read = buffer.len().min(rest.len()).min(4_000);
        buffer[..read].copy_from_slice(&rest[..read]);
        disk.memory.read(&self.path, offset);
        Ok(read)
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let is_there = self.disk.disk().memory.has(&self.path, offset);
        if is_there { self.read_at(buffer, offset).map(Some) } else { Ok(None) }
    }

    fn ask_for(&self, offset: u64, _bytes: u64) {
        self.disk.disk().memory.ask_for(&self.path, offset);
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.gate().pass(Slow::Writes);
        let mut disk = self.disk.disk();
        disk.trace.note("write", &self.path, &[offset, bytes.len() as u64]);
        disk.may_go_on()?;
        let fault = disk.call();
        if disk.read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        let start = usize::try_from(offset).unwrap();
        let mut written = bytes.len().min(fault.map_or(4_000, |fault| fault.written));
        let length = disk.files[self.at].now.len();
        if let Some(room) = disk.room.filter(|_| !disk.tells_late) {
            written = written.min((length + room).saturating_sub(start));
            if written == 0 && fault.is_none() {
                return Err(disk.full());
            }
            disk.room = Some(room - (start + written).saturating_sub(length));
        }
        let content = &mut disk.files[self.at].now;
        content.resize(length.max(start + written), 0);
        content[start..start + written].copy_from_slice(&bytes[..written]);
        fault.map_or(Ok(written), |fault| Err(fault.kind.into()))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.trace.note("set length", &self.path, &[length]);
        disk.may_write()?;
        let (before, length) = (disk.files[self.at].now.len(), usize::try_from(length).unwrap());
        disk.room = disk.room.map(|room| room + before.saturating_sub(length));
        disk.files[self.at].now.resize(length, 0);
        disk.files[self.at].allocated = disk.files[self.at].allocated.min(length);
        Ok(())
    }

    fn allocate(&self, from: u64, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.trace.note("allocate", &self.path, &[from, bytes]);
        disk.may_go_on()?;
        if disk.tells_late { disk.allocate(self.at, usize::try_from(from + bytes).unwrap()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.gate().pass(Slow::Syncs);
        let mut disk = self.disk.disk();
        disk.trace.note("sync", &self.path, &[]);
        disk.may()?;
        if disk.tells_late {
            let length = disk.files[self.at].now.len();
            disk.allocate(self.at, length)?;
        }
        if !disk.lies {
            let content = &mut disk.files[self.at];
            content.durable = content.now.clone();
        }
        Ok(())
    }
}
