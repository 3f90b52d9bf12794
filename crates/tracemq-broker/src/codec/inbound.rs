//! The library's packets into ours.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use bytestring::ByteString;
use rmqtt_codec::types::{Publish as WirePublish, QoS};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder;
use tracemq_model::{ProtocolVersion, Reason};

use super::{Raw, plain};
use crate::packet::{
    Connect, Kind, Message, MessageProperties, Packet, Publish, Qos, RetainHandling, Subscription, Will,
};
use crate::rules::Fault;

/// Decodes a packet whose body has passed the rules.
pub(crate) fn decode(raw: Raw, version: ProtocolVersion) -> Result<Packet, Fault> {
    if raw.kind != Kind::Publish {
        return by_library(raw, version);
    }
    match plain::publish(raw, version == ProtocolVersion::V5) {
        Ok(publish) => Ok(Packet::Publish(publish)),
        Err(raw) => by_library(raw, version),
    }
}

pub(super) fn by_library(raw: Raw, version: ProtocolVersion) -> Result<Packet, Fault> {
    let name = raw.kind.name();
    let begin = raw.header;
    let refused = |rule: &str| {
        // The library does not say where.
        let detail = format!("{name}: {rule}, in the body, which begins at byte {begin}");
        Err(Fault::new(Reason::MalformedPacket, 0x81, detail))
    };
    let mut frame = raw.frame;
    match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => match v3::Codec::new(0).decode(&mut frame) {
            Ok(Some((packet, _))) => from_v3(packet, version).ok_or_else(|| foreign(name)),
            Ok(None) => refused("is shorter than it says"),
            Err(error) => refused(&error.to_string()),
        },
        ProtocolVersion::V5 => match v5::Codec::new(0, 0).decode(&mut frame) {
            Ok(Some((packet, _))) => from_v5(packet).ok_or_else(|| foreign(name)),
            Ok(None) => refused("is shorter than it says"),
            Err(error) => refused(&error.to_string()),
        },
    }
}

fn foreign(name: &str) -> Fault {
    Fault::protocol("not one that a client may send").within(name)
}

fn from_v3(packet: v3::Packet, version: ProtocolVersion) -> Option<Packet> {
    Some(match packet {
        v3::Packet::Connect(connect) => Packet::Connect(Box::new(connect_v3(*connect, version))),
        v3::Packet::Publish(publish) => Packet::Publish(publish_from(*publish)),
        v3::Packet::PublishAck { packet_id } => Packet::PubAck { packet_id: packet_id.get() },
        v3::Packet::PublishReceived { packet_id } => Packet::PubRec { packet_id: packet_id.get(), failed: false },
        v3::Packet::PublishRelease { packet_id } => Packet::PubRel { packet_id: packet_id.get() },
        v3::Packet::PublishComplete { packet_id } => Packet::PubComp { packet_id: packet_id.get() },
        v3::Packet::Subscribe { packet_id, topic_filters } => Packet::Subscribe {
            packet_id: packet_id.get(),
            subscription_id: None,
            filters: topic_filters.into_iter().map(subscription_v3).collect(),
        },
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            Packet::Unsubscribe { packet_id: packet_id.get(), filters: topic_filters }
        }
        v3::Packet::PingRequest => Packet::PingReq,
        v3::Packet::Disconnect => Packet::Disconnect { reason_code: None, session_expiry_s: None },
        v3::Packet::ConnectAck(_)
        | v3::Packet::SubscribeAck { .. }
        | v3::Packet::UnsubscribeAck { .. }
        | v3::Packet::PingResponse => return None,
    })
}

fn from_v5(packet: v5::Packet) -> Option<Packet> {
    Some(match packet {
        v5::Packet::Connect(connect) => Packet::Connect(Box::new(connect_v5(*connect))),
        v5::Packet::Publish(publish) => Packet::Publish(publish_from(*publish)),
        v5::Packet::PublishAck(ack) => Packet::PubAck { packet_id: ack.packet_id.get() },
        v5::Packet::PublishReceived(ack) => {
            Packet::PubRec { packet_id: ack.packet_id.get(), failed: u8::from(ack.reason_code) >= 0x80 }
        }
        v5::Packet::PublishRelease(ack) => Packet::PubRel { packet_id: ack.packet_id.get() },
        v5::Packet::PublishComplete(ack) => Packet::PubComp { packet_id: ack.packet_id.get() },
        v5::Packet::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: subscribe.packet_id.get(),
            subscription_id: subscribe.id,
            filters: subscribe.topic_filters.into_iter().map(subscription_v5).collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { packet_id: unsubscribe.packet_id.get(), filters: unsubscribe.topic_filters }
        }
        v5::Packet::PingRequest => Packet::PingReq,
        v5::Packet::Disconnect(disconnect) => Packet::Disconnect {
            reason_code: Some(disconnect.reason_code.into()),
            session_expiry_s: disconnect.session_expiry_interval_secs,
        },
        v5::Packet::ConnectAck(_)
        | v5::Packet::SubscribeAck(_)
        | v5::Packet::UnsubscribeAck(_)
        | v5::Packet::PingResponse
        | v5::Packet::Auth(_) => return None,
    })
}

