//! Decisions that take time, and what ends them and what they let in: with a real broker, recorder and sockets, and a
//! clock of the test's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracemq_access::mqtt::hook::{NoVerdict, Verdict, verdict};
use tracemq_access::mqtt::issued::{Grant, Issued, UPLOAD_TOPIC};
use tracemq_access::mqtt::{Cost, MqttAccess, StoredPassword, Users, users};
use tracemq_access::{AccessKey, AccountId, KeyRing, Policy, Secret};
use tracemq_broker::{Broker, Limits};
use tracemq_door::{Clock, Door, DoorSettings, Guard, GuardSettings, Hook, HookLimits, House, HouseSettings};
use tracemq_model::{ClientId, Event, InstanceId, Order, Reason, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_store::{EventStore, MemoryStore};

struct World {
    address: SocketAddr,
    store: Arc<MemoryStore>,
    recorder: Recorder,
    guard: Arc<Guard>,
    now: Arc<AtomicI64>,
}

fn instance() -> InstanceId {
    InstanceId::new("mqtt-local").unwrap()
}

fn access() -> MqttAccess {
    MqttAccess::nothing(AccountId::new("local").unwrap())
}

/// Users are `ops` with the password `secret`.
fn with_users() -> MqttAccess {
    let stored = StoredPassword::hash(b"secret", &[1; 16], Cost { memory_kib: 8, rounds: 1, lanes: 1 }).unwrap();
    MqttAccess { users: Some(Users::parse(&users::with_password("", "ops", &stored).unwrap()).unwrap()), ..access() }
}

async fn world(
    access: MqttAccess,
    issued: Issued,
    hook: Option<(Arc<dyn Hook>, HookLimits)>,
    settings: GuardSettings,
) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(MemoryStore::new(10_000));
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock: Clock = {
        let now = Arc::clone(&now);
        Arc::new(move || TimeMs(now.load(Ordering::Relaxed)))
    };
    let recorder = Recorder::start(store.clone(), Arc::clone(&clock), RecorderSettings::default()).unwrap();
    let guard = Guard::new(access, issued, hook, settings, Arc::clone(&clock)).unwrap();
    let house = House::new(recorder.clone(), clock, HouseSettings::default()).unwrap();
    let broker = Broker::new(Limits { heard_topics: &[UPLOAD_TOPIC], ..Limits::default() });
    let door = Door::new(listener, house, broker, Arc::clone(&guard), DoorSettings::new(instance(), "mqtt"));
    tokio::spawn(door.run(std::future::pending(), Duration::ZERO));
    tokio::spawn(Arc::clone(&guard).keep_watch());
    World { address, store, recorder, guard, now }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(body.len()).unwrap()], body].concat()
}

fn connect(client: &str, user: &str, password: &str) -> Vec<u8> {
    let texts = [text(client), text(user), text(password)].concat();
    packet(0x10, &[&text("MQTT")[..], &[4, 0xc2, 0, 60], &texts].concat())
}

fn anonymous(client: &str) -> Vec<u8> {
    packet(0x10, &[&text("MQTT")[..], &[4, 2, 0, 60], &text(client)].concat())
}

impl World {
    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn join(&self, client: &str, user: &str, password: &str) -> (TcpStream, u8) {
        let mut stream = self.send(&connect(client, user, password)).await;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.unwrap();
        (stream, connack[3])
    }

