//! What a journal does on a disk that fails, forgets, or changes what was written.

mod damage;
mod errors;
mod power;
mod retention;

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, InstanceId, Order, Provenance};
use tracemq_model::{Reason, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::{Batch, EventStore, StoreError};

use super::Journal;
use crate::fs::simulated::SimulatedFs;
use crate::{JournalSettings, Recovery};

/// A place for journals: the log on a simulated disk, the lock on a real one.
struct Place {
    dir: TempDir,
    settings: JournalSettings,
}

impl Place {
    /// With files that take a few of [`batch`].
    fn new() -> Self {
        let settings = JournalSettings { file_bytes_max: 500, ..JournalSettings::default() };
        Self { dir: tempfile::tempdir().unwrap(), settings }
    }

    fn in_one_file() -> Self {
        Self { settings: JournalSettings::default(), ..Self::new() }
    }

    fn try_open(&self, disk: &SimulatedFs) -> Result<(Journal, Recovery), StoreError> {
        Journal::open_on(Arc::new(disk.clone()), self.dir.path(), self.settings)
    }

    fn open(&self, disk: &SimulatedFs) -> (Journal, Recovery) {
        self.try_open(disk).unwrap()
    }

    fn path(&self, number: u32) -> PathBuf {
        super::OpenFile::path(self.dir.path(), number)
    }

    /// A disk with the batches `numbers` on it.
    fn written(&self, numbers: std::ops::Range<u32>) -> SimulatedFs {
        let disk = SimulatedFs::default();
        let (journal, _) = self.open(&disk);
        for number in numbers {
            journal.append(&batch(number)).unwrap();
        }
        disk
    }
}

fn event(number: u32, time: i64) -> Event {
    Event {
        time: TimeMs(time),
        instance: InstanceId::new("i").unwrap(),
        connection: ConnectionId(u128::from(number)),
        action: Action::Close,
        reason: Reason::ClientClosed,
        provenance: Provenance::Observed,
        client: Some(ClientId::new("device").unwrap()),
        peer: Some("10.0.0.7:1024".parse().unwrap()),
        details: Details { detail: Some("why".into()), ..Details::default() },
    }
}

/// Two events of one client, numbered and timed after `number`.
fn batch(number: u32) -> Batch {
    let time = i64::from(number) * 10;
    Batch { events: vec![event(number * 2, time), event(number * 2 + 1, time + 1)], gaps: Vec::new() }
}

fn query() -> TraceQuery {
    TraceQuery {
        instance: InstanceId::new("i").unwrap(),
        subject: Subject::Client(ClientId::new("device").unwrap()),
        range: TimeRange::ALL,
        order: Order::OldestFirst,
        offset: 0,
        limit: 1_000,
    }
}

/// The batches that are there, in order; half a batch or a row that nobody wrote fails the test.
fn batches(journal: &Journal) -> Vec<u32> {
    let page = journal.page(&query()).unwrap();
    assert_eq!(page.total, page.events.len() as u64);
    page.events
        .chunks(2)
        .map(|rows| {
            let number = u32::try_from(rows[0].connection.0).unwrap() / 2;
            assert_eq!(rows, batch(number).events);
            number
        })
        .collect()
}

fn damaged_gaps(journal: &Journal) -> Vec<Gap> {
    let gaps = journal.gaps(TimeRange::ALL).unwrap();
    gaps.into_iter().filter(|gap| gap.cause == GapCause::Damaged).collect()
}
