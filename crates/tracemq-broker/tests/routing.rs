//! Who gets which message: filters, options of subscriptions, retained messages, permissions.

mod wire;

use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::Reason;
use wire::{Peer, broker, connect, publish, subscribe, subscribe_with, text, unsubscribe};

// MQTT 3.1.1: 3.3.5-1
// MQTT 5.0: 3.3.4-2 to 3.3.4-4
#[test]
fn overlapping_filters_give_one_copy_with_all_identifiers_and_the_highest_qos() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe_with(true, 1, &[0x0b, 7], &[("a/#", 0)])).send(&subscribe_with(
        true,
        2,
        &[0x0b, 9],
        &[("+/b", 1)],
    ));
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 4, "a/b", 1, &[], b"x"));
    let got = sub.messages();
    assert_eq!((got.len(), got[0].qos), (1, 1));
    let mut ids = [got[0].props[1], got[0].props[3]];
    ids.sort_unstable();
    assert_eq!((ids, got[0].props.len()), ([7, 9], 4));
}

// MQTT 3.1.1: 3.3.2-3, 4.7.2-1
// MQTT 5.0: 3.3.2-3, 4.7.2-1
#[test]
fn the_first_level_of_dollar_topics_is_no_wildcards_prey() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("#", 0), ("+/x", 0), ("$a/#", 0)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    publisher.send(&publish(false, 1, "$a/x", 0, &[], b"1")).send(&publish(false, 1, "$b/x", 0, &[], b"2"));
    assert_eq!(sub.payloads(), ["1"]);
    let mut late = Peer::connected(&broker, 3, &connect(false, "late"));
    late.send(&subscribe(false, &[("#", 0)])).send(&subscribe(false, &[("+/x", 0)]));
    assert!(late.payloads().is_empty());
    late.send(&subscribe(false, &[("$b/+", 0)]));
    assert_eq!(late.payloads(), ["2"]);
}

// MQTT 5.0: 3.8.3-3
#[test]
fn no_local_keeps_own_messages_away() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "a"));
    peer.send(&subscribe(true, &[("t", 4)])).send(&publish(true, 0, "t", 0, &[], b"own"));
    Peer::connected(&broker, 2, &connect(true, "b")).send(&publish(true, 0, "t", 0, &[], b"other"));
    assert_eq!(peer.payloads(), ["other"]);
}

// MQTT 3.1.1: 3.10.4-2, 3.10.4-4 to 3.10.4-6
// MQTT 5.0: 3.10.4-2, 3.10.4-4 to 3.10.4-6, 3.11.3-1, 3.11.3-2
#[test]
fn unsubscribe_ends_delivery_and_says_what_was_there() {
    for v5 in [false, true] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 0), ("b", 0)]));
        sub.packets();
        sub.send(&unsubscribe(v5, &["a", "never"]));
        let unsuback = sub.packets().remove(0);
        assert_eq!(unsuback.0, 0xb0);
        assert_eq!(unsuback.1[2..], if v5 { vec![0, 0, 0x11] } else { vec![] });
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 0, "a", 0, &[], b"a")).send(&publish(v5, 0, "b", 0, &[], b"b"));
        assert_eq!(sub.payloads(), ["b"]);
    }
}

