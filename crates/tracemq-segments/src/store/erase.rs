//! Taking one subject's history away: at once from every answer, and from the disk when its files are next rewritten.
//!
//! The log has the note first, and keeps it until a manifest has it: whichever is published next, by the merger if by nobody else. No
//! append waits for more than the note.
//!
//! What was erased is taken out of the files in sweeps, an hour after the first erasure, or at once after a start: the log begins a
//! new file, segments that hold something of it are written anew, and then two manifests are published that don't name it.

use std::collections::HashSet;
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
/// What has been erased is in no file any more after this time, and that of a sweep.
const GATHER_MS_MAX: u64 = 3_600_000;

/// Erasures on their way to the disk.
#[derive(Default)]
pub(super) struct Erasing {
    /// Those that only the log knows of.
    unpublished: Erasures,
    /// When the first was that files may still hold something of.
    since: Option<TimeMs>,
    /// Whether these are in the log no more: a sweep is under way.
    is_out_of_log: bool,
    /// When the first was that this sweep came too early for.
    later: Option<TimeMs>,
    /// Whether all segments that hold erased rows are to be written anew now.
    pub(super) is_settling: bool,
}

impl Erasing {
    /// What a start finds: the last run may have left it for any time.
    pub(super) fn at_start(erasures: &[Erasure]) -> Self {
        Self { since: (!erasures.is_empty()).then_some(TimeMs::MIN), ..Self::default() }
    }

    fn note(&mut self, now: TimeMs) {
        let since = if self.is_out_of_log { &mut self.later } else { &mut self.since };
        since.get_or_insert(now);
    }

    fn is_due(&mut self, now: TimeMs) -> bool {
        self.since.as_mut().is_some_and(|since| {
            // The clock may have been set back.
            *since = now.min(*since);
            now.since(*since) >= GATHER_MS_MAX
        })
    }
}

impl Shared {
    pub(super) fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        let mut key = Vec::new();
        key::push_key(instance, subject, &mut key);
        let mut writer = self.writer.lock().map_err(|_| StoreError::Poisoned { path: self.dir.clone() })?;
        // What is in the log stays there until its memtable is sealed: the note goes behind it. Of one that fails it is not known
        // whether it is there.
        lock(&self.erasing).note(self.now());
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
        let events = snapshot.hidden(segment)?.map_or(0, |hidden| hidden.events());
        if events == 0 {
            return Ok(false);
        }
        let mut erasing = lock(&self.erasing);
        Ok(erasing.is_settling || events >= segment.meta().rows / SHARE || erasing.is_due(self.now()))
    }

    /// Begins a sweep when it is time for one: afterwards no log file holds what was erased before.
    pub(super) fn begin_sweep(&self) -> Result<(), StoreError> {
        {
            let mut erasing = lock(&self.erasing);
            // What is on its way into a segment goes first: one that fails for long is not to have more and more behind it.
            if erasing.is_out_of_log || !erasing.is_due(self.now()) || !self.view().frozen.is_empty() {
                return Ok(());
            }
            erasing.is_out_of_log = true;
        }
        self.turn_over_the_log().inspect_err(|_| {
            let mut erasing = lock(&self.erasing);
            // These came after the first of all.
            (erasing.is_out_of_log, erasing.later) = (false, None);
        })
    }

    /// Ends a sweep when no segment that can be written anew holds what was erased: its names leave the manifests, too.
    pub(super) fn end_sweep(&self) -> Result<(), StoreError> {
        if !lock(&self.erasing).is_out_of_log {
            return Ok(());
        }
        let (snapshot, unmergeable) = (self.snapshot(), lock(&self.unmergeable).clone());
        let holds = |segment: &Arc<Segment>| {
            let hidden = snapshot.hidden(segment).map(|hidden| hidden.map_or(0, |hidden| hidden.events()));
            !unmergeable.contains(&segment.meta().id.number) && hidden.map_or(true, |events| events > 0)
        };
        if snapshot.segments().iter().any(holds) {
            return Ok(());
        }
        self.forget_erasures()?;
        let mut erasing = lock(&self.erasing);
        (erasing.since, erasing.is_out_of_log) = (erasing.later.take(), false);
        Ok(())
    }

    fn now(&self) -> TimeMs {
        TimeMs(self.now.load(Ordering::Relaxed))
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
