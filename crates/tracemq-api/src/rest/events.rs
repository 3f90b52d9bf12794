//! The events of all clients and addresses together.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::call::{Call, InstanceParameter, answered};
use super::listing::Listing;
use super::parameters::{CursorParameter, FilterParameters, LimitParameter, OrderParameter, RangeParameters};
use super::problem::Problems;
use super::row::{EventRow, GapRow};
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::state::Shared;

/// Some of what happened.
#[derive(Serialize, ToSchema)]
struct FleetEventsPage {
    items: Vec<EventRow>,
    /// Spans in the range for which the record is incomplete.
    gaps: Vec<GapRow>,
    /// Where the next page begins; none on the last.
    next_cursor: Option<String>,
}

/// What happened
///
/// The events of all clients and addresses, by time. How many there are is not counted here: `/api/v1/fleet/reasons` does.
#[utoipa::path(
    get,
    operation_id = "list_events",
    path = "/api/v1/events",
    tag = "Fleet",
    params(RangeParameters, FilterParameters, OrderParameter, LimitParameter, CursorParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = FleetEventsPage), Problems)
)]
pub(crate) async fn list(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read(&app, &request).await)
}

async fn read(app: &Shared, request: &Parts) -> Result<FleetEventsPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let range: RangeParameters = call.parameters()?;
    let (order, limit): (OrderParameter, LimitParameter) = (call.parameters()?, call.parameters()?);
    let (cursor, filter): (CursorParameter, FilterParameters) = (call.parameters()?, call.parameters()?);
    let call = call.allowed(PERMISSIONS)?;
    let filter = filter.read(call.instance.id, range.read(call.now)?, None)?;
    let listing = Listing::new(filter, order.read()?, limit.read()?, &cursor)?;
    let (range, unstored) = (listing.range(), app.unstored.clone());
    let answer = app.lookup.ask(move |store| {
        let unstored = unstored.gaps();
        listing.answer(store).map(|found| (found, unstored))
    });
    let (found, unstored) = answer.await.map_err(|error| Problem::lookup(&error))?;
    Ok(FleetEventsPage {
        items: found.events.iter().map(EventRow::of).collect(),
        gaps: merged(found.gaps, &unstored, range).into_iter().map(GapRow::of).collect(),
        next_cursor: found.next,
    })
}
