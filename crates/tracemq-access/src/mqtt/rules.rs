//! Which topics a client may use: `[[mqtt.rules]]`.
//!
//! With no rule at all, every topic but those that begin with `$` is everybody's. With one, what no rule allows is
//! denied, and a rule that denies wins over any that allows, in any order. That holds for rules of single listeners and
//! instances, too: else naming one in the only rule, which takes from the rule, would open all others.
//!
//! In a rule's topic filters `%c` stands for the client identifier and `%u` for the user name. The values are taken
//! literally: they stand for one topic level or a part of one, are never wildcards, and a missing value matches
//! nothing. In a rule that denies, a value with a `/` stands for all of its levels.

use std::sync::Arc;

use super::topic::{Filter, FilterError, Values};
use crate::policy::matches_name;

/// For whom a rule is, and which topics.
#[derive(Clone, Debug, Default)]
pub struct RuleEntry {
    /// User names; `*` is any text. None: everybody.
    pub users: Vec<String>,
    /// Groups, as in the client identifier `GROUP@@@DEVICE`.
    pub groups: Vec<String>,
    /// Client identifiers; `*` is any text.
    pub clients: Vec<String>,
    /// Names of the listeners that the client came in by. None: any.
    pub listeners: Vec<String>,
    /// The instances that it came to. None: any.
    pub instances: Vec<String>,
    /// Forbids instead of allowing.
    pub deny: bool,
    /// Topic filters for PUBLISH.
    pub publish: Vec<String>,
    /// Topic filters for SUBSCRIBE.
    pub subscribe: Vec<String>,
}

/// Why a rule can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A text that is no filter.
    #[error("rule {rule}: `{filter}` is not a topic filter: {why}")]
    Filter {
        /// The rule's number, from 1.
        rule: usize,
        /// The text.
        filter: String,
        /// What is wrong with it.
        why: FilterError,
    },
    /// A rule about nothing.
    #[error("rule {0} names no topic: publish, subscribe or both are needed")]
    Nothing(usize),
    /// An empty name, which nobody can have.
    #[error("rule {0} has an empty name in users, groups, clients, listeners or instances")]
    EmptyName(usize),
}

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// PUBLISH, and a will.
    Publish,
    /// SUBSCRIBE, and each message that comes of it.
    Subscribe,
}

/// The same of one message or filter: as exactly as the rules of a hook's answer ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// PUBLISH, and a will.
    Publish {
        /// Its QoS.
        qos: u8,
        /// Its retain flag.
        retain: bool,
    },
    /// SUBSCRIBE.
    Subscribe {
        /// The QoS that is asked for.
        qos: u8,
    },
    /// To be brought what comes of a SUBSCRIBE that was allowed.
    Receive,
}

impl From<Deed> for Use {
    fn from(deed: Deed) -> Self {
        match deed {
            Deed::Publish { .. } => Self::Publish,
            Deed::Subscribe { .. } | Deed::Receive => Self::Subscribe,
        }
    }
}

#[derive(Debug)]
struct Rule {
    users: Vec<String>,
    groups: Vec<String>,
    clients: Vec<String>,
    listeners: Vec<String>,
    instances: Vec<String>,
    deny: bool,
    publish: Vec<Filter>,
    subscribe: Vec<Filter>,
}

impl Rule {
    fn filters(&self, used: Use) -> &[Filter] {
        match used {
            Use::Publish => &self.publish,
            Use::Subscribe => &self.subscribe,
        }
    }

    fn is_for(&self, who: &Who<'_>) -> bool {
        let any = |patterns: &[String], name: Option<&str>| {
            patterns.is_empty() || name.is_some_and(|name| patterns.iter().any(|one| matches_name(one, name)))
        };
        let group = group_of(who.client_id);
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
        // Who came by a listener that is not known any more gets nothing by its rules, and is kept from what they forbid.
        let is_there = named(&self.listeners, who.listener) || (self.deny && who.listener.is_empty());
        is_there
            && named(&self.instances, who.instance)
            && any(&self.users, who.user)
            && any(&self.clients, Some(who.client_id))
            && (self.groups.is_empty() || group.is_some_and(|group| self.groups.iter().any(|one| one == group)))
    }
}

