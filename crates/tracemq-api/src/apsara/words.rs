//! Our words in that service's: what happened, why, when.

use jiff::Timestamp;
use jiff::tz::Offset;
use tracemq_model::{Action, Reason, TimeMs};

/// `Action` and `ActionCode` of what happened to a connection; none for what that service has no word for.
pub(super) fn action(action: Action) -> Option<(&'static str, &'static str)> {
    match action {
        // Before a client has named itself there is no client to ask about. Messages have words of their own.
        Action::Open | Action::Message => None,
        Action::Connect => Some(("connect", "mqtt.trace.action.connect")),
        Action::Disconnect => Some(("disconnect", "mqtt.trace.action.disconnect")),
        Action::Close => Some(("close", "mqtt.trace.action.close")),
    }
}

/// `Action` and `ActionCode` of what became of a message; none for what that service has no word for.
pub(super) fn message_action(reason: Reason) -> Option<(&'static str, &'static str)> {
    let known = [
        (Reason::MessagePublished, ("pub_mqtt", "mqtt.trace.action.msg.pub.mqtt")),
        (Reason::MessageDelivered, ("sub", "mqtt.trace.action.msg.sub")),
        (Reason::MessageQueued, ("push_offline", "mqtt.trace.action.msg.push.offline")),
    ];
    known.into_iter().find(|(of, _)| *of == reason).map(|(_, words)| words)
}

/// `ActionInfo`: the nearest of the nine.
///
/// What they don't name: refused or ended by a rule, a quota or an administrator is `not authorized`; ended by the
/// server's own state or by the path is `Socket IOException`.
pub(super) fn action_info(reason: Reason) -> &'static str {
    match reason {
        Reason::Opened | Reason::Accepted => "accepted",
        Reason::BadCredentials
        | Reason::NotAuthorized
        | Reason::CertificateRefused
        | Reason::QuotaExceeded
        | Reason::RateLimited
        | Reason::Banned
        | Reason::CredentialsExpired
        | Reason::CredentialsWithdrawn
        | Reason::TokenRefused
        | Reason::Kicked => "not authorized",
        Reason::SessionTakenOver => "clientId conflict",
        Reason::PublishNotAuthorized | Reason::SubscribeNotAuthorized | Reason::WillNotAuthorized => {
            "resource auth failed"
        }
        Reason::KeepAliveTimeout => "no heart",
        Reason::ClientClosed => "closed by client",
        Reason::ClientDisconnected => "disconnected by client",
        Reason::MalformedPacket
        | Reason::ProtocolError
        | Reason::PacketTooLarge
        | Reason::UnsupportedProtocolVersion
        | Reason::BadClientId
        | Reason::BadTopic
        | Reason::ConnectTimeout
        | Reason::HttpOnMqttPort
        | Reason::TlsOnPlainPort
        | Reason::PlainOnTlsPort
        | Reason::WebsocketRefused
        | Reason::ProxyHeaderInvalid => "invalid param",
        Reason::ConnectionReset
        | Reason::BrokenPipe
        | Reason::NetworkError
        | Reason::TlsFailure
        | Reason::SlowConsumer
        | Reason::ServerShutdown
        | Reason::ServerLost
        | Reason::ServerOverloaded
        | Reason::InternalError => "Socket IOException",
        Reason::MessagePublished => "Pub From Mqtt Client",
        Reason::MessageDelivered => "Push To Mqtt Client",
        Reason::MessageQueued => "Push Offline Msg To Mqtt Client",
        // No operation shows one: that service has no word for it.
        Reason::MessageDropped => "Drop Msg",
    }
}

