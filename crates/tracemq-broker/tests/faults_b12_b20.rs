//! Hostile bytes, one test a line of the list of faults: flags, strings, topics and filters.

mod wire;

use tracemq_broker::Tick;
use tracemq_model::Reason;
use wire::{Connect, Peer, broker, connect, packet, publish, subscribe, subscribe_with, text, unsubscribe};

const BOTH: [bool; 2] = [false, true];

fn refused(connect: &Connect) -> Peer {
    let broker = broker();
    let mut peer = Peer::open(&broker, 1, Tick(0));
    peer.v5 = connect.v5;
    peer.send(&connect.bytes());
    assert!(peer.accepted.is_none(), "accepted: {:?}", connect.bytes());
    assert_eq!(broker.stats().sessions, 0);
    peer
}

/// A connected client that sends `bytes`, and what the broker holds after it.
fn ended(v5: bool, bytes: &[u8], reason: Reason, context: &str) -> Peer {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
    peer.send(bytes);
    assert!(peer.closed.is_some(), "not closed: {context}");
    peer.assert_ended(reason, context);
    let stats = broker.stats();
    assert_eq!((stats.subscriptions, stats.retained), (0, 0), "{context}");
    peer
}

// MQTT 3.1.1: 2.2.2-1, 2.2.2-2, 3.1.2-3, 3.1.4-1, 3.2.2-6, 3.3.1-2, 3.3.1-4, 3.6.1-1, 3.8.1-1, 3.8.3-4, 3.10.1-1
// MQTT 3.1.1: 3.14.1-1
// MQTT 5.0: 2.1.3-1, 3.1.2-3, 3.1.4-1, 3.1.4-2, 3.3.1-2, 3.3.1-4, 3.6.1-1, 3.8.1-1, 3.8.3-5, 3.10.1-1, 3.14.1-1
// MQTT 5.0: 3.15.1-1
#[test]
fn b12_reserved_bits_and_types_are_malformed() {
    for v5 in BOTH {
        let peer = refused(&connect(v5, "dev").flags(3));
        assert_eq!(peer.reason(), Reason::MalformedPacket);
        assert!(peer.detail().contains("[MQTT-3.1.2-3]"));
        assert_eq!(peer.output.is_empty(), !v5, "3.1.1 has no code for it");
        for kind in [4u8, 5, 6, 7, 8, 10, 12, 14] {
            let right = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            for flags in (0..16).filter(|flags| *flags != right) {
                let first = kind << 4 | flags;
                ended(v5, &[first], Reason::MalformedPacket, &format!("{first:02x} at its first byte"));
            }
        }
        for flags in [6u8, 7, 14, 15] {
            ended(v5, &[0x30 | flags], Reason::MalformedPacket, "QoS 3");
        }
        ended(v5, &publish(v5, 8, "a", 0, &[], b""), Reason::MalformedPacket, "DUP with QoS 0");
        ended(v5, &[0x00], Reason::MalformedPacket, "type 0");
    }
    ended(true, &[0xf1], Reason::MalformedPacket, "AUTH with flags");
    for options in [3u8, 0x04, 0x08, 0x10, 0x40, 0x80] {
        ended(false, &subscribe(false, &[("a", options)]), Reason::MalformedPacket, "3.1.1 options");
    }
    for options in [0x40u8, 0x80] {
        ended(true, &subscribe(true, &[("a", options)]), Reason::MalformedPacket, "5.0 options");
    }
    for (options, what) in [(0x30, "retain handling 3"), (3, "QoS 3")] {
        ended(true, &subscribe(true, &[("a", options)]), Reason::ProtocolError, what);
    }
}

