//! The file: JSON, for its owner's eyes only, since signatures are made with the very secrets.
//!
//! ```json
//! {"version": 1, "session_key": "64 hexadecimal digits",
//!  "policies": [{"name": "reader", "document": {"Version": "1", "Statement": []}}],
//!  "groups": [{"name": "night", "policies": ["reader"]}],
//!  "users": [{"name": "ops", "id": "16 hexadecimal digits", "account": "local", "enabled": true,
//!             "groups": ["night"], "policies": [],
//!             "keys": [{"id": "TMQ...", "secret": "...", "enabled": true, "created_ms": 1795335472000}]}]}
//! ```
//!
//! It is understood as a whole or refused as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracemq_model::TimeMs;

use super::{Accounts, SessionUser, Sessions};
use crate::policy::PolicyError;
use crate::{AccessKey, AccountId, Holder, KeyError, KeyRing, Policy, Secret};

/// The format that is written.
const VERSION: u32 = 1;

/// What stands in the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsFile {
    version: u32,
    /// Never shown.
    pub(super) session_key: String,
    /// All policies.
    pub policies: Vec<PolicyEntry>,
    /// All groups.
    pub groups: Vec<GroupEntry>,
    /// All users, of all accounts.
    pub users: Vec<UserEntry>,
}

/// A policy.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyEntry {
    /// How it is attached.
    pub name: String,
    /// As it was put.
    pub document: Box<RawValue>,
}

/// A group of users.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// How users join it.
    pub name: String,
    /// The names of its policies.
    pub policies: Vec<String>,
}

/// A user.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// Its name, one for all accounts.
    pub name: String,
    /// Tells it from another user who had the name before: what was given out to that one is not good for this one.
    pub id: String,
    /// Whose user it is.
    pub account: String,
    /// None of the keys of a disabled user is good.
    pub enabled: bool,
    /// The groups that it is in.
    pub groups: Vec<String>,
    /// The names of its own policies.
    pub policies: Vec<String>,
    /// Its keys.
    pub keys: Vec<KeyEntry>,
}

/// A key of a user.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// `AccessKeyId`
    pub id: String,
    /// Never shown.
    pub(super) secret: String,
    /// A disabled key is known and refused.
    pub enabled: bool,
    /// When it was made.
    pub created_ms: TimeMs,
}

/// Why a file can't be used. The texts never hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No JSON, or of another shape. What stands there is not told: it could be a secret.
    #[error("line {line}, column {column}: is not what `tracemq access` writes")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Written by another version.
    #[error("version {0} is not known")]
    Version(u32),
    /// What verifies temporary keys is no key.
    #[error("session_key is not 64 hexadecimal digits")]
    SessionKey,
    /// A name that can't be.
    #[error("{kind} `{name}`: a name is 1 to 64 of A-Z a-z 0-9 - _ .")]
    Name {
        /// `user`, `group` or `policy`.
        kind: &'static str,
        /// What stands in its place.
        name: String,
    },
    /// Two of one name.
    #[error("{kind} `{name}` is there twice")]
    Twice {
        /// `user`, `group`, `policy`, or `id of a user`.
        kind: &'static str,
        /// Whose.
        name: String,
    },
    /// A name of nothing.
    #[error("{of}: there is no {kind} `{name}`")]
    Unknown {
        /// Who names it.
        of: String,
        /// `group` or `policy`.
        kind: &'static str,
        /// What.
        name: String,
    },
    /// More than there may be.
    #[error("{of} has more than {max} {kind}")]
    TooMany {
        /// Who has.
        of: String,
        /// Of what.
        kind: &'static str,
        /// The bound.
        max: usize,
    },
    /// A policy that says what is not understood.
    #[error("policy `{name}`")]
    Policy {
        /// Its name.
        name: String,
        /// What.
        source: PolicyError,
    },
    /// A key that can't be one.
    #[error("user `{user}`")]
    Key {
        /// Whose.
        user: String,
        /// Why.
        source: KeyError,
    },
}

impl AccountsFile {
    /// Longer files are refused.
    pub const BYTES_MAX: u64 = 64 << 20;
    /// Users of all accounts, and as many groups and policies.
    pub const ENTRIES_MAX: usize = 10_000;
    /// Policies of one user or group, and groups of one user: all are asked with every call.
    pub const ATTACHED_MAX: usize = 20;
    /// Keys of one user: room to change one for another, not for one a program.
    pub const KEYS_MAX: usize = 10;

