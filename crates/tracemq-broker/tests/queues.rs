//! What happens when a subscriber's queue is full: nothing that was acknowledged is lost in silence.

// A helper of tests may panic as a test may.
#![allow(clippy::indexing_slicing)]

mod wire;

use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::Reason;
use wire::{Peer, ack, connect, publish, subscribe};

const BOTH: [bool; 2] = [false, true];

fn small() -> Arc<Broker> {
    Broker::new(Limits { queue_messages_max: 3, slow_consumer_ms: 1_000, ..Limits::default() })
}

fn one(v5: bool, id: u16) -> Vec<u8> {
    publish(v5, 2, "a", id, &[], id.to_string().as_bytes())
}

/// Acknowledgements that came out, by packet identifier.
fn acknowledged(peer: &mut Peer) -> Vec<u16> {
    let is_ack = |packet: &&(u8, Vec<u8>)| matches!(packet.0, 0x40 | 0x50);
    peer.packets().iter().filter(is_ack).map(|(_, body)| u16::from_be_bytes([body[0], body[1]])).collect()
}

#[test]
fn b83_qos_0_makes_room_oldest_first_and_is_counted() {
    for v5 in BOTH {
        let broker = small();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for (flags, id, payload) in [(0, 0, "0a"), (2, 1, "1"), (0, 0, "0b"), (2, 2, "2"), (2, 3, "3"), (0, 0, "0c")] {
            publisher.send(&publish(v5, flags, "a", id, &[], payload.as_bytes()));
        }
        assert_eq!(acknowledged(&mut publisher), [1, 2, 3]);
        assert_eq!(sub.payloads(), ["1", "2", "3"]);
        assert_eq!(broker.stats().messages_dropped, 3);
    }
}

// MQTT 3.1.1: 4.6.0-2 to 4.6.0-4
#[test]
fn b83_the_acknowledgement_waits_until_the_subscriber_has_room() {
    for v5 in BOTH {
        let broker = small();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.deliver();
        for id in 1..=5 {
            publisher.send(&one(v5, id));
        }
        publisher.send(&[0xc0, 0]);
        assert_eq!(publisher.packets().iter().map(|packet| packet.0).collect::<Vec<_>>(), [0x40, 0x40, 0x40, 0xd0]);
        publisher.woken.take();
        assert_eq!(sub.payloads(), ["1", "2", "3"]);
        assert_eq!(publisher.woken.take(), 1, "there is room");
        publisher.deliver();
        assert_eq!(acknowledged(&mut publisher), [4, 5]);
        assert_eq!(sub.payloads(), ["4", "5"]);
        assert_eq!(broker.stats().messages_dropped, 0);
    }
}

