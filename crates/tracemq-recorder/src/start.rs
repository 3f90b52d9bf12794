//! What a recorder owes history before it takes its first event: ends for the connections that the last run left open,
//! and the gap since.

use tracemq_model::{Gap, GapCause, TimeMs, close_orphan};
use tracemq_store::{Batch, EventStore, StoreError};

/// Closes the orphans, then writes down that nobody recorded between the last run and `now`.
///
/// The gap goes with the last batch, so that a start that dies half-way is repeated by the next one: orphans that are
/// closed already are no orphans then.
pub(crate) fn settle_last_run(store: &dyn EventStore, now: TimeMs, batch_events_max: usize) -> Result<(), StoreError> {
    let last_alive = store.last_alive();
    // Whichever came last: the mark, or the beginning of any of them. Each is a sign of life of the server, not later
    // than now unless the clock stepped back.
    let mut ends_at = last_alive.unwrap_or(TimeMs::MIN);
    store.orphans(&mut |beginning| ends_at = ends_at.max(beginning.time.min(now)))?;
    let mut batch = Batch::default();
    let mut written = Ok(());
    // There may be more of them than fit into memory: they are looked at twice instead.
    store.orphans(&mut |beginning| {
        if written.is_ok() && batch.events.len() >= batch_events_max.max(1) {
            written = store.append(&batch);
            batch.events.clear();
        }
        if written.is_ok() {
            batch.events.push(close_orphan(&beginning, ends_at));
        }
    })?;
    written?;
    // The clock may have stepped back since.
    batch.gaps.extend(last_alive.map(|alive| Gap {
        from: alive.min(now),
        to: alive.max(now),
        lost: None,
        cause: GapCause::NotRunning,
    }));
    if batch == Batch::default() { Ok(()) } else { store.append(&batch) }
}

#[cfg(test)]
mod tests {
    use tracemq_model::{Action, ConnectionId, Details, Event, InstanceId, Provenance, Reason, TimeRange};
    use tracemq_store::MemoryStore;

    use super::*;

    fn beginning(connection: u128, time: i64) -> Event {
        Event {
            time: TimeMs(time),
            instance: InstanceId::new("mqtt-local").unwrap(),
            connection: ConnectionId(connection),
            action: Action::Open,
            reason: Reason::Opened,
            provenance: Provenance::Observed,
            client: None,
            peer: Some("192.0.2.7:4711".parse().unwrap()),
            details: Details::default(),
        }
    }

    /// When the ends of connections that began at `beginnings` are, and the gap, after a start at `now`.
    fn settled(beginnings: &[i64], mark: Option<i64>, now: i64) -> (Vec<i64>, Option<(i64, i64)>) {
        let last_run = MemoryStore::new(100);
        let events = (1..).zip(beginnings).map(|(connection, time)| beginning(connection, *time)).collect();
        last_run.append(&Batch { events, gaps: Vec::new() }).unwrap();
        if let Some(mark) = mark {
            last_run.mark_alive(TimeMs(mark)).unwrap();
        }
        let store = last_run.reopen();
        settle_last_run(&store, TimeMs(now), 2).unwrap();
        let subject = tracemq_model::Subject::of(&beginning(1, 0)).unwrap();
        let query = tracemq_model::TraceQuery {
            instance: InstanceId::new("mqtt-local").unwrap(),
            subject,
            range: TimeRange::ALL,
            order: tracemq_model::Order::OldestFirst,
            offset: 0,
            limit: 100,
        };
        let page = store.page(&query).unwrap();
        let ends = page.events.iter().filter(|event| event.action.is_end()).map(|end| end.time.0).collect();
        (ends, page.gaps.first().map(|gap| (gap.from.0, gap.to.0)))
    }

    #[test]
    fn orphans_end_at_the_last_sign_of_life() {
        // The mark came last; the last beginning did; there is no mark; there is no orphan.
        assert_eq!(settled(&[100, 200], Some(500), 900), (vec![500, 500], Some((500, 900))));
        assert_eq!(settled(&[100, 700, 300], Some(500), 900), (vec![700, 700, 700], Some((500, 900))));
        assert_eq!(settled(&[100, 200], None, 900), (vec![200, 200], None));
        assert_eq!(settled(&[], Some(500), 900), (vec![], Some((500, 900))));
        assert_eq!(settled(&[], None, 900), (vec![], None));
    }

    #[test]
    fn orphans_of_a_clock_that_was_ahead_end_now_and_not_before_they_began() {
        // One began "after now": it ends when it began, and the others do not wait for it.
        assert_eq!(settled(&[100, 5_000], Some(500), 900), (vec![900, 5_000], Some((500, 900))));
        assert_eq!(settled(&[100, 5_000], None, 900), (vec![900, 5_000], None));
    }
}
