//! All parts of a running server, and the order in which they stop.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracemq_access::AccountId;
use tracemq_access::mqtt::issued::UPLOAD_TOPIC;
use tracemq_access::mqtt::{MqttAccess, Users};
use tracemq_api::{ApiSettings, ApiState, Instance, Issuing, Keys};
use tracemq_broker::Limits;
use tracemq_door::{Certificates, Guard, House, HouseSettings};
use tracemq_model::TimeMs;
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_segments::{Keep, Retention, SegmentSettings, Segments};
use tracemq_store::EventStore;
use tracing::{error, info, warn};

use super::clients::LiveClients;
use super::gauges::{Listeners, gauges};
use super::issued::{self, Issuer};
use super::messages::MessageTraces;
use super::sessions::Sessions;
use super::ways_in::{self, Listening, WaysIn};
use super::{STOP_STAGE_MAX, access, connections_that_fit, create_data_dir, http, keys};
use crate::cli::ServeArgs;
use crate::config::{self, Config, LOCAL_ACCOUNT, OnRefusal};
use crate::credentials::{self, Credentials};
use crate::store::progress::Progress;

/// Holds the URL of the HTTP listener while the server runs, so that commands find it.
pub(crate) const ADDRESS_FILE: &str = "http-address";

/// What is counted and not yet recorded of connections without a byte.
const COUNTS_FILE: &str = "mqtt-counts";

/// A running server.
pub(crate) struct Server {
    /// Where MQTT listens, in the order of the configuration.
    pub listeners: Vec<Listening>,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// The same as a URL.
    pub url: String,
    /// The key that the data folder had at the start.
    pub credentials: Credentials,
    /// Whether the key was made by this start.
    pub credentials_are_new: bool,
    config: Config,
    keys: Keys,
    guard: Arc<Guard>,
    certificates: Vec<(String, Certificates)>,
    recorder: Recorder,
    segments: Arc<Segments>,
    messages: Option<MessageTraces>,
    stop: watch::Sender<Stage>,
    sessions: Sessions,
    house: Arc<House>,
    time: Vec<JoinHandle<()>>,
    doors: Vec<JoinHandle<()>>,
    api: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Running,
    StopMqtt,
    StopHttp,
}

impl Server {
    /// Starts everything: listeners first, so that a taken port changes nothing on disk.
    ///
    /// # Errors
    /// With the part that can't start, and what would help.
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let access = access::read(&config.mqtt)?;
        let bound = ways_in::bind(&config)?;
        let http_bound = http::bind(&config)?;
        let (http, url) = (http_bound.address, http_bound.url());
        create_data_dir(&config)?;
        let segments = open_store(&config)?;
        let store: Arc<dyn EventStore> = Arc::clone(&segments) as Arc<dyn EventStore>;
        let (credentials, credentials_are_new) = credentials::load_or_draw(&config.data_dir, &config.instance.id)?;
        let ring = keys::ring(&config.access_keys, &credentials, &config.data_dir)?;
        let (guard, issuing) = guard_and_issuer(&config, access.with_keys(ring.clone()))?;
        let keys = Keys::new(ring);
        let recorder = start_recorder(&config, &store)?;

        let house = house(&config, &recorder)?;
        let limits = limits(&config.mqtt);
        let sessions = Sessions::open(&config, &limits, &house, &guard)?;
        let brokers = sessions.brokers.clone();
        let messages = MessageTraces::start(&config, &brokers, wall_clock)?;
        let listeners = ways_in::told(&bound);
        let WaysIn { doors, mut certificates } = ways_in::doors(&config, bound, &house, &guard, &brokers, &limits)?;
        certificates.extend(http_bound.certificates());
        let http_door = http_bound.door();
        let (stop, stage) = watch::channel(Stage::Running);
        let clients = Arc::new(LiveClients { brokers: brokers.clone(), house: Arc::clone(&house) });
        let told = Listeners { handshakes_failed: http_door.failed_handshakes(), certificates: certificates.clone() };
        let of_brokers = brokers.values().cloned().collect();
        let gauges = gauges(of_brokers, Arc::clone(&house), &config.data_dir, told, is_running(stage.clone()));
        let router = tracemq_api::router(ApiState {
            store,
            recorder: recorder.clone(),
            messages: messages.as_ref().map(MessageTraces::for_the_api),
            keys: keys.clone(),
            instances: instances(&config)?,
            settings: api_settings(&config)?,
            clock: Arc::new(wall_clock),
            gauges,
            clients,
            issuing,
        })?;

