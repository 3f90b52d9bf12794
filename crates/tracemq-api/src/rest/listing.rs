//! A page of what a filter asks for, in the order of a scan; and where the next one begins.
//!
//! The place is a moment and a subject, not a number of rows, so that events which come in between shift nothing: what has
//! the same moment and subject comes in the order of arrival, and how many there were is part of the place.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use tracemq_model::{ClientId, Event, Filter, Gap, MessageId, Order, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::{EventStore, StoreError};

use super::Problem;
use super::cursor::{self, of_question};
use super::parameters::CursorParameter;

/// What is asked.
#[derive(Debug)]
pub(super) struct Listing {
    filter: Filter,
    order: Order,
    limit: usize,
    place: Option<Place>,
}

/// The answer.
pub(super) struct Listed {
    pub(super) events: Vec<Event>,
    pub(super) gaps: Vec<Gap>,
    pub(super) next: Option<String>,
}

/// Where a page ended, and what the first one was asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    newest_first: bool,
    from: i64,
    to: i64,
    /// The moment of the last event that was given.
    at: i64,
    /// Whose it was.
    client: Option<String>,
    address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// How many of that moment and subject were given, and how many there were then.
    given: u64,
    of: u64,
}

impl Listing {
    /// `cursor` is the last page's; it goes before range and order.
    pub(super) fn new(
        mut filter: Filter,
        mut order: Order,
        limit: usize,
        cursor: &CursorParameter,
    ) -> Result<Self, Problem> {
        let place = cursor.read::<Place>(&question(&filter))?;
        if place.as_ref().is_some_and(|place| !place.is_right()) {
            return Err(cursor::refused());
        }
        if let Some(place) = &place {
            filter.range = TimeRange { from: TimeMs(place.from), to: TimeMs(place.to) };
            order = if place.newest_first { Order::NewestFirst } else { Order::OldestFirst };
        }
        Ok(Self { filter, order, limit, place })
    }

    /// The span that all pages are of.
    pub(super) fn range(&self) -> TimeRange {
        self.filter.range
    }

    /// All that it asks for, of one subject.
    pub(super) fn total(&self, store: &dyn EventStore) -> Result<u64, StoreError> {
        match &self.filter.subject {
            Some(subject) if !self.filter.is_of_some() => {
                let (instance, subject) = (self.filter.instance.clone(), subject.clone());
                let (range, order) = (self.filter.range, self.order);
                store.page(&TraceQuery { instance, subject, range, order, offset: 0, limit: 0 }).map(|page| page.total)
            }
            _ => total(store, &self.filter),
        }
    }

    pub(super) fn answer(&self, store: &dyn EventStore) -> Result<Listed, StoreError> {
        let mut skip = self.skip(store)?;
        let (mut events, mut has_more) = (Vec::new(), false);
        store.scan(&self.rest(), self.order, &mut |event| {
            if skip.takes(event) {
                if events.len() == self.limit {
                    has_more = true;
                    return ControlFlow::Break(());
                }
                events.push(event.clone());
            }
            ControlFlow::Continue(())
        })?;
        let next = if has_more { self.next(store, &events, &skip)? } else { None };
        Ok(Listed { gaps: store.gaps(self.filter.range)?, events, next })
    }

    /// The part of the range that is left.
    fn rest(&self) -> Filter {
        let mut rest = self.filter.clone();
        if let Some(place) = &self.place {
            match self.order {
                Order::OldestFirst => rest.range.from = TimeMs(place.at),
                Order::NewestFirst => rest.range.to = TimeMs(place.at),
            }
        }
        rest
    }

    fn skip(&self, store: &dyn EventStore) -> Result<Skip, StoreError> {
        let Some(place) = &self.place else { return Ok(Skip { at: None, order: self.order, left: 0, given: 0 }) };
        let (at, subject) = (TimeMs(place.at), place.subject());
        let given = match self.order {
            Order::OldestFirst => place.given,
            // What arrived since comes before them.
            Order::NewestFirst => {
                place.given.saturating_add(self.count(store, at, subject.as_ref())?.saturating_sub(place.of))
            }
        };
        Ok(Skip { at: Some((at, subject)), order: self.order, left: given, given })
    }

