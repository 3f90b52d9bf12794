//! One listener: accepts until told to stop, then waits for its connections to end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracemq_access::mqtt::MqttAccess;
use tracemq_broker::{Broker, Tick};
use tracemq_model::{ConnectionId, ConnectionIds, End, Lifecycle, Meter, Observation, Opening, Reason};
use tracemq_recorder::Recorder;
use tracing::{info, warn};

use crate::connection::Connection;
use crate::settings::{Clock, DoorSettings};

/// What all connections of a listener share.
pub(crate) struct Shared {
    pub(crate) broker: Arc<Broker>,
    pub(crate) access: Arc<MqttAccess>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
    pub(crate) settings: DoorSettings,
    started: Instant,
    ids: Mutex<ConnectionIds>,
    open: AtomicUsize,
    open_changed: watch::Sender<()>,
}

impl Shared {
    /// The broker's time: milliseconds since this door was built, by a clock that does not step.
    pub(crate) fn tick(&self) -> Tick {
        Tick(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When, by the runtime's clock, all of `tick` is over: a tick counts whole milliseconds, and nothing that is timed
    /// by it may happen early.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.started + Duration::from_millis(tick.0.saturating_add(1))
    }

    fn next_id(&self) -> ConnectionId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.next((self.clock)())
    }
}

/// Counts a connection for as long as it is held.
pub(crate) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Release);
        self.0.open_changed.send_replace(());
    }
}

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
        self.0.open.load(Ordering::Acquire)
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
        let mut node = [0; 4];
        getrandom::fill(&mut node).map_err(io::Error::other)?;
        let shared = Shared {
            broker,
            access,
            recorder,
            clock,
            settings,
            started: Instant::now(),
            ids: Mutex::new(ConnectionIds::new(u32::from_ne_bytes(node))),
            open: AtomicUsize::new(0),
            open_changed: watch::channel(()).0,
        };
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
        drop(self.listener);
        expiry.abort();
        drain(&self.shared, drain_max).await;
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        let settings = &self.shared.settings;
        let opening = Opening {
            instance: settings.instance.clone(),
            connection: self.shared.next_id(),
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            listener: Arc::clone(&settings.name),
        };
        let held = self.shared.open.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.shared));
        if held >= settings.connections_max {
            let end = End::of(Reason::ServerOverloaded)
                .with_detail(&format!("{held} connections are open, the most that mqtt.max_connections allows"));
            let mut lifecycle = Lifecycle::new(opening);
            let event = lifecycle.observe((self.shared.clock)(), Observation::Ended(end), &Meter::default());
            event.into_iter().for_each(|event| self.shared.recorder.record(event));
            return;
        }
        // Small packets are the rule in MQTT; waiting to fill a segment would only add delay. Failing is harmless.
        let _ = stream.set_nodelay(true);
        tokio::spawn(Connection::new(Arc::clone(&self.shared), stream, opening, place).run());
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
    let mut changed = shared.open_changed.subscribe();
    shared.broker.shut_down(End::of(Reason::ServerShutdown));
    let all_gone = async {
        while shared.open.load(Ordering::Acquire) > 0 {
            if changed.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(drain_max, all_gone).await.is_err() {
        let left = shared.open.load(Ordering::Acquire);
        warn!(left, "connections were still open when the time to drain was over");
    } else {
        info!("all connections are closed");
    }
}
