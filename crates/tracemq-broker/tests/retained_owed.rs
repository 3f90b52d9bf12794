//! Retained messages for who subscribes, when there are more of them than its queue holds.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod keeper;
mod wire;

use std::sync::Arc;

use keeper::{TestKeeper, recall};
use tracemq_broker::{Broker, Kept, Limits, Tick};
use wire::{Changing, Connect, Got, Peer, ack, connect, publish, subscribe, subscribe_with, unsubscribe};

const MANY: usize = 1_000;

fn limits() -> Limits {
    Limits { queue_messages_max: 100, ..Limits::default() }
}

fn topic(number: usize) -> String {
    format!("t/{number:04}")
}

fn all() -> Vec<String> {
    (0..MANY).map(topic).collect()
}

/// Retains `MANY` messages, half of them of QoS 0 and half of QoS 2.
fn fill(broker: &Arc<Broker>) -> Peer {
    let mut publisher = Peer::connected(broker, 1_000, &connect(true, "pub"));
    for number in 0..MANY {
        set(&mut publisher, number, if number % 2 == 0 { 0 } else { 4 }, "old");
    }
    publisher
}

fn set(publisher: &mut Peer, number: usize, qos: u8, payload: &str) {
    publisher.send(&publish(true, qos | 1, topic(number), 9, &[], payload.as_bytes()));
    publisher.send(&ack(0x62, 9)).packets();
}

/// Takes what comes in so many turns and acknowledges it.
fn take(peer: &mut Peer, turns: usize) -> Vec<Got> {
    let mut all = Vec::new();
    for _ in 0..turns {
        peer.deliver();
        let packets = peer.packets();
        if packets.is_empty() {
            break;
        }
        for (first, body) in packets {
            match first >> 4 {
                3 => {
                    let got = Got::of(first, &body, peer.v5);
                    match got.qos {
                        1 => drop(peer.send(&ack(0x40, got.id))),
                        2 => drop(peer.send(&ack(0x50, got.id))),
                        _ => {}
                    }
                    all.push(got);
                }
                6 => drop(peer.send(&ack(0x70, u16::from_be_bytes([body[0], body[1]])))),
                _ => {}
            }
        }
    }
    all
}

fn topics(got: &[Got]) -> Vec<String> {
    let mut topics: Vec<String> = got.iter().map(|got| got.topic.clone()).collect();
    topics.sort();
    topics
}

fn lasting() -> Connect {
    connect(true, "sub").lasting(1_000)
}

#[test]
fn b79_all_that_is_retained_comes_with_the_qos_and_the_identifier_of_its_subscription() {
    for v5 in [false, true] {
        let broker = Broker::new(limits());
        fill(&broker);
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        let identifier: &[u8] = if v5 { &[0x0b, 7] } else { &[] };
        sub.send(&subscribe_with(v5, 1, identifier, &[("t/#", 1), ("+/0007", 2)]));
        let got = take(&mut sub, usize::MAX);
        let mut expected = all();
        expected.insert(7, topic(7));
        assert_eq!(topics(&got), expected);
        assert!(got.iter().all(|got| got.retain && got.props == identifier), "{got:?}");
        let of_qos = |qos| got.iter().filter(|got| got.qos == qos).count();
        assert_eq!((of_qos(0), of_qos(1), of_qos(2)), (MANY / 2, MANY / 2, 1));
        assert_eq!(broker.stats().messages_dropped, 0);
    }
}

#[test]
fn b79_who_takes_nothing_of_a_large_tree_holds_a_part_of_its_queue_and_the_rest_is_for_others() {
    let broker = Broker::new(limits());
    let mut publisher = fill(&broker);
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x21, 0, 1]));
    sub.send(&subscribe(true, &[("t/#", 2), ("live", 1)])).deliver();
    let held = broker.clients("sub", None, 1).clients[0].queued;
    assert!((1..=50).contains(&held), "{held}");
    for _ in 0..50 {
        publisher.send(&publish(true, 2, "live", 1, &[], b"x"));
        assert_eq!(publisher.packets().len(), 1, "nobody waits");
    }
    let got = take(&mut sub, usize::MAX);
    assert_eq!((got.len(), broker.stats().messages_dropped), (MANY + 50, 0));
}

