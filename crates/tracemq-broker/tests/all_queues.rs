//! The bound of all queues together: what it costs whom, and whom not.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod wire;

use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick};
use wire::{Got, Peer, ack, connect, publish, subscribe, subscribe_with};

const BOTH: [bool; 2] = [false, true];
/// Of one message with a payload of 872 bytes and a topic of one in one queue.
const ONE: usize = 1 + 872 + 128;

fn small() -> Arc<Broker> {
    Broker::new(Limits { all_queues_bytes_max: 10 * ONE, slow_consumer_ms: 1_000, ..Limits::default() })
}

fn held(broker: &Broker) -> usize {
    let held = broker.stats().queued_bytes;
    assert_eq!(held, broker.count_queued_bytes());
    held
}

fn one(v5: bool, qos: u8, topic: &str, id: u16) -> Vec<u8> {
    publish(v5, qos << 1, topic, id, &[], &[b'x'; 872])
}

/// A session without its client, full to the bound of all.
fn fill(broker: &Arc<Broker>, v5: bool) -> Peer {
    let mut away = Peer::connected(broker, 1, &connect(v5, "away").lasting(1_000));
    away.send(&subscribe(v5, &[("a", 1)]));
    away.link.gone(Tick(0));
    let mut publisher = Peer::connected(broker, 2, &connect(v5, "pub"));
    for _ in 0..12 {
        publisher.send(&one(v5, 1, "a", 1));
    }
    assert_eq!((held(broker), broker.stats().messages_dropped), (10 * ONE, 2));
    publisher.packets();
    publisher
}

#[test]
fn b77_what_all_queues_hold_is_bounded_and_what_is_lost_is_counted_and_told() {
    for v5 in BOTH {
        let broker = small();
        let mut publisher = fill(&broker, v5);
        publisher.send(&one(v5, 1, "a", 1));
        let answer = publisher.packets().pop().unwrap();
        assert_eq!(answer.1.get(2), v5.then_some(&0x97), "nobody has it");
        let mut back = Peer::connected(&broker, 3, &connect(v5, "away").lasting(1_000));
        let told = back.accepted.as_ref().and_then(|accepted| accepted.detail.clone()).unwrap();
        assert!(told.starts_with("3 messages"), "{told}");
        let got = back.messages();
        assert_eq!((got.len(), held(&broker)), (10, 10 * ONE), "what is on its way is held");
        for got in got {
            back.send(&ack(0x40, got.id));
        }
        assert_eq!(held(&broker), 0);
    }
}

#[test]
fn b77_who_is_away_with_an_empty_queue_gets_nothing_when_all_are_full() {
    let broker = small();
    let mut publisher = fill(&broker, true);
    for number in 10..30_u128 {
        let mut peer = Peer::connected(&broker, number, &connect(true, &number.to_string()).lasting(60));
        peer.send(&subscribe(true, &[("b", 1)]));
        peer.link.gone(Tick(0));
    }
    publisher.send(&one(true, 1, "b", 1));
    assert_eq!((held(&broker), broker.stats().messages_dropped), (10 * ONE, 22));
}

#[test]
fn b77_who_takes_what_comes_gets_it_although_others_left_everything_full() {
    for v5 in BOTH {
        let broker = small();
        let mut publisher = fill(&broker, v5);
        let mut sub = Peer::connected(&broker, 3, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("b", 1)]));
        let dropped = broker.stats().messages_dropped;
        for round in 0..20 {
            publisher.send(&one(v5, round % 2, "b", 1));
            let got = sub.messages();
            assert_eq!(got.len(), 1);
            if got[0].qos == 1 {
                sub.send(&ack(0x40, got[0].id));
            }
        }
        // Of QoS 1 the publisher waits until nothing waits, of QoS 0 the second is dropped.
        publisher.packets();
        for id in 1..=3 {
            publisher.send(&one(v5, 1, "b", id));
        }
        let mut got = sub.messages();
        for _ in 0..2 {
            publisher.deliver();
            got.extend(sub.messages());
        }
        assert_eq!((got.len(), publisher.packets().len()), (3, 3));
        assert_eq!(broker.stats().messages_dropped, dropped);
        for _ in 0..3 {
            publisher.send(&one(v5, 0, "b", 0));
        }
        assert_eq!((sub.messages().len(), broker.stats().messages_dropped), (1, dropped + 2));
    }
}

