//! Promises about history that is taken away.

use tracemq_model::{Action, Event, Filter, Order, Pattern, Subject, TimeRange};

use super::{Harness, act, address, append, client, counts, event, instance, instance_named, orphans, query, rows};
use super::{scan, sessions, subjects, tally};
use crate::EventStore;

fn all() -> Filter {
    Filter::all(instance(), TimeRange::ALL)
}

fn erase(store: &dyn EventStore, subject: &Subject) -> u64 {
    store.erase(&instance(), subject).expect("the store erases")
}

fn is_unknown(store: &dyn EventStore, subject: &Subject) {
    let of_subject = Filter { subject: Some(subject.clone()), ..all() };
    assert_eq!(rows(store, subject.clone()), []);
    assert_eq!(super::page(store, &query(subject.clone())).total, 0);
    assert_eq!(sessions(store, &query(subject.clone())).sessions, []);
    assert_eq!(store.current_state(&instance(), subject).expect("the store answers"), None);
    assert_eq!(scan(store, &of_subject, Order::OldestFirst), []);
    assert_eq!(counts(store, &of_subject, 60_000), []);
    assert!(!tally(store, &all()).iter().any(|tally| tally.subject == *subject));
    let named = subjects(store, &instance(), &Pattern::All, None, 1_000).subjects;
    assert!(!named.contains(subject));
}

/// From every answer at once, now and after a restart, wherever it was kept; nobody else loses a thing.
pub fn what_is_erased_is_in_no_answer(harness: &dyn Harness) {
    let store = harness.open();
    let all_events = |n: u32| {
        let nobody = Event { client: None, ..event("device", i64::from(n), n * 2) };
        let elsewhere = Event { instance: instance_named("other"), ..event("device", i64::from(n), n) };
        let others = ["devic", "device ", "Device"].map(|name| event(name, i64::from(n), n));
        [vec![event("device", i64::from(n), n), nobody, elsewhere], others.to_vec()].concat()
    };
    let mut kept = Vec::new();
    for n in 0..20 {
        append(&*store, &all_events(n));
        kept.extend(all_events(n).into_iter().filter(|event| event.instance == instance()));
        if n % 5 == 0 {
            harness.settle(&*store, u8::try_from(n).unwrap_or(0));
        }
    }
    assert_eq!(erase(&*store, &client("nobody")), 0);
    let elsewhere = Filter::all(instance_named("other"), TimeRange::ALL);
    for subject in [client("device"), address("10.0.0.7")] {
        assert_eq!(erase(&*store, &subject), 20);
        kept.retain(|event| Subject::of(event).as_ref() != Some(&subject));
        is_unknown(&*store, &subject);
        assert_eq!(erase(&*store, &subject), 0, "it is erased already");
    }
    let check = |store: &dyn EventStore| {
        is_unknown(store, &client("device"));
        is_unknown(store, &address("10.0.0.7"));
        let mut expected = kept.clone();
        expected.sort_by_key(|event| (event.time, Subject::of(event)));
        assert_eq!(scan(store, &all(), Order::OldestFirst), expected);
        let counted: u64 = counts(store, &all(), 60_000).iter().map(|count| count.events).sum();
        assert_eq!(counted, u64::try_from(kept.len()).unwrap_or(0));
        assert_eq!(scan(store, &elsewhere, Order::OldestFirst).len(), 20);
        assert_eq!(counts(store, &elsewhere, 60_000).iter().map(|count| count.events).sum::<u64>(), 20);
    };
    check(&*store);
    harness.settle(&*store, 8);
    check(&*store);
    drop(store);
    for how in 0..3 {
        let store = harness.open();
        check(&*store);
        harness.settle(&*store, how);
        check(&*store);
    }
}

/// Also when its time is older than all that was erased.
pub fn what_arrives_after_an_erasure_is_kept(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[event("device", 10, 1), event("device", 20, 2)]);
    assert_eq!(erase(&*store, &client("device")), 2);
    let later = [event("device", 5, 3), event("device", 15, 4)];
    append(&*store, &later);
    assert_eq!(rows(&*store, client("device")), later);
    harness.settle(&*store, 9);
    assert_eq!(rows(&*store, client("device")), later);
    drop(store);
    let store = harness.open();
    assert_eq!(rows(&*store, client("device")), later);
    assert_eq!(scan(&*store, &all(), Order::OldestFirst), later);
    assert_eq!(tally(&*store, &all()).iter().map(|tally| tally.events).collect::<Vec<_>>(), [2]);
    assert_eq!(erase(&*store, &client("device")), 2);
    append(&*store, &[event("device", 1, 5)]);
    drop(store);
    assert_eq!(rows(&*harness.open(), client("device")), [event("device", 1, 5)]);
}

/// Nobody is asked to close a connection that nothing is known of.
pub fn an_erased_beginning_is_no_orphan(harness: &dyn Harness) {
    for settled in [false, true] {
        let store = harness.open();
        let other = Event { client: event("other", 0, 0).client, ..act(Action::Connect, 2, 10) };
        append(&*store, &[act(Action::Connect, 1, 10), other.clone()]);
        if settled {
            harness.settle(&*store, 10);
        }
        assert_eq!(erase(&*store, &client("device")), 1);
        if settled {
            harness.settle(&*store, 11);
        }
        drop(store);
        let store = harness.open();
        assert_eq!(orphans(&*store), std::slice::from_ref(&other));
        drop(store);
        let store = harness.open();
        assert_eq!(orphans(&*store), [other]);
        // The same again, now with what is on record from before.
        assert_eq!(erase(&*store, &client("other")), 1);
        drop(store);
        assert_eq!(orphans(&*harness.open()), []);
    }
}

/// A connection that waited under its address and ended under its name has ended, though the name is erased.
pub fn an_erased_end_is_an_end(harness: &dyn Harness) {
    for (settled, number) in [(false, 1), (true, 2)] {
        let store = harness.open();
        append(&*store, &[Event { client: None, ..act(Action::Open, number, 10) }]);
        if settled {
            harness.settle(&*store, 12);
        }
        append(&*store, &[act(Action::Connect, number, 11), act(Action::Close, number, 12)]);
        if settled {
            harness.settle(&*store, 13);
        }
        assert_eq!(erase(&*store, &client("device")), 2);
        drop(store);
        assert_eq!(orphans(&*harness.open()), []);
        assert_eq!(orphans(&*harness.open()), []);
    }
}
