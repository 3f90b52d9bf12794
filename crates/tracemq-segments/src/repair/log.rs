//! From which file on the log counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracemq_model::{Gap, TimeMs, TimeRange};
use tracemq_store::StoreError;

use super::choose::{Chosen, is_same};
use super::found::Found;
use crate::fs::Fs;
use crate::manifest::SegmentEntry;
use crate::segment::Segment;
use crate::wal::{self, Mode};

pub(super) struct Log {
    /// The first file that counts.
    pub(super) first: u64,
    /// How many count, and the events in them.
    pub(super) files: usize,
    pub(super) events: u64,
    /// Files that don't count, and why.
    pub(super) stale: Vec<(u64, &'static str)>,
    /// Of a damaged file whose segments count in its place.
    pub(super) gaps: Vec<Gap>,
}

/// Chooses between the last segments and the file that they were made of: the file holds all that they do, and maybe more.
pub(super) fn choose(
    fs: &dyn Fs,
    dir: &Path,
    found: &Found,
    kept: &[SegmentEntry],
    chosen: &mut Chosen,
) -> Result<Log, StoreError> {
    let sealed = sealed(found, kept, chosen);
    let sealed = match sealed {
        Some(sealed) => sealed,
        // No segment says where it begins.
        None => found.logs.iter().min().map_or(0, |first| first.saturating_sub(1)),
    };
    let mut log = Log { first: sealed.saturating_add(1), files: 0, events: 0, stale: Vec::new(), gaps: Vec::new() };
    let made_of_it: Vec<Arc<Segment>> = chosen.live.iter().filter(|segment| is_of(segment, sealed)).cloned().collect();
    if found.logs.contains(&sealed) && !made_of_it.is_empty() && !is_sealed_for_sure(found, kept, chosen, sealed) {
        let rows: u64 = made_of_it.iter().map(|segment| segment.meta().rows).sum();
        let mut events = 0_u64;
        let replayed = wal::replay(fs, dir, found.store, sealed, Mode::Look, &mut |file, entry| {
            events += u64::from(file == sealed && matches!(entry, wal::Entry::Event(_)));
        })?;
        if events >= rows {
            log.first = sealed;
            chosen.live.retain(|segment| !made_of_it.iter().any(|made| is_same(made, segment)));
            let why = "its events stand in a file of the log as well, which counts";
            chosen.aside.extend(made_of_it.into_iter().map(|segment| (segment, why.to_owned())));
        } else {
            let path = wal::path(dir, sealed);
            let of_file = replayed.damaged.iter().filter(|damage| damage.path == path);
            log.gaps = of_file.map(|damage| damage.gap(TimeRange { from: TimeMs::MIN, to: TimeMs::MAX })).collect();
        }
    }
    count(fs, dir, found, &mut log)?;
    let why = "its events stand in segments";
    log.stale = found.logs.iter().filter(|number| **number < log.first).map(|number| (*number, why)).collect();
    Ok(log)
}

fn count(fs: &dyn Fs, dir: &Path, found: &Found, log: &mut Log) -> Result<(), StoreError> {
    let mut events: BTreeMap<u64, u64> = BTreeMap::new();
    let replayed = wal::replay(fs, dir, found.store, log.first, Mode::Look, &mut |file, entry| {
        *events.entry(file).or_default() += u64::from(matches!(entry, wal::Entry::Event(_)));
    })?;
    log.files = replayed.files.len();
    log.events = events.values().sum();
    Ok(())
}

/// The last file of the log of which there are segments.
fn sealed(found: &Found, kept: &[SegmentEntry], chosen: &Chosen) -> Option<u64> {
    let live = chosen.live.iter().map(|segment| *segment.meta().sequence.end());
    let known = found.base.as_ref().map(|(base, _)| base.first_wal.saturating_sub(1));
    live.chain(kept.iter().map(|entry| entry.seq_hi)).chain(known).max()
}

fn is_of(segment: &Segment, log: u64) -> bool {
    segment.meta().sequence == (log..=log)
}

/// Whether a manifest must have named all segments that were made of the file `log`: one that can be read is past it, or some of
/// them were merged since.
fn is_sealed_for_sure(found: &Found, kept: &[SegmentEntry], chosen: &Chosen, log: u64) -> bool {
    let is_past = found.base.as_ref().is_some_and(|(base, _)| base.first_wal > log);
    let is_merged = |lo: u64, hi: u64| hi == log && lo < log;
    let merged = chosen.live.iter().any(|segment| {
        let sequence = &segment.meta().sequence;
        is_merged(*sequence.start(), *sequence.end())
    });
    is_past || merged || kept.iter().any(|entry| is_merged(entry.seq_lo, entry.seq_hi))
}
