//! The newest events that are durable, in the order of arrival, for those who look on. Kept while somebody looks, and a minute longer, so
//! that who comes back goes on where they were.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracemq_model::Event;

/// So many are kept: some megabytes.
const KEPT_MAX: usize = 16_384;
/// How long they are kept when nobody looks.
const UNWATCHED_MAX: Duration = Duration::from_secs(60);

/// The newest durable events.
#[derive(Debug, Default)]
pub struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Event>,
    /// How many events there were in all; the newest kept one is the last of them.
    count: u64,
    watched: Option<Instant>,
}

/// What came behind a place.
#[derive(Debug)]
pub struct Arrived {
    /// In the order of arrival.
    pub events: Vec<Event>,
    /// The place behind them.
    pub place: u64,
    /// How many before them are not kept any more.
    pub missed: u64,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place behind the newest event: where who looks on from now on begins.
    pub fn place(&self) -> u64 {
        let mut state = self.lock();
        state.watched = Some(Instant::now());
        state.count
    }

    /// What came behind `place`, at most `most` events. A place that was never reached is where the newest is.
    pub fn after(&self, place: u64, most: usize) -> Arrived {
        let mut state = self.lock();
        state.watched = Some(Instant::now());
        let oldest = state.count - u64::try_from(state.kept.len()).unwrap_or(0);
        let from = place.clamp(oldest, state.count);
        let skipped = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let events: Vec<Event> = state.kept.iter().skip(skipped).take(most).cloned().collect();
        let missed = from.saturating_sub(place);
        Arrived { place: from + u64::try_from(events.len()).unwrap_or(0), events, missed }
    }

    pub(crate) fn add(&self, events: &[Event]) {
        let mut state = self.lock();
        state.count = state.count.saturating_add(u64::try_from(events.len()).unwrap_or(0));
        if state.watched.is_none_or(|watched| watched.elapsed() > UNWATCHED_MAX) {
            state.kept = VecDeque::new();
            return;
        }
        let newest = events.len().saturating_sub(KEPT_MAX);
        let beyond = (state.kept.len() + events.len() - newest).saturating_sub(KEPT_MAX);
        state.kept.drain(..beyond);
        state.kept.extend(events.iter().skip(newest).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracemq_model::{Action, ConnectionId, Details, InstanceId, Provenance, Reason, TimeMs};

    fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
        let event = |number: u64| Event {
            time: TimeMs(0),
            instance: InstanceId::new("i").unwrap(),
            connection: ConnectionId(number.into()),
            action: Action::Open,
            reason: Reason::Opened,
            provenance: Provenance::Observed,
            client: None,
            peer: None,
            details: Details::default(),
        };
        numbers.map(event).collect()
    }

    #[test]
    fn who_looks_on_gets_each_event_once_and_is_told_what_is_gone() {
        let recent = Recent::default();
        recent.add(&events(0..5));
        let mut place = recent.place();
        assert_eq!(place, 5);
        recent.add(&events(5..9));
        let mut seen = Vec::new();
        for _ in 0..3 {
            let arrived = recent.after(place, 3);
            assert_eq!(arrived.missed, 0);
            seen.extend(arrived.events.iter().map(|event| event.connection.0));
            place = arrived.place;
        }
        assert_eq!((seen, place), (vec![5, 6, 7, 8], 9));
        let many = u64::try_from(KEPT_MAX).unwrap();
        for from in [9, 9 + many / 2, 9 + many] {
            recent.add(&events(from..from + many / 2));
        }
        let arrived = recent.after(place, 1);
        assert_eq!((arrived.missed, arrived.events[0].connection.0), (many / 2, u128::from(9 + many / 2)));
        // More at once than are kept, and a place of another life.
        recent.add(&events(0..3 * many));
        assert_eq!(recent.after(recent.place() - 1, 9).events[0].connection.0, u128::from(3 * many - 1));
        assert_eq!((recent.after(u64::MAX, 9).events.len(), recent.after(u64::MAX, 9).missed), (0, 0));
    }

    #[test]
    fn nothing_is_kept_while_nobody_looks() {
        let recent = Recent::default();
        recent.add(&events(0..5));
        let arrived = recent.after(2, 9);
        assert_eq!((arrived.events.len(), arrived.missed, arrived.place), (0, 3, 5));
    }
}
