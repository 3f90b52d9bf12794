//! Power loss and torn writes.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::{DIR, Mode, STORE, batch, create, look, path, start, try_look, try_start, written};
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};
use crate::fs::{Fs, RealFs};
use crate::wal::file::{self, HEADER_BYTES};
use crate::wal::{Wal, replay};

/// What was found takes the next batch, and both survive.
fn append_and_restart(disk: &SimulatedFs, mut wal: Wal, found: &[u32]) {
    wal.append(&batch(99)).unwrap();
    let again = start(&disk.after_power_loss(Unsynced::Lost)).1;
    assert_eq!((again.replayed.cut, again.replayed.damaged), (None, vec![]));
    assert_eq!(again.batches, [found, &[99]].concat());
}

#[test]
fn s1_a_log_cut_at_any_byte_keeps_its_whole_records() {
    let disk = SimulatedFs::default();
    let mut wal = create(&disk).unwrap();
    let mut ends = Vec::new();
    for number in 0..6 {
        wal.append(&batch(number)).unwrap();
        ends.push(disk.content(&path(1)).len());
        assert_eq!(wal.bytes(), ends[ends.len() - 1] as u64);
    }
    for length in ends[2]..=ends[5] {
        let cut = disk.copy();
        cut.change(&path(1), |bytes| bytes.truncate(length));
        let whole = ends.iter().filter(|end| **end <= length).count();
        let expected: Vec<u32> = (0..u32::try_from(whole).unwrap()).collect();
        // Looking tells the same, and changes nothing.
        let looked = look(&cut);
        assert_eq!(cut.content(&path(1)).len(), length);
        let (wal, found) = start(&cut);
        assert_eq!((&found.batches, &looked.batches), (&expected, &expected), "cut at {length}");
        assert_eq!(found.replayed.cut, looked.replayed.cut);
        let surplus = (length - ends[whole - 1]) as u64;
        assert_eq!(found.replayed.cut.map_or(0, |cut| cut.bytes), surplus);
        assert_eq!(cut.content(&path(1)).len(), ends[whole - 1]);
        append_and_restart(&cut, wal, &expected);
    }
}

#[test]
fn a_real_disk_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, fs) = (dir.path(), Arc::new(RealFs));
    let mut wal = Wal::create(fs.clone(), dir, STORE, 1).unwrap();
    wal.append(&batch(0)).unwrap();
    assert_eq!(wal.rotate().unwrap(), 1);
    wal.append(&batch(1)).unwrap();
    drop(wal);
    let second = file::path(dir, 2);
    let whole = std::fs::read(&second).unwrap();
    std::fs::write(&second, [&whole, &whole[..]].concat()).unwrap();
    let replayed = replay(&*fs, dir, STORE, 1, Mode::Recover, &mut |_, _| {}).unwrap();
    assert_eq!((replayed.events, replayed.cut.map(|cut| cut.bytes)), (4, Some(whole.len() as u64)));
    assert_eq!(std::fs::read(&second).unwrap(), whole);
    let mut wal = Wal::resume(fs, dir, &replayed.tail).unwrap();
    wal.append(&batch(2)).unwrap();
    wal.delete(1).unwrap();
    let replayed = replay(&RealFs, dir, STORE, 2, Mode::Look, &mut |_, _| {}).unwrap();
    assert_eq!((replayed.events, replayed.files, replayed.damaged), (4, vec![(2, wal.bytes())], vec![]));
}

#[test]
fn s13_a_new_file_cut_at_any_byte_of_its_header_is_begun_anew() {
    let disk = written(0..4, 2);
    for length in 0..=HEADER_BYTES {
        let cut = disk.copy();
        cut.change(&path(3), |bytes| bytes.truncate(length));
        let (wal, found) = start(&cut);
        assert_eq!((&found.batches, found.replayed.damaged.len()), (&vec![0, 1, 2, 3], 0));
        assert_eq!(found.replayed.unborn.is_some(), length < HEADER_BYTES);
        append_and_restart(&cut, wal, &found.batches);
    }
}

#[test]
fn s2_zeros_and_old_bytes_behind_the_end_are_no_records() {
    let disk = written(0..3, 9);
    let whole = disk.content(&path(1));
    let stale = [&whole[HEADER_BYTES..], &whole, &written(0..3, 9).content(&path(1))].concat();
    for garbage in [vec![0; 10_000], stale, b"TMW\xb1".repeat(1_000), vec![0xff; 100], vec![0; 2 << 20]] {
        let disk = disk.copy();
        disk.change(&path(1), |bytes| bytes.extend(&garbage));
        let (wal, found) = start(&disk);
        assert_eq!(found.replayed.cut.map(|cut| cut.bytes), Some(garbage.len() as u64));
        assert_eq!((&found.batches, found.replayed.damaged.len()), (&vec![0, 1, 2], 0));
        append_and_restart(&disk, wal, &[0, 1, 2]);
    }
}

