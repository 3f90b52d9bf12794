//! Which code the client gets for which reason.

use tracemq_model::{ProtocolVersion, Reason};

/// The code by which a client is sent to another server, for now: one that took "server moved" (0x9D) at its word would
/// never come back.
pub(super) const USE_ANOTHER_SERVER: u8 = 0x9c;

/// The code of a DISCONNECT to a client of MQTT 5.0.
pub(super) fn disconnect(reason: Reason) -> u8 {
    match reason {
        Reason::SessionTakenOver => 0x8e,
        Reason::KeepAliveTimeout => 0x8d,
        Reason::ServerShutdown | Reason::ServerLost => 0x8b,
        Reason::ServerOverloaded => 0x89,
        Reason::Kicked | Reason::Banned => 0x98,
        Reason::QuotaExceeded => 0x97,
        Reason::RateLimited => 0x96,
        Reason::BadCredentials
        | Reason::NotAuthorized
        | Reason::CredentialsExpired
        | Reason::CredentialsWithdrawn
        | Reason::TokenRefused
        | Reason::CertificateRefused
        | Reason::PublishNotAuthorized
        | Reason::SubscribeNotAuthorized
        | Reason::WillNotAuthorized => 0x87,
        Reason::MalformedPacket
        | Reason::HttpOnMqttPort
        | Reason::TlsOnPlainPort
        | Reason::PlainOnTlsPort
        | Reason::WebsocketRefused
        | Reason::ProxyHeaderInvalid => 0x81,
        Reason::ProtocolError | Reason::UnsupportedProtocolVersion | Reason::BadClientId => 0x82,
        Reason::BadTopic => 0x90,
        Reason::PacketTooLarge => 0x95,
        Reason::ConnectTimeout => 0xa0,
        Reason::Opened
        | Reason::Accepted
        | Reason::ClientClosed
        | Reason::ClientDisconnected
        | Reason::ConnectionReset
        | Reason::BrokenPipe
        | Reason::NetworkError
        | Reason::TlsFailure
        | Reason::MessagePublished
        | Reason::MessageDelivered
        | Reason::MessageQueued
        | Reason::MessageDropped
        | Reason::SlowConsumer
        | Reason::InternalError => 0x80,
    }
}

/// The code of a CONNACK that refuses.
pub(super) fn connack(reason: Reason, version: ProtocolVersion) -> u8 {
    let (v5, v3) = match reason {
        Reason::BadCredentials => (0x86, 4),
        Reason::NotAuthorized
        | Reason::CertificateRefused
        | Reason::PublishNotAuthorized
        | Reason::SubscribeNotAuthorized
        | Reason::CredentialsExpired
        | Reason::CredentialsWithdrawn
        | Reason::TokenRefused
        | Reason::WillNotAuthorized => (0x87, 5),
        Reason::Banned | Reason::Kicked => (0x8a, 5),
        Reason::QuotaExceeded => (0x97, 3),
        Reason::RateLimited => (0x9f, 3),
        Reason::ServerOverloaded => (0x89, 3),
        Reason::ServerShutdown | Reason::ServerLost => (0x88, 3),
        Reason::UnsupportedProtocolVersion => (0x84, 1),
        Reason::BadClientId => (0x85, 2),
        Reason::MalformedPacket
        | Reason::HttpOnMqttPort
        | Reason::TlsOnPlainPort
        | Reason::PlainOnTlsPort
        | Reason::WebsocketRefused
        | Reason::ProxyHeaderInvalid => (0x81, 3),
        Reason::ProtocolError => (0x82, 3),
        Reason::BadTopic => (0x90, 3),
        Reason::PacketTooLarge => (0x95, 3),
        Reason::Opened
        | Reason::Accepted
        | Reason::SessionTakenOver
        | Reason::KeepAliveTimeout
        | Reason::ClientClosed
        | Reason::ClientDisconnected
        | Reason::ConnectTimeout
        | Reason::ConnectionReset
        | Reason::BrokenPipe
        | Reason::NetworkError
        | Reason::TlsFailure
        | Reason::MessagePublished
        | Reason::MessageDelivered
        | Reason::MessageQueued
        | Reason::MessageDropped
        | Reason::SlowConsumer
        | Reason::InternalError => (0x80, 3),
    };
    match version {
        ProtocolVersion::V5 => v5,
        ProtocolVersion::V31 | ProtocolVersion::V311 => v3,
    }
}

/// What a client that is refused is told beside the code. Nothing but the reason decides on the words, so that they can't
/// tell which part of a login was wrong, whom an administrator meant, or how the server is set up.
pub(super) fn words(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::BadCredentials => Some("user name, password or token is not good here"),
        Reason::NotAuthorized => Some("may not connect here"),
        Reason::CredentialsExpired => Some("the credentials have expired"),
        Reason::CredentialsWithdrawn => Some("the credentials were withdrawn"),
        Reason::WillNotAuthorized => Some("may not publish to the topic of its will"),
        Reason::Banned => Some("banned"),
        Reason::Kicked => Some("ended by an administrator"),
        Reason::QuotaExceeded => Some("there is no room for another session"),
        Reason::RateLimited => Some("too many attempts: try again later"),
        Reason::ServerOverloaded => Some("the server is busy: try again later"),
        Reason::ServerShutdown => Some("the server stops"),
        Reason::BadClientId => Some("the client identifier is empty or too long"),
        Reason::SessionTakenOver => Some("a newer connection has this client identifier"),
        Reason::Opened
        | Reason::Accepted
        | Reason::CertificateRefused
        | Reason::TokenRefused
        | Reason::PublishNotAuthorized
        | Reason::SubscribeNotAuthorized
        | Reason::KeepAliveTimeout
        | Reason::ClientClosed
        | Reason::ClientDisconnected
        | Reason::MalformedPacket
        | Reason::ProtocolError
        | Reason::PacketTooLarge
        | Reason::UnsupportedProtocolVersion
        | Reason::BadTopic
        | Reason::ConnectTimeout
        | Reason::HttpOnMqttPort
        | Reason::TlsOnPlainPort
        | Reason::PlainOnTlsPort
        | Reason::WebsocketRefused
        | Reason::ProxyHeaderInvalid
        | Reason::ConnectionReset
        | Reason::BrokenPipe
        | Reason::NetworkError
        | Reason::TlsFailure
        | Reason::SlowConsumer
        | Reason::ServerLost
        | Reason::MessagePublished
        | Reason::MessageDelivered
        | Reason::MessageQueued
        | Reason::MessageDropped
        | Reason::InternalError => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::codec::encode;
    use crate::packet::{About, Outgoing};

    // MQTT 5.0: 3.2.2-8, 3.14.2-1
    #[test]
    fn every_code_can_be_sent() {
        for reason in Reason::ALL {
            for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
                let refusal = Outgoing::Refusal { code: connack(*reason, version), about: About::default() };
                assert!(encode(version, &refusal, &mut BytesMut::new()).is_ok(), "{reason}");
            }
            let disconnect = Outgoing::Disconnect { code: disconnect(*reason), about: About::default() };
            assert!(encode(ProtocolVersion::V5, &disconnect, &mut BytesMut::new()).is_ok(), "{reason}");
        }
    }
}
