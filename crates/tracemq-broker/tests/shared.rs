//! Shared subscriptions: one member of a group gets a message, and none is lost while a member is left.

mod wire;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::Reason;
use wire::{Peer, ack, broker, connect, publish, subscribe, subscribe_with, unsubscribe};

const BOTH: [bool; 2] = [false, true];

fn member(broker: &std::sync::Arc<Broker>, v5: bool, number: u128, filters: &[(&str, u8)]) -> Peer {
    let mut peer = Peer::connected(broker, number, &connect(v5, &format!("member-{number}")).lasting(100));
    peer.send(&subscribe(v5, filters)).packets();
    peer
}

#[test]
fn members_get_messages_in_turn_and_each_message_goes_to_one() {
    for v5 in BOTH {
        let broker = broker();
        let mut members: Vec<Peer> = (1..=3).map(|at| member(&broker, v5, at, &[("$share/g/a/+", 1)])).collect();
        let mut publisher = Peer::connected(&broker, 9, &connect(v5, "pub"));
        for id in 1..=9 {
            publisher.send(&publish(v5, 2, "a/b", id, &[], id.to_string().as_bytes()));
        }
        let got: Vec<Vec<String>> = members.iter_mut().map(Peer::payloads).collect();
        assert_eq!(got, [["1", "4", "7"], ["2", "5", "8"], ["3", "6", "9"]]);
        assert_eq!(broker.stats().subscriptions, 3);
    }
}

// MQTT 5.0: 3.3.4-5
#[test]
fn b17_a_shared_and_a_plain_subscription_each_get_their_copy_and_only_the_named_one_goes() {
    for v5 in BOTH {
        let broker = broker();
        let mut peer = member(&broker, v5, 1, &[("$share/g/a", 1), ("a", 0), ("$share/h/a", 1)]);
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"x"));
        let mut got: Vec<u8> = peer.messages().iter().map(|got| got.qos).collect();
        got.sort_unstable();
        assert_eq!(got, [0, 1, 1], "two groups and the plain one");
        peer.send(&unsubscribe(v5, &["$share/g/a", "$share/other/a"]));
        let unsuback = peer.packets().remove(0).1;
        assert!(!v5 || unsuback[unsuback.len() - 2..] == [0, 0x11]);
        publisher.send(&publish(v5, 2, "a", 2, &[], b"y"));
        assert_eq!(peer.payloads().len(), 2);
        peer.send(&unsubscribe(v5, &["$share/h/a", "a"]));
        assert_eq!(broker.stats().subscriptions, 0);
    }
}

// MQTT 5.0: 3.8.3-4
#[test]
fn b17_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev"));
    peer.send(&subscribe(true, &[("$share/g/a", 4)]));
    peer.assert_ended(Reason::ProtocolError, "no local");
    assert_eq!(broker.stats().subscriptions, 0);
}

#[test]
fn b59_the_inner_filter_is_what_permission_is_asked_for() {
    for v5 in BOTH {
        let broker = broker();
        let rules = || wire::Rules { publish: |_| true, subscribe: |filter| filter == "open" };
        let mut peer = Peer::open(&broker, 1, Tick(0));
        peer.v5 = v5;
        peer.permissions = std::sync::Arc::new(rules());
        peer.send(&connect(v5, "dev").bytes()).send(&subscribe(v5, &[("$share/secret/open", 0)]));
        assert!(peer.closed.is_none(), "the group's name has no say");
        peer.send(&subscribe(v5, &[("$share/open/secret", 0)]));
        assert_eq!(peer.reason(), Reason::SubscribeNotAuthorized);
    }
}

#[test]
fn b81_a_new_member_gets_no_retained_message_and_later_ones() {
    for v5 in BOTH {
        let broker = broker();
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 1, "a", 0, &[], b"old"));
        let mut peer = member(&broker, v5, 1, &[("$share/g/a", 1)]);
        assert!(peer.payloads().is_empty());
        publisher.send(&publish(v5, 1, "a", 0, &[], b"new"));
        assert_eq!(peer.payloads(), ["new"]);
    }
}

#[test]
fn who_is_there_is_preferred_and_who_is_away_keeps_what_nobody_else_can_have() {
    for v5 in BOTH {
        let broker = broker();
        let mut away = member(&broker, v5, 1, &[("$share/g/a", 1)]);
        let mut there = member(&broker, v5, 2, &[("$share/g/a", 1)]);
        away.link.gone(Tick(0));
        let mut publisher = Peer::connected(&broker, 9, &connect(v5, "pub"));
        for id in 1..=4 {
            publisher.send(&publish(v5, 2, "a", id, &[], b"x"));
        }
        assert_eq!(there.messages().len(), 4);
        there.link.gone(Tick(0));
        publisher.send(&publish(v5, 2, "a", 5, &[], b"waits")).send(&publish(v5, 0, "a", 0, &[], b"qos 0 does not"));
        let mut back = Peer::connected(&broker, 3, &connect(v5, "member-1").lasting(100));
        let mut other = Peer::connected(&broker, 4, &connect(v5, "member-2").lasting(100));
        let mut got = back.payloads();
        got.extend(other.payloads().into_iter().filter(|payload| payload != "x"));
        assert_eq!(got, ["waits"]);
    }
}

#[test]
fn a_member_with_a_full_window_is_passed_over() {
    let broker = broker();
    let mut slow = Peer::connected(&broker, 1, &connect(true, "slow").props(&[0x21, 0, 1]));
    slow.send(&subscribe(true, &[("$share/g/a", 1)]));
    let mut fast = member(&broker, true, 2, &[("$share/g/a", 1)]);
    let mut publisher = Peer::connected(&broker, 9, &connect(true, "pub"));
    let (mut of_slow, mut of_fast) = (0, 0);
    for id in 1..=10 {
        publisher.send(&publish(true, 2, "a", id, &[], b"x"));
        of_slow += slow.messages().len();
        of_fast += fast.messages().len();
    }
    assert_eq!((of_slow, of_fast), (1, 9));
}

