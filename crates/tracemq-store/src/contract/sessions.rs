//! Promises about connections put together from their events.

use tracemq_model::{Action, ConnectionId, Event, Gap, GapCause, Order, Session, TimeMs, TimeRange, TraceQuery};

use super::{Harness, act, append, between, client, instance, query, sessions};
use crate::{Batch, EventStore, SESSION_REACH, StoreError};

fn session(beginning: Option<&Event>, end: Option<&Event>) -> Session {
    let connection = beginning.or(end).map(|event| event.connection).expect("a session of something");
    Session { connection, beginning: beginning.cloned(), end: end.cloned() }
}

fn device() -> TraceQuery {
    query(client("device"))
}

/// All sessions, `limit` at a time.
fn paged_through(store: &dyn EventStore, query: &TraceQuery) -> Vec<Session> {
    let mut found = Vec::new();
    let mut offset = Some(query.offset);
    while let Some(from) = offset {
        let page = sessions(store, &TraceQuery { offset: from, ..query.clone() });
        assert!(page.sessions.len() <= query.limit);
        assert!(page.next_offset.is_none_or(|next| next > from), "from {from} on to {:?}", page.next_offset);
        found.extend(page.sessions);
        offset = page.next_offset;
    }
    found
}

/// Interleaved, overlapping, refused, open, with an open event, with clocks that stepped: each connection is one session.
pub fn a_session_is_a_connections_events(harness: &dyn Harness) {
    let store = harness.open();
    let (ordinary, its_end) = (act(Action::Connect, 1, 10), act(Action::Close, 1, 100));
    let (opened, named, gone) = (act(Action::Open, 2, 20), act(Action::Connect, 2, 21), act(Action::Disconnect, 2, 60));
    let refused = act(Action::Close, 3, 30);
    let (stepped_end, stepped) = (act(Action::Close, 4, 40), act(Action::Connect, 4, 45));
    let still_open = act(Action::Connect, 5, 50);
    let (stepped_open, stepped_connect) = (act(Action::Open, 6, 56), act(Action::Connect, 6, 55));
    append(&*store, &[its_end.clone(), opened, stepped.clone(), refused.clone(), stepped_connect.clone()]);
    append(&*store, &[ordinary.clone(), gone.clone(), named.clone(), stepped_end.clone(), still_open.clone()]);
    append(&*store, &[stepped_open]);
    let mut expected = vec![
        session(Some(&ordinary), Some(&its_end)),
        session(Some(&named), Some(&gone)),
        session(None, Some(&refused)),
        session(Some(&stepped), Some(&stepped_end)),
        session(Some(&still_open), None),
        session(Some(&stepped_connect), None),
    ];
    drop(store);
    let store = harness.open();
    for limit in [1, 2, 5, 6, 1_000] {
        assert_eq!(paged_through(&*store, &TraceQuery { limit, ..device() }), expected);
    }
    let newest_first = TraceQuery { order: Order::NewestFirst, ..device() };
    expected.reverse();
    for limit in [1, 2, 5, 6, 1_000] {
        assert_eq!(paged_through(&*store, &TraceQuery { limit, ..newest_first.clone() }), expected);
    }
    let all = sessions(&*store, &newest_first);
    assert_eq!((all.sessions.len(), all.next_offset), (6, None));
    // What was passed over is not shown: the first six events begin five sessions.
    let rest = sessions(&*store, &TraceQuery { offset: 6, ..device() });
    assert_eq!(rest.sessions.first().map(|session| session.connection), Some(ConnectionId(5)));
    assert_eq!(sessions(&*store, &TraceQuery { offset: u64::MAX, ..device() }).sessions, []);
    assert_eq!(sessions(&*store, &query(client("nobody"))).sessions, []);
}

