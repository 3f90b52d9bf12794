//! Asking a program elsewhere, away from the connections' threads.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracemq_access::mqtt::hook::{NoVerdict, Verdict, question};
use tracemq_access::mqtt::{Identity, Question, Refusal};
use tracemq_model::{InstanceId, Reason, TimeMs};

use super::turns::Turns;
use super::{Asked, Guard};

/// A program elsewhere that knows clients.
pub trait Hook: Send + Sync {
    /// Sends `body` and waits for the verdict, for a bounded time. Called on a thread that may wait.
    ///
    /// # Errors
    /// Why there is none.
    fn ask(&self, body: &str) -> Result<Verdict, NoVerdict>;
}

/// How often it is asked.
#[derive(Clone, Copy, Debug)]
pub struct HookLimits {
    /// Questions under way at once.
    pub asking_max: usize,
    /// Clients that wait for one.
    pub waiting_max: usize,
    /// How long a client waits for its turn.
    pub wait_max: Duration,
    /// How long a verdict to let a client in holds for the same client, user, password and address.
    pub remembered_for: Duration,
    /// How many of them are remembered.
    pub remembered_max: usize,
}

type Key = [u8; 32];

/// Verdicts that let someone in, by a digest of who it was.
#[derive(Default)]
struct Remembered {
    verdicts: HashMap<Key, (Instant, Verdict)>,
    oldest_first: VecDeque<Key>,
}

pub(super) struct Asking {
    hook: Arc<dyn Hook>,
    limits: HookLimits,
    turns: Arc<Turns>,
    key: [u8; 32],
    remembered: Mutex<Remembered>,
}

impl Asking {
    pub(super) fn new(hook: Arc<dyn Hook>, limits: HookLimits, key: [u8; 32]) -> Self {
        let turns = Turns::new(limits.asking_max, limits.waiting_max, limits.wait_max);
        Self { hook, limits, turns, key, remembered: Mutex::default() }
    }

    /// Nothing is remembered any more.
    pub(super) fn forget(&self) {
        *self.remembered.lock().unwrap_or_else(PoisonError::into_inner) = Remembered::default();
    }

    /// The body holds all that a verdict may depend on. The key is this process's alone.
    fn key_of(&self, body: &str) -> Key {
        Sha256::new().chain_update(self.key).chain_update(body.as_bytes()).finalize().into()
    }

    /// One whose client is to go by now is asked for anew.
    fn recall(&self, key: &Key, now: TimeMs) -> Option<Verdict> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, verdict) = remembered.verdicts.get(key)?;
        let is_over = matches!(verdict, Verdict::Allow(grant) if grant.has_expired(now));
        (!is_over && since.elapsed() < self.limits.remembered_for).then(|| verdict.clone())
    }

    fn remember(&self, key: Key, verdict: &Verdict) {
        if self.limits.remembered_for.is_zero() || self.limits.remembered_max == 0 {
            return;
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.verdicts.insert(key, (Instant::now(), verdict.clone())).is_none() {
            remembered.oldest_first.push_back(key);
        }
        if remembered.oldest_first.len() > self.limits.remembered_max
            && let Some(oldest) = remembered.oldest_first.pop_front()
        {
            remembered.verdicts.remove(&oldest);
        }
    }

    async fn verdict(&self, address: IpAddr, body: String) -> Result<Verdict, NoVerdict> {
        let turn = self.turns.take(address).await.map_err(|_| NoVerdict::Busy)?;
        let hook = Arc::clone(&self.hook);
        let asked = tokio::task::spawn_blocking(move || {
            let verdict = hook.ask(&body);
            drop(turn);
            verdict
        });
        asked.await.unwrap_or_else(|_| Err(NoVerdict::Unreachable("the question failed".into())))
    }
}

impl Guard {
    pub(super) async fn ask(&self, asked: &Asked, about: Question, instance: &InstanceId) -> Result<Identity, Refusal> {
        let Some(asking) = &self.asking else {
            return Err(Refusal::new(Reason::NotAuthorized, "mqtt.hook takes a restart to be asked"));
        };
        let username = asked.attempt.username.as_deref().unwrap_or_default();
        let body = question(asked.client_id(), username, asked.password(), asked.address, instance.as_str());
        let Some(body) = body else {
            return Err(Refusal::new(
                Reason::BadCredentials,
                "the password is no UTF-8, which mqtt.hook can't be sent",
            ));
        };
        let key = asking.key_of(&body);
        if let Some(verdict) = asking.recall(&key, self.now()) {
            return about.outcome(Ok(verdict));
        }
        self.check_attempts(asked)?;
        let verdict = asking.verdict(asked.address, body).await;
        match &verdict {
            Ok(verdict @ Verdict::Allow(_)) => asking.remember(key, verdict),
            Ok(Verdict::Deny | Verdict::Ignore) => self.failed(asked),
            Err(error) => tracing::debug!(%error, "no verdict of mqtt.hook"),
        }
        about.outcome(verdict)
    }
}
