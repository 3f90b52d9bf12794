//! Bytes that are not what was written.

use std::path::Path;

use tracemq_model::{Gap, GapCause, TimeMs};
use tracemq_store::{EventStore, StoreError};

use super::{Place, batch, batches, damaged_gaps, query};
use crate::fs::Fs;
use crate::fs::simulated::SimulatedFs;

fn flip(disk: &SimulatedFs, path: &Path, bit: usize) {
    disk.change(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
}

/// Every bit of a store of several files: the start fails, or what is missing is named and is a gap.
#[test]
fn no_flipped_bit_gives_a_wrong_row_or_hides_a_missing_one() {
    let place = Place::new();
    let disk = place.written(0..8);
    assert!(disk.paths().len() >= 3);
    for path in disk.paths() {
        for bit in 0..disk.content(&path).len() * 8 {
            let disk = disk.copy();
            flip(&disk, &path, bit);
            let Ok((journal, recovery)) = place.try_open(&disk) else { continue };
            let found = batches(&journal);
            assert!(found.is_sorted() && found.iter().all(|number| *number < 8), "bit {bit}: {found:?}");
            assert!(found.len() < 8, "bit {bit} of {path:?} is covered by no checksum");
            assert!(recovery.cut_bytes > 0 || !recovery.damaged.is_empty(), "bit {bit} of {path:?}");
            let gaps = damaged_gaps(&journal);
            for missing in (0..8).filter(|number| !found.contains(number)) {
                let time = TimeMs(i64::from(missing) * 10);
                assert!(gaps.iter().any(|gap| gap.range().contains(time)), "bit {bit}: {missing} in none of {gaps:?}");
            }
        }
    }
}

#[test]
fn a_bit_that_flips_under_an_open_store_is_an_error_or_nothing() {
    let place = Place::new();
    let disk = place.written(0..6);
    let (journal, _) = place.open(&disk);
    let expected = journal.page(&query()).unwrap();
    let mut errors = 0;
    for path in disk.paths() {
        for bit in 0..disk.content(&path).len() * 8 {
            flip(&disk, &path, bit);
            match journal.page(&query()) {
                Ok(page) => assert_eq!(page, expected),
                Err(error) => {
                    assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{error}");
                    errors += 1;
                }
            }
            flip(&disk, &path, bit);
        }
    }
    assert!(errors > 1_000);
}

#[test]
fn damage_in_the_middle_is_left_named_and_bounded() {
    let place = Place::in_one_file();
    let disk = SimulatedFs::default();
    let (journal, _) = place.open(&disk);
    let mut ends = Vec::new();
    for number in 0..5 {
        journal.append(&batch(number)).unwrap();
        ends.push(disk.content(&place.path(1)).len());
    }
    drop(journal);
    disk.change(&place.path(1), |bytes| bytes[ends[1] + 40] ^= 1);
    let before = disk.content(&place.path(1));
    for _ in 0..2 {
        let (journal, recovery) = place.open(&disk);
        assert_eq!(batches(&journal), [0, 1, 3, 4]);
        assert_eq!(recovery.cut_bytes, 0);
        let damage = &recovery.damaged[0];
        assert_eq!((&damage.path, damage.offset), (&place.path(1), ends[1] as u64));
        assert_eq!(damage.length, (ends[2] - ends[1]) as u64);
        let gap = Gap { from: TimeMs(11), to: TimeMs(30), lost: None, cause: GapCause::Damaged };
        assert_eq!(damaged_gaps(&journal), [gap]);
        assert_eq!(disk.content(&place.path(1)), before);
    }
    // What comes next goes to another file: this one is left for whoever wants to look into it.
    let (journal, _) = place.open(&disk);
    journal.append(&batch(5)).unwrap();
    assert_eq!(disk.content(&place.path(1)), before);
    drop(journal);
    assert_eq!(batches(&place.open(&disk).0), [0, 1, 3, 4, 5]);
}

#[test]
fn files_cut_short_emptied_or_missing_are_named() {
    let place = Place::new();
    let disk = place.written(0..8);
    let path = place.path(2);
    for length in 0..disk.content(&path).len() {
        let disk = disk.copy();
        disk.change(&path, |bytes| bytes.truncate(length));
        let (journal, recovery) = place.open(&disk);
        assert!(recovery.damaged.iter().all(|damage| damage.path == path) && !recovery.damaged.is_empty());
        let found = batches(&journal);
        assert!(found.len() < 8 && found.contains(&0) && found.contains(&7), "{length}: {found:?}");
        assert_eq!(damaged_gaps(&journal).len(), 1);
        journal.append(&batch(8)).unwrap();
        assert_eq!(batches(&journal).last(), Some(&8));
    }
    disk.remove(&path).unwrap();
    let (journal, recovery) = place.open(&disk);
    assert_eq!((&recovery.damaged[0].path, recovery.damaged[0].what), (&path, "the file is missing"));
    assert_eq!(damaged_gaps(&journal).len(), 1);
}

#[test]
fn files_of_others_are_not_read_and_not_changed() {
    let place = Place::new();
    let disk = place.written(0..8);
    let stranger = place.written(10..18).content(&place.path(2));
    let inside = |name| place.dir.path().join(name);
    for (path, content) in [
        (place.path(2), stranger),
        (place.path(3), disk.content(&place.path(1))),
        (inside("lost+found"), vec![1]),
        (inside("events-1.log"), vec![2]),
        (inside("events-0000000001.log~"), vec![3]),
        (inside("events-0000000000.log"), vec![4]),
    ] {
        disk.put(&path, content.clone());
        let (journal, _) = place.open(&disk);
        assert!(batches(&journal).iter().all(|number| *number < 8));
        assert_eq!(disk.content(&path), content);
    }
    let (_, recovery) = place.open(&disk);
    let what: Vec<_> = recovery.damaged.iter().map(|damage| damage.what).collect();
    assert_eq!(what, ["the file belongs to another store", "the file has another one's name"]);
}

#[test]
fn a_later_format_is_refused_and_nothing_changed() {
    let place = Place::new();
    let disk = place.written(0..8);
    disk.change(&place.path(2), |bytes| bytes[8] = 7);
    disk.change(&disk.paths().pop().unwrap(), |bytes| bytes.truncate(bytes.len() - 1));
    let before: Vec<_> = disk.paths().iter().map(|path| disk.content(path)).collect();
    let refused = place.try_open(&disk).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownFormat { found: 7, known: 1, .. }), "{refused}");
    assert_eq!(disk.paths().iter().map(|path| disk.content(path)).collect::<Vec<_>>(), before);
}

#[test]
fn a_second_one_is_refused() {
    let place = Place::new();
    let disk = SimulatedFs::default();
    let (first, _) = place.open(&disk);
    assert!(matches!(place.try_open(&disk), Err(StoreError::InUse { .. })));
    drop(first);
    place.open(&disk);
}
