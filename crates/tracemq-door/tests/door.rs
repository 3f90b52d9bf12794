//! The door with a real broker, a real recorder and real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracemq_access::AccountId;
use tracemq_access::mqtt::MqttAccess;
use tracemq_access::mqtt::issued::Issued;
use tracemq_broker::{Broker, Limits};
use tracemq_door::{Door, DoorSettings, Guard, GuardSettings, House, HouseSettings};
use tracemq_model::{
    Action, ClientId, Event, InstanceId, Order, PacketKind, Reason, Subject, TimeMs, TimeRange, TraceQuery,
};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_store::{EventStore, MemoryStore};

struct World {
    address: SocketAddr,
    store: Arc<MemoryStore>,
    recorder: Recorder,
    house: Arc<House>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

fn wall_clock() -> TimeMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    TimeMs(i64::try_from(since.as_millis()).unwrap())
}

fn instance() -> InstanceId {
    InstanceId::new("mqtt-local").unwrap()
}

async fn world(change: impl FnOnce(&mut DoorSettings)) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(MemoryStore::new(10_000));
    let recorder = Recorder::start(store.clone(), Arc::new(wall_clock), RecorderSettings::default()).unwrap();
    let mut settings = DoorSettings::new(instance(), "mqtt");
    change(&mut settings);
    let access = MqttAccess::nothing(AccountId::new("local").unwrap());
    let clock = Arc::new(wall_clock);
    let guard = Guard::new(access, Issued::default(), None, GuardSettings::default(), clock).unwrap();
    let broker = Broker::new(Limits::default());
    let house = House::new(recorder.clone(), Arc::new(wall_clock), HouseSettings::default()).unwrap();
    let door = Door::new(listener, Arc::clone(&house), broker, guard, settings);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(door.run(
        async {
            let _ = stopped.await;
        },
        Duration::from_secs(10),
    ));
    World { address, store, recorder, house, stop, running }
}

impl World {
    async fn join(&self, client_id: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let id_len = u8::try_from(client_id.len()).unwrap();
        let mut connect = vec![0x10, 12 + id_len, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, id_len];
        connect.extend(client_id.as_bytes());
        stream.write_all(&connect).await.unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        stream
    }

    fn history(&self, subject: Subject) -> Vec<Event> {
        assert!(self.recorder.flush(Duration::from_secs(10)));
        let query = TraceQuery {
            instance: instance(),
            subject,
            range: TimeRange::ALL,
            order: Order::OldestFirst,
            offset: 0,
            limit: 100,
        };
        self.store.page(&query).unwrap().events
    }

    fn of_client(&self, client_id: &str) -> Vec<(Action, Reason)> {
        let events = self.history(Subject::Client(ClientId::new(client_id).unwrap()));
        events.iter().map(|event| (event.action, event.reason)).collect()
    }

    async fn of_client_once_ended(&self, client_id: &str) -> Vec<(Action, Reason)> {
        eventually(|| {
            let rows = self.of_client(client_id);
            rows.iter().any(|(action, _)| action.is_end()).then_some(rows)
        })
        .await
    }
}

