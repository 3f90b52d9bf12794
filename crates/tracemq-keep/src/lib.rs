//! What of the broker must be there again after a restart, in an embedded database: sessions that wait for their clients, the
//! messages in them, their clients' wills, and retained messages.
//!
//! Changes are handed over without waiting; one thread makes all that have gathered durable in one transaction, with one sync,
//! and wakes whoever waits for that. What came and went within a batch is never written.

mod batch;
mod database;
mod keep;

pub use database::KeepError;
pub use keep::{Keep, KeepSettings, KeepStats};

#[cfg(test)]
mod tests;
