//! Who may do what.
//!
//! Pure by law: no clock, no socket, no file, no randomness. Keys, requests and times come in as arguments.
//!
//! Who calls: [`params`] reads what was sent, [`signature`] says who claims to have signed it and proves it with a
//! key of the [`KeyRing`], which [`accounts`] may have given to a user, [`policy`] says whether that key may do it, [`throttle`] how often.

pub mod accounts;
mod key;
pub mod mqtt;
mod network;
pub mod params;
pub mod policy;
pub mod signature;
pub mod throttle;

pub use key::{AccessKey, AccountId, Denial, Holder, KeyError, KeyRing, Secret};
pub use network::{Network, NetworkError};
pub use policy::{Context, Decision, Policy};
