//! The tables, and how a batch gets into them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database as Redb, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracemq_broker::{Kept, KeptMessage};
use tracemq_model::MessageId;

use crate::batch::Batch;

const FORMAT: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Session number: a session.
const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
/// Session number and place: a message in the session.
const ENTRIES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("entries");
/// Session number and packet identifier: a QoS 2 message of the client that is not released.
const RECEIVED: TableDefinition<'_, (u64, u16), ()> = TableDefinition::new("received");
/// Session number and filter of a subscription: how far what is retained for it was handed out.
const OWED: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("owed");
/// Message number: a message.
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
/// Message number: the id by which its way is told. Only of those that have one. A version that does not know this table leaves rows in
/// it whose messages are gone: a number that comes again is set anew.
const TRACES: TableDefinition<'_, u64, u128> = TableDefinition::new("traces");
/// Topic: the number of its retained message.
const RETAINED: TableDefinition<'_, &str, u64> = TableDefinition::new("retained");
/// Number: a will.
const WILLS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("wills");

/// Why sessions and retained messages can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A newer version of this program wrote the file.
    #[error("{path} has format {found}, and this version knows {FORMAT}: a newer one wrote it")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The database can't be read or written.
    #[error("can't use {path}, which keeps sessions and retained messages")]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// Something in it is not what was written.
    #[error("{path}: {what} can't be read; move the file away to begin without sessions and retained messages")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// The operating system refuses.
    #[error("can't {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
}

/// Opens the file, made when it is missing.
pub(crate) type Open = Box<dyn Fn() -> Result<Redb, redb::DatabaseError> + Send>;

pub(crate) struct Database {
    path: PathBuf,
    open: Open,
    /// None after a failed write: the database takes nothing more until it is opened anew.
    redb: Option<Redb>,
    /// Which message each entry and each topic refers to.
    entries: HashMap<(u64, u64), u64>,
    retained: HashMap<String, u64>,
    /// How many refer to each message.
    references: HashMap<u64, usize>,
    /// Whether any message has an id, or had: else that table is left alone.
    has_traces: bool,
}

