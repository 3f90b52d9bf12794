//! Connections that the last run left open: found where they stand, whatever became of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracemq_model::{Action, ConnectionId, TimeMs};
use tracemq_store::EventStore;

use super::world::World;
use crate::SegmentSettings;
use crate::carried::Carried;
use crate::fs::Fs;
use crate::fs::simulated::{Dice, Unsynced};
use crate::repair::{RepairMode, Unknown, repair_on};

/// A store with open connections in three segments, `each` of them in each, and closed.
fn open_connections(each: usize) -> World {
    let settings = SegmentSettings { memtable_events: 1 << 20, merge_segments: 3, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(31));
    for segment in 0..3 {
        let mut events = Vec::new();
        while events.len() < each {
            events.extend(world.ordered_batch(&mut dice));
        }
        events.truncate(each);
        for (number, event) in (0..).zip(&mut events) {
            event.connection = ConnectionId(segment << 64 | number);
            event.action = Action::Connect;
        }
        world.append(events).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    world.close();
    world
}

fn connections(world: &World) -> BTreeSet<u128> {
    world.orphans().iter().map(|event| event.connection.0).collect()
}

fn of_segments(segments: &[u128], each: u128) -> BTreeSet<u128> {
    segments.iter().flat_map(|segment| (0..each).map(move |number| segment << 64 | number)).collect()
}

#[test]
fn those_of_a_segment_that_cant_be_read_are_found_when_it_can_be() {
    let mut world = open_connections(40);
    let path = world.disk.paths().into_iter().find(|path| path.extension().is_some_and(|kind| kind == "segment"));
    let path = path.unwrap();
    world.disk.set_unreadable(&path, true);
    assert_eq!(world.open().unwrap().damaged.len(), 1);
    assert_eq!(connections(&world), of_segments(&[1, 2], 40));
    // What ends meanwhile, and what begins, is written down beside them.
    let mut batch = world.ordered_batch(&mut Dice(1));
    batch.truncate(1);
    batch[0].connection = ConnectionId(7);
    batch[0].action = Action::Close;
    world.append(batch).unwrap();
    world.store().shared.seal_all().unwrap();
    world.close();
    world.disk.set_unreadable(&path, false);
    assert_eq!(world.open().unwrap().damaged, []);
    let mut expected = of_segments(&[0, 1, 2], 40);
    expected.remove(&7);
    assert_eq!(connections(&world), expected);
}

/// A block of rows has 512.
#[test]
fn beside_a_damaged_block_the_others_are_found() {
    let mut world = open_connections(2_000);
    let path = world.disk.paths().into_iter().find(|path| path.extension().is_some_and(|kind| kind == "segment"));
    world.disk.change(&path.unwrap(), |bytes| bytes[60] ^= 1);
    world.open().unwrap();
    let found = connections(&world);
    assert_eq!(found.len(), 6_000 - 512);
    assert!(found.is_subset(&of_segments(&[0, 1, 2], 2_000)));
    // They are still open on record.
    world.lose_power(Unsynced::Lost);
    assert_eq!(connections(&world), found);
}

/// What they are in is let go of when a recorder runs.
#[test]
fn they_are_there_until_a_recorder_runs_and_no_longer() {
    let mut world = open_connections(30);
    world.open().unwrap();
    let held: Vec<_> = world.store().shared.view().segments.iter().map(std::sync::Arc::downgrade).collect();
    world.store().settle(&mut |_| {}).unwrap();
    assert_eq!(world.store().shared.view().segments.len(), 1);
    assert_eq!(connections(&world), of_segments(&[0, 1, 2], 30));
    assert!(held.iter().all(|segment| segment.strong_count() == 1));
    world.store().mark_alive(TimeMs(5)).unwrap();
    assert_eq!(connections(&world), BTreeSet::new());
    assert!(held.iter().all(|segment| segment.strong_count() == 0));
    world.open().unwrap();
    assert_eq!(connections(&world), of_segments(&[0, 1, 2], 30));
}

/// An open that was carried and a connect in the log are one connection, and a start finds the connect.
#[test]
fn the_log_is_held_against_what_was_sealed() {
    let mut world = open_connections(10);
    world.open().unwrap();
    let mut batch = Vec::new();
    while batch.len() < 4 {
        batch.extend(world.ordered_batch(&mut Dice(9)));
    }
    batch.truncate(4);
    let log = [(3, Action::Connect), (4, Action::Open), (5, Action::Close), (100, Action::Open)];
    for (event, (connection, action)) in batch.iter_mut().zip(log) {
        (event.connection, event.action) = (ConnectionId(connection), action);
    }
    world.append(batch.clone()).unwrap();
    for _ in 0..2 {
        let recovery = world.lose_power(Unsynced::Lost);
        let mut expected = of_segments(&[0, 1, 2], 10);
        expected.remove(&5);
        expected.insert(100);
        assert_eq!((connections(&world), recovery.orphans), (expected, 30));
        let found = world.orphans();
        assert!(found.contains(&batch[0]) && !found.contains(&batch[1]) && found.contains(&batch[3]));
    }
}

/// The file is not written anew when nothing is said anew.
#[test]
fn what_changes_nothing_writes_nothing() {
    let mut world = open_connections(10);
    world.open().unwrap();
    let number = |world: &World| super::super::lock(&world.store().shared.publisher).carried.number();
    let before = number(&world);
    let mut batch = world.ordered_batch(&mut Dice(2));
    batch.truncate(2);
    for (event, action) in batch.iter_mut().zip([Action::Connect, Action::Close]) {
        (event.connection, event.action) = (ConnectionId(1 << 100), action);
    }
    assert_eq!(batch.len(), 2);
    world.append(batch).unwrap();
    world.store().shared.seal_all().unwrap();
    assert_eq!((number(&world), before.is_some()), (before, true));
    assert!(world.disk.paths().contains(&Carried::path(&world.dir(), before.unwrap())));
}

#[test]
fn the_logs_bytes_are_known_after_a_kill() {
    let mut world = World::new();
    for _ in 0..2 {
        let batch = world.batch(&mut Dice(6));
        world.append(batch).unwrap();
        world.store().shared.freeze_now().unwrap();
    }
    let batch = world.batch(&mut Dice(6));
    world.append(batch).unwrap();
    let before = world.store().stats();
    world.lose_power(Unsynced::Lost);
    assert_eq!(world.store().shared.view().frozen.len(), 2);
    assert_eq!(world.store().stats(), before);
}

/// The list of what is open is gone with the manifest: it is found in the segments.
#[test]
fn s40_a_repair_finds_what_was_open_without_the_list_of_it() {
    let mut world = World::small();
    world.open().unwrap();
    let mut expected = world.orphans();
    expected.sort_by_key(|event| event.connection);
    assert!(expected.len() > 1);
    world.close();
    for path in world.disk.paths() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match name.as_str() {
            "manifest" | "manifest.old" => world.disk.change(&path, |bytes| bytes.clear()),
            _ if name.ends_with(".open") => world.disk.change(&path, |bytes| bytes.truncate(30)),
            _ => {}
        }
    }
    let fs: Arc<dyn Fs> = Arc::new(world.disk.clone());
    let report = repair_on(&fs, &world.dir(), None, RepairMode::CarryOut).unwrap();
    assert!(!report.unknown.contains(&Unknown::OpenConnections), "{report:?}");
    let recovery = world.open().unwrap();
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    let mut found = world.orphans();
    found.sort_by_key(|event| event.connection);
    assert_eq!(found, expected);
}
