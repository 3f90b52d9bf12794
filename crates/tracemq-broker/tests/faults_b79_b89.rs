//! Storms, last words and odd bounds, one test a line of the list of faults.

mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tracemq_broker::{Broker, Closing, Limits, Tick};
use tracemq_model::{End, Reason};
use wire::{Peer, broker, connect, packet, publish, subscribe, unsubscribe};

const BOTH: [bool; 2] = [false, true];

#[test]
fn b79_who_asks_for_all_that_is_retained_gets_all_of_it_through_a_small_queue_and_leaves_nothing_behind() {
    let broker = Broker::new(Limits { queue_messages_max: 100, ..Limits::default() });
    let mut publisher = Peer::connected(&broker, 1, &connect(false, "pub"));
    for number in 0..5_000 {
        publisher.send(&publish(false, 1, format!("t/{number}"), 0, &[], b"x"));
    }
    for _ in 0..3 {
        let mut sub = Peer::connected(&broker, 2, &connect(false, "sub"));
        sub.send(&subscribe(false, &[("#", 1)]));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(sub.link.poll_deliveries(Tick(0), &mut cx, 64, &mut sub.output).is_ready(), "the beginning of it");
        assert!(broker.clients("sub", None, 1).clients.iter().all(|sub| sub.queued <= 50), "the rest is for others");
        drop(sub);
        let stats = broker.stats();
        assert_eq!((stats.connections, stats.sessions, stats.subscriptions, stats.retained), (1, 1, 0, 5_000));
    }
    let mut sub = Peer::connected(&broker, 3, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("#", 1)]));
    let mut topics: Vec<String> = sub.messages().into_iter().map(|got| got.topic).collect();
    assert!(topics.is_sorted(), "in the order of their names");
    topics.dedup();
    assert_eq!((topics.len(), broker.stats().messages_dropped), (5_000, 0));
}

#[test]
fn b80_retained_messages_set_and_removed_by_many_at_once_belong_to_their_topic() {
    let broker = broker();
    thread::scope(|scope| {
        for number in 0..8_u128 {
            let broker = &broker;
            scope.spawn(move || {
                let mut peer = Peer::connected(broker, number, &connect(false, &format!("writer-{number}")));
                for round in 0..500 {
                    let topic = format!("t/{}", (round + number) % 10);
                    let payload = if round % 3 == 0 { String::new() } else { format!("{topic} {number} {round}") };
                    peer.send(&publish(false, 1, &topic, 0, &[], payload.as_bytes()));
                }
            });
        }
    });
    let mut publisher = Peer::connected(&broker, 100, &connect(false, "last"));
    let mut late = Peer::connected(&broker, 101, &connect(false, "late"));
    late.send(&subscribe(false, &[("t/#", 0)]));
    let got = late.messages();
    assert_eq!(got.len(), broker.stats().retained);
    assert!(got.iter().all(|got| got.payload.split(' ').next() == Some(&got.topic)), "{got:?}");
    for number in 0..10 {
        publisher.send(&publish(false, 1, format!("t/{number}"), 0, &[], b"last"));
    }
    let mut later = Peer::connected(&broker, 102, &connect(false, "later"));
    later.send(&subscribe(false, &[("t/#", 0)]));
    assert_eq!(later.payloads(), ["last"; 10], "the last write is the one");
}

#[test]
fn b84_a_will_at_a_takeover_and_at_a_stop_comes_once_or_not_at_all() {
    for (v5, delay, expected) in [(false, 0, 1), (true, 0, 1), (true, 10, 0)] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("will", 0)]));
        let block: &[u8] = if v5 { &[0x18, 0, 0, 0, delay] } else { &[] };
        let device = connect(v5, "dev").will(block, "will", "dead").lasting(100);
        let mut old = Peer::connected(&broker, 2, &device);
        let mut new = Peer::connected(&broker, 3, &device);
        old.deliver().link.gone(Tick(0));
        assert_eq!(sub.payloads().len(), expected, "taken over with a delay of {delay} s");
        broker.expire(Tick(50_000));
        assert!(sub.payloads().is_empty(), "and no second time");

        broker.shut_down(End::of(Reason::ServerShutdown));
        new.deliver().link.gone(Tick(50_000));
        broker.expire(Tick(60_000));
        assert_eq!(new.reason(), Reason::ServerShutdown);
    }
}

// MQTT 3.1.1: 3.14.4-1, 3.14.4-2
#[test]
fn b85_what_comes_with_a_disconnect_counts_and_what_comes_behind_it_does_not() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("#", 0)]));
        let mut dev = Peer::connected(&broker, 2, &connect(v5, "dev").will(&[], "will", "dead"));
        let before = publish(v5, 0, "a", 0, &[], b"before");
        let behind = publish(v5, 1, "a", 0, &[], b"behind");
        dev.send(&[before, packet(0xe0, &[]), behind, vec![0; 9]].concat());
        assert_eq!(dev.closed, Some(Closing::DisconnectReceived { reason_code: v5.then_some(0) }));
        assert!(dev.packets().is_empty());
        dev.link.gone(Tick(0));
        assert_eq!(sub.payloads(), ["before"], "and no will");
        assert_eq!(broker.stats().retained, 0);
    }
}

