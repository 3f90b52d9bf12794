//! Doing it, so that the power may go at any moment.

use std::io;
use std::path::Path;

use tracemq_store::StoreError;

use super::{Aside, Plan, RepairReport};
use crate::fs::{Fs, read_exact_at};
use crate::manifest;

const COMPARED_BYTES: usize = 1 << 20;

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
        let linked = self.report.aside.iter().map(|aside| link(fs, aside)).collect::<Result<Vec<bool>, _>>()?;
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

/// Whether the file has its second name. A repair that was cut off may have given it; another file of that name is nobody's to
/// replace.
fn link(fs: &dyn Fs, aside: &Aside) -> Result<bool, StoreError> {
    match fs.link(&aside.path, &aside.to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match are_equal(fs, &aside.path, &aside.to) {
            Ok(true) => Ok(true),
            Ok(false) => {
                let operation = "put a file aside, for another one has this name:";
                Err(StoreError::Io { operation, path: aside.to.clone(), source: error })
            }
            Err(source) => Err(StoreError::Io { operation: "read", path: aside.to.clone(), source }),
        },
        Err(_) => Ok(false),
    }
}

/// Whether they hold the same, as far as they can be read.
fn are_equal(fs: &dyn Fs, one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (fs.open_to_read(one)?, fs.open_to_read(other)?);
    let length = one.length()?;
    if other.length()? != length {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    let mut offset = 0;
    while offset < length {
        let bytes = usize::try_from(length - offset).unwrap_or(usize::MAX).min(COMPARED_BYTES);
        let (left, right) = (left.get_mut(..bytes).unwrap_or_default(), right.get_mut(..bytes).unwrap_or_default());
        let is_read = read_exact_at(&*one, left, offset).is_ok() && read_exact_at(&*other, right, offset).is_ok();
        if is_read && left != right {
            return Ok(false);
        }
        offset += u64::try_from(bytes).unwrap_or(u64::MAX);
    }
    Ok(true)
}
