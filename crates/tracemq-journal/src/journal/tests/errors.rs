//! Errors of the disk while it runs.

use std::io::ErrorKind;

use tracemq_store::{EventStore, StoreError};

use super::{Place, batch, batches, query};
use crate::fs::simulated::{Fault, SimulatedFs, Unsynced};

fn once(first: usize, kind: ErrorKind) -> Option<Fault> {
    Some(Fault { first, for_good: false, kind, written: 30 })
}

/// Every call of a run fails, once or for good. What was acknowledged is there, now and after a restart; what was not,
/// is there as a whole or not at all.
#[test]
fn a_failing_call_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    let numbers: Vec<u32> = (0..8).collect();
    let untouched = SimulatedFs::default();
    let (journal, _) = place.open(&untouched);
    untouched.set_fault(None);
    assert!(numbers.iter().all(|number| journal.append(&batch(*number)).is_ok()));
    drop(journal);
    for first in 1..=untouched.calls() {
        for (kind, for_good) in [(ErrorKind::StorageFull, false), (ErrorKind::Other, false), (ErrorKind::Other, true)] {
            let disk = SimulatedFs::default();
            let (journal, _) = place.open(&disk);
            disk.set_fault(Some(Fault { first, for_good, kind, written: 30 }));
            let taken: Vec<u32> =
                numbers.iter().copied().filter(|number| journal.append(&batch(*number)).is_ok()).collect();
            assert!(taken.len() < numbers.len(), "call {first}: nobody was told");
            disk.set_fault(None);
            assert_eq!(batches(&journal), taken, "call {first}");
            let poisoned = journal.append(&batch(50)).is_err();
            drop(journal);
            let mut expected = taken;
            expected.extend((!poisoned).then_some(50));
            for unsynced in [Unsynced::Lost, Unsynced::Torn(usize::MAX)] {
                let (journal, recovery) = place.open(&disk.after_power_loss(unsynced));
                assert_eq!(recovery.damaged, [], "call {first}");
                let found = batches(&journal);
                let extra = found.iter().filter(|number| !expected.contains(number)).count();
                assert!(expected.iter().all(|number| found.contains(number)), "call {first}: {found:?}");
                assert!(extra <= usize::from(poisoned), "call {first}: {found:?}");
            }
        }
    }
}

#[test]
fn a_full_disk_is_no_end() {
    let place = Place::in_one_file();
    let disk = place.written(0..2);
    let (journal, _) = place.open(&disk);
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        disk.set_fault(once(1, kind));
        assert!(matches!(journal.append(&batch(7)), Err(StoreError::Full { .. })));
        assert_eq!(batches(&journal), [0, 1]);
    }
    journal.append(&batch(2)).unwrap();
    drop(journal);
    assert_eq!(batches(&place.open(&disk.after_power_loss(Unsynced::Lost)).0), [0, 1, 2]);
}

#[test]
fn after_a_failed_sync_nothing_is_written_and_queries_go_on() {
    let place = Place::in_one_file();
    let disk = place.written(0..2);
    let (journal, _) = place.open(&disk);
    disk.set_fault(once(2, ErrorKind::Other));
    assert!(matches!(journal.append(&batch(2)), Err(StoreError::Poisoned { .. })));
    let content = disk.content(&place.path(1));
    assert!(matches!(journal.append(&batch(3)), Err(StoreError::Poisoned { .. })));
    assert_eq!(disk.content(&place.path(1)), content);
    assert_eq!(batches(&journal), [0, 1]);
    drop(journal);
    assert_eq!(batches(&place.open(&disk).0), [0, 1]);
}

#[test]
fn an_interrupted_call_is_made_again() {
    let place = Place::in_one_file();
    let disk = place.written(0..2);
    let (journal, _) = place.open(&disk);
    disk.set_fault(Some(Fault { first: 1, for_good: false, kind: ErrorKind::Interrupted, written: 0 }));
    journal.append(&batch(2)).unwrap();
    disk.set_fault(once(1, ErrorKind::Interrupted));
    assert_eq!(batches(&journal), [0, 1, 2]);
}

#[test]
fn a_failed_read_is_an_error_of_that_query_alone() {
    let place = Place::in_one_file();
    let disk = place.written(0..2);
    let (journal, _) = place.open(&disk);
    disk.set_fault(once(3, ErrorKind::Other));
    assert!(matches!(journal.page(&query()), Err(StoreError::Io { operation: "read", .. })));
    assert_eq!(batches(&journal), [0, 1]);
}

#[test]
fn what_a_failed_write_left_is_taken_back_or_the_store_is_poisoned() {
    let place = Place::in_one_file();
    let disk = place.written(0..2);
    let before = disk.content(&place.path(1));
    let (journal, _) = place.open(&disk);
    disk.set_fault(once(1, ErrorKind::StorageFull));
    assert!(matches!(journal.append(&batch(2)), Err(StoreError::Full { .. })));
    assert_eq!(disk.content(&place.path(1)), before);
    disk.set_fault(Some(Fault { first: 1, for_good: true, kind: ErrorKind::StorageFull, written: 30 }));
    assert!(matches!(journal.append(&batch(2)), Err(StoreError::Full { .. })));
    disk.set_fault(None);
    assert!(matches!(journal.append(&batch(2)), Err(StoreError::Poisoned { .. })));
    drop(journal);
    assert_eq!(batches(&place.open(&disk).0), [0, 1]);
}
