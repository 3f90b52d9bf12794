//! Reads the log through at start: what it holds, and what of it is not what was written.

use std::io;
use std::path::{Path, PathBuf};

use tracemq_model::{Gap, GapCause, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::decode::{Decoded, Entry};
use super::file::{self, HEADER_END, StoreId};
use super::found::{Found, drop_unborn, failed, open_all, refuse_folders};
use super::reader::{Reader, RecordAt};
use super::record::Identity;
use super::writer::Tail;
use crate::fs::Fs;

/// No report names more damaged places than this: the first ones of a folder that is wrecked say enough.
const DAMAGES_MAX: usize = 1_000;

/// Whether a replay may change the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Cuts an unfinished write off, and makes durable what was read.
    Recover,
    /// Changes nothing. Beside a running writer, what it is about to finish looks like an unfinished write, and a file that it
    /// deletes like a missing one: then the manifest is another one by now.
    Look,
}

/// What a replay found.
pub(crate) struct Replayed {
    pub(crate) events: u64,
    /// The live files, oldest first, with their lengths. All but the one that [`Tail`] goes on with can be deleted once what
    /// was replayed is in published segments.
    pub(crate) files: Vec<(u64, u64)>,
    /// Files of this store from before the first live one: a crash kept them from being deleted.
    pub(crate) stale: Vec<u64>,
    /// What can't be read, and was left as it is; at most the first 1,000 places.
    pub(crate) damaged: Vec<Damage>,
    /// The unfinished write at the end.
    pub(crate) cut: Option<Cut>,
    /// The last file, when its making was cut off: none of its bytes was ever acknowledged. Its number is used again.
    pub(crate) unborn: Option<PathBuf>,
    /// What [`Wal::resume`](super::Wal::resume) goes on with.
    pub(crate) tail: Tail,
}

/// A part of a file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    /// How many bytes; 0 when the whole file is missing.
    pub(crate) length: u64,
    pub(crate) what: &'static str,
    /// The time of the last event that was read before it.
    pub(crate) after: Option<TimeMs>,
    /// The time of the first event that was read behind it.
    pub(crate) before: Option<TimeMs>,
}

impl Damage {
    /// When events may be missing; `outer` bounds it where no event does.
    pub(crate) fn gap(&self, outer: TimeRange) -> Gap {
        // Clocks step: it may be the later one that was read first.
        let (after, before) = (self.after.unwrap_or(outer.from), self.before.unwrap_or(outer.to));
        Gap { from: after.min(before), to: after.max(before), lost: None, cause: GapCause::Damaged }
    }
}

/// An unfinished write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) path: PathBuf,
    /// Where it began.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The time of the last event that was read before it.
    pub(crate) after: Option<TimeMs>,
}

impl Cut {
    /// Damage to the last batch that was acknowledged would leave the same traces: for when that can be.
    pub(crate) fn gap(&self, outer: TimeRange) -> Gap {
        let after = self.after.unwrap_or(outer.from);
        Gap { from: after.min(outer.to), to: after.max(outer.to), lost: None, cause: GapCause::Damaged }
    }
}

/// Reads the log of `store` in `dir` through, from the file `first` on, which a manifest says is the first live one, and
/// shows `visit` what is in it, with the number of the file. A record that can be read in part only is not shown at all.
///
/// When a file is of a later format nothing is shown and nothing is changed. Files of others are left alone.
pub(crate) fn replay(
    fs: &dyn Fs,
    dir: &Path,
    store: StoreId,
    first: u64,
    mode: Mode,
    visit: &mut dyn FnMut(u64, Entry<'_>),
) -> Result<Replayed, StoreError> {
    let (mut found, folders) = open_all(fs, dir)?;
    let unborn = drop_unborn(&mut found, first);
    let (old, live): (Vec<_>, Vec<_>) = found.into_iter().partition(|file| file.number < first);
    refuse_folders(dir, &folders, first, live.last().map_or(first, |last| last.number.saturating_add(1)))?;
    let is_ours = |file: &&Found| {
        file.strangeness(store).is_none() || file.is_ours_by_records(store).is_ok_and(|is_ours| is_ours)
    };
    let stale = old.iter().filter(is_ours).map(|file| file.number).collect();
    let mut replay = Replay::new(fs, dir, store, mode, visit);
    replay.replayed.stale = stale;
    replay.replayed.unborn = unborn;
    replay.note_missing(first, live.first().map_or(first.saturating_add(1), |file| file.number));
    for (at, this) in live.iter().enumerate() {
        let behind = live.get(at + 1..).unwrap_or_default();
        replay.file(this, behind)?;
        if let Some(next) = behind.first() {
            replay.note_missing(this.number.saturating_add(1), next.number);
        }
    }
    replay.finish(live.last(), first)
}

struct Replay<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    store: StoreId,
    mode: Mode,
    visit: &'a mut dyn FnMut(u64, Entry<'_>),
    decoded: Decoded,
    replayed: Replayed,
    /// Whether the file that was read last takes more.
    is_writable: bool,
    /// Time of the last event read, in the order of arrival.
    last_time: Option<TimeMs>,
    /// The first of the damages behind the last event read.
    unbounded: usize,
}

