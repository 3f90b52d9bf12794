//! Questions to the store, and other work that may block: on threads of its own, never more at once than a bound.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracemq_model::{TracePage, TraceQuery};
use tracemq_store::{EventStore, StoreError};

/// Questions under way at once. A question is one page and mostly in memory; more would only queue at the disk.
const AT_ONCE_MAX: usize = 32;

/// How long a question waits for its turn. SDKs give up after 3 s, so that later answers help nobody.
const TURN_TIMEOUT: Duration = Duration::from_millis(500);

/// Questions under way at once that may look at every event of a window: each may keep a processor busy and hold tens of megabytes.
const LONG_AT_ONCE_MAX: usize = 2;

/// How long such a question waits for its turn.
const LONG_TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("no turn came free in time")]
    Busy,
    #[error("the store failed")]
    Store(#[source] StoreError),
    #[error("the question was broken off")]
    BrokenOff,
}

/// Work on threads that may block, so much of it at once.
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    patience: Duration,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self::of(AT_ONCE_MAX, TURN_TIMEOUT)
    }

    fn of(at_once: usize, patience: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once)), patience }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, LookupError> {
        match timeout(self.patience, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(LookupError::Busy),
        }
    }

    /// Does `work`. The turn is given back when it is done, also when nobody waits for it any more.
    pub(crate) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LookupError> {
        let turn = self.turn().await?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| LookupError::BrokenOff)
    }
}

pub(crate) struct Lookup {
    store: Arc<dyn EventStore>,
    turns: Turns,
    long: Turns,
}

/// Whether anybody still waits for the answer of a long question.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Waiting {
    /// Goes on with a scan as long as somebody waits for what it finds.
    pub(crate) fn go_on(&self) -> ControlFlow<()> {
        if self.0.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Tells it when it is dropped, with the call that it belongs to.
struct Left(Waiting);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Lookup {
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, turns: Turns::new(), long: Turns::of(LONG_AT_ONCE_MAX, LONG_TURN_TIMEOUT) }
    }

    /// Asks `question`.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn EventStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let store = Arc::clone(&self.store);
        self.turns.take(move || question(&*store)).await?.map_err(LookupError::Store)
    }

    /// A page, shown to `finish`. Handing a question to another thread costs more than a page that is in memory: that is
    /// answered at once.
    pub(crate) async fn page<T: Send + 'static>(
        &self,
        query: TraceQuery,
        finish: impl FnOnce(TracePage) -> T + Send + 'static,
    ) -> Result<T, LookupError> {
        match self.store.page_at_once(&query).map_err(LookupError::Store)? {
            Some(page) => Ok(finish(page)),
            None => self.ask(move |store| store.page(&query).map(finish)).await,
        }
    }

    /// Asks a question that may look at every event of a window. It is to give up when nobody waits for it any more.
    pub(crate) async fn ask_long<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn EventStore, &Waiting) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let (store, waiting) = (Arc::clone(&self.store), Waiting::default());
        let _left = Left(waiting.clone());
        self.long.take(move || question(&*store, &waiting)).await?.map_err(LookupError::Store)
    }

    /// Begins work that may look at every event of a window, and goes on with it when its turn has come.
    pub(crate) async fn begin_long(
        &self,
        work: impl FnOnce(&dyn EventStore) + Send + 'static,
    ) -> Result<(), LookupError> {
        let turn = self.long.turn().await?;
        let store = Arc::clone(&self.store);
        drop(tokio::task::spawn_blocking(move || {
            work(&*store);
            drop(turn);
        }));
        Ok(())
    }
}
