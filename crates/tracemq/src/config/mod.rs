//! The configuration: a TOML file in which every key is optional, below the flags of the command line.
//!
//! An unknown key, a wrong type or a value out of bounds is refused with its name; nothing is silently corrected.

mod access;
mod check;
mod listeners;
mod nearest;
mod secret;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use tracemq_model::{InstanceId, TimeMs};

pub(crate) use access::{BanEntry, HookEntry, OnRefusal, Rule};
pub(crate) use check::parse_utc_offset;
pub(crate) use listeners::{ClientCertificate, DEFAULT_LISTENER, Listener, Tls, UsernameFrom};
pub(crate) use secret::{ConfigSecret, secret_text};

/// Everything that can be set, with its default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where everything that must survive a restart is kept.
    pub data_dir: PathBuf,
    /// The MQTT listener and its limits.
    pub mqtt: Mqtt,
    /// The HTTP listener.
    pub http: Http,
    /// The ApsaraMQ-compatible API.
    pub api: Api,
    /// How events are brought to the store.
    pub recorder: Recorder,
    /// How much is kept.
    pub store: Store,
    /// What is put on record beside connections.
    pub trace: Trace,
    /// The instance that devices and keys belong to.
    pub instance: Instance,
    /// More keys for the API, beside the one in `credentials.toml`.
    pub access_keys: Vec<AccessKeyEntry>,
}

/// The MQTT listener and its limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mqtt {
    /// Address and port of the one listener; port 0 picks a free one. Not used when there are `listeners`.
    pub listen: SocketAddr,
    /// Lets clients in without user name, on any address.
    pub allow_anonymous: bool,
    /// From the TCP accept to a whole CONNECT.
    pub connect_timeout_s: u64,
    /// Largest packet taken.
    pub max_packet_bytes: u32,
    /// Longest client identifier taken.
    pub max_client_id_bytes: usize,
    /// Keeps sessions, queued and retained messages over a restart.
    pub persistence: bool,
    /// Connections held at once.
    pub max_connections: usize,
    /// Of them from one address, at each listener; 0 for no bound.
    pub max_connections_per_address: usize,
    /// How long connections of an address that come and go without a byte are counted instead of recorded one by one.
    pub fold_silent_s: u64,
    /// CONNECTs a second at each listener; 0 for no bound.
    pub max_connects_per_s: u32,
    /// CONNECTs a second from one address, at each listener; 0 for no bound.
    pub max_connects_per_address_per_s: u32,
    /// Longest keep alive granted to MQTT 5.0 clients; older ones keep what they asked for.
    pub max_keep_alive_s: u16,
    /// Messages of QoS 1 and 2 under way to one client.
    pub max_inflight: u16,
    /// Messages waiting for one client.
    pub max_queued_messages: usize,
    /// Bytes waiting for one client.
    pub max_queued_bytes: usize,
    /// Bytes waiting for all clients together, and on their way to them.
    pub max_queued_bytes_in_all: usize,
    /// Sessions kept, connected or not.
    pub max_sessions: usize,
    /// Longest session expiry granted.
    pub max_session_expiry_s: u32,
    /// Retained messages kept.
    pub max_retained_messages: usize,
    /// Bytes of retained messages kept.
    pub max_retained_bytes: usize,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// How long publishers wait for a client whose queue is full.
    pub slow_consumer_s: u64,
    /// How often the `$SYS` topics are published; 0 for never.
    pub sys_interval_s: u32,
    /// Where MQTT 5.0 clients are sent when this server stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_to: Option<String>,
    /// What clients that ask for Response Information are told: `{this}/{client id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topics: Option<String>,
    /// The file of users, which `tracemq passwd` writes; without one, clients from loopback are let in without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_file: Option<PathBuf>,
    /// Failed logins a second that one address may have before it is refused unheard.
    pub max_failed_logins_per_s: u32,
    /// What a PUBLISH or SUBSCRIBE without permission brings.
    pub on_refusal: OnRefusal,
    /// The groups that client identifiers (`GROUP@@@DEVICE`) must name; absent, any identifier will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Who may use which topics; with none, everybody all but those that begin with `$`.
    pub rules: Vec<Rule>,
    /// Who is kept out.
    pub banned: Vec<BanEntry>,
    /// A program that is asked about users that are not in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookEntry>,
    /// The ways in; with none, the one of `listen`.
    pub listeners: Vec<Listener>,
}

