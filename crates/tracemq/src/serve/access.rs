//! Who may connect by MQTT: read at the start, and again on SIGHUP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tracemq_access::AccountId;
use tracemq_access::mqtt::attempts::{Allowance, AttemptLimits};
use tracemq_access::mqtt::issued::Issued;
use tracemq_access::mqtt::{MqttAccess, RuleBook, Users};
use tracemq_door::{Clock, Guard, GuardSettings, Hook, HookLimits};
use tracing::warn;

use super::hook::HttpHook;
use crate::config::{Config, HookEntry, LOCAL_ACCOUNT, Mqtt};

/// Larger files are mistakes: a million users have half of it.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// All that the configuration and the file of users say now; access keys are to be added.
///
/// # Errors
/// When the file can't be read or used, with its name; never is that taken for a file without users.
pub(crate) fn read(mqtt: &Mqtt) -> anyhow::Result<MqttAccess> {
    Ok(MqttAccess {
        users: mqtt.users_file.as_deref().map(read_users).transpose()?,
        rules: RuleBook::new(&mqtt.rule_entries()).context("mqtt.rules")?,
        groups: mqtt.groups.as_ref().map(|groups| groups.iter().cloned().collect()),
        bans: mqtt.bans()?,
        has_hook: mqtt.hook.is_some(),
        ..MqttAccess::nothing(AccountId::new(LOCAL_ACCOUNT)?)
    })
}

fn read_users(file: &Path) -> anyhow::Result<Users> {
    let said = || format!("mqtt.users_file {}", file.display());
    let found = fs::metadata(file).with_context(said)?;
    if !found.is_file() {
        bail!("{} is no regular file, which could be read again", said());
    }
    if found.len() > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes", said());
    }
    if found.permissions().mode() & 0o077 != 0 {
        warn!(file = %file.display(), "the file of MQTT users can be read by others on this machine, who may guess at passwords: chmod 600");
    }
    let text = fs::read_to_string(file).with_context(said)?;
    Users::parse(&text).with_context(said)
}

/// What stands at the door.
///
/// # Errors
/// When the CAs of the program elsewhere can't be read, or the operating system has no random numbers or threads.
pub(super) fn guard(config: &Config, access: MqttAccess, issued: Issued, clock: Clock) -> anyhow::Result<Arc<Guard>> {
    let mqtt = &config.mqtt;
    let per_second = mqtt.max_failed_logins_per_s;
    let of_address = Allowance { burst: per_second.saturating_mul(5), per_second };
    let attempts = AttemptLimits { of_address, ..AttemptLimits::default() };
    let settings = GuardSettings { attempts, ..GuardSettings::default() };
    let hook = mqtt.hook.as_ref().map(hook).transpose()?;
    Guard::new(access, issued, hook, settings, clock)
        .context("can't compare passwords: no random numbers or no threads")
}

fn hook(entry: &HookEntry) -> anyhow::Result<(Arc<dyn Hook>, HookLimits)> {
    let timeout = Duration::from_millis(entry.timeout_ms);
    let limits = HookLimits {
        asking_max: entry.max_concurrent,
        waiting_max: 1_024,
        wait_max: timeout,
        remembered_for: Duration::from_secs(entry.cache_s),
        remembered_max: 100_000,
    };
    Ok((Arc::new(HttpHook::new(&entry.url, entry.ca_file.as_deref(), timeout)?), limits))
}
