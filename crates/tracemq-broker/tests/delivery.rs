//! Messages between two clients: the flows of QoS 0, 1 and 2, windows, queues at their bound, expiry, sizes.

mod wire;

use tracemq_broker::Tick;
use tracemq_model::Reason;
use wire::{Peer, ack, broker, connect, publish, subscribe};

// MQTT 3.1.1: 2.3.1-5, 3.3.4-1, 3.8.4-6
// MQTT 5.0: 2.2.1-2, 3.3.4-1, 3.8.4-8, 4.3.2-4, 4.3.3-8, 4.3.3-4, 4.3.3-11
#[test]
fn qos_0_1_2_arrive_with_the_lower_qos() {
    for v5 in [false, true] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        sub.send(&subscribe(v5, &[("a", 1)]));
        for (flags, id) in [(0, 0), (2, 5), (4, 6)] {
            publisher.send(&publish(v5, flags, "a", id, &[], b"x"));
        }
        publisher.send(&ack(0x62, 6));
        let replies: Vec<u8> = publisher.packets().iter().map(|p| p.0).collect();
        assert_eq!(replies, [0x40, 0x50, 0x70]);
        assert_eq!(sub.messages().iter().map(|got| got.qos).collect::<Vec<_>>(), [0, 1, 1]);
    }
}

// MQTT 3.1.1: 4.3.3-2
// MQTT 5.0: 4.3.3-10, 4.3.3-12
#[test]
fn qos_2_is_routed_once_however_often_it_is_sent() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub").lasting(9));
    for _ in 0..100 {
        publisher.send(&publish(false, 0x0c, "a", 9, &[], b"x"));
    }
    publisher.link.gone(Tick(1));
    let mut publisher = Peer::connected(&broker, 3, &connect(false, "pub").lasting(9));
    publisher.send(&publish(false, 0x0c, "a", 9, &[], b"x"));
    publisher.send(&ack(0x62, 9));
    publisher.send(&publish(false, 0x04, "a", 9, &[], b"y"));
    assert_eq!(sub.payloads(), ["x", "y"]);
}

// MQTT 3.1.1: 4.3.3-1
// MQTT 5.0: 3.6.2-1, 3.7.2-1, 4.3.3-4, 4.3.3-11
#[test]
fn outbound_qos_2_goes_through_its_four_steps() {
    for v5 in [false, true] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 2)]));
        sub.packets();
        Peer::connected(&broker, 2, &connect(v5, "pub")).send(&publish(v5, 4, "a", 1, &[], b"x"));
        let id = sub.messages()[0].id;
        sub.send(&ack(0x50, id));
        assert_eq!(sub.packets()[0].0, 0x62);
        sub.send(&ack(0x50, id));
        assert_eq!(sub.packets()[0].0, 0x62, "PUBREC again, PUBREL again");
        sub.send(&ack(0x70, id)).send(&ack(0x70, id));
        assert!(sub.closed.is_none());
        sub.send(&ack(0x50, 999));
        let unknown = sub.packets().remove(0);
        assert_eq!(unknown.0, 0x62);
        assert!(!v5 || unknown.1[2] == 0x92);
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_an_error() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("a", 2)]));
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 4, "a", 1, &[], b"x"));
    let id = sub.messages()[0].id;
    sub.send(&ack(0x40, id));
    sub.assert_ended(Reason::ProtocolError, "PUBACK for QoS 2");
}

