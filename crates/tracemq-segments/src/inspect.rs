//! Looking at a store without opening it: nothing is changed and no lock is taken, so that all of it works beside a
//! running server as well.
//!
//! A running server replaces files while they are looked at. What is open stays readable; when a file that the manifest
//! names is gone before it was opened, the manifest is read again and all begins anew.

mod check;
mod figures;
mod look;
mod read_only;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, Finding, FindingKind, Lost, check};
pub use figures::{ColumnFigures, Figures, InstanceFigures, LogFigures, SegmentFigures};
pub use look::{Look, Selection};

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tracemq_model::TimeMs;
use tracemq_store::StoreError;

use crate::fs::Fs;
use crate::manifest::{MISSING, Manifest};
use crate::repair::has_rows;
use crate::store::{Looked, look_at};
use read_only::ReadOnlyFs;

/// So often it is tried to see all files that one manifest names. A server replaces a few files a minute, and opening them
/// takes a fraction of a second.
const ATTEMPTS_MAX: u32 = 20;

/// The store in `dir` as it is at one moment.
fn steady(dir: &Path, with_events: bool) -> Result<Looked, StoreError> {
    let fs: Arc<dyn Fs> = Arc::new(ReadOnlyFs);
    let last_alive = last_alive(dir);
    let mut manifest = manifest(dir)?;
    let mut damaged_before = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        let looked = look_at(&fs, dir, manifest, last_alive, with_events)?;
        let now = self::manifest(dir)?;
        let is_as_before = now.generation == looked.manifest.generation && now.store == looked.manifest.store;
        // What is just being written may look damaged, once.
        let damaged: Vec<_> = looked.damaged.iter().map(|(damage, _)| damage.clone()).collect();
        if damaged != std::mem::replace(&mut damaged_before, damaged.clone()) {
            manifest = now;
            continue;
        }
        // An erasure is noted in the log and then in the manifest: seen in one only, half of it would be seen.
        if is_as_before || (!looked.is_incomplete && now.erasures == looked.manifest.erasures) {
            return Ok(looked);
        }
        manifest = now;
    }
    let source = io::Error::other("its files change faster than they can be opened; try again later");
    Err(StoreError::Io { operation: "look at", path: dir.to_owned(), source })
}

fn manifest(dir: &Path) -> Result<Manifest, StoreError> {
    let missing = || {
        let source = io::Error::new(ErrorKind::NotFound, "there is no event store in it");
        StoreError::Io { operation: "look at", path: dir.to_owned(), source }
    };
    match Manifest::load(&ReadOnlyFs, dir)? {
        Some(manifest) => Ok(manifest),
        None if has_rows(&ReadOnlyFs, dir).is_ok_and(|has_rows| has_rows) => {
            Err(StoreError::Damaged { path: dir.join("manifest"), offset: 0, length: 0, what: MISSING })
        }
        None => Err(missing()),
    }
}

/// The last moment at which a recorder is known to have run.
fn last_alive(dir: &Path) -> Option<TimeMs> {
    let modified = fs::metadata(dir.join("alive")).ok()?.modified().ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(TimeMs)
}
