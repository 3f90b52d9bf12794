//! The broker's clients as the API asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracemq_api::{Clients, ConnectedClient, Whose};
use tracemq_broker::Broker;
use tracemq_model::{ClientId, End, InstanceId, Reason};

/// Those of each instance's broker.
pub(super) struct LiveClients {
    pub(super) brokers: BTreeMap<InstanceId, Arc<Broker>>,
}

impl Clients for LiveClients {
    fn page(
        &self,
        instance: &InstanceId,
        prefix: &str,
        after: Option<&ClientId>,
        limit: usize,
    ) -> (Vec<ConnectedClient>, Option<ClientId>) {
        let Some(broker) = self.brokers.get(instance) else { return (Vec::new(), None) };
        let page = broker.clients(prefix, after, limit);
        (page.clients.into_iter().map(shown).collect(), page.next)
    }

    fn is_connected(&self, instance: &InstanceId, client: &ClientId) -> bool {
        self.brokers.get(instance).is_some_and(|broker| broker.is_connected(client))
    }

    fn end(&self, instance: &InstanceId, whose: &Whose, detail: &str, limit: usize) -> usize {
        let Some(broker) = self.brokers.get(instance) else { return 0 };
        let whose = match whose {
            Whose::Client(client) => tracemq_broker::Whose::Client(client.clone()),
            Whose::User(name) => tracemq_broker::Whose::User(name.clone()),
            Whose::Address(address) => tracemq_broker::Whose::Address(*address),
        };
        broker.end_clients(&whose, &End::of(Reason::Kicked).with_detail(detail), limit)
    }
}

fn shown(client: tracemq_broker::ConnectedClient) -> ConnectedClient {
    let (peer, listener, since) = match client.origin {
        Some(origin) => (Some(origin.peer), Some(origin.listener), Some(origin.since)),
        None => (None, None, None),
    };
    ConnectedClient {
        client: client.client,
        connection: client.connection,
        username: client.username,
        peer,
        listener,
        protocol: client.protocol,
        since,
        subscriptions: client.subscriptions,
        queued: client.queued,
        queued_bytes: client.queued_bytes,
        in_flight: client.in_flight,
    }
}
