//! Questions to the store, and other work that may block: on threads of its own, never more at once than a bound.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracemq_store::{EventStore, StoreError};

/// Questions under way at once. A question is one page and mostly in memory; more would only queue at the disk.
const AT_ONCE_MAX: usize = 32;

/// How long a question waits for its turn. SDKs give up after 3 s, so that later answers help nobody.
const TURN_TIMEOUT: Duration = Duration::from_millis(500);

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
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE_MAX)))
    }

    /// Does `work`. The turn is given back when it is done, also when nobody waits for it any more.
    pub(crate) async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LookupError> {
        let turn = match timeout(TURN_TIMEOUT, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(LookupError::Busy),
        };
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
}

impl Lookup {
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, turns: Turns::new() }
    }

    /// Asks `question`.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn EventStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let store = Arc::clone(&self.store);
        self.turns.take(move || question(&*store)).await?.map_err(LookupError::Store)
    }
}
