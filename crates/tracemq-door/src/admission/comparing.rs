//! Comparing passwords, away from the connections' threads.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracemq_access::mqtt::{Comparison, Identity, Refusal, StoredPassword};
use tracemq_model::Reason;

use super::{Asked, Guard, GuardSettings};

pub(super) struct Comparing {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_max: usize,
    wait_max: Duration,
}

impl Comparing {
    pub(super) fn new(settings: &GuardSettings) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(settings.comparing_max)),
            waiting: Arc::new(Semaphore::new(settings.waiting_max)),
            waiting_max: settings.waiting_max,
            wait_max: settings.wait_max,
        }
    }
}

impl Guard {
    pub(super) fn knows(&self, stored: &StoredPassword, password: &[u8]) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).knows(stored, password)
    }

    pub(super) async fn compare(&self, asked: &Asked, comparison: Comparison) -> Result<Identity, Refusal> {
        let overloaded = |detail: String| Refusal::new(Reason::ServerOverloaded, detail);
        let comparing = &self.comparing;
        let waiting = Arc::clone(&comparing.waiting).try_acquire_owned().map_err(|_| {
            overloaded(format!("the passwords of {} clients wait to be compared", comparing.waiting_max))
        })?;
        let turn = tokio::time::timeout(comparing.wait_max, Arc::clone(&comparing.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let ms = comparing.wait_max.as_millis();
            return Err(overloaded(format!("the password was not compared within {ms} ms: too many wait")));
        };
        drop(waiting);
        // While it waited, others of its address may have failed.
        self.check_attempts(asked)?;
        let (stored, password) = (comparison.stored.clone(), asked.attempt.password.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let fits = stored.fits(password.as_deref().unwrap_or_default());
            drop(turn); // also when nobody waits for the answer any more
            fits
        });
        let Ok(fits) = compared.await else {
            return Err(Refusal::new(Reason::InternalError, "the password could not be compared"));
        };
        let stored = comparison.stored.clone();
        let outcome = comparison.outcome(fits);
        if outcome.is_ok() {
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).note(&stored, asked.password());
        } else {
            self.failed(asked);
        }
        outcome
    }
}