/// In the range is what begins in it; its end may lie behind.
pub fn a_session_is_where_its_first_event_is(harness: &dyn Harness) {
    let store = harness.open();
    let ends = |n| act(Action::Close, n, i64::from(n) * 10 + 25);
    let begins = |n| act(Action::Connect, n, i64::from(n) * 10);
    let events: Vec<Event> = (0..10).flat_map(|n| [begins(n), ends(n)]).collect();
    append(&*store, &events);
    let mut expected: Vec<Session> = (3..=5).map(|n| session(Some(&begins(n)), Some(&ends(n)))).collect();
    let range = between(25, 55);
    for limit in [1, 2, 3, 4] {
        assert_eq!(paged_through(&*store, &TraceQuery { range, limit, ..device() }), expected);
    }
    expected.reverse();
    let newest_first = TraceQuery { range, order: Order::NewestFirst, ..device() };
    assert_eq!(paged_through(&*store, &newest_first), expected);
    // The newest event of the range is a first one, the second newest is not.
    let page = sessions(&*store, &TraceQuery { offset: 2, limit: 1, range: between(25, 50), ..newest_first.clone() });
    assert_eq!(page.sessions.first(), expected.get(1));
    for range in [between(91, 115), between(55, 25), between(1_000, 2_000)] {
        let page = sessions(&*store, &TraceQuery { range, ..device() });
        assert_eq!((page.sessions, page.next_offset), (Vec::new(), None));
    }
    assert_eq!(sessions(&*store, &TraceQuery { range: TimeRange::ALL, ..newest_first }).sessions.len(), 10);
}

/// Parts that are [`SESSION_REACH`] events apart belong together; when they are further apart, each is a session.
pub fn parts_of_a_session_are_looked_for_within_reach(harness: &dyn Harness) {
    let store = harness.open();
    let reach = u32::try_from(SESSION_REACH).unwrap_or(u32::MAX);
    let (near, far) = (reach * 10, reach * 10 + 1);
    // Two connections open one behind the other; so many events of others later the second is closed, then the first.
    let mut events = vec![act(Action::Connect, far, 0), act(Action::Connect, near, 1)];
    events.extend((2..=reach).map(|n| act(Action::Close, n, i64::from(n))));
    events.push(act(Action::Close, near, i64::from(reach) + 1));
    events.push(act(Action::Close, far, i64::from(reach) + 2));
    append(&*store, &events);
    let ranges = [TimeRange::ALL, between(0, 1), between(i64::from(reach), i64::MAX)];
    for (range, near_count, far_count) in ranges.into_iter().zip([1, 1, 0]).zip([2, 1, 1]).map(|((r, n), f)| (r, n, f))
    {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let found = paged_through(&*store, &TraceQuery { range, order, limit: 100, ..device() });
            let of = |number: u32| {
                let connection = ConnectionId(u128::from(number));
                found.iter().filter(|session| session.connection == connection).cloned().collect::<Vec<_>>()
            };
            assert_eq!((of(near).len(), of(far).len()), (near_count, far_count), "{range:?} {order:?}");
            assert!(of(near).iter().all(|session| session.beginning.is_some() && session.end.is_some()));
            assert!(of(far).iter().all(|session| session.beginning.is_some() != session.end.is_some()));
        }
    }
}

/// However many events there are, and however few of them begin a session: paging ends, and shows each session once.
pub fn sessions_are_paged_through(harness: &dyn Harness) {
    let store = harness.open();
    let mut events: Vec<Event> = Vec::new();
    for n in 0..1_500_u32 {
        let time = i64::from(n) * 10;
        events.extend([act(Action::Connect, n, time), act(Action::Close, n, time + 45)]);
    }
    // A connection that is told of again and again, by somebody who does not keep to the rules.
    events.extend((0..7_000).map(|n| act(Action::Open, 9_999, 20_000 + i64::from(n))));
    events.push(act(Action::Close, 8_888, 40_000));
    for batch in events.chunks(2_000) {
        append(&*store, batch);
        harness.settle(&*store, 7);
    }
    let mut numbers: Vec<u128> = (0..1_500).chain([9_999, 8_888]).collect();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for limit in [97, 1_000] {
            let found = paged_through(&*store, &TraceQuery { order, limit, ..device() });
            let connections: Vec<u128> = found.iter().map(|session| session.connection.0).collect();
            assert_eq!(connections, numbers);
            let ordinary = found.iter().filter(|session| session.beginning.is_some() && session.end.is_some());
            assert_eq!(ordinary.count(), 1_500);
        }
        numbers.reverse();
    }
    assert!(matches!(store.sessions(&TraceQuery { limit: 1_001, ..device() }), Err(StoreError::InvalidQuery(_))));
}

