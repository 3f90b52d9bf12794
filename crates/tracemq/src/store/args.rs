//! What can be typed behind `tracemq store`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use tracemq_model::{Action, Reason};

use super::erase::EraseArgs;
use super::repair::RepairArgs;

/// What to do with the event store.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Read all files and hold them against their checksums; changes nothing
    Check(CheckArgs),
    /// Show what takes how much room
    Stats(StatsArgs),
    /// Write events in the order of time, as JSON a line or as Parquet
    Export(ExportArgs),
    /// Put events into the store of a stopped server
    Import(ImportArgs),
    /// Make the list of files anew when it is damaged or gone
    Repair(RepairArgs),
    /// Take the history of clients out of the files of a stopped server
    Erase(EraseArgs),
}

/// Where the store is.
#[derive(Args)]
pub(crate) struct Place {
    /// Data folder of the server [default: tracemq-data]
    #[arg(short = 'D', long, value_name = "DIR", env = "TRACEMQ_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Flags of `tracemq store check`.
#[derive(Args)]
#[command(after_help = "\
Works beside a running server as well; an unfinished write at the end of the
log is normal then.

Exit status:
  0 nothing is damaged   1 something is   2 the store can't be checked

Example:
  tracemq store check --json | jq '.findings[]'")]
pub(crate) struct CheckArgs {
    /// The same as --data-dir DIR
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where the store is.
    #[command(flatten)]
    pub place: Place,
    /// Print one JSON object, which may only gain fields between releases
    #[arg(long)]
    pub json: bool,
}

/// Flags of `tracemq store stats`.
#[derive(Args)]
pub(crate) struct StatsArgs {
    /// The same as --data-dir DIR
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Where the store is.
    #[command(flatten)]
    pub place: Place,
    /// Print one JSON object, which may only gain fields between releases
    #[arg(long)]
    pub json: bool,
}

/// Flags of `tracemq store export`.
#[derive(Args)]
#[command(after_help = "\
Works beside a running server as well, and changes nothing. Times are written
as for `tracemq history`: 2d, yesterday, 10:30, 2026-11-22T10:30:00Z, ...

Exit status:
  0 done   1 failed, or some events can't be read   2 wrong usage, no store

Examples:
  tracemq store export all.ndjson
  tracemq store export -S yesterday -i pump-07 | jq .reason
  tracemq store export --reason keep-alive-timeout -S 7d timeouts.ndjson
  tracemq store export -D /srv/tracemq events.parquet")]
pub(crate) struct ExportArgs {
    /// File to write, or - for standard output
    #[arg(value_name = "OUT", default_value = "-")]
    pub out: PathBuf,
    /// Where the store is.
    #[command(flatten)]
    pub place: Place,
    /// Format [default: parquet for a name that ends in .parquet, else ndjson]
    #[arg(short = 'F', long)]
    pub format: Option<Format>,
    /// Only of this instance; may be given more than once
    #[arg(long, value_name = "ID")]
    pub instance: Vec<String>,
    /// Only of this client; may be given more than once
    #[arg(short = 'i', long, value_name = "ID")]
    pub client: Vec<String>,
    /// Only of connections from this address that never named a client; may
    /// be given more than once, also beside --client
    #[arg(long, value_name = "IP")]
    pub address: Vec<IpAddr>,
    /// Only with this action: open, connect, disconnect, close or message; may
    /// be given more than once
    #[arg(long, value_name = "ACTION", hide_possible_values = true, value_parser = actions())]
    pub action: Vec<Action>,
    /// Only for this reason, such as keep-alive-timeout; may be given more
    /// than once
    #[arg(long, value_name = "REASON", hide_possible_values = true, value_parser = reasons())]
    pub reason: Vec<Reason>,
    /// Nothing before this time
    #[arg(short = 'S', long, visible_alias = "from", value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Nothing after this time
    #[arg(short = 'U', long, visible_alias = "to", value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Replace OUT when there is such a file
    #[arg(long)]
    pub force: bool,
}

fn actions() -> impl TypedValueParser<Value = Action> {
    PossibleValuesParser::new(Action::ALL.map(Action::code))
        .try_map(|code| Action::ALL.into_iter().find(|action| action.code() == code).ok_or("no action"))
}

fn reasons() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.code())).try_map(|code| code.parse::<Reason>())
}

/// Flags of `tracemq store import`.
#[derive(Args)]
#[command(after_help = "\
The server has to be stopped. What the store has already is passed over: an
import that was interrupted goes on when it is started again.

Exit status:
  0 done   1 failed, or something was left out   2 wrong usage
  130 stopped by Ctrl-C; what came before is in

Example:
  tracemq store import -D /srv/tracemq all.ndjson")]
pub(crate) struct ImportArgs {
    /// File to read, or - for standard input
    #[arg(value_name = "IN", default_value = "-")]
    pub input: PathBuf,
    /// Where the store is.
    #[command(flatten)]
    pub place: Place,
    /// Format [default: what the first bytes say]
    #[arg(short = 'F', long)]
    pub format: Option<Format>,
    /// Put in also what the store has already: it will be there twice
    #[arg(long)]
    pub again: bool,
    /// Leave out what can't be read, and say how much that was
    #[arg(long)]
    pub keep_going: bool,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A JSON object a line
    Ndjson,
    /// Apache Parquet
    Parquet,
}

impl Format {
    /// What was asked for, or what the name of the file to write says.
    pub(super) fn of(asked: Option<Self>, file: &std::path::Path) -> Self {
        let is_parquet = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
        asked.unwrap_or(if is_parquet { Self::Parquet } else { Self::Ndjson })
    }
}
