//! A message's way to all who should get it.

use std::sync::Arc;

use smallvec::SmallVec;
use tracemq_model::{ClientId, End};

use super::sys::is_own;
use super::traces::Passage;
use super::{Broker, Counters, Leftovers};
use crate::limits::Tick;
use crate::packet::{Message, Qos, Routed};
use crate::routing::{Given, Group, Match, Subscriptions};
use crate::session::{Mailbox, Published, Push, Queued, Session, Wakes};

/// Who of those who should get a message has no room for it yet.
#[derive(Debug)]
pub(crate) struct Rest {
    routed: Routed,
    to: Vec<Unreached>,
    /// When to try again at the latest.
    pub(crate) until: Tick,
    reached: bool,
    refused: bool,
    kept: bool,
}

#[derive(Debug)]
enum Unreached {
    Session(Arc<Session>, Queued),
    /// A shared subscription, as the clients wrote it.
    Group(Arc<str>),
}

impl Rest {
    /// Copies that are still to be brought to somebody.
    pub(crate) fn copies(&self) -> u64 {
        u64::try_from(self.to.len()).unwrap_or(u64::MAX)
    }
}

/// How far a message has come.
#[derive(Debug)]
pub(crate) enum Progress {
    /// All who could have it have it.
    Done {
        /// Something of it is kept over a restart: it is to be acknowledged once that is durable.
        kept: bool,
    },
    /// Some should have it, and none of them had room.
    Refused,
    /// Some may have room later.
    Waits(Rest),
}

/// One attempt to bring a message to many.
struct Attempt<'a> {
    broker: &'a Broker,
    now: Tick,
    waiter: Option<&'a Arc<Mailbox>>,
    to: Vec<Unreached>,
    until: Tick,
    reached: bool,
    refused: bool,
    kept: bool,
    dropped: u64,
    /// To be woken and to be ended, once the lock is released.
    wakes: &'a mut Wakes,
    slow: Vec<(Arc<Mailbox>, End)>,
}

const FULL: Passage = Passage::Dropped("the client's queue was full");
const NOBODY: Passage = Passage::Dropped("no member of the shared subscription could take it");

impl<'a> Attempt<'a> {
    fn new(broker: &'a Broker, now: Tick, waiter: Option<&'a Arc<Mailbox>>, wakes: &'a mut Wakes) -> Self {
        Self {
            broker,
            now,
            waiter,
            to: Vec::new(),
            until: Tick(u64::MAX),
            reached: false,
            refused: false,
            kept: false,
            dropped: 0,
            wakes,
            slow: Vec::new(),
        }
    }

    /// Brings it to all groups; gives who else is to have it. Called under the broker's lock.
    fn give_groups(&mut self, to: &Subscriptions, routed: &Routed, publisher: u64) -> SmallVec<[Match; 4]> {
        let matches = to.matches(&routed.message.topic, publisher);
        for group in matches.groups {
            self.give(group, routed);
        }
        matches.plain
    }

    /// Called under the broker's lock.
    fn give(&mut self, group: &Group, routed: &Routed) {
        match group.give(self.now, routed, &self.broker.limits, self.waiter) {
            Given::To { owner, dropped, kept, away } => {
                self.reached = true;
                self.kept |= kept;
                self.dropped += dropped;
                self.broker.tell_queued(routed, away);
                if let Some(owner) = owner {
                    self.wakes.add(&owner);
                }
            }
            Given::Later { until, slow } => {
                self.until = self.until.min(until);
                self.to.push(Unreached::Group(Arc::clone(group.text())));
                self.slow.extend(slow);
            }
            Given::ToNobody { slow } => {
                self.slow.extend(slow);
                self.broker.tell_passage(&routed.message, routed.message.qos, NOBODY, None, None);
                self.lose(routed.message.qos);
            }
        }
    }

    fn lose(&mut self, qos: Qos) {
        self.dropped += 1;
        self.refused |= qos != Qos::AtMostOnce;
    }

