//! The detail of a malformed packet says at which byte of the packet it broke, counted from its first byte, which is 0.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod wire;

use proptest::prelude::*;
use tracemq_broker::Tick;
use tracemq_model::Reason;
use wire::{Peer, ack, broker, connect, packet, props, publish, subscribe, subscribe_with, text, unsubscribe};

const BOTH: [bool; 2] = [false, true];
const CONNECT: u8 = 0x10;

/// Why the server ended who sent `bytes`, a CONNECT or something behind one; none when it did not.
fn refused(v5: bool, bytes: &[u8]) -> Option<(Reason, String)> {
    let broker = broker();
    let mut peer = if bytes[0] >> 4 < 2 {
        Peer::open(&broker, 1, Tick(0))
    } else {
        Peer::connected(&broker, 1, &connect(v5, "d"))
    };
    peer.send(bytes);
    match &peer.closed {
        Some(tracemq_broker::Closing::End(_)) => Some((peer.reason(), peer.detail())),
        Some(tracemq_broker::Closing::DisconnectReceived { .. }) | None => None,
    }
}

/// At which byte `bytes` are malformed.
fn broke_at(v5: bool, bytes: &[u8]) -> Option<usize> {
    let (reason, detail) = refused(v5, bytes)?;
    (reason == Reason::MalformedPacket).then(|| named(&detail))
}

fn named(detail: &str) -> usize {
    let (_, at) = detail.rsplit_once(", at byte ").unwrap_or_else(|| panic!("no byte in {detail:?}"));
    at.parse().unwrap_or_else(|_| panic!("no number ends {detail:?}"))
}

fn utf8(v5: bool) -> [Vec<u8>; 2] {
    let bad = connect(v5, "dev").user([b'u', 0xff]).bytes();
    let nul = connect(v5, "dev").user("us\0r").bytes();
    [bad, nul]
}

#[test]
fn the_byte_at_which_a_packet_broke_is_named() {
    let five = |block: &[u8]| connect(true, "dev").props(block).bytes();
    let will = |block: &[u8]| connect(true, "dev").will(block, "w", "x").bytes();
    let ack5 = |block: &[u8]| packet(0x40, &[&[0, 1, 0x10][..], &props(block)].concat());
    let long = "x".repeat(200);
    let [utf8_3, nul_3] = utf8(false);
    let [utf8_5, nul_5] = utf8(true);
    // 10 .. | 0 4 M Q T T level flags keep-alive ..
    for (what, v5, bytes, at) in [
        ("type 0 first", false, vec![0x00], 0),
        ("type 0", true, vec![0x00], 0),
        ("flags of the first byte", false, vec![0x1f], 0),
        ("flags of SUBSCRIBE", true, vec![0x80], 0),
        ("QoS 3", false, vec![0x36], 0),
        ("DUP with QoS 0", false, publish(false, 8, "a", 0, &[], b""), 0),
        ("five bytes of length", false, vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], 1),
        ("a length that is longer than it must be", true, vec![0xc0, 0x80, 0x00], 1),
        ("connect flags, reserved", false, connect(false, "dev").flags(3).bytes(), 9),
        ("connect flags, will QoS without will", true, connect(true, "dev").flags(0x0a).bytes(), 9),
        ("connect flags of a long CONNECT", false, connect(false, &long).flags(3).bytes(), 10),
        ("user name is no UTF-8", false, utf8_3, 20),
        ("user name with U+0000", false, nul_3, 21),
        ("user name is no UTF-8", true, utf8_5, 21),
        ("user name with U+0000", true, nul_5, 22),
        ("connect property that does not exist", true, five(&[0x11, 0, 0, 0, 9, 0x7f]), 18),
        ("connect property cut off", true, five(&[0x11, 0, 0]), 14),
        ("will property that does not exist", true, will(&[0x7f]), 19),
        ("bytes behind CONNECT", false, packet(CONNECT, &[connect(false, "dev").body(), vec![1, 2]].concat()), 17),
        ("packet identifier 0 of PUBLISH", false, publish(false, 2, "abc", 0, &[], b""), 7),
        ("packet identifier 0 of a long PUBLISH", true, publish(true, 2, &long, 0, &[], b""), 205),
        ("topic is no UTF-8", false, publish(false, 0, [b'a', b'b', 0xff], 0, &[], b""), 6),
        ("topic with U+0000", true, publish(true, 0, "ab\0", 0, &[], b""), 6),
        ("user property is no UTF-8", true, publish(true, 0, "a", 0, &[0x26, 0, 1, b'n', 0, 1, 0xff], b""), 12),
        ("property length of five bytes", true, packet(0x30, &[0, 1, b'a', 0x80, 0x80, 0x80, 0x80, 1]), 5),
        ("property length that is longer than it must be", true, packet(0x30, &[0, 1, b'a', 0x80, 0]), 5),
        ("property block longer than the packet", true, packet(0x30, &[0, 1, b'a', 9, 1]), 6),
        ("packet identifier 0 of PUBACK", false, ack(0x40, 0), 2),
        ("packet identifier 0 of PUBREC", false, ack(0x50, 0), 2),
        ("packet identifier 0 of PUBREL", true, ack(0x62, 0), 2),
        ("packet identifier 0 of PUBCOMP", true, ack(0x70, 0), 2),
        ("PUBACK property that does not exist", true, ack5(&[0x7f]), 6),
        ("bytes behind PUBACK", false, packet(0x40, &[0, 1, 9]), 4),
        ("bytes behind PUBREC", true, packet(0x50, &[0, 1, 0, 0, 9]), 6),
        ("packet identifier 0 of SUBSCRIBE", false, subscribe_with(false, 0, &[], &[("a", 0)]), 2),
        ("options of the second filter", false, subscribe(false, &[("a", 0), ("b", 4)]), 11),
        ("options of the second filter", true, subscribe(true, &[("a", 0), ("b", 0x40)]), 12),
        ("bytes behind UNSUBSCRIBE", false, packet(0xa2, &[&[0, 1][..], &text("a"), &[0]].concat()), 7),
        ("second filter is no UTF-8", false, packet(0xa2, &[&[0, 1][..], &text("a"), &text([0xff])].concat()), 9),
        ("second filter with U+0000", true, unsubscribe(true, &["a", "b\0"]), 11),
        ("bytes behind PINGREQ", false, packet(0xc0, &[1]), 2),
        ("bytes behind DISCONNECT", false, packet(0xe0, &[1]), 2),
        ("DISCONNECT property cut off", true, packet(0xe0, &[0, 3, 0x11, 0, 0]), 5),
    ] {
        assert_eq!(broke_at(v5, &bytes), Some(at), "{what}: {bytes:02x?} {:?}", refused(v5, &bytes));
    }
    let (reason, detail) = refused(true, &connect(true, "a\0").bytes()).unwrap();
    assert_eq!((reason, named(&detail)), (Reason::BadClientId, 16), "{detail}");
}

