//! fjall 3, a row a key: instance, client, time and order of arrival in the key, the rest in the value. A question that
//! isn't about one client walks all keys.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tracemq_model::{Event, InstanceId, Order, Pattern, Reason, Subject, TimeMs, TimeRange, TracePage, TraceQuery};
use tracemq_store::Batch;

use super::row::{Row, address_bytes, reason_number};
use super::{CACHE_MIB, MINUTE_MS, NAMES_MAX, Reader, Store};
use crate::generator::INSTANCE;

const CONNECTION: usize = 16;
const KINDS: usize = 3;
const PORT: usize = 2;

pub(super) struct Fjall {
    database: Database,
    events: Keyspace,
    arrived: u64,
}

impl Fjall {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let database = Database::builder(dir).cache_size(u64::from(CACHE_MIB) << 20).open()?;
        let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
        Ok(Self { database, events, arrived: 0 })
    }
}

impl Store for Fjall {
    fn append(&mut self, batch: &Batch) -> Result<()> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        for event in &batch.events {
            self.arrived += 1;
            let row = Row::of(event)?;
            let mut key = client_prefix(&event.instance, &row.client);
            push_time(row.time, &mut key);
            key.extend_from_slice(&self.arrived.to_be_bytes());
            writes.insert(&self.events, key, value_of(&row)?);
        }
        Ok(writes.commit()?)
    }

    fn tidy(&mut self) -> Result<()> {
        Ok(()) // it merges by itself
    }

    fn is_busy(&self) -> bool {
        self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        Ok(Box::new(FjallReader { events: self.events.clone() }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

fn client_prefix(instance: &InstanceId, client: &str) -> Vec<u8> {
    [instance.as_str().as_bytes(), b"\0", client.as_bytes(), b"\0"].concat()
}

/// Such that bytes are in the order of time.
fn push_time(time: i64, key: &mut Vec<u8>) {
    key.extend_from_slice(&(time.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

fn value_of(row: &Row) -> Result<Vec<u8>> {
    let mut value = row.connection.clone();
    value.extend([u8::try_from(row.action)?, u8::try_from(row.reason)?, u8::try_from(row.provenance)?]);
    value.extend(u16::try_from(row.port)?.to_be_bytes());
    value.push(u8::try_from(row.address.len())?);
    value.extend(&row.address);
    value.extend(row.details.as_deref().unwrap_or_default());
    Ok(value)
}

/// A row where it lies.
struct Parts<'a> {
    instance: &'a str,
    client: &'a str,
    time: i64,
    connection: &'a [u8],
    /// Action, reason, provenance.
    kinds: [u8; KINDS],
    port: u16,
    address: &'a [u8],
    details: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(key: &'a [u8], value: &'a [u8]) -> Result<Self> {
        const SHORT: &str = "a row that is too short";
        let (names, rest) = key.split_at_checked(key.len().saturating_sub(16)).context(SHORT)?;
        let (time, _) = rest.split_first_chunk::<8>().context(SHORT)?;
        let (instance, client) = str::from_utf8(names)?.trim_end_matches('\0').split_once('\0').context(SHORT)?;
        let (connection, value) = value.split_at_checked(CONNECTION).context(SHORT)?;
        let (kinds, value) = value.split_first_chunk::<KINDS>().context(SHORT)?;
        let (port, value) = value.split_first_chunk::<PORT>().context(SHORT)?;
        let (length, value) = value.split_first().context(SHORT)?;
        let (address, details) = value.split_at_checked(usize::from(*length)).context(SHORT)?;
        let time = (u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed();
        let port = u16::from_be_bytes(*port);
        Ok(Self { instance, client, time, connection, kinds: *kinds, port, address, details })
    }

    fn row(&self) -> Row {
        let [action, reason, provenance] = self.kinds.map(i16::from);
        Row {
            instance: self.instance.to_owned(),
            client: self.client.to_owned(),
            time: self.time,
            connection: self.connection.to_vec(),
            action,
            reason,
            provenance,
            address: self.address.to_vec(),
            port: self.port.into(),
            details: (!self.details.is_empty()).then(|| self.details.to_vec()),
        }
    }

    fn reason(&self) -> i16 {
        let [_, reason, _] = self.kinds;
        reason.into()
    }
}

struct FjallReader {
    events: Keyspace,
}

impl FjallReader {
    fn each(&self, mut visit: impl FnMut(&Parts<'_>)) -> Result<()> {
        for guard in self.events.iter() {
            let (key, value) = guard.into_inner()?;
            visit(&Parts::read(&key, &value)?);
        }
        Ok(())
    }
}

impl Reader for FjallReader {
    fn events(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.events.len()?)?)
    }

    fn page(&mut self, query: &TraceQuery) -> Result<TracePage> {
        let Subject::Client(client) = &query.subject else { bail!("only clients are asked for") };
        let bound = |time: TimeMs, behind: u8| {
            let mut key = client_prefix(&query.instance, client.as_str());
            push_time(time.0, &mut key);
            key.extend([behind; 8]);
            key
        };
        let range = bound(query.range.from, 0)..=bound(query.range.to, 0xff);
        let total = u64::try_from(self.events.range(range.clone()).count())?;
        let (skip, rows) = (usize::try_from(query.offset)?, self.events.range(range));
        let read = |guard: fjall::Guard| -> Result<Event> {
            let (key, value) = guard.into_inner()?;
            Parts::read(&key, &value)?.row().event()
        };
        let events = match query.order {
            Order::OldestFirst => rows.skip(skip).take(query.limit).map(read).collect::<Result<_>>()?,
            Order::NewestFirst => rows.rev().skip(skip).take(query.limit).map(read).collect::<Result<_>>()?,
        };
        Ok(TracePage { total, events, gaps: Vec::new() })
    }

    fn by_minute(&mut self, range: TimeRange) -> Result<u64> {
        let mut counts = HashSet::new();
        self.each(|row| {
            if range.contains(TimeMs(row.time)) {
                counts.insert((row.time / i64::from(MINUTE_MS), row.kinds));
            }
        })?;
        Ok(u64::try_from(counts.len())?)
    }

    fn by_address(&mut self, address: IpAddr, reasons: &[Reason]) -> Result<u64> {
        let (wanted, mut events) = (address_bytes(address), 0);
        let reasons = reasons.iter().map(|reason| reason_number(*reason)).collect::<Result<Vec<_>>>()?;
        let is_for = |reason| reasons.is_empty() || reasons.contains(&reason);
        self.each(|row| events += u64::from(row.address == wanted && is_for(row.reason())))?;
        Ok(events)
    }

    fn clients(&mut self, range: TimeRange, reasons: &[Reason]) -> Result<u64> {
        let reasons = reasons.iter().map(|reason| reason_number(*reason)).collect::<Result<Vec<_>>>()?;
        // All rows of a client come one after the other.
        let (mut clients, mut last) = (0, String::new());
        self.each(|row| {
            let is_wanted = reasons.is_empty() || reasons.contains(&row.reason());
            if is_wanted && range.contains(TimeMs(row.time)) && row.client != last {
                clients += 1;
                row.client.clone_into(&mut last);
            }
        })?;
        Ok(clients)
    }

    fn names(&mut self, pattern: &Pattern) -> Result<u64> {
        let (prefix, part) = match pattern {
            Pattern::Prefix(prefix) => (prefix.as_str(), ""),
            Pattern::Substring(part) => ("", part.as_str()),
            Pattern::All | Pattern::Glob(_) | Pattern::Fuzzy(_) => bail!("not asked for"),
        };
        let mut names: HashSet<String> = HashSet::new();
        for guard in self.events.prefix([INSTANCE.as_bytes(), b"\0", prefix.as_bytes()].concat()) {
            let (key, value) = guard.into_inner()?;
            let client = Parts::read(&key, &value)?.client;
            if client.contains(part) && !names.contains(client) {
                names.insert(client.to_owned());
            }
            if names.len() == NAMES_MAX {
                break;
            }
        }
        Ok(u64::try_from(names.len())?)
    }
}
