//! Hostile bytes, one test a line of the list of faults: framing, order of packets, properties.

mod wire;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::{ClientId, Reason};
use wire::{Peer, ack, broker, connect, packet, props, publish, subscribe, subscribe_with, text};

const BOTH: [bool; 2] = [false, true];

// MQTT 3.1.1: 2.3.1-1
// MQTT 5.0: 2.2.1-3
#[test]
fn b01_publish_with_packet_id_0_is_malformed() {
    for v5 in BOTH {
        for flags in [2, 4, 0x0a, 0x0c] {
            let mut peer = Peer::connected(&broker(), 1, &connect(v5, "dev"));
            peer.send(&publish(v5, flags, "a", 0, &[], b"x"));
            peer.assert_ended(Reason::MalformedPacket, "packet id 0");
            assert!(peer.detail().contains("[MQTT-2.2.1-3]") && peer.detail().contains("PUBLISH"), "{}", peer.detail());
        }
    }
}

// MQTT 5.0: 1.5.5-1
#[test]
fn b02_a_length_of_five_bytes_ends_it_at_the_fourth_and_hides_nothing() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 0)]));
        let mut peer = Peer::connected(&broker, 2, &connect(v5, "dev"));
        peer.send(&[0x30, 0x80, 0x80, 0x80]);
        assert!(peer.closed.is_none());
        peer.send(&[0x80]);
        assert!(peer.closed.is_some(), "closed at the fourth length byte");
        let mut hidden = vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01];
        hidden.extend(publish(v5, 0, "a", 0, &[], b"hidden"));
        let mut peer = Peer::connected(&broker, 3, &connect(v5, "dev2"));
        peer.send(&hidden).send(&publish(v5, 0, "a", 0, &[], b"later"));
        peer.assert_ended(Reason::MalformedPacket, "five bytes");
        assert!(sub.payloads().is_empty());
        let mut first = Peer::open(&broker, 4, Tick(0));
        first.send(&[0x10, 0x80, 0x80, 0x80, 0x80, 0x01]).send(&connect(v5, "x").bytes());
        assert_eq!((first.reason(), first.output.len()), (Reason::MalformedPacket, 0));
    }
}

#[test]
fn b03_a_huge_announcement_is_closed_at_the_length_byte() {
    let broker = broker();
    let mut peers = Vec::new();
    for connection in 0..1000 {
        let mut peer = Peer::open(&broker, connection, Tick(0));
        peer.send(&[0x10, 0xff, 0xff, 0xff]);
        assert!(peer.closed.is_none());
        peer.send(&[0x7f]);
        assert_eq!(peer.reason(), Reason::PacketTooLarge);
        assert!(peer.input.capacity() < 1024 && peer.output.is_empty());
        peers.push(peer);
    }
    let mut peer = Peer::connected(&broker, 5000, &connect(true, "dev"));
    peer.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    peer.assert_ended(Reason::PacketTooLarge, "connected");
    assert_eq!(peer.end().reason_code, Some(0x95));
}

// MQTT 3.1.1: 3.1.0-1
// MQTT 5.0: 3.1.0-1
#[test]
fn b04_what_does_not_begin_with_connect_is_closed_at_once_without_a_reply() {
    for first in 0..=255u8 {
        if first == 0x10 {
            continue;
        }
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&[first, 0xff]); // the second byte is no part of any length, verb or TLS version
        assert!(peer.closed.is_some(), "{first:02x}");
        assert!(peer.output.is_empty() && peer.link.request().is_none());
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&[first]);
        let undecided = b"GPHDOTC".contains(&first) || first == 0x16;
        assert_eq!(peer.closed.is_none(), undecided, "{first:02x}");
    }
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n"[..], Reason::HttpOnMqttPort),
        (b"POST /mqtt HTTP/1.1\r\n", Reason::HttpOnMqttPort),
        (b"PRI * HTTP/2.0\r\n", Reason::HttpOnMqttPort),
        (&[0x16, 0x03, 0x01, 0x02, 0x00], Reason::TlsOnPlainPort),
        (&[0x30, 0x03, 0, 1, b'a'], Reason::ProtocolError),
        (&[0xe0, 0x00], Reason::ProtocolError),
        (&[0x00, 0x00], Reason::MalformedPacket),
        (&[0x11, 0x00], Reason::MalformedPacket),
    ] {
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(bytes);
        assert_eq!((peer.reason(), peer.output.len()), (reason, 0), "{bytes:?}");
    }
}

