//! The log, back in memtables.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tracemq_model::{Action, Event, Gap};
use tracemq_store::{Beginnings, StoreError};

use crate::SegmentSettings;
use crate::carried::{Carried, Known, Place};
use crate::memtable::Memtable;
use crate::store::orphans::InMemory;
use crate::view::Frozen;
use crate::wal::Entry;

/// Events are put into the memtable so many at a time.
const EVENTS_A_STEP: usize = 4_096;
/// So many steps may be read and not yet put in.
const STEPS_AHEAD: usize = 4;

/// What is read from the log.
enum Step {
    /// The next ones stand in this file.
    File(u64),
    Events(Vec<Event>),
    Gap(Gap),
    Erased(Vec<u8>),
}

/// Where the reader puts what it reads.
pub(super) struct Feed {
    sender: SyncSender<Step>,
    file: u64,
    pending: Vec<Event>,
}

impl Feed {
    /// The next entry of the log, which stands in `file`.
    pub(super) fn take(&mut self, file: u64, entry: Entry<'_>) {
        if file != self.file {
            self.flush();
            self.send(Step::File(file));
            self.file = file;
        }
        match entry {
            Entry::Event(event) => {
                self.pending.extend(event.to_event());
                if self.pending.len() >= EVENTS_A_STEP {
                    self.flush();
                }
            }
            Entry::Gap(gap) => self.send(Step::Gap(gap)),
            Entry::Erased { key } => {
                self.flush();
                self.send(Step::Erased(key.to_vec()));
            }
        }
    }

    fn flush(&mut self) {
        let events = std::mem::take(&mut self.pending);
        if !events.is_empty() {
            self.send(Step::Events(events));
        }
    }

    fn send(&mut self, step: Step) {
        // Whoever takes them in ends after the last one only; when it panicked, that is told when it is joined.
        let _ = self.sender.send(step);
    }
}

/// The log, back in memtables: one for each of its files.
pub(super) struct ReplayedLog {
    full: Vec<(u64, Arc<Memtable>)>,
    file: u64,
    memtable: Arc<Memtable>,
    memtable_events: usize,
    beginnings: Beginnings<(u32, u32)>,
    /// The connections that ended, when any were open before.
    ended: Option<Vec<(u128, ())>>,
    pub(super) erased: HashSet<Vec<u8>>,
}

impl ReplayedLog {
    pub(super) fn new(settings: &SegmentSettings, carried: &Carried) -> Self {
        let mut beginnings = Beginnings::default();
        for connection in carried.early() {
            beginnings.note(connection, Action::Close, (0, 0));
        }
        Self {
            full: Vec::new(),
            file: 0,
            memtable: Arc::new(Memtable::new(settings.memtable_events)),
            memtable_events: settings.memtable_events,
            beginnings,
            ended: (!carried.is_empty()).then(Vec::new),
            erased: HashSet::new(),
        }
    }

    /// Takes in what `read` feeds, on another thread, so that one core reads while another puts in.
    pub(super) fn gather<T>(&mut self, read: impl FnOnce(&mut Feed) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let (sender, steps) = sync_channel(STEPS_AHEAD);
        thread::scope(|scope| {
            scope.spawn(move || steps.into_iter().for_each(|step| self.apply(step)));
            let mut feed = Feed { sender, file: 0, pending: Vec::new() };
            let result = read(&mut feed);
            feed.flush();
            result
        })
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::File(file) => {
                if self.file != 0 {
                    let next = Arc::new(Memtable::new(self.memtable_events));
                    self.full.push((self.file, std::mem::replace(&mut self.memtable, next)));
                }
                self.file = file;
            }
            Step::Events(events) => self.put_in(&events),
            Step::Gap(gap) => self.memtable.add_gaps(&[gap]),
            Step::Erased(key) => {
                for memtable in self.full.iter().map(|(_, memtable)| memtable).chain([&self.memtable]) {
                    memtable.erase(&key);
                }
                self.erased.insert(key);
            }
        }
    }

    fn put_in(&mut self, events: &[Event]) {
        let (memtable, first) = (short(self.full.len()), short(self.memtable.len()));
        for (row, event) in (first..).zip(events) {
            self.beginnings.note(event.connection, event.action, (memtable, row));
            if let Some(ended) = self.ended.as_mut().filter(|_| event.action.is_end()) {
                ended.push((event.connection.0, ()));
            }
        }
        let rows = self.memtable.insert(events);
        self.memtable.show(rows);
    }

    /// The keys that were erased while this log was written.
    pub(super) fn erased(&self) -> &HashSet<Vec<u8>> {
        &self.erased
    }

    /// The beginnings without an end: what is left of `carried`, and the rows of the memtables.
    pub(super) fn orphans(&mut self, carried: &Carried) -> (Carried, Vec<InMemory>) {
        let begun = std::mem::take(&mut self.beginnings).into_orphans().map(|(connection, action, (memtable, row))| {
            // The memtable's number takes the place of a segment's.
            let is_connect = action == Action::Connect;
            (connection.0, Place { segment: memtable.into(), row: row.into(), is_connect })
        });
        let (mut carried, ended) = (carried.clone(), self.ended.take().unwrap_or_default());
        let (begun, _) = carried.meet(&Known::new(ended), Known::new(begun.collect()));
        let memtables = self.full.iter().map(|(_, memtable)| memtable).chain([&self.memtable]);
        let rows = (0..).zip(memtables).map(|(number, memtable)| {
            let here = begun.iter().filter(|(_, place)| place.segment == number);
            let mut rows: Vec<usize> = here.filter_map(|(_, place)| usize::try_from(place.row).ok()).collect();
            rows.sort_unstable();
            InMemory { memtable: Arc::clone(memtable), rows }
        });
        (carried, rows.filter(|part| !part.rows.is_empty()).collect())
    }

    /// The frozen ones, the active one, and its sequence, which is `first` at least. The log goes on in the file `active_log`, and
    /// its files have these lengths.
    ///
    /// A sequence is the number of the log file: from a segment's sequence a repair knows which files of the log it was made of.
    pub(super) fn memtables(
        self,
        first: u64,
        active_log: u64,
        events: usize,
        lengths: &[(u64, u64)],
    ) -> (Vec<Frozen>, Arc<Memtable>, u64) {
        let length_of = |file| lengths.iter().find(|(number, _)| *number == file).map_or(0, |(_, length)| *length);
        let mut all = self.full;
        if self.file != 0 {
            all.push((self.file, self.memtable));
        }
        let last = if all.last().is_some_and(|(file, _)| *file == active_log) { all.pop() } else { None };
        let mut next = first;
        let mut sequence_of = |log: u64| {
            let sequence = log.max(next);
            next = sequence.saturating_add(1);
            sequence
        };
        let frozen = all.into_iter().map(|(log, memtable)| Frozen {
            sequence: sequence_of(log),
            log,
            log_bytes: length_of(log),
            memtable,
        });
        let frozen: Vec<Frozen> = frozen.collect();
        let sequence = sequence_of(active_log);
        let active = last.map_or_else(|| Arc::new(Memtable::new(events)), |(_, memtable)| memtable);
        (frozen, active, sequence)
    }
}

/// No memtable has more rows, and no log more files.
fn short(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
