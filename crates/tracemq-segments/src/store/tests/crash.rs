//! S1 to S16, S46, S47, S60: whatever happens to the power, what was acknowledged is there, once and in order.

use std::io::ErrorKind;

use tracemq_model::TimeMs;

use super::world::{START, World};
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};
use crate::{Keep, Retention, SegmentSettings};

/// Appends, seals, merges and restarts as the dice want it, with the power lost in between. Gives the disk that is left.
pub(super) fn live(seed: u64, steps: usize, prepare: fn(&SimulatedFs)) -> SimulatedFs {
    let mut dice = Dice(seed);
    let mut world = World::new();
    world.prepare = prepare;
    world.open().unwrap();
    for step in 0..steps {
        let context = format!("seed {seed}, step {step}");
        match dice.roll(12) {
            0..=4 => {
                let batch = world.batch(&mut dice);
                world.append(batch).unwrap();
            }
            5 => world.store().shared.freeze_now().unwrap(),
            6 | 7 => {
                world.store().shared.seal_next().unwrap();
            }
            8 => {
                world.store().shared.merge_next(&mut |_| {}).unwrap();
            }
            9 => {
                world.open().unwrap();
                world.check(&context);
                world.check_orphans(&context);
            }
            _ => {
                let unsynced = match dice.roll(4) {
                    0 => Unsynced::Lost,
                    1 => Unsynced::Torn(dice.roll(600)),
                    2 => Unsynced::Zeros,
                    _ => Unsynced::Any(dice.roll(usize::MAX) as u64),
                };
                let recovery = world.lose_power(unsynced);
                assert_eq!(recovery.damaged, [], "{context}");
                world.check(&context);
                world.check_orphans(&context);
            }
        }
        world.check(&context);
    }
    world.disk.clone()
}

