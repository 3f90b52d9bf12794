//! How many events can be asked for.

use super::counts::erased_minutes;
use super::damage::Unreadable;
use crate::memtable::minute;
use crate::segment::{InstanceTotal, Segment};
use crate::view::{Hidden, Snapshot};
use tracemq_model::{TimeMs, TimeRange};
use tracemq_store::StoreError;

/// Without what has been erased, and without what has expired, to the minute. What has expired in memory counts until it is
/// sealed, and what can't be read counts as if it could.
pub(crate) fn events(snapshot: &Snapshot) -> u64 {
    let mut events = 0_u64;
    for segment in snapshot.segments() {
        let hidden = snapshot.hidden(segment).ok().flatten();
        let mut first = 0;
        for total in &segment.meta().instances {
            let rows = first..first + total.rows;
            first = rows.end;
            let hides = |hidden: &std::sync::Arc<Hidden>| hidden.within(&rows).map(|rows| rows.end - rows.start).sum();
            let left = total.rows.saturating_sub(hidden.as_ref().map_or(0, hides));
            let cutoff = snapshot.cutoff(&total.instance);
            let gone = match total.times {
                TimeRange { to, .. } if to < cutoff => left,
                TimeRange { from, .. } if from >= cutoff => 0,
                _ => expired(segment, total, hidden.as_deref(), cutoff).unwrap_or(0),
            };
            events = events.saturating_add(left.saturating_sub(gone));
        }
    }
    for (memtable, visible) in snapshot.memtables() {
        events = events.saturating_add(u64::try_from(visible.saturating_sub(memtable.erased())).unwrap_or(u64::MAX));
    }
    events
}

/// Of one instance, what is before `cutoff` and has not been erased.
fn expired(
    segment: &Segment,
    total: &InstanceTotal,
    hidden: Option<&Hidden>,
    cutoff: TimeMs,
) -> Result<u64, StoreError> {
    let first_kept = minute(cutoff);
    let minutes = segment.minutes()?;
    let before = minutes.of(&total.instance).iter().filter(|count| count.minute < first_kept);
    let before: u64 = before.map(|count| count.events).sum();
    let Some(hidden) = hidden else { return Ok(before) };
    let erased = erased_minutes(segment, hidden, &total.instance, &mut Unreadable::default())?;
    let erased = erased.iter().filter(|((minute, _), _)| *minute < first_kept).map(|(_, events)| *events).sum();
    Ok(before.saturating_sub(erased))
}
