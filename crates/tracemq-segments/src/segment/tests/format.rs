//! The released formats: a file of each is kept for ever, and has to be read for ever.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Action, ConnectionId, ConnectionIds, Details, Provenance, Reason, Subject, TimeMs};

use super::sample::{ID, Sample, full, key, path, read, write};
use crate::cells::{cells, push_cells};
use crate::fs::RealFs;
use crate::key::{Key, push_key};
use crate::row::{Kind, Peer, Row};
use crate::segment::Segment;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/segment-1")
}

/// Frozen with the fixture.
fn sample() -> Sample {
    let mut ids = ConnectionIds::new(0xdead_beef);
    let mut sample = Sample::new();
    for client in 0..180_i64 {
        let time = 1_621_580_400_000 + client * 7_919 % 86_400_000;
        let ours = ids.next(TimeMs(time));
        let other = ConnectionId((u128::MAX / 3).wrapping_mul(u128::try_from(client + 2).unwrap()));
        let ip =
            if client % 9 == 0 { "2001:db8::7".parse().unwrap() } else { [10, 0, 7, client.to_le_bytes()[0]].into() };
        let peer = Peer::Some { ip, port: 40_000 + u16::try_from(client).unwrap() };
        let reason = Reason::ALL[usize::try_from(client).unwrap() % 33];
        let connect = Kind::new(Action::Connect, Reason::Accepted, Provenance::Observed);
        let details = if client % 9 == 0 { full(client.unsigned_abs()) } else { Details::default() };
        let rows = [
            (time + 12, ours, peer, connect, Details { keep_alive_s: Some(60), ..Details::default() }),
            (time + 60_000, ours, peer, Kind::new(Action::Close, reason, Provenance::Observed), Details::default()),
            (time + 70_000, if client % 5 == 0 { other } else { ours }, Peer::None, connect, details),
        ];
        let of =
            |(time, connection, peer, kind, details)| (Row { time: TimeMs(time), connection, peer, kind }, details);
        sample.push((key("mqtt-local", &format!("GID_fleet@@@dev-{client:04}")), rows.map(of).to_vec()));
    }
    let mut address = Vec::new();
    let subject = Subject::Address("10.0.0.9".parse().unwrap());
    push_key(&tracemq_model::InstanceId::new("other").unwrap(), &subject, &mut address);
    sample.push((address, vec![(super::sample::row(i64::MAX), Details::default())]));
    sample
}

/// One line a subject, and one for each of its events.
fn listed(sample: &Sample) -> String {
    let mut out = String::new();
    for (key, rows) in sample {
        let Key { instance, subject } = Key::read(key).unwrap();
        writeln!(out, "{instance} {:?}", subject.unwrap()).unwrap();
        for (Row { time, connection, peer, kind }, details) in rows {
            let peer = match peer {
                Peer::None => "-".to_owned(),
                Peer::Some { ip, port } => format!("{ip} {port}"),
            };
            writeln!(out, "  {time} {connection} {peer} {}{}", kind.0, listed_details(details)).unwrap();
        }
    }
    out
}

fn listed_details(details: &Details) -> String {
    let (mut texts, mut bytes) = (Vec::new(), Vec::new());
    let intern = |text: &Arc<str>| {
        texts.push(Arc::clone(text));
        u32::try_from(texts.len() - 1).unwrap()
    };
    push_cells(details, intern, &mut bytes);
    let cells =
        cells(&bytes).map(Option::unwrap).map(|(column, value)| match texts.get(usize::try_from(value).unwrap()) {
            Some(text) if column.is_text() => format!(" {}={text}", column.name()),
            _ => format!(" {}={value}", column.name()),
        });
    cells.collect()
}

/// `TRACEMQ_GOLDEN=write cargo test -p tracemq-segments format_1` makes the fixture anew: only ever for a format that is
/// not released yet.
#[test]
fn s59_format_1_is_read() {
    let (file, list) = (fixtures().join(ID.file_name()), fixtures().join("events.txt"));
    if std::env::var_os("TRACEMQ_GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::create_dir_all(fixtures()).unwrap();
        std::fs::write(&file, write(&sample()).content(&path())).unwrap();
        std::fs::write(&list, listed(&sample())).unwrap();
    }
    let segment = Segment::open(&RealFs, &file, ID).unwrap();
    assert_eq!(segment.verify(&mut |_| {}), []);
    let events = read(&segment).unwrap();
    assert_eq!(listed(&events), std::fs::read_to_string(&list).unwrap());
    let ends: Vec<_> = events.iter().flat_map(|(_, rows)| rows).filter_map(|(_, details)| details.traffic).collect();
    assert_eq!(ends.len(), 20);
    assert!(ends.iter().all(|end| end.missed_keep_alives.is_none()), "a column that came later is absent");
    assert!(segment.meta().bytes < 20 << 10, "{}", segment.meta().bytes);
}
