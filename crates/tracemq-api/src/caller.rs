//! Who makes a call, and under which circumstances: what policies are asked with.

use std::ops::Deref;
use std::sync::Arc;

use tracemq_access::{AccessKey, Context, Denial};
use tracemq_model::TimeMs;

use crate::audit::{Entry, Peer, Way};
use crate::request_id;
use crate::rest::rfc_3339;

/// A key, and how the call came that it makes. For all but rights it is the key.
#[derive(Clone)]
pub(crate) struct Caller {
    key: Arc<AccessKey>,
    context: Context,
    peer: Option<Peer>,
    request_id: String,
}

impl Caller {
    /// The address is the connection's, and so is whether it is TLS: what headers say of another (`X-Forwarded-For`,
    /// `X-Forwarded-Proto`) is not read.
    pub(crate) fn new(key: Arc<AccessKey>, peer: Option<Peer>, now: TimeMs) -> Self {
        let source_ip = peer.map(|peer| peer.address.ip());
        let secure = peer.is_some_and(|peer| peer.way == Way::Tls);
        let context = Context { source_ip, time: Some(now), secure: Some(secure) };
        Self { key, context, peer, request_id: request_id::current() }
    }

    /// How it came.
    pub(crate) fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// A call of it, as it is written down.
    pub(crate) fn entry<'a>(
        &'a self,
        action: &'a str,
        instance: Option<&'a str>,
        target: &'a str,
        outcome: &'a str,
    ) -> Entry<'a> {
        Entry {
            time: self.context.time.map(rfc_3339).unwrap_or_default(),
            request_id: &self.request_id,
            key: &self.key.id,
            user: self.key.user(),
            account: self.key.account.as_str(),
            action,
            instance,
            target,
            outcome,
            peer: self.peer.map(|peer| peer.address.to_string()),
        }
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