        credentials::save(&config.data_dir, &credentials)?;
        let mut time: Vec<_> =
            brokers.into_values().map(|broker| tokio::spawn(Arc::clone(&house).keep_time(broker))).collect();
        time.push(tokio::spawn(Arc::clone(&guard).keep_watch()));
        let doors = doors
            .into_iter()
            .map(|door| tokio::spawn(door.run(reached(stage.clone(), Stage::StopMqtt), STOP_STAGE_MAX)))
            .collect();
        let api = tokio::spawn(tracemq_api::serve(http_door, router, reached(stage, Stage::StopHttp)));
        tell(&config, &url, &listeners)?;
        Ok(Self {
            listeners,
            http,
            url,
            credentials,
            credentials_are_new,
            config,
            keys,
            guard,
            certificates,
            recorder,
            segments,
            messages,
            stop,
            sessions,
            house,
            time,
            doors,
            api,
        })
    }

    /// Where the first listener listens.
    pub(crate) fn mqtt(&self) -> Option<SocketAddr> {
        self.listeners.first().map(|listening| listening.address)
    }

    /// Puts in force what stands in the files now: access keys, users, topic rules, groups and bans. When they can't be
    /// used, the old ones stay. `args` are those that the server was started with.
    pub(crate) fn reload_access(&self, args: &ServeArgs) {
        let (config, ring) = match keys::read_again(args, &self.config.data_dir) {
            Ok(read) => read,
            Err(error) => {
                let error = format!("{error:#}");
                error!(error, "access keys not reloaded: the old ones stay in force, and so do users and topic rules");
                return;
            }
        };
        let keys = ring.len();
        // Whether a program is asked stays as it was at the start: without it nobody would be known, and everybody let in.
        let has_hook = self.config.mqtt.hook.is_some();
        match access::read(&config.mqtt) {
            Ok(access) => {
                let access = MqttAccess { has_hook, ..access.with_keys(ring.clone()) };
                let (users, rules) = (access.users.as_ref().map_or(0, Users::len), access.rules.len());
                let ended = self.guard.replace(access);
                info!(users, rules, ended, "MQTT users and topic rules reloaded; `ended` connections may be no more");
            }
            Err(error) => {
                let error = format!("{error:#}");
                let ended = self.guard.replace_keys(ring.clone());
                error!(error, ended, "MQTT users and topic rules not reloaded: the old ones stay in force");
            }
        }
        self.keys.replace(ring);
        info!(keys, "access keys reloaded; listeners, limits and other settings are not: they are read at the start");
    }

    /// Puts the certificates, keys and CAs in force that stand in the listeners' files now, that of HTTP too, for handshakes from here on.
    /// Where they can't be used, the old ones stay.
    pub(crate) fn reload_certificates(&self) {
        for (listener, certificates) in &self.certificates {
            match certificates.reload() {
                Ok(()) => info!(listener, "certificates reloaded"),
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    error!(listener, error, "certificates not reloaded: the old ones stay in force");
                }
            }
        }
    }

    /// Ends all connections with their close on record, writes what waits, and stops answering, in this order.
    ///
    /// # Errors
    /// When a part failed while it ran.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        info!("stopping");
        self.stop.send_replace(Stage::StopMqtt);
        let mut ended = Vec::new();
        for door in self.doors {
            ended.push(door.await);
        }
        for time in self.time {
            time.abort();
        }
        let (house, sessions) = (self.house, self.sessions);
        tokio::task::spawn_blocking(move || {
            house.write_counts();
            sessions.stop();
        })
        .await?;
        let recorder = self.recorder;
        let messages = self.messages;
        let (counts, messages) = tokio::task::spawn_blocking(move || {
            if let Some(messages) = &messages {
                messages.stop_recording();
            }
            (recorder.stop(STOP_STAGE_MAX), messages)
        })
        .await?;
        self.stop.send_replace(Stage::StopHttp);
        let api = tokio::time::timeout(STOP_STAGE_MAX, self.api).await;
        let segments = self.segments;
        let closed = tokio::task::spawn_blocking(move || {
            let _line = Progress::of_time("writing what arrived last into segments");
            segments.close();
            if let Some(messages) = &messages {
                messages.close();
            }
        });
        closed.await?;
        let _ = std::fs::remove_file(self.config.data_dir.join(ADDRESS_FILE));
        info!(recorded = counts.recorded, lost = counts.lost.total(), "stopped");
        ended.into_iter().collect::<Result<(), _>>().context("an MQTT listener failed")?;
        if let Ok(api) = api {
            api.context("the HTTP listener failed")?;
        }
        Ok(())
    }
}

