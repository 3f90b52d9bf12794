//! A JSON object a line: an event as it stands on record, or `{"gap":{...}}` for a span of which something is missing.
//!
//! What is read must be all that is written: an unknown field would be lost, so that it is refused.

use std::io::{BufRead, Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracemq_model::{ClientId, Details, Event, Gap};

use crate::{FileError, Record};

#[derive(Serialize, Deserialize)]
struct GapLine {
    gap: Gap,
}

/// No line is longer: the longest client identifier takes 65,535 bytes, and six times as many when all of them are escaped.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Appends `event` as a line.
///
/// # Errors
/// None that is known: all that is on record can be said in JSON.
pub fn push_event(event: &Event, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.push(b'\n');
    Ok(())
}

/// Writes lines.
pub struct Writer<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Into `out`, which should gather what is written.
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new() }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// Those of writing.
    pub fn event(&mut self, event: &Event) -> Result<(), FileError> {
        self.line.clear();
        push_event(event, &mut self.line)?;
        Ok(self.out.write_all(&self.line)?)
    }

    /// Writes a gap.
    ///
    /// # Errors
    /// Those of writing.
    pub fn gap(&mut self, gap: Gap) -> Result<(), FileError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &GapLine { gap })?;
        self.line.push(b'\n');
        Ok(self.out.write_all(&self.line)?)
    }

    /// Has all of it written.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<(), FileError> {
        Ok(self.out.flush()?)
    }
}

/// Hands each line to `take`, with its number from 1 on: a record, or what is wrong with it. Empty lines are passed over.
///
/// # Errors
/// When `take` gives one, or the input can't be read.
pub fn each<E: From<FileError>>(
    input: &mut dyn BufRead,
    take: &mut dyn FnMut(u64, Result<Record, String>) -> Result<(), E>,
) -> Result<(), E> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(FileError::Io)? == 0 {
            break;
        }
        if line.len() as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            input.skip_until(b'\n').map_err(FileError::Io)?;
            take(number, Err(format!("is longer than {LINE_BYTES_MAX} bytes")))?;
        } else if !line.trim_ascii().is_empty() {
            take(number, read(line.trim_ascii()))?;
        }
    }
    Ok(())
}

/// The record that `line` holds, or what is wrong with it.
fn read(line: &[u8]) -> Result<Record, String> {
    if is_gap(line) {
        let found: GapLine = deserialize(&mut serde_json::Deserializer::from_slice(line))?;
        return as_written(&found, line).map(|()| Record::Gap(found.gap));
    }
    let mut source = serde_json::Deserializer::from_slice(line);
    let event: Event = deserialize(&mut source).map_err(|what| if is_history(line) { HISTORY.into() } else { what })?;
    source.end().map_err(|_| "something stands behind the event".to_owned())?;
    as_written(&event, line)?;
    bounded(&event)?;
    Ok(Record::Event(Box::new(event)))
}

/// What is not imported, for it says nothing of the gaps: they would be lost.
const HISTORY: &str = "this is a line of `tracemq history`, which has no gaps; import what `tracemq store export` writes, \
                       of one client with -i CLIENT";

/// Whether it is an event as our REST API gives it.
fn is_history(line: &[u8]) -> bool {
    let found: Result<Value, _> = serde_json::from_slice(line);
    found.is_ok_and(|found| found.get("time_ms").is_some() && found.get("initiator").is_some())
}

/// Whether the object's first field is a gap.
fn is_gap(line: &[u8]) -> bool {
    line.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"gap\""))
}

/// What `source` holds, or what is wrong with it and in which field.
pub(crate) fn deserialize<'de, T, D>(source: D) -> Result<T, String>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(source).map_err(|error| {
        let field = error.path().to_string();
        let what = error.into_inner().to_string();
        // The line is counted by whoever reads the file.
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        if field == "." { what } else { format!("{field}: {what}") }
    })
}

