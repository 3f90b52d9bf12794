//! Comparing passwords, on threads of their own.
//!
//! Not on the runtime's threads for whatever blocks: there are many of them, and the allocator keeps the 19 MiB of a
//! comparison for each thread that ever made one.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracemq_access::mqtt::{Comparison, Identity, Refusal, StoredPassword};
use tracemq_model::Reason;

use super::{Asked, Guard, GuardSettings};

struct Job {
    stored: StoredPassword,
    password: Bytes,
    answer: oneshot::Sender<bool>,
    /// Given back when it is done, also when nobody waits for the answer any more.
    turn: OwnedSemaphorePermit,
}

/// Works until nobody can send jobs any more.
fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { stored, password, answer, turn }) = job else { return };
        let _ = answer.send(stored.fits(&password)); // the client may be gone
        drop(turn);
    }
}

pub(super) struct Comparing {
    jobs: mpsc::Sender<Job>,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_max: usize,
    wait_max: Duration,
}

impl Comparing {
    pub(super) fn new(settings: &GuardSettings) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..settings.comparing_max {
            let inbox = Arc::clone(&inbox);
            thread::Builder::new().name("passwords".into()).spawn(move || work(&inbox))?;
        }
        Ok(Self {
            jobs,
            turns: Arc::new(Semaphore::new(settings.comparing_max)),
            waiting: Arc::new(Semaphore::new(settings.waiting_max)),
            waiting_max: settings.waiting_max,
            wait_max: settings.wait_max,
        })
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
        let (stored, password) = (comparison.stored.clone(), asked.attempt.password.clone().unwrap_or_default());
        let (answer, compared) = oneshot::channel();
        let sent = comparing.jobs.send(Job { stored, password, answer, turn });
        let (Ok(()), Ok(fits)) = (sent, compared.await) else {
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
