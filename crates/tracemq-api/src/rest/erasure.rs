//! Taking the history of a client out of the record: a person's right.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracemq_model::Subject;
use utoipa::ToSchema;

use super::Problem;
use super::call::{Call, InstanceParameter, answered};
use super::devices::client_in_path;
use super::problem::Problems;
use crate::state::Shared;

/// What a policy must allow.
const ERASE: &[&str] = &["mq:EraseMqttDeviceTrace"];

/// What was erased.
#[derive(Serialize, ToSchema)]
struct Erased {
    /// How many events. They show in no answer any more; their bytes go with the next merge of the files that they are in.
    erased: u64,
}

/// Erase the history of a client
///
/// All that is on record of it up to now shows in no answer from now on, durably, and its bytes leave the disk with the next merge. What is
/// recorded later is kept. That takes in what messages it published and got; under the messages themselves its name stays as long as they are kept.
/// The audit file says who did it and when, with the SHA-256 of the client identifier in the place of its name.
/// The key's policy must allow `mq:EraseMqttDeviceTrace`.
#[utoipa::path(
    delete,
    operation_id = "erase_client",
    path = "/api/v1/clients/{client_id}/events",
    tag = "Devices",
    params(
        ("client_id" = String, Path, description = "Client identifier, percent-encoded; it may hold `/`."),
        InstanceParameter
    ),
    responses((status = 200, description = "What was done", body = Erased), Problems)
)]
pub(crate) async fn erase(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, erase_one(&app, &request).await)
}

async fn erase_one(app: &Shared, request: &Parts) -> Result<Erased, Problem> {
    let call = Call::begin(app, request)?.allowed_to_change(ERASE)?;
    let client = client_in_path(request, "/events")?;
    let digest: String = Sha256::digest(client.as_str()).iter().map(|byte| format!("{byte:02x}")).collect();
    let audit = Arc::clone(&app.audit);
    let messages = app.messages.as_ref().map(|messages| Arc::clone(&messages.store));
    let erased = app.lookup.ask(move |store| {
        let target = format!("sha256:{digest}");
        if let Err(error) = audit.change(&call.entry(ERASE, &target, "begun")) {
            tracing::error!(%error, "can't write down who erases a history");
            return Ok(None);
        }
        let subject = Subject::Client(client);
        let of_messages = messages.map_or(Ok(0), |messages| messages.erase(&call.instance.id, &subject));
        let erased = of_messages.and_then(|more| Ok(store.erase(&call.instance.id, &subject)?.saturating_add(more)));
        let outcome = match &erased {
            Ok(events) => format!("erased {events} events"),
            Err(_) => "failed".to_owned(),
        };
        // It is done by now, and that it was begun is on record.
        let _ = audit.change(&call.entry(ERASE, &target, &outcome));
        erased.map(Some)
    });
    let erased = erased.await.map_err(|error| Problem::lookup(&error))?;
    erased.map(|erased| Erased { erased }).ok_or_else(Problem::not_written_down)
}
