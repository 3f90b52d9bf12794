//! The plain list: every answer by its definition, whatever it costs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use tracemq_model::{
    Action, ConnectionId, Count, CurrentState, Event, Filter, InstanceId, MessageId, Order, Pattern, Reason, Session,
    Subject, Tally, TimeMs, TimeRange, TraceQuery,
};

use super::super::{client, event, query};
use super::step::{Names, Row, WHO};

/// All that was appended and not erased, in order of arrival.
#[derive(Default)]
pub(super) struct List {
    events: Vec<Event>,
    appended: u32,
    /// What connections have had, erased or not: none has two ends, or begins twice in the same way.
    had: HashSet<(ConnectionId, Part)>,
    /// Connections of which something was erased.
    erased: HashSet<ConnectionId>,
    pub(super) erasures: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Open,
    Connect,
    End,
    /// Message events are no part of a session.
    None,
}

fn part(action: Action) -> Part {
    match action {
        Action::Open => Part::Open,
        Action::Connect => Part::Connect,
        Action::Disconnect | Action::Close => Part::End,
        Action::Message => Part::None,
    }
}

impl List {
    /// Appends the events that `rows` stand for, and gives them.
    pub(super) fn append(&mut self, rows: &[Row]) -> &[Event] {
        let before = self.events.len();
        for row in rows {
            let event = self.made_of(row);
            self.events.push(event);
        }
        self.events.get(before..).unwrap_or_default()
    }

    fn made_of(&mut self, row: &Row) -> Event {
        self.appended += 1;
        let mut connection = ConnectionId(u128::from(row.connection));
        let had = |part| self.had.contains(&(connection, part));
        // Of a connection that began and ended, stores may forget that it did, and take what follows for a new one.
        let is_over = had(Part::End) && (had(Part::Open) || had(Part::Connect));
        if had(part(row.action)) || is_over {
            connection = ConnectionId(u128::from(self.appended) << 64);
        }
        self.had.insert((connection, part(row.action)));
        let (client, peer) = WHO.get(row.who).copied().unwrap_or_default();
        let mut event = event(client.unwrap_or("nobody"), row.time.0, self.appended);
        event.instance = row.instance.clone();
        event.connection = connection;
        event.action = row.action;
        event.reason = match row.action {
            Action::Open => Reason::Opened,
            Action::Connect => Reason::Accepted,
            Action::Disconnect | Action::Close | Action::Message => row.end,
        };
        event.client = event.client.filter(|_| client.is_some());
        event.peer = peer.map(|peer| peer.parse().expect("a good address"));
        event.details.listener = row.listener.map(Into::into);
        event.details.username = row.username.map(Into::into);
        event
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn erase(&mut self, instance: &InstanceId, subject: &Subject) -> u64 {
        self.erasures += 1;
        let (gone, kept): (Vec<Event>, Vec<Event>) =
            self.events.drain(..).partition(|event| event.instance == *instance && is_of(subject, event));
        self.events = kept;
        self.erased.extend(gone.iter().map(|event| event.connection));
        super::count(gone.len())
    }

    /// Of a connection of which something was erased, a beginning that is left may be given or not.
    pub(super) fn check_orphans(&self, found: &[Event]) {
        let given: HashMap<ConnectionId, &Event> = found.iter().map(|event| (event.connection, event)).collect();
        assert_eq!(given.len(), found.len(), "a connection is an orphan twice");
        for event in found {
            assert!(self.events.contains(event), "an orphan that is not on record: {event:?}");
            assert!(!self.had.contains(&(event.connection, Part::End)), "an orphan that has ended: {event:?}");
        }
        for (connection, _) in &self.had {
            let beginning = |wanted| {
                self.events.iter().find(|event| event.connection == *connection && part(event.action) == wanted)
            };
            let beginning = beginning(Part::Connect).or_else(|| beginning(Part::Open));
            if !self.erased.contains(connection) && !self.had.contains(&(*connection, Part::End)) {
                assert_eq!(given.get(connection).copied(), beginning, "the orphan of {connection}");
            }
        }
    }

    /// By (time, arrival) or its reverse.
    pub(super) fn of_subject(&self, query: &TraceQuery) -> Vec<Event> {
        let wanted = |event: &&Event| event.instance == query.instance && is_of(&query.subject, event);
        let mut events: Vec<Event> =
            self.events.iter().filter(wanted).filter(|event| query.range.contains(event.time)).cloned().collect();
        // Stable: events of the same time stay in the order of arrival.
        events.sort_by_key(|event| event.time);
        if query.order == Order::NewestFirst {
            events.reverse();
        }
        events
    }

    fn matching(&self, filter: &Filter) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| is_asked_for(filter, event))
    }

    pub(super) fn scan(&self, filter: &Filter, order: Order) -> Vec<Event> {
        let mut events: Vec<Event> = self.matching(filter).cloned().collect();
        events.sort_by_key(|event| (event.time, place(event)));
        if order == Order::NewestFirst {
            events.reverse();
        }
        events
    }

    pub(super) fn counts(&self, filter: &Filter, bucket_ms: u64) -> Vec<Count> {
        let mut counts: BTreeMap<(TimeMs, Action, Reason), u64> = BTreeMap::new();
        for event in self.matching(filter) {
            let length = i128::from(bucket_ms);
            let from = i128::from(event.time.0).div_euclid(length) * length;
            let from = TimeMs(i64::try_from(from).unwrap_or(i64::MIN));
            *counts.entry((from, event.action, event.reason)).or_default() += 1;
        }
        counts.into_iter().map(|((from, action, reason), events)| Count { from, action, reason, events }).collect()
    }

    pub(super) fn tally(&self, filter: &Filter) -> Vec<Tally> {
        let mut by_subject: BTreeMap<Place, Vec<Event>> = BTreeMap::new();
        for event in self.scan(filter, Order::OldestFirst) {
            by_subject.entry(place(&event)).or_default().push(event);
        }
        let tally = |events: Vec<Event>| {
            let (first, last) = (events.first()?, events.last()?);
            Some(Tally {
                subject: Subject::of(first)?,
                events: super::count(events.len()),
                first: first.time,
                last: last.time,
                last_action: last.action,
                last_reason: last.reason,
            })
        };
        by_subject.into_values().filter_map(tally).collect()
    }

    pub(super) fn names(&self, names: &Names) -> Vec<Subject> {
        let after = names.after.as_ref().map(place_of);
        let of_instance = self.events.iter().filter(|event| event.instance == names.instance);
        let places: BTreeSet<Place> = of_instance.map(place).filter(|place| *place > Place::Nobody).collect();
        let found = places.into_iter().filter(|place| after.as_ref().is_none_or(|after| place > after));
        found.filter_map(Place::subject).filter(|subject| is_named(&names.pattern, subject)).collect()
    }

    /// Each with the number of events of the range that come before its first in the order asked for.
    pub(super) fn sessions(&self, query: &TraceQuery) -> Vec<(u64, Session)> {
        let all = TraceQuery { range: TimeRange::ALL, order: Order::OldestFirst, ..query.clone() };
        let all = self.of_subject(&all);
        let mut sessions = Vec::new();
        for (at, event) in (0..).zip(self.of_subject(query)) {
            let parts: Vec<&Event> = all.iter().filter(|other| other.connection == event.connection).collect();
            if parts.first() != Some(&&event) {
                continue;
            }
            let find = |wanted| parts.iter().find(|event| part(event.action) == wanted).copied().cloned();
            let beginning = find(Part::Connect).or_else(|| find(Part::Open));
            sessions.push((at, Session { connection: event.connection, beginning, end: find(Part::End) }));
        }
        sessions
    }

    pub(super) fn current_state(&self, instance: &InstanceId, subject: &Subject) -> Option<CurrentState> {
        let query = TraceQuery {
            instance: instance.clone(),
            subject: subject.clone(),
            order: Order::NewestFirst,
            ..query(client("any"))
        };
        let events = self.of_subject(&query);
        let has = |of: &Event, wanted| {
            events.iter().any(|event| event.connection == of.connection && part(event.action) == wanted)
        };
        let is_open = |event: &&Event| match part(event.action) {
            Part::Open => !has(event, Part::Connect) && !has(event, Part::End),
            Part::Connect => !has(event, Part::End),
            Part::End | Part::None => false,
        };
        Some(CurrentState {
            open: events.iter().filter(is_open).cloned().collect(),
            last: events.first()?.clone(),
            last_end: events.iter().find(|event| part(event.action) == Part::End).cloned(),
            gaps: Vec::new(),
        })
    }
}

