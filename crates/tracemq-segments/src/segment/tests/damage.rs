//! Damaged, cut, swapped and exchanged files: an error or the very same answer, never another.

use std::path::Path;

use tracemq_model::TimeMs;
use tracemq_store::StoreError;

use super::sample::{ID, Sample, dir, open, path, read, small, write, write_as};
use crate::fs::Fs;
use crate::fs::simulated::{Fault, SimulatedFs};
use crate::row::Peer;
use crate::segment::checksum::Checksums;
use crate::segment::footer::header_of;
use crate::segment::{Block, Scan, Segment, SegmentId, Unread};

/// Whether `disk` gives the sample or says that it can't, by every question.
fn is_safe(disk: &SimulatedFs, sample: &Sample) -> Result<bool, StoreError> {
    let segment = open(disk)?;
    let is_sound = segment.verify(&mut |_| {}).is_empty();
    let mut next = 0;
    for (key, rows) in sample {
        let range = next..next + rows.len() as u64;
        next = range.end;
        if let Ok(found) = segment.find(key) {
            assert_eq!(found, Some(range.clone()));
        }
        let mut unread = Unread::default();
        let found = segment.lower_bound(&range, TimeMs(1_621_580_400_001), &mut Block::default(), &mut unread)?;
        if unread.is_empty() {
            assert_eq!(found, range.start + rows.partition_point(|(row, _)| row.time.0 < 1_621_580_400_001) as u64);
        }
        if let Ok((found, _)) = segment.key_of_row(range.start) {
            assert_eq!(&found, key);
        }
    }
    let mut scan = Scan::default();
    if segment.scan(0, &mut scan).is_ok() {
        let times: Vec<TimeMs> = sample.iter().flat_map(|(_, rows)| rows.iter().map(|(row, _)| row.time)).collect();
        assert_eq!(scan.times(), times);
    }
    let read = read(&segment);
    assert_eq!(is_sound, read.is_ok());
    assert_eq!(&read?, sample);
    Ok(is_sound)
}

#[test]
fn no_bit_can_flip_unseen() {
    let sample = small();
    let disk = write(&sample);
    assert!(is_safe(&disk, &sample).unwrap());
    let whole = disk.content(&path());
    for at in 0..whole.len() {
        for bit in 0..8 {
            disk.change(&path(), |bytes| bytes[at] ^= 1 << bit);
            assert!(is_safe(&disk, &sample).is_err(), "bit {bit} of byte {at} of {}", whole.len());
            disk.change(&path(), |bytes| bytes[at] ^= 1 << bit);
        }
    }
}

#[test]
fn no_byte_can_be_zeroed_unseen() {
    let sample = small();
    let disk = write(&sample);
    let whole = disk.content(&path());
    for at in (0..whole.len()).filter(|at| whole[*at] != 0) {
        disk.change(&path(), |bytes| bytes[at] = 0);
        assert!(is_safe(&disk, &sample).is_err(), "byte {at} of {}", whole.len());
        disk.change(&path(), |bytes| bytes[at] = whole[at]);
    }
}

#[test]
fn a_file_that_is_cut_or_longer_is_no_segment() {
    let disk = write(&small());
    let whole = disk.content(&path());
    for length in 0..whole.len() {
        disk.change(&path(), |bytes| *bytes = whole[..length].to_vec());
        assert!(matches!(open(&disk), Err(StoreError::Damaged { .. })), "{length}");
    }
    for more in 1..100 {
        disk.change(&path(), |bytes| *bytes = [whole.as_slice(), &vec![7; more]].concat());
        assert!(matches!(open(&disk), Err(StoreError::Damaged { .. })), "{more}");
    }
    disk.change(&path(), |bytes| *bytes = [whole.as_slice(), &whole].concat());
    assert!(open(&disk).is_err());
    disk.remove(&path()).unwrap();
    assert!(matches!(open(&disk), Err(StoreError::Io { .. })));
}

/// Cut while it is open, as by another process.
#[test]
fn s26_a_file_that_is_cut_later_gives_errors() {
    let sample = small();
    let disk = write(&sample);
    let segment = open(&disk).unwrap();
    let whole = disk.content(&path());
    for length in 0..whole.len() {
        disk.change(&path(), |bytes| bytes.truncate(length));
        assert!(!segment.verify(&mut |_| {}).is_empty());
        if let Ok(read) = read(&segment) {
            assert_eq!(read, sample);
        }
        disk.change(&path(), |bytes| *bytes = whole.clone());
    }
}

#[test]
fn the_file_of_another_segment_or_store_is_refused() {
    let others = [SegmentId { number: 8, ..ID }, SegmentId { store: *b"another store id", ..ID }];
    for other in others {
        let disk = SimulatedFs::default();
        write_as(&disk, other, &small()).unwrap();
        let content = disk.content(&dir().join(other.file_name()));
        disk.put(&path(), content);
        assert!(matches!(open(&disk), Err(StoreError::Damaged { .. })));
    }
}

