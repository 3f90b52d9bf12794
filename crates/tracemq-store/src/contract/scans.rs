//! Promises about events of many subjects.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tracemq_model::{Action, Event, Filter, Order, Pattern, Reason, Subject, TimeMs, TimeRange};

use super::{Harness, act, address, append, between, client, counts, event, instance, instance_named, one_of};
use super::{query, rows, scan, sessions, subjects, tally};
use crate::EventStore;

/// Nothing takes as long, but what waits for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

fn all() -> Filter {
    Filter::all(instance(), TimeRange::ALL)
}

/// By time, then nobody's, then by subject, then by arrival; and exactly reversed.
pub fn scans_go_by_time_then_subject_then_arrival(harness: &dyn Harness) {
    let store = harness.open();
    let of = |client: Option<&str>, peer: Option<&str>, time: i64, number: u32| Event {
        client: event(client.unwrap_or("nobody"), 0, 0).client.filter(|_| client.is_some()),
        peer: peer.map(|peer| peer.parse().expect("a good address")),
        ..event("nobody", time, number)
    };
    let sorted = [
        of(Some("z"), None, 1, 0),
        of(None, None, 2, 1),
        of(None, None, 2, 2),
        of(Some("10.0.0.7"), None, 2, 3),
        of(Some("B"), Some("10.0.0.7:1"), 2, 4),
        of(Some("B"), None, 2, 5),
        of(Some("b"), None, 2, 6),
        of(Some("b\u{1}"), None, 2, 7),
        of(Some("é"), None, 2, 8),
        of(None, Some("[::1]:1"), 2, 9),
        of(None, Some("9.0.0.1:1"), 2, 10),
        of(None, Some("10.0.0.7:1"), 2, 11),
        of(None, Some("[::ffff:10.0.0.7]:1"), 2, 12),
        of(None, Some("10.0.0.7:1"), 2, 13),
        of(None, Some("[2001:db8::7]:1"), 2, 14),
        of(Some("a"), None, 3, 15),
    ];
    // Arrives in another order, but for events that only arrival puts in order.
    for numbers in [[15, 8, 11, 1], [4, 14, 6, 10], [12, 2, 0, 5], [9, 13, 3, 7]] {
        let batch: Vec<Event> = numbers.into_iter().filter_map(|at: usize| sorted.get(at).cloned()).collect();
        append(&*store, &batch);
        harness.settle(&*store, 0);
    }
    assert_eq!(scan(&*store, &all(), Order::OldestFirst), sorted);
    drop(store);
    let store = harness.open();
    assert_eq!(scan(&*store, &all(), Order::OldestFirst), sorted);
    let reversed: Vec<Event> = sorted.into_iter().rev().collect();
    assert_eq!(scan(&*store, &all(), Order::NewestFirst), reversed);
}

/// Each condition of a filter counts, alone and with the others.
pub fn a_filter_asks_by_every_field(harness: &dyn Harness) {
    let store = harness.open();
    let mut events: Vec<Event> = (0..60).map(|n| event(one_of(&["a", "b", "c"], n), i64::from(n), n)).collect();
    events.push(Event { client: None, ..event("a", 60, 60) });
    events.push(Event { client: None, peer: None, ..event("a", 61, 61) });
    append(&*store, &events);
    let by_action = Filter { actions: vec![Action::Close, Action::Open], ..all() };
    let by_reason = Filter { reasons: vec![Reason::Opened, Reason::Kicked, Reason::BadTopic], ..all() };
    let filters = [
        all(),
        by_action.clone(),
        by_reason.clone(),
        Filter { reasons: by_reason.reasons, ..by_action },
        Filter { range: between(10, 20), ..all() },
        Filter { range: between(20, 10), ..all() },
        Filter { subject: Some(client("b")), ..all() },
        Filter { subject: Some(client("d")), ..all() },
        Filter { subject: Some(address("10.0.0.7")), ..all() },
        Filter { address: Some("10.0.0.7".parse().expect("a good address")), ..all() },
        Filter { address: Some("2001:db8::7".parse().expect("a good address")), range: between(7, 45), ..all() },
        Filter { address: Some("2001:db8::8".parse().expect("a good address")), ..all() },
        Filter { username: Some("user-7".to_owned()), ..all() },
        Filter { username: Some("user-9".to_owned()), ..all() },
        Filter { listener: Some("mqtt".to_owned()), subject: Some(client("a")), ..all() },
        Filter { listener: Some("MQTT".to_owned()), ..all() },
    ];
    for filter in &filters {
        let expected: Vec<Event> = events.iter().filter(|event| filter.matches(event)).cloned().collect();
        assert_eq!(scan(&*store, filter, Order::OldestFirst), expected, "{filter:?}");
    }
}

