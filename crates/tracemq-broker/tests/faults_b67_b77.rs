//! Clients that break the flow of messages or hold on to it, one test a line of the list of faults.

mod wire;

use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::Reason;
use wire::{Got, Peer, Rules, ack, broker, connect, packet, publish, subscribe};

const BOTH: [bool; 2] = [false, true];

fn firsts(peer: &mut Peer) -> Vec<u8> {
    peer.packets().iter().map(|packet| packet.0).collect()
}

#[test]
fn b67_permission_is_asked_for_the_topic_that_an_alias_stands_for() {
    for refuses_by_code in [false, true] {
        let broker = Broker::new(Limits { refuses_by_code, ..Limits::default() });
        let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
        sub.send(&subscribe(true, &[("#", 0)]));
        let rules = Arc::new(Rules { publish: |topic| topic != "secret", subscribe: |_| true });
        let alias = [0x23, 0, 1];
        for before in [&["open"][..], &[]] {
            let mut dev = Peer::with_rules(&broker, 2, &connect(true, "dev"), &rules);
            for topic in before {
                dev.send(&publish(true, 0, topic, 0, &alias, b"fine"));
            }
            dev.send(&publish(true, 2, "secret", 1, &alias, b"1"));
            if refuses_by_code {
                assert_eq!(dev.packets().pop().unwrap().1, [0, 1, 0x87, 0]);
                dev.send(&publish(true, 2, "", 2, &alias, b"2"));
                assert_eq!(dev.packets().pop().unwrap().1, [0, 2, 0x87, 0], "by its number it is the same topic");
            } else {
                assert_eq!(dev.reason(), Reason::PublishNotAuthorized);
            }
            assert_eq!(sub.payloads().len(), before.len());
        }
    }
}

#[test]
fn b70_a_message_of_qos_2_that_is_repeated_is_one_message_and_takes_one_place() {
    for v5 in BOTH {
        let broker = Broker::new(Limits { inflight_max: 1, ..Limits::default() });
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 0)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for round in 0..3 {
            for time in 0..100 {
                let dup = if time % 2 == 0 { 4 } else { 0x0c };
                publisher.send(&publish(v5, dup, "a", 7, &[], round.to_string().as_bytes()));
                assert_eq!(firsts(&mut publisher), [0x50], "a PUBREC each time");
            }
            publisher.send(&ack(0x62, 7));
            assert_eq!(firsts(&mut publisher), [0x70]);
        }
        assert_eq!(sub.payloads(), ["0", "1", "2"]);
    }
}

#[test]
fn b71_places_that_a_client_never_gave_back_are_free_when_its_session_ends() {
    let broker = broker();
    let lasting = connect(true, "pub").lasting(10);
    let mut publisher = Peer::connected(&broker, 1, &lasting);
    for id in 1..=32 {
        publisher.send(&publish(true, 4, "a", id, &[], b"x"));
    }
    publisher.link.gone(Tick(0));
    let mut back = Peer::connected_at(&broker, 2, &lasting, Tick(9_000));
    back.send(&publish(true, 4, "a", 33, &[], b"x"));
    assert_eq!(back.end().reason_code, Some(0x93), "within its session they are still taken");
    back.link.gone(Tick(9_000));
    broker.expire(Tick(19_000));
    assert_eq!(broker.stats().sessions, 0);
    let mut anew = Peer::connected_at(&broker, 3, &lasting, Tick(19_000));
    anew.send(&publish(true, 4, "a", 33, &[], b"x"));
    assert_eq!(firsts(&mut anew), [0x50]);
}

