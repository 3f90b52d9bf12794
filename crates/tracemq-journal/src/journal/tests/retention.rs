//! The bound on bytes.

use std::io::ErrorKind;

use tracemq_model::TimeRange;
use tracemq_store::EventStore;

use super::{Place, batch, batches, query};
use crate::JournalSettings;
use crate::fs::simulated::{Fault, SimulatedFs, Unsynced};

fn bounded() -> Place {
    let settings = JournalSettings { file_bytes_max: 500, total_bytes_max: 1_500 };
    Place { settings, ..Place::new() }
}

#[test]
fn the_oldest_files_go_with_their_events() {
    let place = bounded();
    let disk = SimulatedFs::default();
    let (journal, _) = place.open(&disk);
    for number in 0..50 {
        journal.append(&batch(number)).unwrap();
        assert!(journal.stats().bytes <= 1_500);
        let found = batches(&journal);
        assert_eq!(found, (found[0]..=number).collect::<Vec<_>>());
        assert_eq!(journal.stats().events, found.len() as u64 * 2);
    }
    let found = batches(&journal);
    assert!(found.len() < 20 && disk.paths().len() <= 4, "{found:?}");
    let on_disk: usize = disk.paths().iter().map(|path| disk.content(path).len()).sum();
    assert_eq!(journal.stats().bytes, on_disk as u64);
    drop(journal);
    let (journal, recovery) = place.open(&disk.after_power_loss(Unsynced::Lost));
    assert_eq!((batches(&journal), recovery.damaged), (found, vec![]));
}

#[test]
fn a_lower_bound_counts_from_the_next_start_and_the_last_file_stays() {
    let place = Place::new();
    let disk = place.written(0..20);
    let settings = JournalSettings { file_bytes_max: 500, total_bytes_max: 1 };
    let place = Place { settings, ..place };
    let (journal, _) = place.open(&disk);
    assert_eq!((disk.paths().len(), batches(&journal).last()), (1, Some(&19)));
    for number in 20..30 {
        journal.append(&batch(number)).unwrap();
        assert_eq!((disk.paths().len(), batches(&journal).last()), (1, Some(&number)));
    }
}

#[test]
fn a_file_that_cannot_be_deleted_fails_no_append_and_goes_later() {
    let place = bounded();
    for first in 1..12 {
        let disk = SimulatedFs::default();
        let (journal, _) = place.open(&disk);
        let mut number = 0;
        while disk.paths().len() < 3 {
            journal.append(&batch(number)).unwrap();
            number += 1;
        }
        let mut taken = batches(&journal);
        disk.set_fault(Some(Fault { first, for_good: false, kind: ErrorKind::PermissionDenied, written: 0 }));
        for number in number..number + 9 {
            taken.extend(journal.append(&batch(number)).is_ok().then_some(number));
        }
        disk.set_fault(None);
        let found = batches(&journal);
        assert!(taken.ends_with(&found), "call {first}: {found:?} of {taken:?}");
        drop(journal);
        assert!(place.open(&disk).0.stats().bytes <= 1_500);
    }
}

#[test]
fn a_query_finishes_on_what_it_found() {
    let place = bounded();
    let disk = SimulatedFs::default();
    let (journal, _) = place.open(&disk);
    journal.append(&batch(0)).unwrap();
    let view = journal.read();
    let places = view.places(view.index.matching(&query().instance, &query().subject, TimeRange::ALL));
    drop(view);
    for number in 1..30 {
        journal.append(&batch(number)).unwrap();
    }
    assert!(!batches(&journal).contains(&0));
    let (entry, file) = &places[0];
    assert_eq!(file.read_event(entry, &mut Vec::new()).unwrap(), batch(0).events[0]);
}
