//! All clients that are in, when what they came in with expires, and when they are to be told of that.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tracemq_access::mqtt::Identity;
use tracemq_model::{ConnectionId, TimeMs};

use super::granted::Granted;

/// What time brings to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// What it came in with expires.
    pub(super) end: Option<TimeMs>,
    /// It is told that this is soon.
    pub(super) warning: Option<TimeMs>,
}

#[derive(Default)]
struct Inside {
    grants: HashMap<ConnectionId, (Weak<Granted>, Times)>,
    ends: BTreeSet<(TimeMs, ConnectionId)>,
    warnings: BTreeSet<(TimeMs, ConnectionId)>,
}

impl Inside {
    fn schedule(&mut self, connection: ConnectionId, times: Times) {
        self.ends.extend(times.end.map(|at| (at, connection)));
        self.warnings.extend(times.warning.map(|at| (at, connection)));
    }

    fn unschedule(&mut self, connection: ConnectionId, times: Times) {
        for (at, times) in [(times.end, &mut self.ends), (times.warning, &mut self.warnings)] {
            if let Some(at) = at {
                times.remove(&(at, connection));
            }
        }
    }

    fn note(&mut self, connection: ConnectionId, times: Times) {
        let Some((_, noted)) = self.grants.get_mut(&connection) else { return };
        let before = std::mem::replace(noted, times);
        self.unschedule(connection, before);
        self.schedule(connection, times);
    }
}

#[derive(Default)]
pub(super) struct Live(Mutex<Inside>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, granted: &Arc<Granted>, times: Times) {
        let mut inside = self.lock();
        inside.grants.insert(granted.connection, (Arc::downgrade(granted), times));
        inside.schedule(granted.connection, times);
    }

    pub(super) fn remove(&self, connection: ConnectionId) {
        let mut inside = self.lock();
        if let Some((_, times)) = inside.grants.remove(&connection) {
            inside.unschedule(connection, times);
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

    /// Notes anew what time brings to one.
    pub(super) fn note(&self, connection: ConnectionId, times: Times) {
        self.lock().note(connection, times);
    }

    /// The same for all.
    pub(super) fn note_all(&self, times: impl Fn(&Identity) -> Times) {
        let all = self.all(); // kept until the lock is free again: the last of a grant takes it, too
        let mut inside = self.lock();
        for granted in &all {
            inside.note(granted.connection, times(&granted.identity));
        }
    }

    /// Takes out those whose time is over at `now`.
    pub(super) fn due(&self, now: TimeMs) -> Vec<Arc<Granted>> {
        let Inside { grants, ends, .. } = &mut *self.lock();
        take(ends, grants, now)
    }

    /// Takes out those that are to be told at `now`.
    pub(super) fn to_warn(&self, now: TimeMs) -> Vec<Arc<Granted>> {
        let Inside { grants, warnings, .. } = &mut *self.lock();
        take(warnings, grants, now)
    }

    /// When the next expires or is to be told.
    pub(super) fn next(&self) -> Option<TimeMs> {
        let inside = self.lock();
        [inside.ends.first(), inside.warnings.first()].into_iter().flatten().map(|(at, _)| *at).min()
    }
}

fn take(
    times: &mut BTreeSet<(TimeMs, ConnectionId)>,
    grants: &HashMap<ConnectionId, (Weak<Granted>, Times)>,
    now: TimeMs,
) -> Vec<Arc<Granted>> {
    let mut taken = Vec::new();
    while let Some((at, connection)) = times.first().copied().filter(|(at, _)| *at <= now) {
        times.remove(&(at, connection));
        taken.extend(grants.get(&connection).and_then(|(granted, _)| granted.upgrade()));
    }
    taken
}