async fn reached(mut stage: watch::Receiver<Stage>, wanted: Stage) {
    // An error means that the server is gone without a stop: then it is time as well.
    let _ = stage.wait_for(|stage| *stage >= wanted).await;
}

fn is_running(stage: watch::Receiver<Stage>) -> impl Fn() -> bool {
    move || *stage.borrow() == Stage::Running
}

/// Says where it listens, also to commands, which find it by a file.
fn tell(config: &Config, http: &str, listeners: &[Listening]) -> anyhow::Result<()> {
    let file = config.data_dir.join(ADDRESS_FILE);
    std::fs::write(&file, format!("{http}\n")).with_context(|| format!("can't write {}", file.display()))?;
    for Listening { name, address, transport } in listeners {
        info!(name, %address, transport, "MQTT listens");
    }
    info!(http, data_dir = %config.data_dir.display(), "ready");
    Ok(())
}

/// What lets devices in, and what gives out by what they come in.
fn guard_and_issuer(config: &Config, access: MqttAccess) -> anyhow::Result<(Arc<Guard>, Arc<dyn Issuing>)> {
    let (issued, files) = issued::read(&config.data_dir)?;
    let guard = access::guard(config, access, issued, Arc::new(wall_clock))?;
    let issuer = Issuer::new(Arc::clone(&guard), files, Arc::new(wall_clock));
    Ok((guard, Arc::new(issuer)))
}

fn house(config: &Config, recorder: &Recorder) -> std::io::Result<Arc<House>> {
    let in_all = HouseSettings {
        connections_max: connections_max(config.mqtt.max_connections),
        fold_window: Duration::from_secs(config.mqtt.fold_silent_s),
    };
    let house = House::new(recorder.clone(), Arc::new(wall_clock), in_all)?;
    house.keep_counts(config.data_dir.join(COUNTS_FILE));
    Ok(house)
}

fn connections_max(configured: usize) -> usize {
    let fit = connections_that_fit();
    if fit < configured && configured == config::Mqtt::default().max_connections {
        // Nobody asked for so many.
        info!(fit, "so many connections fit below the limit of open files (ulimit -Hn)");
    } else if fit < configured {
        warn!(
            configured,
            fit, "the limit of open files (ulimit -Hn) allows fewer connections than mqtt.max_connections"
        );
    }
    configured.min(fit)
}

fn wall_clock() -> TimeMs {
    let millis = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()),
        Err(before) => i64::try_from(before.duration().as_millis()).map(|ms| -ms),
    };
    TimeMs(millis.unwrap_or(i64::MAX))
}

pub(super) fn bind(address: SocketAddr, key: &str, advice: &str) -> anyhow::Result<TcpListener> {
    listen(address)
        .with_context(|| format!("can't listen on {address} ({key}); is another server running there? {advice}"))
}

/// As `TcpListener::bind` does it, but with room for a fleet that comes back at once: who finds none tries again after a
/// second, then two, then four. The system bounds it by `net.core.somaxconn`, which is 4,096 where nobody changed it.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(tracemq_door::BACKLOG_MAX)
}

/// None is for as long as there is room.
pub(super) fn age_ms(days: u32) -> Option<u64> {
    (days > 0).then(|| u64::from(days) * 86_400_000)
}

/// What is kept of an instance is the store's bounds, but for those that it has of its own.
fn retention(store: &config::Store) -> Retention {
    let instances = store.instance.iter().map(|own| {
        let keep = Keep { age_ms: age_ms(own.keep_days.unwrap_or(store.keep_days)), bytes: own.max_bytes };
        (own.id.clone(), keep)
    });
    Retention {
        bytes: Some(store.max_bytes),
        each: Keep { age_ms: age_ms(store.keep_days), bytes: None },
        instances: instances.collect(),
    }
}

