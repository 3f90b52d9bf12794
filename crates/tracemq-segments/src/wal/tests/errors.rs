//! Errors of the disk while it runs.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tracemq_store::StoreError;

use super::{DIR, Mode, STORE, batch, create, look, path, start, try_look, try_start, written};
use crate::fs::Fs;
use crate::fs::simulated::{Fault, SimulatedFs, Unsynced};
use crate::wal::Wal;

const KINDS: [ErrorKind; 3] = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::PermissionDenied];

fn once(first: usize, kind: ErrorKind) -> Option<Fault> {
    Some(Fault { first, for_good: false, kind, written: 30 })
}

/// A run of everything that a log does, begun in a good state. Gives what was acknowledged, and whether anything failed.
fn run(wal: &mut Wal) -> (Vec<u32>, bool) {
    let (mut taken, mut failed) = (Vec::new(), false);
    for number in 1..7 {
        match wal.append(&batch(number)) {
            Ok(()) => taken.push(number),
            Err(_) => failed = true,
        }
        if number % 3 == 0 {
            failed |= wal.rotate().is_err();
            failed |= wal.erase(b"i\0\x01device").is_err();
        }
    }
    (taken, failed)
}

fn begun(disk: &SimulatedFs) -> Wal {
    let mut wal = create(disk).unwrap();
    wal.append(&batch(0)).unwrap();
    wal
}

/// Every call of a run fails, once or for good. What was acknowledged is there, now and after a power loss; what was not, is there
/// as a whole or not at all.
#[test]
fn a_failing_call_loses_nothing_that_was_acknowledged() {
    let untouched = SimulatedFs::default();
    let mut wal = begun(&untouched);
    untouched.set_fault(None);
    assert_eq!(run(&mut wal), ((1..7).collect(), false));
    let cases = KINDS.iter().flat_map(|kind| [(*kind, false), (*kind, true)]);
    for ((kind, for_good), first) in cases.flat_map(|case| (1..=untouched.calls()).map(move |first| (case, first))) {
        let disk = SimulatedFs::default();
        let mut wal = begun(&disk);
        disk.set_fault(Some(Fault { first, for_good, kind, written: 30 }));
        let (mut expected, failed) = run(&mut wal);
        expected.insert(0, 0);
        assert!(failed, "call {first}: nobody was told");
        disk.set_fault(None);
        let refused = wal.append(&batch(50));
        let poisoned = matches!(refused, Err(StoreError::Poisoned { .. }));
        assert!(poisoned || refused.is_ok(), "call {first}: {refused:?}");
        expected.extend((!poisoned).then_some(50));
        for unsynced in
            [Unsynced::Lost, Unsynced::Torn(usize::MAX), Unsynced::Any(1), Unsynced::Any(2), Unsynced::Any(3)]
        {
            let (_, found) = start(&disk.after_power_loss(unsynced));
            let context = format!("call {first}, {kind:?}, {for_good}, {unsynced:?}: {:?}", found.batches);
            assert_eq!(found.replayed.damaged, [], "{context}");
            let extra = found.batches.iter().filter(|number| !expected.contains(number)).count();
            assert!(expected.iter().all(|number| found.batches.contains(number)), "{context}");
            assert!(found.batches.is_sorted() && extra <= usize::from(poisoned), "{context}");
        }
    }
}

/// Every call of a start fails, once or for good: it is refused, or nothing is missing.
#[test]
fn a_failing_call_of_a_start_hides_nothing() {
    let disk = written(0..4, 2);
    disk.change(&path(3), |bytes| bytes.extend([0; 9]));
    let untouched = disk.copy();
    assert_eq!(start(&untouched).1.batches, [0, 1, 2, 3]);
    for first in 1..=untouched.calls() {
        for (kind, for_good) in KINDS.iter().flat_map(|kind| [(*kind, false), (*kind, true)]) {
            let disk = disk.copy();
            disk.set_fault(Some(Fault { first, for_good, kind, written: 0 }));
            assert!(try_start(&disk).is_err(), "call {first}");
            disk.set_fault(None);
            assert_eq!(start(&disk).1.batches, [0, 1, 2, 3]);
        }
    }
}

