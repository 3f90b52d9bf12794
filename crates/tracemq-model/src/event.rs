//! What stands on record.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ClientId, ConnectionId, InstanceId, MessageId, PacketKind, Reason, TimeMs};

/// What happened to a connection.
///
/// An ordinary connection has two events: `connect`, then its end (`disconnect` or `close`). One that is silent after
/// the TCP accept gets an `open` first. One that never gets a CONNACK with success has no `connect`. None has two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// TCP was accepted and the client has yet to send its CONNECT.
    Open,
    /// CONNACK with success was sent.
    Connect,
    /// The end: the client sent a DISCONNECT packet.
    Disconnect,
    /// The end: the connection was closed or lost, without a DISCONNECT packet of the client.
    Close,
    /// Nothing of the connection's own: what became of a message, kept in a store of its own.
    Message,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Open, Self::Connect, Self::Disconnect, Self::Close, Self::Message];

    /// Those that the history of connections has.
    pub const OF_CONNECTIONS: [Self; 4] = [Self::Open, Self::Connect, Self::Disconnect, Self::Close];

    /// Whether it ends the connection.
    pub fn is_end(self) -> bool {
        match self {
            Self::Open | Self::Connect | Self::Message => false,
            Self::Disconnect | Self::Close => true,
        }
    }

    /// Whether it begins the connection, or goes on with its beginning.
    pub fn is_beginning(self) -> bool {
        match self {
            Self::Open | Self::Connect => true,
            Self::Disconnect | Self::Close | Self::Message => false,
        }
    }

    /// `open`, `connect`, `disconnect`, `close` or `message`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Close => "close",
            Self::Message => "message",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// How we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// Seen on the wire by this server.
    #[default]
    Observed,
    /// Told by another broker.
    Reported,
    /// Concluded afterwards, such as the end of a connection that was open when the server died.
    Inferred,
}

/// The MQTT version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProtocolVersion {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    #[serde(rename = "3.1")]
    V31,
    /// MQTT 3.1.1 (level 4).
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0 (level 5).
    #[serde(rename = "5.0")]
    V5,
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// The TLS version that a connection agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        })
    }
}

/// What had passed over a connection at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes of MQTT received.
    pub bytes_in: u64,
    /// Bytes of MQTT sent.
    pub bytes_out: u64,
    /// Whole MQTT control packets received.
    pub packets_in: u64,
    /// MQTT control packets sent.
    pub packets_out: u64,
    /// Milliseconds since bytes were last received; none if never.
    pub last_in_age_ms: Option<u64>,
    /// Milliseconds since bytes were last sent; none if never.
    pub last_out_age_ms: Option<u64>,
    /// Kind of the last packet received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_in_kind: Option<PacketKind>,
    /// Kind of the last packet sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_out_kind: Option<PacketKind>,
    /// Subscriptions that the session had; none without CONNACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<u32>,
    /// Messages of QoS 1 and 2 that were sent to the client and not acknowledged; none without CONNACK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// How many keep alives the client had missed: whole intervals of the keep alive in force that had passed since its last
    /// whole packet came, so 1 where it is ended for its silence after one and a half of them. 0 where it spoke in time,
    /// where no keep alive is in force (it is off, or there was no CONNACK), and where the server was not taking anything
    /// from it. None where whoever recorded the end did not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_keep_alives: Option<u32>,
}

/// Which message a message event is about. Never its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDetails {
    /// The id that this server gave it.
    pub id: MessageId,
    /// Its topic, cut at [`Details::TEXT_MAX_BYTES`].
    pub topic: Arc<str>,
    /// QoS as it was published, delivered or queued.
    pub qos: u8,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// Whose event it is, where that is not the event's own client: in the row that is kept under the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Arc<str>>,
}

/// Everything else that was known. What is absent was not known or did not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Name of the listener that accepted the connection.
    pub listener: Option<Arc<str>>,
    /// MQTT version of the CONNECT.
    pub protocol: Option<ProtocolVersion>,
    /// User name of the CONNECT, cut at [`Details::TEXT_MAX_BYTES`].
    pub username: Option<Arc<str>>,
    /// Keep alive in force, in seconds; 0 means off.
    pub keep_alive_s: Option<u16>,
    /// Clean session (3.x) or clean start (5.0).
    pub clean_start: Option<bool>,
    /// On connect: whether the server resumed an earlier session.
    pub session_present: Option<bool>,
    /// CONNACK return code or MQTT 5.0 reason code that was sent or received with this event.
    pub reason_code: Option<u8>,
    /// In words: which packet, which rule, which topic. At most [`Details::TEXT_MAX_BYTES`].
    pub detail: Option<Arc<str>>,
    /// The other connection of a takeover: on the old one's close, the newer connection.
    pub other_connection: Option<ConnectionId>,
    /// On an end: how long the connection had been open since the TCP accept, by a clock that does not step.
    pub duration_ms: Option<u64>,
    /// On an end: what had passed.
    pub traffic: Option<Traffic>,
    /// The TLS version agreed on; none without TLS, or when the handshake did not come so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<TlsVersion>,
    /// The server name that the client asked for in its TLS handshake (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Arc<str>>,
    /// Subject of the certificate that the client showed, whether it was taken or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_subject: Option<Arc<str>>,
    /// Issuer of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_issuer: Option<Arc<str>>,
    /// The last moment at which that certificate is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<TimeMs>,
    /// How many connections this event stands for, when they were counted instead of written one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Of a message event: which message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<MessageDetails>>,
}

impl Details {
    /// Longer texts from the wire are cut here, at a character's border.
    pub const TEXT_MAX_BYTES: usize = 512;

    /// `text`, cut to [`Self::TEXT_MAX_BYTES`] at a character's border.
    pub fn text(text: &str) -> Arc<str> {
        let mut end = text.len().min(Self::TEXT_MAX_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default().into()
    }
}

/// A fact about one connection at one moment. Appended, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    pub time: TimeMs,
    /// Whose device.
    pub instance: InstanceId,
    /// Which network connection.
    pub connection: ConnectionId,
    /// What happened.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// How we know.
    pub provenance: Provenance,
    /// Which client; none when the connection never named itself.
    pub client: Option<ClientId>,
    /// The peer's address; none only where another broker did not tell.
    pub peer: Option<SocketAddr>,
    /// Everything else that was known.
    pub details: Details,
}

impl Event {
    /// A message event as it is kept under its message: without a client of its own, so that the message is its subject. None
    /// for any other event.
    #[must_use]
    pub fn under_its_message(&self) -> Option<Self> {
        let message = self.details.message.as_deref()?;
        let client = self.client.as_ref().map(|client| client.as_str().into()).or_else(|| message.client.clone());
        let message = Some(Box::new(MessageDetails { client, ..message.clone() }));
        Some(Self { client: None, details: Details { message, ..self.details.clone() }, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let text = "é".repeat(400);
        assert_eq!(Details::text(&text).len(), 512);
        assert_eq!(Details::text(&format!("x{text}")).len(), 511);
        assert_eq!(&*Details::text("short"), "short");
    }
}
