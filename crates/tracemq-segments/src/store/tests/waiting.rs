//! S25, S56: who waits for whom. Nobody waits for a disk but those who append, and they are told why they can't.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracemq_model::{Event, Filter, Gap, GapCause, InstanceId, Order, TimeMs, TimeRange};
use tracemq_store::{Batch, EventStore, StoreError};

use super::world::World;
use crate::SegmentSettings;
use crate::fs::simulated::{Dice, SimulatedFs, Slow};
use crate::store::worker::Attempts;
use crate::store::{Segments, lock};

fn all() -> Filter {
    Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL)
}

fn scanned(store: &Segments) -> usize {
    let mut found = 0;
    let mut count = |_: &Event| {
        found += 1;
        ControlFlow::Continue(())
    };
    store.scan(&all(), Order::OldestFirst, &mut count).unwrap();
    found
}

/// A disk whose syncs take as long as the test wants them to.
#[test]
fn s25_questions_wait_for_no_sync_and_what_waits_with_appends_is_bounded() {
    const APPENDERS: usize = 100;
    let mut world = World::with(SegmentSettings { memtable_events: 1_000, ..SegmentSettings::default() });
    let mut event = world.batch(&mut Dice(1)).remove(0);
    event.instance = InstanceId::new("mqtt-local").unwrap();
    // Large ones are synced on a thread of their own.
    for count in [1, 300] {
        world.append(vec![event.clone()]).unwrap();
        let (disk, store, known) = (world.disk.clone(), world.store(), scanned(world.store()));
        let batch = Batch { events: vec![event.clone(); count], gaps: Vec::new() };
        let one = Batch { events: vec![event.clone()], gaps: Vec::new() };
        disk.gate().shut(Slow::Syncs);
        thread::scope(|scope| {
            let first = scope.spawn(|| store.append(&batch));
            disk.gate().until_one_waits();
            let others: Vec<_> = (0..APPENDERS).map(|_| scope.spawn(|| store.append(&one))).collect();
            while lock(&store.shared.waiting).len() < 64 {
                thread::yield_now();
            }
            // Answers are those of before: nothing of it is acknowledged.
            assert_eq!(scanned(store), known);
            assert_eq!(store.stats().events, known as u64);
            assert_eq!(
                store.counts(&all(), 60_000).unwrap().counts.iter().map(|count| count.events).sum::<u64>(),
                known as u64
            );
            assert_eq!(store.gaps(TimeRange::ALL).unwrap(), []);
            assert_eq!(lock(&store.shared.waiting).len(), 64);
            assert!(!first.is_finished() && others.iter().all(|other| !other.is_finished()));
            disk.gate().open();
            first.join().unwrap().unwrap();
            others.into_iter().for_each(|other| other.join().unwrap().unwrap());
        });
        assert_eq!(scanned(store), known + count + APPENDERS);
        world.acknowledged.extend(batch.events);
        world.acknowledged.extend(vec![event.clone(); APPENDERS]);
    }
}

/// A disk whose reads take as long as the test wants them to: who asks waits, and nobody else does.
#[test]
fn s25_a_read_that_takes_long_holds_up_no_append_no_seal_and_no_question_that_needs_no_file() {
    let mut world = World::new();
    let mut dice = Dice(3);
    for _ in 0..4 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
    }
    world.store().settle(&mut |_| {}).unwrap();
    world.open().unwrap();
    let more: Vec<Vec<Event>> = (0..3).map(|_| world.batch(&mut dice)).collect();
    let known = world.acknowledged.len() as u64;
    let (disk, store) = (world.disk.clone(), world.store());
    disk.gate().shut(Slow::Reads);
    let found = thread::scope(|scope| {
        let asking = scope.spawn(|| world.shown());
        disk.gate().until_one_waits();
        for events in &more {
            store.append(&Batch { events: events.clone(), gaps: Vec::new() }).unwrap();
        }
        store.shared.freeze_now().unwrap();
        assert_eq!(store.stats().events, known + more.iter().flatten().count() as u64);
        assert_eq!(store.gaps(TimeRange::ALL).unwrap(), []);
        assert!(!asking.is_finished());
        disk.gate().open();
        asking.join().unwrap()
    });
    // As it was when it was asked, as far as that had begun.
    assert!(found.len() as u64 >= known, "{} of {known}", found.len());
    world.acknowledged.extend(more.into_iter().flatten());
    world.check("after it");
}

/// The same of writes: who appends waits, and whoever asks does not.
#[test]
fn s25_a_write_that_takes_long_holds_up_no_question() {
    let mut world = World::new();
    let mut dice = Dice(4);
    for _ in 0..4 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
    }
    world.store().shared.seal_all().unwrap();
    let events = world.batch(&mut dice);
    let (disk, store) = (world.disk.clone(), world.store());
    disk.gate().shut(Slow::Writes);
    thread::scope(|scope| {
        let batch = Batch { events: events.clone(), gaps: Vec::new() };
        let appending = scope.spawn(move || store.append(&batch));
        disk.gate().until_one_waits();
        assert_eq!(world.shown().len(), world.acknowledged.len());
        assert_eq!(store.stats().events, world.acknowledged.len() as u64);
        assert!(!appending.is_finished());
        disk.gate().open();
        appending.join().unwrap().unwrap();
    });
    world.acknowledged.extend(events);
    world.check("after it");
}