// MQTT 3.1.1: 4.3.2-1
// MQTT 5.0: 3.3.4-9, 4.9.0-1, 4.9.0-2
#[test]
fn the_window_bounds_what_is_under_way() {
    for (v5, block, window) in [(false, &[][..], 32), (true, &[0x21, 0, 3], 3)] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub").props(block));
        sub.send(&subscribe(v5, &[("a", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for id in 1..=100 {
            publisher.send(&publish(v5, 2, "a", id, &[], format!("{id}").as_bytes()));
        }
        let mut got = sub.messages();
        assert_eq!(got.len(), window);
        let mut all = Vec::new();
        while !got.is_empty() {
            assert!(got.len() <= window);
            for one in got {
                sub.send(&ack(0x40, one.id));
                all.push(one.payload);
            }
            got = sub.messages();
        }
        assert_eq!(all, (1..=100).map(|id| id.to_string()).collect::<Vec<_>>(), "in order, none lost");
    }
}

// MQTT 5.0: 3.3.2-5, 3.3.2-6
#[test]
fn expired_messages_are_skipped_and_the_others_say_how_long_they_have() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").lasting(100));
    sub.send(&subscribe(true, &[("a", 1)]));
    sub.link.gone(Tick(0));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for (seconds, payload) in [(5, "short"), (50, "long"), (0, "none")] {
        publisher.send(&publish(true, 2, "a", 1, &[2, 0, 0, 0, seconds], payload.as_bytes()));
    }
    let mut sub = Peer::connected_at(&broker, 3, &connect(true, "sub").lasting(100), Tick(10_000));
    let got = sub.messages();
    assert_eq!(got.len(), 1);
    assert_eq!((&*got[0].payload, &got[0].props[..]), ("long", &[2, 0, 0, 0, 40][..]));
    assert_eq!(broker.stats().messages_dropped, 2);
}

// MQTT 5.0: 3.1.2-25
#[test]
fn a_message_larger_than_the_client_takes_is_not_sent() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x27, 0, 0, 0, 60]));
    sub.send(&subscribe(true, &[("a", 1)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    publisher.send(&publish(true, 2, "a", 1, &[], &[b'x'; 100])).send(&publish(true, 2, "a", 2, &[], b"y"));
    assert_eq!(sub.payloads(), ["y"]);
    assert_eq!(broker.stats().messages_dropped, 1);
}

// MQTT 3.1.1: 4.6.0-1
// MQTT 5.0: 3.3.4-9, 4.6.0-1 to 4.6.0-4, 4.9.0-1, 4.9.0-2
#[test]
fn a_smaller_receive_maximum_after_a_resume_is_kept() {
    let broker = broker();
    let lasting = connect(true, "sub").lasting(100);
    let mut sub = Peer::connected(&broker, 1, &lasting);
    sub.send(&subscribe(true, &[("a", 1)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for id in 1..=10 {
        publisher.send(&publish(true, 2, "a", id, &[], id.to_string().as_bytes()));
    }
    assert_eq!(sub.messages().len(), 10);
    sub.link.gone(Tick(0));
    publisher.send(&publish(true, 2, "a", 11, &[], b"11"));
    let mut smaller = lasting;
    smaller.props.extend([0x21, 0, 3]);
    let mut sub = Peer::connected(&broker, 3, &smaller);
    let mut all = Vec::new();
    loop {
        let got = sub.messages();
        assert!(got.len() <= 3, "{got:?}");
        if got.is_empty() {
            break;
        }
        for one in got {
            assert_eq!(one.dup, one.payload != "11");
            sub.send(&ack(0x40, one.id));
            all.push(one.payload);
        }
    }
    assert_eq!(all, (1..=11).map(|at| at.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_client_that_never_completes_gets_no_more_than_the_window() {
    let broker = broker();
    let lasting = connect(false, "sub").lasting(100);
    Peer::connected(&broker, 1, &lasting).send(&subscribe(false, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    for id in 1..=200 {
        publisher.send(&publish(false, 2, "a", id, &[], b"x"));
        publisher.send(&publish(false, 4, "a", 201, &[], b"y")).send(&ack(0x62, 201));
    }
    for _ in 0..5 {
        let mut sub = Peer::connected(&broker, 3, &lasting);
        let got = sub.messages();
        for one in &got {
            sub.send(&ack(if one.qos == 2 { 0x50 } else { 0x40 }, one.id));
        }
        sub.deliver();
    }
    let mut sub = Peer::connected(&broker, 4, &lasting);
    sub.deliver();
    let packets = sub.packets();
    assert!(packets.len() <= 32, "{}", packets.len());
}

// MQTT 3.1.1: 2.3.1-4
// MQTT 5.0: 2.2.1-4
#[test]
fn packet_identifiers_wrap_around_those_in_use() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(false, "sub"));
    sub.send(&subscribe(false, &[("a", 1)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(false, "pub"));
    let one = publish(false, 2, "a", 1, &[], b"x");
    publisher.send(&one);
    let held = sub.messages()[0].id;
    for _ in 0..6_600 {
        publisher.send(&one.repeat(10)).output.clear();
        for got in sub.messages() {
            assert!(got.id != held && got.id != 0);
            sub.send(&ack(0x40, got.id));
        }
    }
}

// MQTT 5.0: 3.3.4-7
#[test]
fn more_of_qos_2_than_the_receive_maximum_is_an_error_in_5_0() {
    let broker = broker();
    for (v5, bound) in [(true, 32), (false, 2_000)] {
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        for id in 1..=bound {
            peer.send(&publish(v5, 4, "a", id, &[], b"x"));
        }
        assert!(peer.closed.is_none());
        peer.send(&publish(v5, 4, "a", bound, &[], b"x"));
        assert!(peer.closed.is_none(), "the same again is no more");
        peer.send(&publish(v5, 4, "a", bound + 1, &[], b"x"));
        assert_eq!(peer.closed.is_some(), v5);
        if v5 {
            assert_eq!(peer.end().reason_code, Some(0x93));
            peer.assert_ended(Reason::ProtocolError, "");
        }
    }
}