/// Open is what began and did not end.
pub fn the_current_state_is_that_of_the_newest_events(harness: &dyn Harness) {
    let store = harness.open();
    let state =
        |store: &dyn EventStore| store.current_state(&instance(), &client("device")).expect("the store answers");
    assert_eq!(state(&*store), None);
    let connects: Vec<Event> = (1..4).map(|n| act(Action::Connect, n, i64::from(n))).collect();
    append(&*store, &connects);
    append(&*store, &[act(Action::Close, 2, 5), act(Action::Open, 4, 7), act(Action::Open, 3, 0)]);
    append(&*store, &[act(Action::Disconnect, 9, 6)]);
    drop(store);
    let store = harness.open();
    let now = state(&*store).expect("it has events");
    let open: Vec<u128> = now.open.iter().map(|event| event.connection.0).collect();
    assert_eq!(open, [4, 3, 1]);
    assert_eq!(now.open.get(1), connects.get(2), "the connect says more than the open");
    assert_eq!((now.last, now.last_end), (act(Action::Open, 4, 7), Some(act(Action::Disconnect, 9, 6))));
    // What lies far behind is not looked for.
    let refused: Vec<Event> = (0..1_000).map(|n| act(Action::Close, 10_000 + n, 10)).collect();
    append(&*store, &refused);
    let now = state(&*store).expect("it has events");
    assert_eq!((now.open, Some(&now.last)), (Vec::new(), refused.last()));
    assert_eq!(now.last_end.as_ref(), refused.last());
    // Only what may hide something newer says so.
    assert_eq!(now.gaps, []);
    let gap = |from, to| Gap { from: TimeMs(from), to: TimeMs(to), lost: Some(1), cause: GapCause::QueueFull };
    let batch = Batch { events: Vec::new(), gaps: vec![gap(1, 9), gap(4, 10), gap(20, 30)] };
    store.append(&batch).expect("the store takes it");
    let now = state(&*store).expect("it has events");
    assert_eq!(now.gaps, [gap(4, 10), gap(20, 30)]);
}

/// A gap may hold the end of a connection that is shown as open, and a newer end than the one that is shown.
pub fn the_current_state_tells_what_may_have_ended_in_a_gap(harness: &dyn Harness) {
    let store = harness.open();
    let told = || {
        let state = store.current_state(&instance(), &client("device")).expect("the store answers");
        state.expect("it has events").gaps
    };
    let gap = |from, to| Gap { from: TimeMs(from), to: TimeMs(to), lost: Some(1), cause: GapCause::QueueFull };
    append(&*store, &[act(Action::Connect, 1, 10), act(Action::Connect, 2, 30)]);
    let batch = Batch { events: Vec::new(), gaps: vec![gap(0, 9), gap(15, 20)] };
    store.append(&batch).expect("the store takes it");
    assert_eq!(told(), [gap(0, 9), gap(15, 20)], "the first one may have ended, or another one have come and gone");
    append(&*store, &[act(Action::Close, 1, 12)]);
    assert_eq!(told(), [gap(15, 20)], "another one may have ended there");
    append(&*store, &[act(Action::Close, 3, 29)]);
    assert_eq!(told(), []);
}