/// Of the last record, which ends in the middle of a file that was lengthened before, any sectors are there.
#[test]
fn s3_a_record_with_holes_is_none() {
    let disk = written(0..2, 9);
    let before = disk.content(&path(1));
    start(&disk).0.append(&batch(2)).unwrap();
    let after = disk.content(&path(1));
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut torn = before.clone();
        torn.resize(after.len() + dice.roll(2) * 4_096, 0);
        let mut missing = false;
        for at in (0..after.len()).step_by(64) {
            let end = after.len().min(at + 64);
            if dice.roll(2) == 0 {
                torn[at..end].copy_from_slice(&after[at..end]);
            }
            missing |= torn[at..end] != after[at..end];
        }
        let disk = disk.copy();
        disk.change(&path(1), |bytes| *bytes = torn);
        let (wal, found) = start(&disk);
        let expected: &[u32] = if missing { &[0, 1] } else { &[0, 1, 2] };
        assert_eq!((found.batches.as_slice(), found.replayed.damaged.len()), (expected, 0), "seed {seed}");
        append_and_restart(&disk, wal, expected);
    }
}

/// A run of everything that a log does. Gives what was acknowledged.
fn run(disk: &SimulatedFs) -> Vec<u32> {
    let Ok(mut wal) = create(disk) else { return vec![] };
    let mut acknowledged = Vec::new();
    for number in 0..6 {
        acknowledged.extend(wal.append(&batch(number)).is_ok().then_some(number));
        if number % 3 == 1 {
            let _ = wal.rotate();
        }
    }
    acknowledged
}

/// The power goes at each call of a run, and what was not synced is lost, torn at any byte, zeros, or there in part.
#[test]
fn what_was_acknowledged_survives_a_power_loss_at_any_call() {
    let untouched = SimulatedFs::default();
    assert_eq!(run(&untouched).len(), 6);
    let torn = (0..1_500).step_by(97).map(Unsynced::Torn);
    let any = (0..10).map(Unsynced::Any);
    let kinds: Vec<Unsynced> = [Unsynced::Lost, Unsynced::Zeros].into_iter().chain(torn).chain(any).collect();
    for first in 1..=untouched.calls() {
        for written in [0, 60, usize::MAX] {
            let disk = SimulatedFs::default();
            disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written }));
            let acknowledged = run(&disk);
            for unsynced in &kinds {
                let disk = disk.after_power_loss(*unsynced);
                if acknowledged.is_empty() && !disk.paths().contains(&path(1)) {
                    continue;
                }
                if acknowledged.is_empty() && disk.content(&path(1)).len() <= HEADER_BYTES {
                    create(&disk).unwrap();
                }
                let (wal, found) = start(&disk);
                let context = format!("call {first}, {written} written, {unsynced:?}: {:?}", found.batches);
                assert_eq!(found.replayed.damaged, [], "{context}");
                assert!(found.batches.starts_with(&acknowledged), "{context}");
                assert!(found.batches.len() <= acknowledged.len() + 1, "{context}");
                append_and_restart(&disk, wal, &found.batches);
            }
        }
    }
}

/// What a log is known to hold: the first file that is live, and what was acknowledged in it and behind it.
#[derive(Default)]
struct Known {
    first: u64,
    batches: Vec<u32>,
    erasures: usize,
    next: u32,
}

