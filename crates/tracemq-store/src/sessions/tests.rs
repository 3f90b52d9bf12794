//! What the contract suite can't show: pages with damage, and how many of them are read.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracemq_model::{ClientId, Counts, Details, Filter, Pattern, Provenance, Reason, SubjectPage, TracePage};

use super::*;
use crate::{Batch, MemoryStore, StoreStats, Visit, VisitTally};

/// Leaves the events of some connections out of its pages, as if they were damaged, and counts the pages.
struct Holey {
    memory: MemoryStore,
    damaged: fn(u128) -> bool,
    pages: AtomicUsize,
}

impl EventStore for Holey {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.memory.append(batch)
    }

    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        self.pages.fetch_add(1, Ordering::SeqCst);
        let mut page = self.memory.page(query)?;
        let mut gaps = Vec::new();
        page.events.retain(|event| {
            let is_damaged = (self.damaged)(event.connection.0);
            gaps.extend(is_damaged.then_some(damage(event.time)));
            !is_damaged
        });
        page.gaps = gaps_overlapping(gaps.into_iter(), query.range);
        Ok(page)
    }

    fn scan(&self, _: &Filter, _: Order, _: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        unreachable!()
    }

    fn counts(&self, _: &Filter, _: u64) -> Result<Counts, StoreError> {
        unreachable!()
    }

    fn tally(&self, _: &Filter, _: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        unreachable!()
    }

    fn subjects(&self, _: &InstanceId, _: &Pattern, _: Option<&Subject>, _: usize) -> Result<SubjectPage, StoreError> {
        unreachable!()
    }

    fn erase(&self, _: &InstanceId, _: &Subject) -> Result<u64, StoreError> {
        unreachable!()
    }

    fn gaps(&self, _: TimeRange) -> Result<Vec<Gap>, StoreError> {
        unreachable!()
    }

    fn orphans(&self, _: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        unreachable!()
    }

    fn mark_alive(&self, _: TimeMs) -> Result<(), StoreError> {
        unreachable!()
    }

    fn last_alive(&self) -> Option<TimeMs> {
        unreachable!()
    }

    fn stats(&self) -> StoreStats {
        unreachable!()
    }
}

fn damage(time: TimeMs) -> Gap {
    Gap { from: time, to: time, lost: Some(1), cause: GapCause::Damaged }
}

fn event(number: u128, action: Action, time: i64) -> Event {
    Event {
        time: TimeMs(time),
        instance: InstanceId::new("i").unwrap(),
        connection: ConnectionId(number),
        action,
        reason: Reason::Accepted,
        provenance: Provenance::Observed,
        client: Some(ClientId::new("device").unwrap()),
        peer: None,
        details: Details::default(),
    }
}

fn query(order: Order, limit: usize) -> TraceQuery {
    let subject = Subject::Client(ClientId::new("device").unwrap());
    let instance = InstanceId::new("i").unwrap();
    TraceQuery { instance, subject, range: TimeRange::ALL, order, offset: 0, limit }
}

/// `connections` sessions of two events each, one open at a time.
fn store(connections: u32, damaged: fn(u128) -> bool) -> Holey {
    let event_pair = |n: u32| {
        let time = i64::from(n) * 10;
        [event(n.into(), Action::Connect, time), event(n.into(), Action::Close, time + 5)]
    };
    let memory = MemoryStore::new(1_000_000);
    memory.append(&Batch { events: (0..connections).flat_map(event_pair).collect(), gaps: Vec::new() }).unwrap();
    Holey { memory, damaged, pages: AtomicUsize::new(0) }
}

/// The connections of all sessions, `limit` at a time.
fn paged_through(store: &Holey, order: Order, limit: usize) -> Vec<u128> {
    let (mut found, mut offset) = (Vec::new(), Some(0));
    while let Some(from) = offset {
        let page = sessions(store, &TraceQuery { offset: from, ..query(order, limit) }).unwrap();
        assert!(page.sessions.iter().all(|session| session.beginning.is_some() && session.end.is_some()));
        found.extend(page.sessions.iter().map(|session| session.connection.0));
        offset = page.next_offset;
    }
    found
}

#[test]
fn damage_moves_no_session_to_another_place() {
    let damaged = |number| (700..1_100).contains(&number) || number % 500 == 3;
    let store = store(2_000, damaged);
    let mut expected: Vec<u128> = (0..2_000).filter(|number| !damaged(*number)).collect();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for limit in [1_000, 77] {
            assert_eq!(paged_through(&store, order, limit), expected);
        }
        expected.reverse();
    }
    let page = sessions(&store, &TraceQuery { offset: 1_390, ..query(Order::OldestFirst, 6) }).unwrap();
    let found: Vec<u128> = page.sessions.iter().map(|session| session.connection.0).collect();
    assert_eq!(found, [695, 696, 697, 698, 699, 1_100]);
    assert!(page.gaps.contains(&damage(TimeMs(7_000))) && page.gaps.is_sorted_by_key(|gap| gap.from));
}

/// The end is found with the first page, the better beginning with the next.
#[test]
fn a_connect_is_looked_for_as_far_as_an_end() {
    let memory = MemoryStore::new(1_000_000);
    let mut events = vec![event(1, Action::Open, 0), event(1, Action::Close, 1)];
    events.extend((2..1_000).map(|n| event(n, Action::Close, 2)));
    events.push(event(1, Action::Connect, 3));
    memory.append(&Batch { events, gaps: Vec::new() }).unwrap();
    let page = sessions(&memory, &query(Order::OldestFirst, 1)).unwrap();
    assert_eq!(page.sessions[0].beginning, Some(event(1, Action::Connect, 3)));
    assert_eq!(page.sessions[0].end, Some(event(1, Action::Close, 1)));
}

#[test]
fn a_call_reads_a_bounded_number_of_pages() {
    let count = |store: &Holey, query: &TraceQuery| {
        let before = store.pages.load(Ordering::SeqCst);
        sessions(store, query).unwrap();
        store.pages.load(Ordering::SeqCst) - before
    };
    let ordinary = store(10_000, |_| false);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for offset in [0, 10_000, 19_990] {
            let few = TraceQuery { offset, ..query(order, 20) };
            assert!(count(&ordinary, &few) <= 5, "{}", count(&ordinary, &few));
            assert!(count(&ordinary, &TraceQuery { limit: 1_000, ..few }) <= 7);
        }
    }
    // Damage everywhere: nothing is left out by halves of nothing, and the halving ends.
    let shattered = store(10_000, |number| number % 2 == 0);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        assert!(count(&shattered, &query(order, 1_000)) <= 2 * 256 + 10);
    }
    // One connection that never ends to be told of.
    let endless: Vec<Event> = (0..20_000).map(|time| event(1, Action::Open, time)).collect();
    let memory = MemoryStore::new(1_000_000);
    memory.append(&Batch { events: endless, gaps: Vec::new() }).unwrap();
    let endless = Holey { memory, damaged: |_| false, pages: AtomicUsize::new(0) };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        assert!(count(&endless, &query(order, 1_000)) <= 8);
        assert_eq!(sessions(&endless, &query(order, 1_000)).unwrap().next_offset, Some(4_000));
    }
}

#[test]
fn the_current_state_takes_one_page() {
    let store = store(3_000, |number| number == 2_999);
    let state = current_state(&store, &InstanceId::new("i").unwrap(), &query(Order::OldestFirst, 1).subject).unwrap();
    assert_eq!(store.pages.load(Ordering::SeqCst), 1);
    let state = state.unwrap();
    assert_eq!((state.open, state.last.connection.0), (Vec::new(), 2_998));
}
