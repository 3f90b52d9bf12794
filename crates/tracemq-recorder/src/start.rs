//! What a recorder owes history before it takes its first event: ends for the connections that the last run left open,
//! and the gap since.

use tracemq_model::{Event, Gap, GapCause, TimeMs, close_orphan};
use tracemq_store::{Batch, EventStore, StoreError};

/// Closes the orphans, then writes down that nobody recorded between the last run and `now`.
///
/// The gap goes with the last batch, so that a start that dies half-way is repeated by the next one: orphans that are
/// closed already are no orphans then.
pub(crate) fn settle_last_run(store: &dyn EventStore, now: TimeMs, batch_events_max: usize) -> Result<(), StoreError> {
    let last_alive = store.last_alive();
    let orphans = store.orphans()?;
    // Whichever came last: the mark, or the beginning of any of them. Each is a sign of life of the server, not later
    // than now unless the clock stepped back.
    let signs_of_life = orphans.iter().map(|beginning| beginning.time.min(now)).chain(last_alive);
    let ends_at = signs_of_life.max().unwrap_or(TimeMs::MIN);
    let ends: Vec<Event> = orphans.iter().map(|beginning| close_orphan(beginning, ends_at)).collect();
    // The clock may have stepped back since.
    let gap = last_alive.map(|alive| Gap {
        from: alive.min(now),
        to: alive.max(now),
        lost: None,
        cause: GapCause::NotRunning,
    });
    let mut chunks = ends.chunks(batch_events_max.max(1)).peekable();
    while let Some(chunk) = chunks.next() {
        let gaps = if chunks.peek().is_none() { Vec::from_iter(gap) } else { Vec::new() };
        store.append(&Batch { events: chunk.to_vec(), gaps })?;
    }
    if let (true, Some(gap)) = (ends.is_empty(), gap) {
        store.append(&Batch { events: Vec::new(), gaps: vec![gap] })?;
    }
    Ok(())
}
