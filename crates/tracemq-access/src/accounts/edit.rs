//! Changes of a file. After one that can't be made the file is as it was or not to be written. What a change would widen unseen, it refuses: a policy that is attached, or a
//! group that has members, can't be deleted.

use serde_json::value::RawValue;
use tracemq_model::TimeMs;

use super::file::{AccountsFile, FileError, GroupEntry, KeyEntry, PolicyEntry, UserEntry, is_name, shown};
use crate::Policy;

/// To whom a policy is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached<'a> {
    /// A user.
    User(&'a str),
    /// A group.
    Group(&'a str),
}

/// Why a change can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is nothing of that name.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// `user`, `key`, `group` or `policy`.
        kind: &'static str,
        /// What was named.
        name: String,
    },
    /// There is one already.
    #[error("there is a {kind} `{name}` already")]
    Exists {
        /// `user` or `group`.
        kind: &'static str,
        /// What was named.
        name: String,
    },
    /// It must be taken from others first.
    #[error("{kind} `{name}` is in use by {by}")]
    InUse {
        /// `group` or `policy`.
        kind: &'static str,
        /// What was named.
        name: String,
        /// `user ops` and the like.
        by: String,
    },
    /// It is so already.
    #[error("{0}")]
    Nothing(String),
    /// The file would not be understood any more.
    #[error(transparent)]
    File(#[from] FileError),
}

impl AccountsFile {
    /// Adds a user of `account`, who has nothing yet.
    ///
    /// # Errors
    /// When the name can't be, or is taken.
    pub fn add_user(&mut self, name: &str, account: &str, random: [u8; 8]) -> Result<(), EditError> {
        check_name("user", name)?;
        if self.users.iter().any(|user| user.name == name) {
            return Err(exists("user", name));
        }
        self.users.push(UserEntry {
            name: name.to_owned(),
            id: hex::encode(random),
            account: account.to_owned(),
            enabled: true,
            groups: Vec::new(),
            policies: Vec::new(),
            keys: Vec::new(),
        });
        self.checked()
    }

    /// The user called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn user(&self, name: &str) -> Result<&UserEntry, EditError> {
        self.users.iter().find(|user| user.name == name).ok_or_else(|| unknown("user", name))
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut UserEntry, EditError> {
        self.users.iter_mut().find(|user| user.name == name).ok_or_else(|| unknown("user", name))
    }

    /// Enables or disables a user.
    ///
    /// # Errors
    /// When there is none.
    pub fn enable_user(&mut self, name: &str, enabled: bool) -> Result<(), EditError> {
        self.user_mut(name).map(|user| user.enabled = enabled)
    }

