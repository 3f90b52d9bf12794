//! One listener: accepts until told to stop, then waits for its connections to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tracemq_access::mqtt::MqttAccess;
use tracemq_broker::Broker;
use tracemq_model::{End, Observation, Opening, Reason};
use tracemq_recorder::Recorder;
use tracing::{info, warn};

use crate::connection::Connection;
use crate::record::Record;
use crate::settings::{Clock, DoorSettings};
use crate::shared::Shared;

/// The longest backlog that Linux grants a listener by default (net.core.somaxconn).
const BACKLOG_MAX: usize = 4_096;

/// A bound listener that does not accept yet.
pub struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// Tells about a running door.
#[derive(Clone)]
pub struct DoorHandle(Arc<Shared>);

impl DoorHandle {
    /// TCP connections held now, with or without CONNECT.
    pub fn connections(&self) -> usize {
        self.0.places_taken()
    }
}

impl Door {
    /// Takes a bound `listener`.
    ///
    /// # Errors
    /// When the operating system has no random numbers for connection ids.
    pub fn new(
        listener: TcpListener,
        broker: Arc<Broker>,
        access: Arc<MqttAccess>,
        recorder: Recorder,
        clock: Clock,
        settings: DoorSettings,
    ) -> io::Result<Self> {
        // Small packets are the rule in MQTT; waiting to fill a segment would only add delay. Accepted sockets have it
        // from their listener (Linux), which saves each connection a system call. Failing is harmless.
        let _ = SockRef::from(&listener).set_tcp_nodelay(true);
        let shared = Shared::new(broker, access, recorder, clock, settings)?;
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// A handle that tells about it.
    pub fn handle(&self) -> DoorHandle {
        DoorHandle(Arc::clone(&self.shared))
    }

    /// Accepts until `stop` completes; then ends every connection with `server-shutdown`, and returns when all have
    /// their end on record or `drain_max` is over.
    pub async fn run(self, stop: impl Future<Output = ()>, drain_max: Duration) {
        let expiry = tokio::spawn(expire(Arc::clone(&self.shared)));
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
        expiry.abort();
        drain(&self.shared, drain_max).await;
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let opening = opening(&self.shared, peer);
        let Some(place) = self.shared.take_place() else {
            let end = End::of(Reason::ServerOverloaded).with_detail(&format!(
                "{} connections are open, the most that mqtt.max_connections and the limit of open files allow",
                self.shared.settings.connections_max
            ));
            Record::new(Arc::clone(&self.shared), opening).observe(Observation::Ended(end), None);
            return;
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
        connection: shared.next_id(),
        peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
        listener: Arc::clone(&shared.settings.name),
    }
}

/// Accepting fails for a moment when descriptors run out or a client is gone already: a pause instead of a busy loop.
async fn after_failed_accept(error: &io::Error) {
    warn!(%error, "accept failed");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn expire(shared: Arc<Shared>) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        shared.broker.expire(shared.tick());
    }
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
