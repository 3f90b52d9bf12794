use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, InstanceId, Provenance, Reason, Subject, TimeMs,
    TimeRange,
};
use tracemq_store::{Batch, EventStore, StoreError};

use super::*;
use crate::{SegmentSettings, Segments};

fn event(number: u64) -> Event {
    // Many of one moment, some late, some without a name.
    let time =
        1_700_000_000_000 + (number / 3).cast_signed() * 700 - if number.is_multiple_of(11) { 90_000 } else { 0 };
    Event {
        time: TimeMs(time),
        instance: InstanceId::new(if number.is_multiple_of(5) { "b" } else { "a" }).unwrap(),
        connection: ConnectionId(u128::from(number) << 40 | 7),
        action: if number.is_multiple_of(2) { Action::Connect } else { Action::Close },
        reason: if number.is_multiple_of(2) { Reason::Accepted } else { Reason::KeepAliveTimeout },
        provenance: Provenance::Observed,
        client: (!number.is_multiple_of(7)).then(|| ClientId::new(&format!("pump-{:03}", number * 31 % 97)).unwrap()),
        peer: Some(format!("192.0.2.{}:4711", number % 13).parse().unwrap()),
        details: Details { username: Some(format!("user {}", number % 40).into()), ..Details::default() },
    }
}

const GAP: Gap = Gap { from: TimeMs(5), to: TimeMs(9), lost: Some(3), cause: GapCause::QueueFull };

fn settings() -> SegmentSettings {
    SegmentSettings { memtable_events: 100, merge_segments: 4, ..SegmentSettings::default() }
}

fn append(store: &Segments, numbers: std::ops::Range<u64>) {
    for number in numbers.step_by(10) {
        let events = (number..number + 10).map(event).collect();
        store.append(&Batch { events, gaps: Vec::new() }).unwrap();
    }
}

/// A store with segments, something in the log, an erased subject, and a gap.
fn filled() -> (TempDir, Segments) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Segments::open(dir.path(), settings()).unwrap();
    append(&store, 0..1_500);
    store.settle(&mut |_| {}).unwrap();
    append(&store, 1_500..1_550);
    store.append(&Batch { events: Vec::new(), gaps: vec![GAP] }).unwrap();
    (dir, store)
}

/// What `filled` holds, in the order of an export.
fn expected(numbers: std::ops::Range<u64>) -> Vec<Event> {
    let key = |event: &Event| {
        let mut key = Vec::new();
        crate::key::push_key_of(event, &mut key);
        key
    };
    let mut events: Vec<Event> = numbers.map(event).collect();
    events.sort_by_key(|event| (event.time, key(event)));
    events
}

fn scanned(dir: &Path, selection: &Selection) -> (Vec<Event>, Vec<Gap>) {
    let look = Look::open(dir).unwrap();
    let mut events = Vec::new();
    let gaps = look.scan(selection, &mut |event| {
        events.push(event.clone());
        ControlFlow::Continue(())
    });
    (events, gaps.unwrap())
}

fn everything(dir: &Path) -> (Vec<Event>, Vec<Gap>) {
    scanned(dir, &Selection::default())
}

/// All files and what stands in them.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn checked(dir: &Path) -> Result<CheckReport, StoreError> {
    let (mut last, mut grows) = (0, true);
    let report = check(dir, &mut |done, total| {
        grows &= last <= done && done <= total;
        last = done;
    });
    assert!(grows, "progress goes forward");
    report
}

