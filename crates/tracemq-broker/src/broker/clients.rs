//! Who is connected, for administrators: lists in pages, and ends on their order.
//!
//! No walk holds the lock for more than some thousand sessions at once, however many there are.

use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::sync::Arc;

use tracemq_model::{ClientId, ConnectionId, End, Opening, ProtocolVersion, TimeMs};

use super::{Broker, Tables};
use crate::limits::{Limits, Tick};
use crate::link::Link;
use crate::session::{Mailbox, Session};

/// Sessions that are looked at under one hold of the lock.
const STEP: usize = 1_000;
/// Sessions that one page looks at: of a million that are away, few may be connected.
const PAGE_LOOKS_MAX: usize = 50_000;

/// Where a connection came from, as the door knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The peer's address.
    pub peer: SocketAddr,
    /// The listener's name.
    pub listener: Arc<str>,
    /// When TCP accepted it.
    pub since: TimeMs,
}

/// A client that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedClient {
    /// Its identifier, or the one that it was assigned.
    pub client: ClientId,
    /// Its network connection.
    pub connection: ConnectionId,
    /// The user name of its CONNECT.
    pub username: Option<Arc<str>>,
    /// The MQTT version.
    pub protocol: Option<ProtocolVersion>,
    /// Where it came from, if the link was opened with that.
    pub origin: Option<Origin>,
    /// Its subscriptions, shared ones among them.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages of QoS 1 and 2 that it has not acknowledged.
    pub in_flight: usize,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientsPage {
    /// In the order of their identifiers.
    pub clients: Vec<ConnectedClient>,
    /// Where the next page begins; none when this is the last. A page may be short, and still not the last.
    pub next: Option<ClientId>,
}

/// Whose connections are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The client's with that identifier.
    Client(ClientId),
    /// All of a user.
    User(String),
    /// All from an address.
    Address(IpAddr),
}

impl Broker {
    /// The same as [`open`](Self::open), and tells administrators where the connection came from. With `limits` the bounds of a
    /// single connection are those: of packets, keep alive, what is under way, and how often CONNECT comes by that listener. What
    /// sessions and the broker hold is bounded by the broker's all the same.
    pub fn open_from(
        self: &Arc<Self>,
        opening: &Opening,
        limits: Option<&Arc<Limits>>,
        since: TimeMs,
        now: Tick,
    ) -> Link {
        let origin = Origin { peer: opening.peer, listener: Arc::clone(&opening.listener), since };
        self.open_with(opening.connection, Some(Box::new(origin)), limits.unwrap_or(&self.limits), now)
    }

    /// At most `limit` connected clients whose identifiers begin with `prefix` and come after `after`.
    pub fn clients(&self, prefix: &str, after: Option<&ClientId>, limit: usize) -> ClientsPage {
        let mut page = ClientsPage::default();
        let mut at = after.cloned();
        for _ in 0..PAGE_LOOKS_MAX / STEP {
            let sessions = self.read().sessions_after(prefix, at.as_ref());
            let Some(last) = sessions.last() else { return page };
            at = Some(last.client.clone());
            let is_last = sessions.len() < STEP;
            for session in sessions {
                if page.clients.len() >= limit {
                    page.next = page.clients.last().map(|last| last.client.clone());
                    return page;
                }
                page.clients.extend(connected(&session));
            }
            if is_last {
                return page;
            }
        }
        page.next = at;
        page
    }

    /// Whether the client has a connection.
    pub fn is_connected(&self, client: &ClientId) -> bool {
        let session = self.read().sessions.get(client).cloned();
        session.is_some_and(|session| session.lock().owner.is_some())
    }

    /// Ends the connections that are meant with `end`, at most `limit` of them. Gives how many; if that is `limit`, there
    /// may be more.
    pub fn end_clients(&self, whose: &Whose, end: &End, limit: usize) -> usize {
        if let Whose::Client(client) = whose {
            let session = self.read().sessions.get(client).cloned();
            let owner = session.and_then(|session| session.lock().owner.clone());
            owner.iter().take(limit).for_each(|owner| owner.order_end(end.clone()));
            return owner.iter().take(limit).count();
        }
        let mut ended = 0;
        let mut at = None;
        loop {
            let sessions = self.read().sessions_after("", at.as_ref());
            let Some(last) = sessions.last() else { return ended };
            at = Some(last.client.clone());
            for owner in sessions.iter().filter_map(|session| owner_if_meant(session, whose)) {
                if ended >= limit {
                    return ended;
                }
                ended += 1;
                owner.order_end(end.clone());
            }
        }
    }
}

impl Tables {
    fn sessions_after(&self, prefix: &str, after: Option<&ClientId>) -> Vec<Arc<Session>> {
        let from = match (after, ClientId::new(prefix)) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Ok(first)) => Bound::Included(first),
            (None, Err(_)) => Bound::Unbounded, // no prefix
        };
        let following = self.sessions.range((from, Bound::Unbounded));
        let alike = following.take_while(|(client, _)| client.as_str().starts_with(prefix));
        alike.take(STEP).map(|(_, session)| Arc::clone(session)).collect()
    }
}

fn connected(session: &Session) -> Option<ConnectedClient> {
    let state = session.lock();
    let owner = state.owner.as_ref()?;
    let held = state.held();
    Some(ConnectedClient {
        client: session.client.clone(),
        connection: owner.connection,
        username: state.username.clone(),
        protocol: state.protocol,
        origin: owner.origin(),
        subscriptions: held.subscriptions,
        queued: held.queued,
        queued_bytes: held.queued_bytes,
        in_flight: held.in_flight,
    })
}

fn owner_if_meant(session: &Session, whose: &Whose) -> Option<Arc<Mailbox>> {
    let state = session.lock();
    let owner = state.owner.as_ref()?;
    let meant = match whose {
        Whose::Client(client) => session.client == *client,
        Whose::User(name) => state.username.as_deref() == Some(name),
        Whose::Address(address) => owner.origin().is_some_and(|origin| origin.peer.ip() == *address),
    };
    meant.then(|| Arc::clone(owner))
}
