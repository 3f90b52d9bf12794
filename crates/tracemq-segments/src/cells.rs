//! What only some events have, as a list of (column, number) in a few bytes. Texts are numbers too, given by a
//! dictionary of whoever holds the cells.
//!
//! A new detail is a new column at the end; what is absent costs nothing.

use std::sync::Arc;

use tracemq_model::{
    ConnectionId, Details, MessageDetails, MessageId, PacketKind, ProtocolVersion, TimeMs, TlsVersion, Traffic,
};

use crate::varint;

/// A column of rare values. Stands on disk: a number is never changed and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Column {
    Listener = 0,
    Protocol = 1,
    Username = 2,
    KeepAlive = 3,
    CleanStart = 4,
    SessionPresent = 5,
    ReasonCode = 6,
    Detail = 7,
    OtherConnectionHigh = 8,
    OtherConnectionLow = 9,
    Duration = 10,
    BytesIn = 11,
    BytesOut = 12,
    PacketsIn = 13,
    PacketsOut = 14,
    LastInAge = 15,
    LastOutAge = 16,
    TlsVersion = 17,
    ServerName = 18,
    CertificateSubject = 19,
    CertificateNotAfter = 20,
    Count = 21,
    LastInKind = 22,
    LastOutKind = 23,
    Subscriptions = 24,
    InFlight = 25,
    MissedKeepAlives = 26,
    MessageHigh = 27,
    MessageLow = 28,
    MessageTopic = 29,
    MessageQos = 30,
    MessageBytes = 31,
    MessageClient = 32,
    CertificateIssuer = 33,
}

impl Column {
    /// All of them, at the place of their number.
    pub(crate) const ALL: [Self; 34] = [
        Self::Listener,
        Self::Protocol,
        Self::Username,
        Self::KeepAlive,
        Self::CleanStart,
        Self::SessionPresent,
        Self::ReasonCode,
        Self::Detail,
        Self::OtherConnectionHigh,
        Self::OtherConnectionLow,
        Self::Duration,
        Self::BytesIn,
        Self::BytesOut,
        Self::PacketsIn,
        Self::PacketsOut,
        Self::LastInAge,
        Self::LastOutAge,
        Self::TlsVersion,
        Self::ServerName,
        Self::CertificateSubject,
        Self::CertificateNotAfter,
        Self::Count,
        Self::LastInKind,
        Self::LastOutKind,
        Self::Subscriptions,
        Self::InFlight,
        Self::MissedKeepAlives,
        Self::MessageHigh,
        Self::MessageLow,
        Self::MessageTopic,
        Self::MessageQos,
        Self::MessageBytes,
        Self::MessageClient,
        Self::CertificateIssuer,
    ];

    /// The column of `number`; none when this version doesn't know it.
    pub(crate) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether its numbers are those of texts.
    pub(crate) fn is_text(self) -> bool {
        matches!(
            self,
            Self::Listener
                | Self::Username
                | Self::Detail
                | Self::ServerName
                | Self::CertificateSubject
                | Self::MessageTopic
                | Self::MessageClient
                | Self::CertificateIssuer
        )
    }

    /// The name that people see.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Protocol => "protocol",
            Self::Username => "username",
            Self::KeepAlive => "keep_alive_s",
            Self::CleanStart => "clean_start",
            Self::SessionPresent => "session_present",
            Self::ReasonCode => "reason_code",
            Self::Detail => "detail",
            Self::OtherConnectionHigh => "other_connection (high)",
            Self::OtherConnectionLow => "other_connection (low)",
            Self::Duration => "duration_ms",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::PacketsIn => "packets_in",
            Self::PacketsOut => "packets_out",
            Self::LastInAge => "last_in_age_ms",
            Self::LastOutAge => "last_out_age_ms",
            Self::TlsVersion => "tls_version",
            Self::ServerName => "server_name",
            Self::CertificateSubject => "certificate_subject",
            Self::CertificateNotAfter => "certificate_not_after",
            Self::CertificateIssuer => "certificate_issuer",
            Self::Count => "count",
            Self::LastInKind => "last_in_kind",
            Self::LastOutKind => "last_out_kind",
            Self::Subscriptions => "subscriptions",
            Self::InFlight => "in_flight",
            Self::MissedKeepAlives => "missed_keep_alives",
            Self::MessageHigh => "message_id (high)",
            Self::MessageLow => "message_id (low)",
            Self::MessageTopic => "message_topic",
            Self::MessageQos => "message_qos",
            Self::MessageBytes => "message_payload_bytes",
            Self::MessageClient => "message_client",
        }
    }
}

