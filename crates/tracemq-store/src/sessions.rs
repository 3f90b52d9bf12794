//! Connections put together from the events of their subject, for every store that gives pages.
//!
//! Places count the events of the subject from the oldest in the range that is asked for: that one has place 0, those before
//! the range have negative places. Whatever the order asked for, pages are read by these places, so that events which arrive
//! meanwhile at the newest end move nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use tracemq_model::{
    Action, ConnectionId, CurrentState, Event, Gap, GapCause, InstanceId, Order, Session, SessionPage, Subject, TimeMs,
    TimeRange, TraceQuery,
};

use crate::{EventStore, SESSION_REACH, StoreError, check, gaps_overlapping};

/// The most places that one call looks at for first events. A full answer of ordinary sessions takes three thousand: each has at
/// most three events.
const PLACES_MAX: i64 = 4 * REACH;
/// A page in which events are left out, since they are damaged, is read anew in halves until it is known which these are. That
/// takes about twenty reads where one block is damaged; beyond this many, the places of what is left are guessed.
const HALVES_MAX: u32 = 256;
#[allow(clippy::cast_possible_wrap, reason = "a thousand")]
const REACH: i64 = SESSION_REACH as i64;

/// See [`EventStore::sessions`].
pub(crate) fn sessions<S: EventStore + ?Sized>(store: &S, query: &TraceQuery) -> Result<SessionPage, StoreError> {
    check(query)?;
    let mut history = History::open(store, query)?;
    let total = history.total;
    let mut offset = i64::try_from(query.offset).unwrap_or(i64::MAX).min(total);
    let mut firsts = Vec::new();
    let stop = total.min(offset.saturating_add(PLACES_MAX));
    while offset < stop && firsts.len() < query.limit {
        let place = history.place_at(offset);
        history.read_around(place)?;
        firsts.extend(history.is_first(place).then_some(place));
        offset += 1;
    }
    let mut sessions = Vec::with_capacity(firsts.len());
    for place in firsts {
        sessions.extend(history.session(place)?);
    }
    // Spares the caller a call that finds nothing, as far as that is known by now.
    let is_known_to_be_none = |place| history.knows_around(place) && !history.is_first(place);
    while offset < total && is_known_to_be_none(history.place_at(offset)) {
        offset += 1;
    }
    let next_offset = (offset < total).then(|| u64::try_from(offset).unwrap_or(0));
    Ok(SessionPage { sessions, next_offset, gaps: history.into_gaps() })
}

/// See [`EventStore::current_state`].
pub(crate) fn current_state<S: EventStore + ?Sized>(
    store: &S,
    instance: &InstanceId,
    subject: &Subject,
) -> Result<Option<CurrentState>, StoreError> {
    let newest = store.page(&TraceQuery {
        instance: instance.clone(),
        subject: subject.clone(),
        range: TimeRange::ALL,
        order: Order::NewestFirst,
        offset: 0,
        limit: SESSION_REACH,
    })?;
    let events = || (0..).zip(&newest.events);
    let mut connections: HashMap<ConnectionId, Parts> = HashMap::new();
    for (place, event) in events().collect::<Vec<_>>().into_iter().rev() {
        connections.entry(event.connection).or_default().note(place, event.action);
    }
    let is_open = |place: i64, event: &Event| {
        let parts = connections.get(&event.connection);
        parts.is_some_and(|parts| parts.end.is_none() && parts.beginning() == Some(place))
    };
    let open = events().filter(|(place, event)| is_open(*place, event)).map(|(_, event)| event.clone()).collect();
    let last_end = newest.events.iter().find(|event| event.action.is_end()).cloned();
    let Some(last) = newest.events.first().cloned() else { return Ok(None) };
    let mut state = CurrentState { open, last, last_end, gaps: newest.gaps };
    let since = TimeRange { from: state.since(), to: TimeMs::MAX };
    state.gaps.retain(|gap| gap.range().overlaps(since));
    Ok(Some(state))
}

/// Where a connection's events are.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    open: Option<i64>,
    connect: Option<i64>,
    end: Option<i64>,
}

impl Parts {
    /// To be called for one place after the other, from the oldest.
    fn note(&mut self, place: i64, action: Action) {
        let part = match action {
            Action::Open => &mut self.open,
            Action::Connect => &mut self.connect,
            Action::Disconnect | Action::Close => &mut self.end,
            Action::Message => return,
        };
        part.get_or_insert(place);
    }

    fn beginning(self) -> Option<i64> {
        self.connect.or(self.open)
    }
}

/// A subject's events, read as far as they are needed.
struct History<'a, S: ?Sized> {
    store: &'a S,
    query: &'a TraceQuery,
    /// How many events are in the range.
    total: i64,
    /// The places that have been read, from -[`REACH`] to `total` + [`REACH`] at most.
    known: Range<i64>,
    /// What is there; nothing where an event is damaged.
    events: BTreeMap<i64, Event>,
    connections: HashMap<ConnectionId, BTreeSet<i64>>,
    halves: u32,
    gaps: Vec<Gap>,
}

impl<'a, S: EventStore + ?Sized> History<'a, S> {
    fn open(store: &'a S, query: &'a TraceQuery) -> Result<Self, StoreError> {
        let page = store.page(&TraceQuery { offset: 0, limit: 0, ..query.clone() })?;
        let total = i64::try_from(page.total).unwrap_or(i64::MAX);
        let (events, connections) = (BTreeMap::new(), HashMap::new());
        Ok(Self { store, query, total, known: 0..0, events, connections, halves: 0, gaps: page.gaps })
    }

