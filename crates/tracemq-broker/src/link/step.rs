//! What a link's calls hand to the caller, and what the caller decides.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tracemq_model::{Acceptance, ClientId, ConnectRequest, End, Reason};

/// What the caller must do after a call, besides flushing the output.
#[derive(Debug)]
pub enum Step {
    /// Nothing: all whole packets are consumed.
    Continue,
    /// A valid CONNECT was read: decide, then call [`Link::decide`](crate::Link::decide).
    Authenticate(Box<ConnectAttempt>),
    /// A CONNACK with success is in the output.
    Accepted(Acceptance),
    /// Flush the output, then close the socket. The link is dead.
    Close(Closing),
}

/// Why a link wants its socket closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The client sent a DISCONNECT packet.
    DisconnectReceived {
        /// Its MQTT 5.0 reason code, if it carried one.
        reason_code: Option<u8>,
    },
    /// Anything else.
    End(End),
}

/// A valid CONNECT that waits for a decision.
pub struct ConnectAttempt {
    /// What goes on record.
    pub request: ConnectRequest,
    /// The client identifier: the client's own, or the one that it will be assigned.
    pub client_id: Option<ClientId>,
    /// The user name.
    pub username: Option<Arc<str>>,
    /// The password. Never printed.
    pub password: Option<Bytes>,
    /// The topic of the will.
    pub will_topic: Option<Arc<str>>,
}

impl fmt::Debug for ConnectAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAttempt")
            .field("request", &self.request)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "(not shown)"))
            .field("will_topic", &self.will_topic)
            .finish()
    }
}

/// The answer to [`Step::Authenticate`].
pub enum Decision {
    /// Let it in.
    Admit {
        /// What it may do.
        permissions: Arc<dyn Permissions>,
    },
    /// Answer with the CONNACK code that fits the reason and the protocol version, and close.
    Refuse {
        /// Why.
        reason: Reason,
        /// In words, for the record only; the client does not see it.
        detail: Option<Arc<str>>,
    },
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admit { .. } => f.write_str("Admit"),
            Self::Refuse { reason, detail } => write!(f, "Refuse({reason}, {detail:?})"),
        }
    }
}

/// A message of the server itself to one client, whether it subscribed or not: QoS 0, kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its topic.
    pub topic: &'static str,
    /// Its payload.
    pub payload: Bytes,
}

/// What became of a message to a topic of [`Limits::heard_topics`](crate::Limits::heard_topics).
#[derive(Debug)]
pub enum Heard {
    /// The client has nothing to say there: the topic is the server's own.
    No,
    /// It took effect; it is acknowledged, and goes nowhere else.
    Taken,
    /// It ends the connection.
    Refused(Refused),
}

/// Why something is not allowed, where that is known better than by the bare no.
#[derive(Debug, Default)]
pub struct Refused {
    /// What ends the connection; none for the want of a permission.
    pub end: Option<End>,
    /// What the client is told before.
    pub notice: Option<Notice>,
}

/// What a client wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// PUBLISH.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
}

/// What one client may do. Asked on the connection's path, so it must answer from memory.
pub trait Permissions: Send + Sync {
    /// Whether it may publish to `topic` with that QoS and retain flag. Topic aliases are already resolved.
    fn may_publish(&self, topic: &str, qos: u8, retain: bool) -> bool;
    /// Whether it may subscribe to `filter` with that QoS: to all of it, every topic that it matches included. Without a QoS,
    /// whether that still holds of one that it has: of the QoS was judged at SUBSCRIBE.
    fn may_subscribe(&self, filter: &str, qos: Option<u8>) -> bool;
    /// Whether a message to `topic` may be brought to it. Asked when it is about to be sent, if the rules changed since
    /// SUBSCRIBE and no longer allow all that is subscribed to; also of messages that waited when they changed.
    fn may_receive(&self, topic: &str) -> bool;
    /// A number that is another one after each change of the rules. While it stays the same, nothing is asked twice.
    fn generation(&self) -> u64;
    /// The user that it has proven to be, whole, whatever its CONNECT said: sessions belong to it. None when nothing was proven; then
    /// they belong to everybody who proves nothing, whatever user name the CONNECT says.
    fn user(&self) -> Option<Arc<str>> {
        None
    }
    /// What its rights are found by after a restart, for a will that is published then: no secret, and of some hundred bytes.
    /// None when they end with the process: such a will is dropped.
    fn keepsake(&self) -> Option<String> {
        None
    }
    /// Takes a message to a topic of [`Limits::heard_topics`](crate::Limits::heard_topics).
    fn hear(&self, _topic: &str, _payload: &[u8]) -> Heard {
        Heard::No
    }
    /// Why something that ends the connection was not allowed. Asked after the no.
    fn why_not(&self, _wanted: Wanted, _topic: &str) -> Refused {
        Refused::default()
    }
}
