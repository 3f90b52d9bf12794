//! Retained messages that a session has asked for and that are not in its queue yet.
//!
//! What is remembered is how far each subscription has come, not the messages: they go into the queue in steps, as it has
//! room, however many there are. A connection that breaks in the middle changes nothing: the next one goes on behind the last
//! topic that was handed out. Without the subscription, or the session, nothing is owed any more.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytestring::ByteString;

use super::{Mailbox, State};
use crate::keeping::{KeptOwed, KeptSubscription};
use crate::limits::Limits;
use crate::packet::{Qos, Routed};

/// Retained messages that wait in one queue at most: enough to fill a client's window and a socket, and a small part of the
/// memory of who asks for all of a large tree.
const WAITING_MAX: usize = 256;

/// How far one subscription has come.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) filter: ByteString,
    pub(crate) qos: Qos,
    pub(crate) subscription_id: Option<NonZeroU32>,
    /// The number of the last message when it subscribed: what is retained later comes to it as any other message does.
    pub(crate) upto: u64,
    /// The same when its client last came back: what was retained meanwhile with QoS 0 did not come to it.
    pub(crate) back: u64,
    /// The last topic that was handed out.
    pub(crate) after: Option<ByteString>,
}

impl Owed {
    /// What the session that had this `subscription` before a restart was owed.
    pub(crate) fn restored(subscription: &KeptSubscription, qos: Qos, kept: KeptOwed, last_message: u64) -> Self {
        Self {
            filter: subscription.filter.as_str().into(),
            qos,
            subscription_id: subscription.id,
            upto: kept.upto,
            back: last_message,
            after: kept.after.map(Into::into),
        }
    }

    /// Whether it is owed a message, and did not get it when it was published.
    pub(crate) fn wants(&self, routed: &Routed) -> bool {
        routed.number <= self.upto || (self.qos_of(routed) == Qos::AtMostOnce && routed.number <= self.back)
    }

    /// The QoS that it is sent with.
    pub(crate) fn qos_of(&self, routed: &Routed) -> Qos {
        self.qos.min(routed.message.qos)
    }
}

impl State {
    /// All that is retained for a new subscription is owed, from the beginning.
    pub(crate) fn owe(&mut self, owed: Owed) {
        self.owed.retain(|one| one.filter != owed.filter);
        self.keep_owed(&owed.filter, Some(KeptOwed { after: None, upto: owed.upto }));
        self.owed.push(owed);
    }

    /// A subscription was replaced, and did not ask for retained messages: those of before come as it wants them now.
    pub(crate) fn owe_as(&mut self, filter: &str, qos: Qos, subscription_id: Option<NonZeroU32>) {
        if let Some(one) = self.owed.iter_mut().find(|one| *one.filter == *filter) {
            one.qos = qos;
            one.subscription_id = subscription_id;
        }
    }

    /// There is no such subscription any more.
    pub(crate) fn owe_no_more(&mut self, filter: &str) {
        let before = self.owed.len();
        self.owed.retain(|one| *one.filter != *filter);
        if self.owed.len() < before {
            self.keep_owed(filter, None);
        }
    }

    /// Takes back what was owed before a restart.
    pub(crate) fn restore_owed(&mut self, owed: Owed) {
        self.owed.push(owed);
    }

    /// The client is back; `last_message` is the number of the last message.
    pub(crate) fn came_back(&mut self, last_message: u64) {
        self.owed.iter_mut().for_each(|one| one.back = last_message);
    }

    /// What is to be handed out next and how many of it, if there is room. Who waits for room comes first.
    pub(crate) fn next_owed(&self, limits: &Limits) -> Option<(&Owed, usize)> {
        let next = self.owed.first().filter(|_| self.owner.is_some())?;
        let most = (limits.queue_messages_max / 2).clamp(1, WAITING_MAX);
        let held_back = self.is_congested() || self.queue_bytes >= limits.queue_bytes_max / 2;
        if !self.queue.is_empty() && held_back {
            return None;
        }
        Some((next, most.saturating_sub(self.queue.len()))).filter(|(_, room)| *room > 0)
    }

    /// Whether a connection is to hand something out.
    pub(crate) fn is_owed_now(&self, owner: &Arc<Mailbox>, limits: &Limits) -> bool {
        !self.owed.is_empty() && self.is_owned_by(owner) && self.next_owed(limits).is_some()
    }

    /// Whether a message finds room. One that never will is not waited for.
    pub(crate) fn has_room_for_owed(&self, routed: &Routed, limits: &Limits) -> bool {
        let message = &routed.message;
        self.queue.is_empty()
            || (self.queue_bytes + message.bytes() <= limits.queue_bytes_max
                && message.has_room(limits.all_queues_bytes_max))
    }

    /// All up to this topic was handed out; without one, all there was.
    pub(crate) fn handed_out(&mut self, after: Option<ByteString>) {
        let Some(one) = self.owed.first_mut() else { return };
        let (filter, upto) = (one.filter.clone(), one.upto);
        let kept = after.as_ref().map(|topic| KeptOwed { after: Some(topic.to_string()), upto });
        if after.is_some() {
            one.after = after;
        } else {
            self.owed.remove(0);
        }
        self.keep_owed(&filter, kept);
    }
}
