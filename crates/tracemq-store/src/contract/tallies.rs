//! Promises about what each subject has.

use std::ops::ControlFlow;

use tracemq_model::{Action, Event, Filter, Reason, Subject, Tally, TimeMs, TimeRange};

use super::{Harness, act, address, append, between, client, event, instance, tally};

fn all() -> Filter {
    Filter::all(instance(), TimeRange::ALL)
}

/// How many, the oldest, the newest: by (time, arrival), whatever order they arrived in.
pub fn a_tally_has_the_number_the_oldest_and_the_newest(harness: &dyn Harness) {
    let store = harness.open();
    let of = |client: &str, action, reason, time| Event { action, reason, ..event(client, time, 0) };
    append(&*store, &[of("b", Action::Close, Reason::Kicked, 50), of("a", Action::Connect, Reason::Accepted, 7)]);
    harness.settle(&*store, 3);
    append(&*store, &[of("b", Action::Connect, Reason::Accepted, 20), of("b", Action::Close, Reason::Banned, 50)]);
    harness.settle(&*store, 4);
    append(&*store, &[of("b", Action::Open, Reason::Opened, -3), of("b", Action::Connect, Reason::Accepted, 49)]);
    let expect = |name, events, first, last, last_action, last_reason| Tally {
        subject: client(name),
        events,
        first: TimeMs(first),
        last: TimeMs(last),
        last_action,
        last_reason,
    };
    let a = expect("a", 1, 7, 7, Action::Connect, Reason::Accepted);
    assert_eq!(tally(&*store, &all()), [a.clone(), expect("b", 5, -3, 50, Action::Close, Reason::Banned)]);
    drop(store);
    let store = harness.open();
    let early = Filter { range: between(0, 49), ..all() };
    assert_eq!(tally(&*store, &early), [a, expect("b", 2, 20, 49, Action::Connect, Reason::Accepted)]);
    let kicked = Filter { reasons: vec![Reason::Kicked], ..all() };
    assert_eq!(tally(&*store, &kicked), [expect("b", 1, 50, 50, Action::Close, Reason::Kicked)]);
    assert_eq!(tally(&*store, &Filter { range: between(49, 0), ..all() }), []);
}

/// Clients by the bytes of their names, then addresses by number; whoever has seen enough is shown no more.
pub fn tallies_go_by_subject_and_end_at_a_break(harness: &dyn Harness) {
    let store = harness.open();
    let clients = ["é", "b", "10.0.0.7", "B", "b ", "ba"];
    let peers = ["[2001:db8::7]:1", "9.0.0.1:1", "[::1]:1", "10.0.0.7:1"];
    let nobody = peers.iter().map(|peer| Event {
        client: None,
        peer: Some(peer.parse().expect("a good address")),
        ..act(Action::Open, 1, 1)
    });
    let events: Vec<Event> = nobody.chain(clients.iter().map(|name| event(name, 1, 0))).collect();
    for batch in events.chunks(3) {
        append(&*store, batch);
    }
    let sorted = ["10.0.0.7", "B", "b", "b ", "ba", "é"].map(client).into_iter();
    let sorted: Vec<Subject> = sorted.chain(["::1", "9.0.0.1", "10.0.0.7", "2001:db8::7"].map(address)).collect();
    for enough in 1..=sorted.len() {
        let mut seen = Vec::new();
        let mut visit = |tally: &Tally| {
            seen.push(tally.subject.clone());
            if seen.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert_eq!(store.tally(&all(), &mut visit).expect("the store answers"), []);
        assert_eq!(Some(seen.as_slice()), sorted.get(..enough));
    }
}