/// Appends the cells of `details`, in the order of the columns; `intern` gives the number of a text.
pub(crate) fn push_cells(details: &Details, intern: impl FnMut(&Arc<str>) -> u32, out: &mut Vec<u8>) {
    each_cell(details, intern, |column, value| push_cell(out, column, value));
}

/// Hands the cells of `details` to `push`, in the order of the columns, as the log relies on; `intern` gives the number of
/// a text.
pub(crate) fn each_cell(
    details: &Details,
    mut intern: impl FnMut(&Arc<str>) -> u32,
    mut push: impl FnMut(Column, u64),
) {
    let Details {
        listener,
        protocol,
        username,
        keep_alive_s,
        clean_start,
        session_present,
        reason_code,
        detail,
        other_connection,
        duration_ms,
        traffic,
        tls_version,
        server_name,
        certificate_subject,
        certificate_issuer,
        certificate_not_after,
        count,
        message,
    } = details;
    if let Some(text) = listener {
        push(Column::Listener, u64::from(intern(text)));
    }
    if let Some(version) = protocol {
        push(Column::Protocol, protocol_number(*version));
    }
    if let Some(text) = username {
        push(Column::Username, u64::from(intern(text)));
    }
    if let Some(seconds) = keep_alive_s {
        push(Column::KeepAlive, u64::from(*seconds));
    }
    if let Some(flag) = clean_start {
        push(Column::CleanStart, u64::from(*flag));
    }
    if let Some(flag) = session_present {
        push(Column::SessionPresent, u64::from(*flag));
    }
    if let Some(code) = reason_code {
        push(Column::ReasonCode, u64::from(*code));
    }
    if let Some(text) = detail {
        push(Column::Detail, u64::from(intern(text)));
    }
    if let Some(other) = other_connection {
        let (high, low) = halves(*other);
        push(Column::OtherConnectionHigh, high);
        push(Column::OtherConnectionLow, low);
    }
    if let Some(ms) = duration_ms {
        push(Column::Duration, *ms);
    }
    each_cell_of_traffic(traffic.as_ref(), &mut push);
    if let Some(version) = tls_version {
        push(Column::TlsVersion, tls_number(*version));
    }
    each_text(
        [(Column::ServerName, server_name), (Column::CertificateSubject, certificate_subject)],
        &mut intern,
        &mut push,
    );
    if let Some(time) = certificate_not_after {
        push(Column::CertificateNotAfter, varint::zigzag(time.0));
    }
    if let Some(count) = count {
        push(Column::Count, *count);
    }
    each_later_cell_of_traffic(traffic.as_ref(), &mut push);
    each_cell_of_message(message.as_deref(), &mut intern, &mut push);
    each_text([(Column::CertificateIssuer, certificate_issuer)], &mut intern, &mut push);
}

fn each_text<const N: usize>(
    texts: [(Column, &Option<Arc<str>>); N],
    intern: &mut impl FnMut(&Arc<str>) -> u32,
    push: &mut impl FnMut(Column, u64),
) {
    for (column, text) in texts {
        if let Some(text) = text {
            push(column, u64::from(intern(text)));
        }
    }
}

