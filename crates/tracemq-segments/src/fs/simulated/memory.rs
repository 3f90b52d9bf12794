//! What of a disk is in memory, and what has to be waited for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::SimulatedFs;

/// All is there, until a test wants to know who waits.
#[derive(Default)]
pub(super) struct Memory {
    /// Where was read, or asked for what will be; whatever else is read has to be waited for.
    there: Option<BTreeSet<(PathBuf, u64)>>,
    /// Reads that were waited for, and not asked for before.
    waits: usize,
}

impl Memory {
    pub(super) fn has(&self, path: &Path, offset: u64) -> bool {
        self.there.as_ref().is_none_or(|there| there.contains(&(path.to_owned(), offset)))
    }

    pub(super) fn ask_for(&mut self, path: &Path, offset: u64) {
        self.there.as_mut().map(|there| there.insert((path.to_owned(), offset)));
    }

    pub(super) fn read(&mut self, path: &Path, offset: u64) {
        self.waits += usize::from(!self.has(path, offset));
        self.ask_for(path, offset);
    }
}

impl SimulatedFs {
    /// From now on nothing is in memory. Gives how many reads were waited for alone since the last time.
    pub(crate) fn cool(&self) -> usize {
        let mut disk = self.disk();
        std::mem::replace(&mut disk.memory, Memory { there: Some(BTreeSet::new()), waits: 0 }).waits
    }
}
