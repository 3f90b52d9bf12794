//! S60: lives in which history also expires and is erased, cut off anywhere. What was erased is never shown again; what is older than
//! what is to be kept may be gone; everything else that was acknowledged is there, once and in order.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tracemq_model::{ClientId, Event, InstanceId, Subject, TimeMs};
use tracemq_store::{Batch, EventStore, StoreError};

use super::super::worker::Attempts;
use super::damage::live_with;
use super::world::{CLIENTS, START, World};
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};
use crate::{Keep, Retention, SegmentSettings};

const DAY: i64 = 86_400_000;
const INSTANCES: [&str; 2] = ["mqtt-local", "other"];

struct Life {
    world: World,
    dice: Dice,
    /// What was acknowledged and not erased.
    known: Vec<Event>,
    /// The latest time that the store was told.
    now: i64,
    /// What this life saw, to be told from one that saw nothing.
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    expired: usize,
    erased: usize,
    cut_off: usize,
    swept: usize,
}

impl Life {
    fn new(seed: u64) -> Self {
        let days = |days: i64| Keep { age_ms: Some((days * DAY).unsigned_abs()), bytes: None };
        let own = if seed.is_multiple_of(2) { vec![(instance("other"), days(5))] } else { Vec::new() };
        let retention = Retention { bytes: None, each: days(10), instances: own };
        let settings =
            SegmentSettings { memtable_events: 12, merge_segments: 3, retention, ..SegmentSettings::default() };
        let (world, known) = (World::with(settings), Vec::new());
        Self { world, dice: Dice(seed), known, now: START, seen: Seen::default() }
    }

    /// Events of the last two weeks: some come too late to be kept.
    fn batch(&mut self) -> Vec<Event> {
        let mut batch = self.world.batch(&mut self.dice);
        for event in &mut batch {
            let days = if self.dice.roll(3) == 0 { self.dice.roll(14) } else { self.dice.roll(2) };
            event.time = TimeMs(self.now - i64::try_from(days * 86_400_000 + self.dice.roll(5) * 50_000).unwrap());
        }
        batch
    }

    fn append(&mut self) -> Result<(), Vec<Event>> {
        let batch = Batch { events: self.batch(), gaps: Vec::new() };
        match self.world.store().append(&batch) {
            Ok(()) => {
                self.known.extend(batch.events);
                Ok(())
            }
            Err(_) => Err(batch.events),
        }
    }

    fn subject(&mut self) -> (InstanceId, ClientId) {
        let instance = instance(INSTANCES[self.dice.roll(2)]);
        (instance, ClientId::new(CLIENTS[self.dice.roll(CLIENTS.len())]).unwrap())
    }

    fn erase(&mut self, of: &(InstanceId, ClientId)) -> Result<(), StoreError> {
        self.world.store().erase(&of.0, &Subject::Client(of.1.clone()))?;
        self.forget(of);
        Ok(())
    }

    fn forget(&mut self, of: &(InstanceId, ClientId)) {
        let before = self.known.len();
        self.known.retain(|event| !is_of(event, of));
        self.seen.erased += before - self.known.len();
    }

    fn retain(&mut self) -> Result<(), StoreError> {
        self.now += i64::try_from(self.dice.roll(4 * 86_400_000)).unwrap();
        self.world.retain(self.now)
    }

    /// What of `event`'s instance is to be kept.
    fn age(&self, instance: &InstanceId) -> i64 {
        self.world.settings.retention.of(instance).age_ms.unwrap().cast_signed()
    }

    fn cutoff(&self, instance: &InstanceId) -> TimeMs {
        let view = self.world.store().shared.view();
        view.cutoffs.iter().find(|(known, _)| known == instance).map_or(TimeMs::MIN, |(_, cutoff)| *cutoff)
    }

    fn expected(&self) -> Vec<Event> {
        self.known.iter().filter(|event| event.time >= self.cutoff(&event.instance)).cloned().collect()
    }

    fn check(&mut self, context: &str) {
        for name in INSTANCES {
            let (of, cutoff) = (instance(name), self.cutoff(&instance(name)));
            assert!(cutoff.0 <= self.now - self.age(&of), "{context}: {name} has expired too early: {cutoff:?}");
        }
        self.world.acknowledged = self.expected();
        self.seen.expired = self.seen.expired.max(self.known.len() - self.world.acknowledged.len());
        self.world.check(context);
    }

    /// After a start: whoever is found open is not erased.
    fn check_orphans(&self, context: &str) {
        assert!(self.world.orphans().iter().all(|orphan| self.known.contains(orphan)), "{context}");
    }

    fn lose_power(&mut self, context: &str) {
        let unsynced = match self.dice.roll(4) {
            0 => Unsynced::Lost,
            1 => Unsynced::Torn(self.dice.roll(600)),
            2 => Unsynced::Zeros,
            _ => Unsynced::Any(self.dice.roll(usize::MAX) as u64),
        };
        assert_eq!(self.world.lose_power(unsynced).damaged, [], "{context}");
    }

