//! One listener: accepts until told to stop, then waits for its connections to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tracemq_broker::Broker;
use tracemq_model::{End, Observation, Opening, Reason};
use tracing::{info, warn};

use crate::admission::Guard;
use crate::connection::Connection;
use crate::record::Record;
use crate::settings::DoorSettings;
use crate::shared::{House, Shared};

/// The longest backlog that Linux grants a listener by default (net.core.somaxconn).
pub const BACKLOG_MAX: u32 = 4_096;

/// A bound listener that does not accept yet.
pub struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Door {
    /// Takes a bound `listener`, whose clients come to `broker` if `guard` lets them in.
    pub fn new(
        listener: TcpListener,
        house: Arc<House>,
        broker: Arc<Broker>,
        guard: Arc<Guard>,
        settings: DoorSettings,
    ) -> Self {
        // Small packets are the rule in MQTT; waiting to fill a segment would only add delay. Accepted sockets have it
        // from their listener (Linux), which saves each connection a system call. Failing is harmless.
        let _ = SockRef::from(&listener).set_tcp_nodelay(true);
        Self { listener, shared: Arc::new(Shared::new(house, broker, guard, settings)) }
    }

    /// Accepts until `stop` completes; then ends every connection with `server-shutdown`, and returns when all have
    /// their end on record or `drain_max` is over.
    pub async fn run(self, stop: impl Future<Output = ()>, drain_max: Duration) {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer),
                    Err(error) => after_failed_accept(&error).await,
                },
            }
        }
        turn_away_who_still_waits(self.listener, &self.shared);
        drain(&self.shared, drain_max).await;
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let opening = opening(&self.shared, peer);
        if let Some(trusted) = &self.shared.settings.proxies
            && !trusted.iter().any(|network| network.contains(peer.ip()))
        {
            let end = End::of(Reason::ProxyHeaderInvalid).with_detail("the peer is not one of trusted_proxies");
            Record::new(Arc::clone(&self.shared), opening).observe(Observation::Ended(end), None);
            return;
        }
        let place = match self.shared.take_place(opening.peer.ip()) {
            Ok(place) => place,
            Err(end) => {
                Record::new(Arc::clone(&self.shared), opening).observe(Observation::Ended(end), None);
                return;
            }
        };
        tokio::spawn(Connection::new(Arc::clone(&self.shared), stream, opening, place).run());
    }
}

/// TCP has accepted those in the listener's backlog, and nobody here has seen them yet: they too get their end.
fn turn_away_who_still_waits(listener: TcpListener, shared: &Arc<Shared>) {
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG_MAX {
        let Ok((_stream, peer)) = listener.accept() else { return };
        let end = End::of(Reason::ServerShutdown).with_detail("the server was stopping when it came");
        Record::new(Arc::clone(shared), opening(shared, peer)).observe(Observation::Ended(end), None);
    }
}

fn opening(shared: &Shared, peer: SocketAddr) -> Opening {
    Opening {
        instance: shared.settings.instance.clone(),
        connection: shared.house.next_id(),
        peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        listener: Arc::clone(&shared.settings.name),
    }
}

/// Accepting fails for a moment when descriptors run out or a client is gone already: a pause instead of a busy loop.
async fn after_failed_accept(error: &io::Error) {
    warn!(%error, "accept failed");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn drain(shared: &Shared, drain_max: Duration) {
    shared.broker.shut_down(End::of(Reason::ServerShutdown));
    if tokio::time::timeout(drain_max, shared.all_places_free()).await.is_err() {
        let left = shared.places_taken();
        warn!(left, "connections were still open when the time to drain was over");
    } else {
        info!("all connections are closed");
    }
}