#[test]
fn a_look_beside_a_running_store_sees_all_and_changes_nothing() {
    let (dir, store) = filled();
    let before = contents(dir.path());
    let (events, unreadable) = everything(dir.path());
    assert!(events == expected(0..1_550), "{} events", events.len());
    assert_eq!(unreadable, []);
    let look = Look::open(dir.path()).unwrap();
    assert_eq!(look.gaps(TimeRange::ALL), [GAP]);
    assert_eq!(look.gaps(TimeRange { from: TimeMs(10), to: TimeMs::MAX }), []);
    assert_eq!(look.instances(), ["a", "b"].map(|name| InstanceId::new(name).unwrap()));
    assert_eq!(look.findings(), []);
    assert_eq!(look.events_at_most(&Selection::default()), 1_550);
    let report = checked(dir.path()).unwrap();
    assert_eq!((report.events, report.findings.as_slice()), (1_550, &[][..]));
    assert!(report.segments > 0 && report.log_files > 0);
    assert!(contents(dir.path()) == before, "nothing is changed");
    drop(store);
    assert!(everything(dir.path()).0 == events, "the same of a store at rest");
}

#[test]
fn a_selection_is_kept_to() {
    let (dir, _store) = filled();
    let range = TimeRange { from: event(300).time, to: event(900).time };
    let clients = ["pump-031", "pump-000", "pump-031", "nobody"].map(|name| ClientId::new(name).unwrap()).to_vec();
    let instances = vec![InstanceId::new("a").unwrap()];
    let select = |selection: Selection, wanted: &dyn Fn(&Event) -> bool| {
        let mut events = expected(0..1_550);
        events.retain(wanted);
        assert!(!events.is_empty());
        assert!(scanned(dir.path(), &selection).0 == events, "{selection:?}");
    };
    select(Selection { range, ..Selection::default() }, &|event| range.contains(event.time));
    let subjects = clients.iter().cloned().map(Subject::Client).collect();
    select(Selection { subjects, ..Selection::default() }, &|event| {
        event.client.as_ref().is_some_and(|client| clients.contains(client))
    });
    select(Selection { instances: instances.clone(), range, ..Selection::default() }, &|event| {
        event.instance == instances[0] && range.contains(event.time)
    });
    let nameless = expected(0..1_550).into_iter().find(|event| event.client.is_none()).unwrap();
    let address = nameless.peer.unwrap().ip();
    let IpAddr::V4(v4) = address else { panic!("{address}") };
    let subjects = [address, v4.to_ipv6_mapped().into()].map(Subject::Address).to_vec();
    select(Selection { subjects: subjects.clone(), ..Selection::default() }, &|event| subjects[0].is_of(event));
    let (actions, reasons) = (vec![event(1).action], vec![event(1).reason]);
    select(Selection { actions: actions.clone(), ..Selection::default() }, &|event| actions.contains(&event.action));
    select(Selection { reasons: reasons.clone(), ..Selection::default() }, &|event| reasons.contains(&event.reason));
}

#[test]
fn what_was_erased_is_not_seen() {
    let (dir, store) = filled();
    let subject = Subject::of(&event(1)).unwrap();
    let hidden = store.erase(&event(1).instance, &subject).unwrap();
    assert!(hidden > 0);
    let mut events = expected(0..1_550);
    events.retain(|found| found.instance != event(1).instance || Subject::of(found).as_ref() != Some(&subject));
    assert!(everything(dir.path()).0 == events);
    // Until a merge takes the bytes away.
    assert!(Look::open(dir.path()).unwrap().figures().erasures_pending <= 1);
    // A merge under way writes a file that no manifest names yet.
    drop(store);
    assert_eq!(checked(dir.path()).unwrap().findings, []);
}

#[test]
fn figures_add_up() {
    let (dir, _store) = filled();
    let look = Look::open(dir.path()).unwrap();
    let figures = look.figures();
    assert_eq!((figures.events, figures.log.events, figures.gaps), (1_550, 50, 1));
    let sealed: u64 = figures.segments.iter().map(|segment| segment.bytes).sum();
    assert_eq!(figures.columns.iter().map(|column| column.bytes).sum::<u64>(), sealed);
    assert_eq!(figures.instances.iter().map(|instance| instance.events).sum::<u64>(), 1_500);
    let on_disk: u64 = contents(dir.path())
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|kind| kind == "segment" || kind == "wal" || kind == "open"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    assert_eq!(figures.bytes, on_disk);
    let sample = look.sample().unwrap();
    assert!(sample.len() > 100 && sample.iter().all(|event| expected(0..1_550).contains(event)));
}

