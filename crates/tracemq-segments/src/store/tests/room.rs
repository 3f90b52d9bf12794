//! S21: merges leave room to what arrives, and what fails is tried again, but not all the time.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracemq_store::StoreError;

use super::world::{START, World};
use crate::fs::Fs;
use crate::fs::simulated::{Dice, Fault};
use crate::segment::SegmentId;
use crate::store::worker::Attempts;

const SECOND: Duration = Duration::from_secs(1);
/// Left alone by whatever can wait.
const LEFT_FREE: usize = 16 << 20;

fn with_segments(count: usize) -> World {
    let (mut world, mut dice) = (World::new(), Dice(5));
    for _ in 0..count {
        let batch = world.ordered_batch(&mut dice);
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    world
}

#[test]
fn s21_a_merge_that_would_fill_the_disk_is_not_begun() {
    let mut world = with_segments(3);
    let segments = world.store().shared.view().segments.clone();
    let bytes: u64 = segments.iter().map(|segment| segment.meta().bytes).sum();
    let need = LEFT_FREE + 2 * usize::try_from(bytes).unwrap();
    let largest = segments.iter().map(|segment| segment.meta().bytes).max().unwrap();
    for room in [0, LEFT_FREE, LEFT_FREE + 2 * usize::try_from(largest).unwrap()] {
        world.disk.set_room(Some(room));
        assert!(!world.store().shared.merge_next(&mut |_| {}).unwrap());
        assert_eq!(world.disk.free_space(&world.dir()).unwrap(), room as u64);
    }
    assert_eq!(world.store().shared.view().segments.len(), 3);
    world.disk.set_room(Some(need));
    assert!(world.store().shared.merge_next(&mut |_| {}).unwrap());
    assert_eq!(world.store().shared.view().segments.len(), 1);
    world.check("merged");
}

/// There is no room for a merge of all that should be merged: fewer are.
#[test]
fn s21_with_little_room_smaller_merges_go_on() {
    let mut world = with_segments(9);
    let largest = world.store().shared.view().segments.iter().map(|segment| segment.meta().bytes).max().unwrap();
    world.disk.set_room(Some(LEFT_FREE + 2 * 3 * usize::try_from(largest).unwrap()));
    assert!(world.store().shared.merge_next(&mut |_| {}).unwrap());
    let left = world.store().shared.view().segments.len();
    assert!((2..9).contains(&left), "{left}");
    world.check("merged in part");
}

#[test]
fn what_fails_is_tried_again_ever_later_and_success_forgets_that() {
    let mut world = with_segments(3);
    let shared = &world.store().shared;
    let mut merging = Attempts::to_merge();
    let (mut calls, mut tried) = (0, Vec::new());
    let begun = Instant::now();
    world.disk.set_fault(Some(Fault { first: 1, for_good: true, kind: ErrorKind::Other, written: 0 }));
    for second in 0..3_600 {
        assert!(!shared.merge_when_due(&mut merging, begun + SECOND * second));
        if std::mem::replace(&mut calls, world.disk.calls()) < world.disk.calls() {
            tried.push(second);
        }
    }
    assert_eq!(tried[..9], [0, 1, 3, 7, 15, 31, 63, 127, 255]);
    assert!(tried[9..].windows(2).all(|two| two[1] - two[0] == 300), "{tried:?}");
    world.disk.set_fault(None);
    assert!(!shared.merge_when_due(&mut merging, begun + SECOND * 3_600), "not yet");
    assert!(shared.merge_when_due(&mut merging, begun + SECOND * 4_000));
    assert!(!shared.merge_when_due(&mut merging, begun + SECOND * 4_000), "nothing is left to merge");
    world.check("merged");
}

#[test]
fn what_failed_for_lack_of_room_is_tried_again_as_soon_as_there_is_some() {
    let mut world = with_segments(0);
    let batch = world.ordered_batch(&mut Dice(1));
    world.append(batch).unwrap();
    world.store().shared.freeze_now().unwrap();
    let (mut sealing, begun) = (Attempts::to_seal(), Instant::now());
    world.disk.set_room(Some(100));
    for second in 0..20 {
        assert!(!world.store().shared.seal_when_due(&mut sealing, begun + SECOND * second));
    }
    world.disk.set_room(Some(LEFT_FREE + 100));
    assert!(world.store().shared.seal_when_due(&mut sealing, begun + SECOND * 20));
    world.check("sealed");
}

/// What can't be read right after it was written would else be written again every second.
#[test]
fn s23_a_new_segment_that_cant_be_opened_is_not_written_all_the_time() {
    let mut world = with_segments(1);
    let batch = world.ordered_batch(&mut Dice(1));
    world.append(batch).unwrap();
    let shared = &world.store().shared;
    shared.freeze_now().unwrap();
    let first = shared.next_number.load(Ordering::Relaxed);
    let path = |number| -> PathBuf { world.dir().join(SegmentId { store: shared.id, number }.file_name()) };
    (first..first + 500).for_each(|number| world.disk.set_unreadable(&path(number), true));
    let (mut sealing, begun) = (Attempts::to_seal(), Instant::now());
    for second in 0..600 {
        assert!(!shared.seal_when_due(&mut sealing, begun + SECOND * second));
    }
    let written = shared.next_number.load(Ordering::Relaxed) - first;
    assert!((5..30).contains(&written), "{written} times in ten minutes");
    assert_eq!(
        world.disk.paths().iter().filter(|path| path.extension().is_some_and(|kind| kind == "segment")).count(),
        1
    );
    (first..first + 500).for_each(|number| world.disk.set_unreadable(&path(number), false));
    assert!(shared.seal_when_due(&mut sealing, begun + SECOND * 700));
    world.check("readable");
}

/// Nothing would delete what is written when it is unknown which manifest is live.
#[test]
fn s18_after_a_failed_sync_of_the_manifest_nothing_more_is_written_or_deleted() {
    let mut poisoned = 0;
    for call in 1.. {
        let mut world = with_segments(3);
        world.settings.retention.each.age_ms = Some(86_400_000);
        world.open().unwrap();
        for _ in 0..2 {
            let batch = world.ordered_batch(&mut Dice(1));
            world.append(batch).unwrap();
            world.store().shared.freeze_now().unwrap();
        }
        world.disk.set_fault(Some(Fault { first: call, for_good: false, kind: ErrorKind::Other, written: 0 }));
        let sealed = world.store().shared.seal_next();
        let is_done = world.disk.calls() < call;
        world.disk.set_fault(None);
        if is_done {
            break;
        }
        if !matches!(sealed, Err(StoreError::Poisoned { .. })) {
            continue;
        }
        poisoned += 1;
        let before = world.disk.contents();
        let is_refused = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Poisoned { .. }));
        for _ in 0..3 {
            let shared = &world.store().shared;
            assert!(is_refused(shared.seal_next().map(drop)) && is_refused(shared.merge_next(&mut |_| {}).map(drop)));
            // A month from now all of it has expired.
            assert!(is_refused(world.retain(START + 30 * 86_400_000)), "call {call}");
        }
        assert_eq!(world.disk.contents(), before, "call {call}");
        world.check("poisoned");
    }
    assert_eq!(poisoned, 2, "the rename, and the sync of its folder");
}
