//! Packets and messages in the crate's own words: what the codec module hands in and takes out.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use bytestring::ByteString;
use tracemq_model::{MessageId, ProtocolVersion};

pub(crate) use tracemq_model::PacketKind as Kind;

use crate::keeping::KeptMessage;
use crate::limits::Tick;
use crate::session::{Naming, Published};

/// Quality of service.
#[expect(clippy::enum_variant_names, reason = "the standard's words")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Qos {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// Properties of a message that go through untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageProperties {
    pub(crate) utf8_payload: bool,
    pub(crate) content_type: Option<ByteString>,
    pub(crate) response_topic: Option<ByteString>,
    pub(crate) correlation_data: Option<Bytes>,
    pub(crate) user: Vec<(ByteString, ByteString)>,
}

impl MessageProperties {
    fn bytes(&self) -> usize {
        self.content_type.as_ref().map_or(0, |text| text.len())
            + self.response_topic.as_ref().map_or(0, |text| text.len())
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + self.user.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>()
    }
}

/// An application message, shared by all who get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: ByteString,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// Seconds that it may live, as sent.
    pub(crate) expiry_s: Option<NonZeroU32>,
    pub(crate) properties: Option<Box<MessageProperties>>,
    /// By which its way is told; none when it is not.
    pub(crate) trace: Option<Box<MessageId>>,
    /// The same as it is kept over a restart, once that was asked for.
    pub(crate) kept: OnceLock<Arc<KeptMessage>>,
}

impl Message {
    /// What it is taken to cost in a queue.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_ref().map_or(0, |properties| properties.bytes())
    }
}

/// A message that was routed, with the moment at which it stops to matter.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    /// In the order of publication; under which it is kept over a restart.
    pub(crate) number: u64,
    pub(crate) message: Arc<Published>,
    pub(crate) expires: Option<Tick>,
}

impl Routed {
    pub(crate) fn at(now: Tick, number: u64, message: Arc<Published>) -> Self {
        let expires = message.expiry_s.map(|seconds| now.plus_s(seconds.get()));
        Self { number, message, expires }
    }

    pub(crate) fn is_expired(&self, now: Tick) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Seconds left of its life; at least one, since an expired message is not sent.
    pub(crate) fn seconds_left(&self, now: Tick) -> Option<NonZeroU32> {
        let left = self.expires?.since(now).div_ceil(1000);
        Some(u32::try_from(left).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN))
    }
}

/// A will.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) message: Arc<Message>,
    pub(crate) delay_s: u32,
}

/// A CONNECT that keeps all rules.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) version: ProtocolVersion,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) client_id: ByteString,
    pub(crate) username: Option<ByteString>,
    pub(crate) password: Option<Bytes>,
    pub(crate) will: Option<Will>,
    pub(crate) session_expiry_s: u32,
    pub(crate) receive_max: u16,
    pub(crate) packet_bytes_max: u32,
    /// The highest topic alias that it takes.
    pub(crate) topic_alias_max: u16,
    /// Whether it wants reasons in words.
    pub(crate) wants_problems: bool,
    /// Whether it wants Response Information.
    pub(crate) wants_response: bool,
}

/// A PUBLISH that keeps all rules.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) message: Message,
    /// 0 for QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) alias: Option<u16>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) filter: ByteString,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// Send retained messages: always, only to a new subscription, never.
    pub(crate) retain_handling: RetainHandling,
}

/// When a subscription asks for retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    IfNew,
    Never,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Packet {
    Connect(Box<Connect>),
    Publish(Publish),
    PubAck { packet_id: u16 },
    PubRec { packet_id: u16, failed: bool },
    PubRel { packet_id: u16 },
    PubComp { packet_id: u16 },
    Subscribe { packet_id: u16, subscription_id: Option<NonZeroU32>, filters: Vec<Subscription> },
    Unsubscribe { packet_id: u16, filters: Vec<ByteString> },
    PingReq,
    Disconnect { reason_code: Option<u8>, session_expiry_s: Option<u32> },
}

/// A PUBLISH to a client.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) message: &'a Message,
    pub(crate) qos: Qos,
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) expiry_s: Option<NonZeroU32>,
    pub(crate) subscription_ids: &'a [NonZeroU32],
    /// How its topic is written.
    pub(crate) naming: Naming,
}

/// A CONNACK with success.
#[derive(Clone, Debug, Default)]
pub(crate) struct Welcome {
    pub(crate) session_present: bool,
    pub(crate) assigned: Option<ByteString>,
    pub(crate) server_keep_alive_s: Option<u16>,
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) receive_max: u16,
    pub(crate) packet_bytes_max: u32,
    pub(crate) topic_alias_max: u16,
    /// Below which topic it may have itself answered.
    pub(crate) response_information: Option<ByteString>,
}

/// What is sent to a client.
#[derive(Debug)]
pub(crate) enum Outgoing<'a> {
    Welcome(Welcome),
    Refusal { code: u8, about: About<'a> },
    Publish(Delivery<'a>),
    PubAck { packet_id: u16, code: u8 },
    PubRec { packet_id: u16, code: u8 },
    PubRel { packet_id: u16, code: u8 },
    PubComp { packet_id: u16, code: u8 },
    SubAck { packet_id: u16, codes: &'a [u8] },
    UnsubAck { packet_id: u16, codes: &'a [u8] },
    PingResp,
    Disconnect { code: u8, about: About<'a> },
}

/// What an MQTT 5.0 client is told beside the code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    /// Reason String.
    pub(crate) reason: Option<&'a str>,
    /// Server Reference.
    pub(crate) server: Option<&'a str>,
}

impl Outgoing<'_> {
    /// What kind of packet it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Welcome(_) | Self::Refusal { .. } => Kind::ConnAck,
            Self::Publish(_) => Kind::Publish,
            Self::PubAck { .. } => Kind::PubAck,
            Self::PubRec { .. } => Kind::PubRec,
            Self::PubRel { .. } => Kind::PubRel,
            Self::PubComp { .. } => Kind::PubComp,
            Self::SubAck { .. } => Kind::SubAck,
            Self::UnsubAck { .. } => Kind::UnsubAck,
            Self::PingResp => Kind::PingResp,
            Self::Disconnect { .. } => Kind::Disconnect,
        }
    }
}