// MQTT 3.1.1: 3.3.1-5, 3.3.1-6, 3.3.1-8 to 3.3.1-11
// MQTT 5.0: 3.3.1-5 to 3.3.1-7, 3.3.1-9 to 3.3.1-13
#[test]
fn retained_messages_are_kept_replaced_and_removed() {
    for v5 in [false, true] {
        let broker = broker();
        let mut publisher = Peer::connected(&broker, 1, &connect(v5, "pub"));
        let mut live = Peer::connected(&broker, 2, &connect(v5, "live"));
        live.send(&subscribe(v5, &[("a/#", 0)]));
        publisher.send(&publish(v5, 1, "a", 0, &[], b"old")).send(&publish(v5, 3, "a", 1, &[], b"new"));
        publisher.send(&publish(v5, 1, "a/b", 0, &[], b"child"));
        assert!(live.messages().iter().all(|got| !got.retain), "live copies carry no retain flag");
        let mut late = Peer::connected(&broker, 3, &connect(v5, "late"));
        late.send(&subscribe(v5, &[("a/#", 1)]));
        let mut got = late.messages();
        got.sort_by(|a, b| a.payload.cmp(&b.payload));
        assert_eq!(
            got.iter().map(|got| (&*got.payload, got.qos, got.retain)).collect::<Vec<_>>(),
            [("child", 0, true), ("new", 1, true)]
        );
        publisher.send(&publish(v5, 1, "a", 0, &[], b"")).send(&publish(v5, 1, "a/b", 0, &[], b""));
        assert_eq!(broker.stats().retained, 0);
    }
}

// MQTT 5.0: 3.3.1-9 to 3.3.1-13
#[test]
fn retain_handling_and_retain_as_published_are_kept() {
    let broker = broker();
    let mut publisher = Peer::connected(&broker, 1, &connect(true, "pub"));
    publisher.send(&publish(true, 1, "a", 0, &[], b"x"));
    let mut sub = Peer::connected(&broker, 2, &connect(true, "sub"));
    for (options, expected) in [(0x10, 1), (0x10, 0), (0x00, 1), (0x20, 0), (0x08, 1)] {
        sub.send(&subscribe(true, &[("a", options)]));
        assert_eq!(sub.messages().len(), expected, "{options:02x}");
    }
    publisher.send(&publish(true, 1, "a", 0, &[], b"y"));
    assert!(sub.messages()[0].retain);
}

#[test]
fn retained_messages_are_bounded_and_leave_when_expired() {
    let broker = Broker::new(Limits { retained_messages_max: 2, ..Limits::default() });
    let mut publisher = Peer::connected(&broker, 1, &connect(true, "pub"));
    for topic in ["a", "b", "c", "a"] {
        publisher.send(&publish(true, 1, topic, 0, &[2, 0, 0, 0, 5], topic.as_bytes()));
    }
    assert_eq!((broker.stats().retained, broker.stats().messages_dropped), (2, 1));
    broker.expire(Tick(4_999));
    assert_eq!(broker.stats().retained, 2);
    broker.expire(Tick(5_000));
    assert_eq!(broker.stats().retained, 0);
}

#[test]
fn a_publisher_of_5_0_is_told_when_its_message_was_neither_retained_nor_anybodys() {
    for v5 in [false, true] {
        let broker = Broker::new(Limits { retained_messages_max: 1, ..Limits::default() });
        let mut publisher = Peer::connected(&broker, 1, &connect(v5, "pub"));
        let mut code = |flags, topic, id| {
            publisher.send(&publish(v5, flags, topic, id, &[], b"x"));
            let (first, body) = publisher.packets().pop().unwrap();
            (first, body.get(2).copied())
        };
        assert_eq!(code(3, "a", 1), (0x40, v5.then_some(0)));
        assert_eq!(code(3, "b", 2), (0x40, v5.then_some(0x97)));
        assert_eq!(code(5, "b", 3), (0x50, v5.then_some(0x97)));
        let mut sub = Peer::connected(&broker, 2, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("b", 1)]));
        assert_eq!(code(3, "b", 4), (0x40, v5.then_some(0)), "somebody has it");
        assert_eq!(code(3, "a", 5), (0x40, v5.then_some(0)), "it takes the place of the one before");
        assert_eq!((sub.payloads().len(), broker.stats().retained, broker.stats().messages_dropped), (1, 1, 3));
    }
}

