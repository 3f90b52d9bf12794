//! All clients that are in, and when what they came in with expires.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tracemq_access::mqtt::Identity;
use tracemq_model::{ConnectionId, TimeMs};

use super::granted::Granted;

#[derive(Default)]
struct Inside {
    grants: HashMap<ConnectionId, (Weak<Granted>, Option<TimeMs>)>,
    expiring: BTreeSet<(TimeMs, ConnectionId)>,
}

#[derive(Default)]
pub(super) struct Live(Mutex<Inside>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, granted: &Arc<Granted>, expires: Option<TimeMs>) {
        let mut inside = self.lock();
        inside.grants.insert(granted.connection, (Arc::downgrade(granted), expires));
        inside.expiring.extend(expires.map(|expires| (expires, granted.connection)));
    }

    pub(super) fn remove(&self, connection: ConnectionId) {
        let mut inside = self.lock();
        if let Some((_, Some(expires))) = inside.grants.remove(&connection) {
            inside.expiring.remove(&(expires, connection));
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Granted>> {
        self.lock().grants.values().filter_map(|(granted, _)| granted.upgrade()).collect()
    }

    pub(super) fn those(&self, meant: impl Fn(&Identity) -> bool) -> Vec<Arc<Granted>> {
        let mut those = self.all();
        those.retain(|granted| meant(&granted.identity));
        those
    }

    /// Notes anew when each expires.
    pub(super) fn expect(&self, expires: impl Fn(&Identity) -> Option<TimeMs>) {
        let all = self.all(); // kept until the lock is free again: the last of a grant takes it, too
        let mut inside = self.lock();
        let Inside { grants, expiring } = &mut *inside;
        expiring.clear();
        for granted in &all {
            if let Some((_, noted)) = grants.get_mut(&granted.connection) {
                *noted = expires(&granted.identity);
                expiring.extend(noted.map(|at| (at, granted.connection)));
            }
        }
    }

    /// Takes out those whose time is over at `now`.
    pub(super) fn due(&self, now: TimeMs) -> Vec<Arc<Granted>> {
        let mut due = Vec::new();
        let mut inside = self.lock();
        while let Some((expires, connection)) = inside.expiring.first().copied().filter(|(at, _)| *at <= now) {
            inside.expiring.remove(&(expires, connection));
            due.extend(inside.grants.get(&connection).and_then(|(granted, _)| granted.upgrade()));
        }
        due
    }

    /// When the next expires.
    pub(super) fn next(&self) -> Option<TimeMs> {
        self.lock().expiring.first().map(|(at, _)| *at)
    }
}
