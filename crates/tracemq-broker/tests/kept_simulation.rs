//! Lives of a broker that crashes at any moment, with clients that lose their connections: what was acknowledged arrives, and what
//! is of QoS 2 arrives once.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod keeper;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keeper::{TestKeeper, recall};
use tracemq_broker::{Broker, Kept, Limits, Tick};
use wire::{Peer, ack, connect, publish, subscribe};

const SEEDS: u64 = 1_500;
const STEPS: usize = 250;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % bound
    }
}

/// What a client that publishes remembers of a message that is not done.
#[derive(Clone, Debug)]
struct Sent {
    payload: String,
    qos: u8,
    released: bool,
}

struct Publisher {
    number: usize,
    v5: bool,
    peer: Option<Peer>,
    sent: BTreeMap<u16, Sent>,
    last_id: u16,
    count: usize,
}

impl Publisher {
    fn name(&self) -> String {
        format!("pub-{}", self.number)
    }

    fn publish(&mut self, qos: u8) -> Option<String> {
        self.peer.as_ref()?;
        if self.sent.len() >= 16 {
            return None;
        }
        self.last_id = (self.last_id % 20) + 1;
        while self.sent.contains_key(&self.last_id) {
            self.last_id = (self.last_id % 20) + 1;
        }
        self.count += 1;
        let payload = format!("{}:{}:{qos}", self.number, self.count);
        self.sent.insert(self.last_id, Sent { payload: payload.clone(), qos, released: false });
        self.send(self.last_id, false);
        Some(payload)
    }

    fn send(&mut self, id: u16, dup: bool) {
        let (sent, v5) = (self.sent[&id].clone(), self.v5);
        let Some(peer) = &mut self.peer else { return };
        let bytes = if sent.released {
            ack(0x62, id)
        } else {
            publish(v5, sent.qos << 1 | u8::from(dup) << 3, "t", id, &[], sent.payload.as_bytes())
        };
        peer.send(&bytes);
    }

    /// Takes what came; gives the payloads for which the server answers from now on.
    fn take(&mut self) -> Vec<String> {
        let mut owned = Vec::new();
        let Some(peer) = &mut self.peer else { return owned };
        peer.deliver();
        for (first, body) in peer.packets() {
            let id = u16::from_be_bytes([body[0], body[1]]);
            match first {
                0x40 => owned.extend(self.sent.remove(&id).map(|sent| sent.payload)),
                0x50 => {
                    if let Some(sent) = self.sent.get_mut(&id) {
                        if !sent.released {
                            owned.push(sent.payload.clone());
                        }
                        sent.released = true;
                        peer.send(&ack(0x62, id));
                    }
                }
                0x70 => drop(self.sent.remove(&id)),
                other => panic!("{other:x} for a client that only publishes"),
            }
        }
        assert_eq!(peer.closed, None);
        owned
    }

    fn connect(&mut self, broker: &Arc<Broker>, connection: u128) {
        if self.peer.is_some() {
            return;
        }
        let peer = Peer::connected(broker, connection, &connect(self.v5, &self.name()).lasting(1_000));
        if !peer.accepted.as_ref().unwrap().session_present {
            self.sent.clear(); // what it knows of the session is nothing to the new one [MQTT-4.4.0-1]
        }
        self.peer = Some(peer);
        for id in self.sent.keys().copied().collect::<Vec<_>>() {
            self.send(id, true);
        }
    }
}

struct Subscriber {
    v5: bool,
    peer: Option<Peer>,
    /// Of QoS 2: taken, and PUBREL not seen.
    open: BTreeSet<u16>,
    got: BTreeMap<String, usize>,
}

impl Subscriber {
    fn connect(&mut self, broker: &Arc<Broker>, connection: u128) {
        if self.peer.is_some() {
            return;
        }
        let peer = Peer::connected(broker, connection, &connect(self.v5, "sub").lasting(1_000));
        assert!(peer.accepted.as_ref().unwrap().session_present, "its session was durable");
        self.peer = Some(peer);
    }

    /// Takes what came. Each answer is sent unless the dice say that it comes too late.
    fn take(&mut self, dice: &mut Dice, patient: bool) {
        let Some(peer) = &mut self.peer else { return };
        peer.deliver();
        for (first, body) in peer.packets() {
            let answers = patient || dice.below(4) > 0;
            match first >> 4 {
                3 => {
                    let id = u16::from_be_bytes([body[3], body[4]]);
                    let payload = String::from_utf8(body[if self.v5 { 6 } else { 5 }..].to_vec()).unwrap();
                    let qos = first >> 1 & 3;
                    if qos == 1 || self.open.insert(id) {
                        *self.got.entry(payload).or_default() += 1;
                    }
                    if answers {
                        peer.send(&ack(if qos == 1 { 0x40 } else { 0x50 }, id));
                    }
                }
                6 => {
                    let id = u16::from_be_bytes([body[0], body[1]]);
                    self.open.remove(&id);
                    if answers {
                        peer.send(&ack(0x70, id));
                    }
                }
                9 => {}
                other => panic!("{other:x} for a client that only subscribes"),
            }
        }
        assert_eq!(peer.closed, None);
    }
}

