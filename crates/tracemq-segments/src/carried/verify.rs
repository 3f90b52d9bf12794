//! Holding the file of open connections against its checksum.

use std::path::Path;

use tracemq_store::StoreError;

use super::file;
use crate::fs::Fs;
use crate::wal::StoreId;

/// What of the file can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// How long the file `number` of `store` is, and what of it can't be read.
pub(crate) fn verify(
    fs: &dyn Fs,
    dir: &Path,
    store: StoreId,
    number: u64,
) -> Result<(u64, Option<Unread>), StoreError> {
    let (length, read) = file::read(fs, dir, store, number)?;
    Ok((length, read.is_none().then_some(Unread { offset: 0, length })))
}