fn each_cell_of_message(
    message: Option<&MessageDetails>,
    intern: &mut impl FnMut(&Arc<str>) -> u32,
    push: &mut impl FnMut(Column, u64),
) {
    let Some(MessageDetails { id, topic, qos, payload_bytes, client }) = message else { return };
    let (high, low) = halves(ConnectionId(id.0));
    push(Column::MessageHigh, high);
    push(Column::MessageLow, low);
    push(Column::MessageTopic, u64::from(intern(topic)));
    push(Column::MessageQos, u64::from(*qos));
    push(Column::MessageBytes, *payload_bytes);
    if let Some(client) = client {
        push(Column::MessageClient, u64::from(intern(client)));
    }
}

/// The message that `cells` tell of, if they do: as [`details`] reads it, also of cells that nobody wrote.
pub(crate) fn message_of(cells: &[(Column, u64)]) -> Option<MessageId> {
    let is_told = cells.iter().any(|(column, _)| (Column::MessageHigh..=Column::MessageClient).contains(column));
    let half = |wanted: Column| {
        let found = cells.iter().find(|(column, _)| *column == wanted);
        u128::from(found.map_or(0, |(_, value)| *value))
    };
    is_told.then(|| MessageId(half(Column::MessageHigh) << 64 | half(Column::MessageLow)))
}

fn each_cell_of_traffic(traffic: Option<&Traffic>, push: &mut impl FnMut(Column, u64)) {
    let Some(traffic) = traffic else { return };
    push(Column::BytesIn, traffic.bytes_in);
    push(Column::BytesOut, traffic.bytes_out);
    push(Column::PacketsIn, traffic.packets_in);
    push(Column::PacketsOut, traffic.packets_out);
    if let Some(ms) = traffic.last_in_age_ms {
        push(Column::LastInAge, ms);
    }
    if let Some(ms) = traffic.last_out_age_ms {
        push(Column::LastOutAge, ms);
    }
}

/// Those that came to the format later: their columns are behind all others.
fn each_later_cell_of_traffic(traffic: Option<&Traffic>, push: &mut impl FnMut(Column, u64)) {
    let Some(traffic) = traffic else { return };
    if let Some(kind) = traffic.last_in_kind {
        push(Column::LastInKind, u64::from(kind.number()));
    }
    if let Some(kind) = traffic.last_out_kind {
        push(Column::LastOutKind, u64::from(kind.number()));
    }
    if let Some(count) = traffic.subscriptions {
        push(Column::Subscriptions, u64::from(count));
    }
    if let Some(count) = traffic.in_flight {
        push(Column::InFlight, u64::from(count));
    }
    if let Some(count) = traffic.missed_keep_alives {
        push(Column::MissedKeepAlives, u64::from(count));
    }
}

/// Appends one cell.
pub(crate) fn push_cell(out: &mut Vec<u8>, column: Column, value: u64) {
    out.push(column as u8);
    varint::push(out, value);
}

/// The cells in `bytes`; ends early, with none as the last item, when they are not cells.
pub(crate) fn cells(mut bytes: &[u8]) -> impl Iterator<Item = Option<(Column, u64)>> {
    std::iter::from_fn(move || {
        let (&number, mut rest) = bytes.split_first()?;
        let cell = Column::of(number).zip(varint::take(&mut rest));
        bytes = if cell.is_some() { rest } else { &[] };
        Some(cell)
    })
}

