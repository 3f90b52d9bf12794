//! The server's log: text on a terminal, JSON lines otherwise, on stderr. `TRACEMQ_LOG` sets the level.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Starts logging; called once.
pub(super) fn init() {
    let filter = EnvFilter::try_from_env("TRACEMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // Else a line that can't be written (no room, no terminal any more) is complained about on stderr, too, and as that
    // fails as well, whoever logged it panics.
    let log = log.log_internal_errors(false);
    // A log is already running only in tests, where it may stay.
    let _ = if stderr().is_terminal() { log.try_init() } else { log.json().flatten_event(true).try_init() };
}
