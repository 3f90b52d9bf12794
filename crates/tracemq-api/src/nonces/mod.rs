//! Nonces of signatures that were taken: a signed request is good once.
//!
//! A nonce is remembered for 31 minutes, longer than any timestamp is valid. It is never forgotten to make room: at the
//! bound calls are refused. When nonces are forgotten by age, the spans of their timestamps are kept, and a request
//! from within one counts as expired: a clock that steps back revives nothing. While it runs on, those timestamps are
//! too old anyway.
//!
//! With a file, nonces outlive the process: each is written before its call is answered, and synced about once a
//! second. What a loss of power can lose is thus about the last second of nonces: those requests could be made once
//! more within 15 minutes. When the file can't be written, calls go on with what is in memory, and the log says so.

mod file;
mod forgotten;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracemq_model::TimeMs;

use file::{NonceFile, Record};
use forgotten::{Forgotten, Span};

/// How long a nonce is remembered: 15 minutes before, 15 after, and one for good measure.
pub(crate) const REMEMBERED_MS: i64 = 31 * 60 * 1_000;

/// A clock may step back by this much without a look at all that is remembered.
const STEP_TAKEN_MS: i64 = 60_000;

/// How often the file is synced.
const SYNC_PERIOD: Duration = Duration::from_secs(1);

/// Why a nonce is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NonceRefusal {
    /// It was taken before.
    Used,
    /// Its timestamp is one of those of forgotten nonces, so that it may be one of them.
    Expired,
    /// As many are remembered as may be.
    Full,
}

/// A key's nonce, hashed: what is remembered has one length whatever callers send.
pub(crate) type Hash = [u8; 16];

/// The hash of `nonce` as sent by the key `key_id`.
pub(crate) fn hash(key_id: &str, nonce: &str) -> Hash {
    // No key id holds a NUL, so that no two pairs are one text.
    let digest: [u8; 32] = Sha256::new().chain_update(key_id).chain_update([0]).chain_update(nonce).finalize().into();
    *digest.first_chunk().unwrap_or(&[0; 16])
}

#[derive(Clone, Copy)]
struct Entry {
    hash: Hash,
    timestamp: TimeMs,
    received: TimeMs,
}

struct Memory {
    known: HashSet<Hash>,
    /// In order of arrival.
    entries: VecDeque<Entry>,
    forgotten: Forgotten,
    latest: TimeMs,
    /// The log has been told that calls are refused for what was forgotten.
    warned: bool,
    file: Option<NonceFile>,
}

/// The nonces that were taken.
pub(crate) struct Nonces {
    max: usize,
    memory: Mutex<Memory>,
}

impl Nonces {
    /// Those of `path`, if one is given, and none else.
    pub(crate) fn open(path: Option<&Path>, max: usize, now: TimeMs) -> io::Result<Arc<Self>> {
        let mut memory = Memory::new(now);
        let Some(path) = path else { return Ok(Arc::new(Self { max, memory: Mutex::new(memory) })) };
        for record in file::read_all(path)? {
            match record {
                Record::Forgotten(span) => memory.forgotten.add(span, now),
                Record::Taken { hash, timestamp, received } => {
                    if memory.known.insert(hash) {
                        memory.entries.push_back(Entry { hash, timestamp, received: received.min(now) });
                    }
                }
            }
        }
        memory.forget(now);
        memory.file = Some(NonceFile::open(path, now, memory.records())?);
        let nonces = Arc::new(Self { max, memory: Mutex::new(memory) });
        sync_each_second(Arc::downgrade(&nonces))?;
        Ok(nonces)
    }

    /// Whether the nonce could be taken; takes nothing.
    pub(crate) fn check(&self, hash: &Hash, timestamp: TimeMs, now: TimeMs) -> Result<(), NonceRefusal> {
        self.settled(now).check(hash, timestamp, self.max)
    }

    /// Takes the nonce, for good: in memory and in the file.
    pub(crate) fn take(&self, hash: &Hash, timestamp: TimeMs, now: TimeMs) -> Result<(), NonceRefusal> {
        let mut memory = self.settled(now);
        memory.check(hash, timestamp, self.max)?;
        memory.known.insert(*hash);
        memory.entries.push_back(Entry { hash: *hash, timestamp, received: now });
        let oldest = memory.entries.front().map_or(now, |entry| entry.received);
        let Memory { file, forgotten, .. } = &mut *memory;
        if let Some(file) = file {
            file.rotate_when_due(now, oldest, forgotten.spans());
            file.append(Record::Taken { hash: *hash, timestamp, received: now });
        }
        Ok(())
    }

    fn settled(&self, now: TimeMs) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.notice_step(now);
        memory.forget(now);
        memory
    }

    fn sync(&self) {
        let due =
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).file.as_mut().and_then(NonceFile::unsynced);
        // Outside of the lock: a slow disk must not hold up calls.
        if let Some(Err(error)) = due.map(|file| file.sync_data()) {
            tracing::warn!(%error, "can't sync the file of nonces");
        }
    }
}

impl Drop for Nonces {
    fn drop(&mut self) {
        self.sync();
    }
}

impl Memory {
    fn new(now: TimeMs) -> Self {
        Self {
            known: HashSet::new(),
            entries: VecDeque::new(),
            forgotten: Forgotten::default(),
            latest: now,
            warned: false,
            file: None,
        }
    }

    /// All there is to know, as it is written down.
    fn records(&self) -> impl Iterator<Item = Record> {
        let forgotten = self.forgotten.spans().iter().map(|span| Record::Forgotten(*span));
        forgotten.chain(self.entries.iter().map(|entry| {
            let Entry { hash, timestamp, received } = *entry;
            Record::Taken { hash, timestamp, received }
        }))
    }

    fn check(&mut self, hash: &Hash, timestamp: TimeMs, max: usize) -> Result<(), NonceRefusal> {
        if self.known.contains(hash) {
            Err(NonceRefusal::Used)
        } else if self.forgotten.contains(timestamp) {
            if !self.warned {
                self.warned = true;
                tracing::warn!(
                    timestamp = timestamp.0,
                    "the clock has stepped: signed calls are refused whose timestamps are among those of calls that \
                     were made and forgotten (said once)"
                );
            }
            Err(NonceRefusal::Expired)
        } else if self.entries.len() >= max {
            Err(NonceRefusal::Full)
        } else {
            Ok(())
        }
    }

    fn forget(&mut self, now: TimeMs) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.received.plus(REMEMBERED_MS) <= now) {
            self.known.remove(&entry.hash);
            self.forgotten.add(Span { from: entry.timestamp, to: entry.timestamp }, now);
        }
    }

    /// After a clock stepped back, what was received "later than now" counts as received now: else it would be
    /// remembered until the clock has caught up, and fill all there is.
    fn notice_step(&mut self, now: TimeMs) {
        if now.plus(STEP_TAKEN_MS) < self.latest {
            for entry in &mut self.entries {
                entry.received = entry.received.min(now);
            }
            if let Some(file) = &mut self.file {
                file.notice_step(now);
            }
        }
        self.latest = now;
    }
}

fn sync_each_second(nonces: Weak<Nonces>) -> io::Result<()> {
    let run = move || {
        loop {
            thread::sleep(SYNC_PERIOD);
            let Some(nonces) = nonces.upgrade() else { return };
            nonces.sync();
        }
    };
    thread::Builder::new().name("nonces".to_owned()).spawn(run).map(drop)
}

#[cfg(test)]
mod tests;
