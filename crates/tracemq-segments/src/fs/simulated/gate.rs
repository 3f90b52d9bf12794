//! A disk that is as slow as a test wants it to be.

use std::sync::{Condvar, Mutex};

/// Where syncs of files wait.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    waiting: usize,
}

impl Gate {
    /// Has all syncs wait, or go on.
    pub(crate) fn shut(&self, shut: bool) {
        self.state.lock().unwrap().is_shut = shut;
        self.changed.notify_all();
    }

    /// Waits until a sync waits.
    pub(crate) fn until_one_waits(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.is_shut).unwrap();
        state.waiting -= 1;
    }
}