// MQTT 5.0: 3.3.2-15 to 3.3.2-18, 3.3.2-20
#[test]
fn all_properties_of_a_message_go_through_and_none_is_added() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("a", 0)]));
    let parts: [Vec<u8>; 6] = [
        [vec![9], text("corr")].concat(),
        [vec![3], text("json")].concat(),
        vec![1, 1],
        [vec![8], text("reply/to")].concat(),
        [vec![0x26], text("k"), text("1")].concat(),
        [vec![0x26], text("k"), text("2")].concat(),
    ];
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 0, "a", 0, &parts.concat(), b"x"));
    assert_eq!(sub.messages()[0].props, parts.concat());
}

// MQTT 3.1.1: 4.6.0-5, 4.6.0-6
// MQTT 5.0: 4.6.0-5, 4.6.0-6
#[test]
fn order_of_a_publisher_is_kept_over_qos_and_topics() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("#", 0)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    let mut all = Vec::new();
    for at in 0..300u16 {
        all.extend(publish(
            false,
            u8::try_from(at % 2).unwrap() * 2,
            format!("t/{}", at % 7),
            at + 1,
            &[],
            at.to_string().as_bytes(),
        ));
    }
    publisher.send(&all);
    assert_eq!(sub.payloads(), (0..300).map(|at| at.to_string()).collect::<Vec<_>>());
}

// MQTT 3.1.1: 3.3.5-2
#[test]
fn what_is_not_permitted_ends_the_connection_and_names_the_topic() {
    for v5 in [false, true] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("#", 0)]));
        for (bytes, reason, named) in [
            (publish(v5, 3, "secret", 1, &[], b"x"), Reason::PublishNotAuthorized, "\"secret\""),
            (subscribe(v5, &[("a", 0), ("secret/#", 0)]), Reason::SubscribeNotAuthorized, "\"secret/#\""),
        ] {
            let mut peer = Peer::open(&broker, 2, Tick(0));
            peer.v5 = v5;
            peer.permissions = Arc::new(wire::Rules { publish: |t| t != "secret", subscribe: |f| f != "secret/#" });
            peer.send(&connect(v5, "dev").bytes());
            peer.packets();
            peer.send(&bytes);
            assert!(peer.detail().contains(named), "{}", peer.detail());
            assert_eq!(peer.end().reason_code, v5.then_some(0x87));
            peer.assert_ended(reason, named);
        }
        assert!(sub.payloads().is_empty());
        assert_eq!((broker.stats().retained, broker.stats().subscriptions), (0, 1));
    }
}

#[test]
fn room_bounds_what_one_poll_writes() {
    use std::task::{Context, Waker};
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("a", 0)]));
    sub.packets();
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    for _ in 0..100 {
        publisher.send(&publish(false, 0, "a", 0, &[], &[b'x'; 1000]));
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while sub.link.poll_deliveries(Tick(0), &mut cx, 10_000, &mut sub.output).is_ready() {
        polls += 1;
        assert!(sub.output.len() < 12_000);
        assert!(sub.packets().len() <= 10);
    }
    assert_eq!((polls, broker.stats().messages_sent), (10, 100));
}

#[test]
fn a_subscriber_is_woken_once_for_what_it_has_not_seen() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("a", 0)]));
    sub.deliver();
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    publisher.send(&publish(false, 0, "a", 0, &[], b"x")).send(&publish(false, 0, "a", 0, &[], b"x"));
    assert_eq!(sub.woken.take(), 1);
    assert_eq!(sub.payloads().len(), 2);
}

#[test]
fn retained_bytes_are_bounded_and_given_back() {
    let broker = Broker::new(Limits { retained_bytes_max: 10, ..Limits::default() });
    let mut publisher = Peer::connected(&broker, 1, &connect(false, "pub"));
    for _ in 0..5 {
        publisher.send(&publish(false, 1, "a", 0, &[], b"12345678"));
        publisher.send(&publish(false, 1, "b", 0, &[], b"12345678"));
        assert_eq!(broker.stats().retained, 1);
        publisher.send(&publish(false, 1, "a", 0, &[], b""));
        assert_eq!(broker.stats().retained, 0);
    }
    assert_eq!(broker.stats().messages_dropped, 5);
}
