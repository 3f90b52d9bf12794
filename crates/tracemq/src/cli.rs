//! What can be typed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::access::{AccessCommand, AccessPlace};
use crate::config::Config;
use crate::store::StoreCommand;

/// A flight recorder for MQTT fleets: why did this device drop?
#[derive(Parser)]
#[command(
    version = env!("TRACEMQ_VERSION"),
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Examples:
  tracemq demo                           see it work, with pretend devices
  tracemq serve                          MQTT on port 1883, HTTP on port 8080
  tracemq history pump-07 --since 24h    what happened to a device"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server: MQTT broker, recorder and HTTP API
    Serve(ServeArgs),
    /// Run a server with pretend devices that drop in every way; nothing is kept
    Demo,
    /// Show what happened to one device
    History(HistoryArgs),
    /// List the clients that are connected now
    Clients(ClientsArgs),
    /// End connections; the record says who did it
    Kick(KickArgs),
    /// Set a user's password in the file of MQTT users
    Passwd(PasswdArgs),
    /// Users of the HTTP API: their keys, groups and policies, and why a call is allowed or not
    Access {
        /// Where the users are.
        #[command(flatten)]
        place: AccessPlace,
        /// What about them.
        #[command(subcommand)]
        command: AccessCommand,
    },
    /// Work on the event store's files: check, stats, export, import, repair, erase
    Store {
        /// What about it.
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Look at the configuration
    Config {
        /// What about it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// Flags of `tracemq passwd`.
#[derive(Args)]
#[command(after_help = "\
The password is asked for on the terminal, or read as one line from stdin; it
is never an argument, which others could see. What is stored is a hash
(argon2id). A running server reads the file again on SIGHUP.

Examples:
  tracemq passwd users pump             make or change the user
  tracemq passwd users pump < secret    the same, from a file
  tracemq passwd users pump --disable   known, and not let in")]
pub(crate) struct PasswdArgs {
    /// The file, named by mqtt.users_file of the configuration; made when it is not there
    pub file: PathBuf,
    /// The user's name
    pub user: String,
    /// Take the user out of the file
    #[arg(long, group = "change")]
    pub delete: bool,
    /// Let the user in no more, and keep the password
    #[arg(long, group = "change")]
    pub disable: bool,
    /// Let the user in again
    #[arg(long, group = "change")]
    pub enable: bool,
}

/// What to do with the configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration and print it with every default filled in, secrets hidden
    Check(ServeArgs),
}

/// Flags of the server; each beats the key of the same name in the file.
#[derive(Args, Default)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); every key is optional
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to keep history, credentials and state [default: tracemq-data]
    #[arg(short = 'D', long, value_name = "DIR", env = "TRACEMQ_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the MQTT listener; port 0 picks a free one [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Option<SocketAddr>,
    /// Address of the HTTP listener; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
}

impl ServeArgs {
    /// The configuration that these flags mean, checked.
    ///
    /// # Errors
    /// When the file can't be read or a value can't be used.
    pub(crate) fn resolve(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if self.mqtt.is_some() && !config.mqtt.listeners.is_empty() {
            anyhow::bail!(
                "--mqtt is the address of the one listener that is there without [[mqtt.listeners]]; the config has some"
            );
        }
        config.mqtt.listen = self.mqtt.unwrap_or(config.mqtt.listen);
        config.http.listen = self.http.unwrap_or(config.http.listen);
        match (config.check(), &self.config) {
            (Err(error), Some(file)) => Err(error.context(file.display().to_string())),
            (checked, _) => checked.map(|()| config),
        }
    }
}

/// Flags of `tracemq history`.
#[derive(Args)]
#[command(
    group(ArgGroup::new("subject").required(true).args(["client_id", "address"])),
    after_help = "\
Times, local unless they name a zone:
  42m, 1h30m, 2d, 1w              so long ago: s, m, h, d and w; also as -1w
  now, today, yesterday           a day begins at midnight
  10:30, 10:30:15                 the latest that is not in the future; for
                                  --since with --until, the latest before it
  2026-11-22, 2026-11-22T10:30    a date; a date with a time
  2026-11-22T10:30:00Z            RFC 3339, also with an offset like +08:00
  1795343400, 1795343400000       seconds or milliseconds since 1970

On a terminal this prints a table, which may change between releases; in a
pipe, or with -o jsonl, a JSON object a line, which may only gain fields.

Exit status:
  0 done             3 nothing on record     5 no server
  1 failed           4 access refused        6 that range was not recorded
  2 wrong usage

Examples:
  tracemq history pump-07
  tracemq history pump-07 --since yesterday --until 10:30
  tracemq history pump-07 -o jsonl | jq -r 'select(.action==\"close\").reason'
  tracemq history --address 192.0.2.7  connections that never named a client"
)]
pub(crate) struct HistoryArgs {
    /// Client identifier of the device
    pub client_id: Option<String>,
    /// Connections from this address that never named a client
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// The instance, where the server has several
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
    /// Nothing before this time
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Nothing after this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Only the newest N events [default: 100 in a table, all otherwise]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub lines: Option<u64>,
    /// Newest first
    #[arg(short = 'r', long)]
    pub reverse: bool,
    /// How to print [default: table on a terminal, jsonl otherwise]
    #[arg(short = 'o', long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Show times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    /// The server [default: the one that runs on the data folder, else http://127.0.0.1:8080]
    #[arg(long, env = "TRACEMQ_URL")]
    pub url: Option<String>,
    /// CAs of which one signs the server's certificate, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "TRACEMQ_CA")]
    pub ca: Option<PathBuf>,
    /// Data folder of the server, where its address and key are found [default: tracemq-data]
    #[arg(short = 'D', long, value_name = "DIR", env = "TRACEMQ_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Which server.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// The server [default: the one that runs on the data folder, else http://127.0.0.1:8080]
    #[arg(long, env = "TRACEMQ_URL")]
    pub url: Option<String>,
    /// CAs of which one signs the server's certificate, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "TRACEMQ_CA")]
    pub ca: Option<PathBuf>,
    /// Data folder of the server, where its address and key are found [default: tracemq-data]
    #[arg(short = 'D', long, value_name = "DIR", env = "TRACEMQ_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Flags of `tracemq clients`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tracemq clients
  tracemq clients pump-
  tracemq clients -o jsonl | jq -r 'select(.queued > 100).client'")]
pub(crate) struct ClientsArgs {
    /// Only those whose identifiers begin with this
    pub prefix: Option<String>,
    /// At most N [default: 100 in a table, all otherwise]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    pub lines: Option<u64>,
    /// How to print [default: table on a terminal, jsonl otherwise]
    #[arg(short = 'o', long, value_name = "FORMAT")]
    pub output: Option<Format>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Flags of `tracemq kick`.
#[derive(Args)]
#[command(
    group(ArgGroup::new("whose").required(true).args(["client_id", "user", "address"])),
    after_help = "\
The client may come back at once: disable its user to keep it away.

Examples:
  tracemq kick pump-07
  tracemq kick --user fleet-2
  tracemq kick --address 192.0.2.7"
)]
pub(crate) struct KickArgs {
    /// Client identifier
    pub client_id: Option<String>,
    /// All connections of this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// All connections from this address
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    #[command(flatten)]
    pub server: ServerArgs,
}

fn at_least_one(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("a number from 1 up is needed")
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// A JSON object a line
    Jsonl,
}
