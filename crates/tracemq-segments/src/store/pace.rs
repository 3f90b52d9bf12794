//! How fast batches are taken while a memtable waits to be sealed.
//!
//! The active memtable may not be full before the one that waits is sealed. Rather than have one batch wait for all
//! of the rest then, each is held up a little once the one fills faster than the other is sealed.

use std::time::{Duration, Instant};

use super::append::Writer;
use super::{Shared, lock};
use crate::SegmentSettings;

/// The active memtable may be ahead of the sealing by so much of a memtable.
const AHEAD: f64 = 0.1;
/// One batch is held up no longer than this: as long as a slow sync.
const HOLD_MAX: Duration = Duration::from_millis(50);
/// How often it is looked how far the sealing is.
const LOOK: Duration = Duration::from_millis(1);

impl Shared {
    /// Waits while the active memtable fills faster than the one before it is sealed, and not for long.
    pub(super) fn keep_pace(&self, writer: &Writer) {
        if !self.has_workers || self.view().frozen.len() < SegmentSettings::FROZEN_MAX {
            return;
        }
        let filled = share(writer.active.len(), self.settings.memtable_events)
            .max(share(writer.active.bytes(), self.settings.memtable_bytes));
        let begun = Instant::now();
        let mut changes = lock(&self.changes);
        while begun.elapsed() < HOLD_MAX && changes.not_sealed.is_none() && !changes.sealer_is_gone {
            let view = self.view();
            let Some(first) = view.frozen.first().filter(|_| view.frozen.len() >= SegmentSettings::FROZEN_MAX) else {
                return;
            };
            if filled <= first.memtable.sealed() + AHEAD {
                return;
            }
            let waited = self.changed.wait_timeout(changes, LOOK);
            changes = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(changes, _)| changes);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