#[test]
fn b05_acknowledgements_and_subscribe_before_connect_touch_no_session() {
    for v5 in BOTH {
        let broker = broker();
        Peer::connected(&broker, 1, &connect(v5, "victim").lasting(100));
        for bytes in [ack(0x40, 1), ack(0x50, 1), ack(0x62, 1), ack(0x70, 1), subscribe(v5, &[("a", 0)])] {
            let mut peer = Peer::open(&broker, 2, Tick(0));
            peer.send(&bytes).send(&connect(v5, "victim").bytes());
            assert_eq!((peer.reason(), peer.output.len()), (Reason::ProtocolError, 0));
        }
        assert_eq!((broker.stats().sessions, broker.stats().subscriptions, broker.stats().connections), (1, 0, 0));
    }
}

// MQTT 3.1.1: 4.8.0-1, 4.8.0-2
#[test]
fn b06_what_only_a_server_sends_is_a_protocol_error() {
    for v5 in BOTH {
        for bytes in [&[0x20, 2, 0, 0][..], &[0x90, 3, 0, 1, 0], &[0xb0, 2, 0, 1], &[0xd0, 0]] {
            let mut peer = Peer::open(&broker(), 1, Tick(0));
            peer.send(bytes);
            assert_eq!(peer.reason(), Reason::ProtocolError, "{bytes:?}");
            let mut peer = Peer::connected(&broker(), 1, &connect(v5, "dev"));
            peer.send(bytes);
            peer.assert_ended(Reason::ProtocolError, "server packet");
        }
    }
    let mut peer = Peer::connected(&broker(), 1, &connect(true, "dev"));
    peer.send(&[0xf0, 0]);
    peer.assert_ended(Reason::ProtocolError, "AUTH");
    let mut peer = Peer::connected(&broker(), 1, &connect(false, "dev"));
    peer.send(&[0xf0, 0]);
    peer.assert_ended(Reason::MalformedPacket, "type 15 in 3.1.1");
}

// MQTT 3.1.1: 3.1.0-2
// MQTT 5.0: 3.1.0-2
#[test]
fn b07_a_second_connect_is_a_protocol_error_and_the_session_lives() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("will", 0)]));
        let lasting = connect(v5, "dev").lasting(100);
        let mut peer = Peer::connected(&broker, 2, &lasting.clone().will(&[], "will", "dead"));
        peer.send(&subscribe(v5, &[("a", 1)])).send(&lasting.bytes());
        peer.assert_ended(Reason::ProtocolError, "second CONNECT");
        assert!(peer.detail().contains("[MQTT-3.1.0-2]"));
        assert_eq!(sub.payloads(), ["dead"]);
        assert_eq!(broker.stats().subscriptions, 2);
        assert!(Peer::connected(&broker, 3, &lasting).accepted.unwrap().session_present);
    }
}

// MQTT 5.0: 2.2.2-1
#[test]
fn b08_property_lengths_that_lie_are_malformed() {
    let good = [0x11, 0, 0, 0, 9];
    for length in [vec![4], vec![6], vec![0x80, 0x80, 0x80, 0x80, 0x01], vec![0xff, 0xff, 0xff, 0x7f], vec![0x85, 0x00]]
    {
        let mut body = text("MQTT");
        body.extend([5, 2, 0, 60]);
        body.extend(&length);
        body.extend(good);
        body.extend(text("dev"));
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&packet(0x10, &body));
        assert_eq!((peer.reason(), peer.end().reason_code), (Reason::MalformedPacket, Some(0x81)), "{length:?}");
        let mut body = text("a");
        body.extend(&length);
        body.extend([0x02, 0, 0, 0]);
        let mut peer = Peer::connected(&broker(), 1, &connect(true, "dev"));
        peer.send(&packet(0x30, &body));
        peer.assert_ended(Reason::MalformedPacket, "PUBLISH");
    }
}

