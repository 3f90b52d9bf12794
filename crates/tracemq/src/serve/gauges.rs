//! The live numbers that `/metrics` asks for.

use std::path::Path;
use std::sync::Arc;

use tracemq_api::Gauges;
use tracemq_broker::{Broker, BrokerStats};
use tracemq_door::{Certificates, House};

/// What listeners have to tell.
pub(super) struct Listeners {
    pub(super) handshakes_failed: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Those of MQTT, too.
    pub(super) certificates: Vec<(String, Certificates)>,
}

/// Of all `brokers` together, the connections of `house`, and the room on the disk of `data_dir`.
pub(super) fn gauges(
    brokers: Vec<Arc<Broker>>,
    house: Arc<House>,
    data_dir: &Path,
    listeners: Listeners,
    is_ready: impl Fn() -> bool + Send + Sync + 'static,
) -> Gauges {
    let brokers: Arc<[Arc<Broker>]> = brokers.into();
    let sum = |of: fn(&BrokerStats) -> u64| -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let brokers = Arc::clone(&brokers);
        Arc::new(move || brokers.iter().map(|broker| of(&broker.stats())).sum())
    };
    let data_dir = data_dir.to_owned();
    Gauges {
        connections: Arc::new(move || house.connections() as u64),
        sessions: sum(|stats| stats.sessions as u64),
        queued_bytes: sum(|stats| stats.queued_bytes as u64),
        messages_received: sum(|stats| stats.messages_received),
        messages_sent: sum(|stats| stats.messages_sent),
        messages_dropped: sum(|stats| stats.messages_dropped),
        free_bytes: Arc::new(move || free_bytes(&data_dir)),
        handshakes_failed: listeners.handshakes_failed,
        certificates: Arc::new(move || {
            let until = |(name, tls): &(String, Certificates)| Some((name.clone(), tls.not_after()?));
            listeners.certificates.iter().filter_map(until).collect()
        }),
        ready: Arc::new(is_ready),
    }
}

/// What a process without privileges may still write there.
fn free_bytes(data_dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(data_dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