/// The HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Origins whose pages may read answers.
    pub cors_origins: Vec<String>,
    /// Whether each request is a line in the log.
    pub access_log: bool,
    /// Certificate and key; none is plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// The ApsaraMQ-compatible API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Calls a second that one account may make.
    pub calls_per_second: u32,
    /// Calls a second from one address; 0 for any number.
    pub calls_per_second_of_address: u32,
    /// Offset from UTC of the times in answers, such as `+08:00`.
    pub utc_offset: String,
    /// Whether RPC V1 signatures (HMAC-SHA1) are taken.
    pub signature_v1: bool,
    /// Whether ACS3-HMAC-SHA256 signatures are taken.
    pub signature_v3: bool,
    /// Signature nonces remembered at once; beyond it calls are throttled, never replayed.
    pub max_nonces: usize,
    /// Whether it is written down who asks for what, not only who changes what.
    pub audit_queries: bool,
}

/// How events are brought to the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recorder {
    /// Off: connections are served and nothing is recorded.
    pub enabled: bool,
    /// Events waiting for the store; what comes beyond is counted as lost.
    pub max_queued_events: usize,
    /// Events in one durable write.
    pub max_batch_events: usize,
    /// How long a batch gathers.
    pub linger_ms: u64,
}

/// How much is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// Bytes on disk; beyond it the oldest events go.
    pub max_bytes: u64,
    /// History that is older than so many days goes; 0 for as long as there is room.
    pub keep_days: u32,
    /// Instances with bounds of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instance: Vec<InstanceBounds>,
}

/// How much is kept of one instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceBounds {
    /// Which instance.
    pub id: InstanceId,
    /// In the place of the store's: 0 for as long as there is room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// Bytes on disk of its history, within the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// What is put on record beside connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trace {
    /// The way of messages.
    pub messages: TraceMessages,
}

/// Which messages' way is put on record, and how much of it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TraceMessages {
    /// Messages to topics that one of these filters matches; with none, no message is.
    pub topics: Vec<String>,
    /// Of these, this share, from 0 to 1.
    pub sample: f64,
    /// Bytes on disk; beyond it the oldest go.
    pub max_bytes: u64,
    /// What is older than so many days goes; 0 for as long as there is room.
    pub keep_days: u32,
}

impl TraceMessages {
    /// Whether any message can be put on record.
    pub(crate) fn is_on(&self) -> bool {
        !self.topics.is_empty() && self.sample > 0.0
    }
}

impl Default for TraceMessages {
    fn default() -> Self {
        Self { topics: Vec::new(), sample: 1.0, max_bytes: 1 << 30, keep_days: 7 }
    }
}

/// The instance that devices and keys belong to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Instance {
    /// `InstanceId` of the compatible API.
    pub id: InstanceId,
    /// `MqttRegionId` of the compatible API; none takes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A key for the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessKeyEntry {
    /// `AccessKeyId`.
    pub id: String,
    /// `AccessKeySecret`.
    pub secret: ConfigSecret,
    /// The account that it belongs to; the instance belongs to `local`.
    #[serde(default = "local")]
    pub account: String,
    /// A disabled key is known and refused.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A temporary key is valid only together with this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token: Option<ConfigSecret>,
    /// When the key ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What it may do, as a policy document in JSON; none means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

fn local() -> String {
    LOCAL_ACCOUNT.into()
}

fn yes() -> bool {
    true
}

/// The account that owns the instance and the key of the first start.
pub(crate) const LOCAL_ACCOUNT: &str = "local";