/// The order of subjects, by which events of the same time are sorted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Nobody,
    Client(Vec<u8>),
    Address(u128),
    Message(u128),
}

impl Place {
    fn subject(self) -> Option<Subject> {
        match self {
            Self::Nobody => None,
            Self::Client(name) => Some(client(std::str::from_utf8(&name).expect("it was a name"))),
            Self::Address(number) => Some(Subject::Address(IpAddr::V6(number.into()).to_canonical())),
            Self::Message(id) => Some(Subject::Message(MessageId(id))),
        }
    }
}

fn place(event: &Event) -> Place {
    match (&event.client, &event.details.message, event.peer) {
        (Some(client), ..) => Place::Client(client.as_str().as_bytes().to_vec()),
        (None, Some(message), _) => Place::Message(message.id.0),
        (None, None, Some(peer)) => Place::Address(number(peer.ip())),
        (None, None, None) => Place::Nobody,
    }
}

fn place_of(subject: &Subject) -> Place {
    match subject {
        Subject::Client(client) => Place::Client(client.as_str().as_bytes().to_vec()),
        Subject::Address(address) => Place::Address(number(*address)),
        Subject::Message(id) => Place::Message(id.0),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn is_of(subject: &Subject, event: &Event) -> bool {
    place(event) == place_of(subject)
}

fn is_asked_for(filter: &Filter, event: &Event) -> bool {
    event.instance == filter.instance
        && filter.range.from <= event.time
        && event.time <= filter.range.to
        && filter.subject.as_ref().is_none_or(|subject| is_of(subject, event))
        && (filter.actions.is_empty() || filter.actions.contains(&event.action))
        && (filter.reasons.is_empty() || filter.reasons.contains(&event.reason))
        && filter.address.is_none_or(|address| event.peer.is_some_and(|peer| number(peer.ip()) == number(address)))
        && (filter.username.is_none() || filter.username.as_deref() == event.details.username.as_deref())
        && (filter.listener.is_none() || filter.listener.as_deref() == event.details.listener.as_deref())
}

/// Patterns have tests of their own, where they are at home.
fn is_named(pattern: &Pattern, subject: &Subject) -> bool {
    let text = match subject {
        Subject::Client(client) => client.to_string(),
        Subject::Address(address) => address.to_string(),
        Subject::Message(id) => id.to_string(),
    };
    pattern.matcher().matches(&text)
}
