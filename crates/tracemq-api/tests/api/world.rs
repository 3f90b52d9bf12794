//! A router with what it needs around it, and the way to call it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use serde_json::Value;
use tower::ServiceExt;
use tracemq_access::{AccessKey, AccountId, KeyRing, Policy, Secret};
use tracemq_api::{ApiSettings, ApiState, Gauges, Instance, Keys, NoClients, router};
use tracemq_model::{
    Action, ClientId, ConnectionId, Counts, Details, Event, Filter, Gap, GapCause, InstanceId, Order, Pattern,
    Provenance, Reason, Subject, SubjectPage, TimeMs, TimeRange, TracePage, TraceQuery,
};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_store::{Batch, EventStore, MemoryStore, StoreError, StoreStats, Visit, VisitTally};

use crate::issuing::Books;
use crate::signing::{Signer, Wire};

/// 2026-11-22T08:17:52Z
pub(crate) const NOW: i64 = 1_795_335_472_000;
pub(crate) const INSTANCE: &str = "mqtt-cn-test";
pub(crate) const OTHER_INSTANCE: &str = "mqtt-cn-other";
pub(crate) const CLIENT: &str = "GID_test@@@producer";
pub(crate) const SECRET: &str = "Secret/With+Odd=Chars&01";

/// Counts the questions that reach the store, and fails or holds them when told to.
pub(crate) struct WatchedStore {
    memory: MemoryStore,
    pub(crate) questions: AtomicUsize,
    pub(crate) fails: AtomicBool,
    /// While set, nothing can be written.
    pub(crate) full: AtomicBool,
    /// While set, questions wait.
    pub(crate) stuck: AtomicBool,
    /// While set, no event can be read for damage.
    pub(crate) damaged: AtomicBool,
}

impl WatchedStore {
    /// Counts the question; waits or fails when told to.
    fn question(&self) -> Result<(), StoreError> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        // Not for ever, so that a test which finds a hole ends.
        for _ in 0..2_000 {
            if !self.stuck.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Poisoned { path: "secret-path".into() });
        }
        Ok(())
    }
}

impl EventStore for WatchedStore {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full { path: "secret-path".into(), source: std::io::Error::other("full") });
        }
        self.memory.append(batch)
    }
    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        self.question()?;
        let mut page = self.memory.page(query)?;
        if self.damaged.load(Ordering::SeqCst) {
            page.events.clear();
            page.gaps.push(Gap { from: query.range.from, to: query.range.to, lost: None, cause: GapCause::Damaged });
        }
        Ok(page)
    }
    fn scan(&self, filter: &Filter, order: Order, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        self.question()?;
        self.memory.scan(filter, order, visit)
    }
    fn counts(&self, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError> {
        self.question()?;
        self.memory.counts(filter, bucket_ms)
    }
    fn tally(&self, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        self.question()?;
        self.memory.tally(filter, visit)
    }
    fn subjects(
        &self,
        instance: &InstanceId,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<SubjectPage, StoreError> {
        self.question()?;
        self.memory.subjects(instance, pattern, after, limit)
    }
    fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        self.question()?;
        self.memory.erase(instance, subject)
    }
    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        self.memory.gaps(range)
    }
    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        self.memory.orphans(visit)
    }
    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.memory.mark_alive(now)
    }
    fn last_alive(&self) -> Option<TimeMs> {
        self.memory.last_alive()
    }
    fn stats(&self) -> StoreStats {
        self.memory.stats()
    }
}

/// Answers, with what is asked of them most.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `Code` of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["Code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self) {
        assert_eq!(self.status, 200, "{self:?}");
        assert!(self.json()["DeviceInfoList"].is_array(), "{self:?}");
    }

    /// Refused with this code, and without a byte of history.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        assert!(!self.body.contains("DeviceInfoList") && !self.body.contains("mqtt.trace.action"), "{self:?}");
    }
}

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: Arc<WatchedStore>,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) state: ApiState,
}

