//! Sessions over the life of connections: resume, takeover, expiry, keep alive, ends by order.

mod wire;

use tracemq_broker::{Broker, Closing, Limits, Link, Tick};
use tracemq_model::{ConnectionId, End, PacketKind, Reason};
use wire::{Peer, ack, broker, connect, packet, publish, subscribe};

#[test]
fn a_link_is_small() {
    fn goes_to_another_thread<T: Send>() {}
    goes_to_another_thread::<Link>();
    assert!(size_of::<Link>() <= 128, "{}", size_of::<Link>());
}

// MQTT 3.1.1: 3.1.2-4, 3.1.2-5, 3.1.3-2, 3.3.1-1, 4.4.0-1
// MQTT 5.0: 3.1.2-5, 3.1.2-23, 3.1.3-2, 3.3.1-1, 4.3.2-3, 4.3.3-3, 4.3.3-5, 4.3.3-6, 4.4.0-1
#[test]
fn a_resumed_session_gets_what_was_under_way_again_and_then_what_waited() {
    for v5 in [false, true] {
        let broker = broker();
        let lasting = connect(v5, "sub").lasting(100);
        let mut sub = Peer::connected(&broker, 1, &lasting);
        assert!(!sub.accepted.as_ref().unwrap().session_present);
        sub.send(&subscribe(v5, &[("a", 2)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"1")).send(&publish(v5, 4, "a", 2, &[], b"2"));
        publisher.send(&publish(v5, 4, "a", 3, &[], b"3"));
        let first = sub.messages();
        assert_eq!(first.len(), 3);
        sub.send(&ack(0x50, first[2].id)); // 3 is received, not complete
        sub.link.gone(Tick(10));
        publisher.send(&publish(v5, 2, "a", 4, &[], b"4")).send(&publish(v5, 0, "a", 0, &[], b"lost"));
        let mut sub = Peer::connected(&broker, 3, &lasting);
        assert!(sub.accepted.as_ref().unwrap().session_present);
        sub.deliver();
        let packets = sub.packets();
        let firsts: Vec<u8> = packets.iter().map(|p| p.0).collect();
        assert_eq!(firsts, [0x3a, 0x3c, 0x62, 0x32]);
        assert_eq!(packets[2].1[..2], first[2].id.to_be_bytes(), "PUBREL with its old id");
        let new = u16::from_be_bytes([packets[3].1[3], packets[3].1[4]]);
        assert!(first.iter().all(|got| got.id != new), "no id in use twice");
    }
}

// MQTT 3.1.1: 3.1.2-6, 3.1.4-3, 3.1.4-4
// MQTT 5.0: 3.1.2-4, 3.1.2-6, 3.1.4-4, 3.1.4-5, 4.1.0-2
#[test]
fn clean_start_and_expiry_end_a_session() {
    for v5 in [false, true] {
        let broker = broker();
        let lasting = connect(v5, "sub").lasting(100);
        Peer::connected(&broker, 1, &lasting).send(&subscribe(v5, &[("a", 1)]));
        assert_eq!((broker.stats().sessions, broker.stats().subscriptions, broker.stats().connections), (1, 1, 0));
        let clean = Peer::connected(&broker, 2, &connect(v5, "sub"));
        assert!(!clean.accepted.as_ref().unwrap().session_present);
        assert_eq!((broker.stats().sessions, broker.stats().subscriptions), (1, 0));
        drop(clean);
        assert_eq!(broker.stats().sessions, 0);
        let mut sub = Peer::connected(&broker, 3, &lasting);
        sub.send(&subscribe(v5, &[("a", 1)]));
        sub.link.gone(Tick(0));
        broker.expire(Tick(99_999));
        assert_eq!(broker.stats().sessions, 1);
        broker.expire(Tick(if v5 { 100_000 } else { 7 * 24 * 3_600_000 }));
        assert_eq!((broker.stats().sessions, broker.stats().subscriptions), (0, 0));
    }
}

// MQTT 3.1.1: 3.1.4-2
// MQTT 5.0: 3.1.4-3
#[test]
fn a_takeover_ends_the_old_connection_and_never_waits_for_it() {
    for v5 in [false, true] {
        let broker = broker();
        let mut old = Peer::connected(&broker, 1, &connect(v5, "twin").lasting(100));
        old.send(&subscribe(v5, &[("a", 1)]));
        old.deliver();
        old.packets();
        let mut new = Peer::connected(&broker, 2, &connect(v5, "twin").lasting(100));
        assert!(new.accepted.as_ref().unwrap().session_present);
        assert_eq!(old.woken.take(), 1);
        Peer::connected(&broker, 3, &connect(v5, "pub")).send(&publish(v5, 0, "a", 0, &[], b"x"));
        assert_eq!(new.payloads(), ["x"]);
        old.deliver();
        assert_eq!(old.end().other_connection, Some(ConnectionId(2)));
        assert_eq!(old.end().reason_code, v5.then_some(0x8e));
        old.assert_ended(Reason::SessionTakenOver, "");
        old.link.gone(Tick(1));
        assert_eq!(broker.stats().connections, 1);
        new.send(&packet(0xc0, &[]));
        assert_eq!(new.packets(), [(0xd0, vec![])], "the new one lives on");
    }
}

#[test]
fn an_old_connection_can_do_nothing_after_its_takeover() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 9, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("a", 0)]));
    let mut old = Peer::connected(&broker, 1, &connect(false, "twin"));
    let _new = Peer::connected(&broker, 2, &connect(false, "twin"));
    old.send(&publish(false, 0, "a", 0, &[], b"ghost"));
    assert_eq!(old.reason(), Reason::SessionTakenOver);
    assert!(sub.payloads().is_empty());
}

