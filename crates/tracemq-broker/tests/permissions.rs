//! Rights that change while clients are connected or away.

mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_broker::{Broker, Limits, Permissions, Tick};
use tracemq_model::Reason;
use wire::{Changing, Peer, ack, broker, connect, publish, subscribe};

const BOTH: [bool; 2] = [false, true];

#[test]
fn b54_a_live_subscription_gets_nothing_once_its_permission_is_gone() {
    for v5 in BOTH {
        let (broker, rules) = (broker(), Arc::new(Changing::default()));
        let mut sub = Peer::with_rules(&broker, 1, &connect(v5, "sub"), &rules);
        sub.send(&subscribe(v5, &[("a", 1), ("b", 1), ("w/+", 1)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"before"));
        assert_eq!(sub.payloads(), ["before"]);
        publisher.send(&publish(v5, 2, "a", 2, &[], b"waits")).send(&publish(v5, 0, "w/x", 0, &[], b"waits too"));
        rules.forbid(&["a", "w/x", "w/+"]);
        for topic in ["a", "b", "w/x", "w/y"] {
            publisher.send(&publish(v5, 2, topic, 3, &[], topic.as_bytes()));
        }
        assert_eq!(sub.payloads(), ["b", "w/y"], "the filter w/+ is forbidden, the topic w/y is not");
        assert_eq!(broker.stats().messages_dropped, 4);
        rules.forbid(&[]);
        publisher.send(&publish(v5, 2, "a", 4, &[], b"again"));
        assert_eq!(sub.payloads(), ["again"]);
    }
}

#[test]
fn b54_a_persistent_subscription_gets_neither_what_waited_nor_what_was_under_way() {
    for v5 in BOTH {
        let (broker, rules) = (broker(), Arc::new(Changing::default()));
        let lasting = connect(v5, "sub").lasting(100);
        let mut sub = Peer::with_rules(&broker, 1, &lasting, &rules);
        sub.send(&subscribe(v5, &[("a", 2), ("b", 2)]));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        for (flags, id) in [(2, 1), (4, 2)] {
            publisher.send(&publish(v5, flags, "a", id, &[], b"under way"));
        }
        publisher.send(&publish(v5, 4, "a", 3, &[], b"released"));
        let got = sub.messages();
        sub.send(&ack(0x50, got[2].id));
        sub.link.gone(Tick(0));
        publisher.send(&publish(v5, 2, "a", 4, &[], b"queued")).send(&publish(v5, 2, "b", 5, &[], b"allowed"));
        rules.forbid(&["a"]);
        let mut sub = Peer::with_rules(&broker, 3, &lasting, &rules);
        sub.deliver();
        let first = sub.packets();
        assert_eq!(first.iter().map(|packet| packet.0 >> 4).collect::<Vec<_>>(), [6, 3], "PUBREL has no message");
        publisher.send(&publish(v5, 2, "a", 6, &[], b"new"));
        assert!(sub.payloads().is_empty());
    }
}

#[test]
fn b54_rules_that_allow_all_subscriptions_cost_one_question_a_change() {
    let (broker, rules) = (broker(), Arc::new(Changing::default()));
    let mut sub = Peer::with_rules(&broker, 1, &connect(true, "sub"), &rules);
    sub.send(&subscribe(true, &[("a", 0)]));
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    for _ in 0..100 {
        publisher.send(&publish(true, 0, "a", 0, &[], b"x"));
        assert_eq!(sub.payloads().len(), 1);
    }
    assert!(rules.asked.load(Ordering::SeqCst) <= 1, "{:?}", rules.asked);
}

#[test]
fn b55_a_message_of_qos_2_is_judged_when_it_comes_and_its_release_publishes_nothing() {
    let (broker, rules) = (broker(), Arc::new(Changing::default()));
    let mut sub = Peer::connected(&broker, 1, &connect(true, "sub"));
    sub.send(&subscribe(true, &[("a", 2)]));
    let mut publisher = Peer::with_rules(&broker, 2, &connect(true, "pub"), &rules);
    publisher.send(&publish(true, 4, "a", 1, &[], b"x"));
    rules.forbid(&["a"]);
    publisher.send(&ack(0x62, 1));
    assert_eq!(publisher.packets().last().map(|packet| packet.0), Some(0x70));
    assert_eq!(sub.payloads(), ["x"]);
    publisher.send(&publish(true, 4, "a", 2, &[], b"y"));
    assert_eq!(publisher.reason(), Reason::PublishNotAuthorized);
}

// MQTT 5.0: 4.3.3-9
#[test]
fn b55_who_is_told_that_a_message_of_qos_2_is_refused_uses_its_identifier_for_the_next_one() {
    for v5 in BOTH {
        let broker = Broker::new(Limits { refuses_by_code: true, ..Limits::default() });
        let rules = Arc::new(Changing::default());
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 2)]));
        let lasting = connect(v5, "pub").lasting(100);
        let mut publisher = Peer::with_rules(&broker, 2, &lasting, &rules);
        publisher.send(&publish(v5, 4, "a", 5, &[], b"first")).link.gone(Tick(0)); // its PUBREC is lost
        rules.forbid(&["a"]);
        let mut publisher = Peer::with_rules(&broker, 3, &lasting, &rules);
        publisher.send(&publish(v5, 0x0c, "a", 5, &[], b"first"));
        if v5 {
            assert_eq!(publisher.packets(), [(0x50, vec![0, 5, 0x87, 0])]);
        } else {
            assert_eq!(publisher.packets(), [(0x50, vec![0, 5])]);
            publisher.send(&ack(0x62, 5));
            assert_eq!(publisher.packets(), [(0x70, vec![0, 5])]);
        }
        rules.forbid(&[]);
        publisher.send(&publish(v5, 4, "a", 5, &[], b"second"));
        assert_eq!(publisher.packets().pop().map(|packet| packet.0), Some(0x50));
        assert_eq!(sub.payloads(), ["first", "second"]);
        assert_eq!(broker.stats().messages_dropped, 1);
    }
}

