//! Promises about gaps.

use std::ops::ControlFlow;

use tracemq_model::{Filter, Gap, GapCause, Order, TimeMs, TimeRange, TraceQuery};

use super::{Harness, between, client, event, instance, page, query, sessions};
use crate::{Batch, GAPS_MAX};

fn gap(from: i64, to: i64, lost: Option<u64>, cause: GapCause) -> Gap {
    Gap { from: TimeMs(from), to: TimeMs(to), lost, cause }
}

/// A gap is told to whoever asks for a moment of it, whomever they ask about; oldest first.
pub fn gaps_are_returned_where_they_overlap(harness: &dyn Harness) {
    let store = harness.open();
    let early = gap(10, 20, Some(5), GapCause::QueueFull);
    let late = gap(100, 200, None, GapCause::NotRunning);
    let inner = gap(120, 130, Some(u64::MAX), GapCause::StoreFailed);
    let ever = gap(i64::MIN, i64::MAX, None, GapCause::Damaged);
    for gaps in [vec![late, early], vec![inner]] {
        store.append(&Batch { events: Vec::new(), gaps }).expect("the store takes the batch");
    }
    let check = |store: &dyn crate::EventStore, range: TimeRange, expected: &[Gap]| {
        assert_eq!(store.gaps(range).expect("the store answers"), expected);
        assert_eq!(page(store, &TraceQuery { range, ..query(client("unknown")) }).gaps, expected);
    };
    let check_all = |store: &dyn crate::EventStore| {
        check(store, TimeRange::ALL, &[early, late, inner]);
        check(store, between(20, 100), &[early, late]);
        check(store, between(21, 99), &[]);
        check(store, between(131, 140), &[late]);
        check(store, between(i64::MIN, 10), &[early]);
        check(store, between(30, 20), &[]);
        check(store, between(150, 110), &[]);
    };
    check_all(&*store);
    drop(store);
    let store = harness.open();
    check_all(&*store);
    store.append(&Batch { events: Vec::new(), gaps: vec![ever] }).expect("the store takes the batch");
    check(&*store, between(21, 99), &[ever]);
    check(&*store, between(99, 21), &[]);
}

/// No answer holds more than [`GAPS_MAX`], and none looks complete where it is not: the oldest are told as one that covers them.
pub fn of_too_many_gaps_the_oldest_are_told_as_one(harness: &dyn Harness) {
    let store = harness.open();
    let cause = |n: i64| if n == 7 { GapCause::NotRunning } else { GapCause::QueueFull };
    let all: Vec<Gap> = (0..1_500).map(|n| gap(n * 10, n * 10 + 5, Some(1), cause(n))).collect();
    store.append(&Batch { events: Vec::new(), gaps: all.clone() }).expect("the store takes the batch");
    let newest = all.get(all.len() - (GAPS_MAX - 1)..).unwrap_or_default();
    let (first_kept, last) = (1_500 - 999, 14_990);
    let mut expected = vec![gap(0, first_kept * 10 - 5, Some(first_kept.unsigned_abs()), GapCause::NotRunning)];
    expected.extend_from_slice(newest);
    for _ in 0..2 {
        assert_eq!(store.gaps(TimeRange::ALL).expect("the store answers"), expected);
        assert_eq!(page(&*store, &query(client("device"))).gaps, expected);
        harness.settle(&*store, 0);
    }
    // As many as there may be are told one by one, and those that are not asked about go into no other.
    let range = between((1_500 - 1_000) * 10, last);
    assert_eq!(store.gaps(range).expect("the store answers"), all.get(500..).unwrap_or_default());
}

/// However many gaps there are, each is covered by those that are told.
pub fn any_number_of_gaps_is_covered(harness: &dyn Harness) {
    const GAPS: i64 = 12_000;
    let mut store = harness.open();
    for part in 0..GAPS / 1_000 {
        let gaps = (part * 1_000..(part + 1) * 1_000).map(|n| gap(n * 10, n * 10, Some(1), GapCause::QueueFull));
        store.append(&Batch { events: Vec::new(), gaps: gaps.collect() }).expect("the store takes the batch");
    }
    for _ in 0..2 {
        let told = store.gaps(TimeRange::ALL).expect("the store answers");
        assert!(told.len() <= GAPS_MAX && told.is_sorted_by_key(|gap| gap.from));
        assert_eq!(told.iter().map(|gap| gap.lost).sum::<Option<u64>>(), Some(GAPS.unsigned_abs()));
        for time in (0..GAPS).map(|n| TimeMs(n * 10)) {
            assert!(told.iter().any(|gap| gap.range().contains(time)), "{time:?}");
        }
        drop(store);
        store = harness.open();
    }
}

/// Whatever is asked of a time, its gaps are told with the answer, also when there is nothing else to tell.
pub fn gaps_are_told_with_every_answer(harness: &dyn Harness) {
    let store = harness.open();
    let early = gap(10, 20, Some(5), GapCause::QueueFull);
    let late = gap(100, 200, None, GapCause::NotRunning);
    store.append(&Batch { events: vec![event("device", 15, 1)], gaps: vec![late, early] }).expect("it takes the batch");
    drop(store);
    let store = harness.open();
    for (range, expected) in [
        (TimeRange::ALL, vec![early, late]),
        (between(20, 99), vec![early]),
        (between(21, 99), vec![]),
        (between(200, i64::MAX), vec![late]),
        (between(99, 20), vec![]),
    ] {
        for subject in [client("device"), client("unknown")] {
            for order in [Order::OldestFirst, Order::NewestFirst] {
                let query = TraceQuery { range, order, ..query(subject.clone()) };
                assert_eq!(sessions(&*store, &query).gaps, expected);
                let filter = Filter { subject: Some(subject.clone()), ..Filter::all(instance(), range) };
                let scanned = store.scan(&filter, order, &mut |_| ControlFlow::Break(()));
                assert_eq!(scanned.expect("the store answers"), expected);
                assert_eq!(store.counts(&filter, 60_000).expect("the store answers").gaps, expected);
                let tallied = store.tally(&filter, &mut |_| ControlFlow::Break(()));
                assert_eq!(tallied.expect("the store answers"), expected);
            }
        }
    }
}
