//! Syncs on a thread of its own, so that a large batch goes into the memtable while the disk works.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::wal::{Synced, Unsynced};

/// For fewer events waking a thread costs more than it saves.
const EVENTS_MIN: usize = 256;

/// The thread that syncs; at most one sync is on its way.
pub(super) struct Syncer {
    ask: Option<SyncSender<Unsynced>>,
    answer: Mutex<Receiver<Synced>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start() -> std::io::Result<Self> {
        let (ask, asked) = sync_channel::<Unsynced>(1);
        let (tell, answer) = sync_channel(1);
        let work = move || {
            for unsynced in asked {
                if tell.send(unsynced.sync()).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("log-sync".into()).spawn(work)?;
        Ok(Self { ask: Some(ask), answer: Mutex::new(answer), thread: Some(thread) })
    }

    /// Syncs, and does `meanwhile` in between, which concerns so many events. None when the thread is gone.
    pub(super) fn sync<T>(
        &self,
        unsynced: Unsynced,
        events: usize,
        meanwhile: impl FnOnce() -> T,
    ) -> (Option<Synced>, T) {
        let Some(ask) = self.ask.as_ref().filter(|_| events >= EVENTS_MIN) else {
            let done = meanwhile();
            return (Some(unsynced.sync()), done);
        };
        match ask.send(unsynced) {
            Ok(()) => {
                let done = meanwhile();
                let answer = self.answer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                (answer.recv().ok(), done)
            }
            Err(returned) => {
                let done = meanwhile();
                (Some(returned.0.sync()), done)
            }
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
