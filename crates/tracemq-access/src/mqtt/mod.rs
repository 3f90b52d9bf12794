//! Who may connect by MQTT, and what a client may do.
//!
//! [`MqttAccess`] is all that an operator wrote down about it at one moment; another one takes its place when the files
//! are read again. [`MqttAccess::judge`] says what is to become of a CONNECT, and [`MqttAccess::standing`] whether a
//! client that is in still may be. What takes time, comparing a password or asking a program elsewhere, is named and
//! left to the caller.

mod absent;
pub mod attempts;
mod bans;
pub mod hook;
mod identity;
pub mod issued;
mod login;
mod password;
mod rules;
mod topic;
pub mod users;
mod verified;

pub use bans::{Ban, BanError};
pub use identity::{ClientAccess, Identity};
pub use login::{Anonymous, Comparison, Judgement, Login, Question, Refusal};
pub use password::{Cost, PasswordError, StoredPassword, Workspace};
pub use rules::{Deed, RuleBook, RuleEntry, RuleError, Use, group_of};
pub use topic::{FilterError, TopicFilter};
pub use users::{User, Users, UsersError};
pub use verified::Verified;

use std::collections::HashSet;
use std::sync::Arc;

use crate::{AccountId, KeyRing};

/// What an operator wrote down about MQTT clients.
#[derive(Clone, Debug)]
pub struct MqttAccess {
    /// The file of users; none when there is no such file.
    pub users: Option<Users>,
    /// Topic rules.
    pub rules: RuleBook,
    /// The groups that client identifiers must name; none when any will do.
    pub groups: Option<HashSet<String>>,
    /// Who is kept out.
    pub bans: Vec<Ban>,
    /// Access keys, with which devices may sign.
    pub keys: Arc<KeyRing>,
    /// Whose instances these are.
    pub account: AccountId,
    /// Whether a program elsewhere is asked about users that are not in the file.
    pub has_hook: bool,
}

impl MqttAccess {
    /// Nothing written down.
    pub fn nothing(account: AccountId) -> Self {
        let (rules, keys) = (RuleBook::default(), Arc::default());
        Self { users: None, rules, groups: None, bans: Vec::new(), keys, account, has_hook: false }
    }

    /// The same with these access keys.
    #[must_use]
    pub fn with_keys(self, keys: KeyRing) -> Self {
        Self { keys: Arc::new(keys), ..self }
    }

    /// Whether there is nobody whom a client could prove to be by a password.
    pub fn knows_nobody(&self) -> bool {
        self.users.is_none() && !self.has_hook
    }
}

#[cfg(test)]
mod tests;
