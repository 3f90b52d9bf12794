//! Files whose checksums are right and whose content is not: bounded, refused, or found by the check; never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use tracemq_model::{ConnectionId, Details, TimeMs, TimeRange};

use super::sample::{ID, key, open, path, read, row, small, write};
use crate::cells::Column;
use crate::fs::simulated::SimulatedFs;
use crate::row::Row;
use crate::segment::block::Block;
use crate::segment::checksum::{Checksums, Piece};
use crate::segment::directory::{self, DirectoryIndex};
use crate::segment::footer::{self, Footer};
use crate::segment::index::RowIndex;
use crate::segment::minutes::Minutes;
use crate::segment::source::Source;
use crate::segment::texts::{TextBlock, TextIndex};
use crate::segment::verify::Damage;
use crate::segment::{Scan, Segment, Unread};
use crate::varint;

/// Where each piece stands, its checksum not included.
fn pieces(segment: &Segment) -> Vec<(Piece, u64, u64)> {
    let mut pieces = vec![(Piece::Header, 0, 36)];
    pieces.extend(
        segment
            .row_index
            .blocks()
            .iter()
            .map(|at| (Piece::Rows, at.extent))
            .chain(
                (0..segment.directory.len()).map(|block| (Piece::Directory, segment.directory.extent(block).unwrap())),
            )
            .chain(segment.text_index.extents().map(|(extent, _)| (Piece::Texts, extent)))
            .map(|(piece, extent)| (piece, extent.offset(), extent.length() - 4)),
    );
    pieces.extend(segment.sections().in_order().map(|(piece, section)| (piece, section.offset, section.length - 4)));
    let footer = segment.footer_bytes - 16;
    pieces.push((Piece::Footer, segment.meta().bytes - 16 - footer, footer));
    pieces
}

/// Changes a piece and makes its checksum right.
fn patch(disk: &SimulatedFs, (piece, offset, length): (Piece, u64, u64), change: impl FnOnce(&mut [u8])) {
    let start = usize::try_from(offset).unwrap();
    let end = start + usize::try_from(length).unwrap();
    disk.change(&path(), |bytes| {
        change(&mut bytes[start..end]);
        let sum = Checksums::new(ID).of(piece, offset, &bytes[start..end]);
        let at = if piece == Piece::Footer { end + 4 } else { end };
        bytes[at..at + 4].copy_from_slice(&sum);
    });
}

/// Asks everything; what is answered is nobody's, but it is answered.
fn ask(disk: &SimulatedFs) -> Option<Vec<Damage>> {
    let segment = open(disk).ok()?;
    for (key, _) in small() {
        if let Ok(Some(rows)) = segment.find(&key) {
            let _ =
                segment.lower_bound(&rows, TimeMs(1_621_580_400_001), &mut Block::default(), &mut Unread::default());
        }
    }
    let _ = segment.lower_bound(&(0..u64::MAX), TimeMs(5), &mut Block::default(), &mut Unread::default());
    let _ = segment.key_of_row(3);
    let _ = segment.scan(0, &mut Scan::default());
    let _ = segment.minutes();
    let damages = segment.verify(&mut |_| {});
    if let Err(error) = read(&segment) {
        assert!(!damages.is_empty(), "the check did not find: {error}");
    }
    Some(damages)
}

#[test]
fn s36_any_byte_may_be_any_with_a_right_checksum() {
    let disk = write(&small());
    let whole = disk.content(&path());
    let segment = open(&disk).unwrap();
    let mut unseen = 0;
    for piece in pieces(&segment) {
        for at in 0..usize::try_from(piece.2).unwrap() {
            for value in [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xff] {
                patch(&disk, piece, |bytes| bytes[at] = value);
                if ask(&disk).is_some_and(|damages| damages.is_empty()) {
                    unseen += 1;
                }
                disk.change(&path(), |bytes| bytes.clone_from(&whole));
            }
        }
    }
    // Other values of the same shape: an address, a port, a text.
    assert!(unseen > 0);
}