    /// The place that the order asked for has behind `offset` others.
    fn place_at(&self, offset: i64) -> i64 {
        match self.query.order {
            Order::OldestFirst => offset,
            Order::NewestFirst => self.total - 1 - offset,
        }
    }

    /// Whether enough has been read to say whether the event at `place` is a first one.
    fn knows_around(&self, place: i64) -> bool {
        self.known.start <= (place - REACH).max(-REACH) && place < self.known.end
    }

    fn read_around(&mut self, place: i64) -> Result<(), StoreError> {
        if self.known.is_empty() {
            self.known = match self.query.order {
                Order::OldestFirst => place..place,
                Order::NewestFirst => place + 1..place + 1,
            };
        }
        while !self.knows_around(place) {
            if self.known.end <= place { self.read_on()? } else { self.read_back()? }
        }
        Ok(())
    }

    /// Whether there is an event at `place`, and none of its connection within reach before it.
    fn is_first(&self, place: i64) -> bool {
        let places = self.events.get(&place).and_then(|event| self.connections.get(&event.connection));
        places.is_some_and(|places| places.range(place - REACH..place).next().is_none())
    }

    /// The session whose first event is at `place`.
    fn session(&mut self, place: i64) -> Result<Option<Session>, StoreError> {
        let Some(connection) = self.events.get(&place).map(|event| event.connection) else { return Ok(None) };
        let within = place..(place + REACH + 1).min(self.total + REACH);
        loop {
            let parts = self.parts(connection, within.clone());
            let is_whole = parts.connect.is_some() && parts.end.is_some();
            if is_whole || self.known.end >= within.end {
                let event = |place: Option<i64>| self.events.get(&place?).cloned();
                return Ok(Some(Session { connection, beginning: event(parts.beginning()), end: event(parts.end) }));
            }
            self.read_on()?;
        }
    }

    fn parts(&self, connection: ConnectionId, within: Range<i64>) -> Parts {
        let mut parts = Parts::default();
        for place in self.connections.get(&connection).into_iter().flat_map(|places| places.range(within.clone())) {
            if let Some(event) = self.events.get(place) {
                parts.note(*place, event.action);
            }
        }
        parts
    }

    /// Reads a page more at the newer end; at the end of the range, all that is within reach behind it.
    fn read_on(&mut self) -> Result<(), StoreError> {
        let from = self.known.end;
        if from < self.total {
            let to = self.total.min(from + REACH);
            let events = self.read(self.query.range, Order::OldestFirst, from..to)?;
            self.keep((from..to).zip(events));
            self.known.end = to;
        } else {
            if let Some(first) = self.query.range.to.0.checked_add(1) {
                let range = TimeRange { from: TimeMs(first), to: TimeMs::MAX };
                let events = self.read(range, Order::OldestFirst, 0..REACH)?;
                self.keep((self.total..).zip(events));
            }
            self.known.end = self.total + REACH;
        }
        Ok(())
    }

    /// Reads a page more at the older end; at the beginning of the range, all that is within reach before it.
    fn read_back(&mut self) -> Result<(), StoreError> {
        let to = self.known.start;
        if to > 0 {
            let from = (to - REACH).max(0);
            let events = self.read(self.query.range, Order::OldestFirst, from..to)?;
            self.keep((from..to).zip(events));
            self.known.start = from;
        } else {
            if let Some(last) = self.query.range.from.0.checked_sub(1) {
                let range = TimeRange { from: TimeMs::MIN, to: TimeMs(last) };
                let events = self.read(range, Order::NewestFirst, 0..REACH)?;
                self.keep((-REACH..0).rev().zip(events));
            }
            self.known.start = -REACH;
        }
        Ok(())
    }

    fn keep(&mut self, read: impl Iterator<Item = (i64, Option<Event>)>) {
        for (place, event) in read {
            let Some(event) = event else { continue };
            self.connections.entry(event.connection).or_default().insert(place);
            self.events.insert(place, event);
        }
    }

    /// What is at the places `wanted` of a page, with nothing where an event is damaged.
    fn read(&mut self, range: TimeRange, order: Order, wanted: Range<i64>) -> Result<Vec<Option<Event>>, StoreError> {
        let offset = u64::try_from(wanted.start).unwrap_or(0);
        let limit = usize::try_from(wanted.end - wanted.start).unwrap_or(0);
        let page = self.store.page(&TraceQuery { range, order, offset, limit, ..self.query.clone() })?;
        self.note_damage(page.gaps);
        let places = limit.min(usize::try_from(page.total.saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut events: Vec<Option<Event>> = page.events.into_iter().map(Some).collect();
        if places < 2 || events.is_empty() || events.len() >= places || self.halves == HALVES_MAX {
            events.resize(places, None);
            return Ok(events);
        }
        self.halves += 1;
        let middle = places / 2;
        let (before, behind) = (to_i64(middle), to_i64(places));
        let mut events = self.read(range, order, wanted.start..wanted.start + before)?;
        events.resize(middle, None);
        events.extend(self.read(range, order, wanted.start + before..wanted.start + behind)?);
        Ok(events)
    }

    /// The other gaps in the range are those of the first page.
    fn note_damage(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            if gap.cause == GapCause::Damaged && !self.gaps.contains(&gap) {
                self.gaps.push(gap);
            }
        }
    }

    fn into_gaps(mut self) -> Vec<Gap> {
        // Stable: those that begin together stay in their order.
        self.gaps.sort_by_key(|gap| gap.from);
        gaps_overlapping(self.gaps.into_iter(), self.query.range)
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
