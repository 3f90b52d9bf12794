//! The promises that every store makes, kept by this one while it seals and merges all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::EventStore;
use tracemq_store::contract::Harness;

/// Memtables of a few events, so that questions meet all of log, memtables and segments.
struct Small {
    folder: TempDir,
    memtable_events: usize,
    last: Mutex<Weak<Segments>>,
}

impl Harness for Small {
    fn open(&self) -> Arc<dyn EventStore> {
        let settings =
            SegmentSettings { memtable_events: self.memtable_events, merge_segments: 3, ..SegmentSettings::default() };
        let (store, recovery) = Segments::open(self.folder.path(), settings).unwrap();
        assert_eq!(recovery.damaged, []);
        let store = Arc::new(store);
        *self.last.lock().unwrap() = Arc::downgrade(&store);
        store
    }

    /// Seals and merges all that it has: a large memtable would never be sealed else.
    fn settle(&self, _: &dyn EventStore, _: u8) {
        let last = self.last.lock().unwrap().upgrade();
        last.expect("the store is open").settle(&mut |_| {}).unwrap();
    }
}

fn small(memtable_events: usize) -> Small {
    Small { folder: TempDir::new().unwrap(), memtable_events, last: Mutex::default() }
}

mod a_large_memtable {
    tracemq_store::contract_suite!(super::small(1_000_000));
}

mod memtables_of_seven_events {
    tracemq_store::contract_suite!(super::small(7));
}

mod memtables_of_one_event {
    tracemq_store::contract_suite!(super::small(1));
}