    async fn end_of(&self, client: &str) -> Event {
        for _ in 0..2_000 {
            assert!(self.recorder.flush(Duration::from_secs(10)));
            let query = TraceQuery {
                instance: instance(),
                subject: Subject::Client(ClientId::new(client).unwrap()),
                range: TimeRange::ALL,
                order: Order::NewestFirst,
                offset: 0,
                limit: 1,
            };
            let events = self.store.page(&query).unwrap().events;
            if let Some(end) = events.into_iter().find(|event| event.action.is_end()) {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{client} does not end");
    }
}

/// A program that says what the test tells it to, when it tells it.
struct Slow {
    asked: Mutex<mpsc::Sender<()>>,
    verdicts: Mutex<mpsc::Receiver<Result<Verdict, NoVerdict>>>,
}

impl Hook for Slow {
    fn ask(&self, _body: &str) -> Result<Verdict, NoVerdict> {
        self.asked.lock().unwrap().send(()).unwrap();
        self.verdicts.lock().unwrap().recv().unwrap_or(Err(NoVerdict::Busy))
    }
}

type Ends = (Arc<dyn Hook>, mpsc::Receiver<()>, mpsc::Sender<Result<Verdict, NoVerdict>>);

fn slow() -> Ends {
    let ((asked, was_asked), (say, verdicts)) = (mpsc::channel(), mpsc::channel());
    (Arc::new(Slow { asked: Mutex::new(asked), verdicts: Mutex::new(verdicts) }), was_asked, say)
}

const ONE_AT_ONCE: HookLimits = HookLimits {
    asking_max: 1,
    waiting_max: 1,
    wait_max: Duration::from_secs(20),
    remembered_for: Duration::ZERO,
    remembered_max: 0,
};

async fn with_hook() -> (World, mpsc::Receiver<()>, mpsc::Sender<Result<Verdict, NoVerdict>>) {
    let (hook, was_asked, say) = slow();
    let access = MqttAccess { has_hook: true, ..with_users() };
    let world = world(access, Issued::default(), Some((hook, ONE_AT_ONCE)), GuardSettings::default()).await;
    (world, was_asked, say)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_decision_holds_nobody_up_and_what_it_sent_is_done_then() {
    let (world, was_asked, say) = with_hook().await;
    let bytes = [connect("waits", "x", "y"), packet(0xc0, &[]), packet(0xe0, &[])].concat();
    let mut waits = world.send(&bytes).await;
    tokio::io::AsyncWriteExt::shutdown(&mut waits).await.unwrap();
    tokio::task::spawn_blocking(move || was_asked.recv().unwrap()).await.unwrap();
    assert_eq!(world.join("other", "ops", "secret").await.1, 0);
    say.send(Ok(Verdict::Allow(Arc::default()))).unwrap();
    let mut answer = Vec::new();
    waits.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0, 0xd0, 0], "CONNACK, PINGRESP");
    assert_eq!(world.end_of("waits").await.reason, Reason::ClientDisconnected);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_it_waits_has_left() {
    let (world, was_asked, say) = with_hook().await;
    let leaves = world.send(&connect("leaves", "x", "y")).await;
    tokio::task::spawn_blocking(move || was_asked.recv().unwrap()).await.unwrap();
    drop(leaves);
    assert_eq!(world.end_of("leaves").await.reason, Reason::ClientClosed);
    drop(say);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_somebody_waits_counts_for_it() {
    let (world, was_asked, say) = with_hook().await;
    let mut waits = world.send(&connect("waits", "x", "y")).await;
    tokio::task::spawn_blocking(move || was_asked.recv().unwrap()).await.unwrap();
    world.guard.replace(with_users());
    say.send(Ok(Verdict::Allow(Arc::default()))).unwrap();
    let mut connack = [0; 4];
    waits.read_exact(&mut connack).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 5]);
    assert_eq!(world.end_of("waits").await.reason, Reason::CredentialsWithdrawn);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_program_let_in_for_a_while_goes_when_that_is_over_and_is_asked_for_anew() {
    let (hook, was_asked, say) = slow();
    let remembers = HookLimits { remembered_for: Duration::MAX, remembered_max: 10, ..ONE_AT_ONCE };
    let access = MqttAccess { has_hook: true, ..with_users() };
    let world = world(access, Issued::default(), Some((hook, remembers)), GuardSettings::default()).await;
    let until = |seconds: u32| verdict(200, format!(r#"{{"result":"allow","expire_at":{seconds}}}"#).as_bytes());
    say.send(until(2_000)).unwrap();
    drop(world.join("goes", "x", "y").await);
    was_asked.recv().unwrap();
    let (mut goes, code) = world.join("goes", "x", "y").await;
    assert_eq!((code, was_asked.try_iter().count()), (0, 0), "remembered");
    world.now.store(2_000_000, Ordering::Relaxed);
    assert_eq!(goes.read(&mut [0]).await.unwrap(), 0, "closed");
    let end = world.end_of("goes").await;
    assert_eq!(end.reason, Reason::CredentialsExpired);
    assert_eq!(end.details.detail.as_deref(), Some("the expire_at of mqtt.hook is over"));

    say.send(until(2_000)).unwrap();
    assert_eq!(world.join("late", "x", "y").await.1, 5, "over before it came");
    assert_eq!(world.end_of("late").await.reason, Reason::CredentialsExpired);
    say.send(until(3_000)).unwrap();
    assert_eq!(world.join("goes", "x", "y").await.1, 0);
    assert_eq!(was_asked.try_iter().count(), 2, "asked anew, each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_are_refused_at_once_and_it_is_on_record() {
    let settings = GuardSettings { comparing_max: 0, waiting_max: 0, ..GuardSettings::default() };
    let world = world(with_users(), Issued::default(), None, settings).await;
    assert_eq!(world.join("one-more", "ops", "secret").await.1, 3);
    let end = world.end_of("one-more").await;
    assert_eq!(end.reason, Reason::ServerOverloaded);
    assert!(end.details.detail.unwrap().contains("passwords of 0 clients"));

    let settings = GuardSettings { comparing_max: 0, wait_max: Duration::from_millis(1), ..GuardSettings::default() };
    let world = self::world(with_users(), Issued::default(), None, settings).await;
    assert_eq!(world.join("too-long", "ops", "secret").await.1, 3);
    assert!(world.end_of("too-long").await.details.detail.unwrap().contains("within 1 ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_fit_is_not_compared_again() {
    let world = world(with_users(), Issued::default(), None, GuardSettings::default()).await;
    assert_eq!(world.join("first", "ops", "secret").await.1, 0);
    for n in 0..200 {
        world.send(&connect(&format!("bad-{n}"), "ops", "wrong")).await;
    }
    for n in 0..200 {
        assert_eq!(world.join(&format!("good-{n}"), "ops", "secret").await.1, 0, "b31: whoever fails beside it");
    }
}

fn with_key() -> MqttAccess {
    let key = AccessKey {
        id: "LTAI".into(),
        secret: Secret::new("s").unwrap(),
        account: AccountId::new("local").unwrap(),
        enabled: true,
        security_token: None,
        expires: None,
        holder: tracemq_access::Holder::Account,
        policy: Policy::full_access(),
        session: None,
    };
    access().with_keys(KeyRing::new([key]).unwrap())
}

/// A token for the topic `a` and those under `b/`.
fn token(issued: &mut Issued, number: u8, read: bool, write: bool, expires_ms: i64) -> String {
    let (access_key_id, instance, resources) = ("LTAI".into(), "mqtt-local".into(), vec!["a".into(), "b/#".into()]);
    let grant = Grant { access_key_id, instance, read, write, resources, expires_ms };
    issued.tokens.issue(&[number; 32], grant, TimeMs(0)).unwrap()
}

const TOKEN_USER: &str = "Token|LTAI|mqtt-local";

#[tokio::test(flavor = "multi_thread")]
async fn b68_a_token_ends_its_connection_when_it_expires_and_when_it_is_revoked() {
    let mut issued = Issued::default();
    let (short, long) = (token(&mut issued, 1, true, true, 2_000_000), token(&mut issued, 2, true, true, 9_000_000));
    let world = world(with_key(), issued, None, GuardSettings::default()).await;
    let user = TOKEN_USER;
    let (mut expires, code) = world.join("expires", user, &format!("RW|{short}")).await;
    assert_eq!(code, 0);
    let (mut stays, code) = world.join("stays", user, &format!("R|{long}")).await;
    assert_eq!(code, 0);
    world.now.store(2_000_000, Ordering::Relaxed);
    assert_eq!(told(&mut expires).await, expiry("RW", 2_000_000));
    assert_eq!(told(&mut expires).await, invalid(2, "RW"));
    assert_eq!(expires.read(&mut [0]).await.unwrap(), 0, "closed");
    assert_eq!(world.end_of("expires").await.reason, Reason::CredentialsExpired);
    assert_eq!(world.join("again", user, &format!("RW|{short}")).await.1, 4);

    stays.write_all(&packet(0xc0, &[])).await.unwrap();
    assert_eq!(stays.read(&mut [0; 2]).await.unwrap(), 2, "the other is still there");
    let change = world.guard.read_issued(|issued| issued.revoke_token(&long, "mqtt-local")).unwrap();
    assert_eq!(world.guard.apply(&change), 1);
    assert_eq!(told(&mut stays).await, invalid(3, "R"));
    assert_eq!(stays.read(&mut [0]).await.unwrap(), 0, "closed");
    assert_eq!(world.end_of("stays").await.reason, Reason::CredentialsWithdrawn);
}

fn publish(qos: u8, topic: &str, payload: &str) -> Vec<u8> {
    let id: &[u8] = if qos == 0 { &[] } else { &[0, 7] };
    packet(0x30 | qos << 1, &[&text(topic)[..], id, payload.as_bytes()].concat())
}

fn subscribe(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 9][..], &text(filter), &[0]].concat())
}

fn upload(qos: u8, token: &str, kind: &str) -> Vec<u8> {
    publish(qos, "$SYS/uploadToken", &format!(r#"{{"token":"{token}","type":"{kind}"}}"#))
}

/// The next packet: its first byte and its body.
async fn next(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).await.unwrap();
    (head[0], body)
}

/// The next packet, which must be a notice: its topic and payload.
async fn told(stream: &mut TcpStream) -> (String, String) {
    let (first, body) = next(stream).await;
    assert_eq!(first, 0x30, "{body:?}");
    let (topic, payload) = body[2..].split_at(usize::from(body[1]));
    (String::from_utf8(topic.to_vec()).unwrap(), String::from_utf8(payload.to_vec()).unwrap())
}

fn invalid(code: i8, kind: &str) -> (String, String) {
    ("$SYS/tokenInvalidNotice".into(), format!(r#"{{"code":{code},"type":"{kind}"}}"#))
}

fn expiry(kind: &str, at: i64) -> (String, String) {
    ("$SYS/tokenExpireNotice".into(), format!(r#"{{"expireTime":{at},"type":"{kind}"}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_uses_its_token_for_something_else_is_told_the_code_and_ended() {
    let mut issued = Issued::default();
    let read = token(&mut issued, 1, true, false, 9_000_000);
    let world = world(with_key(), issued, None, GuardSettings::default()).await;
    for (client, does, code, reason) in [
        ("elsewhere", publish(0, "c", "x"), 4, Reason::PublishNotAuthorized),
        ("writes", publish(1, "b/c", "x"), 5, Reason::PublishNotAuthorized),
        ("listens", subscribe("#"), 4, Reason::SubscribeNotAuthorized),
    ] {
        let (mut stream, _) = world.join(client, TOKEN_USER, &format!("R|{read}")).await;
        stream.write_all(&does).await.unwrap();
        assert_eq!(told(&mut stream).await, invalid(code, "R"), "{client}");
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
        assert_eq!(world.end_of(client).await.reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b68_who_renews_its_token_in_time_stays_and_who_does_not_is_told_first() {
    let mut issued = Issued::default();
    let (old, new) = (token(&mut issued, 1, true, true, 2_000_000), token(&mut issued, 2, true, true, 9_000_000));
    let world = world(with_key(), issued, None, GuardSettings::default()).await;
    let (mut renews, _) = world.join("renews", TOKEN_USER, &format!("RW|{old}")).await;
    let (mut forgets, _) = world.join("forgets", TOKEN_USER, &format!("R|{old}")).await;
    world.now.store(1_700_000, Ordering::Relaxed); // five minutes before
    assert_eq!(told(&mut renews).await, expiry("RW", 2_000_000));
    assert_eq!(told(&mut forgets).await, expiry("R", 2_000_000));

    renews.write_all(&upload(1, &new, "RW")).await.unwrap();
    assert_eq!(next(&mut renews).await, (0x40, vec![0, 7]), "PUBACK");
    renews.write_all(&upload(2, &new, "RW")).await.unwrap();
    assert_eq!(next(&mut renews).await, (0x50, vec![0, 7]), "PUBREC");
    renews.write_all(&packet(0x62, &[0, 7])).await.unwrap();
    assert_eq!(next(&mut renews).await, (0x70, vec![0, 7]), "PUBCOMP");

    world.now.store(2_000_000, Ordering::Relaxed);
    assert_eq!(told(&mut forgets).await, invalid(2, "R"));
    assert_eq!(world.end_of("forgets").await.reason, Reason::CredentialsExpired);
    renews.write_all(&subscribe("b/#")).await.unwrap();
    assert_eq!(next(&mut renews).await, (0x90, vec![0, 9, 0]), "SUBACK");
    let change = world.guard.read_issued(|issued| issued.revoke_token(&old, "mqtt-local")).unwrap();
    assert_eq!(world.guard.apply(&change), 0, "nobody holds that one any more");

    let change = world.guard.read_issued(|issued| issued.revoke_token(&new, "mqtt-local")).unwrap();
    assert_eq!(world.guard.apply(&change), 1);
    assert_eq!(told(&mut renews).await, invalid(3, "RW"));
    let end = world.end_of("renews").await;
    assert_eq!(
        (end.reason, end.details.detail.as_deref()),
        (Reason::CredentialsWithdrawn, Some("its token was revoked"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_uploaded_and_not_good_ends_the_connection_and_goes_to_nobody() {
    let mut issued = Issued::default();
    let (good, gone) = (token(&mut issued, 1, true, true, 9_000_000), token(&mut issued, 2, true, false, 1_500_000));
    let world = world(with_key(), issued, None, GuardSettings::default()).await;
    world.now.store(1_500_000, Ordering::Relaxed);
    for (client, uploaded, kind, code) in
        [("forged", "forged", "W", 1), ("expired", &gone, "R", 2), ("other", &good, "X", 1)]
    {
        let (mut stream, _) = world.join(client, TOKEN_USER, &format!("RW|{good}")).await;
        stream.write_all(&upload(1, uploaded, kind)).await.unwrap();
        assert_eq!(told(&mut stream).await, invalid(code, if kind == "X" { "" } else { kind }));
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed");
        let end = world.end_of(client).await;
        assert_eq!(end.reason, Reason::TokenRefused);
        assert!(!end.details.detail.unwrap().contains(&good));
    }
    // Who came in without a token has nothing to say there.
    let mut without = world.send(&[anonymous("without"), upload(1, &good, "RW")].concat()).await;
    assert_eq!(next(&mut without).await.0, 0x20);
    assert_eq!(without.read(&mut [0]).await.unwrap(), 0, "closed");
    assert_eq!(world.end_of("without").await.reason, Reason::BadTopic);
}