    /// Puts a message into a session, whose link is to be woken.
    fn hand_over(&mut self, session: &Arc<Session>, queued: Queued) {
        let (qos, at_most_once) = (queued.qos, queued.qos == Qos::AtMostOnce);
        let traced = queued.routed.message.trace.is_some().then(|| Arc::clone(&queued.routed.message));
        // Told while the session is locked: not after what its client is sent of it.
        let tell = |passage| {
            if let Some(message) = &traced {
                self.broker.tell_passage(message, qos, passage, Some(&session.client), None);
            }
        };
        let mut state = session.lock();
        match state.push(queued, &self.broker.limits, self.now) {
            Push::Taken { dropped } => {
                self.reached = true;
                self.kept |= !at_most_once && state.is_kept();
                self.dropped += dropped;
                match &state.owner {
                    Some(owner) => self.wakes.add(owner),
                    None => tell(Passage::Queued),
                }
            }
            Push::NotForIt => tell(Passage::Dropped("QoS 0, and the client was away")),
            Push::Dropped { dropped } => {
                tell(FULL);
                self.dropped += dropped;
                self.refused |= !at_most_once;
            }
            Push::Full { queued, until, dropped } => {
                self.dropped += dropped;
                if let Some(waiter) = self.waiter {
                    state.wait_for_room(waiter);
                    self.until = self.until.min(until);
                    self.to.push(Unreached::Session(Arc::clone(session), queued));
                } else {
                    tell(FULL);
                    state.missed += 1;
                    self.lose(queued.qos);
                }
            }
            Push::Slow { end, owner, dropped } => {
                tell(FULL);
                self.slow.push((owner, end));
                self.dropped += dropped;
                self.refused = true;
            }
        }
    }

    /// Called without the broker's lock.
    fn finish(self, routed: Routed) -> Progress {
        if self.wakes.is_full() {
            self.wakes.wake();
        }
        for (owner, end) in self.slow {
            owner.order_end(end);
        }
        if self.dropped > 0 {
            Counters::add(&self.broker.counters.dropped, self.dropped);
        }
        let Self { to, until, reached, refused, kept, .. } = self;
        if !to.is_empty() {
            Progress::Waits(Rest { routed, to, until, reached, refused, kept })
        } else if refused && !reached {
            Progress::Refused
        } else {
            Progress::Done { kept }
        }
    }
}

impl Broker {
    /// Routes a message of the session `publisher` to all who subscribed, and retains it if it asks for that. With a
    /// `waiter`, a copy of QoS 1 or 2 that finds no room is not given up: the waiter is woken when there may be some. Who
    /// is to be woken because there is something for him is in `wakes`.
    pub(crate) fn publish(
        &self,
        now: Tick,
        publisher: u64,
        message: Message,
        waiter: Option<&Arc<Mailbox>>,
        wakes: &mut Wakes,
    ) -> Progress {
        let mut routed = Routed::at(now, 0, Published::new(message, &self.pool));
        let mut attempt = Attempt::new(self, now, waiter, wakes);
        let plain = if routed.message.retain {
            // Numbered, retained and routed in one step: who subscribes meanwhile gets it once.
            let mut tables = self.lock();
            routed.number = self.next_message();
            let is_own = is_own(&routed.message.topic);
            let has_room = if is_own {
                tables.own.set(routed.clone(), usize::MAX, usize::MAX) // as many as there are names for
            } else {
                let (count_max, bytes_max) = (self.limits.retained_messages_max, self.limits.retained_bytes_max);
                tables.retained.set(routed.clone(), count_max, bytes_max)
            };
            if has_room {
                attempt.reached = true;
            } else {
                attempt.lose(routed.message.qos);
            }
            attempt.kept |= !is_own && self.keep_retained(&routed, has_room);
            attempt.give_groups(&tables.subscriptions, &routed, publisher)
        } else {
            routed.number = self.next_message();
            attempt.give_groups(&self.read().subscriptions, &routed, publisher)
        };
        let message = &routed.message;
        for one in plain {
            let queued = Queued {
                qos: message.qos.min(one.qos),
                retain: message.retain && one.retain_as_published,
                subscription_ids: one.subscription_ids,
                shared: None,
                place: 0,
                held: None,
                routed: routed.clone(),
            };
            attempt.hand_over(&one.session, queued);
        }
        attempt.finish(routed)
    }

