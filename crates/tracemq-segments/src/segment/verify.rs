//! Holding a segment against all that must be true of it.

use std::ops::Range;

use tracemq_model::{Details, TimeMs};
use tracemq_store::StoreError;

use super::bits;
use super::block::{Block, ROWS};
use super::checksum::Piece;
use super::cursor::KeyCursor;
use super::footer::HEADER_BYTES;
use super::meta::{InstanceTotal, NO_TIMES, grow};
use super::minutes::MinuteCounter;
use super::reader::Segment;
use super::source::{Extent, What, wide};
use crate::cells;
use crate::key::Key;
use crate::row::Row;

/// A part of a file that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) what: &'static str,
}

/// More damages of one file are not listed.
const DAMAGES_MAX: usize = 1_000;

impl Segment {
    /// Reads all of the file and lists what is wrong; `progress` is told how many bytes more were read.
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(u64)) -> Vec<Damage> {
        let mut check = Check { segment: self, damages: Vec::new(), progress };
        check.ends();
        check.places();
        check.texts();
        let keys_are_sound = check.keys();
        check.rows(keys_are_sound);
        check.damages
    }
}

struct Check<'a> {
    segment: &'a Segment,
    damages: Vec<Damage>,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn add(&mut self, offset: u64, length: u64, what: What) {
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(Damage { offset, length, what });
        }
    }

    fn wrong(&mut self, extent: Extent, what: What) {
        self.add(extent.offset(), extent.length(), what);
    }

    /// Notes the error of something that stands at `offset`.
    fn failed(&mut self, offset: u64, length: u64, error: &StoreError) {
        match error {
            StoreError::Damaged { offset, length, what, .. } => self.add(*offset, *length, what),
            StoreError::Io { .. }
            | StoreError::InvalidQuery(_)
            | StoreError::Full { .. }
            | StoreError::Poisoned { .. }
            | StoreError::InUse { .. }
            | StoreError::UnknownFormat { .. } => self.add(offset, length, "can't be read"),
        }
    }

    /// Header, sections and footer: they were read at the start, but who knows what they are now.
    fn ends(&mut self) {
        let bytes = self.segment.meta().bytes;
        let pieces = self.segment.pieces();
        if let Err(error) = pieces.check_header(bytes, self.segment.meta().id) {
            self.failed(0, wide(HEADER_BYTES), &error);
        }
        for (piece, section) in self.segment.sections().in_order() {
            if let Err(error) = pieces.section(piece, section, |_| Ok(())) {
                self.failed(section.offset, section.length, &error);
            }
            (self.progress)(section.length);
        }
        if let Err(error) = pieces.footer(bytes) {
            self.failed(bytes - self.segment.footer_bytes, self.segment.footer_bytes, &error);
        }
        (self.progress)(self.segment.footer_bytes + wide(HEADER_BYTES));
    }

    /// Between header and minutes, each byte is of one block.
    fn places(&mut self) {
        let segment = self.segment;
        let directory = &segment.directory;
        let mut extents: Vec<Extent> = segment.row_index.blocks().iter().map(|block| block.extent).collect();
        extents.extend((0..directory.len()).filter_map(|block| directory.extent(block)));
        extents.extend(segment.text_index.extents().map(|(extent, _)| extent));
        extents.sort_unstable_by_key(|extent| extent.offset());
        let mut end = wide(HEADER_BYTES);
        for extent in extents {
            if extent.offset() != end {
                let (from, to) = (extent.offset().min(end), extent.offset().max(end));
                self.add(from, to - from, "bytes of no block, or of two");
            }
            end = extent.end();
        }
        let minutes = segment.sections().minutes.offset;
        if end != minutes {
            self.add(end, minutes.saturating_sub(end), "bytes of no block");
        }
    }

    fn texts(&mut self) {
        let segment = self.segment;
        let mut next = segment.text_index.extents().map(|(_, first)| first).skip(1).collect::<Vec<_>>();
        next.push(segment.text_count());
        for ((extent, first), next) in segment.text_index.extents().zip(next) {
            match segment.text_block(extent) {
                Ok(texts) if wide(texts.count()) != u64::from(next - first) => {
                    self.wrong(extent, "another number of texts than the index says");
                }
                Ok(texts) => {
                    if let Some(what) = (0..texts.count()).find_map(|at| texts.get(at).err()) {
                        self.wrong(extent, what);
                    }
                }
                Err(error) => self.failed(extent.offset(), extent.length(), &error),
            }
            (self.progress)(extent.length());
        }
    }

    /// Each block of the directory by itself, and against the index; false when rows can't be held against keys.
    fn keys(&mut self) -> bool {
        let directory = &self.segment.directory;
        let (mut last, mut subjects, mut sound) = (Vec::new(), 0_u64, true);
        for block in 0..directory.len() {
            let extent = directory.extent(block).unwrap_or_default();
            match self.keys_of(block, &mut last, &mut subjects) {
                Ok(None) => {}
                Ok(Some(what)) => {
                    self.wrong(extent, what);
                    sound = false;
                }
                Err(error) => {
                    self.failed(extent.offset(), extent.length(), &error);
                    sound = false;
                }
            }
            (self.progress)(extent.length());
        }
        if sound && subjects != self.segment.meta().subjects {
            self.add(0, self.segment.meta().bytes, "another number of keys than the footer says");
        }
        sound
    }

    fn keys_of(&self, block: usize, last: &mut Vec<u8>, subjects: &mut u64) -> Result<Option<What>, StoreError> {
        let directory = &self.segment.directory;
        let rows = directory.rows(block).unwrap_or_default();
        let separator = directory.separator(block).unwrap_or_default();
        let mut keys = KeyCursor::at_block(self.segment, block);
        let mut is_first = true;
        while let Some((key, of_key)) = keys.next()? {
            if of_key.start >= rows.end {
                break;
            }
            if std::mem::take(&mut is_first) && (last.as_slice() >= separator || separator > key) {
                return Ok(Some("a separator that does not separate"));
            }
            if Key::read(key).is_none() {
                return Ok(Some("a key that is none"));
            }
            *subjects += 1;
            last.clear();
            last.extend_from_slice(key);
            if of_key.end == rows.end {
                break;
            }
        }
        Ok(None)
    }

    /// Each block of rows by itself and, with keys, all rows against keys, minutes, instances and index.
    fn rows(&mut self, with_keys: bool) {
        let segment = self.segment;
        let mut walk = Walk::new(segment, with_keys);
        let mut block = Block::default();
        for (number, at) in (0..).zip(segment.row_index.blocks()) {
            let read = segment.read_block(number, &mut block);
            (self.progress)(at.extent.length());
            let result = match read {
                Ok(()) => walk.block(&block, at.from, at.to),
                Err(error) => {
                    self.failed(at.extent.offset(), at.extent.length(), &error);
                    walk.pass();
                    continue;
                }
            };
            if let Err(what) = result {
                self.wrong(at.extent, what);
            }
        }
        if with_keys && walk.complete {
            self.totals(walk);
        }
    }

    fn totals(&mut self, mut walk: Walk<'_>) {
        let meta = self.segment.meta();
        if !walk.instances.is_empty() {
            walk.minutes.end_instance();
        }
        let mut times = NO_TIMES;
        for total in &walk.instances {
            grow(&mut times, total.times.from);
            grow(&mut times, total.times.to);
        }
        let same = |(one, other): (&InstanceTotal, &InstanceTotal)| {
            (&one.instance, one.rows, one.times) == (&other.instance, other.rows, other.times)
        };
        let alike =
            walk.instances.len() == meta.instances.len() && walk.instances.iter().zip(&meta.instances).all(same);
        if times != meta.times || !alike {
            let section = self.segment.sections().instances;
            self.add(section.offset, section.length, "totals are not those of the rows");
        }
        let section = self.segment.sections().minutes;
        let counted = walk.minutes.finish();
        let check = |content: &[u8]| if content == counted { Ok(()) } else { Err("minutes are not those of the rows") };
        if let Err(error) = self.segment.pieces().section(Piece::Minutes, section, check) {
            self.failed(section.offset, section.length, &error);
        }
    }
}

