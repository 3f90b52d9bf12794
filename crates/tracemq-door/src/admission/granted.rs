//! What one client may do, as the broker asks for it: always by what stands now.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use tracemq_access::mqtt::{ClientAccess, Identity, Refusal, Use};
use tracemq_broker::{Broker, Permissions};
use tracemq_model::{ConnectionId, End};

use super::Guard;

/// A client that was let in. Lives as long as its connection, and as long as a will of it waits.
pub(super) struct Granted {
    guard: Arc<Guard>,
    broker: Weak<Broker>,
    pub(super) connection: ConnectionId,
    pub(super) identity: Identity,
    /// What it may do, and under which generation that was found.
    found: RwLock<(u64, ClientAccess)>,
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
        Arc::new(Self { guard: Arc::clone(guard), broker, connection, identity, found })
    }

    /// Ends its connection. False when there is none any more.
    pub(super) fn end(&self, refusal: &Refusal) -> bool {
        let end = End::of(refusal.reason).with_detail(&refusal.detail);
        self.broker.upgrade().is_some_and(|broker| broker.end_link(self.connection, end))
    }

    fn allows(&self, used: Use, wanted: &str) -> bool {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        if found.0 == self.guard.generation.load(Ordering::Acquire) {
            return found.1.allows(&self.identity, used, wanted);
        }
        drop(found);
        let anew = find(&self.guard, &self.identity);
        let allowed = anew.1.allows(&self.identity, used, wanted);
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = anew;
        allowed
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
    fn may_publish(&self, topic: &str) -> bool {
        self.allows(Use::Publish, topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.allows(Use::Subscribe, filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.allows(Use::Subscribe, topic) // a topic is a filter that matches itself
    }

    fn generation(&self) -> u64 {
        self.guard.generation.load(Ordering::Acquire)
    }
}
