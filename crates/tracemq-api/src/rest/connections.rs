//! Who is connected now, and ending connections. Who asked for an end stands on record with it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracemq_model::ClientId;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::call::{Call, InstanceParameter, answered};
use super::parameters::{CursorParameter, LimitParameter};
use super::problem::Problems;
use crate::clients::{ClientRow, Whose};
use crate::state::Shared;

/// What a policy must allow for a list.
const LIST: &[&str] = &["mq:ListMqttConnections"];
/// What it must allow for an end.
const END: &[&str] = &["mq:EndMqttConnections"];
/// Connections that one call ends.
const ENDS_MAX: usize = 1_000;

/// Clients that are connected, by identifier.
#[derive(Serialize, ToSchema)]
struct ConnectionsPage {
    items: Vec<ClientRow>,
    /// Where the next page begins; none on the last. A page may be short.
    next_cursor: Option<String>,
}

/// What was ended.
#[derive(Serialize, ToSchema)]
struct Ended {
    /// How many connections.
    ended: usize,
    /// As many as one call may end: there may be more.
    more: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PrefixParameter {
    /// What the client identifiers begin with.
    prefix: Option<String>,
}

/// Exactly one of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhoseParameters {
    /// The connection of this client.
    client: Option<String>,
    /// All connections of this user.
    username: Option<String>,
    /// All connections from this address.
    address: Option<String>,
}

/// Who is connected now
///
/// The key's policy must allow `mq:ListMqttConnections`.
#[utoipa::path(
    get,
    operation_id = "list_connections",
    path = "/api/v1/connections",
    tag = "Connections",
    params(PrefixParameter, LimitParameter, CursorParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = ConnectionsPage), Problems)
)]
pub(crate) async fn list(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read_page(&app, &request))
}

/// End connections
///
/// At most 1,000 a call. Each end is on record as `kicked` with the access key in its detail; sessions are kept. The key's
/// policy must allow `mq:EndMqttConnections`.
#[utoipa::path(
    delete,
    operation_id = "end_connections",
    path = "/api/v1/connections",
    tag = "Connections",
    params(WhoseParameters, InstanceParameter),
    responses((status = 200, description = "What was done", body = Ended), Problems)
)]
pub(crate) async fn end(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, end_some(&app, &request).await)
}

fn read_page(app: &Shared, request: &Parts) -> Result<ConnectionsPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let (which, limit): (PrefixParameter, LimitParameter) = (call.parameters()?, call.parameters()?);
    let cursor: CursorParameter = call.parameters()?;
    let call = call.allowed(LIST)?;
    let after = cursor.cursor.map(|text| client("cursor", &text)).transpose()?;
    let prefix = which.prefix.unwrap_or_default();
    let (clients, next) = app.clients.page(&call.instance.id, &prefix, after.as_ref(), limit.read()?);
    let items = clients.iter().map(ClientRow::of).collect();
    Ok(ConnectionsPage { items, next_cursor: next.map(|client| client.to_string()) })
}

async fn end_some(app: &Shared, request: &Parts) -> Result<Ended, Problem> {
    let mut call = Call::begin(app, request)?;
    let which: WhoseParameters = call.parameters()?;
    let call = call.allowed_to_change(END)?;
    let whose = match (which.client, which.username, which.address) {
        (Some(id), None, None) => Whose::Client(client("client", &id)?),
        (None, Some(name), None) => Whose::User(name),
        (None, None, Some(address)) => {
            let address: std::net::IpAddr =
                address.parse().map_err(|_| Problem::field("address", &"is not an IP address"))?;
            Whose::Address(address.to_canonical())
        }
        _ => return Err(Problem::field("client", &"or `username` or `address` is needed, and only one of them")),
    };
    let audit = Arc::clone(&app.audit);
    let clients = Arc::clone(&app.clients);
    let ended = app.turns.take(move || {
        let target = whose.to_string();
        if let Err(error) = audit.change(&call.entry(END, &target, "begun")) {
            tracing::error!(%error, "can't write down who ends connections");
            return None;
        }
        let of_user = call.key.user().map(|user| format!(" of user {user}")).unwrap_or_default();
        let detail = format!("by access key {}{of_user}", call.key.id);
        let ended = clients.end(&call.instance.id, &whose, &detail, ENDS_MAX);
        let _ = audit.change(&call.entry(END, &target, &format!("ended {ended} connections")));
        Some(ended)
    });
    let ended = ended.await.map_err(|error| Problem::lookup(&error))?.ok_or_else(Problem::not_written_down)?;
    Ok(Ended { ended, more: ended >= ENDS_MAX })
}

fn client(field: &str, text: &str) -> Result<ClientId, Problem> {
    ClientId::new(text).map_err(|error| Problem::field(field, &error))
}
