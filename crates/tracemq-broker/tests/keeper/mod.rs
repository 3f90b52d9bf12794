//! A keeper whose disk is the test's: what is handed over becomes durable when the test says so.

#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use tracemq_broker::{
    Broker, Change, Keeper, Kept, KeptEntry, KeptMessage, KeptOwed, KeptSession, KeptWill, Limits, Mark, Permissions,
    Tick,
};

use crate::wire::Rules;

#[derive(Debug, Default)]
struct Inside {
    /// Calls in their order; those of a group are one.
    calls: Vec<Vec<Change>>,
    durable: usize,
    /// A group is being handed over, which began when there were so many calls.
    group_from: Option<usize>,
    wakers: Vec<(Mark, Waker)>,
    full: bool,
}

/// Finds clients again: who may publish to all, or to nothing by now.
pub fn recall(keepsake: &str) -> Option<Arc<dyn Permissions>> {
    let publish = match keepsake {
        "all" => |_: &str| true,
        "none" => |_: &str| false,
        _ => return None,
    };
    Some(Arc::new(Rules { publish, subscribe: |_| true }))
}

/// Durable at once when `eager`.
#[derive(Debug, Default)]
pub struct TestKeeper {
    inside: Mutex<Inside>,
    pub eager: bool,
}

impl TestKeeper {
    pub fn new(eager: bool) -> Arc<Self> {
        Arc::new(Self { inside: Mutex::default(), eager })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Makes durable what the next `calls` calls brought.
    pub fn make_durable(&self, calls: usize) {
        let mut inside = self.lock();
        inside.durable = inside.calls.len().min(inside.durable + calls);
        let kept = Mark(inside.durable as u64);
        let woken: Vec<Waker> =
            inside.wakers.extract_if(.., |(mark, _)| *mark <= kept).map(|(_, waker)| waker).collect();
        drop(inside);
        woken.into_iter().for_each(Waker::wake);
    }

    pub fn make_all_durable(&self) {
        self.make_durable(usize::MAX / 2);
    }

    pub fn pending(&self) -> usize {
        let inside = self.lock();
        inside.calls.len() - inside.durable
    }

    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// What is there after a crash.
    pub fn durable(&self) -> Kept {
        let inside = self.lock();
        let mut disk = Disk::default();
        for change in inside.calls[..inside.durable].iter().flatten() {
            disk.apply(change.clone());
        }
        disk.kept()
    }

    /// A broker that goes on after a crash, with a keeper that begins with what is there.
    pub fn restart(&self, limits: Limits, now: Tick, wall_now: i64) -> (Arc<Broker>, Arc<Self>) {
        let kept = self.durable();
        let calls: Vec<Vec<Change>> = {
            let inside = self.lock();
            inside.calls[..inside.durable].to_vec()
        };
        let inside = Inside { durable: calls.len(), calls, ..Inside::default() };
        let next = Arc::new(Self { inside: Mutex::new(inside), eager: self.eager });
        (Broker::with_keeper(limits, next.clone(), kept, &recall, now, wall_now), next)
    }
}

impl Keeper for TestKeeper {
    fn keep(&self, changes: Vec<Change>) -> Mark {
        if changes.is_empty() {
            return self.taken();
        }
        let mut inside = self.lock();
        match inside.group_from {
            Some(from) if inside.calls.len() > from => inside.calls[from].extend(changes),
            Some(_) | None => inside.calls.push(changes),
        }
        if self.eager && inside.group_from.is_none() {
            inside.durable = inside.calls.len();
        }
        Mark(inside.calls.len() as u64)
    }

    fn taken(&self) -> Mark {
        Mark(self.lock().calls.len() as u64)
    }

    fn kept(&self) -> Mark {
        Mark(self.lock().durable as u64)
    }

    fn together(&self, work: &mut dyn FnMut()) {
        {
            let mut inside = self.lock();
            assert_eq!(inside.group_from, None, "a group in a group may wait for itself");
            inside.group_from = Some(inside.calls.len());
        }
        work();
        let mut inside = self.lock();
        inside.group_from = None;
        if self.eager {
            inside.durable = inside.calls.len();
        }
    }

    fn wake_at(&self, mark: Mark, waker: &Waker) {
        let mut inside = self.lock();
        if mark.0 <= inside.durable as u64 {
            drop(inside);
            waker.wake_by_ref();
        } else {
            inside.wakers.push((mark, waker.clone()));
        }
    }

    fn has_room(&self) -> bool {
        !self.lock().full
    }
}

#[derive(Default)]
struct Disk {
    sessions: BTreeMap<u64, KeptSession>,
    entries: BTreeMap<(u64, u64), KeptEntry>,
    received: BTreeMap<(u64, u16), ()>,
    owed: BTreeMap<(u64, String), KeptOwed>,
    messages: BTreeMap<u64, Arc<KeptMessage>>,
    retained: BTreeMap<String, u64>,
    wills: BTreeMap<u64, KeptWill>,
}

impl Disk {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Session(number, session) => drop(self.sessions.insert(number, session)),
            Change::SessionEnded(number) => {
                self.sessions.remove(&number);
                self.entries.retain(|(session, _), _| *session != number);
                self.received.retain(|(session, _), ()| *session != number);
                self.owed.retain(|(session, _), _| *session != number);
            }
            Change::Message(number, message) => drop(self.messages.insert(number, message)),
            Change::Entry(session, place, entry) => drop(self.entries.insert((session, place), entry)),
            Change::EntryGone(session, place) => drop(self.entries.remove(&(session, place))),
            Change::Owed(session, filter, Some(owed)) => drop(self.owed.insert((session, filter), owed)),
            Change::Owed(session, filter, None) => drop(self.owed.remove(&(session, filter))),
            Change::Received(session, id) => drop(self.received.insert((session, id), ())),
            Change::Released(session, id) => drop(self.received.remove(&(session, id))),
            Change::Retained(topic, Some(number)) => drop(self.retained.insert(topic, number)),
            Change::Retained(topic, None) => drop(self.retained.remove(&topic)),
            Change::Will(number, Some(will)) => drop(self.wills.insert(number, *will)),
            Change::Will(number, None) => drop(self.wills.remove(&number)),
        }
    }

    fn kept(self) -> Kept {
        let of_entries = self.entries.keys().map(|(session, _)| session);
        let of_owed = self.owed.keys().map(|(session, _)| session);
        for session in of_entries.chain(self.received.keys().map(|(session, _)| session)).chain(of_owed) {
            assert!(self.sessions.contains_key(session), "something of session {session}, which is not there");
        }
        let referred = self.entries.values().map(|entry| entry.message).chain(self.retained.values().copied());
        for message in referred {
            assert!(self.messages.contains_key(&message), "message {message} is referred to and not there");
        }
        Kept {
            sessions: self.sessions.into_iter().collect(),
            entries: self.entries.into_iter().map(|((session, place), entry)| (session, place, entry)).collect(),
            received: self.received.into_keys().collect(),
            owed: self.owed.into_iter().map(|((session, filter), owed)| (session, filter, owed)).collect(),
            messages: self.messages.into_iter().collect(),
            retained: self.retained.into_iter().collect(),
            wills: self.wills.into_iter().collect(),
        }
    }
}