pub(crate) fn key(id: &str, secret: &str, account: &str) -> AccessKey {
    AccessKey {
        id: id.into(),
        secret: Secret::new(secret).unwrap(),
        account: AccountId::new(account).unwrap(),
        enabled: true,
        security_token: None,
        expires: None,
        holder: tracemq_access::Holder::Account,
        policy: Policy::full_access(),
        session: None,
    }
}

pub(crate) fn policy(effect: &str, action: &str, resource: &str) -> Policy {
    let statement = format!(r#"{{"Effect":"{effect}","Action":"{action}","Resource":"{resource}"}}"#);
    let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let statements = if effect == "Deny" { format!("{all},{statement}") } else { statement };
    Policy::parse(&format!(r#"{{"Version":"1","Statement":[{statements}]}}"#)).unwrap()
}

/// All kinds of keys; `main` is the one that most tests use.
fn keys() -> Vec<AccessKey> {
    let with = |id: &str, change: fn(&mut AccessKey)| {
        let mut key = key(id, SECRET, "local");
        change(&mut key);
        key
    };
    vec![
        with("main", |_| {}),
        with("second", |_| {}),
        key("foreign", SECRET, "stranger"),
        with("disabled", |key| key.enabled = false),
        with("ended", |key| key.expires = Some(TimeMs(NOW))),
        with("sts", |key| key.security_token = Some(Secret::new("CAIS+token/==%").unwrap())),
        with("sts-ended", |key| {
            key.security_token = Some(Secret::new("CAIS+old").unwrap());
            key.expires = Some(TimeMs(NOW - 1));
        }),
        with("nothing", |key| key.policy = policy("Allow", "mq:Other", "*")),
        with("denied", |key| key.policy = policy("Deny", "mq:QueryMqttDeviceTrace", "acs:mq:*:*:mqtt-cn-test")),
        with("by-name", |key| {
            key.policy = policy("Allow", "mq:QueryMqttTraceDevice", "acs:mq:cn-hangzhou:local:instance/mqtt-cn-test");
        }),
        with("good-only", |key| key.policy = policy("Allow", "mq:*", "acs:mq:*:*:instance/good*")),
        key("ampersand", "a&b", "local"),
        key("percent", "100%25 of it", "local"),
        key("one-byte", "x", "local"),
        key("unicode", "ключ-é中", "local"),
    ]
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With nothing on record.
    pub(crate) fn empty() -> Self {
        Self::before_history(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ApiState)) -> Self {
        let world = Self::before_history(change);
        world.record_history();
        world
    }

    fn before_history(change: impl FnOnce(&mut ApiState)) -> Self {
        let clock = Arc::new(AtomicI64::new(NOW));
        let memory = MemoryStore::new(100_000);
        let store = Arc::new(WatchedStore {
            memory,
            questions: 0.into(),
            fails: false.into(),
            full: false.into(),
            stuck: false.into(),
            damaged: false.into(),
        });
        let now = Arc::clone(&clock);
        let now: tracemq_api::Clock = Arc::new(move || TimeMs(now.load(Ordering::SeqCst)));
        let prompt = RecorderSettings { linger: Duration::ZERO, retries_max: 0, ..RecorderSettings::default() };
        let recorder = Recorder::start(Arc::clone(&store) as Arc<dyn EventStore>, Arc::clone(&now), prompt).unwrap();
        let instance = |id: &str, account: &str, region: Option<&str>| Instance {
            id: InstanceId::new(id).unwrap(),
            account: AccountId::new(account).unwrap(),
            region: region.map(str::to_owned),
        };
        let mut state = ApiState {
            store: Arc::clone(&store) as Arc<dyn EventStore>,
            recorder,
            messages: None,
            keys: Keys::new(KeyRing::new(keys()).unwrap()),
            instances: vec![
                instance(INSTANCE, "local", None),
                instance(OTHER_INSTANCE, "stranger", Some("cn-beijing")),
            ],
            settings: ApiSettings { calls_per_second: 1_000_000, ..ApiSettings::default() },
            clock: now,
            gauges: Gauges {
                connections: Arc::new(|| 3),
                sessions: Arc::new(|| 4),
                queued_bytes: Arc::new(|| 6),
                messages_received: Arc::new(|| 8),
                messages_sent: Arc::new(|| 7),
                messages_dropped: Arc::new(|| 5),
                free_bytes: Arc::new(|| Some(9)),
                handshakes_failed: Arc::new(|| 10),
                certificates: Arc::new(|| {
                    vec![("[http]".into(), TimeMs(NOW)), ("devices".into(), TimeMs(NOW + 1_999))]
                }),
                ready: Arc::new(|| true),
            },
            clients: Arc::new(NoClients),
            issuing: Arc::new(Books::default()),
        };
        change(&mut state);
        Self { router: router(state.clone()).unwrap(), store, clock, state }
    }

    /// The same world after a restart of the server.
    pub(crate) fn restarted(self) -> Self {
        let Self { router: old, store, clock, state } = self;
        drop(old);
        Self { router: router(state.clone()).unwrap(), store, clock, state }
    }

    /// Puts the usual keys in force anew, with changes.
    pub(crate) fn change_keys(&self, change: impl FnOnce(&mut Vec<AccessKey>)) {
        let mut changed = keys();
        change(&mut changed);
        self.state.keys.replace(KeyRing::new(changed).unwrap());
    }

    pub(crate) fn append(&self, events: Vec<Event>, gaps: Vec<Gap>) {
        self.store.append(&Batch { events, gaps }).unwrap();
    }

    /// Hands `event` to the recorder, and waits until it is known what became of it.
    pub(crate) fn record(&self, event: Event) {
        self.state.recorder.record(event);
        assert!(self.state.recorder.flush(Duration::from_secs(60)));
    }

    /// A connect, its close, and a connect of the device that most tests ask for.
    fn record_history(&self) {
        let first = event(1, NOW - 3_000, Action::Connect, Reason::Accepted);
        let second = event(1, NOW - 2_000, Action::Close, Reason::KeepAliveTimeout);
        let third = event(2, NOW - 1_000, Action::Connect, Reason::Accepted);
        self.append(vec![first, second, third], vec![]);
    }

    pub(crate) fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }

    /// Signs as `key_id` at the moment, with a new nonce.
    pub(crate) fn signer(&self, key_id: &str) -> Signer {
        Signer::new(key_id, SECRET, self.clock.load(Ordering::SeqCst))
    }

    pub(crate) fn questions(&self) -> usize {
        self.store.questions.load(Ordering::SeqCst)
    }

    pub(crate) async fn call(&self, wire: &Wire) -> Answer {
        send(self.router.clone(), wire.clone()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        answer(self.router.clone(), request).await
    }

    pub(crate) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

/// Sends `wire` to `router`.
pub(crate) async fn send(router: Router, wire: Wire) -> Answer {
    let mut request = Request::builder().method(wire.method.as_str()).uri(&wire.target);
    for (name, value) in &wire.headers {
        request = request.header(name, value.as_slice());
    }
    answer(router, request.body(Body::from(wire.body)).unwrap()).await
}

async fn answer(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) fn event(connection: u128, time: i64, action: Action, reason: Reason) -> Event {
    Event {
        time: TimeMs(time),
        instance: InstanceId::new(INSTANCE).unwrap(),
        connection: ConnectionId(connection),
        action,
        reason,
        provenance: Provenance::Observed,
        client: Some(ClientId::new(CLIENT).unwrap()),
        peer: Some("192.0.2.7:4711".parse().unwrap()),
        details: Details::default(),
    }
}

/// The parameters of a call that is answered.
pub(crate) fn parameters() -> Vec<(String, String)> {
    let pairs = [
        ("MqttRegionId", "cn-hangzhou"),
        ("InstanceId", INSTANCE),
        ("ClientId", CLIENT),
        ("BeginTime", "1795330000000"),
        ("EndTime", "1795339999999"),
        ("CurrentPage", "1"),
        ("PageSize", "5"),
        ("Reverse", "false"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Those parameters with some changed; none takes one out.
pub(crate) fn parameters_with(changes: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
    let mut pairs = parameters();
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        pairs.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    pairs
}
