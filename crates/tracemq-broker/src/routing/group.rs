//! Shared subscriptions (MQTT 5.0, 4.8.2; 3.1.1 clients may use them too): of all members, one gets a message.
//!
//! `$share/{group}/{filter}` names one shared subscription; the same group with another filter is another one. A message
//! that a plain and a shared subscription of one client match comes to it by both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracemq_model::{ClientId, End};

use super::subscriptions::{Inserted, Members, Subscriber};
use crate::limits::{Limits, Tick};
use crate::packet::{Qos, Routed};
use crate::session::{Congested, Mailbox, Push, Queued, Readiness, State};

/// One shared subscription's members.
#[derive(Debug)]
pub(crate) struct Group {
    /// As the clients wrote it, group and filter.
    text: Arc<str>,
    members: Members,
    /// Whose turn it is.
    next: AtomicUsize,
}

/// The groups of one filter.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    fn find(&self, text: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|group| (*group.text).cmp(text))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }

    pub(super) fn get(&self, text: &str) -> Option<&Group> {
        self.find(text).ok().and_then(|at| self.0.get(at))
    }

    pub(super) fn insert(&mut self, text: &str, subscriber: Subscriber, most: usize) -> Inserted {
        match self.find(text) {
            Ok(at) => self.0.get_mut(at).map_or(Inserted::Full, |group| group.members.insert(subscriber, most)),
            Err(_) if most == 0 => Inserted::Full,
            Err(at) => {
                let members = Members(vec![subscriber]);
                self.0.insert(at, Group { text: text.into(), members, next: AtomicUsize::new(0) });
                Inserted::New
            }
        }
    }

    pub(super) fn remove(&mut self, text: &str, session: u64) -> bool {
        let Ok(at) = self.find(text) else { return false };
        let Some(group) = self.0.get_mut(at) else { return false };
        let removed = group.members.remove(session);
        if group.members.0.is_empty() {
            self.0.remove(at);
        }
        removed
    }
}

/// What became of a message for a group.
#[derive(Debug)]
pub(crate) enum Given {
    /// A member has it.
    To {
        /// Whose link is to be woken.
        owner: Option<Arc<Mailbox>>,
        /// Messages of QoS 0 that made room.
        dropped: u64,
        /// It is kept over a restart there.
        kept: bool,
        /// Whose session it waits in, with which QoS, when that client is away and the message is traced.
        away: Option<(ClientId, Qos)>,
    },
    /// No member has room; the one who waits is to try again, at `until` at the latest.
    Later { until: Tick, slow: Vec<(Arc<Mailbox>, End)> },
    /// No member can take it. Who is `slow` is to be ended.
    ToNobody { slow: Vec<(Arc<Mailbox>, End)> },
}

impl Group {
    /// Gives a message to one member: in turn to those who can be sent it now, else to one who is connected and has
    /// room, else to one who is away.
    ///
    /// If none has room, `waiter` is noted with those who are connected, to be woken when one has.
    pub(crate) fn give(&self, now: Tick, routed: &Routed, limits: &Limits, waiter: Option<&Arc<Mailbox>>) -> Given {
        let members = &self.members.0;
        let turn = self.next.load(Ordering::Relaxed);
        let mut others = Vec::new();
        for at in (turn..members.len()).chain(0..turn.min(members.len())) {
            let Some(member) = members.get(at) else { continue };
            let mut state = member.session.lock();
            let qos = routed.message.qos.min(member.qos);
            match state.readiness(qos, &routed.message, limits) {
                Readiness::Now => {
                    if let Some(given) = self.hand_to(now, member, &mut state, routed, limits) {
                        self.next.store(at + 1, Ordering::Relaxed);
                        return given;
                    }
                }
                Readiness::Full => {}
                readiness @ (Readiness::Waits | Readiness::Away) => others.push((readiness, at)),
            }
        }
        others.sort_by_key(|(readiness, _)| *readiness); // stable: the turn decides among equals
        for (_, at) in others {
            let Some(member) = members.get(at) else { continue };
            if let Some(given) = self.hand_to(now, member, &mut member.session.lock(), routed, limits) {
                self.next.store(at + 1, Ordering::Relaxed);
                return given;
            }
        }
        match waiter {
            Some(waiter) if routed.message.qos != Qos::AtMostOnce => self.wait(now, routed, limits, waiter),
            Some(_) | None => Given::ToNobody { slow: Vec::new() },
        }
    }

    fn wait(&self, now: Tick, routed: &Routed, limits: &Limits, waiter: &Arc<Mailbox>) -> Given {
        let mut until: Option<Tick> = None;
        let mut slow = Vec::new();
        for member in self.members.0.iter().filter(|member| member.qos != Qos::AtMostOnce) {
            let mut state = member.session.lock();
            let Some(owner) = state.owner.clone() else { continue };
            match state.congested(routed.message.bytes(), limits, now) {
                Congested::Until(due) => {
                    state.wait_for_room(waiter);
                    until = Some(until.map_or(due, |known| known.min(due)));
                }
                Congested::NoLonger => {}
                Congested::Slow(end) => slow.push((owner, end)),
            }
        }
        match until {
            Some(until) => Given::Later { until, slow },
            None => Given::ToNobody { slow },
        }
    }

    fn hand_to(
        &self,
        now: Tick,
        member: &Subscriber,
        state: &mut State,
        routed: &Routed,
        limits: &Limits,
    ) -> Option<Given> {
        let queued = Queued {
            qos: routed.message.qos.min(member.qos),
            retain: routed.message.retain && member.retain_as_published,
            subscription_ids: member.subscription_id.into_iter().collect(),
            shared: Some(Arc::clone(&self.text)),
            place: 0,
            held: None,
            routed: routed.clone(),
        };
        let (kept, qos) = (queued.qos != Qos::AtMostOnce && state.is_kept(), queued.qos);
        match state.push(queued, limits, now) {
            Push::Taken { dropped } => {
                let is_told = routed.message.trace.is_some() && state.owner.is_none();
                let away = is_told.then(|| (member.session.client.clone(), qos));
                Some(Given::To { owner: state.owner.clone(), dropped, kept, away })
            }
            Push::NotForIt | Push::Dropped { .. } | Push::Full { .. } | Push::Slow { .. } => None,
        }
    }

    /// The shared subscription, as the clients wrote it.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether a member other than the session `except` is connected.
    pub(crate) fn is_attended(&self, except: u64) -> bool {
        let others = self.members.0.iter().filter(|member| member.session.number != except);
        others.into_iter().any(|member| member.session.lock().owner.is_some())
    }
}
