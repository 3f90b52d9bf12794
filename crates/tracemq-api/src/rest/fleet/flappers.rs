//! Who comes and goes most.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tracemq_model::{Action, Filter, Gap, Subject, Tally};
use tracemq_store::{EventStore, StoreError};
use utoipa::ToSchema;

use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::lookup::Waiting;
use crate::rest::Problem;
use crate::rest::call::{Call, InstanceParameter, answered};
use crate::rest::devices::SubjectRow;
use crate::rest::parameters::{FilterParameters, LimitParameter, WindowParameters};
use crate::rest::problem::Problems;
use crate::rest::row::{GapRow, rfc_3339};
use crate::state::Shared;

/// Those with the most events.
#[derive(Serialize, ToSchema)]
struct Flappers {
    /// Those with the most first.
    items: Vec<TallyRow>,
    /// How many clients and addresses have any.
    subjects: u64,
    /// How many events all of them have.
    events: u64,
    /// Spans in the window for which the record is incomplete.
    gaps: Vec<GapRow>,
}

/// What one client or address has of the events asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct TallyRow {
    #[serde(flatten)]
    subject: SubjectRow,
    /// How many.
    events: u64,
    /// The oldest, RFC 3339 in UTC.
    first: String,
    /// The newest, RFC 3339 in UTC.
    last: String,
    /// What the newest was.
    last_action: &'static str,
    /// The stable code of why.
    last_reason: &'static str,
}

/// Who flaps
///
/// The clients, and the addresses whose connections never named one, with the most ends of connections in the window; with `action` or
/// `reason` the most of those.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/flappers",
    tag = "Fleet",
    params(WindowParameters, FilterParameters, LimitParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = Flappers), Problems)
)]
pub(crate) async fn flappers(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read(&app, &request).await)
}

async fn read(app: &Shared, request: &Parts) -> Result<Flappers, Problem> {
    let mut call = Call::begin(app, request)?;
    let (window, limit): (WindowParameters, LimitParameter) = (call.parameters()?, call.parameters()?);
    let filter: FilterParameters = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let mut filter = filter.read(call.instance.id, window.read(call.now)?, None)?;
    if filter.actions.is_empty() && filter.reasons.is_empty() {
        filter.actions = vec![Action::Disconnect, Action::Close];
    }
    let (limit, unstored) = (limit.read()?, app.unstored.clone());
    let asked = app.lookup.ask_long(move |store, waiting| top(store, &filter, limit, &unstored.gaps(), waiting));
    asked.await.map_err(|error| Problem::lookup(&error))
}

fn top(
    store: &dyn EventStore,
    filter: &Filter,
    limit: usize,
    unstored: &[Gap],
    waiting: &Waiting,
) -> Result<Flappers, StoreError> {
    // The least of those kept is on top, to be replaced. Of equals the first by name stays.
    let mut kept: BinaryHeap<Reverse<(u64, Reverse<Subject>)>> = BinaryHeap::with_capacity(limit.saturating_add(1));
    let (mut subjects, mut events) = (0_u64, 0_u64);
    let mut rows = HashMap::new();
    let gaps = store.tally(filter, &mut |tally| {
        subjects += 1;
        events = events.saturating_add(tally.events);
        let place = Reverse((tally.events, Reverse(tally.subject.clone())));
        if kept.len() < limit || kept.peek().is_some_and(|least| place < *least) {
            kept.push(place);
            rows.insert(tally.subject.clone(), TallyRow::of(tally));
            if kept.len() > limit
                && let Some(Reverse((_, Reverse(least)))) = kept.pop()
            {
                rows.remove(&least);
            }
        }
        waiting.go_on()
    })?;
    let order = kept.into_sorted_vec();
    Ok(Flappers {
        items: order.into_iter().filter_map(|Reverse((_, Reverse(subject)))| rows.remove(&subject)).collect(),
        subjects,
        events,
        gaps: merged(gaps, unstored, filter.range).into_iter().map(GapRow::of).collect(),
    })
}

impl TallyRow {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            subject: SubjectRow::of(&tally.subject),
            events: tally.events,
            first: rfc_3339(tally.first),
            last: rfc_3339(tally.last),
            last_action: tally.last_action.code(),
            last_reason: tally.last_reason.code(),
        }
    }
}
