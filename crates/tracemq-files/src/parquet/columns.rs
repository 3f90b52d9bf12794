//! The columns: name, type, and where the value stands in an event.

use std::fmt::Write as _;

use parquet::data_type::ByteArray;
use tracemq_model::{Event, MessageDetails, Traffic};

/// What stands in a column.
pub(super) enum Cell {
    Text(ByteArray),
    Int(i32),
    Long(i64),
    Flag(bool),
}

/// A column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    pub(super) cell: fn(&Event) -> Option<Cell>,
}

/// What a column can hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Time,
    Text,
    Byte,
    Short,
    Long,
    Flag,
}

impl Kind {
    /// In the words of a Parquet schema.
    fn schema(self) -> (&'static str, &'static str) {
        match self {
            Self::Time => ("INT64", " (TIMESTAMP(MILLIS,true))"),
            Self::Text => ("BYTE_ARRAY", " (STRING)"),
            Self::Byte => ("INT32", " (INTEGER(8,false))"),
            Self::Short => ("INT32", " (INTEGER(16,false))"),
            Self::Long => ("INT64", " (INTEGER(64,false))"),
            Self::Flag => ("BOOLEAN", ""),
        }
    }
}

/// The schema, as text.
pub(super) fn schema() -> String {
    let mut text = String::from("message event {\n");
    for Column { name, kind, is_required, .. } in COLUMNS {
        let repetition = if *is_required { "REQUIRED" } else { "OPTIONAL" };
        let (physical, logical) = kind.schema();
        let _ = writeln!(text, "  {repetition} {physical} {name}{logical};");
    }
    text.push('}');
    text
}

const fn required(name: &'static str, kind: Kind, cell: fn(&Event) -> Option<Cell>) -> Column {
    Column { name, kind, is_required: true, cell }
}

const fn optional(name: &'static str, kind: Kind, cell: fn(&Event) -> Option<Cell>) -> Column {
    Column { name, kind, is_required: false, cell }
}