    /// A file without users.
    pub fn new(session_key: &[u8; 32]) -> Self {
        let (policies, groups, users) = (Vec::new(), Vec::new(), Vec::new());
        Self { version: VERSION, session_key: hex::encode(session_key), policies, groups, users }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// When anything of it is not understood.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let syntax = |error: serde_json::Error| FileError::Syntax { line: error.line(), column: error.column() };
        let file: Self = serde_json::from_str(text).map_err(syntax)?;
        file.accounts()?;
        Ok(file)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        // Texts, numbers, and documents that were JSON when they came.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// What the file says.
    ///
    /// # Errors
    /// The first thing of it that can't be.
    pub fn accounts(&self) -> Result<Accounts, FileError> {
        if self.version != VERSION {
            return Err(FileError::Version(self.version));
        }
        check_names("policy", self.policies.iter().map(|policy| &policy.name))?;
        check_names("group", self.groups.iter().map(|group| &group.name))?;
        check_names("user", self.users.iter().map(|user| &user.name))?;
        let policies = self.policies()?;
        let groups = self.groups.iter().map(|group| {
            let said = || format!("group `{}`", group.name);
            Ok((group.name.as_str(), together(said, &group.policies, &policies)?))
        });
        let groups: HashMap<&str, Policy> = groups.collect::<Result<_, _>>()?;
        let mut session_key = [0; 32];
        hex::decode_to_slice(&self.session_key, &mut session_key).map_err(|_| FileError::SessionKey)?;
        let mut accounts = Accounts { keys: Vec::new(), sessions: Sessions::new(session_key) };
        for entry in &self.users {
            let user = entry.user(&policies, &groups)?;
            for key in &entry.keys {
                accounts.keys.push(key.key(&user).map_err(|source| entry.wrong(source))?);
            }
            if accounts.sessions.add(entry.id.clone(), user).is_some() {
                return Err(FileError::Twice { kind: "id of a user", name: shown(&entry.id) });
            }
        }
        KeyRing::new(accounts.keys.iter().cloned())
            .map_err(|source| FileError::Key { user: self.holder_of(&source), source })?;
        Ok(accounts)
    }

    fn policies(&self) -> Result<HashMap<&str, Policy>, FileError> {
        let parsed = self.policies.iter().map(|PolicyEntry { name, document }| {
            let policy = Policy::named(name, document.get());
            policy
                .map(|policy| (name.as_str(), policy))
                .map_err(|source| FileError::Policy { name: name.clone(), source })
        });
        parsed.collect()
    }

    fn holder_of(&self, error: &KeyError) -> String {
        let is_it = |key: &KeyEntry| matches!(error, KeyError::Id(id) | KeyError::Twice(id) if *id == key.id);
        let holder = self.users.iter().find(|user| user.keys.iter().any(is_it));
        holder.map(|user| user.name.clone()).unwrap_or_default()
    }
}

impl UserEntry {
    fn user(&self, policies: &HashMap<&str, Policy>, groups: &HashMap<&str, Policy>) -> Result<SessionUser, FileError> {
        let said = || format!("user `{}`", self.name);
        if self.keys.len() > AccountsFile::KEYS_MAX {
            return Err(FileError::TooMany { of: said(), kind: "keys", max: AccountsFile::KEYS_MAX });
        }
        if self.groups.len() > AccountsFile::ATTACHED_MAX {
            return Err(FileError::TooMany { of: said(), kind: "groups", max: AccountsFile::ATTACHED_MAX });
        }
        let mut all = vec![together(said, &self.policies, policies)?];
        for name in &self.groups {
            let unknown = || FileError::Unknown { of: said(), kind: "group", name: shown(name) };
            all.push(groups.get(name.as_str()).ok_or_else(unknown)?.clone());
        }
        Ok(SessionUser {
            name: self.name.as_str().into(),
            account: AccountId::new(&self.account).map_err(|source| self.wrong(source))?,
            enabled: self.enabled,
            policy: Policy::together(&all),
        })
    }

    fn wrong(&self, source: KeyError) -> FileError {
        FileError::Key { user: self.name.clone(), source }
    }
}

impl KeyEntry {
    fn key(&self, user: &SessionUser) -> Result<AccessKey, KeyError> {
        Ok(AccessKey {
            id: self.id.clone(),
            secret: Secret::new(&self.secret)?,
            account: user.account.clone(),
            enabled: self.enabled && user.enabled,
            security_token: None,
            expires: None,
            holder: Holder::User(Arc::clone(&user.name)),
            policy: user.policy.clone(),
            session: None,
        })
    }
}

/// Whether `name` can be a user's, a group's or a policy's: as it stands in answers and commands, without a thing to quote.
pub(super) fn is_name(name: &str) -> bool {
    AccountId::new(name).is_ok()
}

fn check_names<'a>(kind: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), FileError> {
    let mut seen = HashSet::new();
    for name in names {
        if !is_name(name) {
            return Err(FileError::Name { kind, name: shown(name) });
        }
        if !seen.insert(name) {
            return Err(FileError::Twice { kind, name: name.clone() });
        }
        if seen.len() > AccountsFile::ENTRIES_MAX {
            let max = AccountsFile::ENTRIES_MAX;
            return Err(FileError::TooMany { of: "the file".into(), kind: "users, groups or policies", max });
        }
    }
    Ok(())
}

/// What the policies called `names` say together.
fn together(of: impl Fn() -> String, names: &[String], policies: &HashMap<&str, Policy>) -> Result<Policy, FileError> {
    if names.len() > AccountsFile::ATTACHED_MAX {
        return Err(FileError::TooMany { of: of(), kind: "policies", max: AccountsFile::ATTACHED_MAX });
    }
    let unknown = |name: &String| FileError::Unknown { of: of(), kind: "policy", name: shown(name) };
    let found = names.iter().map(|name| policies.get(name.as_str()).ok_or_else(|| unknown(name)));
    Ok(Policy::together(found.collect::<Result<Vec<_>, _>>()?))
}

pub(super) fn shown(name: &str) -> String {
    name.escape_debug().take(64).collect()
}
