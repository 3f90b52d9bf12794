//! How far long work has come: a line on stderr, when that is a terminal, and nothing otherwise.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Work that is done sooner shows no line: it would only flash.
const LONG: Duration = Duration::from_millis(500);
/// How often the line is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// So many a second, without a fraction.
fn write_rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

/// Parts in a thousand, for work that only knows its share.
const SHARES: u64 = 1_000;

/// The line.
pub(crate) struct Progress {
    line: ProgressBar,
    /// Shows the line when the work turns out to be long, unless the sender goes before.
    showing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// For `total` bytes that `what` has to go through; 0 when that is not known.
    pub(crate) fn of_bytes(what: &'static str, total: u64) -> Self {
        let known = "{prefix} {bar:24} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
        Self::new(what, total, known, "{prefix} {decimal_bytes}, {decimal_bytes_per_sec}")
    }

    /// For about `total` events; 0 when that is not known.
    pub(crate) fn of_events(what: &'static str, total: u64) -> Self {
        let known = "{prefix} {bar:24} {human_pos} of about {human_len} events, {rate}, {eta} left";
        Self::new(what, total, known, "{prefix} {human_pos} events, {rate}")
    }

    /// For work that tells its share, from 0 to 1: see [`share`](Self::share).
    pub(crate) fn of_share(what: &'static str) -> Self {
        Self::new(what, SHARES, "{prefix} {bar:24} {percent} %, {eta} left", "{prefix}")
    }

    /// For work that does not tell how far it is: how long it has taken.
    pub(crate) fn of_time(what: &'static str) -> Self {
        Self::new(what, 0, "", "{prefix} {spinner} {elapsed}")
    }

    fn new(what: &'static str, total: u64, known: &str, unknown: &str) -> Self {
        let (total, form) = if total == 0 { (None, unknown) } else { (Some(total), known) };
        let line = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_prefix(what);
        if let Ok(style) = ProgressStyle::with_template(form) {
            line.set_style(style.progress_chars("=> ").with_key("rate", write_rate));
        }
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let showing = if stderr().is_terminal() && !dumb { show_when_long(&line) } else { None };
        Self { line, showing }
    }

    /// So much is done.
    pub(crate) fn set(&self, done: u64) {
        self.line.set_position(done);
    }

    /// So much is done, of so much.
    pub(crate) fn set_of(&self, done: u64, total: u64) {
        self.line.set_length(total);
        self.line.set_position(done);
    }

    /// This share of the work is done.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "from 0 to a thousand"
    )]
    pub(crate) fn share(&self, share: f64) {
        self.line.set_position((share.clamp(0.0, 1.0) * SHARES as f64) as u64);
    }

    /// Says something that stays, above the line.
    pub(crate) fn say(&self, words: &str) {
        self.line.suspend(|| {
            use std::io::Write as _;
            let _ = writeln!(stderr(), "{words}");
        });
    }
}

impl Drop for Progress {
    /// The line goes: what came of the work is said by whoever did it.
    fn drop(&mut self) {
        if let Some((wanted, showing)) = self.showing.take() {
            drop(wanted);
            let _ = showing.join();
        }
        self.line.finish_and_clear();
    }
}

/// Has the line shown in a while. Without a thread to be had there is none.
fn show_when_long(line: &ProgressBar) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (wanted, gone) = channel::<()>();
    let line = line.clone();
    let showing = std::thread::Builder::new().name("progress".into()).spawn(move || {
        if gone.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
            line.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            line.enable_steady_tick(TICK);
        }
    });
    Some((wanted, showing.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_line_can_be_drawn() {
        for form in [
            Progress::of_bytes("checking", 9),
            Progress::of_bytes("reading", 0),
            Progress::of_events("x", 7),
            Progress::of_time("y"),
        ] {
            form.set(5);
            assert_eq!(form.line.position(), 5);
        }
        let merging = Progress::of_share("merging");
        for (share, expected) in [(-1.0, 0), (0.5, 500), (2.0, 1_000), (f64::NAN, 0)] {
            merging.share(share);
            assert_eq!(merging.line.position(), expected, "{share}");
        }
    }
}