// MQTT 3.1.1: 4.6.0-2 to 4.6.0-4
#[test]
fn a_refusal_by_code_waits_for_its_turn_behind_acknowledgements_that_wait() {
    for (v5, publish_flags, ack_first) in [(false, 2, 0x40), (true, 2, 0x40), (false, 4, 0x50), (true, 4, 0x50)] {
        let limits =
            Limits { refuses_by_code: true, queue_messages_max: 1, slow_consumer_ms: 1_000, ..Limits::default() };
        let broker = Broker::new(limits);
        let rules = Arc::new(Changing::default());
        rules.forbid(&["secret"]);
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("a", 1), ("secret", 1)]));
        let mut publisher = Peer::with_rules(&broker, 2, &connect(v5, "pub"), &rules);
        for (id, topic) in [(1, "a"), (2, "a"), (3, "secret"), (4, "a")] {
            publisher.send(&publish(v5, publish_flags, topic, id, &[], topic.as_bytes()));
        }
        let ids = |peer: &mut Peer| -> Vec<(u8, u8, Option<u8>)> {
            peer.packets().iter().map(|(first, body)| (*first, body[1], body.get(2).copied().filter(|_| v5))).collect()
        };
        let success = v5.then_some(0);
        assert_eq!(
            ids(&mut publisher),
            [(ack_first, 1, success)],
            "the second waits, and so does the refusal behind it"
        );
        assert_eq!(sub.payloads(), ["a"]);
        publisher.deliver();
        let refused = v5.then_some(0x87);
        assert_eq!(ids(&mut publisher), [(ack_first, 2, success), (ack_first, 3, refused)]);
        assert_eq!(sub.payloads(), ["a"]);
        publisher.deliver();
        assert_eq!(ids(&mut publisher), [(ack_first, 4, success)]);
        assert_eq!(sub.payloads(), ["a"]);
    }
}

