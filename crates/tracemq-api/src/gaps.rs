//! What answers owe beside what the store knows: losses that it has not been told of, and the time in which nobody
//! records at all.

use tracemq_model::{Gap, GapCause, TimeMs, TimeRange};
use tracemq_recorder::Recorder;
use tracemq_store::{EventStore, gaps_overlapping};

use crate::state::Clock;

/// Knows of the gaps that the store does not know of.
#[derive(Clone)]
pub(crate) struct Unstored {
    recorder: Recorder,
    clock: Clock,
    /// Since when nobody records, if recording is switched off.
    off_since: TimeMs,
}

impl Unstored {
    /// From the start of the API on; from the last sign of life of an earlier run, if there was one.
    pub(crate) fn new(recorder: Recorder, store: &dyn EventStore, clock: Clock) -> Self {
        let now = clock();
        let off_since = store.last_alive().map_or(now, |alive| alive.min(now));
        Self { recorder, clock, off_since }
    }

    /// As of now. To be asked before the store is: what is written down in between is then found twice, not never.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        if !self.recorder.is_off() {
            return self.recorder.pending_gaps();
        }
        let (now, since) = ((self.clock)(), self.off_since);
        vec![Gap { from: since.min(now), to: since.max(now), lost: None, cause: GapCause::NotRunning }]
    }
}

/// The gaps of an answer about `range`: those of the store, and of the `unstored` those that it has not got by now.
pub(crate) fn merged(stored: Vec<Gap>, unstored: &[Gap], range: TimeRange) -> Vec<Gap> {
    let missing = |gap: &&Gap| !stored.iter().any(|known| covers(known, gap));
    let mut all: Vec<Gap> = unstored.iter().filter(missing).copied().collect();
    if all.is_empty() {
        return stored;
    }
    all.extend(stored);
    all.sort_by_key(|gap| gap.from);
    gaps_overlapping(all.into_iter(), range)
}

/// Whether `known` tells all that `gap` does: until it is written down, a gap only grows.
fn covers(known: &Gap, gap: &Gap) -> bool {
    let enough = match (known.lost, gap.lost) {
        (Some(known), Some(lost)) => known >= lost,
        (None, _) => true,
        (Some(_), None) => false,
    };
    enough && known.cause == gap.cause && known.from <= gap.from && known.to >= gap.to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: i64, to: i64, lost: u64) -> Gap {
        Gap { from: TimeMs(from), to: TimeMs(to), lost: Some(lost), cause: GapCause::StoreFailed }
    }

    #[test]
    fn what_was_written_down_meanwhile_is_told_once() {
        let range = TimeRange { from: TimeMs(0), to: TimeMs(100) };
        let other = Gap { cause: GapCause::QueueFull, ..gap(10, 20, 3) };
        for (stored, unstored, expected) in [
            (vec![], vec![gap(10, 20, 3)], vec![gap(10, 20, 3)]),
            (vec![gap(10, 20, 3)], vec![gap(10, 20, 3)], vec![gap(10, 20, 3)]),
            (vec![gap(10, 30, 4)], vec![gap(10, 20, 3)], vec![gap(10, 30, 4)]),
            (vec![gap(10, 15, 2)], vec![gap(10, 20, 3)], vec![gap(10, 20, 3), gap(10, 15, 2)]),
            (vec![gap(50, 60, 1)], vec![other], vec![other, gap(50, 60, 1)]),
            (vec![gap(10, 20, 2)], vec![gap(10, 20, 3)], vec![gap(10, 20, 3), gap(10, 20, 2)]),
            (vec![other], vec![gap(101, 200, 3)], vec![other]),
            (vec![], vec![gap(-5, -1, 3), gap(90, 200, 1)], vec![gap(90, 200, 1)]),
        ] {
            assert_eq!(merged(stored.clone(), &unstored, range), expected, "{stored:?} {unstored:?}");
        }
    }
}