/// Whoever has seen enough is shown no more, and no failure comes of it.
pub fn a_break_ends_a_scan(harness: &dyn Harness) {
    let store = harness.open();
    let events: Vec<Event> = (0..100).map(|n| event("device", i64::from(n), n)).collect();
    append(&*store, &events);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for enough in [1, 2, 99, 100] {
            let mut seen = 0;
            let mut visit = |_: &Event| {
                seen += 1;
                if seen == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            assert_eq!(store.scan(&all(), order, &mut visit).expect("the store answers"), []);
            assert_eq!(seen, enough);
        }
    }
}

/// A scan holds nobody up, and what happens meanwhile is not in it.
pub fn a_scan_sees_the_store_as_it_was(harness: &dyn Harness) {
    let store = harness.open();
    let events: Vec<Event> = (0..30).map(|n| event("device", i64::from(n), n)).collect();
    for batch in events.chunks(10) {
        append(&*store, batch);
    }
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut seen = Vec::new();
        let mut visit = |event: &Event| {
            if seen.len() == 5 {
                disturb(&store);
                harness.settle(&*store, 1);
            }
            seen.push(event.clone());
            ControlFlow::Continue(())
        };
        let filter = Filter { range: between(0, 29), ..all() };
        store.scan(&filter, order, &mut visit).expect("the store answers");
        if order == Order::NewestFirst {
            seen.reverse();
        }
        assert_eq!(seen, events);
        // Back to what it was.
        for subject in ["between", "device"] {
            store.erase(&instance(), &client(subject)).expect("the store erases");
        }
        append(&*store, &events);
    }
}

/// Appends among what was there, erases, and asks: from another thread, while a scan is under way.
fn disturb(store: &Arc<dyn EventStore>) {
    let (store, (done, is_done)) = (Arc::clone(store), mpsc::channel());
    std::thread::spawn(move || {
        let late: Vec<Event> = (0..30).map(|n| event("between", n, 100)).collect();
        append(&*store, &late);
        let seen = scan(&*store, &Filter { subject: Some(client("between")), ..all() }, Order::OldestFirst).len();
        let erased = store.erase(&instance(), &client("device")).expect("the store erases");
        let _ = done.send((seen, erased));
    });
    let seen = is_done.recv_timeout(FOR_EVER).expect("a scan holds nobody up");
    assert_eq!(seen, (30, 30));
}

/// Events of nobody from nowhere are events of the fleet; there is just nobody to list them under.
pub fn events_without_a_subject_are_scanned_and_counted(harness: &dyn Harness) {
    let store = harness.open();
    let nobody = Event { client: None, peer: None, ..act(Action::Close, 1, 5) };
    append(&*store, &[nobody.clone(), nobody.clone()]);
    drop(store);
    let store = harness.open();
    assert_eq!(scan(&*store, &all(), Order::OldestFirst), [nobody.clone(), nobody]);
    assert_eq!(counts(&*store, &all(), 10).iter().map(|count| count.events).collect::<Vec<_>>(), [2]);
    assert_eq!(tally(&*store, &all()), []);
    assert_eq!(subjects(&*store, &instance(), &Pattern::All, None, 10).subjects, []);
    for subject in [client("device"), address("10.0.0.7"), address("::")] {
        assert_eq!(scan(&*store, &Filter { subject: Some(subject), ..all() }, Order::OldestFirst), []);
    }
}

