//! Who may connect by MQTT, and which topics they may use.
//!
//! Users come from the configuration. A user has lists of topic filters that it may publish and subscribe to; what no
//! filter covers is denied.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A user as configured.
#[derive(Clone)]
pub struct MqttUser {
    /// The user name of the CONNECT packet.
    pub name: String,
    /// The password of the CONNECT packet.
    pub password: String,
    /// Topic filters that it may publish to.
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to.
    pub subscribe: Vec<String>,
}

/// Why the MQTT users can't be used; the texts name the user and the filter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MqttUserError {
    /// A user without name.
    #[error("user number {0} has an empty name")]
    EmptyName(usize),
    /// Two users of one name.
    #[error("user `{0}` is there twice")]
    Twice(String),
    /// A user without password.
    #[error("user `{0}` has an empty password")]
    EmptyPassword(String),
    /// A rule that is no topic filter.
    #[error("user `{user}`: `{filter}` is not a topic filter: {why}")]
    Filter {
        /// Whose rule.
        user: String,
        /// The rule.
        filter: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What was decided about a CONNECT.
#[derive(Debug)]
pub enum ConnectVerdict {
    /// Let in, with these rights.
    Admitted(Arc<TopicRules>),
    /// Unknown user or wrong password: which of the two is not told.
    BadCredentials,
    /// No credentials, and they are required.
    CredentialsRequired,
}

struct User {
    password_digest: [u8; 32],
    rules: Arc<TopicRules>,
}

/// All MQTT users, and whether others are let in.
pub struct MqttAccess {
    users: HashMap<String, User>,
    anonymous: Option<Arc<TopicRules>>,
}

impl MqttAccess {
    /// Takes the configured `users`. With `anonymous`, clients without a user name are let in with all rights.
    ///
    /// # Errors
    /// A user or rule that can't be used is refused as a whole, never skipped.
    pub fn new(users: &[MqttUser], anonymous: bool) -> Result<Self, MqttUserError> {
        let mut known = HashMap::with_capacity(users.len());
        for (number, user) in (1..).zip(users) {
            if user.name.is_empty() {
                return Err(MqttUserError::EmptyName(number));
            }
            if user.password.is_empty() {
                return Err(MqttUserError::EmptyPassword(user.name.clone()));
            }
            let rules = TopicRules::new(&user.publish, &user.subscribe).map_err(|(filter, why)| {
                MqttUserError::Filter { user: user.name.clone(), filter: filter.to_owned(), why }
            })?;
            let entry = User { password_digest: digest(user.password.as_bytes()), rules: Arc::new(rules) };
            if known.insert(user.name.clone(), entry).is_some() {
                return Err(MqttUserError::Twice(user.name.clone()));
            }
        }
        Ok(Self { users: known, anonymous: anonymous.then(|| Arc::new(TopicRules::everything())) })
    }

    /// Decides about a CONNECT with these credentials.
    ///
    /// The work done does not depend on whether the user exists or where a password differs.
    pub fn decide(&self, username: Option<&str>, password: Option<&[u8]>) -> ConnectVerdict {
        let Some(username) = username else {
            return match &self.anonymous {
                Some(rules) => ConnectVerdict::Admitted(Arc::clone(rules)),
                None => ConnectVerdict::CredentialsRequired,
            };
        };
        if let (true, Some(rules)) = (self.users.is_empty(), &self.anonymous) {
            return ConnectVerdict::Admitted(Arc::clone(rules)); // nobody to be: any name is as good as none
        }
        let given = digest(password.unwrap_or_default());
        let user = self.users.get(username);
        let expected = user.map_or(&[0; 32], |user| &user.password_digest);
        let same: bool = given.ct_eq(expected).into();
        match user {
            Some(user) if same => ConnectVerdict::Admitted(Arc::clone(&user.rules)),
            Some(_) | None => ConnectVerdict::BadCredentials,
        }
    }

    /// Decides about the CONNECT of someone who has proven to be `username` in another way than by a password.
    ///
    /// Without users, whoever could prove a name is let in with all rights.
    pub fn decide_proven(&self, username: &str) -> ConnectVerdict {
        match self.users.get(username) {
            Some(user) => ConnectVerdict::Admitted(Arc::clone(&user.rules)),
            None if self.users.is_empty() => ConnectVerdict::Admitted(Arc::new(TopicRules::everything())),
            None => ConnectVerdict::BadCredentials,
        }
    }
}

fn digest(password: &[u8]) -> [u8; 32] {
    Sha256::digest(password).into()
}

/// Which topics a client may use.
#[derive(Debug)]
pub struct TopicRules {
    publish: Vec<String>,
    subscribe: Vec<String>,
}

impl TopicRules {
    /// Every topic, both ways.
    pub fn everything() -> Self {
        Self { publish: vec!["#".into()], subscribe: vec!["#".into()] }
    }

    fn new<'a>(publish: &'a [String], subscribe: &'a [String]) -> Result<Self, (&'a str, &'static str)> {
        for filter in publish.iter().chain(subscribe) {
            check_filter(filter).map_err(|why| (filter.as_str(), why))?;
        }
        Ok(Self { publish: publish.to_vec(), subscribe: subscribe.to_vec() })
    }

    /// Whether a message may be published to `topic`.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|rule| covers(rule, topic))
    }

    /// Whether `filter` may be subscribed to: every topic that it matches must be covered by one rule. For a shared
    /// subscription (`$share/group/filter`) the inner filter decides, the group has no say.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let inner = match filter.strip_prefix("$share/") {
            Some(shared) => shared.split_once('/').map_or("", |(_, inner)| inner),
            None => filter,
        };
        self.subscribe.iter().any(|rule| covers(rule, inner))
    }
}

