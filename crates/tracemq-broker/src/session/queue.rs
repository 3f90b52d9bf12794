//! Messages that wait for a client: what is taken, what has no room, and who waits for room.
//!
//! What of QoS 1 or 2 finds the queue of a connected client full is not dropped: whoever publishes it waits for room, and
//! its acknowledgement with it, for as long as `congestion.rs` says. For a client that is away, or for which others have
//! waited long enough, nobody waits: the message is dropped, counted, and told at the client's next CONNECT.

use std::collections::HashMap;
use std::sync::Arc;

use tracemq_model::End;

use super::pool::beside;
use super::{Congested, Hold, Mailbox, Published, Queued, Stage, State};
use crate::limits::{Limits, Tick};
use crate::packet::Qos;

/// What became of a message that was put into a session.
#[derive(Debug)]
pub(crate) enum Push {
    /// It is in the queue; so many of QoS 0 made room.
    Taken { dropped: u64 },
    /// QoS 0, and the client is away: it is not for it.
    NotForIt,
    /// It was dropped, with so many in all.
    Dropped { dropped: u64 },
    /// There may be room, at the latest to be asked for at `until`; so many of QoS 0 were dropped in vain.
    Full { queued: Queued, until: Tick, dropped: u64 },
    /// It was dropped, and the client takes so little that it is to be ended.
    Slow { end: End, owner: Arc<Mailbox>, dropped: u64 },
}

/// How soon a session could bring a message to its client; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Readiness {
    /// It would be sent now.
    Now,
    /// The client is there, and the message would wait.
    Waits,
    /// The client is away.
    Away,
    /// There is no room, or QoS 0 and nobody there.
    Full,
}

impl State {
    /// Puts a message in.
    ///
    /// Nothing of QoS 0 waits for a client that is away. When the queue is at its bound, the oldest of QoS 0 makes room
    /// for one of QoS 1 or 2; what of QoS 0 finds no room is dropped.
    pub(crate) fn push(&mut self, mut queued: Queued, limits: &Limits, now: Tick) -> Push {
        let at_most_once = queued.qos == Qos::AtMostOnce;
        if at_most_once && self.owner.is_none() {
            return Push::NotForIt;
        }
        if self.queue.is_empty() {
            self.caught_up(now);
        }
        let size = queued.routed.message.bytes();
        let mut dropped = 0;
        while !(self.has_room(size, limits) && self.take_hold(&mut queued, limits)) {
            if at_most_once {
                return Push::Dropped { dropped: 1 };
            }
            if !self.drop_one_at_most_once() {
                return self.without_room(queued, size, dropped, limits, now);
            }
            dropped += 1;
        }
        self.queue_bytes += size;
        self.queued_at_most_once += usize::from(at_most_once);
        self.keep_queued(&mut queued);
        self.queue.push_back(queued);
        Push::Taken { dropped }
    }

    /// Whether its own bounds leave room.
    pub(super) fn has_room(&self, size: usize, limits: &Limits) -> bool {
        self.queue.len() < limits.queue_messages_max && self.queue_bytes + size <= limits.queue_bytes_max
    }

    /// When all queues together are at their bound, only a client that is there and has nothing waiting gets more: what others
    /// left lying stops nobody who takes what comes.
    fn may_hold_more(&self) -> bool {
        self.owner.is_some() && self.queue.is_empty()
    }

    /// Counts it with what all queues hold, if that leaves room.
    fn take_hold(&self, queued: &mut Queued, limits: &Limits) -> bool {
        let (message, identifiers) = (&queued.routed.message, queued.subscription_ids.len());
        queued.held = if self.may_hold_more() {
            Some(Hold::take(message, identifiers))
        } else {
            Hold::take_within(message, identifiers, limits.all_queues_bytes_max)
        };
        queued.held.is_some()
    }

    fn without_room(&mut self, queued: Queued, size: usize, dropped: u64, limits: &Limits, now: Tick) -> Push {
        let never_fits = size > limits.queue_bytes_max || limits.queue_messages_max == 0;
        let Some(owner) = self.owner.clone().filter(|_| !never_fits && !self.ended) else {
            self.missed += 1;
            return Push::Dropped { dropped: dropped + 1 };
        };
        match self.congested(size, limits, now) {
            Congested::Until(until) => Push::Full { queued, until, dropped },
            Congested::NoLonger => {
                self.missed += 1;
                Push::Dropped { dropped: dropped + 1 }
            }
            Congested::Slow(end) => {
                self.missed += 1;
                Push::Slow { end, owner, dropped: dropped + 1 }
            }
        }
    }

