//! Users of accounts, their keys, groups and policies: the file that they stand in, and what it says.
//!
//! An account owns instances, and its own keys (those of the configuration) may do all that their policy says. A user belongs
//! to an account and may do what its policies and those of its groups say together, without any nothing. Keys are given to
//! users, for good or, as a [session](Sessions), for a time.

mod edit;
mod file;
mod session;

#[cfg(test)]
mod tests;

pub use edit::{Attached, EditError};
pub use file::{AccountsFile, FileError, GroupEntry, KeyEntry, PolicyEntry, UserEntry};
pub use session::{Grant, SessionError, SessionUser, Sessions, TokenError};

use crate::AccessKey;

/// What a file says, ready to be asked.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// The keys of all users.
    pub keys: Vec<AccessKey>,
    /// What verifies keys that were given out for a time.
    pub sessions: Sessions,
}
