//! Appends until the process is killed, and opens what is left.

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Task;
use super::ingest::Feed;
use crate::stores::{self, Kind};
use crate::{figures, machine};

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kill {
    /// Amid appends, with background work under way
    AtWork,
    /// At rest, once all that it got is in the log and in memory alone
    Logged,
    /// At rest, with the log as long as it gets: the sealing is two memtables behind
    Behind,
}

impl Kill {
    /// When so many of `events` are acknowledged.
    pub(crate) fn after(self, events: u64) -> u64 {
        match self {
            Self::AtWork => (events / 2).min(2_000_000),
            // Our store seals at 1,048,576.
            Self::Logged => events.min(1_000_000),
            // Three memtables; a log that is longer is made to wait.
            Self::Behind => events.min(3 << 20),
        }
    }

    /// Whether `kind` can be killed so: other stores have no such bound that we know of.
    pub(crate) fn is_for(self, kind: Kind) -> bool {
        self != Self::Behind || !kind.is_peer()
    }

    /// The name of a figure of this one.
    pub(crate) fn figure(self, name: &str) -> String {
        match self {
            Self::AtWork => format!("killed.{name}"),
            Self::Logged => format!("logged.{name}"),
            Self::Behind => format!("behind.{name}"),
        }
    }

    /// How many events are acknowledged.
    pub(crate) fn acknowledged(self) -> String {
        self.figure("acknowledged")
    }

    /// How many were there after it.
    pub(crate) fn found(self) -> String {
        self.figure("found")
    }
}

/// Says after each batch how many events are acknowledged; whoever reads that kills this process.
pub(super) fn run(task: &Task, kill: Kill) -> Result<()> {
    let mut feed = Feed::start(task)?;
    feed.ready()?;
    let own = [std::process::id()];
    let memory_before = machine::memory(&own);
    let mut store = match kill {
        Kill::Behind => stores::open_unsealed(&task.dir, task.tuning)?,
        Kill::AtWork | Kill::Logged => stores::open(task.kind, &task.dir, task.tuning)?,
    };
    loop {
        store.append(&feed.next()?)?;
        let is_at_rest = kill != Kill::AtWork && feed.known.events >= kill.after(task.events);
        if is_at_rest && store.server().is_none() {
            figures::count(&kill.figure("memory"), machine::memory(&own).saturating_sub(memory_before));
        }
        figures::count(&kill.acknowledged(), feed.known.events);
        while is_at_rest {
            std::thread::park();
        }
    }
}

pub(super) fn reopen(task: &Task, kill: Kill) -> Result<()> {
    let start = Instant::now();
    let store = stores::open(task.kind, &task.dir, task.tuning)?;
    figures::seconds(&kill.figure("open_s"), start.elapsed());
    if let Some(events) = store.from_log() {
        figures::count(&kill.figure("from_log"), events);
    }
    figures::count(&kill.found(), store.reader()?.events()?);
    store.close()
}
