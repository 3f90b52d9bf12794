//! The two threads behind the store: one seals, one merges and looks after retention. A merge of a large segment takes a
//! while, and nobody should wait for it to have a memtable sealed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracemq_store::StoreError;
use tracing::{error, info, warn};

use super::{Shared, lock};
use crate::Retention;
use crate::store::seal::describe;

/// After the first failure it is tried again so soon, after each that follows twice as late.
const RETRY: Duration = Duration::from_secs(1);
/// But never later than this.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// What waits for being sealed may hold appends up.
const SEAL_RETRY_MAX: Duration = Duration::from_secs(30);
/// The store is at leisure when no segment was made of what arrives for so long. At a million events a segment, that is with fewer
/// than seventeen thousand a second.
const LEISURE: Duration = Duration::from_secs(60);
/// What failed for lack of room is tried again as soon as there is so much more.
const MORE_ROOM: u64 = 16 << 20;

impl Shared {
    /// Starts the threads, which run until [`Shared::stop`].
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<Vec<JoinHandle<()>>> {
        let (sealer, merger) = (Arc::clone(self), Arc::clone(self));
        Ok(vec![
            thread::Builder::new().name("segment-sealer".into()).spawn(move || sealer.seal_on())?,
            thread::Builder::new().name("segment-merger".into()).spawn(move || merger.merge_on())?,
        ])
    }

    /// Has the threads end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.announce(|_| {});
    }

    fn seal_on(&self) {
        let _last_words = LastWords(self);
        let (mut last, mut sealing) = (None, Attempts::to_seal());
        while self.wait(&mut last, sealing.wait_at_most(Instant::now())) {
            while !self.is_stopping() && self.seal_when_due(&mut sealing, Instant::now()) {}
        }
    }

    fn merge_on(&self) {
        let (mut last, mut retaining, mut merging) = (None, Attempts::to_retain(), Attempts::to_merge());
        let mut leisure = Leisure::new(Instant::now());
        loop {
            let now = Instant::now();
            let at_most = [&retaining, &merging].into_iter().filter_map(|attempts| attempts.wait_at_most(now));
            let at_most = at_most.chain(leisure.wait_at_most(now)).min();
            if !self.wait(&mut last, at_most) {
                return;
            }
            while !self.is_stopping() {
                self.retain_when_due(&mut retaining, Instant::now());
                if !self.merge_when_due(&mut merging, Instant::now())
                    && !self.merge_when_at_leisure(&mut leisure, &mut merging, Instant::now())
                {
                    break;
                }
            }
            let mut publisher = lock(&self.publisher);
            self.empty_the_bin(&mut publisher);
        }
    }

    /// Seals a memtable, unless that failed a moment ago; whether there may be another one.
    pub(super) fn seal_when_due(&self, sealing: &mut Attempts, now: Instant) -> bool {
        sealing.is_due(now, || self.free_space()) && self.note(sealing, now, self.seal_next()).unwrap_or(false)
    }

    /// Looks after retention when it is time to, unless that failed a moment ago.
    pub(super) fn retain_when_due(&self, retaining: &mut Attempts, now: Instant) {
        // Whoever has no bounds, as those who only put something in or take it out, leaves all as it is: also what others have
        // hidden.
        if self.settings.retention != Retention::default()
            && retaining.is_due(now, || self.free_space())
            && std::mem::take(&mut lock(&self.changes).retention_is_due)
            && self.note(retaining, now, self.caught(|| self.retain())).is_none()
        {
            lock(&self.changes).retention_is_due = true;
        }
    }

    /// Merges once, unless that failed a moment ago; whether there may be more to merge.
    pub(super) fn merge_when_due(&self, merging: &mut Attempts, now: Instant) -> bool {
        merging.is_due(now, || self.free_space())
            && self.note(merging, now, self.caught(|| self.merge_next(&mut |_| {}))).unwrap_or(false)
    }

    /// Merges once more than needs be, when nothing was sealed for a while; whether there may be more to merge.
    pub(super) fn merge_when_at_leisure(&self, leisure: &mut Leisure, merging: &mut Attempts, now: Instant) -> bool {
        let newest = self.view().segments.iter().map(|segment| *segment.meta().sequence.end()).max();
        if !leisure.has_come(newest, now) || !merging.is_due(now, || self.free_space()) {
            return false;
        }
        let merged = self.note(merging, now, self.caught(|| self.merge_at_leisure(&mut |_| {}))).unwrap_or(false);
        // What failed is tried again when the next segment has come.
        leisure.is_used_up = !merged;
        merged
    }

    /// A panic ends one attempt, and not retention and merging for good: nobody would be told, and the disk would fill. What it
    /// was at is in no manifest.
    fn caught<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            let source = io::Error::other("a fault of this program, which the log has told");
            Err(StoreError::Io { operation: "work on", path: self.dir.clone(), source })
        })
    }

    fn note<T>(&self, attempts: &mut Attempts, now: Instant, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(done) => {
                attempts.succeeded();
                Some(done)
            }
            // A merge is broken off when the store is closed.
            Err(_) if self.is_stopping() => None,
            Err(error) => {
                attempts.failed(now, &error, self.free_space());
                None
            }
        }
    }

    fn free_space(&self) -> u64 {
        self.fs.free_space(&self.dir).unwrap_or(u64::MAX)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits for a change after the one numbered `last`, or for so long; false when it is time to end.
    fn wait(&self, last: &mut Option<u64>, at_most: Option<Duration>) -> bool {
        let begun = Instant::now();
        let mut changes = lock(&self.changes);
        while *last == Some(changes.number) && !self.is_stopping() {
            let left = at_most.map_or(RETRY_MAX, |at_most| at_most.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(changes, left);
            changes = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        *last = Some(changes.number);
        !self.is_stopping()
    }
}

/// Tells those who wait for a memtable to be sealed when nobody does that any more.
struct LastWords<'a>(&'a Shared);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("the thread that makes segments has panicked; restart to reopen the store");
            self.0.announce(|changes| changes.sealer_is_gone = true);
        }
    }
}

