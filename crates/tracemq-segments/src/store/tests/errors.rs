//! S17 to S23, S27, S28: errors of the disk lose nothing that was acknowledged, make nothing up, and pass when their cause does.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tracemq_model::{Event, Filter, InstanceId, Order, TimeRange};
use tracemq_store::{Batch, EventStore, StoreError};

use super::world::World;
use crate::fs::Fs;
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};
use crate::manifest::Manifest;
use crate::wal::{self, Wal};

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
    for kind in [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        for for_good in [false, true] {
            assert!((1..10_000).any(|call| scenario(call, for_good, kind)), "the scenario never got through");
        }
    }
}

#[test]
fn s21_a_full_disk_refuses_and_goes_on_when_there_is_room() {
    without_room(false);
}

/// S17: EDQUOT. The disk has room, and the store may not have it.
#[test]
fn s17_a_quota_that_is_used_up_is_a_full_disk() {
    without_room(true);
}

/// S17: EINTR, at every third call that a signal can interrupt.
#[test]
fn s17_whatever_signals_interrupt_goes_on() {
    for seed in 0..100 {
        super::crash::live(seed, 24, |disk| disk.set_interrupts(true));
    }
}

fn without_room(is_quota: bool) {
    let mut dice = Dice(11);
    let mut world = World::new();
    world.disk.set_quota(is_quota);
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

#[test]
fn s22_a_start_on_a_full_disk_deletes_nothing_and_works_when_there_is_room() {
    let mut world = World::small();
    let torn = |world: &World| {
        let disk = world.disk.copy();
        let log = disk.paths().into_iter().rfind(|path| path.extension().is_some_and(|kind| kind == "wal")).unwrap();
        (disk, log)
    };
    for damage in [0, 1, 2] {
        let (disk, log) = torn(&world);
        match damage {
            0 => {}
            // An unfinished write; and damage before a whole record, which takes a new file to go on in.
            1 => disk.change(&log, |bytes| bytes.extend([7; 90])),
            _ => disk.change(&log, |bytes| bytes[70] ^= 1),
        }
        let (sound, whole) = (world.disk.copy(), disk.contents());
        world.disk = disk;
        world.disk.set_room(Some(0));
        match world.open() {
            Ok(_) => assert!(world.check_left("on a full disk") == 0 || damage == 2),
            Err(StoreError::Full { .. }) => assert_eq!(damage, 2),
            Err(error) => panic!("{error:?}"),
        }
        for (path, content) in &whole {
            let is_shorter = damage == 1 && *path == log;
            assert!(is_shorter || world.disk.content(path) == *content, "{}", path.display());
        }
        world.close();
        world.disk.set_room(None);
        world.open().unwrap();
        assert!(world.check_left("with room") == 0 || damage == 2);
        world.close();
        world.disk = sound;
    }
}

#[test]
fn s23_what_the_disk_cant_read_fails_that_question_and_no_other() {
    let mut world = World::small();
    world.open().unwrap();
    let view = world.store().shared.view();
    assert!(view.segments.len() >= 3);
    let mut found = 0;
    for segment in &view.segments {
        if segment.meta().instances.iter().all(|total| total.instance.as_str() != "mqtt-local") {
            continue;
        }
        world.disk.set_unreadable(segment.path(), true);
        let inside = filter(segment.meta().times);
        let failed = world.store().scan(&inside, Order::OldestFirst, &mut |_| ControlFlow::Continue(()));
        assert!(matches!(&failed, Err(StoreError::Io { path, .. }) if path == segment.path()), "{failed:?}");
        for other in view.segments.iter().filter(|other| !other.meta().times.overlaps(segment.meta().times)) {
            let mut count = |_: &Event| {
                found += 1;
                ControlFlow::Continue(())
            };
            world.store().scan(&filter(other.meta().times), Order::OldestFirst, &mut count).unwrap();
        }
        let batch = world.ordered_batch(&mut Dice(7));
        world.append(batch).unwrap();
        world.disk.set_unreadable(segment.path(), false);
        world.check("readable again");
    }
    assert!(found > 0);
}

#[test]
fn s23_a_segment_that_the_disk_cant_read_stops_neither_start_nor_merges() {
    let mut world = World::small();
    let paths = world.disk.paths();
    for path in &paths {
        world.disk.set_unreadable(path, true);
        let kind = path.extension().map_or("", |kind| kind.to_str().unwrap());
        match world.open() {
            Ok(recovery) if kind == "segment" => {
                assert!(recovery.damaged.iter().any(|damage| damage.path == *path), "{recovery:?}");
                assert!(world.check_left("unreadable at the start") > 0);
            }
            Ok(recovery) => assert!(path.ends_with("manifest.old"), "{}: {recovery:?}", path.display()),
            Err(StoreError::Io { path: named, .. }) => {
                assert!(named == *path && kind != "segment", "{}", named.display());
            }
            Err(error) => panic!("{error:?}"),
        }
        world.close();
        world.disk.set_unreadable(path, false);
        world.open().unwrap();
        world.check("readable again");
        world.close();
    }
    // Unreadable while it runs: it is not merged, the others are.
    world.open().unwrap();
    let first = world.store().shared.view().segments[0].path().to_owned();
    world.disk.set_unreadable(&first, true);
    for _ in 0..12 {
        let batch = world.ordered_batch(&mut Dice(9));
        world.append(batch).unwrap();
        world.store().settle(&mut |_| {}).unwrap();
    }
    assert!(world.store().shared.view().segments.len() <= 8);
    assert!(world.disk.paths().contains(&first));
    world.disk.set_unreadable(&first, false);
    world.check("readable again");
    world.open().unwrap();
    world.store().settle(&mut |_| {}).unwrap();
    world.check("merged");
}

#[test]
fn s27_a_read_only_disk_is_refused_at_the_start_and_still_read_while_running() {
    let mut world = World::small();
    let before = world.disk.contents();
    world.disk.set_read_only(true);
    assert!(matches!(world.open(), Err(StoreError::Io { .. })));
    world.disk.set_read_only(false);
    assert_eq!(world.disk.contents(), before);
    world.open().unwrap();
    world.disk.set_read_only(true);
    for _ in 0..20 {
        let batch = world.ordered_batch(&mut Dice(4));
        let events = batch.clone();
        assert!(world.store().append(&Batch { events, gaps: Vec::new() }).is_err());
        assert!(world.store().settle(&mut |_| {}).is_err());
        world.check("read-only");
    }
    world.close();
    world.disk.set_read_only(false);
    world.open().unwrap();
    world.check("writable again");
    let batch = world.ordered_batch(&mut Dice(4));
    world.append(batch).unwrap();
}

/// Beside `disk`'s files those that a crash leaves: they are told by their names and how they begin.
fn with_left_overs(world: &World) -> (SimulatedFs, Vec<PathBuf>) {
    let disk = world.disk.copy();
    let manifest = Manifest::load(&disk, &world.dir()).unwrap().unwrap();
    let log = wal::path(&world.dir(), manifest.first_wal - 1);
    let mut left = vec![log.clone()];
    Wal::create(Arc::new(disk.clone()), &world.dir(), manifest.store, manifest.first_wal - 1).unwrap();
    for name in ["0000000998.segment", "0000000999.open", "manifest.new"] {
        let path = world.dir().join(name);
        disk.put(&path, vec![0; 200]);
        left.push(path);
    }
    disk.sync_dir(&world.dir()).unwrap();
    (disk, left)
}

/// Whatever is refused may be opened otherwise, or repaired: nothing of it is gone.
#[test]
fn s20_a_start_that_is_refused_at_any_call_has_deleted_nothing() {
    let mut world = World::small();
    let (whole, left_over) = with_left_overs(&world);
    let mut refused = 0;
    for call in 1.. {
        let disk = whole.copy();
        let before = disk.contents();
        disk.set_fault(Some(Fault { first: call, for_good: false, kind: ErrorKind::Other, written: 0 }));
        world.disk = disk.clone();
        let opened = world.open();
        if opened.is_err() {
            refused += 1;
            assert_eq!(disk.contents(), before, "call {call}");
        }
        let is_done = disk.calls() < call;
        world.close();
        disk.set_fault(None);
        world.open().unwrap();
        world.check(&format!("call {call}"));
        world.close();
        let paths = disk.paths();
        assert!(left_over.iter().all(|path| !paths.contains(path)), "call {call}: {paths:?}");
        if is_done {
            break;
        }
    }
    assert!(refused > 10, "{refused}");
}

/// What was left over fills the disk, and a damaged log has to go on in a new file.
#[test]
fn s22_a_disk_that_is_full_of_what_was_left_over_can_be_opened() {
    let mut world = World::small();
    let (disk, left_over) = with_left_overs(&world);
    let manifest = Manifest::load(&disk, &world.dir()).unwrap().unwrap();
    disk.change(&wal::path(&world.dir(), manifest.first_wal), |bytes| bytes[20] ^= 1);
    disk.set_room(Some(0));
    world.disk = disk;
    world.open().unwrap();
    assert!(left_over.iter().all(|path| !world.disk.paths().contains(path)));
    assert_eq!(world.check_left("full"), 0);
}

#[test]
fn s28_without_descriptors_nothing_is_half_done_and_questions_go_on() {
    let mut world = World::small();
    world.open().unwrap();
    for round in 0..6 {
        world.disk.set_no_descriptors(true);
        let batch = world.ordered_batch(&mut Dice(round));
        world.append(batch).unwrap();
        assert!(world.store().settle(&mut |_| {}).is_err());
        world.check("without descriptors");
        world.disk.set_no_descriptors(false);
        world.check("with descriptors");
        // A new log file whose name may not be durable is not gone on to: that takes a restart.
        if world.store().settle(&mut |_| {}).is_err() {
            world.open().unwrap();
            world.store().settle(&mut |_| {}).unwrap();
        }
        world.check("settled");
        let files =
            world.disk.paths().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "segment"));
        assert_eq!(files.count(), world.store().shared.view().segments.len());
    }
}

fn filter(range: TimeRange) -> Filter {
    Filter::all(InstanceId::new("mqtt-local").unwrap(), range)
}