/// All of them, in their order. A new one comes at the end.
pub(super) const COLUMNS: &[Column] = &[
    required("time", Kind::Time, |event| Some(Cell::Long(event.time.0))),
    required("instance", Kind::Text, |event| Some(text(event.instance.as_str()))),
    required("connection", Kind::Text, |event| Some(text(&event.connection.to_string()))),
    required("action", Kind::Text, |event| Some(text(event.action.code()))),
    required("reason", Kind::Text, |event| Some(text(&event.reason.to_string()))),
    required("provenance", Kind::Text, |event| Some(text(provenance(event)))),
    optional("client", Kind::Text, |event| event.client.as_ref().map(|client| text(client.as_str()))),
    optional("peer_address", Kind::Text, |event| event.peer.map(|peer| text(&peer.ip().to_string()))),
    optional("peer_port", Kind::Short, |event| event.peer.map(|peer| Cell::Int(peer.port().into()))),
    optional("listener", Kind::Text, |event| event.details.listener.as_deref().map(text)),
    optional("protocol", Kind::Text, |event| event.details.protocol.map(|version| text(&version.to_string()))),
    optional("username", Kind::Text, |event| event.details.username.as_deref().map(text)),
    optional("keep_alive_s", Kind::Short, |event| event.details.keep_alive_s.map(|seconds| Cell::Int(seconds.into()))),
    optional("clean_start", Kind::Flag, |event| event.details.clean_start.map(Cell::Flag)),
    optional("session_present", Kind::Flag, |event| event.details.session_present.map(Cell::Flag)),
    optional("reason_code", Kind::Byte, |event| event.details.reason_code.map(|code| Cell::Int(code.into()))),
    optional("detail", Kind::Text, |event| event.details.detail.as_deref().map(text)),
    optional("other_connection", Kind::Text, |event| {
        event.details.other_connection.map(|other| text(&other.to_string()))
    }),
    optional("duration_ms", Kind::Long, |event| event.details.duration_ms.map(long)),
    optional("bytes_in", Kind::Long, |event| traffic(event, |traffic| Some(traffic.bytes_in))),
    optional("bytes_out", Kind::Long, |event| traffic(event, |traffic| Some(traffic.bytes_out))),
    optional("packets_in", Kind::Long, |event| traffic(event, |traffic| Some(traffic.packets_in))),
    optional("packets_out", Kind::Long, |event| traffic(event, |traffic| Some(traffic.packets_out))),
    optional("last_in_age_ms", Kind::Long, |event| traffic(event, |traffic| traffic.last_in_age_ms)),
    optional("last_out_age_ms", Kind::Long, |event| traffic(event, |traffic| traffic.last_out_age_ms)),
    optional("tls_version", Kind::Text, |event| event.details.tls_version.map(|version| text(&version.to_string()))),
    optional("server_name", Kind::Text, |event| event.details.server_name.as_deref().map(text)),
    optional("certificate_subject", Kind::Text, |event| event.details.certificate_subject.as_deref().map(text)),
    optional("certificate_not_after", Kind::Time, |event| {
        event.details.certificate_not_after.map(|time| Cell::Long(time.0))
    }),
    optional("count", Kind::Long, |event| event.details.count.map(long)),
    optional("last_in_kind", Kind::Text, |event| {
        event.details.traffic.and_then(|traffic| traffic.last_in_kind).map(|kind| text(kind.name()))
    }),
    optional("last_out_kind", Kind::Text, |event| {
        event.details.traffic.and_then(|traffic| traffic.last_out_kind).map(|kind| text(kind.name()))
    }),
    optional("subscriptions", Kind::Long, |event| traffic(event, |traffic| traffic.subscriptions.map(u64::from))),
    optional("in_flight", Kind::Long, |event| traffic(event, |traffic| traffic.in_flight.map(u64::from))),
    optional("missed_keep_alives", Kind::Long, |event| {
        traffic(event, |traffic| traffic.missed_keep_alives.map(u64::from))
    }),
    optional("message_id", Kind::Text, |event| message(event, |message| Some(text(&message.id.to_string())))),
    optional("message_topic", Kind::Text, |event| message(event, |message| Some(text(&message.topic)))),
    optional("message_qos", Kind::Byte, |event| message(event, |message| Some(Cell::Int(message.qos.into())))),
    optional("message_payload_bytes", Kind::Long, |event| message(event, |message| Some(long(message.payload_bytes)))),
    optional("message_client", Kind::Text, |event| message(event, |message| message.client.as_deref().map(text))),
    optional("certificate_issuer", Kind::Text, |event| event.details.certificate_issuer.as_deref().map(text)),
];

/// What the columns of a message begin with.
pub(super) const OF_MESSAGE: &str = "message_";

/// Where an event's fields as JSON have what stands in `column`: at the top, in `details`, in its `traffic`, or in its
/// `message`, where it is named without [`OF_MESSAGE`].
pub(super) fn depth(column: &str) -> usize {
    match column {
        "time" | "instance" | "connection" | "action" | "reason" | "provenance" | "client" => 0,
        "bytes_in" | "bytes_out" | "packets_in" | "packets_out" | "last_in_age_ms" | "last_out_age_ms"
        | "last_in_kind" | "last_out_kind" | "subscriptions" | "in_flight" | "missed_keep_alives" => 2,
        message if message.starts_with(OF_MESSAGE) => 3,
        _ => 1,
    }
}

fn provenance(event: &Event) -> &'static str {
    use tracemq_model::Provenance;
    match event.provenance {
        Provenance::Observed => "observed",
        Provenance::Reported => "reported",
        Provenance::Inferred => "inferred",
    }
}

fn traffic(event: &Event, field: fn(&Traffic) -> Option<u64>) -> Option<Cell> {
    event.details.traffic.as_ref().and_then(field).map(long)
}

fn message(event: &Event, field: fn(&MessageDetails) -> Option<Cell>) -> Option<Cell> {
    event.details.message.as_deref().and_then(field)
}

fn text(text: &str) -> Cell {
    Cell::Text(ByteArray::from(text))
}

/// The column is of an unsigned type, which has the same bits.
fn long(number: u64) -> Cell {
    Cell::Long(number.cast_signed())
}
