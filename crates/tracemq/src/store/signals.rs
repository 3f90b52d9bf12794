//! SIGINT and SIGTERM in a command that may run for long.

use std::process::exit;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Ending;

/// From here on the first of the signals has `act` called, on a thread of its own, with the end that it asks for. The next one
/// ends the process at once.
///
/// # Errors
/// When the operating system gives no signal handler.
pub(super) fn at_the_first(act: impl FnOnce(Ending) + Send + 'static) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start a runtime")?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).context("can't listen for signals");
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
    };
    let mut next = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Ending::Interrupted,
                _ = terminate.recv() => Ending::Terminated,
            }
        })
    };
    let listening = move || {
        act(next());
        exit(next() as i32)
    };
    std::thread::Builder::new().name("signals".into()).spawn(listening).context("can't start a thread")?;
    Ok(())
}
