//! What a client may do that is away, and came in by a process that is no more: its will waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_access::mqtt::{Identity, Use};
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
    fn allows(&self, used: Use, wanted: &str) -> bool {
        let access = self.guard.access().of(&self.identity, &self.guard.issued(), self.guard.now());
        access.allows(&self.identity, used, wanted)
    }
}

impl Permissions for Absent {
    fn may_publish(&self, topic: &str) -> bool {
        self.allows(Use::Publish, topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.allows(Use::Subscribe, filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.allows(Use::Subscribe, topic)
    }

    fn generation(&self) -> u64 {
        self.guard.generation.load(Ordering::Acquire)
    }

    fn keepsake(&self) -> Option<String> {
        self.identity.keepsake()
    }
}