async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "it did not happen within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// MQTT 5.0: 3.14.4-2
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_connection_on_record_with_or_without_connect() {
    let world = world(|settings| settings.waiting_after = Duration::from_millis(1)).await;
    let mut connected = world.join("stays").await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let local = silent.local_addr().unwrap();
    eventually(|| (world.house.connections() == 2).then_some(())).await;
    let of_address = Subject::Address(local.ip());
    // The other one's CONNECT may have taken longer as well.
    let is_silent = |event: &Event| event.peer == Some(local);
    eventually(|| world.history(of_address.clone()).iter().any(is_silent).then_some(())).await;

    let World { store, recorder, stop, running, house, address } = world;
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    connected.read_to_end(&mut rest).await.unwrap();
    silent.read_to_end(&mut rest).await.unwrap();
    drop((connected, silent));
    running.await.unwrap();
    assert_eq!(house.connections(), 0);
    assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
    let (unused, _) = oneshot::channel();
    let world = World { store, recorder, stop: unused, running: tokio::spawn(async {}), house, address };
    assert_eq!(
        world.of_client("stays"),
        [(Action::Connect, Reason::Accepted), (Action::Close, Reason::ServerShutdown)]
    );
    let history = world.history(of_address);
    let silent: Vec<_> = history.iter().filter(|e| is_silent(e)).map(|e| (e.action, e.reason)).collect();
    assert_eq!(silent, [(Action::Open, Reason::Opened), (Action::Close, Reason::ServerShutdown)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_closed_and_on_record() {
    let world = world(|settings| settings.connections_max = 1).await;
    let first = world.join("first").await;
    let mut second = TcpStream::connect(world.address).await.unwrap();
    assert_eq!(second.read(&mut [0; 8]).await.unwrap_or(0), 0);
    let of_address = Subject::Address(second.local_addr().unwrap().ip());
    let rows = eventually(|| Some(world.history(of_address.clone())).filter(|rows| !rows.is_empty())).await;
    assert_eq!((rows[0].action, rows[0].reason), (Action::Close, Reason::ServerOverloaded));
    drop(first);
    eventually(|| (world.house.connections() == 0).then_some(())).await;
    drop(world.join("third").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_dropped_and_others_are_served() {
    let world = world(|settings| settings.write_stall_max = Duration::from_millis(300)).await;
    let mut deaf = world.join("deaf").await;
    SockRef::from(&deaf).set_recv_buffer_size(4_096).unwrap();
    deaf.write_all(b"\x82\x06\x00\x01\x00\x01#\x00").await.unwrap();
    let mut suback = [0; 5];
    deaf.read_exact(&mut suback).await.unwrap();

    let mut loud = world.join("loud").await;
    let mut publish = vec![0x30, 0x83, 0x80, 0x02, 0, 1, b't'];
    publish.extend(vec![7; 32 * 1024]);
    let rows = loop {
        loud.write_all(&publish).await.unwrap();
        let rows = world.of_client("deaf");
        if rows.iter().any(|(action, _)| action.is_end()) {
            break rows;
        }
    };
    assert_eq!(rows.last(), Some(&(Action::Close, Reason::SlowConsumer)));
    loud.write_all(&[0xe0, 0]).await.unwrap();
    let rows = world.of_client_once_ended("loud").await;
    assert_eq!(rows.last(), Some(&(Action::Disconnect, Reason::ClientDisconnected)));
    let bound = 64 * 1024 + publish.len() as u64;
    let deaf = world.history(Subject::Client(ClientId::new("deaf").unwrap()));
    let detail = deaf.last().unwrap().details.detail.clone().unwrap();
    let waited: u64 = detail.split(' ').next().unwrap().parse().unwrap();
    assert!(waited <= bound, "{waited} bytes waited for a client that reads nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_that_comes_with_a_reset_is_the_reason() {
    let world = world(|_| ()).await;
    for round in 0..20 {
        let client_id = format!("hasty-{round}");
        let mut stream = world.join(&client_id).await;
        stream.write_all(&[0xc0, 0, 0xe0, 0]).await.unwrap();
        drop(stream); // the PINGRESP meets a closed socket
        let rows = world.of_client_once_ended(&client_id).await;
        assert_eq!(rows.last(), Some(&(Action::Disconnect, Reason::ClientDisconnected)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_tells_what_had_passed() {
    let world = world(|_| ()).await;
    let mut stream = world.join("meter").await;
    stream.write_all(b"\x82\x0a\x00\x01\x00\x01a\x01\x00\x01b\x00").await.unwrap();
    stream.read_exact(&mut [0; 6]).await.unwrap();
    let mut other = world.join("other").await;
    other.write_all(b"\x32\x05\x00\x01a\x00\x09").await.unwrap();
    stream.read_exact(&mut [0; 7]).await.unwrap(); // and is not acknowledged
    stream.write_all(&[0xc0, 0]).await.unwrap();
    stream.read_exact(&mut [0; 2]).await.unwrap();
    stream.shutdown().await.unwrap();
    world.of_client_once_ended("meter").await;
    let events = world.history(Subject::Client(ClientId::new("meter").unwrap()));
    let end = events.last().unwrap();
    assert_eq!((end.action, end.reason), (Action::Close, Reason::ClientClosed));
    assert_eq!(end.peer, Some(stream.local_addr().unwrap()));
    let traffic = end.details.traffic.unwrap();
    assert_eq!((traffic.bytes_in, traffic.bytes_out), (19 + 12 + 2, 4 + 6 + 7 + 2));
    assert_eq!((traffic.packets_in, traffic.packets_out), (3, 4));
    assert_eq!((traffic.last_in_kind, traffic.last_out_kind), (Some(PacketKind::PingReq), Some(PacketKind::PingResp)));
    assert_eq!((traffic.subscriptions, traffic.in_flight), (Some(2), Some(1)));
    assert_eq!(traffic.missed_keep_alives, Some(0));
    assert!(traffic.last_in_age_ms.is_some() && traffic.last_out_age_ms.is_some() && end.details.duration_ms.is_some());
    assert_eq!(end.details.listener.as_deref(), Some("mqtt"));
}
