//! S15, S41, S42, S50, S58: processes that are killed, stopped, copied from and closed under load, on a real disk.
//!
//! The test starts itself again as the writer, which seals and merges all the time and says which batches were acknowledged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by it")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, Filter, InstanceId, Order, Provenance, Reason, TimeMs, TimeRange,
};
use tracemq_segments::{Recovery, SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore, StoreError};

const DIR: &str = "TRACEMQ_TEST_DIR";
/// Where each of those that append goes on, with commas in between.
const FROM: &str = "TRACEMQ_TEST_FROM";
/// The numbers of an appender begin at as many times this.
const APART: u64 = 1 << 32;

fn settings() -> SegmentSettings {
    SegmentSettings { memtable_events: 64, merge_segments: 3, ..SegmentSettings::default() }
}

fn open(dir: &Path) -> (Segments, Recovery) {
    let begun = Instant::now();
    loop {
        match Segments::open(dir, settings()) {
            // A child that another test is just starting holds all that is open here for a moment, the lock of a store as well.
            Err(StoreError::InUse { .. }) if begun.elapsed() < Duration::from_secs(5) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn event(number: u64) -> Event {
    Event {
        time: time(number),
        instance: InstanceId::new("mqtt-local").unwrap(),
        connection: ConnectionId(number.into()),
        action: if number.is_multiple_of(3) { Action::Close } else { Action::Connect },
        reason: Reason::Accepted,
        provenance: Provenance::Observed,
        client: Some(ClientId::new(&format!("pump-{}", number % 17)).unwrap()),
        peer: Some(([192, 0, 2, 1], 1_024).into()),
        details: Details { detail: number.is_multiple_of(5).then(|| format!("{number}").into()), ..Details::default() },
    }
}

fn time(number: u64) -> TimeMs {
    TimeMs(1_700_000_000_000 + (number % APART).cast_signed() * 7_000)
}

/// How many events the batch has that begins with the event `first`.
fn length(first: u64) -> u64 {
    1 + first % APART * 7 % 23
}

fn batch(first: u64) -> Batch {
    Batch { events: (first..first + length(first)).map(event).collect(), gaps: Vec::new() }
}

/// What the child runs: none of the tests, unless it is told where.
#[test]
fn the_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let from = std::env::var(FROM).unwrap();
    let (store, _) = open(Path::new(&dir));
    std::thread::scope(|scope| {
        for first in from.split(',') {
            let (store, mut first) = (&store, first.parse().unwrap());
            scope.spawn(move || {
                loop {
                    store.append(&batch(first)).unwrap();
                    first += length(first);
                    // The end of what was acknowledged, as one write. Whoever listens may be gone.
                    let line = format!("acknowledged {first}\n");
                    let mut out = std::io::stdout().lock();
                    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                        return;
                    }
                    drop(out);
                    store.mark_alive(time(first)).unwrap();
                }
            });
        }
    });
}

struct Writer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Of each that appends, the end of what was acknowledged to it.
    acknowledged: Vec<u64>,
}

impl Writer {
    fn start(dir: &Path, from: &[u64]) -> Self {
        let all: Vec<String> = from.iter().map(u64::to_string).collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["the_writer", "--exact", "--nocapture"]).env(DIR, dir).env(FROM, all.join(","));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines, acknowledged: from.to_vec() }
    }

    /// Waits for the next acknowledgement; false when there are no more.
    fn listen(&mut self) -> bool {
        for line in self.lines.by_ref() {
            // The test harness says something first.
            if let Some(end) = line.unwrap().split("acknowledged ").nth(1) {
                let end = end.parse().unwrap();
                self.acknowledged[appender(end)] = end;
                return true;
            }
        }
        false
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it as nothing can be held against, and gives the end of what it had acknowledged.
    fn kill(mut self) -> Vec<u64> {
        self.process.kill().unwrap();
        while self.listen() {}
        self.process.wait().unwrap();
        self.acknowledged
    }
}

fn appender(number: u64) -> usize {
    usize::try_from(number / APART).unwrap()
}

/// Where each of so many begins.
fn beginnings(appenders: u64) -> Vec<u64> {
    (0..appenders).map(|one| one * APART).collect()
}

