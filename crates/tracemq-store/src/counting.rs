//! The arithmetic of counts and tallies, the same for every store.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use tracemq_model::{Action, Count, Event, Reason, Subject, Tally, TimeMs};

use crate::{COUNTS_MAX, StoreError};

/// The first moment of the bucket that `time` is in, when a bucket is `bucket_ms` long and one begins in 1970. The bucket that
/// begins before the first moment that can be written down begins there. A bucket is never shorter than a millisecond.
pub fn bucket_of(time: TimeMs, bucket_ms: u64) -> TimeMs {
    let length = i128::from(bucket_ms.max(1));
    if let Ok(length) = i64::try_from(length)
        && let Some(from) = time.0.div_euclid(length).checked_mul(length)
    {
        return TimeMs(from);
    }
    let from = i128::from(time.0).div_euclid(length) * length;
    TimeMs(i64::try_from(from).unwrap_or(i64::MIN))
}

/// Sums up what [`EventStore::counts`](crate::EventStore::counts) answers, whatever order it comes in.
#[derive(Debug)]
pub struct CountsBuilder {
    bucket_ms: u64,
    counts: HashMap<(TimeMs, Action, Reason), u64>,
}

impl CountsBuilder {
    /// For buckets of `bucket_ms` milliseconds.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] when that is 0.
    pub fn new(bucket_ms: u64) -> Result<Self, StoreError> {
        if bucket_ms == 0 {
            return Err(StoreError::InvalidQuery("a bucket of 0 ms holds nothing"));
        }
        Ok(Self { bucket_ms, counts: HashMap::new() })
    }

    /// Adds `events` that all fall into the bucket of `time`.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] when the answer would hold more than [`COUNTS_MAX`] counts.
    pub fn add(&mut self, time: TimeMs, action: Action, reason: Reason, events: u64) -> Result<(), StoreError> {
        if events == 0 {
            return Ok(());
        }
        let bucket = bucket_of(time, self.bucket_ms);
        let sum = self.counts.entry((bucket, action, reason)).or_default();
        *sum = sum.saturating_add(events);
        if self.counts.len() > COUNTS_MAX {
            return Err(StoreError::InvalidQuery("more than 100,000 counts; take longer buckets"));
        }
        Ok(())
    }

    /// The counts in their order.
    pub fn finish(self) -> Vec<Count> {
        let count = |((from, action, reason), events)| Count { from, action, reason, events };
        let mut counts: Vec<Count> = self.counts.into_iter().map(count).collect();
        counts.sort_unstable();
        counts
    }
}

/// Sums up what [`EventStore::tally`](crate::EventStore::tally) shows. Holds all subjects at once.
#[derive(Debug, Default)]
pub struct TallyBuilder {
    tallies: BTreeMap<Subject, Tally>,
}

impl TallyBuilder {
    /// Adds `event`. Of those of one subject and the same millisecond, the one that arrived last comes last. An event that no
    /// subject leads to is passed over.
    pub fn add(&mut self, event: &Event) {
        let Some(subject) = Subject::of(event) else { return };
        let tally = self.tallies.entry(subject).or_insert_with_key(|subject| Tally {
            subject: subject.clone(),
            events: 0,
            first: event.time,
            last: event.time,
            last_action: event.action,
            last_reason: event.reason,
        });
        tally.events += 1;
        tally.first = tally.first.min(event.time);
        if event.time >= tally.last {
            tally.last = event.time;
            tally.last_action = event.action;
            tally.last_reason = event.reason;
        }
    }

    /// The tallies in their order.
    pub fn finish(self) -> impl Iterator<Item = Tally> {
        self.tallies.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_at_multiples_and_at_the_first_moment() {
        let bucket = |time, length| bucket_of(TimeMs(time), length).0;
        assert_eq!((bucket(0, 60_000), bucket(59_999, 60_000), bucket(60_000, 60_000)), (0, 0, 60_000));
        assert_eq!(
            (bucket(-1, 60_000), bucket(-60_000, 60_000), bucket(-60_001, 60_000)),
            (-60_000, -60_000, -120_000)
        );
        assert_eq!((bucket(-3, 1), bucket(6, 7), bucket(-1, 7)), (-3, 0, -7));
        assert_eq!(
            (bucket(i64::MIN, 1), bucket(i64::MIN, 7), bucket(i64::MIN, 1 << 62)),
            (i64::MIN, i64::MIN, i64::MIN)
        );
        assert_eq!((bucket(i64::MAX, 1), bucket(i64::MAX, 10)), (i64::MAX, i64::MAX - 7));
        for length in [1 << 63, u64::MAX - 1, u64::MAX] {
            assert_eq!((bucket(i64::MIN, length), bucket(-1, length)), (i64::MIN, i64::MIN));
            assert_eq!((bucket(0, length), bucket(i64::MAX, length)), (0, 0));
        }
        // Asked for a bucket of nothing, it takes the shortest.
        assert_eq!(bucket(5, 0), 5);
    }

    #[test]
    fn an_answer_has_a_bound_and_its_sums_have_one() {
        let mut builder = CountsBuilder::new(10).unwrap();
        let (action, reason) = (Action::Connect, Reason::Accepted);
        for time in (0..1_000_000).rev() {
            builder.add(TimeMs(time), action, reason, 1).unwrap();
        }
        builder.add(TimeMs(5_000_000), action, reason, 0).unwrap();
        builder.add(TimeMs(0), action, reason, u64::MAX).unwrap();
        assert!(matches!(builder.add(TimeMs(-1), action, reason, 1), Err(StoreError::InvalidQuery(_))));
        assert!(matches!(CountsBuilder::new(0), Err(StoreError::InvalidQuery(_))));
        let mut builder = CountsBuilder::new(10).unwrap();
        builder.add(TimeMs(25), action, reason, 2).unwrap();
        builder.add(TimeMs(-1), action, reason, u64::MAX).unwrap();
        builder.add(TimeMs(-10), action, reason, 3).unwrap();
        let count = |from, events| Count { from: TimeMs(from), action, reason, events };
        assert_eq!(builder.finish(), [count(-10, u64::MAX), count(20, 2)]);
    }
}
