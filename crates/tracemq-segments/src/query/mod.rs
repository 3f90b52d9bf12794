//! Questions and their answers. Each sees one [`Snapshot`](crate::view::Snapshot), and goes through its sources: the segments by
//! age, then the memtables.

mod counts;
mod damage;
mod first_keys;
mod matches;
mod page;
mod reading;
mod rows;
mod scan;
mod stats;
mod subjects;
mod tally;

pub(crate) use counts::counts;
use counts::span;
pub(crate) use matches::Keys;
pub(crate) use page::{page, page_at_once};
pub(crate) use scan::{scan, scan_all};
pub(crate) use stats::events;
pub(crate) use subjects::subjects;
pub(crate) use tally::tally;

use tracemq_model::{Gap, TimeRange};
use tracemq_store::gaps_overlapping;

use crate::view::Snapshot;
use damage::Unreadable;

/// The gaps on record in `range`.
pub(crate) fn recorded_gaps(snapshot: &Snapshot, range: TimeRange) -> Vec<Gap> {
    let mut recent: Vec<Gap> = snapshot.memtables().flat_map(|(memtable, _)| memtable.gaps()).collect();
    if recent.is_empty() {
        return gaps_overlapping(snapshot.gaps().iter().copied(), range);
    }
    recent.extend_from_slice(snapshot.gaps());
    recent.sort_by_key(|gap| gap.from);
    gaps_overlapping(recent.into_iter(), range)
}

/// The gaps on record in `range`, and those that unreadable parts leave in this answer.
fn gaps(snapshot: &Snapshot, range: TimeRange, unreadable: Unreadable) -> Vec<Gap> {
    let mut gaps = recorded_gaps(snapshot, range);
    let before = gaps.len();
    gaps.extend(unreadable.into_gaps(range));
    if gaps.len() == before {
        return gaps;
    }
    gaps.sort_by_key(|gap| gap.from);
    gaps_overlapping(gaps.into_iter(), range)
}