/// Since when nothing was sealed.
pub(super) struct Leisure {
    /// The arrival sequence of the newest segment.
    newest: Option<u64>,
    since: Instant,
    /// Whether nothing is left to do with it.
    is_used_up: bool,
}

impl Leisure {
    pub(super) fn new(now: Instant) -> Self {
        Self { newest: None, since: now, is_used_up: false }
    }

    /// Whether it has come and is of use, when the newest segment is `newest`.
    fn has_come(&mut self, newest: Option<u64>, now: Instant) -> bool {
        if newest != self.newest {
            *self = Self { newest, ..Self::new(now) };
        }
        !self.is_used_up && now.saturating_duration_since(self.since) >= LEISURE
    }

    /// How long to wait at most before looking whether it has come, and whether what has failed may be tried again.
    fn wait_at_most(&self, now: Instant) -> Option<Duration> {
        (!self.is_used_up).then(|| (self.since + LEISURE).saturating_duration_since(now).max(RETRY))
    }
}

/// What is known of a kind of work that may fail.
pub(super) struct Attempts {
    what: &'static str,
    pause_max: Duration,
    failed: Option<Failed>,
}

struct Failed {
    text: String,
    pause: Duration,
    again_at: Instant,
    /// How much room there was, if that was too little.
    free: Option<u64>,
}

impl Attempts {
    pub(super) fn to_seal() -> Self {
        Self { what: "seal what arrived", pause_max: SEAL_RETRY_MAX, failed: None }
    }

    pub(super) fn to_merge() -> Self {
        Self { what: "merge segments", pause_max: RETRY_MAX, failed: None }
    }

    pub(super) fn to_retain() -> Self {
        Self { what: "delete what is older than what is to be kept", pause_max: RETRY_MAX, failed: None }
    }

    fn is_due(&self, now: Instant, free_space: impl FnOnce() -> u64) -> bool {
        let Some(Failed { again_at, free, .. }) = &self.failed else { return true };
        now >= *again_at || free.is_some_and(|before| free_space() >= before.saturating_add(MORE_ROOM))
    }

    /// How long to wait at most before looking whether it is due; none when it need not be looked at.
    fn wait_at_most(&self, now: Instant) -> Option<Duration> {
        let Failed { again_at, free, .. } = self.failed.as_ref()?;
        let left = again_at.saturating_duration_since(now);
        Some(if free.is_some() { left.min(RETRY) } else { left })
    }

    fn succeeded(&mut self) {
        if self.failed.take().is_some() {
            info!("can {} again", self.what);
        }
    }

    /// Says what failed, once.
    fn failed(&mut self, now: Instant, error: &StoreError, free_space: u64) {
        let text = describe(error);
        let before = self.failed.take();
        if before.as_ref().is_none_or(|before| before.text != text) {
            warn!(error = text, "can't {}; tried again, later each time", self.what);
        }
        let pause = before.map_or(RETRY, |before| before.pause.saturating_mul(2).min(self.pause_max));
        let free = matches!(error, StoreError::Full { .. }).then_some(free_space);
        self.failed = Some(Failed { text, pause, again_at: now + pause, free });
    }
}
