//! One subscriber that takes too little: for how long it holds others up, and what it costs whom then.

// A helper of tests may panic as a test may.
#![allow(clippy::unwrap_used)]

mod wire;

use std::sync::Arc;

use tracemq_broker::{Broker, Limits, Tick};
use tracemq_model::Reason;
use wire::{Connect, Peer, ack, connect, publish, subscribe};

/// What the publisher sends a tenth of a second when nobody holds it up.
const PACE: u16 = 20;

/// A publisher at `PACE`, one who reads all at once, one who takes a message a second.
struct Scene {
    broker: Arc<Broker>,
    publisher: Peer,
    fast: Peer,
    slow: Option<Peer>,
    slow_takes: bool,
    now: Tick,
    unacknowledged: u16,
    sent: usize,
    acknowledged: usize,
    fast_got: usize,
    slow_got: usize,
}

fn one_at_a_time() -> Connect {
    connect(true, "slow").props(&[0x21, 0, 1]).lasting(1_000)
}

impl Scene {
    fn new(queue_messages_max: usize) -> Self {
        let broker = Broker::new(Limits { queue_messages_max, ..Limits::default() });
        let mut fast = Peer::connected(&broker, 1, &connect(true, "fast"));
        let mut slow = Peer::connected(&broker, 2, &one_at_a_time());
        for peer in [&mut fast, &mut slow] {
            peer.send(&subscribe(true, &[("a", 1)])).packets();
        }
        let publisher = Peer::connected(&broker, 3, &connect(true, "pub"));
        Self {
            broker,
            publisher,
            fast,
            slow: Some(slow),
            slow_takes: true,
            now: Tick(0),
            unacknowledged: 0,
            sent: 0,
            acknowledged: 0,
            fast_got: 0,
            slow_got: 0,
        }
    }

    /// A tenth of a second.
    fn step(&mut self) {
        self.now = self.now.plus_ms(100);
        self.publisher.now = self.now;
        if self.unacknowledged == 0 {
            for id in 1..=PACE {
                self.publisher.send(&publish(true, 2, "a", id, &[], b"x"));
            }
            self.unacknowledged = PACE;
            self.sent += usize::from(PACE);
        }
        self.publisher.time_out(self.now);
        if self.now.0.is_multiple_of(1_000) && self.slow_takes {
            self.let_slow_take(1);
        }
        loop {
            for got in take(&mut self.fast, self.now) {
                self.fast_got += 1;
                self.fast.send(&ack(0x40, got));
            }
            self.publisher.deliver();
            let acks = self.publisher.packets().iter().filter(|(first, _)| *first == 0x40).count();
            if acks == 0 {
                return;
            }
            self.unacknowledged -= u16::try_from(acks).unwrap();
            self.acknowledged += acks;
        }
    }

    fn let_slow_take(&mut self, most: usize) {
        let Some(slow) = &mut self.slow else { return };
        for _ in 0..most {
            let Some(got) = take(slow, self.now).pop() else { break };
            self.slow_got += 1;
            slow.send(&ack(0x40, got));
        }
    }

    /// How many were acknowledged in so many seconds.
    fn seconds(&mut self, seconds: usize) -> usize {
        let before = self.acknowledged;
        for _ in 0..seconds * 10 {
            self.step();
        }
        self.acknowledged - before
    }
}

fn take(peer: &mut Peer, now: Tick) -> Vec<u16> {
    peer.now = now;
    peer.messages().iter().map(|got| got.id).collect()
}

/// What is acknowledged in ten seconds when nobody holds the publisher up.
const UNHELD: usize = 100 * PACE as usize;

#[test]
fn b83_who_takes_half_its_queue_in_time_and_never_empties_it_holds_others_for_the_grace_and_then_loses_messages() {
    let mut scene = Scene::new(10);
    let held = scene.seconds(10);
    assert!(held < 60, "the queue, a burst, and one a second: {held}");
    assert_eq!(scene.broker.stats().messages_dropped, 0, "nothing is lost while publishers wait");
    scene.seconds(1);
    for _ in 0..10 {
        let (fast, slow) = (scene.fast_got, scene.slow_got);
        assert_eq!(scene.seconds(10), UNHELD, "at {:?}", scene.now);
        assert_eq!((scene.fast_got - fast, scene.slow_got - slow), (UNHELD, 10), "at {:?}", scene.now);
    }
    assert!(scene.slow.as_ref().is_some_and(|slow| slow.closed.is_none()), "it takes half of its queue in time");

    scene.slow_takes = false;
    let waiting = {
        scene.let_slow_take(100);
        scene.slow_got
    };
    let lost = u64::try_from(scene.sent - waiting).unwrap();
    assert_eq!(scene.broker.stats().messages_dropped, lost, "each message came or was counted");
    assert_eq!(scene.fast_got, scene.acknowledged);
}

#[test]
fn b83_who_takes_less_than_half_its_queue_in_time_is_ended_and_nobody_waits_for_it_when_it_comes_back() {
    let mut scene = Scene::new(100);
    scene.seconds(13);
    let slow = scene.slow.as_mut().unwrap();
    assert_eq!(slow.deliver().reason(), Reason::SlowConsumer);
    slow.link.gone(scene.now);
    for connection in 4..14 {
        scene.slow = Some(Peer::connected_at(&scene.broker, connection, &one_at_a_time(), scene.now));
        assert_eq!(scene.seconds(9), UNHELD * 9 / 10, "it has its time, and nobody waits for it meanwhile");
        assert!(scene.slow.as_ref().is_some_and(|slow| slow.closed.is_none()));
        scene.seconds(2);
        let slow = scene.slow.as_mut().unwrap();
        assert_eq!(slow.deliver().reason(), Reason::SlowConsumer);
        slow.link.gone(scene.now);
    }
    assert_eq!(scene.fast_got, scene.acknowledged);
}

#[test]
fn b83_who_has_emptied_its_queue_is_waited_for_again_as_long_as_it_was_good() {
    let mut scene = Scene::new(10);
    scene.seconds(20);
    scene.slow_takes = false;
    // It takes all there is, and nothing more comes for five seconds.
    scene.let_slow_take(100);
    scene.now = scene.now.plus_ms(5_000);
    let dropped = scene.broker.stats().messages_dropped;
    scene.slow_takes = true;
    assert!(scene.seconds(4) < 60);
    assert_eq!(scene.broker.stats().messages_dropped, dropped, "its publisher waits");
    scene.seconds(2);
    assert_eq!(scene.seconds(10), UNHELD);
}
