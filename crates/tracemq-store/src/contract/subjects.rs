//! Promises about whose events are whose.

use tracemq_model::{ClientId, Event, Subject, TraceQuery};

use super::{Harness, address, append, client, event, instance_named, page, query, rows};

/// Whom nothing is known of, has an empty history.
pub fn an_unknown_subject_has_no_history(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[event("device", 1, 0)]);
    for subject in [client("devic"), client("device "), client("Device"), address("10.0.0.7"), address("::")] {
        let page = page(&*store, &query(subject));
        assert_eq!((page.total, page.events.len(), page.gaps.len()), (0, 0, 0));
    }
    let elsewhere = TraceQuery { instance: instance_named("other"), ..query(client("device")) };
    assert_eq!(page(&*store, &elsewhere).total, 0);
}

/// Instances, clients and addresses are apart, however alike their names are.
pub fn subjects_never_mix(harness: &dyn Harness) {
    let store = harness.open();
    let long = "x".repeat(60);
    let names =
        ["10.0.0.7", "device", "Device", "DEVICE", "device ", " device", "é", "e\u{301}", "中", "#", "a/b", "a", "b"];
    let alike = (0..20).map(|n| format!("{long}{}", char::from(b'a' + n)));
    let names: Vec<String> = names.into_iter().map(str::to_owned).chain(alike).collect();
    let mut events: Vec<Event> = names.iter().zip(0..).map(|(name, n)| event(name, 1, n)).collect();
    events.push(Event { instance: instance_named("mqtt-Local"), ..event("device", 1, 100) });
    events.push(Event { instance: instance_named("mqtt"), ..event("device", 1, 101) });
    let peers = ["10.0.0.7:1", "[::ffff:10.0.0.7]:2", "10.0.0.8:3", "[2001:db8::7]:4", "[::a00:7]:5"];
    events.extend(peers.into_iter().zip(200..).map(|(peer, n)| Event {
        client: None,
        peer: Some(peer.parse().expect("a good address")),
        ..event("nobody", 1, n)
    }));
    append(&*store, &events);
    let check = |store: &dyn crate::EventStore| {
        for event in &events {
            let subject = Subject::of(event).expect("it has one");
            let expected: Vec<Event> = events
                .iter()
                .filter(|e| e.instance == event.instance && Subject::of(e).as_ref() == Some(&subject))
                .cloned()
                .collect();
            let found = page(store, &TraceQuery { instance: event.instance.clone(), ..query(subject) });
            assert_eq!(found.events, expected);
        }
    };
    check(&*store);
    // An IPv4 address is the same subject in either notation.
    assert_eq!(rows(&*store, address("10.0.0.7")).len(), 2);
    drop(store);
    check(&*harness.open());
}

/// The longest names that MQTT knows are told apart by their last byte.
pub fn names_of_64_kb_are_names(harness: &dyn Harness) {
    let store = harness.open();
    let long = "x".repeat(ClientId::MAX_BYTES - 1);
    let (a, b) = (format!("{long}a"), format!("{long}b"));
    append(&*store, &[event(&a, 1, 0), event(&b, 2, 1), event(&long, 3, 2)]);
    drop(store);
    let store = harness.open();
    assert_eq!(rows(&*store, client(&a)), [event(&a, 1, 0)]);
    assert_eq!(rows(&*store, client(&b)), [event(&b, 2, 1)]);
    assert_eq!(rows(&*store, client(&long)), [event(&long, 3, 2)]);
}

/// An event of nobody from nowhere is in no page, and disturbs nobody.
pub fn events_without_a_subject_are_taken(harness: &dyn Harness) {
    let store = harness.open();
    let nobody = Event { client: None, peer: None, ..event("device", 1, 0) };
    append(&*store, &[nobody.clone(), event("device", 2, 1), nobody]);
    assert_eq!(store.stats().events, 3);
    drop(store);
    assert_eq!(rows(&*harness.open(), client("device")), [event("device", 2, 1)]);
}

/// Every event on record is counted.
pub fn stats_count_what_is_on_record(harness: &dyn Harness) {
    let store = harness.open();
    assert_eq!(store.stats().events, 0);
    let stranger = Event { client: None, ..event("device", 1, 4) };
    append(&*store, &[event("a", 1, 0), event("b", 1, 1), event("a", 2, 2), stranger]);
    assert_eq!(store.stats().events, 4);
    drop(store);
    assert_eq!(harness.open().stats().events, 4);
}