    /// Notes whom to wake when there is room.
    pub(crate) fn wait_for_room(&mut self, waiter: &Arc<Mailbox>) {
        if !self.waiting.iter().any(|known| Arc::ptr_eq(known, waiter)) {
            self.waiting.push(Arc::clone(waiter));
        }
    }

    /// Whom to wake, since there is room or nobody to wait for.
    pub(crate) fn take_waiting(&mut self) -> Vec<Arc<Mailbox>> {
        std::mem::take(&mut self.waiting)
    }

    /// The next message goes out.
    pub(super) fn take_first(&mut self, now: Tick) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.uncount(&queued);
        self.taken_out += 1;
        if self.queue.is_empty() {
            self.caught_up(now);
        }
        Some(queued)
    }

    /// How soon a message of that kind would reach the client.
    pub(crate) fn readiness(&self, qos: Qos, message: &Published, limits: &Limits) -> Readiness {
        let room = self.has_room(message.bytes(), limits) || (qos != Qos::AtMostOnce && self.queued_at_most_once > 0);
        let taken = self.may_hold_more() || message.has_room(limits.all_queues_bytes_max);
        match (&self.owner, room && taken && !self.ended) {
            (_, false) => Readiness::Full,
            (None, true) if qos == Qos::AtMostOnce => Readiness::Full,
            (None, true) => Readiness::Away,
            (Some(_), true) => {
                let sendable = qos == Qos::AtMostOnce || (self.credit > 0 && !self.window_is_full());
                if sendable && self.queue.is_empty() { Readiness::Now } else { Readiness::Waits }
            }
        }
    }

    /// Takes out what came by a shared subscription and is for another member to have: what waits, and when the session
    /// ends, also what of QoS 1 was sent and not acknowledged. What of QoS 2 was sent is nobody else's [MQTT-4.8.2-5].
    pub(crate) fn take_shared(&mut self, ends: bool, mut goes: impl FnMut(&Arc<str>) -> bool) -> Vec<Queued> {
        let mut taken = Vec::new();
        if ends {
            for one in std::mem::take(&mut self.in_flight) {
                match one.stage {
                    Stage::Published(queued) if queued.qos == Qos::AtLeastOnce && queued.shared.is_some() => {
                        self.keep_gone(queued.place);
                        taken.push(queued);
                    }
                    Stage::Published(_) | Stage::Released => {}
                }
            }
        }
        if self.queue.iter().any(|queued| queued.shared.is_some()) {
            for queued in std::mem::take(&mut self.queue) {
                if queued.shared.as_ref().is_some_and(&mut goes) {
                    self.uncount(&queued);
                    self.keep_gone(queued.place);
                    taken.push(queued);
                } else {
                    self.queue.push_back(queued);
                }
            }
        }
        taken
    }

    /// Counts what the holds on each message cost beside it.
    pub(crate) fn count_holds(&self, holds: &mut HashMap<usize, (Arc<Published>, usize)>) {
        let sent = self.in_flight.iter().filter_map(|one| match &one.stage {
            Stage::Published(queued) => Some(queued),
            Stage::Released => None,
        });
        for queued in self.queue.iter().chain(sent) {
            let message = &queued.routed.message;
            let of_message = holds.entry(Arc::as_ptr(message).addr()).or_insert_with(|| (Arc::clone(message), 0));
            of_message.1 += beside(queued.subscription_ids.len());
        }
    }

    /// What waits whose way is told.
    pub(crate) fn traced_in_queue(&self) -> impl Iterator<Item = (Arc<Published>, Qos)> {
        let traced = self.queue.iter().filter(|queued| queued.routed.message.trace.is_some());
        traced.map(|queued| (Arc::clone(&queued.routed.message), queued.qos))
    }

    fn drop_one_at_most_once(&mut self) -> bool {
        if self.queued_at_most_once == 0 {
            return false;
        }
        let oldest = self.queue.iter().position(|queued| queued.qos == Qos::AtMostOnce);
        let Some(queued) = oldest.and_then(|at| self.queue.remove(at)) else { return false };
        self.uncount(&queued);
        true
    }

    pub(super) fn uncount(&mut self, queued: &Queued) {
        self.queue_bytes -= queued.routed.message.bytes();
        self.queued_at_most_once -= usize::from(queued.qos == Qos::AtMostOnce);
    }
}