/// A seed that fails once fails again: the same calls in the same order, whatever came of maps, addresses and times.
#[test]
fn s60_the_same_seed_is_the_same_life_call_for_call() {
    for seed in 0..40 {
        let trace = || live(seed, 24, SimulatedFs::begin_trace).take_trace();
        let (one, other) = (trace(), trace());
        assert!(one.lines().count() > 100, "seed {seed}: {one}");
        let differ = one.lines().zip(other.lines()).position(|(one, other)| one != other);
        assert_eq!(differ.map(|at| (one.lines().nth(at), other.lines().nth(at))), None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

#[test]
fn s60_any_life_on_a_disk_that_forgets() {
    for seed in 0..1_000 {
        live(seed, 14, |_| {});
    }
}

fn lives_that_fail(prepare: fn(&SimulatedFs)) -> usize {
    let fails = |seed| std::panic::catch_unwind(|| live(seed, 24, prepare)).is_err();
    (0..40).filter(|seed| fails(*seed)).count()
}

/// Deliberate defects, which these tests have to find: syncs that do nothing, and those of folders alone.
#[test]
fn s60_a_disk_that_lies_is_found_out() {
    assert!(lives_that_fail(|disk| disk.set_lies(true)) > 30);
    assert!(lives_that_fail(|disk| disk.set_forgets_names(true)) > 30);
    assert_eq!(lives_that_fail(|_| {}), 0);
}

/// All that a store does, up to the call that is the last one. Any order in which the disk may have done what was not synced is
/// legal: a log that is gone before its segment has a name, a manifest before what it names, a name before its content.
#[test]
fn s5_s7_s11_s16_the_power_goes_at_any_call_and_the_disk_may_have_done_anything() {
    for call in 1.. {
        let (mut world, mut dice) = (World::new(), Dice(12));
        world.disk.set_fault(Some(Fault {
            first: call,
            for_good: true,
            kind: ErrorKind::Other,
            written: call * 7 % 600,
        }));
        for round in 0..7 {
            let batch = world.batch(&mut dice);
            // A write that failed may be there nevertheless, when the disk fails that has to take it back as well.
            if world.append(batch.clone()).is_err() && world.doubtful.is_empty() {
                world.doubtful = batch;
            }
            if round % 2 == 1 {
                let _ = world.store().shared.seal_all();
            }
            let _ = world.store().shared.merge_next(&mut |_| {});
        }
        let is_over = world.disk.calls() < call;
        let (disk, acknowledged, doubtful) = (world.disk.clone(), world.acknowledged.clone(), world.doubtful.clone());
        let mut ways = vec![Unsynced::Lost, Unsynced::Zeros, Unsynced::Torn(300)];
        ways.extend((0..8).map(|seed| Unsynced::Any(call as u64 * 8 + seed)));
        for way in ways {
            let context = format!("call {call}, {way:?}");
            world.acknowledged.clone_from(&acknowledged);
            world.doubtful.clone_from(&doubtful);
            let left = disk.after_power_loss(way);
            // What the manifest names is there, whatever else is.
            assert_eq!(world.restart_on(left).damaged, [], "{context}");
            world.check(&context);
            assert_eq!(segment_files(&world), world.store().shared.view().segments.len(), "{context}: left over");
        }
        if is_over {
            return;
        }
    }
}

fn segment_files(world: &World) -> usize {
    world.disk.paths().iter().filter(|path| path.extension().is_some_and(|kind| kind == "segment")).count()
}

#[test]
fn s44_killed_at_any_call_of_retention() {
    const DAY: i64 = 86_400_000;
    let retention = Retention { each: Keep { age_ms: Some(10 * DAY as u64), bytes: None }, ..Retention::default() };
    let settings = SegmentSettings { memtable_events: 12, merge_segments: 3, retention, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(17));
    for day in 0..16 {
        let mut batch = world.batch(&mut dice);
        for event in &mut batch {
            event.time = TimeMs(START + day * DAY);
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    let (before, all) = (world.disk.copy(), world.acknowledged.clone());
    let kept: Vec<_> = all.iter().filter(|event| event.time.0 >= START + 6 * DAY).cloned().collect();
    let retain = |world: &World| world.retain(START + 16 * DAY).and_then(|()| world.store().settle(&mut |_| {}));
    for call in 1.. {
        world.restart_on(before.copy());
        world.disk.set_fault(Some(Fault { first: call, for_good: true, kind: ErrorKind::Other, written: 9 }));
        let done = retain(&world).is_ok() && world.disk.calls() < call;
        let disk = world.disk.clone();
        for left in
            [disk.copy(), disk.after_power_loss(Unsynced::Any(call as u64)), disk.after_power_loss(Unsynced::Lost)]
        {
            assert_eq!(world.restart_on(left).damaged, [], "call {call}");
            let cutoff = world.store().shared.view().cutoffs.iter().map(|(_, time)| *time).min();
            let not_hidden = all.iter().filter(|event| cutoff.is_none_or(|cutoff| event.time >= cutoff));
            world.acknowledged = not_hidden.cloned().collect();
            world.check(&format!("call {call}"));
            retain(&world).unwrap();
            world.acknowledged.clone_from(&kept);
            world.check(&format!("call {call}, finished"));
            assert_eq!(segment_files(&world), world.store().shared.view().segments.len());
        }
        if done {
            return;
        }
    }
}

/// A disk that works until its N-th call from here on and then no more: for a process that is killed that is all the same.
/// What it had written is there, synced or not.
#[test]
fn s47_killed_at_any_call_of_seal_and_merge() {
    let mut dice = Dice(7);
    let mut world = World::new();
    for _ in 0..9 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
        world.store().shared.freeze_now().unwrap();
    }
    let before = world.disk.copy();
    let acknowledged = world.acknowledged.clone();
    world.close();
    for call in 1.. {
        world.close();
        world.disk = before.copy();
        world.acknowledged.clone_from(&acknowledged);
        world.open().unwrap();
        world.disk.set_fault(Some(Fault { first: call, for_good: true, kind: ErrorKind::Other, written: call % 5 }));
        let done = world.store().settle(&mut |_| {});
        let calls = world.disk.calls();
        let killed = world.disk.copy();
        let cut = world.disk.after_power_loss(Unsynced::Any(call as u64));
        world.disk.set_fault(None);
        for left in [killed, cut] {
            world.close();
            world.disk = left;
            // Five starts in a row find the same.
            for _ in 0..5 {
                assert_eq!(world.open().unwrap().damaged, [], "call {call}");
            }
            world.check(&format!("call {call}"));
            world.check_orphans(&format!("call {call}"));
            world.store().settle(&mut |_| {}).unwrap();
            world.check(&format!("call {call}, settled"));
        }
        if done.is_ok() && calls < call {
            return;
        }
    }
}
