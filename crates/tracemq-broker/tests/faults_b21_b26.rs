//! Hostile bytes, one test a line of the list of faults: segments, extremes, aliases, and random bytes.

mod wire;

use std::sync::Arc;

use proptest::prelude::*;
use tracemq_broker::{Broker, Closing, Limits, Tick};
use tracemq_model::Reason;
use wire::{Got, Out, Peer, ack, broker, connect, packet, publish, subscribe, subscribe_with, text, unsubscribe};

const BOTH: [bool; 2] = [false, true];

/// Packets of a conversation, good ones and bad ones.
fn conversation(v5: bool) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let topic = proptest::sample::select(vec!["a", "a/b", "$SYS/x", "a/#", ""]);
    let filter = proptest::sample::select(vec!["a", "#", "+/b", "a/#/b", "$share/g/a"]);
    let sane = prop_oneof![
        6 => (0u8..3, 1u16..4, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(move |(qos, id, retain, payload)| publish(v5, qos << 1 | u8::from(retain), "a/b", id, &[], &payload)),
        1 => (0u8..4, 0u16..4, topic).prop_map(move |(qos, id, topic)| publish(v5, qos << 1, topic, id, &[], b"x")),
        2 => (1u16..9, 0u8..3).prop_map(move |(id, qos)| subscribe_with(v5, id, &[], &[("a/b", qos), ("#", 0)])),
        1 => (filter, 0u8..4).prop_map(move |(filter, options)| subscribe(v5, &[(filter, options)])),
        1 => Just(unsubscribe(v5, &["a/b", "nothing"])),
        3 => (proptest::sample::select(vec![0x40u8, 0x50, 0x62, 0x70]), 1u16..5).prop_map(|(first, id)| ack(first, id)),
        1 => Just(packet(0xc0, &[])),
    ];
    let odd = proptest::sample::select(vec![
        packet(0xe0, &[]),
        packet(0xc0, &[1]),
        packet(0x20, &[0, 0]),
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
        vec![0x30, 0xff, 0xff, 0xff, 0x7f],
        vec![0xf0, 0x00],
        connect(v5, "again").bytes(),
    ]);
    let one = prop_oneof![30 => sane, 1 => odd];
    (proptest::collection::vec(one, 0..50), any::<bool>()).prop_map(move |(packets, odd_first)| {
        let first = if odd_first { connect(v5, "dev").will(&[], "w", "x") } else { connect(v5, "dev").lasting(9) };
        std::iter::once(first.bytes()).chain(packets).collect()
    })
}

