//! Who may connect by MQTT and what a client may do, as it stands in the configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracemq_access::mqtt::{Ban, RuleBook, RuleEntry};

use super::check::Faults;
use super::{Config, Listener, Mqtt};

/// What a PUBLISH or SUBSCRIBE without permission brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnRefusal {
    /// The end of the connection.
    Close,
    /// A reason code.
    ReasonCode,
}

/// Who may use which topics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rule {
    /// For these users alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// For these groups alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// For these client identifiers alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// For those alone that came in by these listeners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// For those alone that came to these instances.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// Forbids.
    pub deny: bool,
    /// Topic filters that may be published to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<String>,
    /// Topic filters that may be subscribed to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<String>,
}

/// Who is kept out: whoever fits all that is there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BanEntry {
    /// Client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A program that is asked about users.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookEntry {
    /// Where it is asked: `http://...` or `https://...`.
    pub url: String,
    /// The CAs that sign its certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long it may take for an answer.
    #[serde(default = "two_seconds")]
    pub timeout_ms: u64,
    /// How long its word to let a client in holds for the same client, user, password and address.
    #[serde(default)]
    pub cache_s: u64,
    /// Questions under way at once.
    #[serde(default = "sixteen")]
    pub max_concurrent: usize,
}

fn two_seconds() -> u64 {
    2_000
}

fn sixteen() -> usize {
    16
}

impl Mqtt {
    /// Whether there is anybody whom a client must prove to be.
    pub(crate) fn asks_for_passwords(&self) -> bool {
        self.users_file.is_some() || self.hook.is_some()
    }

    /// The topic rules.
    pub(crate) fn rule_entries(&self) -> Vec<RuleEntry> {
        let entry = |rule: &Rule| RuleEntry {
            users: rule.users.clone(),
            groups: rule.groups.clone(),
            clients: rule.clients.clone(),
            listeners: rule.listeners.clone(),
            instances: rule.instances.clone(),
            deny: rule.deny,
            publish: rule.publish.clone(),
            subscribe: rule.subscribe.clone(),
        };
        self.rules.iter().map(entry).collect()
    }

    /// The bans.
    ///
    /// # Errors
    /// The first that names nobody, or no address.
    pub(crate) fn bans(&self) -> anyhow::Result<Vec<Ban>> {
        let ban = |(number, entry): (usize, &BanEntry)| {
            let said = || format!("mqtt.banned {number}");
            let address = entry.address.as_deref().map(str::parse).transpose();
            let address = address.map_err(|error| anyhow::Error::new(error).context(said() + ": address"))?;
            let ban = Ban { client: entry.client.clone(), user: entry.user.clone(), address };
            ban.check().map_err(|error| anyhow::Error::new(error).context(said()))?;
            Ok(ban)
        };
        (1..).zip(&self.banned).map(ban).collect()
    }
}

impl Rule {
    /// Whether a client that comes in by `listener` can be one of those that it is for.
    fn is_for(&self, listener: &Listener, config: &Config) -> bool {
        let instance = listener.instance.as_ref().unwrap_or(&config.instance.id);
        (self.listeners.is_empty() || self.listeners.contains(&listener.name))
            && (self.instances.is_empty() || self.instances.iter().any(|one| one == instance.as_str()))
    }
}

fn check_rules(faults: &mut Faults, config: &Config) {
    let rules = &config.mqtt.rules;
    if let Err(error) = RuleBook::new(&config.mqtt.rule_entries()) {
        faults.add(format!("mqtt.rules: {error}"));
        return;
    }
    let (listeners, instances) = (config.listeners(), config.instances());
    let listed = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let there_are = listed(listeners.iter().map(|listener| &*listener.name).collect());
    let instances: Vec<&str> = instances.iter().map(|instance| instance.as_str()).collect();
    let before = faults.count();
    for (number, rule) in (1..).zip(rules) {
        for name in rule.listeners.iter().filter(|name| !listeners.iter().any(|one| one.name == **name)) {
            let name = name.escape_debug();
            faults.add(format!(
                "mqtt.rules: rule {number}: listeners: there is no listener `{name}`; there are {there_are}"
            ));
        }
        for name in rule.instances.iter().filter(|name| !instances.contains(&name.as_str())) {
            let (name, there_are) = (name.escape_debug(), listed(instances.clone()));
            faults.add(format!(
                "mqtt.rules: rule {number}: instances: there is no instance `{name}`; there are {there_are}"
            ));
        }
    }
    if faults.count() > before {
        return;
    }
    for (number, rule) in (1..).zip(rules) {
        // Else somebody would believe that it is in force.
        if !rule.listeners.is_empty() && !listeners.iter().any(|listener| rule.is_for(listener, config)) {
            faults.add(format!(
                "mqtt.rules: rule {number}: none of its listeners leads to one of its instances: it is for nobody"
            ));
        }
    }
    // Whoever wrote rules for another listener alone may expect this one to be as open as before, or to be shut: neither is
    // to be found out by those who come in there.
    let is_bound = |listener: &Listener| rules.is_empty() || rules.iter().any(|rule| rule.is_for(listener, config));
    for listener in listeners.iter().filter(|listener| !is_bound(listener)) {
        let name = listener.name.escape_debug();
        faults.add(format!(
            "mqtt.rules: no rule is for clients of the listener `{name}`, so that they could use no topic: give it one, such as \
             listeners = [\"{name}\"], publish = [\"#\"], subscribe = [\"#\"] for all topics that do not begin with `$`; \
             or deny = true, publish = [\"$SYS/#\"] where they come with tokens alone"
        ));
    }
}

pub(super) fn check(faults: &mut Faults, config: &Config) {
    let mqtt = &config.mqtt;
    faults.within("mqtt.max_failed_logins_per_s", mqtt.max_failed_logins_per_s, 1, 1_000_000);
    check_rules(faults, config);
    if let Err(error) = mqtt.bans() {
        faults.add(format!("{error:#}"));
    }
    for group in mqtt.groups.iter().flatten().filter(|group| group.is_empty() || group.contains("@@@")) {
        faults.add(format!("mqtt.groups: `{}` can't be the part of a client id before @@@", group.escape_debug()));
    }
    if let Some(hook) = &mqtt.hook {
        let is_https = hook.url.starts_with("https://");
        if !(is_https || hook.url.starts_with("http://")) || hook.url.contains(char::is_whitespace) {
            faults.add("mqtt.hook.url: is no http:// or https:// address".to_owned());
        } else if is_https && hook.ca_file.is_none() {
            faults.add("mqtt.hook.ca_file: with https it must say which CAs sign the certificate, PEM; those of the system are in \
                 /etc/ssl/certs/ca-certificates.crt or the like".to_owned());
        } else if !is_https && hook.ca_file.is_some() {
            // Else passwords would go in the clear where an operator means them to be encrypted.
            faults.add("mqtt.hook.ca_file: is of no use without an https:// address in mqtt.hook.url".to_owned());
        }
        faults.within("mqtt.hook.timeout_ms", hook.timeout_ms, 1, 30_000);
        faults.within("mqtt.hook.cache_s", hook.cache_s, 0, 86_400);
        faults.within("mqtt.hook.max_concurrent", hook.max_concurrent, 1, 256);
    }
}
