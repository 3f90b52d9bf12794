//! Wills that wait when the process ends: published by the next one, once, when they are due, if that is still allowed.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod keeper;
mod wire;

use std::sync::Arc;

use keeper::{TestKeeper, recall};
use tracemq_broker::{Broker, Kept, Limits, Permissions, Tick};
use tracemq_model::{ConnectionId, End, Reason};
use wire::{Connect, Peer, connect, packet, subscribe};

/// The wall clock at tick 0.
const WALL: i64 = 1_700_000_000_000;
const YEAR_MS: i64 = 365 * 86_400_000;
/// Will Delay Interval: 10 s.
const DELAY: &[u8] = &[0x18, 0, 0, 0, 10];

/// Rights that are found again by a keepsake, or are not.
struct Found(Option<&'static str>);

impl Permissions for Found {
    fn may_publish(&self, _: &str, _: u8, _: bool) -> bool {
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
    fn keepsake(&self) -> Option<String> {
        self.0.map(ToOwned::to_owned)
    }
}

struct World {
    broker: Arc<Broker>,
    keeper: Arc<TestKeeper>,
}

impl World {
    /// `watcher` has a session that lasts, and is away.
    fn new(eager: bool) -> Self {
        let keeper = TestKeeper::new(eager);
        let broker = Broker::with_keeper(Limits::default(), keeper.clone(), Kept::default(), &recall, Tick(0), WALL);
        Peer::connected(&broker, 1, &watcher()).send(&subscribe(true, &[("will", 1)]));
        Self { broker, keeper }
    }

    fn device(&self, connect: &Connect, rights: Option<&'static str>) -> Peer {
        Peer::with_rules(&self.broker, 2, connect, &Arc::new(Found(rights)))
    }

    /// Killed; started again when so much time has passed by the wall clock.
    fn killed(&self, later_ms: i64) -> Self {
        let (broker, keeper) = self.keeper.restart(Limits::default(), Tick(0), WALL + later_ms);
        Self { broker, keeper }
    }

    /// What the watcher finds waiting; it goes again.
    fn seen(&self, now: u64) -> Vec<String> {
        self.broker.expire(Tick(now));
        let mut peer = Peer::connected_at(&self.broker, 3, &watcher(), Tick(now));
        let messages = peer.messages();
        for message in &messages {
            peer.send(&wire::ack(0x40, message.id));
        }
        peer.send(&packet(0xe0, &[]));
        messages.into_iter().map(|message| message.payload).collect()
    }

    fn kept(&self) -> usize {
        self.keeper.durable().wills.len()
    }
}

fn watcher() -> Connect {
    connect(true, "watcher").lasting(100_000)
}

/// QoS 1.
fn device(v5: bool, block: &[u8]) -> Connect {
    let device = connect(v5, "dev").will(block, "will", "dead").lasting(100);
    Connect { flags: device.flags | 0x08, ..device }
}

#[test]
fn a_will_whose_delay_runs_is_published_when_it_is_due_after_a_restart() {
    let world = World::new(true);
    world.device(&device(true, DELAY), Some("all")).link.gone(Tick(0));
    let world = world.killed(4_000);
    assert_eq!(world.seen(5_999), [""; 0]);
    assert_eq!(world.seen(6_000), ["dead"]);
    assert_eq!((world.seen(20_000), world.kept()), (vec![], 0), "once");
    assert_eq!(world.killed(30_000).seen(0), [""; 0], "nor by the next process");
}

#[test]
fn a_will_that_came_due_meanwhile_is_published_at_once() {
    let world = World::new(true);
    world.device(&device(true, DELAY), Some("all")).link.gone(Tick(0));
    let world = world.killed(50_000);
    assert_eq!((world.seen(0), world.kept()), (vec!["dead".to_owned()], 0));
    assert_eq!(world.broker.stats().sessions, 2, "its session goes on");
}

// MQTT 5.0: 3.1.3-9
#[test]
fn whoever_comes_back_in_time_has_no_will_published() {
    let world = World::new(true);
    world.device(&device(true, DELAY), Some("all")).link.gone(Tick(0));
    let back = connect(true, "dev").lasting(100);
    let after = world.killed(4_000);
    let _there = after.device(&back, Some("all"));
    assert_eq!((after.seen(20_000), after.kept()), (vec![], 0), "back after the restart");
    let _there = world.device(&back, Some("all"));
    let after = world.killed(4_000);
    assert_eq!((after.seen(20_000), after.kept()), (vec![], 0), "back before it");
}

#[test]
fn the_end_of_its_session_publishes_a_will_that_waits() {
    let long = [0x18, 0, 1, 0, 0]; // longer than the session lasts
    let world = World::new(true);
    world.device(&device(true, &long), Some("all")).link.gone(Tick(0));
    let after = world.killed(100_000);
    assert_eq!((after.seen(0), after.kept()), (vec!["dead".to_owned()], 0), "it ended while the server was off");
    let after = world.killed(0);
    assert_eq!(after.seen(99_999), [""; 0]);
    assert_eq!((after.seen(100_000), after.kept()), (vec!["dead".to_owned()], 0), "it ended later");
    let after = world.killed(0);
    let _clean = after.device(&connect(true, "dev"), Some("all"));
    assert_eq!((after.seen(0), after.kept()), (vec!["dead".to_owned()], 0), "clean start ended it");
}

#[test]
fn the_will_of_a_client_that_was_there_when_the_server_was_killed_is_published_by_the_next() {
    for v5 in [false, true] {
        let world = World::new(true);
        let _there = world.device(&device(v5, &[]), Some("all"));
        let after = world.killed(1_000);
        assert_eq!((after.seen(0), after.kept()), (vec!["dead".to_owned()], 0));
    }
    let world = World::new(true);
    let _there = world.device(&device(true, DELAY), Some("all"));
    let after = world.killed(1_000);
    assert_eq!(after.seen(9_999), [""; 0], "as if its client had gone at the start");
    let after = after.killed(10_000);
    assert_eq!(after.seen(999), [""; 0]);
    assert_eq!(after.seen(1_000), ["dead"], "and a second kill gives it no more time");
}

#[test]
fn no_will_is_kept_of_who_took_its_leave_or_has_no_session_that_lasts() {
    for v5 in [false, true] {
        let world = World::new(true);
        let mut dev = world.device(&device(v5, &[]), Some("all"));
        assert_eq!(world.kept(), 1);
        dev.send(&packet(0xe0, &[]));
        assert_eq!(world.kept(), 0);
        let mut dev = world.device(&device(v5, &[]), Some("all"));
        dev.link.gone(Tick(0));
        assert_eq!((world.seen(0), world.kept()), (vec!["dead".to_owned()], 0), "published at once");
        let _clean = world.device(&connect(v5, "clean").will(&[], "will", "x"), Some("all"));
        assert_eq!(world.kept(), 0);
    }
}

#[test]
fn after_a_restart_too_a_will_needs_permission_when_it_is_published() {
    for (rights, dropped_at_start) in [(Some("none"), 0), (Some("nobody knows"), 1), (None, 1)] {
        let world = World::new(true);
        world.device(&device(true, DELAY), rights).link.gone(Tick(0));
        assert_eq!(world.kept(), 1);
        let world = world.killed(0);
        assert_eq!(world.broker.stats().messages_dropped, dropped_at_start);
        assert_eq!((world.seen(10_000), world.kept()), (vec![], 0), "{rights:?}");
        assert_eq!(world.broker.stats().messages_dropped, 1, "counted");
    }
}

#[test]
fn a_clock_that_was_set_makes_no_will_wait_longer_than_its_delay() {
    let world = World::new(true);
    world.device(&device(true, DELAY), Some("all")).link.gone(Tick(0));
    let back = world.killed(-YEAR_MS);
    assert_eq!(back.seen(9_999), [""; 0]);
    assert_eq!(back.seen(10_000), ["dead"]);
}

#[test]
fn wherever_the_server_is_killed_a_will_comes_once() {
    let world = World::new(false);
    let mut device = world.device(&device(true, DELAY), Some("all"));
    world.keeper.make_all_durable();
    device.deliver().link.gone(Tick(0)); // after its CONNACK
    world.broker.expire(Tick(10_000));
    let steps = world.keeper.pending();
    assert!(steps >= 2, "it goes, and its will is published");
    for step in 0..=steps {
        world.keeper.make_durable(step.min(1));
        let after = world.killed(10_000);
        after.broker.expire(Tick(10_000));
        after.keeper.make_all_durable();
        assert_eq!(after.killed(20_000).seen(0), ["dead"]);
    }
}

#[test]
fn a_will_comes_back_as_it_was_and_lives_from_its_publication_on() {
    let world = World::new(true);
    // Expiry in 60 s, and a content type.
    let block = [DELAY, &[2, 0, 0, 0, 60, 3, 0, 1, b'c']].concat();
    world.device(&device(true, &block), Some("all")).link.gone(Tick(0));
    let world = world.killed(1_000);
    world.broker.expire(Tick(9_000));
    let again = world.killed(31_000);
    let got = Peer::connected_at(&again.broker, 3, &watcher(), Tick(0)).messages();
    assert_eq!((got.len(), got[0].payload.as_str()), (1, "dead"));
    for part in [&[2, 0, 0, 0, 39][..], &[3, 0, 1, b'c']] {
        assert!(got[0].props.windows(part.len()).any(|window| window == part), "{part:?} in {:?}", got[0].props);
    }
}

#[test]
fn connack_waits_until_the_will_is_durable_and_nobody_elses_does() {
    for v5 in [false, true] {
        let world = World::new(false);
        world.keeper.make_all_durable();
        let mut peer = world.device(&device(v5, if v5 { DELAY } else { &[] }), Some("all"));
        peer.send(&wire::publish(v5, 0, "early", 0, &[], b"")).deliver();
        assert!(peer.accepted.is_none() && peer.packets().is_empty());
        assert!(!peer.link.takes_input() && !peer.input.is_empty(), "what it sends behind CONNECT waits");
        // Neither who has no will, nor whose session is not kept, waits with it.
        Peer::connected(&world.broker, 10, &connect(v5, "other").lasting(100));
        Peer::connected(&world.broker, 11, &connect(v5, "clean").will(&[], "will", "not kept"));
        assert_eq!(world.killed(0).seen(20_000), [""; 0], "it was told nothing");

        world.keeper.make_all_durable();
        assert!(peer.woken.take() > 0);
        peer.deliver();
        assert!(peer.accepted.is_some() && peer.link.takes_input() && peer.input.is_empty());
        assert_eq!(peer.packets().first().map(|(first, _)| *first), Some(0x20));
        assert_eq!(world.broker.stats().messages_received, 1);
        assert_eq!(world.killed(0).seen(20_000), ["dead"]);
    }
}

#[test]
fn who_goes_or_is_ended_before_its_connack_has_no_will_and_gets_no_packet_before_it() {
    for v5 in [false, true] {
        let waiting = || {
            let world = World::new(false);
            world.keeper.make_all_durable();
            let peer = world.device(&device(v5, &[]), Some("all"));
            (world, peer)
        };
        let no_will = |world: &World| {
            world.keeper.make_all_durable();
            assert_eq!((world.seen(200_000), world.kept()), (vec![], 0));
            assert_eq!(world.killed(0).seen(0), [""; 0]);
        };
        let (world, mut peer) = waiting();
        peer.link.gone(Tick(0));
        no_will(&world);

        let (world, mut peer) = waiting();
        world.broker.end_link(ConnectionId(2), End::of(Reason::Kicked));
        peer.deliver();
        assert_eq!(peer.packets(), [(0x20, if v5 { vec![0, 0x8a, 0] } else { vec![0, 5] })]);
        assert_eq!((peer.reason(), peer.accepted.is_none()), (Reason::Kicked, true));
        no_will(&world);

        let (world, mut peer) = waiting();
        let deadline = peer.link.deadline().unwrap();
        assert_eq!(deadline, Tick(Limits::default().connect_timeout_ms));
        peer.time_out(Tick(deadline.0 - 1));
        assert!(peer.closed.is_none());
        peer.time_out(deadline);
        assert_eq!(peer.packets(), [(0x20, if v5 { vec![0, 0x89, 0] } else { vec![0, 3] })]);
        assert_eq!(peer.reason(), Reason::ServerOverloaded);
        no_will(&world);
    }
}
