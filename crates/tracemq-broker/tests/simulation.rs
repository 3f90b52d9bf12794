//! Thousands of seeded runs of clients that publish and subscribe while packets are cut, connections are lost and taken
//! over, acknowledgements put off, time passes and rules change; judged by a small model.
//!
//! `TRACEMQ_SEEDS=100000 cargo nextest run -p tracemq-broker simulation` for more of them.

// A helper of tests may panic as a test may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "simulation/device.rs"]
mod device;
mod wire;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use device::{Device, Publication};
use tracemq_broker::{Broker, Closing, Limits, Permissions, Step, Tick};
use wire::{Changing, Got, Peer, subscribe};

/// Deterministic and good enough (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// What each device subscribes to, and with which QoS. `s` is the topic whose permission comes and goes.
const SUBSCRIPTIONS: &[&[(&str, u8)]] = &[
    &[("a", 2), ("s", 1)],
    &[("a", 1), ("b", 2), ("s", 0)],
    &[("$share/group/g", 2), ("b", 1)],
    &[("$share/group/g", 2), ("+", 0)],
    &[],
];
const TOPICS: &[&str] = &["a", "b", "g", "s"];

/// What may be read changes, what may be written does not: a client would be closed for it.
#[derive(Default)]
pub(crate) struct Reading(Changing);

impl Permissions for Reading {
    fn may_publish(&self, _: &str, _: u8, _: bool) -> bool {
        true
    }
    fn may_subscribe(&self, filter: &str, qos: Option<u8>) -> bool {
        self.0.may_subscribe(filter, qos)
    }
    fn may_receive(&self, topic: &str) -> bool {
        self.0.may_receive(topic)
    }
    fn generation(&self) -> u64 {
        self.0.generation()
    }
}

struct World {
    broker: Arc<Broker>,
    rules: Arc<Reading>,
    forbidden: bool,
    devices: Vec<Device>,
    /// Connections that their clients have given up and the server has not.
    lost: Vec<Peer>,
    connections: u128,
    now: Tick,
    published: usize,
}

impl World {
    fn new(random: &mut Random, limits: Limits) -> Self {
        let broker = Broker::new(limits);
        let rules = Arc::new(Reading::default());
        let devices = (0..SUBSCRIPTIONS.len()).map(|at| Device::new(&format!("d{at}"), random.one_in(2))).collect();
        let mut world = Self {
            broker,
            rules,
            forbidden: false,
            devices,
            lost: Vec::new(),
            connections: 0,
            now: Tick(0),
            published: 0,
        };
        for (at, filters) in SUBSCRIPTIONS.iter().enumerate() {
            world.open(at);
            if !filters.is_empty() {
                let packet = subscribe(world.devices[at].v5, filters);
                world.devices[at].to_server.extend(packet);
            }
        }
        world.settle();
        world
    }

    fn open(&mut self, at: usize) {
        self.connections += 1;
        let device = &mut self.devices[at];
        self.lost.extend(device.lose()); // a takeover, unless the server learns of the loss first
        device.open(&self.broker, self.connections, &self.rules, self.now);
    }

    /// What all queues hold is what is said of them.
    fn judge_sum(&self) {
        assert_eq!(self.broker.stats().queued_bytes, self.broker.count_queued_bytes());
    }

    fn step(&mut self, random: &mut Random) {
        self.now = self.now.plus_ms(u64::try_from(random.below(40)).unwrap());
        let at = random.below(self.devices.len());
        match random.below(20) {
            0 if self.devices[at].peer.is_none() => self.open(at),
            0 if random.one_in(4) => self.open(at),
            1 if random.one_in(3) => self.lost.extend(self.devices[at].lose()),
            2 if !self.lost.is_empty() => {
                let mut peer = self.lost.swap_remove(random.below(self.lost.len()));
                peer.link.gone(self.now);
            }
            3..=5 => self.publish(at, random),
            6..=9 => self.devices[at].carry_up(random.below(40), self.now),
            10..=13 => self.devices[at].carry_down(random.below(60), random.one_in(3)),
            14..=17 => {
                self.poll(at, 1 + random.below(80));
            }
            18 => self.devices[at].acknowledge(),
            19 if random.one_in(8) => {
                self.forbidden = !self.forbidden;
                self.rules.0.forbid(if self.forbidden { &["s", "+"] } else { &[] });
            }
            _ => self.pass_time(),
        }
        self.forget_the_closed();
    }