/// An error of the database, of whatever kind.
fn any(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

impl Database {
    /// Opens the file at `path`, and reads all.
    pub(crate) fn open(path: &Path) -> Result<(Self, Kept), KeepError> {
        let of_file = path.to_owned();
        Self::open_by(path, Box::new(move || Redb::create(&of_file)))
    }

    pub(crate) fn open_by(path: &Path, open: Open) -> Result<(Self, Kept), KeepError> {
        let failed = |source| KeepError::Database { path: path.to_owned(), source };
        let redb = open().map_err(|error| failed(any(error)))?;
        let found = prepare(&redb).map_err(failed)?;
        if found > FORMAT {
            return Err(KeepError::NewerFormat { path: path.to_owned(), found });
        }
        let mut kept = Kept::default();
        read_all(&redb, &mut kept).map_err(|fault| match fault {
            Fault::Database(source) => failed(source),
            Fault::Damaged(what) => KeepError::Damaged { path: path.to_owned(), what },
        })?;
        let mut database = Self {
            path: path.to_owned(),
            open,
            redb: Some(redb),
            entries: HashMap::new(),
            retained: HashMap::new(),
            references: HashMap::new(),
            has_traces: false,
        };
        database.has_traces = kept.messages.iter().any(|(_, message)| message.trace.is_some());
        database.note(&kept);
        Ok((database, kept))
    }

    fn note(&mut self, kept: &Kept) {
        for (session, place, entry) in &kept.entries {
            self.entries.insert((*session, *place), entry.message);
            *self.references.entry(entry.message).or_default() += 1;
        }
        for (topic, message) in &kept.retained {
            self.retained.insert(topic.clone(), *message);
            *self.references.entry(*message).or_default() += 1;
        }
    }

    /// Makes the batch durable, as a whole or not at all.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), KeepError> {
        self.has_traces |= batch.messages.values().any(|message| message.trace.is_some());
        let written = self.redb.take().map_or_else(|| (self.open)().map_err(any), Ok).and_then(|redb| {
            let changed = self.write(&redb, batch)?;
            self.redb = Some(redb);
            Ok(changed)
        });
        let changed = written.map_err(|source| KeepError::Database { path: self.path.clone(), source })?;
        for (key, message) in changed.entries {
            match message {
                Some(message) => self.entries.insert(key, message),
                None => self.entries.remove(&key),
            };
        }
        for (topic, message) in changed.retained {
            match message {
                Some(message) => self.retained.insert(topic, message),
                None => self.retained.remove(&topic),
            };
        }
        for (message, count) in changed.references {
            if count == 0 {
                self.references.remove(&message);
            } else {
                self.references.insert(message, count);
            }
        }
        Ok(())
    }

    fn write(&self, redb: &Redb, batch: &Batch) -> Result<Changed, Box<redb::Error>> {
        let mut changed = Changed::default();
        let write = redb.begin_write().map_err(any)?;
        self.write_sessions(&write, batch, &mut changed)?;
        self.write_entries(&write, batch, &mut changed)?;
        write_wills(&write, batch)?;
        write_owed(&write, batch)?;
        {
            let mut received = write.open_table(RECEIVED).map_err(any)?;
            for (key, is_there) in &batch.received {
                if *is_there {
                    received.insert(key, ()).map_err(any)?;
                } else {
                    received.remove(key).map_err(any)?;
                }
            }
        }
        {
            let mut retained = write.open_table(RETAINED).map_err(any)?;
            for (topic, message) in &batch.retained {
                if let Some(old) = self.retained.get(topic) {
                    self.refer(&mut changed, *old, false);
                }
                match message {
                    Some(message) => {
                        self.refer(&mut changed, *message, true);
                        retained.insert(topic.as_str(), message).map_err(any)?;
                    }
                    None => {
                        retained.remove(topic.as_str()).map_err(any)?;
                    }
                }
                changed.retained.push((topic.clone(), *message));
            }
        }
        {
            let mut messages = write.open_table(MESSAGES).map_err(any)?;
            for (number, count) in &changed.references {
                match batch.messages.get(number) {
                    _ if *count == 0 => {
                        messages.remove(number).map_err(any)?;
                    }
                    Some(message) => {
                        messages.insert(number, encode(&**message).as_slice()).map_err(any)?;
                    }
                    None => {}
                }
            }
        }
        if self.has_traces {
            let mut traces = write.open_table(TRACES).map_err(any)?;
            for (number, count) in &changed.references {
                match batch.messages.get(number) {
                    Some(message) if *count > 0 && message.trace.is_some() => {
                        let id = message.trace.map_or(0, |id| id.0);
                        traces.insert(number, id).map_err(any)?;
                    }
                    Some(_) => drop(traces.remove(number).map_err(any)?),
                    None if *count == 0 => drop(traces.remove(number).map_err(any)?),
                    None => {}
                }
            }
        }
        write.commit().map_err(any)?;
        Ok(changed)
    }

    fn write_sessions(
        &self,
        write: &WriteTransaction,
        batch: &Batch,
        changed: &mut Changed,
    ) -> Result<(), Box<redb::Error>> {
        let mut sessions = write.open_table(SESSIONS).map_err(any)?;
        let mut entries = write.open_table(ENTRIES).map_err(any)?;
        let mut received = write.open_table(RECEIVED).map_err(any)?;
        let mut owed = write.open_table(OWED).map_err(any)?;
        for (number, session) in &batch.sessions {
            if let Some(session) = session {
                sessions.insert(number, encode(session).as_slice()).map_err(any)?;
                continue;
            }
            sessions.remove(number).map_err(any)?;
            let left: Vec<(u64, u64)> = entries
                .range((*number, 0)..=(*number, u64::MAX))
                .map_err(any)?
                .map(|row| row.map(|(key, _)| key.value()))
                .collect::<Result<_, _>>()
                .map_err(any)?;
            for key in left {
                entries.remove(key).map_err(any)?;
                if let Some(message) = self.entries.get(&key) {
                    self.refer(changed, *message, false);
                }
                changed.entries.push((key, None));
            }
            received.retain_in((*number, 0)..=(*number, u16::MAX), |_, ()| false).map_err(any)?;
            owed.retain_in((*number, "")..(number.saturating_add(1), ""), |_, _| false).map_err(any)?;
        }
        Ok(())
    }

    fn write_entries(
        &self,
        write: &WriteTransaction,
        batch: &Batch,
        changed: &mut Changed,
    ) -> Result<(), Box<redb::Error>> {
        let mut entries = write.open_table(ENTRIES).map_err(any)?;
        for (key, entry) in &batch.entries {
            if let Some(message) = self.entries.get(key) {
                self.refer(changed, *message, false);
            }
            match entry {
                Some(entry) => {
                    self.refer(changed, entry.message, true);
                    entries.insert(key, encode(entry).as_slice()).map_err(any)?;
                }
                // What came and went was never written.
                None if !self.entries.contains_key(key) => continue,
                None => {
                    entries.remove(key).map_err(any)?;
                }
            }
            changed.entries.push((*key, entry.as_ref().map(|entry| entry.message)));
        }
        Ok(())
    }

    /// One more, or one less, refers to `message`.
    fn refer(&self, changed: &mut Changed, message: u64, more: bool) {
        let known = self.references.get(&message).copied().unwrap_or(0);
        let count = changed.references.entry(message).or_insert(known);
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }
}

