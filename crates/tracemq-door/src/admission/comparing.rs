//! Comparing passwords, on threads of their own.
//!
//! Not on the runtime's threads for whatever blocks: a comparison takes 19 MiB, and there are many of them.

use std::io;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tracemq_access::mqtt::{Comparison, Identity, Refusal, StoredPassword, Workspace};
use tracemq_model::Reason;

use super::turns::{NoTurn, Turn, Turns};
use super::{Asked, Guard, GuardSettings};

/// How long a thread keeps the memory of its last comparison. A second: a flood takes it from the operating system once.
const IDLE_MAX: Duration = Duration::from_secs(1);

struct Job {
    stored: StoredPassword,
    password: Bytes,
    answer: oneshot::Sender<bool>,
    /// Given back when it is done, also when nobody waits for the answer any more.
    turn: Turn,
}

/// Works until nobody can send jobs any more.
fn work(jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut workspace = Workspace::default();
        let mut next = Some(first);
        while let Some(Job { stored, password, answer, turn }) = next {
            let _ = answer.send(stored.fits(&password, &mut workspace)); // the client may be gone
            drop(turn);
            next = jobs.recv_timeout(IDLE_MAX).ok();
        }
    }
}

pub(super) struct Comparing {
    /// Of each thread. The number of a turn says which.
    threads: Vec<mpsc::Sender<Job>>,
    turns: Arc<Turns>,
    waiting_max: usize,
    wait_max: Duration,
}

impl Comparing {
    pub(super) fn new(settings: &GuardSettings) -> io::Result<Self> {
        let mut threads = Vec::new();
        for _ in 0..settings.comparing_max {
            let (jobs, inbox) = mpsc::channel();
            thread::Builder::new().name("passwords".into()).spawn(move || work(&inbox))?;
            threads.push(jobs);
        }
        let GuardSettings { waiting_max, wait_max, .. } = *settings;
        Ok(Self { turns: Turns::new(threads.len(), waiting_max, wait_max), threads, waiting_max, wait_max })
    }

    /// Whether `password` fits; none when nobody can tell.
    async fn fits(&self, turn: Turn, stored: StoredPassword, password: Bytes) -> Option<bool> {
        let thread = self.threads.get(turn.number)?;
        let (answer, compared) = oneshot::channel();
        thread.send(Job { stored, password, answer, turn }).ok()?;
        compared.await.ok()
    }
}

impl Guard {
    pub(super) fn knows(&self, stored: &StoredPassword, password: &[u8]) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).knows(stored, password)
    }

    pub(super) async fn compare(&self, asked: &Asked, comparison: Comparison) -> Result<Identity, Refusal> {
        let overloaded = |none| {
            let detail = match none {
                NoTurn::Full => format!("the passwords of {} clients wait to be compared", self.comparing.waiting_max),
                NoTurn::Late => {
                    let ms = self.comparing.wait_max.as_millis();
                    format!("the password was not compared within {ms} ms: too many wait")
                }
            };
            Refusal::new(Reason::ServerOverloaded, detail)
        };
        let turn = self.comparing.turns.take(asked.address).await.map_err(overloaded)?;
        // While it waited, the same password of another client may have been found to fit: after a start, a thousand devices of
        // one user come at once.
        if self.knows(&comparison.stored, asked.password()) {
            return comparison.outcome(true);
        }
        // Others of its address may have failed.
        self.check_attempts(asked)?;
        let stored = comparison.stored.clone();
        let password = asked.attempt.password.clone().unwrap_or_default();
        let Some(fits) = self.comparing.fits(turn, stored.clone(), password).await else {
            return Err(Refusal::new(Reason::InternalError, "the password could not be compared"));
        };
        let outcome = comparison.outcome(fits);
        if outcome.is_ok() {
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).note(&stored, asked.password());
        } else {
            self.failed(asked);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::pin::pin;
    use std::sync::{Arc, Weak};
    use std::task::{Context, Waker};

    use tracemq_access::AccountId;
    use tracemq_access::mqtt::issued::Issued;
    use tracemq_access::mqtt::{Anonymous, Cost, Judgement, Login, MqttAccess, Users, users};
    use tracemq_broker::ConnectAttempt;
    use tracemq_model::{ConnectRequest, ConnectionId, TimeMs};

    use super::*;

    #[tokio::test]
    async fn a_password_that_was_found_to_fit_while_it_waited_is_not_compared() {
        // Nothing fits what is stored: who comes in by it was not compared.
        let stored = StoredPassword::of_nobody(Cost { memory_kib: 8, rounds: 1, lanes: 1 });
        let users = Users::parse(&users::with_password("", "ops", &stored).unwrap()).unwrap();
        let access = MqttAccess { users: Some(users), ..MqttAccess::nothing(AccountId::new("local").unwrap()) };
        let settings = GuardSettings { comparing_max: 1, ..GuardSettings::default() };
        let guard = Guard::new(access, Issued::default(), None, settings, Arc::new(|| TimeMs(5))).unwrap();
        let address = IpAddr::from([192, 0, 2, 1]);
        let login = Login {
            client_id: "pump",
            username: Some("ops"),
            password: Some(b"secret"),
            address,
            instance: "mqtt-local",
            listener: "mqtt",
            proven: None,
            anonymous: Anonymous::No,
        };
        let asked = Asked {
            attempt: Box::new(ConnectAttempt {
                request: ConnectRequest::default(),
                client_id: None,
                username: Some("ops".into()),
                password: Some("secret".into()),
                will_topic: None,
            }),
            connection: ConnectionId(1),
            address,
            broker: Weak::new(),
        };
        let compared = || {
            let judgement = guard.access().judge(&login, &Issued::default(), TimeMs(5));
            let Judgement::Compare(comparison) = judgement else { panic!("{judgement:?}") };
            guard.compare(&asked, comparison)
        };
        assert_eq!(compared().await.unwrap_err().reason, Reason::BadCredentials);

        let held = guard.comparing.turns.take(address).await.ok();
        let mut waits = pin!(compared());
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        guard.verified.lock().unwrap().note(&stored, b"secret");
        drop(held);
        assert!(waits.await.is_ok());
    }
}