#[test]
fn b73_what_was_under_way_and_what_is_new_have_no_identifier_in_common() {
    for v5 in BOTH {
        let broker = broker();
        let lasting = connect(v5, "sub").lasting(100);
        let mut sub = Peer::connected(&broker, 1, &lasting);
        sub.send(&subscribe(v5, &[("a", 2)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for id in 1..=10 {
            publisher.send(&publish(v5, if id % 2 == 0 { 4 } else { 2 }, "a", id, &[], b"old"));
        }
        let old: Vec<u16> = sub.messages().iter().map(|got| got.id).collect();
        sub.link.gone(Tick(0));
        let mut back = Peer::connected(&broker, 3, &lasting);
        for id in 11..=30 {
            publisher.send(&publish(v5, 2, "a", id, &[], b"new"));
        }
        let got = back.messages();
        let mut ids: Vec<u16> = got.iter().map(|got| got.id).collect();
        assert_eq!(ids[..old.len()], old, "what was under way has its old ones, in its old order");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), got.len()), (30, 30));
    }
}

#[test]
fn b74_acknowledgements_in_any_order_give_back_a_place_each_and_once() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x21, 0, 2]));
    sub.send(&subscribe(true, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for id in 1..=9 {
        publisher.send(&publish(true, 4, "a", id, &[], id.to_string().as_bytes()));
    }
    let got = sub.messages();
    assert_eq!(got.len(), 2);
    // The later one is refused: one place, also when it is said again.
    let id = got[1].id.to_be_bytes();
    for expected in [1, 0] {
        sub.send(&packet(0x50, &[id[0], id[1], 0x83]));
        assert_eq!(sub.messages().len(), expected);
    }
    // The earlier one goes its way; PUBREC gives nothing back, PUBCOMP one place, a second PUBCOMP none.
    sub.send(&ack(0x50, got[0].id));
    assert!(sub.messages().is_empty());
    for expected in [1, 0] {
        sub.send(&ack(0x70, got[0].id));
        assert_eq!(sub.messages().len(), expected);
    }
    // What answers nothing gives nothing back and ends nothing.
    for first in [0x50, 0x62, 0x70] {
        sub.send(&ack(first, 999));
        assert!(sub.messages().is_empty() && sub.closed.is_none(), "{first:x}");
    }
}

// MQTT 5.0: 3.4.2-1, 3.5.2-1, 3.6.2-1, 3.7.2-1
#[test]
fn b74_codes_that_no_client_may_send_end_it() {
    for (first, code) in [(0x40, 0x01), (0x50, 0x92), (0x62, 0x10), (0x70, 0x87), (0xe0, 0x8e)] {
        let mut peer = Peer::connected(&broker(), 1, &connect(true, "dev"));
        let body = if first == 0xe0 { vec![code, 0] } else { vec![0, 1, code, 0] };
        peer.send(&packet(first, &body));
        peer.assert_ended(Reason::ProtocolError, &format!("{first:x} {code:x}"));
    }
}

/// Takes what there is, answers all of it, and gives the payloads; no more than `window` of it are publications.
fn take(sub: &mut Peer, window: usize, heard: &mut Vec<String>) -> bool {
    sub.deliver();
    let packets = sub.packets();
    assert!(packets.iter().filter(|(first, _)| first >> 4 == 3).count() <= window, "{packets:x?}");
    for (first, body) in &packets {
        if first >> 4 == 3 {
            let got = Got::of(*first, body, true);
            sub.send(&ack(if got.qos == 1 { 0x40 } else { 0x50 }, got.id));
            heard.push(got.payload);
        } else {
            sub.send(&packet(0x70, body.get(..2).unwrap_or_default()));
        }
    }
    !packets.is_empty()
}

#[test]
fn b75_a_window_that_changes_at_a_takeover_is_kept_and_never_stuck() {
    let broker = broker();
    let with_window = |number: u128, window: u8| {
        let mut hello = connect(true, "sub").lasting(100);
        hello.props.extend([0x21, 0, window]);
        Peer::connected(&broker, number, &hello)
    };
    with_window(1, 5).send(&subscribe(true, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for id in 1..=20 {
        publisher.send(&publish(true, if id % 2 == 0 { 4 } else { 2 }, "a", id, &[], id.to_string().as_bytes()));
    }
    let mut heard = Vec::new();
    for (window, number) in [5, 1, 3, 1, 2].into_iter().zip(3..) {
        let mut sub = with_window(number, window);
        for _ in 0..3 {
            take(&mut sub, usize::from(window), &mut heard);
        }
    }
    let mut last = with_window(9, 1);
    while take(&mut last, 1, &mut heard) {}
    heard.sort_by_key(|payload| payload.parse::<u16>().unwrap());
    heard.dedup();
    assert_eq!(heard, (1..=20).map(|at| at.to_string()).collect::<Vec<_>>());
}

#[test]
fn b76_who_reads_nothing_holds_no_more_than_its_bound_and_what_is_lost_is_counted() {
    let broker = Broker::new(Limits { queue_messages_max: 10, queue_bytes_max: 5_000, ..Limits::default() });
    let mut subs: Vec<Peer> =
        (1..=100).map(|number| Peer::connected(&broker, number, &connect(true, &number.to_string()))).collect();
    for sub in &mut subs {
        sub.send(&subscribe(true, &[("a", 0)]));
    }
    let mut publisher = Peer::connected(&broker, 1_000, &connect(true, "pub"));
    for _ in 0..500 {
        publisher.send(&publish(true, 0, "a", 0, &[], &[b'x'; 1_000]));
    }
    assert!(publisher.closed.is_none());
    let held: usize = subs.iter_mut().map(|sub| sub.messages().len()).sum();
    assert!(held <= 100 * 5 && held > 0, "{held}");
    assert_eq!(broker.stats().messages_dropped, (100 * 500 - held) as u64);
}

#[test]
fn b77_sessions_that_were_left_are_bounded_in_number_and_in_what_they_hold_and_go_when_they_expire() {
    let broker =
        Broker::new(Limits { sessions_max: 500, queue_messages_max: 3, queue_bytes_max: 3_000, ..Limits::default() });
    let mut refused = 0;
    for number in 0..1_000_u128 {
        let mut peer = Peer::open(&broker, number, Tick(0));
        peer.v5 = true;
        peer.send(&connect(true, &format!("left-{number}")).lasting(60).bytes());
        if peer.accepted.is_some() {
            peer.send(&subscribe(true, &[("a", 1)]));
        } else {
            assert_eq!(peer.reason(), Reason::QuotaExceeded);
            refused += 1;
        }
        peer.link.gone(Tick(0));
    }
    assert_eq!((refused, broker.stats().sessions), (500, 500));
    let mut publisher = Peer::open(&broker, 5_000, Tick(0));
    publisher.send(&connect(false, "pub").bytes());
    assert_eq!(publisher.reason(), Reason::QuotaExceeded, "there is no place for one more");
    while broker.expire(Tick(60_000)) {}
    let stats = broker.stats();
    assert_eq!((stats.sessions, stats.subscriptions, stats.connections), (0, 0, 0));
}

#[test]
fn b77_whatever_expires_at_once_holds_the_lock_for_256_sessions_and_topics_at_a_time() {
    let broker = broker();
    for number in 0..600 {
        Peer::connected(&broker, number, &connect(true, &format!("s{number}")).lasting(10));
    }
    let mut publisher = Peer::connected(&broker, 999, &connect(true, "pub"));
    for number in 0..300 {
        publisher.send(&publish(true, 1, format!("t/{number}"), 0, &[2, 0, 0, 0, 5], b"x")); // expires after 5 s
    }
    let left = || (broker.stats().sessions, broker.stats().retained);
    assert!(!broker.expire(Tick(4_999)));
    assert_eq!(left(), (601, 300));
    let mut steps = Vec::new();
    while broker.expire(Tick(10_000)) {
        steps.push(left());
    }
    assert_eq!((steps, left()), (vec![(345, 44), (89, 0)], (1, 0)));
}
