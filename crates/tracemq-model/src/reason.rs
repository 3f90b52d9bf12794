//! Why something happened to a connection: what was seen, never what was guessed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who brought a connection to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initiator {
    /// The device.
    Client,
    /// The server, by a rule of MQTT, by its own limits or state.
    Server,
    /// The path between the two.
    Network,
    /// A person or program with rights over the server.
    Admin,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $initiator:ident;)+) => {
        /// Why an [`Event`](crate::Event) happened.
        ///
        /// Each has a stable code (`keep-alive-timeout`), used in our API, the command line, metrics and docs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
        }

        impl Reason {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code, `kebab-case`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// Who brought it about.
            pub fn initiator(self) -> Initiator {
                match self { $(Self::$variant => Initiator::$initiator,)+ }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(code: &str) -> Result<Self, UnknownReason> {
                match code { $($code => Ok(Self::$variant),)+ _ => Err(UnknownReason) }
            }
        }
    };
}

/// The text is no reason's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the code of a reason")]
pub struct UnknownReason;

reasons! {
    /// TCP accepted; no CONNECT yet. The only reason of an open event.
    Opened = "opened", Client;
    /// CONNACK with success was sent. The only reason of a connect event.
    Accepted = "accepted", Client;

    /// CONNECT refused: unknown user, wrong password, bad signature or token.
    BadCredentials = "bad-credentials", Server;
    /// CONNECT refused: credentials are good but give no right to this instance, or no credentials were given.
    NotAuthorized = "not-authorized", Server;
    /// CONNECT refused or connection ended: a quota of connections or messages is used up.
    QuotaExceeded = "quota-exceeded", Server;
    /// CONNECT refused or connection ended: more a second than allowed.
    RateLimited = "rate-limited", Server;
    /// CONNECT refused or connection ended: client, user or address is banned.
    Banned = "banned", Admin;
    /// An administrator ended it.
    Kicked = "kicked", Admin;
    /// A newer connection with the same client identifier took the session over [MQTT-3.1.4-3].
    SessionTakenOver = "session-taken-over", Client;

    /// PUBLISH to a topic without permission, and the server closed.
    PublishNotAuthorized = "publish-not-authorized", Server;
    /// SUBSCRIBE to a filter without permission, and the server closed.
    SubscribeNotAuthorized = "subscribe-not-authorized", Server;
    /// The will's topic is one that the client may not publish to.
    WillNotAuthorized = "will-not-authorized", Server;

    /// Nothing was received for one and a half times the keep alive [MQTT-3.1.2-22].
    KeepAliveTimeout = "keep-alive-timeout", Server;
    /// The client ended the TCP stream (FIN, TLS or WebSocket close) without a DISCONNECT packet.
    ClientClosed = "client-closed", Client;
    /// The client sent a DISCONNECT packet.
    ClientDisconnected = "client-disconnected", Client;

    /// Bytes that are no MQTT packet, or a packet that can't be parsed.
    MalformedPacket = "malformed-packet", Server;
    /// A packet that parses but breaks a rule: out of order, forbidden here, forbidden twice.
    ProtocolError = "protocol-error", Server;
    /// A packet larger than the server takes.
    PacketTooLarge = "packet-too-large", Server;
    /// A protocol name or level that the server does not speak.
    UnsupportedProtocolVersion = "unsupported-protocol-version", Server;
    /// A client identifier that is empty where it may not be, too long, or of forbidden characters.
    BadClientId = "bad-client-id", Server;
    /// A topic name or filter that breaks MQTT's rules or the server's limits.
    BadTopic = "bad-topic", Server;
    /// No whole CONNECT packet in time after the TCP accept.
    ConnectTimeout = "connect-timeout", Server;
    /// An HTTP request on an MQTT port.
    HttpOnMqttPort = "http-on-mqtt-port", Server;
    /// A TLS handshake on a plain MQTT port.
    TlsOnPlainPort = "tls-on-plain-port", Server;

    /// The connection was reset (RST).
    ConnectionReset = "connection-reset", Network;
    /// Writing failed: the peer is gone.
    BrokenPipe = "broken-pipe", Network;
    /// The operating system gave the connection up: host unreachable, retransmission timed out, network down.
    NetworkError = "network-error", Network;
    /// The TLS handshake or a TLS record failed.
    TlsFailure = "tls-failure", Network;

    /// The client does not read what is sent to it, and its queue is at its bound.
    SlowConsumer = "slow-consumer", Server;
    /// The server was told to stop.
    ServerShutdown = "server-shutdown", Server;
    /// The server died or lost power while the connection was open. Written at the next start, inferred.
    ServerLost = "server-lost", Server;
    /// The server had no room: connections, memory, descriptors.
    ServerOverloaded = "server-overloaded", Server;
    /// A fault of the server itself.
    InternalError = "internal-error", Server;

    /// The TLS handshake ended at the client's certificate: there was none, or it is expired, unknown or not valid.
    CertificateRefused = "certificate-refused", Server;
    /// Bytes that are no TLS on a port that speaks TLS.
    PlainOnTlsPort = "plain-on-tls-port", Server;
    /// The WebSocket upgrade was refused, or a WebSocket frame breaks a rule.
    WebsocketRefused = "websocket-refused", Server;
    /// No PROXY protocol header where one is due, a broken one, one too many, or one from a peer that is not trusted.
    ProxyHeaderInvalid = "proxy-header-invalid", Server;

    // New ones come last: the log of the store has their place in this list.
    /// What the client came in with is good no more: a token or key expired while it was connected.
    CredentialsExpired = "credentials-expired", Server;
    /// What the client came in with was withdrawn while it was connected: user, password, token, key, group.
    CredentialsWithdrawn = "credentials-withdrawn", Admin;
    /// A token that the client uploaded while it was connected, to renew one, is not good.
    TokenRefused = "token-refused", Server;
    /// A message: the client's PUBLISH, or its will, was taken. One of the reasons of a message event.
    MessagePublished = "message-published", Client;
    /// A message: the PUBLISH was sent to the client, for the first time if it is sent more than once.
    MessageDelivered = "message-delivered", Server;
    /// A message: it waits in the session of a client that is away.
    MessageQueued = "message-queued", Server;
    /// A message: it was for the client and will not reach it. The detail says why.
    MessageDropped = "message-dropped", Server;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_parse_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.code().parse(), Ok(*reason));
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("\"{reason}\""));
        }
        let mut codes: Vec<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