#[test]
fn files_of_others_and_left_overs_are_named_and_left() {
    let (dir, store) = filled();
    drop(store);
    let segment = contents(dir.path())
        .keys()
        .find(|path| path.extension().is_some_and(|kind| kind == "segment"))
        .unwrap()
        .clone();
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    put("notes.txt", b"mine");
    put("0000000001.segment.bak", b"mine");
    put("0000000000.segment", &[7; 100]);
    put("manifest.new", b"half");
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    // Kept for a full disk.
    fs::write(dir.path().join("reserve"), [0; 100]).unwrap();
    // One of the store's own, that no manifest names.
    fs::copy(&segment, dir.path().join("0000000000000.segment")).unwrap();
    let before = contents(dir.path());
    let report = checked(dir.path()).unwrap();
    let mut found: Vec<(String, FindingKind)> = report
        .findings
        .iter()
        .map(|finding| (finding.path.file_name().unwrap().to_str().unwrap().to_owned(), finding.kind))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("0000000000.segment", FindingKind::Stranger),
        ("0000000000000.segment", FindingKind::Leftover),
        ("0000000001.segment.bak", FindingKind::Stranger),
        ("lost+found", FindingKind::Stranger),
        ("manifest.new", FindingKind::Leftover),
        ("notes.txt", FindingKind::Stranger),
    ];
    assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    assert!(!report.is_damaged() && contents(dir.path()) == before);
}

