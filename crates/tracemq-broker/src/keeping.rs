//! What outlives the process: sessions that wait for their clients, the messages in them, their clients' wills, and retained
//! messages.
//!
//! The broker tells a [`Keeper`] each change, and holds an acknowledgement back until what it acknowledges is durable. The
//! keeper never makes it wait: a change gets a [`Mark`], and whoever needs it durable is woken when it is.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracemq_model::MessageId;

use crate::link::Permissions;

/// A moment in the order of all changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// What makes changes durable.
pub trait Keeper: Send + Sync + fmt::Debug {
    /// Takes changes, which become durable together and in the order of the calls. Never waits. Gives the mark at which they
    /// are.
    fn keep(&self, changes: Vec<Change>) -> Mark;

    /// The mark of the last change that was taken.
    fn taken(&self) -> Mark;

    /// All changes up to this mark are durable.
    fn kept(&self) -> Mark;

    /// Does `work`; all changes that are taken within it become durable together. Not to be called within `work`, nor while
    /// anything is locked that others lock within theirs.
    fn together(&self, work: &mut dyn FnMut());

    /// Wakes the task once `mark` is durable; at once when it is.
    fn wake_at(&self, mark: Mark, waker: &Waker);

    /// Whether more should be taken from clients: false while what waits to become durable is at its bound.
    fn has_room(&self) -> bool;
}

/// One change. Numbers are the broker's: a session's is never given again, nor is a message's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session is there, or has changed.
    Session(u64, KeptSession),
    /// A session has ended, with all that was in it.
    SessionEnded(u64),
    /// A message that entries and retained topics refer to by number; handed over in the same call as each new one of these.
    /// It is kept as long as there is one.
    Message(u64, Arc<KeptMessage>),
    /// A message waits in a session, or has come further: session, place in its order, and how far it is.
    Entry(u64, u64, KeptEntry),
    /// It waits no more.
    EntryGone(u64, u64),
    /// How far the retained messages of a session's subscription, by its filter, have been handed out; none when all have.
    Owed(u64, String, Option<KeptOwed>),
    /// A message of QoS 2 of the client was routed, and is not yet released: session and packet identifier [MQTT-4.3.3-10].
    Received(u64, u16),
    /// The client has released it.
    Released(u64, u16),
    /// The message of that number is the topic's retained one; none when there is none any more.
    Retained(String, Option<u64>),
    /// The will of that number is to be published once it is due, or with its session's end; none when it was, or never will
    /// be. It outlives its session until then.
    Will(u64, Option<Box<KeptWill>>),
}

/// A session, without its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSession {
    /// The client identifier.
    pub client: String,
    /// The user that whoever made it had proven to be.
    pub username: Option<String>,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    /// When it ends, by the wall clock in milliseconds since 1970; none while its client is connected.
    pub expires: Option<i64>,
    /// Its subscriptions.
    pub subscriptions: Vec<KeptSubscription>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSubscription {
    /// The topic filter, as subscribed (`$share/group/filter` for a shared one).
    pub filter: String,
    /// The highest QoS.
    pub qos: u8,
    /// Not what the session itself publishes.
    pub no_local: bool,
    /// The retain flag as it was published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub id: Option<NonZeroU32>,
}

/// Retained messages that a subscription has asked for and that are not among the session's messages yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOwed {
    /// The last topic that was handed out.
    pub after: Option<String>,
    /// The number of the last message when it subscribed; later ones are not owed.
    pub upto: u64,
}

/// An application message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessage {
    /// The topic name.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// QoS as it was published.
    pub qos: u8,
    /// The retain flag as it was published.
    pub retain: bool,
    /// When it stops to matter, by the wall clock in milliseconds since 1970.
    pub expires: Option<i64>,
    /// The payload is declared to be UTF-8.
    pub utf8_payload: bool,
    /// Content type.
    pub content_type: Option<String>,
    /// Response topic.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<Bytes>,
    /// User properties, in their order.
    pub user: Vec<(String, String)>,
    /// By which its way is told. Not among what is encoded: whoever keeps it keeps this beside it.
    #[serde(skip)]
    pub trace: Option<MessageId>,
}

/// The will of a client whose session is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWill {
    /// The number of its session.
    pub session: u64,
    /// What is published. Its life begins then, so that no moment is set at which it expires.
    pub message: KeptMessage,
    /// Seconds that it lives.
    pub expiry_s: Option<NonZeroU32>,
    /// Seconds between the end of the connection and its publication.
    pub delay_s: u32,
    /// When it is published, by the wall clock in milliseconds since 1970; none while its client is connected.
    pub due: Option<i64>,
    /// What its client's rights are found by; none when they ended with the process ([`Permissions::keepsake`]).
    ///
    /// [`Permissions::keepsake`]: crate::Permissions::keepsake
    pub keepsake: Option<String>,
}

/// Gives the permissions of a client that is away, by its [`Permissions::keepsake`](crate::Permissions::keepsake); none when
/// it has none any more.
pub type Recall<'a> = dyn Fn(&str) -> Option<Arc<dyn Permissions>> + 'a;

/// A message in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEntry {
    /// Its number.
    pub message: u64,
    /// The QoS that it is sent with.
    pub qos: u8,
    /// The retain flag that it is sent with.
    pub retain: bool,
    /// The subscriptions that matched.
    pub subscription_ids: Vec<NonZeroU32>,
    /// The shared subscription by which it came.
    pub shared: Option<String>,
    /// How far it is.
    pub stage: KeptStage,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptStage {
    /// It waits.
    Queued,
    /// It may have been sent with this packet identifier, and is sent with it again.
    Published(u16),
    /// The client has it; PUBREL with this packet identifier is owed.
    Released(u16),
}

/// All that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The sessions, by number.
    pub sessions: Vec<(u64, KeptSession)>,
    /// The messages in them: session, place, entry; in the order of places.
    pub entries: Vec<(u64, u64, KeptEntry)>,
    /// What is retained and still owed: session, filter of the subscription, how far it is.
    pub owed: Vec<(u64, String, KeptOwed)>,
    /// Messages of clients that were routed and not released: session and packet identifier.
    pub received: Vec<(u64, u16)>,
    /// The messages, by number.
    pub messages: Vec<(u64, Arc<KeptMessage>)>,
    /// Retained messages: topic and number.
    pub retained: Vec<(String, u64)>,
    /// Wills, in the order of their numbers.
    pub wills: Vec<(u64, KeptWill)>,
}