/// `Time`: `yyyy-MM-dd HH:mm:ss.SSS`, `utc_offset_s` seconds east of UTC. Moments before the year 1 and at the end
/// of the year 9999 or after it are shown as the nearest that can be written.
pub(super) fn time(time: TimeMs, utc_offset_s: i32) -> String {
    const FIRST_MS: i64 = -62_135_596_800_000; // 0001-01-01T00:00:00Z
    const LAST_MS: i64 = 253_402_207_200_000; // 9999-12-30T22:00:00Z, the last that jiff knows
    let offset = Offset::from_seconds(utc_offset_s).unwrap_or(Offset::UTC);
    let shift_ms = i64::from(offset.seconds()) * 1_000;
    // Shifted first and shown as if in UTC, so that no offset can lead past the calendar's end.
    let local_ms = time.0.saturating_add(shift_ms).clamp(FIRST_MS, LAST_MS);
    let local = Timestamp::from_millisecond(local_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    Offset::UTC.to_datetime(local).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_local_and_never_fail() {
        const EAST_8: i32 = 8 * 3_600;
        for (ms, offset, expected) in [
            (1_621_583_514_867, EAST_8, "2021-05-21 15:51:54.867"),
            (1_621_583_514_867, 0, "2021-05-21 07:51:54.867"),
            (0, -12_600, "1969-12-31 20:30:00.000"),
            (-1, 0, "1969-12-31 23:59:59.999"),
            (1_000, 0, "1970-01-01 00:00:01.000"),
            (i64::MIN, EAST_8, "0001-01-01 00:00:00.000"),
            (i64::MAX, EAST_8, "9999-12-30 22:00:00.000"),
            (253_402_300_799_999, EAST_8, "9999-12-30 22:00:00.000"),
            (0, i32::MAX, "1970-01-01 00:00:00.000"),
        ] {
            assert_eq!(time(TimeMs(ms), offset), expected, "{ms} {offset}");
        }
    }

    /// The table as published, a line for each reason: a change here is a change of what callers see.
    #[test]
    fn every_reason_has_its_one_word() {
        let table: Vec<_> = Reason::ALL.iter().map(|reason| (reason.code(), action_info(*reason))).collect();
        let expected = [
            ("opened", "accepted"),
            ("accepted", "accepted"),
            ("bad-credentials", "not authorized"),
            ("not-authorized", "not authorized"),
            ("quota-exceeded", "not authorized"),
            ("rate-limited", "not authorized"),
            ("banned", "not authorized"),
            ("kicked", "not authorized"),
            ("session-taken-over", "clientId conflict"),
            ("publish-not-authorized", "resource auth failed"),
            ("subscribe-not-authorized", "resource auth failed"),
            ("will-not-authorized", "resource auth failed"),
            ("keep-alive-timeout", "no heart"),
            ("client-closed", "closed by client"),
            ("client-disconnected", "disconnected by client"),
            ("malformed-packet", "invalid param"),
            ("protocol-error", "invalid param"),
            ("packet-too-large", "invalid param"),
            ("unsupported-protocol-version", "invalid param"),
            ("bad-client-id", "invalid param"),
            ("bad-topic", "invalid param"),
            ("connect-timeout", "invalid param"),
            ("http-on-mqtt-port", "invalid param"),
            ("tls-on-plain-port", "invalid param"),
            ("connection-reset", "Socket IOException"),
            ("broken-pipe", "Socket IOException"),
            ("network-error", "Socket IOException"),
            ("tls-failure", "Socket IOException"),
            ("slow-consumer", "Socket IOException"),
            ("server-shutdown", "Socket IOException"),
            ("server-lost", "Socket IOException"),
            ("server-overloaded", "Socket IOException"),
            ("internal-error", "Socket IOException"),
            ("certificate-refused", "not authorized"),
            ("plain-on-tls-port", "invalid param"),
            ("websocket-refused", "invalid param"),
            ("proxy-header-invalid", "invalid param"),
            ("credentials-expired", "not authorized"),
            ("credentials-withdrawn", "not authorized"),
            ("token-refused", "not authorized"),
            ("message-published", "Pub From Mqtt Client"),
            ("message-delivered", "Push To Mqtt Client"),
            ("message-queued", "Push Offline Msg To Mqtt Client"),
            ("message-dropped", "Drop Msg"),
        ];
        assert_eq!(table, expected);
    }
}
