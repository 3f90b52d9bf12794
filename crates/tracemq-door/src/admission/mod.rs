//! Who comes in, and who stays: puts the judgements of [`MqttAccess`] into effect.
//!
//! Most CONNECTs are decided at once. A password that is not yet known to fit is compared on a thread of its own, and a
//! program elsewhere is asked on another: the connection waits for that, and nobody else does. How many do so at once,
//! how many wait for their turn and how long is bounded, and turns are given fairly by address; who comes on top is
//! refused, and the record says so.

mod absent;
mod asking;
mod comparing;
mod granted;
mod live;
mod turns;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tracemq_access::KeyRing;
use tracemq_access::mqtt::attempts::{AttemptLimits, Attempts, UsedUp};
use tracemq_access::mqtt::issued::{Change, Issued};
use tracemq_access::mqtt::{Anonymous, Identity, Judgement, Login, MqttAccess, Refusal, Verified};
use tracemq_broker::{Broker, ConnectAttempt, Decision};
use tracemq_model::{ConnectionId, InstanceId, Reason, TimeMs};

use asking::Asking;
pub use asking::{Hook, HookLimits};
use comparing::Comparing;
use granted::Granted;
use live::{Live, Times};

use crate::settings::Clock;

/// Bounds of what a decision may take.
#[derive(Clone, Copy, Debug)]
pub struct GuardSettings {
    /// Passwords compared at once. Half the processors, at most 4: each takes one, and some 19 MiB.
    pub comparing_max: usize,
    /// Clients that wait for that. 1,024: more could not be served before they give up.
    pub waiting_max: usize,
    /// How long a client waits for its turn. 5 s: half of what a CONNECT may take in all.
    pub wait_max: Duration,
    /// Passwords remembered to fit. 100,000: one for each connection that a small machine holds, at some 100 bytes.
    pub remembered_max: usize,
    /// Failures before a client is refused unheard.
    pub attempts: AttemptLimits,
}

impl Default for GuardSettings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            comparing_max: (processors / 2).clamp(1, 4),
            waiting_max: 1_024,
            wait_max: Duration::from_secs(5),
            remembered_max: 100_000,
            attempts: AttemptLimits::default(),
        }
    }
}

/// What stands at the door of a server: one for all listeners.
pub struct Guard {
    access: RwLock<Arc<MqttAccess>>,
    /// Another number after each change of what a client may do.
    generation: AtomicU64,
    issued: Mutex<Issued>,
    verified: Mutex<Verified>,
    attempts: Mutex<Attempts>,
    comparing: Comparing,
    asking: Option<Asking>,
    live: Live,
    clock: Clock,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// What becomes of a CONNECT: known, or to be waited for.
pub(crate) enum Admission {
    Decided(Decision),
    Pending(Pending),
}

/// A decision that takes time. Dropped when the client is gone.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// A CONNECT, and where it came from.
pub(crate) struct Newcomer<'a> {
    pub(crate) attempt: Box<ConnectAttempt>,
    pub(crate) connection: ConnectionId,
    pub(crate) address: IpAddr,
    pub(crate) instance: &'a InstanceId,
    /// The listener's name.
    pub(crate) listener: &'a str,
    /// The user that its certificate names.
    pub(crate) proven: Option<&'a str>,
    pub(crate) anonymous: Anonymous,
    pub(crate) broker: &'a Arc<Broker>,
}

/// For whom, and how, a decision is made.
struct Asked {
    attempt: Box<ConnectAttempt>,
    connection: ConnectionId,
    address: IpAddr,
    broker: std::sync::Weak<Broker>,
}

impl Asked {
    fn client_id(&self) -> &str {
        self.attempt.client_id.as_ref().map_or("", |id| id.as_str())
    }

    fn password(&self) -> &[u8] {
        self.attempt.password.as_deref().unwrap_or_default()
    }
}

impl Guard {
    /// Lets in whom `access` and `issued` let in; `hook` is asked about others, if `access` says so.
    ///
    /// # Errors
    /// When the operating system has no random numbers or threads.
    pub fn new(
        access: MqttAccess,
        issued: Issued,
        hook: Option<(Arc<dyn Hook>, HookLimits)>,
        settings: GuardSettings,
        clock: Clock,
    ) -> io::Result<Arc<Self>> {
        let key = || -> io::Result<[u8; 32]> {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            Ok(key)
        };
        Ok(Arc::new(Self {
            access: RwLock::new(Arc::new(access)),
            generation: AtomicU64::new(1),
            issued: Mutex::new(issued),
            verified: Mutex::new(Verified::new(key()?, settings.remembered_max)),
            attempts: Mutex::new(Attempts::new(settings.attempts)),
            comparing: Comparing::new(&settings)?,
            asking: hook.map(|(hook, limits)| Ok::<_, io::Error>(Asking::new(hook, limits, key()?))).transpose()?,
            live: Live::default(),
            clock,
        }))
    }

    /// What stands now.
    pub(crate) fn access(&self) -> Arc<MqttAccess> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> TimeMs {
        (self.clock)()
    }

