//! How a command ends: one exit status for each kind of end, one form for each error.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Ends that a script may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It could not be done.
    Failed = 1,
    /// What was typed can't be meant.
    Usage = 2,
    /// There is nothing on record.
    NotFound = 3,
    /// The server refused the key, or the key's policy does not allow it.
    Refused = 4,
    /// No server answers.
    Unreachable = 5,
    /// In that range nothing was recorded.
    NotRecorded = 6,
    /// SIGINT: Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

/// An error that has its own exit status and says what to type next.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which.
    pub ending: Ending,
    /// What happened, and why.
    pub what: String,
    /// What to type.
    pub next: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}", self.what, self.next)
    }
}

impl std::error::Error for Ended {}

/// Tells an error on stderr, and gives the exit status.
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let broken_pipe = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<std::io::Error>().is_some_and(broken_pipe) {
        return ExitCode::SUCCESS; // whoever read our output has seen enough, as `head` does
    }
    // Not `eprintln!`, which panics where stderr is closed; the exit status says the rest.
    let _ = writeln!(std::io::stderr(), "tracemq: {error:#}");
    match error.downcast_ref::<Ended>() {
        Some(ended) => ExitCode::from(ended.ending as u8),
        None => ExitCode::FAILURE,
    }
}
