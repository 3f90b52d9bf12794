//! Messages of somebody who has no connection here: those that the server is asked to send.

use std::sync::OnceLock;
use std::task::Waker;

use bytes::Bytes;
use tracemq_model::MessageId;

use super::Broker;
use super::publish::Progress;
use crate::keeping::Mark;
use crate::limits::Tick;
use crate::packet::{Message, Qos};
use crate::rules;
use crate::session::Wakes;

/// A message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Under which its way is told; none when it is not.
    pub id: Option<MessageId>,
    /// What of it outlives the process does once this is durable; none when nothing has to.
    pub kept: Option<Mark>,
}

/// Why a message is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// No message can be published to that topic: which rule, in words.
    Topic(String),
    /// Some should get it, and none of them has room; or more waits to become durable than may.
    Full,
}

impl Broker {
    /// Publishes `payload` to `topic` with QoS 1, not retained. Never waits: who has no room for it goes without it. Topic rules bind
    /// clients; here whoever calls has been asked for its rights.
    ///
    /// # Errors
    /// See [`NotSent`].
    pub fn send(&self, now: Tick, topic: &str, payload: Bytes) -> Result<Sent, NotSent> {
        rules::name("topic", topic, &self.limits).map_err(|fault| NotSent::Topic(fault.detail))?;
        if self.keeper().is_some_and(|keeper| !keeper.has_room()) {
            return Err(NotSent::Full);
        }
        let mut message = Message {
            topic: topic.into(),
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: OnceLock::new(),
        };
        self.begin_trace(&mut message, None, None);
        let id = message.trace.as_deref().copied();
        match self.publish(now, 0, message, None, &mut Wakes::default()) {
            Progress::Done { kept } => {
                Ok(Sent { id, kept: self.keeper().filter(|_| kept).map(|keeper| keeper.taken()) })
            }
            // It waits for nobody, since nobody waits for it.
            Progress::Refused | Progress::Waits(_) => Err(NotSent::Full),
        }
    }

    /// Whether all that was taken up to `mark` is durable. If not, `waker` is woken when it is.
    pub fn is_kept(&self, mark: Mark, waker: &Waker) -> bool {
        let Some(keeper) = self.keeper() else { return true };
        let is_kept = keeper.kept() >= mark;
        if !is_kept {
            keeper.wake_at(mark, waker);
        }
        is_kept
    }
}
