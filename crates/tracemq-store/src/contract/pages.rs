//! Promises about the pages of one subject.

use tracemq_model::{Event, Gap, GapCause, Order, TimeMs, TimeRange, TraceQuery};

use super::{Harness, append, between, client, event, message_details, page, query, rows};
use crate::{Batch, StoreError};

/// A batch is visible as soon as the store has taken it, and to the next process.
pub fn what_is_appended_is_visible_and_survives(harness: &dyn Harness) {
    let store = harness.open();
    assert!(rows(&*store, client("device")).is_empty());
    let events: Vec<Event> = (0..10).map(|n| event("device", i64::from(n), n)).collect();
    append(&*store, events.get(..7).unwrap_or_default());
    assert_eq!(rows(&*store, client("device")), events.get(..7).unwrap_or_default());
    append(&*store, events.get(7..).unwrap_or_default());
    assert_eq!(rows(&*store, client("device")), events);
    drop(store);
    for _ in 0..2 {
        assert_eq!(rows(&*harness.open(), client("device")), events);
    }
}

/// Whatever an event holds comes back as it was.
pub fn a_batch_keeps_every_field(harness: &dyn Harness) {
    let store = harness.open();
    let mut events: Vec<Event> = (0..100).map(|n| event("device", 5, n)).collect();
    for event in events.iter_mut().step_by(7) {
        event.peer = None;
    }
    for (event, number) in events.iter_mut().zip(0..).step_by(2) {
        event.details.message = Some(Box::new(message_details(number)));
    }
    append(&*store, &events);
    assert_eq!(rows(&*store, client("device")), events);
    drop(store);
    assert_eq!(rows(&*harness.open(), client("device")), events);
}

/// Nothing is a batch, too; and gaps alone are.
pub fn an_empty_batch_is_taken(harness: &dyn Harness) {
    let store = harness.open();
    let gap = Gap { from: TimeMs(1), to: TimeMs(2), lost: Some(3), cause: GapCause::QueueFull };
    append(&*store, &[]);
    store.append(&Batch { events: Vec::new(), gaps: vec![gap] }).expect("the store takes the batch");
    append(&*store, &[]);
    drop(store);
    assert_eq!(harness.open().gaps(TimeRange::ALL).expect("the store answers"), [gap]);
}

/// The total is of all that match, on the first page, a middle one and the last.
pub fn totals_are_exact_on_every_page(harness: &dyn Harness) {
    let store = harness.open();
    let events: Vec<Event> = (0..2_345).map(|n| event("device", i64::from(n / 3), n)).collect();
    append(&*store, &events);
    append(&*store, &[event("other", 5, 9_999)]);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut seen = Vec::new();
        for offset in (0..2_400).step_by(100) {
            let page = page(&*store, &TraceQuery { order, offset, limit: 100, ..query(client("device")) });
            assert_eq!(page.total, 2_345);
            seen.extend(page.events);
        }
        if order == Order::NewestFirst {
            seen.reverse();
        }
        assert_eq!(seen, events);
    }
}

/// Events of the same millisecond keep the order of arrival, exactly reversed in the other order.
pub fn the_two_orders_are_each_others_reverse(harness: &dyn Harness) {
    let store = harness.open();
    let mut events: Vec<Event> = (0..50).map(|n| event("device", i64::from(n % 3), n)).collect();
    for batch in events.chunks(7) {
        append(&*store, batch);
    }
    // Stable: the order of arrival stays.
    events.sort_by_key(|event| event.time);
    assert_eq!(rows(&*store, client("device")), events);
    let newest_first = TraceQuery { order: Order::NewestFirst, ..query(client("device")) };
    events.reverse();
    assert_eq!(page(&*store, &newest_first).events, events);
    drop(store);
    assert_eq!(page(&*harness.open(), &newest_first).events, events);
}

/// Both ends of a range are in it, and a range that ends before it begins holds nothing.
pub fn borders_of_a_range_are_in_it(harness: &dyn Harness) {
    let store = harness.open();
    let events: Vec<Event> = [10, 20, 20, 30].into_iter().zip(0..).map(|(t, n)| event("device", t, n)).collect();
    append(&*store, &events);
    let total = |from, to| {
        let page = page(&*store, &TraceQuery { range: between(from, to), ..query(client("device")) });
        assert_eq!(page.total, u64::try_from(page.events.len()).unwrap_or(u64::MAX));
        page.total
    };
    assert_eq!(total(10, 30), 4);
    assert_eq!(total(11, 29), 2);
    assert_eq!(total(20, 20), 2);
    assert_eq!(total(21, 29), 0);
    assert_eq!(total(31, 90), 0);
    assert_eq!(total(-9, 9), 0);
    assert_eq!(total(30, 10), 0);
    assert_eq!(total(i64::MAX, i64::MIN), 0);
}

