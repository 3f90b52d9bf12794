//! The way of messages as a tracer is told it: each step once, in their order, and nothing of messages it did not choose.

#![allow(clippy::unwrap_used)]

mod keeper;
mod wire;

use std::sync::{Arc, Mutex};
use std::task::Waker;

use keeper::TestKeeper;
use tracemq_broker::{Broker, Kept, Limits, NotSent, Passage, Tick, Traced, Tracer};
use tracemq_model::{ConnectionId, MessageId};
use wire::{Peer, Woken, ack, connect, packet, publish, subscribe};

/// Chooses what begins with `t`, and numbers it from `first` on.
#[derive(Debug)]
struct Told {
    first: u128,
    state: Mutex<(u128, Vec<String>)>,
}

impl Told {
    fn of(broker: &Broker, first: u128) -> Arc<Self> {
        let told = Arc::new(Self { first, state: Mutex::default() });
        broker.trace_messages(told.clone());
        told
    }

    /// What was told since, a line each: message, passage, client, connection, topic and QoS.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().1)
    }
}

impl Tracer for Told {
    fn choose(&self, topic: &str) -> Option<MessageId> {
        let mut state = self.state.lock().unwrap();
        topic.starts_with('t').then(|| {
            state.0 += 1;
            MessageId(self.first + state.0)
        })
    }

    fn tell(&self, traced: Traced<'_>) {
        let Traced { id, passage, client, connection, topic, qos, payload_bytes } = traced;
        assert_eq!(payload_bytes, 4);
        let passage = match passage {
            Passage::Published => "published".to_owned(),
            Passage::Delivered => "delivered".to_owned(),
            Passage::Queued => "queued".to_owned(),
            Passage::Dropped(why) => format!("dropped ({why})"),
        };
        let client = client.map_or("nobody", |client| client.as_str());
        let over = connection.map_or(String::new(), |ConnectionId(number)| format!(" over {number}"));
        self.state.lock().unwrap().1.push(format!("{}: {passage} {client}{over}, {topic} {qos}", id.0));
    }
}

#[test]
fn a_message_is_published_delivered_and_queued_under_one_id() {
    for v5 in [false, true] {
        let broker = wire::broker();
        let told = Told::of(&broker, 0);
        let mut here = Peer::connected(&broker, 1, &connect(v5, "here"));
        here.send(&subscribe(v5, &[("t/#", 1), ("other", 1)]));
        let mut away = Peer::connected(&broker, 2, &connect(v5, "away").lasting(100));
        away.send(&subscribe(v5, &[("t/#", 2)]));
        drop(away);
        let mut publisher = Peer::connected(&broker, 3, &connect(v5, "pub"));
        publisher.send(&publish(v5, 4, "t/1", 7, &[], b"data")).send(&publish(v5, 0, "other", 0, &[], b"data"));
        assert_eq!(told.take(), ["1: published pub over 3, t/1 2", "1: queued away, t/1 2"]);
        here.deliver();
        assert_eq!(told.take(), ["1: delivered here over 1, t/1 1"]);
        // Sent again by the publisher: the same message.
        publisher.send(&publish(v5, 0xc, "t/1", 7, &[], b"data"));
        assert_eq!(told.take(), [""; 0]);
        let mut away = Peer::connected(&broker, 4, &connect(v5, "away").lasting(100));
        away.deliver();
        assert_eq!(told.take(), ["1: delivered away over 4, t/1 2"]);
        // Sent again to the subscriber: it was delivered once.
        drop(away);
        Peer::connected(&broker, 5, &connect(v5, "away").lasting(100)).deliver();
        assert_eq!(told.take(), [""; 0]);
        publisher.send(&publish(v5, 0, "t/2", 0, &[], b"data"));
        let nobody = "2: dropped (QoS 0, and the client was away) away, t/2 0";
        assert_eq!(told.take(), ["2: published pub over 3, t/2 0", nobody]);
    }
}

#[test]
fn nothing_is_told_where_nobody_asks() {
    let broker = wire::broker();
    let mut here = Peer::connected(&broker, 1, &connect(true, "here"));
    here.send(&subscribe(true, &[("t/#", 1)]));
    here.send(&publish(true, 2, "t/1", 1, &[], b"data"));
    let told = Told::of(&broker, 0);
    assert_eq!(here.payloads(), ["data"]);
    assert_eq!(told.take(), [""; 0], "it was taken before");
}

#[test]
fn wills_and_retained_messages_are_told_too() {
    let broker = wire::broker();
    let told = Told::of(&broker, 0);
    let device = connect(true, "dev").flags(0x20).will(&[], "t/will", "dead");
    Peer::connected(&broker, 1, &device).link.gone(Tick(1));
    assert_eq!(told.take(), ["1: published dev over 1, t/will 0"]);
    let delayed = connect(true, "dev").will(&[0x18, 0, 0, 0, 10], "t/will", "dead").lasting(100);
    Peer::connected(&broker, 2, &delayed).link.gone(Tick(0));
    broker.expire(Tick(10_000));
    assert_eq!(told.take(), ["2: published dev, t/will 0"], "its connection is long gone");
    let mut publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
    publisher.send(&publish(true, 1, "t/kept", 0, &[], b"data"));
    let mut late = Peer::connected(&broker, 4, &connect(true, "late"));
    late.send(&subscribe(true, &[("t/kept", 0)])).deliver();
    assert_eq!(told.take(), ["3: published pub over 3, t/kept 0", "3: delivered late over 4, t/kept 0"]);
}

