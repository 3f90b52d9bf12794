//! What an operator may set, and why the defaults are what they are.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tracemq_access::mqtt::Anonymous;
use tracemq_broker::Limits;
use tracemq_model::{InstanceId, TimeMs};

use crate::transport::{Certificates, Network, WebSocketRules};

/// Tells the wall-clock time. An argument, so that tests can bring their own.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// Settings of all listeners together.
#[derive(Clone, Copy, Debug)]
pub struct HouseSettings {
    /// Connections held at once, through all doors. 100,000: see [`DoorSettings::connections_max`].
    pub connections_max: usize,
    /// Connections of an address that come and go without a byte: the first is recorded, and those that follow it within
    /// this time are counted and are one event. A minute: health checks come every few seconds, for years. Zero
    /// records each.
    pub fold_window: Duration,
}

impl Default for HouseSettings {
    fn default() -> Self {
        Self { connections_max: 100_000, fold_window: Duration::from_secs(60) }
    }
}

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// The instance whose devices come in here.
    pub instance: InstanceId,
    /// The listener's name on record.
    pub name: Arc<str>,
    /// Connections held at once; one more is closed at once and recorded as `server-overloaded`. 100,000: what the
    /// memory of a small machine holds at the few kB that a connection costs.
    pub connections_max: usize,
    /// Of them from one address (of IPv6, from one network of 64 bits): the client's, where a proxy tells it. None: all of them,
    /// since fleets come by one address.
    pub connections_per_address_max: Option<NonZeroUsize>,
    /// Bounds of each connection in the place of the broker's.
    pub limits: Option<Arc<Limits>>,
    /// A client still silent this long after the TCP accept gets an `open` event. 250 ms: longer than most round
    /// trips, so that ordinary connections cost two events, and short enough that a crash loses no silent client.
    pub waiting_after: Duration,
    /// Bytes waiting to be written to one client before no more are taken from its queue. 64 KiB: one socket buffer.
    pub write_buffer_max: usize,
    /// A client that takes no byte for this long while bytes wait is dropped as a slow consumer. 30 s: longer than a
    /// radio handover, shorter than an operator's patience.
    pub write_stall_max: Duration,
    /// Whether clients without user name are let in. As long as nobody is known.
    pub anonymous: Anonymous,
    /// Where a proxy stands in front: who may send its PROXY protocol header, which then must come first.
    pub proxies: Option<Arc<[Network]>>,
    /// With it, clients speak TLS.
    pub tls: Option<Certificates>,
    /// With it, clients speak WebSocket.
    pub websocket: Option<WebSocketRules>,
    /// Bytes of one WebSocket message, however many frames it is cut into. 1 MiB: the largest MQTT packet.
    pub frame_bytes_max: u64,
    /// After a close by the server: how long the client may take to read the last bytes. 2 s.
    pub linger_max: Duration,
}

impl DoorSettings {
    /// The defaults, for `instance` and a listener called `name`.
    pub fn new(instance: InstanceId, name: &str) -> Self {
        Self {
            instance,
            name: name.into(),
            connections_max: 100_000,
            connections_per_address_max: None,
            limits: None,
            waiting_after: Duration::from_millis(250),
            write_buffer_max: 64 * 1024,
            write_stall_max: Duration::from_secs(30),
            anonymous: Anonymous::WhileNobodyIsKnown,
            proxies: None,
            tls: None,
            websocket: None,
            frame_bytes_max: 1024 * 1024,
            linger_max: Duration::from_secs(2),
        }
    }
}
