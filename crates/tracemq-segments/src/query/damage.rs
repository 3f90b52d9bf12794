//! What an answer could not read.

use tracemq_model::{Gap, GapCause, TimeRange};
use tracemq_store::StoreError;
use tracing::warn;

/// Spans of time of which some events were left out, since the file that they stand in is damaged.
#[derive(Default)]
pub(crate) struct Unreadable {
    gaps: Vec<Gap>,
}

/// More of them are put together.
const GAPS_MAX: usize = 100;

impl Unreadable {
    /// What `result` holds; none, and noted, when it is damage. `range` is when it may have been, `lost` is how many events.
    ///
    /// # Errors
    /// All but damage.
    pub(crate) fn note<T>(
        &mut self,
        result: Result<T, StoreError>,
        range: TimeRange,
        lost: Option<u64>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error @ StoreError::Damaged { .. }) => {
                warn!(%error, "an answer leaves out what can't be read");
                self.add(Gap { from: range.from, to: range.to, lost, cause: GapCause::Damaged });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Some of what happened in `range` may be left out.
    pub(crate) fn leave_out(&mut self, range: TimeRange) {
        self.add(Gap { from: range.from, to: range.to, lost: None, cause: GapCause::Damaged });
    }

    fn add(&mut self, gap: Gap) {
        let is_full = self.gaps.len() >= GAPS_MAX;
        match self.gaps.last_mut() {
            Some(last) if last.range() == gap.range() || is_full => {
                last.from = last.from.min(gap.from);
                last.to = last.to.max(gap.to);
                last.lost = last.lost.zip(gap.lost).map(|(a, b)| a.saturating_add(b));
            }
            _ => self.gaps.push(gap),
        }
    }

    /// Takes in what another walk over the same rows, or over some of them, left out.
    pub(crate) fn merge(&mut self, other: Self) {
        for gap in other.gaps {
            match self.gaps.iter_mut().find(|known| known.range() == gap.range()) {
                Some(known) => known.lost = known.lost.zip(gap.lost).map(|(one, other)| one.max(other)),
                None => self.add(gap),
            }
        }
    }

    /// Those that share a moment with `range`.
    pub(crate) fn into_gaps(self, range: TimeRange) -> impl Iterator<Item = Gap> {
        self.gaps.into_iter().filter(move |gap| gap.range().overlaps(range))
    }
}
