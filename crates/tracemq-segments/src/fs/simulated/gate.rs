//! A disk that is as slow as a test wants it to be.

use std::sync::{Condvar, Mutex};

/// Where calls wait.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// Which calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    Reads,
    Writes,
    /// Of files.
    Syncs,
}

#[derive(Default)]
struct State {
    shut_for: Option<Slow>,
    waiting: usize,
}

impl Gate {
    /// Has these calls wait from now on.
    pub(crate) fn shut(&self, calls: Slow) {
        self.state.lock().unwrap().shut_for = Some(calls);
    }

    /// Has all go on.
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().shut_for = None;
        self.changed.notify_all();
    }

    /// Waits until a call waits.
    pub(crate) fn until_one_waits(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    pub(super) fn pass(&self, call: Slow) {
        let mut state = self.state.lock().unwrap();
        if state.shut_for != Some(call) {
            return;
        }
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.shut_for == Some(call)).unwrap();
        state.waiting -= 1;
    }
}
