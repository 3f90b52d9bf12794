//! Clocks that step and stores that stand still, seen from a connection: real sockets, a clock and a store of the test's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracemq_access::AccountId;
use tracemq_access::mqtt::MqttAccess;
use tracemq_access::mqtt::issued::Issued;
use tracemq_broker::{Broker, Limits};
use tracemq_door::{Clock, Door, DoorSettings, Guard, GuardSettings, House, HouseSettings};
use tracemq_model::{
    ClientId, Counts, Event, Filter, Gap, InstanceId, Order, Pattern, Reason, Subject, SubjectPage, TimeMs, TimeRange,
    TracePage, TraceQuery,
};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_store::{Batch, EventStore, MemoryStore, StoreError, StoreStats, Visit, VisitTally};

const PATIENCE: Duration = Duration::from_secs(10);
const HOUR_MS: i64 = 3_600_000;

/// A store whose appends wait while the gate is shut.
struct Gated {
    store: MemoryStore,
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    fn new() -> Arc<Self> {
        Arc::new(Self { store: MemoryStore::new(10_000), is_shut: Mutex::default(), opened: Condvar::new() })
    }

    fn shut(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap() = is_shut;
        self.opened.notify_all();
    }
}

impl EventStore for Gated {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let guard = self.is_shut.lock().unwrap();
        drop(self.opened.wait_while(guard, |is_shut| *is_shut).unwrap());
        self.store.append(batch)
    }
    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        self.store.page(query)
    }
    fn scan(&self, filter: &Filter, order: Order, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        self.store.scan(filter, order, visit)
    }
    fn counts(&self, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError> {
        self.store.counts(filter, bucket_ms)
    }
    fn tally(&self, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        self.store.tally(filter, visit)
    }
    fn subjects(
        &self,
        instance: &InstanceId,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<SubjectPage, StoreError> {
        self.store.subjects(instance, pattern, after, limit)
    }
    fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        self.store.erase(instance, subject)
    }
    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        self.store.gaps(range)
    }
    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        self.store.orphans(visit)
    }
    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.store.mark_alive(now)
    }
    fn last_alive(&self) -> Option<TimeMs> {
        self.store.last_alive()
    }
    fn stats(&self) -> StoreStats {
        self.store.stats()
    }
}

struct World {
    address: SocketAddr,
    store: Arc<Gated>,
    recorder: Recorder,
    now: Arc<AtomicI64>,
}

fn instance() -> InstanceId {
    InstanceId::new("mqtt-local").unwrap()
}

async fn world(settings: RecorderSettings) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Gated::new();
    let now = Arc::new(AtomicI64::new(100 * HOUR_MS));
    let clock: Clock = {
        let (now, begun) = (Arc::clone(&now), Instant::now());
        Arc::new(move || {
            TimeMs(now.load(Ordering::Relaxed) + i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX))
        })
    };
    let recorder = Recorder::start(store.clone(), Arc::clone(&clock), settings).unwrap();
    let access = MqttAccess::nothing(AccountId::new("local").unwrap());
    let guard = Guard::new(access, Issued::default(), None, GuardSettings::default(), Arc::clone(&clock)).unwrap();
    let house = House::new(recorder.clone(), clock, HouseSettings::default()).unwrap();
    let broker = Broker::new(Limits::default());
    let door = Door::new(listener, house, broker, guard, DoorSettings::new(instance(), "mqtt"));
    tokio::spawn(door.run(std::future::pending(), Duration::ZERO));
    World { address, store, recorder, now }
}

impl World {
    async fn join(&self, client_id: &str, keep_alive_s: u8) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let id_len = u8::try_from(client_id.len()).unwrap();
        let mut connect = vec![0x10, 12 + id_len, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, keep_alive_s, 0, id_len];
        connect.extend(client_id.as_bytes());
        stream.write_all(&connect).await.unwrap();
        let mut connack = [0; 4];
        timeout(PATIENCE, stream.read_exact(&mut connack)).await.unwrap().unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        stream
    }

    fn history(&self, client_id: &str) -> Vec<Event> {
        assert!(self.recorder.flush(PATIENCE));
        let query = TraceQuery {
            instance: instance(),
            subject: Subject::Client(ClientId::new(client_id).unwrap()),
            range: TimeRange::ALL,
            order: Order::OldestFirst,
            offset: 0,
            limit: 100,
        };
        self.store.page(&query).unwrap().events
    }
}

async fn ping(stream: &mut TcpStream) {
    stream.write_all(&[0xc0, 0]).await.unwrap();
    let mut pong = [0; 2];
    timeout(PATIENCE, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(pong, [0xd0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b30_a_clock_that_steps_ends_nobody_early_and_nobody_late() {
    let world = world(RecorderSettings::default()).await;
    let mut stays = world.join("stays", 1).await;
    let mut goes = world.join("goes", 1).await;
    let joined = Instant::now();
    for step in [HOUR_MS, -2 * HOUR_MS, HOUR_MS] {
        world.now.fetch_add(step, Ordering::Relaxed);
        ping(&mut stays).await;
    }
    // In the middle of the silence of one, the clock goes back for good, as for who would wait an hour more.
    world.now.fetch_sub(HOUR_MS, Ordering::Relaxed);
    let mut end = tokio::spawn(async move {
        let mut rest = Vec::new();
        goes.read_to_end(&mut rest).await.unwrap();
        Instant::now()
    });
    let ended = loop {
        match timeout(Duration::from_millis(200), &mut end).await {
            Ok(ended) => break ended.unwrap(),
            Err(_) => ping(&mut stays).await,
        }
        assert!(joined.elapsed() < PATIENCE, "it was not ended");
    };
    assert!(ended - joined >= Duration::from_millis(1_400), "{:?}", ended - joined);
    ping(&mut stays).await;
    let history = world.history("goes");
    let end = history.iter().find(|event| event.action.is_end()).unwrap();
    assert_eq!(end.reason, Reason::KeepAliveTimeout);
    assert!(end.details.detail.as_deref().unwrap().starts_with("no packet for 1"), "{end:?}");
    assert_eq!(end.details.traffic.unwrap().missed_keep_alives, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn b101_nobody_waits_for_a_store_that_stands_still_and_what_it_did_not_take_is_a_gap() {
    let world = world(RecorderSettings { queue_events_max: 10, batch_events_max: 5, ..Default::default() }).await;
    drop(world.join("before", 60).await);
    world.store.shut(true);
    let mut open = Vec::new();
    for number in 0..100 {
        let mut stream = world.join(&format!("meanwhile-{number}"), 60).await;
        ping(&mut stream).await;
        open.push(stream);
    }
    let lost = world.recorder.counts().lost.total();
    assert!(lost >= 100 - 10 - 2 * 5, "{lost} of 100 were lost");
    world.store.shut(false);
    assert!(world.recorder.flush(PATIENCE));
    let after = world.join("after", 60).await;
    assert_eq!(world.history("after").len(), 1);
    let told: u64 = world.store.gaps(TimeRange::ALL).unwrap().iter().filter_map(|gap| gap.lost).sum();
    assert_eq!(told, world.recorder.counts().lost.total(), "each that was lost stands in a gap");
    drop((open, after));
}
