//! From a frozen memtable to segments.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hashbrown::HashMap;
use tracemq_model::{Action, TimeMs};
use tracemq_store::StoreError;
use tracing::{debug, info, warn};

use super::append::again;
use super::pairing::{Pairing, Unpaired};
use super::{Shared, lock};
use crate::carried::Place;
use crate::cells::{self, Column};
use crate::key::Key;
use crate::manifest::SegmentEntry;
use crate::memtable::Memtable;
use crate::segment::{SegmentMeta, SegmentWriter};
use crate::view::{Frozen, Snapshot};

const DAY_MS: i64 = 86_400_000;
/// Each of the newest days of a memtable gets a segment; what is older than these gets one together. More would be many small
/// files for a clock that jumps about.
const DAYS_MAX: usize = 3;
/// A store that stops with fewer events in its memtable leaves them to the log: they are read in a moment.
const QUICK_START_EVENTS: usize = 50_000;

impl Shared {
    /// Seals the active memtable and all frozen ones.
    pub(super) fn seal_all(&self) -> Result<(), StoreError> {
        self.freeze_now()?;
        while self.seal_next()? {}
        Ok(())
    }

    /// Seals the oldest frozen memtable; false when there is none.
    pub(super) fn seal_next(&self) -> Result<bool, StoreError> {
        let _sealing = lock(&self.sealing);
        let Some(frozen) = self.view().frozen.first().cloned() else { return Ok(false) };
        let sealed = self.refuse_when_poisoned().and_then(|()| self.seal(&frozen));
        self.announce(|changes| changes.not_sealed = sealed.as_ref().err().map(|error| again(error, &self.dir)));
        sealed.map(|()| true)
    }

    /// What can't be published is not written: nothing would delete it again.
    pub(super) fn refuse_when_poisoned(&self) -> Result<(), StoreError> {
        match &lock(&self.publisher).poisoned {
            Some(path) => Err(StoreError::Poisoned { path: path.clone() }),
            None => Ok(()),
        }
    }

    /// So that the next start has little to read from the log. A failure costs nothing but that.
    pub(super) fn seal_for_a_quick_start(&self) {
        let view = self.view();
        let is_little = view.frozen.is_empty() && view.active.visible() < QUICK_START_EVENTS;
        // What made that thread panic would do so again.
        if is_little || lock(&self.changes).sealer_is_gone {
            return;
        }
        let events = view.active.visible() + view.frozen.iter().map(|frozen| frozen.memtable.visible()).sum::<usize>();
        info!(events, "sealing what arrived last: about a second for a million events");
        if let Err(error) = self.seal_all() {
            warn!(error = describe(&error), "can't seal what arrived last; the next start reads it from the log");
        }
    }

    fn seal(&self, frozen: &Frozen) -> Result<(), StoreError> {
        let started = std::time::Instant::now();
        let (metas, unpaired) = self.write_segments(frozen)?;
        self.take_over(frozen, &metas, unpaired).inspect_err(|error| {
            // When it is unknown which manifest is live, it may be the one that names them.
            if !matches!(error, StoreError::Poisoned { .. }) {
                self.discard_now(metas.iter().map(|meta| self.dir.join(meta.id.file_name())));
            }
        })?;
        let events: u64 = metas.iter().map(|meta| meta.rows).sum();
        let bytes: u64 = metas.iter().map(|meta| meta.bytes).sum();
        debug!(events, bytes, segments = metas.len(), took_ms = started.elapsed().as_millis(), "sealed a memtable");
        Ok(())
    }

    /// Puts the segments in the place of the memtable and its log.
    fn take_over(&self, frozen: &Frozen, metas: &[SegmentMeta], unpaired: Unpaired) -> Result<(), StoreError> {
        let mut segments = Vec::with_capacity(metas.len());
        for meta in metas {
            segments.push(self.open_new(meta)?);
        }
        // Notes of erasures go with the log's file: two manifests have them by then, so that one may be lost.
        self.publish_erasures()?;
        let mut publisher = lock(&self.publisher);
        let mut carried = publisher.carried.clone();
        carried.advance(unpaired);
        let gaps = frozen.memtable.gaps();
        let sequence = frozen.sequence;
        self.publish(
            &mut publisher,
            Some(carried),
            |manifest| {
                manifest.segments.extend(metas.iter().map(SegmentEntry::of));
                for gap in &gaps {
                    manifest.push_gap(*gap);
                }
                manifest.first_wal = frozen.log + 1;
            },
            |view| {
                view.frozen.retain(|other| other.sequence != sequence);
                view.segments.extend(segments.iter().cloned());
            },
        )?;
        self.discard(&mut publisher, crate::wal::path(&self.dir, frozen.log));
        Ok(())
    }

    /// The segments of `frozen`, whole and durable but for their names. Removes what it wrote when it fails.
    pub(super) fn write_segments(&self, frozen: &Frozen) -> Result<(Vec<SegmentMeta>, Unpaired), StoreError> {
        let snapshot = self.snapshot();
        let mut parts = Parts::new(self, &frozen.memtable);
        let written = parts
            .fill(&snapshot, &frozen.memtable)
            .and_then(|unpaired| parts.finish(frozen.sequence).map(|metas| (metas, unpaired)));
        written.inspect_err(|_| self.discard_now(parts.paths()))
    }
}

