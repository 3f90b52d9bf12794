//! Messages whose way is told: published, delivered, queued, dropped. Which ones, the [`Tracer`] says at their PUBLISH.

use std::fmt;
use std::sync::Arc;

use tracemq_model::{ClientId, ConnectionId, MessageId};

use super::Broker;
use crate::packet::{Message, Qos};

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The client's PUBLISH, or its will, was taken.
    Published,
    /// The PUBLISH to the client was written, for the first time in this session.
    Delivered,
    /// It waits in the session of a client that is away.
    Queued,
    /// It was for the client, and will not reach it: why, in words.
    Dropped(&'static str),
}

/// What is told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced<'a> {
    /// Which message.
    pub id: MessageId,
    /// How far it has come.
    pub passage: Passage,
    /// Who published it, or for whom it is; none where that is nobody in particular.
    pub client: Option<&'a ClientId>,
    /// Over which connection; none for a client that is away.
    pub connection: Option<ConnectionId>,
    /// Its topic.
    pub topic: &'a str,
    /// With which QoS.
    pub qos: u8,
    /// Bytes of its payload.
    pub payload_bytes: usize,
}

/// Who is told. Called on the path of messages, often while a session is locked: it must neither wait nor call the broker.
pub trait Tracer: Send + Sync + fmt::Debug {
    /// The id of a message that a client publishes to `topic` now; none when its way is not to be told.
    fn choose(&self, topic: &str) -> Option<MessageId>;

    /// A message that was chosen has come further.
    fn tell(&self, traced: Traced<'_>);
}

/// A session's end of the way.
#[derive(Clone, Copy)]
pub(crate) struct Traces<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) client: &'a ClientId,
    pub(crate) connection: ConnectionId,
}

impl Traces<'_> {
    pub(crate) fn tell(&self, message: &Message, qos: Qos, passage: Passage) {
        self.broker.tell_passage(message, qos, passage, Some(self.client), Some(self.connection));
    }
}

impl Broker {
    /// From now on `tracer` is told. The first one stays.
    pub fn trace_messages(&self, tracer: Arc<dyn Tracer>) {
        let _ = self.tracer.set(tracer);
    }

    /// A message of `client` was taken: asks whether it is to be traced, and tells of it.
    pub(crate) fn begin_trace(
        &self,
        message: &mut Message,
        client: Option<&ClientId>,
        connection: Option<ConnectionId>,
    ) {
        let Some(tracer) = self.tracer.get() else { return };
        message.trace = tracer.choose(&message.topic).map(Box::new);
        self.tell_passage(message, message.qos, Passage::Published, client, connection);
    }

    /// A message has come further, if it is one whose way is told.
    pub(crate) fn tell_passage(
        &self,
        message: &Message,
        qos: Qos,
        passage: Passage,
        client: Option<&ClientId>,
        connection: Option<ConnectionId>,
    ) {
        let (Some(id), Some(tracer)) = (message.trace.as_deref(), self.tracer.get()) else { return };
        let (topic, payload_bytes) = (&message.topic, message.payload.len());
        tracer.tell(Traced { id: *id, passage, client, connection, topic, qos: qos.code(), payload_bytes });
    }
}
