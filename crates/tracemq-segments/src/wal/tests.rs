//! What a log does on a disk that fails, forgets, or changes what was written.

mod codec;
mod damage;
mod errors;
mod fixture;
mod power;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, InstanceId, Provenance, Reason};
use tracemq_model::{TimeMs, TimeRange};
use tracemq_store::{Batch, StoreError};

use super::{Entry, Mode, Replayed, StoreId, Wal, file, replay};
use crate::fs::simulated::SimulatedFs;

const STORE: StoreId = [7; 16];
const DIR: &str = "/store";

/// Two events of one client and a gap, numbered and timed after `number`. The texts make it span more than a sector.
fn batch(number: u32) -> Batch {
    let time = i64::from(number) * 10;
    let event = |connection: u32, time| Event {
        time: TimeMs(time),
        instance: InstanceId::new("i").unwrap(),
        connection: ConnectionId(u128::from(connection)),
        action: Action::Close,
        reason: Reason::ClientClosed,
        provenance: Provenance::Observed,
        client: Some(ClientId::new("device").unwrap()),
        peer: Some("10.0.0.7:1024".parse().unwrap()),
        details: Details { detail: Some(why(connection)), ..Details::default() },
    };
    let gap = Gap { from: TimeMs(time), to: TimeMs(time), lost: Some(u64::from(number)), cause: GapCause::QueueFull };
    Batch { events: vec![event(number * 2, time), event(number * 2 + 1, time + 1)], gaps: vec![gap] }
}

/// Short for the even, more than a sector for some of the odd: records begin and end anywhere in sectors.
fn why(number: u32) -> Arc<str> {
    let length = if number % 4 == 1 { 700 } else { 3 };
    let letters = (0..length).map(|at| char::from(b'a' + u8::try_from((at * 7 + number * 3) % 26).unwrap()));
    letters.collect::<String>().into()
}

fn path(number: u64) -> PathBuf {
    file::path(Path::new(DIR), number)
}

fn create(disk: &SimulatedFs) -> Result<Wal, StoreError> {
    Wal::create(Arc::new(disk.clone()), Path::new(DIR), STORE, 1)
}

/// A disk with the batches `numbers` on it, and another file after every `a_file` of them.
fn written(numbers: std::ops::Range<u32>, a_file: u32) -> SimulatedFs {
    let disk = SimulatedFs::default();
    let mut wal = create(&disk).unwrap();
    for number in numbers {
        wal.append(&batch(number)).unwrap();
        if number % a_file == a_file - 1 {
            wal.rotate().unwrap();
        }
    }
    disk
}

/// What a start finds.
struct Found {
    replayed: Replayed,
    /// The batches that are there, in order.
    batches: Vec<u32>,
    erased: Vec<Vec<u8>>,
}

fn try_look(disk: &SimulatedFs, first: u64, mode: Mode) -> Result<Found, StoreError> {
    let (mut events, mut gaps, mut erased) = (Vec::new(), Vec::new(), Vec::new());
    let replayed = replay(disk, Path::new(DIR), STORE, first, mode, &mut |_, entry| match entry {
        Entry::Event(event) => events.push(event.to_event().unwrap()),
        Entry::Gap(gap) => gaps.push(gap),
        Entry::Erased { key } => erased.push(key.to_vec()),
    })?;
    assert_eq!(replayed.events, events.len() as u64);
    // Half a batch, or an event that nobody wrote, fails the test.
    let numbers: Vec<u32> = gaps.iter().map(|gap| u32::try_from(gap.lost.unwrap()).unwrap()).collect();
    let expected: Vec<Batch> = numbers.iter().map(|number| batch(*number)).collect();
    assert_eq!(events, expected.iter().flat_map(|batch| batch.events.clone()).collect::<Vec<_>>());
    assert_eq!(gaps, expected.iter().flat_map(|batch| batch.gaps.clone()).collect::<Vec<_>>());
    Ok(Found { replayed, batches: numbers, erased })
}

fn look(disk: &SimulatedFs) -> Found {
    try_look(disk, 1, Mode::Look).unwrap()
}

fn try_start(disk: &SimulatedFs) -> Result<(Wal, Found), StoreError> {
    let found = try_look(disk, 1, Mode::Recover)?;
    Ok((Wal::resume(Arc::new(disk.clone()), Path::new(DIR), &found.replayed.tail)?, found))
}

fn start(disk: &SimulatedFs) -> (Wal, Found) {
    try_start(disk).unwrap()
}

fn damages(found: &Found) -> Vec<(&Path, &'static str)> {
    found.replayed.damaged.iter().map(|damage| (damage.path.as_path(), damage.what)).collect()
}

/// The spans in which something is missing.
fn missing_in(found: &Found) -> Vec<TimeRange> {
    let cut = found.replayed.cut.iter().map(|cut| cut.gap(TimeRange::ALL));
    found.replayed.damaged.iter().map(|damage| damage.gap(TimeRange::ALL)).chain(cut).map(Gap::range).collect()
}