/// An event with an older time that arrives later stands where its time belongs, behind those of the same time.
pub fn late_events_are_sorted_into_place(harness: &dyn Harness) {
    let store = harness.open();
    let times = [100, 200, 300, 150, 200, 50, 300, 100];
    let mut events: Vec<Event> = times.into_iter().zip(0..).map(|(t, n)| event("device", t, n)).collect();
    append(&*store, events.get(..3).unwrap_or_default());
    append(&*store, events.get(3..6).unwrap_or_default());
    for late in events.get(6..).unwrap_or_default() {
        append(&*store, std::slice::from_ref(late));
    }
    events.sort_by_key(|event| event.time);
    assert_eq!(rows(&*store, client("device")), events);
    let middle = page(&*store, &TraceQuery { range: between(100, 200), ..query(client("device")) });
    assert_eq!(middle.total, 5);
    drop(store);
    assert_eq!(rows(&*harness.open(), client("device")), events);
}

/// Paging past the end gives no rows and still the exact total.
pub fn behind_the_last_page_there_are_no_rows_but_the_total(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[event("device", 1, 0), event("device", 2, 1)]);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for offset in [2, 3, 1_000_000] {
            let page = page(&*store, &TraceQuery { order, offset, ..query(client("device")) });
            assert_eq!((page.total, page.events.len()), (2, 0));
        }
        let last = page(&*store, &TraceQuery { order, offset: 1, ..query(client("device")) });
        assert_eq!((last.total, last.events.len()), (2, 1));
    }
}

/// Whatever the offset and the limit, their sum is no trap; no rows asked for is an answer with a total.
pub fn offset_and_limit_do_not_overflow(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[event("device", 1, 0), event("device", 2, 1)]);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for offset in [u64::MAX, u64::MAX - 1, u64::MAX - 1_000, u64::from(u32::MAX), 1 << 63] {
            for limit in [0, 1, TraceQuery::LIMIT_MAX] {
                let page = page(&*store, &TraceQuery { order, offset, limit, ..query(client("device")) });
                assert_eq!((page.total, page.events.len()), (2, 0));
            }
        }
        let none = page(&*store, &TraceQuery { order, limit: 0, ..query(client("device")) });
        assert_eq!((none.total, none.events.len()), (2, 0));
    }
}

/// A page is held in memory: one that is too large is refused, also where it would be empty.
pub fn a_limit_above_the_maximum_is_refused(harness: &dyn Harness) {
    let store = harness.open();
    for limit in [TraceQuery::LIMIT_MAX + 1, usize::MAX] {
        let refused = store.page(&TraceQuery { limit, ..query(client("device")) });
        assert!(matches!(refused, Err(StoreError::InvalidQuery(_))), "{refused:?}");
    }
    assert!(store.page(&query(client("device"))).is_ok());
}

/// The first and the last moment that can be written down sort, match and survive like any other.
pub fn the_extremes_of_time_are_times(harness: &dyn Harness) {
    let store = harness.open();
    let times = [i64::MAX, 0, i64::MIN, -1, i64::MAX, i64::MIN + 1];
    let mut events: Vec<Event> = times.into_iter().zip(0..).map(|(t, n)| event("device", t, n)).collect();
    append(&*store, &events);
    events.sort_by_key(|event| event.time);
    let total = |range| page(&*store, &TraceQuery { range, ..query(client("device")) }).total;
    assert_eq!(rows(&*store, client("device")), events);
    assert_eq!(total(TimeRange { from: TimeMs::MAX, to: TimeMs::MAX }), 2);
    assert_eq!(total(TimeRange { from: TimeMs::MIN, to: TimeMs::MIN }), 1);
    assert_eq!(total(TimeRange { from: TimeMs::MIN, to: TimeMs(-1) }), 3);
    drop(store);
    assert_eq!(rows(&*harness.open(), client("device")), events);
}