#[test]
fn b83_a_client_that_takes_too_little_is_ended_and_its_queue_is_kept() {
    for v5 in BOTH {
        let broker = small();
        let lasting = connect(v5, "sub").lasting(100);
        let mut slow = Peer::connected(&broker, 1, &lasting);
        slow.send(&subscribe(v5, &[("a", 1)]));
        let mut quick = Peer::connected(&broker, 3, &connect(v5, "quick"));
        quick.send(&subscribe(v5, &[("a", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for id in 1..=4 {
            publisher.send(&one(v5, id));
            assert_eq!(quick.payloads().len(), 1, "who has room does not wait for who has none");
        }
        assert_eq!(publisher.link.deadline(), Some(Tick(1_000)));
        publisher.time_out(Tick(999));
        assert_eq!(acknowledged(&mut publisher), [1, 2, 3]);
        publisher.time_out(Tick(1_000));
        assert_eq!(acknowledged(&mut publisher), [4]);
        slow.deliver();
        slow.assert_ended(Reason::SlowConsumer, "");
        assert!(slow.detail().contains("took 0 messages in 1000 ms"), "{}", slow.detail());
        publisher.send(&one(v5, 5));
        assert_eq!(acknowledged(&mut publisher), [5], "nobody waits for who is away");
        let mut back = Peer::connected(&broker, 4, &lasting);
        let told = back.accepted.as_ref().and_then(|accepted| accepted.detail.clone()).unwrap();
        assert!(told.starts_with("2 messages"), "{told}");
        assert_eq!(back.payloads(), ["1", "2", "3"]);
        assert_eq!(broker.stats().messages_dropped, 2);
        back.link.gone(Tick(0));
        let again = Peer::connected(&broker, 5, &lasting);
        assert_eq!(again.accepted.unwrap().detail, None, "it is told once");
    }
}

// MQTT 5.0: 3.4.2-1, 3.5.2-1, 4.3.3-9
#[test]
fn b83_a_publisher_of_5_0_is_told_when_nobody_had_room() {
    for (flags, first) in [(2, 0x40), (4, 0x50)] {
        let broker = small();
        Peer::connected(&broker, 1, &connect(true, "sub").lasting(100)).send(&subscribe(true, &[("a", 2)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
        for id in 1..=4 {
            publisher.send(&publish(true, flags, "a", id, &[], b"x"));
        }
        let last = publisher.packets().pop().unwrap();
        assert_eq!((last.0, last.1[2]), (first, 0x97));
        if flags == 4 {
            let mut back = Peer::connected(&broker, 3, &connect(true, "sub").lasting(100));
            assert_eq!(back.messages().len(), 3);
            publisher.send(&publish(true, 4, "a", 4, &[], b"again"));
            assert_eq!(back.payloads(), ["again"], "the identifier of what was refused is free");
        }
    }
}

#[test]
fn b83_a_message_of_qos_2_that_waits_is_completed_by_the_next_connection() {
    for v5 in BOTH {
        let broker = small();
        let lasting = connect(v5, "pub").lasting(100);
        let mut full = Peer::connected(&broker, 1, &connect(v5, "full"));
        full.send(&subscribe(v5, &[("a", 2)]));
        let mut free = Peer::connected(&broker, 2, &connect(v5, "free"));
        let mut publisher = Peer::connected(&broker, 3, &lasting);
        for id in 1..=3 {
            publisher.send(&one(v5, id));
        }
        free.send(&subscribe(v5, &[("a", 2)])).packets();
        publisher.send(&publish(v5, 4, "a", 9, &[], b"once"));
        assert_eq!(acknowledged(&mut publisher), [1, 2, 3]);
        assert_eq!(free.payloads(), ["once"]);
        publisher.link.gone(Tick(1));
        let mut publisher = Peer::connected(&broker, 4, &lasting);
        publisher.send(&publish(v5, 0x0c, "a", 9, &[], b"once"));
        assert!(acknowledged(&mut publisher).is_empty());
        assert_eq!(full.payloads(), ["1", "2", "3"]);
        publisher.deliver();
        assert_eq!(acknowledged(&mut publisher), [9]);
        assert_eq!(full.payloads(), ["once"]);
        assert!(free.payloads().is_empty());
    }
}

#[test]
fn b83_what_waits_of_one_publisher_is_bounded_and_its_keep_alive_rests_meanwhile() {
    let broker =
        Broker::new(Limits { queue_messages_max: 1, inflight_max: 2, slow_consumer_ms: 500_000, ..Limits::default() });
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub").keep_alive(0));
    sub.send(&subscribe(false, &[("a", 1)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub").keep_alive(10));
    let bytes: Vec<u8> = (1..=10).flat_map(|id| one(false, id)).collect();
    publisher.send(&bytes);
    assert!(!publisher.link.takes_input() && !publisher.input.is_empty());
    publisher.time_out(Tick(100_000));
    assert!(publisher.closed.is_none(), "nobody listened to its pings");
    assert_eq!(publisher.link.missed_keep_alives(Tick(100_000)), 0);
    let mut all = Vec::new();
    for _ in 0..10 {
        for got in sub.messages() {
            sub.send(&ack(0x40, got.id));
            all.push(got.payload);
        }
        publisher.deliver();
    }
    assert_eq!(all, (1..=10).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_eq!(publisher.link.deadline(), Some(Tick(115_000)));

    let mut fast = Peer::connected(&broker, 3, &connect(true, "fast"));
    for id in 1..=5 {
        fast.send(&one(true, id));
        if fast.closed.is_some() {
            break;
        }
    }
    assert!(fast.closed.is_none() || fast.reason() == Reason::ProtocolError);
}

#[test]
fn b83_who_publishes_to_itself_and_to_each_other_comes_to_no_standstill() {
    for v5 in BOTH {
        let broker = small();
        let mut peers = [1, 2].map(|at| {
            let mut peer = Peer::connected(&broker, at, &connect(v5, &format!("p{at}")));
            peer.send(&subscribe(v5, &[("a", 1)])).packets();
            peer
        });
        for id in 1..=8 {
            for peer in &mut peers {
                peer.send(&one(v5, id));
            }
        }
        let mut got = [0; 2];
        let mut acks = [0; 2];
        for _ in 0..30 {
            for (at, peer) in peers.iter_mut().enumerate() {
                peer.deliver();
                let packets = peer.packets();
                for (first, body) in packets {
                    if first >> 4 == 3 {
                        got[at] += 1;
                        let id = u16::from_be_bytes([body[3], body[4]]);
                        peer.send(&ack(0x40, id));
                    } else if first == 0x40 {
                        acks[at] += 1;
                    }
                }
            }
        }
        assert_eq!((got, acks), ([16, 16], [8, 8]));
    }
}

#[test]
fn b83_a_message_larger_than_the_whole_queue_and_a_bound_of_0_wait_for_nothing() {
    for limits in
        [Limits { queue_bytes_max: 10, ..Limits::default() }, Limits { queue_messages_max: 0, ..Limits::default() }]
    {
        let broker = Broker::new(limits);
        let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
        sub.send(&subscribe(true, &[("a", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
        publisher.send(&publish(true, 2, "a", 1, &[], &[b'x'; 20]));
        assert_eq!(publisher.packets().pop().unwrap().1[2], 0x97);
        assert_eq!((sub.payloads().len(), broker.stats().messages_dropped), (0, 1));
    }
}

#[test]
fn b83_a_group_waits_when_all_its_members_are_full() {
    let broker = small();
    let mut members = [1, 2].map(|at| {
        let mut peer = Peer::connected(&broker, at, &connect(true, &format!("m{at}")));
        peer.send(&subscribe(true, &[("$share/g/a", 1)])).packets();
        peer
    });
    let mut publisher = Peer::connected(&broker, 9, &connect(true, "pub"));
    for id in 1..=7 {
        publisher.send(&one(true, id));
    }
    assert_eq!(acknowledged(&mut publisher).len(), 6);
    assert_eq!(members[1].payloads().len(), 3);
    publisher.deliver();
    assert_eq!(acknowledged(&mut publisher), [7]);
    assert_eq!((members[1].payloads().len(), members[0].payloads().len()), (1, 3));
    assert_eq!(broker.stats().messages_dropped, 0);
}
