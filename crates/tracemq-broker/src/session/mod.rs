//! What is kept for a client beyond its connection: subscriptions, messages waiting and under way, packet identifiers.
//!
//! Others put messages in, the owner's link takes them out. Locks are taken in the order broker, session, mailbox, and
//! never the other way.

mod aliases;
mod congestion;
mod incoming;
mod ledger;
mod mailbox;
mod outgoing;
mod owed;
mod pool;
mod queue;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use tracemq_model::{ClientId, ProtocolVersion};

pub(crate) use aliases::{Aliases, Naming};
pub(crate) use congestion::Congested;
pub(crate) use incoming::Receipt;
pub(crate) use ledger::{Keeping, Ledger};
pub(crate) use mailbox::{Mailbox, Wakes};
pub(crate) use outgoing::{Acknowledged, Pump};
pub(crate) use owed::Owed;
pub(crate) use pool::{Hold, Pool, Published};
pub(crate) use queue::{Push, Readiness};

use congestion::Congestion;
use incoming::Unfinished;

use crate::keeping::Mark;
use crate::limits::Tick;
use crate::link::Permissions;
use crate::packet::{Message, Qos, Routed};

/// A message for one subscriber.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) routed: Routed,
    /// Once it is in the queue, and for as long as it is held for the client.
    pub(crate) held: Option<Hold>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<NonZeroU32>,
    /// The shared subscription by which it came: should the session end, another member gets it.
    pub(crate) shared: Option<Arc<str>>,
    /// Its place in the order of a session that is kept over a restart; 0 when it is not kept.
    pub(crate) place: u64,
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
    /// As of [`Queued`].
    place: u64,
    /// It is not sent before this is durable.
    mark: Mark,
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

/// How much a session holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) subscriptions: usize,
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    /// Messages of QoS 1 and 2 that the client has not acknowledged.
    pub(crate) in_flight: usize,
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
    /// Retained messages that are to come into the queue.
    owed: Vec<Owed>,
    /// Messages taken out of the queue so far.
    taken_out: u64,
    congestion: Option<Box<Congestion>>,
    /// Links that hold an acknowledgement back until there is room.
    waiting: Vec<Arc<Mailbox>>,
    /// Messages of QoS 1 and 2 that had no room since the client was last told.
    pub(crate) missed: u64,
    in_flight: VecDeque<InFlight>,
    last_packet_id: u16,
    /// How many more PUBLISH of QoS 1 and 2 the client takes now.
    credit: u16,
    window: u16,
    /// QoS 2 messages of the client that were routed and not yet released [MQTT-4.3.3-10].
    received: BTreeSet<u16>,
    /// Those of them that have not reached all and are not yet acknowledged.
    unfinished: Vec<Unfinished>,
    judged: Option<Judged>,
    /// The user that whoever made it had proven to be: nobody else resumes it. A name that was only said is none, or anybody
    /// whom a listener lets in unasked had the sessions of those who prove theirs at another.
    pub(crate) user: Option<Arc<str>>,
    /// What the connection that has it, or had it last, is called.
    pub(crate) username: Option<Arc<str>>,
    /// Of the connection that has it, or had it last.
    pub(crate) protocol: Option<ProtocolVersion>,
    pub(crate) expiry_s: u32,
    /// When it ends, while nobody owns it.
    pub(crate) expires: Option<Tick>,
    /// Under which moment the broker's calendar has it.
    pub(crate) due: Option<Tick>,
    pub(crate) will: Option<Box<PendingWill>>,
    /// It is no longer the client's session: replaced or expired.
    pub(crate) ended: bool,
    /// What is handed to the keeper of it; none when it is not kept over a restart.
    pub(crate) ledger: Option<Box<Ledger>>,
}

impl Session {
    pub(crate) fn new(number: u64, client: ClientId) -> Self {
        Self { number, client, state: Mutex::default() }
    }

    /// The state. A panic of another thread that held it leaves at worst one message half counted.
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One that was kept.
    pub(crate) fn restored(number: u64, client: ClientId, state: State) -> Self {
        Self { number, client, state: Mutex::new(state) }
    }
}

/// The locked state. What changed of a session that is kept goes to the keeper before it is unlocked, so that the keeper has
/// the changes of each session in their order.
pub(crate) struct Locked<'a>(MutexGuard<'a, State>);

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.hand_over_changes();
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
        self.forget_will();
        self.watch_anew();
        for one in &mut self.in_flight {
            one.dup |= one.sent;
            one.sent = false;
        }
    }

    /// Whether `mailbox` is the owner's.
    pub(crate) fn is_owned_by(&self, mailbox: &Arc<Mailbox>) -> bool {
        self.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, mailbox))
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Held {
        Held {
            subscriptions: self.filters.len(),
            queued: self.queue.len(),
            queued_bytes: self.queue_bytes,
            in_flight: self.in_flight.len(),
        }
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
