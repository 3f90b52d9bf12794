//! Connections that came and went without a byte, as health checks make them by the thousand: the first of an address in
//! a while is recorded as it is, the others are counted, and what was counted is one event.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracemq_model::{Details, Event, InstanceId, Reason};

/// Addresses that are counted at once; those beyond it are recorded one by one. About 2 MB when all are taken.
const ADDRESSES_MAX: usize = 4_096;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    instance: InstanceId,
    listener: Option<Arc<str>>,
    address: Option<IpAddr>,
    reason: Reason,
}

struct Fold {
    since: Instant,
    count: u64,
    last: Option<Box<Event>>,
}

#[derive(Default)]
struct Counted {
    of: HashMap<Key, Fold>,
    /// Since it was last asked for.
    has_changed: bool,
}

pub(crate) struct Folds {
    window: Duration,
    counted: Mutex<Counted>,
}

impl Folds {
    /// Counts for `window` each; records all one by one when it is zero.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, counted: Mutex::default() }
    }

    /// Counts the end of a connection without a byte, or gives it back to be recorded.
    pub(crate) fn count(&self, end: Event, now: Instant) -> Option<Event> {
        if self.window.is_zero() {
            return Some(end);
        }
        let key = Key {
            instance: end.instance.clone(),
            listener: end.details.listener.clone(),
            address: end.peer.map(|peer| peer.ip()),
            reason: end.reason,
        };
        let mut counted = self.lock();
        if let Some(fold) = counted.of.get_mut(&key) {
            fold.count += 1;
            fold.last = Some(Box::new(end));
            counted.has_changed = true;
            return None;
        }
        if counted.of.len() < ADDRESSES_MAX {
            counted.of.insert(key, Fold { since: now, count: 0, last: None });
        }
        Some(end)
    }

    /// The events of those whose time is over.
    pub(crate) fn over(&self, now: Instant) -> Vec<Event> {
        self.take_if(|fold| now.saturating_duration_since(fold.since) >= self.window)
    }

    /// The events of all.
    pub(crate) fn all(&self) -> Vec<Event> {
        self.take_if(|_| true)
    }

    /// The events of all as they stand, when that is something else than the last time.
    pub(crate) fn so_far(&self) -> Option<Vec<Event>> {
        let mut counted = self.lock();
        let has_changed = std::mem::take(&mut counted.has_changed);
        let event = |fold: &Fold| fold.last.as_deref().map(|last| folded(fold.count, last.clone()));
        has_changed.then(|| counted.of.values().filter_map(event).collect())
    }

    fn take_if(&self, is_over: impl Fn(&Fold) -> bool) -> Vec<Event> {
        let mut counted = self.lock();
        let taken: Vec<_> = counted.of.extract_if(|_, fold| is_over(fold)).collect();
        counted.has_changed |= taken.iter().any(|(_, fold)| fold.count > 0);
        drop(counted);
        taken.into_iter().filter_map(|(_, Fold { count, last, .. })| Some(folded(count, *last?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event for `count` connections, the last of which ended with `last`.
fn folded(count: u64, last: Event) -> Event {
    let detail = Details::text(&format!("{count} more came and went without a byte from this address"));
    let details =
        Details { count: Some(count), detail: Some(detail), duration_ms: None, traffic: None, ..last.details };
    Event { details, ..last }
}

#[cfg(test)]
mod tests {
    use tracemq_model::{Action, ConnectionId, Provenance, TimeMs};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn end(number: u32, address: u32) -> Event {
        Event {
            time: TimeMs(i64::from(number)),
            instance: InstanceId::new("mqtt-local").unwrap(),
            connection: ConnectionId(u128::from(number)),
            action: Action::Close,
            reason: Reason::ClientClosed,
            provenance: Provenance::Observed,
            client: None,
            peer: Some((std::net::Ipv4Addr::from(address), 7).into()),
            details: Details { listener: Some("mqtt".into()), ..Details::default() },
        }
    }

    #[test]
    fn the_first_is_recorded_the_others_are_counted_and_after_a_minute_it_begins_anew() {
        let (folds, begun) = (Folds::new(MINUTE), Instant::now());
        assert_eq!(folds.count(end(1, 9), begun), Some(end(1, 9)));
        for number in 2..=60 {
            assert_eq!(folds.count(end(number, 9), begun), None);
        }
        assert_eq!(folds.count(end(61, 10), begun), Some(end(61, 10)), "another address");
        let reset = Event { reason: Reason::ConnectionReset, ..end(62, 9) };
        assert_eq!(folds.count(reset.clone(), begun), Some(reset), "another reason");

        assert_eq!(folds.over(begun + MINUTE - Duration::from_millis(1)), []);
        let over = folds.over(begun + MINUTE);
        assert_eq!(over.len(), 1);
        assert_eq!((over[0].time, over[0].connection, over[0].details.count), (TimeMs(60), ConnectionId(60), Some(59)));
        assert!(folds.all().is_empty());
        assert!(folds.count(end(63, 9), begun + MINUTE).is_some());
    }

    #[test]
    fn what_is_counted_so_far_is_told_when_it_has_changed() {
        let (folds, begun) = (Folds::new(MINUTE), Instant::now());
        folds.count(end(1, 9), begun);
        assert_eq!(folds.so_far(), None, "the first is recorded");
        folds.count(end(2, 9), begun);
        folds.count(end(3, 9), begun);
        let so_far = folds.so_far().unwrap();
        assert_eq!((so_far.len(), so_far[0].connection, so_far[0].details.count), (1, ConnectionId(3), Some(2)));
        assert_eq!(folds.so_far(), None);
        assert_eq!(folds.over(begun + MINUTE), so_far);
        assert_eq!(folds.so_far(), Some(Vec::new()));
    }

    #[test]
    fn a_stop_writes_what_is_counted() {
        let (folds, now) = (Folds::new(MINUTE), Instant::now());
        folds.count(end(1, 9), now);
        folds.count(end(2, 9), now);
        assert_eq!(folds.all().first().and_then(|event| event.details.count), Some(1));
    }

    #[test]
    fn addresses_beyond_the_bound_are_recorded_one_by_one() {
        let (folds, now) = (Folds::new(MINUTE), Instant::now());
        let known = u32::try_from(ADDRESSES_MAX).unwrap();
        for address in 0..known {
            assert!(folds.count(end(1, address), now).is_some());
        }
        for number in 2..5 {
            assert!(folds.count(end(number, known), now).is_some());
            assert!(folds.count(end(number, known - 1), now).is_none());
        }
        assert_eq!(folds.lock().of.len(), ADDRESSES_MAX);
    }

    #[test]
    fn without_a_window_each_is_recorded() {
        let folds = Folds::new(Duration::ZERO);
        assert!((1..5).all(|number| folds.count(end(number, 9), Instant::now()).is_some()));
    }
}