/// Runs a log through several lives that end in power losses. Some(what is wrong) if one of them lost or made up a record.
fn lives(seed: u64, lies: bool) -> Option<String> {
    let mut dice = Dice(seed);
    let mut disk = SimulatedFs::default();
    drop(create(&disk).unwrap());
    let mut known = Known { first: 1, ..Known::default() };
    for life in 0..4 {
        let started = try_look(&disk, known.first, Mode::Recover)
            .and_then(|found| Ok((Wal::resume(Arc::new(disk.clone()), Path::new(DIR), &found.replayed.tail)?, found)));
        let (mut wal, found) = match started {
            Ok(started) => started,
            Err(error) => return Some(format!("life {life}: {error}")),
        };
        let (batches, erasures) = (found.batches, found.erased.len());
        // One that was on its way when the power went may be there as well.
        let extra = (batches.len() + erasures).wrapping_sub(known.batches.len() + known.erasures);
        let is_whole = batches.starts_with(&known.batches) && erasures >= known.erasures;
        if !is_whole || extra > 1 || !found.replayed.damaged.is_empty() {
            return Some(format!("life {life}: {:?} became {batches:?}, {:?}", known.batches, found.replayed.damaged));
        }
        known.next = batches.last().map_or(known.next, |last| known.next.max(last + 1));
        (known.batches, known.erasures) = (batches, erasures);
        disk.set_lies(lies);
        if dice.roll(2) == 0 {
            let (first, written) = (1 + dice.roll(30), dice.roll(2_000));
            let kind = [ErrorKind::Other, ErrorKind::StorageFull][dice.roll(2)];
            disk.set_fault(Some(Fault { first, for_good: dice.roll(2) == 0, kind, written }));
        }
        live(&mut wal, &mut known, &mut dice);
        disk = disk.after_power_loss(Unsynced::Any(seed + life));
    }
    None
}

fn live(wal: &mut Wal, known: &mut Known, dice: &mut Dice) {
    for _ in 0..dice.roll(8) {
        match dice.roll(6) {
            0 => drop(wal.rotate()),
            1 => known.erasures += usize::from(wal.erase(b"i\0\x01device").is_ok()),
            2 if wal.rotate().is_ok() => {
                // As if all before were in segments, and a manifest said so.
                let finished = known.first..wal.number();
                *known = Known { first: wal.number(), next: known.next, ..Known::default() };
                finished.for_each(|number| drop(wal.delete(number)));
            }
            _ => {
                known.batches.extend(wal.append(&batch(known.next)).is_ok().then_some(known.next));
                known.next += 1;
            }
        }
    }
    // The last of a life may be on its way.
    if dice.roll(2) == 0 {
        drop(wal.write(&batch(known.next)));
        known.next += 1;
    }
}

#[test]
fn a_thousand_logs_survive_power_losses() {
    for seed in 0..1_000 {
        assert_eq!(lives(seed, false), None, "seed {seed}");
    }
}

/// Were a disk to say that it synced when it didn't, these tests would see it.
#[test]
fn a_disk_that_lies_is_found_out() {
    assert!((0..50).filter(|seed| lives(*seed, true).is_some()).count() > 25);
}

#[test]
fn s12_s13_a_recovery_that_is_cut_off_is_made_up_for_by_the_next() {
    let disk = written(0..3, 9);
    disk.change(&path(1), |bytes| bytes.truncate(bytes.len() - 5));
    let untouched = disk.copy();
    drop(start(&untouched));
    for first in 1..=untouched.calls() {
        for seed in 0..10 {
            let mut disk = disk.copy();
            for _ in 0..5 {
                disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written: 9 }));
                drop(try_start(&disk));
                disk = disk.after_power_loss(Unsynced::Any(seed));
            }
            let (wal, found) = start(&disk);
            assert_eq!((&found.batches, found.replayed.damaged.len()), (&vec![0, 1], 0), "call {first}");
            append_and_restart(&disk, wal, &[0, 1]);
        }
    }
}

/// An attempt to go on to the next file failed and left its header; the file before went on, and its end is torn.
#[test]
fn a_file_that_was_begun_in_vain_makes_no_damage_of_a_torn_end() {
    let disk = written(0..2, 9);
    let before = disk.content(&path(1)).len();
    start(&disk).0.rotate().unwrap();
    let begun = disk.content(&path(2));
    disk.remove(&path(2)).unwrap();
    start(&disk).0.append(&batch(2)).unwrap();
    let whole = disk.content(&path(1)).len();
    disk.put(&path(2), begun);
    for length in before..whole {
        let disk = disk.copy();
        disk.change(&path(1), |bytes| bytes.truncate(length));
        let (wal, found) = start(&disk);
        assert_eq!((&found.batches, found.replayed.damaged.len()), (&vec![0, 1], 0), "{length}");
        assert_eq!(wal.number(), 2);
        append_and_restart(&disk, wal, &[0, 1]);
    }
    // What stood there when the file was begun was durable by then: without it, this is damage.
    disk.change(&path(1), |bytes| bytes.truncate(before - 1));
    let (_, found) = start(&disk);
    assert_eq!((found.batches, found.replayed.cut, found.replayed.damaged.len()), (vec![0], None, 2));
}
