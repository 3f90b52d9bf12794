//! The released formats: a folder of each is kept for ever, and has to be read for ever.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::{Path, PathBuf};

use tracemq_journal::{Journal, JournalSettings};
use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, InstanceId, Order};
use tracemq_model::{ProtocolVersion, Provenance, Reason, Subject, TimeMs, TimeRange, TraceQuery, Traffic};
use tracemq_store::{Batch, EventStore};

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

fn event(reason: Reason, number: u16) -> Event {
    let actions = [Action::Open, Action::Connect, Action::Disconnect, Action::Close];
    let provenances = [Provenance::Observed, Provenance::Reported, Provenance::Inferred];
    let peers = ["10.0.0.7:1883", "[2001:db8::7]:8883", "[fe80::1%3]:1"];
    let full = !number.is_multiple_of(4);
    Event {
        time: TimeMs(1_621_580_400_000 + i64::from(number)),
        instance: InstanceId::new("mqtt-local").unwrap(),
        connection: ConnectionId(u128::MAX - u128::from(number)),
        action: actions.into_iter().nth(usize::from(number % 4)).unwrap(),
        reason,
        provenance: provenances.into_iter().nth(usize::from(number % 3)).unwrap(),
        client: Some(ClientId::new("GID_é@@@中").unwrap()),
        peer: full.then(|| peers.into_iter().nth(usize::from(number % 3)).unwrap().parse().unwrap()),
        details: if full { details(number) } else { Details::default() },
    }
}

fn details(number: u16) -> Details {
    let protocols = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
    Details {
        listener: Some("mqtt".into()),
        protocol: protocols.into_iter().nth(usize::from(number % 3)),
        username: Some("user".into()),
        keep_alive_s: Some(number),
        clean_start: Some(number.is_multiple_of(2)),
        session_present: Some(!number.is_multiple_of(2)),
        reason_code: Some(0x87),
        detail: Some("topic a/b".into()),
        other_connection: Some(ConnectionId(u128::from(number))),
        duration_ms: Some(u64::MAX),
        traffic: Some(Traffic {
            bytes_in: u64::MAX,
            bytes_out: 1,
            packets_in: 2,
            packets_out: 3,
            last_in_age_ms: Some(4),
            last_out_age_ms: None,
        }),
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

/// `TRACEMQ_GOLDEN=write cargo test -p tracemq-journal --test format` makes the fixture anew: only ever for a format that
/// is not released yet.
#[test]
fn format_1_is_read() {
    if std::env::var_os("TRACEMQ_GOLDEN").is_some_and(|mode| mode == "write") {
        write_the_fixture();
    }
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let (journal, recovery) = Journal::open(dir.path(), JournalSettings::default()).unwrap();
    assert_eq!((recovery.cut_bytes, recovery.damaged), (0, vec![]));
    let query = TraceQuery {
        instance: InstanceId::new("mqtt-local").unwrap(),
        subject: Subject::Client(ClientId::new("GID_é@@@中").unwrap()),
        range: TimeRange::ALL,
        order: Order::OldestFirst,
        offset: 0,
        limit: 1_000,
    };
    let page = journal.page(&query).unwrap();
    let expected = history();
    assert_eq!((page.events, page.gaps), (expected.events, expected.gaps));
}

fn write_the_fixture() {
    std::fs::remove_dir_all(fixture()).unwrap();
    let (journal, _) = Journal::open(&fixture(), JournalSettings::default()).unwrap();
    journal.append(&history()).unwrap();
    drop(journal);
    std::fs::remove_file(fixture().join("lock")).unwrap();
}
