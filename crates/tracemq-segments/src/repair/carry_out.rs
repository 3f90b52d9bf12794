//! Doing it, so that the power may go at any moment.

use std::io;
use std::path::Path;

use tracemq_store::StoreError;

use super::{Aside, Plan, RepairReport};
use crate::fs::Fs;
use crate::manifest;

impl Plan {
    pub(super) fn carry_out(mut self, fs: &dyn Fs, dir: &Path) -> Result<RepairReport, StoreError> {
        manifest::remove_unfinished(fs, dir)?;
        if let Some(mut carried) = self.carried.take() {
            let number = self.manifest.next_file;
            self.manifest.next_file = number.saturating_add(1);
            carried.write(fs, dir, self.manifest.store, number)?;
            self.manifest.orphans = carried.number();
        }
        // The next start removes what no manifest names: it has another name before there is a manifest.
        let linked: Vec<bool> = self.report.aside.iter().map(|aside| link(fs, aside)).collect();
        self.report.kept = self.manifest.publish_repaired(fs, dir)?;
        for (aside, is_linked) in self.report.aside.iter().zip(linked) {
            let moved = if is_linked { fs.remove(&aside.path) } else { fs.rename(&aside.path, &aside.to) };
            match moved {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let path = aside.path.clone();
                    return Err(StoreError::Io { operation: "put aside", path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        let synced = fs.sync_dir(dir);
        synced.map_err(|source| StoreError::Io { operation: "sync", path: dir.to_owned(), source })?;
        Ok(self.report)
    }
}

/// Whether the file has its second name. A repair that was cut off may have given it.
fn link(fs: &dyn Fs, aside: &Aside) -> bool {
    match fs.link(&aside.path, &aside.to) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
    }
}
