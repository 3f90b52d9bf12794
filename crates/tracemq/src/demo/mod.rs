//! `tracemq demo`: a server on a temporary folder, and pretend devices with a day of history and real connections that live and drop
//! in every way there is. Nothing is kept.

mod cast;
mod devices;
mod past;
mod wire;

use anyhow::Context;
use jiff::Timestamp;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracemq_access::mqtt::{Cost, StoredPassword, users};
use tracemq_model::TimeMs;

use crate::config::{Config, Rule};
use crate::passwd;
use crate::serve::{Server, StopSignals};
use crate::shell;

/// Runs the command until Ctrl-C.
///
/// # Errors
/// When no port is free or no temporary folder can be made.
pub(crate) fn run() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("tracemq-demo-").tempdir().context("can't make a temporary folder")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start the runtime")?;
    runtime.block_on(async {
        let mut stop_signals = StopSignals::listen()?;
        let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
        config.mqtt.allow_anonymous = true;
        config.mqtt.connect_timeout_s = 3;
        config.mqtt.users_file = Some(make_user(folder.path())?);
        // Whoever else comes by to try it may do everything.
        let (users, admin) = (vec![devices::USER.into()], vec!["admin/#".to_owned()]);
        let everything = vec!["#".to_owned()];
        config.mqtt.rules = vec![
            Rule { users, deny: true, publish: admin, ..Rule::default() },
            Rule { publish: everything.clone(), subscribe: everything, ..Rule::default() },
        ];
        past::write(&config.data_dir.join("events"), &config.instance.id, now())?;
        let server = match Server::start(with_free_ports(&mut config).await).await {
            Ok(server) => server,
            // Somebody was faster.
            Err(_) => {
                (config.mqtt.listen, config.http.listen) = (any_port(config.mqtt.listen), any_port(config.http.listen));
                Server::start(config.clone()).await?
            }
        };
        // The demo goes on also when nobody reads what it says.
        let _ = introduce(&config, &server);
        let mqtt = server.mqtt().context("the demo has a listener")?;
        let fleet = devices::start(mqtt);
        stop_signals.next().await;
        fleet.abort();
        server.stop().await
    })
}

fn now() -> TimeMs {
    TimeMs(Timestamp::now().as_millisecond())
}

/// A file with the devices' user.
fn make_user(folder: &Path) -> anyhow::Result<PathBuf> {
    let password = StoredPassword::hash(devices::PASSWORD.as_bytes(), b"only for display", Cost::default())?;
    let file = folder.join("users");
    passwd::write(&file, &users::with_password("", devices::USER, &password)?)?;
    Ok(file)
}

/// `wanted` if it is free, else the same address with any port.
async fn free_or_any(wanted: SocketAddr) -> SocketAddr {
    match tokio::net::TcpListener::bind(wanted).await {
        Ok(_) => wanted,
        Err(_) => any_port(wanted),
    }
}

fn any_port(wanted: SocketAddr) -> SocketAddr {
    SocketAddr::new(wanted.ip(), 0)
}

async fn with_free_ports(config: &mut Config) -> Config {
    config.mqtt.listen = free_or_any(config.mqtt.listen).await;
    config.http.listen = free_or_any(config.http.listen).await;
    config.clone()
}

fn introduce(config: &Config, server: &Server) -> std::io::Result<()> {
    let defaults = Config::default();
    let note = |taken: bool| if taken { "   (the usual port is taken)" } else { "" };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "TraceMQ {} demo: {} pretend devices, 24 h of history, nothing is kept. Stop with Ctrl-C.",
        env!("CARGO_PKG_VERSION"),
        cast::NAMED
    )?;
    if let Some(mqtt) = server.mqtt() {
        writeln!(out, "  mqtt     {mqtt}{}", note(mqtt != defaults.mqtt.listen))?;
    }
    writeln!(out, "  http     http://{}{}", server.http, note(server.http != defaults.http.listen))?;
    writeln!(out, "  data     {}", config.data_dir.display())?;
    writeln!(out, "\nIn another terminal:")?;
    writeln!(out, "  export TRACEMQ_DATA_DIR={}", shell::quoted(&config.data_dir.to_string_lossy()))?;
    writeln!(out, "and then ask about any of them:\n")?;
    out.flush()
}
