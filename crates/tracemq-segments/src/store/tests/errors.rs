//! S17 to S22: errors of the disk lose nothing that was acknowledged, make nothing up, and pass when their cause does.

use std::io::ErrorKind;

use tracemq_store::StoreError;

use super::world::World;
use crate::fs::simulated::{Dice, Fault, Unsynced};

/// A scenario of all that a store does, on a disk whose N-th call fails, once or for good.
fn scenario(call: usize, for_good: bool, kind: ErrorKind) -> bool {
    let context = format!("call {call}, {kind:?}, for good: {for_good}");
    let mut dice = Dice(3);
    let mut world = World::new();
    world.disk.set_fault(Some(Fault { first: call, for_good, kind, written: call % 7 }));
    for round in 0..8 {
        let batch = world.batch(&mut dice);
        let _ = world.append(batch);
        if round % 2 == 1 {
            let _ = world.store().shared.freeze_now();
            let _ = world.store().shared.seal_next();
        }
        let _ = world.store().shared.merge_next(&mut |_| {});
    }
    let calls = world.disk.calls();
    world.disk.set_fault(None);
    if world.doubtful.is_empty() {
        // What reads go by was never wrong.
        world.check(&context);
    }
    let recovery = world.lose_power(Unsynced::Lost);
    assert_eq!(recovery.damaged, [], "{context}");
    world.check(&context);
    let batch = world.batch(&mut dice);
    world.append(batch).unwrap();
    world.store().settle(&mut |_| {}).unwrap();
    world.check(&context);
    calls < call
}

#[test]
fn s17_s18_s19_s20_any_call_may_fail() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for for_good in [false, true] {
            assert!((1..10_000).any(|call| scenario(call, for_good, kind)), "the scenario never got through");
        }
    }
}

#[test]
fn s21_a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let mut dice = Dice(11);
    let mut world = World::new();
    for _ in 0..6 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
    }
    for room in [0, 40, 400, 2_000] {
        world.disk.set_room(Some(room));
        let mut refused = 0;
        for _ in 0..40 {
            let batch = world.batch(&mut dice);
            match world.append(batch) {
                Ok(()) => {}
                Err(StoreError::Full { .. }) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            let _ = world.store().shared.freeze_now();
            let _ = world.store().shared.seal_next();
            let _ = world.store().shared.merge_next(&mut |_| {});
            world.check("while the disk is full");
        }
        assert!(refused > 0);
        world.disk.set_room(None);
        let batch = world.batch(&mut dice);
        while world.store().shared.seal_next().unwrap() {}
        world.append(batch).unwrap();
        world.store().settle(&mut |_| {}).unwrap();
        world.check("with room again");
    }
    let left = world.disk.paths();
    let live = world.store().shared.view().segments.len();
    let segments = left.iter().filter(|path| path.extension().is_some_and(|kind| kind == "segment")).count();
    assert_eq!(segments, live, "what could not be finished is gone: {left:?}");
}