/// Every property of the standard, with a value that it may have.
fn every_property() -> Vec<(u8, Vec<u8>)> {
    let value = |id: u8| -> Vec<u8> {
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => vec![1],
            0x02 | 0x11 | 0x18 | 0x27 => vec![0, 0, 1, 0],
            0x0b => vec![1],
            0x13 | 0x21 | 0x22 | 0x23 => vec![0, 9],
            0x26 => [text("k"), text("v")].concat(),
            _ => text("x"),
        }
    };
    let ids = [
        1, 2, 3, 8, 9, 0x0b, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x23, 0x24,
        0x25, 0x26, 0x27, 0x28, 0x29, 0x2a,
    ];
    ids.map(|id| (id, [vec![id], value(id)].concat())).to_vec()
}

fn with_ack_block(first: u8, block: &[u8]) -> Vec<u8> {
    packet(first, &[vec![0, 1, 0], props(block)].concat())
}

// MQTT 5.0: 3.3.4-6
#[test]
fn b09_properties_out_of_place_or_twice_are_protocol_errors() {
    type Build = fn(&[u8]) -> Vec<u8>;
    let places: [(&str, &[u8], Build); 8] = [
        ("PUBLISH", &[1, 2, 3, 8, 9, 0x23, 0x26], |block| publish(true, 0, "a", 0, block, b"")),
        ("PUBACK", &[0x1f, 0x26], |block| with_ack_block(0x40, block)),
        ("PUBREC", &[0x1f, 0x26], |block| with_ack_block(0x50, block)),
        ("PUBREL", &[0x1f, 0x26], |block| with_ack_block(0x62, block)),
        ("PUBCOMP", &[0x1f, 0x26], |block| with_ack_block(0x70, block)),
        ("SUBSCRIBE", &[0x0b, 0x26], |block| subscribe_with(true, 1, block, &[("a", 0)])),
        ("UNSUBSCRIBE", &[0x26], |block| packet(0xa2, &[vec![0, 1], props(block), text("a")].concat())),
        ("DISCONNECT", &[0x11, 0x1f, 0x26], |block| packet(0xe0, &[vec![0], props(block)].concat())),
    ];
    let broker = broker();
    for (name, allowed, build) in places {
        for (id, one) in every_property() {
            let context = format!("{name} 0x{id:02x}");
            let fresh = || Peer::connected(&broker, 1, &connect(true, "dev").lasting(300));
            let mut peer = fresh();
            peer.send(&build(&one));
            if allowed.contains(&id) {
                assert!(peer.closed.is_none() || name == "DISCONNECT", "{context}: {:?}", peer.closed);
            } else {
                peer.assert_ended(Reason::ProtocolError, &context);
            }
            let mut peer = fresh();
            peer.send(&build(&[one.clone(), one.clone()].concat()));
            if id == 0x26 {
                assert!(peer.closed.is_none() || name == "DISCONNECT", "{context} twice");
            } else {
                peer.assert_ended(Reason::ProtocolError, &format!("{context} twice"));
            }
        }
    }
    assert_eq!(broker.stats().connections, 0);
}

#[test]
fn b09_properties_of_connect_and_will_too_ten_thousand_times() {
    let broker = broker();
    let connect_allowed = [0x11, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27];
    let will_allowed = [1, 2, 3, 8, 9, 0x18, 0x26];
    let mut tries = 0;
    while tries < 10_000 {
        for (id, one) in every_property() {
            for twice in BOTH {
                let block = if twice { [one.clone(), one.clone()].concat() } else { one.clone() };
                for (allowed, connect) in [
                    (&connect_allowed, connect(true, "dev").props(&block)),
                    (&will_allowed, connect(true, "dev").will(&block, "w", "x")),
                ] {
                    let mut peer = Peer::open(&broker, 1, Tick(0));
                    peer.send(&connect.bytes());
                    let good = allowed.contains(&id) && (!twice || id == 0x26);
                    assert_eq!(peer.accepted.is_some(), good, "0x{id:02x} twice {twice}: {:?}", peer.closed);
                    if !good && id != 0x15 && id != 0x16 {
                        assert_eq!((peer.reason(), peer.end().reason_code), (Reason::ProtocolError, Some(0x82)));
                        assert_eq!(peer.link.request().unwrap().client, ClientId::new("dev").ok());
                    }
                    tries += 1;
                }
            }
        }
    }
    let stats = broker.stats();
    assert_eq!((stats.sessions, stats.connections, stats.subscriptions), (0, 0, 0), "no leak");
}

