//! A connection that loses its session to a newer one while it handles what its client sent: from then on nothing that it
//! does counts, and QoS 2 comes once.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod wire;

use std::sync::{Arc, Mutex};

use tracemq_broker::{Broker, Permissions};
use wire::{Peer, ack, broker, connect, publish, subscribe};

const BOTH: [bool; 2] = [false, true];

type Work = Box<dyn FnOnce() -> Peer + Send>;

/// Does something when its client publishes to `now`, and keeps the connection that this gave: so another connection comes
/// between two packets that a link takes in at once.
#[derive(Default)]
struct Between {
    work: Mutex<Option<Work>>,
    newer: Mutex<Option<Peer>>,
}

impl Permissions for Between {
    fn may_publish(&self, topic: &str, _: u8, _: bool) -> bool {
        if topic == "now"
            && let Some(work) = self.work.lock().unwrap().take()
        {
            *self.newer.lock().unwrap() = Some(work());
        }
        true
    }
    fn may_subscribe(&self, _: &str, _: Option<u8>) -> bool {
        true
    }
    fn may_receive(&self, _: &str) -> bool {
        true
    }
    fn generation(&self) -> u64 {
        0
    }
}

fn device(v5: bool) -> wire::Connect {
    connect(v5, "dev").lasting(100)
}

/// What `old` sends, with the work done before it is looked at; gives the newer connection.
fn behind(old: &mut Peer, rules: &Between, work: Work, bytes: &[u8]) -> Peer {
    *rules.work.lock().unwrap() = Some(work);
    old.send(&[publish(old.v5, 0, "now", 0, &[], b""), bytes.to_vec()].concat());
    rules.newer.lock().unwrap().take().unwrap()
}

/// A second connection of the client.
fn newer(broker: &Arc<Broker>, v5: bool) -> Peer {
    let newer = Peer::connected(broker, 2, &device(v5));
    assert!(newer.accepted.as_ref().unwrap().session_present);
    newer
}

fn old(broker: &Arc<Broker>, v5: bool) -> (Peer, Arc<Between>) {
    let rules = Arc::new(Between::default());
    (Peer::with_rules(broker, 1, &device(v5), &rules), rules)
}

fn packets(peer: &mut Peer) -> Vec<(u8, u16)> {
    peer.deliver();
    let id = |body: &[u8]| u16::from_be_bytes([body[0], body[1]]);
    peer.packets().iter().map(|(first, body)| (*first, id(body))).collect()
}

/// A client that has subscribed to `a`, and a message of that QoS that it was sent.
fn with_message(v5: bool, qos: u8) -> (Arc<Broker>, Peer, Arc<Between>, u16) {
    let broker = broker();
    let (mut old, rules) = old(&broker, v5);
    old.send(&subscribe(v5, &[("a", qos)])).packets();
    Peer::connected(&broker, 9, &connect(v5, "pub")).send(&publish(v5, qos << 1, "a", 1, &[], b"x"));
    let id = old.messages().first().unwrap().id;
    (broker, old, rules, id)
}

#[test]
fn a_pubrec_that_the_old_connection_brings_too_late_takes_no_pubrel_from_the_new_one() {
    for v5 in BOTH {
        let (broker, mut old, rules, id) = with_message(v5, 2);
        let mut new = behind(&mut old, &rules, Box::new(move || newer(&broker, v5)), &ack(0x50, id));
        assert_eq!(old.packets(), [], "no PUBREL for the old connection: the session is not its any more");
        let again = new.messages();
        assert!(matches!(&*again, [one] if one.dup && one.qos == 2 && one.id == id), "{again:?}");
        new.send(&ack(0x50, id));
        assert_eq!(packets(&mut new), [(0x62, id)]);
        new.send(&ack(0x70, id));
        assert_eq!((packets(&mut new), new.link.held()), (vec![], Some((1, 0))));
    }
}

#[test]
fn a_pubcomp_that_the_old_connection_brings_too_late_completes_nothing() {
    for v5 in BOTH {
        let (broker, mut old, rules, id) = with_message(v5, 2);
        old.send(&ack(0x50, id)).packets();
        let mut new = behind(&mut old, &rules, Box::new(move || newer(&broker, v5)), &ack(0x70, id));
        assert_eq!(packets(&mut new), [(0x62, id)], "PUBREL again");
        new.send(&ack(0x70, id));
        assert_eq!(new.link.held(), Some((1, 0)));
    }
}

#[test]
fn a_puback_that_the_old_connection_brings_too_late_acknowledges_nothing() {
    for v5 in BOTH {
        let (broker, mut old, rules, id) = with_message(v5, 1);
        let mut new = behind(&mut old, &rules, Box::new(move || newer(&broker, v5)), &ack(0x40, id));
        let again = new.messages();
        assert!(matches!(&*again, [one] if one.dup && one.id == id), "{again:?}");
        new.send(&ack(0x40, id));
        assert_eq!(new.link.held(), Some((1, 0)));
    }
}

/// On the new connection the packet identifier is already another message's.
#[test]
fn a_pubrel_that_the_old_connection_brings_too_late_releases_nothing() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 8, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("b", 2)])).packets();
        let (mut old, rules) = old(&broker, v5);
        old.send(&publish(v5, 4, "b", 5, &[], b"first")).packets();
        let with_next = {
            let broker = Arc::clone(&broker);
            move || {
                let mut newer = newer(&broker, v5);
                newer.send(&ack(0x62, 5)).send(&publish(v5, 4, "b", 5, &[], b"next"));
                newer
            }
        };
        let new = behind(&mut old, &rules, Box::new(with_next), &ack(0x62, 5));
        assert_eq!(old.packets(), []);
        drop(new); // its PUBREC is lost with it
        let mut third = Peer::connected(&broker, 3, &device(v5));
        third.send(&publish(v5, 4 | 8, "b", 5, &[], b"next"));
        assert_eq!(packets(&mut third), [(0x50, 5)]);
        assert_eq!(sub.payloads(), ["first", "next"], "each once");
    }
}

/// The client has sent it again, and is done with it.
#[test]
fn a_message_of_qos_2_that_the_old_connection_brings_too_late_is_not_routed_again() {
    for v5 in BOTH {
        let broker = broker();
        let mut sub = Peer::connected(&broker, 8, &connect(v5, "sub"));
        sub.send(&subscribe(v5, &[("b", 2)])).packets();
        let (mut old, rules) = old(&broker, v5);
        let done = move || {
            let mut newer = newer(&broker, v5);
            newer.send(&publish(v5, 4 | 8, "b", 6, &[], b"once")).send(&ack(0x62, 6));
            newer
        };
        let mut new = behind(&mut old, &rules, Box::new(done), &publish(v5, 4, "b", 6, &[], b"once"));
        assert_eq!(old.packets(), [], "not acknowledged either");
        assert_eq!(packets(&mut new), [(0x50, 6), (0x70, 6)]);
        assert_eq!(sub.payloads(), ["once"]);
        old.deliver();
        assert_eq!(old.reason(), tracemq_model::Reason::SessionTakenOver);
    }
}
