//! What becomes of a manifest on a disk that fails, forgets, or changes what was written.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracemq_model::{ClientId, Gap, GapCause, InstanceId, Subject, TimeMs};
use tracemq_store::StoreError;

use super::{Cutoff, Erasure, GAPS_MAX, Manifest, RetentionClock, SegmentEntry, remove_unfinished};
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};
use crate::fs::{Fs, RealFs};
use crate::key::push_key;

const DIR: &str = "/store";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn key(subject: &Subject) -> Vec<u8> {
    let mut key = Vec::new();
    push_key(&InstanceId::new("mqtt-local").unwrap(), subject, &mut key);
    key
}

fn segment(number: u64) -> SegmentEntry {
    SegmentEntry {
        number,
        seq_lo: number,
        seq_hi: u64::MAX,
        rows: u64::MAX,
        bytes: 4_711,
        min_time: TimeMs::MIN,
        max_time: TimeMs::MAX,
        footer_checksum: 0x00c0_ffee,
    }
}

/// Everything that a manifest can say.
fn full(generation: u64) -> Manifest {
    let gaps = GapCause::ALL.iter().zip(0..).map(|(cause, number)| Gap {
        from: TimeMs(number * 10),
        to: TimeMs(number * 10 + 5),
        lost: (number % 2 == 0).then_some(u64::MAX),
        cause: *cause,
    });
    Manifest {
        store: *b"the fixture's id",
        generation,
        next_file: u64::MAX,
        first_wal: 12,
        segments: (1..4).map(segment).collect(),
        erasures: vec![
            Erasure { key: key(&Subject::Client(ClientId::new("GID_é@@@\"中\"\n").unwrap())), seq: 9 },
            Erasure { key: key(&Subject::Address("10.0.0.7".parse().unwrap())), seq: u64::MAX },
            Erasure { key: key(&Subject::Address("2001:db8::7".parse().unwrap())), seq: 0 },
        ],
        cutoffs: vec![Cutoff { instance: InstanceId::new("b").unwrap(), time: TimeMs(-1) }],
        gaps: gaps.collect(),
        clock: RetentionClock { seen: Some(TimeMs(1_763_800_000_000)), trusted: None },
        orphans: Some(11),
    }
}

fn load(disk: &SimulatedFs) -> Result<Option<Manifest>, StoreError> {
    Manifest::load(disk, Path::new(DIR))
}

fn published(generations: std::ops::RangeInclusive<u64>) -> SimulatedFs {
    let disk = SimulatedFs::default();
    for generation in generations {
        full(generation).publish(&disk, Path::new(DIR)).unwrap();
    }
    disk
}

#[test]
fn a_manifest_comes_back_with_the_one_before() {
    let disk = SimulatedFs::default();
    assert_eq!(load(&disk).unwrap(), None);
    let new = Manifest::new([0xab; 16], u64::MAX);
    new.publish(&disk, Path::new(DIR)).unwrap();
    assert_eq!(load(&disk).unwrap(), Some(new.clone()));
    assert_eq!(Manifest::load_previous(&disk, Path::new(DIR)).unwrap(), None);
    full(u64::MAX).publish(&disk, Path::new(DIR)).unwrap();
    let disk = disk.after_power_loss(Unsynced::Lost);
    assert_eq!(load(&disk).unwrap(), Some(full(u64::MAX)));
    assert_eq!(Manifest::load_previous(&disk, Path::new(DIR)).unwrap(), Some(new));
    assert_eq!(disk.paths(), [path("manifest"), path("manifest.old")]);
}

#[test]
fn an_erased_message_comes_back() {
    let disk = SimulatedFs::default();
    let erasure = Erasure { key: key(&Subject::Message(tracemq_model::MessageId(u128::MAX - 5))), seq: 7 };
    let manifest = Manifest { erasures: vec![erasure], ..full(1) };
    manifest.publish(&disk, Path::new(DIR)).unwrap();
    assert_eq!(load(&disk).unwrap(), Some(manifest));
}

