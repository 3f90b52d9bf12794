//! What takes how much room.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;
use tracemq_model::{Event, InstanceId, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::look::Look;
use crate::carried::Carried;
use crate::key::Key;
use crate::segment::{ROWS, Segment};
use crate::view::Snapshot;

/// What a store holds, and what takes how much room.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Events in segments and in the log; erased and expired ones are counted until their bytes are gone.
    pub events: u64,
    /// Bytes of segments, log, and the list of open connections.
    pub bytes: u64,
    /// By age.
    pub segments: Vec<SegmentFigures>,
    /// What takes room within the segments, in the order in which they stand there.
    pub columns: Vec<ColumnFigures>,
    /// By name; what stands in the log is not in it.
    pub instances: Vec<InstanceFigures>,
    /// What is in no segment yet.
    pub log: LogFigures,
    /// Bytes of the list of connections that are open and whose beginning stands in no log any more.
    pub open_connections_bytes: u64,
    /// Spans of time for which the record is known to be incomplete.
    pub gaps: usize,
    /// Subjects that were erased, and whose bytes go when their files are next rewritten.
    pub erasures_pending: usize,
}

/// A segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentFigures {
    /// The file's name.
    pub file: String,
    /// How many events.
    pub events: u64,
    /// How many clients and addresses.
    pub subjects: u64,
    /// Its earliest event.
    pub from: TimeMs,
    /// Its latest event.
    pub to: TimeMs,
    /// The file's length.
    pub bytes: u64,
}

/// A column of the segments, or another part of them.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnFigures {
    /// Its name.
    pub column: &'static str,
    /// How many bytes in all segments.
    pub bytes: u64,
}

/// What the segments hold of one instance.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceFigures {
    /// Its name.
    pub instance: InstanceId,
    /// How many events.
    pub events: u64,
    /// Its share of the blocks of rows: directory, texts and indexes are nobody's.
    pub bytes: u64,
    /// Its earliest event.
    pub from: TimeMs,
    /// Its latest event.
    pub to: TimeMs,
}

/// The log.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LogFigures {
    /// How many files.
    pub files: usize,
    /// How many events stand in it.
    pub events: u64,
    /// How long the files are together.
    pub bytes: u64,
}

pub(super) fn of(look: &Look) -> Figures {
    let snapshot = &look.snapshot;
    let mut columns: Vec<ColumnFigures> = Vec::new();
    let mut instances: BTreeMap<InstanceId, InstanceFigures> = BTreeMap::new();
    let mut segments = Vec::new();
    for segment in snapshot.segments() {
        let meta = segment.meta();
        segments.push(SegmentFigures {
            file: meta.id.file_name(),
            events: meta.rows,
            subjects: meta.subjects,
            from: meta.times.from,
            to: meta.times.to,
            bytes: meta.bytes,
        });
        for (part, bytes) in meta.parts.iter() {
            match columns.iter_mut().find(|column| column.column == part.name()) {
                Some(column) => column.bytes += bytes,
                None => columns.push(ColumnFigures { column: part.name(), bytes }),
            }
        }
        for total in &meta.instances {
            let TimeRange { from, to } = total.times;
            let known = instances.entry(total.instance.clone()).or_insert_with(|| InstanceFigures {
                instance: total.instance.clone(),
                events: 0,
                bytes: 0,
                from,
                to,
            });
            known.events += total.rows;
            known.bytes += total.bytes;
            known.from = known.from.min(from);
            known.to = known.to.max(to);
        }
    }
    let sealed: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let named: u64 = columns.iter().map(|column| column.bytes).sum();
    columns.push(ColumnFigures { column: "checksums, headers", bytes: sealed.saturating_sub(named) });
    let log = log_figures(look);
    let open = look.looked.manifest.orphans.map(|number| Carried::path(&look.dir, number));
    let open_connections_bytes = open.and_then(|path| fs::metadata(path).ok()).map_or(0, |file| file.len());
    Figures {
        events: segments.iter().map(|segment| segment.events).sum::<u64>() + log.events,
        bytes: sealed + log.bytes + open_connections_bytes,
        segments,
        columns,
        instances: instances.into_values().collect(),
        log,
        open_connections_bytes,
        gaps: look.gaps(TimeRange::ALL).len(),
        erasures_pending: snapshot.erased_subjects(),
    }
}

fn log_figures(look: &Look) -> LogFigures {
    let log = &look.looked.log;
    let length = |number: &u64| fs::metadata(crate::wal::path(&look.dir, *number)).map_or(0, |file| file.len());
    let bytes = log.files.iter().map(|(number, read)| length(number).max(*read)).sum();
    LogFigures { files: log.files.len(), events: log.events, bytes }
}

/// So many segments a sample is taken of, and so many blocks of each.
const SEGMENTS_MAX: usize = 8;
const BLOCKS_MAX: u64 = 4;
/// So many events a sample of the log has.
const LOG_EVENTS_MAX: usize = 1_000;

pub(super) fn sample(snapshot: &Snapshot) -> Result<Vec<Event>, StoreError> {
    let segments = snapshot.segments();
    let mut events = Vec::new();
    for segment in segments.iter().step_by(segments.len().div_ceil(SEGMENTS_MAX).max(1)) {
        let step = segment.blocks().div_ceil(BLOCKS_MAX).max(1);
        let mut number = 0;
        while number < segment.blocks() {
            match push_block(segment, number, &mut events) {
                // A sample can do without what is damaged.
                Ok(()) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            number += step;
        }
    }
    if events.is_empty() {
        for (memtable, visible) in snapshot.memtables() {
            events.extend((0..visible.min(LOG_EVENTS_MAX)).filter_map(|row| memtable.event_unless_erased(row)));
        }
    }
    Ok(events)
}

fn push_block(segment: &Segment, number: u64, events: &mut Vec<Event>) -> Result<(), StoreError> {
    let block = segment.block(number)?;
    let first = number * u64::try_from(ROWS).unwrap_or(u64::MAX);
    let mut known: Option<(Option<Key>, std::ops::Range<u64>)> = None;
    for (row, at) in (first..).zip(0..block.rows()) {
        if known.as_ref().is_none_or(|(_, rows)| !rows.contains(&row)) {
            let (key, rows) = segment.key_of_row(row)?;
            known = Some((Key::read(&key), rows));
        }
        let Some((Some(key), _)) = &known else { continue };
        let details = segment.details(&block, at)?;
        events.extend(block.row(at).and_then(|row| row.to_event(key, details)));
    }
    Ok(())
}