/// Breaks the file at `path` for as long as `look` runs.
fn broken<T>(path: &Path, bytes: &[u8], look: impl FnOnce() -> T) -> T {
    let whole = fs::read(path).unwrap();
    fs::write(path, bytes).unwrap();
    let result = look();
    fs::write(path, whole).unwrap();
    result
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_never_shown() {
    let (dir, store) = filled();
    drop(store);
    let sound = everything(dir.path()).0;
    let mut tried = 0;
    for (path, bytes) in contents(dir.path()) {
        let kind = path.extension().map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
        if path.ends_with("lock") || path.ends_with("manifest.old") {
            continue;
        }
        for at in (0..bytes.len()).step_by((bytes.len() / 15).max(1)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            tried += 1;
            let report = broken(&path, &flipped, || checked(dir.path()));
            let context = format!("byte {at} of {}", path.display());
            match report {
                Err(error) => panic!("{context}: {error}"),
                Ok(report) => {
                    // The last record of a log that is not whole can be an unfinished write.
                    let findings = &report.findings;
                    assert!(!findings.is_empty(), "{context}");
                    assert!(report.is_damaged() || matches!(&*kind, "wal" | "open"), "{context}: {findings:?}");
                    let place = findings
                        .iter()
                        .find(|found| found.path == path)
                        .unwrap_or_else(|| panic!("{context}: {findings:?}"));
                    let at = at as u64;
                    if kind == "segment" && place.length > 0 {
                        // The footer's checksum stands behind it, in the last bytes.
                        let covers = |found: &Finding| found.offset <= at && at < found.offset + found.length + 16;
                        assert!(findings.iter().any(covers), "{context}: {findings:?}");
                        assert!(place.lost.is_some(), "{context}");
                    }
                }
            }
            if tried % 4 != 0 {
                continue; // the files are gone through often, in passes of a few events
            }
            let looked = broken(&path, &flipped, || manifest(dir.path()).is_ok().then(|| everything(dir.path())));
            if let Some((events, _)) = looked {
                let mut rest = sound.iter();
                assert!(events.iter().all(|event| rest.any(|known| known == event)), "{context}: something made up");
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn a_file_that_is_cut_or_gone_is_found() {
    let (dir, store) = filled();
    drop(store);
    for (path, bytes) in contents(dir.path()) {
        let kind = path.extension().map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
        if !matches!(&*kind, "segment" | "wal" | "open") && !path.ends_with("manifest") {
            continue;
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let report = broken(&path, &bytes[..length], || checked(dir.path())).unwrap();
            assert!(!report.findings.is_empty(), "{} at {length}", path.display());
            let is_log = matches!(&*kind, "wal" | "open");
            assert!(report.is_damaged() || is_log, "{} at {length}: {:?}", path.display(), report.findings);
        }
        fs::remove_file(&path).unwrap();
        let report = checked(dir.path());
        fs::write(&path, &bytes).unwrap();
        let report = report.unwrap();
        assert!(report.is_damaged(), "without {}: {:?}", path.display(), report.findings);
    }
    assert_eq!(checked(dir.path()).unwrap().findings, []);
}

#[test]
fn damage_is_told_with_what_it_hides() {
    let (dir, store) = filled();
    drop(store);
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "segment");
    let files = contents(dir.path());
    let path = files.keys().filter(is_segment).max_by_key(|path| files[*path].len()).unwrap();
    let mut flipped = files[path].clone();
    // In a block of rows.
    flipped[60] ^= 4;
    let (report, (events, unreadable)) =
        broken(path, &flipped, || (checked(dir.path()).unwrap(), everything(dir.path())));
    let lost = report.findings[0].lost.clone().unwrap();
    let missing = 1_550 - events.len() as u64;
    assert!(missing > 0 && missing <= lost.events_at_most.unwrap(), "{missing}: {lost:?}");
    assert_eq!(unreadable.iter().map(|gap| gap.lost.unwrap()).sum::<u64>(), missing, "{unreadable:?}");
    for event in expected(0..1_550).iter().filter(|event| !events.contains(event)) {
        assert!(lost.from.unwrap() <= event.time && event.time <= lost.to.unwrap());
        assert!(lost.instances.contains(&event.instance));
        assert!(unreadable.iter().any(|gap| gap.range().contains(event.time)));
    }
}

#[test]
fn a_folder_without_a_store_is_no_sound_store() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [dir.path(), &dir.path().join("nowhere")] {
        assert!(matches!(checked(dir), Err(StoreError::Io { .. })));
        assert!(matches!(Look::open(dir), Err(StoreError::Io { .. })));
        assert!(fs::read_dir(dir).map_or(0, Iterator::count) == 0, "nothing is made");
    }
}

/// Files come and go all the time while others look.
#[test]
fn looking_beside_a_store_that_seals_and_merges_is_steady() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Segments::open(dir.path(), settings()).unwrap();
    append(&store, 0..10);
    let (appended, is_over) = (AtomicU64::new(10), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (10..12_000).step_by(10) {
                append(&store, number..number + 10);
                appended.store(number + 10, Ordering::SeqCst);
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let mut looks = 0;
        while !is_over.load(Ordering::SeqCst) || looks < 5 {
            let least = appended.load(Ordering::SeqCst);
            let look = Look::open(dir.path()).unwrap();
            let mut connections = Vec::new();
            let gaps = look.scan(&Selection::default(), &mut |event| {
                connections.push(event.connection.0);
                ControlFlow::Continue(())
            });
            assert_eq!(
                (look.findings().iter().filter(|found| found.kind == FindingKind::Damage).count(), gaps.unwrap()),
                (0, vec![])
            );
            connections.sort_unstable();
            let all = (0..connections.len() as u128).map(|number| number << 40 | 7);
            assert!(connections.iter().copied().eq(all), "each once, without holes");
            assert!(connections.len() as u64 >= least, "{} of {least}", connections.len());
            let report = checked(dir.path()).unwrap();
            assert!(!report.is_damaged(), "{:?}", report.findings);
            looks += 1;
        }
    });
}
