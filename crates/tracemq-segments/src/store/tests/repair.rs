//! S33, S40: a manifest is made anew, and each event is there once.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{ClientId, InstanceId, Subject, TimeMs};
use tracemq_store::{EventStore, StoreError};

use super::world::World;
use crate::fs::Fs;
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};
use crate::repair::{RepairMode, RepairReport, repair_on};
use crate::{Keep, Retention, SegmentSettings};

fn repair(disk: &SimulatedFs, dir: &Path, mode: RepairMode) -> Result<RepairReport, StoreError> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    repair_on(&fs, dir, None, mode)
}

/// Some batches, seals, merges, and restarts, as the dice want it.
fn live(world: &mut World, dice: &mut Dice, steps: usize) {
    for _ in 0..steps {
        match dice.roll(10) {
            0..=4 => {
                let batch = world.batch(dice);
                let _ = world.append(batch);
            }
            5 => drop(world.store().shared.freeze_now()),
            6 | 7 => drop(world.store().shared.seal_next()),
            8 => drop(world.store().shared.merge_next(&mut |_| {})),
            _ => drop(world.open()),
        }
    }
}

fn remove(disk: &SimulatedFs, path: &Path) {
    let _ = disk.remove(path);
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

/// The ways in which manifests are lost.
fn lose_manifests(disk: &SimulatedFs, dir: &Path, way: usize) {
    let [present, previous] = ["manifest", "manifest.old"].map(|name| dir.join(name));
    // The two may be one file: a flipped bit is not flipped back.
    let flip = |path: &PathBuf| {
        if disk.paths().contains(path) {
            disk.change(path, |bytes| bytes[30] |= 0x80);
        }
    };
    match way {
        0 => remove(disk, &present),
        1 => flip(&present),
        2 => disk.change(&present, |bytes| bytes.clear()),
        3 => {
            remove(disk, &present);
            remove(disk, &previous);
        }
        _ => {
            flip(&present);
            flip(&previous);
        }
    }
}

fn contents_of(disk: &SimulatedFs) -> BTreeSet<Vec<u8>> {
    disk.contents().into_iter().filter(|(path, _)| !path.ends_with("manifest.new")).map(|(_, bytes)| bytes).collect()
}

/// Repairs `disk`, and opens it: each event is there once.
fn repaired(world: &mut World, disk: SimulatedFs, context: &str) -> RepairReport {
    world.close();
    let before = contents_of(&disk);
    let refused = {
        world.disk = disk.copy();
        world.open()
    };
    assert!(
        matches!(refused, Err(StoreError::Damaged { what, .. }) if what.contains("tracemq store repair")),
        "{context}: {refused:?}"
    );
    let looked = repair(&disk, &world.dir(), RepairMode::Look).unwrap();
    assert_eq!(contents_of(&disk), before, "{context}: a look changes nothing");
    let report = repair(&disk, &world.dir(), RepairMode::CarryOut).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(RepairReport { kept: Vec::new(), ..report.clone() }, looked, "{context}");
    assert!(contents_of(&disk).is_superset(&before), "{context}: nothing is deleted");
    for aside in &report.aside {
        let paths = disk.paths();
        assert!(paths.contains(&aside.to) && !paths.contains(&aside.path), "{context}: {aside:?}");
    }
    let again = repair(&disk, &world.dir(), RepairMode::CarryOut).unwrap();
    assert_eq!(again.damage, None, "{context}: done is done");
    let recovery = world.restart_on(disk);
    world.expect_gaps();
    assert_eq!(recovery.damaged.iter().filter(|damage| damage.length > 0).count(), 0, "{context}: {recovery:?}");
    world.check(context);
    report
}

fn crashed(disk: &SimulatedFs, dice: &mut Dice) -> SimulatedFs {
    match dice.roll(6) {
        0 => disk.copy(),
        1 => disk.after_power_loss(Unsynced::Lost),
        2 => disk.after_power_loss(Unsynced::Zeros),
        3 => disk.after_power_loss(Unsynced::Torn(dice.roll(600))),
        _ => disk.after_power_loss(Unsynced::Any(dice.roll(usize::MAX) as u64)),
    }
}

#[test]
fn s40_any_life_cut_off_anywhere_and_without_its_manifests_is_made_whole() {
    for seed in 0..300 {
        let (mut world, mut dice) = (World::new(), Dice(seed));
        let steps = 6 + dice.roll(20);
        live(&mut world, &mut dice, steps);
        // The end comes at any call.
        let first = 1 + dice.roll(60);
        world.disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written: dice.roll(600) }));
        for _ in 0..3 {
            let batch = world.batch(&mut dice);
            if world.append(batch.clone()).is_err() && world.doubtful.is_empty() {
                world.doubtful = batch;
            }
            let _ = world.store().shared.seal_all();
            let _ = world.store().shared.merge_next(&mut |_| {});
        }
        let left = crashed(&world.disk, &mut dice);
        let (acknowledged, doubtful) = (world.acknowledged.clone(), world.doubtful.clone());
        for way in 0..5 {
            let context = format!("seed {seed}, way {way}");
            world.acknowledged.clone_from(&acknowledged);
            world.doubtful.clone_from(&doubtful);
            let disk = left.copy();
            lose_manifests(&disk, &world.dir(), way);
            let is_gone =
                disk.paths().iter().all(|path| !path.ends_with("manifest") && !path.ends_with("manifest.old"));
            if is_gone && !disk.paths().iter().any(|path| path.extension().is_some_and(|kind| kind == "segment")) {
                continue; // that is how a store begins
            }
            repaired(&mut world, disk, &context);
            world.check_orphans(&context);
            // And goes on.
            let mut dice = Dice(seed * 5 + way as u64);
            live(&mut world, &mut dice, 8);
            world.expect_gaps();
            world.check(&format!("{context}, later"));
        }
    }
}