/// Sets the detail that `column` is, to `value`; `text` gives a text by its number. None when the value is none that the
/// column can have.
pub(crate) fn set(
    details: &mut Details,
    column: Column,
    value: u64,
    text: impl FnOnce(u32) -> Option<Arc<str>>,
) -> Option<()> {
    let text = |value: u64| u32::try_from(value).ok().and_then(text);
    match column {
        Column::Listener => details.listener = Some(text(value)?),
        Column::Protocol => details.protocol = Some(protocol_of(value)?),
        Column::Username => details.username = Some(text(value)?),
        Column::KeepAlive => details.keep_alive_s = Some(u16::try_from(value).ok()?),
        Column::CleanStart => details.clean_start = Some(flag(value)?),
        Column::SessionPresent => details.session_present = Some(flag(value)?),
        Column::ReasonCode => details.reason_code = Some(u8::try_from(value).ok()?),
        Column::Detail => details.detail = Some(text(value)?),
        Column::OtherConnectionHigh => {
            details.other_connection = Some(ConnectionId(low_of(details.other_connection) | u128::from(value) << 64));
        }
        Column::OtherConnectionLow => {
            let high = details.other_connection.map_or(0, |known| known.0 >> 64 << 64);
            details.other_connection = Some(ConnectionId(high | u128::from(value)));
        }
        Column::Duration => details.duration_ms = Some(value),
        Column::BytesIn => traffic(details).bytes_in = value,
        Column::BytesOut => traffic(details).bytes_out = value,
        Column::PacketsIn => traffic(details).packets_in = value,
        Column::PacketsOut => traffic(details).packets_out = value,
        Column::LastInAge => traffic(details).last_in_age_ms = Some(value),
        Column::LastOutAge => traffic(details).last_out_age_ms = Some(value),
        Column::TlsVersion => details.tls_version = Some(tls_of(value)?),
        Column::ServerName => details.server_name = Some(text(value)?),
        Column::CertificateSubject => details.certificate_subject = Some(text(value)?),
        Column::CertificateIssuer => details.certificate_issuer = Some(text(value)?),
        Column::CertificateNotAfter => details.certificate_not_after = Some(TimeMs(varint::unzigzag(value))),
        Column::Count => details.count = Some(value),
        Column::LastInKind => traffic(details).last_in_kind = Some(packet_kind(value)?),
        Column::LastOutKind => traffic(details).last_out_kind = Some(packet_kind(value)?),
        Column::Subscriptions => traffic(details).subscriptions = Some(u32::try_from(value).ok()?),
        Column::InFlight => traffic(details).in_flight = Some(u32::try_from(value).ok()?),
        Column::MissedKeepAlives => traffic(details).missed_keep_alives = Some(u32::try_from(value).ok()?),
        Column::MessageHigh => {
            let low = message(details).id.0 & u128::from(u64::MAX);
            message(details).id = MessageId(u128::from(value) << 64 | low);
        }
        Column::MessageLow => {
            let high = message(details).id.0 >> 64 << 64;
            message(details).id = MessageId(high | u128::from(value));
        }
        Column::MessageTopic => message(details).topic = text(value)?,
        Column::MessageQos => message(details).qos = u8::try_from(value).ok()?,
        Column::MessageBytes => message(details).payload_bytes = value,
        Column::MessageClient => message(details).client = Some(text(value)?),
    }
    Some(())
}

/// The details that `bytes` hold; none when they hold none.
pub(crate) fn details(bytes: &[u8], mut text: impl FnMut(u32) -> Option<Arc<str>>) -> Option<Details> {
    let mut details = Details::default();
    for cell in cells(bytes) {
        let (column, value) = cell?;
        set(&mut details, column, value, &mut text)?;
    }
    Some(details)
}

fn traffic(details: &mut Details) -> &mut Traffic {
    details.traffic.get_or_insert_default()
}

fn message(details: &mut Details) -> &mut MessageDetails {
    details.message.get_or_insert_default()
}

fn packet_kind(value: u64) -> Option<PacketKind> {
    u8::try_from(value).ok().and_then(PacketKind::of)
}

fn flag(value: u64) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn protocol_number(version: ProtocolVersion) -> u64 {
    match version {
        ProtocolVersion::V31 => 3,
        ProtocolVersion::V311 => 4,
        ProtocolVersion::V5 => 5,
    }
}

