//! Which of the segments count.
//!
//! Live segments follow each other by age: of two, one ends where the other begins or before. So a segment whose sequence lies within a later
//! one's was merged into it, but for one case: a memtable is sealed into several segments, one for each day, all of one
//! sequence, and a merge may have taken some of them and not the others. Whether a segment's rows stand in the later one tells.

use std::cmp::Reverse;
use std::sync::Arc;

use tracemq_model::TimeMs;
use tracemq_store::StoreError;

use super::found::Found;
use crate::manifest::{Manifest, SegmentEntry};
use crate::row::Row;
use crate::segment::{Block, Segment, Unread};

/// So many rows of a segment are looked for in another.
const SAMPLE_ROWS: u64 = 256;
/// Of these as many have to be found: a batch that was written twice is in two segments as well.
const FOUND_OF_FOUR: u64 = 1;

/// Segments that count, and those that don't with the reason.
pub(super) struct Chosen {
    pub(super) live: Vec<Arc<Segment>>,
    pub(super) aside: Vec<(Arc<Segment>, String)>,
}

pub(super) fn choose(whole: &[Arc<Segment>], base: Option<&Manifest>) -> Result<Chosen, StoreError> {
    let mut rest = whole.to_vec();
    // A merged one comes before what it was made of; of two of one span the later one, which has less that is erased.
    rest.sort_by_key(|segment| (Reverse(length(segment)), Reverse(segment.meta().id.number)));
    let mut chosen = Chosen { live: Vec::new(), aside: Vec::new() };
    while !rest.is_empty() {
        let merged = rest.remove(0);
        if merged.meta().rows == 0 {
            chosen.aside.push((merged, "it holds no events".to_owned()));
            continue;
        }
        let (mut inputs, mut maybe) = (Vec::new(), Vec::new());
        for segment in rest.iter().filter(|segment| !are_both_live(base, &merged, segment)) {
            match replaces(&merged, segment)? {
                Some(true) => inputs.push(Arc::clone(segment)),
                Some(false) => {}
                None => maybe.push(Arc::clone(segment)),
            }
        }
        let input_rows: u64 = inputs.iter().chain(&maybe).map(|input| input.meta().rows).sum();
        // It may never have been finished.
        if input_rows >= merged.meta().rows && !merged.verify(&mut |_| {}).is_empty() {
            let why =
                format!("it is damaged, and what it was made of is there: {}", names(inputs.iter().chain(&maybe)));
            chosen.aside.push((merged, why));
            continue;
        }
        rest.retain(|segment| !inputs.iter().any(|input| is_same(input, segment)));
        let why = format!("its events stand in {}", merged.meta().id.file_name());
        chosen.aside.extend(inputs.into_iter().map(|input| (input, why.clone())));
        chosen.live.push(merged);
    }
    Ok(chosen)
}

/// Entries of the newest manifest whose segments can't be opened, and stand in no other: the store leaves a gap for each, and
/// shows its events again should the file be put back.
pub(super) fn kept_entries(found: &Found, chosen: &Chosen) -> Vec<SegmentEntry> {
    let base = found.base.iter().flat_map(|(base, _)| &base.segments);
    let is_broken = |entry: &&SegmentEntry| found.broken.iter().any(|broken| broken.number == entry.number);
    base.filter(is_broken).filter(|entry| merged_later(found, chosen, entry).is_none()).copied().collect()
}

/// The live segment that came after the newest manifest and that `entry`, which it names, was merged into.
pub(super) fn merged_later<'a>(found: &Found, chosen: &'a Chosen, entry: &SegmentEntry) -> Option<&'a Arc<Segment>> {
    let later = chosen.live.iter().filter(|segment| !found.is_in_base(segment.meta().id.number));
    let mut holding = later.filter(|segment| {
        let sequence = &segment.meta().sequence;
        let overlaps = segment.meta().times.from <= entry.max_time && entry.min_time <= segment.meta().times.to;
        // Of the segments that one memtable was sealed into no two share a moment.
        *sequence.start() <= entry.seq_lo && entry.seq_hi <= *sequence.end() && overlaps
    });
    holding.next()
}