    fn publish(&mut self, at: usize, random: &mut Random) {
        let device = &mut self.devices[at];
        if !device.ready || device.unacknowledged.len() >= 3 {
            return;
        }
        let topic = TOPICS[random.below(TOPICS.len())];
        self.published += 1;
        let payload = format!("{topic}{}", self.published);
        let qos = u8::try_from(random.below(3)).unwrap();
        device.publish(Publication { topic, payload, qos });
    }

    /// One turn of the door's loop for deliveries; tells whether there was anything.
    fn poll(&mut self, at: usize, room: usize) -> bool {
        let Some(peer) = &mut self.devices[at].peer else { return false };
        peer.now = self.now;
        let waker = Waker::from(Arc::clone(&peer.woken));
        let before = peer.output.len();
        let polled = peer.link.poll_deliveries(self.now, &mut Context::from_waker(&waker), room, &mut peer.output);
        judge_permission(peer, before, self.forbidden);
        match polled {
            Poll::Ready(Step::Continue) => {
                peer.send(&[]);
                true
            }
            Poll::Ready(Step::Close(closing)) => {
                peer.closed = Some(closing);
                true
            }
            Poll::Ready(step) => panic!("{step:?}"),
            Poll::Pending => false,
        }
    }

    fn pass_time(&mut self) {
        self.now = self.now.plus_ms(50);
        self.broker.expire(self.now);
        for device in &mut self.devices {
            let Some(peer) = &mut device.peer else { continue };
            if peer.link.deadline().is_some_and(|deadline| deadline <= self.now) {
                peer.time_out(self.now);
                peer.send(&[]);
            }
        }
    }

    /// A link that has closed stays closed, for one reason, and says nothing more.
    fn forget_the_closed(&mut self) {
        for device in &mut self.devices {
            if device.peer.as_ref().is_none_or(|peer| peer.closed.is_none()) {
                continue;
            }
            let Some(mut peer) = device.lose() else { continue };
            let (closing, written) = (peer.closed.clone(), peer.output.len());
            if let Some(Closing::End(end)) = &closing {
                let expected = ["slow-consumer", "session-taken-over"];
                assert!(expected.contains(&end.reason.code()), "{}: {end:?}", device.name);
            }
            peer.send(&[0xc0, 0]).time_out(Tick(u64::MAX / 2));
            assert_eq!((peer.closed.clone(), peer.output.len()), (closing, written), "one end");
            peer.link.gone(self.now);
        }
    }