// MQTT 5.0: 4.8.2-5
#[test]
fn mqtt_4_8_2_what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends() {
    for v5 in BOTH {
        let broker = broker();
        let mut first = Peer::connected(&broker, 1, &connect(v5, "clean"));
        first.send(&subscribe(v5, &[("$share/g/a", 2)]));
        let mut publisher = Peer::connected(&broker, 9, &connect(v5, "pub"));
        for (flags, id, payload) in [(2, 1, "acknowledged"), (2, 2, "sent"), (4, 3, "exactly once")] {
            publisher.send(&publish(v5, flags, "a", id, &[], payload.as_bytes()));
        }
        let got = first.messages();
        first.send(&ack(0x40, got[0].id));
        publisher.send(&publish(v5, 2, "a", 4, &[], b"not sent"));
        let mut second = member(&broker, v5, 2, &[("$share/g/a", 2)]);
        first.link.gone(Tick(0));
        assert_eq!(
            second.payloads(),
            ["sent", "not sent"],
            "what of QoS 2 was sent goes to nobody else [MQTT-4.8.2-5]"
        );
    }
}

#[test]
fn a_member_that_is_only_away_keeps_what_was_sent_and_gives_up_what_was_not() {
    let broker = broker();
    let mut first =
        Peer::connected(&broker, 1, &connect(true, "first").lasting(100).props(&[0x21, 0, 1, 0x11, 0, 0, 0, 100]));
    first.send(&subscribe(true, &[("$share/g/a", 1)]));
    let mut publisher = Peer::connected(&broker, 9, &connect(true, "pub"));
    for id in 1..=3 {
        publisher.send(&publish(true, 2, "a", id, &[], id.to_string().as_bytes()));
    }
    assert_eq!(first.payloads(), ["1"]);
    let mut second = member(&broker, true, 2, &[("$share/g/a", 1)]);
    first.link.gone(Tick(0));
    assert_eq!(second.payloads(), ["2", "3"]);
    let mut back = Peer::connected(&broker, 3, &connect(true, "first").lasting(100));
    let got = back.messages();
    assert_eq!((got.len(), got[0].dup, &*got[0].payload), (1, true, "1"));
}

#[test]
fn the_last_member_keeps_its_messages_when_it_leaves_and_they_are_counted_when_its_session_ends() {
    let broker = broker();
    let mut only = member(&broker, true, 1, &[("$share/g/a", 1)]);
    only.link.gone(Tick(0));
    let mut publisher = Peer::connected(&broker, 9, &connect(true, "pub"));
    publisher.send(&publish(true, 2, "a", 1, &[], b"x"));
    assert_eq!(broker.stats().messages_dropped, 0);
    broker.expire(Tick(100_000));
    assert_eq!((broker.stats().messages_dropped, broker.stats().subscriptions), (1, 0));
}

#[test]
fn a_group_has_a_bound_and_a_new_subscription_of_a_member_is_none() {
    let broker = Broker::new(Limits { shared_group_members_max: 2, ..Limits::default() });
    let codes = |number: u128| {
        let mut peer = Peer::connected(&broker, number, &connect(true, &format!("m{number}")).lasting(9));
        peer.send(&subscribe(true, &[("$share/g/a", 1), ("$share/h/a", 0)]));
        let suback = peer.packets().remove(0).1;
        suback[suback.len() - 2..].to_vec()
    };
    assert_eq!(codes(1), [1, 0]);
    assert_eq!(codes(2), [1, 0]);
    assert_eq!(codes(1), [1, 0]);
    assert_eq!(codes(3), [0x97, 0x97]);
    let none = Broker::new(Limits { shared_group_members_max: 0, ..Limits::default() });
    let mut peer = Peer::connected(&none, 1, &connect(true, "dev"));
    peer.send(&subscribe(true, &[("$share/g/a", 1)]));
    assert_eq!(peer.packets().remove(0).1.last(), Some(&0x97));
    assert_eq!(none.stats().subscriptions, 0);
}

// MQTT 5.0: 3.3.4-5, 4.8.2-3
#[test]
fn a_shared_delivery_carries_the_members_own_options() {
    let broker = broker();
    let mut peer = Peer::connected(&broker, 1, &connect(true, "dev"));
    peer.send(&subscribe_with(true, 1, &[0x0b, 7], &[("$share/g/a", 0)]));
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 5, "a", 1, &[], b"x"));
    let got = peer.messages().remove(0);
    assert_eq!((got.qos, got.retain, got.props), (0, false, vec![0x0b, 7]));
}

// MQTT 5.0: 4.8.2-6
#[test]
fn mqtt_4_8_2_6_a_message_that_a_member_refuses_goes_to_nobody_else() {
    for (flags, reply) in [(2, 0x40), (4, 0x50)] {
        let broker = broker();
        let mut first = member(&broker, true, 1, &[("$share/g/a", 2)]);
        let mut publisher = Peer::connected(&broker, 9, &connect(true, "pub"));
        publisher.send(&publish(true, flags, "a", 1, &[], b"x"));
        let id = first.messages()[0].id.to_be_bytes();
        let mut second = member(&broker, true, 2, &[("$share/g/a", 2)]);
        first.send(&wire::packet(reply, &[id[0], id[1], 0x87]));
        first.link.gone(Tick(0));
        broker.expire(Tick(200_000));
        assert!(first.closed.is_none() && second.payloads().is_empty());
    }
}
