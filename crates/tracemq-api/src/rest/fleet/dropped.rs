//! Who dropped in a window, and who is still gone.

use std::ops::ControlFlow;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use tracemq_model::{Action, Filter, Gap, Subject};
use tracemq_store::{EventStore, StoreError};
use utoipa::ToSchema;

use super::flappers::TallyRow;
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::lookup::Waiting;
use crate::rest::Problem;
use crate::rest::call::{Call, InstanceParameter, answered};
use crate::rest::cursor::{self, of_question};
use crate::rest::devices::After;
use crate::rest::parameters::{CursorParameter, FilterParameters, LimitParameter, WindowParameters};
use crate::rest::problem::Problems;
use crate::rest::row::GapRow;
use crate::state::Shared;

/// Who dropped.
#[derive(Serialize, ToSchema)]
struct Dropped {
    /// By name.
    items: Vec<DroppedRow>,
    /// Spans in the window for which the record is incomplete.
    gaps: Vec<GapRow>,
    /// Where the next page begins; none on the last.
    next_cursor: Option<String>,
}

/// A client that dropped.
#[derive(Serialize, ToSchema)]
struct DroppedRow {
    #[serde(flatten)]
    drops: TallyRow,
    /// Whether a connection of it is open by now.
    is_back: bool,
}

/// Who dropped
///
/// The clients whose connections ended in the window without a DISCONNECT packet (`action=close`, which those that were refused have as
/// well), unless `action` or `reason` say otherwise; and whether each is back.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/dropped",
    tag = "Fleet",
    params(WindowParameters, FilterParameters, LimitParameter, CursorParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = Dropped), Problems)
)]
pub(crate) async fn dropped(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read(&app, &request).await)
}

async fn read(app: &Shared, request: &Parts) -> Result<Dropped, Problem> {
    let mut call = Call::begin(app, request)?;
    let (window, limit): (WindowParameters, LimitParameter) = (call.parameters()?, call.parameters()?);
    let (cursor, filter): (CursorParameter, FilterParameters) = (call.parameters()?, call.parameters()?);
    let call = call.allowed(PERMISSIONS)?;
    let mut filter = filter.read(call.instance.id, window.read(call.now)?, None)?;
    drops_of(&mut filter);
    let of = of_question(&(filter.instance.as_str(), "dropped"));
    let after: Option<After> = cursor.read(&of)?;
    let after = after.map(After::subject).transpose()?;
    let (limit, unstored) = (limit.read()?, app.unstored.clone());
    let asked = app.lookup.ask_long(move |store, waiting| {
        let unstored = unstored.gaps();
        let (drops, more, gaps) = page(store, &filter, after.as_ref(), limit, waiting)?;
        let next_cursor = drops.last().filter(|_| more).map(|(subject, _)| cursor::write(&of, &After::of(subject)));
        Ok(Dropped { items: with_state(store, &filter, drops)?, gaps: rows(gaps, &unstored, &filter), next_cursor })
    });
    asked.await.map_err(|error| Problem::lookup(&error))
}

/// What counts as a drop, unless somebody says.
pub(super) fn drops_of(filter: &mut Filter) {
    if filter.actions.is_empty() && filter.reasons.is_empty() {
        filter.actions = vec![Action::Close];
    }
}

fn rows(gaps: Vec<Gap>, unstored: &[Gap], filter: &Filter) -> Vec<GapRow> {
    merged(gaps, unstored, filter.range).into_iter().map(GapRow::of).collect()
}

type Page = (Vec<(Subject, TallyRow)>, bool, Vec<Gap>);

fn page(
    store: &dyn EventStore,
    filter: &Filter,
    after: Option<&Subject>,
    limit: usize,
    waiting: &Waiting,
) -> Result<Page, StoreError> {
    let (mut drops, mut more) = (Vec::new(), false);
    let gaps = store.tally(filter, &mut |tally| {
        if !matches!(tally.subject, Subject::Client(_)) || after.is_some_and(|after| tally.subject <= *after) {
            return waiting.go_on();
        }
        if drops.len() == limit {
            more = true;
            return ControlFlow::Break(());
        }
        drops.push((tally.subject.clone(), TallyRow::of(tally)));
        waiting.go_on()
    })?;
    Ok((drops, more, gaps))
}

fn with_state(
    store: &dyn EventStore,
    filter: &Filter,
    drops: Vec<(Subject, TallyRow)>,
) -> Result<Vec<DroppedRow>, StoreError> {
    let row = |(subject, drops)| {
        let state = store.current_state(&filter.instance, &subject)?;
        Ok(DroppedRow { drops, is_back: state.is_some_and(|state| !state.open.is_empty()) })
    };
    drops.into_iter().map(row).collect()
}
