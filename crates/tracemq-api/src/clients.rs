//! Who is connected now: what the API asks of the broker, whichever that is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracemq_model::{ClientId, ConnectionId, InstanceId, MessageId, ProtocolVersion, TimeMs};

/// A connected client.
#[derive(Clone, Debug)]
pub struct ConnectedClient {
    /// Its identifier.
    pub client: ClientId,
    /// Its network connection, as in the history.
    pub connection: ConnectionId,
    /// The user name of its CONNECT.
    pub username: Option<Arc<str>>,
    /// Its address.
    pub peer: Option<SocketAddr>,
    /// The listener that it came by.
    pub listener: Option<Arc<str>>,
    /// The MQTT version.
    pub protocol: Option<ProtocolVersion>,
    /// When TCP accepted it.
    pub since: Option<TimeMs>,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages of QoS 1 and 2 that it has not acknowledged.
    pub in_flight: usize,
}

/// Whose connections are to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One client's.
    Client(ClientId),
    /// All of a user.
    User(String),
    /// All from an address.
    Address(IpAddr),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => write!(f, "client {client}"),
            Self::User(user) => write!(f, "user {user}"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No message can be published to that topic.
    #[error("{0}")]
    Topic(String),
    /// Nobody of those who should get it has room for it, or it did not become durable in time.
    #[error("there is no room for it")]
    Full,
    /// There is no broker.
    #[error("messages are not sent here")]
    Off,
}

/// The clients of a broker.
pub trait Clients: Send + Sync {
    /// At most `limit` of `instance` whose identifiers begin with `prefix` and come after `after`; and where the next
    /// page begins, unless this is the last.
    fn page(
        &self,
        instance: &InstanceId,
        prefix: &str,
        after: Option<&ClientId>,
        limit: usize,
    ) -> (Vec<ConnectedClient>, Option<ClientId>);

    /// Whether `client` of `instance` has a connection.
    fn is_connected(&self, instance: &InstanceId, client: &ClientId) -> bool;

    /// Ends connections with the reason `kicked` and `detail`, at most `limit`; gives how many.
    fn end(&self, instance: &InstanceId, whose: &Whose, detail: &str, limit: usize) -> usize;

    /// Publishes `payload` to `topic` with QoS 1, not retained. What of it has to outlive the server does when this
    /// returns. May block.
    ///
    /// # Errors
    /// See [`SendError`].
    fn send(&self, instance: &InstanceId, topic: &str, payload: Vec<u8>) -> Result<MessageId, SendError>;
}

/// No broker, no clients.
#[derive(Clone, Copy, Debug)]
pub struct NoClients;

impl Clients for NoClients {
    fn page(
        &self,
        _: &InstanceId,
        _: &str,
        _: Option<&ClientId>,
        _: usize,
    ) -> (Vec<ConnectedClient>, Option<ClientId>) {
        (Vec::new(), None)
    }

    fn is_connected(&self, _: &InstanceId, _: &ClientId) -> bool {
        false
    }

    fn end(&self, _: &InstanceId, _: &Whose, _: &str, _: usize) -> usize {
        0
    }

    fn send(&self, _: &InstanceId, _: &str, _: Vec<u8>) -> Result<MessageId, SendError> {
        Err(SendError::Off)
    }
}

/// A connected client as the REST API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClientRow {
    /// Its identifier.
    pub client: String,
    /// Its network connection, as in the history.
    pub connection: String,
    /// The user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// `3.1`, `3.1.1` or `5.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The same in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages of QoS 1 and 2 that it has not acknowledged.
    pub in_flight: usize,
}

impl ClientRow {
    pub(crate) fn of(client: &ConnectedClient) -> Self {
        let since = client.since.and_then(|time| jiff::Timestamp::from_millisecond(time.0).ok());
        Self {
            client: client.client.to_string(),
            connection: client.connection.to_string(),
            username: client.username.as_deref().map(str::to_owned),
            peer: client.peer.map(|peer| peer.to_string()),
            listener: client.listener.as_deref().map(str::to_owned),
            protocol: client.protocol.map(|version| version.to_string()),
            since: since.map(|time| format!("{time:.3}")),
            since_ms: client.since.map(|time| time.0),
            subscriptions: client.subscriptions,
            queued: client.queued,
            queued_bytes: client.queued_bytes,
            in_flight: client.in_flight,
        }
    }
}
