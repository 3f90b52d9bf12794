//! Which segments are worth merging.

use std::sync::Arc;

use tracemq_model::TimeMs;
use tracemq_store::StoreError;

use super::super::{Shared, lock};
use crate::segment::Segment;
use crate::view::Snapshot;

/// The smallest size by which segments are told apart: below it all are small.
const SMALL_EVENTS: u64 = 4_096;

/// When there are so many times as many segments as should become one, they become one even if their files expire late.
const CROWD: usize = 2;

impl Shared {
    /// Segments that should become one, by age, `count` of about a size; or one that should be written anew, without what is
    /// hidden. They take no more than `bytes_max` on disk.
    pub(super) fn choose(
        &self,
        snapshot: &Snapshot,
        count: usize,
        bytes_max: u64,
    ) -> Result<Option<Vec<Arc<Segment>>>, StoreError> {
        let unmergeable = lock(&self.unmergeable).clone();
        let may = |segment: &Arc<Segment>| !unmergeable.contains(&segment.meta().id.number);
        for segment in snapshot.segments().iter().filter(|segment| may(segment) && segment.meta().bytes <= bytes_max) {
            if self.is_to_lose_erased(snapshot, segment)? || half_is_expired(snapshot, segment)? {
                return Ok(Some(vec![Arc::clone(segment)]));
            }
        }
        let runs = snapshot.segments().split(|segment| !may(segment));
        Ok(runs.filter_map(|run| self.choose_of(run, count.max(2), bytes_max)).next().map(<[_]>::to_vec))
    }

    /// Of segments that follow each other, the smallest ones first: as soon as there are so many of about one size.
    fn choose_of<'a>(&self, run: &'a [Arc<Segment>], count: usize, bytes_max: u64) -> Option<&'a [Arc<Segment>]> {
        let crowd = self.settings.merge_segments.max(2).saturating_mul(CROWD);
        let apart = Limits { bytes_max, span_max: self.span_max(), ahead_from: Some(self.ahead_from()) };
        // Files that expire late are better than so many that each question takes long.
        let crowded = Limits { bytes_max, span_max: None, ahead_from: None };
        let (mut smaller, mut size) = (0, SMALL_EVENTS);
        while size < self.settings.segment_events {
            for similar in run.split(|segment| segment.meta().rows > size) {
                // What is smaller by a class waits for its like: else the first of a class would be written again and again.
                let alike = similar.iter().filter(|segment| segment.meta().rows > smaller).count();
                for (least, limits) in [(count, &apart), (crowd, &crowded)] {
                    // The first ones may be as large, or as long, as one may become.
                    let starts = (0..similar.len()).map(|first| similar.get(first..).unwrap_or_default());
                    let mut chosen = starts.map(|rest| self.as_many_as_fit(rest, limits));
                    if alike >= least
                        && let Some(chosen) = chosen.find(|chosen| chosen.len() > count / 2)
                    {
                        return Some(chosen);
                    }
                }
            }
            smaller = size;
            size = size.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX));
        }
        None
    }

    /// The first of `segments` that make one of an allowed size.
    fn as_many_as_fit<'a>(&self, segments: &'a [Arc<Segment>], limits: &Limits) -> &'a [Arc<Segment>] {
        let (mut events, mut bytes) = (0, 0_u64);
        let (mut from, mut to) = (TimeMs::MAX, TimeMs::MIN);
        let is_ahead = |segment: &Segment| limits.ahead_from.is_some_and(|ahead| segment.meta().times.from >= ahead);
        let first_is_ahead = segments.first().is_some_and(|segment| is_ahead(segment));
        let fitting = segments.iter().take_while(|segment| {
            let meta = segment.meta();
            events += meta.rows;
            bytes += meta.bytes;
            (from, to) = (from.min(meta.times.from), to.max(meta.times.to));
            events <= self.settings.segment_events
                && bytes <= limits.bytes_max
                && limits.span_max.is_none_or(|max| to.since(from) <= max)
                && is_ahead(segment) == first_is_ahead
        });
        let count = fitting.count();
        segments.get(..count).unwrap_or_default()
    }

    /// The longest time that a merged segment should cover: a quarter of what is kept, so that files expire one after the
    /// other.
    fn span_max(&self) -> Option<u64> {
        let retention = &self.settings.retention;
        let ages = retention.instances.iter().map(|(_, keep)| keep.age_ms).chain([retention.each.age_ms]);
        ages.flatten().min().map(|age| age / 4)
    }
}

/// What becomes one segment.
struct Limits {
    /// No more than this on disk.
    bytes_max: u64,
    /// Nothing that is further apart.
    span_max: Option<u64>,
    /// Not what is dated later together with what is not: it goes in another order.
    ahead_from: Option<TimeMs>,
}

/// Whether retention has hidden the larger part of `segment`.
fn half_is_expired(snapshot: &Snapshot, segment: &Segment) -> Result<bool, StoreError> {
    let totals = &segment.meta().instances;
    if totals.iter().all(|total| total.times.from >= snapshot.cutoff(&total.instance)) {
        return Ok(false);
    }
    let minutes = segment.minutes()?;
    let mut expired = 0;
    for total in totals {
        let cutoff = snapshot.cutoff(&total.instance).0.div_euclid(60_000);
        let counts = minutes.of(&total.instance).iter();
        expired += counts.filter(|count| count.minute < cutoff).map(|count| count.events).sum::<u64>();
    }
    Ok(expired > segment.meta().rows / 2)
}