// MQTT 3.1.1: 3.1.2-11, 3.1.2-13 to 3.1.2-15, 3.1.2-22
// MQTT 5.0: 3.1.2-11, 3.1.2-13, 3.1.2-12
#[test]
fn b13_wills_and_passwords_that_break_the_rules_are_refused() {
    for v5 in BOTH {
        let with = |flags: u8, topic: &str| connect(v5, "dev").will(&[], topic, "x").flags(2 | flags);
        assert_eq!(refused(&with(4 | 0x18, "w")).reason(), Reason::MalformedPacket, "will QoS 3");
        for flags in [0x20, 0x08, 0x10] {
            assert_eq!(refused(&connect(v5, "dev").flags(2 | flags)).reason(), Reason::MalformedPacket, "no will");
        }
        for topic in ["", "#", "a/#", "+", "a/+/b", "$SYS/x", "$share/g/a"] {
            assert_eq!(refused(&with(4, topic)).reason(), Reason::BadTopic, "{topic}");
        }
    }
    assert_eq!(refused(&connect(false, "dev").password("pw")).reason(), Reason::MalformedPacket);
    let mut v5 = Peer::open(&broker(), 1, Tick(0));
    v5.send(&connect(true, "dev").password("pw").bytes());
    assert!(v5.accepted.is_some(), "MQTT 5.0 allows a password alone");
}

// MQTT 3.1.1: 1.5.3-1, 1.5.3-2, 3.1.3-4, 3.1.3-10, 3.1.3-11, 3.3.2-1, 3.8.3-1, 3.10.3-1, 4.7.3-2
// MQTT 5.0: 1.5.4-1, 1.5.4-2, 1.5.7-1, 3.1.3-4, 3.1.3-11, 3.1.3-12, 3.3.2-1, 3.3.2-13, 3.3.2-19, 3.8.3-1, 3.10.2-1
// MQTT 5.0: 4.7.3-2
#[test]
fn b14_strings_that_are_no_mqtt_strings_are_refused() {
    for bad in [&b"a\0b"[..], &[0xed, 0xa0, 0x80], &[0xc0, 0x80], &[0xff], &[0xf8, 0x88, 0x80, 0x80, 0x80]] {
        let context = format!("{bad:02x?}");
        for v5 in BOTH {
            let mut id = connect(v5, "");
            id.id = bad.to_vec();
            assert_eq!(refused(&id).reason(), Reason::BadClientId, "{context}");
            assert_eq!(refused(&connect(v5, "dev").user(bad)).reason(), Reason::MalformedPacket, "{context}");
            let mut will = connect(v5, "dev").will(&[], "w", "x");
            will.will = Some((vec![], bad.to_vec(), vec![]));
            assert_eq!(refused(&will).reason(), Reason::MalformedPacket, "{context}");
            ended(v5, &publish(v5, 1, bad, 0, &[], b"x"), Reason::MalformedPacket, &context);
            let mut body = vec![0, 1];
            body.extend(v5.then_some(0));
            body.extend(text(bad));
            ended(v5, &packet(0xa2, &body), Reason::MalformedPacket, &context);
            body.push(0);
            ended(v5, &packet(0x82, &body), Reason::MalformedPacket, &context);
        }
        for id in [0x03, 0x08] {
            let block = [vec![id], text(bad)].concat();
            ended(true, &publish(true, 0, "a", 0, &block, b""), Reason::MalformedPacket, &context);
        }
        for (name, value) in [(bad, &b"v"[..]), (b"k", bad)] {
            let block = [vec![0x26], text(name), text(value)].concat();
            ended(true, &publish(true, 0, "a", 0, &block, b""), Reason::MalformedPacket, &context);
            assert_eq!(refused(&connect(true, "dev").props(&block)).reason(), Reason::MalformedPacket, "{context}");
        }
    }
}

// MQTT 3.1.1: 3.3.2-2, 4.7.1-1, 4.7.3-1
// MQTT 5.0: 3.3.2-2, 3.3.2-14, 4.7.0-1, 4.7.3-1
#[test]
fn b15_publish_topics_with_wildcards_are_never_routed_or_retained() {
    for v5 in BOTH {
        for topic in ["", "#", "a/#", "+", "a/+", "a+b", "a#"] {
            ended(v5, &publish(v5, 1, topic, 0, &[], b"x"), Reason::BadTopic, topic);
        }
    }
    for topic in ["a/#", "+", ""] {
        let block = [vec![0x08], text(topic)].concat();
        ended(true, &publish(true, 1, "a", 0, &block, b"x"), Reason::BadTopic, "response topic");
        assert_eq!(refused(&connect(true, "dev").will(&block, "w", "x")).reason(), Reason::BadTopic);
    }
}