/// What a conversation comes to, sent in these segments.
fn outcome(segments: &[&[u8]], v5: bool) -> (Vec<Out>, Option<Closing>, Vec<Got>, String) {
    let broker = broker();
    let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
    sub.send(&subscribe(v5, &[("#", 2)]));
    sub.packets();
    let mut peer = Peer::open(&broker, 2, Tick(0));
    for segment in segments {
        if peer.closed.is_none() {
            peer.send(segment);
        }
    }
    // What others sent comes last in all cases; only the order among replies is compared.
    let replies = peer.packets();
    let stats = broker.stats();
    (replies, peer.closed.clone(), sub.messages(), format!("{stats:?} {:?}", peer.link.packets().0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn b21_segments_make_no_difference(
        v5 in any::<bool>(),
        packets in any::<bool>().prop_flat_map(conversation),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let all: Vec<u8> = packets.concat();
        let by_packet: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let expected = outcome(&by_packet, v5);
        prop_assert_eq!(&outcome(&[&all], v5), &expected, "one segment");
        let by_byte: Vec<&[u8]> = all.chunks(1).collect();
        prop_assert_eq!(&outcome(&by_byte, v5), &expected, "one byte a segment");
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len())).collect();
        at.extend([0, all.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &all[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&outcome(&pieces, v5), &expected, "random pieces");
    }
}

// MQTT 3.1.1: 3.1.2-9, 3.1.2-18 to 3.1.2-21, 3.1.3-1, 3.1.3-3
// MQTT 5.0: 3.1.2-9, 3.1.2-16 to 3.1.2-19, 3.1.3-1, 3.1.3-3
#[test]
fn b21_each_packet_cut_at_each_byte() {
    for v5 in BOTH {
        let packets = [
            connect(v5, "dev").will(&[], "w", "x").user("u").password("p").bytes(),
            subscribe(v5, &[("a", 2), ("b/+", 1)]),
            publish(v5, 4, "a", 1, &[], b"payload"),
            ack(0x62, 1),
            unsubscribe(v5, &["a"]),
            packet(0xc0, &[]),
            packet(0xe0, &[]),
        ];
        let all = packets.concat();
        let expected = outcome(&[&all], v5);
        assert!(matches!(expected.1, Some(Closing::DisconnectReceived { .. })), "{:?}", expected.1);
        for cut in 0..=all.len() {
            assert_eq!(outcome(&[&all[..cut], &all[cut..]], v5), expected, "cut at {cut}");
        }
    }
}

// MQTT 3.1.1: 3.1.3-1, 3.1.3-3, 4.7.3-3
// MQTT 5.0: 3.1.3-1, 3.1.3-3, 4.7.3-3
#[test]
fn b22_strings_of_65535_bytes_go_through_whole() {
    let longest = "x".repeat(65_535);
    let limits = Limits { topic_bytes_max: 65_535, client_id_bytes_max: 65_535, ..Limits::default() };
    for v5 in BOTH {
        let broker = Broker::new(limits.clone());
        let mut sub = Peer::open(&broker, 1, Tick(0));
        sub.v5 = v5;
        let all = connect(v5, &longest).will(&[], &longest, &longest).user(&longest).password(&longest);
        sub.send(&all.bytes());
        assert!(sub.accepted.is_some(), "{:?}", sub.closed);
        assert_eq!(sub.link.request().unwrap().client, None, "too long for the record");
        sub.packets();
        sub.send(&subscribe(v5, &[(&longest, 0)]));
        let block = if v5 {
            [
                vec![3],
                text(&longest),
                vec![8],
                text(&longest),
                vec![9],
                text(&longest),
                vec![0x26],
                text(&longest),
                text(&longest),
            ]
            .concat()
        } else {
            vec![]
        };
        Peer::connected(&broker, 2, &connect(v5, "dev")).send(&publish(v5, 0, &longest, 0, &block, b"x"));
        let got = sub.messages().remove(0);
        assert_eq!((got.topic.len(), got.props.len()), (65_535, block.len()));
    }
    let mut peer = Peer::open(&broker(), 1, Tick(0));
    peer.send(&connect(true, &longest).bytes());
    assert_eq!((peer.reason(), peer.end().reason_code), (Reason::BadClientId, Some(0x85)));
    assert!(peer.detail().contains(&"x".repeat(64)) && !peer.detail().contains(&"x".repeat(65)));
    let mut peer = Peer::open(&broker(), 1, Tick(0));
    peer.send(&connect(false, &"y".repeat(1024)).bytes());
    assert_eq!((peer.reason(), peer.end().reason_code), (Reason::BadClientId, Some(2)));
    assert_eq!(peer.link.request().unwrap().client.as_ref().map(|id| id.as_str().len()), Some(1024));
}

// MQTT 3.1.1: 3.1.2-11, 3.1.2-13 to 3.1.2-15, 3.1.2-18 to 3.1.2-21
// MQTT 5.0: 3.1.2-16 to 3.1.2-19
#[test]
fn b23_bytes_behind_the_last_field_are_malformed() {
    for v5 in BOTH {
        let mut body = connect(v5, "dev").body();
        body.push(0);
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&packet(0x10, &body));
        assert_eq!((peer.reason(), peer.end().reason_code), (Reason::MalformedPacket, v5.then_some(0x81)));
        let tails: Vec<(u8, Vec<u8>)> = if v5 {
            let full = vec![0, 1, 0, 0, 9];
            vec![
                (0x40, full.clone()),
                (0x50, full.clone()),
                (0x62, full.clone()),
                (0x70, full),
                (0x82, [vec![0, 1, 0], text("a"), vec![0, 9]].concat()),
                (0xa2, [vec![0, 1, 0], text("a"), vec![9]].concat()),
                (0xc0, vec![9]),
                (0xe0, vec![0, 0, 9]),
            ]
        } else {
            vec![
                (0x40, vec![0, 1, 9]),
                (0x50, vec![0, 1, 9]),
                (0x62, vec![0, 1, 9]),
                (0x70, vec![0, 1, 9]),
                (0x82, [vec![0, 1], text("a"), vec![0, 9]].concat()),
                (0xa2, [vec![0, 1], text("a"), vec![9]].concat()),
                (0xc0, vec![9]),
                (0xe0, vec![9]),
            ]
        };
        for (first, body) in tails {
            let mut peer = Peer::connected(&broker(), 1, &connect(v5, "dev"));
            peer.send(&packet(first, &body));
            peer.assert_ended(Reason::MalformedPacket, &format!("{first:02x}"));
        }
    }
}

// MQTT 5.0: 3.2.2-17, 3.2.2-18, 3.3.2-7, 3.3.2-8, 3.3.2-9, 3.3.2-12
#[test]
fn b24_topic_aliases_are_bounded_and_die_with_the_connection() {
    let alias = |topic: &str, flags: u8, alias: u16, payload: &str| {
        publish(true, flags, topic, 1, &[&[0x23][..], &alias.to_be_bytes()].concat(), payload.as_bytes())
    };
    let broker = broker();
    for (bytes, code) in [(alias("a", 0, 0, ""), 0x94), (alias("a", 0, 33, ""), 0x94), (alias("", 0, 5, ""), 0x82)] {
        let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").lasting(9));
        peer.send(&bytes);
        assert_eq!(peer.end().reason_code, Some(code));
        peer.assert_ended(Reason::ProtocolError, "alias");
    }
    let mut sub = Peer::connected(&broker, 2, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("#", 0)]));
    let mut peer = Peer::connected(&broker, 3, &connect(true, "dev").lasting(9));
    peer.send(&alias("a", 0, 32, "1")).send(&alias("", 2, 32, "2")).send(&alias("b", 4, 32, "3")).send(&ack(0x62, 1));
    peer.send(&alias("", 4, 32, "4"));
    let topics: Vec<_> = sub.messages().into_iter().map(|got| (got.topic, got.payload)).collect();
    let expected = [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")];
    assert_eq!(topics, expected.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
    peer.link.gone(Tick(0));
    let mut back = Peer::connected(&broker, 4, &connect(true, "dev").lasting(9));
    back.send(&alias("", 0, 32, "5"));
    back.assert_ended(Reason::ProtocolError, "alias of the connection before");
    assert!(sub.payloads().is_empty());
    let mut peer = Peer::open(&broker, 5, Tick(0));
    peer.permissions = Arc::new(wire::Rules { publish: |topic| topic == "a", subscribe: |_| true });
    peer.send(&connect(true, "dev").bytes()).send(&alias("b", 0, 1, "x"));
    assert_eq!(peer.reason(), Reason::PublishNotAuthorized, "judged by the topic, not by the alias");
}

// MQTT 5.0: 3.3.2-4
#[test]
fn b25_the_payload_format_goes_through_unjudged() {
    for payload in [&[0xff, 0xfe][..], b"text"] {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
        sub.send(&subscribe(true, &[("a", 0)]));
        let mut peer = Peer::connected(&broker, 2, &connect(true, "dev"));
        for _ in 0..2 {
            peer.send(&publish(true, 0, "a", 0, &[1, 1], payload));
        }
        assert!(peer.closed.is_none());
        let got = sub.messages();
        assert_eq!((got.len(), &got[0].props[..]), (2, &[1, 1][..]));
        peer.send(&publish(true, 0, "a", 0, &[1, 2], payload));
        peer.assert_ended(Reason::ProtocolError, "2 is no format");
    }
}

/// Details that would tell that the library refused what our rules had passed.
const THE_LIBRARYS_WORDS: &[&str] =
    &["Invalid ", "Malformed packet", "utf8 error", "Unsupported p", "is required", "frame's"];

/// What a random client does next.
#[derive(Clone, Debug)]
enum Act {
    Send(Vec<u8>),
    Mutate(Vec<u8>, prop::sample::Index, u8),
    Deliver,
    Gone,
    Later(u64),
}

fn act() -> impl Strategy<Value = (bool, Act)> {
    let valid = any::<bool>().prop_flat_map(conversation).prop_map(|packets| packets.concat());
    let act = prop_oneof![
        2 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Act::Send),
        3 => valid.clone().prop_map(Act::Send),
        6 => (valid, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(bytes, at, byte)| Act::Mutate(bytes, at, byte)),
        2 => Just(Act::Deliver),
        1 => Just(Act::Gone),
        1 => (0u64..100_000).prop_map(Act::Later),
    ];
    (any::<bool>(), act)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn b26_two_links_of_random_bytes_keep_the_books_straight(acts in proptest::collection::vec(act(), 0..20)) {
        let broker = broker();
        let mut now = Tick(0);
        let mut peers = [Peer::open(&broker, 0, now), Peer::open(&broker, 1, now)];
        let mut connection = 2;
        for (which, act) in acts {
            let peer = &mut peers[usize::from(which)];
            peer.now = now;
            match act {
                Act::Send(bytes) => { peer.send(&bytes); }
                Act::Mutate(mut bytes, at, byte) => {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    peer.send(&bytes);
                }
                Act::Deliver => { peer.deliver(); }
                Act::Gone => peer.link.gone(now),
                Act::Later(ms) => { now = now.plus_ms(ms); broker.expire(now); }
            }
            if let Some(Closing::End(end)) = &peer.closed {
                let detail = end.detail.as_deref().unwrap_or_default();
                prop_assert!(!THE_LIBRARYS_WORDS.iter().any(|word| detail.contains(word)), "no rule of ours saw it: {detail}");
            }
            if peer.closed.is_some() || (peer.accepted.is_none() && peer.link.deadline().is_none()) {
                let sent = peer.output.len();
                peer.input.clear();
                peer.send(&connect(true, "again").bytes());
                prop_assert_eq!(peer.output.len(), sent, "a dead link stays dead");
                *peer = Peer::open(&broker, connection, now);
                connection += 1;
            }
            peer.output.clear();
            let stats = broker.stats();
            prop_assert!(stats.connections <= 2 && stats.sessions <= 8 && stats.subscriptions <= 16);
        }
        drop(peers);
        broker.expire(Tick(u64::MAX));
        let stats = broker.stats();
        prop_assert_eq!((stats.connections, stats.sessions, stats.subscriptions), (0, 0, 0), "nothing stays");
    }
}