#[test]
fn b79_a_connection_that_breaks_in_the_middle_or_is_taken_over_loses_nothing_and_repeats_nothing() {
    for takeover in [false, true] {
        let broker = Broker::new(limits());
        let mut publisher = fill(&broker);
        let mut sub = Peer::connected(&broker, 1, &lasting());
        sub.send(&subscribe(true, &[("t/#", 2)]));
        let mut got = take(&mut sub, 3);
        assert!(got.len() < MANY / 2, "{}", got.len());
        if !takeover {
            sub.link.gone(Tick(0));
        }
        // Something of QoS 0 and of QoS 2 while it is away, or there: at the end of the tree.
        set(&mut publisher, MANY - 2, 0, "new");
        set(&mut publisher, MANY - 1, 4, "new");
        let mut next = Peer::connected(&broker, 2, &lasting());
        let later = take(&mut next, usize::MAX);
        assert!(later.iter().filter(|got| got.dup).count() <= 32);
        got.extend(later);
        let mut once = topics(&got);
        once.dedup();
        assert_eq!(once, all(), "takeover: {takeover}");
        let of = |number| got.iter().filter(|got| got.topic == topic(number)).collect::<Vec<_>>();
        assert!(of(MANY - 2).iter().all(|got| got.payload == "new"), "{:?}", of(MANY - 2));
        let last = of(MANY - 1);
        assert_eq!((last.len(), &*last[0].payload), (1, "new"), "of QoS 2, it comes once");
        assert_eq!(broker.stats().messages_dropped, 0);
    }
}

#[test]
fn b79_what_is_retained_anew_before_its_turn_comes_once() {
    let broker = Broker::new(limits());
    let mut publisher = fill(&broker);
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("t/#", 2)]));
    let mut got = take(&mut sub, 2);
    for number in (0..MANY).rev().take(20) {
        set(&mut publisher, number, 4, "new");
    }
    set(&mut publisher, MANY - 30, 1, "");
    got.extend(take(&mut sub, usize::MAX));
    for number in (0..MANY).rev().take(20) {
        let payloads: Vec<&str> =
            got.iter().filter(|got| got.topic == topic(number)).map(|got| &*got.payload).collect();
        assert_eq!(payloads, ["new"], "{number}");
    }
    assert_eq!(got.len(), MANY, "one is gone, and its removal came");
}

#[test]
fn b79_an_end_of_the_subscription_or_the_session_ends_what_is_owed() {
    let broker = Broker::new(limits());
    fill(&broker);
    let mut sub = Peer::connected(&broker, 1, &lasting());
    sub.send(&subscribe(true, &[("t/#", 2)])).deliver();
    sub.send(&unsubscribe(true, &["t/#"]));
    let got = take(&mut sub, usize::MAX);
    assert!(!got.is_empty() && got.len() < 200, "what was in the queue: {}", got.len());
    sub.send(&subscribe(true, &[("t/#", 2)])).deliver();
    sub.link.gone(Tick(0));
    let mut anew = Peer::connected(&broker, 2, &connect(true, "sub"));
    assert!(take(&mut anew, usize::MAX).is_empty());
    // Again from the beginning; without retained messages, it goes on as the subscription wants them now.
    anew.send(&subscribe(true, &[("t/#", 2)]));
    let mut got = take(&mut anew, 2).len();
    anew.send(&subscribe(true, &[("t/#", 2)]));
    got += take(&mut anew, 2).len();
    anew.send(&subscribe(true, &[("t/#", 0x20)]));
    let rest = take(&mut anew, usize::MAX);
    assert!(rest.iter().rev().take(500).all(|got| got.qos == 0), "{rest:?}");
    got += rest.len();
    assert!(got > MANY && got < MANY + 200, "{got}");
}

