//! Statements of MQTT 5.0 that no other test is about, each under its number; `docs/conformance.md` has them all.

mod wire;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::{End, Reason};
use wire::{Peer, ack, broker, connect, packet, publish, subscribe, text, unsubscribe};

// MQTT 5.0: 3.1.2-5, 3.1.2-23
#[test]
fn mqtt5_3_1_2_11_2_a_session_with_expiry_0_ends_with_its_connection() {
    let broker = broker();
    let mut hello = connect(true, "dev");
    hello.flags = 0;
    Peer::connected(&broker, 1, &hello).link.gone(Tick(0));
    assert_eq!(broker.stats().sessions, 0);
}

// MQTT 5.0: 3.1.2-24
#[test]
fn mqtt5_3_1_2_25_and_3_3_4_7_nothing_above_the_clients_limits_is_sent() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x27, 0, 0, 0, 30, 0x21, 0, 2]));
    sub.send(&subscribe(true, &[("a", 2)])).packets();
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for (id, length) in [(1, 5), (2, 50), (3, 5), (4, 5)] {
        publisher.send(&publish(true, 2, "a", id, &[], &vec![b'x'; length]));
    }
    sub.deliver();
    let packets = sub.packets();
    assert!(packets.iter().all(|(_, body)| body.len() + 2 <= 30));
    assert_eq!(packets.len(), 2);
}

// MQTT 5.0: 3.2.2-21
#[test]
fn mqtt5_3_2_2_21_the_server_keep_alive_is_the_one_that_is_watched() {
    let broker = broker();
    let mut peer = Peer::open(&broker, 1, Tick(0));
    peer.v5 = true;
    peer.send(&connect(true, "dev").keep_alive(0).bytes());
    let connack = peer.packets().remove(0).1;
    assert!(connack.windows(3).any(|part| part == [0x13, 0x0e, 0x10]), "3600 s: {connack:?}");
    assert_eq!(peer.link.deadline(), Some(Tick(5_400_000)));
}

// MQTT 5.0: 3.3.2-15 to 3.3.2-18, 3.3.2-20
#[test]
fn mqtt5_3_3_2_4_to_20_properties_go_to_the_subscriber_as_they_came_and_in_their_order() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("a", 0)]));
    let pair = |name: &str, value: &str| [vec![0x26], text(name), text(value)].concat();
    let users = [pair("b", "1"), pair("a", "2"), pair("b", "3")].concat();
    let block =
        [vec![0x01, 1, 0x09, 0, 2, 7, 8, 0x08], text("reply"), vec![0x03], text("text/plain"), users.clone()].concat();
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 0, "a", 0, &block, b"x"));
    let got = sub.messages().remove(0).props;
    for part in [&[0x01, 1][..], &[0x09, 0, 2, 7, 8], &[&[0x08][..], &text("reply")].concat(), &users] {
        assert!(got.windows(part.len()).any(|window| window == part), "{part:?} in {got:?}");
    }
    assert_eq!(got.len(), block.len());
}

// MQTT 5.0: 3.1.2-10, 3.14.4-3
#[test]
fn mqtt5_3_14_4_3_and_3_1_2_10_a_normal_disconnect_takes_the_will_away_and_with_will_it_does_not() {
    for (body, published) in [(&[][..], 0), (&[0], 0), (&[4], 1), (&[4, 0], 1)] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
        sub.send(&subscribe(true, &[("will", 0)]));
        Peer::connected(&broker, 2, &connect(true, "dev").will(&[], "will", "x")).send(&packet(0xe0, body));
        assert_eq!(sub.payloads().len(), published, "{body:?}");
    }
}

