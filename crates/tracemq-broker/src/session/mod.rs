//! What is kept for a client beyond its connection: subscriptions, messages waiting and under way, packet identifiers.
//!
//! Others put messages in, the owner's link takes them out. Locks are taken in the order broker, session, mailbox, and
//! never the other way.

mod mailbox;
mod outgoing;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use tracemq_model::ClientId;

pub(crate) use mailbox::Mailbox;
pub(crate) use outgoing::{Acknowledged, Pump};

use crate::limits::{Limits, Tick};
use crate::link::Permissions;
use crate::packet::{Message, Qos, Routed};

/// A message for one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) routed: Routed,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<NonZeroU32>,
    /// The shared subscription by which it came: should the session end, another member gets it.
    pub(crate) shared: Option<Arc<str>>,
}

/// What became of a message that was put into a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// It is in the queue.
    pub(crate) taken: bool,
    /// Messages that were dropped for want of room: itself, or older ones of QoS 0.
    pub(crate) dropped: u64,
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

/// How far a message of QoS 1 or 2 is.
#[derive(Debug)]
enum Stage {
    /// PUBLISH is to be acknowledged.
    Published(Queued),
    /// PUBREC has come, PUBCOMP is to come.
    Released,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    /// Sent on the present connection.
    sent: bool,
    /// Sent on an earlier one.
    dup: bool,
    stage: Stage,
}

/// What is known of the present owner's rights to what comes.
#[derive(Clone, Copy, Debug)]
struct Judged {
    /// Under which rules.
    generation: u64,
    /// All subscriptions are allowed.
    whole: bool,
}

/// A will that waits for its delay to pass.
pub(crate) struct PendingWill {
    pub(crate) message: Arc<Message>,
    pub(crate) permissions: Arc<dyn Permissions>,
    pub(crate) due: Tick,
}

/// A client's session.
pub(crate) struct Session {
    /// Unique among all sessions of this broker's life, in the order of creation.
    pub(crate) number: u64,
    pub(crate) client: ClientId,
    state: Mutex<State>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {:?})", self.number, self.client)
    }
}

/// The part of a session that changes.
#[derive(Default)]
pub(crate) struct State {
    /// The link that owns it now.
    pub(crate) owner: Option<Arc<Mailbox>>,
    /// Sorted; a small list, since most clients have one or two.
    pub(crate) filters: Vec<ByteString>,
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    queued_at_most_once: usize,
    in_flight: VecDeque<InFlight>,
    last_packet_id: u16,
    /// How many more PUBLISH of QoS 1 and 2 the client takes now.
    credit: u16,
    window: u16,
    /// QoS 2 messages of the client that were routed and not yet released [MQTT-4.3.3-10].
    received: BTreeSet<u16>,
    judged: Option<Judged>,
    /// The user name of whoever made it: nobody else resumes it.
    pub(crate) username: Option<Arc<str>>,
    pub(crate) expiry_s: u32,
    /// When it ends, while nobody owns it.
    pub(crate) expires: Option<Tick>,
    /// Under which moment the broker's calendar has it.
    pub(crate) due: Option<Tick>,
    pub(crate) will: Option<Box<PendingWill>>,
    /// It is no longer the client's session: replaced or expired.
    pub(crate) ended: bool,
}

/// What became of a client's PUBLISH of QoS 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// To be routed.
    New,
    /// Routed before; only acknowledged again.
    Repeated,
    /// More than the receive maximum.
    TooMany,
}

impl Session {
    pub(crate) fn new(number: u64, client: ClientId) -> Self {
        Self { number, client, state: Mutex::default() }
    }

    /// The state. A panic of another thread that held it leaves at worst one message half counted.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A link takes it over: what is under way must be sent again.
    pub(crate) fn resume(&mut self, owner: Arc<Mailbox>, window: u16, expiry_s: u32) {
        self.owner = Some(owner);
        self.window = window;
        self.credit = window;
        self.expiry_s = expiry_s;
        self.expires = None;
        self.judged = None;
        self.will = None;
        for one in &mut self.in_flight {
            one.dup |= one.sent;
            one.sent = false;
        }
    }

    /// Whether `mailbox` is the owner's.
    pub(crate) fn is_owned_by(&self, mailbox: &Arc<Mailbox>) -> bool {
        self.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, mailbox))
    }

    /// Puts a message in.
    ///
    /// Nothing of QoS 0 waits for a client that is away. When the queue is at its bound, the oldest of QoS 0 makes room
    /// for one of QoS 1 or 2; else the newcomer is dropped, so that what was accepted first is delivered first.
    pub(crate) fn push(&mut self, queued: Queued, limits: &Limits) -> Pushed {
        let at_most_once = queued.qos == Qos::AtMostOnce;
        if at_most_once && self.owner.is_none() {
            return Pushed::default();
        }
        let size = queued.routed.message.bytes();
        let mut dropped = 0;
        while self.queue.len() >= limits.queue_messages_max || self.queue_bytes + size > limits.queue_bytes_max {
            if at_most_once || !self.drop_one_at_most_once() {
                return Pushed { taken: false, dropped: dropped + 1 };
            }
            dropped += 1;
        }
        self.queue_bytes += size;
        self.queued_at_most_once += usize::from(at_most_once);
        self.queue.push_back(queued);
        Pushed { taken: true, dropped }
    }

    /// How soon a message of that kind would reach the client.
    pub(crate) fn readiness(&self, qos: Qos, size: usize, limits: &Limits) -> Readiness {
        let room = self.queue.len() < limits.queue_messages_max && self.queue_bytes + size <= limits.queue_bytes_max;
        let fits = room || (qos != Qos::AtMostOnce && self.queued_at_most_once > 0);
        match (&self.owner, fits && !self.ended) {
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
                    taken.push(queued);
                } else {
                    self.queue.push_back(queued);
                }
            }
        }
        taken
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

    fn uncount(&mut self, queued: &Queued) {
        self.queue_bytes -= queued.routed.message.bytes();
        self.queued_at_most_once -= usize::from(queued.qos == Qos::AtMostOnce);
    }

    /// Notes a QoS 2 message of the client.
    pub(crate) fn receive(&mut self, packet_id: u16, receive_max: usize) -> Receipt {
        if self.received.contains(&packet_id) {
            return Receipt::Repeated;
        }
        if self.received.len() >= receive_max {
            return Receipt::TooMany;
        }
        self.received.insert(packet_id);
        Receipt::New
    }

    /// The client releases a QoS 2 message; tells whether it was known.
    pub(crate) fn release(&mut self, packet_id: u16) -> bool {
        self.received.remove(&packet_id)
    }

    /// Adds a filter to the list that is gone through when the session ends.
    pub(crate) fn note_filter(&mut self, filter: &str) {
        if let Err(at) = self.filters.binary_search_by(|known| (**known).cmp(filter)) {
            if self.filters.is_empty() {
                self.filters.reserve_exact(1);
            }
            // A copy: a slice would keep the whole SUBSCRIBE packet alive.
            self.filters.insert(at, ByteString::from(filter.to_owned()));
        }
    }

    /// Takes it off that list.
    pub(crate) fn forget_filter(&mut self, filter: &str) {
        if let Ok(at) = self.filters.binary_search_by(|known| (**known).cmp(filter)) {
            self.filters.remove(at);
        }
    }
}