    /// A PUBLISH of `session` by the link of `mailbox`, which waits for room unless it is of QoS 0: as [`publish`](Self::publish), and
    /// its way is told if it is chosen.
    pub(crate) fn publish_of(
        &self,
        session: &Session,
        mailbox: &Arc<Mailbox>,
        now: Tick,
        mut message: Message,
        wakes: &mut Wakes,
    ) -> Progress {
        self.begin_trace(&mut message, Some(&session.client), Some(mailbox.connection));
        let waiter = (message.qos != Qos::AtMostOnce).then_some(mailbox);
        self.publish(now, session.number, message, waiter, wakes)
    }

    /// Tries again with those who had no room.
    pub(crate) fn publish_rest(&self, now: Tick, rest: Rest, waiter: &Arc<Mailbox>, wakes: &mut Wakes) -> Progress {
        let Rest { routed, to, reached, refused, kept, .. } = rest;
        let mut attempt = Attempt::new(self, now, Some(waiter), wakes);
        attempt.reached = reached;
        attempt.refused = refused;
        attempt.kept = kept;
        for one in to {
            match one {
                Unreached::Session(session, queued) => attempt.hand_over(&session, queued),
                Unreached::Group(text) => match self.read().subscriptions.group(&text) {
                    Some(group) => attempt.give(group, &routed),
                    None => attempt.lose(routed.message.qos),
                },
            }
        }
        attempt.finish(routed)
    }

    /// What is left when the lock is released: wills to publish, links to wake.
    pub(super) fn settle(&self, now: Tick, leftovers: Leftovers) {
        for (client, message, qos) in &leftovers.lost {
            let over = Passage::Dropped("the client's session ended while it waited");
            self.tell_passage(message, *qos, over, Some(client), None);
        }
        for will in leftovers.wills {
            self.publish_will(now, &will);
        }
        for link in leftovers.wakes {
            link.wake();
        }
    }

    /// A message waits in the session of a client that is away, if it does.
    fn tell_queued(&self, routed: &Routed, away: Option<(ClientId, Qos)>) {
        if let Some((client, qos)) = away {
            self.tell_passage(&routed.message, qos, Passage::Queued, Some(&client), None);
        }
    }

    /// Gives messages of shared subscriptions, in their order, to members that can take them.
    pub(super) fn pass_on(&self, now: Tick, orphans: Vec<Queued>) {
        if orphans.is_empty() {
            return;
        }
        let mut full: Option<Arc<str>> = None;
        let mut dropped = 0;
        let mut wakes = Vec::new();
        let tables = self.read();
        for orphan in orphans {
            let text = orphan.shared.filter(|text| full.as_ref() != Some(text)); // one full group is asked once
            let group = text.as_deref().and_then(|text| tables.subscriptions.group(text));
            let given = group
                .filter(|_| !orphan.routed.is_expired(now))
                .map(|group| group.give(now, &orphan.routed, &self.limits, None));
            match given {
                Some(Given::To { owner, dropped: others, away, .. }) => {
                    self.tell_queued(&orphan.routed, away);
                    wakes.extend(owner);
                    dropped += others;
                }
                Some(Given::Later { .. } | Given::ToNobody { .. }) => {
                    full = text;
                    dropped += 1;
                    self.tell_passage(&orphan.routed.message, orphan.qos, NOBODY, None, None);
                }
                None => {
                    dropped += 1;
                    self.tell_passage(&orphan.routed.message, orphan.qos, NOBODY, None, None);
                }
            }
        }
        drop(tables);
        Counters::add(&self.counters.dropped, dropped);
        for owner in wakes {
            owner.wake();
        }
    }
}