// MQTT 5.0: 3.3.4-10, 4.9.0-3
#[test]
fn mqtt5_4_9_0_2_what_is_not_a_publication_is_sent_also_without_credit() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x21, 0, 1]));
    sub.send(&subscribe(true, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for id in 1..=3 {
        publisher.send(&publish(true, 2, "a", id, &[], b"x"));
    }
    assert_eq!(sub.messages().len(), 1);
    sub.send(&packet(0xc0, &[])).send(&subscribe(true, &[("b", 0)]));
    assert_eq!(sub.packets().iter().map(|packet| packet.0).collect::<Vec<_>>(), [0xd0, 0x90]);
}

// MQTT 5.0: 4.13.1-1, 4.13.2-1
#[test]
fn mqtt5_4_13_1_1_a_malformed_packet_ends_the_connection_with_its_code() {
    let mut peer = Peer::connected(&broker(), 1, &connect(true, "dev"));
    peer.send(&[0x82, 2, 0, 0]);
    peer.assert_ended(Reason::MalformedPacket, "");
    assert_eq!(peer.end().reason_code, Some(0x81));
}

// MQTT 5.0: 4.12.0-1
#[test]
fn mqtt5_4_12_0_1_an_authentication_method_is_refused_as_not_supported() {
    let mut peer = Peer::open(&broker(), 1, Tick(0));
    peer.send(&connect(true, "dev").props(&[&[0x15][..], &text("SCRAM-SHA-1")].concat()).bytes());
    assert_eq!(peer.packets().remove(0).1[..2], [0, 0x8c]);
    assert_eq!(peer.reason(), Reason::NotAuthorized);
}

// MQTT 5.0: 3.1.3-10
#[test]
fn mqtt5_3_1_3_10_user_properties_of_a_will_keep_their_order() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("will", 0)]));
    let pair = |name: &str, value: &str| [vec![0x26], text(name), text(value)].concat();
    let users = [pair("b", "1"), pair("a", "2"), pair("b", "1")].concat();
    Peer::connected(&broker, 2, &connect(true, "dev").will(&users, "will", "x")).link.gone(Tick(0));
    assert_eq!(sub.messages().remove(0).props, users);
}

// MQTT 5.0: 3.2.0-2
#[test]
fn mqtt5_3_2_0_2_a_second_connect_gets_no_second_connack() {
    let mut peer = Peer::connected(&broker(), 1, &connect(true, "dev"));
    peer.send(&connect(true, "dev").bytes());
    assert_eq!(peer.packets().iter().map(|packet| packet.0).collect::<Vec<_>>(), [0xe0]);
}

// MQTT 5.0: 3.2.2-16
#[test]
fn mqtt5_3_2_2_16_an_assigned_identifier_is_nobody_elses() {
    let broker = broker();
    let assigned = |number: u128| {
        let mut peer = Peer::connected(&broker, number, &connect(true, "").lasting(100));
        let assigned = peer.accepted.take().and_then(|accepted| accepted.assigned);
        peer.link.gone(Tick(0));
        assigned.map(|id| id.as_str().to_owned())
    };
    assert!(assigned(1).is_some());
    assert_ne!(assigned(2), assigned(3));
    assert_eq!(broker.stats().sessions, 3);
}

// MQTT 5.0: 3.14.0-1, 3.14.2-2, 3.14.4-1
#[test]
fn mqtt5_3_14_0_1_and_3_14_4_1_a_disconnect_is_sent_to_who_was_accepted_says_no_expiry_and_is_the_last() {
    let broker = broker();
    let mut refused = Peer::open(&broker, 1, Tick(0));
    refused.v5 = true;
    refused.refuse = Some(Reason::NotAuthorized);
    refused.send(&connect(true, "dev").bytes());
    assert_eq!(refused.packets().iter().map(|packet| packet.0).collect::<Vec<_>>(), [0x20]);

    let mut peer = Peer::connected(&broker, 2, &connect(true, "dev").lasting(100));
    peer.send(&subscribe(true, &[("a", 0)])).packets();
    let mut publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
    publisher.send(&publish(true, 0, "a", 0, &[], b"1"));
    broker.shut_down(End::of(Reason::ServerShutdown));
    publisher.send(&publish(true, 0, "a", 0, &[], b"2"));
    peer.deliver().deliver();
    let packets = peer.packets();
    assert_eq!(packets.last().unwrap().1, [0x8b, 0], "no expiry [MQTT-3.14.2-2]");
    assert_eq!(packets.iter().filter(|packet| packet.0 == 0xe0).count(), 1);
}

