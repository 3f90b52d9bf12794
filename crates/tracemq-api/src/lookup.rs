//! Questions to the store: asked on threads that may block, never more at once than a bound.

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

pub(crate) struct Lookup {
    store: Arc<dyn EventStore>,
    turns: Arc<Semaphore>,
}

impl Lookup {
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Asks `question`. The turn is given back when the store has answered, also when nobody waits for it any more.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn EventStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, LookupError> {
        let turn = match timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(LookupError::Busy),
        };
        let store = Arc::clone(&self.store);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question(&*store);
            drop(turn);
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(LookupError::Store),
            Err(_) => Err(LookupError::BrokenOff),
        }
    }
}
