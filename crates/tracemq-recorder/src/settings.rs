//! The bounds of a recorder, each with the reason for its default.

use std::time::Duration;

/// The bounds of a recorder. Zeros count as one where nothing could pass otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings {
    /// The most events that wait or are being written: half a second of 130,000 events a second, which is a large
    /// fleet coming back all at once. More are counted as lost.
    pub queue_events_max: usize,
    /// The most bytes that they may take, roughly: what 65,536 events take is 30 MB, unless clients give themselves
    /// identifiers of 64 kB.
    pub queue_bytes_max: usize,
    /// The most events in a batch: large enough that the sync of a batch costs little an event, small enough that a
    /// batch is written in milliseconds.
    pub batch_events_max: usize,
    /// How long the first event of a batch waits for others. Bounds the syncs to 20 a second, and is the age that an
    /// event reaches before it can be found.
    pub linger: Duration,
    /// How often a batch is tried again when the store is full or its disk fails. With the pauses doubling from
    /// `retry_pause` up to [`Self::RETRY_PAUSE_MAX`], the defaults try for 1.5 seconds, about as long as the queue
    /// lasts under load.
    pub retries_max: u32,
    /// The pause before the first retry.
    pub retry_pause: Duration,
}

impl RecorderSettings {
    /// No pause between retries is longer.
    pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self {
            queue_events_max: 65_536,
            queue_bytes_max: 64 << 20,
            batch_events_max: 4_096,
            linger: Duration::from_millis(50),
            retries_max: 5,
            retry_pause: Duration::from_millis(50),
        }
    }
}