fn length(segment: &Segment) -> u64 {
    let sequence = &segment.meta().sequence;
    sequence.end().saturating_sub(*sequence.start())
}

pub(super) fn is_same(one: &Segment, other: &Segment) -> bool {
    one.meta().id.number == other.meta().id.number
}

fn names<'a>(segments: impl Iterator<Item = &'a Arc<Segment>>) -> String {
    let names: Vec<String> = segments.map(|segment| segment.meta().id.file_name()).collect();
    names.join(", ")
}

/// What one manifest names is in no other that it names, whatever their sequences say.
fn are_both_live(base: Option<&Manifest>, one: &Segment, other: &Segment) -> bool {
    let names = |base: &Manifest, segment: &Segment| base.segments.iter().any(|entry| entry.is_of(segment.meta()));
    base.is_some_and(|base| names(base, one) && names(base, other))
}

/// Whether `merged` was made of `segment` and others; none when too little can be read of it to tell.
fn replaces(merged: &Segment, segment: &Segment) -> Result<Option<bool>, StoreError> {
    let (all, part) = (merged.meta(), segment.meta());
    let is_within = all.sequence.start() <= part.sequence.start() && part.sequence.end() <= all.sequence.end();
    // A number is never given twice, and what is merged was there before.
    if !is_within || part.id.number > all.id.number {
        return Ok(Some(false));
    }
    if part.rows == 0 { Ok(Some(true)) } else { stands_in(segment, merged) }
}

/// Whether the rows of `segment` stand in `merged`. Keys that have none there are passed over: they may have been erased.
fn stands_in(segment: &Segment, merged: &Segment) -> Result<Option<bool>, StoreError> {
    let (mut looked_for, mut found, mut unread) = (0_u64, 0_u64, 0_u64);
    let mut rows = segment.rows();
    let step = usize::try_from(segment.meta().rows / SAMPLE_ROWS).unwrap_or(usize::MAX).max(1);
    for row in (0..segment.meta().rows).step_by(step) {
        let is_there = segment.key_of_row(row).and_then(|(key, _)| {
            let (block, place) = rows.at(row)?;
            let Some(read) = block.row(place) else { return Ok(None) };
            let is_it = |other: &Row| (other.connection, other.kind) == (read.connection, read.kind);
            find(merged, &key, read.time, is_it)
        });
        match is_there {
            Ok(None) => {}
            Ok(Some(row)) => {
                looked_for += 1;
                found += u64::from(row.is_some());
            }
            Err(StoreError::Damaged { path, .. }) => unread += u64::from(path == merged.path()),
            Err(error) => return Err(error),
        }
    }
    let is_known = looked_for > 0 || unread == 0;
    Ok(is_known.then_some(found > 0 && found * 4 >= looked_for * FOUND_OF_FOUR))
}

/// The row of `key` in `segment` that has this time and `is_it`; none when `key` has no rows there.
pub(super) fn find(
    segment: &Segment,
    key: &[u8],
    time: TimeMs,
    is_it: impl Fn(&Row) -> bool,
) -> Result<Option<Option<u64>>, StoreError> {
    let Some(rows) = segment.find(key)? else { return Ok(None) };
    let mut unread = Unread::new();
    let first = segment.lower_bound(&rows, time, &mut Block::default(), &mut unread)?;
    if let Some((_, error)) = unread.pop_first() {
        return Err(error);
    }
    let mut cursor = segment.rows();
    for row in first..rows.end {
        let (block, place) = cursor.at(row)?;
        let Some(read) = block.row(place).filter(|read| read.time == time) else { break };
        if is_it(&read) {
            return Ok(Some(Some(row)));
        }
    }
    Ok(Some(None))
}
