//! The history of one client, or of an address whose connections never named one, page by page.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tracemq_model::{Gap, Subject, TraceQuery};
use tracemq_store::{EventStore, StoreError};
use utoipa::ToSchema;

use super::Problem;
use super::call::{Call, InstanceParameter, answered, named_in_path};
use super::devices::client_in_path;
use super::listing::Listing;
use super::parameters::{
    CursorParameter, FilterParameters, LimitParameter, OrderParameter, PageParameter, RangeParameters,
};
use super::problem::Problems;
use super::row::{EventRow, GapRow};
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::state::Shared;

/// A page of a history.
#[derive(Serialize, ToSchema)]
pub(super) struct EventsPage {
    items: Vec<EventRow>,
    /// All events that were asked for, exactly, whatever the page holds.
    total: u64,
    /// Spans in the range for which the record is incomplete.
    gaps: Vec<GapRow>,
    /// Where the next page begins; none on the last, and none where a `page` was asked for.
    next_cursor: Option<String>,
}

/// The history of a client
///
/// Every connect, disconnect and close with the exact reason. A client that nobody knows has an empty history.
#[utoipa::path(
    get,
    path = "/api/v1/clients/{client_id}/events",
    tag = "Devices",
    params(
        ("client_id" = String, Path, description = "Client identifier, percent-encoded; it may hold `/`."),
        RangeParameters, FilterParameters, OrderParameter, LimitParameter, CursorParameter, PageParameter,
        InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = EventsPage), Problems)
)]
pub(crate) async fn client_events(State(app): State<Shared>, request: Parts) -> Response {
    let named = client_in_path(&request, "/events").map(Subject::Client);
    answered(&app, events(&app, &request, named).await)
}

/// The history of an address
///
/// Of its connections that never named a client: what failed before CONNECT.
#[utoipa::path(
    get,
    path = "/api/v1/addresses/{ip}/events",
    tag = "Devices",
    params(
        ("ip" = String, Path, description = "IPv4 or IPv6 address."),
        RangeParameters, FilterParameters, OrderParameter, LimitParameter, CursorParameter, PageParameter,
        InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = EventsPage), Problems)
)]
pub(crate) async fn address_events(State(app): State<Shared>, request: Parts) -> Response {
    let named = named_in_path(&request, "/api/v1/addresses/", "/events").and_then(|name| {
        let address = name.parse::<std::net::IpAddr>().map_err(|_| Problem::field("ip", &"is not an IP address"))?;
        Ok(Subject::Address(address.to_canonical()))
    });
    answered(&app, events(&app, &request, named).await)
}

async fn events(app: &Shared, request: &Parts, named: Result<Subject, Problem>) -> Result<EventsPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let range: RangeParameters = call.parameters()?;
    let (order, limit): (OrderParameter, LimitParameter) = (call.parameters()?, call.parameters()?);
    let (page, cursor): (PageParameter, CursorParameter) = (call.parameters()?, call.parameters()?);
    let filter: FilterParameters = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let subject = named?;
    let filter = filter.read(call.instance.id, range.read(call.now)?, Some(subject.clone()))?;
    let (order, limit, is_filtered) = (order.read()?, limit.read()?, filter.is_of_some());
    let question = match page.read()? {
        Some(_) if cursor.cursor.is_some() => return Err(Problem::field("page", &"and `cursor` exclude each other")),
        Some(_) if is_filtered => return Err(Problem::field("page", &"goes without a filter alone; use `cursor`")),
        Some(page) => {
            let offset = (page - 1).saturating_mul(limit as u64);
            let (instance, range) = (filter.instance, filter.range);
            Question::Page(TraceQuery { instance, subject, range, order, offset, limit })
        }
        None => Question::Listing(Box::new(Listing::new(filter, order, limit, &cursor)?)),
    };
    let unstored = app.unstored.clone();
    app.lookup.ask(move |store| question.answer(store, &unstored.gaps())).await.map_err(|error| Problem::lookup(&error))
}

enum Question {
    Page(TraceQuery),
    Listing(Box<Listing>),
}

impl Question {
    /// With gaps from the store and from the `unstored`, which were asked for before.
    fn answer(&self, store: &dyn EventStore, unstored: &[Gap]) -> Result<EventsPage, StoreError> {
        let (range, events, total, gaps, next_cursor) = match self {
            Self::Page(query) => {
                let found = store.page(query)?;
                (query.range, found.events, found.total, found.gaps, None)
            }
            Self::Listing(listing) => {
                let total = listing.total(store)?;
                let found = listing.answer(store)?;
                (listing.range(), found.events, total, found.gaps, found.next)
            }
        };
        Ok(EventsPage {
            items: events.iter().map(EventRow::of).collect(),
            total,
            gaps: merged(gaps, unstored, range).into_iter().map(GapRow::of).collect(),
            next_cursor,
        })
    }
}