fn protocol_of(number: u64) -> Option<ProtocolVersion> {
    match number {
        3 => Some(ProtocolVersion::V31),
        4 => Some(ProtocolVersion::V311),
        5 => Some(ProtocolVersion::V5),
        _ => None,
    }
}

fn tls_number(version: TlsVersion) -> u64 {
    match version {
        TlsVersion::V12 => 2,
        TlsVersion::V13 => 3,
    }
}

fn tls_of(number: u64) -> Option<TlsVersion> {
    match number {
        2 => Some(TlsVersion::V12),
        3 => Some(TlsVersion::V13),
        _ => None,
    }
}

fn low_of(connection: Option<ConnectionId>) -> u128 {
    connection.map_or(0, |known| known.0 & u128::from(u64::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
fn halves(connection: ConnectionId) -> (u64, u64) {
    ((connection.0 >> 64) as u64, connection.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_at_their_number() {
        for (number, column) in Column::ALL.iter().enumerate() {
            assert_eq!(*column as usize, number);
        }
    }

    #[test]
    fn details_come_back() {
        let full = Details {
            listener: Some("mqtt".into()),
            protocol: Some(ProtocolVersion::V5),
            username: Some("u".into()),
            keep_alive_s: Some(u16::MAX),
            clean_start: Some(true),
            session_present: Some(false),
            reason_code: Some(0x87),
            detail: Some("é中".into()),
            other_connection: Some(ConnectionId(u128::MAX - 5)),
            duration_ms: Some(u64::MAX),
            traffic: Some(Traffic {
                bytes_in: 1,
                last_out_age_ms: Some(0),
                last_in_kind: Some(PacketKind::PingReq),
                last_out_kind: Some(PacketKind::Auth),
                subscriptions: Some(u32::MAX),
                in_flight: Some(0),
                missed_keep_alives: Some(u32::MAX),
                ..Traffic::default()
            }),
            tls_version: Some(TlsVersion::V12),
            server_name: Some("mqtt.example".into()),
            certificate_subject: Some("CN=pump-07".into()),
            certificate_issuer: Some("CN=fleet, O=é".into()),
            certificate_not_after: Some(TimeMs(-1)),
            count: Some(u64::MAX),
            message: Some(Box::new(MessageDetails {
                id: MessageId(u128::MAX - 7),
                topic: "telemetry/é".into(),
                qos: 2,
                payload_bytes: u64::MAX,
                client: Some("pump-07".into()),
            })),
        };
        for details in [full, Details::default(), Details { traffic: Some(Traffic::default()), ..Details::default() }] {
            let mut texts: Vec<Arc<str>> = Vec::new();
            let mut bytes = Vec::new();
            let intern = |text: &Arc<str>| {
                texts.push(Arc::clone(text));
                u32::try_from(texts.len() - 1).unwrap()
            };
            push_cells(&details, intern, &mut bytes);
            let columns: Vec<_> = cells(&bytes).map(|cell| cell.unwrap().0).collect();
            assert!(columns.is_sorted(), "{columns:?}");
            assert_eq!(super::details(&bytes, |n| texts.get(n as usize).cloned()), Some(details));
        }
    }

    #[test]
    fn a_message_is_the_same_in_cells_and_details_also_in_part() {
        for cells in [&[][..], &[(Column::MessageLow, 7)], &[(Column::MessageHigh, 1)], &[(Column::MessageQos, 2)]] {
            let mut bytes = Vec::new();
            for (column, value) in cells {
                push_cell(&mut bytes, *column, *value);
            }
            let read = details(&bytes, |_| None).unwrap();
            assert_eq!(message_of(cells), read.message.map(|message| message.id), "{cells:?}");
        }
    }

    #[test]
    fn what_are_no_cells_is_refused() {
        for bytes in [&[99][..], &[0], &[0, 0xff], &[4, 2], &[17, 0], &[18, 16], &[1, 9], &[0, 7]] {
            assert_eq!(details(bytes, |_| None), None, "{bytes:?}");
        }
    }
}
