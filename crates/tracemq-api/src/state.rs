//! What the API is made of: what the binary hands over, and what grows out of it.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracemq_access::{AccountId, KeyRing, throttle::Throttle};
use tracemq_model::{InstanceId, TimeMs};
use tracemq_recorder::Recorder;
use tracemq_store::EventStore;

use crate::access_log::AccessLog;
use crate::audit::{Audit, Peer};
use crate::clients::Clients;
use crate::gaps::Unstored;
use crate::issuing::Issuing;
use crate::lookup::{Lookup, Turns};
use crate::metrics::Metrics;
use crate::nonces::Nonces;
use crate::rest::live::Lives;

/// Tells what time it is, wall-clock.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// Why the API can't start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The file of the nonces can't be used: calls made before the start could be made again.
    #[error("can't use {path} for the nonces of signatures")]
    NonceFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It can't be written down who changes what.
    #[error("can't write to audit files in {dir}")]
    AuditFile {
        /// The folder.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no thread that could write the access log.
    #[error("can't start the access log")]
    AccessLog(#[source] io::Error),
}

/// An instance that can be asked about.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its identifier.
    pub id: InstanceId,
    /// Who owns it.
    pub account: AccountId,
    /// The region that callers must name; none takes any.
    pub region: Option<String>,
}

/// What can be set.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Calls a second that one account may make: what the compatible service documents.
    pub calls_per_second: u32,
    /// Calls a second from one address (of IPv6 its first 64 bits), before anything of them is read; 0 for any number.
    pub calls_per_second_of_address: u32,
    /// Origins whose pages may read answers: `https://fleet.example`. None: no page but this server's own.
    pub cors_origins: Vec<String>,
    /// Whether each request is a line in the log.
    pub access_log: bool,
    /// Seconds east of UTC of the times in the compatible API's answers. East 8 hours, as that service prints them.
    pub utc_offset_s: i32,
    /// Where nonces outlive a restart, beside it a second file; none keeps them in memory alone.
    pub nonce_file: Option<PathBuf>,
    /// Where it is written down who asks for what and who changes what; none writes it nowhere but to the log.
    pub audit_dir: Option<PathBuf>,
    /// Whether questions are written down, too, not changes alone.
    pub audit_queries: bool,
    /// Nonces remembered at once; beyond it calls are throttled. One account at the default rate can't fill it.
    pub nonces_max: usize,
    /// Whether HMAC-SHA1 signatures over parameters are taken.
    pub allow_rpc_v1: bool,
    /// Whether ACS3-HMAC-SHA256 signatures are taken.
    pub allow_acs3: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            calls_per_second: 500,
            calls_per_second_of_address: 300,
            cors_origins: Vec::new(),
            access_log: false,
            utc_offset_s: 8 * 3_600,
            nonce_file: None,
            audit_dir: None,
            audit_queries: true,
            nonces_max: 1_000_000,
            allow_rpc_v1: true,
            allow_acs3: true,
        }
    }
}

/// The keys in force. All clones are one: what is put in force by one of them, is by all.
#[derive(Clone, Debug)]
pub struct Keys(Arc<RwLock<Arc<KeyRing>>>);

