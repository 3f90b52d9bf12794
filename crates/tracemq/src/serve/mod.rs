//! `tracemq serve`: builds the parts from the configuration, runs them, and stops them in order.

pub(crate) mod access;
mod book_file;
mod clients;
mod gauges;
mod hook;
mod http;
mod issued;
pub(crate) mod keys;
mod log;
mod messages;
mod server;
mod sessions;
mod ways_in;

use std::fs;
use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use tracemq_api::ServeLimits;

use crate::cli::ServeArgs;
use crate::config::{Config, DEFAULT_LISTENER};
use crate::{exit, shell};
pub(crate) use server::{ADDRESS_FILE, Server};
pub(crate) use ways_in::{Listening, check_certificates};

/// How long each of the three stages of a stop may take: connections get their last bytes, the recorder writes what
/// waits, HTTP finishes its answers.
pub(crate) const STOP_STAGE_MAX: Duration = Duration::from_secs(5);

/// Runs the command until SIGTERM or Ctrl-C; a second one ends at once. SIGHUP reloads the access keys and certificates.
///
/// # Errors
/// When the configuration can't be used, an address is taken, or the data folder can't be used.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = args.resolve()?;
    log::init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start the runtime")?;
    runtime.block_on(async {
        let mut stop_asked = stop_asked()?; // first: a stop may be asked for while the server still starts
        let mut hangups = signal(SignalKind::hangup()).context("can't listen for SIGHUP")?;
        let on_terminal = is_on_terminal();
        let server = Server::start(config.clone()).await?;
        if let Err(error) = announce(&config, &server) {
            tracing::warn!(%error, "can't write to stdout; the server runs all the same");
        }
        loop {
            tokio::select! {
                _ = &mut stop_asked => break,
                // The window was closed: a server that nobody sees any more would hold its ports.
                _ = hangups.recv() => if on_terminal && !is_on_terminal() { break } else {
                    server.reload_certificates();
                    server.reload_access(args);
                },
            }
        }
        server.stop().await
    })
}

/// Completes with the first SIGTERM or SIGINT from here on. The second ends the process at once, also while it starts.
fn stop_asked() -> anyhow::Result<oneshot::Receiver<()>> {
    let mut signals = StopSignals::listen()?;
    let (ask, asked) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        let _ = ask.send(());
        signals.next().await;
        // Not by returning from `run`: the runtime would wait for what is being written, and the store close in order.
        let told = anyhow!("stopped at once by a second signal; what was not yet written is lost");
        let _ = exit::report(Err(told));
        std::process::exit(exit::Ending::Failed as i32)
    });
    Ok(asked)
}

/// Whether anything is connected to a terminal. One that was closed is none any more.
fn is_on_terminal() -> bool {
    stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal()
}

/// SIGTERM and SIGINT.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the operating system gives no signal handler.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("can't listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("can't listen for SIGINT")?,
        })
    }

    /// Completes with the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn announce(config: &Config, server: &Server) -> std::io::Result<()> {
    let data_dir = config.data_dir.display();
    let credentials = &server.credentials;
    let mut out = stdout().lock();
    writeln!(out, "TraceMQ {} is ready. Stop with Ctrl-C.", env!("CARGO_PKG_VERSION"))?;
    for Listening { name, address, transport } in &server.listeners {
        let which = if name == DEFAULT_LISTENER { String::new() } else { format!("  {name} ({transport})") };
        writeln!(out, "  mqtt     {address}{which}")?;
    }
    writeln!(out, "  http     {}", server.url)?;
    writeln!(out, "  data     {data_dir}")?;
    if server.credentials_are_new {
        let (id, secret) = (&credentials.access_key_id, &credentials.access_key_secret);
        writeln!(
            out,
            "\nA new access key with all rights. It is shown this once; {data_dir}/credentials.toml keeps it."
        )?;
        writeln!(out, "  access_key_id      {id}")?;
        writeln!(out, "  access_key_secret  {secret}")?;
        writeln!(out, "  instance_id        {}", credentials.instance_id)?;
        writeln!(out, "\nTry, in another terminal:")?;
        if let Some(plain) = server.listeners.iter().find(|listening| listening.transport == "tcp") {
            let (port, login) = (plain.address.port(), login_flags(config));
            writeln!(out, "  mosquitto_pub -p {port}{login} -i my-device -t hello -m world")?;
        }
        let url = &server.url;
        writeln!(out, "  curl -s -u '{id}:{secret}' '{url}/api/v1/clients/my-device/events'")?;
    }
    let (tracemq, folder) = (shell::own_command(), shell::data_dir_flag(&config.data_dir));
    writeln!(out, "\nNext: {tracemq} history my-device{folder}")?;
    out.flush()
}

/// What `mosquitto_pub` needs to be let in.
fn login_flags(config: &Config) -> String {
    let asks = config.mqtt.asks_for_passwords() && !config.mqtt.allow_anonymous;
    if asks { " -u USER -P PASSWORD".to_owned() } else { String::new() }
}

/// Raises the limit of open files as far as it goes, and tells how many MQTT connections fit below it: each is a
/// descriptor, and the usual soft limit of 1,024 is there for programs that use `select`.
fn connections_that_fit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "can't raise the limit of open files; it bounds the number of connections");
    }
    let descriptors =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    // Kept back: HTTP with all its connections, the store's files, the listeners. With few descriptors half of them:
    // better few connections than a store that can't open a file.
    let reserved = 128 + ServeLimits::default().connections_max;
    descriptors - reserved.min(descriptors / 2)
}

/// Makes the data folder, for the owner's eyes only.
fn create_data_dir(config: &Config) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| format!("can't make the data folder {}", config.data_dir.display()))
}