// MQTT 5.0: 3.4.2-2, 3.4.2-3, 3.5.2-2, 3.5.2-3, 3.6.2-2, 3.6.2-3, 3.7.2-2, 3.7.2-3, 3.9.2-1, 3.9.2-2, 3.11.2-1
// MQTT 5.0: 3.11.2-2
#[test]
fn mqtt5_3_4_2_2_to_3_11_2_2_answers_carry_no_words_that_the_client_has_no_room_for() {
    let broker = Broker::new(Limits { shared_group_members_max: 0, ..Limits::default() });
    for block in [&[][..], &[0x27, 0, 0, 0, 20], &[0x17, 0]] {
        let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").props(block));
        peer.send(&subscribe(true, &[("$share/g/a", 1), ("b", 2)])).send(&unsubscribe(true, &["b", "c"]));
        peer.send(&publish(true, 2, "a", 1, &[], b"")).send(&publish(true, 4, "a", 2, &[], b""));
        peer.send(&ack(0x62, 2)).send(&ack(0x62, 3)).send(&ack(0x50, 9));
        let packets = peer.packets();
        assert_eq!(
            packets.iter().map(|packet| packet.0).collect::<Vec<_>>(),
            [0x90, 0xb0, 0x40, 0x50, 0x70, 0x70, 0x62]
        );
        assert!(packets.iter().all(|(_, body)| body.len() + 2 <= 20), "{packets:?}");
        let codes: Vec<&[u8]> = packets.iter().map(|(_, body)| body.get(2..).unwrap_or_default()).collect();
        assert_eq!(codes[..2], [&[0, 0x97, 2][..], &[0, 0, 0x11]]);
        assert_eq!((codes[5].first(), codes[6].first()), (Some(&0x92), Some(&0x92)));
        peer.link.gone(Tick(0));
    }
}

// MQTT 5.0: 4.1.0-1
#[test]
fn mqtt5_4_1_0_1_a_session_does_not_expire_while_its_connection_is_open() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").lasting(1));
    peer.send(&subscribe(true, &[("a", 0)]));
    broker.expire(Tick(1_000_000));
    let publication = publish(true, 0, "a", 0, &[], b"x");
    Peer::connected_at(&broker, 2, &connect(true, "pub"), Tick(1_000_000)).send(&publication);
    peer.now = Tick(1_000_000);
    assert_eq!(peer.payloads(), ["x"]);
}

// MQTT 3.1.1: 4.3.1-1
// MQTT 5.0: 4.3.1-1, 4.3.2-1, 4.3.2-2, 4.3.3-1, 4.3.3-2
#[test]
fn mqtt5_4_3_1_1_and_4_3_2_2_and_4_3_3_2_what_is_sent_first_is_no_duplicate() {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for (flags, id) in [(0, 0), (0x0a, 1), (0x0c, 2)] {
        publisher.send(&publish(true, flags, "a", id, &[], b"x"));
    }
    let got = sub.messages();
    assert_eq!(got.iter().map(|got| (got.qos, got.dup)).collect::<Vec<_>>(), [(0, false), (1, false), (2, false)]);
    assert!(got[1].id != 0 && got[2].id != 0 && got[1].id != got[2].id);
}

// MQTT 3.1.1: 4.3.2-2
// MQTT 5.0: 4.3.2-5
#[test]
fn mqtt5_4_3_2_5_after_a_puback_the_same_identifier_is_a_new_message_whatever_its_dup_says() {
    for v5 in [false, true] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for (flags, payload) in [(2, "1"), (0x0a, "2")] {
            publisher.send(&publish(v5, flags, "a", 7, &[], payload.as_bytes()));
        }
        assert_eq!(sub.payloads(), ["1", "2"]);
    }
}

