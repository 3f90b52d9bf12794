//! Where the record is incomplete.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::call::{Call, InstanceParameter, answered};
use super::parameters::RangeParameters;
use super::problem::Problems;
use super::row::GapRow;
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::state::Shared;

/// What is missing.
#[derive(Serialize, ToSchema)]
struct GapsPage {
    /// Oldest first; of more than 1,000 the oldest are one that covers them.
    items: Vec<GapRow>,
}

/// Where the record is incomplete
///
/// Spans for which events were or may have been missed, and why. They hold for all clients: a gap has no name on it.
#[utoipa::path(
    get,
    operation_id = "list_gaps",
    path = "/api/v1/gaps",
    tag = "Fleet",
    params(RangeParameters, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = GapsPage), Problems)
)]
pub(crate) async fn list(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read(&app, &request).await)
}

async fn read(app: &Shared, request: &Parts) -> Result<GapsPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let range: RangeParameters = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let (range, unstored) = (range.read(call.now)?, app.unstored.clone());
    let asked = app.lookup.ask(move |store| {
        let unstored = unstored.gaps();
        store.gaps(range).map(|stored| merged(stored, &unstored, range))
    });
    let gaps = asked.await.map_err(|error| Problem::lookup(&error))?;
    Ok(GapsPage { items: gaps.into_iter().map(GapRow::of).collect() })
}