/// All there is, of each that appends by number: each event once and as it was written, without a hole.
fn ends_of_all(store: &Segments, appenders: u64, context: &str) -> Vec<u64> {
    let filter = Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL);
    let mut ends = beginnings(appenders);
    let scanned = store.scan(&filter, Order::OldestFirst, &mut |found| {
        let end = &mut ends[appender(u64::try_from(found.connection.0).unwrap())];
        assert_eq!(*found, event(*end), "{context}");
        *end += 1;
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    ends
}

fn end_of_all(store: &Segments, context: &str) -> u64 {
    ends_of_all(store, 1, context)[0]
}

/// After a kill: all that was acknowledged, and of each that appends the batch that was on its way as a whole or not at all.
fn check(dir: &Path, acknowledged: &[u64], context: &str) -> Vec<u64> {
    let (store, recovery) = open(dir);
    assert_eq!(recovery.damaged, [], "{context}");
    let ends = ends_of_all(&store, acknowledged.len() as u64, context);
    for (end, acknowledged) in ends.iter().zip(acknowledged) {
        let is_whole = *end == *acknowledged || *end == acknowledged + length(*acknowledged);
        assert!(is_whole, "{context}: {end} after {acknowledged}");
    }
    ends
}

/// So many kills at random moments, with so many that append at once; gives how much there is in the end.
fn kills(rounds: u64, appenders: u64) -> u64 {
    let dir = TempDir::new().unwrap();
    let (mut ends, mut seed) = (beginnings(appenders), 1_u64);
    for round in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut writer = Writer::start(dir.path(), &ends);
        let begun = Instant::now();
        // Some are killed while they still open.
        let batches = (seed >> 33) % 40 * appenders;
        for _ in 0..batches {
            assert!(writer.listen(), "round {round}: the writer ended by itself");
        }
        if round % 7 == 0 && batches > 0 {
            let refused = Segments::open(dir.path(), settings()).unwrap_err();
            let pid = writer.process.id();
            assert!(matches!(&refused, StoreError::InUse { pid: holder, .. } if *holder == pid), "{refused}");
        }
        while begun.elapsed() < Duration::from_micros(seed >> 17 & 0x3fff) {
            std::hint::spin_loop();
        }
        let acknowledged = writer.kill();
        // A lock that a killed process left is no obstacle.
        ends = check(dir.path(), &acknowledged, &format!("round {round}"));
    }
    let (store, recovery) = open(dir.path());
    assert!(recovery.segments > 0, "{recovery:?}: the load was no load");
    store.settle(&mut |_| {}).unwrap();
    assert_eq!(ends_of_all(&store, appenders, "settled"), ends);
    ends.iter().map(|end| end % APART).sum()
}

#[test]
fn s15_s41_sixty_kills_at_random_moments_lose_and_double_nothing() {
    assert!(kills(60, 1) > 5_000);
}

/// Their batches are written together, as one record with one sync.
#[test]
fn s15_forty_kills_while_eight_append_at_once_lose_and_double_nothing() {
    assert!(kills(40, 8) > 40_000);
}

#[test]
fn s50_a_paused_process_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut writer = Writer::start(dir.path(), &[0]);
    for _ in 0..5 {
        for _ in 0..10 {
            assert!(writer.listen());
        }
        writer.signal("-STOP");
        std::thread::sleep(Duration::from_millis(100));
        writer.signal("-CONT");
    }
    assert!(writer.listen());
    let acknowledged = writer.kill();
    check(dir.path(), &acknowledged, "after pauses");
}

/// A backup: second names for all files while the manifest stays the same one, then copies of these.
fn back_up(from: &Path, links: &Path, to: &Path) -> bool {
    let manifest = std::fs::read(from.join("manifest")).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        // What vanishes now was not needed by this manifest, or the manifest is another one at the end.
        if name != "lock" && std::fs::hard_link(from.join(&name), links.join(&name)).is_err() {
            continue;
        }
    }
    if std::fs::read(from.join("manifest")).unwrap() != manifest {
        return false;
    }
    for entry in std::fs::read_dir(links).unwrap() {
        let name = entry.unwrap().file_name();
        std::fs::copy(links.join(&name), to.join(&name)).unwrap();
    }
    true
}

#[test]
fn s42_a_backup_by_links_while_it_seals_and_merges_can_be_restored() {
    let dir = TempDir::new().unwrap();
    let mut writer = Writer::start(dir.path(), &[0]);
    let mut done = 0;
    while done < 8 {
        for _ in 0..15 {
            assert!(writer.listen());
        }
        let (least, links, copies) =
            (writer.acknowledged[0], TempDir::new_in(dir.path().parent().unwrap()).unwrap(), TempDir::new().unwrap());
        if back_up(dir.path(), links.path(), copies.path()) {
            let (store, recovery) = open(copies.path());
            assert_eq!(recovery.damaged, []);
            let end = end_of_all(&store, "restored");
            assert!(end >= least, "{end} of {least}");
            done += 1;
        }
    }
    let acknowledged = writer.kill();
    check(dir.path(), &acknowledged, "the store itself");
}

#[test]
fn s58_closing_while_it_seals_and_merges_is_quick_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let mut first = 0;
    for round in 0..20 {
        let (store, recovery) = open(dir.path());
        assert_eq!((recovery.damaged.as_slice(), recovery.cut_bytes), (&[][..], 0), "round {round}");
        for _ in 0..30 {
            store.append(&batch(first)).unwrap();
            first += length(first);
        }
        let begun = Instant::now();
        drop(store);
        assert!(begun.elapsed() < Duration::from_secs(5), "round {round}");
    }
    assert_eq!(end_of_all(&open(dir.path()).0, "in the end"), first);
}