/// What is right by its checksum and in its shape, and still not true.
#[test]
fn s39_the_check_finds_what_is_out_of_order() {
    // In one byte each, behind the number of rows, the width and the smallest.
    const TIMES: usize = 4;
    let subject = |name: &str, times: &[i64]| {
        let plain = |time: &i64| (Row { connection: ConnectionId(u128::MAX), ..row(*time) }, Details::default());
        (key("i-1", name), times.iter().map(plain).collect::<Vec<_>>())
    };
    let disk = write(&vec![subject("dev-0", &[0, 10, 20]), subject("dev-1", &[255])]);
    let whole = disk.content(&path());
    let segment = open(&disk).unwrap();
    let piece_of = |wanted: Piece| pieces(&segment).into_iter().find(|(piece, _, _)| *piece == wanted).unwrap();
    let check = |wanted: Piece, change: &dyn Fn(&mut [u8]), what: &str| {
        patch(&disk, piece_of(wanted), change);
        let damages = ask(&disk).unwrap_or_default();
        assert!(damages.iter().any(|damage| damage.what.contains(what)), "{what}: {damages:?}");
        disk.change(&path(), |bytes| bytes.clone_from(&whole));
    };
    check(Piece::Rows, &|block| block[TIMES + 1..TIMES + 3].swap(0, 1), "a subject's rows are out of order");
    check(Piece::Rows, &|block| block[TIMES + 3] = 254, "times are not those of the index");
    let text = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).position(|part| part == text).unwrap();
    check(
        Piece::Directory,
        &|block| {
            let at = text(block, b"-0");
            block[at + 1] = b'1';
        },
        "out of order",
    );
    check(
        Piece::Directory,
        &|block| {
            let at = text(block, b"i-1\0\x01");
            block[at + 4] = 9;
        },
        "a key that is none",
    );
    check(
        Piece::Directory,
        &|block| {
            let at = text(block, b"i-1\0\x01");
            block[at + 2] = b'0';
        },
        "totals",
    );
    check(Piece::Minutes, &|minutes| minutes[3] = 5, "minutes");
    check(Piece::Footer, &|footer| footer[8] = 1, "number of keys");
    check(
        Piece::Instances,
        &|instances| {
            let at = text(instances, b"i-1");
            instances[at + 2] = b'0';
        },
        "totals",
    );
}