#[test]
fn b77_nobody_waits_for_ever_and_nobody_is_ended_for_what_others_left() {
    let broker = small();
    let mut publisher = fill(&broker, true);
    let mut sub = Peer::connected(&broker, 3, &connect(true, "sub").props(&[0x21, 0, 1]));
    sub.send(&subscribe(true, &[("b", 1)]));
    for id in 1..=5 {
        publisher.send(&one(true, 1, "b", id));
    }
    sub.deliver();
    publisher.deliver();
    assert_eq!(publisher.packets().len(), 2, "one is on its way, one waits");
    assert!(publisher.time_out(Tick(1_000)).packets().len() == 3, "after its grace nobody waits");
    assert!(sub.deliver().closed.is_none(), "{:?}", sub.closed);
    assert_eq!(broker.stats().messages_dropped, 2 + 3);
}

#[test]
fn b77_subscription_identifiers_count_in_what_all_queues_hold() {
    let broker = Broker::new(Limits { all_queues_bytes_max: 10_000, ..Limits::default() });
    let mut away = Peer::connected(&broker, 1, &connect(true, "away").lasting(1_000));
    for number in 0..100_u8 {
        let levels: Vec<_> = (0..7).map(|bit| if number >> bit & 1 == 1 { "+" } else { "a" }).collect();
        away.send(&subscribe_with(true, 1, &[0x0b, number + 1], &[(&levels.join("/"), 1)]));
    }
    away.link.gone(Tick(0));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for id in 1..=30 {
        publisher.send(&publish(true, 2, "a/a/a/a/a/a/a", id, &[], b"x"));
    }
    let one = 14 + 128 + 99 * 4;
    assert_eq!((held(&broker), broker.stats().messages_dropped), (10_000 / one * one, 30 - 10_000 / one as u64));
    let mut back = Peer::connected(&broker, 3, &connect(true, "away").lasting(1_000));
    for got in back.messages() {
        back.send(&ack(0x40, got.id));
    }
    assert_eq!(held(&broker), 0);
}

#[test]
fn b77_one_message_for_a_thousand_sessions_is_held_once() {
    let broker = Broker::new(Limits { all_queues_bytes_max: 1_000_000, ..Limits::default() });
    for number in 0..1_000_u128 {
        let mut peer = Peer::connected(&broker, number, &connect(true, &number.to_string()).lasting(60));
        peer.send(&subscribe(true, &[("a", 1)]));
        peer.link.gone(Tick(0));
    }
    let mut publisher = Peer::connected(&broker, 5_000, &connect(true, "pub"));
    publisher.send(&publish(true, 2, "a", 1, &[], &[b'x'; 500_000]));
    assert_eq!((held(&broker), broker.stats().messages_dropped), (1 + 500_000 + 1_000 * 128, 0));
    while broker.expire(Tick(60_000)) {}
    assert_eq!(held(&broker), 0);
}

#[test]
fn b77_a_shared_subscription_finds_who_may_have_more() {
    let broker = small();
    let mut publisher = fill(&broker, true);
    let mut members = [3, 4].map(|at| {
        let mut peer = Peer::connected(&broker, at, &connect(true, &format!("m{at}")).lasting(100));
        peer.send(&subscribe(true, &[("$share/g/b", 1)])).packets();
        peer
    });
    members[0].link.gone(Tick(0));
    for id in 1..=4 {
        publisher.send(&one(true, 1, "b", id));
        let got: Vec<Got> = members[1].messages();
        assert_eq!(got.len(), 1, "who is away has no room");
        members[1].send(&ack(0x40, got[0].id));
    }
    assert_eq!((held(&broker), broker.stats().messages_dropped), (10 * ONE, 2));
    members[1].send(&subscribe(true, &[("c", 0)])).deliver();
    publisher.send(&one(true, 0, "c", 0)).send(&one(true, 1, "b", 9));
    assert_eq!(
        members[1].messages().iter().map(|got| &*got.topic).collect::<Vec<_>>(),
        ["c"],
        "it made no room in vain"
    );
}

#[test]
fn b77_retained_messages_come_also_when_all_queues_are_full() {
    let broker = small();
    let mut publisher = fill(&broker, true);
    for number in 0..50 {
        publisher.send(&publish(true, 3, format!("t/{number}"), 1, &[], b"x"));
    }
    let mut sub = Peer::connected(&broker, 3, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("t/#", 1)]));
    let mut got = 0;
    loop {
        let some = sub.messages();
        if some.is_empty() {
            break;
        }
        got += some.len();
        for one in some {
            sub.send(&ack(0x40, one.id));
        }
    }
    assert_eq!((got, broker.stats().messages_dropped), (50, 2));
}