#[test]
fn a_full_disk_is_no_end() {
    let disk = written(0..2, 9);
    let before = disk.content(&path(1));
    let (mut wal, _) = start(&disk);
    for room in 0..1_200 {
        disk.set_room(Some(room));
        match wal.append(&batch(2)) {
            Err(StoreError::Full { .. }) => assert_eq!(disk.content(&path(1)), before, "{room} bytes of room"),
            Ok(()) => break,
            Err(other) => panic!("{other}"),
        }
    }
    for room in 0..48 {
        disk.set_room(Some(room));
        assert!(matches!(wal.rotate(), Err(StoreError::Full { .. })), "{room} bytes of room");
    }
    disk.set_room(None);
    wal.append(&batch(3)).unwrap();
    assert_eq!(wal.rotate().unwrap(), 1);
    wal.append(&batch(4)).unwrap();
    assert_eq!(start(&disk.after_power_loss(Unsynced::Lost)).1.batches, [0, 1, 2, 3, 4]);
}

/// As a network file system does, or a quota: what is written is taken, and only the sync says that there was no room for it.
#[test]
fn a_disk_that_tells_late_that_it_is_full_is_no_end_either() {
    let disk = written(0..2, 9);
    let before = disk.content(&path(1));
    let (mut wal, _) = start(&disk);
    disk.set_tells_late(true);
    disk.set_room(Some(900));
    assert!(matches!(wal.append(&batch(2)), Err(StoreError::Full { .. })));
    assert_eq!(disk.content(&path(1)), before);
    disk.set_room(Some(2 << 20));
    let mut taken = 2;
    loop {
        match wal.append(&batch(taken)) {
            Ok(()) => taken += 1,
            Err(StoreError::Full { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(taken > 100);
    disk.set_room(None);
    wal.append(&batch(taken)).unwrap();
    let found = start(&disk.after_power_loss(Unsynced::Lost)).1;
    assert_eq!(found.batches, (0..=taken).collect::<Vec<_>>());
}

#[test]
fn after_a_failed_sync_nothing_is_written() {
    let disk = written(0..2, 9);
    let before = disk.content(&path(1));
    let (mut wal, _) = start(&disk);
    let unsynced = wal.write(&batch(2)).unwrap();
    disk.set_fault(once(1, ErrorKind::Other));
    let synced = unsynced.sync();
    assert!(matches!(wal.settle(synced), Err(StoreError::Poisoned { .. })));
    disk.set_fault(None);
    assert_eq!(disk.content(&path(1)), before);
    assert!(matches!(wal.append(&batch(3)), Err(StoreError::Poisoned { .. })));
    assert!(matches!(wal.erase(b"i\0\x01device"), Err(StoreError::Poisoned { .. })));
    assert!(matches!(wal.rotate(), Err(StoreError::Poisoned { .. })));
    assert_eq!(disk.content(&path(1)), before);
    assert_eq!(start(&disk).1.batches, [0, 1]);
}

#[test]
fn what_a_failed_write_left_is_taken_back_or_the_log_is_poisoned() {
    let disk = written(0..2, 9);
    let before = disk.content(&path(1));
    let (mut wal, _) = start(&disk);
    disk.set_fault(once(1, ErrorKind::Other));
    assert!(matches!(wal.append(&batch(2)), Err(StoreError::Io { operation: "write", .. })));
    assert_eq!(disk.content(&path(1)), before);
    // Not even that: nobody may take it for something that passes.
    disk.set_fault(Some(Fault { first: 1, for_good: true, kind: ErrorKind::StorageFull, written: 30 }));
    assert!(matches!(wal.append(&batch(2)), Err(StoreError::Poisoned { .. })));
    disk.set_fault(None);
    assert!(matches!(wal.append(&batch(2)), Err(StoreError::Poisoned { .. })));
    assert_eq!(start(&disk).1.batches, [0, 1]);
}

#[test]
fn a_record_is_counted_before_the_next_is_written() {
    let disk = written(0..2, 9);
    let (mut wal, _) = start(&disk);
    let synced = std::thread::scope(|scope| {
        let unsynced = wal.write(&batch(2)).unwrap();
        scope.spawn(|| unsynced.sync()).join().unwrap()
    });
    wal.settle(synced).unwrap();
    drop(wal.write(&batch(3)).unwrap());
    assert!(matches!(wal.append(&batch(4)), Err(StoreError::Poisoned { .. })));
    assert_eq!(look(&disk).batches[..3], [0, 1, 2]);
}

#[test]
fn an_interrupted_call_is_made_again() {
    let disk = written(0..2, 9);
    let (mut wal, _) = start(&disk);
    disk.set_fault(Some(Fault { first: 1, for_good: false, kind: ErrorKind::Interrupted, written: 0 }));
    wal.append(&batch(2)).unwrap();
    assert_eq!(look(&disk).batches, [0, 1, 2]);
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_changed() {
    let disk = written(0..4, 2);
    disk.change(&path(3), |bytes| bytes.push(1));
    let before = disk.contents();
    for number in 1..=3 {
        disk.set_unreadable(&path(number), true);
        for mode in [Mode::Recover, Mode::Look] {
            let refused = try_look(&disk, 1, mode).err();
            assert!(
                matches!(&refused, Some(StoreError::Io { operation: "read", path: named, .. }) if *named == path(number))
            );
        }
        disk.set_unreadable(&path(number), false);
    }
    assert_eq!(disk.contents(), before);
}

#[test]
fn a_read_only_disk_can_be_looked_at() {
    let disk = written(0..4, 2);
    disk.change(&path(3), |bytes| bytes.push(1));
    disk.set_read_only(true);
    assert_eq!(look(&disk).batches, [0, 1, 2, 3]);
    assert!(matches!(try_start(&disk), Err(StoreError::Io { operation: "open", .. })));
    let other = written(0..2, 9);
    let (mut running, _) = start(&other);
    other.set_read_only(true);
    assert!(running.append(&batch(2)).is_err() && running.rotate().is_err());
    assert_eq!(look(&other).batches, [0, 1]);
}

#[test]
fn a_finished_file_is_deleted_when_the_disk_lets_it() {
    let disk = written(0..4, 2);
    let (mut wal, _) = start(&disk);
    for first in 1..=2 {
        disk.set_fault(once(first, ErrorKind::Other));
        assert!(matches!(wal.delete(1), Err(StoreError::Io { .. })));
    }
    // The first failed at once, the second when the name was gone but not yet for good: it may be back.
    let back = disk.after_power_loss(Unsynced::Lost);
    let found = try_look(&back, 2, Mode::Recover).unwrap();
    assert_eq!((found.batches, found.replayed.stale, found.replayed.damaged), (vec![2, 3], vec![1], vec![]));
    disk.set_fault(None);
    wal.delete(1).unwrap();
    assert!(!disk.after_power_loss(Unsynced::Lost).paths().contains(&path(1)));
    assert!(wal.delete(3).is_err() && disk.paths().contains(&path(3)));
}

#[test]
fn a_log_with_records_is_never_begun_anew() {
    let disk = written(0..1, 9);
    assert!(matches!(create(&disk), Err(StoreError::Damaged { .. })));
    assert_eq!(look(&disk).batches, [0]);
    // One that a first start left without any is.
    let disk = SimulatedFs::default();
    drop(create(&disk).unwrap());
    create(&disk).unwrap().append(&batch(0)).unwrap();
    assert_eq!(look(&disk).batches, [0]);
    let other = Wal::create(Arc::new(disk.clone()), Path::new(DIR), STORE, 2).unwrap();
    assert_eq!(other.number(), 2);
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 2);
}
