//! Sessions come, change hands and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracemq_model::{ClientId, ConnectionId, End, ProtocolVersion, Reason};

use super::wills::Will;
use super::{Broker, Counters, Tables};
use crate::limits::Tick;
use crate::link::Permissions;
use crate::packet::{self, Qos};
use crate::session::{Mailbox, PendingWill, Published, Queued, Session, State};

/// What is to be done once the lock is released.
#[derive(Default)]
pub(super) struct Leftovers {
    pub(super) wills: Vec<Will>,
    /// Messages of shared subscriptions that their session did not bring to its client.
    pub(super) orphans: Vec<Queued>,
    /// Links that waited for room where there will be none.
    pub(super) wakes: Vec<Arc<Mailbox>>,
    /// What of traced messages the sessions held that have ended.
    pub(super) lost: Vec<(ClientId, Arc<Published>, Qos)>,
    /// Sessions whose time was over.
    pub(super) expired: u64,
}

/// A connection that is let in.
pub(crate) struct Newcomer<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) mailbox: &'a Arc<Mailbox>,
    pub(crate) client: ClientId,
    /// What it has proven to be.
    pub(crate) user: Option<Arc<str>>,
    /// What it is called, proven or not.
    pub(crate) username: Option<Arc<str>>,
    pub(crate) protocol: ProtocolVersion,
    pub(crate) clean_start: bool,
    /// Already capped.
    pub(crate) expiry_s: u32,
    pub(crate) window: u16,
    pub(crate) will: Option<&'a packet::Will>,
    pub(crate) permissions: &'a Arc<dyn Permissions>,
}

/// The session that it got.
pub(crate) struct Attached {
    /// Messages of QoS 1 and 2 for which its queue had no room since the client was last told.
    pub(crate) missed: u64,
    pub(crate) session: Arc<Session>,
    pub(crate) present: bool,
}

/// A connection that goes.
pub(crate) struct Departure<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) mailbox: &'a Arc<Mailbox>,
    pub(crate) session: &'a Arc<Session>,
    /// To be published, now or after its delay.
    pub(crate) will: Option<packet::Will>,
    pub(crate) permissions: &'a Arc<dyn Permissions>,
}

impl Broker {
    /// Gives the newcomer its client's session, whoever has it now; never waits for that one.
    pub(crate) fn attach(&self, now: Tick, newcomer: &Newcomer<'_>) -> Result<Attached, End> {
        let mut displaced = None;
        // Asked before the lock is taken: it is work.
        let is_kept = newcomer.will.is_some() && newcomer.expiry_s > 0 && self.keeping.is_some();
        let mut keepsake = if is_kept { newcomer.permissions.keepsake() } else { None };
        let mut attached = Err(End::of(Reason::InternalError));
        let leftovers = self.alter(now, |tables, leftovers| {
            attached = tables.attach(now, newcomer, keepsake.take(), self, &mut displaced, leftovers);
        });
        if let Some(old) = displaced {
            let mut end =
                End::of(Reason::SessionTakenOver).with_detail("a newer connection has the same client identifier");
            end.other_connection = Some(newcomer.connection);
            old.order_end(end);
        }
        self.settle(now, leftovers);
        if attached.is_ok() {
            self.counters.connections.fetch_add(1, Ordering::Relaxed);
            Counters::add(&self.counters.connects, 1);
        }
        attached
    }

    /// Releases what a link had.
    pub(crate) fn detach(&self, now: Tick, mut departure: Departure<'_>) {
        let leftovers = self.alter(now, |tables, leftovers| tables.detach(now, &mut departure, leftovers));
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.settle(now, leftovers);
    }

    /// Does `work` under the lock, and gives messages of groups that have lost their session by it to other members; gives
    /// what is still to be done. What is kept of it becomes durable together: wherever the process is killed, such a message
    /// is in one session.
    pub(super) fn alter(&self, now: Tick, mut work: impl FnMut(&mut Tables, &mut Leftovers)) -> Leftovers {
        let mut leftovers = Leftovers::default();
        let mut alter = || {
            work(&mut self.lock(), &mut leftovers);
            self.pass_on(now, std::mem::take(&mut leftovers.orphans));
        };
        match self.keeper() {
            Some(keeper) => keeper.together(&mut alter),
            None => alter(),
        }
        leftovers
    }

    /// A link goes that never had a session.
    pub(crate) fn forget(&self, connection: ConnectionId) {
        self.lock().links.remove(&connection);
    }
}

impl Tables {
    fn attach(
        &mut self,
        now: Tick,
        newcomer: &Newcomer<'_>,
        keepsake: Option<String>,
        broker: &Broker,
        displaced: &mut Option<Arc<Mailbox>>,
        leftovers: &mut Leftovers,
    ) -> Result<Attached, End> {
        if let Some(end) = &self.stopped {
            return Err(end.clone());
        }
        let known = self.sessions.get(&newcomer.client).cloned();
        let sessions_max = broker.limits.sessions_max;
        if known.is_none() && self.sessions.len() >= sessions_max {
            return Err(End::of(Reason::QuotaExceeded).with_detail(&format!("all {sessions_max} sessions are in use")));
        }
        if let Some(session) = &known {
            let mut state = session.lock();
            *displaced = state.owner.take();
            // A 3.x session that was clean, or one of 5.0 without expiry, ends with its connection.
            let over = displaced.is_some() && state.expiry_s == 0 || state.expires.is_some_and(|at| at <= now);
            let foreign = state.user != newcomer.user;
            self.strike(session, &mut state);
            if newcomer.clean_start || over || foreign {
                self.end(session, &mut state, leftovers);
            } else {
                state.resume(Arc::clone(newcomer.mailbox), newcomer.window, newcomer.expiry_s);
                state.came_back(broker.messages.load(Ordering::Relaxed));
                state.keep_session();
                broker.keep_will(&mut state, newcomer, keepsake);
                state.protocol = Some(newcomer.protocol);
                state.username.clone_from(&newcomer.username);
                let missed = std::mem::take(&mut state.missed);
                drop(state);
                return Ok(Attached { missed, session: Arc::clone(session), present: true });
            }
        }
        self.last_session += 1;
        let session = Arc::new(Session::new(self.last_session, newcomer.client.clone()));
        let mut state = session.lock();
        state.resume(Arc::clone(newcomer.mailbox), newcomer.window, newcomer.expiry_s);
        state.user.clone_from(&newcomer.user);
        state.username.clone_from(&newcomer.username);
        if newcomer.expiry_s > 0 {
            state.ledger = broker.ledger(&session);
            state.keep_session();
            broker.keep_will(&mut state, newcomer, keepsake);
        }
        state.protocol = Some(newcomer.protocol);
        drop(state);
        self.sessions.insert(newcomer.client.clone(), Arc::clone(&session));
        Ok(Attached { missed: 0, session, present: false })
    }

