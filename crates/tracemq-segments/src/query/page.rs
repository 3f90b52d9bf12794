//! A page of one subject's events, at any depth, without walking the rows before it.
//!
//! Each source knows how many rows it has and finds the place of a time in a few steps. Sources that share no moment are put
//! behind each other; where some do, the page's first row is found by halving time. Rows that can't be read keep a place among the
//! others, and are missing there.

use std::io::ErrorKind;
use std::ops::Range;

use tracemq_model::{Event, Order, TimeMs, TimeRange, TracePage, TraceQuery};
use tracemq_store::{StoreError, check, window};

use super::damage::Unreadable;
use super::gaps;
use super::rows::{Placed, Source, sources};
use crate::fs::at_once;
use crate::key::{self, Key};
use crate::segment::Block;
use crate::view::Snapshot;

/// [`page`] without waiting for the disk, or none. What it lacked is asked for then, so that a page that may wait finds it sooner.
pub(crate) fn page_at_once(snapshot: &Snapshot, query: &TraceQuery) -> Result<Option<TracePage>, StoreError> {
    match at_once(|| page(snapshot, query)) {
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::WouldBlock => Ok(None),
        answer => answer.map(Some),
    }
}

pub(crate) fn page(snapshot: &Snapshot, query: &TraceQuery) -> Result<TracePage, StoreError> {
    check(query)?;
    let mut unreadable = Unreadable::default();
    let mut bytes = Vec::new();
    key::push_key(&query.instance, &query.subject, &mut bytes);
    let key = Key { instance: query.instance.clone(), subject: Some(query.subject.clone()) };
    let range = snapshot.kept(&query.instance, query.range);
    let sources = if range.from > range.to { Vec::new() } else { sources(snapshot, &bytes, range, &mut unreadable)? };
    let total: u64 = sources.iter().map(Source::len).sum();
    let page = window(usize::try_from(total).unwrap_or(usize::MAX), query);
    let page = u64::try_from(page.start).unwrap_or(u64::MAX)..u64::try_from(page.end).unwrap_or(u64::MAX);
    let mut events = Vec::new();
    let (mut spare, mut waits) = (None, false);
    let mut parts = on_page(split(sources), &page, &mut unreadable)?.into_iter();
    while let Some(mut part) = parts.next() {
        if !waits && !part.is_at_hand(&mut spare) {
            part.ask_for();
            parts.as_slice().iter().for_each(Part::ask_for);
            waits = true;
        }
        for mut part in part.tighten(&mut unreadable)? {
            take(&mut part.group, part.wanted, &key, &mut unreadable, &mut spare, &mut events)?;
            part.group.iter_mut().try_for_each(|source| source.tell(&mut unreadable))?;
        }
    }
    if query.order == Order::NewestFirst {
        events.reverse();
    }
    Ok(TracePage { total, events, gaps: gaps(snapshot, query.range, unreadable) })
}

/// Sources that share moments, the older ones first, and which of their rows are on the page.
struct Part {
    group: Vec<Source>,
    wanted: Range<u64>,
}

/// Those of `groups`, which follow each other by time, that have rows at `page`. Of the others nothing more is read.
fn on_page(groups: Vec<Vec<Source>>, page: &Range<u64>, unreadable: &mut Unreadable) -> Result<Vec<Part>, StoreError> {
    let (mut parts, mut before) = (Vec::new(), 0);
    for mut group in groups {
        let count: u64 = group.iter().map(Source::len).sum();
        let wanted = page.start.clamp(before, before + count) - before..page.end.clamp(before, before + count) - before;
        before += count;
        if wanted.is_empty() {
            group.iter_mut().try_for_each(|source| source.tell(unreadable))?;
        } else {
            parts.push(Part { group, wanted });
        }
    }
    Ok(parts)
}

impl Part {
    /// The same in smaller parts, if its sources share fewer moments than their files do.
    fn tighten(mut self, unreadable: &mut Unreadable) -> Result<Vec<Self>, StoreError> {
        if self.group.len() < 2 {
            return Ok(vec![self]);
        }
        self.group.iter_mut().try_for_each(Source::tighten)?;
        on_page(split(self.group), &self.wanted, unreadable)
    }

