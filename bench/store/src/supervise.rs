//! Runs a task in a process of its own, collects its figures, and ends it (with whatever it started) when it must go.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::figures::Named;
use crate::machine;
use crate::phases::Task;

/// Until when the run may go on.
pub(crate) struct Bounds {
    deadline: Instant,
    interrupted: Arc<AtomicBool>,
}

/// Whether the process may go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Kill,
}

impl Bounds {
    /// From now on, Ctrl-C ends the run in order as well.
    pub(crate) fn new(longest: Duration) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        Ok(Self { deadline: Instant::now() + longest, interrupted })
    }

    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        ensure!(Instant::now() < self.deadline, "out of time, see --minutes");
        Ok(())
    }
}

/// Runs `task`; `judge` is shown each figure. What ran into a bound or was killed leaves no process behind.
pub(crate) fn run(task: &Task, bounds: &Bounds, mut judge: impl FnMut(Named) -> Verdict) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(serde_json::to_string(task)?);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let lines = lines_of(child.stdout.take().context("its output is a pipe")?);
    loop {
        let line = lines.recv_timeout(Duration::from_millis(100));
        if let Err(error) = bounds.check() {
            kill(&mut child)?;
            return Err(error);
        }
        match line {
            Ok(line) => {
                let figure = serde_json::from_str(&line).with_context(|| format!("no figure: {line}"))?;
                if judge(figure) == Verdict::Kill {
                    return kill(&mut child);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the process that measured ended with {status}");
    }
    Ok(())
}

fn lines_of(out: ChildStdout) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// As a power switch would, all at once; those first that others would clean up after.
fn kill(child: &mut Child) -> Result<()> {
    let family = machine::with_descendants(child.id());
    for process in family.iter().rev().filter_map(|process| Pid::from_raw(i32::try_from(*process).ok()?)) {
        // It may have ended meanwhile.
        let _ = kill_process(process, Signal::KILL);
    }
    child.wait()?;
    let gone = |process: &u32| !std::path::Path::new("/proc").join(process.to_string()).exists();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !family.iter().all(gone) {
        ensure!(Instant::now() < deadline, "processes {family:?} don't go");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
