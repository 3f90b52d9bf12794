//! Power loss and torn writes.

use std::io::ErrorKind;

use tracemq_store::EventStore;

use super::{Place, batch, batches, damaged_gaps};
use crate::fs::simulated::{Fault, SimulatedFs, Unsynced};
use crate::journal::Journal;

/// What was found takes the next batch, and both survive.
fn append_and_restart(place: &Place, disk: &SimulatedFs, journal: Journal, found: &[u32]) {
    journal.append(&batch(99)).unwrap();
    drop(journal);
    let (journal, recovery) = place.open(&disk.after_power_loss(Unsynced::Lost));
    assert_eq!((recovery.cut_bytes, recovery.damaged), (0, vec![]));
    assert_eq!(batches(&journal), [found, &[99]].concat());
}

#[test]
fn a_log_cut_at_any_byte_keeps_its_whole_records() {
    let place = Place::in_one_file();
    let mut ends = Vec::new();
    let disk = SimulatedFs::default();
    let (journal, _) = place.open(&disk);
    for number in 0..6 {
        journal.append(&batch(number)).unwrap();
        ends.push(disk.content(&place.path(1)).len());
    }
    drop(journal);
    for length in ends[2]..=ends[5] {
        let cut = disk.copy();
        cut.change(&place.path(1), |bytes| bytes.truncate(length));
        let whole = ends.iter().filter(|end| **end <= length).count();
        let expected: Vec<u32> = (0..u32::try_from(whole).unwrap()).collect();
        let (journal, recovery) = place.open(&cut);
        assert_eq!(batches(&journal), expected, "cut at {length}");
        assert_eq!(recovery.cut_bytes, (length - ends[whole - 1]) as u64);
        assert_eq!(damaged_gaps(&journal).len(), usize::from(recovery.cut_bytes > 0));
        append_and_restart(&place, &cut, journal, &expected);
    }
}

#[test]
fn a_new_file_cut_at_any_byte_of_its_header_is_begun_anew() {
    let place = Place::new();
    let disk = place.written(0..6);
    let last = disk.paths().pop().unwrap();
    for length in 0..=48 {
        let cut = disk.copy();
        cut.change(&last, |bytes| bytes.truncate(length));
        let (journal, recovery) = place.open(&cut);
        let found = batches(&journal);
        assert!((1..6).contains(&found.len()) && found.iter().copied().eq(0..u32::try_from(found.len()).unwrap()));
        assert_eq!(recovery.damaged, []);
        append_and_restart(&place, &cut, journal, &found);
    }
}

#[test]
fn zeros_and_old_bytes_behind_the_end_are_no_records() {
    let place = Place::in_one_file();
    let disk = place.written(0..3);
    let whole = disk.content(&place.path(1));
    for garbage in [vec![0; 10_000], whole.clone(), whole[48..].to_vec(), b"TMQ\xb1".repeat(1_000), vec![0xff; 100]] {
        let disk = disk.copy();
        disk.change(&place.path(1), |bytes| bytes.extend(&garbage));
        let (journal, recovery) = place.open(&disk);
        assert_eq!(recovery.cut_bytes, garbage.len() as u64);
        assert_eq!(batches(&journal), [0, 1, 2]);
        append_and_restart(&place, &disk, journal, &[0, 1, 2]);
    }
}

/// The power goes at each call of a run, and what was not synced is lost, torn at any byte, or zeros.
#[test]
fn what_was_acknowledged_survives_a_power_loss_at_any_call() {
    let place = Place::new();
    let run = |disk: &SimulatedFs| -> Vec<u32> {
        let Ok((journal, _)) = place.try_open(disk) else { return vec![] };
        (0..6).filter(|number| journal.append(&batch(*number)).is_ok()).collect()
    };
    let untouched = SimulatedFs::default();
    untouched.set_fault(None);
    assert_eq!(run(&untouched).len(), 6);
    let torn = (0..220).step_by(19).map(Unsynced::Torn);
    let kinds: Vec<Unsynced> = [Unsynced::Lost, Unsynced::Zeros].into_iter().chain(torn).collect();
    for first in 1..=untouched.calls() {
        for written in [0, 60, usize::MAX] {
            let disk = SimulatedFs::default();
            disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written }));
            let acknowledged = run(&disk);
            for unsynced in &kinds {
                let disk = disk.after_power_loss(*unsynced);
                let (journal, recovery) = place.open(&disk);
                assert_eq!(recovery.damaged, [], "call {first}, {unsynced:?}");
                let found = batches(&journal);
                assert!(found.starts_with(&acknowledged), "call {first}, {unsynced:?}: {found:?}");
                assert!(found.len() <= acknowledged.len() + 1, "call {first}, {unsynced:?}: {found:?}");
                append_and_restart(&place, &disk, journal, &found);
            }
        }
    }
}

#[test]
fn a_recovery_that_is_cut_off_is_made_up_for_by_the_next() {
    let place = Place::in_one_file();
    let disk = place.written(0..3);
    disk.change(&place.path(1), |bytes| bytes.truncate(bytes.len() - 5));
    let untouched = disk.copy();
    untouched.set_fault(None);
    drop(place.open(&untouched));
    for first in 1..=untouched.calls() {
        let mut disk = disk.copy();
        for _ in 0..5 {
            disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written: 9 }));
            drop(place.try_open(&disk));
            disk = disk.after_power_loss(Unsynced::Torn(11));
        }
        assert_eq!(batches(&place.open(&disk).0), [0, 1], "call {first}");
    }
}