#[test]
fn a_real_disk_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for generation in 1..=3 {
        full(generation).publish(&RealFs, dir.path()).unwrap();
        assert_eq!(Manifest::load(&RealFs, dir.path()).unwrap(), Some(full(generation)));
    }
    assert_eq!(Manifest::load_previous(&RealFs, dir.path()).unwrap(), Some(full(2)));
    std::fs::write(dir.path().join("manifest.new"), "half of").unwrap();
    remove_unfinished(&RealFs, dir.path()).unwrap();
    remove_unfinished(&RealFs, dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

fn gap(from: i64, to: i64, lost: Option<u64>, cause: GapCause) -> Gap {
    Gap { from: TimeMs(from), to: TimeMs(to), lost, cause }
}

#[test]
fn too_many_gaps_become_fewer_and_none_is_forgotten() {
    let mut manifest = Manifest::new([1; 16], 1);
    let wide = gap(-500, -100, Some(7), GapCause::QueueFull);
    manifest.push_gap(wide);
    for number in 0..30_000 {
        // Each third one touches the one before, and all others are a second apart.
        let from = number / 3 * 1_000 + (number % 3 / 2) * 300;
        manifest.push_gap(gap(from, from + 299, Some(1), GapCause::StoreFailed));
        assert!(manifest.gaps.len() <= GAPS_MAX);
        let last = manifest.gaps.iter().map(|gap| gap.to).max();
        assert!(last >= Some(TimeMs(from + 299)));
    }
    assert_eq!(manifest.gaps[0], wide);
    assert_eq!(manifest.gaps.iter().filter_map(|gap| gap.lost).sum::<u64>(), 30_007);
    for number in (0..30_000).step_by(997) {
        let from = TimeMs(number / 3 * 1_000 + (number % 3 / 2) * 300);
        assert!(manifest.gaps.iter().any(|gap| gap.from <= from && from <= gap.to), "{number}");
    }
    // Only the oldest became one; the latest are as they were.
    let exact = manifest.gaps.iter().filter(|gap| gap.to.since(gap.from) < 1_000).count();
    assert!(exact > GAPS_MAX / 2, "{exact}");
    let disk = SimulatedFs::default();
    manifest.publish(&disk, Path::new(DIR)).unwrap();
    assert_eq!(load(&disk).unwrap(), Some(manifest));
}

#[test]
fn the_nearest_gaps_of_a_cause_are_joined_first_and_what_is_unknown_stays_so() {
    let known = |from| gap(from, from + 10, Some(2), GapCause::StoreFailed);
    let unknown = gap(120, 130, None, GapCause::StoreFailed);
    let other = gap(111, 119, Some(1), GapCause::QueueFull);
    let all = [known(0), known(5), known(16), known(100), other, unknown, known(500)];
    let mut gaps = all.to_vec();
    super::join_gaps(&mut gaps, 6);
    // What touches is one, wherever the bound is.
    let touching = gap(0, 26, Some(6), GapCause::StoreFailed);
    assert_eq!(gaps, [touching, known(100), other, unknown, known(500)]);
    super::join_gaps(&mut gaps, 4);
    let wider = gap(100, 130, None, GapCause::StoreFailed);
    assert_eq!(gaps, [touching, wider, other, known(500)]);
    super::join_gaps(&mut gaps, 1);
    assert_eq!(gaps, [gap(0, 510, None, GapCause::StoreFailed), other]);
}

/// The power goes at each call of a publication, with every kind of fault; the old or the new one is there, whole. An
/// acknowledged one is never taken back by that.
#[test]
fn s8_s9_s10_a_crash_leaves_the_old_or_the_new_one() {
    let untouched = published(1..=2);
    untouched.set_fault(None);
    full(3).publish(&untouched, Path::new(DIR)).unwrap();
    let mut seen = BTreeSet::new();
    for first in 1..=untouched.calls() + 1 {
        for (seed, written) in (0..120).flat_map(|seed| [(seed, 0), (seed, 600), (seed, usize::MAX)]) {
            let disk = published(1..=2);
            disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written }));
            let is_published = full(3).publish(&disk, Path::new(DIR)).is_ok();
            let disk = disk.after_power_loss(Unsynced::Any(seed));
            let found = load(&disk).unwrap().unwrap();
            assert!(found == full(3) || (found == full(2) && !is_published), "call {first}, seed {seed}");
            seen.insert((is_published, found.generation));
            // What is left lets the next one through.
            remove_unfinished(&disk, Path::new(DIR)).unwrap();
            assert!(!disk.paths().contains(&path("manifest.new")));
            full(4).publish(&disk, Path::new(DIR)).unwrap();
            assert_eq!(load(&disk.after_power_loss(Unsynced::Lost)).unwrap(), Some(full(4)));
        }
    }
    assert_eq!(seen, BTreeSet::from([(false, 2), (false, 3), (true, 3)]));
}

/// Of a new store: there is none, or the first.
#[test]
fn a_crash_of_the_first_publication_leaves_none_or_the_first() {
    for (first, seed) in (1..12).flat_map(|first| (0..100).map(move |seed| (first, seed))) {
        let disk = SimulatedFs::default();
        disk.set_fault(Some(Fault { first, for_good: true, kind: ErrorKind::Other, written: 9 }));
        let is_published = full(1).publish(&disk, Path::new(DIR)).is_ok();
        let found = load(&disk.after_power_loss(Unsynced::Any(seed))).unwrap();
        assert!(found == Some(full(1)) || (found.is_none() && !is_published), "call {first}, seed {seed}");
    }
}