// MQTT 5.0: 4.3.3-7, 4.3.3-13
#[test]
fn mqtt5_4_3_3_7_and_13_a_message_that_was_sent_expires_no_more() {
    let broker = broker();
    let lasting = connect(true, "sub").lasting(1_000);
    let mut sub = Peer::connected(&broker, 1, &lasting);
    sub.send(&subscribe(true, &[("a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for (flags, id) in [(2, 1), (4, 2), (4, 3)] {
        publisher.send(&publish(true, flags, "a", id, &[2, 0, 0, 0, 5], b"x"));
    }
    let ids: Vec<u16> = sub.messages().iter().map(|got| got.id).collect();
    sub.send(&ack(0x50, ids[2])).packets();
    sub.link.gone(Tick(0));
    broker.expire(Tick(100_000));
    let mut back = Peer::connected_at(&broker, 3, &lasting, Tick(100_000));
    back.deliver();
    let packets = back.packets();
    assert_eq!(packets.iter().map(|packet| packet.0).collect::<Vec<_>>(), [0x3a, 0x3c, 0x62], "in the middle of it");
    back.send(&ack(0x50, ids[1]));
    let pubrel = back.packets().remove(0);
    assert_eq!((pubrel.0, &pubrel.1[..2]), (0x62, &ids[1].to_be_bytes()[..]));
}

// MQTT 5.0: 4.4.0-2
#[test]
fn mqtt5_4_4_0_2_what_the_client_refused_is_not_sent_again() {
    for (flags, reply) in [(2, 0x40), (4, 0x50)] {
        let broker = broker();
        let lasting = connect(true, "sub").lasting(100);
        let mut sub = Peer::connected(&broker, 1, &lasting);
        sub.send(&subscribe(true, &[("a", 2)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
        publisher.send(&publish(true, flags, "a", 1, &[], b"x"));
        let id = sub.messages()[0].id.to_be_bytes();
        sub.send(&packet(reply, &[id[0], id[1], 0x83]));
        assert!(sub.packets().is_empty(), "no PUBREL");
        sub.link.gone(Tick(0));
        let mut back = Peer::connected(&broker, 3, &lasting);
        assert!(back.payloads().is_empty());
    }
}

// MQTT 5.0: 4.8.2-4
#[test]
fn mqtt5_4_8_2_4_qos_2_of_a_member_that_is_away_waits_for_it() {
    let broker = broker();
    let lasting = connect(true, "first").lasting(100);
    let mut first = Peer::connected(&broker, 1, &lasting);
    first.send(&subscribe(true, &[("$share/g/a", 2)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    publisher.send(&publish(true, 4, "a", 1, &[], b"x"));
    let id = first.messages()[0].id;
    let mut second = Peer::connected(&broker, 3, &connect(true, "second"));
    second.send(&subscribe(true, &[("$share/g/a", 2)]));
    first.link.gone(Tick(0));
    assert!(second.payloads().is_empty());
    let mut back = Peer::connected(&broker, 4, &lasting);
    let got = back.messages();
    assert_eq!((got[0].id, got[0].dup, got.len()), (id, true, 1));
}

// MQTT 5.0: 4.12.0-6, 4.12.0-7
#[test]
fn mqtt5_4_12_0_6_and_7_without_a_method_there_is_no_auth_either_way() {
    let mut peer = Peer::open(&broker(), 1, Tick(0));
    peer.v5 = true;
    peer.send(&connect(true, "dev").bytes());
    let connack = peer.packets();
    assert_eq!(connack.len(), 1);
    assert!(!connack[0].1[3..].contains(&0x15), "{connack:?}");
    peer.send(&packet(0xf0, &[0x18, 0]));
    peer.assert_ended(Reason::ProtocolError, "AUTH");
    assert!(peer.detail().contains("[MQTT-4.12.0-7]"), "{}", peer.detail());
}

// MQTT 5.0: 3.2.2-19, 3.2.2-20
#[test]
fn mqtt5_3_2_2_19_a_connack_is_never_larger_than_the_client_takes() {
    let broker = Broker::new(Limits { redirect_to: Some("another-server.example:1883".into()), ..Limits::default() });
    let refusal = |props: &[u8]| {
        let mut peer = Peer::open(&broker, 1, Tick(0));
        peer.v5 = true;
        peer.send(&connect(true, "dev").props(props).will(&[], "a/#/b", "x").bytes());
        peer.packets().remove(0).1
    };
    assert_eq!(refusal(&[]), [0, 0x90, 0], "no words at all to who broke a rule");
    broker.shut_down(End::of(Reason::ServerShutdown));
    let mut small = Peer::open(&broker, 2, Tick(0));
    small.v5 = true;
    small.send(&connect(true, "small").props(&[0x27, 0, 0, 0, 20]).bytes());
    assert!(small.output.len() <= 20, "{:?}", small.output);
}
