//! Taking one subject's history away: at once from every answer, and from the disk when its files are next rewritten.
//!
//! The log has the note first, and keeps it until a manifest has it: whichever is published next, by the merger if by nobody else. No
//! append waits for more than the note.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_model::{InstanceId, Subject, TimeMs};
use tracemq_store::StoreError;
use tracing::info;

use super::{Shared, lock};
use crate::key;
use crate::manifest::{Erasure, Manifest};
use crate::segment::Segment;
use crate::view::{Erasures, Snapshot, View};

/// A segment is written anew as soon as an eighth of it has been erased: a large one for each client would be writing all the time.
const SHARE: u64 = 8;
/// What has been erased is in no file any more after this time, and that of a rewrite.
const GATHER_MS_MAX: u64 = 3_600_000;

/// Erasures on their way to the disk.
#[derive(Default)]
pub(super) struct Erasing {
    /// Those that only the log knows of.
    unpublished: Erasures,
    /// Segments that hold erased rows, and since when.
    since: BTreeMap<u64, TimeMs>,
    /// Whether all of them are to be written anew now.
    pub(super) is_settling: bool,
}

impl Shared {
    pub(super) fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        let mut key = Vec::new();
        key::push_key(instance, subject, &mut key);
        let mut writer = self.writer.lock().map_err(|_| StoreError::Poisoned { path: self.dir.clone() })?;
        // What is in the log stays there until its memtable is sealed: the note goes behind it.
        writer.wal.erase(&key)?;
        let mut hidden = writer.active.erase(&key);
        let newest = writer.sequence.saturating_sub(1);
        // Each row is in one place of it, whatever is sealed and merged meanwhile.
        let view = self.view();
        // Before anything newer can be sealed, and merged with what is older: a merge that goes on makes a segment no newer than
        // this, in which the rows stay hidden.
        lock(&self.erasing).unpublished.add(&key, newest);
        self.change_view(|view| Arc::make_mut(&mut view.erasures).add(&key, newest));
        drop(writer);
        // Whoever seals a memtable looks at it all the while, and nobody could ask it if somebody waited for changing it.
        let sealing = lock(&self.sealing);
        let frozen: usize = view.frozen.iter().map(|frozen| frozen.memtable.erase(&key)).sum();
        drop(sealing);
        hidden += frozen;
        let mut hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
        // It may be sealed by now. What could not be opened may hold it, too.
        let mut is_stored = frozen > 0 || !self.unreadable.is_empty();
        for segment in &view.segments {
            if view.erasures.cover(segment, &key) {
                is_stored = true;
                continue;
            }
            match segment.find(&key) {
                Ok(Some(rows)) => {
                    hidden += rows.end - rows.start;
                    is_stored = true;
                }
                Ok(None) => {}
                // What can't be read may hold it.
                Err(StoreError::Damaged { .. }) => is_stored = true,
                Err(error) => return Err(error),
            }
        }
        if is_stored {
            self.announce(|_| {});
        } else {
            lock(&self.erasing).unpublished.remove(&key, newest);
            self.change_view(|view| Arc::make_mut(&mut view.erasures).remove(&key, newest));
        }
        info!(events = hidden, "erased the history of one subject");
        Ok(hidden)
    }

    /// Puts what only the log knows of into a manifest, all of it together.
    pub(super) fn publish_erasures(&self) -> Result<(), StoreError> {
        if lock(&self.erasing).unpublished.len() == 0 {
            return Ok(());
        }
        self.publish(&mut lock(&self.publisher), None, |_| {}, |_| {})
    }

    /// Adds to a manifest what only the log knows of, and gives it.
    pub(super) fn add_erasures(&self, manifest: &mut Manifest) -> Erasures {
        let unpublished = lock(&self.erasing).unpublished.clone();
        if unpublished.len() > 0 {
            let mut all = Erasures::of(&manifest.erasures);
            unpublished.iter().for_each(|(key, seq)| all.add(key, seq));
            manifest.erasures = all.to_list();
        }
        unpublished
    }

    /// The manifest on disk has `published`.
    pub(super) fn erasures_are_published(&self, published: &Erasures) {
        let mut erasing = lock(&self.erasing);
        for (key, seq) in published.iter() {
            erasing.unpublished.remove(key, seq);
        }
    }

    /// Shows what is erased by `manifest`, and by the log.
    pub(super) fn show_erasures(&self, view: &mut View, manifest: &Manifest) {
        let mut all = Erasures::of(&manifest.erasures);
        lock(&self.erasing).unpublished.iter().for_each(|(key, seq)| all.add(key, seq));
        // What is known of the same ones can be kept.
        if *view.erasures != all {
            view.erasures = Arc::new(all);
        }
    }

    /// Whether `segment` should be written anew to be rid of what was erased.
    pub(super) fn is_to_lose_erased(&self, snapshot: &Snapshot, segment: &Segment) -> Result<bool, StoreError> {
        let number = segment.meta().id.number;
        let events = snapshot.hidden(segment)?.map_or(0, |hidden| hidden.events());
        let mut erasing = lock(&self.erasing);
        if events == 0 {
            erasing.since.remove(&number);
            return Ok(false);
        }
        let now = TimeMs(self.now.load(Ordering::Relaxed));
        let since = erasing.since.entry(number).or_insert(now);
        // The clock may have been set back.
        *since = now.min(*since);
        let is_due = now.since(*since) >= GATHER_MS_MAX;
        Ok(is_due || erasing.is_settling || events >= segment.meta().rows / SHARE)
    }

    /// Forgets since when segments that are gone held what was erased.
    pub(super) fn forget_gathered(&self, gone: impl Fn(u64) -> bool) {
        lock(&self.erasing).since.retain(|number, _| !gone(*number));
    }
}

/// The erasures that are not done with: those that hide, or may hide, a row of a segment that `stay`s, of a memtable on its way into
/// one, or of one that could not be opened; `unopened` is where the oldest of these ends.
pub(super) fn erasures_needed(snapshot: &Snapshot, stay: &[&Arc<Segment>], unopened: Option<u64>) -> Vec<Erasure> {
    let all = snapshot.erasures().to_list();
    let mut needed = HashSet::new();
    for segment in stay {
        match snapshot.hidden(segment) {
            Ok(Some(hidden)) => needed.extend(hidden.keys().cloned()),
            Ok(None) => {}
            Err(_) => return all,
        }
    }
    let may_hold = |seq| unopened.is_some_and(|end| end <= seq) || snapshot.frozen_until(seq).next().is_some();
    all.into_iter().filter(|erasure| needed.contains(erasure.key.as_slice()) || may_hold(erasure.seq)).collect()
}