fn open_store(config: &Config) -> anyhow::Result<Arc<Segments>> {
    open_segments(&config.data_dir.join("events"), retention(&config.store)).context("can't open the event store")
}

pub(super) fn open_segments(folder: &Path, retention: Retention) -> anyhow::Result<Arc<Segments>> {
    let settings = SegmentSettings { retention, ..SegmentSettings::default() };
    let (segments, recovery) = Segments::open(folder, settings)?;
    info!(
        events = recovery.events,
        segments = recovery.segments,
        from_log = recovery.replayed,
        folder = %folder.display(),
        "event store opened"
    );
    if recovery.cut_bytes > 0 {
        warn!(bytes = recovery.cut_bytes, "the last write was not finished before the last stop; it was cut off");
    }
    for damage in &recovery.damaged {
        warn!(
            file = %damage.path.display(),
            offset = damage.offset,
            length = damage.length,
            what = damage.what,
            "a part of the event store can't be read; it is kept, and answers say that they are incomplete"
        );
    }
    Ok(Arc::new(segments))
}

fn start_recorder(config: &Config, store: &Arc<dyn EventStore>) -> anyhow::Result<Recorder> {
    if !config.recorder.enabled {
        warn!("recording is switched off (recorder.enabled = false)");
        return Ok(Recorder::off());
    }
    Recorder::start(Arc::clone(store), Arc::new(wall_clock), recorder_settings(config))
        .context("can't start the recorder")
}

pub(super) fn recorder_settings(config: &Config) -> RecorderSettings {
    RecorderSettings {
        queue_events_max: config.recorder.max_queued_events,
        batch_events_max: config.recorder.max_batch_events,
        linger: Duration::from_millis(config.recorder.linger_ms),
        ..RecorderSettings::default()
    }
}

fn instances(config: &Config) -> anyhow::Result<Vec<Instance>> {
    let account = AccountId::new(LOCAL_ACCOUNT)?;
    let region = &config.instance.region;
    let instance = |id| Instance { id, account: account.clone(), region: region.clone() };
    Ok(config.instances().into_iter().map(instance).collect())
}

fn api_settings(config: &Config) -> anyhow::Result<ApiSettings> {
    let api = &config.api;
    Ok(ApiSettings {
        calls_per_second: api.calls_per_second,
        cors_origins: config.http.cors_origins.clone(),
        access_log: config.http.access_log,
        calls_per_second_of_address: api.calls_per_second_of_address,
        utc_offset_s: config::parse_utc_offset(&api.utc_offset).context("api.utc_offset")?,
        nonce_file: Some(config.data_dir.join("nonces")),
        audit_dir: Some(config.data_dir.clone()),
        audit_queries: api.audit_queries,
        nonces_max: api.max_nonces,
        allow_rpc_v1: api.signature_v1,
        allow_acs3: api.signature_v3,
    })
}

fn limits(mqtt: &config::Mqtt) -> Limits {
    Limits {
        connect_timeout_ms: mqtt.connect_timeout_s * 1_000,
        packet_bytes_max: mqtt.max_packet_bytes,
        client_id_bytes_max: mqtt.max_client_id_bytes,
        keep_alive_s_max: mqtt.max_keep_alive_s,
        inflight_max: mqtt.max_inflight,
        queue_messages_max: mqtt.max_queued_messages,
        queue_bytes_max: mqtt.max_queued_bytes,
        all_queues_bytes_max: mqtt.max_queued_bytes_in_all,
        sessions_max: mqtt.max_sessions,
        session_expiry_s_max: mqtt.max_session_expiry_s,
        retained_messages_max: mqtt.max_retained_messages,
        retained_bytes_max: mqtt.max_retained_bytes,
        connects_per_s_max: mqtt.max_connects_per_s,
        connects_per_address_per_s_max: mqtt.max_connects_per_address_per_s,
        subscriptions_per_session_max: mqtt.max_subscriptions,
        slow_consumer_ms: mqtt.slow_consumer_s * 1_000,
        sys_interval_s: mqtt.sys_interval_s,
        redirect_to: mqtt.redirect_to.as_deref().map(Arc::from),
        response_topics: mqtt.response_topics.as_deref().map(Arc::from),
        heard_topics: &[UPLOAD_TOPIC],
        refuses_by_code: mqtt.on_refusal == OnRefusal::ReasonCode,
        ..Limits::default()
    }
}