    fn next(&self, store: &dyn EventStore, events: &[Event], skip: &Skip) -> Result<Option<String>, StoreError> {
        let Some(last) = events.last() else { return Ok(None) };
        let (at, subject) = (last.time, Subject::of(last));
        let is_alike = |event: &&Event| event.time == at && Subject::of(event) == subject;
        let mut given = events.iter().rev().take_while(is_alike).count() as u64;
        if given == events.len() as u64 && skip.at.as_ref() == Some(&(at, subject.clone())) {
            given = given.saturating_add(skip.given);
        }
        let (mut client, mut address, mut message) = (None, None, None);
        match &subject {
            Some(Subject::Client(named)) => client = Some(named.to_string()),
            Some(Subject::Address(named)) => address = Some(named.to_string()),
            Some(Subject::Message(named)) => message = Some(named.to_string()),
            None => {}
        }
        let TimeRange { from, to } = self.filter.range;
        let place = Place {
            newest_first: self.order == Order::NewestFirst,
            from: from.0,
            to: to.0,
            at: at.0,
            client,
            address,
            message,
            given,
            of: self.count(store, at, subject.as_ref())?,
        };
        Ok(Some(cursor::write(&question(&self.filter), &place)))
    }

    /// Events of that moment and subject; 0 for those that no subject leads to.
    fn count(&self, store: &dyn EventStore, at: TimeMs, subject: Option<&Subject>) -> Result<u64, StoreError> {
        let Some(subject) = subject else { return Ok(0) };
        let mut filter = self.filter.clone();
        (filter.range, filter.subject) = (TimeRange { from: at, to: at }, Some(subject.clone()));
        total(store, &filter)
    }
}

/// How many events `filter` asks for.
fn total(store: &dyn EventStore, filter: &Filter) -> Result<u64, StoreError> {
    let mut total = 0_u64;
    store.tally(filter, &mut |tally| {
        total = total.saturating_add(tally.events);
        ControlFlow::Continue(())
    })?;
    Ok(total)
}

/// What was given before.
struct Skip {
    at: Option<(TimeMs, Option<Subject>)>,
    order: Order,
    left: u64,
    given: u64,
}

impl Skip {
    fn takes(&mut self, event: &Event) -> bool {
        let Some((at, subject)) = &self.at else { return true };
        if event.time != *at {
            return true;
        }
        let order = Subject::of(event).cmp(subject);
        let order = if self.order == Order::NewestFirst { order.reverse() } else { order };
        if order.is_eq() && self.left > 0 {
            self.left -= 1;
            return false;
        }
        order.is_ge()
    }
}

impl Place {
    fn is_right(&self) -> bool {
        let range = TimeRange { from: TimeMs(self.from), to: TimeMs(self.to) };
        let names = [&self.client, &self.address, &self.message];
        let names_one = names.into_iter().flatten().count() <= 1;
        let is_name = |name: &String| ClientId::new(name).is_ok();
        let is_address = |text: &String| text.parse::<std::net::IpAddr>().is_ok();
        range.contains(TimeMs(self.at))
            && names_one
            && self.client.as_ref().is_none_or(is_name)
            && self.address.as_ref().is_none_or(is_address)
            && self.message.as_ref().is_none_or(|id| id.parse::<MessageId>().is_ok())
    }

    fn subject(&self) -> Option<Subject> {
        let client = self.client.as_deref().and_then(|name| ClientId::new(name).ok()).map(Subject::Client);
        let address = || self.address.as_deref()?.parse().ok().map(Subject::Address);
        let message = || self.message.as_deref()?.parse().ok().map(Subject::Message);
        client.or_else(address).or_else(message)
    }
}

/// What tells one question from another, but for range and order.
fn question(filter: &Filter) -> String {
    let Filter { instance, range: _, subject, actions, reasons, address, username, listener } = filter;
    of_question(&(
        format!("{instance:?} {subject:?} {actions:?} {reasons:?} {address:?}"),
        username.as_deref(),
        listener.as_deref(),
    ))
}
