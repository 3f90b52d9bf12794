//! How others reach a link's task.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use tracemq_model::{ConnectionId, End};

use crate::broker::Origin;
use crate::link::Notice;

#[derive(Debug, Default)]
struct Inside {
    waker: Option<Waker>,
    end: Option<Box<End>>,
    notices: Vec<Notice>,
}

/// Notices that wait for one client. It is told of three tokens at most, once each, and of one end.
const NOTICES_MAX: usize = 8;

/// Holds the task's waker and, at most once, the order to end.
#[derive(Debug)]
pub(crate) struct Mailbox {
    inside: Mutex<Inside>,
    /// Whose task it is.
    pub(crate) connection: ConnectionId,
    /// Where that came from.
    origin: Option<Box<Origin>>,
    /// The client's own address, when a proxy is in between.
    proxied: OnceLock<SocketAddr>,
}

impl Mailbox {
    pub(crate) fn new(connection: ConnectionId, origin: Option<Box<Origin>>) -> Self {
        Self { inside: Mutex::default(), connection, origin, proxied: OnceLock::new() }
    }

    /// A trusted proxy has told the client's own address.
    pub(crate) fn came_from(&self, peer: SocketAddr) {
        // A second header is refused before it gets here.
        let _ = self.proxied.set(peer);
    }

    /// Where the connection came from.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let mut origin = self.origin.as_deref().cloned()?;
        origin.peer = self.proxied.get().copied().unwrap_or(origin.peer);
        Some(origin)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whom to wake. Gives the order to end, if it came, and whether notices wait.
    pub(crate) fn register(&self, waker: &Waker) -> (Option<Box<End>>, bool) {
        let mut inside = self.lock();
        match &mut inside.waker {
            Some(known) => known.clone_from(waker),
            empty @ None => *empty = Some(waker.clone()),
        }
        (inside.end.take(), !inside.notices.is_empty())
    }

    /// Leaves a notice for the client. False when too many wait.
    pub(crate) fn tell(&self, notice: Notice) -> bool {
        let mut inside = self.lock();
        let room = inside.notices.len() < NOTICES_MAX;
        if room {
            inside.notices.push(notice);
        }
        drop(inside);
        self.wake();
        room
    }

    /// The notices that wait.
    pub(crate) fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.lock().notices)
    }

    /// The order to end, if it came.
    pub(crate) fn end(&self) -> Option<Box<End>> {
        self.lock().end.take()
    }

    /// Whether the order to end has come and was not yet obeyed.
    pub(crate) fn has_order(&self) -> bool {
        self.lock().end.is_some()
    }

    /// The same, and notes whom to wake when it comes.
    pub(crate) fn poll_order(&self, waker: &Waker) -> bool {
        let mut inside = self.lock();
        inside.waker = Some(waker.clone());
        inside.end.is_some()
    }

    /// Orders the end. The first order stands.
    pub(crate) fn order_end(&self, end: End) {
        self.lock().end.get_or_insert_with(|| Box::new(end));
        self.wake();
    }

    /// Wakes the task; it registers anew when it has nothing to do.
    pub(crate) fn wake(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Tasks to be woken once a batch of packets is done: who gets many messages of it is woken once, and sends them at once.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    /// So many wait at most, so that the first ones need not wait for a large batch.
    const MOST: usize = 256;

    /// Wakes the task in time. Nobody else does from now on, which is why none may be forgotten.
    pub(crate) fn add(&mut self, mailbox: &Mailbox) {
        self.0.extend(mailbox.lock().waker.take());
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= Self::MOST
    }

    /// Wakes them now. Not to be called while anything is locked.
    pub(crate) fn wake(&mut self) {
        for waker in std::mem::take(&mut self.0) {
            waker.wake();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.wake();
    }
}
