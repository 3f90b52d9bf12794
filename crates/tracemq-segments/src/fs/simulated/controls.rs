//! What tests do to the disk, and see of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Content, Dice, Disk, Fault, Gate, SimulatedFs, Trace, Unsynced};
use crate::fs::Fs;

impl SimulatedFs {
    /// From now on, and with the count of calls begun anew.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.fault = fault;
    }

    /// Reads of files, ever.
    pub(crate) fn reads(&self) -> usize {
        self.disk().reads
    }

    /// Calls since the fault was set.
    pub(crate) fn calls(&self) -> usize {
        self.disk().calls
    }

    pub(crate) fn set_unreadable(&self, path: &Path, unreadable: bool) {
        let mut disk = self.disk();
        if unreadable {
            disk.unreadable.insert(path.to_owned());
        } else {
            disk.unreadable.remove(path);
        }
    }

    pub(crate) fn set_room(&self, bytes: Option<usize>) {
        self.disk().room = bytes;
    }

    /// Whether the room is a quota's.
    pub(crate) fn set_quota(&self, is_quota: bool) {
        self.disk().is_quota = is_quota;
    }

    /// Whether signals come all the time. Reads, writes and taking room are what they interrupt: what else does so is called again
    /// below [`RealFs`](crate::fs::RealFs), by the standard library.
    pub(crate) fn set_interrupts(&self, interrupts: bool) {
        self.disk().interrupts = interrupts.then_some(0);
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.disk().read_only = read_only;
    }

    pub(crate) fn set_lies(&self, lies: bool) {
        self.disk().lies = lies;
    }

    pub(crate) fn set_forgets_names(&self, forgets: bool) {
        self.disk().forgets_names = forgets;
    }

    /// Whether whatever opens a file fails, as when a process has too many open.
    pub(crate) fn set_no_descriptors(&self, none: bool) {
        self.disk().no_descriptors = none;
    }

    pub(crate) fn set_tells_late(&self, late: bool) {
        self.disk().tells_late = late;
    }

    pub(crate) fn set_panics_at_segments(&self, panics: bool) {
        self.disk().panics_at_segments = panics;
    }

    pub(crate) fn set_unwritable_segments(&self, kind: Option<ErrorKind>) {
        self.disk().unwritable_segments = kind;
    }

    /// Notes each call from now on, also what is done to the disk after the power went.
    pub(crate) fn begin_trace(&self) {
        self.disk().trace.begin();
    }

    /// The calls that were noted.
    pub(crate) fn take_trace(&self) -> String {
        self.disk().trace.take()
    }

    /// Where calls wait when a test wants them to.
    pub(crate) fn gate(&self) -> &Gate {
        &self.1
    }

    /// The disk as it is found after the power went.
    pub(crate) fn after_power_loss(&self, unsynced: Unsynced) -> Self {
        let disk = self.disk();
        let mut dice = Dice(if let Unsynced::Any(seed) = unsynced { seed } else { 0 });
        let files = disk.files.iter().map(|file| file.after_power_loss(unsynced, &mut dice)).collect();
        let names = match unsynced {
            Unsynced::Any(_) => disk.any_names(&mut dice),
            Unsynced::Lost | Unsynced::Torn(_) | Unsynced::Zeros => disk.durable_names.clone(),
        };
        Self::of(names, files, disk.trace.clone())
    }

    /// A copy of the disk, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        let disk = self.disk();
        let files = disk.files.iter().map(|file| Content::durable(file.now.clone())).collect();
        Self::of(disk.names.clone(), files, Trace::default())
    }

    fn of(names: BTreeMap<PathBuf, usize>, files: Vec<Content>, trace: Trace) -> Self {
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(Disk { names, durable_names, files, trace, ..Disk::default() })), Arc::default())
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.disk().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let disk = self.disk();
        disk.files[disk.names[path]].now.clone()
    }

    /// Every name with what stands under it.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.paths().into_iter().map(|path| (path.clone(), self.content(&path))).collect()
    }

    /// Changes a file behind the store's back.
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