#[test]
fn b55_a_retained_message_outlives_its_publishers_permission_and_not_its_readers() {
    let (broker, rules) = (broker(), Arc::new(Changing::default()));
    let mut publisher = Peer::with_rules(&broker, 1, &connect(true, "pub"), &rules);
    publisher.send(&publish(true, 3, "a", 1, &[], b"kept"));
    rules.forbid(&["a"]);
    let mut other = Peer::connected(&broker, 2, &connect(true, "other"));
    other.send(&subscribe(true, &[("a", 1)]));
    assert_eq!(other.payloads(), ["kept"]);
    publisher.send(&subscribe(true, &[("a", 1)]));
    assert_eq!(publisher.reason(), Reason::SubscribeNotAuthorized);
}

#[test]
fn b52_b66_a_will_is_judged_again_when_it_is_published() {
    for v5 in BOTH {
        let (broker, rules) = (broker(), Arc::new(Changing::default()));
        let mut sub = Peer::connected(&broker, 1, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("will", 1)]));
        let mut dying = Peer::with_rules(&broker, 2, &connect(v5, "dying").will(&[], "will", "gone"), &rules);
        rules.forbid(&["will"]);
        dying.link.gone(Tick(0));
        assert!(sub.payloads().is_empty());
        assert_eq!(broker.stats().messages_dropped, 1);
    }
}

/// May do everything, and has proven to be this user.
struct Proven(&'static str);

impl Permissions for Proven {
    fn may_publish(&self, _topic: &str, _: u8, _: bool) -> bool {
        true
    }
    fn may_subscribe(&self, _filter: &str, _: Option<u8>) -> bool {
        true
    }
    fn may_receive(&self, _topic: &str) -> bool {
        true
    }
    fn generation(&self) -> u64 {
        0
    }
    fn user(&self) -> Option<Arc<str>> {
        Some(self.0.into())
    }
}

fn is_present(peer: &Peer) -> bool {
    peer.accepted.as_ref().is_some_and(|accepted| accepted.session_present)
}

#[test]
fn b51_another_user_does_not_get_the_session_of_a_client_identifier() {
    for v5 in BOTH {
        let broker = broker();
        let (alice, bob) = (Arc::new(Proven("alice")), Arc::new(Proven("bob")));
        let mut first = Peer::with_rules(&broker, 1, &connect(v5, "dev").lasting(100), &alice);
        first.send(&subscribe(v5, &[("a", 1)]));
        first.link.gone(Tick(0));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"for alice"));
        let mut second = Peer::with_rules(&broker, 3, &connect(v5, "dev").lasting(100), &bob);
        assert!(!is_present(&second));
        publisher.send(&publish(v5, 2, "a", 2, &[], b"later"));
        assert!(second.payloads().is_empty());
    }
}

#[test]
fn b51_a_user_name_that_is_only_said_owns_nothing() {
    for v5 in BOTH {
        let broker = broker();
        let alice = Arc::new(Proven("alice"));
        let silent = connect(v5, "dev").lasting(100);
        let says_alice = connect(v5, "dev").user("alice").lasting(100);
        let mut first = Peer::with_rules(&broker, 1, &silent, &alice);
        first.send(&subscribe(v5, &[("a", 1)]));
        first.link.gone(Tick(0));
        let mut publisher = Peer::connected(&broker, 2, &connect(v5, "pub"));
        publisher.send(&publish(v5, 2, "a", 1, &[], b"for alice"));
        let mut liar = Peer::connected(&broker, 3, &says_alice);
        assert!(!is_present(&liar) && liar.payloads().is_empty());
        assert_eq!(
            broker.clients("dev", None, 1).clients[0].username.as_deref(),
            Some("alice"),
            "what it said is shown"
        );
        liar.link.gone(Tick(0));
        assert!(!is_present(&Peer::with_rules(&broker, 4, &silent, &alice)), "nor does alice get what it left");

        // Names that nobody proves are as good as none.
        Peer::connected(&broker, 5, &connect(v5, "any").user("x").lasting(100)).link.gone(Tick(0));
        let anybody = Peer::connected(&broker, 6, &connect(v5, "any").user("y").lasting(100));
        assert!(is_present(&anybody));
        assert_eq!(broker.clients("any", None, 1).clients[0].username.as_deref(), Some("y"));
    }
}
