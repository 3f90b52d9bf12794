//! Taking what was erased from the disk at once, and looking whether a file may still hold it: for whoever has to know.
//!
//! Nothing may be appended meanwhile by anybody who wants to be certain.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use tracemq_model::{InstanceId, Subject};
use tracemq_store::StoreError;

use super::erase::erasures_needed;
use super::{Segments, Shared, lock};
use crate::carried::Carried;
use crate::key;
use crate::segment::{Segment, SegmentId};

/// A file that may hold what was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The file.
    pub path: PathBuf,
    /// Why it does, or may.
    pub why: &'static str,
}

impl Segments {
    /// Writes anew what holds erased events, so that their bytes are on the disk no more, nor the names of the erased in the log and
    /// in the manifests. Then looks into all files of the folder for `erased`, and gives those that may hold something of them:
    /// damaged ones, what a repair has put aside, what there is no room to write anew. `progress` is told the share of the
    /// work that is done, as in [`Segments::settle`].
    ///
    /// # Errors
    /// As [`EventStore::append`](tracemq_store::EventStore::append).
    pub fn purge(
        &self,
        erased: &[(InstanceId, Subject)],
        progress: &mut dyn FnMut(f64),
    ) -> Result<Vec<Left>, StoreError> {
        self.settle(progress)?;
        self.shared.turn_over_the_log()?;
        self.shared.forget_erasures()?;
        let keys = erased.iter().map(|(instance, subject)| {
            let mut key = Vec::new();
            key::push_key(instance, subject, &mut key);
            key
        });
        self.shared.left_of(&keys.collect::<Vec<_>>())
    }
}

impl Shared {
    /// Begins a new file of the log, and has the ones before it deleted: notes of erasures name the erased.
    pub(super) fn turn_over_the_log(&self) -> Result<(), StoreError> {
        self.freeze_even_if_empty()?;
        while self.seal_next()? {}
        Ok(())
    }

    /// Publishes two manifests without the erasures that are done with: the one before the last is kept.
    pub(super) fn forget_erasures(&self) -> Result<(), StoreError> {
        self.publish_without_erasures()?;
        self.publish_without_erasures()
    }

    fn publish_without_erasures(&self) -> Result<(), StoreError> {
        let mut publisher = lock(&self.publisher);
        let snapshot = self.snapshot();
        let is_open = |number: u64| snapshot.segments().iter().any(|segment| segment.meta().id.number == number);
        let unopened = publisher.manifest.segments.iter().filter(|entry| !is_open(entry.number));
        let unopened = unopened.map(|entry| entry.seq_hi).min();
        let live: Vec<&Arc<Segment>> = snapshot.segments().iter().collect();
        let needed = erasures_needed(&snapshot, &live, unopened);
        self.publish(&mut publisher, None, |manifest| manifest.erasures = needed, |_| {})
    }

    fn left_of(&self, keys: &[Vec<u8>]) -> Result<Vec<Left>, StoreError> {
        let log = {
            let writer = self.writer.lock().map_err(|_| StoreError::Poisoned { path: self.dir.clone() })?;
            crate::wal::path(&self.dir, writer.wal.number())
        };
        let publisher = lock(&self.publisher);
        let snapshot = self.snapshot();
        let mut known = vec![log];
        known.extend(["manifest", "manifest.old"].map(|name| self.dir.join(name)));
        known.extend(publisher.carried.number().map(|number| Carried::path(&self.dir, number)));
        let mut left = Vec::new();
        for entry in &publisher.manifest.segments {
            let path = self.dir.join(SegmentId { store: self.id, number: entry.number }.file_name());
            let open = snapshot.segments().iter().find(|segment| segment.meta().id.number == entry.number);
            let why = match open.map(|segment| holds(segment, keys)) {
                Some(Ok(false)) => None,
                Some(Ok(true)) => Some("there is too little room to write it anew"),
                Some(Err(_)) => Some("a part of it can't be read"),
                None => Some("it can't be opened"),
            };
            left.extend(why.map(|why| Left { path: path.clone(), why }));
            known.push(path);
        }
        let listed = self.fs.list(&self.dir);
        let names = listed.map_err(|source| StoreError::Io { operation: "list", path: self.dir.clone(), source })?;
        let others = names.into_iter().filter(|name| !known.contains(&self.dir.join(name)));
        left.extend(others.filter_map(|name| self.left_in_another(&name, keys)));
        left.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(left)
    }

    /// Whether a file that nothing names may hold some of `keys`.
    fn left_in_another(&self, name: &OsString, keys: &[Vec<u8>]) -> Option<Left> {
        let path = self.dir.join(name);
        let name = name.to_str()?;
        let number: Option<u64> = name.get(..10).and_then(|digits| digits.parse().ok());
        if number.is_none() && !name.starts_with("manifest") {
            return None; // not of a store
        }
        let Some(before) = name.strip_suffix(".aside") else {
            let is_kept = name.contains(".before-repair");
            let why = if is_kept { "a repair has kept it, and it may name erased clients" } else { "it is not in use" };
            return Some(Left { path, why });
        };
        let number = number.filter(|_| before.ends_with(".segment"));
        let segment = number.map(|number| Segment::open(&*self.fs, &path, SegmentId { store: self.id, number }));
        match segment {
            Some(Ok(segment)) if holds(&segment, keys).is_ok_and(|holds| !holds) => None,
            Some(_) | None => Some(Left { path, why: "a repair has put it aside" }),
        }
    }
}

fn holds(segment: &Segment, keys: &[Vec<u8>]) -> Result<bool, StoreError> {
    for key in keys {
        if segment.find(key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