#[test]
fn b79_what_may_not_be_read_any_more_does_not_stop_the_rest() {
    let broker = Broker::new(limits());
    fill(&broker);
    let rules = Arc::new(Changing::default());
    let mut sub = Peer::with_rules(&broker, 1, &connect(true, "sub"), &rules);
    sub.send(&subscribe(true, &[("t/#", 2)]));
    let before = take(&mut sub, 1).len();
    let forbidden: Vec<String> = (0..MANY - 10).map(topic).chain(["t/#".to_owned()]).collect();
    rules.forbid(&forbidden.iter().map(String::as_str).collect::<Vec<_>>());
    let got = take(&mut sub, usize::MAX);
    assert_eq!(topics(&got)[got.len() - 10..], all()[MANY - 10..]);
    let dropped = usize::try_from(broker.stats().messages_dropped).unwrap();
    assert_eq!(before + got.len() + dropped, MANY, "each of them came or was counted");
}

#[test]
fn b79_a_message_that_fits_into_no_queue_is_counted_and_does_not_stop_the_rest() {
    let broker = Broker::new(Limits { queue_bytes_max: 1_000, ..limits() });
    let mut publisher = fill(&broker);
    set(&mut publisher, 500, 4, &"x".repeat(2_000));
    set(&mut publisher, 501, 4, &"x".repeat(900));
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("t/#", 2)]));
    let got = take(&mut sub, usize::MAX);
    assert_eq!((got.len(), broker.stats().messages_dropped), (MANY - 1, 1));
}

#[test]
fn b79_a_server_that_is_killed_in_the_middle_goes_on_where_it_was() {
    for turns in [0, 1, 3, 20] {
        let keeper = TestKeeper::new(true);
        let broker = Broker::with_keeper(limits(), keeper.clone(), Kept::default(), &recall, Tick(0), 0);
        let mut publisher = fill(&broker);
        let mut sub = Peer::connected(&broker, 1, &lasting());
        sub.send(&subscribe(true, &[("t/#", 2)]));
        let mut got = take(&mut sub, turns);
        set(&mut publisher, MANY - 1, 4, "new");
        let (broker, keeper) = keeper.restart(limits(), Tick(0), 0);
        let mut back = Peer::connected(&broker, 2, &lasting());
        got.extend(take(&mut back, usize::MAX).into_iter().filter(|got| !got.dup));
        let of_qos_2 = |topics: Vec<String>| topics.into_iter().skip(1).step_by(2).collect::<Vec<_>>();
        got.retain(|got| got.qos == 2);
        assert_eq!(topics(&got), of_qos_2(all()), "after {turns} turns each of QoS 2 comes once");
        let kept = keeper.durable();
        assert_eq!((kept.owed, kept.entries), (vec![], vec![]));
    }
}

#[test]
fn b79_a_queue_of_which_nothing_may_be_sent_is_filled_again() {
    let broker = Broker::new(limits());
    fill(&broker);
    let rules = Arc::new(Changing::default());
    let mut sub = Peer::with_rules(&broker, 1, &connect(true, "sub"), &rules);
    sub.send(&subscribe(true, &[("t/#", 0)]));
    let forbidden: Vec<String> = (0..MANY - 10).map(topic).chain(["t/#".to_owned()]).collect();
    rules.forbid(&forbidden.iter().map(String::as_str).collect::<Vec<_>>());
    let got = sub.messages();
    assert_eq!(topics(&got), all()[MANY - 10..]);
}

#[test]
fn b79_who_waits_for_room_comes_before_what_is_retained() {
    let broker = Broker::new(limits());
    let mut publisher = fill(&broker);
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x21, 0, 1]));
    sub.send(&subscribe(true, &[("t/#", 2), ("live", 1)])).deliver();
    let mut unacknowledged = 0;
    while unacknowledged == 0 {
        publisher.send(&publish(true, 2, "live", 1, &[], b"x"));
        unacknowledged = 1 - publisher.packets().len();
    }
    let mut retained = 0;
    while unacknowledged > 0 {
        retained += take(&mut sub, 1).iter().filter(|got| got.retain).count();
        unacknowledged -= publisher.deliver().packets().len();
    }
    while broker.clients("sub", None, 1).clients[0].queued > 1 {
        retained += take(&mut sub, 1).iter().filter(|got| got.retain).count();
    }
    assert!(retained <= 60, "{retained}");
    retained += take(&mut sub, usize::MAX).iter().filter(|got| got.retain).count();
    let made_room = usize::try_from(broker.stats().messages_dropped).unwrap();
    assert_eq!(retained + made_room, MANY, "what of QoS 0 made room is counted");
}