/// Many publications, each life ending in a power loss: never an older one than was acknowledged.
#[test]
fn generations_never_go_back() {
    for seed in 0..1_000 {
        let mut dice = Dice(seed);
        let mut disk = published(1..=1);
        let mut known = 1;
        for life in 0..4 {
            let mut last = known;
            if dice.roll(2) == 0 {
                let fault = Fault { first: 1 + dice.roll(20), for_good: true, kind: ErrorKind::Other, written: 700 };
                disk.set_fault(Some(fault));
            }
            for generation in known + 1..known + 4 {
                last = generation;
                match full(generation).publish(&disk, Path::new(DIR)) {
                    Ok(()) => known = generation,
                    Err(_) => break,
                }
            }
            disk = disk.after_power_loss(Unsynced::Any(seed + life));
            let found = load(&disk).unwrap().unwrap();
            assert_eq!(found, full(found.generation));
            assert!((known..=last).contains(&found.generation), "seed {seed}: {known} became {}", found.generation);
            known = found.generation;
        }
    }
}

/// The name is there before what it names: that can be when a disk says that it synced when it didn't.
#[test]
fn s10_a_manifest_whose_content_never_came_is_damage() {
    let mut found = 0;
    for seed in 0..200 {
        let disk = published(1..=2);
        disk.set_lies(true);
        full(3).publish(&disk, Path::new(DIR)).unwrap();
        match load(&disk.after_power_loss(Unsynced::Any(seed))) {
            Ok(manifest) => assert!([Some(full(2)), Some(full(3))].contains(&manifest)),
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}

/// Every call of a publication fails, once or for good: it is told, the state is as before or after, and the next one
/// succeeds unless it is unknown which one is live.
#[test]
fn a_failing_call_is_told() {
    let untouched = published(1..=2);
    untouched.set_fault(None);
    full(3).publish(&untouched, Path::new(DIR)).unwrap();
    let kinds = [(ErrorKind::StorageFull, false), (ErrorKind::Other, false), (ErrorKind::Other, true)];
    for (first, (kind, for_good)) in (1..=untouched.calls()).flat_map(|first| kinds.map(|kind| (first, kind))) {
        let disk = published(1..=2);
        disk.set_fault(Some(Fault { first, for_good, kind, written: 30 }));
        let result = full(3).publish(&disk, Path::new(DIR));
        disk.set_fault(None);
        let live = load(&disk).unwrap();
        match &result {
            Ok(()) => assert_eq!(live, Some(full(3)), "call {first}"),
            Err(StoreError::Poisoned { path: named }) => assert_eq!(named, &path("manifest")),
            Err(StoreError::Full { .. }) => assert_eq!((live, kind), (Some(full(2)), ErrorKind::StorageFull)),
            Err(_) => assert_eq!(live, Some(full(2)), "call {first}"),
        }
        full(4).publish(&disk, Path::new(DIR)).unwrap();
        assert_eq!(load(&disk.after_power_loss(Unsynced::Lost)).unwrap(), Some(full(4)));
    }
}

#[test]
fn a_full_disk_keeps_the_one_before() {
    let disk = published(1..=2);
    for room in [0, 1, 500, 1_000] {
        disk.set_room(Some(room));
        assert!(matches!(full(3).publish(&disk, Path::new(DIR)), Err(StoreError::Full { .. })));
        assert_eq!(load(&disk).unwrap(), Some(full(2)));
        assert!(!disk.paths().contains(&path("manifest.new")));
    }
    disk.set_room(None);
    full(3).publish(&disk, Path::new(DIR)).unwrap();
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let disk = published(1..=2);
    let whole = disk.content(&path("manifest"));
    for bit in 0..whole.len() * 8 {
        disk.change(&path("manifest"), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let refused = load(&disk).unwrap_err();
        let is_named = matches!(&refused, StoreError::Damaged { path: named, .. } if *named == path("manifest"));
        assert!(is_named, "bit {bit}: {refused}");
        disk.change(&path("manifest"), |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
    for length in 0..whole.len() {
        disk.change(&path("manifest"), |bytes| *bytes = whole[..length].to_vec());
        assert!(matches!(load(&disk), Err(StoreError::Damaged { .. })), "{length}");
    }
    for garbage in [&b"\n"[..], b" ", &[0; 5_000], &whole] {
        disk.change(&path("manifest"), |bytes| *bytes = [&whole, garbage].concat());
        assert!(matches!(load(&disk), Err(StoreError::Damaged { .. })));
    }
}

/// The one before would name segments that are gone: it is never taken in the place of a damaged or missing one.
#[test]
fn a_missing_manifest_is_no_new_store() {
    let disk = published(1..=2);
    disk.remove(&path("manifest")).unwrap();
    let before = disk.contents();
    assert!(matches!(load(&disk), Err(StoreError::Damaged { .. })));
    assert_eq!(Manifest::load_previous(&disk, Path::new(DIR)).unwrap(), Some(full(1)));
    assert_eq!(disk.contents(), before);
}

#[test]
fn s38_a_later_format_is_named() {
    let disk = published(1..=1);
    let text = String::from_utf8(disk.content(&path("manifest"))).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    disk.put(&path("manifest"), (super::format::first_line(7, body) + body).into_bytes());
    let before = disk.contents();
    assert!(matches!(load(&disk), Err(StoreError::UnknownFormat { found: 7, known: 1, .. })));
    assert_eq!(disk.contents(), before);
    // And is none with a checksum that does not cover its number.
    for version in ["0", "3", "7", "01", "+1", "4294967296", ""] {
        let changed = text.replacen("manifest 1 ", &format!("manifest {version} "), 1);
        disk.put(&path("manifest"), changed.into_bytes());
        assert!(matches!(load(&disk), Err(StoreError::Damaged { .. })), "{version}");
    }
}

/// With the right checksum.
#[test]
fn what_cannot_be_is_refused() {
    let good = String::from_utf8(published(1..=1).content(&path("manifest"))).unwrap();
    let (_, body) = good.split_once('\n').unwrap();
    let read = |body: &str| {
        let disk = SimulatedFs::default();
        let first = format!("tracemq-manifest 1 crc32 {:08x}\n", crc32fast::hash(body.as_bytes()));
        disk.put(&path("manifest"), (first + body).into_bytes());
        load(&disk)
    };
    assert_eq!(read(body).unwrap(), Some(full(1)));
    for (from, to) in [
        ("\"number\":2", "\"number\":1"),
        ("\"number\":2", "\"number\":18446744073709551615"),
        ("\"number\":2", "\"number\":18446744073709551616"),
        ("\"number\":2", "\"number\":-1"),
        ("\"seq_hi\":18446744073709551615", "\"seq_hi\":0"),
        ("\"max_time\":9223372036854775807", "\"max_time\":-9223372036854775808,\"min_time\":0"),
        ("\"cause\":\"damaged\"", "\"cause\":\"later\""),
        ("\"generation\"", "\"later\": 1, \"generation\""),
        ("\"address\":\"10.0.0.7\"", "\"address\":\"10.0.0.7\",\"client\":\"c\""),
        ("\"address\":\"10.0.0.7\",", ""),
        ("\"instance\":\"b\"", "\"instance\":\"\""),
        ("00c0ffee", "g0c0ffee"),
        ("{", "["),
    ] {
        let changed = body.replacen(from, to, 1);
        assert_ne!(changed, body, "{from}");
        assert!(matches!(read(&changed), Err(StoreError::Damaged { .. })), "{from} -> {to}");
    }
    for body in [String::new(), "[".repeat(100_000), "{}".to_owned(), "null".to_owned()] {
        assert!(matches!(read(&body), Err(StoreError::Damaged { .. })));
    }
}

/// Else the next start would refuse what was published.
#[test]
fn what_would_be_refused_is_not_published() {
    let disk = published(1..=1);
    let mut twice = full(2);
    twice.segments.push(segment(2));
    let mut beyond = full(2);
    beyond.next_file = 3;
    let mut nobody = full(2);
    nobody.erasures[0].key = b"mqtt-local\0\0".to_vec();
    for bad in [twice, beyond, nobody] {
        assert!(matches!(bad.publish(&disk, Path::new(DIR)), Err(StoreError::Io { operation: "publish", .. })));
    }
    assert_eq!(load(&disk).unwrap(), Some(full(1)));
}

#[test]
fn what_cannot_be_read_is_an_error_and_a_read_only_disk_is_none() {
    let disk = published(1..=2);
    disk.set_read_only(true);
    assert_eq!(load(&disk).unwrap(), Some(full(2)));
    assert!(full(3).publish(&disk, Path::new(DIR)).is_err());
    disk.set_unreadable(&path("manifest"), true);
    assert!(matches!(load(&disk), Err(StoreError::Io { operation: "read", .. })));
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifest-1")
}

/// `TRACEMQ_GOLDEN=write cargo test -p tracemq-segments format_1` makes the fixture anew: only ever for a format that is not
/// released yet.
#[test]
fn s59_format_1_is_read() {
    if std::env::var_os("TRACEMQ_GOLDEN").is_some_and(|mode| mode == "write") {
        let _ = std::fs::remove_dir_all(fixture());
        std::fs::create_dir_all(fixture()).unwrap();
        full(41).publish(&RealFs, &fixture()).unwrap();
        full(42).publish(&RealFs, &fixture()).unwrap();
    }
    assert_eq!(Manifest::load(&RealFs, &fixture()).unwrap(), Some(full(42)));
    assert_eq!(Manifest::load_previous(&RealFs, &fixture()).unwrap(), Some(full(41)));
}
