//! The broker's clients as the API asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tracemq_api::{Clients, ConnectedClient, SendError, Whose};
use tracemq_broker::{Broker, NotSent};
use tracemq_door::House;
use tracemq_model::{ClientId, End, InstanceId, MessageId, Reason};

/// How long a caller waits for a disk that is slow: SDKs give up after 3 s.
const KEPT_MAX: Duration = Duration::from_secs(2);

/// Those of each instance's broker.
pub(super) struct LiveClients {
    pub(super) brokers: BTreeMap<InstanceId, Arc<Broker>>,
    pub(super) house: Arc<House>,
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

    fn send(&self, instance: &InstanceId, topic: &str, payload: Vec<u8>) -> Result<MessageId, SendError> {
        let broker = self.brokers.get(instance).ok_or(SendError::Off)?;
        let sent = broker.send(self.house.now(), topic, payload.into()).map_err(|error| match error {
            NotSent::Topic(what) => SendError::Topic(what),
            NotSent::Full => SendError::Full,
        })?;
        let until = Instant::now() + KEPT_MAX;
        let waker = Waker::from(Arc::new(Waiting(thread::current())));
        while sent.kept.is_some_and(|mark| !broker.is_kept(mark, &waker)) {
            let left = until.checked_duration_since(Instant::now()).ok_or(SendError::Full)?;
            thread::park_timeout(left);
        }
        Ok(sent.id.unwrap_or_else(|| self.house.next_message_id()))
    }
}

/// A thread that waits.
struct Waiting(Thread);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
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
