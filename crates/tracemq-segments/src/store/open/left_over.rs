//! Files of the store that its manifest does not name: what a crash left over, or what is newer than a manifest that was put back.

use std::path::{Path, PathBuf};

use tracemq_store::StoreError;
use tracing::warn;

use super::Opening;
use crate::carried;
use crate::fs::{Fs, read_exact_at};
use crate::segment::{Segment, SegmentId};
use crate::wal;

/// A store whose files have larger numbers is not opened: no run uses up four billion.
const NUMBER_MAX: u64 = u64::MAX - (1 << 32);

pub(super) fn remove(fs: &dyn Fs, paths: Vec<PathBuf>) {
    for path in paths {
        // Should it stay, the next start tries again.
        let _ = fs.remove(&path);
    }
}

impl Opening {
    /// A number that no file has, and the files that a crash left: begun, or merged into others, and never named by a
    /// manifest that was published.
    pub(super) fn orphaned_files(&self) -> Result<(u64, Vec<PathBuf>), StoreError> {
        let names = self.fs.list(&self.dir).map_err(|source| StoreError::Io {
            operation: "list",
            path: self.dir.clone(),
            source,
        })?;
        let mut next = self.manifest.next_file.max(1);
        let mut orphaned = Vec::new();
        for name in names.iter().filter_map(|name| name.to_str()) {
            let Some((number, kind)) = name.split_once('.') else { continue };
            let Some(number) = number.parse::<u64>().ok().filter(|_| number.len() >= 10) else { continue };
            let (is_live, is_ours): (bool, fn(&Self, &Path) -> bool) = match kind {
                "segment" => (self.manifest.segments.iter().any(|entry| entry.number == number), Self::is_our_file),
                "open" => (self.manifest.orphans == Some(number), Self::is_our_file),
                _ => continue,
            };
            next = next.max(number.saturating_add(1));
            let path = self.dir.join(name);
            if is_live {
                continue;
            }
            if is_ours(self, &path) {
                orphaned.push(path);
            } else {
                warn!(path = %path.display(), "not a file of this store; it is left alone");
            }
        }
        if next > NUMBER_MAX {
            let source = std::io::Error::other("the numbers of files are used up");
            return Err(StoreError::Io { operation: "number a file in", path: self.dir.clone(), source });
        }
        Ok((next, orphaned))
    }

    /// Whether the file begins as one of this store's segments, or files of open connections, does; or is too short to tell; or
    /// begins with zeros, which a power loss leaves where nothing was written yet.
    fn is_our_file(&self, path: &Path) -> bool {
        let mut begin = [0; 28];
        let Ok(file) = self.fs.open_to_read(path) else { return false };
        match file.length() {
            Ok(length) if length < 28 => true,
            Ok(_) => {
                let is_read = read_exact_at(&*file, &mut begin, 0).is_ok();
                is_read && (begin.get(12..) == Some(self.manifest.store.as_slice()) || begin == [0; 28])
            }
            Err(_) => false,
        }
    }

    /// A manifest that was put back names what is gone by now, and doesn't name what came after it: that would be deleted as
    /// left over, though its rows are in no log any more.
    pub(super) fn refuse_an_older_manifest(&self, orphaned: &[PathBuf]) -> Result<(), StoreError> {
        let lacks_segments = self.recovery.damaged.iter().any(|damage| damage.length == 0);
        let lacks_log = matches!(self.fs.open_to_read(&wal::path(&self.dir, self.manifest.first_wal)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound);
        let what = if (lacks_segments || lacks_log) && orphaned.iter().any(|path| self.is_newer(path)) {
            "it is older than files beside it; put the last one back, or make a new one with: tracemq store repair"
        } else if lacks_segments && lacks_log && self.has_a_later_log()? {
            "segments and log that it names are gone, and the log goes on behind: it is an older one; put the last one back, \
             or make a new one with: tracemq store repair"
        } else {
            return Ok(());
        };
        Err(StoreError::Damaged { path: self.dir.join("manifest"), offset: 0, length: 0, what })
    }

    /// Whether the file, which the manifest does not name, is whole and came after it.
    fn is_newer(&self, path: &Path) -> bool {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let Some(number) = number.filter(|number| *number >= self.manifest.next_file) else { return false };
        let store = self.manifest.store;
        if path.extension().is_some_and(|kind| kind == "open") {
            return carried::verify(&*self.fs, &self.dir, store, number).is_ok_and(|(_, unread)| unread.is_none());
        }
        Segment::open(&*self.fs, path, SegmentId { store, number }).is_ok()
    }

    fn has_a_later_log(&self) -> Result<bool, StoreError> {
        let listed = self.fs.list(&self.dir);
        let names = listed.map_err(|source| StoreError::Io { operation: "list", path: self.dir.clone(), source })?;
        let numbers = names.iter().filter_map(|name| name.to_str()?.strip_suffix(".wal")?.parse::<u64>().ok());
        Ok(numbers.max().is_some_and(|last| last > self.manifest.first_wal))
    }
}