fn qos_from(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn connect_v3(connect: v3::Connect, version: ProtocolVersion) -> Connect {
    Connect {
        version,
        clean_start: connect.clean_session,
        keep_alive_s: connect.keep_alive,
        client_id: connect.client_id,
        username: connect.username,
        password: connect.password,
        will: connect.last_will.map(|will| Will {
            message: Arc::new(Message {
                topic: will.topic,
                payload: will.message,
                qos: qos_from(will.qos),
                retain: will.retain,
                expiry_s: None,
                properties: None,
                trace: None,
                kept: OnceLock::new(),
            }),
            delay_s: 0,
        }),
        session_expiry_s: if connect.clean_session { 0 } else { u32::MAX },
        receive_max: u16::MAX,
        packet_bytes_max: u32::MAX,
        topic_alias_max: 0,
        wants_problems: false,
        wants_response: false,
    }
}

fn connect_v5(connect: v5::Connect) -> Connect {
    Connect {
        version: ProtocolVersion::V5,
        clean_start: connect.clean_start,
        keep_alive_s: connect.keep_alive,
        client_id: connect.client_id,
        username: connect.username,
        password: connect.password,
        will: connect.last_will.map(will_v5),
        session_expiry_s: connect.session_expiry_interval_secs,
        receive_max: connect.receive_max.map_or(u16::MAX, NonZeroU16::get),
        packet_bytes_max: connect.max_packet_size.map_or(u32::MAX, NonZeroU32::get),
        topic_alias_max: connect.topic_alias_max,
        wants_problems: connect.request_problem_info,
        wants_response: connect.request_response_info,
    }
}

fn will_v5(will: v5::LastWill) -> Will {
    Will {
        delay_s: will.will_delay_interval_sec.unwrap_or(0),
        message: Arc::new(Message {
            topic: will.topic,
            payload: will.message,
            qos: qos_from(will.qos),
            retain: will.retain,
            expiry_s: will.message_expiry_interval,
            properties: boxed(MessageProperties {
                utf8_payload: will.is_utf8_payload.unwrap_or(false),
                content_type: will.content_type,
                response_topic: will.response_topic,
                correlation_data: will.correlation_data,
                user: will.user_properties,
            }),
            trace: None,
            kept: OnceLock::new(),
        }),
    }
}

/// None for the usual message, which has no properties.
fn boxed(properties: MessageProperties) -> Option<Box<MessageProperties>> {
    (properties != MessageProperties::default()).then(|| Box::new(properties))
}

fn publish_from(publish: WirePublish) -> Publish {
    let properties = publish.properties.unwrap_or_default();
    Publish {
        packet_id: publish.packet_id.map_or(0, NonZeroU16::get),
        alias: properties.topic_alias.map(NonZeroU16::get),
        message: Message {
            topic: publish.topic,
            payload: if publish.payload.is_empty() { Bytes::new() } else { publish.payload },
            qos: qos_from(publish.qos),
            retain: publish.retain,
            expiry_s: properties.message_expiry_interval,
            properties: boxed(MessageProperties {
                utf8_payload: properties.is_utf8_payload,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data,
                user: properties.user_properties,
            }),
            trace: None,
            kept: OnceLock::new(),
        },
    }
}

fn subscription_v3((filter, qos): (ByteString, QoS)) -> Subscription {
    Subscription {
        filter,
        qos: qos_from(qos),
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    }
}

fn subscription_v5((filter, options): (ByteString, v5::SubscriptionOptions)) -> Subscription {
    Subscription {
        filter,
        qos: qos_from(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: match options.retain_handling {
            v5::RetainHandling::AtSubscribe => RetainHandling::Always,
            v5::RetainHandling::AtSubscribeNew => RetainHandling::IfNew,
            v5::RetainHandling::NoAtSubscribe => RetainHandling::Never,
        },
    }
}
