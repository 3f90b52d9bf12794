//! The bounds of the store, each with the reason for its default.

use tracemq_model::InstanceId;

/// The bounds of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSettings {
    /// A memtable that holds so many events is sealed into a segment. A million events take about 100 MB in memory, there may
    /// be [three](Self::FROZEN_MAX) for a moment, and a start after a kill reads all of them from the log.
    pub memtable_events: usize,
    /// A memtable that takes so many bytes is sealed as well, however few events it holds: events with long texts.
    pub memtable_bytes: usize,
    /// So many segments of about one size become one, a third of them at leisure. More make fewer writes, and more segments for a
    /// page to look into.
    pub merge_segments: usize,
    /// Merging makes no segment of more events than this, so that retention, which deletes files, has something to delete.
    pub segment_events: u64,
    /// How long and how much is kept. Without bounds it is not looked after: what expired before stays hidden.
    pub retention: Retention,
}

impl SegmentSettings {
    /// Memtables that wait for being sealed while another takes what arrives. When there are more, appends wait.
    pub const FROZEN_MAX: usize = 2;
}

impl Default for SegmentSettings {
    fn default() -> Self {
        Self {
            memtable_events: 1 << 20,
            memtable_bytes: 128 << 20,
            merge_segments: 12,
            segment_events: 150_000_000,
            retention: Retention::default(),
        }
    }
}

/// How long and how much is kept. What is beyond is not shown any more, and its bytes go when all of its file has expired, or
/// when the larger part has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The most bytes on disk of all instances together; the oldest history goes first.
    pub bytes: Option<u64>,
    /// For instances that are not named below.
    pub each: Keep,
    /// For these instances.
    pub instances: Vec<(InstanceId, Keep)>,
}

/// How much of an instance's history is kept; without bounds all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Not what is older than this.
    pub age_ms: Option<u64>,
    /// Not more than the newest history that takes so many bytes on disk.
    pub bytes: Option<u64>,
}

impl Retention {
    /// What is kept of `instance`.
    pub fn of(&self, instance: &InstanceId) -> Keep {
        self.instances.iter().find(|(known, _)| known == instance).map_or(self.each, |(_, keep)| *keep)
    }
}
