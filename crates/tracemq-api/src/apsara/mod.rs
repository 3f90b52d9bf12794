//! The RPC surface of ApsaraMQ for MQTT, called by official SDKs unchanged: what queries traces of devices and messages,
//! and what gives out tokens and credentials of devices. All of that service's words stand in this folder and nowhere else.
//!
//! The order in which a request is judged: can it be read, which operation, who claims to call and when, does the key
//! exist, is the signature right, was the request made before, too often, may the key do it, are the parameters
//! right, does the instance exist. What was not signed decides nothing.
//!
//! `MqttRegionId` alone names the region: a `RegionId` parameter, the Host header and forwarding headers are not read.

mod actions;
mod answer;
mod authenticate;
mod credentials;
mod fault;
mod incoming;
mod noted;
mod scope;
mod send_message;
mod sessions;
mod success;
mod trace_device;
mod trace_messages;
mod words;
mod xml;

use axum::extract::Request;
use axum::response::Response;
use tracemq_model::TimeMs;

use crate::audit::Peer;
use crate::caller::Caller;
use crate::metrics::Surface;
use crate::state::Shared;

pub use actions::names_of_right;
pub(crate) use actions::{
    TRACE_DEVICE_PERMISSIONS as PERMISSIONS, TRACE_MESSAGE_OF_CLIENT_PERMISSIONS, TRACE_MESSAGE_PERMISSIONS,
};
pub(crate) use scope::resource_names;

use actions::Operation;
use answer::{Envelope, Format};
use fault::Fault;
use incoming::Incoming;
use noted::Note;
use success::Answer;

pub(crate) async fn handle(app: &Shared, request: Request) -> Response {
    let mut envelope = Envelope::new(request.headers());
    let peer = request.extensions().get::<Peer>().copied();
    let read = match app.throttle_address(peer, app.now()) {
        Ok(()) => Incoming::read(request).await,
        Err(retry_after_ms) => Err(Fault::throttled_address(retry_after_ms)),
    };
    let answered = match read {
        Ok(incoming) => serve(app, &incoming, peer, &mut envelope).await,
        Err(fault) => Err(fault),
    };
    let (response, outcome) = match answered {
        Ok((operation, answer)) => envelope.success(operation, &answer),
        Err(fault) => envelope.failure(&fault),
    };
    app.metrics.answered(Surface::Apsara, outcome);
    response
}

async fn serve(
    app: &Shared,
    incoming: &Incoming,
    peer: Option<Peer>,
    envelope: &mut Envelope,
) -> Result<(Operation, Answer), Fault> {
    incoming.check_method()?;
    envelope.format = Format::of(incoming)?;
    let operation = actions::called(incoming)?;
    let now = app.now();
    let keys = app.keys.in_force();
    let key = &Caller::new(authenticate::authenticate(app, &keys, incoming, now)?, peer, now);
    let answer = perform(app, key, operation, incoming, now).await;
    // A change that was made wrote it down by itself.
    if !operation.is_change() || answer.is_err() {
        Note::of(key, operation, incoming).answered(&app.audit, &answer);
    }
    Ok((operation, answer?))
}

async fn perform(
    app: &Shared,
    key: &Caller,
    operation: Operation,
    incoming: &Incoming,
    now: TimeMs,
) -> Result<Answer, Fault> {
    match operation {
        Operation::TraceDevice => trace_device::query(app, key, incoming).await.map(Answer::Page),
        Operation::TraceMessageOfClient | Operation::TraceMessagePublish | Operation::TraceMessageSubscribe => {
            trace_messages::query(app, key, operation, incoming).await.map(Answer::Messages)
        }
        Operation::QuerySessionByClientId | Operation::BatchQuerySessionByClientIds => {
            sessions::query(app, key, operation, incoming).map(Answer::Online)
        }
        Operation::SendMessage => send_message::call(app, key, operation, incoming).await.map(Answer::Sent),
        Operation::ListGroupId
        | Operation::CreateGroupId
        | Operation::DeleteGroupId
        | Operation::ApplyToken
        | Operation::QueryToken
        | Operation::RevokeToken
        | Operation::RegisterDeviceCredential
        | Operation::GetDeviceCredential
        | Operation::ListDeviceCredentialClientId
        | Operation::RefreshDeviceCredential
        | Operation::UnRegisterDeviceCredential => {
            credentials::call(app, key, operation, incoming, now).await.map(Answer::Given)
        }
    }
}
