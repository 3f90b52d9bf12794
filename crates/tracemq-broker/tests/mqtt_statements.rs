//! Statements of MQTT 3.1.1 and 5.0 that no other test is about, each under its number; `docs/conformance.md` has them
//! all. Where both versions say the same, the number of 3.1.1 stands first.

mod wire;

use tracemq_broker::Tick;
use tracemq_model::Reason;
use wire::{Peer, ack, broker, connect, packet, publish, subscribe, subscribe_with, unsubscribe};

const BOTH: [bool; 2] = [false, true];

// MQTT 3.1.1: 1.5.3-3
// MQTT 5.0: 1.5.4-3
#[test]
fn mqtt_1_5_3_3_a_byte_order_mark_is_a_character_like_others() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("\u{feff}a", 0)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 0, "a", 0, &[], b"1")).send(&publish(v5, 0, "\u{feff}a", 0, &[], b"2"));
        let got = sub.messages();
        assert_eq!((got.len(), &*got[0].topic), (1, "\u{feff}a"));
    }
}

// MQTT 3.1.1: 2.3.1-6, 2.3.1-7, 3.8.4-1, 3.8.4-2, 3.10.4-2, 3.10.4-4 to 3.10.4-6
// MQTT 5.0: 2.2.1-5, 2.2.1-6, 3.8.4-1, 3.8.4-2, 3.10.4-2, 3.10.4-4 to 3.10.4-6, 3.11.3-1, 3.11.3-2
#[test]
fn mqtt_2_3_1_6_and_7_acknowledgements_carry_the_identifier_of_what_they_answer() {
    for v5 in BOTH {
        let broker = broker();
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        for (bytes, reply) in [
            (publish(v5, 2, "a", 0x1234, &[], b""), 0x40),
            (publish(v5, 4, "a", 0x1234, &[], b""), 0x50),
            (ack(0x62, 0x1234), 0x70),
            (subscribe_with(v5, 0x1234, &[], &[("a", 0)]), 0x90),
        ] {
            peer.send(&bytes);
            let (first, body) = peer.packets().remove(0);
            assert_eq!((first, &body[..2]), (reply, &[0x12, 0x34][..]));
        }
        peer.send(&unsubscribe(v5, &["a"]));
        assert_eq!(peer.packets().remove(0).1[..2], [0, 78]);
    }
}

// MQTT 3.1.1: 3.1.2-7
#[test]
fn mqtt_3_1_2_7_retained_messages_outlive_the_session_of_their_publisher() {
    for v5 in BOTH {
        let broker = broker();
        let mut publisher = Peer::connected(&broker, 1, &connect(v5, "pub"));
        publisher.send(&publish(v5, 1, "a", 0, &[], b"kept"));
        publisher.link.gone(Tick(0));
        let mut sub = Peer::connected(&broker, 2, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 0)]));
        assert_eq!(sub.payloads(), ["kept"]);
    }
}

// MQTT 3.1.1: 3.1.2-16, 3.1.2-17
// MQTT 5.0: 3.1.2-14, 3.1.2-15
#[test]
fn mqtt_3_1_2_16_and_17_a_will_is_retained_when_it_says_so() {
    for v5 in BOTH {
        for retain in [false, true] {
            let broker = broker();
            let mut hello = connect(v5, "dying").will(&[], "will", "gone");
            hello.flags |= if retain { 0x20 } else { 0 };
            Peer::connected(&broker, 1, &hello).link.gone(Tick(0));
            let mut late = Peer::connected(&broker, 2, &connect(v5, "late"));
            late.send(&subscribe(v5, &[("will", 0)]));
            assert_eq!(late.payloads().len(), usize::from(retain));
        }
    }
}

// MQTT 3.1.1: 3.1.2-9
// MQTT 5.0: 3.1.2-12
#[test]
fn mqtt_3_1_2_9_a_will_has_the_qos_that_it_says() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("will", 2)]));
        let mut hello = connect(v5, "dying").will(&[], "will", "gone");
        hello.flags |= 2 << 3;
        Peer::connected(&broker, 2, &hello).link.gone(Tick(0));
        assert_eq!(sub.messages()[0].qos, 2);
    }
}

// MQTT 3.1.1: 3.1.4-5
// MQTT 5.0: 3.1.4-6
#[test]
fn mqtt_3_1_4_5_what_comes_behind_a_refused_connect_has_no_effect() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 0)]));
        let mut refused = Peer::open(&broker, 2, Tick(0));
        refused.refuse = Some(Reason::BadCredentials);
        refused.send(&[connect(v5, "dev").bytes(), publish(v5, 1, "a", 0, &[], b"x")].concat());
        assert_eq!(refused.reason(), Reason::BadCredentials);
        assert!(sub.payloads().is_empty());
        assert_eq!((broker.stats().retained, broker.stats().sessions), (0, 1));
    }
}

