//! Rows of a block that are read without the others, and keys that are looked for without the others.

use proptest::prelude::*;
use tracemq_model::Details;

use super::roundtrip::samples;
use super::sample::{Sample, open, path, small, write};
use crate::cells::Column;
use crate::row::{Peer, Row};
use crate::segment::{Block, ROWS, Scan, Segment, Sought};

fn rows_of(sample: &Sample) -> Vec<(Row, Details)> {
    sample.iter().flat_map(|(_, rows)| rows.clone()).collect()
}

/// Reads `range` of a block into `block`, and holds it against the rows that were written; false when it can't be read.
fn is_read(segment: &Segment, rows: &[(Row, Details)], number: u64, range: (usize, usize), block: &mut Block) -> bool {
    let (from, to) = range;
    if segment.read_rows(number, from..to, block).is_err() {
        assert!((0..ROWS).all(|at| block.row(at).is_none()));
        return false;
    }
    for (at, (row, details)) in rows.iter().enumerate() {
        let is_wanted = (from..to).contains(&at);
        assert_eq!(block.row(at), is_wanted.then_some(*row));
        if is_wanted {
            let Ok(found) = segment.details(block, at) else { return false };
            assert_eq!(found, *details);
            assert_eq!(block.cell(Column::Duration, at), details.duration_ms);
        } else {
            assert_eq!(block.cells(at).count(), 0);
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_part_of_a_block_is_that_part_of_it(
        sample in samples(),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), 0..ROWS, 0..ROWS), 1..40),
    ) {
        let disk = write(&sample);
        let segment = open(&disk).unwrap();
        let rows = rows_of(&sample);
        // One block for all, so that what is left of one read is there at the next.
        let mut block = Block::default();
        for (number, from, to) in ranges {
            if rows.is_empty() {
                continue;
            }
            let number = number.index(rows.len().div_ceil(ROWS));
            let of_block = &rows[number * ROWS..rows.len().min((number + 1) * ROWS)];
            let (from, to) = (from.min(to).min(of_block.len()), from.max(to).min(of_block.len()));
            assert!(is_read(&segment, of_block, number as u64, (from, to), &mut block));
        }
    }

    #[test]
    fn a_block_tells_what_it_has(sample in samples()) {
        let disk = write(&sample);
        let segment = open(&disk).unwrap();
        let rows = rows_of(&sample);
        let mut scan = Scan::default();
        for (number, of_block) in rows.chunks(ROWS).enumerate() {
            let mut addresses: Vec<_> = of_block
                .iter()
                .filter_map(|(row, _)| match row.peer {
                    Peer::None => None,
                    Peer::Some { ip, .. } => Some(ip),
                })
                .collect();
            addresses.sort();
            addresses.dedup();
            let looked = segment.scan_if(number as u64, &mut scan, |block| {
                let seen = std::cell::RefCell::new(Vec::new());
                let is_any = block.any_address(|ip| {
                    seen.borrow_mut().push(ip);
                    false
                })?;
                let mut seen = seen.into_inner();
                seen.sort();
                seen.dedup();
                assert_eq!((seen, is_any), (addresses.clone(), false));
                for ip in &addresses {
                    assert!(block.any_address(|found| found == *ip)?);
                }
                let has_names = of_block.iter().any(|(_, details)| details.username.is_some());
                assert_eq!(block.has(Column::Username)?, has_names);
                assert!(of_block.iter().all(|(row, _)| block.distinct_kinds().contains(&row.kind)));
                Ok(false)
            });
            assert!(!looked.unwrap());
        }
    }

    #[test]
    fn keys_with_a_part_are_found(sample in samples(), part in "[a-x0-9]{0,3}", from in any::<prop::sample::Index>()) {
        let disk = write(&sample);
        let segment = open(&disk).unwrap();
        let keys: Vec<&[u8]> =
            sample.iter().filter(|(_, rows)| !rows.is_empty()).map(|(key, _)| key.as_slice()).collect();
        for prefix in [&b"a\0\x01"[..], b"a.b\0\x01dev-1", b"b\0"] {
            let behind = prefix.iter().position(|byte| *byte == 0).unwrap() + 2;
            let from = if keys.is_empty() { &b""[..] } else { keys[from.index(keys.len())] };
            let holds = |key: &[u8]| {
                let name = key.get(behind..).unwrap_or_default();
                part.is_empty() || name.windows(part.len()).any(|window| window == part.as_bytes())
            };
            let expected: Vec<&[u8]> =
                keys.iter().copied().filter(|key| *key >= from && key.starts_with(prefix) && holds(key)).collect();
            let mut search = segment.search(Sought { from, prefix, part: part.as_bytes(), behind }).unwrap();
            let mut found = Vec::new();
            while let Some((key, rows)) = search.next().unwrap() {
                assert_eq!(segment.find(key).unwrap(), Some(rows));
                found.push(key.to_vec());
            }
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn no_bit_of_a_block_flips_unseen_by_who_reads_a_part() {
    let sample = small();
    let disk = write(&sample);
    let segment = open(&disk).unwrap();
    let rows = rows_of(&sample);
    let extent = segment.row_index.blocks()[0].extent;
    for at in usize::try_from(extent.offset()).unwrap()..usize::try_from(extent.end()).unwrap() {
        for bit in 0..8 {
            disk.change(&path(), |bytes| bytes[at] ^= 1 << bit);
            for range in [(0, rows.len()), (0, 1), (3, 5), (rows.len() - 1, rows.len()), (2, 2)] {
                assert!(!is_read(&segment, &rows, 0, range, &mut Block::default()), "bit {bit} of byte {at}");
            }
            assert!(segment.scan(0, &mut Scan::default()).is_err());
            disk.change(&path(), |bytes| bytes[at] ^= 1 << bit);
        }
    }
    assert!(is_read(&segment, &rows, 0, (2, 4), &mut Block::default()));
}
