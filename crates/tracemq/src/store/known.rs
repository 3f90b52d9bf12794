//! What of an import the store has already, so that the same file can be imported again: after an interruption, or by mistake.
//!
//! An event is the same when it is so in all: two that differ in their details only are two events, in a file as in the store,
//! which gives back what it was given. Files are in the order of time, mostly, so that what is later than all that the store holds is not
//! looked for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use tracemq_model::{
    Action, ConnectionId, Details, Event, Filter, InstanceId, Order, Provenance, Reason, Subject, TimeMs, TimeRange,
    TraceQuery,
};
use tracemq_segments::Segments;
use tracemq_store::{Batch, EventStore, StoreError};

/// What tells most events from the others of their subject.
type Mark = (ConnectionId, TimeMs, Action, Reason);

fn mark(event: &Event) -> Mark {
    (event.connection, event.time, event.action, event.reason)
}

/// What else there is to an event. An address is one in both its forms.
#[derive(PartialEq)]
struct Rest(Provenance, Option<(IpAddr, u16)>, Details);

impl Rest {
    fn of(event: &Event) -> Self {
        let peer = event.peer.map(|peer| (peer.ip().to_canonical(), peer.port()));
        Self(event.provenance, peer, event.details.clone())
    }
}

/// Events of a subject.
#[derive(Default)]
struct Events(HashMap<Mark, Vec<Rest>>);

impl Events {
    /// Whether it is another one than all before.
    fn add(&mut self, event: &Event) -> bool {
        let rest = Rest::of(event);
        let alike = self.0.entry(mark(event)).or_default();
        let is_new = !alike.contains(&rest);
        if is_new {
            alike.push(rest);
        }
        is_new
    }
}

/// What the store has.
pub(super) struct Known {
    /// It has no event after this moment.
    latest: Option<TimeMs>,
}

/// How much was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TakenOut {
    pub(super) events: u64,
    pub(super) gaps: u64,
}

impl Known {
    pub(super) fn of(store: &Segments) -> Self {
        Self { latest: store.times().map(|times| times.to) }
    }

    /// Takes what `store` has already, or what stands in `batch` twice, out of `batch`, which is to be appended then.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) fn take_out(&mut self, store: &dyn EventStore, batch: &mut Batch) -> Result<TakenOut, StoreError> {
        let before = (batch.events.len(), batch.gaps.len());
        let mut subjects: HashMap<(InstanceId, Option<Subject>), Vec<TimeMs>> = HashMap::new();
        for event in &batch.events {
            let times = subjects.entry((event.instance.clone(), Subject::of(event))).or_default();
            if Some(event.time) <= self.latest {
                times.push(event.time);
            }
        }
        let mut known: HashMap<(InstanceId, Option<Subject>), Events> = HashMap::with_capacity(subjects.len());
        for ((instance, subject), mut times) in subjects {
            times.sort_unstable();
            let mut found = Events::default();
            match &subject {
                Some(subject) => find(store, &instance, subject, &times, &mut found)?,
                None => find_nobodys(store, &instance, &times, &mut found)?,
            }
            known.insert((instance, subject), found);
        }
        self.latest = self.latest.max(batch.events.iter().map(|event| event.time).max());
        batch.events.retain(|event| {
            let found = known.entry((event.instance.clone(), Subject::of(event))).or_default();
            found.add(event)
        });
        let mut failed = None;
        // About its first moment alone: of fewer gaps none is told together with others.
        batch.gaps.retain(|gap| match store.gaps(TimeRange { from: gap.from, to: gap.from }) {
            Ok(known) => !known.contains(gap),
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        let taken = |before: usize, after: usize| u64::try_from(before - after).unwrap_or(u64::MAX);
        let taken = TakenOut { events: taken(before.0, batch.events.len()), gaps: taken(before.1, batch.gaps.len()) };
        failed.map_or(Ok(taken), Err)
    }
}

/// Puts what `subject` has at the `times`, which are sorted, and maybe some between them, into `found`.
fn find(
    store: &dyn EventStore,
    instance: &InstanceId,
    subject: &Subject,
    times: &[TimeMs],
    found: &mut Events,
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Ok(()) };
    let (instance, subject, limit) = (instance.clone(), subject.clone(), TraceQuery::LIMIT_MAX);
    let range = TimeRange { from: *first, to: *last };
    let mut query = TraceQuery { instance, subject, range, order: Order::OldestFirst, offset: 0, limit };
    loop {
        let page = store.page(&query)?;
        // Many events between few times would be read for nothing.
        if page.total > limit as u64 && first < last {
            let (early, late) = times.split_at(times.len() / 2);
            find(store, &query.instance, &query.subject, early, found)?;
            return find(store, &query.instance, &query.subject, late, found);
        }
        for event in &page.events {
            found.add(event);
        }
        query.offset += limit as u64;
        if query.offset >= page.total {
            return Ok(());
        }
    }
}

