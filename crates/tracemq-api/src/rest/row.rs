//! An event and a gap as rows: flat, with what is not known left out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracemq_model::{Event, Gap, Initiator, Provenance, TimeMs};
use utoipa::ToSchema;

/// An event of the REST API. What is absent was not known or does not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EventRow {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// Whose device.
    pub instance: String,
    /// Which network connection, 32 hex digits.
    pub connection: String,
    /// `open`, `connect`, `disconnect` or `close`.
    pub action: String,
    /// The stable code of why.
    pub reason: String,
    /// Who brought it about: `client`, `server`, `network` or `admin`.
    pub initiator: String,
    /// How it is known: `observed`, `reported` or `inferred`.
    pub provenance: String,
    /// The client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Address and port of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The listener that accepted the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// `3.1`, `3.1.1` or `5.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// User name of the CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Keep alive in force, in seconds; 0 means off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<u16>,
    /// Clean session or clean start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean_start: Option<bool>,
    /// Whether an earlier session was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_present: Option<bool>,
    /// The MQTT return or reason code that was sent or received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<u8>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The other connection of a takeover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_connection: Option<String>,
    /// On an end: how long the connection was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// On an end: bytes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// On an end: bytes sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// On an end: packets received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_in: Option<u64>,
    /// On an end: packets sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_out: Option<u64>,
    /// On an end: milliseconds since bytes were last received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_in_age_ms: Option<u64>,
    /// On an end: milliseconds since bytes were last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_out_age_ms: Option<u64>,
    /// `1.2` or `1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// The server name that the client asked for in its TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Subject of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_subject: Option<String>,
    /// Issuer of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_issuer: Option<String>,
    /// The last moment at which that certificate is valid, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<String>,
    /// How many connections the event stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// On an end: kind of the last packet received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_in_kind: Option<String>,
    /// On an end: kind of the last packet sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_out_kind: Option<String>,
    /// On an end: subscriptions that the session had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<u32>,
    /// On an end: messages that were sent and not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// On an end: keep alives that the client had missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_keep_alives: Option<u32>,
}

impl EventRow {
    /// The row of `event`.
    pub fn of(event: &Event) -> Self {
        let details = &event.details;
        let traffic = details.traffic;
        Self {
            time: rfc_3339(event.time),
            time_ms: event.time.0,
            instance: event.instance.to_string(),
            connection: event.connection.to_string(),
            action: event.action.code().to_owned(),
            reason: event.reason.code().to_owned(),
            initiator: initiator(event.reason.initiator()).to_owned(),
            provenance: provenance(event.provenance).to_owned(),
            client: event.client.as_ref().map(ToString::to_string),
            peer: event.peer.map(|peer| peer.to_string()),
            listener: details.listener.as_deref().map(str::to_owned),
            protocol: details.protocol.map(|protocol| protocol.to_string()),
            username: details.username.as_deref().map(str::to_owned),
            keep_alive_s: details.keep_alive_s,
            clean_start: details.clean_start,
            session_present: details.session_present,
            reason_code: details.reason_code,
            detail: details.detail.as_deref().map(str::to_owned),
            other_connection: details.other_connection.map(|connection| connection.to_string()),
            duration_ms: details.duration_ms,
            bytes_in: traffic.map(|traffic| traffic.bytes_in),
            bytes_out: traffic.map(|traffic| traffic.bytes_out),
            packets_in: traffic.map(|traffic| traffic.packets_in),
            packets_out: traffic.map(|traffic| traffic.packets_out),
            last_in_age_ms: traffic.and_then(|traffic| traffic.last_in_age_ms),
            last_out_age_ms: traffic.and_then(|traffic| traffic.last_out_age_ms),
            tls_version: details.tls_version.map(|version| version.to_string()),
            server_name: details.server_name.as_deref().map(str::to_owned),
            certificate_subject: details.certificate_subject.as_deref().map(str::to_owned),
            certificate_issuer: details.certificate_issuer.as_deref().map(str::to_owned),
            certificate_not_after: details.certificate_not_after.map(rfc_3339),
            count: details.count,
            last_in_kind: traffic.and_then(|traffic| traffic.last_in_kind).map(|kind| kind.name().to_owned()),
            last_out_kind: traffic.and_then(|traffic| traffic.last_out_kind).map(|kind| kind.name().to_owned()),
            subscriptions: traffic.and_then(|traffic| traffic.subscriptions),
            in_flight: traffic.and_then(|traffic| traffic.in_flight),
            missed_keep_alives: traffic.and_then(|traffic| traffic.missed_keep_alives),
        }
    }
}

/// A span that the record does not cover, of the REST API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GapRow {
    /// Its first moment, RFC 3339 in UTC.
    pub from: String,
    /// Its last moment, RFC 3339 in UTC.
    pub to: String,
    /// Its first moment, in milliseconds since 1970.
    pub from_ms: i64,
    /// Its last moment, in milliseconds since 1970.
    pub to_ms: i64,
    /// How many events are missing; absent when that can't be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// The stable code of why.
    pub cause: String,
}

impl GapRow {
    /// The row of `gap`.
    pub fn of(gap: Gap) -> Self {
        Self {
            from: rfc_3339(gap.from),
            to: rfc_3339(gap.to),
            from_ms: gap.from.0,
            to_ms: gap.to.0,
            lost: gap.lost,
            cause: gap.cause.code().to_owned(),
        }
    }
}

/// RFC 3339 in UTC with milliseconds; moments before the year 1 and at the end of the year 9999 or after
/// it are shown as the nearest that can be written.
pub(crate) fn rfc_3339(time: TimeMs) -> String {
    let ms = time.0.clamp(-62_135_596_800_000, 253_402_207_200_000);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn initiator(initiator: Initiator) -> &'static str {
    match initiator {
        Initiator::Client => "client",
        Initiator::Server => "server",
        Initiator::Network => "network",
        Initiator::Admin => "admin",
    }
}

fn provenance(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Observed => "observed",
        Provenance::Reported => "reported",
        Provenance::Inferred => "inferred",
    }
}
