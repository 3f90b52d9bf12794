//! Promises about counts over time.

use tracemq_model::{Action, Count, Event, Filter, Reason, TimeMs, TimeRange};

use super::{Harness, act, append, between, client, counts, event, instance, instance_named, one_of};
use crate::{COUNTS_MAX, EventStore, StoreError};

fn all() -> Filter {
    Filter::all(instance(), TimeRange::ALL)
}

/// How many events each bucket holds, whatever they are.
fn buckets(store: &dyn EventStore, range: TimeRange, bucket_ms: u64) -> Vec<(i64, u64)> {
    let filter = Filter { range, ..all() };
    counts(store, &filter, bucket_ms).into_iter().map(|count| (count.from.0, count.events)).collect()
}

/// One event, alike but for its time, at each of `times`.
fn at(times: &[i64]) -> Vec<Event> {
    (0..).zip(times).map(|(n, time)| act(Action::Connect, n, *time)).collect()
}

/// Borders belong to the bucket that they begin; a range that cuts a bucket cuts its count.
pub fn counts_fall_into_buckets(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &at(&[-60_001, -60_000, -1, 0, 1, 59_999, 60_000, 60_000, 119_999, 120_000, 3_600_000, 3_659_999]));
    drop(store);
    let store = harness.open();
    let minutes = [(-120_000, 1), (-60_000, 2), (0, 3), (60_000, 3), (120_000, 1), (3_600_000, 2)];
    assert_eq!(buckets(&*store, TimeRange::ALL, 60_000), minutes);
    assert_eq!(buckets(&*store, TimeRange::ALL, 3_600_000), [(-3_600_000, 3), (0, 7), (3_600_000, 2)]);
    assert_eq!(buckets(&*store, TimeRange::ALL, 120_000), [(-120_000, 3), (0, 6), (120_000, 1), (3_600_000, 2)]);
    assert_eq!(buckets(&*store, between(0, 119_999), 60_000), [(0, 3), (60_000, 3)]);
    assert_eq!(buckets(&*store, between(1, 119_998), 60_000), [(0, 2), (60_000, 2)]);
    assert_eq!(buckets(&*store, between(1, 3_600_000), 120_000), [(0, 5), (120_000, 1), (3_600_000, 1)]);
    assert_eq!(buckets(&*store, between(2, 59_998), 60_000), []);
    assert_eq!(buckets(&*store, between(59_999, 60_000), 7), [(59_997, 3)]);
    assert_eq!(buckets(&*store, between(120_000, 0), 60_000), []);
    assert_eq!(buckets(&*store, between(-1, 1), 1), [(-1, 1), (0, 1), (1, 1)]);
    assert_eq!(buckets(&*store, TimeRange::ALL, u64::MAX), [(i64::MIN, 3), (0, 9)]);
}

/// Ordered by bucket, action and reason; each of these apart.
pub fn counts_tell_actions_and_reasons_apart(harness: &dyn Harness) {
    let store = harness.open();
    let of = |action, reason, time| Event { reason, ..act(action, 1, time) };
    let events = [
        of(Action::Close, Reason::KeepAliveTimeout, 70_000),
        of(Action::Connect, Reason::Accepted, 70_001),
        of(Action::Close, Reason::Kicked, 10),
        of(Action::Close, Reason::KeepAliveTimeout, 5),
        of(Action::Disconnect, Reason::KeepAliveTimeout, 6),
        of(Action::Close, Reason::KeepAliveTimeout, 59_999),
        of(Action::Open, Reason::Opened, 59_999),
    ];
    append(&*store, &events);
    let count = |from, action, reason, events| Count { from: TimeMs(from), action, reason, events };
    let expected = [
        count(0, Action::Open, Reason::Opened, 1),
        count(0, Action::Disconnect, Reason::KeepAliveTimeout, 1),
        count(0, Action::Close, Reason::Kicked, 1),
        count(0, Action::Close, Reason::KeepAliveTimeout, 2),
        count(60_000, Action::Connect, Reason::Accepted, 1),
        count(60_000, Action::Close, Reason::KeepAliveTimeout, 1),
    ];
    assert_eq!(counts(&*store, &all(), 60_000), expected);
    let ends = Filter { actions: vec![Action::Close], reasons: vec![Reason::KeepAliveTimeout], ..all() };
    let only_ends = |length| counts(&*store, &ends, length).iter().map(|count| count.events).collect::<Vec<_>>();
    assert_eq!((only_ends(60_000), only_ends(1)), (vec![2, 1], vec![1, 1, 1]));
}

