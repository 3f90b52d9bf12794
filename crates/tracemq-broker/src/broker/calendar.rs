//! When which session must be looked at: it expires, or its will is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::limits::Tick;
use crate::session::Session;

#[derive(Debug, Default)]
pub(super) struct Calendar(BTreeMap<(Tick, u64), Arc<Session>>);

impl Calendar {
    pub(super) fn note(&mut self, due: Tick, session: &Arc<Session>) {
        self.0.insert((due, session.number), Arc::clone(session));
    }

    pub(super) fn strike(&mut self, due: Tick, session: &Session) {
        self.0.remove(&(due, session.number));
    }

    /// Whether a session's time has come.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.0.first_key_value().is_some_and(|((due, _), _)| *due <= now)
    }

    /// The next session whose time has come.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<Arc<Session>> {
        let entry = self.0.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
