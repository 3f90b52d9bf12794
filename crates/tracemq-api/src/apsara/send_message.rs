//! A message to devices, from a program that has no connection of MQTT.

use std::sync::Arc;

use tracemq_model::MessageId;

use crate::caller::Caller;
use crate::clients::SendError;
use crate::state::Shared;

use super::actions::Operation;
use super::credentials::{Named, no_turn};
use super::fault::Fault;
use super::incoming::Incoming;
use super::scope::{find_instance, text};

/// Which message was sent.
pub(super) struct Sent(pub(super) MessageId);

pub(super) async fn call(app: &Shared, key: &Caller, operation: Operation, incoming: &Incoming) -> Result<Sent, Fault> {
    Named::of(app, key, incoming).allow_topic(key, operation, incoming.all.get("MqttTopic").unwrap_or_default())?;
    let instance = text(incoming, "InstanceId")?;
    let topic = text(incoming, "MqttTopic")?.to_owned();
    let payload = text(incoming, "Payload")?.as_bytes().to_vec();
    let instance = find_instance(app, key, instance, None)?.id.clone();
    let (clients, of) = (Arc::clone(&app.clients), instance.clone());
    let done = app.turns.take(move || clients.send(&of, &topic, payload)).await;
    let sent = done.map_err(|error| no_turn(&error))?.map_err(|error| match error {
        SendError::Topic(_) => Fault::invalid("MqttTopic"),
        SendError::Full => Fault::overloaded(),
        SendError::Off => Fault::api_not_supported(),
    })?;
    app.metrics.metered(&instance);
    Ok(Sent(sent))
}