#[test]
fn a_disconnect_that_was_on_its_way_is_the_end_and_not_the_takeover_or_the_stop() {
    for v5 in [false, true] {
        let broker = broker();
        let mut old = Peer::connected(&broker, 1, &connect(v5, "twin"));
        let mut new = Peer::connected(&broker, 2, &connect(v5, "twin"));
        let mut last = publish(v5, 0, "a", 0, &[], b"ghost");
        last.extend(packet(0xe0, &[]));
        old.send(&last);
        assert!(matches!(old.closed, Some(tracemq_broker::Closing::DisconnectReceived { .. })), "{:?}", old.closed);
        broker.shut_down(tracemq_model::End::of(Reason::ServerShutdown));
        new.send(&packet(0xe0, &[]));
        assert!(matches!(new.closed, Some(tracemq_broker::Closing::DisconnectReceived { .. })), "{:?}", new.closed);
    }
}

#[test]
fn a_connect_that_meets_the_stop_still_names_its_client() {
    let broker = broker();
    let mut late = Peer::open(&broker, 1, Tick(0));
    broker.shut_down(tracemq_model::End::of(Reason::ServerShutdown));
    late.send(&connect(false, "late").bytes());
    assert_eq!(late.reason(), Reason::ServerShutdown);
    assert_eq!(late.link.request().unwrap().client.as_ref().unwrap().as_str(), "late");
}

// MQTT 3.1.1: 3.1.2-24
// MQTT 5.0: 3.1.2-22, 3.2.2-22
#[test]
fn keep_alive_is_watched_and_capped() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").keep_alive(10));
    assert_eq!(peer.link.deadline(), Some(Tick(15_000)));
    peer.now = Tick(8_000);
    peer.send(&packet(0xc0, &[]));
    peer.packets();
    assert_eq!(peer.link.deadline(), Some(Tick(23_000)));
    assert!(matches!(peer.link.timed_out(Tick(22_999), &mut peer.output), tracemq_broker::Step::Continue));
    let step = peer.link.timed_out(Tick(23_000), &mut peer.output);
    let tracemq_broker::Step::Close(closing) = step else { panic!("{step:?}") };
    peer.closed = Some(closing);
    assert_eq!(peer.end().reason_code, Some(0x8d));
    peer.assert_ended(Reason::KeepAliveTimeout, "");
    for asked in [0, 65_535] {
        let peer = Peer::connected(&broker, 2, &connect(true, "dev").keep_alive(asked));
        assert_eq!(peer.accepted.unwrap().keep_alive_s, 3600);
        let peer = Peer::connected(&broker, 3, &connect(false, "dev").keep_alive(asked));
        assert_eq!(peer.accepted.unwrap().keep_alive_s, asked);
        assert_eq!(peer.link.deadline().is_none(), asked == 0);
    }
}

#[test]
fn a_connect_that_does_not_come_in_time_is_closed_however_bytes_trickle() {
    let broker = broker();
    let mut peer = Peer::open(&broker, 1, Tick(500));
    for byte in &connect(false, "dev").bytes()[..8] {
        peer.now = Tick(peer.now.0 + 1000);
        peer.send(&[*byte]);
    }
    assert_eq!(peer.link.deadline(), Some(Tick(10_500)));
    let step = peer.link.timed_out(Tick(10_500), &mut peer.output);
    let tracemq_broker::Step::Close(Closing::End(end)) = step else { panic!("{step:?}") };
    assert_eq!((end.reason, end.reason_code), (Reason::ConnectTimeout, None));
    assert!(peer.output.is_empty());
}

