//! Promises about who there is.

use tracemq_model::{Action, Event, Pattern, Subject, TraceQuery};

use super::{Harness, act, address, append, client, event, instance, instance_named, subjects};
use crate::{EventStore, StoreError};

fn all(store: &dyn EventStore) -> Vec<Subject> {
    subjects(store, &instance(), &Pattern::All, None, TraceQuery::LIMIT_MAX).subjects
}

fn from(peer: &str) -> Event {
    Event { client: None, peer: Some(peer.parse().expect("a good address")), ..act(Action::Open, 1, 1) }
}

/// Clients by the bytes of their names, then addresses by number; each once, however often and where its events are.
pub fn subjects_are_listed_once_and_in_order(harness: &dyn Harness) {
    let store = harness.open();
    assert_eq!(all(&*store), []);
    let batch = |n| [event("b", n, 1), from("10.0.0.7:1"), event("a", -n, 2), from("[::1]:1"), event("é", n, 3)];
    for n in 0..4 {
        append(&*store, &batch(n));
        harness.settle(&*store, 5);
        append(&*store, &[event("B", n, 4), from("[2001:db8::7]:1"), from("[::ffff:10.0.0.7]:1")]);
    }
    let sorted: Vec<Subject> =
        ["B", "a", "b", "é"].map(client).into_iter().chain(["::1", "10.0.0.7", "2001:db8::7"].map(address)).collect();
    assert_eq!(all(&*store), sorted);
    drop(store);
    let store = harness.open();
    assert_eq!(all(&*store), sorted);
    assert_eq!(subjects(&*store, &instance_named("other"), &Pattern::All, None, 5).subjects, []);
}

/// From behind any subject on, whether it is there or not, until there are no more.
pub fn subjects_are_paged_through(harness: &dyn Harness) {
    let store = harness.open();
    let mut events: Vec<Event> = (0..300).map(|n| event(&format!("device-{n:03}"), 1, n)).collect();
    events.extend((0..20).map(|n| from(&format!("10.0.0.{n}:1"))));
    for batch in events.chunks(100) {
        append(&*store, batch);
        harness.settle(&*store, 6);
    }
    let everybody = all(&*store);
    assert_eq!(everybody.len(), 320);
    for limit in [1, 7, 64, 319, 320, TraceQuery::LIMIT_MAX] {
        let mut seen: Vec<Subject> = Vec::new();
        loop {
            let page = subjects(&*store, &instance(), &Pattern::All, seen.last(), limit);
            assert!(page.subjects.len() == limit || !page.more);
            seen.extend(page.subjects);
            assert_eq!(page.more, seen.len() < everybody.len());
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, everybody);
    }
    let behind = |after: &Subject| subjects(&*store, &instance(), &Pattern::All, Some(after), 1).subjects;
    assert_eq!(behind(&client("device-0000")), [client("device-001")]);
    assert_eq!(behind(&client("a")), [client("device-000")]);
    assert_eq!(behind(&client("z")), [address("10.0.0.0")]);
    assert_eq!(behind(&address("::")), [address("10.0.0.0")]);
    assert_eq!(behind(&address("2001:db8::7")), []);
    let nobody = subjects(&*store, &instance(), &Pattern::All, None, 0);
    assert_eq!((nobody.subjects.len(), nobody.more), (0, true));
    let nobody = subjects(&*store, &instance(), &Pattern::All, Some(&address("10.0.0.19")), 0);
    assert_eq!((nobody.subjects.len(), nobody.more), (0, false));
}

/// By a part of the name; an address by a part of its text.
pub fn subjects_are_found_by_pattern(harness: &dyn Harness) {
    let store = harness.open();
    let names = ["thermo-1", "thermo-2", "Thermo-3", "meter-1", "é中", "10.0.0.77"];
    let mut events: Vec<Event> = (0..).zip(names).map(|(n, name)| event(name, 1, n)).collect();
    events.extend(["10.0.0.7:1", "[::ffff:10.0.0.8]:1", "[2001:db8::7]:1"].map(from));
    append(&*store, &events);
    drop(store);
    let store = harness.open();
    let find = |pattern: Pattern| {
        let found = subjects(&*store, &instance(), &pattern, None, 10);
        assert!(!found.more);
        found.subjects
    };
    let text = str::to_owned;
    assert_eq!(find(Pattern::Prefix(text("thermo"))), ["thermo-1", "thermo-2"].map(client));
    assert_eq!(find(Pattern::Prefix(text("thermo-10"))), []);
    assert_eq!(find(Pattern::Prefix(text("10.0"))), [client("10.0.0.77"), address("10.0.0.7"), address("10.0.0.8")]);
    assert_eq!(find(Pattern::Substring(text("-1"))), ["meter-1", "thermo-1"].map(client));
    assert_eq!(find(Pattern::Substring(text("db8"))), [address("2001:db8::7")]);
    assert_eq!(find(Pattern::Glob(text("?hermo-?"))), ["Thermo-3", "thermo-1", "thermo-2"].map(client));
    assert_eq!(find(Pattern::Glob(text("??"))), [client("é中")]);
    assert_eq!(find(Pattern::Glob(text("*.7"))), [address("10.0.0.7")]);
    assert_eq!(find(Pattern::Fuzzy(text("TERMO-2"))), ["Thermo-3", "thermo-1", "thermo-2"].map(client));
    let page = subjects(&*store, &instance(), &Pattern::Prefix(text("t")), Some(&client("thermo-1")), 1);
    assert_eq!((page.subjects, page.more), (vec![client("thermo-2")], false));
}

/// A page is held in memory.
pub fn a_limit_of_subjects_above_the_maximum_is_refused(harness: &dyn Harness) {
    let store = harness.open();
    for limit in [TraceQuery::LIMIT_MAX + 1, usize::MAX] {
        let refused = store.subjects(&instance(), &Pattern::All, None, limit);
        assert!(matches!(refused, Err(StoreError::InvalidQuery(_))), "{refused:?}");
    }
}