// MQTT 3.1.1: 3.2.0-1
// MQTT 5.0: 3.2.0-1
#[test]
fn mqtt_3_2_0_1_connack_is_the_first_packet_also_when_messages_wait() {
    for v5 in BOTH {
        let broker = broker();
        let lasting = connect(v5, "sub").lasting(100);
        Peer::connected(&broker, 1, &lasting).send(&subscribe(v5, &[("a", 1)]));
        Peer::connected(&broker, 2, &connect(v5, "pub")).send(&publish(v5, 2, "a", 1, &[], b"x"));
        let mut back = Peer::open(&broker, 3, Tick(0));
        back.v5 = v5;
        back.deliver().send(&lasting.bytes()).deliver();
        assert_eq!(back.packets().iter().map(|packet| packet.0 >> 4).collect::<Vec<_>>(), [2, 3]);
    }
}

// MQTT 3.1.1: 3.1.4-3, 3.1.4-4, 3.2.2-1 to 3.2.2-4
// MQTT 5.0: 3.1.2-4, 3.1.2-6, 3.1.4-4, 3.1.4-5, 3.2.2-1 to 3.2.2-3, 3.2.2-6
#[test]
fn mqtt_3_2_2_1_to_4_session_present_is_set_only_when_a_session_is_resumed() {
    for v5 in BOTH {
        let broker = broker();
        let flag = |clean: bool, refuse: bool| {
            let mut hello = connect(v5, "dev").lasting(100);
            hello.flags |= if clean { 2 } else { 0 };
            let mut peer = Peer::open(&broker, 1, Tick(0));
            peer.v5 = v5;
            peer.refuse = refuse.then_some(Reason::NotAuthorized);
            peer.send(&hello.bytes());
            let connack = peer.packets().remove(0).1;
            (connack[0], connack[1] == 0)
        };
        assert_eq!(flag(false, false), (0, true), "there was none");
        assert_eq!(flag(false, false), (1, true));
        assert_eq!(flag(false, true), (0, false), "refused [MQTT-3.2.2-4, 5.0: 3.2.2-6]");
        assert_eq!(flag(true, false), (0, true), "clean");
    }
}

// MQTT 3.1.1: 3.3.1-3
// MQTT 5.0: 3.3.1-3
#[test]
fn mqtt_3_3_1_3_dup_of_a_publication_is_not_passed_on() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1)]));
        Peer::connected(&broker, 2, &connect(v5, "pub")).send(&publish(v5, 0x0a, "a", 1, &[], b"x"));
        assert!(!sub.messages()[0].dup);
    }
}

// MQTT 3.1.1: 3.3.1-7, 3.3.1-12
// MQTT 5.0: 3.3.1-8
#[test]
fn mqtt_3_3_1_7_a_retained_message_of_qos_0_takes_the_place_of_the_one_before() {
    for v5 in BOTH {
        let broker = broker();
        let mut publisher = Peer::connected(&broker, 1, &connect(v5, "pub"));
        publisher.send(&publish(v5, 3, "a", 1, &[], b"old")).send(&publish(v5, 1, "a", 0, &[], b"new"));
        publisher.send(&publish(v5, 0, "a", 0, &[], b"not retained"));
        let mut sub = Peer::connected(&broker, 2, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1)]));
        assert_eq!(sub.payloads(), ["new"]);
    }
}

// MQTT 3.1.1: 3.8.4-3
// MQTT 5.0: 3.8.4-3, 3.8.4-4
#[test]
fn mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription_and_sends_retained_messages_again() {
    for v5 in BOTH {
        let broker = broker();
        let mut publisher = Peer::connected(&broker, 1, &connect(v5, "pub"));
        publisher.send(&publish(v5, 3, "a", 1, &[], b"kept"));
        let mut sub = Peer::connected(&broker, 2, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1)])).send(&subscribe(v5, &[("a", 0)]));
        assert_eq!(sub.payloads(), ["kept", "kept"]);
        publisher.send(&publish(v5, 2, "a", 2, &[], b"live"));
        let got = sub.messages();
        assert_eq!((got.len(), got[0].qos, broker.stats().subscriptions), (1, 0, 1));
    }
}

// MQTT 3.1.1: 3.8.4-4, 3.8.4-5, 3.9.3-1, 3.9.3-2
// MQTT 5.0: 3.8.4-5 to 3.8.4-7, 3.9.3-1, 3.9.3-2
#[test]
fn mqtt_3_8_4_5_and_3_9_3_1_a_suback_has_a_code_for_each_filter_in_their_order() {
    for v5 in BOTH {
        let broker = broker();
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        peer.send(&subscribe(v5, &[("a", 2), ("b", 0), ("c", 1)]));
        let suback = peer.packets().remove(0).1;
        assert_eq!(suback[suback.len() - 3..], [2, 0, 1]);
    }
}