    /// Decides, or begins to.
    pub(crate) fn consider(self: &Arc<Self>, newcomer: Newcomer<'_>) -> Admission {
        let Newcomer { attempt, connection, address, instance, listener, proven, anonymous, broker } = newcomer;
        let asked = Asked { attempt, connection, address, broker: Arc::downgrade(broker) };
        let login = Login {
            client_id: asked.client_id(),
            username: asked.attempt.username.as_deref(),
            password: asked.attempt.password.as_deref(),
            address,
            instance: instance.as_str(),
            listener,
            proven,
            anonymous,
        };
        let judgement = self.access().judge(&login, &self.issued(), self.now());
        match judgement {
            Judgement::Admitted(identity) => Admission::Decided(self.decision(&asked, Ok(identity))),
            Judgement::Refused(refusal) => {
                if refusal.reason == Reason::BadCredentials {
                    self.failed(&asked);
                }
                Admission::Decided(refuse(refusal))
            }
            Judgement::Compare(comparison) if self.knows(&comparison.stored, asked.password()) => {
                Admission::Decided(self.decision(&asked, comparison.outcome(true)))
            }
            Judgement::Compare(comparison) => match self.check_attempts(&asked) {
                Err(refusal) => Admission::Decided(refuse(refusal)),
                Ok(()) => {
                    let guard = Arc::clone(self);
                    Admission::Pending(Box::pin(async move {
                        let outcome = guard.compare(&asked, comparison).await;
                        guard.decision(&asked, outcome)
                    }))
                }
            },
            Judgement::Ask(question) => {
                let (guard, instance) = (Arc::clone(self), instance.clone());
                Admission::Pending(Box::pin(async move {
                    let outcome = guard.ask(&asked, question, &instance).await;
                    guard.decision(&asked, outcome)
                }))
            }
        }
    }

    /// Lets `identity` in, if it still may: what is written down can have changed while it was decided on.
    fn decision(self: &Arc<Self>, asked: &Asked, outcome: Result<Identity, Refusal>) -> Decision {
        let identity = match outcome {
            Ok(identity) => identity,
            Err(refusal) => return refuse(refusal),
        };
        let granted = Granted::new(self, asked.broker.clone(), asked.connection, identity);
        // First among those that are ended when something changes, then looked at: so no change is missed.
        self.live.add(&granted, times(&granted.identity, &self.access()));
        match self.standing(&granted.identity) {
            Ok(()) => Decision::Admit { permissions: granted },
            Err(refusal) => refuse(refusal),
        }
    }

    fn standing(&self, identity: &Identity) -> Result<(), Refusal> {
        self.access().standing(identity, &self.issued(), self.now())
    }

    fn check_attempts(&self, asked: &Asked) -> Result<(), Refusal> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let detail = match attempts.used_up(asked.address, asked.client_id(), self.now()) {
            None => return Ok(()),
            Some(UsedUp::Client) => "too many wrong passwords of this client",
            Some(UsedUp::Address) => "too many wrong passwords from this address",
        };
        Err(Refusal::new(Reason::RateLimited, detail))
    }

    fn failed(&self, asked: &Asked) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.failed(asked.address, asked.client_id(), self.now());
    }

    /// Puts `access` in force for everybody: who comes, who is in, and what waits for them. Gives how many connections
    /// it ended.
    pub fn replace(&self, access: MqttAccess) -> usize {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        if let Some(asking) = &self.asking {
            asking.forget();
        }
        self.review()
    }

    /// Puts these access keys in force, and leaves all else. Gives how many connections it ended.
    pub fn replace_keys(&self, keys: KeyRing) -> usize {
        {
            let mut access = self.access.write().unwrap_or_else(PoisonError::into_inner);
            *access = Arc::new(MqttAccess::clone(&access).with_keys(keys));
        }
        self.review()
    }

    /// Looks at what was given out.
    /// The groups of the configuration, by name.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.access().groups.iter().flatten().cloned().collect();
        groups.sort_unstable();
        groups
    }

    /// Reads what calls have given out and created.
    pub fn read_issued<T>(&self, read: impl FnOnce(&Issued) -> T) -> T {
        read(&self.issued())
    }

    /// Puts a change of what was given out in force, and ends the connections of those who came in by what is no good
    /// any more. Gives how many.
    pub fn apply(&self, change: &Change) -> usize {
        // In force first, then looked at who is in: so nobody is missed who comes meanwhile.
        self.issued().apply(change.clone(), self.now());
        let concerned = self.live.those(|identity| change.concerns(identity));
        if concerned.is_empty() {
            return 0;
        }
        self.generation.fetch_add(1, Ordering::Release);
        self.end_those_that_fell(&concerned)
    }

    /// Looks at everybody who is in again.
    fn review(&self) -> usize {
        self.generation.fetch_add(1, Ordering::Release);
        let access = self.access();
        self.live.note_all(|identity| times(identity, &access));
        self.end_those_that_fell(&self.live.all())
    }

    fn end_those_that_fell(&self, grants: &[Arc<Granted>]) -> usize {
        let fallen = |granted: &Arc<Granted>| match self.standing(&granted.identity) {
            Ok(()) => false,
            Err(refusal) => granted.end(&refusal),
        };
        grants.iter().filter(|granted| fallen(granted)).count()
    }

    /// Notes anew what time brings to a client that has renewed what it came in with.
    fn note_times(&self, granted: &Granted) {
        self.live.note(granted.connection, times(&granted.identity, &self.access()));
    }

    /// Ends connections when what they came in with expires, and tells them before, for as long as it is polled.
    pub async fn keep_watch(self: Arc<Self>) {
        loop {
            let now = self.now();
            for granted in self.live.to_warn(now) {
                granted.warn(now);
                self.note_times(&granted);
            }
            let due = self.live.due(now);
            if !due.is_empty() {
                self.generation.fetch_add(1, Ordering::Release);
                self.end_those_that_fell(&due);
            }
            // Not longer than a second: the wall clock may be set, and newcomers may expire sooner.
            let wait_ms = self.live.next().map_or(1_000, |next| next.since(now).clamp(1, 1_000));
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

fn times(identity: &Identity, access: &MqttAccess) -> Times {
    Times { end: identity.expires(access), warning: identity.warned_at() }
}

fn refuse(refusal: Refusal) -> Decision {
    Decision::Refuse { reason: refusal.reason, detail: Some(refusal.detail.into()) }
}
