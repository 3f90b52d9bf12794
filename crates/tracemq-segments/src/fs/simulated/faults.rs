//! What a disk does when it fails.

use std::io::ErrorKind;

/// Which calls fail, counted from the moment at which this is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) first: usize,
    /// Whether all later ones fail as well.
    pub(crate) for_good: bool,
    pub(crate) kind: ErrorKind,
    /// How many bytes a failing write has written nevertheless.
    pub(crate) written: usize,
}

/// What is left of what was written and not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsynced {
    Lost,
    /// The first so many bytes of each file.
    Torn(usize),
    /// The length of files, but not their bytes.
    Zeros,
    /// Any sectors, lengths and names, chosen by this number.
    Any(u64),
}
