//! What is on record: connects and ends of many clients, interleaved, written straight into a store.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, InstanceId, Order, Provenance, Reason, Subject, TimeMs, TimeRange,
    TraceQuery,
};
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore};

use crate::server;

/// The instance that a server makes when its configuration names none.
pub(super) const INSTANCE: &str = "mqtt-local";

const BATCH: u64 = 5_000;
const DAY_MS: u64 = 86_400_000;
/// How long it all took.
const SPAN_MS: u64 = 10 * DAY_MS;
const PAGES: u64 = 20_000;

pub(crate) struct History {
    dir: PathBuf,
    clients: u64,
    pub(super) range: TimeRange,
    pub(super) events_a_client: u64,
    pub(super) segments: usize,
}

impl History {
    /// `events` of `clients`, each of whom has as many; then nothing for the time of `leisure`.
    pub(super) fn write(data_dir: &Path, events: u64, clients: u64, leisure: Duration) -> anyhow::Result<Self> {
        ensure!(clients > 0 && events >= 2 * clients, "at least one client, with two events each");
        let connections = events / clients / 2;
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let begin = now - i64::try_from(SPAN_MS)?;
        let range = TimeRange { from: TimeMs(begin), to: TimeMs(now + 3_600_000) };
        let mut history =
            Self { dir: data_dir.join("events"), clients, range, events_a_client: connections * 2, segments: 0 };
        std::fs::create_dir_all(data_dir)?;
        let (store, _) = Segments::open(&history.dir, SegmentSettings::default())?;
        let (instance, peer) = (InstanceId::new(INSTANCE)?, "192.0.2.7:40000".parse()?);
        let all = connections * clients * 2;
        let mut batch = Batch::default();
        for n in 0..all {
            // Everybody connects, then everybody's connection ends, and so on.
            let (round, client) = (n / clients, n % clients);
            let connection = round / 2 * clients + client;
            let time = TimeMs(begin + i64::try_from(u128::from(n) * u128::from(SPAN_MS) / u128::from(all))?);
            let (action, reason) = match (round % 2, client % 3) {
                (0, _) => (Action::Connect, Reason::Accepted),
                (_, 0) => (Action::Disconnect, Reason::ClientDisconnected),
                (_, 1) => (Action::Close, Reason::KeepAliveTimeout),
                _ => (Action::Close, Reason::ServerShutdown),
            };
            batch.events.push(Event {
                time,
                instance: instance.clone(),
                connection: ConnectionId((u128::from(begin.unsigned_abs()) << 80) | u128::from(connection)),
                action,
                reason,
                provenance: Provenance::Observed,
                client: Some(history.client(client)?),
                peer: Some(peer),
                details: Details::default(),
            });
            if batch.events.len() as u64 == BATCH || n + 1 == all {
                store.append(&batch)?;
                batch.events.clear();
            }
        }
        store.settle(&mut |_| ())?;
        std::thread::sleep(leisure);
        store.settle(&mut |_| ())?;
        store.close();
        let files = std::fs::read_dir(&history.dir)?.flatten();
        history.segments = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "segment")).count();
        Ok(history)
    }

    pub(super) fn client(&self, number: u64) -> anyhow::Result<ClientId> {
        Ok(ClientId::new(&format!("GID_fleet@@@device-{:08}", number % self.clients))?)
    }

    /// Processor time of a page of `limit` events from the store alone, of clients at random, in microseconds.
    pub(super) fn page_us(&self, limit: u64) -> anyhow::Result<f64> {
        let (store, _) = Segments::open(&self.dir, SegmentSettings::default())?;
        let mut random = Random(1);
        let mut pages = || {
            for _ in 0..PAGES {
                let page = store.page(&TraceQuery {
                    instance: InstanceId::new(INSTANCE)?,
                    subject: Subject::Client(self.client(random.next())?),
                    range: self.range,
                    order: Order::NewestFirst,
                    offset: 0,
                    limit: usize::try_from(limit)?,
                })?;
                ensure!(
                    page.total == self.events_a_client,
                    "{} events instead of {}",
                    page.total,
                    self.events_a_client
                );
            }
            Ok(())
        };
        pages()?; // what it reads for the first time
        let before = server::own_cpu_ms()?;
        pages()?;
        let took = server::own_cpu_ms()? - before;
        store.close();
        Ok(took * 1_000.0 / PAGES as f64)
    }
}

/// The same numbers in each run (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
