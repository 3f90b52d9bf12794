//! Reads a folder through at start: which files are this store's, which events they hold, and what of them is not what
//! was written.
//!
//! A record that is broken at the very end of the last file is a write that a crash cut off: it was never
//! acknowledged, and is cut away. A broken record with whole ones behind it, or in any other file, is damage: its bytes
//! stay, and answers that cover its time say so with a gap.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Gap, GapCause, TimeMs};
use tracemq_store::{Beginnings, StoreError};

use crate::format::{
    Frame, HEADER_BYTES, Header, HeaderFault, Identity, RecordAt, StoreId, VERSION, find_record, frames, record_at,
};
use crate::fs::{Fs, LogFile, read_exact_at};
use crate::index::{Entry, Index, SubjectRef};
use crate::log::{LogState, OpenFile};

/// No report names more damaged places than this: the first ones of a folder that is wrecked say enough.
const DAMAGES_MAX: usize = 1_000;

/// What was found at the opening of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Events that can be asked for.
    pub events: u64,
    /// Files that they stand in.
    pub files: usize,
    /// Connections that the last run left open.
    pub orphans: usize,
    /// Bytes of an unfinished write that were cut off the end of the last file.
    pub cut_bytes: u64,
    /// What can't be read, but was left as it is. Each is a gap with cause [`GapCause::Damaged`] as well.
    pub damaged: Vec<Damage>,
}

/// A part of a file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes; 0 when the whole file is missing.
    pub length: u64,
    /// What is wrong.
    pub what: &'static str,
}

/// What a replay leaves.
pub(crate) struct Replayed {
    pub(crate) log: LogState,
    pub(crate) index: Index,
    pub(crate) orphans: Vec<Entry>,
    pub(crate) report: Recovery,
    /// For the time that the cut bytes may have told of; not in the index yet.
    pub(crate) cut: Option<Gap>,
}

struct Found {
    number: u32,
    path: PathBuf,
    file: Arc<dyn LogFile>,
    length: u64,
    header: Option<Header>,
}

struct Replay<'a> {
    dir: &'a Path,
    store: StoreId,
    /// Bounds damage that no event stands behind: the last sign of life, as far as it is known.
    end_of_time: TimeMs,
    index: Index,
    beginnings: Beginnings<Entry>,
    report: Recovery,
    files: VecDeque<(Arc<OpenFile>, u64)>,
    /// Whether the last of the files takes more.
    writable: bool,
    cut: Option<Gap>,
    /// Time of the last event read, in the order of arrival.
    last_time: Option<TimeMs>,
    /// The first of the damaged files behind the last event read.
    unbounded: Option<u32>,
}

/// Reads `dir` through. Cuts an unfinished write off; changes nothing else, and nothing at all when a file is of a later
/// format.
pub(crate) fn replay(fs: &dyn Fs, dir: &Path, last_alive: Option<TimeMs>) -> Result<Replayed, StoreError> {
    let mut found = open_all(fs, dir)?;
    let next_number = drop_unborn(&mut found);
    let store = majority(&found).map_or_else(|| new_store(dir), Ok)?;
    let mut replay = Replay { dir, store, end_of_time: last_alive.unwrap_or(TimeMs::MAX), ..Replay::new() };
    let mut buffer = Vec::new();
    for (at, this) in found.iter().enumerate() {
        if let Some(before) = at.checked_sub(1).and_then(|before| found.get(before)) {
            replay.note_missing(before.number, this.number);
        }
        match this.strangeness(store) {
            Some(what) => {
                replay.damage(this, 0, this.length, what);
                replay.writable = false;
            }
            None => replay.file(this, found.get(at + 1), &mut buffer)?,
        }
    }
    Ok(replay.finish(next_number))
}

/// The journal's files in the order of their numbers, and what their headers say.
fn open_all(fs: &dyn Fs, dir: &Path) -> Result<Vec<Found>, StoreError> {
    let failed = |operation| move |source| StoreError::Io { operation, path: dir.to_owned(), source };
    let names = fs.list(dir).map_err(failed("list"))?;
    let numbers: BTreeSet<u32> = names.iter().filter_map(|name| OpenFile::number(name.to_str()?)).collect();
    numbers.into_iter().map(|number| Found::open(fs, OpenFile::path(dir, number), number)).collect()
}

