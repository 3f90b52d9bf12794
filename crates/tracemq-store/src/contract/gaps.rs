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

/// No answer holds more than [`GAPS_MAX`]: the newest of them, oldest first.
pub fn gaps_are_capped_to_the_newest(harness: &dyn Harness) {
    let store = harness.open();
    let all: Vec<Gap> = (0..1_500).map(|n| gap(n, n, Some(1), GapCause::QueueFull)).collect();
    store.append(&Batch { events: Vec::new(), gaps: all.clone() }).expect("the store takes the batch");
    let newest = all.get(all.len() - GAPS_MAX..).unwrap_or_default();
    assert_eq!(store.gaps(TimeRange::ALL).expect("the store answers"), newest);
    assert_eq!(page(&*store, &query(client("device"))).gaps, newest);
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