/// Segments that are written side by side: one for each of the newest days, one for all before.
struct Parts<'a> {
    shared: &'a Shared,
    /// By their first moment.
    starts: Vec<TimeMs>,
    writers: BTreeMap<usize, Part>,
}

struct Part {
    number: u64,
    writer: SegmentWriter,
    path: std::path::PathBuf,
    has_key: bool,
    /// The numbers of texts here, by their number in the memtable.
    texts: HashMap<u32, u32>,
}

impl<'a> Parts<'a> {
    fn new(shared: &'a Shared, memtable: &Memtable) -> Self {
        let mut days: Vec<i64> = Vec::new();
        memtable.each(
            memtable.visible(),
            |row| {
                let day = row.time.0.div_euclid(DAY_MS);
                if !days.contains(&day) {
                    let at = days.partition_point(|known| *known > day);
                    days.insert(at, day);
                    days.truncate(DAYS_MAX);
                }
                false
            },
            |_, _, _| {},
        );
        let mut starts: Vec<TimeMs> = days.iter().rev().map(|day| TimeMs(day.saturating_mul(DAY_MS))).collect();
        starts.insert(0, TimeMs::MIN);
        Self { shared, starts, writers: BTreeMap::new() }
    }

    fn fill(&mut self, snapshot: &Snapshot, memtable: &Memtable) -> Result<Unpaired, StoreError> {
        let mut pairing = Pairing::default();
        let (mut key, mut cells): (Vec<u8>, Vec<(Column, u64)>) = (Vec::new(), Vec::new());
        let mut cutoff = TimeMs::MIN;
        memtable.seal(|row, texts| {
            if key != row.key {
                row.key.clone_into(&mut key);
                cutoff = Key::read(&key).map_or(TimeMs::MIN, |read| snapshot.cutoff(&read.instance));
                for part in self.writers.values_mut() {
                    part.has_key = false;
                }
                pairing.end_subject();
            }
            if row.row.time < cutoff {
                return Ok(());
            }
            let part = self.part(row.row.time)?;
            if !part.has_key {
                part.writer.subject(&key)?;
                part.has_key = true;
            }
            let Part { number, writer, texts: known, .. } = part;
            if let Some((action, ..)) = row.row.kind.parts() {
                let is_connect = action == Action::Connect;
                let place = Place { segment: *number, row: writer.next_row(), is_connect };
                pairing.row(row.row.connection, action, place);
            }
            cells.clear();
            for (column, value) in cells::cells(row.cells).flatten() {
                let value =
                    if column.is_text() { text(writer, known, value, |number| texts.get(number))? } else { value };
                cells.push((column, value));
            }
            writer.row(row.row, cells.iter().copied())
        })?;
        pairing.end_subject();
        for connection in memtable.erased_ends() {
            pairing.erased_end(connection);
        }
        Ok(pairing.finish())
    }

    fn part(&mut self, time: TimeMs) -> Result<&mut Part, StoreError> {
        let at = self.starts.partition_point(|start| *start <= time);
        match self.writers.entry(at) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) => {
                let id = self.shared.new_segment();
                let path = self.shared.dir.join(id.file_name());
                let writer = SegmentWriter::create(&*self.shared.fs, &self.shared.dir, id)?;
                Ok(new.insert(Part { number: id.number, writer, path, has_key: false, texts: HashMap::new() }))
            }
        }
    }

    fn finish(&mut self, sequence: u64) -> Result<Vec<SegmentMeta>, StoreError> {
        let sequence: RangeInclusive<u64> = sequence..=sequence;
        let mut metas = Vec::new();
        let mut failed = None;
        let mut unfinished = BTreeMap::new();
        for (at, part) in std::mem::take(&mut self.writers) {
            if failed.is_some() {
                unfinished.insert(at, part);
                continue;
            }
            let path = part.path;
            match part.writer.finish(sequence.clone()) {
                Ok(meta) => metas.push(meta),
                Err(error) => {
                    self.shared.discard_now([path]);
                    failed = Some(error);
                }
            }
        }
        self.writers = unfinished;
        match failed {
            None => Ok(metas),
            Some(error) => {
                self.shared.discard_now(metas.iter().map(|meta| self.shared.dir.join(meta.id.file_name())));
                Err(error)
            }
        }
    }

    fn paths(&self) -> Vec<std::path::PathBuf> {
        self.writers.values().map(|part| part.path.clone()).collect()
    }
}

fn text(
    writer: &mut SegmentWriter,
    known: &mut HashMap<u32, u32>,
    number: u64,
    get: impl FnOnce(u32) -> Option<Arc<str>>,
) -> Result<u64, StoreError> {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    if let Some(found) = known.get(&number) {
        return Ok(u64::from(*found));
    }
    let found = writer.text(get(number).as_deref().unwrap_or_default())?;
    known.insert(number, found);
    Ok(u64::from(found))
}

/// An error and what it came of.
pub(super) fn describe(error: &StoreError) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
