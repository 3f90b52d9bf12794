//! What one client may do, as the broker asks for it: always by what stands now.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use tracemq_access::mqtt::issued::{self, UPLOAD_TOPIC};
use tracemq_access::mqtt::{ClientAccess, Deed, Identity, Refusal, Use};
use tracemq_broker::{Broker, Heard, Notice, Permissions, Refused, Wanted};
use tracemq_model::{ConnectionId, End, TimeMs};

use super::Guard;

/// A client that was let in. Lives as long as its connection, and as long as a will of it waits.
pub(super) struct Granted {
    guard: Arc<Guard>,
    broker: Weak<Broker>,
    pub(super) connection: ConnectionId,
    pub(super) identity: Identity,
    /// What it may do, and under which generation that was found.
    found: RwLock<(u64, ClientAccess)>,
    /// How often it has renewed what it came in with.
    renewals: AtomicU64,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Granted {
    pub(super) fn new(
        guard: &Arc<Guard>,
        broker: Weak<Broker>,
        connection: ConnectionId,
        identity: Identity,
    ) -> Arc<Self> {
        let found = RwLock::new(find(guard, &identity));
        let renewals = AtomicU64::new(0);
        Arc::new(Self { guard: Arc::clone(guard), broker, connection, identity, found, renewals })
    }

    /// Ends its connection. False when there is none any more.
    pub(super) fn end(&self, refusal: &Refusal) -> bool {
        let Refused { end, notice } = refused(refusal);
        let Some((broker, end)) = self.broker.upgrade().zip(end) else { return false };
        if let Some(notice) = notice {
            broker.tell(self.connection, notice);
        }
        broker.end_link(self.connection, end)
    }

    /// Tells its client of what ends soon.
    pub(super) fn warn(&self, now: TimeMs) {
        let Some(broker) = self.broker.upgrade() else { return };
        for notice in self.identity.warnings(now) {
            broker.tell(self.connection, written(&notice));
        }
    }

    fn allows(&self, deed: Deed, wanted: &str) -> bool {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if found.0 == self.guard.generation.load(Ordering::Acquire) {
            return found.1.allows(&self.identity, deed, wanted);
        }
        drop(found);
        let anew = find(&self.guard, &self.identity);
        let allowed = anew.1.allows(&self.identity, deed, wanted);
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = anew;
        allowed
    }
}

fn written(notice: &issued::Notice) -> Notice {
    Notice { topic: notice.topic, payload: notice.payload.clone().into() }
}

fn refused(refusal: &Refusal) -> Refused {
    Refused {
        end: Some(End::of(refusal.reason).with_detail(&refusal.detail)),
        notice: refusal.notice.as_deref().map(written),
    }
}

/// The generation is read first: a change in between is found the next time.
fn find(guard: &Guard, identity: &Identity) -> (u64, ClientAccess) {
    let generation = guard.generation.load(Ordering::Acquire);
    (generation, guard.access().of(identity, &guard.issued(), guard.now()))
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.guard.live.remove(self.connection);
    }
}

impl Permissions for Granted {
    fn user(&self) -> Option<Arc<str>> {
        self.identity.user.clone()
    }

    fn may_publish(&self, topic: &str, qos: u8, retain: bool) -> bool {
        self.allows(Deed::Publish { qos, retain }, topic)
    }

    fn may_subscribe(&self, filter: &str, qos: Option<u8>) -> bool {
        self.allows(qos.map_or(Deed::Receive, |qos| Deed::Subscribe { qos }), filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.allows(Deed::Receive, topic) // a topic is a filter that matches itself
    }

    /// Both only grow, so that their sum is another one after each change of either.
    fn generation(&self) -> u64 {
        self.guard.generation.load(Ordering::Acquire).wrapping_add(self.renewals.load(Ordering::Acquire))
    }

    fn keepsake(&self) -> Option<String> {
        self.identity.keepsake()
    }

    fn hear(&self, topic: &str, payload: &[u8]) -> Heard {
        if topic != UPLOAD_TOPIC {
            return Heard::No;
        }
        // The books are held for as long as it takes: who takes the token back after that finds it here.
        let renewed = self.identity.renew(payload, &self.guard.issued(), self.guard.now());
        match renewed {
            None => Heard::No,
            Some(Ok(())) => {
                self.renewals.fetch_add(1, Ordering::AcqRel);
                self.guard.note_times(self);
                Heard::Taken
            }
            Some(Err(refusal)) => Heard::Refused(refused(&refusal)),
        }
    }

    /// That it may do nothing any more, if that is so: its end may be under way.
    fn why_not(&self, wanted: Wanted, topic: &str) -> Refused {
        if let Err(refusal) = self.guard.standing(&self.identity) {
            return refused(&refusal);
        }
        let used = match wanted {
            Wanted::Publish => Use::Publish,
            Wanted::Subscribe => Use::Subscribe,
        };
        Refused { end: None, notice: self.identity.notice_of_refusal(used, topic).as_ref().map(written) }
    }
}