fn check_filter(filter: &str) -> Result<(), &'static str> {
    if filter.is_empty() {
        return Err("it is empty");
    }
    if filter.contains('\0') {
        return Err("it holds U+0000");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err("`#` must stand alone as the last level");
        }
        if level.contains('+') && level != "+" {
            return Err("`+` must stand alone in its level");
        }
    }
    Ok(())
}

/// Whether the topic filter `rule` matches every topic that `wanted` (a topic name or a topic filter) matches.
fn covers(rule: &str, wanted: &str) -> bool {
    // A leading wildcard does not match topics that begin with `$` [MQTT-4.7.2-1].
    if wanted.starts_with('$') && rule.starts_with(['#', '+']) {
        return false;
    }
    let mut wanted_levels = wanted.split('/');
    for rule_level in rule.split('/') {
        if rule_level == "#" {
            return true; // also matches the parent itself: `a/#` covers `a`
        }
        match wanted_levels.next() {
            Some("#") | None => return false,
            Some(level) if rule_level == "+" || rule_level == level => {}
            Some(_) => return false,
        }
    }
    wanted_levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str) -> MqttUser {
        MqttUser {
            name: name.into(),
            password: password.into(),
            publish: vec!["up/#".into()],
            subscribe: vec!["down/+/cmd".into()],
        }
    }

    #[test]
    fn users_come_in_by_name_and_password_only() {
        let access = MqttAccess::new(&[user("ops", "secret")], false).unwrap();
        assert!(matches!(access.decide(Some("ops"), Some(b"secret")), ConnectVerdict::Admitted(_)));
        for (name, password) in [("ops", "Secret"), ("ops", ""), ("nobody", "secret"), ("", ""), ("#", "secret")] {
            let verdict = access.decide(Some(name), Some(password.as_bytes()));
            assert!(matches!(verdict, ConnectVerdict::BadCredentials), "{name}:{password}");
        }
        assert!(matches!(access.decide(Some("ops"), None), ConnectVerdict::BadCredentials));
        assert!(matches!(access.decide(None, None), ConnectVerdict::CredentialsRequired));
    }

    #[test]
    fn anonymous_clients_come_in_only_when_allowed() {
        let open = MqttAccess::new(&[], true).unwrap();
        assert!(matches!(open.decide(None, None), ConnectVerdict::Admitted(_)));
        assert!(matches!(open.decide(Some("x"), Some(b"y")), ConnectVerdict::Admitted(_)));
        let closed = MqttAccess::new(&[], false).unwrap();
        assert!(matches!(closed.decide(None, None), ConnectVerdict::CredentialsRequired));
        assert!(matches!(closed.decide(Some("x"), None), ConnectVerdict::BadCredentials));
        let both = MqttAccess::new(&[user("ops", "secret")], true).unwrap();
        assert!(matches!(both.decide(Some("ops"), Some(b"wrong")), ConnectVerdict::BadCredentials));
    }

    #[test]
    fn unusable_users_are_refused_at_load() {
        assert_eq!(MqttAccess::new(&[user("", "x")], false).err(), Some(MqttUserError::EmptyName(1)));
        assert!(MqttAccess::new(&[user("a", "")], false).is_err());
        assert!(MqttAccess::new(&[user("a", "x"), user("a", "y")], false).is_err());
        for filter in ["", "a/#/b", "a+", "#a", "a\0"] {
            let bad = MqttUser { publish: vec![filter.into()], ..user("a", "x") };
            assert!(MqttAccess::new(&[bad], false).is_err(), "{filter:?}");
        }
    }

    #[test]
    fn rules_cover_what_they_match_and_no_more() {
        for (rule, wanted, expected) in [
            ("#", "a/b", true),
            ("#", "#", true),
            ("#", "$SYS/x", false),
            ("#", "$SYS/#", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "a/b", true),
            ("a/b", "#", false),
            ("a/b", "a/+", false),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a/#", true),
            ("a/#", "ab", false),
            ("a/+/c", "a/b/c", true),
            ("a", "a/", false),
        ] {
            assert_eq!(covers(rule, wanted), expected, "{rule} {wanted}");
        }
    }

    #[test]
    fn a_shared_subscription_is_judged_by_its_inner_filter() {
        let subscribe = vec!["down/#".to_owned()];
        let rules = TopicRules::new(&[], &subscribe).unwrap();
        assert!(rules.may_subscribe("$share/down/down/x"));
        assert!(!rules.may_subscribe("$share/down/other"));
        assert!(!rules.may_subscribe("$share/down"));
        assert!(!rules.may_publish("down/x"));
    }
}