/// Instances whose names begin alike, with the same clients, connections and times, are strangers.
pub fn instances_never_mix(harness: &dyn Harness) {
    let store = harness.open();
    let names = ["a", "ab", "a.b", "A", "a-"];
    let mut events = Vec::new();
    for (number, name) in (0..).zip(names) {
        for time in 0..=number {
            events.push(Event { instance: instance_named(name), ..event("device", i64::from(time), number) });
        }
    }
    append(&*store, &events);
    drop(store);
    let store = harness.open();
    for (number, name) in (1..).zip(names) {
        let named = instance_named(name);
        let filter = Filter::all(named.clone(), TimeRange::ALL);
        let expected: Vec<Event> = events.iter().filter(|event| event.instance == named).cloned().collect();
        assert_eq!(scan(&*store, &filter, Order::OldestFirst), expected);
        assert_eq!(counts(&*store, &filter, 60_000).iter().map(|count| count.events).sum::<u64>(), number);
        assert_eq!(tally(&*store, &filter).iter().map(|tally| tally.events).collect::<Vec<_>>(), [number]);
        let found = subjects(&*store, &named, &Pattern::All, None, 10);
        assert_eq!((found.subjects, found.more), (vec![client("device")], false));
        assert_eq!(store.erase(&named, &client("device")).expect("the store erases"), number);
        let left = events.iter().filter(|event| event.instance == named).count();
        assert_eq!(scan(&*store, &filter, Order::OldestFirst).len() + usize::try_from(number).unwrap_or(0), left);
    }
}

/// An IPv4 address and its IPv6-mapped form are one address, in events and in questions.
pub fn an_address_is_one_in_either_notation(harness: &dyn Harness) {
    let store = harness.open();
    let peers = ["10.0.0.7:1", "[::ffff:10.0.0.7]:2", "10.0.0.7:3", "[::a00:7]:4"];
    let events: Vec<Event> = (0..)
        .zip(peers)
        .map(|(n, peer)| Event {
            client: None,
            peer: Some(peer.parse().expect("a good address")),
            ..act(Action::Open, n, i64::from(n))
        })
        .collect();
    append(&*store, &events);
    drop(store);
    let store = harness.open();
    let expected = events.get(..3).unwrap_or_default();
    for subject in [address("10.0.0.7"), address("::ffff:10.0.0.7")] {
        assert_eq!(rows(&*store, subject.clone()), expected);
        let by_subject = Filter { subject: Some(subject.clone()), ..all() };
        assert_eq!(scan(&*store, &by_subject, Order::OldestFirst), expected);
        assert_eq!(counts(&*store, &by_subject, 60_000).iter().map(|count| count.events).sum::<u64>(), 3);
        let state = store.current_state(&instance(), &subject).expect("the store answers").expect("it has events");
        assert_eq!((state.last.time, state.open.len()), (TimeMs(2), 3));
        assert_eq!(sessions(&*store, &query(subject)).sessions.len(), 3);
    }
    let found = subjects(&*store, &instance(), &Pattern::All, None, 10).subjects;
    assert_eq!(found, [address("::a00:7"), address("10.0.0.7")]);
    let tallied: Vec<Subject> = tally(&*store, &all()).into_iter().map(|tally| tally.subject).collect();
    assert_eq!(tallied, found);
    let behind = subjects(&*store, &instance(), &Pattern::All, Some(&address("::ffff:10.0.0.7")), 10);
    assert_eq!(behind.subjects, []);
    assert_eq!(store.erase(&instance(), &address("::ffff:10.0.0.7")).expect("the store erases"), 3);
    assert_eq!(rows(&*store, address("10.0.0.7")), []);
}
