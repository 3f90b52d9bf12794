//! Promises about messages, which are subjects beside clients and addresses.

use tracemq_model::{Action, Event, Filter, Order, Pattern, Reason, Subject, TimeRange, TraceQuery};

use super::{
    Harness, act, address, append, client, counts, event, instance, message, message_rows, orphans, page, query, rows,
    scan, subjects, tally,
};

/// A published message, queued for one client and delivered to another: six rows.
fn trace(id: u128, time: i64) -> Vec<Event> {
    [
        message_rows(id, "sensor", Reason::MessagePublished, time),
        message_rows(id, "app", Reason::MessageDelivered, time),
        message_rows(id, "away", Reason::MessageQueued, time + 5),
    ]
    .concat()
}

/// What is kept under a message is a page of it, with the exact total; and what is kept under its clients is theirs.
pub fn a_message_is_a_subject(harness: &dyn Harness) {
    let store = harness.open();
    let all: Vec<Event> = (0..40).flat_map(|n| trace(u128::MAX - n, 10)).collect();
    for batch in all.chunks(60) {
        append(&*store, batch);
        harness.settle(&*store, 5);
    }
    drop(store);
    let store = harness.open();
    for id in [u128::MAX, u128::MAX - 39] {
        let of_it: Vec<Event> = trace(id, 10).into_iter().filter(|row| row.client.is_none()).collect();
        assert_eq!(rows(&*store, message(id)), of_it);
        let newest = TraceQuery { order: Order::NewestFirst, limit: 1, ..query(message(id)) };
        let newest = page(&*store, &newest);
        assert_eq!((newest.total, newest.events.as_slice()), (3, of_it.get(2..).unwrap_or_default()));
        let filter = Filter {
            subject: Some(message(id)),
            reasons: vec![Reason::MessageDelivered, Reason::MessageQueued],
            ..Filter::all(instance(), TimeRange::ALL)
        };
        assert_eq!(scan(&*store, &filter, Order::OldestFirst), of_it.get(1..).unwrap_or_default());
    }
    assert_eq!(page(&*store, &query(client("sensor"))).total, 40);
    assert_eq!(page(&*store, &query(message(7))).total, 0);
    assert_eq!(store.erase(&instance(), &message(u128::MAX)).expect("the store answers"), 3);
    assert_eq!(rows(&*store, message(u128::MAX)), []);
    drop(store);
    let store = harness.open();
    assert_eq!(page(&*store, &query(message(u128::MAX))).total, 0);
    assert_eq!(page(&*store, &query(message(u128::MAX - 1))).total, 3);
}

/// Listed, tallied and counted, behind clients and addresses and by their ids.
pub fn messages_stand_behind_addresses_among_the_subjects(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &trace(1 << 127, 3));
    append(&*store, &trace(7, 3));
    harness.settle(&*store, 5);
    let nobody =
        Event { client: None, peer: Some("[ffff::1]:1".parse().expect("a good address")), ..act(Action::Open, 1, 3) };
    append(&*store, &[nobody, event("zebra", 3, 0)]);
    let mut everybody: Vec<Subject> = ["app", "away", "sensor", "zebra"].map(client).to_vec();
    everybody.extend([address("ffff::1"), message(7), message(1 << 127)]);
    for _ in 0..2 {
        let listed =
            |pattern: Pattern, after: Option<&Subject>| subjects(&*store, &instance(), &pattern, after, 100).subjects;
        assert_eq!(listed(Pattern::All, None), everybody);
        assert_eq!(listed(Pattern::All, Some(&message(7))), [message(1 << 127)]);
        assert_eq!(listed(Pattern::Prefix("8000".into()), None), [message(1 << 127)]);
        let all = Filter::all(instance(), TimeRange::ALL);
        let tallied: Vec<Subject> = tally(&*store, &all).into_iter().map(|tally| tally.subject).collect();
        assert_eq!(tallied, everybody);
        let of_messages = Filter { actions: vec![Action::Message], ..all };
        assert_eq!(counts(&*store, &of_messages, 1_000).iter().map(|count| count.events).sum::<u64>(), 12);
        harness.settle(&*store, 6);
    }
}

/// A connection that messages passed over is open or not as it was without them.
pub fn message_events_neither_begin_nor_end_a_connection(harness: &dyn Harness) {
    let store = harness.open();
    let connect = act(Action::Connect, 1, 10);
    let over = |connection: &Event, time| {
        message_rows(7, "device", Reason::MessageDelivered, time)
            .map(|row| Event { connection: connection.connection, ..row })
    };
    let other = act(Action::Connect, 2, 10);
    append(&*store, &over(&other, 5));
    append(&*store, &[vec![connect.clone(), other.clone()], over(&connect, 11).to_vec()].concat());
    harness.settle(&*store, 5);
    append(&*store, &over(&act(Action::Connect, 3, 0), 12));
    append(&*store, &[act(Action::Close, 2, 13)]);
    append(&*store, &over(&other, 14));
    drop(store);
    let store = harness.open();
    assert_eq!(orphans(&*store), std::slice::from_ref(&connect));
    let now = store.current_state(&instance(), &client("device")).expect("the store answers").expect("it is known");
    assert_eq!(now.open, [connect]);
}
