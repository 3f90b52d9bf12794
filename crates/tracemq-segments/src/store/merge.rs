//! Few segments of many: a page looks into each of them.
//!
//! Only segments that follow each other by age become one, so that of two segments one is older as a whole wherever they share
//! a moment. Events of a subject and a millisecond so stay in the order in which they arrived.

mod choose;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_model::TimeMs;
use tracemq_store::StoreError;
use tracing::{debug, warn};

use super::erase::erasures_needed;
use super::{Shared, lock};
use crate::carried::{Moved, OpenRows, Place};
use crate::cells::Column;
use crate::key::Key;
use crate::manifest::SegmentEntry;
use crate::segment::{KeyCursor, RowCursor, Segment, SegmentMeta, SegmentWriter, Translation};
use crate::view::Snapshot;

/// How often, in rows, a merge looks whether it should stop, and tells how far it is.
const ROWS_A_LOOK: u64 = 16_384;
/// At leisure a part of the segments that become one otherwise is enough.
const LEISURE: usize = 3;
/// Nothing is written that can wait while less than this is free: a few seconds of recording.
pub(super) const FREE_MIN: u64 = 16 << 20;

impl Shared {
    /// Merges until nothing is worth merging.
    pub(super) fn merge_all(&self, progress: &mut dyn FnMut(f64)) -> Result<(), StoreError> {
        lock(&self.erasing).is_settling = true;
        let merged = (|| {
            while self.merge_next(progress)? {}
            Ok(())
        })();
        lock(&self.erasing).is_settling = false;
        merged
    }

    /// Merges once; false when nothing is worth it.
    pub(super) fn merge_next(&self, progress: &mut dyn FnMut(f64)) -> Result<bool, StoreError> {
        self.merge_once(self.settings.merge_segments, progress)
    }

    /// Merges once as is done at leisure: fewer segments are enough. Each event is written once or twice more for that.
    pub(super) fn merge_at_leisure(&self, progress: &mut dyn FnMut(f64)) -> Result<bool, StoreError> {
        self.merge_once(self.settings.merge_segments / LEISURE, progress)
    }

    /// Merges so many segments of about a size, or more.
    fn merge_once(&self, count: usize, progress: &mut dyn FnMut(f64)) -> Result<bool, StoreError> {
        let _merging = lock(&self.merging);
        self.refuse_when_poisoned()?;
        self.publish_erasures()?;
        self.begin_sweep()?;
        self.end_sweep()?;
        let snapshot = self.snapshot();
        let inputs = match self.choose_within_room(&snapshot, count) {
            Ok(Some(inputs)) => inputs,
            Ok(None) => return Ok(false),
            Err(error) => return self.set_aside(snapshot.segments(), error),
        };
        match self.merge(&snapshot, &inputs, progress) {
            Ok(()) => self.end_sweep().map(|()| true),
            Err(error) => self.set_aside(&inputs, error),
        }
    }

    /// A merge needs as much room as what it merges takes until that is deleted. What arrives meanwhile is to find as much
    /// again: recording goes before order.
    fn choose_within_room(&self, snapshot: &Snapshot, count: usize) -> Result<Option<Vec<Arc<Segment>>>, StoreError> {
        let free = self.fs.free_space(&self.dir).unwrap_or(u64::MAX);
        let bytes_max = free.saturating_sub(FREE_MIN) / 2;
        let chosen = self.choose(snapshot, count, bytes_max)?;
        let all = snapshot.segments().iter().map(|segment| segment.meta().bytes).sum::<u64>();
        let lacks_room = chosen.is_none() && all > bytes_max && self.choose(snapshot, count, u64::MAX)?.is_some();
        if lacks_room && !std::mem::replace(&mut lock(&self.changes).merges_lack_room, lacks_room) {
            warn!(free, "too little room to merge segments; questions get slower until there is more");
        }
        if chosen.is_some() {
            lock(&self.changes).merges_lack_room = false;
        }
        Ok(chosen)
    }

    /// What can be read of a damaged segment stays readable where it is. It is not tried again before the next start.
    fn set_aside(&self, segments: &[Arc<Segment>], error: StoreError) -> Result<bool, StoreError> {
        let Some(damaged) = segments.iter().find(|segment| is_at(segment, &error)) else { return Err(error) };
        warn!(error = super::seal::describe(&error), "a segment can't be read and is not merged with others");
        lock(&self.unmergeable).insert(damaged.meta().id.number);
        Ok(true)
    }