struct World {
    broker: Arc<Broker>,
    keeper: Arc<TestKeeper>,
    connections: u128,
    subscriber: Subscriber,
    publishers: Vec<Publisher>,
    /// The server has acknowledged them.
    owned: BTreeSet<String>,
}

impl World {
    fn new(dice: &mut Dice) -> Self {
        let keeper = TestKeeper::new(false);
        let broker = Broker::with_keeper(Limits::default(), keeper.clone(), Kept::default(), &recall, Tick(0), 0);
        let v5 = dice.below(2) == 0;
        let mut peer = Peer::connected(&broker, 1, &connect(v5, "sub").lasting(1_000));
        peer.send(&subscribe(v5, &[("t", 2)]));
        keeper.make_all_durable();
        let subscriber = Subscriber { v5, peer: Some(peer), open: BTreeSet::new(), got: BTreeMap::new() };
        let publishers = (0..2)
            .map(|number| {
                let v5 = dice.below(2) == 0;
                Publisher { number, v5, peer: None, sent: BTreeMap::new(), last_id: 0, count: 0 }
            })
            .collect();
        Self { broker, keeper, connections: 1, subscriber, publishers, owned: BTreeSet::new() }
    }

    fn connection(&mut self) -> u128 {
        self.connections += 1;
        self.connections
    }

    fn step(&mut self, dice: &mut Dice) {
        let one = dice.below(self.publishers.len());
        let connection = self.connection();
        match dice.below(20) {
            0..6 => {
                let qos = 1 + u8::from(dice.below(2) == 0);
                self.publishers[one].publish(qos);
            }
            6..9 => {
                let owned = self.publishers[one].take();
                self.owned.extend(owned);
            }
            9..12 => self.subscriber.take(dice, false),
            12..16 => self.keeper.make_durable(1 + dice.below(4)),
            16 => self.publishers[one].connect(&self.broker, connection),
            17 => self.subscriber.connect(&self.broker, connection),
            18 => match dice.below(3) {
                0 => self.subscriber.peer = None,
                _ => self.publishers[one].peer = None,
            },
            _ => {
                if dice.below(3) == 0 {
                    self.crash();
                }
            }
        }
    }

    /// What is not durable is gone, and so is what was on its way to the clients.
    fn crash(&mut self) {
        let (broker, keeper) = self.keeper.restart(Limits::default(), Tick(0), 0);
        self.subscriber.peer = None;
        for publisher in &mut self.publishers {
            publisher.peer = None;
        }
        (self.broker, self.keeper) = (broker, keeper);
    }

    /// Everybody is there, and everything becomes durable, until nothing is under way.
    fn settle(&mut self, dice: &mut Dice) {
        for _ in 0..30 {
            let (one, two, three) = (self.connection(), self.connection(), self.connection());
            self.subscriber.connect(&self.broker, one);
            self.publishers[0].connect(&self.broker, two);
            self.publishers[1].connect(&self.broker, three);
            self.keeper.make_all_durable();
            for publisher in &mut self.publishers {
                self.owned.extend(publisher.take());
            }
            self.subscriber.take(dice, true);
        }
        // What it answered too late it answers on the next connection.
        self.subscriber.peer = None;
        let connection = self.connection();
        self.subscriber.connect(&self.broker, connection);
        for _ in 0..10 {
            self.keeper.make_all_durable();
            self.subscriber.take(dice, true);
        }
        assert!(self.publishers.iter().all(|publisher| publisher.sent.is_empty()), "something is never acknowledged");
    }
}

#[test]
fn b72_whatever_crashes_and_breaks_what_was_acknowledged_arrives_and_qos_2_once() {
    let (mut acknowledged, mut crashes) = (0, 0);
    for seed in 1..=SEEDS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::new(&mut dice);
        for _ in 0..STEPS {
            world.step(&mut dice);
            assert_eq!(world.broker.stats().queued_bytes, world.broker.count_queued_bytes(), "seed {seed}");
        }
        world.crash();
        crashes += 1;
        world.settle(&mut dice);
        for payload in &world.owned {
            let times = world.subscriber.got.get(payload).copied().unwrap_or(0);
            assert!(times >= 1, "seed {seed}: {payload} was acknowledged and never came");
        }
        for (payload, times) in world.subscriber.got.iter().filter(|(payload, _)| payload.ends_with(":2")) {
            assert_eq!(*times, 1, "seed {seed}: {payload} of QoS 2 came more than once");
        }
        let kept = world.keeper.durable();
        assert_eq!((kept.entries, kept.received), (vec![], vec![]), "seed {seed}: something is kept for ever");
        acknowledged += world.owned.len();
    }
    assert!(
        acknowledged > 10_000 && crashes > 0,
        "{acknowledged} messages, {crashes} crashes: too few to say anything"
    );
}
