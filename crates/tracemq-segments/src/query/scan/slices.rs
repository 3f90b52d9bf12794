//! Spans of time with about so many events, by the minute tables.

use std::collections::BTreeMap;

use tracemq_model::{Filter, Order, TimeMs, TimeRange};
use tracemq_store::StoreError;

use crate::memtable::{Minutes, minute as minute_of};
use crate::query::matches::matches_kind;
use crate::query::reading::rows_of_instance;
use crate::query::span;
use crate::segment::Segment;
use crate::view::Snapshot;

/// How many events each minute has, of those that are asked for.
pub(super) struct Slices {
    events: BTreeMap<i64, u64>,
}

/// What one filter asks for, and in which span.
pub(super) type Asked<'a> = (&'a Filter, TimeRange);

impl Slices {
    /// None when minutes don't tell what is asked for.
    pub(super) fn new(snapshot: &Snapshot, asked: &[Asked<'_>]) -> Result<Option<Self>, StoreError> {
        if !asked.iter().all(|(filter, _)| filter.is_by_kind_alone()) {
            return Ok(None);
        }
        let mut slices = Self { events: BTreeMap::new() };
        for segment in snapshot.segments() {
            if !asked.iter().any(|(filter, range)| has_some(segment, filter, *range)) {
                continue;
            }
            match segment.minutes() {
                Ok(minutes) => {
                    for (filter, range) in asked {
                        let counts = minutes.of(&filter.instance).iter();
                        let counts = counts.filter(|count| matches_kind(filter, count.kind));
                        counts.for_each(|count| slices.add(count.minute, count.events, *range));
                    }
                }
                // A slice that turns out to have more is cut.
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for (memtable, visible) in snapshot.memtables() {
            for (filter, range) in asked {
                let minutes: Minutes = memtable.minutes(&filter.instance, visible);
                let counts = minutes.into_iter().filter(|((_, kind), _)| matches_kind(filter, *kind));
                counts.for_each(|((minute, _), events)| slices.add(minute, events, *range));
            }
        }
        Ok(Some(slices))
    }

    fn add(&mut self, minute: i64, events: u64, range: TimeRange) {
        if span(minute).overlaps(range) {
            *self.events.entry(minute).or_default() += events;
        }
    }

    /// The first part of `rest` in the order asked for that has no more than `events_max`, or is within one minute.
    pub(super) fn first(&self, rest: TimeRange, order: Order, events_max: u64) -> TimeRange {
        let mut events = 0_u64;
        let mut is_too_many = |(minute, more): (&i64, &u64)| {
            let is_first = events == 0;
            events = events.saturating_add(*more);
            (!is_first && events > events_max).then_some(*minute)
        };
        let minutes = self.events.range(minute_of(rest.from)..=minute_of(rest.to));
        match order {
            Order::OldestFirst => match minutes.into_iter().find_map(&mut is_too_many) {
                Some(minute) => TimeRange { from: rest.from, to: TimeMs(span(minute).from.0.saturating_sub(1)) },
                None => rest,
            },
            Order::NewestFirst => match minutes.rev().find_map(&mut is_too_many) {
                Some(minute) => TimeRange { from: TimeMs(span(minute).to.0.saturating_add(1)), to: rest.to },
                None => rest,
            },
        }
    }
}

fn has_some(segment: &Segment, filter: &Filter, range: TimeRange) -> bool {
    segment.meta().times.overlaps(range) && rows_of_instance(segment, &filter.instance).is_some()
}

/// How many events there may be of what is asked for, if they are spread evenly: to see whether it is worth while to know better.
pub(super) fn guess(snapshot: &Snapshot, asked: &[Asked<'_>]) -> u64 {
    let mut events = 0_u64;
    for (filter, range) in asked {
        for segment in snapshot.segments() {
            let totals = segment.meta().instances.iter();
            for total in totals.filter(|total| total.instance == filter.instance && total.times.overlaps(*range)) {
                let shared = total.times.to.min(range.to).since(total.times.from.max(range.from));
                let all = u128::from(total.times.to.since(total.times.from)) + 1;
                let part = u128::from(total.rows) * (u128::from(shared) + 1) / all;
                events = events.saturating_add(u64::try_from(part).unwrap_or(u64::MAX));
            }
        }
        for (_, visible) in snapshot.memtables() {
            events = events.saturating_add(u64::try_from(visible).unwrap_or(u64::MAX));
        }
    }
    events
}