    /// From here on the network is good: everybody comes back and takes everything. Links are polled only when they
    /// were woken, so that a wake-up which is missing shows.
    fn settle(&mut self) {
        for mut peer in std::mem::take(&mut self.lost) {
            peer.link.gone(self.now);
        }
        for at in 0..self.devices.len() {
            if self.devices[at].peer.is_none() {
                self.open(at);
            }
            self.poll(at, 65_536);
        }
        for _ in 0..10_000 {
            let mut moved = false;
            for at in 0..self.devices.len() {
                let device = &mut self.devices[at];
                let waiting = device.peer.as_ref().is_some_and(|peer| !peer.output.is_empty());
                if waiting || !device.owed.is_empty() || !device.to_server.is_empty() {
                    device.carry_down(usize::MAX, false);
                    device.carry_up(usize::MAX, self.now);
                    self.poll(at, 65_536);
                    moved = true;
                } else if device.peer.as_ref().is_some_and(|peer| peer.woken.take() > 0) {
                    moved |= self.poll(at, 65_536);
                }
                self.forget_the_closed();
                if self.devices[at].peer.is_none() {
                    self.open(at);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// How many copies of acknowledged publications did not arrive; and that what arrived may have.
    fn judge(&self) -> u64 {
        let mut missing = 0;
        for device in &self.devices {
            assert!(device.unacknowledged.is_empty(), "{}: {:?}", device.name, device.unacknowledged);
            for one in &device.acknowledged {
                if one.topic == "g" {
                    let all: u32 =
                        self.devices.iter().skip(2).take(2).map(|member| member.received(&one.payload)).sum();
                    let plain = self.devices[3].received(&one.payload).min(1); // by `+` with QoS 0, if it was there
                    assert!(one.qos == 1 || all <= 1 + plain, "{}: a group got it {all} times", one.payload);
                    missing += u64::from(all == 0);
                }
                for (subscriber, filters) in self.devices.iter().zip(SUBSCRIPTIONS) {
                    for (_, qos) in filters.iter().filter(|(filter, _)| *filter == one.topic && one.topic != "s") {
                        let times = subscriber.received(&one.payload);
                        missing += u64::from(*qos > 0 && times == 0);
                        let once = one.qos == 2 && *qos == 2;
                        assert!(!once || times <= 1, "{}: {} times at {}", one.payload, times, subscriber.name);
                    }
                }
            }
        }
        missing
    }
}

/// Nothing of the forbidden topic was written.
fn judge_permission(peer: &Peer, before: usize, forbidden: bool) {
    let mut rest = &peer.output[before..];
    while forbidden && !rest.is_empty() {
        let length = usize::from(rest[1]); // nothing here is longer than 127 bytes
        let (first, body) = (rest[0], &rest[2..2 + length]);
        if first >> 4 == 3 {
            assert_ne!(Got::of(first, body, peer.v5).topic, "s", "delivered without permission");
        }
        rest = &rest[2 + length..];
    }
}

/// `TRACEMQ_SEEDS` of them, from `TRACEMQ_SEED` on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("TRACEMQ_SEED", 0);
    first..first + number("TRACEMQ_SEEDS", 2_000)
}

/// Tells the seed of a run that failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TRACEMQ_SEEDS=1 TRACEMQ_SEED={} runs it again", self.0);
        }
    }
}

fn run(seed: u64, limits: Limits) -> World {
    let mut random = Random(seed);
    let mut world = World::new(&mut random, limits);
    for _ in 0..250 {
        world.step(&mut random);
        world.judge_sum();
    }
    world.rules.0.forbid(&[]);
    world.forbidden = false;
    world.settle();
    world.judge_sum();
    assert_eq!(world.broker.stats().queued_bytes, 0, "all is delivered");
    world
}

// MQTT 3.1.1: 4.1.0-1, 4.1.0-2, 4.3.2-1, 4.5.0-1
// MQTT 5.0: 4.5.0-1
#[test]
fn simulation_no_acknowledged_message_is_lost_and_qos_2_comes_once() {
    for seed in seeds() {
        let _told = Seed(seed);
        let limits = Limits { inflight_max: 3, ..Limits::default() };
        let world = run(seed, limits);
        assert_eq!(world.judge(), 0, "seed {seed}");
    }
}

// MQTT 5.0: 4.5.0-1
#[test]
fn simulation_with_full_queues_every_loss_is_counted() {
    let mut losses = 0;
    for seed in seeds() {
        let _told = Seed(seed);
        let limits = Limits { inflight_max: 3, queue_messages_max: 3, slow_consumer_ms: 1_500, ..Limits::default() };
        let world = run(seed, limits);
        let missing = world.judge();
        assert!(missing <= world.broker.stats().messages_dropped, "seed {seed}: {missing} missing");
        losses += missing;
    }
    assert!(losses > 0, "no queue was ever full");
}

#[test]
fn simulation_with_all_queues_full_every_loss_is_counted() {
    let mut losses = 0;
    for seed in seeds() {
        let _told = Seed(seed);
        let limits =
            Limits { inflight_max: 3, all_queues_bytes_max: 1_500, slow_consumer_ms: 1_500, ..Limits::default() };
        let world = run(seed, limits);
        let missing = world.judge();
        assert!(missing <= world.broker.stats().messages_dropped, "seed {seed}: {missing} missing");
        losses += missing;
    }
    assert!(losses > 0, "they never were");
}