impl<'a> Replay<'a> {
    fn new(
        fs: &'a dyn Fs,
        dir: &'a Path,
        store: StoreId,
        mode: Mode,
        visit: &'a mut dyn FnMut(u64, Entry<'_>),
    ) -> Self {
        let replayed = Replayed {
            events: 0,
            files: Vec::new(),
            stale: Vec::new(),
            damaged: Vec::new(),
            cut: None,
            unborn: None,
            tail: Tail { store, next: 1, previous_bytes: 0, writable: None },
        };
        let (is_writable, last_time, unbounded) = (false, None, 0);
        Self { fs, dir, store, mode, visit, decoded: Decoded::default(), replayed, is_writable, last_time, unbounded }
    }

    /// Reads a file. `behind` are those that follow.
    fn file(&mut self, this: &Found, behind: &[Found]) -> Result<(), StoreError> {
        self.is_writable = false;
        let damages_before = self.replayed.damaged.len();
        match this.strangeness(self.store) {
            None => {}
            Some(what) if this.is_ours_by_records(self.store)? => self.damage(this, 0, HEADER_END, what),
            Some(what) => {
                self.damage(this, 0, this.length, what);
                return Ok(());
            }
        }
        let (whole_until, length) = self.records(this).map_err(|source| failed("read", this, source))?;
        // A file that was begun before an attempt to go on to it failed says nothing about what was written after that.
        let told = self.length_told_by(this, behind.first());
        let is_last = behind.iter().all(|next| next.is_fresh(self.store)) && told <= whole_until;
        let mut kept = length;
        if is_last {
            self.end(this, whole_until, length - whole_until)?;
            kept = whole_until;
        } else if length > whole_until {
            self.damage(this, whole_until, length - whole_until, "no whole record");
        }
        if told > length {
            self.damage(this, length, told - length, "the file was cut short");
        }
        // A damaged file is left as it is, for whoever wants to look into it.
        self.is_writable = self.replayed.damaged.len() == damages_before;
        self.replayed.files.push((this.number, kept));
        Ok(())
    }

    /// How long `this` was when `next` took over; 0 when that is not known.
    fn length_told_by(&self, this: &Found, next: Option<&Found>) -> u64 {
        let next = next.filter(|next| next.strangeness(self.store).is_none() && next.number - 1 == this.number);
        next.and_then(|next| next.header).map_or(0, |header| header.previous_bytes)
    }

    /// Takes in the whole records of a file, notes what is broken between them, and gives the end of the last one and that
    /// of the file.
    fn records(&mut self, this: &Found) -> io::Result<(u64, u64)> {
        let identity = Identity::new(self.store, this.number);
        let mut reader = Reader::new(&*this.file)?;
        let mut at = HEADER_END;
        while at < reader.length() {
            let behind = match reader.record_at(at, &identity)? {
                RecordAt::Whole { payload, end } => {
                    if self.decoded.decode(payload).is_some() {
                        self.take_in(this.number);
                    } else {
                        self.damage(this, at, end - at, "a record has no meaning to this version");
                    }
                    at = end;
                    continue;
                }
                RecordAt::Broken { end } => end,
                RecordAt::Nothing => at.saturating_add(1),
            };
            let Some(next) = reader.find_record(behind, &identity)? else { break };
            self.damage(this, at, next - at, "no whole record");
            at = next;
        }
        Ok((at, reader.length()))
    }

    fn take_in(&mut self, file: u64) {
        let (events, times) = self.decoded.events();
        if let Some((first, last)) = times {
            for damage in self.replayed.damaged.get_mut(self.unbounded..).unwrap_or_default() {
                damage.before = Some(first);
            }
            self.unbounded = self.replayed.damaged.len();
            self.last_time = Some(last);
        }
        self.replayed.events = self.replayed.events.saturating_add(events);
        self.decoded.visit(&mut |entry| (self.visit)(file, entry));
    }

    /// Ends the log, but for files without records, at `offset` of a file; `surplus` bytes are cut off.
    fn end(&mut self, this: &Found, offset: u64, surplus: u64) -> Result<(), StoreError> {
        if self.mode == Mode::Recover {
            let file = self.fs.open(&this.path).map_err(|source| failed("open", this, source))?;
            if surplus > 0 {
                let cut = file.set_length(offset);
                cut.map_err(|source| failed("cut the unfinished write off", this, source))?;
            }
            // What a killed process wrote may be read, and be in no memory but the operating system's.
            file.sync().map_err(|source| failed("sync", this, source))?;
        }
        if surplus > 0 {
            let path = this.path.clone();
            self.replayed.cut = Some(Cut { path, offset, bytes: surplus, after: self.last_time });
        }
        Ok(())
    }

    /// Notes that the files from `first` to before `end` are not there.
    fn note_missing(&mut self, first: u64, end: u64) {
        if first < end {
            let what =
                if end - first == 1 { "the file is missing" } else { "this file and some behind it are missing" };
            self.note(file::path(self.dir, first), 0, 0, what);
        }
    }

    fn damage(&mut self, this: &Found, offset: u64, length: u64, what: &'static str) {
        self.note(this.path.clone(), offset, length, what);
    }

    fn note(&mut self, path: PathBuf, offset: u64, length: u64, what: &'static str) {
        if self.replayed.damaged.len() < DAMAGES_MAX {
            self.replayed.damaged.push(Damage { path, offset, length, what, after: self.last_time, before: None });
        }
    }

    fn finish(mut self, last: Option<&Found>, first: u64) -> Result<Replayed, StoreError> {
        let tail = &mut self.replayed.tail;
        match last {
            None => tail.next = first,
            Some(last) => {
                let length =
                    self.replayed.files.last().filter(|(number, _)| *number == last.number).map(|(_, length)| *length);
                tail.next = last.number.checked_add(1).unwrap_or(0);
                tail.previous_bytes = length.unwrap_or(0);
                tail.writable = length.filter(|_| self.is_writable).map(|length| (last.number, length));
            }
        }
        Ok(self.replayed)
    }
}
