//! Wills: published after an abnormal end, once, with permission, after their delay or with their session.

mod wire;

use tracemq_broker::{Closing, Tick};
use tracemq_model::Reason;
use wire::{Peer, broker, connect, packet, subscribe};

// MQTT 3.1.1: 3.1.2-8, 3.1.2-10, 3.1.2-12, 3.14.4-3
// MQTT 5.0: 3.1.2-7, 3.1.2-8
#[test]
fn wills_are_published_unless_the_client_took_its_leave() {
    for v5 in [false, true] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("will", 0)]));
        let with_will = connect(v5, "dev").will(&[], "will", "dead");
        Peer::connected(&broker, 2, &with_will).send(&packet(0xe0, &[]));
        assert!(sub.payloads().is_empty());
        Peer::connected(&broker, 3, &with_will).link.gone(Tick(1));
        assert_eq!(sub.payloads(), ["dead"]);
        drop(Peer::connected(&broker, 4, &with_will));
        assert_eq!(sub.payloads(), ["dead"]);
        Peer::connected(&broker, 5, &with_will).send(&[0x00]);
        assert_eq!(sub.payloads(), ["dead"]);
        if v5 {
            let mut dev = Peer::connected(&broker, 6, &with_will);
            dev.send(&packet(0xe0, &[4]));
            assert_eq!(dev.closed, Some(Closing::DisconnectReceived { reason_code: Some(4) }));
            assert_eq!(sub.payloads(), ["dead"]);
        }
        let mut refused = Peer::open(&broker, 7, Tick(0));
        refused.refuse = Some(Reason::BadCredentials);
        refused.send(&with_will.bytes());
        refused.link.gone(Tick(1));
        assert!(sub.payloads().is_empty(), "a refused client's will is nobody's");
    }
}

// MQTT 5.0: 3.1.2-7, 3.1.2-8, 3.1.2-10, 3.1.3-9
#[test]
fn a_delayed_will_is_published_once_or_not_at_all() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("will", 0)]));
    let delay = [0x18, 0, 0, 0, 10];
    let device = connect(true, "dev").will(&delay, "will", "dead").lasting(100);
    Peer::connected(&broker, 2, &device).link.gone(Tick(0));
    broker.expire(Tick(9_999));
    assert!(sub.payloads().is_empty());
    let back = Peer::connected_at(&broker, 3, &device, Tick(9_999));
    broker.expire(Tick(10_000));
    assert!(sub.payloads().is_empty(), "came back in time");
    drop(back); // at Tick(9_999)
    broker.expire(Tick(19_998));
    assert!(sub.payloads().is_empty());
    broker.expire(Tick(19_999));
    broker.expire(Tick(19_999));
    assert_eq!(sub.payloads(), ["dead"]);
    drop(Peer::connected(&broker, 4, &connect(true, "dev").will(&delay, "will", "dead")));
    assert_eq!(sub.payloads(), ["dead"], "no session outlives the connection, so the delay ends with it");
    drop(Peer::connected(&broker, 5, &device));
    let _clean = Peer::connected(&broker, 6, &connect(true, "dev"));
    assert_eq!(sub.payloads(), ["dead"], "clean start ends the session, so the delay ends with it");
}

#[test]
fn wills_need_permission_at_connect_and_when_published() {
    for v5 in [false, true] {
        let broker = broker();
        let mut peer = Peer::open(&broker, 1, Tick(0));
        peer.permissions = std::sync::Arc::new(wire::Rules { publish: |topic| topic != "will", subscribe: |_| true });
        peer.send(&connect(v5, "dev").will(&[], "will", "x").bytes());
        assert_eq!(peer.reason(), Reason::WillNotAuthorized);
        let connack = peer.packets().remove(0);
        assert_eq!((connack.0, connack.1[1]), (0x20, if v5 { 0x87 } else { 5 }));
        assert_eq!(broker.stats().sessions, 0);
    }
}