    fn merge(
        &self,
        snapshot: &Snapshot,
        inputs: &[Arc<Segment>],
        progress: &mut dyn FnMut(f64),
    ) -> Result<(), StoreError> {
        let begun = std::time::Instant::now();
        let id = self.new_segment();
        let path = self.dir.join(id.file_name());
        let written = SegmentWriter::create(&*self.fs, &self.dir, id)
            .and_then(|writer| Merge::new(self, snapshot, inputs, id.number, writer, progress)?.run(inputs));
        let (meta, moved) = match written {
            Ok(written) => written,
            Err(error) => {
                self.discard_now([path]);
                return Err(error);
            }
        };
        let merged = if meta.rows == 0 { None } else { Some(self.open_new(&meta)) };
        let merged = merged.transpose().inspect_err(|_| self.discard_now([path.clone()]))?;
        self.replace(inputs, merged.as_ref(), moved).inspect_err(|error| {
            // When it is unknown which manifest is live, it may be the one that names it.
            if !matches!(error, StoreError::Poisoned { .. }) {
                self.discard_now([path.clone()]);
            }
        })?;
        if meta.rows == 0 {
            self.discard_now([path]);
        }
        let took_ms = begun.elapsed().as_millis();
        debug!(segments = inputs.len(), events = meta.rows, bytes = meta.bytes, took_ms, "merged segments");
        Ok(())
    }

    /// Puts `merged` in the place of `inputs`, on disk and on view; without one, `inputs` go. `moved` says in which rows of
    /// `merged` open connections begin.
    pub(super) fn replace(
        &self,
        inputs: &[Arc<Segment>],
        merged: Option<&Arc<Segment>>,
        moved: Moved,
    ) -> Result<(), StoreError> {
        let is_input = |number: u64| inputs.iter().any(|input| input.meta().id.number == number);
        let mut publisher = lock(&self.publisher);
        let snapshot = self.snapshot();
        let stay = snapshot.segments().iter().filter(|segment| !is_input(segment.meta().id.number));
        let stay: Vec<&Arc<Segment>> = stay.chain(merged).collect();
        let opened = |number: u64| snapshot.segments().iter().any(|segment| segment.meta().id.number == number);
        let unopened = publisher.manifest.segments.iter().filter(|entry| !opened(entry.number));
        let needed = erasures_needed(&snapshot, &stay, unopened.map(|entry| entry.seq_hi).min());
        let mut carried = publisher.carried.clone();
        let old: Vec<u64> = inputs.iter().map(|input| input.meta().id.number).collect();
        carried.replace(&old, moved);
        self.publish(
            &mut publisher,
            Some(carried),
            |manifest| {
                manifest.segments.retain(|entry| !is_input(entry.number));
                manifest.segments.extend(merged.iter().map(|segment| SegmentEntry::of(segment.meta())));
                manifest.erasures = needed;
            },
            |view| {
                view.segments.retain(|segment| !is_input(segment.meta().id.number));
                view.segments.extend(merged.cloned());
            },
        )?;
        for input in inputs {
            self.discard(&mut publisher, input.path().to_owned());
        }
        Ok(())
    }
}

fn is_at(segment: &Segment, error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { path, .. } | StoreError::Io { path, .. } if path == segment.path())
}

/// Segments on their way into one. Holds a block of each.
struct Merge<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    inputs: Vec<Input<'a>>,
    /// The next key of each input, the least on top; of equal ones the oldest input's.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    writer: SegmentWriter,
    cells: Vec<(Column, u64)>,
    /// The number of the new segment.
    number: u64,
    /// Open connections that begin here.
    moved: Moved,
    done: u64,
    all: u64,
    progress: &'a mut dyn FnMut(f64),
}

struct Input<'a> {
    segment: &'a Segment,
    keys: KeyCursor<'a>,
    rows: RowCursor<'a>,
    texts: Translation,
    /// Of the key that is its head.
    range: Range<u64>,
    /// The rows that open connections begin in.
    open: Peekable<OpenRows>,
}

impl<'a> Merge<'a> {
    fn new(
        shared: &'a Shared,
        snapshot: &'a Snapshot,
        segments: &'a [Arc<Segment>],
        number: u64,
        writer: SegmentWriter,
        progress: &'a mut dyn FnMut(f64),
    ) -> Result<Self, StoreError> {
        let mut inputs = Vec::with_capacity(segments.len());
        let numbers: Vec<u64> = segments.iter().map(|segment| segment.meta().id.number).collect();
        let moved = Moved::new(&lock(&shared.publisher).carried, &numbers);
        for segment in segments {
            let (keys, rows) = (segment.keys(&[])?, segment.rows());
            let open = moved.rows_of(segment.meta().id.number).peekable();
            inputs.push(Input { segment, keys, rows, texts: Translation::new(), range: 0..0, open });
        }
        let all = segments.iter().map(|segment| segment.meta().rows).sum::<u64>().max(1);
        let heads = BinaryHeap::with_capacity(inputs.len());
        let cells = Vec::new();
        let mut merge = Self { shared, snapshot, inputs, heads, writer, cells, number, moved, done: 0, all, progress };
        for at in 0..merge.inputs.len() {
            merge.advance(at, Vec::new())?;
        }
        Ok(merge)
    }

    /// Puts the next key of an input among the heads, in the memory of one that is done with.
    fn advance(&mut self, at: usize, mut memory: Vec<u8>) -> Result<(), StoreError> {
        let Some(input) = self.inputs.get_mut(at) else { return Ok(()) };
        if let Some((key, rows)) = input.keys.next()? {
            memory.clear();
            memory.extend_from_slice(key);
            input.range = rows;
            self.heads.push(Reverse((memory, at)));
        }
        Ok(())
    }