#[test]
fn a_shutdown_reaches_everyone() {
    let broker = broker();
    let mut peers =
        [Peer::connected(&broker, 1, &connect(true, "a")), Peer::connected(&broker, 2, &connect(false, "b"))];
    let mut opening = Peer::open(&broker, 3, Tick(0));
    peers.iter_mut().for_each(|peer| assert!(peer.deliver().closed.is_none()));
    opening.deliver();
    broker.shut_down(End::of(Reason::ServerShutdown).with_detail("bye"));
    for peer in &mut peers {
        assert_eq!(peer.woken.take(), 1);
        peer.deliver().assert_ended(Reason::ServerShutdown, "");
    }
    assert_eq!(peers[0].end().reason_code, Some(0x8b));
    assert_eq!(opening.deliver().reason(), Reason::ServerShutdown);
    let mut late = Peer::open(&broker, 4, Tick(0));
    late.send(&connect(true, "late").bytes());
    assert_eq!(late.reason(), Reason::ServerShutdown);
    assert_eq!(broker.stats().connections, 0);
}

// MQTT 3.1.1: 3.2.2-5
// MQTT 5.0: 3.1.4-1, 3.1.4-2, 3.2.2-7
#[test]
fn the_cores_refusals_carry_each_versions_code() {
    for (reason, v5_code, v3_code) in [
        (Reason::BadCredentials, 0x86, 4),
        (Reason::NotAuthorized, 0x87, 5),
        (Reason::Banned, 0x8a, 5),
        (Reason::QuotaExceeded, 0x97, 3),
        (Reason::RateLimited, 0x9f, 3),
        (Reason::ServerOverloaded, 0x89, 3),
    ] {
        for v5 in [false, true] {
            let mut peer = Peer::open(&broker(), 1, Tick(0));
            peer.refuse = Some(reason);
            peer.send(&connect(v5, "dev").bytes());
            let code = if v5 { v5_code } else { v3_code };
            assert_eq!(peer.packets()[0].1[1], code);
            assert_eq!((peer.reason(), peer.end().reason_code), (reason, Some(code)));
        }
    }
}

#[test]
fn disconnect_can_shorten_and_not_invent_an_expiry() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev"));
    peer.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9]));
    peer.assert_ended(Reason::ProtocolError, "");
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").lasting(100));
    peer.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0]));
    assert_eq!(broker.stats().sessions, 0);
}

#[test]
fn an_expiry_in_a_disconnect_is_no_error_where_the_one_of_connect_was_not_granted() {
    let broker = Broker::new(Limits { session_expiry_s_max: 0, ..Limits::default() });
    let mut watcher = Peer::connected(&broker, 1, &connect(true, "watcher"));
    watcher.send(&subscribe(true, &[("will", 0)]));
    let mut peer = Peer::connected(&broker, 2, &connect(true, "dev").lasting(100).will(&[], "will", "gone"));
    peer.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 9]));
    assert_eq!(peer.closed, Some(Closing::DisconnectReceived { reason_code: Some(0) }));
    assert!(watcher.payloads().is_empty() && broker.stats().sessions == 1, "it took its leave");
}

#[test]
fn sessions_are_counted_and_bounded() {
    let broker = Broker::new(Limits { sessions_max: 1, ..Limits::default() });
    let _one = Peer::connected(&broker, 1, &connect(true, "a"));
    let mut two = Peer::open(&broker, 2, Tick(0));
    two.send(&connect(true, "b").bytes());
    assert_eq!((two.reason(), two.end().reason_code), (Reason::QuotaExceeded, Some(0x97)));
    let _again = Peer::connected(&broker, 3, &connect(true, "a"));
}

#[test]
fn messages_wait_when_a_handshake_is_cut_before_its_connack() {
    let broker = broker();
    let lasting = connect(false, "sub").lasting(9);
    Peer::connected(&broker, 1, &lasting).send(&subscribe(false, &[("a", 1)]));
    Peer::connected(&broker, 2, &connect(false, "pub")).send(&publish(false, 2, "a", 1, &[], b"x"));
    let mut cut = Peer::open(&broker, 3, Tick(0));
    cut.send(&lasting.bytes());
    drop(cut);
    assert_eq!(Peer::connected(&broker, 4, &lasting).payloads(), ["x"]);
}