/// Refuses what would be lost: a field of `line` that is not in what was read from it.
fn as_written<T: Serialize>(read: &T, line: &[u8]) -> Result<(), String> {
    let written = serde_json::to_vec(read).map_err(|error| error.to_string())?;
    if written == line {
        return Ok(());
    }
    let known = serde_json::from_slice(&written).map_err(|error| error.to_string())?;
    let found = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match surplus(&found, &known) {
        Some(field) => Err(format!("{field}: is not a field that this version knows")),
        None => Ok(()),
    }
}

/// The first field of `found` that `known` does not have.
fn surplus(found: &Value, known: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(known)) = (found, known) else { return None };
    found.iter().find_map(|(name, value)| match known.get(name) {
        None => Some(name.clone()),
        Some(known) => surplus(value, known).map(|inner| format!("{name}.{inner}")),
    })
}

/// Refuses texts that no event on record has.
pub(crate) fn bounded(event: &Event) -> Result<(), String> {
    let Details { listener, username, detail, server_name, certificate_subject, certificate_issuer, message, .. } =
        &event.details;
    let topic = message.as_ref().map(|message| Arc::clone(&message.topic));
    if message.as_ref().and_then(|message| message.client.as_ref()).is_some_and(|name| ClientId::new(name).is_err()) {
        return Err("details.message.client: is no client identifier".to_owned());
    }
    let texts = [
        ("listener", listener),
        ("username", username),
        ("detail", detail),
        ("server_name", server_name),
        ("certificate_subject", certificate_subject),
        ("certificate_issuer", certificate_issuer),
        ("message.topic", &topic),
    ];
    for (name, text) in texts {
        if text.as_ref().is_some_and(|text| text.len() > Details::TEXT_MAX_BYTES) {
            return Err(format!("details.{name}: is longer than {} bytes", Details::TEXT_MAX_BYTES));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use tracemq_model::{
        Action, ConnectionId, GapCause, InstanceId, MessageDetails, MessageId, ProtocolVersion, Provenance, Reason,
        TimeMs, TlsVersion, Traffic,
    };

    use super::*;

    /// An event with nothing, and one with everything.
    pub(crate) fn events() -> [Event; 2] {
        let bare = Event {
            time: TimeMs(-7),
            instance: InstanceId::new("mqtt-local").unwrap(),
            connection: ConnectionId(9),
            action: Action::Open,
            reason: Reason::Opened,
            provenance: Provenance::Observed,
            client: None,
            peer: None,
            details: Details::default(),
        };
        let full = Event {
            time: TimeMs(1_621_580_400_844),
            connection: ConnectionId(u128::MAX),
            action: Action::Close,
            reason: Reason::SessionTakenOver,
            provenance: Provenance::Inferred,
            client: Some(tracemq_model::ClientId::new("pump \"é\"\u{1b}/\u{1f600}").unwrap()),
            peer: Some("[2001:db8::7]:4711".parse().unwrap()),
            details: Details {
                listener: Some("mqtt".into()),
                protocol: Some(ProtocolVersion::V311),
                username: Some("".into()),
                keep_alive_s: Some(u16::MAX),
                clean_start: Some(false),
                session_present: Some(true),
                reason_code: Some(0x8e),
                detail: Some("in words".into()),
                other_connection: Some(ConnectionId(1)),
                duration_ms: Some(u64::MAX),
                traffic: Some(Traffic {
                    bytes_in: 1,
                    packets_out: u64::MAX,
                    last_in_age_ms: Some(0),
                    missed_keep_alives: Some(1),
                    ..Traffic::default()
                }),
                tls_version: Some(TlsVersion::V13),
                server_name: Some("mqtt.example".into()),
                certificate_subject: Some("CN=pump-07".into()),
                certificate_issuer: Some("CN=fleet".into()),
                certificate_not_after: Some(TimeMs(1_893_456_000_000)),
                count: Some(59),
                message: Some(Box::new(MessageDetails {
                    id: MessageId(0xfeed << 112),
                    topic: "telemetry/é".into(),
                    qos: 2,
                    payload_bytes: u64::MAX,
                    client: Some("pump-07".into()),
                })),
            },
            ..bare.clone()
        };
        [bare, full]
    }

    pub(crate) const GAP: Gap = Gap { from: TimeMs(5), to: TimeMs::MAX, lost: Some(812), cause: GapCause::QueueFull };

    fn all(text: &str) -> Vec<(u64, Result<Record, String>)> {
        let mut found = Vec::new();
        each(&mut text.as_bytes(), &mut |number, record| {
            found.push((number, record));
            Ok::<_, FileError>(())
        })
        .unwrap();
        found
    }

    fn written() -> String {
        let mut text = Vec::new();
        let mut writer = Writer::new(&mut text);
        let [bare, full] = events();
        writer.event(&bare).unwrap();
        writer.gap(GAP).unwrap();
        writer.event(&full).unwrap();
        writer.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_was_written_comes_back() {
        let [bare, full] = events().map(|event| Ok(Record::Event(Box::new(event))));
        let expected = [(1, bare), (2, Ok(Record::Gap(GAP))), (3, full)];
        let text = written();
        assert_eq!(all(&text), expected);
        assert_eq!(
            text.lines().nth(1),
            Some(r#"{"gap":{"from":5,"to":9223372036854775807,"lost":812,"cause":"queue-full"}}"#)
        );
        // Others write JSON in other ways.
        let loose = text.replace("\":", "\" : ").replace('\n', "\r\n\n");
        assert_eq!(
            all(&loose).into_iter().map(|(_, record)| record).collect::<Vec<_>>(),
            expected.map(|(_, record)| record)
        );
    }

    #[test]
    fn a_bad_line_is_told_by_number_and_field() {
        let line = written().lines().nth(2).unwrap().to_owned();
        let long = format!("\"detail\":\"{}\"", "x".repeat(513));
        for (bad, expected) in [
            ("not json".to_owned(), "expected"),
            ("[]".into(), "invalid"),
            ("{}".into(), "missing field `time`"),
            (
                r#"{"time":"2026-11-22T19:12:38.515Z","time_ms":1,"initiator":"client"}"#.into(),
                "this is a line of `tra",
            ),
            (line.replace("\"time\":1621580400844", "\"time\":\"now\""), "time: invalid type: string"),
            (line.replace("session-taken-over", "bored"), "reason: unknown variant `bored`"),
            (line.replace("\"reason_code\":142", "\"reason_code\":256"), "details.reason_code: invalid value"),
            (line.replace("\"bytes_in\":1", "\"bytes_in\":-1"), "details.traffic.bytes_in: invalid value"),
            (line.replace("[2001:db8::7]:4711", "nowhere"), "peer: invalid"),
            (line.replace("\"qos\":2", "\"qos\":-2"), "details.message.qos: invalid value"),
            (line.replace("\"pump-07\"", "\"\""), "details.message.client: is no client identifier"),
            (line.replace("\"duration_ms\"", "\"colour\":1,\"duration_ms\""), "details.colour: is not a field"),
            (line.replace("\"detail\":\"in words\"", &long), "details.detail: is longer than 512 bytes"),
            (format!("{line} {line}"), "something stands behind"),
            (r#"{"gap":{"from":5,"to":6,"lost":null,"cause":"lazy"}}"#.into(), "gap.cause: unknown variant `lazy`"),
            (r#"{"gap":{"from":5,"to":6,"cause":"damaged"},"x":1}"#.into(), "x: is not a field"),
            (format!("\"{}\"", "x".repeat(2 << 20)), "is longer than"),
        ] {
            let found = all(&format!("{line}\n\n{bad}\n{line}"));
            assert_eq!(found.len(), 3, "{bad}");
            let (number, record) = &found[1];
            let what = record.as_ref().unwrap_err();
            assert!(*number == 3 && what.starts_with(expected), "{number}: {what}");
            assert!(!what.contains("column"), "{what}");
            assert!(found[0].1.is_ok() && found[2].1.is_ok());
        }
    }
}
