//! Why a client drops: what is on record of it, and of others meanwhile, is read here; what follows from it, `tracemq-why` says.

mod answer;
mod around;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use tracemq_model::{ClientId, Gap, InstanceId, Order, Subject, TimeMs, TimeRange, TracePage, TraceQuery};
use tracemq_store::{EventStore, StoreError};
use tracemq_why::{Case, EVENTS_MAX, judge};
use utoipa::IntoParams;

use self::answer::Why;
use super::Problem;
use super::call::{Call, InstanceParameter, answered};
use super::devices::{client_in_path, unknown};
use super::parameters::RangeParameters;
use super::problem::Problems;
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::lookup::Waiting;
use crate::state::Shared;

/// A week has each hour and each day of it, and is not about what was long ago.
const WEEK_MS: i64 = 7 * 86_400_000;

/// Which time is asked about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TimeParameters {
    /// From when on, included: RFC 3339, milliseconds since 1970, a span back from now (`2h`, `-7d`), or words (`yesterday`,
    /// `10:30`), in UTC unless it names an offset. Without it a week before the end; for a client of which nothing is on record in that
    /// week, a week before its last event.
    #[param(example = "2h")]
    since: Option<String>,
    /// Until when, included; written as `since`. Now without it.
    #[param(example = "now")]
    until: Option<String>,
}

/// Why a client drops
///
/// A verdict with the events that prove it, how sure it is, what was ruled out, and what to do; and what else holds. Out of the newest 5,000 events of
/// the client in the range, the gaps in it, and what others did about its last drops. Where that does not suffice, the verdict is
/// `not-enough-evidence`.
#[utoipa::path(
    get,
    operation_id = "client_why",
    path = "/api/v1/clients/{client_id}/why",
    tag = "Devices",
    params(
        ("client_id" = String, Path, description = "Client identifier, percent-encoded; it may hold `/`."),
        TimeParameters, InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = Why), Problems)
)]
pub(crate) async fn why(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, ask(&app, &request).await)
}

async fn ask(app: &Shared, request: &Parts) -> Result<Why, Problem> {
    let mut call = Call::begin(app, request)?;
    let time: TimeParameters = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let client = client_in_path(request, "/why")?;
    let question = Question::new(call.instance.id, client, time, call.now)?;
    let unstored = app.unstored.clone();
    let asked = app.lookup.ask_long(move |store, waiting| question.answer(store, &unstored.gaps(), waiting));
    asked.await.map_err(|error| Problem::lookup(&error))?
}

struct Question {
    instance: InstanceId,
    client: ClientId,
    range: TimeRange,
    /// Whether nobody said when it begins.
    is_open: bool,
    now: TimeMs,
}

impl Question {
    fn new(instance: InstanceId, client: ClientId, time: TimeParameters, now: TimeMs) -> Result<Self, Problem> {
        let is_open = time.since.is_none();
        let until = time.until.or_else(|| Some("now".to_owned()));
        let mut range = RangeParameters::of(time.since, until).read(now)?;
        if is_open {
            range.from = range.to.plus(-WEEK_MS);
        }
        Ok(Self { instance, client, range, is_open, now })
    }

    /// None without anything on record of the client.
    fn answer(
        mut self,
        store: &dyn EventStore,
        unstored: &[Gap],
        waiting: &Waiting,
    ) -> Result<Result<Why, Problem>, StoreError> {
        let subject = Subject::Client(self.client.clone());
        if self.is_open && self.page(store, 0, 0)?.total == 0 {
            let before = TimeRange { from: TimeMs::MIN, to: self.range.to };
            let last = self.read(store, before, 0, 1)?;
            self.range.from = last.events.first().map_or(self.range.from, |last| last.time.plus(-WEEK_MS));
        }
        let (mut events, mut total, mut gaps) = (Vec::new(), 0, Vec::new());
        while events.len() < EVENTS_MAX {
            let page = self.page(store, events.len(), TraceQuery::LIMIT_MAX)?;
            (total, gaps) = (page.total, page.gaps);
            if page.events.is_empty() {
                break;
            }
            events.extend(page.events);
        }
        events.truncate(EVENTS_MAX);
        events.reverse();
        if events.is_empty() && self.read(store, TimeRange::ALL, 0, 0)?.total == 0 {
            return Ok(Err(unknown(store, self.instance, subject)?));
        }
        let gaps = merged(gaps, unstored, self.range);
        let surroundings = around::surroundings(store, &self.instance, &events, self.range.to, waiting)?;
        let now = self.range.to.min(self.now);
        let judgement = judge(&Case { events: &events, gaps: &gaps, surroundings: &surroundings, now });
        let is_partial = total > events.len() as u64 || surroundings.around.iter().any(|around| around.is_partial);
        Ok(Ok(Why::of(&self.client, TimeRange { to: now, ..self.range }, judgement, gaps, &events, is_partial)))
    }

    fn page(&self, store: &dyn EventStore, offset: usize, limit: usize) -> Result<TracePage, StoreError> {
        self.read(store, self.range, offset, limit)
    }

    fn read(
        &self,
        store: &dyn EventStore,
        range: TimeRange,
        offset: usize,
        limit: usize,
    ) -> Result<TracePage, StoreError> {
        let (instance, subject) = (self.instance.clone(), Subject::Client(self.client.clone()));
        let (order, offset) = (Order::NewestFirst, offset as u64);
        store.page(&TraceQuery { instance, subject, range, order, offset, limit })
    }
}
