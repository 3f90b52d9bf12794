//! The way of messages, where it is put on record: of one client, or of one message.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracemq_model::{ClientId, Event, Filter, MessageId, Reason, Subject};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::call::{Call, InstanceParameter, answered, named_in_path};
use super::devices::client_in_path;
use super::listing::Listing;
use super::parameters::{CursorParameter, LimitParameter, OrderParameter, RangeParameters, reasons};
use super::problem::Problems;
use super::row::{GapRow, rfc_3339};
use crate::apsara::{TRACE_MESSAGE_OF_CLIENT_PERMISSIONS, TRACE_MESSAGE_PERMISSIONS};
use crate::gaps::merged;
use crate::state::Shared;

/// A page of what became of messages.
#[derive(Serialize, ToSchema)]
pub(super) struct MessagesPage {
    items: Vec<MessageRow>,
    /// All that were asked for, exactly, whatever the page holds.
    total: u64,
    /// Spans in the range for which the record of messages is incomplete.
    gaps: Vec<GapRow>,
    /// Where the next page begins; none on the last.
    next_cursor: Option<String>,
}

/// What became of a message. What is absent was not known or does not apply.
#[derive(Serialize, ToSchema)]
struct MessageRow {
    /// When, RFC 3339 in UTC.
    time: String,
    /// When, in milliseconds since 1970.
    time_ms: i64,
    /// Whose device.
    instance: String,
    /// The id that this server gave the message, 32 hex digits.
    message: String,
    /// `message-published`, `message-delivered`, `message-queued` or `message-dropped`.
    reason: String,
    /// Who published it, or to whom it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// Its topic, cut after 1,024 bytes.
    topic: String,
    /// QoS as it was published, delivered or queued.
    qos: u8,
    /// Bytes of its payload. What it said is not on record.
    payload_bytes: u64,
    /// The network connection that it came or went by, 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl MessageRow {
    fn of(event: &Event) -> Option<Self> {
        let message = event.details.message.as_deref()?;
        let client = event.client.as_ref().map(ClientId::as_str).or(message.client.as_deref());
        Some(Self {
            time: rfc_3339(event.time),
            time_ms: event.time.0,
            instance: event.instance.to_string(),
            message: message.id.to_string(),
            reason: event.reason.code().to_owned(),
            client: client.map(str::to_owned),
            topic: message.topic.to_string(),
            qos: message.qos,
            payload_bytes: message.payload_bytes,
            connection: Some(event.connection.to_string()).filter(|_| event.connection.0 != 0),
            detail: event.details.detail.as_deref().map(str::to_owned),
        })
    }
}

/// Which of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReasonParameter {
    /// Codes of reasons, with commas between them: `message-published`, `message-delivered`, `message-queued`, `message-dropped`.
    #[param(example = "message-delivered,message-queued")]
    reason: Option<String>,
}

const REASONS: [Reason; 4] =
    [Reason::MessagePublished, Reason::MessageDelivered, Reason::MessageQueued, Reason::MessageDropped];

/// The messages of a client
///
/// What it published, what was sent to it, and what waited for it, as far as the configuration puts messages on record
/// (`[trace.messages]`). What was dropped on the way to it is in the way of that message alone.
#[utoipa::path(
    get,
    operation_id = "client_messages",
    path = "/api/v1/clients/{client_id}/messages",
    tag = "Messages",
    params(
        ("client_id" = String, Path, description = "Client identifier, percent-encoded; it may hold `/`."),
        RangeParameters, ReasonParameter, OrderParameter, LimitParameter, CursorParameter, InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = MessagesPage), Problems)
)]
pub(crate) async fn of_client(State(app): State<Shared>, request: Parts) -> Response {
    let named = client_in_path(&request, "/messages").map(Subject::Client);
    answered(&app, list(&app, &request, named, TRACE_MESSAGE_OF_CLIENT_PERMISSIONS).await)
}

/// The way of a message
///
/// Who published it, to whom it was sent, for whom it waited and whom it did not reach. One that is not on record has an empty way.
#[utoipa::path(
    get,
    operation_id = "message_way",
    path = "/api/v1/messages/{message_id}",
    tag = "Messages",
    params(
        ("message_id" = String, Path, description = "The id that this server gave the message, 32 hex digits."),
        RangeParameters, ReasonParameter, OrderParameter, LimitParameter, CursorParameter, InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = MessagesPage), Problems)
)]
pub(crate) async fn way(State(app): State<Shared>, request: Parts) -> Response {
    let named = named_in_path(&request, "/api/v1/messages/", "").and_then(|name| {
        let id: Result<MessageId, _> = name.parse();
        id.map(Subject::Message).map_err(|_| Problem::field("message_id", &"must be 32 hex digits"))
    });
    answered(&app, list(&app, &request, named, TRACE_MESSAGE_PERMISSIONS).await)
}

async fn list(
    app: &Shared,
    request: &Parts,
    named: Result<Subject, Problem>,
    permissions: &'static [&'static str],
) -> Result<MessagesPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let (range, which): (RangeParameters, ReasonParameter) = (call.parameters()?, call.parameters()?);
    let (order, limit): (OrderParameter, LimitParameter) = (call.parameters()?, call.parameters()?);
    let cursor: CursorParameter = call.parameters()?;
    let call = call.allowed(permissions)?;
    let messages = app.messages.as_ref().ok_or_else(not_on_record)?;
    let filter = Filter {
        subject: Some(named?),
        reasons: reasons(which.reason.as_deref(), &REASONS)?,
        ..Filter::all(call.instance.id, range.read(call.now)?)
    };
    let listing = Listing::new(filter, order.read()?, limit.read()?, &cursor)?;
    let (range, unstored) = (listing.range(), messages.unstored.clone());
    // A message may have as many rows as there are clients.
    let asked = messages.lookup.ask_long(move |store, _| {
        let unstored = unstored.gaps();
        let total = listing.total(store)?;
        listing.answer(store).map(|found| (found, total, unstored))
    });
    let (found, total, unstored) = asked.await.map_err(|error| Problem::lookup(&error))?;
    Ok(MessagesPage {
        items: found.events.iter().filter_map(MessageRow::of).collect(),
        total,
        gaps: merged(found.gaps, &unstored, range).into_iter().map(GapRow::of).collect(),
        next_cursor: found.next,
    })
}

fn not_on_record() -> Problem {
    let detail = "no message is put on record here: name topics in `[trace.messages]` of the server's configuration";
    Problem::new(StatusCode::NOT_FOUND, "messages-not-on-record", "Messages are not on record", detail)
}
