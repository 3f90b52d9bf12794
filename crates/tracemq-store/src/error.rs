//! What can go wrong in a store; a variant exists because a caller acts on it.

use std::io;
use std::path::PathBuf;

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller asked for something that no store gives.
    #[error("the query is not valid: {0}")]
    InvalidQuery(&'static str),
    /// There is no room. Queries go on; a later append may succeed.
    #[error("no space left for {path}")]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An earlier write or sync failed, so that what is on disk is unknown: nothing more is written until the store
    /// is opened anew.
    #[error("an earlier write to {path} failed; restart to reopen the store")]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("can't {operation} {path}")]
    Io {
        /// What was tried, as a verb: `read`, `create`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What stands in a file is not what was written.
    #[error("{path} is damaged at byte {offset}, {length} bytes: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// How far it reaches.
        length: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Another process has the store open.
    #[error("{path} is in use by process {pid}; stop it, or give another data folder")]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The other process, as it wrote itself down; 0 when unknown.
        pid: u32,
    },
    /// The files were written by a version that this one doesn't know.
    #[error("{path} has format {found}; this version reads up to {known}")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The format that stands in it.
        found: u32,
        /// The newest that can be read.
        known: u32,
    },
}
