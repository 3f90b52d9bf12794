//! S1 to S16, S46, S47, S60: whatever happens to the power, what was acknowledged is there, once and in order.

use super::world::World;
use crate::fs::simulated::{Dice, Unsynced};

/// Appends, seals, merges and restarts as the dice want it, with the power lost in between.
fn live(seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let mut world = World::new();
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
}

#[test]
fn s60_any_life_on_a_disk_that_forgets() {
    for seed in 0..1_000 {
        live(seed, 24);
    }
}

/// A disk that works until its N-th call from here on and then no more: for a process that is killed that is all the same.
/// What it had written is there, synced or not.
#[test]
fn s47_killed_at_any_call_of_seal_and_merge() {
    let mut dice = Dice(7);
    let mut world = World::new();
    for _ in 0..14 {
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
        world.disk.set_fault(Some(crate::fs::simulated::Fault {
            first: call,
            for_good: true,
            kind: std::io::ErrorKind::Other,
            written: call % 5,
        }));
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
