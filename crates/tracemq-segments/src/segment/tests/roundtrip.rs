//! Whatever is written comes back, by every way that leads to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use tracemq_model::{
    Action, ConnectionId, Details, InstanceId, MessageDetails, MessageId, ProtocolVersion, Provenance, Reason, TimeMs,
    TlsVersion, Traffic,
};

use super::sample::{ID, Sample, kept, key, open, read, write, write_as};
use crate::fs::simulated::SimulatedFs;
use crate::row::{Kind, Peer, Row};
use crate::segment::{Block, ROWS, Scan, Segment, Unread};

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 1_700_000_000_000..1_700_000_600_000_i64,
        1 => any::<i64>(),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
    ]
}

fn connections() -> impl Strategy<Value = u128> {
    prop_oneof![
        4 => (0..300_u128).prop_map(|n| (1_700_000_000_000 + n) << 80 | 0xdead_beef << 48 | n),
        2 => any::<u128>(),
        1 => Just(u128::MAX),
        1 => Just(0),
    ]
}

fn peers() -> impl Strategy<Value = Peer> {
    let ips = prop_oneof![
        4 => (0..20_u8).prop_map(|n| IpAddr::from([10, 0, 0, n])),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        1 => any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    prop_oneof![5 => (ips, any::<u16>()).prop_map(|(ip, port)| Peer::Some { ip, port }), 1 => Just(Peer::None)]
}

fn kinds() -> impl Strategy<Value = Kind> {
    let known = (0..16 * 4 * u16::try_from(Reason::ALL.len()).unwrap() / 4).prop_map(Kind);
    let known = prop_oneof![9 => known, 1 => (0..Reason::ALL.len()).prop_map(|at| {
        Kind::new(Action::Message, Reason::ALL[at], Provenance::Observed)
    })];
    known.prop_filter("a kind that stands for something", |kind| kind.parts().is_some())
}

fn texts() -> impl Strategy<Value = Option<std::sync::Arc<str>>> {
    of(prop_oneof!["u[0-9]{1,3}", ".{0,40}"].prop_map(|text| text.as_str().into()))
}

prop_compose! {
    fn traffic()(n in any::<[u64; 3]>(), small in 0..9_u64, ages in of(0..100_u64)) -> Traffic {
        Traffic {
            bytes_in: n[0],
            bytes_out: n[1] >> 40,
            packets_in: n[2] >> 50,
            packets_out: small,
            last_in_age_ms: ages,
            last_out_age_ms: None,
            missed_keep_alives: ages.and_then(|age| u32::try_from(age).ok()),
            ..Traffic::default()
        }
    }
}

prop_compose! {
    fn details()(
        texts in (texts(), texts(), texts()),
        protocol in of(Just(ProtocolVersion::V311)),
        small in (of(any::<u16>()), of(any::<bool>()), of(any::<bool>()), of(any::<u8>())),
        other in of(any::<u128>()),
        duration_ms in of(any::<u64>()),
        traffic in of(traffic()),
        tls in (of(Just(TlsVersion::V12)), texts(), texts(), of(any::<i64>()), of(any::<u64>()), texts()),
    ) -> Details {
        Details {
            listener: texts.0,
            protocol,
            username: texts.1,
            keep_alive_s: small.0,
            clean_start: small.1,
            session_present: small.2,
            reason_code: small.3,
            detail: texts.2,
            other_connection: other.map(ConnectionId),
            duration_ms,
            traffic,
            tls_version: tls.0,
            server_name: tls.1,
            certificate_subject: tls.2,
            certificate_issuer: tls.5,
            certificate_not_after: tls.3.map(TimeMs),
            count: tls.4,
            message: tls.4.map(|number| {
                let topic = format!("t/{}", number % 5).into();
                let client = number.is_multiple_of(2).then(|| "c".into());
                Box::new(MessageDetails { id: MessageId(u128::from(number) << 60), topic, qos: 2, payload_bytes: number, client })
            }),
        }
    }
}

fn rows(most: usize) -> impl Strategy<Value = Vec<(Row, Details)>> {
    let details = prop_oneof![3 => Just(Details::default()), 1 => details()];
    let row =
        (times(), connections(), peers(), kinds(), details).prop_map(|(time, connection, peer, kind, details)| {
            (Row { time: TimeMs(time), connection: ConnectionId(connection), peer, kind }, details)
        });
    vec(row, 0..most).prop_map(|mut rows| {
        rows.sort_by_key(|(row, _)| row.time);
        rows
    })
}

pub(super) fn samples() -> impl Strategy<Value = Sample> {
    let names = prop_oneof![3 => "dev-[0-9]{1,4}", 1 => "[^\0]{1,30}", 1 => "x{200,300}[0-9]{1,2}"];
    let instances = prop_oneof![Just("a"), Just("a.b"), Just("b")];
    let subject = (instances, names, prop_oneof![9 => rows(6), 1 => rows(700)]);
    vec(subject, 0..150).prop_map(|subjects| {
        let sorted: BTreeMap<Vec<u8>, _> =
            subjects.into_iter().map(|(instance, name, rows)| (key(instance, &name), rows)).collect();
        sorted.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_written_is_read(sample in samples(), from in times()) {
        let disk = SimulatedFs::default();
        let meta = write_as(&disk, ID, &sample).unwrap();
        let segment = open(&disk).unwrap();
        prop_assert_eq!(segment.meta(), &meta);
        let sample = kept(&sample);
        prop_assert_eq!(&read(&segment).unwrap(), &sample);
        prop_assert_eq!(segment.verify(&mut |_| {}), vec![]);
        check_meta(&segment, &sample);
        check_look_ups(&segment, &sample, TimeMs(from));
        check_scans(&segment, &sample);
        check_minutes(&segment, &sample);
    }
}

fn check_meta(segment: &Segment, sample: &Sample) {
    let meta = segment.meta();
    let all = || sample.iter().flat_map(|(_, rows)| rows.iter().map(|(row, _)| row.time));
    assert_eq!(meta.rows, all().count() as u64);
    assert_eq!(meta.subjects, sample.len() as u64);
    assert_eq!(meta.sequence, 100..=200);
    assert_eq!(meta.times.from, all().min().unwrap_or(TimeMs::MAX));
    assert_eq!(meta.times.to, all().max().unwrap_or(TimeMs::MIN));
    assert_eq!(meta.instances.iter().map(|total| total.rows).sum::<u64>(), meta.rows);
    let parts: u64 = meta.parts.iter().map(|(_, bytes)| bytes).sum();
    assert!(parts < meta.bytes, "{parts} of {}", meta.bytes);
    assert!(parts + 1_000 + 8 * segment.blocks() > meta.bytes, "{parts} of {}", meta.bytes);
}

fn check_look_ups(segment: &Segment, sample: &Sample, from: TimeMs) {
    let mut next = 0;
    for (key, rows) in sample {
        let range = next..next + rows.len() as u64;
        next = range.end;
        assert_eq!(segment.find(key).unwrap(), Some(range.clone()));
        assert_eq!(segment.key_of_row(range.start).unwrap(), (key.clone(), range.clone()));
        assert_eq!(segment.key_of_row(range.end - 1).unwrap().0, *key);
        let mut beside = key.clone();
        beside.push(0);
        assert_eq!(segment.find(&beside).unwrap(), None);
        let mut walk = segment.keys(&beside).unwrap();
        let next_key = sample.iter().map(|(key, _)| key.as_slice()).find(|key| *key >= beside.as_slice());
        assert_eq!(walk.next().unwrap().map(|(key, _)| key), next_key);
        let times = [from, rows[0].0.time, rows[rows.len() / 2].0.time, rows[rows.len() - 1].0.time.plus(1)];
        for time in times.into_iter().chain([TimeMs::MIN, TimeMs::MAX]) {
            let expected = range.start + rows.partition_point(|(row, _)| row.time < time) as u64;
            assert_eq!(
                segment.lower_bound(&range, time, &mut Block::default(), &mut Unread::default()).unwrap(),
                expected,
                "{time:?} of {} rows",
                rows.len()
            );
        }
    }
    assert!(segment.find(b"").unwrap().is_none());
    assert!(segment.find(&[0xff; 9]).unwrap().is_none());
    assert!(segment.key_of_row(next).is_err());
    assert!(segment.block(segment.blocks()).is_err());
    assert!(segment.text(u32::MAX).is_err());
}

fn check_scans(segment: &Segment, sample: &Sample) {
    let rows: Vec<&Row> = sample.iter().flat_map(|(_, rows)| rows.iter().map(|(row, _)| row)).collect();
    let mut scan = Scan::default();
    let mut scanned = Vec::new();
    for number in 0..segment.blocks() {
        segment.scan(number, &mut scan).unwrap();
        let times = segment.block_times(number).unwrap();
        assert_eq!(scan.times().iter().min(), Some(&times.from));
        assert_eq!(scan.times().iter().max(), Some(&times.to));
        assert!(scan.times().len() == ROWS || number + 1 == segment.blocks());
        scanned.extend(scan.times().iter().copied().zip(scan.kinds().iter().copied()));
    }
    assert_eq!(scanned, rows.iter().map(|row| (row.time, row.kind)).collect::<Vec<_>>());
}

fn check_minutes(segment: &Segment, sample: &Sample) {
    let mut expected: BTreeMap<(Vec<u8>, i64, Kind), u64> = BTreeMap::new();
    for (key, rows) in sample {
        let instance = key.split(|byte| *byte == 0).next().unwrap();
        for (row, _) in rows {
            *expected.entry((instance.to_vec(), row.time.0.div_euclid(60_000), row.kind)).or_default() += 1;
        }
    }
    let minutes = segment.minutes().unwrap();
    let found = minutes.instances().flat_map(|(instance, counts)| {
        counts.iter().map(|count| ((instance.as_str().as_bytes().to_vec(), count.minute, count.kind), count.events))
    });
    assert_eq!(found.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
    for total in &segment.meta().instances {
        assert_eq!(minutes.of(&total.instance).iter().map(|count| count.events).sum::<u64>(), total.rows);
    }
    assert!(minutes.of(&InstanceId::new("unknown").unwrap()).is_empty());
}

#[test]
fn a_text_of_one_segment_gets_its_number_in_another() {
    let sample = super::sample::small();
    let source = open(&write(&sample)).unwrap();
    let disk = SimulatedFs::default();
    let mut writer = crate::segment::SegmentWriter::create(&disk, super::sample::dir(), ID).unwrap();
    let mut known = crate::segment::Translation::new();
    writer.text("first").unwrap();
    for _ in 0..2 {
        assert_eq!(writer.text_of(&source, 2, &mut known).unwrap(), 1);
        assert_eq!(writer.text_of(&source, 0, &mut known).unwrap(), 2);
    }
    assert!(writer.text_of(&source, 99, &mut known).is_err());
    writer.finish(0..=0).unwrap();
    let segment = open(&disk).unwrap();
    assert_eq!(segment.text(1).unwrap(), source.text(2).unwrap());
    assert_eq!(segment.text(2).unwrap(), source.text(0).unwrap());
}