/// A walk over all rows with the keys beside them.
struct Walk<'a> {
    segment: &'a Segment,
    keys: Option<KeyCursor<'a>>,
    /// The rows of the key that is walked.
    of_key: Range<u64>,
    last: Option<TimeMs>,
    minutes: MinuteCounter,
    instances: Vec<InstanceTotal>,
    /// Whether all rows were counted.
    complete: bool,
}

impl<'a> Walk<'a> {
    fn new(segment: &'a Segment, with_keys: bool) -> Self {
        Self {
            segment,
            keys: with_keys.then(|| KeyCursor::at_block(segment, 0)),
            of_key: 0..0,
            last: None,
            minutes: MinuteCounter::default(),
            instances: Vec::new(),
            complete: true,
        }
    }

    /// A block that can't be read.
    fn pass(&mut self) {
        self.complete = false;
        self.last = None;
    }

    fn block(&mut self, block: &Block, from: i64, to: i64) -> Result<(), What> {
        let mut times = NO_TIMES;
        for at in 0..block.rows() {
            let checked = self.row(block, at);
            if checked.is_err() {
                self.pass();
            }
            grow(&mut times, checked?);
        }
        if bits::distance(from, to) == bits::distance(times.from.0, times.to.0) && times.from.0 == from {
            Ok(())
        } else {
            Err("times are not those of the index")
        }
    }

    fn row(&mut self, block: &Block, at: usize) -> Result<TimeMs, What> {
        let Row { time, kind, .. } = block.row(at).ok_or("has no such row")?;
        self.follow(block.number() * wide(ROWS) + wide(at))?;
        if self.keys.is_some() && self.last.replace(time).is_some_and(|last| last > time) {
            return Err("a subject's rows are out of order");
        }
        kind.parts().ok_or("a kind that this version doesn't know")?;
        let mut details = Details::default();
        for (column, value) in block.cells(at) {
            let text = |number| (number < self.segment.text_count()).then(|| "".into());
            cells::set(&mut details, column, value, text).ok_or("a cell has a value that it can't have")?;
        }
        self.minutes.count(time, kind);
        if let Some(total) = self.instances.last_mut() {
            total.rows += 1;
            grow(&mut total.times, time);
        }
        Ok(time)
    }

    /// Goes to the key of `row`.
    fn follow(&mut self, row: u64) -> Result<(), What> {
        const NONE: What = "a row has no key";
        let Some(keys) = &mut self.keys else { return Ok(()) };
        while row >= self.of_key.end {
            let (key, rows) = keys.next().map_err(|_| NONE)?.ok_or(NONE)?;
            let instance = Key::read(key).ok_or(NONE)?.instance;
            self.of_key = rows;
            self.last = None;
            if self.instances.last().is_none_or(|last| last.instance != instance) {
                if !self.instances.is_empty() {
                    self.minutes.end_instance();
                }
                self.instances.push(InstanceTotal { instance, rows: 0, times: NO_TIMES, bytes: 0 });
            }
        }
        Ok(())
    }
}