impl Keys {
    /// Puts `ring` in force.
    pub fn new(ring: KeyRing) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(ring))))
    }

    /// Puts `ring` in force in place of all keys before: whoever calls after this is judged by it, on a connection
    /// that is open already, too. Rates and nonces are not the keys', and stay as they are.
    pub fn replace(&self, ring: KeyRing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    /// The ring that one call is judged by, from its first question to its last.
    pub(crate) fn in_force(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Live numbers of the broker, asked for with each scrape of the metrics.
#[derive(Clone)]
pub struct Gauges {
    /// MQTT connections that are open.
    pub connections: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// MQTT sessions that are kept.
    pub sessions: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Bytes that all queues hold.
    pub queued_bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// PUBLISH packets taken from clients, since the start.
    pub messages_received: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// PUBLISH packets sent to clients, since the start.
    pub messages_sent: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Messages that were for a client and did not reach it, since the start.
    pub messages_dropped: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Bytes for which the store's disk has room; none when that can't be told.
    pub free_bytes: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// TLS handshakes of HTTP that failed, since the start.
    pub handshakes_failed: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The certificates of listeners, by the listener's name: until when each is good.
    pub certificates: Arc<dyn Fn() -> Vec<(String, TimeMs)> + Send + Sync>,
    /// Whether the server takes work.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Default for Gauges {
    /// Nothing happens, and the server is ready.
    fn default() -> Self {
        Self {
            connections: Arc::new(|| 0),
            sessions: Arc::new(|| 0),
            queued_bytes: Arc::new(|| 0),
            messages_received: Arc::new(|| 0),
            messages_sent: Arc::new(|| 0),
            messages_dropped: Arc::new(|| 0),
            free_bytes: Arc::new(|| None),
            handshakes_failed: Arc::new(|| 0),
            certificates: Arc::new(Vec::new),
            ready: Arc::new(|| true),
        }
    }
}

/// Where the way of messages is, and who writes it.
#[derive(Clone)]
pub struct MessageRecord {
    /// Where it is.
    pub store: Arc<dyn EventStore>,
    /// Who writes it.
    pub recorder: Recorder,
}

/// How questions about messages are answered.
pub(crate) struct MessageAnswers {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) lookup: Lookup,
    pub(crate) unstored: Unstored,
}

/// What the API answers from.
#[derive(Clone)]
pub struct ApiState {
    /// Where the history is.
    pub store: Arc<dyn EventStore>,
    /// Who writes it: asked for its counts, and for losses that the store does not know of yet.
    pub recorder: Recorder,
    /// Where the way of messages is; none when no message's is put on record.
    pub messages: Option<MessageRecord>,
    /// Who may ask.
    pub keys: Keys,
    /// What may be asked about.
    pub instances: Vec<Instance>,
    /// What can be set.
    pub settings: ApiSettings,
    /// What time it is.
    pub clock: Clock,
    /// Live numbers for the metrics.
    pub gauges: Gauges,
    /// Who is connected.
    pub clients: Arc<dyn Clients>,
    /// Who gives out what devices log in with.
    pub issuing: Arc<dyn Issuing>,
}

/// Addresses whose rate is remembered at once: while all of them have called within a second, others are refused.
const ADDRESSES_MAX: usize = 100_000;

/// Accounts whose rate is remembered at once; they come from the keys, so that it bounds a mistake, not callers.
const ACCOUNTS_MAX: usize = 100_000;

/// As handlers get it.
pub(crate) type Shared = Arc<App>;

/// All that handlers share.
pub(crate) struct App {
    pub(crate) keys: Keys,
    pub(crate) instances: Vec<Instance>,
    pub(crate) settings: ApiSettings,
    pub(crate) gauges: Gauges,
    pub(crate) clients: Arc<dyn Clients>,
    pub(crate) issuing: Arc<dyn Issuing>,
    pub(crate) turns: Turns,
    pub(crate) recorder: Recorder,
    pub(crate) unstored: Unstored,
    pub(crate) lookup: Lookup,
    pub(crate) messages: Option<MessageAnswers>,
    pub(crate) nonces: Arc<Nonces>,
    pub(crate) metrics: Metrics,
    pub(crate) live: Lives,
    pub(crate) audit: Arc<Audit>,
    pub(crate) access_log: Option<Arc<AccessLog>>,
    clock: Clock,
    accounts: Mutex<Throttle<AccountId>>,
    /// None: any number of calls.
    addresses: Option<Mutex<Throttle<IpAddr>>>,
}

impl App {
    pub(crate) fn new(state: ApiState) -> Result<Self, ApiError> {
        let ApiState { store, recorder, messages, keys, instances, settings, clock, gauges, clients, issuing } = state;
        let nonces = Nonces::open(settings.nonce_file.as_deref(), settings.nonces_max, clock())
            .map_err(|source| ApiError::NonceFile { path: settings.nonce_file.clone().unwrap_or_default(), source })?;
        let audit = Audit::open(settings.audit_dir.as_deref(), settings.audit_queries);
        let audit = audit
            .map_err(|source| ApiError::AuditFile { dir: settings.audit_dir.clone().unwrap_or_default(), source })?;
        let access_log = settings.access_log.then(AccessLog::start).transpose().map_err(ApiError::AccessLog)?;
        Ok(Self {
            audit: Arc::new(audit),
            access_log: access_log.map(Arc::new),
            accounts: Mutex::new(Throttle::new(settings.calls_per_second, ACCOUNTS_MAX)),
            addresses: (settings.calls_per_second_of_address > 0)
                .then(|| Mutex::new(Throttle::new(settings.calls_per_second_of_address, ADDRESSES_MAX))),
            metrics: Metrics::new(instances.iter().map(|instance| &instance.id)),
            unstored: Unstored::new(recorder.clone(), &*store, Arc::clone(&clock)),
            lookup: Lookup::new(store),
            messages: messages.map(|MessageRecord { store, recorder }| MessageAnswers {
                unstored: Unstored::new(recorder, &*store, Arc::clone(&clock)),
                lookup: Lookup::new(Arc::clone(&store)),
                store,
            }),
            nonces,
            keys,
            instances,
            settings,
            gauges,
            clients,
            issuing,
            turns: Turns::new(),
            live: Lives::new(),
            recorder,
            clock,
        })
    }

    pub(crate) fn now(&self) -> TimeMs {
        (self.clock)()
    }

    /// Counts a call of `account`; on a call too many, after how many milliseconds the next may be made.
    pub(crate) fn throttle(&self, account: &AccountId, now: TimeMs) -> Result<(), u64> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).take(account, now)
    }

    /// The same for the address that a call comes from, which is judged before anything is read: IPv4 whole, of IPv6 the first 64
    /// bits, which one customer of a network has.
    pub(crate) fn throttle_address(&self, peer: Option<Peer>, now: TimeMs) -> Result<(), u64> {
        let (Some(addresses), Some(Peer { address, .. })) = (&self.addresses, peer) else { return Ok(()) };
        let address = match address.ip().to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        };
        addresses.lock().unwrap_or_else(PoisonError::into_inner).take(&address, now)
    }
}