#[test]
fn s37_a_text_block_is_cut_at_its_bound() {
    let block = |mode: u8, length: u32, bytes: &[u8]| [&[mode][..], &length.to_le_bytes(), bytes].concat();
    let bomb = lz4_flex::block::compress(&vec![0; 64 << 20]);
    for length in [64 << 20, u32::MAX, 66_000, 10, 0] {
        assert!(TextBlock::read(&block(1, length, &bomb)).is_err(), "{length}");
        assert!(TextBlock::read(&block(0, length, &[1, 0, 0])).is_err(), "{length}");
    }
    assert!(TextBlock::read(&block(0, 2, &[1, 0])).is_ok());
    assert!(TextBlock::read(&block(2, 2, &[1, 0])).is_err());
    for plain in [&[0xff, 0xff, 3, 0][..], &[2, 1, b'a'], &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
    {
        assert!(TextBlock::read(&block(0, u32::try_from(plain.len()).unwrap(), plain)).is_err());
    }
}

/// A separator that says that it shares all with the one before it costs three bytes, and would take 64 KiB.
#[test]
fn s37_separators_do_not_grow_beyond_the_file() {
    let mut bytes = Vec::new();
    for block in 0..1_000 {
        for number in [0, 10, 1] {
            varint::push(&mut bytes, number);
        }
        let (shared, suffix) = if block == 0 { (0, vec![1; 60_000]) } else { (60_000 + block - 1, vec![1]) };
        varint::push(&mut bytes, shared);
        varint::push(&mut bytes, suffix.len() as u64);
        bytes.extend(suffix);
    }
    let refused = DirectoryIndex::read(&bytes, 1 << 20, 1_000).err();
    assert_eq!(refused, Some("separators are longer than the keys that they separate"));
}

#[test]
fn s36_extremes_of_numbers_are_refused() {
    const ALL: TimeRange = TimeRange::ALL;
    for number in [1, 127, 1 << 23, 1 << 24, 1 << 39, 1 << 40, 1 << 62, u64::MAX] {
        let mut varint = Vec::new();
        varint::push(&mut varint, number);
        for places in 1..=5 {
            let bytes = varint.repeat(places);
            assert!(RowIndex::read(&bytes, 100, 1, ALL).is_err());
            assert!(DirectoryIndex::read(&bytes, 100, u64::MAX).is_err());
            assert!(TextIndex::read(&bytes, 100, u32::MAX).is_err());
            assert!(footer::read_instances(&bytes, u64::MAX).is_err());
            assert!(Minutes::read(&bytes, open(&write(&small())).unwrap().meta().instances.as_slice()).is_err());
            let _ =
                directory::read_entry(&mut Source::new(&[&[0], bytes.as_slice(), &[7; 300]].concat()), &mut vec![1]);
        }
    }
    let disk = write(&small());
    let segment = open(&disk).unwrap();
    let footer = *pieces(&segment).last().unwrap();
    let whole = disk.content(&path());
    let fields = [(0, 8), (8, 8), (16, 8), (24, 8), (48, 4)].into_iter().chain((0..10).map(|n| (56 + 8 * n, 8)));
    for (at, length) in fields {
        for value in [u64::MAX, u64::MAX >> 1, 1 << 63, 1 << 40, 0] {
            patch(&disk, footer, |bytes| bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]));
            let same = disk.content(&path()) == whole;
            assert_eq!(open(&disk).is_ok(), same || at == 8 && value == 0, "{value} at {at}");
            disk.change(&path(), |bytes| bytes.clone_from(&whole));
        }
    }
    disk.change(&path(), |bytes| {
        let tail = bytes.len() - 16;
        bytes[tail..tail + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    });
    assert!(open(&disk).is_err());
}

fn decode_all(bytes: &[u8]) {
    for rows in [1, 3, 512] {
        let from = Source::new(bytes.get(3..).unwrap_or_default()).varint().map_or(0, varint::unzigzag);
        for range in [0..rows, rows / 2..rows, 1..rows / 2, 0..1] {
            let mut scan = Scan::default();
            scan.block.buffer().extend(bytes.iter().chain(&[0; 8]));
            if scan.block.open((ID, 0), bytes.len(), rows, from).is_err() {
                continue;
            }
            let _ = (scan.unpack(), scan.block.any_address(|_| false), scan.block.has(Column::Username));
            let decoded = scan.block.decode(range.clone()).is_ok();
            for at in 0..rows + 1 {
                assert_eq!(scan.block.row(at).is_some(), decoded && range.contains(&at));
                let _ = scan.block.cells(at).count();
            }
        }
    }
    let _ = directory::find(bytes, b"key", &mut Vec::new());
    let _ = DirectoryIndex::read(bytes, 1 << 20, 1 << 20);
    let _ = RowIndex::read(bytes, 1 << 20, 3, TimeRange::ALL);
    let _ = TextIndex::read(bytes, 1 << 20, 3);
    let _ = TextBlock::read(bytes);
    let _ = Footer::read(bytes, 1 << 20);
    let _ = footer::read_instances(bytes, 1 << 20);
    let _ = Minutes::read(bytes, &[]);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(prop_oneof![any::<u8>(), 0..9_u8, Just(0xff)], 0..300)) {
        decode_all(&bytes);
    }

    /// Several bytes of a good block are others.
    #[test]
    fn no_change_of_a_block_makes_it_panic(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let disk = write(&small());
        let segment = open(&disk).unwrap();
        for piece in pieces(&segment) {
            let (start, length) = (usize::try_from(piece.1).unwrap(), usize::try_from(piece.2).unwrap());
            let mut bytes = disk.content(&path())[start..start + length].to_vec();
            for (at, value) in &changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *value;
                }
            }
            decode_all(&bytes);
        }
    }
}
