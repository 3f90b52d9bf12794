//! The two threads behind the store: one seals, one merges and looks after retention. A merge of a large segment takes a
//! while, and nobody should wait for it to have a memtable sealed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracemq_store::StoreError;
use tracing::warn;

use super::{Shared, lock};
use crate::store::seal::describe;

/// After a failure it is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

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
        let mut last = None;
        while self.wait(&mut last) {
            let mut failures = Failures::default();
            while !self.stopping.load(Ordering::Relaxed) {
                match self.seal_next() {
                    Ok(true) => failures = Failures::default(),
                    Ok(false) => break,
                    Err(error) => self.pause_after(&mut failures, "seal what arrived", &error),
                }
            }
        }
    }

    fn merge_on(&self) {
        let mut last = None;
        while self.wait(&mut last) {
            let mut failures = Failures::default();
            while !self.stopping.load(Ordering::Relaxed) {
                let is_due = std::mem::take(&mut lock(&self.changes).retention_is_due);
                let retained = if is_due { self.retain() } else { Ok(()) };
                match retained.and_then(|()| self.merge_next(&mut |_| {})) {
                    Ok(true) => failures = Failures::default(),
                    Ok(false) => break,
                    Err(_) if self.stopping.load(Ordering::Relaxed) => return,
                    Err(error) => self.pause_after(&mut failures, "merge segments", &error),
                }
            }
            let mut publisher = lock(&self.publisher);
            self.empty_the_bin(&mut publisher);
        }
    }

    /// Waits for a change after the one numbered `last`; false when it is time to end.
    fn wait(&self, last: &mut Option<u64>) -> bool {
        let mut changes = lock(&self.changes);
        while *last == Some(changes.number) && !self.stopping.load(Ordering::Relaxed) {
            changes = self.changed.wait(changes).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *last = Some(changes.number);
        !self.stopping.load(Ordering::Relaxed)
    }

    /// Says what failed, once, and lets some time pass.
    fn pause_after(&self, failures: &mut Failures, what: &str, error: &StoreError) {
        let text = describe(error);
        if failures.last.as_ref() != Some(&text) {
            warn!(error = text, "can't {what}; tried again every second");
            failures.last = Some(text);
        }
        let changes = lock(&self.changes);
        if !self.stopping.load(Ordering::Relaxed) {
            let _waited = self.changed.wait_timeout(changes, RETRY);
        }
    }
}

/// What was said already.
#[derive(Default)]
struct Failures {
    last: Option<String>,
}