    fn run(mut self, segments: &[Arc<Segment>]) -> Result<(SegmentMeta, Moved), StoreError> {
        let mut group: Vec<(Vec<u8>, usize)> = Vec::new();
        let mut cutoff: (Vec<u8>, TimeMs) = (Vec::new(), TimeMs::MIN);
        while let Some(Reverse(first)) = self.heads.pop() {
            group.push(first);
            while let Some(Reverse((key, _))) = self.heads.peek()
                && group.first().is_some_and(|(least, _)| least == key)
            {
                group.extend(self.heads.pop().map(|Reverse(head)| head));
            }
            if let Some((key, _)) = group.first() {
                if cutoff.0.is_empty() || !key.starts_with(&cutoff.0) {
                    let end = key.iter().position(|byte| *byte == 0).map_or(0, |zero| zero + 1);
                    let time = Key::read(key).map_or(TimeMs::MIN, |key| self.snapshot.cutoff(&key.instance));
                    cutoff = (key.get(..end).unwrap_or_default().to_vec(), time);
                }
                self.subject(&group, cutoff.1)?;
            }
            for (key, at) in group.drain(..) {
                self.advance(at, key)?;
            }
        }
        let first = segments.iter().map(|segment| *segment.meta().sequence.start()).min().unwrap_or(0);
        let last = segments.iter().map(|segment| *segment.meta().sequence.end()).max().unwrap_or(0);
        Ok((self.writer.finish(first..=last)?, self.moved))
    }

    /// Writes the rows that one subject has in some of the inputs, which are ordered by age.
    fn subject(&mut self, group: &[(Vec<u8>, usize)], cutoff: TimeMs) -> Result<(), StoreError> {
        let Some((key, _)) = group.first() else { return Ok(()) };
        self.writer.subject(key)?;
        let mut sources: Vec<(usize, Range<u64>)> = Vec::with_capacity(group.len());
        for (key, at) in group {
            let Some(input) = self.inputs.get(*at) else { continue };
            if self.snapshot.is_erased(input.segment, key) {
                self.done += input.range.end - input.range.start;
            } else {
                sources.push((*at, input.range.clone()));
            }
        }
        if let [(at, rows)] = sources.as_slice() {
            for row in rows.clone() {
                self.row(*at, row, cutoff)?;
            }
            return Ok(());
        }
        let mut times = Vec::with_capacity(sources.len());
        for (at, rows) in &sources {
            times.push(self.time(*at, rows)?);
        }
        // The earliest next row; of those of one time the oldest input's, which is the first.
        while let Some((next, _)) =
            times.iter().enumerate().filter_map(|(n, time)| Some((n, (*time)?))).min_by_key(|(_, time)| *time)
        {
            let Some((at, rows)) = sources.get_mut(next) else { break };
            let (at, row) = (*at, rows.start);
            rows.start += 1;
            let rest = rows.clone();
            self.row(at, row, cutoff)?;
            let time = self.time(at, &rest)?;
            if let Some(place) = times.get_mut(next) {
                *place = time;
            }
        }
        Ok(())
    }

    fn time(&mut self, at: usize, rows: &Range<u64>) -> Result<Option<TimeMs>, StoreError> {
        let Some(input) = self.inputs.get_mut(at).filter(|_| !rows.is_empty()) else { return Ok(None) };
        let (block, place) = input.rows.at(rows.start)?;
        Ok(Some(block.time(place)))
    }

    fn row(&mut self, at: usize, row: u64, cutoff: TimeMs) -> Result<(), StoreError> {
        self.done += 1;
        if self.done.is_multiple_of(ROWS_A_LOOK) {
            self.look_up()?;
        }
        let Some(input) = self.inputs.get_mut(at) else { return Ok(()) };
        let (block, place) = input.rows.at(row)?;
        let Some(read) = block.row(place) else { return Ok(()) };
        while input.open.next_if(|(_, place)| place.row < row).is_some() {}
        if read.time < cutoff {
            return Ok(());
        }
        if let Some((connection, place)) = input.open.next_if(|(_, place)| place.row == row) {
            let (segment, row) = (self.number, self.writer.next_row());
            self.moved.push(connection, Place { segment, row, ..place });
        }
        self.cells.clear();
        for (column, value) in block.cells(place) {
            let value = if column.is_text() {
                let number = u32::try_from(value).unwrap_or(u32::MAX);
                u64::from(self.writer.text_of(input.segment, number, &mut input.texts)?)
            } else {
                value
            };
            self.cells.push((column, value));
        }
        self.writer.row(&read, self.cells.iter().copied())
    }

    fn look_up(&mut self) -> Result<(), StoreError> {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        (self.progress)(self.done as f64 / self.all as f64);
        if self.shared.stopping.load(Ordering::Relaxed) {
            let source = std::io::Error::new(std::io::ErrorKind::Interrupted, "the store is closed");
            return Err(StoreError::Io { operation: "merge in", path: self.shared.dir.clone(), source });
        }
        Ok(())
    }
}