    /// Work that the disk ends somewhere, and then the power goes.
    fn cut_off(&mut self, context: &str) {
        let (first, written) = (1 + self.dice.roll(40), self.dice.roll(600));
        self.world.disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written }));
        let (mut doubtful, mut maybe_erased) = (None, None);
        match self.dice.roll(5) {
            0 => doubtful = self.append().err(),
            1 => drop(self.world.store().shared.seal_all()),
            2 => while self.world.store().shared.merge_next(&mut |_| {}).is_ok_and(|merged| merged) {},
            3 => {
                let of = self.subject();
                maybe_erased = self.erase(&of).is_err().then_some(of);
            }
            _ => drop(self.retain()),
        }
        self.seen.cut_off += usize::from(self.world.disk.calls() >= first);
        self.lose_power(context);
        let shown = self.world.shown();
        if let Some(batch) = doubtful.filter(|batch| batch.iter().any(|event| shown.contains(event))) {
            self.known.extend(batch);
        }
        if let Some(of) = maybe_erased.filter(|of| !shown.iter().any(|event| is_of(event, of))) {
            // None of it is there, but for what had expired.
            let cutoff = self.cutoff(&of.0);
            self.known.retain(|event| !is_of(event, &of) || event.time < cutoff);
        }
    }

    fn step(&mut self, context: &str) {
        match self.dice.roll(16) {
            0..=4 => self.append().unwrap(),
            5 => self.world.store().shared.freeze_now().unwrap(),
            6 | 7 => drop(self.world.store().shared.seal_next().unwrap()),
            8 => {
                let before = self.world.store().shared.view().erasures.len();
                self.world.store().shared.merge_next(&mut |_| {}).unwrap();
                self.seen.swept += usize::from(self.world.store().shared.view().erasures.len() < before);
            }
            9 | 10 => {
                let of = self.subject();
                self.erase(&of).unwrap();
            }
            11 | 12 => {
                self.retain().unwrap();
                // What has expired as a whole is gone, but for the step by which cutoffs move.
                for segment in &self.world.store().shared.view().segments {
                    let mut totals = segment.meta().instances.iter();
                    let is_kept = totals.any(|of| of.times.to.0 >= self.now - self.age(&of.instance) * 25 / 24);
                    assert!(is_kept, "{context}: {}", segment.path().display());
                }
            }
            13 => {
                self.world.open().unwrap();
                self.check_orphans(context);
            }
            14 => {
                self.lose_power(context);
                self.check_orphans(context);
            }
            _ => {
                self.cut_off(context);
                self.check_orphans(context);
            }
        }
        self.check(context);
    }
}

fn instance(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn is_of(event: &Event, of: &(InstanceId, ClientId)) -> bool {
    event.instance == of.0 && event.client.as_ref() == Some(&of.1)
}

#[test]
fn s60_any_life_in_which_history_expires_and_is_erased() {
    let mut all = Seen::default();
    for seed in 0..1_000 {
        let mut life = Life::new(seed);
        for step in 0..20 {
            life.step(&format!("seed {seed}, step {step}"));
        }
        let Seen { expired, erased, cut_off, swept } = life.seen;
        all.expired += usize::from(expired > 0);
        all.erased += usize::from(erased > 0);
        all.cut_off += usize::from(cut_off > 0);
        all.swept += usize::from(swept > 0);
    }
    // Most of them have seen most of it.
    assert!(all.expired > 300 && all.erased > 500 && all.cut_off > 300 && all.swept > 50, "{all:?}");
}

/// S60: bits flip in any file at any time of a life, one or some, and it is opened: nothing is shown that was not there, and what
/// is missing is told. The life goes on with the disk as it was.
#[test]
fn s60_bits_flip_in_any_life() {
    let (mut opened, mut missed) = (0, 0);
    for seed in 0..300 {
        let (mut world, mut dice) = (World::new(), Dice(seed));
        for step in 0..20 {
            match dice.roll(8) {
                0..=3 => {
                    let batch = world.ordered_batch(&mut dice);
                    world.append(batch).unwrap();
                }
                4 => world.store().shared.seal_all().unwrap(),
                5 => drop(world.store().shared.merge_next(&mut |_| {}).unwrap()),
                6 => drop(world.open().unwrap()),
                _ => {
                    let disk = world.disk.copy();
                    let broken = disk.copy();
                    for _ in 0..=dice.roll(3) {
                        flip_a_bit(&broken, &mut dice);
                    }
                    let missing = live_with(&mut world, broken, &format!("seed {seed}, step {step}"));
                    opened += usize::from(missing.is_some());
                    missed += usize::from(missing.is_some_and(|missing| missing > 0));
                    world.restart_on(disk);
                }
            }
        }
        world.check(&format!("seed {seed}"));
    }
    // Most of what is broken opens, and much of that lacks something.
    assert!(opened > 300 && missed > 100, "{opened} opened, {missed} lacked something");
}

fn flip_a_bit(disk: &SimulatedFs, dice: &mut Dice) {
    let paths = disk.paths();
    let path = &paths[dice.roll(paths.len())];
    let bits = disk.content(path).len() * 8;
    if bits > 0 {
        let bit = dice.roll(bits);
        disk.change(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}

/// S50: ten minutes pass by both clocks while work waits to be done, and nobody did any. Nothing expires for that but what is ten minutes
/// older, and nothing is sealed twice.
#[test]
fn s50_after_ten_minutes_of_standstill_all_is_there_once() {
    const PAUSE: i64 = 600_000;
    for seed in 0..40 {
        let mut life = Life::new(seed);
        let begun = Instant::now();
        for round in 0..12 {
            life.append().unwrap();
            if life.dice.roll(3) == 0 {
                life.world.store().shared.freeze_now().unwrap();
            }
            let store = life.world.store();
            let (mut sealing, mut merging) = (Attempts::to_seal(), Attempts::to_merge());
            let at = begun + Duration::from_millis(PAUSE.unsigned_abs() * (round + 1));
            life.now += PAUSE;
            store.mark_alive(TimeMs(life.now)).unwrap();
            store.shared.retain_at(at).unwrap();
            while store.shared.seal_when_due(&mut sealing, at) {}
            assert!(store.shared.view().frozen.is_empty());
            while store.shared.merge_when_due(&mut merging, at) {}
            life.check(&format!("seed {seed}, round {round}"));
        }
        life.world.open().unwrap();
        life.check(&format!("seed {seed}, opened"));
    }
}
