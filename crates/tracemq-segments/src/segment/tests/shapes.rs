//! Sizes and contents at the borders.

use std::fmt::Write as _;

use tracemq_model::{ConnectionId, Details, TimeMs};

use super::sample::{Sample, full, key, open, read, row, write};
use crate::row::{Kind, Peer, Row};
use crate::segment::{Block, Unread};

fn comes_back(sample: &Sample) {
    let segment = open(&write(sample)).unwrap();
    let read = read(&segment).unwrap();
    assert_eq!(read.len(), sample.len());
    for (found, expected) in read.iter().zip(sample) {
        assert!(found == expected, "{:?} has other rows", String::from_utf8_lossy(&expected.0));
    }
    assert_eq!(segment.verify(&mut |_| {}), []);
    let mut next = 0;
    for (key, rows) in sample {
        let range = next..next + rows.len() as u64;
        assert_eq!(segment.find(key).unwrap(), Some(range.clone()));
        next = range.end;
    }
}

fn rows(count: i64) -> Vec<(Row, Details)> {
    (0..count).map(|time| (row(time), Details::default())).collect()
}

#[test]
fn no_rows() {
    let segment = open(&write(&Sample::new())).unwrap();
    assert_eq!((segment.meta().rows, segment.blocks()), (0, 0));
    assert!(segment.meta().times.from > segment.meta().times.to);
    assert_eq!(segment.find(&key("i", "a")).unwrap(), None);
    assert!(segment.keys(&[]).unwrap().next().unwrap().is_none());
    assert_eq!(segment.minutes().unwrap().instances().count(), 0);
    assert_eq!(segment.lower_bound(&(0..0), TimeMs(5), &mut Block::default(), &mut Unread::default()).unwrap(), 0);
    assert!(segment.lower_bound(&(3..9), TimeMs(5), &mut Block::default(), &mut Unread::default()).is_err());
    assert_eq!(segment.verify(&mut |_| {}), []);
}

#[test]
fn a_subject_without_rows_leaves_no_trace() {
    let sample = vec![(key("a", "none"), vec![]), (key("b", "some"), rows(1)), (key("c", "none"), vec![])];
    let segment = open(&write(&sample)).unwrap();
    assert_eq!((segment.meta().subjects, segment.meta().instances.len()), (1, 1));
    assert_eq!(segment.find(&key("a", "none")).unwrap(), None);
    assert_eq!(segment.verify(&mut |_| {}), []);
}

#[test]
fn around_a_block() {
    for count in [1, 511, 512, 513, 1024, 1025] {
        comes_back(&vec![(key("i", "a"), rows(count))]);
        let of_one = |client: i64| (key("i", &format!("{client:05}")), vec![(row(-client), full(5))]);
        comes_back(&(0..count).map(of_one).collect());
    }
}

#[test]
fn one_giant_subject() {
    let sample = vec![(key("i", "giant"), rows(20_000)), (key("i", "small"), rows(2))];
    comes_back(&sample);
    let segment = open(&write(&sample)).unwrap();
    for time in [-1, 0, 1, 511, 512, 513, 9_999, 19_999, 20_000] {
        let found =
            segment.lower_bound(&(0..20_000), TimeMs(time), &mut Block::default(), &mut Unread::default()).unwrap();
        assert_eq!(found, u64::try_from(time).unwrap_or(0), "{time}");
    }
}

#[test]
fn names_that_begin_alike_or_are_long() {
    let prefix = "x".repeat(60);
    comes_back(&(0..1_000).map(|n| (key("i", &format!("{prefix}{n:04}")), rows(1))).collect());
    let long = "y".repeat(65_530);
    comes_back(&(0..70).map(|n| (key("i", &format!("{long}{n:03}")), rows(1))).collect());
    // None shares anything with its neighbour.
    let apart = |n: u32| format!("{}{}", char::from_u32(0x21 + n).unwrap(), "z".repeat(65_530));
    comes_back(&(0..70).map(|n| (key("i", &apart(n)), rows(1))).collect());
    // Each goes on where the one before it ends.
    comes_back(&(1..150).map(|n| (key("i", &"a".repeat(n * 400)), rows(2))).collect());
}

#[test]
fn names_of_all_planes() {
    let mut names: Vec<String> = (1..0x11_0000).step_by(997).filter_map(char::from_u32).map(String::from).collect();
    names.extend(["a", "A", "ä", "Ä", "ß", "ẞ", "\u{feff}", "\u{1}"].map(String::from));
    names.sort();
    names.dedup();
    comes_back(&names.iter().map(|name| (key("i", name), rows(1))).collect());
}

#[test]
fn many_texts() {
    let mut text = String::new();
    let details = |n: i64| Details { detail: Some(format!("text {n}").into()), ..Details::default() };
    let mut sample: Sample = vec![(key("i", "a"), (0..70_000).map(|n| (row(n), details(n))).collect())];
    for n in 0..8_000 {
        write!(text, "{n} ").unwrap();
    }
    sample.push((key("i", "b"), vec![(row(1), Details { detail: Some(text.into()), ..Details::default() })]));
    sample.push((key("i", "c"), vec![(row(1), details(3))]));
    comes_back(&sample);
}

#[test]
fn times_of_all_of_time() {
    let times = [i64::MIN, i64::MIN + 1, -60_001, -60_000, -1, 0, 1, 59_999, 60_000, i64::MAX - 1, i64::MAX];
    comes_back(&vec![(key("i", "a"), times.iter().map(|time| (row(*time), full(1))).collect())]);
    for time in times {
        comes_back(&vec![(key("i", "a"), vec![(row(time), Details::default()); 3])]);
    }
}

#[test]
fn ids_of_every_kind() {
    let made = |time: u128, node: u128, counter: u128| ConnectionId(time << 80 | node << 48 | counter);
    let most = (1_u128 << 48) - 1;
    let ids = [made(0, 0, 0), made(most, 0xffff_ffff, most), made(5, 1, 2), made(5, 1, 3), made(5, 2, 3)];
    let with = |ids: &[ConnectionId]| {
        let of = |id: &ConnectionId| (Row { connection: *id, peer: Peer::None, ..row(5) }, Details::default());
        vec![(key("i", "a"), ids.iter().map(of).collect::<Vec<_>>())]
    };
    comes_back(&with(&ids));
    comes_back(&with(&ids[2..]));
    let foreign = (0..600).map(|n: u128| ConnectionId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)));
    comes_back(&with(&foreign.clone().collect::<Vec<_>>()));
    // Connections that come again after one, after many and after most rows.
    for distance in [1, 2, 3, 100, 300, 511, 512] {
        let again: Vec<_> = foreign.clone().take(distance).cycle().take(1_200).collect();
        comes_back(&with(&again));
    }
}

#[test]
fn every_kind_number_is_kept() {
    let of = |n: u16| (Row { kind: Kind(n), ..row(5) }, Details::default());
    let sample = vec![(key("i", "a"), (0..2_000).map(of).collect::<Vec<_>>())];
    let segment = open(&write(&sample)).unwrap();
    assert!(read(&segment).unwrap() == sample);
}
