//! Who is connected now, and ending connections.
//!
//! - `GET /api/v1/connections`: `prefix` (of client identifiers), `limit` (1 to 1000), `cursor`, `instance`.
//! - `DELETE /api/v1/connections`: exactly one of `client`, `username`, `address`; `instance`. At most
//!   [`ENDS_MAX`] at once. Who asked for it stands on record with each end.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracemq_access::AccessKey;
use tracemq_access::params::Params;
use tracemq_model::ClientId;

use super::{Problem, login, question};
use crate::clients::{ClientRow, Whose};
use crate::metrics::{Outcome, Surface};
use crate::state::{Instance, Shared};

/// What a policy must allow for a list.
const LIST: &[&str] = &["mq:ListMqttConnections"];
/// What it must allow for an end.
const END: &[&str] = &["mq:EndMqttConnections"];
/// Connections that one call ends.
const ENDS_MAX: usize = 1_000;

#[derive(Serialize)]
struct Page {
    items: Vec<ClientRow>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Ended {
    ended: usize,
    /// As many as one call may end: there may be more.
    more: bool,
}

pub(crate) async fn list(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read_page(&app, &request))
}

pub(crate) async fn end(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, end_some(&app, &request))
}

fn answered<T: Serialize>(app: &Shared, answer: Result<T, Problem>) -> Response {
    let response = match answer {
        Ok(body) => (StatusCode::OK, Json(body)).into_response(),
        Err(problem) => problem.into_response(),
    };
    app.metrics.answered(Surface::Rest, Outcome::of(response.status()));
    response
}

/// Who asks, how often, what, and whether that is allowed.
fn asked<T>(
    app: &Shared,
    request: &Parts,
    names: &[&str],
    actions: &'static [&'static str],
    then: impl FnOnce(&AccessKey, &Instance, &Params) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let now = app.now();
    let keys = app.keys.in_force();
    let key = login::login(&keys, &request.headers, now)?;
    app.throttle(&key.account, now).map_err(Problem::too_many)?;
    let parameters = question::read_named(request.uri.query().unwrap_or_default(), names)?;
    let instance = login::instance(app, key, parameters.get("instance"))?;
    login::check_policy(key, instance, actions)?;
    then(key, instance, &parameters)
}

fn read_page(app: &Shared, request: &Parts) -> Result<Page, Problem> {
    asked(app, request, &["prefix", "limit", "cursor", "instance"], LIST, |_, instance, parameters| {
        let limit = question::read_limit(parameters.get("limit"))?;
        let after = parameters.get("cursor").map(|text| client("cursor", text)).transpose()?;
        let prefix = parameters.get("prefix").unwrap_or_default();
        let (clients, next) = app.clients.page(&instance.id, prefix, after.as_ref(), limit);
        let items = clients.iter().map(ClientRow::of).collect();
        Ok(Page { items, next_cursor: next.map(|client| client.to_string()) })
    })
}

fn end_some(app: &Shared, request: &Parts) -> Result<Ended, Problem> {
    asked(app, request, &["client", "username", "address", "instance"], END, |key, instance, parameters| {
        let get = |name| parameters.get(name);
        let whose = match (get("client"), get("username"), get("address")) {
            (Some(id), None, None) => Whose::Client(client("client", id)?),
            (None, Some(name), None) => Whose::User(name.to_owned()),
            (None, None, Some(address)) => {
                let address: std::net::IpAddr =
                    address.parse().map_err(|_| Problem::field("address", &"is not an IP address"))?;
                Whose::Address(address.to_canonical())
            }
            _ => return Err(Problem::field("client", &"or `username` or `address` is needed, and only one of them")),
        };
        let detail = format!("by access key {}", key.id);
        let ended = app.clients.end(&instance.id, &whose, &detail, ENDS_MAX);
        tracing::info!(key = %key.id, instance = %instance.id, ?whose, ended, "connections ended by an administrator");
        Ok(Ended { ended, more: ended >= ENDS_MAX })
    })
}

fn client(field: &str, text: &str) -> Result<ClientId, Problem> {
    ClientId::new(text).map_err(|error| Problem::field(field, &error))
}