/// Packets as the pieces that are read one after the other.
fn pieces(v5: bool) -> Vec<(u8, Vec<Vec<u8>>)> {
    let string = |text: &str| [vec![0, u8::try_from(text.len()).unwrap()], text.into()];
    let five =
        |pieces: &[&[u8]]| -> Vec<Vec<u8>> { pieces.iter().filter(|_| v5).map(|piece| piece.to_vec()).collect() };
    let block = five(&[&[8], &[0x26, 0, 1, b'n', 0, 2, b'v', b'w']]);
    let of = |parts: &[&[Vec<u8>]]| parts.concat();
    let (id, one) = ([vec![0, 1]], |byte: u8| [vec![byte]]);
    let mut all = vec![
        (
            CONNECT,
            of(&[
                &string("MQTT"),
                &one(if v5 { 5 } else { 4 }),
                &one(0xc6),
                &[vec![0, 60]],
                &block,
                &string("dev"),
                &block,
                &string("will"),
                &string("message"),
                &string("user"),
                &string("password"),
            ]),
        ),
        (0x32, of(&[&string("a/b"), &id, &block])),
        (0x32, of(&[&string(&"t".repeat(150)), &id, &block])),
        (0x82, of(&[&id, &block, &string("a/b"), &one(0), &string("c"), &one(1)])),
        (0xa2, of(&[&id, &block, &string("a/b"), &string("c")])),
    ];
    all.extend(v5.then(|| (0xe0, of(&[&five(&[&[0]]), &block]))));
    all.extend([0x40, 0x50, 0x62, 0x70].map(|first| (first, of(&[&id, &five(&[&[0]]), &block]))));
    all
}

#[test]
fn a_packet_that_is_cut_off_names_the_byte_at_which_what_is_cut_off_begins() {
    let mut broken = 0;
    for v5 in BOTH {
        for (first, pieces) in pieces(v5) {
            let body = pieces.concat();
            for cut in 0..body.len() {
                let bytes = packet(first, &body[..cut]);
                let begins = pieces.iter().scan(bytes.len() - cut, |at, piece| {
                    let begin = *at;
                    *at += piece.len();
                    Some(begin)
                });
                let expected = begins.filter(|begin| *begin <= bytes.len()).last();
                let at = broke_at(v5, &bytes);
                assert!(at.is_none() || at == expected, "{bytes:02x?} cut after {cut}: {at:?}, not {expected:?}");
                broken += usize::from(at.is_some());
            }
        }
    }
    assert!(broken > 500, "only {broken} cuts broke a packet");
}

proptest! {
    /// None of the bytes before the one that was changed is wrong, and all text is ASCII but for that one.
    #[test]
    fn no_byte_before_the_one_that_broke_it_is_named(
        v5 in any::<bool>(),
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        changed in 0x80..=u8::MAX,
    ) {
        let all = pieces(v5);
        let (first, pieces) = &all[which.index(all.len())];
        let body = pieces.concat();
        let mut bytes = packet(*first, &body);
        let place = bytes.len() - body.len() + place.index(body.len());
        bytes[place] = changed;
        if let Some(at) = broke_at(v5, &bytes) {
            prop_assert!((place..=bytes.len()).contains(&at), "byte {place} of {bytes:02x?}, and {at} is named");
        }
    }
}
