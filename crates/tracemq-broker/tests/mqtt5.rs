//! What MQTT 5.0 clients are told beside codes: topic aliases, reasons in words, another server, response information.

mod wire;

use tracemq_broker::{Broker, Closing, Decision, Limits, Step, Tick};
use tracemq_model::{End, Reason};
use wire::{Peer, broker, connect, publish, subscribe, text};

/// 41 bytes.
const SERVER: &str = "the-other-server-of-this-house.local:1883";

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[test]
fn who_is_refused_is_told_in_words_by_its_reason_alone() {
    let told = |props: &[u8], reason, detail: &str| {
        let mut peer = Peer::open(&broker(), 1, Tick(0));
        peer.input.extend_from_slice(&connect(true, "dev").props(props).bytes());
        peer.link.receive(Tick(0), &mut peer.input, &mut peer.output);
        let refusal = Decision::Refuse { reason, detail: Some(detail.into()) };
        let Step::Close(Closing::End(end)) = peer.link.decide(Tick(0), refusal, &mut peer.output) else { panic!() };
        assert!(end.reason_code.is_some() && end.detail.as_deref() == Some(detail), "{end:?}");
        let connack = peer.packets().remove(0).1;
        let words = connack.get(6..).map(|words| String::from_utf8(words.to_vec()).unwrap());
        (connack[1], words.unwrap_or_default())
    };
    let bad = (0x86, "user name, password or token is not good here".to_owned());
    for detail in ["no such user", "wrong password", "user is disabled"] {
        assert_eq!(told(&[], Reason::BadCredentials, detail), bad);
    }
    assert_eq!(told(&[], Reason::Banned, "stole my bicycle"), (0x8a, "banned".to_owned()));
    for props in [&[0x17, 0][..], &[0x27, 0, 0, 0, 20]] {
        assert_eq!(told(props, Reason::BadCredentials, "x"), (0x86, String::new()), "not wanted, or too large");
    }
}

// MQTT 5.0: 3.1.2-26 to 3.1.2-27, 3.3.2-11
#[test]
fn a_long_topic_is_sent_by_name_once_and_then_by_number() {
    let broker = Broker::new(limits(|limits| limits.topic_alias_max = 2));
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub").props(&[0x22, 0, 9]));
    let mut plain = Peer::connected(&broker, 2, &connect(true, "plain"));
    for peer in [&mut sub, &mut plain] {
        peer.send(&subscribe(true, &[("#", 0)])).packets();
    }
    let mut publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
    let mut names = Vec::new();
    for topic in ["fleet/one", "abc", "fleet/one", "fleet/two", "fleet/three", "fleet/two", "fleet/three", "fleet/one"]
    {
        publisher.send(&publish(true, 0, topic, 0, &[], b"x"));
        let got = sub.messages().remove(0);
        names.push((got.topic, got.props));
        assert_eq!(plain.messages().remove(0).props, [0_u8; 0], "who takes no alias gets none");
    }
    let named = |topic: &str, props: &[u8]| (topic.to_owned(), props.to_vec());
    assert_eq!(
        names,
        [
            named("fleet/one", &[0x23, 0, 1]),
            named("abc", &[]),
            named("", &[0x23, 0, 1]),
            named("fleet/two", &[0x23, 0, 2]),
            named("fleet/three", &[]),
            named("", &[0x23, 0, 2]),
            named("fleet/three", &[]),
            named("", &[0x23, 0, 1]),
        ]
    );
}

// MQTT 5.0: 3.3.2-7
#[test]
fn mqtt_3_3_2_7_an_alias_is_good_for_its_connection_and_not_introduced_by_what_was_not_sent() {
    let broker = broker();
    let one = connect(true, "sub").props(&[0x22, 0, 9, 0x27, 0, 0, 0, 40, 0x11, 0, 0, 0, 100]).flags(0);
    let mut sub = Peer::connected(&broker, 1, &one);
    sub.send(&subscribe(true, &[("fleet/one", 1)])).packets();
    let mut publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
    publisher.send(&publish(true, 2, "fleet/one", 1, &[], &[b'x'; 60])).send(&publish(
        true,
        2,
        "fleet/one",
        2,
        &[],
        b"y",
    ));
    let got = sub.messages();
    assert_eq!((got.len(), &*got[0].topic), (1, "fleet/one"), "the one before was too large");
    sub.link.gone(Tick(0));
    let mut again = Peer::connected(&broker, 4, &one);
    let got = again.messages();
    assert_eq!((&*got[0].topic, got[0].dup), ("fleet/one", true));
}

