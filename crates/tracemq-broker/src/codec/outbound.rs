//! Our packets into the library's, and into bytes.

use std::num::NonZeroU16;

use bytes::BytesMut;
use bytestring::ByteString;
use rmqtt_codec::types::{Publish as WirePublish, QoS};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Encoder;
use tracemq_model::ProtocolVersion;

use super::plain;
use crate::packet::{Delivery, Outgoing, Qos, Welcome};
use crate::session::Naming;

/// The library panics when a 3.x packet is longer than MQTT can say; nothing near that is handed to it.
pub(super) const CONTENT_BYTES_MAX: usize = 0x0fff_0000;

/// It can't be written: too long, or a code that the packet can't carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotEncodable;

/// Appends `packet` to `output`, whole or not at all.
pub(crate) fn encode(
    version: ProtocolVersion,
    packet: &Outgoing<'_>,
    output: &mut BytesMut,
) -> Result<(), NotEncodable> {
    plain::encode(version, packet, output).unwrap_or_else(|| by_library(version, packet, output))
}

pub(super) fn by_library(
    version: ProtocolVersion,
    packet: &Outgoing<'_>,
    output: &mut BytesMut,
) -> Result<(), NotEncodable> {
    let before = output.len();
    let done = match version {
        ProtocolVersion::V31 | ProtocolVersion::V311 => to_v3(version, packet)
            .ok_or(NotEncodable)
            .and_then(|packet| v3::Codec::new(0).encode(packet, output).map_err(|_| NotEncodable)),
        ProtocolVersion::V5 => to_v5(packet)
            .ok_or(NotEncodable)
            .and_then(|packet| v5::Codec::new(0, 0).encode(packet, output).map_err(|_| NotEncodable)),
    };
    if done.is_err() {
        output.truncate(before); // the library writes the header before it finds out
    }
    done
}

fn to_v3(version: ProtocolVersion, packet: &Outgoing<'_>) -> Option<v3::Packet> {
    let id = NonZeroU16::new;
    Some(match *packet {
        Outgoing::Welcome(ref welcome) => v3::Packet::ConnectAck(v3::ConnectAck {
            return_code: v3::ConnectAckReason::ConnectionAccepted,
            // MQTT 3.1 has no such flag: the byte is reserved.
            session_present: welcome.session_present && version != ProtocolVersion::V31,
        }),
        Outgoing::Refusal { code, .. } => {
            v3::Packet::ConnectAck(v3::ConnectAck { return_code: code.try_into().ok()?, session_present: false })
        }
        Outgoing::Publish(ref delivery) => v3::Packet::Publish(Box::new(publish(delivery, false)?)),
        Outgoing::PubAck { packet_id, .. } => v3::Packet::PublishAck { packet_id: id(packet_id)? },
        Outgoing::PubRec { packet_id, .. } => v3::Packet::PublishReceived { packet_id: id(packet_id)? },
        Outgoing::PubRel { packet_id, .. } => v3::Packet::PublishRelease { packet_id: id(packet_id)? },
        Outgoing::PubComp { packet_id, .. } => v3::Packet::PublishComplete { packet_id: id(packet_id)? },
        Outgoing::SubAck { packet_id, codes } => v3::Packet::SubscribeAck {
            packet_id: id(packet_id)?,
            status: codes
                .iter()
                .map(|code| match QoS::try_from(*code) {
                    Ok(qos) => v3::SubscribeReturnCode::Success(qos),
                    Err(_) => v3::SubscribeReturnCode::Failure,
                })
                .collect(),
        },
        Outgoing::UnsubAck { packet_id, .. } => v3::Packet::UnsubscribeAck { packet_id: id(packet_id)? },
        Outgoing::PingResp => v3::Packet::PingResponse,
        Outgoing::Disconnect { .. } => return None,
    })
}

fn to_v5(packet: &Outgoing<'_>) -> Option<v5::Packet> {
    let ack = |packet_id, code: u8| {
        Some(v5::PublishAck {
            packet_id: NonZeroU16::new(packet_id)?,
            reason_code: code.try_into().ok()?,
            properties: Vec::new(),
            reason_string: None,
        })
    };
    let ack2 = |packet_id, code: u8| {
        Some(v5::PublishAck2 {
            packet_id: NonZeroU16::new(packet_id)?,
            reason_code: code.try_into().ok()?,
            properties: Vec::new(),
            reason_string: None,
        })
    };
    Some(match *packet {
        Outgoing::Welcome(ref welcome) => v5::Packet::ConnectAck(Box::new(connack(welcome)?)),
        Outgoing::Refusal { code, about } => v5::Packet::ConnectAck(Box::new(v5::ConnectAck {
            reason_code: code.try_into().ok()?,
            reason_string: about.reason.map(ByteString::from),
            server_reference: about.server.map(ByteString::from),
            ..v5::ConnectAck::default()
        })),
        Outgoing::Publish(ref delivery) => v5::Packet::Publish(Box::new(publish(delivery, true)?)),
        Outgoing::PubAck { packet_id, code } => v5::Packet::PublishAck(ack(packet_id, code)?),
        Outgoing::PubRec { packet_id, code } => v5::Packet::PublishReceived(ack(packet_id, code)?),
        Outgoing::PubRel { packet_id, code } => v5::Packet::PublishRelease(ack2(packet_id, code)?),
        Outgoing::PubComp { packet_id, code } => v5::Packet::PublishComplete(ack2(packet_id, code)?),
        Outgoing::SubAck { packet_id, codes } => v5::Packet::SubscribeAck(v5::SubscribeAck {
            packet_id: NonZeroU16::new(packet_id)?,
            properties: Vec::new(),
            reason_string: None,
            status: codes.iter().map(|code| (*code).try_into().ok()).collect::<Option<_>>()?,
        }),
        Outgoing::UnsubAck { packet_id, codes } => v5::Packet::UnsubscribeAck(v5::UnsubscribeAck {
            packet_id: NonZeroU16::new(packet_id)?,
            properties: Vec::new(),
            reason_string: None,
            status: codes.iter().map(|code| (*code).try_into().ok()).collect::<Option<_>>()?,
        }),
        Outgoing::PingResp => v5::Packet::PingResponse,
        Outgoing::Disconnect { code, about } => v5::Packet::Disconnect(v5::Disconnect {
            reason_string: about.reason.map(ByteString::from),
            server_reference: about.server.map(ByteString::from),
            ..v5::Disconnect::new(code.try_into().ok()?)
        }),
    })
}

