//! Appends until the process is killed, and opens what is left.

use std::time::Instant;

use anyhow::Result;

use super::Task;
use super::ingest::Feed;
use crate::{figures, stores};

/// Says after each batch how many events are acknowledged; whoever reads that kills this process.
pub(super) fn run(task: &Task) -> Result<()> {
    let mut feed = Feed::start(task)?;
    let mut store = stores::open(task.kind, &task.dir)?;
    loop {
        store.append(&feed.next()?)?;
        figures::count(ACKNOWLEDGED, feed.known.events);
    }
}

pub(crate) const ACKNOWLEDGED: &str = "killed.acknowledged";

pub(super) fn reopen(task: &Task) -> Result<()> {
    let start = Instant::now();
    let store = stores::open(task.kind, &task.dir)?;
    figures::seconds("open.killed_s", start.elapsed());
    figures::count("killed.found", store.reader()?.events()?);
    store.close()
}
