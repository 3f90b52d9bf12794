//! The subjects of a memtable in the order of their keys, so many at a time: it holds them in the order of arrival, and a list of
//! all would take as much memory as they do.

use crate::memtable::Memtable;

/// The first `count` of the keys that `wanted` takes, in their order, with the numbers of their subjects; and whether there are more.
/// Holds no more than twice as many at a time.
pub(super) fn first_keys(
    memtable: &Memtable,
    visible: usize,
    count: usize,
    mut wanted: impl FnMut(&[u8], u32) -> bool,
) -> (Vec<(Vec<u8>, u32)>, bool) {
    let count = count.max(1);
    let mut found: Vec<(Vec<u8>, u32)> = Vec::new();
    let mut bound: Option<Vec<u8>> = None;
    memtable.each_key(visible, |key, subject| {
        if bound.as_deref().is_some_and(|bound| key > bound) || !wanted(key, subject) {
            return;
        }
        found.push((key.to_vec(), subject));
        if found.len() == count.saturating_mul(2) {
            let (_, last, _) = found.select_nth_unstable(count - 1);
            bound = Some(last.0.clone());
            found.truncate(count);
        }
    });
    found.sort_unstable();
    let more = bound.is_some() || found.len() > count;
    found.truncate(count);
    (found, more)
}

#[cfg(test)]
mod tests {
    use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Provenance, Reason, TimeMs};

    use super::*;
    use crate::key::with_name;

    fn named(number: usize) -> Event {
        Event {
            time: TimeMs(0),
            instance: InstanceId::new("i").unwrap(),
            connection: ConnectionId(1),
            action: Action::Connect,
            reason: Reason::Accepted,
            provenance: Provenance::Observed,
            client: Some(ClientId::new(&format!("{:04}", number * 7_919 % 1_000)).unwrap()),
            peer: None,
            details: Details::default(),
        }
    }

    #[test]
    fn keys_come_in_their_order_however_many_at_a_time() {
        let memtable = Memtable::new(1_000);
        let events: Vec<Event> = (0..1_000).map(named).collect();
        memtable.show(memtable.insert(&events));
        let name = |key: &[u8]| with_name(key, str::to_owned).unwrap();
        for count in [0, 1, 2, 7, 499, 500, 501, 999, 1_000, 1_001, 5_000] {
            let (mut all, mut after) = (Vec::new(), Vec::new());
            for _ in 0..1_000 {
                let (found, more) = first_keys(&memtable, 1_000, count, |key, _| key > after.as_slice());
                assert!(found.len() <= count.max(1) && (!more || found.len() == count.max(1)), "{count}");
                all.extend(found.iter().map(|(key, _)| name(key)));
                after = found.last().unwrap().0.clone();
                if !more {
                    break;
                }
            }
            assert_eq!(all, (0..1_000).map(|n| format!("{n:04}")).collect::<Vec<_>>(), "{count}");
        }
        assert_eq!(first_keys(&memtable, 1_000, 5, |_, _| false), (vec![], false));
        assert_eq!(first_keys(&memtable, 1, 5, |_, _| true).0.len(), 1);
    }
}