#[test]
fn what_does_not_arrive_is_told_with_its_cause() {
    let broker = Broker::new(Limits { queue_messages_max: 2, ..Limits::default() });
    let told = Told::of(&broker, 0);
    let mut small = connect(true, "small").lasting(100);
    small = small.props(&[0x11, 0, 0, 0, 100, 0x27, 0, 0, 0, 80]);
    let mut away = Peer::connected(&broker, 1, &small);
    away.send(&subscribe(true, &[("t/#", 1)]));
    drop(away);
    let mut publisher = Peer::connected(&broker, 2, &connect(true, "pub"));
    let expiring = [0x02, 0, 0, 0, 1];
    let long = format!("t/{}", "x".repeat(80));
    for (topic, block) in [("t/1", &expiring[..]), (long.as_str(), &[]), ("t/3", &[])] {
        publisher.send(&publish(true, 2, topic, 1, block, b"data"));
    }
    let full = "3: dropped (the client's queue was full) small, t/3 1";
    assert_eq!(told.take().last().map(String::as_str), Some(full));
    Peer::connected_at(&broker, 3, &small, Tick(5_000)).deliver();
    assert_eq!(
        told.take(),
        [
            "1: dropped (it expired while it waited) small over 3, t/1 1",
            &format!("2: dropped (it is larger than the client takes) small over 3, {long} 1"),
        ]
    );
    publisher.send(&publish(true, 2, "t/4", 1, &[], b"data"));
    broker.expire(Tick(200_000));
    let over = "4: dropped (the client's session ended while it waited) small, t/4 1";
    assert_eq!(told.take().last().map(String::as_str), Some(over));
}

#[test]
fn a_shared_subscription_tells_who_it_waits_for() {
    let broker = wire::broker();
    let told = Told::of(&broker, 0);
    let mut member = Peer::connected(&broker, 1, &connect(true, "member").lasting(100));
    member.send(&subscribe(true, &[("$share/g/t/#", 1)]));
    drop(member);
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 2, "t/1", 1, &[], b"data"));
    assert_eq!(told.take(), ["1: published pub over 2, t/1 1", "1: queued member, t/1 1"]);
    let mut member = Peer::connected(&broker, 3, &connect(true, "member").lasting(100));
    member.deliver();
    assert_eq!(told.take(), ["1: delivered member over 3, t/1 1"]);
    member.send(&ack(0x40, 1)).send(&packet(0xe0, &[]));
}

#[test]
fn a_queued_message_keeps_its_id_over_a_restart() {
    let keeper = TestKeeper::new(true);
    let limits = Limits::default();
    let broker = Broker::with_keeper(limits.clone(), keeper.clone(), Kept::default(), &keeper::recall, Tick(0), 0);
    let told = Told::of(&broker, 100);
    let mut away = Peer::connected(&broker, 1, &connect(true, "away").lasting(100));
    away.send(&subscribe(true, &[("t/#", 2)]));
    drop(away);
    Peer::connected(&broker, 2, &connect(true, "pub")).send(&publish(true, 2, "t/1", 1, &[], b"data"));
    assert_eq!(told.take(), ["101: published pub over 2, t/1 1", "101: queued away, t/1 1"]);
    let (broker, _keeper) = keeper.restart(limits, Tick(0), 0);
    let told = Told::of(&broker, 0);
    Peer::connected(&broker, 3, &connect(true, "away").lasting(100)).deliver();
    assert_eq!(told.take(), ["101: delivered away over 3, t/1 1"]);
}

/// A message that nobody's connection published: it is told by nobody's name, reaches who is there and waits for who is not, and what
/// waits is to be durable.
#[test]
fn a_message_that_the_server_is_asked_to_send_is_like_a_client_s() {
    let keeper = TestKeeper::new(false);
    let broker = Broker::with_keeper(Limits::default(), keeper.clone(), Kept::default(), &keeper::recall, Tick(0), 0);
    let told = Told::of(&broker, 0);
    let mut here = Peer::connected(&broker, 1, &connect(true, "here"));
    here.send(&subscribe(true, &[("t/#", 2)])).deliver();
    let sent = broker.send(Tick(1), "t/1", bytes::Bytes::from_static(b"four")).unwrap();
    assert_eq!((sent.id, sent.kept), (Some(MessageId(1)), None));
    here.deliver();
    assert!(here.packets().iter().any(|(first, _)| *first == 0x32), "a PUBLISH with QoS 1");
    assert_eq!(told.take(), ["1: published nobody, t/1 1", "1: delivered here over 1, t/1 1"]);

    let mut away = Peer::connected(&broker, 2, &connect(true, "away").lasting(100));
    away.send(&subscribe(true, &[("other", 1)]));
    keeper.make_all_durable();
    away.deliver();
    drop(away);
    let sent = broker.send(Tick(2), "other", bytes::Bytes::from_static(b"four")).unwrap();
    let mark = sent.kept.unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(sent.id.is_none() && !broker.is_kept(mark, &waker));
    keeper.make_all_durable();
    assert!(broker.is_kept(mark, &waker) && woken.take() == 1);

    for topic in ["", "a/#", "a/+/b", "$SYS/broker/version", "$share/a/b", "a\0b"] {
        let refused = broker.send(Tick(3), topic, bytes::Bytes::new());
        assert!(matches!(refused, Err(NotSent::Topic(_))), "{topic}: {refused:?}");
    }
}
