//! The stores that are measured, behind one trait each for writing and for asking.

mod clickhouse;
mod fjall;
mod postgres;
mod row;
mod segments;
mod sqlite;

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tracemq_model::{Pattern, Reason, TimeRange, TracePage, TraceQuery};
use tracemq_store::Batch;

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// TraceMQ's own
    Segments,
    /// SQLite: WAL, synchronous=FULL
    Sqlite,
    /// PostgreSQL, found on this machine: COPY, synchronous_commit=on
    Postgres,
    /// fjall 3: a row a key, SyncAll a batch
    Fjall,
    /// ClickHouse as the Python package chdb has it: MergeTree, fsync_after_insert
    Clickhouse,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Fjall => "fjall",
            Self::Clickhouse => "clickhouse",
        }
    }

    /// Peers are slower, and get fewer events.
    pub(crate) fn is_peer(self) -> bool {
        self != Self::Segments
    }
}

/// A store that is open for writing.
pub(crate) trait Store {
    /// Takes the batch; it is durable when this returns.
    fn append(&mut self, batch: &Batch) -> Result<()>;

    /// Asks for what the store would do at leisure (vacuum, checkpoint) when it would not do it within seconds by itself.
    fn tidy(&mut self) -> Result<()>;

    /// Whether the store knows of background work that is under way.
    fn is_busy(&self) -> bool {
        false
    }

    /// Someone who asks, and may do so on another thread.
    fn reader(&self) -> Result<Box<dyn Reader>>;

    /// The process that the store lives in, when it isn't this one.
    fn server(&self) -> Option<u32> {
        None
    }

    /// Bytes on disk without what only waits to be overwritten; none when there is no such.
    fn live_bytes(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// How many events were read from its log when it was opened, if it tells.
    fn from_log(&self) -> Option<u64> {
        None
    }

    /// A clean stop.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Asks a store. All stores answer the same with the same events.
pub(crate) trait Reader: Send {
    /// How many events there are.
    fn events(&mut self) -> Result<u64>;

    /// A page, with the exact number of all that match.
    fn page(&mut self, query: &TraceQuery) -> Result<TracePage>;

    /// How many counts it takes to tell the events of `range` by minute, action and reason.
    fn by_minute(&mut self, range: TimeRange) -> Result<u64>;

    /// How many events came from `address`, ever, for one of `reasons` when there are any; without the help of an index on them.
    fn by_address(&mut self, address: IpAddr, reasons: &[Reason]) -> Result<u64>;

    /// How many clients have events in `range`, or have one for one of `reasons` when there are any.
    fn clients(&mut self, range: TimeRange, reasons: &[Reason]) -> Result<u64>;

    /// The first hundred names that match.
    fn names(&mut self, pattern: &Pattern) -> Result<u64>;
}

/// Other bounds of our store than those that it has by default, to try them.
#[derive(Clone, Copy, Debug, Default, clap::Args, Serialize, Deserialize)]
pub(crate) struct Tuning {
    /// Events in a memtable of our store, when not as many as by default
    #[arg(long)]
    memtable_events: Option<usize>,
    /// Segments of a size that our store merges into one, when not as many as by default
    #[arg(long)]
    merge_segments: Option<usize>,
}

/// Opens the store in `dir`, making it when it isn't there.
pub(crate) fn open(kind: Kind, dir: &Path, tuning: Tuning) -> Result<Box<dyn Store>> {
    Ok(match kind {
        Kind::Segments => Box::new(segments::Segments::open(dir, tuning)?),
        Kind::Sqlite => Box::new(sqlite::Sqlite::open(dir)?),
        Kind::Postgres => Box::new(postgres::Postgres::open(dir)?),
        Kind::Fjall => Box::new(fjall::Fjall::open(dir)?),
        Kind::Clickhouse => Box::new(clickhouse::Clickhouse::open(dir)?),
    })
}

/// Our own store as it is when the sealing is behind by all that it may be: three memtables stand in the log.
pub(crate) fn open_unsealed(dir: &Path, tuning: Tuning) -> Result<Box<dyn Store>> {
    Ok(Box::new(segments::Segments::open_unsealed(dir, tuning)?))
}

/// A condition on the reason, as SQL.
fn only(reasons: &[Reason]) -> Result<String> {
    let numbers = reasons.iter().map(|reason| Ok(row::reason_number(*reason)?.to_string()));
    let numbers = numbers.collect::<Result<Vec<_>>>()?;
    Ok(if reasons.is_empty() { String::new() } else { format!("AND reason IN ({})", numbers.join(", ")) })
}

/// Names in one answer.
const NAMES_MAX: usize = 100;
/// Memory that a peer may use as its cache.
const CACHE_MIB: u32 = 256;
const MINUTE_MS: u32 = 60_000;
