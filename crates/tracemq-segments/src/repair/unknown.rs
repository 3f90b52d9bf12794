//! What no file says any more, now that the manifest is gone.

use serde::Serialize;
use tracemq_model::{Gap, GapCause, TimeMs, TimeRange};

use super::choose::{Chosen, merged_later};
use super::found::Found;

/// What can't be known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Unknown {
    /// Who was erased: those whose files were not yet written anew show again. With a span, only who was erased while these events
    /// came in.
    Erasures {
        /// From when; none for the beginning.
        from: Option<TimeMs>,
        /// Until when; none for now.
        to: Option<TimeMs>,
    },
    /// Up to when history had expired: it shows until retention is next looked after.
    Cutoffs,
    /// Which connections were open, of those that began before the log.
    OpenConnections,
}

/// What may have come since the newest manifest that can be read: gaps over where events may be missing unseen, and the rest.
pub(super) fn since(
    found: &Found,
    chosen: &Chosen,
    first_wal: u64,
    last_alive: Option<TimeMs>,
) -> (Vec<Gap>, Vec<Unknown>) {
    let damaged = |from, to, lost| Gap { from, to, lost, cause: GapCause::Damaged };
    let times = |since: u64| {
        let live = chosen.live.iter().filter(move |segment| *segment.meta().sequence.start() >= since);
        let times = live.map(|segment| segment.meta().times);
        times.reduce(|all, next| TimeRange { from: all.from.min(next.from), to: all.to.max(next.to) })
    };
    // What stands in a segment that can't be opened and that no manifest names may be of any time.
    let is_any_time = found.broken.iter().any(|broken| !found.is_in_base(broken.number));
    let ever = TimeRange { from: TimeMs::MIN, to: last_alive.unwrap_or(TimeMs::MAX) };
    let Some((base, _)) = &found.base else {
        // The gaps on record were of any time as well.
        let sealed = times(0).map(|times| TimeRange { from: TimeMs::MIN, to: times.to });
        let sealed = if is_any_time { Some(ever) } else { sealed };
        let gaps = sealed.map(|times| damaged(times.from, times.to, None)).into_iter().collect();
        return (gaps, vec![Unknown::Erasures { from: None, to: None }, Unknown::Cutoffs]);
    };
    let expired = base.cutoffs.iter().map(|cutoff| cutoff.time).max().unwrap_or(TimeMs::MIN);
    let is_there = |number: u64| {
        let whole = found.whole.iter().map(|segment| segment.meta().id.number);
        whole.chain(found.broken.iter().map(|broken| broken.number)).any(|found| found == number)
    };
    let missing = base.segments.iter().filter(|entry| {
        !is_there(entry.number) && entry.max_time >= expired && merged_later(found, chosen, entry).is_none()
    });
    let mut gaps: Vec<Gap> = missing.map(|entry| damaged(entry.min_time, entry.max_time, Some(entry.rows))).collect();
    let mut unknown = Vec::new();
    if first_wal > base.first_wal {
        // Gaps and erasures that stood in the log until it was sealed.
        let sealed = times(base.first_wal).or_else(|| times(0));
        let unsure = if is_any_time { Some(ever) } else { sealed };
        gaps.extend(unsure.map(|times| damaged(times.from, times.to, None)));
        unknown.push(Unknown::Erasures { from: sealed.map(|times| times.from), to: sealed.map(|times| times.to) });
    }
    (gaps, unknown)
}
