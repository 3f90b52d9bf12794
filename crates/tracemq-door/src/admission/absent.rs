//! What a client may do that is away, and came in by a process that is no more: its will waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_access::mqtt::{Deed, Identity};
use tracemq_broker::Permissions;

use super::Guard;

struct Absent {
    guard: Arc<Guard>,
    identity: Identity,
}

impl Guard {
    /// The permissions of a client by its [`Permissions::keepsake`]: always by what stands now. None when nobody is found by it
    /// any more.
    pub fn recall(self: &Arc<Self>, keepsake: &str) -> Option<Arc<dyn Permissions>> {
        let identity = self.access().recall(keepsake)?;
        Some(Arc::new(Absent { guard: Arc::clone(self), identity }))
    }
}

impl Absent {
    fn allows(&self, deed: Deed, wanted: &str) -> bool {
        let access = self.guard.access().of(&self.identity, &self.guard.issued(), self.guard.now());
        access.allows(&self.identity, deed, wanted)
    }
}

impl Permissions for Absent {
    fn may_publish(&self, topic: &str, qos: u8, retain: bool) -> bool {
        self.allows(Deed::Publish { qos, retain }, topic)
    }

    fn may_subscribe(&self, filter: &str, qos: Option<u8>) -> bool {
        self.allows(qos.map_or(Deed::Receive, |qos| Deed::Subscribe { qos }), filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.allows(Deed::Receive, topic)
    }

    fn generation(&self) -> u64 {
        self.guard.generation.load(Ordering::Acquire)
    }

    fn keepsake(&self) -> Option<String> {
        self.identity.keepsake()
    }
}
