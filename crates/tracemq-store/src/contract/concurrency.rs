//! Promises about readers beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracemq_model::{Filter, Order, Subject, TimeRange, TraceQuery};

use super::{Harness, append, client, counts, event, instance, query, scan, tally};
use crate::EventStore;

const BATCH: u32 = 50;
const BATCHES: u32 = 60;

/// While a writer appends, a reader sees whole batches, never fewer than before, and every row in its place.
pub fn readers_see_whole_batches(harness: &dyn Harness) {
    let store = harness.open();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [Order::OldestFirst, Order::NewestFirst]
        .into_iter()
        .map(|order| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = 0;
                let mut last_look = false;
                while !last_look {
                    last_look = done.load(Ordering::Acquire);
                    let query = TraceQuery { order, limit: 60, ..query(client("device")) };
                    let at_once = store.page_at_once(&query).expect("the store answers");
                    let page = at_once.unwrap_or_else(|| store.page(&query).expect("the store answers"));
                    assert!(page.total.is_multiple_of(u64::from(BATCH)), "{} rows: half a batch", page.total);
                    assert!(page.total >= seen, "rows went away");
                    assert_eq!(page.events.len(), usize::try_from(page.total.min(60)).unwrap_or(0));
                    seen = page.total;
                }
                seen
            })
        })
        .collect();
    for batch in 0..BATCHES {
        let events: Vec<_> = (0..BATCH).map(|n| event("device", i64::from(n), batch * BATCH + n)).collect();
        append(&*store, &events);
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.join().expect("no promise was broken"), u64::from(BATCH * BATCHES));
    }
}

/// The same of answers about many devices: each shows every batch as a whole or not at all.
pub fn fleet_answers_see_whole_batches(harness: &dyn Harness) {
    let store = harness.open();
    let done = Arc::new(AtomicBool::new(false));
    let questions: [fn(&dyn EventStore) -> u64; 4] = [scanned, scanned_backwards, counted, tallied];
    let readers: Vec<_> = questions
        .into_iter()
        .map(|question| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = 0;
                let mut last_look = false;
                while !last_look {
                    last_look = done.load(Ordering::Acquire);
                    let found = question(&*store);
                    assert!(found.is_multiple_of(u64::from(BATCH)), "{found} events: half a batch");
                    assert!(found >= seen, "events went away");
                    seen = found;
                }
                seen
            })
        })
        .collect();
    for batch in 0..BATCHES {
        let number = |n| batch * BATCH + n;
        let events: Vec<_> =
            (0..BATCH).map(|n| event(&format!("device-{}", n % 7), i64::from(n) * 9_000, number(n))).collect();
        append(&*store, &events);
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.join().expect("no promise was broken"), u64::from(BATCH * BATCHES));
    }
}

fn all() -> Filter {
    Filter::all(instance(), TimeRange::ALL)
}

fn scanned(store: &dyn EventStore) -> u64 {
    let events = scan(store, &all(), Order::OldestFirst);
    assert!(events.is_sorted_by_key(|event| (event.time, Subject::of(event))));
    u64::try_from(events.len()).unwrap_or(u64::MAX)
}

fn scanned_backwards(store: &dyn EventStore) -> u64 {
    u64::try_from(scan(store, &all(), Order::NewestFirst).len()).unwrap_or(u64::MAX)
}

fn counted(store: &dyn EventStore) -> u64 {
    counts(store, &all(), 60_000).iter().map(|count| count.events).sum()
}

fn tallied(store: &dyn EventStore) -> u64 {
    tally(store, &all()).iter().map(|tally| tally.events).sum()
}
