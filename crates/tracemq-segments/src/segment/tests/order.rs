//! A writer takes only what is in order, and writes nothing more after it refused something or failed.

use std::io::ErrorKind;

use tracemq_model::Details;
use tracemq_store::StoreError;

use super::sample::{ID, add, dir, key, open, row, small, write_as};
use crate::cells::Column;
use crate::fs::simulated::{Fault, SimulatedFs};
use crate::segment::SegmentWriter;

fn writer() -> SegmentWriter {
    SegmentWriter::create(&SimulatedFs::default(), dir(), ID).unwrap()
}

/// Whether `result` says that what was given can't be written, and whether the writer is done with writing.
fn is_refused(result: Result<(), StoreError>, writer: SegmentWriter) -> bool {
    let is_typed = matches!(result, Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::InvalidInput);
    is_typed && matches!(writer.finish(0..=0), Err(StoreError::Poisoned { .. }))
}

#[test]
fn keys_ascend() {
    for second in [key("i", "b"), key("i", "a"), key("h", "z"), Vec::new()] {
        let mut writer = writer();
        writer.subject(&key("i", "b")).unwrap();
        add(&mut writer, &row(1), &Details::default()).unwrap();
        let refused = writer.subject(&second);
        assert!(is_refused(refused, writer), "{second:?}");
    }
}

#[test]
fn keys_have_an_instance_and_an_end() {
    for key in [&b"no zero"[..], b"\0\x01a", b"not allowed!\0\x01a"] {
        let mut writer = writer();
        writer.subject(key).unwrap();
        let refused = add(&mut writer, &row(1), &Details::default());
        assert!(is_refused(refused, writer), "{key:?}");
    }
    let mut writer = writer();
    let refused = writer.subject(&[b'i'; 66_000]);
    assert!(is_refused(refused, writer));
}

#[test]
fn rows_need_a_key() {
    let mut writer = writer();
    let refused = add(&mut writer, &row(1), &Details::default());
    assert!(is_refused(refused, writer));
}

#[test]
fn times_of_a_subject_ascend() {
    let mut writer = writer();
    writer.subject(&key("i", "a")).unwrap();
    add(&mut writer, &row(5), &Details::default()).unwrap();
    add(&mut writer, &row(5), &Details::default()).unwrap();
    writer.subject(&key("i", "b")).unwrap();
    add(&mut writer, &row(4), &Details::default()).unwrap();
    let refused = add(&mut writer, &row(3), &Details::default());
    assert!(is_refused(refused, writer));
}

#[test]
fn cells_are_of_known_texts_and_stand_once() {
    for cells in [&[(Column::Username, 1)][..], &[(Column::Duration, 1), (Column::Duration, 1)]] {
        let mut writer = writer();
        writer.subject(&key("i", "a")).unwrap();
        writer.text("0").unwrap();
        let refused = writer.row(&row(1), cells.iter().copied());
        assert!(is_refused(refused, writer), "{cells:?}");
    }
}

#[test]
fn texts_have_an_end() {
    let mut writer = writer();
    assert_eq!(writer.text(&"x".repeat(65_536)).unwrap(), 0);
    let refused = writer.text(&"x".repeat(65_537)).map(|_| ());
    assert!(is_refused(refused, writer));
}

/// Every call to the disk fails once: the writer says so, and there is no segment.
#[test]
fn a_failed_write_leaves_no_segment() {
    let disk = SimulatedFs::default();
    disk.set_fault(None);
    write_as(&disk, ID, &small()).unwrap();
    for first in 1..=disk.calls() {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let disk = SimulatedFs::default();
            disk.set_fault(Some(Fault { first, for_good: false, kind, written: 10 }));
            let error = write_as(&disk, ID, &small()).unwrap_err();
            let is_full = matches!(error, StoreError::Full { .. });
            assert_eq!(is_full, kind == ErrorKind::StorageFull, "{error:?} at {first}");
        }
    }
    assert!(open(&disk).is_ok());
}