// MQTT 3.1.1: 3.1.3-6 to 3.1.3-8
// MQTT 5.0: 3.1.3-6, 3.1.3-7
#[test]
fn ids_are_assigned_from_the_connection() {
    for v5 in [false, true] {
        let broker = broker();
        let mut peer = Peer::open(&broker, 0xab, Tick(0));
        peer.send(&connect(v5, "").bytes());
        assert_eq!(peer.link.request().unwrap().client, None);
        let assigned = peer.accepted.as_ref().unwrap().assigned.clone();
        let connack = peer.packets().remove(0).1;
        let Some(assigned) = assigned else {
            assert!(!v5, "MQTT 5.0 clients are told their identifier");
            continue; // 3.x clients can't be, and so have none
        };
        assert!(v5 && assigned.as_str().ends_with("ab"));
        assert!(connack.windows(assigned.as_str().len()).any(|part| part == assigned.as_str().as_bytes()));
    }
    let mut kept = Peer::open(&broker(), 1, Tick(0));
    kept.send(&connect(true, "").flags(0).bytes());
    assert!(kept.accepted.is_some(), "MQTT 5.0 allows it without clean start");
}

#[test]
fn a_session_without_expiry_is_not_taken_over_but_replaced() {
    let broker = broker();
    let mut old = Peer::connected(&broker, 1, &connect(true, "twin")); // expiry 0
    old.send(&subscribe(true, &[("a", 0)]));
    let new = Peer::connected(&broker, 2, &connect(true, "twin").lasting(100));
    assert!(!new.accepted.as_ref().unwrap().session_present);
    assert_eq!(broker.stats().subscriptions, 0);
    drop(new);
    let late = Peer::connected_at(&broker, 3, &connect(true, "twin").lasting(100), Tick(100_000));
    assert!(!late.accepted.as_ref().unwrap().session_present, "expired, though nobody called expire");
    old.deliver();
    assert_eq!(old.reason(), Reason::SessionTakenOver);
    drop(old);
    assert_eq!((broker.stats().connections, broker.stats().sessions), (1, 1));
}

#[test]
fn threads_that_fight_for_one_client_identifier_leave_one_owner_and_no_trace() {
    let broker = broker();
    let threads: Vec<_> = (0..4u128)
        .map(|thread| {
            let broker = std::sync::Arc::clone(&broker);
            std::thread::spawn(move || {
                for round in 0..300 {
                    let mut wanted = connect(thread % 2 == 0, "twin");
                    if round % 3 == 0 {
                        wanted = wanted.lasting(1);
                    }
                    let mut peer = Peer::open(&broker, thread << 64 | round, Tick(0));
                    peer.v5 = wanted.v5;
                    peer.send(&wanted.will(&[], "t/will", "dead").bytes());
                    peer.send(&subscribe(peer.v5, &[("t/#", 2), ("#", 1)]));
                    peer.send(&publish(peer.v5, 3, "t/x", 7, &[], b"x"));
                    peer.deliver();
                    assert!(broker.stats().sessions <= 1);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    broker.expire(Tick(1_000_000));
    let stats = broker.stats();
    assert_eq!((stats.connections, stats.sessions, stats.subscriptions, stats.retained), (0, 0, 0, 1));
}

#[test]
fn one_link_can_be_ended_by_order_also_while_it_waits_for_its_decision() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev"));
    assert!(broker.end_link(ConnectionId(1), End::of(Reason::Kicked)));
    assert!(!broker.end_link(ConnectionId(9), End::of(Reason::Kicked)));
    peer.deliver();
    assert_eq!((peer.reason(), peer.end().reason_code), (Reason::Kicked, Some(0x98)));
    assert!(!broker.end_link(ConnectionId(1), End::of(Reason::Kicked)), "it is gone");
    let mut waits = Peer::open(&broker, 2, Tick(0));
    waits.input.extend_from_slice(&connect(true, "dev").props(&[0x17, 0]).bytes());
    waits.link.receive(Tick(0), &mut waits.input, &mut waits.output);
    broker.shut_down(End::of(Reason::ServerShutdown));
    waits.deliver();
    assert_eq!((waits.reason(), waits.end().reason_code), (Reason::ServerShutdown, Some(0x88)));
    assert_eq!(waits.packets(), [(0x20, vec![0, 0x88, 0])]);
}

#[test]
fn a_link_tells_at_its_end_what_passed_last_and_what_the_session_held() {
    for v5 in [false, true] {
        let broker = broker();
        let mut silent = Peer::open(&broker, 9, Tick(0));
        assert_eq!((silent.link.last_packets(), silent.link.held()), ((None, None), None));
        silent.link.gone(Tick(0));
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        peer.send(&subscribe(v5, &[("a", 1), ("$share/g/b", 0)])).send(&[0xc0, 0]);
        Peer::connected(&broker, 2, &connect(v5, "pub")).send(&publish(v5, 2, "a", 1, &[], b"x"));
        peer.deliver();
        for _ in 0..2 {
            assert_eq!(peer.link.last_packets(), (Some(PacketKind::PingReq), Some(PacketKind::Publish)));
            assert_eq!(peer.link.held(), Some((2, 1)));
            peer.link.gone(Tick(0));
        }
    }
}
