//! Our own API: everything that is known of each event, in MQTT's words, as flat JSON.
//!
//! - `GET /api/v1/clients/{client_id}/events`: of a client; its identifier percent-encoded.
//! - `GET /api/v1/addresses/{ip}/events`: of the connections from an address that never named a client.
//!
//! - `/api/v1/connections`: who is connected now; see `connections.rs`.
//!
//! Query of the histories: `since`, `until` (milliseconds since 1970, or [words](time_words)), `order` (`desc`, `asc`),
//! `limit` (1 to 1000), `cursor` (from the page before), `instance`. Callers prove who they are by HTTP Basic.

pub(crate) mod connections;
mod cursor;
mod login;
mod problem;
mod question;
mod row;
pub mod time_words;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracemq_access::params::{Plus, decode};
use tracemq_model::{ClientId, Subject};

use crate::apsara::PERMISSIONS;
use crate::metrics::{Outcome, Surface};
use crate::state::Shared;

pub use crate::clients::ClientRow;
pub(crate) use problem::Problem;
pub use row::{EventRow, GapRow};

#[derive(Serialize)]
struct EventsPage {
    items: Vec<EventRow>,
    total: u64,
    gaps: Vec<GapRow>,
    next_cursor: Option<String>,
}

pub(crate) async fn client_events(State(app): State<Shared>, request: Parts) -> Response {
    let named = named_in_path(&request, "/api/v1/clients/").and_then(|name| {
        ClientId::new(&name).map(Subject::Client).map_err(|error| Problem::field("client_id", &error))
    });
    answered(&app, events(&app, &request, named).await)
}

pub(crate) async fn address_events(State(app): State<Shared>, request: Parts) -> Response {
    let named = named_in_path(&request, "/api/v1/addresses/").and_then(|name| {
        let address = name.parse::<std::net::IpAddr>().map_err(|_| Problem::field("ip", &"is not an IP address"))?;
        Ok(Subject::Address(address.to_canonical()))
    });
    answered(&app, events(&app, &request, named).await)
}

/// What stands in the path between `before` and `/events`, decoded.
fn named_in_path(request: &Parts, before: &str) -> Result<String, Problem> {
    let path = request.uri.path();
    let name = path.strip_prefix(before).and_then(|rest| rest.strip_suffix("/events")).unwrap_or_default();
    decode(name.as_bytes(), Plus::IsPlus).map_err(|error| Problem::field("path", &error))
}

fn answered(app: &Shared, answer: Result<EventsPage, Problem>) -> Response {
    let response = match answer {
        Ok(page) => (StatusCode::OK, Json(page)).into_response(),
        Err(problem) => problem.into_response(),
    };
    app.metrics.answered(Surface::Rest, Outcome::of(response.status()));
    response
}

/// First who asks, then how often, then what.
async fn events(app: &Shared, request: &Parts, named: Result<Subject, Problem>) -> Result<EventsPage, Problem> {
    let now = app.now();
    let keys = app.keys.in_force();
    let key = login::login(&keys, &request.headers, now)?;
    app.throttle(&key.account, now).map_err(Problem::too_many)?;
    let parameters = question::read_parameters(request.uri.query().unwrap_or_default())?;
    let instance = login::instance(app, key, parameters.get("instance"))?;
    login::check_policy(key, instance, PERMISSIONS)?;
    let question = question::Question::read(&parameters, instance.id.clone(), named?, now)?;
    let unstored = app.unstored.clone();
    app.lookup.ask(move |store| question.answer(store, &unstored.gaps())).await.map_err(|error| Problem::lookup(&error))
}
