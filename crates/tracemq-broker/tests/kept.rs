//! What outlives the process, and what is acknowledged only once it does.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod keeper;
mod wire;

use std::sync::Arc;

use keeper::{TestKeeper, recall};
use tracemq_broker::{Broker, Kept, Limits, Tick};
use wire::{Peer, ack, connect, publish, subscribe, unsubscribe};

/// The wall clock at tick 0.
const WALL: i64 = 1_700_000_000_000;

fn kept_broker(keeper: &Arc<TestKeeper>) -> Arc<Broker> {
    Broker::with_keeper(Limits::default(), keeper.clone(), Kept::default(), &recall, Tick(0), WALL)
}

fn firsts(peer: &mut Peer) -> Vec<u8> {
    peer.deliver();
    peer.packets().iter().map(|(first, _)| *first).collect()
}

// MQTT 5.0: 4.3.2-4, 4.3.3-8
#[test]
fn what_a_kept_session_gets_is_acknowledged_once_it_is_durable() {
    for v5 in [false, true] {
        let keeper = TestKeeper::new(false);
        let broker = kept_broker(&keeper);
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub").lasting(100));
        sub.send(&subscribe(v5, &[("a", 2)]));
        assert_eq!(firsts(&mut sub), [], "SUBACK waits too");
        keeper.make_all_durable();
        assert_eq!(sub.woken.take(), 1);
        assert_eq!(firsts(&mut sub), [0x90]);

        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"1")).send(&publish(v5, 4, "a", 2, &[], b"2"));
        assert_eq!(firsts(&mut publisher), []);
        assert_eq!(sub.payloads(), ["1"], "the subscriber need not wait for QoS 1");
        keeper.make_all_durable();
        assert!(publisher.woken.take() > 0);
        assert_eq!(firsts(&mut publisher), [0x40, 0x50]);
        assert_eq!(sub.payloads(), ["2"], "QoS 2 goes out once its packet identifier is durable");
    }
}

#[test]
fn what_nobody_keeps_is_acknowledged_at_once() {
    for v5 in [false, true] {
        let keeper = TestKeeper::new(false);
        let broker = kept_broker(&keeper);
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 2)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"1")).send(&publish(v5, 4, "a", 2, &[], b"2"));
        assert_eq!(firsts(&mut publisher), [0x40, 0x50]);
        assert_eq!(sub.payloads(), ["1", "2"]);
        assert_eq!(keeper.pending(), 0, "nothing was handed over");
    }
}

