//! The way of messages: of one client, of one message from its publisher, of one message to its subscribers.
//!
//! Which messages are on record is a matter of the configuration; where none is, the operations are not supported.

use std::ops::ControlFlow;

use serde::Serialize;
use tracemq_model::{
    ClientId, Event, Filter, Gap, InstanceId, MessageId, Order, Reason, Subject, TimeRange, TraceQuery,
};
use tracemq_store::{EventStore, StoreError};

use crate::caller::Caller;
use crate::gaps::merged;
use crate::lookup::Waiting;
use crate::state::{MessageAnswers, Shared};

use super::actions::Operation;
use super::fault::Fault;
use super::incoming::Incoming;
use super::scope::{find_instance, text};
use super::trace_device::{Paging, check_policy, failure, order, range, region};
use super::words;

/// The answer, but for the request's id.
#[derive(Debug)]
pub(super) struct Messages {
    /// None where there are no pages.
    pub(super) paging: Option<Paging>,
    pub(super) total: u64,
    pub(super) list: Vec<MessageInfo>,
    /// How many spans of the range are not on record.
    pub(super) gaps: usize,
}

/// What became of a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MessageInfo {
    pub(super) time: String,
    pub(super) action: &'static str,
    pub(super) action_code: &'static str,
    pub(super) action_info: &'static str,
    pub(super) msg_id: String,
    pub(super) client_id: String,
}

impl MessageInfo {
    fn of(event: &Event, utc_offset_s: i32) -> Option<Self> {
        let (action, action_code) = words::message_action(event.reason)?;
        let message = event.details.message.as_deref()?;
        let client = event.client.as_ref().map(ClientId::as_str).or(message.client.as_deref());
        Some(Self {
            time: words::time(event.time, utc_offset_s),
            action,
            action_code,
            action_info: words::action_info(event.reason),
            msg_id: message.id.to_string(),
            client_id: client.unwrap_or_default().to_owned(),
        })
    }
}

/// The most that the operation without pages answers: a message is published once.
const PUBLISHED_MAX: usize = 100;

/// What is asked for.
enum Wanted {
    /// All of a client's.
    OfClient(ClientId),
    /// Of a message, for these reasons, of this client or of all. None for what is no id of ours: nothing is known of it.
    OfMessage { id: Option<MessageId>, reasons: &'static [Reason], client: Option<ClientId> },
}

struct Parameters<'a> {
    region: &'a str,
    instance: &'a str,
    wanted: Wanted,
    range: TimeRange,
    paging: Option<Paging>,
    order: Order,
}

/// Found events with the number of all that match.
#[derive(Default)]
struct Found {
    total: u64,
    events: Vec<Event>,
    gaps: Vec<Gap>,
}

pub(super) async fn query(
    app: &Shared,
    key: &Caller,
    operation: Operation,
    incoming: &Incoming,
) -> Result<Messages, Fault> {
    check_policy(key, operation, incoming)?;
    let messages = app.messages.as_ref().ok_or_else(Fault::api_not_supported)?;
    let parameters = Parameters::read(operation, incoming)?;
    let instance = find_instance(app, key, parameters.instance, Some(parameters.region))?;
    let found = parameters.ask(messages, instance.id.clone()).await?;
    app.metrics.metered(&instance.id);
    let utc_offset_s = app.settings.utc_offset_s;
    Ok(Messages {
        paging: parameters.paging,
        total: found.total,
        list: found.events.iter().filter_map(|event| MessageInfo::of(event, utc_offset_s)).collect(),
        gaps: found.gaps.len(),
    })
}

impl<'a> Parameters<'a> {
    fn read(operation: Operation, incoming: &'a Incoming) -> Result<Self, Fault> {
        let region = region(incoming)?;
        let instance = text(incoming, "InstanceId")?;
        let client = |name| ClientId::new(name).map_err(|_| Fault::invalid("ClientId"));
        let wanted = if operation == Operation::TraceMessagePublish {
            let id = text(incoming, "MsgId")?.parse().ok();
            Wanted::OfMessage { id, reasons: &[Reason::MessagePublished], client: None }
        } else if operation == Operation::TraceMessageSubscribe {
            let id = text(incoming, "MsgId")?.parse().ok();
            let named = incoming.all.get("ClientId").filter(|name| !name.is_empty());
            let reasons = &[Reason::MessageDelivered, Reason::MessageQueued];
            Wanted::OfMessage { id, reasons, client: named.map(client).transpose()? }
        } else {
            Wanted::OfClient(client(text(incoming, "ClientId")?)?)
        };
        let has_pages = operation != Operation::TraceMessagePublish;
        let (range, paging) = range(incoming, has_pages)?;
        let order = if has_pages { order(incoming)? } else { Order::OldestFirst };
        Ok(Self { region, instance, wanted, range, paging, order })
    }

    async fn ask(&self, messages: &MessageAnswers, instance: InstanceId) -> Result<Found, Fault> {
        let unstored = messages.unstored.clone();
        let (range, order) = (self.range, self.order);
        let (offset, limit) = self.paging.map_or((0, PUBLISHED_MAX), Paging::window);
        let found = match &self.wanted {
            Wanted::OfClient(client) => {
                let subject = Subject::Client(client.clone());
                let query = TraceQuery { instance, subject, range, order, offset, limit };
                let gaps = unstored.gaps();
                let asked = messages.lookup.page(query, move |page| {
                    let gaps = merged(page.gaps, &gaps, range);
                    Found { total: page.total, events: page.events, gaps }
                });
                asked.await
            }
            Wanted::OfMessage { id: None, .. } => return Ok(Found::default()),
            Wanted::OfMessage { id: Some(id), reasons, client } => {
                let subject = Some(Subject::Message(*id));
                let filter = Filter { subject, reasons: reasons.to_vec(), ..Filter::all(instance, range) };
                let client = client.clone();
                let asked = messages.lookup.ask_long(move |store, waiting| {
                    let gaps = unstored.gaps();
                    let mut found = of_message(store, &filter, order, client.as_ref(), (offset, limit), waiting)?;
                    found.gaps = merged(found.gaps, &gaps, range);
                    Ok(found)
                });
                asked.await
            }
        };
        found.map_err(|error| failure(&error))
    }
}

/// A message has as many rows as it has receivers: they are gone through, and the page is kept.
fn of_message(
    store: &dyn EventStore,
    filter: &Filter,
    order: Order,
    client: Option<&ClientId>,
    (offset, limit): (u64, usize),
    waiting: &Waiting,
) -> Result<Found, StoreError> {
    let mut found = Found::default();
    found.gaps = store.scan(filter, order, &mut |event| {
        let whose = event.details.message.as_deref().and_then(|message| message.client.as_deref());
        if client.is_none_or(|client| whose == Some(client.as_str())) {
            if found.total >= offset && found.events.len() < limit {
                found.events.push(event.clone());
            }
            found.total += 1;
        }
        if waiting.go_on().is_break() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}
