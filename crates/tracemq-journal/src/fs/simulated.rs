//! A disk in memory that fails when told to, and forgets what was not synced when the power goes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Fs, LogFile};

/// Shared by its clones.
#[derive(Clone, Default)]
pub(crate) struct SimulatedFs(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    files: Vec<Content>,
    calls: usize,
    fault: Option<Fault>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// Which calls fail, counted from the moment at which this is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) first: usize,
    /// Whether all later ones fail as well.
    pub(crate) for_good: bool,
    pub(crate) kind: ErrorKind,
    /// How many bytes a failing write has written nevertheless.
    pub(crate) written: usize,
}

/// What is left of what was written and not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsynced {
    Lost,
    /// The first so many bytes.
    Torn(usize),
    /// The length, but not the bytes.
    Zeros,
}

struct SimulatedFile {
    disk: SimulatedFs,
    at: usize,
}

impl SimulatedFs {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// From now on, and with the count of calls begun anew.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.fault = fault;
    }

    /// Calls since the fault was set.
    pub(crate) fn calls(&self) -> usize {
        self.disk().calls
    }

    /// The disk as it is found after the power went.
    pub(crate) fn after_power_loss(&self, unsynced: Unsynced) -> Self {
        let disk = self.disk();
        let files = disk.files.iter().map(|file| {
            let mut content = file.durable.clone();
            let new = file.now.get(content.len()..).unwrap_or_default();
            match unsynced {
                Unsynced::Lost => {}
                Unsynced::Torn(bytes) => content.extend(&new[..bytes.min(new.len())]),
                Unsynced::Zeros => content.resize(content.len() + new.len(), 0),
            }
            Content { now: content.clone(), durable: content }
        });
        let names = disk.durable_names.clone();
        Self(Arc::new(Mutex::new(Disk {
            files: files.collect(),
            durable_names: names.clone(),
            names,
            ..Disk::default()
        })))
    }

    /// A copy of the disk, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        let disk = self.disk();
        let files = disk.files.iter().map(|f| Content { now: f.now.clone(), durable: f.now.clone() }).collect();
        let names = disk.names.clone();
        Self(Arc::new(Mutex::new(Disk { files, durable_names: names.clone(), names, ..Disk::default() })))
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.disk().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let disk = self.disk();
        disk.files[disk.names[path]].now.clone()
    }

    /// Changes a file behind the journal's back.
    pub(crate) fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let at = disk.names[path];
        change(&mut disk.files[at].now);
        disk.files[at].durable = disk.files[at].now.clone();
    }

    pub(crate) fn put(&self, path: &Path, content: Vec<u8>) {
        self.create(path).unwrap();
        self.sync_dir(path.parent().unwrap()).unwrap();
        self.change(path, |bytes| *bytes = content);
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
}

impl Fs for SimulatedFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut disk = self.disk();
        disk.may()?;
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk();
        disk.may()?;
        let new = disk.files.len();
        let at = *disk.names.entry(path.to_owned()).or_insert(new);
        if at == new {
            disk.files.push(Content::default());
        }
        disk.files[at].now.clear();
        Ok(Arc::new(SimulatedFile { disk: self.clone(), at }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk();
        disk.may()?;
        let at = *disk.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), at }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.may()?;
        disk.names.remove(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.may()?;
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}

impl LogFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let mut disk = self.disk.disk();
        disk.may()?;
        Ok(disk.files[self.at].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.disk();
        disk.may()?;
        let rest = disk.files[self.at].now.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // A part, as an operating system may: nobody relies on getting all.
        let read = buffer.len().min(rest.len()).min(4_000);
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.disk();
        let fault = disk.call();
        let written = match fault {
            Some(fault) => fault.written.min(bytes.len()),
            None => bytes.len().min(4_000),
        };
        let (start, content) = (usize::try_from(offset).unwrap(), &mut disk.files[self.at].now);
        content.resize(content.len().max(start + written), 0);
        content[start..start + written].copy_from_slice(&bytes[..written]);
        fault.map_or(Ok(written), |fault| Err(fault.kind.into()))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.may()?;
        disk.files[self.at].now.resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.may()?;
        let content = &mut disk.files[self.at];
        content.durable = content.now.clone();
        Ok(())
    }
}
