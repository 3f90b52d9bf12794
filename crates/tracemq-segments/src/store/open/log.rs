//! The log, back in memtables.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tracemq_model::{Action, Event, Gap};
use tracemq_store::{Beginnings, StoreError};

use crate::SegmentSettings;
use crate::carried::Carried;
use crate::key;
use crate::memtable::Memtable;
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
    beginnings: Beginnings<Place>,
    pub(super) erased: HashSet<Vec<u8>>,
}

/// Where the beginning of a connection stands.
#[derive(Clone, Copy)]
enum Place {
    Carried(usize),
    Row { memtable: usize, row: usize },
}

impl ReplayedLog {
    pub(super) fn new(settings: &SegmentSettings, carried: &Carried, events: &[Event]) -> Self {
        let mut beginnings = Beginnings::default();
        for connection in carried.early() {
            beginnings.note(connection, Action::Close, Place::Carried(0));
        }
        for (at, event) in events.iter().enumerate() {
            beginnings.note(event.connection, event.action, Place::Carried(at));
        }
        Self {
            full: Vec::new(),
            file: 0,
            memtable: Arc::new(Memtable::new(settings.memtable_events)),
            memtable_events: settings.memtable_events,
            beginnings,
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
        let first = self.memtable.len();
        for (row, event) in (first..).zip(events) {
            let place = Place::Row { memtable: self.full.len(), row };
            self.beginnings.note(event.connection, event.action, place);
        }
        let rows = self.memtable.insert(events);
        self.memtable.show(rows);
    }

    /// The keys that were erased while this log was written.
    pub(super) fn erased(&self) -> &HashSet<Vec<u8>> {
        &self.erased
    }

    /// The beginnings without an end, in the order of arrival.
    pub(super) fn orphans(&mut self, carried: Vec<Event>) -> Vec<Event> {
        let mut places: Vec<Place> = std::mem::take(&mut self.beginnings).into_orphans().collect();
        places.sort_unstable_by_key(|place| match place {
            Place::Carried(at) => (0, *at, 0),
            Place::Row { memtable, row } => (1, *memtable, *row),
        });
        let carried: Vec<Option<Event>> = carried.into_iter().map(|event| self.unless_erased(event)).collect();
        let memtables: Vec<&Arc<Memtable>> =
            self.full.iter().map(|(_, memtable)| memtable).chain([&self.memtable]).collect();
        let events = places.into_iter().filter_map(|place| match place {
            Place::Carried(at) => carried.get(at).cloned().flatten(),
            Place::Row { memtable, row } => memtables.get(memtable)?.event_unless_erased(row),
        });
        events.collect()
    }

    fn unless_erased(&self, event: Event) -> Option<Event> {
        let mut key = Vec::new();
        key::push_key_of(&event, &mut key);
        (!self.erased.contains(&key)).then_some(event)
    }

    /// The frozen ones, the active one, and its sequence, which is `first` at least. The log goes on in the file `active_log`.
    ///
    /// A sequence is the number of the log file: from a segment's sequence a repair knows which files of the log it was made of.
    pub(super) fn memtables(self, first: u64, active_log: u64, events: usize) -> (Vec<Frozen>, Arc<Memtable>, u64) {
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
        let frozen =
            all.into_iter().map(|(log, memtable)| Frozen { sequence: sequence_of(log), log, log_bytes: 0, memtable });
        let frozen: Vec<Frozen> = frozen.collect();
        let sequence = sequence_of(active_log);
        let active = last.map_or_else(|| Arc::new(Memtable::new(events)), |(_, memtable)| memtable);
        (frozen, active, sequence)
    }
}
