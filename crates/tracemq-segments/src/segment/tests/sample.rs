//! What is written, and reading all of it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{
    Action, ClientId, ConnectionId, Details, InstanceId, MessageDetails, MessageId, ProtocolVersion, Provenance,
    Reason, Subject, TimeMs, TlsVersion, Traffic,
};
use tracemq_store::StoreError;

use crate::cells::{cells, push_cells};
use crate::fs::Fs;
use crate::fs::simulated::SimulatedFs;
use crate::key::push_key;
use crate::row::{Kind, Peer, Row};
use crate::segment::{Segment, SegmentId, SegmentMeta, SegmentWriter};

pub(super) const ID: SegmentId = SegmentId { store: *b"sixteen bytes id", number: 7 };

/// Keys in their order, each with its rows in theirs.
pub(super) type Sample = Vec<(Vec<u8>, Vec<(Row, Details)>)>;

pub(super) fn dir() -> &'static Path {
    Path::new("/store")
}

pub(super) fn path() -> PathBuf {
    dir().join(ID.file_name())
}

pub(super) fn key(instance: &str, client: &str) -> Vec<u8> {
    let mut key = Vec::new();
    push_key(&InstanceId::new(instance).unwrap(), &Subject::Client(ClientId::new(client).unwrap()), &mut key);
    key
}

pub(super) fn row(time: i64) -> Row {
    Row {
        time: TimeMs(time),
        connection: ConnectionId(u128::from(time.unsigned_abs()) << 70 | 5),
        peer: Peer::Some {
            ip: [10, 0, 0, time.to_le_bytes()[0]].into(),
            port: u16::from_le_bytes([7, time.to_le_bytes()[0]]),
        },
        kind: Kind::new(Action::Connect, Reason::Accepted, Provenance::Observed),
    }
}

/// Details with everything.
pub(super) fn full(number: u64) -> Details {
    Details {
        listener: Some("mqtt".into()),
        protocol: Some(ProtocolVersion::V5),
        username: Some(format!("user {number}").into()),
        keep_alive_s: Some(u16::MAX),
        clean_start: Some(true),
        session_present: Some(false),
        reason_code: Some(0x87),
        detail: Some("é中".into()),
        other_connection: Some(ConnectionId(u128::MAX - u128::from(number))),
        duration_ms: Some(u64::MAX - number),
        traffic: Some(Traffic {
            bytes_in: number,
            bytes_out: u64::MAX,
            packets_in: 1,
            packets_out: 0,
            last_in_age_ms: Some(number),
            last_out_age_ms: Some(0),
            ..Traffic::default()
        }),
        tls_version: Some(TlsVersion::V13),
        server_name: Some("mqtt.example".into()),
        certificate_subject: Some(format!("CN=device-{number}").into()),
        certificate_issuer: Some("CN=fleet".into()),
        certificate_not_after: Some(TimeMs(4)),
        count: Some(number),
        message: number.is_multiple_of(3).then(|| {
            let topic = format!("t/{}", number % 5).into();
            Box::new(MessageDetails {
                id: MessageId(number.into()),
                topic,
                qos: 1,
                payload_bytes: number,
                client: None,
            })
        }),
    }
}

pub(super) fn write_as(disk: &dyn Fs, id: SegmentId, sample: &Sample) -> Result<SegmentMeta, StoreError> {
    let mut writer = SegmentWriter::create(disk, dir(), id)?;
    for (key, rows) in sample {
        writer.subject(key)?;
        for (row, details) in rows {
            add(&mut writer, row, details)?;
        }
    }
    writer.finish(100..=200)
}

/// Adds a row with its details.
pub(super) fn add(writer: &mut SegmentWriter, row: &Row, details: &Details) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let intern = |text: &Arc<str>| writer.text(text).unwrap();
    push_cells(details, intern, &mut bytes);
    writer.row(row, cells(&bytes).map(Option::unwrap))
}

pub(super) fn write(sample: &Sample) -> SimulatedFs {
    let disk = SimulatedFs::default();
    write_as(&disk, ID, sample).unwrap();
    disk
}

pub(super) fn open(disk: &SimulatedFs) -> Result<Segment, StoreError> {
    Segment::open(disk, &path(), ID)
}

/// All that a segment holds, by every way that leads to it.
pub(super) fn read(segment: &Segment) -> Result<Sample, StoreError> {
    let mut sample = Sample::new();
    let mut keys = segment.keys(&[])?;
    let mut rows = segment.rows();
    while let Some((key, range)) = keys.next()? {
        let mut found = Vec::new();
        for number in range {
            let (block, at) = rows.at(number)?;
            found.push((block.row(at).unwrap(), segment.details(block, at)?));
        }
        sample.push((key.to_vec(), found));
    }
    segment.minutes()?;
    Ok(sample)
}

/// Subjects that have rows: what a segment keeps of a sample.
pub(super) fn kept(sample: &Sample) -> Sample {
    sample.iter().filter(|(_, rows)| !rows.is_empty()).cloned().collect()
}

/// A small sample in which every structure of the file occurs.
pub(super) fn small() -> Sample {
    let mut sample = Sample::new();
    for client in 0..3 {
        let row_of = |time: i64| {
            let mut row = row(1_621_580_400_000 + time);
            if time == 2 {
                row.peer = Peer::Some { ip: "2001:db8::7".parse().unwrap(), port: 1883 };
                row.kind = Kind::new(Action::Close, Reason::KeepAliveTimeout, Provenance::Observed);
            }
            let details = if time == 1 { full(time.unsigned_abs()) } else { Details::default() };
            (row, details)
        };
        sample.push((key("i-1", &format!("GID_fleet@@@dev-{client}")), (0..3).map(row_of).collect()));
    }
    sample.push((key("i-2", "other"), vec![(Row { peer: Peer::None, ..row(-1) }, Details::default())]));
    sample
}
