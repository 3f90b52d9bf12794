//! History in files: as NDJSON, a line an event, or as Parquet, a row an event. Both hold all that stands on record, so that what was
//! written can be read again.

pub mod ndjson;
pub mod parquet;

use std::io;

use ::parquet::errors::ParquetError;
use tracemq_model::{Event, Gap};

/// What is written and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event.
    Event(Box<Event>),
    /// A span of time of which something is missing.
    Gap(Gap),
}

/// Why a file can't be written, or read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Of the file, or whatever stands for one.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of what Parquet's library says.
    #[error("not a Parquet file, or not a whole one: {0}")]
    Parquet(#[from] ParquetError),
    /// What can't be said in JSON, or is none.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A file that can be read, but not without losing something, or not by this version.
    #[error("{0}")]
    Unreadable(String),
}
