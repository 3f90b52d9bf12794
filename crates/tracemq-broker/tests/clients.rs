//! Who is connected, and ends by administrators.

// A helper of tests may panic as a test may.
#![allow(clippy::unwrap_used)]

mod wire;

use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick, Whose};
use tracemq_model::{ClientId, ConnectionId, End, InstanceId, Opening, Reason, TimeMs};
use wire::{Connect, Peer, broker, connect, publish, subscribe};

fn from(broker: &Arc<Broker>, number: u8, connect: &Connect) -> Peer {
    from_at(broker, number, connect, Tick(0))
}

fn from_at(broker: &Arc<Broker>, number: u8, connect: &Connect, now: Tick) -> Peer {
    let opening = Opening {
        instance: InstanceId::new("mqtt-local").unwrap(),
        connection: ConnectionId(u128::from(number)),
        peer: format!("192.0.2.{number}:1000").parse().unwrap(),
        listener: "mqtt".into(),
    };
    let mut peer = Peer::open(broker, 999, now);
    peer.link = broker.open_from(&opening, None, TimeMs(5), now);
    peer.v5 = connect.v5;
    peer.send(&connect.bytes()).packets();
    peer
}

#[test]
fn a_list_shows_what_each_connected_client_holds() {
    let broker = broker();
    let mut dev = from(&broker, 1, &connect(true, "dev").user("alice").props(&[0x21, 0, 1]));
    dev.send(&subscribe(true, &[("a", 1), ("$share/g/b", 0)]));
    let mut away = from(&broker, 2, &connect(true, "away").lasting(100));
    away.link.gone(Tick(0));
    let mut publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
    for id in 1..=3 {
        publisher.send(&publish(true, 2, "a", id, &[], b"xyz"));
    }
    dev.deliver();
    let page = broker.clients("", None, 10);
    let names: Vec<&str> = page.clients.iter().map(|one| one.client.as_str()).collect();
    assert_eq!((names, page.next), (vec!["dev", "pub"], None));
    let dev = &page.clients[0];
    assert_eq!((dev.subscriptions, dev.queued, dev.queued_bytes, dev.in_flight), (2, 2, 8, 1));
    assert_eq!((dev.username.as_deref(), dev.connection), (Some("alice"), ConnectionId(1)));
    let origin = dev.origin.as_ref().unwrap();
    assert_eq!(
        (origin.peer.to_string().as_str(), &*origin.listener, origin.since),
        ("192.0.2.1:1000", "mqtt", TimeMs(5))
    );
    assert_eq!(page.clients[1].origin, None);
}

#[test]
fn pages_follow_each_other_and_keep_to_a_prefix() {
    let broker = broker();
    let _peers: Vec<Peer> =
        (0..2_500_u128).map(|at| Peer::connected(&broker, at, &connect(false, &format!("p{at:04}")))).collect();
    let _others =
        [Peer::connected(&broker, 9_001, &connect(false, "q")), Peer::connected(&broker, 9_002, &connect(false, "o"))];
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = broker.clients("p", after.as_ref(), 700);
        assert!(page.clients.len() <= 700);
        all.extend(page.clients.into_iter().map(|one| one.client.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, (0..2_500).map(|at| format!("p{at:04}")).collect::<Vec<_>>());
    assert_eq!(broker.clients("zz", None, 10).clients.len(), 0);
    assert_eq!(broker.clients("p", Some(&ClientId::new("p2499").unwrap()), 10).next, None);
}

#[test]
fn administrators_end_connections_by_client_user_and_address() {
    let broker = broker();
    let mut peers: Vec<Peer> = (1..=6_u8)
        .map(|at| {
            from(
                &broker,
                at,
                &connect(true, &format!("c{at}")).user(if at % 2 == 0 { "even" } else { "odd" }).lasting(9),
            )
        })
        .collect();
    let end = End::of(Reason::Kicked).with_detail("by access key x");
    let client = |name: &str| Whose::Client(ClientId::new(name).unwrap());
    assert_eq!(broker.end_clients(&client("nobody"), &end, 10), 0);
    assert_eq!(broker.end_clients(&client("c1"), &end, 10), 1);
    assert_eq!(broker.end_clients(&Whose::Address("192.0.2.3".parse().unwrap()), &end, 10), 1);
    assert_eq!(broker.end_clients(&Whose::User("even".into()), &end, 2), 2, "no more than the limit");
    let mut ended = Vec::new();
    for peer in &mut peers {
        peer.deliver();
        if peer.closed.is_some() {
            peer.assert_ended(Reason::Kicked, "");
            assert_eq!(peer.detail(), "by access key x");
        }
        ended.push(peer.closed.is_some());
    }
    assert_eq!(ended, [true, true, true, true, false, false]);
    assert_eq!((broker.stats().connections, broker.stats().sessions), (2, 6), "sessions are kept");
}

#[test]
fn more_connects_a_second_than_allowed_are_refused_by_address_and_by_listener() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Broker::new(limits)
    };
    for v5 in [false, true] {
        let broker = limits(|limits| limits.connects_per_address_per_s_max = 2);
        let accepted = |number: u8, now: u64| {
            let mut peer = from_at(&broker, number, &connect(v5, "dev"), Tick(now));
            if peer.accepted.is_none() {
                peer.assert_ended(Reason::RateLimited, "");
                assert_eq!(peer.end().reason_code, Some(if v5 { 0x9f } else { 3 }));
                assert!(peer.detail().contains("192.0.2.1"), "{}", peer.detail());
            }
            peer.accepted.is_some()
        };
        assert_eq!((0..12).filter(|_| accepted(1, 0)).count(), 10, "five seconds' worth at once");
        assert!(accepted(2, 0), "another address");
        assert!(!accepted(1, 499) && accepted(1, 500) && !accepted(1, 501));
        assert_eq!((0..50).filter(|_| accepted(1, 1_000_000)).count(), 10);
    }
    let broker = limits(|limits| limits.connects_per_s_max = 1);
    let accepted = (1..=9).filter(|at| from(&broker, *at, &connect(true, "dev")).accepted.is_some()).count();
    assert_eq!(accepted, 5);
}

#[test]
fn each_listener_has_its_own_connects_a_second() {
    let broker = broker();
    let limits = |of_all, of_address| {
        Arc::new(Limits { connects_per_s_max: of_all, connects_per_address_per_s_max: of_address, ..Limits::default() })
    };
    let accepted = |listener: &str, limits: &Arc<Limits>, times: u8| {
        let connects = (0..times).map(|number| {
            let opening = Opening {
                instance: InstanceId::new("mqtt-local").unwrap(),
                connection: ConnectionId(u128::from(number)),
                peer: "[2001:db8::7]:1000".parse().unwrap(),
                listener: listener.into(),
            };
            let mut peer = Peer::open(&broker, 999, Tick(0));
            peer.link = broker.open_from(&opening, Some(limits), TimeMs(5), Tick(0));
            peer.send(&connect(false, "dev").bytes()).packets();
            if peer.accepted.is_none() {
                peer.assert_ended(Reason::RateLimited, "");
                assert!(peer.detail().contains(&format!("at the listener {listener:?} (max_connects_per_")));
            }
            peer.accepted.is_some()
        });
        connects.filter(|accepted| *accepted).count()
    };
    assert_eq!(accepted("slow", &limits(0, 1), 9), 5);
    assert_eq!(accepted("slower", &limits(2, 1), 9), 5, "what came by another listener is not counted here");
    assert_eq!(accepted("fast", &limits(4, 0), 30), 20);
    assert_eq!(accepted("any", &limits(0, 0), 100), 100);
}