/// A store with its threads, and what fills a memtable of it.
fn with_threads(disk: &SimulatedFs) -> (TempDir, Segments, Batch) {
    let folder = TempDir::new().unwrap();
    let settings = SegmentSettings { memtable_events: 10, ..SegmentSettings::default() };
    let (store, _) = Segments::open_on(Arc::new(disk.clone()), folder.path(), settings, true).unwrap();
    let mut world = World::new();
    let mut events = Vec::new();
    while events.len() < 10 {
        events.extend(world.batch(&mut Dice(2)));
    }
    (folder, store, Batch { events, gaps: Vec::new() })
}

/// Appends until that fails.
fn fill(store: &Segments, batch: &Batch) -> StoreError {
    let mut appended = 0;
    loop {
        match store.append(batch) {
            Ok(()) => appended += 1,
            Err(error) => return error,
        }
        assert!(appended < 10_000, "nothing held it up");
    }
}

#[test]
fn s56_appends_are_told_at_once_that_the_thread_that_seals_is_gone() {
    let disk = SimulatedFs::default();
    let (_folder, store, batch) = with_threads(&disk);
    disk.set_panics_at_segments(true);
    assert!(matches!(fill(&store, &batch), StoreError::Poisoned { .. }));
    disk.set_panics_at_segments(false);
    let before = scanned(&store);
    assert!(matches!(store.append(&batch), Err(StoreError::Poisoned { .. })));
    assert_eq!(scanned(&store), before);
}

#[test]
fn s56_a_panic_while_merging_ends_that_attempt_alone() {
    let mut world =
        World::with(SegmentSettings { memtable_events: 10, merge_segments: 3, ..SegmentSettings::default() });
    let mut dice = Dice(5);
    for _ in 0..8 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
        world.store().shared.freeze_now().unwrap();
        world.store().shared.seal_all().unwrap();
    }
    let shared = &world.store().shared;
    let (mut merging, now) = (Attempts::to_merge(), Instant::now());
    let before = shared.view().segments.len();
    world.disk.set_panics_at_segments(true);
    assert!(!shared.merge_when_due(&mut merging, now));
    world.disk.set_panics_at_segments(false);
    assert!(!shared.merge_when_due(&mut merging, now), "not at once");
    assert_eq!(shared.view().segments.len(), before);
    assert!(shared.merge_when_due(&mut merging, now + Duration::from_secs(2)));
    assert!(shared.view().segments.len() < before);
    world.check("after a panic");
}

#[test]
fn s56_appends_are_told_why_nothing_can_be_sealed() {
    for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied] {
        let disk = SimulatedFs::default();
        let (_folder, store, batch) = with_threads(&disk);
        disk.set_unwritable_segments(Some(kind));
        let error = fill(&store, &batch);
        let is_told = if kind == ErrorKind::StorageFull {
            matches!(error, StoreError::Full { .. })
        } else {
            matches!(&error, StoreError::Io { source, .. } if source.kind() == kind)
        };
        assert!(is_told, "{kind:?}: {error:?}");
        disk.set_unwritable_segments(None);
        // Poisoned is for good: it says that a restart helps.
        lock(&store.shared.publisher).poisoned = Some(store.dir().to_owned());
        let (mut sealing, later) = (Attempts::to_seal(), Instant::now());
        store.shared.seal_when_due(&mut sealing, later);
        assert!(matches!(fill(&store, &batch), StoreError::Poisoned { .. }));
    }
}

/// A batch of gaps alone is as good a reason to seal as any.
#[test]
fn s56_gaps_alone_fill_a_memtable_and_none_is_lost() {
    let mut world = World::new();
    for number in 0..5_000 {
        let at = TimeMs(number * 10_000);
        let gap = Gap { from: at, to: at.plus(5), lost: Some(1), cause: GapCause::QueueFull };
        world.store().append(&Batch { events: Vec::new(), gaps: vec![gap] }).unwrap();
        assert!(world.store().shared.view().active.gap_count() <= 1_000);
    }
    assert!(world.store().shared.view().frozen.len() <= SegmentSettings::FROZEN_MAX);
    let lost = |world: &World| -> u64 {
        let snapshot = world.store().shared.snapshot();
        let in_memory = snapshot.memtables().flat_map(|(memtable, _)| memtable.gaps());
        in_memory.chain(snapshot.gaps().to_vec()).filter_map(|gap| gap.lost).sum()
    };
    assert_eq!(lost(&world), 5_000);
    world.store().settle(&mut |_| {}).unwrap();
    world.open().unwrap();
    assert_eq!(lost(&world), 5_000);
}