// MQTT 5.0: 3.1.2-29, 3.14.2-3, 3.14.2-4
#[test]
fn reasons_in_words_go_to_who_wants_them_and_fit_its_packet_size() {
    for (props, told) in [(&[][..], true), (&[0x17, 0], false), (&[0x27, 0, 0, 0, 20], false)] {
        let broker = broker();
        let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").props(props));
        peer.send(&[0x82, 2, 0, 0]);
        let last = peer.packets().pop().unwrap();
        assert_eq!((last.0, last.1[0]), (0xe0, 0x81));
        let words = String::from_utf8_lossy(&last.1).contains("packet identifier is 0");
        assert_eq!(words, told, "{props:?}: {last:?}");
    }
}

#[test]
fn what_administrators_note_is_not_told_to_the_client() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev").user("x"));
    let end = End::of(Reason::Kicked).with_detail("by access key secret");
    assert_eq!(broker.end_clients(&tracemq_broker::Whose::User("x".into()), &end, 1), 1);
    peer.deliver();
    assert_eq!(peer.packets().pop().unwrap().1, [0x98, 0]);
}

#[test]
fn a_server_that_stops_sends_its_clients_to_another() {
    let broker = Broker::new(limits(|limits| limits.redirect_to = Some(SERVER.into())));
    let mut five = Peer::connected(&broker, 1, &connect(true, "five"));
    let mut three = Peer::connected(&broker, 2, &connect(false, "three"));
    let mut small = Peer::connected(&broker, 3, &connect(true, "small").props(&[0x27, 0, 0, 0, 30]));
    broker.shut_down(End::of(Reason::ServerShutdown));
    five.deliver();
    let last = five.packets().pop().unwrap();
    assert_eq!(last, (0xe0, [&[0x9c, 44, 0x1c][..], &text(SERVER)].concat()));
    assert_eq!(five.end().reason_code, Some(0x9c));
    three.deliver();
    assert!(three.packets().is_empty());
    small.deliver();
    assert_eq!(small.packets().pop().unwrap().1, [0x9c, 0], "the code alone where more does not fit");
    let mut late = Peer::open(&broker, 4, Tick(0));
    late.v5 = true;
    late.send(&connect(true, "late").bytes());
    let connack = late.packets().pop().unwrap();
    assert_eq!((connack.0, connack.1[1]), (0x20, 0x9c));
    assert!(String::from_utf8_lossy(&connack.1).contains(SERVER));
    let mut late = Peer::open(&broker, 5, Tick(0));
    late.send(&connect(false, "late").bytes());
    assert_eq!(late.packets().pop().unwrap().1, [0, 3]);
}

// MQTT 5.0: 3.1.2-28
#[test]
fn response_information_is_given_to_who_asks_when_there_is_some() {
    let with = Broker::new(limits(|limits| limits.response_topics = Some("replies".into())));
    for (broker, props, id, given) in [
        (&with, &[0x19, 1][..], "dev", true),
        (&with, &[0x19, 0], "dev", false),
        (&with, &[], "dev", false),
        (&with, &[0x19, 1], "d+v", false),
        (&broker(), &[0x19, 1], "dev", false),
    ] {
        let mut peer = Peer::open(broker, 1, Tick(0));
        peer.v5 = true;
        peer.send(&connect(true, id).props(props).bytes());
        let connack = peer.packets().remove(0).1;
        let told = [&[0x1a][..], &text("replies/dev")].concat();
        assert_eq!(connack.windows(told.len()).any(|part| part == told), given, "{id} {props:?}");
        peer.link.gone(Tick(0));
    }
}
