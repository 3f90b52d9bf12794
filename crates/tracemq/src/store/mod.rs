//! `tracemq store`: what works on the files of the event store themselves: check, stats, export, import, repair, erase.
//!
//! Check, stats and export read and change nothing, beside a running server too. Import, repair and erase take the store's lock.

mod args;
mod check;
mod erase;
mod export;
mod import;
mod input;
mod known;
pub(crate) mod progress;
mod repair;
mod signals;
mod stats;
mod words;

use std::path::{Path, PathBuf};

use tracemq_store::StoreError;

pub(crate) use args::StoreCommand;

use crate::exit::{Ended, Ending};

/// Runs the command.
///
/// # Errors
/// When it can't be done, or what was found is worth an exit status of its own.
pub(crate) fn run(command: &StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Check(args) => check::run(args),
        StoreCommand::Stats(args) => stats::run(args),
        StoreCommand::Export(args) => export::run(args),
        StoreCommand::Import(args) => import::run(args),
        StoreCommand::Repair(args) => repair::run(args),
        StoreCommand::Erase(args) => erase::run(args),
    }
}

/// Whether there is a store in the data folder.
pub(crate) fn is_in(data_dir: &Path) -> bool {
    events_dir(Some(data_dir)).join("manifest").exists()
}

fn usage(what: &str, next: &str) -> anyhow::Error {
    Ended { ending: Ending::Usage, what: what.to_owned(), next: next.to_owned() }.into()
}

/// The folder of the store in the data folder.
fn events_dir(data_dir: Option<&Path>) -> PathBuf {
    data_dir.unwrap_or(Path::new("tracemq-data")).join("events")
}

/// That a store can't be looked at, which is not the same as damage.
fn cannot_look(error: StoreError) -> anyhow::Error {
    let next = match &error {
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "give the data folder of a server: --data-dir DIR"
        }
        StoreError::UnknownFormat { .. } => "use the version of tracemq that wrote it, or a later one",
        StoreError::Damaged { path, .. } if path.ends_with("manifest") => {
            "what is to be done: tracemq store repair; all that is wrong: tracemq store check"
        }
        StoreError::Damaged { .. } => "all that is wrong: tracemq store check",
        StoreError::Io { .. }
        | StoreError::InvalidQuery(_)
        | StoreError::Full { .. }
        | StoreError::Poisoned { .. }
        | StoreError::InUse { .. } => "nothing was changed",
    };
    let what = format!("{:#}", anyhow::Error::new(error));
    Ended { ending: Ending::Usage, what, next: next.into() }.into()
}