#[test]
fn b86_an_expiry_in_a_disconnect_is_capped_as_one_in_a_connect_is() {
    let broker = Broker::new(Limits { session_expiry_s_max: 100, ..Limits::default() });
    let forever = [0x11, 0xff, 0xff, 0xff, 0xff];
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").props(&forever).flags(0));
    peer.send(&packet(0xe0, &[&[0, 5][..], &forever].concat()));
    broker.expire(Tick(99_999));
    assert_eq!(broker.stats().sessions, 1);
    broker.expire(Tick(100_000));
    assert_eq!(broker.stats().sessions, 0);
}

#[test]
fn b88_who_stays_misses_nothing_and_who_left_gets_nothing_while_others_come_and_go() {
    const MESSAGES: u32 = 2_000;
    let broker = Broker::new(Limits { queue_messages_max: 10_000, ..Limits::default() });
    let mut stays = Peer::connected(&broker, 1, &connect(false, "stays"));
    stays.send(&subscribe(false, &[("a/+", 0)]));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 10..14_u128 {
            let (broker, done) = (&broker, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut peer = Peer::connected(broker, number, &connect(false, &format!("storm-{number}")));
                    peer.send(&subscribe(false, &[("a/#", 0), ("a/+", 1), ("$share/g/a/b", 0)]));
                    peer.deliver();
                    peer.send(&unsubscribe(false, &["a/#", "a/+", "$share/g/a/b"]));
                    peer.deliver().output.clear();
                    if number % 2 == 0 {
                        peer.send(&packet(0xe0, &[]));
                    }
                }
            });
        }
        let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
        for number in 0..MESSAGES {
            publisher.send(&publish(false, 0, "a/b", 0, &[], number.to_string().as_bytes()));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(stays.payloads(), (0..MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>());
    let stats = broker.stats();
    assert_eq!((stats.connections, stats.sessions, stats.subscriptions), (1, 1, 1));
}

/// What a small fleet does, whatever the bounds allow of it.
fn traffic(limits: Limits) {
    let broker = Broker::new(limits);
    for v5 in BOTH {
        for now in [Tick(0), Tick(1_000), Tick(u64::MAX / 4)] {
            let open = |number: u128, hello: &wire::Connect| {
                let mut peer = Peer::open(&broker, number, now);
                peer.v5 = v5;
                peer.send(&hello.bytes());
                peer
            };
            let mut sub = open(1, &connect(v5, "sub").lasting(u32::MAX));
            let mut dev = open(2, &connect(v5, "dev").will(&[], "will", "dead"));
            if sub.closed.is_none() {
                sub.send(&subscribe(v5, &[("#", 2), ("$share/g/a", 1)])).deliver();
            }
            for (flags, id) in [(1, 0), (3, 1), (4, 2), (4, 3)] {
                if dev.closed.is_none() {
                    dev.send(&publish(v5, flags, "a", id, &[], b"x"));
                }
                if sub.closed.is_none() {
                    sub.deliver();
                }
            }
            for peer in [&mut sub, &mut dev] {
                if let (None, Some(deadline)) = (&peer.closed, peer.link.deadline()) {
                    peer.time_out(deadline);
                }
                peer.link.gone(now);
            }
            broker.expire(now);
        }
    }
    broker.shut_down(End::of(Reason::ServerShutdown));
    broker.stats();
}

/// Gives a field 0 and the most that it can hold, and lets traffic run.
macro_rules! extremes {
    ($($field:ident: $kind:ty),* $(,)?) => {
        $(for value in [0, 1, <$kind>::MAX] {
            traffic(Limits { $field: value, ..Limits::default() });
        })*
        traffic(Limits { $($field: 0,)* ..Limits::default() });
        traffic(Limits { $($field: <$kind>::MAX,)* ..Limits::default() });
    };
}

#[test]
fn b89_every_bound_may_be_0_and_the_most_there_is() {
    extremes!(
        connect_timeout_ms: u64,
        packet_bytes_max: u32,
        client_id_bytes_max: usize,
        topic_levels_max: usize,
        topic_bytes_max: usize,
        filters_per_packet_max: usize,
        subscriptions_per_session_max: usize,
        shared_group_members_max: usize,
        user_properties_max: usize,
        inflight_max: u16,
        queue_messages_max: usize,
        queue_bytes_max: usize,
        all_queues_bytes_max: usize,
        slow_consumer_ms: u64,
        connects_per_s_max: u32,
        connects_per_address_per_s_max: u32,
        sessions_max: usize,
        retained_messages_max: usize,
        retained_bytes_max: usize,
        keep_alive_s_max: u16,
        session_expiry_s_max: u32,
        sys_interval_s: u32,
        topic_alias_max: u16,
    );
}

#[test]
fn b89_no_bound_was_forgotten() {
    let shown = format!("{:?}", Limits::default());
    let numbers =
        shown.split(", ").filter(|field| field.trim_end_matches(" }").ends_with(|end: char| end.is_ascii_digit()));
    assert_eq!(numbers.count(), 23, "{shown}");
}
