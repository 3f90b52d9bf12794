//! The broker's own topics.

mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::Reason;
use wire::{Peer, Rules, broker, connect, publish, subscribe};

const BOTH: [bool; 2] = [false, true];

fn figures(peer: &mut Peer) -> BTreeMap<String, String> {
    peer.messages().into_iter().map(|got| (got.topic, got.payload)).collect()
}

#[test]
fn sys_topics_tell_what_the_broker_does_and_again_only_what_changed() {
    for v5 in BOTH {
        let broker = broker();
        broker.expire(Tick(0));
        let mut reader = Peer::connected(&broker, 1, &connect(v5, "reader"));
        reader.send(&subscribe(v5, &[("$SYS/#", 0)]));
        let first = figures(&mut reader);
        assert_eq!(first["$SYS/broker/uptime"], "0 seconds", "retained: whoever subscribes has them at once");
        assert!(first["$SYS/broker/version"].starts_with("tracemq version "));
        Peer::connected(&broker, 2, &connect(v5, "away").lasting(100))
            .send(&subscribe(v5, &[("a", 1), ("$share/g/a", 1)]));
        let mut publisher = Peer::connected(&broker, 3, &connect(v5, "pub"));
        publisher.send(&publish(v5, 3, "kept", 1, &[], b"12345"));
        broker.expire(Tick(9_999));
        assert!(figures(&mut reader).is_empty());
        broker.expire(Tick(10_000));
        let second = figures(&mut reader);
        for (topic, value) in [
            ("uptime", "10 seconds"),
            ("clients/connected", "2"),
            ("clients/total", "3"),
            ("clients/disconnected", "1"),
            ("clients/maximum", "2"),
            ("publish/messages/received", "1"),
            ("publish/bytes/received", "5"),
            ("retained messages/count", "1"),
            ("store/messages/bytes", "9"),
            ("subscriptions/count", "3"),
            ("shared_subscriptions/count", "1"),
            ("load/publish/received/1min", "0.92"),
            ("load/connections/1min", "2.76"),
        ] {
            assert_eq!(second.get(&format!("$SYS/broker/{topic}")).map(String::as_str), Some(value), "{topic}");
        }
        assert!(!second.contains_key("$SYS/broker/version"), "it did not change");
        assert!(second["$SYS/broker/bytes/received"].parse::<u64>().unwrap() > 100);
    }
}

#[test]
fn sys_topics_can_be_switched_off_and_use_up_no_bound_of_retained_messages() {
    let broker = Broker::new(Limits { sys_interval_s: 0, ..Limits::default() });
    let mut reader = Peer::connected(&broker, 1, &connect(true, "reader"));
    reader.send(&subscribe(true, &[("$SYS/#", 0)]));
    broker.expire(Tick(0));
    broker.expire(Tick(100_000));
    assert!(figures(&mut reader).is_empty());
    let broker = Broker::new(Limits { retained_messages_max: 0, ..Limits::default() });
    broker.expire(Tick(0));
    let mut reader = Peer::connected(&broker, 1, &connect(true, "reader"));
    reader.send(&subscribe(true, &[("$SYS/broker/+", 0)]));
    assert!(figures(&mut reader).contains_key("$SYS/broker/uptime"));
    assert_eq!((broker.stats().retained, broker.stats().messages_dropped), (0, 0));
}

// MQTT 3.1.1: 4.7.2-1
// MQTT 5.0: 4.7.2-1
#[test]
fn b57_leading_wildcards_match_no_sys_topic_live_or_retained() {
    for v5 in BOTH {
        let broker = broker();
        broker.expire(Tick(0));
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "dev"));
        peer.send(&subscribe(v5, &[("#", 0), ("+/broker/#", 0), ("+/#", 0)]));
        broker.expire(Tick(10_000));
        assert!(peer.payloads().is_empty());
    }
}

#[test]
fn b58_sys_topics_are_not_published_to_and_read_only_by_permission_and_name_no_client() {
    for v5 in BOTH {
        let broker = broker();
        broker.expire(Tick(0));
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "intruder"));
        peer.send(&publish(v5, 0, "$SYS/broker/version", 0, &[], b"mine"));
        assert_eq!(peer.reason(), Reason::BadTopic);
        let rules = Arc::new(Rules { publish: |_| true, subscribe: |filter| !filter.starts_with('$') });
        let mut peer = Peer::with_rules(&broker, 2, &connect(v5, "ordinary"), &rules);
        peer.send(&subscribe(v5, &[("$SYS/#", 0)]));
        assert_eq!(peer.reason(), Reason::SubscribeNotAuthorized);
        let mut reader = Peer::connected(&broker, 3, &connect(v5, "secret-name").user("secret-name"));
        reader.send(&subscribe(v5, &[("$SYS/#", 0)]));
        broker.expire(Tick(10_000));
        assert!(!format!("{:?}", figures(&mut reader)).contains("secret-name"));
    }
}