fn write_wills(write: &WriteTransaction, batch: &Batch) -> Result<(), Box<redb::Error>> {
    if batch.wills.is_empty() {
        return Ok(());
    }
    let mut wills = write.open_table(WILLS).map_err(any)?;
    for (number, will) in &batch.wills {
        match will {
            Some(will) => wills.insert(number, encode(will).as_slice()).map_err(any)?.map(drop),
            None => wills.remove(number).map_err(any)?.map(drop),
        };
    }
    Ok(())
}

fn write_owed(write: &WriteTransaction, batch: &Batch) -> Result<(), Box<redb::Error>> {
    if batch.owed.is_empty() {
        return Ok(());
    }
    let mut table = write.open_table(OWED).map_err(any)?;
    for ((session, filter), owed) in &batch.owed {
        let key = (*session, filter.as_str());
        match owed {
            Some(owed) => table.insert(key, encode(owed).as_slice()).map_err(any)?.map(drop),
            None => table.remove(key).map_err(any)?.map(drop),
        };
    }
    Ok(())
}

/// Makes what is missing, and gives the format.
fn prepare(redb: &Redb) -> Result<u64, Box<redb::Error>> {
    let write = redb.begin_write().map_err(any)?;
    let found = {
        let mut meta = write.open_table(META).map_err(any)?;
        let found = meta.get("format").map_err(any)?.map(|format| format.value());
        match found {
            Some(found) => found,
            None => {
                meta.insert("format", FORMAT).map_err(any)?;
                FORMAT
            }
        }
    };
    if found <= FORMAT {
        write.open_table(SESSIONS).map_err(any)?;
        write.open_table(ENTRIES).map_err(any)?;
        write.open_table(RECEIVED).map_err(any)?;
        write.open_table(OWED).map_err(any)?;
        write.open_table(MESSAGES).map_err(any)?;
        write.open_table(TRACES).map_err(any)?;
        write.open_table(RETAINED).map_err(any)?;
        write.open_table(WILLS).map_err(any)?;
        write.commit().map_err(any)?;
    }
    Ok(found)
}

fn read_all(redb: &Redb, kept: &mut Kept) -> Result<(), Fault> {
    let read = redb.begin_read()?;
    for row in read.open_table(SESSIONS)?.iter()? {
        let (number, session) = row?;
        kept.sessions.push((number.value(), decode(session.value(), "a session")?));
    }
    for row in read.open_table(ENTRIES)?.iter()? {
        let (key, entry) = row?;
        let (session, place) = key.value();
        kept.entries.push((session, place, decode(entry.value(), "a queued message")?));
    }
    for row in read.open_table(RECEIVED)?.iter()? {
        kept.received.push(row?.0.value());
    }
    for row in read.open_table(OWED)?.iter()? {
        let (key, owed) = row?;
        let (session, filter) = key.value();
        kept.owed.push((session, filter.to_owned(), decode(owed.value(), "how far a subscription is")?));
    }
    let traces = read.open_table(TRACES)?;
    for row in read.open_table(MESSAGES)?.iter()? {
        let (number, message) = row?;
        let mut message: KeptMessage = decode(message.value(), "a message")?;
        message.trace = traces.get(number.value())?.map(|id| MessageId(id.value()));
        kept.messages.push((number.value(), Arc::new(message)));
    }
    for row in read.open_table(RETAINED)?.iter()? {
        let (topic, message) = row?;
        kept.retained.push((topic.value().to_owned(), message.value()));
    }
    for row in read.open_table(WILLS)?.iter()? {
        let (number, will) = row?;
        kept.wills.push((number.value(), decode(will.value(), "a will")?));
    }
    Ok(())
}

/// What a transaction changed of what is known in memory.
#[derive(Default)]
struct Changed {
    entries: Vec<((u64, u64), Option<u64>)>,
    retained: Vec<(String, Option<u64>)>,
    references: HashMap<u64, usize>,
}

enum Fault {
    Database(Box<redb::Error>),
    Damaged(&'static str),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Database(any(error))
    }
}

/// The database checks what it reads; what can't be decoded was not written by this format.
fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Fault> {
    postcard::from_bytes(bytes).map_err(|_| Fault::Damaged(what))
}

/// Records hold nothing that can't be encoded.
fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).unwrap_or_default()
}
