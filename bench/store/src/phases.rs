//! What is measured, in processes of its own each, so that memory and bytes written are the store's alone.

mod crash;
mod floor;
mod ingest;
mod query;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tracemq_model::{InstanceId, Order, Reason, Subject, TimeMs, TimeRange, TraceQuery};

use crate::generator::{self, Fleet, INSTANCE};
use crate::random::Random;
use crate::stores::{Kind, Reader, Tuning};

pub(crate) use crash::Kill;
pub(crate) use ingest::generator_rate;

/// Which part of a store's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Append, settle, append while somebody asks
    Ingest,
    /// Open what `Ingest` left, and ask
    Query,
    /// Append until killed
    Crash(Kill),
    /// Open what `Crash` left
    Reopen(Kill),
    /// The bare cost of what no store can do without
    Floor,
}

/// What one process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) phase: Phase,
    pub(crate) kind: Kind,
    pub(crate) dir: PathBuf,
    pub(crate) tuning: Tuning,
    pub(crate) fleet: Fleet,
    pub(crate) events: u64,
    pub(crate) batch: usize,
    pub(crate) known: Known,
}

/// What `Ingest` knows of what it has appended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) events: u64,
    pub(crate) events_of_giant: u64,
    /// The time of the newest event.
    pub(crate) last: TimeMs,
    /// From which some event came.
    pub(crate) address: Option<std::net::IpAddr>,
}

/// Does it, and tells the figures on stdout.
pub(crate) fn work(task: &Task) -> Result<()> {
    match task.phase {
        Phase::Ingest => ingest::run(task),
        Phase::Query => query::run(task),
        Phase::Crash(kill) => crash::run(task, kill),
        Phase::Floor => floor::run(task),
        Phase::Reopen(kill) => crash::reopen(task, kill),
    }
}

/// Rows on a page.
const PAGE: usize = 100;
const DAY_MS: i64 = 86_400_000;
/// Ends that neither client nor server asked for.
const DROPPED: [Reason; 2] = [Reason::KeepAliveTimeout, Reason::ConnectionReset];
/// Part of so few names that all must be seen.
const RARE: &str = "0007734";

/// As a chart asks: from the beginning of a minute.
fn whole_minutes(range: TimeRange) -> TimeRange {
    TimeRange { from: TimeMs(range.from.0.div_euclid(60_000) * 60_000), to: range.to }
}

/// A page of a client, newest first, as a person would ask.
fn page_of(client: usize, range: TimeRange, offset: u64) -> Result<TraceQuery> {
    Ok(TraceQuery {
        instance: InstanceId::new(INSTANCE)?,
        subject: Subject::Client(generator::client_name(client).context("no such client")?),
        range,
        order: Order::NewestFirst,
        offset,
        limit: PAGE,
    })
}

/// A page of any client of the fleet: most have few events.
fn page_of_anybody(fleet: Fleet, random: &mut Random, range: TimeRange) -> Result<TraceQuery> {
    page_of(usize::try_from(random.below(fleet.clients.into()))?, range, 0)
}

/// How long `reader` takes for a page.
fn time_page(reader: &mut dyn Reader, query: &TraceQuery) -> Result<Duration> {
    let start = Instant::now();
    reader.page(query)?;
    Ok(start.elapsed())
}
