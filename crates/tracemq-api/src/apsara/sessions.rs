//! Who is connected now: one client, or some.

use tracemq_model::{ClientId, InstanceId};

use crate::caller::Caller;
use crate::state::Shared;

use super::actions::Operation;
use super::fault::Fault;
use super::incoming::Incoming;
use super::scope::{self, find_instance, is_plain, resource_names, text};

/// Clients of one call.
const CLIENTS_MAX: usize = 10;

/// Whether each client is connected, in the order asked for.
pub(super) struct Online(pub(super) Vec<(String, bool)>);

/// These operations name no region; policies know their instance by the region that is configured for it.
pub(super) fn query(app: &Shared, key: &Caller, operation: Operation, incoming: &Incoming) -> Result<Online, Fault> {
    let id = incoming.all.get("InstanceId").filter(|text| is_plain(text)).unwrap_or_default();
    let known = app.instances.iter().find(|instance| instance.id.as_str() == id);
    let region = known.and_then(|instance| instance.region.as_deref()).unwrap_or("*");
    let names = resource_names(region, key, id);
    scope::allow(key, operation, &names.each_ref().map(String::as_str))?;
    let instance = text(incoming, "InstanceId")?;
    let is_one = operation == Operation::QuerySessionByClientId;
    let clients = if is_one { vec![text(incoming, "ClientId")?] } else { listed(incoming)? };
    let instance = &find_instance(app, key, instance, None)?.id;
    app.metrics.metered(instance);
    Ok(Online(clients.into_iter().map(|client| (client.to_owned(), is_online(app, instance, client))).collect()))
}

/// What can't be a client identifier is nobody's, and nobody by that name is connected.
fn is_online(app: &Shared, instance: &InstanceId, client: &str) -> bool {
    ClientId::new(client).is_ok_and(|client| app.clients.is_connected(instance, &client))
}

/// `ClientIdList.1`, `ClientIdList.2`, ... without a hole.
fn listed(incoming: &Incoming) -> Result<Vec<&str>, Fault> {
    const NAME: &str = "ClientIdList";
    let is_item = |name: &str| name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('.'));
    let count = incoming.all.iter().filter(|(name, _)| is_item(name)).count();
    let items = (1..=count).map(|number| incoming.all.get(&format!("{NAME}.{number}")));
    let items: Option<Vec<&str>> = items.map(|item| item.filter(|client| !client.is_empty())).collect();
    match items {
        Some(items) if items.is_empty() => Err(Fault::missing(NAME)),
        Some(items) if items.len() <= CLIENTS_MAX => Ok(items),
        _ => Err(Fault::invalid(NAME)),
    }
}