/// The same of events that name neither client nor address, which no subject leads to.
fn find_nobodys(
    store: &dyn EventStore,
    instance: &InstanceId,
    times: &[TimeMs],
    found: &mut Events,
) -> Result<(), StoreError> {
    let (Some(from), Some(to)) = (times.first(), times.last()) else { return Ok(()) };
    let filter = Filter::all(instance.clone(), TimeRange { from: *from, to: *to });
    store.scan(&filter, Order::OldestFirst, &mut |event| {
        if Subject::of(event).is_none() {
            found.add(event);
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracemq_model::{ClientId, Details, Gap, GapCause, Provenance};
    use tracemq_segments::SegmentSettings;

    use super::*;

    /// Some of one moment; of one client, of addresses and of nobody.
    fn event(number: u64) -> Event {
        Event {
            time: TimeMs(1_700_000_000_000 + (number / 4).cast_signed()),
            instance: InstanceId::new(if number.is_multiple_of(5) { "b" } else { "a" }).unwrap(),
            connection: ConnectionId(u128::from(number / 2)),
            action: if number.is_multiple_of(2) { Action::Connect } else { Action::Close },
            reason: if number.is_multiple_of(2) { Reason::Accepted } else { Reason::ClientClosed },
            provenance: Provenance::Observed,
            client: (number % 7 > 1).then(|| ClientId::new("pump").unwrap()),
            peer: (!number.is_multiple_of(7)).then(|| "192.0.2.7:4711".parse().unwrap()),
            details: Details::default(),
        }
    }

    fn gap(number: i64) -> Gap {
        Gap { from: TimeMs(number), to: TimeMs(number + 5), lost: None, cause: GapCause::NotRunning }
    }

    fn batch(numbers: impl Iterator<Item = u64>) -> Batch {
        Batch { events: numbers.map(event).collect(), gaps: Vec::new() }
    }

    #[test]
    fn what_is_there_is_taken_out_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let settings = SegmentSettings { memtable_events: 3_000, ..SegmentSettings::default() };
        let (store, _) = Segments::open(dir.path(), settings).unwrap();
        assert_eq!(Known::of(&store).latest, None);
        // More events of a client than a page has, half of them in memory.
        store.append(&Batch { gaps: vec![gap(1)], ..batch((0..8_000).filter(|n| n % 3 > 0)) }).unwrap();
        let mut known = Known::of(&store);
        let mut all = Batch { gaps: vec![gap(0), gap(1)], ..batch((0..8_100).rev()) };
        let taken = known.take_out(&store, &mut all).unwrap();
        let expected = batch((0..8_100).rev().filter(|n| n % 3 == 0 || *n >= 8_000));
        assert_eq!(taken, TakenOut { events: 8_100 - expected.events.len() as u64, gaps: 1 });
        assert!(all.events == expected.events && all.gaps == [gap(0)]);
        store.append(&all).unwrap();
        let mut again = batch(0..8_100);
        assert_eq!(known.take_out(&store, &mut again).unwrap().events, 8_100, "{} stay", again.events.len());
    }

    #[test]
    fn an_event_that_differs_in_anything_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Segments::open(dir.path(), SegmentSettings::default()).unwrap();
        let one = event(6);
        store.append(&Batch { events: vec![one.clone()], gaps: Vec::new() }).unwrap();
        let others = [
            Event { time: TimeMs(one.time.0 - 1), ..one.clone() },
            Event { connection: ConnectionId(999), ..one.clone() },
            Event { action: Action::Open, ..one.clone() },
            Event { reason: Reason::Opened, ..one.clone() },
            Event { client: None, ..one.clone() },
            Event { client: None, peer: None, ..one.clone() },
            Event { instance: InstanceId::new("c").unwrap(), ..one.clone() },
            Event { provenance: Provenance::Inferred, ..one.clone() },
            Event { peer: Some("192.0.2.7:4712".parse().unwrap()), ..one.clone() },
            Event { details: Details { detail: Some("words".into()), ..Details::default() }, ..one.clone() },
            Event { details: Details { duration_ms: Some(1), ..Details::default() }, ..one.clone() },
        ];
        let mut batch =
            Batch { events: others.iter().cloned().chain([one]).chain(others.clone()).collect(), gaps: Vec::new() };
        Known::of(&store).take_out(&store, &mut batch).unwrap();
        assert_eq!(batch.events, others, "and what stands there twice is taken once");
        store.append(&batch).unwrap();
        let mut again = Batch { events: others.to_vec(), gaps: Vec::new() };
        Known::of(&store).take_out(&store, &mut again).unwrap();
        assert_eq!(again.events, [], "all of them are there");
    }

    #[test]
    fn a_gap_among_more_than_an_answer_has_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Segments::open(dir.path(), SegmentSettings::default()).unwrap();
        let long = Gap { from: TimeMs(5), to: TimeMs(1_000_000), lost: None, cause: GapCause::NotRunning };
        let gaps: Vec<Gap> = (0..3_000).map(|number| gap(number * 10)).chain([long]).collect();
        store.append(&Batch { events: Vec::new(), gaps: gaps.clone() }).unwrap();
        let mut batch = Batch { events: Vec::new(), gaps };
        Known::of(&store).take_out(&store, &mut batch).unwrap();
        assert_eq!(batch.gaps, []);
    }
}