    /// Whether reading it begins without waiting for the disk.
    fn is_at_hand(&mut self, spare: &mut Option<Box<Block>>) -> bool {
        let Self { group, wanted } = self;
        match group.as_mut_slice() {
            [source] => source.is_at_hand(wanted, spare),
            // Where each has them is not known yet.
            many => many.iter_mut().all(|source| source.is_at_hand(&(0..source.len()), spare)),
        }
    }

    /// Asks the disk for what it will read.
    fn ask_for(&self) {
        match self.group.as_slice() {
            [source] => source.ask_for(&self.wanted),
            many => many.iter().for_each(|source| source.ask_for(&(0..source.len()))),
        }
    }
}

/// Sources that share moments, together; the groups by time. Within a group the older source comes first, as it does in `sources`.
fn split(sources: Vec<Source>) -> Vec<Vec<Source>> {
    let mut sources: Vec<(usize, Source)> = sources.into_iter().enumerate().collect();
    sources.sort_by_key(|(age, source)| (source.times.from, *age));
    let mut groups: Vec<Vec<(usize, Source)>> = Vec::new();
    // Where the last group ends, and its youngest source.
    let mut end: Option<(TimeMs, usize)> = None;
    for (age, source) in sources {
        let TimeRange { from, to } = source.times;
        match (groups.last_mut(), end) {
            // Of a moment that is shared, the older source comes first, as it does when the two are not mixed.
            (Some(group), Some((known, youngest))) if (from, age) <= (known, youngest) => {
                group.push((age, source));
                end = Some((known.max(to), youngest.max(age)));
            }
            _ => {
                groups.push(vec![(age, source)]);
                end = Some((to, age));
            }
        }
    }
    for group in &mut groups {
        group.sort_by_key(|(age, _)| *age);
    }
    groups.into_iter().map(|group| group.into_iter().map(|(_, source)| source).collect()).collect()
}

/// Appends the events at `wanted` of the group's rows in the order of time, source and arrival.
fn take(
    group: &mut [Source],
    wanted: Range<u64>,
    key: &Key,
    unreadable: &mut Unreadable,
    spare: &mut Option<Box<Block>>,
    out: &mut Vec<Event>,
) -> Result<(), StoreError> {
    if let [source] = group {
        return source.events(wanted, key, unreadable, spare, &mut |placed| out.extend(placed.event));
    }
    let starts = starts(group, wanted.start)?;
    let count = wanted.end - wanted.start;
    let mut found: Vec<Placed> = Vec::new();
    for (source, start) in group.iter_mut().zip(starts) {
        let places = start..source.len().min(start + count);
        source.events(places, key, unreadable, spare, &mut |placed| found.push(placed))?;
    }
    // Stable: of one time, older sources come first, and rows of one source stay in the order of arrival.
    found.sort_by_key(|placed| placed.time);
    // What can't be read keeps its place, so that every other row is on one page.
    found.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    out.extend(found.into_iter().filter_map(|placed| placed.event));
    Ok(())
}

/// How many rows of each source come before the one at `place`.
fn starts(group: &mut [Source], place: u64) -> Result<Vec<u64>, StoreError> {
    let from = group.iter().map(|source| source.times.from).min().unwrap_or(TimeMs::MIN);
    let to = group.iter().map(|source| source.times.to).max().unwrap_or(TimeMs::MAX);
    // The time of the row at `place`: the first at which more than `place` rows are not behind it.
    let (mut low, mut high) = (i128::from(from.0), i128::from(to.0));
    while low < high {
        let middle = i64::try_from((low + high).div_euclid(2)).unwrap_or(i64::MAX);
        let mut count = 0;
        for source in group.iter_mut() {
            count += source.up_to(TimeMs(middle))?;
        }
        if count > place {
            high = i128::from(middle);
        } else {
            low = i128::from(middle) + 1;
        }
    }
    let time = TimeMs(i64::try_from(low).unwrap_or(i64::MAX));
    let mut starts = Vec::with_capacity(group.len());
    for source in group.iter_mut() {
        starts.push(source.before(time)?);
    }
    // Of that very time, the older sources' rows come first.
    let mut left = place.saturating_sub(starts.iter().sum());
    for (source, start) in group.iter_mut().zip(&mut starts) {
        let same = source.up_to(time)?.saturating_sub(*start).min(left);
        *start += same;
        left -= same;
    }
    Ok(starts)
}
