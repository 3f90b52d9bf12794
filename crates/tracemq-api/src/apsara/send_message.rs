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
use super::noted::Note;
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
    let (note, audit) = (Note::of(key, operation, incoming), Arc::clone(&app.audit));
    let send = move || note.changing(&audit, || clients.send(&of, &topic, payload).map_err(|error| failure(&error)));
    let sent = app.turns.take(send).await.map_err(|error| no_turn(&error))??;
    app.metrics.metered(&instance);
    Ok(Sent(sent))
}

fn failure(error: &SendError) -> Fault {
    match error {
        SendError::Topic(_) => Fault::invalid("MqttTopic"),
        SendError::Full => Fault::overloaded(),
        SendError::Off => Fault::api_not_supported(),
    }
}