/// Takes the last file away when it is one whose making was cut off: no record can have been written to it. Gives the
/// number that the next file gets.
fn drop_unborn(found: &mut Vec<Found>) -> u32 {
    let Some(last) = found.last() else { return 1 };
    if last.header.is_none() && last.length <= length_of(&[0; HEADER_BYTES]) {
        let number = last.number;
        found.pop();
        return number;
    }
    last.number.saturating_add(1)
}

/// The store that most of the files say they belong to; the oldest of those when none has most.
fn majority(found: &[Found]) -> Option<StoreId> {
    let mut counts: Vec<(StoreId, usize)> = Vec::new();
    for header in found.iter().filter_map(|file| file.header) {
        match counts.iter_mut().find(|(store, _)| *store == header.store) {
            Some((_, count)) => *count += 1,
            None => counts.push((header.store, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(store, _)| store)
}

fn new_store(dir: &Path) -> Result<StoreId, StoreError> {
    let mut store = StoreId::default();
    match getrandom::fill(&mut store) {
        Ok(()) => Ok(store),
        Err(error) => {
            let source = std::io::Error::other(error.to_string());
            Err(StoreError::Io { operation: "draw a random name for", path: dir.to_owned(), source })
        }
    }
}

impl Found {
    fn open(fs: &dyn Fs, path: PathBuf, number: u32) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { operation: "open", path: path.clone(), source };
        let file = fs.open(&path).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let mut start = vec![0; HEADER_BYTES.min(usize::try_from(length).unwrap_or(HEADER_BYTES))];
        read_exact_at(&*file, &mut start, 0).map_err(failed)?;
        let header = match Header::decode(&start) {
            Ok(header) => Some(header),
            Err(HeaderFault::Invalid) => None,
            Err(HeaderFault::Newer(format)) => {
                return Err(StoreError::UnknownFormat { path, found: format, known: VERSION });
            }
        };
        Ok(Self { number, path, file, length, header })
    }

    /// Why the file can't be a part of `store`; none when it is.
    fn strangeness(&self, store: StoreId) -> Option<&'static str> {
        match self.header {
            None => Some("the header is not what was written"),
            Some(header) if header.store != store => Some("the file belongs to another store"),
            Some(header) if header.number != u64::from(self.number) => Some("the file has another one's name"),
            Some(_) if u32::try_from(self.length).is_err() => Some("the file is longer than any of this format"),
            Some(_) => None,
        }
    }

    fn read(&self, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        buffer.resize(usize::try_from(self.length).unwrap_or(usize::MAX), 0);
        read_exact_at(&*self.file, buffer, 0).map_err(|source| self.failed("read", source))
    }

    fn cut(&self, length: u64) -> Result<(), StoreError> {
        let cut = self.file.set_length(length).and_then(|()| self.file.sync());
        cut.map_err(|source| self.failed("cut the unfinished write off", source))
    }

    fn failed(&self, operation: &'static str, source: std::io::Error) -> StoreError {
        StoreError::Io { operation, path: self.path.clone(), source }
    }
}

impl Replay<'_> {
    fn new() -> Self {
        Self {
            dir: Path::new(""),
            store: StoreId::default(),
            end_of_time: TimeMs::MAX,
            index: Index::default(),
            beginnings: Beginnings::default(),
            report: Recovery::default(),
            files: VecDeque::new(),
            writable: false,
            cut: None,
            last_time: None,
            unbounded: None,
        }
    }

    /// Reads a file of this store. `next` is the one behind it, if there is one.
    fn file(&mut self, this: &Found, next: Option<&Found>, buffer: &mut Vec<u8>) -> Result<(), StoreError> {
        let identity = Identity::new(self.store, this.number);
        this.read(buffer)?;
        let bytes = buffer.as_slice();
        let damages_before = self.report.damaged.len();
        let whole_until = self.records(this, bytes, &identity);
        let tail = this.length.saturating_sub(whole_until);
        let mut length = this.length;
        match next {
            Some(next) => {
                if tail > 0 {
                    self.damage(this, whole_until, tail, "no whole record");
                }
                let missing = self.length_told_by(this, next).saturating_sub(this.length);
                if missing > 0 {
                    self.damage(this, this.length, missing, "the file was cut short");
                }
            }
            None if tail > 0 => {
                this.cut(whole_until)?;
                length = whole_until;
                self.report.cut_bytes = tail;
                self.cut = Some(damaged_between(self.last_time, self.end_of_time));
            }
            None => {}
        }
        // A damaged file is left as it is, for whoever wants to look into it.
        self.writable = self.report.damaged.len() == damages_before;
        let (path, file) = (this.path.clone(), Arc::clone(&this.file));
        self.files.push_back((Arc::new(OpenFile { number: this.number, path, file, identity }), length));
        Ok(())
    }

    /// How long `this` was when `next` took over; 0 when that is not known.
    fn length_told_by(&self, this: &Found, next: &Found) -> u64 {
        match next.header {
            Some(header) if next.strangeness(self.store).is_none() && next.number - 1 == this.number => {
                header.previous_bytes
            }
            Some(_) | None => 0,
        }
    }

    /// Takes in the whole records of a file, notes what is broken between them, and gives the end of the last one.
    fn records(&mut self, this: &Found, bytes: &[u8], identity: &Identity) -> u64 {
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            if let RecordAt::Whole { payload, payload_offset, end } = record_at(bytes, at, identity)
                && self.record(this.number, payload, payload_offset)
            {
                at = end;
                continue;
            }
            let Some(next) = find_record(bytes, at + 1, identity) else { break };
            let broken = bytes.get(at..next).unwrap_or_default();
            self.damage(this, length_of(bytes.get(..at).unwrap_or_default()), length_of(broken), "no whole record");
            at = next;
        }
        length_of(bytes.get(..at).unwrap_or_default())
    }

    /// Takes a record in, as a whole; false when it can't be understood.
    fn record(&mut self, file: u32, payload: &[u8], payload_offset: usize) -> bool {
        let Some(frames) = frames(payload, payload_offset) else { return false };
        for (place, frame) in frames {
            match frame {
                Frame::Gap(gap) => self.index.push_gap(gap, file),
                Frame::Event(event) => {
                    let Some(entry) = Entry::new(event.time(), file, place) else { return false };
                    let Some(action) = event.action() else { return false };
                    self.bound_damage(entry.time);
                    self.beginnings.note(event.connection(), action, entry);
                    if let Some(subject) = SubjectRef::new(event.client, event.address()) {
                        self.index.push(event.instance, subject, entry);
                    }
                }
            }
        }
        true
    }

    fn note_missing(&mut self, before: u32, this: u32) {
        for number in (before + 1..this).take(DAMAGES_MAX) {
            let path = OpenFile::path(self.dir, number);
            self.note(number, Damage { path, offset: 0, length: 0, what: "the file is missing" });
        }
    }

    fn damage(&mut self, this: &Found, offset: u64, length: u64, what: &'static str) {
        self.note(this.number, Damage { path: this.path.clone(), offset, length, what });
    }

    fn note(&mut self, file: u32, damage: Damage) {
        if self.report.damaged.len() < DAMAGES_MAX {
            self.report.damaged.push(damage);
        }
        // What follows each other without an event between is one gap.
        self.unbounded.get_or_insert(file);
    }

    /// An event of `time` was read: whatever was damaged before it ends there.
    fn bound_damage(&mut self, time: TimeMs) {
        if let Some(file) = self.unbounded.take() {
            self.index.push_gap(damaged_between(self.last_time, time), file);
        }
        self.last_time = Some(time);
    }

    fn finish(mut self, next_number: u32) -> Replayed {
        if let Some(file) = self.unbounded.take() {
            self.index.push_gap(damaged_between(self.last_time, self.end_of_time), file);
        }
        self.index.sort();
        let mut orphans: Vec<Entry> = self.beginnings.into_orphans().collect();
        orphans.sort_unstable_by_key(|entry| (entry.file, entry.offset));
        self.report.events = self.index.events();
        self.report.files = self.files.len();
        self.report.orphans = orphans.len();
        let log = LogState { store: self.store, files: self.files, writable: self.writable, next_number };
        Replayed { log, index: self.index, orphans, report: self.report, cut: self.cut }
    }
}

/// The events before and behind the damage bound it, as far as there are any. Clocks step: it may be the later one that
/// was read first.
fn damaged_between(before: Option<TimeMs>, behind: TimeMs) -> Gap {
    let before = before.unwrap_or(TimeMs::MIN);
    Gap { from: before.min(behind), to: before.max(behind), lost: None, cause: GapCause::Damaged }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
