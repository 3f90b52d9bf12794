//! The bounds of a journal, each with the reason for its default.

/// The bounds of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// A file that has grown to this many bytes is left for the next one. A file is what retention deletes at once and
    /// what a start reads at once: 64 MiB are a sixteenth of the default total. At most 1 GiB is taken. A batch that is
    /// larger than this gets a file to itself.
    pub file_bytes_max: u64,
    /// When the files together hold more than this many bytes, whole files are deleted, oldest first; never the one
    /// that is being written. The default of 1 GiB is about 9 million events of 118 bytes, and bounds the memory, where
    /// the index lives: measured were 25 bytes an event with one client, 63 with ten events a client, 123 with two
    /// (`examples/measure.rs`), which makes about half a gigabyte for a full store of an ordinary fleet.
    pub total_bytes_max: u64,
}

impl JournalSettings {
    /// A file never grows beyond this by more than a batch: places in a file are kept in 32 bits.
    pub const FILE_BYTES_LIMIT: u64 = 1 << 30;
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { file_bytes_max: 64 << 20, total_bytes_max: 1 << 30 }
    }
}