impl AccessKeyEntry {
    /// When the key ends.
    ///
    /// # Errors
    /// When `expires` is no RFC 3339 time.
    pub(crate) fn expires_at(&self) -> anyhow::Result<Option<TimeMs>> {
        let Some(text) = &self.expires else { return Ok(None) };
        let time: jiff::Timestamp = text
            .parse()
            .with_context(|| format!("access_keys: `{}`: expires `{text}` is no RFC 3339 time", self.id))?;
        Ok(Some(TimeMs(time.as_millisecond())))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "tracemq-data".into(),
            mqtt: Mqtt::default(),
            http: Http::default(),
            api: Api::default(),
            recorder: Recorder::default(),
            store: Store::default(),
            trace: Trace::default(),
            instance: Instance::default(),
            access_keys: Vec::new(),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        let limits = tracemq_broker::Limits::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            allow_anonymous: false,
            connect_timeout_s: limits.connect_timeout_ms / 1_000,
            max_packet_bytes: limits.packet_bytes_max,
            max_client_id_bytes: limits.client_id_bytes_max,
            persistence: true,
            max_connections: 100_000,
            max_connections_per_address: 0,
            fold_silent_s: 60,
            max_connects_per_s: limits.connects_per_s_max,
            max_connects_per_address_per_s: limits.connects_per_address_per_s_max,
            max_keep_alive_s: limits.keep_alive_s_max,
            max_inflight: limits.inflight_max,
            max_queued_messages: limits.queue_messages_max,
            max_queued_bytes: limits.queue_bytes_max,
            max_queued_bytes_in_all: limits.all_queues_bytes_max,
            max_sessions: limits.sessions_max,
            max_session_expiry_s: limits.session_expiry_s_max,
            max_retained_messages: limits.retained_messages_max,
            max_retained_bytes: limits.retained_bytes_max,
            max_subscriptions: limits.subscriptions_per_session_max,
            slow_consumer_s: limits.slow_consumer_ms / 1_000,
            sys_interval_s: limits.sys_interval_s,
            redirect_to: None,
            response_topics: None,
            users_file: None,
            max_failed_logins_per_s: 20,
            on_refusal: OnRefusal::Close,
            groups: None,
            rules: Vec::new(),
            banned: Vec::new(),
            hook: None,
            listeners: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            cors_origins: Vec::new(),
            access_log: false,
            tls: None,
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            calls_per_second: 500,
            calls_per_second_of_address: 300,
            utc_offset: "+08:00".into(),
            signature_v1: true,
            signature_v3: true,
            max_nonces: 1_000_000,
            audit_queries: true,
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self { enabled: true, max_queued_events: 65_536, max_batch_events: 4_096, linger_ms: 50 }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { max_bytes: 10 << 30, keep_days: 0, instance: Vec::new() }
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self { id: InstanceId::new("mqtt-local").expect("a plain word is an instance id"), region: None }
    }
}

/// What is wrong with `text`, and in which line. The parser's own display quotes the line, which may hold a secret.
pub(crate) fn fault_of_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

impl Config {
    /// Reads `file`, or takes the defaults without one. The result is not checked yet: flags may still change it.
    ///
    /// # Errors
    /// The file can't be read, is no TOML, or holds an unknown key or a wrong type: with the line.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("can't read the config {}", file.display()))?;
        toml::from_str(&text).map_err(|error| {
            let fault = fault_of_toml(&text, &error);
            let hint = if fault.contains("socket address") {
                "; write IP:PORT, such as 127.0.0.1:1883"
            } else if fault.contains("unknown field `users`") {
                "; passwords stand in a file of their own, mqtt.users_file, which `tracemq passwd` makes, and what users may do in mqtt.rules"
            } else {
                ""
            };
            let meant = nearest::nearest(error.message()).map(|word| format!("; did you mean `{word}`?"));
            anyhow!("{}: {fault}{hint}{}", file.display(), meant.unwrap_or_default())
        })
    }

    /// Checks every value.
    ///
    /// # Errors
    /// All that is wrong, a line each, with the key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        check::check(self)
    }

    /// The resolved form as TOML, secrets hidden.
    ///
    /// # Errors
    /// When a path is not valid UTF-8.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("can't print the config")
    }
}
