//! What connections share: all of a server ([`House`]), and those of one listener.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracemq_broker::{Broker, Tick};
use tracemq_model::{ConnectionId, ConnectionIds, End, Event, MessageId, Reason, TimeMs};
use tracemq_recorder::Recorder;

use crate::addresses::{Addresses, Held, Shown};
use crate::admission::Guard;
use crate::record::{Counts, Folds};
use crate::settings::{Clock, DoorSettings, HouseSettings};

/// How long a count that is recorded may take until it is in the store, before the file forgets it nevertheless.
const STORE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Between two steps in which much that expires at once is ended, so that whoever waits for the broker's lock gets it.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

/// What all doors of a server share: the way onto the record, the clocks, the connection ids, and the places that there
/// are in all.
pub struct House {
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
    started: Instant,
    ids: Mutex<ConnectionIds>,
    places: Places,
    pub(crate) folds: Folds,
    /// None when what is counted is nowhere but in memory.
    counts: Mutex<Option<Counts>>,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

impl House {
    /// A house without doors.
    ///
    /// # Errors
    /// When the operating system has no random numbers for connection ids.
    pub fn new(recorder: Recorder, clock: Clock, settings: HouseSettings) -> io::Result<Arc<Self>> {
        let mut node = [0; 4];
        getrandom::fill(&mut node).map_err(io::Error::other)?;
        Ok(Arc::new(Self {
            recorder,
            clock,
            started: Instant::now(),
            ids: Mutex::new(ConnectionIds::new(u32::from_ne_bytes(node))),
            places: Places::new(settings.connections_max),
            folds: Folds::new(settings.fold_window),
            counts: Mutex::new(None),
        }))
    }

    /// TCP connections held now, with or without CONNECT.
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    /// Records what a run that was killed had counted of connections that came and went without a byte, and from here on
    /// keeps what this one counts in `file`, written once a second. To be called before time is kept; waits for the store.
    pub fn keep_counts(&self, file: PathBuf) {
        let mut counts = Counts::new(file);
        self.record_counts(counts.left_by_last_run());
        counts.write(&[]);
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts);
    }

    /// Records what is counted of connections that came and went without a byte. To be called when all doors are shut; waits
    /// for the store.
    pub fn write_counts(&self) {
        self.record_counts(self.folds.all());
        self.save_counts();
    }

    /// Waits until they are in the store: only then does the file forget them.
    fn record_counts(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        for event in events {
            self.recorder.record(event);
        }
        self.recorder.flush(STORE_WAIT_MAX);
    }

    fn save_counts(&self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = &mut *counts
            && let Some(so_far) = self.folds.so_far()
        {
            counts.write(&so_far);
        }
    }

    /// Ends what is over in `broker`, once a second, for as long as it is polled. One call a broker.
    pub async fn keep_time(self: Arc<Self>, broker: Arc<Broker>) {
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        loop {
            every_second.tick().await;
            while broker.expire(self.tick()) {
                tokio::time::sleep(BETWEEN_STEPS).await;
            }
            let house = Arc::clone(&self);
            // With files and waits, so elsewhere. An error would be a fault in it, which has been told.
            let _ = tokio::task::spawn_blocking(move || {
                house.record_counts(house.folds.over(Instant::now()));
                house.save_counts();
            })
            .await;
        }
    }

    /// The brokers' time, for who builds one.
    pub fn now(&self) -> Tick {
        self.tick()
    }

    /// The wall clock.
    pub fn wall_clock(&self) -> TimeMs {
        (self.clock)()
    }

    /// The brokers' time: milliseconds since this house was built, by a clock that does not step.
    pub(crate) fn tick(&self) -> Tick {
        Tick(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When, by the runtime's clock, all of `tick` is over: a tick counts whole milliseconds, and nothing that is timed
    /// by it may happen early.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.started + Duration::from_millis(tick.0.saturating_add(1))
    }

    /// An id for a message whose way is not told.
    pub fn next_message_id(&self) -> MessageId {
        MessageId(self.next_id().0)
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.next((self.clock)())
    }
}

/// What all connections of a listener share.
pub(crate) struct Shared {
    pub(crate) house: Arc<House>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) settings: DoorSettings,
    places: Places,
    /// None where an address may hold all places.
    addresses: Option<Arc<Addresses>>,
}

/// Room for one connection, for as long as it is kept.
pub(crate) struct Place {
    _of_door: OwnedSemaphorePermit,
    _of_house: OwnedSemaphorePermit,
    /// None where that is not bound, or the client's address not known yet.
    of_address: Option<Held>,
}

impl Shared {
    pub(crate) fn new(house: Arc<House>, broker: Arc<Broker>, guard: Arc<Guard>, settings: DoorSettings) -> Self {
        let addresses = settings.connections_per_address_max.map(Addresses::new);
        Self { house, broker, guard, places: Places::new(settings.connections_max), addresses, settings }
    }

    /// Room for a connection from `peer`; where a proxy stands in front, that is not the client yet.
    pub(crate) fn take_place(&self, peer: IpAddr) -> Result<Place, End> {
        // The address first: who has used up its own places is to be told so, and takes no other's meanwhile.
        let of_address = if self.settings.proxies.is_some() { None } else { self.hold(peer)? };
        let (max, listener) = (self.places.max, &self.settings.name);
        let of_door = self.places.take().ok_or_else(|| {
            full(&format!(
                "the listener {listener:?} holds {max} connections, the most that it takes (max_connections)"
            ))
        })?;
        let max = self.house.places.max;
        let of_house = self.house.places.take().ok_or_else(|| {
            full(&format!(
                "{max} connections are open, the most that mqtt.max_connections and the limit of open files allow"
            ))
        })?;
        Ok(Place { _of_door: of_door, _of_house: of_house, of_address })
    }

    /// Counts the connection of `place` as one from `client`, which a proxy has told.
    pub(crate) fn hold_for(&self, place: &mut Place, client: IpAddr) -> Result<(), End> {
        place.of_address = None;
        place.of_address = self.hold(client)?;
        Ok(())
    }

    fn hold(&self, address: IpAddr) -> Result<Option<Held>, End> {
        let Some(addresses) = &self.addresses else { return Ok(None) };
        let (max, listener, shown) = (addresses.max, &self.settings.name, Shown(address));
        let none = || {
            full(&format!(
                "the listener {listener:?} holds {max} connections from {shown}, the most that it takes from one address \
                 (max_connections_per_address)"
            ))
        };
        addresses.take(address).ok_or_else(none).map(Some)
    }

    pub(crate) fn places_taken(&self) -> usize {
        self.places.taken()
    }

    /// Completes when no connection is held.
    pub(crate) async fn all_places_free(&self) {
        let all = u32::try_from(self.places.max).unwrap_or(u32::MAX);
        // An error would mean that the semaphore was closed, which nobody does.
        let _ = self.places.free.acquire_many(all).await;
    }
}

fn full(detail: &str) -> End {
    End::of(Reason::ServerOverloaded).with_detail(detail)
}

struct Places {
    free: Arc<Semaphore>,
    max: usize,
}

impl Places {
    fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(max)), max }
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    fn taken(&self) -> usize {
        self.max.saturating_sub(self.free.available_permits())
    }
}
