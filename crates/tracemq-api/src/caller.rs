//! Who makes a call, and under which circumstances: what policies are asked with.

use std::ops::Deref;
use std::sync::Arc;

use tracemq_access::{AccessKey, Context, Denial};
use tracemq_model::TimeMs;

use crate::audit::{Peer, Way};

/// A key, and how the call came that it makes. For all but rights it is the key.
#[derive(Clone)]
pub(crate) struct Caller {
    key: Arc<AccessKey>,
    context: Context,
}

impl Caller {
    /// The address is the connection's, and so is whether it is TLS: what headers say of another (`X-Forwarded-For`,
    /// `X-Forwarded-Proto`) is not read.
    pub(crate) fn new(key: Arc<AccessKey>, peer: Option<Peer>, now: TimeMs) -> Self {
        let source_ip = peer.map(|peer| peer.address.ip());
        let secure = peer.is_some_and(|peer| peer.way == Way::Tls);
        Self { key, context: Context { source_ip, time: Some(now), secure: Some(secure) } }
    }

    /// Whether it may: see [`AccessKey::allows`].
    pub(crate) fn allows(&self, actions: &[&str], resources: &[&str]) -> Result<(), Denial> {
        self.key.allows(actions, resources, &self.context)
    }

    /// Whether nothing below `prefix` is forbidden to it: see [`AccessKey::is_free_below`].
    pub(crate) fn is_free_below(&self, actions: &[&str], prefix: &str) -> Result<(), Denial> {
        self.key.is_free_below(actions, prefix, &self.context)
    }
}

impl Deref for Caller {
    type Target = AccessKey;

    fn deref(&self) -> &AccessKey {
        &self.key
    }
}