/// A block of the right file in the wrong place, and a block of another file in the right place.
#[test]
fn s24_a_block_of_elsewhere_is_refused() {
    let sample: Sample = (0..4).map(|n| (super::sample::key("i", &format!("{n}")), two_blocks())).collect();
    let disk = write(&sample);
    let segment = open(&disk).unwrap();
    let whole = disk.content(&path());
    let extents: Vec<_> = segment.row_index.blocks().iter().map(|block| block.extent).collect();
    let bytes_of = |at: usize| {
        let start = usize::try_from(extents[at].offset()).unwrap();
        start..start + usize::try_from(extents[at].length()).unwrap()
    };
    // The two hold the same rows but for their place.
    disk.change(&path(), |bytes| bytes[bytes_of(1)].copy_from_slice(&whole[bytes_of(3)]));
    assert!(segment.block(0).is_ok());
    assert!(matches!(segment.block(1), Err(StoreError::Damaged { offset, .. }) if offset == extents[1].offset()));
    let twin = SegmentId { number: 8, ..ID };
    write_as(&disk, twin, &sample).unwrap();
    let foreign = disk.content(&dir().join(twin.file_name()));
    disk.change(&path(), |bytes| bytes[bytes_of(1)].copy_from_slice(&foreign[bytes_of(1)]));
    assert!(segment.block(1).is_err());
    let damages = segment.verify(&mut |_| {});
    assert_eq!(damages.len(), 1);
    assert_eq!((damages[0].offset, damages[0].length), (extents[1].offset(), extents[1].length()));
}

fn two_blocks() -> Vec<(crate::row::Row, tracemq_model::Details)> {
    (0..1_024).map(|n| (super::sample::row(n), tracemq_model::Details::default())).collect()
}

#[test]
fn the_footers_checksum_tells_contents_apart() {
    let sum = |sample: &Sample| write_as(&SimulatedFs::default(), ID, sample).unwrap().checksum;
    let mut other = small();
    other[0].1[0].0.peer = Peer::Some { ip: [10, 0, 0, 0].into(), port: 1 };
    assert_eq!(sum(&small()), sum(&small()));
    assert_ne!(sum(&small()), sum(&other));
    assert_eq!(open(&write(&small())).unwrap().meta().checksum, sum(&small()));
}

/// A flipped bit in the version is damage like any other; a later version has the right checksum.
#[test]
fn s38_a_newer_format_is_named() {
    let disk = write(&small());
    for version in [0, 2, 1 << 31] {
        let header = header_of(version, ID, &Checksums::new(ID));
        disk.change(&path(), |bytes| bytes[..header.len()].copy_from_slice(&header));
        match open(&disk) {
            Err(StoreError::UnknownFormat { found, known: 1, .. }) => assert_eq!((found, version > 1), (version, true)),
            Err(StoreError::Damaged { .. }) => assert_eq!(version, 0),
            other => panic!("{version}: {other:?}"),
        }
        disk.change(&path(), |bytes| bytes[8..12].copy_from_slice(&3_u32.to_le_bytes()));
        assert!(matches!(open(&disk), Err(StoreError::Damaged { offset: 0, .. })));
    }
}

/// Each read fails once: what it was for gives an error, the rest goes on, and later it is whole again.
#[test]
fn a_failed_read_is_an_error_of_what_was_asked() {
    let sample = small();
    let disk = write(&sample);
    let all = |disk: &SimulatedFs| Segment::open(disk, &path(), ID).and_then(|segment| read(&segment));
    disk.set_fault(None);
    all(&disk).unwrap();
    for first in 1..=disk.calls() {
        disk.set_fault(Some(Fault { first, for_good: false, kind: std::io::ErrorKind::Other, written: 0 }));
        assert!(matches!(all(&disk), Err(StoreError::Io { .. })), "call {first}");
    }
    disk.set_fault(None);
    let segment = open(&disk).unwrap();
    disk.set_fault(Some(Fault { first: 1, for_good: false, kind: std::io::ErrorKind::Other, written: 0 }));
    assert!(matches!(segment.find(&sample[0].0), Err(StoreError::Io { .. })));
    assert_eq!(read(&segment).unwrap(), sample);
}

#[test]
fn the_check_tells_how_far_it_is() {
    let disk = write(&small());
    let segment = open(&disk).unwrap();
    let mut sum = 0;
    assert_eq!(segment.verify(&mut |bytes| sum += bytes), []);
    assert_eq!(sum, segment.meta().bytes);
    assert_eq!(Path::new(&ID.file_name()), Path::new("0000000007.segment"));
}