// MQTT 3.1.1: 4.7.1-2, 4.7.1-3, 4.7.3-1
// MQTT 5.0: 4.7.1-1, 4.7.1-2, 4.7.3-1, 4.8.2-1, 4.8.2-2
#[test]
fn b16_bad_filters_are_refused_and_nothing_is_stored() {
    for v5 in BOTH {
        for filter in
            ["a/#/b", "a+", "#a", "", "$share", "$share/ab", "$share//a", "$share/g/", "$share/g+/a", "$share/#/a"]
        {
            ended(v5, &subscribe(v5, &[("good", 0), (filter, 0)]), Reason::BadTopic, filter);
            ended(v5, &unsubscribe(v5, &["good", filter]), Reason::BadTopic, filter);
        }
    }
    let peer = ended(true, &subscribe(true, &[("a/#/b", 0)]), Reason::BadTopic, "");
    assert_eq!(peer.end().reason_code, Some(0x8f));
    assert!(peer.detail().contains("\"a/#/b\"") && peer.detail().contains("[MQTT-4.7.1-1]"), "{}", peer.detail());
}

// MQTT 3.1.1: 2.3.1-1, 3.8.3-3, 3.10.3-2
// MQTT 5.0: 2.2.1-3, 3.8.3-2, 3.10.2-2
#[test]
fn b18_subscribe_and_unsubscribe_are_bounded() {
    for v5 in BOTH {
        ended(v5, &subscribe_with(v5, 0, &[], &[("a", 0)]), Reason::MalformedPacket, "id 0");
        let nothing: &[u8] = if v5 { &[0, 1, 0] } else { &[0, 1] };
        ended(v5, &packet(0x82, nothing), Reason::ProtocolError, "no filter");
        ended(v5, &packet(0xa2, nothing), Reason::ProtocolError, "no filter");
        let mut zero = unsubscribe(v5, &["a"]);
        zero[3] = 0;
        ended(v5, &zero, Reason::MalformedPacket, "id 0");
        let many = vec![("a/b", 0); 60_000];
        let peer = ended(v5, &subscribe(v5, &many), Reason::QuotaExceeded, "60,000");
        assert_eq!(peer.end().reason_code, v5.then_some(0x97));
        ended(v5, &unsubscribe(v5, &vec!["a/b"; 60_000]), Reason::QuotaExceeded, "60,000");
    }
}

#[test]
fn b19_levels_are_limited() {
    for v5 in BOTH {
        ended(v5, &publish(v5, 1, "/".repeat(65_535), 0, &[], b"x"), Reason::BadTopic, "slashes");
        ended(v5, &publish(v5, 1, "/".repeat(40), 0, &[], b"x"), Reason::BadTopic, "slashes");
        ended(v5, &subscribe(v5, &[(&"+/".repeat(32_767), 0)]), Reason::BadTopic, "pluses");
        ended(v5, &subscribe(v5, &[(&"+/".repeat(32), 0)]), Reason::BadTopic, "pluses");
    }
}

#[test]
fn b20_dollar_topics_are_plain_or_refused() {
    for v5 in BOTH {
        for topic in ["$", "$/", "$x", "$SYSTEM", "$shared/a"] {
            let broker = broker();
            let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
            sub.send(&subscribe(v5, &[("#", 0), ("+/+", 0), ("+", 0), (topic, 0)]));
            Peer::connected(&broker, 2, &connect(v5, "dev")).send(&publish(v5, 0, topic, 0, &[], b"x"));
            assert_eq!(sub.payloads(), ["x"], "{topic}: by its own filter only");
        }
        for topic in ["$SYS", "$SYS/broker", "$share", "$share/g/a"] {
            ended(v5, &publish(v5, 1, topic, 0, &[], b"x"), Reason::BadTopic, topic);
        }
    }
}