/// A store at rest: segments, two of them made of one memtable, one of them merged, and some of it in the log.
fn at_rest() -> World {
    let mut world = World::small();
    world.open().unwrap();
    let mut dice = Dice(5);
    for days in [3, 9] {
        let mut batch = world.batch(&mut dice);
        for (at, event) in (0..).zip(&mut batch) {
            event.time.0 += (days + at % 2) * 86_400_000;
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    let batch = world.batch(&mut dice);
    world.append(batch).unwrap();
    world.close();
    world
}

fn of_kind(disk: &SimulatedFs, kind: &str) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|found| found == kind)).collect()
}

#[test]
fn s40_a_repair_cut_off_at_any_call_is_made_up_for_by_the_next() {
    let mut world = at_rest();
    // A merge that no manifest names yet, so that something is put aside.
    world.open().unwrap();
    world.disk.set_room(Some(6_000));
    let _ = world.store().settle(&mut |_| {});
    world.disk.set_room(None);
    let before = world.disk.copy();
    world.close();
    for way in 0..5 {
        for call in 1.. {
            let disk = before.copy();
            lose_manifests(&disk, &world.dir(), way);
            disk.set_fault(Some(Fault { first: call, for_good: true, kind: ErrorKind::Other, written: call * 7 % 90 }));
            let done = repair(&disk, &world.dir(), RepairMode::CarryOut).is_ok() && disk.calls() < call;
            let ways =
                [Unsynced::Lost, Unsynced::Zeros, Unsynced::Any(call as u64), Unsynced::Any(call as u64 + 9_999)];
            for left in [disk.copy()].into_iter().chain(ways.map(|unsynced| disk.after_power_loss(unsynced))) {
                let context = format!("way {way}, call {call}");
                repair(&left, &world.dir(), RepairMode::CarryOut).unwrap();
                world.restart_on(left);
                world.expect_gaps();
                world.check(&context);
                world.check_orphans(&context);
            }
            if done {
                break;
            }
        }
    }
}

