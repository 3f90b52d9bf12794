//! The two ends between which each fleet lies: one client with all events, and as many clients as events.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

use std::ops::ControlFlow;

use tempfile::TempDir;
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, Filter, InstanceId, Order, Pattern, Provenance, Reason, Subject,
    TimeMs, TimeRange, TraceQuery,
};
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore};

const EVENTS: u64 = 300_000;
const BATCH: u64 = 3_000;
/// A midnight in 2024.
const START: i64 = 20_000 * 86_400_000;
/// A prime, so that neighbours in time are no neighbours by name.
const STRIDE: u64 = 2_147_483_647;

fn instance() -> InstanceId {
    InstanceId::new("mqtt-local").unwrap()
}

/// The name of the client that has the event of that number.
type NameOf = fn(u64) -> ClientId;

fn the_one(_: u64) -> ClientId {
    ClientId::new("the one").unwrap()
}

fn each_another(number: u64) -> ClientId {
    named(number * STRIDE % EVENTS)
}

fn named(place: u64) -> ClientId {
    ClientId::new(&format!("dev-{place:06}")).unwrap()
}

fn event(number: u64, name: NameOf) -> Event {
    let is_end = number % 2 == 1;
    Event {
        time: TimeMs(START + number.cast_signed() * 250),
        instance: instance(),
        connection: ConnectionId(u128::from(number - u64::from(is_end)) << 64 | u128::from(number / 2)),
        action: if is_end { Action::Close } else { Action::Connect },
        reason: if is_end { Reason::KeepAliveTimeout } else { Reason::Accepted },
        provenance: Provenance::Observed,
        client: Some(name(number)),
        peer: Some(([192, 0, 2, 1], 1_024).into()),
        details: Details { duration_ms: is_end.then_some(number), ..Details::default() },
    }
}

/// Memtables of which there are many, and merges of three segments.
fn open(dir: &TempDir) -> Segments {
    let settings = SegmentSettings { memtable_events: 20_000, merge_segments: 3, ..SegmentSettings::default() };
    let (store, recovery) = Segments::open(dir.path(), settings).unwrap();
    assert_eq!(recovery.damaged, []);
    store
}

fn append_all(store: &Segments, name: NameOf) {
    for first in (0..EVENTS).step_by(usize::try_from(BATCH).unwrap()) {
        let events = (first..first + BATCH).map(|number| event(number, name)).collect();
        store.append(&Batch { events, gaps: Vec::new() }).unwrap();
    }
}

fn page(store: &Segments, client: &ClientId, order: Order, offset: u64) -> (u64, Vec<Event>) {
    let page = store.page(&TraceQuery {
        instance: instance(),
        subject: Subject::Client(client.clone()),
        range: TimeRange::ALL,
        order,
        offset,
        limit: 100,
    });
    let page = page.unwrap();
    assert_eq!(page.gaps, []);
    (page.total, page.events)
}

/// What holds of both: each event once and as it was, in order, and the counts of it.
fn check_all(store: &Segments, name: NameOf) {
    assert_eq!(store.stats().events, EVENTS);
    let all = Filter::all(instance(), TimeRange::ALL);
    let mut next = 0;
    let scanned = store.scan(&all, Order::OldestFirst, &mut |found| {
        assert_eq!(*found, event(next, name));
        next += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((scanned.unwrap(), next), (Vec::new(), EVENTS));
    let counts = store.counts(&all, 60_000).unwrap().counts;
    assert_eq!(counts.iter().map(|count| count.events).sum::<u64>(), EVENTS);
}

/// How many clients a tally of all events tells of, and of how many events.
fn tallied(store: &Segments) -> (u64, u64) {
    let (mut clients, mut events) = (0, 0);
    let tally = store.tally(&Filter::all(instance(), TimeRange::ALL), &mut |tally| {
        clients += 1;
        events += tally.events;
        ControlFlow::Continue(())
    });
    assert_eq!(tally.unwrap(), []);
    (clients, events)
}

fn found(store: &Segments, pattern: &Pattern, after: Option<&Subject>) -> (Vec<Subject>, bool) {
    let page = store.subjects(&instance(), pattern, after, 1_000).unwrap();
    assert_eq!(page.gaps, []);
    (page.subjects, page.more)
}

/// Checks while segments are being made and merged, after that, and after another start.
fn at_every_stage(name: NameOf, check: impl Fn(&Segments)) {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append_all(&store, name);
    check(&store);
    store.settle(&mut |_| ()).unwrap();
    check(&store);
    check_all(&store, name);
    drop(store);
    let store = open(&dir);
    check(&store);
    check_all(&store, name);
    drop(store);
    assert_eq!(tracemq_segments::check(dir.path(), &mut |_, _| ()).unwrap().findings, []);
}

#[test]
fn one_client_may_have_all_events() {
    at_every_stage(the_one, |store| {
        let client = the_one(0);
        for offset in [0, 99, 19_950, EVENTS / 2, EVENTS - 100, EVENTS - 1, EVENTS] {
            let (total, events) = page(store, &client, Order::OldestFirst, offset);
            assert_eq!(total, EVENTS);
            let expected: Vec<Event> = (offset..EVENTS.min(offset + 100)).map(|n| event(n, the_one)).collect();
            assert_eq!(events, expected, "from {offset}");
            let (_, newest_first) = page(store, &client, Order::NewestFirst, EVENTS.saturating_sub(offset + 100));
            assert!(newest_first.iter().rev().skip(100 - expected.len()).eq(&expected), "to {offset}");
        }
        assert_eq!(tallied(store), (1, EVENTS));
        let one = vec![Subject::Client(client.clone())];
        assert_eq!(found(store, &Pattern::Prefix("the".into()), None), (one.clone(), false));
        assert_eq!(found(store, &Pattern::All, Some(&one[0])), (Vec::new(), false));
    });
}

#[test]
fn each_event_may_be_of_another_client() {
    at_every_stage(each_another, |store| {
        for number in (0..EVENTS).step_by(1_499).chain([EVENTS - 1]) {
            let found = page(store, &each_another(number), Order::NewestFirst, 0);
            assert_eq!(found, (1, vec![event(number, each_another)]));
        }
        assert_eq!(page(store, &named(EVENTS), Order::NewestFirst, 0), (0, Vec::new()));
        assert_eq!(tallied(store), (EVENTS, EVENTS));
        let places = |places: std::ops::Range<u64>| places.map(|place| Subject::Client(named(place))).collect();
        assert_eq!(found(store, &Pattern::Prefix("dev-1234".into()), None), (places(123_400..123_500), false));
        assert_eq!(found(store, &Pattern::Substring("299999".into()), None), (places(299_999..300_000), false));
        assert_eq!(found(store, &Pattern::All, None), (places(0..1_000), true));
        let after = Subject::Client(named(299_500));
        assert_eq!(found(store, &Pattern::All, Some(&after)), (places(299_501..EVENTS), false));
    });
}
