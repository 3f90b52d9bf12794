//! The keeper: changes in, one thread that makes them durable, and who waits for that.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use tracemq_broker::{Change, Keeper, Kept, Mark};
use tracing::{error, info};

use crate::batch::{self, Batch};
use crate::database::{Database, KeepError};

/// After a failed write it is tried again; from the first to the longest pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Bounds of a keeper.
#[derive(Clone, Copy, Debug)]
pub struct KeepSettings {
    /// Bytes that may wait to become durable before no more are taken from clients. 64 MiB: what a slow disk writes in a
    /// second.
    pub waiting_bytes_max: usize,
}

impl Default for KeepSettings {
    fn default() -> Self {
        Self { waiting_bytes_max: 64 << 20 }
    }
}

/// What a keeper has done, and what keeps it from going on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepStats {
    /// Transactions that were made durable.
    pub commits: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// Why the last write failed, as long as it does. Nothing that needs it is acknowledged meanwhile.
    pub failing: Option<String>,
}

/// Keeps what the broker hands over.
pub struct Keep {
    shared: Arc<Shared>,
    settings: KeepSettings,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Read-locked while changes are handed over that belong together, so that no transaction ends between them.
    groups: RwLock<()>,
    /// Of the last change taken, and of the last one that is durable.
    taken: AtomicU64,
    kept: AtomicU64,
    /// Bytes that wait or are being written.
    unkept_bytes: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: Vec<Change>,
    waiting_bytes: usize,
    /// By the mark that they wait for, and whose they are.
    wakers: BTreeMap<(u64, Whose), Waker>,
    stopping: bool,
    stats: KeepStats,
}

/// What tells wakers apart, as [`Waker::will_wake`] does it: all connections may wait for the same mark, and each may ask again.
type Whose = (usize, usize);

fn whose(waker: &Waker) -> Whose {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

/// The changes of one transaction.
struct Taken {
    changes: Vec<Change>,
    bytes: usize,
    /// Of the last of them.
    mark: u64,
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Keep {
    /// Opens the file at `path`, which is made when it is missing (mode 0600), and reads what was kept.
    ///
    /// # Errors
    /// When it can't be read, is not what was written, or was written by a newer version: it is left as it is.
    pub fn open(path: &Path, settings: KeepSettings) -> Result<(Arc<Self>, Kept), KeepError> {
        make_private(path)?;
        let (database, kept) = Database::open(path)?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new()
                .name("session-keeper".into())
                .spawn(move || of_thread.run(database))
                .map_err(|source| KeepError::Io { operation: "start the thread for", path: path.to_owned(), source })?;
        Ok((Arc::new(Self { shared, settings, thread: Mutex::new(Some(thread)) }), kept))
    }

    /// What was done so far.
    pub fn stats(&self) -> KeepStats {
        let waiting_bytes = self.shared.unkept_bytes.load(Ordering::Acquire);
        KeepStats { waiting_bytes, ..self.shared.lock().stats.clone() }
    }

    /// Makes durable what waits, and ends the thread. What is handed over later is not kept. While the disk refuses, what waits
    /// is lost: it was never acknowledged.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has said what it had to say.
            let _ = thread.join();
        }
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Keeper for Keep {
    fn keep(&self, changes: Vec<Change>) -> Mark {
        if changes.is_empty() {
            return self.taken();
        }
        let bytes = changes.iter().map(batch::bytes).sum();
        let mut state = self.shared.lock();
        let mark = Mark(self.shared.taken.fetch_add(1, Ordering::AcqRel) + 1);
        self.shared.unkept_bytes.fetch_add(bytes, Ordering::AcqRel);
        state.waiting_bytes += bytes;
        state.waiting.extend(changes);
        drop(state);
        self.shared.changed.notify_all();
        mark
    }

    fn taken(&self) -> Mark {
        Mark(self.shared.taken.load(Ordering::Acquire))
    }

    fn kept(&self) -> Mark {
        Mark(self.shared.kept.load(Ordering::Acquire))
    }

    fn together(&self, work: &mut dyn FnMut()) {
        let _group = self.shared.groups.read().unwrap_or_else(PoisonError::into_inner);
        work();
    }

    fn wake_at(&self, mark: Mark, waker: &Waker) {
        let mut state = self.shared.lock();
        if mark <= self.kept() {
            drop(state);
            waker.wake_by_ref();
            return;
        }
        state.wakers.entry((mark.0, whose(waker))).or_insert_with(|| waker.clone());
    }

    fn has_room(&self) -> bool {
        self.shared.unkept_bytes.load(Ordering::Acquire) < self.settings.waiting_bytes_max
    }
}

impl Shared {
    // No caller's code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut database: Database) {
        while self.wait() {
            let Taken { changes, bytes, mark } = self.take();
            let count = changes.len();
            let mut batch = Batch::default();
            changes.into_iter().for_each(|change| batch.add(change));
            if !self.commit(&mut database, &batch) {
                return;
            }
            self.done(mark, count, bytes);
        }
    }

    /// Waits until something is to be written; false when there is no more to come.
    fn wait(&self) -> bool {
        let state = self.lock();
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.stopping;
        let state = self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner);
        !state.waiting.is_empty()
    }

    /// What has gathered.
    fn take(&self) -> Taken {
        let _between_groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        let (changes, bytes) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.waiting_bytes));
        Taken { changes, bytes, mark: self.taken.load(Ordering::Acquire) }
    }

    /// Tries until it is durable; false when the keeper stops meanwhile.
    fn commit(&self, database: &mut Database, batch: &Batch) -> bool {
        let mut pause = PAUSE_MIN;
        loop {
            let Err(error) = database.commit(batch) else {
                if self.lock().stats.failing.take().is_some() {
                    info!("sessions and messages are kept again");
                }
                return true;
            };
            let error = described(&error);
            let mut state = self.lock();
            if state.stats.failing.is_none() {
                error!(
                    error,
                    "sessions and messages can't be kept: messages for sessions that outlive their connection are not acknowledged until they can"
                );
            }
            state.stats.failing = Some(error);
            if state.stopping {
                return false;
            }
            let _ = self.changed.wait_timeout_while(state, pause, |state| !state.stopping);
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    fn done(&self, mark: u64, changes: usize, bytes: usize) {
        let mut state = self.lock();
        self.kept.store(mark, Ordering::Release);
        self.unkept_bytes.fetch_sub(bytes, Ordering::AcqRel);
        state.stats.commits += 1;
        state.stats.changes += u64::try_from(changes).unwrap_or(u64::MAX);
        let later = state.wakers.split_off(&(mark + 1, Whose::default()));
        let woken = std::mem::replace(&mut state.wakers, later);
        drop(state);
        woken.into_values().for_each(Waker::wake);
    }
}

fn described(error: &KeepError) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Messages are nobody else's to read.
fn make_private(path: &Path) -> Result<(), KeepError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| KeepError::Io { operation: "create", path: path.to_owned(), source };
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop).map_err(failed)
}