fn connack(welcome: &Welcome) -> Option<v5::ConnectAck> {
    Some(v5::ConnectAck {
        session_present: welcome.session_present,
        assigned_client_id: welcome.assigned.clone(),
        server_keepalive_sec: welcome.server_keep_alive_s,
        session_expiry_interval_secs: welcome.session_expiry_s,
        receive_max: NonZeroU16::new(welcome.receive_max)?,
        max_packet_size: Some(welcome.packet_bytes_max),
        topic_alias_max: welcome.topic_alias_max,
        response_info: welcome.response_information.clone(),
        ..v5::ConnectAck::default()
    })
}

fn publish(delivery: &Delivery<'_>, with_properties: bool) -> Option<WirePublish> {
    let message = delivery.message;
    if message.bytes() + 8 * delivery.subscription_ids.len() > CONTENT_BYTES_MAX {
        return None;
    }
    let properties = with_properties.then(|| {
        let own = message.properties.as_deref();
        v5::PublishProperties {
            topic_alias: delivery.naming.alias().and_then(NonZeroU16::new),
            correlation_data: own.and_then(|own| own.correlation_data.clone()),
            message_expiry_interval: delivery.expiry_s,
            content_type: own.and_then(|own| own.content_type.clone()),
            user_properties: own.map(|own| own.user.clone()).unwrap_or_default(),
            is_utf8_payload: own.is_some_and(|own| own.utf8_payload),
            response_topic: own.and_then(|own| own.response_topic.clone()),
            subscription_ids: delivery.subscription_ids.to_vec(),
        }
    });
    Some(WirePublish {
        dup: delivery.dup,
        retain: delivery.retain,
        qos: match delivery.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
            Qos::ExactlyOnce => QoS::ExactlyOnce,
        },
        topic: match delivery.naming {
            Naming::Name | Naming::Introduce(_) => message.topic.clone(),
            Naming::Number(_) => ByteString::new(),
        },
        packet_id: NonZeroU16::new(delivery.packet_id),
        payload: message.payload.clone(),
        properties,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::packet::Message;

    #[test]
    fn b22_what_does_not_fit_its_length_field_is_an_error_and_leaves_nothing_behind() {
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            for (topic_bytes, fits) in [(65_535, true), (65_536, false)] {
                let message = Message {
                    topic: "x".repeat(topic_bytes).into(),
                    payload: Bytes::from_static(b"y"),
                    qos: Qos::AtMostOnce,
                    retain: false,
                    expiry_s: None,
                    properties: None,
                    trace: None,
                    kept: std::sync::OnceLock::new(),
                };
                let delivery = Delivery {
                    message: &message,
                    qos: Qos::AtMostOnce,
                    packet_id: 0,
                    dup: false,
                    retain: false,
                    expiry_s: None,
                    subscription_ids: &[],
                    naming: Naming::Name,
                };
                let mut output = BytesMut::from(&b"before"[..]);
                assert_eq!(encode(version, &Outgoing::Publish(delivery), &mut output).is_ok(), fits);
                assert_eq!(output.len() > 6, fits, "{version}");
            }
        }
    }

    #[test]
    fn a_packet_longer_than_mqtt_can_say_is_an_error_and_no_panic() {
        let message = Message {
            topic: "x".into(),
            payload: Bytes::from(vec![0; 0x1000_0000]),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: std::sync::OnceLock::new(),
        };
        let delivery = Delivery {
            message: &message,
            qos: Qos::AtMostOnce,
            packet_id: 0,
            dup: false,
            retain: false,
            expiry_s: None,
            subscription_ids: &[],
            naming: Naming::Name,
        };
        let mut output = BytesMut::new();
        assert_eq!(encode(ProtocolVersion::V311, &Outgoing::Publish(delivery), &mut output), Err(NotEncodable));
    }
}
