//! Promises about readers beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracemq_model::{Order, TraceQuery};

use super::{Harness, append, client, event, page, query};

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
                    let page = page(&*store, &TraceQuery { order, limit: 60, ..query(client("device")) });
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