/// Processor time that `work` takes of this thread: what else the machine does is not in it.
fn cpu_time(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("the clock of a thread begins at 0")
    };
    let begun = now();
    work();
    now() - begun
}

/// In pieces, as a network brings them.
fn trickle(peer: &mut Peer, bytes: &[u8]) {
    for piece in bytes.chunks(1_448) {
        peer.send(piece);
    }
}

fn user_properties(count: usize) -> Vec<u8> {
    [vec![0x26], text("k"), text("v")].concat().repeat(count)
}

#[test]
fn b10_sixty_thousand_user_properties_are_refused_in_no_time() {
    const CPU_MAX: Duration = Duration::from_millis(50); // also unoptimised, where it takes half a millisecond
    let many = user_properties(60_000);
    for connect in [connect(true, "dev").props(&many), connect(true, "dev").will(&many, "w", "x")] {
        let bytes = connect.bytes();
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        let took = cpu_time(|| trickle(&mut peer, &bytes));
        assert_eq!((peer.reason(), peer.end().reason_code), (Reason::PacketTooLarge, Some(0x95)));
        assert_eq!(peer.link.request().unwrap().client, ClientId::new("dev").ok());
        assert!(took < CPU_MAX, "CONNECT: {took:?}");
    }
    let bytes = publish(true, 0, "a", 0, &many, b"");
    let mut peer = Peer::connected(&broker(), 1, &connect(true, "dev"));
    let took = cpu_time(|| trickle(&mut peer, &bytes));
    peer.assert_ended(Reason::PacketTooLarge, "PUBLISH");
    assert!(took < CPU_MAX, "PUBLISH: {took:?}");
}

#[test]
fn b10_where_they_are_allowed_they_take_linear_time() {
    let cost = |publishing: bool, count: usize| {
        let many = user_properties(count);
        let broker = Broker::new(Limits { user_properties_max: count, ..Limits::default() });
        let (mut peer, bytes) = if publishing {
            (Peer::connected(&broker, 1, &connect(true, "dev")), publish(true, 0, "a", 0, &many, b""))
        } else {
            (Peer::open(&broker, 1, Tick(0)), connect(true, "dev").props(&many).bytes())
        };
        let took = cpu_time(|| trickle(&mut peer, &bytes));
        assert!(peer.accepted.is_some() && peer.closed.is_none(), "{:?}", peer.closed);
        took
    };
    for publishing in [false, true] {
        // The best of five each: what shares the machine's caches makes some slower than the work is.
        let best = |count| (0..5).map(|_| cost(publishing, count)).min().unwrap();
        let (some, tenfold) = (best(6_000), best(60_000));
        assert!(tenfold < 20 * some, "PUBLISH {publishing}: {some:?} for 6,000, {tenfold:?} for 60,000");
    }
}

#[test]
fn b11_a_will_with_properties_as_the_very_first_ends_in_every_way() {
    for (id, one) in every_property() {
        if ![1, 2, 3, 8, 9, 0x18, 0x26].contains(&id) {
            continue;
        }
        for leave in [&[0xe0, 0][..], &[0xe0, 1, 4], &[0xe0, 1, 0x80], &[0x00, 0x00], &[]] {
            let broker = broker();
            let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").will(&one, "w", "x").lasting(1));
            peer.send(leave);
            peer.link.gone(Tick(5));
            peer.link.gone(Tick(6));
            broker.expire(Tick(1_000_000));
            assert_eq!((broker.stats().sessions, broker.stats().connections), (0, 0));
        }
    }
}
