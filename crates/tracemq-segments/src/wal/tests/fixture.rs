//! The released formats: a folder of each is kept for ever, and has to be read for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Action, ClientId, ConnectionId, ConnectionIds, Details, Event, Gap, GapCause, InstanceId};
use tracemq_model::{ProtocolVersion, Provenance, Reason, Subject, TimeMs, Traffic};
use tracemq_store::Batch;

use crate::fs::RealFs;
use crate::key::push_key;
use crate::wal::{Entry, Mode, Wal, replay};

const STORE: [u8; 16] = *b"the fixture's id";

/// One event for each reason, filled as far as that reason's place in the list allows, and a gap for each cause.
///
/// Frozen with the fixture: a new reason belongs behind the ones named here, in a fixture of its own.
fn history() -> Batch {
    let reasons = Reason::ALL.iter().take_while(|reason| **reason != Reason::InternalError);
    let events = reasons.chain([&Reason::InternalError]).zip(0..).map(|(reason, number)| event(*reason, number));
    let gaps = GapCause::ALL.iter().zip(0..).map(|(cause, number)| Gap {
        from: TimeMs(number * 10),
        to: TimeMs(number * 10 + 5),
        lost: (number % 2 == 0).then_some(u64::MAX),
        cause: *cause,
    });
    Batch { events: events.collect(), gaps: gaps.collect() }
}

/// Three instances, names that repeat, follow each other or are none, connections of all kinds.
fn event(reason: Reason, number: u16) -> Event {
    let actions = [Action::Open, Action::Connect, Action::Disconnect, Action::Close];
    let provenances = [Provenance::Observed, Provenance::Reported, Provenance::Inferred];
    let peers = ["10.0.0.7:1883", "[2001:db8::7]:8883", "[::ffff:10.0.0.7]:1"];
    let clients = [Some("GID_é@@@中".to_owned()), Some(format!("device-{number:04}")), None, Some("x".repeat(300))];
    let instances = ["mqtt-local", "mqtt-local", "other", "mqtt-local", "b"];
    let at = usize::from(number);
    let mut ids = ConnectionIds::new(0xdead_beef);
    let own = (0..=number).map(|count| ids.next(TimeMs(1_621_580_400_000 + i64::from(count) * 7))).last();
    let connections = [own.unwrap(), own.unwrap(), ConnectionId(u128::MAX - u128::from(number)), ConnectionId(7)];
    let full = !number.is_multiple_of(4);
    Event {
        time: TimeMs(1_621_580_400_000 + i64::from(number) * 9),
        instance: InstanceId::new(instances[at % 5]).unwrap(),
        connection: connections[at % 4],
        action: actions[at % 4],
        reason,
        provenance: provenances[at % 3],
        client: clients[at % 4].as_ref().map(|name| ClientId::new(name).unwrap()),
        peer: full.then(|| peers[at % 3].parse().unwrap()),
        details: if full { details(number) } else { Details::default() },
    }
}

fn details(number: u16) -> Details {
    let protocols = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
    Details {
        listener: Some("mqtt".into()),
        protocol: Some(protocols[usize::from(number % 3)]),
        username: Some(format!("user-{}", number % 5).into()),
        keep_alive_s: Some(number),
        clean_start: Some(number.is_multiple_of(2)),
        session_present: Some(!number.is_multiple_of(2)),
        reason_code: Some(0x87),
        detail: Some("topic a/b".into()),
        other_connection: Some(ConnectionId(u128::from(number) << 64 | 1)),
        duration_ms: Some(u64::from(number)),
        traffic: Some(Traffic {
            bytes_in: u64::MAX,
            bytes_out: 1,
            packets_in: 2,
            packets_out: 3,
            last_in_age_ms: Some(4),
            last_out_age_ms: number.is_multiple_of(3).then_some(5),
            ..Traffic::default()
        }),
        ..Details::default()
    }
}

fn erased() -> Vec<u8> {
    let mut key = Vec::new();
    push_key(&InstanceId::new("b").unwrap(), &Subject::Address("10.0.0.7".parse().unwrap()), &mut key);
    key
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wal-1")
}

/// `TRACEMQ_GOLDEN=write cargo test -p tracemq-segments format_1` makes the fixture anew: only ever for a format that is not
/// released yet.
#[test]
fn s59_format_1_is_read() {
    if std::env::var_os("TRACEMQ_GOLDEN").is_some_and(|mode| mode == "write") {
        write_the_fixture();
    }
    let (mut events, mut gaps, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let replayed = replay(&RealFs, &fixture(), STORE, 1, Mode::Look, &mut |file, entry| match entry {
        Entry::Event(event) => events.push((file, event.to_event().unwrap())),
        Entry::Gap(gap) => gaps.push(gap),
        Entry::Erased { key } => keys.push(key.to_vec()),
    });
    let replayed = replayed.unwrap();
    assert_eq!((replayed.cut, replayed.damaged, replayed.unborn), (None, vec![], None));
    let Batch { events: expected, gaps: expected_gaps } = history();
    let twice = [1, 2].into_iter().flat_map(|file| expected.iter().map(move |event| (file, event.clone())));
    assert_eq!(events, twice.collect::<Vec<_>>());
    assert_eq!((gaps, keys), ([expected_gaps.clone(), expected_gaps].concat(), vec![erased()]));
}

fn write_the_fixture() {
    let _ = std::fs::remove_dir_all(fixture());
    std::fs::create_dir_all(fixture()).unwrap();
    let mut wal = Wal::create(Arc::new(RealFs), &fixture(), STORE, 1).unwrap();
    wal.append(&history()).unwrap();
    wal.erase(&erased()).unwrap();
    wal.rotate().unwrap();
    wal.append(&history()).unwrap();
}