#[test]
fn answers_keep_their_order_behind_one_that_waits() {
    let keeper = TestKeeper::new(false);
    let broker = kept_broker(&keeper);
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").lasting(100));
    sub.send(&subscribe(true, &[("kept", 1)]));
    keeper.make_all_durable();
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    publisher.send(&publish(true, 2, "kept", 1, &[], b"x")).send(&publish(true, 2, "not kept", 2, &[], b"x"));
    publisher.send(&[0xc0, 0]);
    assert_eq!(firsts(&mut publisher), [0xd0], "PINGRESP waits for nothing");
    keeper.make_all_durable();
    publisher.deliver();
    let ids: Vec<u8> = publisher.packets().iter().map(|(_, body)| body[1]).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_client_for_which_much_waits_is_not_listened_to() {
    let keeper = TestKeeper::new(false);
    let broker = kept_broker(&keeper);
    Peer::connected(&broker, 1, &connect(false, "sub").lasting(100)).send(&subscribe(false, &[("a", 1)]));
    keeper.make_all_durable();
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    for id in 1..=1_024 {
        assert!(publisher.link.takes_input());
        publisher.send(&publish(false, 2, "a", id, &[], b"x"));
    }
    assert!(!publisher.link.takes_input());
    publisher.deliver();
    keeper.make_all_durable();
    assert!(publisher.woken.take() > 0);
    assert_eq!(firsts(&mut publisher).len(), 1_024);
    assert!(publisher.link.takes_input());

    keeper.set_full(true);
    assert!(!publisher.link.takes_input(), "too much waits for the disk");
    keeper.set_full(false);
    assert!(publisher.link.takes_input());
}

#[test]
fn a_session_is_there_again_with_all_that_was_in_it() {
    for v5 in [false, true] {
        let keeper = TestKeeper::new(true);
        let broker = kept_broker(&keeper);
        let lasting = connect(v5, "sub").lasting(100);
        let mut sub = Peer::connected(&broker, 1, &lasting);
        sub.send(&subscribe(v5, &[("a", 2), ("gone", 1), ("$share/g/s", 1)])).send(&unsubscribe(v5, &["gone"]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for (flags, id, payload) in [(2, 1, "1"), (4, 2, "2"), (4, 3, "3"), (2, 4, "done")] {
            publisher.send(&publish(v5, flags, "a", id, &[], payload.as_bytes()));
        }
        let first = sub.messages();
        assert_eq!(first.len(), 4);
        sub.send(&ack(0x50, first[2].id)); // received, not complete
        sub.send(&ack(0x40, first[3].id));
        sub.link.gone(Tick(10));
        publisher.send(&publish(v5, 2, "a", 5, &[], b"waits")).send(&publish(v5, 0, "a", 0, &[], b"lost"));
        publisher.send(&publish(v5, 2, "s", 6, &[], b"shared")).send(&publish(v5, 2, "gone", 7, &[], b"gone"));

        let (broker, _) = keeper.restart(Limits::default(), Tick(5), WALL + 50_000);
        assert_eq!((broker.stats().sessions, broker.stats().subscriptions), (1, 2));
        let mut sub = Peer::connected_at(&broker, 3, &lasting, Tick(5));
        assert!(sub.accepted.as_ref().unwrap().session_present);
        sub.deliver();
        let packets = sub.packets();
        let seen: Vec<u8> = packets.iter().map(|(first, _)| *first).collect();
        assert_eq!(seen, [0x3a, 0x3c, 0x62, 0x32, 0x32], "what was under way with DUP, PUBREL, then what waited");
        assert_eq!(packets[2].1[..2], first[2].id.to_be_bytes(), "PUBREL with its old id");
        let mut publisher = Peer::connected_at(&broker, 4, &connect(v5, "pub"), Tick(5));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"new"));
        assert_eq!(sub.payloads(), ["new"], "it is still subscribed");
    }
}

#[test]
fn messages_come_back_as_they_were() {
    let keeper = TestKeeper::new(true);
    let broker = kept_broker(&keeper);
    let lasting = connect(true, "sub").lasting(1_000);
    Peer::connected(&broker, 1, &lasting).send(&wire::subscribe_with(true, 1, &[0x0b, 7], &[("a", 1)]));
    // Expiry in 60 s, UTF-8, content type, response topic, correlation data, a user property twice.
    let block = [
        &[2, 0, 0, 0, 60, 1, 1, 3, 0, 1, b'c', 8, 0, 1, b'r', 9, 0, 2, 0, 255][..],
        &[0x26, 0, 1, b'k', 0, 1, b'v', 0x26, 0, 1, b'k', 0, 1, b'w'],
    ]
    .concat();
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    publisher.send(&publish(true, 3, "a", 1, &block, b"x"));
    let (broker, _) = keeper.restart(Limits::default(), Tick(0), WALL + 20_000);
    for (topic, retain) in [("sub", false), ("late", true)] {
        let mut peer = Peer::connected(&broker, 3, &connect(true, topic).lasting(1_000));
        if retain {
            peer.send(&wire::subscribe_with(true, 1, &[0x0b, 7], &[("a", 1)]));
        }
        let got = peer.messages();
        assert_eq!((got.len(), got[0].retain, got[0].payload.as_str()), (1, retain, "x"));
        let props = &got[0].props;
        let expiry = props.windows(5).any(|five| five == [2, 0, 0, 0, 40]);
        assert!(expiry, "40 of its 60 s are left: {props:?}");
        for part in [&[1, 1][..], &[3, 0, 1, b'c'], &[8, 0, 1, b'r'], &[9, 0, 2, 0, 255], &[0x0b, 7]] {
            assert!(props.windows(part.len()).any(|window| window == part), "{part:?} in {props:?}");
        }
        let user = props.windows(7).filter(|seven| seven[..4] == [0x26, 0, 1, b'k']).map(|seven| seven[6]);
        assert_eq!(user.collect::<Vec<_>>(), [b'v', b'w']);
    }
}

#[test]
fn time_goes_on_while_the_server_is_off() {
    let keeper = TestKeeper::new(true);
    let broker = kept_broker(&keeper);
    let mut gone = Peer::connected(&broker, 1, &connect(true, "gone at 10 s").lasting(100));
    gone.send(&subscribe(true, &[("a", 1)]));
    gone.link.gone(Tick(10_000));
    let mut there = Peer::connected(&broker, 2, &connect(true, "there").lasting(100));
    there.send(&subscribe(true, &[("a", 1)]));
    let mut publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
    publisher.send(&publish(true, 3, "a", 1, &[2, 0, 0, 0, 60], b"lives a minute"));
    publisher.send(&publish(true, 2, "a", 2, &[], b"lives on"));

    let (at_100, _) = keeper.restart(Limits::default(), Tick(0), WALL + 100_000);
    assert_eq!((at_100.stats().sessions, at_100.stats().retained), (2, 0));
    at_100.expire(Tick(9_999));
    assert_eq!(at_100.stats().sessions, 2);
    at_100.expire(Tick(10_000));
    assert_eq!(at_100.stats().sessions, 1, "100 s after it had gone");
    at_100.expire(Tick(100_000));
    assert_eq!(at_100.stats().sessions, 0, "the other was there until the crash");
    let (at_110, last) = keeper.restart(Limits::default(), Tick(0), WALL + 110_000);
    assert_eq!(at_110.stats().sessions, 1);
    let mut back = Peer::connected(&at_110, 4, &connect(true, "there").lasting(100));
    assert_eq!(back.payloads(), ["lives on"]);
    assert_eq!(last.durable().sessions.len(), 1, "what is over is no longer kept");
}

#[test]
fn a_session_that_ends_is_not_kept_and_neither_is_one_without_expiry() {
    for v5 in [false, true] {
        let keeper = TestKeeper::new(true);
        let broker = kept_broker(&keeper);
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub").lasting(100));
        sub.send(&subscribe(v5, &[("a", 1)]));
        Peer::connected(&broker, 2, &connect(v5, "pub")).send(&publish(v5, 2, "a", 1, &[], b"x"));
        assert_eq!(keeper.durable().entries.len(), 1);
        let clean = Peer::connected(&broker, 3, &connect(v5, "sub"));
        assert_eq!(keeper.durable().sessions, []);
        drop(clean);
        assert_eq!(keeper.durable(), Kept { messages: keeper.durable().messages, ..Kept::default() });
    }
}

#[test]
fn retained_messages_are_there_again() {
    let keeper = TestKeeper::new(true);
    let broker = kept_broker(&keeper);
    let mut publisher = Peer::connected(&broker, 1, &connect(true, "pub"));
    for (topic, payload) in [("a", "old"), ("a", "new"), ("b", "x"), ("b", ""), ("c", "0")] {
        publisher.send(&publish(true, if topic == "c" { 1 } else { 3 }, topic, 1, &[], payload.as_bytes()));
    }
    let (broker, _) = keeper.restart(Limits::default(), Tick(0), WALL);
    assert_eq!(broker.stats().retained, 2);
    let mut sub = Peer::connected(&broker, 2, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("#", 2)]));
    let mut got: Vec<(String, u8, String)> =
        sub.messages().into_iter().map(|got| (got.topic, got.qos, got.payload)).collect();
    got.sort();
    assert_eq!(got, [("a".into(), 1, "new".into()), ("c".into(), 0, "0".into())]);
}

#[test]
fn bounds_that_were_lowered_meanwhile_hold() {
    let keeper = TestKeeper::new(true);
    let broker = kept_broker(&keeper);
    Peer::connected(&broker, 1, &connect(true, "sub").lasting(100)).send(&subscribe(true, &[("a/b/c", 1), ("d", 1)]));
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 3, "d", 1, &[], b"x")).send(&publish(
        true,
        3,
        "e",
        2,
        &[],
        b"x",
    ));
    let limits = Limits { topic_levels_max: 2, retained_messages_max: 1, ..Limits::default() };
    let (broker, last) = keeper.restart(limits, Tick(0), WALL);
    assert_eq!((broker.stats().subscriptions, broker.stats().retained), (1, 1));
    assert_eq!(last.durable().retained.len(), 1);
}