    /// Takes a user out, with its keys.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_user(&mut self, name: &str) -> Result<(), EditError> {
        self.user(name)?;
        self.users.retain(|user| user.name != name);
        Ok(())
    }

    /// Gives a user a key.
    ///
    /// # Errors
    /// When there is no such user, or it has as many as it may.
    pub fn add_key(&mut self, user: &str, id: &str, secret: &str, now: TimeMs) -> Result<(), EditError> {
        let key = KeyEntry { id: id.to_owned(), secret: secret.to_owned(), enabled: true, created_ms: now };
        self.user_mut(user)?.keys.push(key);
        self.checked()
    }

    /// Enables or disables a key.
    ///
    /// # Errors
    /// When there is none.
    pub fn enable_key(&mut self, id: &str, enabled: bool) -> Result<(), EditError> {
        let key = self.users.iter_mut().flat_map(|user| &mut user.keys).find(|key| key.id == id);
        key.map(|key| key.enabled = enabled).ok_or_else(|| unknown("key", id))
    }

    /// Takes a key from its user.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_key(&mut self, id: &str) -> Result<(), EditError> {
        let of = self.users.iter_mut().find(|user| user.keys.iter().any(|key| key.id == id));
        of.ok_or_else(|| unknown("key", id))?.keys.retain(|key| key.id != id);
        Ok(())
    }

    /// Adds a policy, or puts another document in its place.
    ///
    /// # Errors
    /// When the name can't be, or the document is not understood.
    pub fn put_policy(&mut self, name: &str, json: &str) -> Result<(), EditError> {
        check_name("policy", name)?;
        let refused = |source| FileError::Policy { name: name.to_owned(), source };
        Policy::parse(json).map_err(refused)?;
        let document = RawValue::from_string(json.trim().to_owned())
            .map_err(|error| refused(crate::policy::PolicyError::Json(error.to_string())))?;
        match self.policies.iter_mut().find(|policy| policy.name == name) {
            Some(policy) => policy.document = document,
            None => self.policies.push(PolicyEntry { name: name.to_owned(), document }),
        }
        self.checked()
    }

    /// Takes a policy out that is attached to nobody.
    ///
    /// # Errors
    /// When there is none, or somebody has it.
    pub fn delete_policy(&mut self, name: &str) -> Result<(), EditError> {
        if !self.policies.iter().any(|policy| policy.name == name) {
            return Err(unknown("policy", name));
        }
        if let Some(by) = self.holders(name).into_iter().next() {
            return Err(EditError::InUse { kind: "policy", name: name.to_owned(), by });
        }
        self.policies.retain(|policy| policy.name != name);
        Ok(())
    }

    /// To whom a policy is attached: `user ops`, `group night`.
    pub fn holders(&self, policy: &str) -> Vec<String> {
        let has = |policies: &[String]| policies.iter().any(|one| one == policy);
        let groups =
            self.groups.iter().filter(|group| has(&group.policies)).map(|group| format!("group {}", group.name));
        let users = self.users.iter().filter(|user| has(&user.policies)).map(|user| format!("user {}", user.name));
        groups.chain(users).collect()
    }

    /// Adds a group, which has nothing yet.
    ///
    /// # Errors
    /// When the name can't be, or is taken.
    pub fn add_group(&mut self, name: &str) -> Result<(), EditError> {
        check_name("group", name)?;
        if self.groups.iter().any(|group| group.name == name) {
            return Err(exists("group", name));
        }
        self.groups.push(GroupEntry { name: name.to_owned(), policies: Vec::new() });
        self.checked()
    }

    /// Takes a group out that nobody is in.
    ///
    /// # Errors
    /// When there is none, or somebody is in it.
    pub fn delete_group(&mut self, name: &str) -> Result<(), EditError> {
        self.group(name)?;
        if let Some(by) = self.members(name).next() {
            return Err(EditError::InUse { kind: "group", name: name.to_owned(), by: format!("user {by}") });
        }
        self.groups.retain(|group| group.name != name);
        Ok(())
    }

    /// Who is in a group.
    pub fn members<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a str> {
        let is_in = move |user: &&UserEntry| user.groups.iter().any(|name| name == group);
        self.users.iter().filter(is_in).map(|user| user.name.as_str())
    }

    fn group(&mut self, name: &str) -> Result<&mut GroupEntry, EditError> {
        self.groups.iter_mut().find(|group| group.name == name).ok_or_else(|| unknown("group", name))
    }

    /// Puts a user into a group.
    ///
    /// # Errors
    /// When one of them is not there, or the user is in it.
    pub fn join(&mut self, group: &str, user: &str) -> Result<(), EditError> {
        self.group(group)?;
        add(&mut self.user_mut(user)?.groups, group, || format!("user `{user}` is in group `{group}` already"))?;
        self.checked()
    }

    /// Takes a user out of a group.
    ///
    /// # Errors
    /// When one of them is not there, or the user is not in it.
    pub fn leave(&mut self, group: &str, user: &str) -> Result<(), EditError> {
        self.group(group)?;
        take(&mut self.user_mut(user)?.groups, group, || format!("user `{user}` is not in group `{group}`"))
    }

    /// Attaches a policy.
    ///
    /// # Errors
    /// When one of them is not there, or it is attached.
    pub fn attach(&mut self, policy: &str, to: Attached<'_>) -> Result<(), EditError> {
        if !self.policies.iter().any(|known| known.name == policy) {
            return Err(unknown("policy", policy));
        }
        add(self.policies_of(to)?, policy, || format!("policy `{policy}` is attached to it already"))?;
        self.checked()
    }

    /// Takes a policy from whom it is attached to.
    ///
    /// # Errors
    /// When one of them is not there, or it is not attached.
    pub fn detach(&mut self, policy: &str, from: Attached<'_>) -> Result<(), EditError> {
        take(self.policies_of(from)?, policy, || format!("policy `{policy}` is not attached to it"))
    }

    fn policies_of(&mut self, whose: Attached<'_>) -> Result<&mut Vec<String>, EditError> {
        match whose {
            Attached::User(name) => self.user_mut(name).map(|user| &mut user.policies),
            Attached::Group(name) => self.group(name).map(|group| &mut group.policies),
        }
    }

    /// Never is a file written that would not be read.
    fn checked(&self) -> Result<(), EditError> {
        self.accounts().map(|_| ()).map_err(EditError::File)
    }
}

fn check_name(kind: &'static str, name: &str) -> Result<(), EditError> {
    if is_name(name) { Ok(()) } else { Err(FileError::Name { kind, name: shown(name) }.into()) }
}

fn unknown(kind: &'static str, name: &str) -> EditError {
    EditError::Unknown { kind, name: shown(name) }
}

fn exists(kind: &'static str, name: &str) -> EditError {
    EditError::Exists { kind, name: name.to_owned() }
}

fn add(names: &mut Vec<String>, name: &str, is_there: impl FnOnce() -> String) -> Result<(), EditError> {
    if names.iter().any(|known| known == name) {
        return Err(EditError::Nothing(is_there()));
    }
    names.push(name.to_owned());
    Ok(())
}

fn take(names: &mut Vec<String>, name: &str, is_not: impl FnOnce() -> String) -> Result<(), EditError> {
    let before = names.len();
    names.retain(|known| known != name);
    if names.len() == before { Err(EditError::Nothing(is_not())) } else { Ok(()) }
}
