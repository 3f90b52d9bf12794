//! The brokers, one an instance, each with what it kept of the last run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tracemq_broker::{Broker, Limits};
use tracemq_door::{Guard, House};
use tracemq_keep::{Keep, KeepSettings};
use tracemq_model::InstanceId;
use tracing::{info, warn};

use crate::config::Config;

/// The brokers, and what keeps their sessions and messages.
pub(super) struct Sessions {
    pub(super) brokers: BTreeMap<InstanceId, Arc<Broker>>,
    keepers: Vec<Arc<Keep>>,
}

impl Sessions {
    /// Takes back what was kept.
    ///
    /// # Errors
    /// When it can't be read: it is left as it is.
    pub(super) fn open(config: &Config, limits: &Limits, house: &House, guard: &Arc<Guard>) -> anyhow::Result<Self> {
        let (mut brokers, mut keepers) = (BTreeMap::new(), Vec::new());
        for instance in config.instances() {
            let path = file(&config.data_dir, &config.instance.id, &instance);
            let broker = if config.mqtt.persistence {
                let (keep, kept) = Keep::open(&path, KeepSettings::default()).with_context(|| {
                    format!(
                        "can't take back sessions and retained messages; with {} moved away it starts without them",
                        path.display()
                    )
                })?;
                let (sessions, messages) = (kept.sessions.len(), kept.entries.len());
                let (retained, wills) = (kept.retained.len(), kept.wills.len());
                if sessions + retained + wills > 0 {
                    info!(%instance, sessions, messages, retained, wills, "took back what was kept");
                }
                let (now, wall_now) = (house.now(), house.wall_clock().0);
                let recall = |keepsake: &str| guard.recall(keepsake);
                let broker = Broker::with_keeper(limits.clone(), keep.clone(), kept, &recall, now, wall_now);
                let wills_dropped = broker.stats().messages_dropped; // nothing else was until now
                if wills_dropped > 0 {
                    warn!(%instance, wills_dropped, "wills that waited are not published: their clients came by tokens or the hook, or their users are gone or have another password");
                }
                keepers.push(keep);
                broker
            } else {
                if path.exists() {
                    warn!(file = %path.display(), "mqtt.persistence is off: what was kept there is neither used nor changed");
                }
                Broker::new(limits.clone())
            };
            brokers.insert(instance, broker);
        }
        Ok(Self { brokers, keepers })
    }

    /// Makes durable what waits; nothing is kept after that.
    pub(super) fn stop(&self) {
        for keep in &self.keepers {
            keep.stop();
            if let Some(error) = keep.stats().failing {
                warn!(error, "some of the sessions' last changes could not be kept; nothing of it was acknowledged");
            }
        }
    }
}

/// Where an instance's are kept: `sessions`, or `sessions-ID` for those beside the server's own.
fn file(data_dir: &Path, own: &InstanceId, instance: &InstanceId) -> PathBuf {
    if instance == own { data_dir.join("sessions") } else { data_dir.join(format!("sessions-{instance}")) }
}
