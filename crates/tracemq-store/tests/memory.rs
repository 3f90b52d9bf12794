//! The in-memory store keeps every promise of a store, and its bound.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::{Arc, Mutex};

use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Order, Provenance, Reason};
use tracemq_model::{Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::contract::Harness;
use tracemq_store::{Batch, EventStore, MemoryStore};

/// Reopens the one before, as far as that can be said of memory.
#[derive(Default)]
struct Memory(Mutex<Option<Arc<MemoryStore>>>);

impl Harness for Memory {
    fn open(&self) -> Arc<dyn EventStore> {
        let mut last = self.0.lock().unwrap();
        let store = Arc::new(last.take().map_or_else(|| MemoryStore::new(1_000_000), |store| store.reopen()));
        *last = Some(Arc::clone(&store));
        store
    }
}

tracemq_store::contract_suite!(Memory::default());

fn event(client: &str, time: i64) -> Event {
    Event {
        time: TimeMs(time),
        instance: InstanceId::new("i").unwrap(),
        connection: ConnectionId(1),
        action: Action::Close,
        reason: Reason::ClientClosed,
        provenance: Provenance::Observed,
        client: Some(ClientId::new(client).unwrap()),
        peer: None,
        details: Details::default(),
    }
}

fn times(store: &MemoryStore, client: &str) -> Vec<i64> {
    let query = TraceQuery {
        instance: InstanceId::new("i").unwrap(),
        subject: Subject::Client(ClientId::new(client).unwrap()),
        range: TimeRange::ALL,
        order: Order::OldestFirst,
        offset: 0,
        limit: 1_000,
    };
    store.page(&query).unwrap().events.iter().map(|event| event.time.0).collect()
}

#[test]
fn above_its_bound_it_drops_what_arrived_first() {
    let store = MemoryStore::new(3);
    store.append(&Batch { events: vec![event("a", 9), event("b", 1), event("a", 5)], gaps: Vec::new() }).unwrap();
    assert_eq!((times(&store, "a"), times(&store, "b")), (vec![5, 9], vec![1]));
    store.append(&Batch { events: vec![event("a", 7), event("a", 3)], gaps: Vec::new() }).unwrap();
    assert_eq!((times(&store, "a"), times(&store, "b")), (vec![3, 5, 7], vec![]));
    assert_eq!(store.stats().events, 3);
}
