//! What all connections of a listener share: the parts they work with, the clocks, and the places there are.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracemq_access::mqtt::MqttAccess;
use tracemq_broker::{Broker, Tick};
use tracemq_model::{ConnectionId, ConnectionIds};
use tracemq_recorder::Recorder;

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
    places: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(
        broker: Arc<Broker>,
        access: Arc<MqttAccess>,
        recorder: Recorder,
        clock: Clock,
        settings: DoorSettings,
    ) -> io::Result<Self> {
        let mut node = [0; 4];
        getrandom::fill(&mut node).map_err(io::Error::other)?;
        Ok(Self {
            broker,
            access,
            recorder,
            clock,
            started: Instant::now(),
            ids: Mutex::new(ConnectionIds::new(u32::from_ne_bytes(node))),
            places: Arc::new(Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS))),
            settings,
        })
    }

    /// A place for one connection, held for as long as it is kept; none when all are taken.
    pub(crate) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    pub(crate) fn places_taken(&self) -> usize {
        self.settings.connections_max.saturating_sub(self.places.available_permits())
    }

    /// Completes when no connection is held.
    pub(crate) async fn all_places_free(&self) {
        let all = u32::try_from(self.settings.connections_max).unwrap_or(u32::MAX);
        // An error would mean that the semaphore was closed, which nobody does.
        let _ = self.places.acquire_many(all).await;
    }

    /// The broker's time: milliseconds since this door was built, by a clock that does not step.
    pub(crate) fn tick(&self) -> Tick {
        Tick(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When, by the runtime's clock, all of `tick` is over: a tick counts whole milliseconds, and nothing that is timed
    /// by it may happen early.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.started + Duration::from_millis(tick.0.saturating_add(1))
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.next((self.clock)())
    }
}
