//! Bytes that are not what was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Gap, GapCause, TimeMs};
use tracemq_store::StoreError;

use super::{DIR, Mode, STORE, batch, damages, look, missing_in, path, start, try_look, try_start, written};
use crate::fs::Fs;
use crate::fs::simulated::SimulatedFs;
use crate::wal::Wal;
use crate::wal::file::{HEADER_BYTES, HEADER_END, Header};
use crate::wal::record::{Head, Identity};
use crate::wal::writer::Tail;

/// Every bit of a log of several files: what is missing is named and bounded, and no start fails.
#[test]
fn no_flipped_bit_gives_a_wrong_event_or_hides_a_missing_one() {
    let disk = written(0..5, 2);
    for path in disk.paths() {
        for bit in 0..disk.content(&path).len() * 8 {
            disk.change(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let found = try_look(&disk, 1, Mode::Look).unwrap_or_else(|error| panic!("bit {bit} of {path:?}: {error}"));
            assert!(found.batches.is_sorted() && found.batches.iter().all(|number| *number < 5));
            let is_reported = found.replayed.cut.is_some() || !found.replayed.damaged.is_empty();
            assert!(is_reported, "bit {bit} of {path:?} is covered by no checksum");
            let expected = if bit < HEADER_BYTES * 8 { 5 } else { 4 };
            assert_eq!(found.batches.len(), expected, "bit {bit} of {path:?}");
            let spans = missing_in(&found);
            for missing in (0..5).filter(|number| !found.batches.contains(number)) {
                let time = TimeMs(i64::from(missing) * 10);
                assert!(spans.iter().any(|span| span.contains(time)), "bit {bit}: {missing} in none of {spans:?}");
            }
            disk.change(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
    }
}

#[test]
fn s4_damage_in_the_middle_is_left_named_and_bounded() {
    let disk = SimulatedFs::default();
    let mut wal = super::create(&disk).unwrap();
    let mut ends = Vec::new();
    for number in 0..5 {
        wal.append(&batch(number)).unwrap();
        ends.push(disk.content(&path(1)).len());
    }
    disk.change(&path(1), |bytes| bytes[ends[1] + 40] ^= 1);
    let before = disk.content(&path(1));
    for _ in 0..2 {
        let found = start(&disk.copy()).1;
        assert_eq!((&found.batches, &found.replayed.cut), (&vec![0, 1, 3, 4], &None));
        let damage = &found.replayed.damaged[0];
        assert_eq!((&damage.path, damage.offset), (&path(1), ends[1] as u64));
        assert_eq!(damage.length, (ends[2] - ends[1]) as u64);
        let gap = Gap { from: TimeMs(11), to: TimeMs(30), lost: None, cause: GapCause::Damaged };
        assert_eq!(damage.gap(tracemq_model::TimeRange::ALL), gap);
    }
    // What comes next goes to another file: this one is left for whoever wants to look into it.
    let (mut wal, _) = start(&disk);
    wal.append(&batch(5)).unwrap();
    assert_eq!((disk.content(&path(1)), wal.number()), (before, 2));
    let found = start(&disk).1;
    assert_eq!((found.batches, found.replayed.damaged.len()), (vec![0, 1, 3, 4, 5], 1));
}

/// Each record says itself whose it is and where it stands.
#[test]
fn whole_records_behind_a_damaged_header_are_read() {
    for number in 1..=3 {
        let disk = written(0..5, 2);
        let whole = disk.content(&path(number));
        disk.change(&path(number), |bytes| bytes[9] ^= 1);
        let broken = disk.content(&path(number));
        for _ in 0..2 {
            let found = start(&disk.copy()).1;
            assert_eq!((found.batches.as_slice(), &found.replayed.cut), (&[0, 1, 2, 3, 4][..], &None));
            assert_eq!(damages(&found), [(path(number).as_path(), "the header is not what was written")]);
            assert_eq!((found.replayed.damaged[0].offset, found.replayed.damaged[0].length), (0, HEADER_END));
        }
        // It is left for whoever wants to look into it, and the log goes on.
        let (mut wal, _) = start(&disk);
        wal.append(&batch(5)).unwrap();
        assert_eq!((disk.content(&path(number)), look(&disk).batches.len()), (broken.clone(), 6));
        // Another one's records are not read, and not taken for left over.
        let disk = written(0..5, 2);
        let other = if number == 1 { 2 } else { 1 };
        disk.put(&path(other), broken);
        let found = start(&disk).1;
        assert!(damages(&found).contains(&(path(other).as_path(), "the header is not what was written")));
        assert_eq!(found.batches, (0..5).filter(|batch| u64::from(batch / 2 + 1) != other).collect::<Vec<_>>());
        disk.change(&path(number), |bytes| *bytes = [&whole[..9], &[1], &whole[10..]].concat());
        let stale = try_look(&disk, 4, Mode::Look).unwrap().replayed.stale;
        assert!(number == 3 || stale.contains(&number));
        assert!(!stale.contains(&other));
    }
}

#[test]
fn files_cut_short_emptied_or_missing_are_named() {
    let disk = written(0..6, 2);
    for length in 0..disk.content(&path(2)).len() {
        let disk = disk.copy();
        disk.change(&path(2), |bytes| bytes.truncate(length));
        let (mut wal, found) = start(&disk);
        assert!(damages(&found).iter().all(|(named, _)| *named == path(2)) && !found.replayed.damaged.is_empty());
        assert!(found.batches.starts_with(&[0, 1]) && found.batches.ends_with(&[4, 5]) && found.batches.len() < 6);
        wal.append(&batch(9)).unwrap();
        assert_eq!(look(&disk).batches.last(), Some(&9));
    }
    disk.remove(&path(2)).unwrap();
    assert_eq!(damages(&start(&disk).1), [(path(2).as_path(), "the file is missing")]);
    disk.remove(&path(1)).unwrap();
    let two = "this file and some behind it are missing";
    assert_eq!(damages(&start(&disk).1), [(path(1).as_path(), two)]);
    for number in 3..=4 {
        disk.remove(&path(number)).unwrap();
    }
    let (mut wal, found) = start(&disk);
    assert_eq!(damages(&found), [(path(1).as_path(), "the file is missing")]);
    wal.append(&batch(9)).unwrap();
    assert_eq!(look(&disk).batches, [9]);
}

/// A manifest names it, so that it was durable: that its making was cut off can't be.
#[test]
fn a_first_live_file_without_a_header_is_damage() {
    for length in 0..48 {
        let disk = written(0..2, 9);
        disk.change(&path(1), |bytes| bytes.truncate(length));
        let (mut wal, found) = start(&disk);
        assert_eq!(damages(&found), [(path(1).as_path(), "the header is not what was written")]);
        wal.append(&batch(9)).unwrap();
        assert_eq!((look(&disk).batches, disk.content(&path(1)).len()), (vec![9], length));
    }
}

#[test]
fn garbage_behind_a_file_that_another_followed_is_named() {
    let disk = written(0..4, 2);
    disk.change(&path(1), |bytes| bytes.extend([7; 100]));
    let before = disk.content(&path(1));
    let found = start(&disk).1;
    assert_eq!(
        (found.batches.as_slice(), damages(&found)),
        (&[0, 1, 2, 3][..], vec![(path(1).as_path(), "no whole record")])
    );
    assert_eq!(disk.content(&path(1)), before);
}

#[test]
fn files_of_others_are_not_read_and_not_changed() {
    let disk = written(0..5, 2);
    let header = Header { store: [8; 16], number: 2, previous_bytes: 0 }.encode().to_vec();
    let inside = |name: &str| Path::new(DIR).join(name);
    let mut cases: Vec<(PathBuf, Vec<u8>)> = vec![(path(2), header.clone()), (path(1), disk.content(&path(2)))];
    for name in
        ["lost+found", "1.wal", "0000000001.wal~", "0000000000.wal", "0000000001.wal.new", "events-0000000001.log"]
    {
        cases.push((inside(name), vec![4]));
    }
    for (path, content) in cases {
        disk.put(&path, content.clone());
        assert!(start(&disk).1.batches.iter().all(|number| *number < 5));
        assert_eq!(disk.content(&path), content);
    }
    let found = start(&disk).1;
    let what: Vec<_> = damages(&found).into_iter().map(|(_, what)| what).collect();
    assert_eq!(what, ["the file has another one's name", "the file belongs to another store"]);
    // Behind the last one of ours, its number is not used.
    let disk = written(0..2, 9);
    disk.put(&path(2), header.clone());
    let (mut wal, _) = start(&disk);
    wal.append(&batch(2)).unwrap();
    assert_eq!((wal.number(), disk.content(&path(2)), look(&disk).batches), (3, header, vec![0, 1, 2]));
}

/// Two files in each other's place: none of their events is shown.
#[test]
fn swapped_files_are_named() {
    let disk = written(0..6, 2);
    let (one, two) = (disk.content(&path(1)), disk.content(&path(2)));
    disk.put(&path(1), two);
    disk.put(&path(2), one);
    let found = start(&disk).1;
    assert_eq!((found.batches.as_slice(), damages(&found).len()), (&[4, 5][..], 2));
}

#[test]
fn s38_a_later_format_is_refused_and_nothing_changed() {
    let disk = written(0..6, 2);
    let later = Header { store: STORE, number: 2, previous_bytes: 0 }.encode_as(7);
    disk.change(&path(2), |bytes| bytes[..HEADER_BYTES].copy_from_slice(&later));
    disk.change(&path(4), |bytes| bytes.push(1));
    let before = disk.contents();
    for mode in [Mode::Recover, Mode::Look] {
        let refused = try_look(&disk, 1, mode).err();
        assert!(matches!(refused, Some(StoreError::UnknownFormat { found: 7, known: 1, .. })));
    }
    assert_eq!(disk.contents(), before);
}

/// The file with a record of `payload`, whose head says `length`, behind the others.
fn with_record(disk: &SimulatedFs, payload: &[u8], length: u32) {
    let identity = Identity::new(STORE, 1);
    let head = Head { payload_bytes: length, ..Head::of(payload).unwrap() };
    disk.change(&path(1), |bytes| {
        let at = bytes.len() as u64;
        bytes.extend(head.encode(at, &identity));
        bytes.extend(payload);
    });
}

#[test]
fn lengths_at_their_extremes_are_bounded_by_the_file() {
    for length in [0, 1, 99, u32::MAX - 15, u32::MAX] {
        let disk = written(0..2, 9);
        let (mut wal, _) = start(&disk);
        with_record(&disk, b"no batch", length);
        let found = start(&disk.copy()).1;
        assert_eq!((found.batches, found.replayed.cut.is_some(), found.replayed.damaged.len()), (vec![0, 1], true, 0));
        // With a whole one in its place it is none.
        wal.append(&batch(2)).unwrap();
        assert_eq!(look(&disk).batches, [0, 1, 2]);
    }
}

/// With the right checksum, and no meaning to this version: it was acknowledged, and is not cut off.
#[test]
fn a_whole_record_without_a_meaning_is_damage_and_stays() {
    for payload in [&b""[..], b"\x00", b"\x03later", b"\x01", b"\x01\x00\x00\x00\x00more", b"\x02no key"] {
        let disk = written(0..2, 9);
        with_record(&disk, payload, u32::try_from(payload.len()).unwrap());
        let before = disk.content(&path(1));
        let (mut wal, found) = start(&disk);
        assert_eq!((found.batches.as_slice(), &found.replayed.cut), (&[0, 1][..], &None));
        assert_eq!(damages(&found), [(path(1).as_path(), "a record has no meaning to this version")]);
        wal.append(&batch(2)).unwrap();
        assert_eq!((disk.content(&path(1)), look(&disk).batches), (before, vec![0, 1, 2]));
    }
}

#[test]
fn the_last_number_is_the_last_one() {
    let disk = SimulatedFs::default();
    let fs = Arc::new(disk.clone());
    let mut wal = Wal::create(fs.clone(), Path::new(DIR), STORE, u64::MAX).unwrap();
    wal.append(&batch(0)).unwrap();
    for _ in 0..2 {
        assert!(matches!(wal.rotate(), Err(StoreError::Io { operation: "number a file in", .. })));
    }
    wal.append(&batch(1)).unwrap();
    let found = try_look(&disk, u64::MAX, Mode::Recover).unwrap();
    assert_eq!((&found.batches, found.replayed.damaged.len()), (&vec![0, 1], 0));
    Wal::resume(fs.clone(), Path::new(DIR), &found.replayed.tail).unwrap().append(&batch(2)).unwrap();
    // A file that can't be gone on with, and there is no next one.
    let tail = Tail { writable: None, ..found.replayed.tail };
    assert!(matches!(Wal::resume(fs, Path::new(DIR), &tail), Err(StoreError::Io { .. })));
    // From the first number to the last, all but one missing.
    disk.put(&path(1), Header { store: STORE, number: 1, previous_bytes: 0 }.encode().to_vec());
    let found = look(&disk);
    assert_eq!((found.batches, found.replayed.damaged.len()), (vec![0, 1, 2], 1));
}

#[test]
fn a_header_that_tells_too_much_of_the_file_before_is_damage_there() {
    let disk = written(0..2, 9);
    let header = Header { store: STORE, number: 2, previous_bytes: u64::MAX };
    disk.put(&path(2), header.encode().to_vec());
    let found = start(&disk).1;
    assert_eq!(damages(&found), [(path(1).as_path(), "the file was cut short")]);
    assert!(disk.content(&path(2)).len() as u64 == HEADER_END && try_start(&disk).is_ok());
}