/// Whose rules are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The client identifier.
    pub client_id: &'a str,
    /// The user that it has proven to be; none when nothing was proven.
    pub user: Option<&'a str>,
    /// The listener that it came in by; empty when that is not known.
    pub listener: &'a str,
    /// The instance that it came to.
    pub instance: &'a str,
}

/// The group of a client identifier such as `GID_pumps@@@pump-07`.
pub fn group_of(client_id: &str) -> Option<&str> {
    client_id.split_once("@@@").map(|(group, _)| group).filter(|group| !group.is_empty())
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct RuleBook {
    rules: Vec<Arc<Rule>>,
}

impl RuleBook {
    /// Takes all of them or none.
    ///
    /// # Errors
    /// The first that can't be used, by its number.
    pub fn new(entries: &[RuleEntry]) -> Result<Self, RuleError> {
        let rules = (1..).zip(entries).map(|(number, entry)| compile(number, entry).map(Arc::new));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none, so that everything is allowed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Those that are for `who`.
    pub fn of(&self, who: &Who<'_>) -> ClientRules {
        if self.rules.is_empty() {
            return ClientRules::everything();
        }
        let own: Vec<_> = self.rules.iter().filter(|rule| rule.is_for(who)).cloned().collect();
        ClientRules { own: own.into(), otherwise: false }
    }
}

fn compile(number: usize, entry: &RuleEntry) -> Result<Rule, RuleError> {
    let filters = |texts: &[String]| {
        let filter = |text: &String| {
            Filter::parse(text).map_err(|why| RuleError::Filter { rule: number, filter: text.clone(), why })
        };
        texts.iter().map(filter).collect::<Result<Vec<_>, _>>()
    };
    if entry.publish.is_empty() && entry.subscribe.is_empty() {
        return Err(RuleError::Nothing(number));
    }
    let names = [&entry.users, &entry.groups, &entry.clients, &entry.listeners, &entry.instances];
    if names.into_iter().flatten().any(String::is_empty) {
        return Err(RuleError::EmptyName(number));
    }
    Ok(Rule {
        users: entry.users.clone(),
        groups: entry.groups.clone(),
        clients: entry.clients.clone(),
        listeners: entry.listeners.clone(),
        instances: entry.instances.clone(),
        deny: entry.deny,
        publish: filters(&entry.publish)?,
        subscribe: filters(&entry.subscribe)?,
    })
}

/// The rules that are for one client.
#[derive(Clone, Debug)]
pub struct ClientRules {
    own: Arc<[Arc<Rule>]>,
    /// What holds where no rule says anything: only without any rules are the doors open.
    otherwise: bool,
}

impl ClientRules {
    /// Every topic that does not begin with `$`, both ways.
    pub fn everything() -> Self {
        Self { own: Arc::from([]), otherwise: true }
    }

    /// Whether a topic name or topic filter may be used; a filter only with every topic that it matches. For a shared
    /// subscription the inner filter decides, the group has no say.
    pub fn allow(&self, who: &Who<'_>, used: Use, wanted: &str) -> bool {
        let wanted = inner(wanted);
        let values = Values { client_id: who.client_id, user: who.user };
        let denied = |filter: &Filter| filter.overlaps(wanted, &values);
        if self.own.iter().any(|rule| rule.deny && rule.filters(used).iter().any(denied)) {
            return false;
        }
        let allowed = |filter: &Filter| filter.covers(wanted, &values);
        self.own.iter().any(|rule| !rule.deny && rule.filters(used).iter().any(allowed))
            || (self.otherwise && !wanted.starts_with('$'))
    }

    /// Whether a rule forbids it, whatever else allows it.
    pub fn deny(&self, who: &Who<'_>, used: Use, wanted: &str) -> bool {
        let wanted = inner(wanted);
        let values = Values { client_id: who.client_id, user: who.user };
        let denied = |filter: &Filter| filter.overlaps(wanted, &values);
        self.own.iter().any(|rule| rule.deny && rule.filters(used).iter().any(denied))
    }
}

/// What decides of a shared subscription: its filter.
pub(super) fn inner(wanted: &str) -> &str {
    match wanted.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, inner)| inner),
        None => wanted,
    }
}