/// The first and the last moment are in buckets, too; the one that would begin before all time begins with it.
pub fn the_extremes_of_time_are_counted(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &at(&[i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX]));
    for range in [TimeRange::ALL, between(i64::MIN, i64::MAX)] {
        assert_eq!(buckets(&*store, range, u64::MAX), [(i64::MIN, 3), (0, 3)]);
        assert_eq!(buckets(&*store, range, 1 << 63), [(i64::MIN, 3), (0, 3)]);
        let last = i64::MAX.div_euclid(60_000) * 60_000;
        assert_eq!(buckets(&*store, range, 60_000), [(i64::MIN, 2), (-60_000, 1), (0, 1), (last, 2)]);
    }
    assert_eq!(buckets(&*store, TimeRange { from: TimeMs::MAX, to: TimeMs::MAX }, 1), [(i64::MAX, 1)]);
    assert_eq!(buckets(&*store, TimeRange { from: TimeMs::MIN, to: TimeMs::MIN }, 60_000), [(i64::MIN, 1)]);
}

/// A bucket of nothing is no bucket.
pub fn a_bucket_of_no_length_is_refused(harness: &dyn Harness) {
    let store = harness.open();
    let refused = store.counts(&all(), 0);
    assert!(matches!(refused, Err(StoreError::InvalidQuery(_))), "{refused:?}");
}

/// An answer is held in memory: one that is too large is refused, the largest is given.
pub fn more_counts_than_the_maximum_are_refused(harness: &dyn Harness) {
    let store = harness.open();
    let maximum = u32::try_from(COUNTS_MAX).unwrap_or(u32::MAX);
    let events: Vec<Event> = (0..=maximum).map(|n| event("device", i64::from(n), 4)).collect();
    for batch in events.chunks(20_000) {
        append(&*store, batch);
    }
    let refused = store.counts(&all(), 1);
    assert!(matches!(refused, Err(StoreError::InvalidQuery(_))), "{:?}", refused.map(|counts| counts.counts.len()));
    assert_eq!(buckets(&*store, between(1, i64::MAX), 1).len(), COUNTS_MAX);
    assert_eq!(buckets(&*store, TimeRange::ALL, 2).len(), COUNTS_MAX / 2 + 1);
}

/// The same events, by whatever they are asked for.
pub fn counts_are_of_what_the_filter_asks_for(harness: &dyn Harness) {
    let store = harness.open();
    let mut events: Vec<Event> = (0..90).map(|n| event(one_of(&["a", "b"], n), i64::from(n) * 5_000, n)).collect();
    events.push(Event { instance: instance_named("other"), ..event("a", 1, 1) });
    append(&*store, &events);
    harness.settle(&*store, 2);
    let address = Some("10.0.0.7".parse().expect("a good address"));
    let filters = [
        Filter { subject: Some(client("a")), ..all() },
        Filter { subject: Some(client("a")), range: between(61_000, 299_000), ..all() },
        Filter { address, ..all() },
        Filter { username: Some("user-7".to_owned()), ..all() },
        Filter { listener: Some("mqtt".to_owned()), actions: vec![Action::Connect], ..all() },
    ];
    for filter in &filters {
        for length in [1_000, 60_000] {
            let expected = events.iter().filter(|event| filter.matches(event)).count();
            let found: u64 = counts(&*store, filter, length).iter().map(|count| count.events).sum();
            assert_eq!(found, u64::try_from(expected).unwrap_or(0), "{filter:?}");
        }
    }
}
