//! Who is let in: protocol names and levels, client identifiers, packets at the edge of the size limit.

mod wire;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::{ClientId, ProtocolVersion, Reason};
use wire::{Peer, broker, connect, packet, publish, text};

fn hello(name: &str, level: u8, flags: u8, id: &str) -> Vec<u8> {
    let mut body = text(name);
    body.extend([level, flags, 0, 60]);
    if level == 5 {
        body.push(0);
    }
    body.extend(text(id));
    packet(0x10, &body)
}

#[test]
fn three_versions_are_spoken() {
    for (name, level, version) in
        [("MQIsdp", 3, ProtocolVersion::V31), ("MQTT", 4, ProtocolVersion::V311), ("MQTT", 5, ProtocolVersion::V5)]
    {
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&hello(name, level, 2, "dev"));
        assert!(peer.accepted.is_some(), "{:?}", peer.closed);
        let request = peer.link.request().unwrap();
        assert_eq!((request.protocol, request.keep_alive_s, request.clean_start), (Some(version), 60, true));
        peer.send(&publish(level == 5, 2, "a", 1, &[], b"x"));
        assert_eq!(peer.packets().iter().map(|p| p.0).collect::<Vec<_>>(), [0x20, 0x40]);
    }
}

// MQTT 3.1.1: 3.1.2-1, 3.1.2-2
// MQTT 5.0: 3.1.2-1, 3.1.2-2
#[test]
fn other_protocols_are_refused_with_what_they_understand() {
    for (name, level, answer) in [
        ("MQTT", 3, Some((2, 0x01))),
        ("MQIsdp", 4, Some((2, 0x01))),
        ("MQTT", 0, Some((2, 0x01))),
        ("MQTT", 6, Some((3, 0x84))),
        ("MQTT", 0x84, Some((3, 0x84))),
        ("mqtt", 4, None),
        ("AMQP", 4, None),
        ("", 4, None),
    ] {
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&hello(name, level, 2, "dev"));
        assert_eq!(peer.reason(), Reason::UnsupportedProtocolVersion, "{name} {level}");
        assert!(peer.detail().contains(&format!("{name:?} level {level}")), "{}", peer.detail());
        let packets = peer.packets();
        assert_eq!(packets.first().map(|(_, body)| (body.len(), body[1])), answer, "{name} {level}");
        assert_eq!(peer.end().reason_code, answer.map(|(_, code)| code));
    }
}

// MQTT 3.1.1: 3.1.3-6 to 3.1.3-8
#[test]
fn empty_identifiers_are_judged_by_version() {
    for (level, flags, code) in
        [(3, 2, Some(2)), (3, 0, Some(2)), (4, 2, None), (4, 0, Some(2)), (5, 2, None), (5, 0, None)]
    {
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&hello(if level == 3 { "MQIsdp" } else { "MQTT" }, level, flags, ""));
        assert_eq!(peer.accepted.is_some(), code.is_none(), "{level} {flags}");
        if code.is_some() {
            assert_eq!((peer.reason(), peer.end().reason_code), (Reason::BadClientId, code));
        }
    }
}

#[test]
fn a_refused_connect_still_says_who_it_was() {
    for (connect, reason) in [
        (connect(false, "dev").flags(3), Reason::MalformedPacket),
        (connect(true, "dev").props(&[0x21, 0, 0]), Reason::ProtocolError),
        (connect(true, "dev").props(&[0x15, 0, 1, b'x']), Reason::NotAuthorized),
        (connect(false, "dev").will(&[], "a/#", "x"), Reason::BadTopic),
        (connect(false, "dev").flags(2 | 0x80), Reason::MalformedPacket),
        (connect(false, "dev").will(&[], "w", "x").flags(2 | 4 | 0x18), Reason::MalformedPacket),
    ] {
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.send(&connect.bytes());
        assert_eq!(peer.reason(), reason, "{}", peer.detail());
        assert!(peer.detail().starts_with("CONNECT: "), "{}", peer.detail());
        assert_eq!(peer.link.request().unwrap().client, ClientId::new("dev").ok());
    }
    let mut qos_3 = Peer::open(&broker(), 1, Tick(0));
    qos_3.send(&connect(true, "dev").will(&[], "w", "x").flags(2 | 4 | 0x18).bytes());
    assert!(qos_3.detail().contains("[MQTT-3.1.2-12]"), "named by us, not by the library");
}

// MQTT 5.0: 3.2.2-15
#[test]
fn the_size_limit_is_exact_and_counts_the_header() {
    let limits = Limits { packet_bytes_max: 100, ..Limits::default() };
    for (payload, fits) in [(95, true), (96, false)] {
        let mut peer = Peer::connected(&Broker::new(limits.clone()), 1, &connect(false, "dev"));
        let bytes = publish(false, 0, "a", 0, &[], &vec![b'x'; payload]);
        peer.send(&bytes);
        assert_eq!(peer.closed.is_none(), fits, "{} bytes", bytes.len());
        if !fits {
            peer.assert_ended(Reason::PacketTooLarge, "");
        }
    }
}

#[test]
fn a_password_is_handed_over_and_never_printed() {
    use tracemq_broker::{Closing, Decision, Step};
    let mut peer = Peer::open(&broker(), 1, Tick(0));
    peer.input.extend_from_slice(&connect(true, "dev").user("me").password("hunter2").will(&[], "w", "x").bytes());
    peer.input.extend_from_slice(&publish(true, 2, "a", 1, &[], b"early"));
    let step = peer.link.receive(Tick(0), &mut peer.input, &mut peer.output);
    let Step::Authenticate(attempt) = step else { panic!("{step:?}") };
    assert_eq!((attempt.password.as_deref(), attempt.username.as_deref()), (Some(&b"hunter2"[..]), Some("me")));
    assert_eq!((attempt.will_topic.as_deref(), attempt.client_id.clone()), (Some("w"), ClientId::new("dev").ok()));
    assert!(!format!("{attempt:?}{:?}", peer.link).contains("hunter2"));
    let waits = peer.link.receive(Tick(0), &mut peer.input, &mut peer.output);
    assert!(
        matches!(waits, Step::Continue) && peer.output.is_empty() && !peer.input.is_empty(),
        "nothing before the decision"
    );
    let detail = Some("no such user".into());
    let refused =
        peer.link.decide(Tick(0), Decision::Refuse { reason: Reason::BadCredentials, detail }, &mut peer.output);
    let Step::Close(Closing::End(end)) = refused else { panic!("{refused:?}") };
    assert_eq!((end.reason_code, end.detail.as_deref()), (Some(0x86), Some("no such user")));
    let again = peer.link.decide(Tick(0), Decision::Refuse { reason: Reason::Banned, detail: None }, &mut peer.output);
    assert!(matches!(again, Step::Close(Closing::End(end)) if end.reason == Reason::BadCredentials));
    assert_eq!(peer.packets().len(), 1);
}

#[test]
fn a_will_with_an_expiry_of_0_is_taken() {
    let mut peer = Peer::open(&broker(), 1, Tick(0));
    peer.send(&connect(true, "dev").will(&[1, 1, 2, 0, 0, 0, 0, 0x18, 0, 0, 0, 0], "w", "x").user("u").bytes());
    assert!(peer.accepted.is_some(), "{:?}", peer.closed);
}