// MQTT 3.1.1: 3.10.4-1
// MQTT 5.0: 3.10.4-1
#[test]
fn mqtt_3_10_4_1_a_filter_is_taken_off_only_by_its_own_text() {
    for v5 in BOTH {
        let broker = broker();
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        peer.send(&subscribe(v5, &[("a/+", 0)])).send(&unsubscribe(v5, &["a/b", "a/#", "a", "A/+"]));
        assert_eq!(broker.stats().subscriptions, 1);
    }
}

// MQTT 3.1.1: 3.10.4-3
// MQTT 5.0: 3.10.4-3
#[test]
fn mqtt_3_10_4_3_what_was_begun_is_completed_after_unsubscribe() {
    for v5 in BOTH {
        let broker = broker();
        let lasting = connect(v5, "sub").lasting(100);
        let mut sub = Peer::connected(&broker, 1, &lasting);
        sub.send(&subscribe(v5, &[("a", 2)]));
        Peer::connected(&broker, 2, &connect(v5, "pub")).send(&publish(v5, 4, "a", 1, &[], b"x"));
        let id = sub.messages()[0].id;
        sub.send(&unsubscribe(v5, &["a"])).packets();
        sub.link.gone(Tick(0));
        let mut sub = Peer::connected(&broker, 3, &lasting);
        assert_eq!(sub.messages()[0].id, id);
        sub.send(&ack(0x50, id)).send(&ack(0x70, id));
        assert!(sub.closed.is_none());
    }
}

// MQTT 3.1.1: 3.12.4-1
// MQTT 5.0: 3.12.4-1
#[test]
fn mqtt_3_12_4_1_pingreq_is_answered() {
    for v5 in BOTH {
        let mut peer = Peer::connected(&broker(), 1, &connect(v5, "dev"));
        peer.send(&packet(0xc0, &[]));
        assert_eq!(peer.packets(), [(0xd0, vec![])]);
    }
}

// MQTT 3.1.1: 4.6.0-2 to 4.6.0-4
// MQTT 5.0: 4.6.0-1 to 4.6.0-4
#[test]
fn mqtt_4_6_0_2_to_4_acknowledgements_keep_the_order_of_what_they_answer() {
    for v5 in BOTH {
        let broker = broker();
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        let order = [7_u16, 3, 9, 1];
        for id in order {
            peer.send(&publish(v5, 4, "a", id, &[], b""));
        }
        for id in order {
            peer.send(&publish(v5, 2, "a", id + 10, &[], b""));
        }
        let ids = |peer: &mut Peer| peer.packets().iter().map(|(_, body)| u16::from(body[1])).collect::<Vec<_>>();
        assert_eq!(ids(&mut peer), [7, 3, 9, 1, 17, 13, 19, 11]);

        let mut sub = Peer::connected(&broker, 2, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("b", 2)])).packets();
        for id in 30..34 {
            peer.send(&publish(v5, 4, "b", id, &[], b""));
        }
        let got: Vec<u16> = sub.messages().iter().map(|got| got.id).collect();
        for at in [2, 0, 3, 1] {
            sub.send(&ack(0x50, got[at]));
        }
        assert_eq!(ids(&mut sub), [got[2], got[0], got[3], got[1]], "PUBREL follows PUBREC [MQTT-4.6.0-4]");
    }
}

// MQTT 3.1.1: 4.7.3-4
// MQTT 5.0: 4.7.3-4
#[test]
fn mqtt_4_7_3_4_topics_are_compared_byte_by_byte() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("caf\u{e9}", 0), ("Fleet", 0), ("/x", 0)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for topic in ["cafe\u{301}", "fleet", "x", "/x/", "caf\u{e9}"] {
            publisher.send(&publish(v5, 0, topic, 0, &[], topic.as_bytes()));
        }
        assert_eq!(sub.payloads(), ["caf\u{e9}"]);
    }
}

// MQTT 3.1.1: 3.1.3-5, 3.1.3-9
// MQTT 5.0: 3.1.3-5, 3.1.3-8
#[test]
fn mqtt_3_1_3_5_and_9_client_identifiers_of_23_characters_are_taken_and_too_long_ones_refused() {
    for v5 in BOTH {
        let broker = broker();
        for id in ["0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ0123456"] {
            Peer::connected(&broker, 1, &connect(v5, id));
        }
        let mut peer = Peer::open(&broker, 2, Tick(0));
        peer.send(&connect(v5, &"x".repeat(257)).bytes());
        assert_eq!(peer.packets().remove(0).1[..2], [0, if v5 { 0x85 } else { 2 }]);
        assert_eq!(peer.reason(), Reason::BadClientId);
    }
}