    /// Takes the session off the calendar.
    fn strike(&mut self, session: &Session, state: &mut State) {
        if let Some(due) = state.due.take() {
            self.calendar.strike(due, session);
        }
    }

    /// Ends a session: its subscriptions go, its will is due if it waited, and what it held for a group is the others'.
    fn end(&mut self, session: &Arc<Session>, state: &mut State, leftovers: &mut Leftovers) {
        for filter in std::mem::take(&mut state.filters) {
            self.subscriptions.remove(&filter, session.number);
        }
        let will = state.will.take().map(|will| Will::of(session, state, *will));
        state.forget_will(); // of a client that is displaced: its link publishes it
        leftovers.orphans.extend(state.take_shared(true, |_| true));
        leftovers.wakes.extend(state.take_waiting());
        let lost = state.traced_in_queue().map(|(message, qos)| (session.client.clone(), message, qos));
        leftovers.lost.extend(lost);
        state.keep_no_more();
        *state = State::default();
        state.ended = true;
        if self.sessions.get(&session.client).is_some_and(|current| Arc::ptr_eq(current, session)) {
            self.sessions.remove(&session.client);
        }
        leftovers.wills.extend(will);
    }

    fn detach(&mut self, now: Tick, departure: &mut Departure<'_>, leftovers: &mut Leftovers) {
        self.links.remove(&departure.connection);
        let session = departure.session;
        let mut state = session.lock();
        let owned = state.is_owned_by(departure.mailbox);
        let mut waits = None;
        if let Some(will) = departure.will.take() {
            // Taken over and resumed within the delay: not published [MQTT-3.1.3-9].
            let ends = state.ended || (owned && state.expiry_s == 0);
            let permissions = Arc::clone(departure.permissions);
            if will.delay_s == 0 || ends {
                let kept = if owned { state.release_will() } else { 0 };
                leftovers.wills.push(Will {
                    session: session.number,
                    client: Some(session.client.clone()),
                    connection: Some(departure.connection),
                    message: will.message,
                    permissions,
                    kept,
                });
            } else if owned {
                let due = now.plus_s(will.delay_s);
                if state.kept_will() != 0 {
                    let number = state.kept_will();
                    state.keep_will(number, &will, permissions.keepsake(), Some(due));
                }
                waits = Some(Box::new(PendingWill { message: will.message, permissions, due }));
            }
        } else if owned {
            state.forget_will(); // the client took its leave
        }
        if owned {
            state.owner = None;
            if state.expiry_s == 0 {
                self.end(session, &mut state, leftovers);
            } else {
                state.expires = Some(now.plus_s(state.expiry_s));
                state.keep_session();
                state.will = waits;
                self.note(session, &mut state);
                leftovers.wakes = state.take_waiting();
                leftovers.orphans = self.unsent_of_groups(session, &mut state);
            }
        }
    }

    /// What waits for a client that has gone and what connected members of the same group could have at once.
    fn unsent_of_groups(&self, session: &Session, state: &mut State) -> Vec<Queued> {
        let mut attended: Vec<(Arc<str>, bool)> = Vec::new();
        state.take_shared(false, |text| match attended.iter().find(|(known, _)| known == text) {
            Some((_, attended)) => *attended,
            None => {
                let group = self.subscriptions.group(text);
                let is_attended = group.is_some_and(|group| group.is_attended(session.number));
                attended.push((Arc::clone(text), is_attended));
                is_attended
            }
        })
    }

    /// Puts the session on the calendar.
    pub(super) fn note(&mut self, session: &Arc<Session>, state: &mut State) {
        let will = state.will.as_ref().map(|will| will.due);
        let due = state.expires.into_iter().chain(will).min();
        if let Some(due) = due {
            self.calendar.note(due, session);
        }
        state.due = due;
    }

    /// Ends what is due at `now`, at most `most` of it; tells whether there is more.
    pub(super) fn end_due(&mut self, now: Tick, most: usize, leftovers: &mut Leftovers) -> bool {
        leftovers.wills.append(&mut self.overdue);
        for _ in 0..most {
            let Some(session) = self.calendar.take_due(now) else { return false };
            let mut state = session.lock();
            state.due = None;
            if state.expires.is_some_and(|at| at <= now) {
                self.end(&session, &mut state, leftovers);
                leftovers.expired += 1;
                continue;
            }
            if let Some(will) = state.will.take_if(|will| will.due <= now) {
                leftovers.wills.push(Will::of(&session, &mut state, *will));
            }
            self.note(&session, &mut state);
        }
        self.calendar.is_due(now)
    }
}