#[test]
fn s40_a_merge_that_is_damaged_gives_way_to_what_it_was_made_of() {
    let mut world = World::new();
    for number in 0..3 {
        let batch = world.batch(&mut Dice(number));
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    let inputs: Vec<_> = of_kind(&world.disk, "segment");
    let contents: Vec<_> = inputs.iter().map(|path| world.disk.content(path)).collect();
    world.store().shared.merge_next(&mut |_| {}).unwrap();
    let merged = of_kind(&world.disk, "segment").into_iter().find(|path| !inputs.contains(path)).unwrap();
    for (path, content) in inputs.iter().zip(contents) {
        world.disk.put(path, content);
    }
    let whole = world.disk.copy();
    lose_manifests(&whole, &world.dir(), 3);
    let report = repaired(&mut world, whole.copy(), "whole");
    assert!(report.aside.iter().all(|aside| inputs.contains(&aside.path) || aside.path.extension().unwrap() == "open"));
    // In a block of rows.
    whole.change(&merged, |bytes| bytes[60] ^= 4);
    let report = repaired(&mut world, whole, "damaged");
    assert!(report.aside.iter().any(|aside| aside.path == merged), "{report:?}");
}

#[test]
fn s40_a_segment_that_cannot_be_opened_leaves_a_gap_and_is_there_again_when_it_is_put_back() {
    let mut world = at_rest();
    let disk = world.disk.copy();
    let mut tried = 0;
    for path in of_kind(&disk, "segment") {
        for way in 0..5 {
            let context = format!("{}, way {way}", path.display());
            let broken = disk.copy();
            broken.change(&path, |bytes| bytes.truncate(60));
            lose_manifests(&broken, &world.dir(), way);
            let report = repair(&broken, &world.dir(), RepairMode::CarryOut).unwrap();
            world.restart_on(broken.copy());
            world.expect_gaps();
            assert!(world.check_left(&context) > 0, "{context}");
            world.close();
            if report.damaged.is_empty() {
                assert!(report.aside.iter().any(|aside| aside.path == path), "{context}");
                continue;
            }
            tried += 1;
            broken.put(&path, disk.content(&path));
            world.restart_on(broken);
            world.expect_gaps();
            world.check(&context);
            world.check_orphans(&context);
        }
    }
    assert!(tried > 3, "{tried}");
}

#[test]
fn s40_what_is_damaged_in_the_log_is_a_gap_after_a_repair_as_before() {
    let mut world = at_rest();
    let disk = world.disk.copy();
    for path in of_kind(&disk, "wal") {
        // Each byte of the header, and then some.
        for at in (0..48).chain((48..disk.content(&path).len()).step_by(7)) {
            let broken = disk.copy();
            broken.change(&path, |bytes| bytes[at] ^= 0x10);
            lose_manifests(&broken, &world.dir(), at % 5);
            repair(&broken, &world.dir(), RepairMode::CarryOut).unwrap();
            world.restart_on(broken);
            world.check_left(&format!("byte {at}"));
        }
    }
}

/// Neither ends a repair, or makes it take the manifest for another store's.
#[test]
fn s30_s40_a_flipped_bit_in_a_version_or_a_name_is_no_later_format_and_no_other_store() {
    let mut world = World::new();
    let batch = world.batch(&mut Dice(4));
    world.append(batch).unwrap();
    world.close();
    let disk = world.disk.copy();
    let manifest = world.dir().join("manifest");
    let logs = of_kind(&disk, "wal");
    assert_eq!(logs.len(), 1);
    for at in [8, 12, 20, 28, 44] {
        let broken = disk.copy();
        broken.change(&logs[0], |bytes| bytes[at] ^= 2);
        // With a manifest there is nothing to do.
        assert_eq!(repair(&broken, &world.dir(), RepairMode::CarryOut).unwrap().damage, None, "byte {at}");
        world.restart_on(broken);
        assert_eq!(world.check_left(&format!("byte {at}")), 0);
        world.close();
    }
    let broken = disk.copy();
    broken.change(&manifest, |bytes| bytes["tracemq-manifest ".len()] ^= 2);
    repaired(&mut world, broken, "the version of the manifest");
}

#[test]
fn s33_after_an_older_manifest_was_put_back_all_is_there_again() {
    let (mut world, mut dice) = (World::new(), Dice(31));
    let mut earlier = Vec::new();
    for round in 0..14 {
        let batch = world.ordered_batch(&mut dice);
        world.append(batch).unwrap();
        if round % 2 == 1 {
            world.store().shared.seal_all().unwrap();
        }
        if round % 5 == 4 {
            world.store().shared.merge_next(&mut |_| {}).unwrap();
        }
        earlier.push(world.disk.content(&world.dir().join("manifest")));
    }
    world.close();
    let disk = world.disk.copy();
    let last = disk.content(&world.dir().join("manifest"));
    let mut refused = 0;
    for (round, manifest) in earlier.into_iter().enumerate().filter(|(_, manifest)| *manifest != last) {
        for name in ["manifest", "both"] {
            let context = format!("round {round}, {name}");
            let older = disk.copy();
            older.put(&world.dir().join("manifest"), manifest.clone());
            if name == "both" {
                older.put(&world.dir().join("manifest.old"), manifest.clone());
            }
            repaired(&mut world, older, &context);
            world.check_orphans(&context);
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn s33_an_older_manifest_is_refused_when_only_the_log_has_gone_on() {
    let mut world = World::new();
    let mut dice = Dice(3);
    let batch = world.ordered_batch(&mut dice);
    world.append(batch).unwrap();
    world.store().shared.seal_all().unwrap();
    let older = world.disk.content(&world.dir().join("manifest"));
    for _ in 0..2 {
        let batch = world.ordered_batch(&mut dice);
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    world.close();
    // Retention has taken all segments since, and nothing but the log is newer.
    for path in of_kind(&world.disk, "segment").into_iter().chain(of_kind(&world.disk, "open")) {
        remove(&world.disk, &path);
    }
    world.disk.put(&world.dir().join("manifest"), older);
    let before = world.disk.contents();
    let refused = world.open();
    assert!(
        matches!(refused, Err(StoreError::Damaged { what, .. }) if what.contains("tracemq store repair")),
        "{refused:?}"
    );
    assert_eq!(world.disk.contents(), before);
    repair(&world.disk, &world.dir(), RepairMode::CarryOut).unwrap();
    world.open().unwrap();
}

#[test]
fn s33_a_manifest_of_another_store_gives_way_to_the_files() {
    let (mut world, other) = (at_rest(), World::small());
    for with_its_own_before in [true, false] {
        let disk = world.disk.copy();
        if !with_its_own_before {
            remove(&disk, &world.dir().join("manifest.old"));
        }
        disk.put(&world.dir().join("manifest"), other.disk.content(&other.dir().join("manifest")));
        let report = repair(&disk, &world.dir(), RepairMode::CarryOut).unwrap();
        assert_eq!(report.base.is_some(), with_its_own_before);
        world.restart_on(disk);
        world.expect_gaps();
        world.check("another store's manifest");
        world.check_orphans("another store's manifest");
        world.close();
    }
}

#[test]
fn s40_who_was_erased_stays_so_as_far_as_a_manifest_or_the_log_knows() {
    let (instance, name) = (InstanceId::new("mqtt-local").unwrap(), "b");
    let subject = Subject::Client(ClientId::new(name).unwrap());
    for (is_sealed_since, way) in [(false, 0), (false, 3), (true, 0), (true, 1)] {
        let mut world = at_rest();
        world.open().unwrap();
        assert!(world.store().erase(&instance, &subject).unwrap() > 0);
        world
            .acknowledged
            .retain(|event| event.instance != instance || event.client.as_ref().unwrap().as_str() != name);
        if is_sealed_since {
            world.store().shared.seal_all().unwrap();
        }
        world.close();
        let disk = world.disk.copy();
        lose_manifests(&disk, &world.dir(), way);
        let report = repaired(&mut world, disk, &format!("{is_sealed_since}, way {way}"));
        let tells = report.unknown.iter().any(|unknown| matches!(unknown, crate::Unknown::Erasures { .. }));
        assert_eq!(tells, is_sealed_since || way == 3, "{report:?}");
    }
}

#[test]
fn s40_with_nothing_to_make_a_manifest_from_nothing_is_made() {
    let mut world = World::new();
    world.close();
    let disk = SimulatedFs::default();
    disk.put(&world.dir().join("manifest"), b"not a manifest".to_vec());
    let before = disk.contents();
    let refused = repair(&disk, &world.dir(), RepairMode::CarryOut);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    assert_eq!(disk.contents(), before);
}

/// A memtable of two days is two segments of one sequence; a merge takes one of them. A log file that a crash brings back, of
/// which both were made, does not count then.
#[test]
fn s40_a_segment_beside_the_merge_that_took_its_sibling_counts_and_their_log_does_not() {
    const DAY: i64 = 86_400_000;
    let retention = Retention { each: Keep { age_ms: Some(40 * DAY as u64), bytes: None }, ..Retention::default() };
    let settings = SegmentSettings { memtable_events: 12, merge_segments: 3, retention, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(17));
    let mut log = None;
    for round in 0..3 {
        let mut batch = world.ordered_batch(&mut dice);
        batch.extend(world.ordered_batch(&mut dice));
        for (at, event) in (0..).zip(&mut batch) {
            event.time = TimeMs(round * DAY + if round == 2 && at % 2 == 0 { 30 * DAY } else { 0 });
        }
        world.append(batch).unwrap();
        let path = of_kind(&world.disk, "wal").pop().unwrap();
        log = Some((path.clone(), world.disk.content(&path)));
        world.store().shared.seal_all().unwrap();
    }
    assert_eq!(of_kind(&world.disk, "segment").len(), 4);
    assert!(world.store().shared.merge_next(&mut |_| {}).unwrap());
    assert_eq!(of_kind(&world.disk, "segment").len(), 2);
    world.close();
    let before = world.disk.copy();
    for log in [None, log] {
        for way in 0..5 {
            let disk = before.copy();
            if let Some((path, content)) = &log {
                disk.put(path, content.clone());
            }
            lose_manifests(&disk, &world.dir(), way);
            let report = repaired(&mut world, disk, &format!("way {way}"));
            assert_eq!(report.segments, 2, "{report:?}");
            world.close();
        }
    }
}

#[test]
fn s40_a_segment_has_the_number_of_its_log_file_whatever_became_of_the_files_before() {
    let (mut world, mut dice) = (World::new(), Dice(4));
    let batch = world.batch(&mut dice);
    world.append(batch).unwrap();
    world.close();
    let first = of_kind(&world.disk, "wal").pop().unwrap();
    // Neither its header nor a record in it says whose it is.
    world.disk.change(&first, |bytes| {
        bytes[20] ^= 1;
        bytes.truncate(70);
    });
    world.acknowledged.clear();
    world.open().unwrap();
    world.expect_gaps();
    let batch = world.ordered_batch(&mut dice);
    world.append(batch).unwrap();
    let second = of_kind(&world.disk, "wal").pop().unwrap();
    assert_ne!(first, second);
    let content = world.disk.content(&second);
    world.store().shared.seal_all().unwrap();
    world.close();
    // A crash brings the file back.
    world.disk.put(&second, content);
    lose_manifests(&world.disk, &world.dir(), 3);
    let disk = world.disk.copy();
    repaired(&mut world, disk, "beside its log");
}

#[test]
fn a_file_of_others_that_has_the_name_aside_is_never_taken_for_it() {
    let mut tried = 0;
    for seed in 0..100 {
        let (mut world, mut dice) = (World::new(), Dice(seed));
        live(&mut world, &mut dice, 20);
        // A merge that is cut off before what it replaces is removed.
        let first = 1 + dice.roll(60);
        world.disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written: 0 }));
        let _ = world.store().shared.seal_all();
        let _ = world.store().shared.merge_next(&mut |_| {});
        world.close();
        let broken = world.disk.copy();
        lose_manifests(&broken, &world.dir(), 3);
        let Ok(planned) = repair(&broken, &world.dir(), RepairMode::Look) else { continue };
        let Some(aside) = planned.aside.first() else { continue };
        tried += 1;
        broken.put(&aside.to, b"somebody's".to_vec());
        let before = broken.content(&aside.path);
        let error = repair(&broken, &world.dir(), RepairMode::CarryOut).unwrap_err().to_string();
        assert!(error.contains("another one has this name"), "{error}");
        assert_eq!((broken.content(&aside.path), broken.content(&aside.to)), (before, b"somebody's".to_vec()));
        remove(&broken, &aside.to);
        repair(&broken, &world.dir(), RepairMode::CarryOut).unwrap();
    }
    assert!(tried >= 5, "{tried}");
}
