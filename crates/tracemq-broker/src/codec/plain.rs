//! The packets that make up nearly all traffic, without the library's detour over packets of its own: PUBLISH without
//! properties, and acknowledgements without reason. The bytes are the library's; the tests compare them.

use std::sync::OnceLock;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use tracemq_model::ProtocolVersion;

use super::Raw;
use super::outbound::{CONTENT_BYTES_MAX, NotEncodable};
use crate::packet::{Delivery, Kind, Message, Outgoing, Packet, Publish, Qos};
use crate::session::Naming;

/// Takes an acknowledgement of four bytes off `input`, if one is next: success, and nothing else is in it.
pub(crate) fn take_acknowledgement(input: &mut BytesMut) -> Option<(Kind, Packet)> {
    let &[first, 2, high, low] = input.first_chunk()? else { return None };
    let packet_id = u16::from_be_bytes([high, low]);
    let taken = match first {
        _ if packet_id == 0 => return None, // the rules have words for it
        0x40 => (Kind::PubAck, Packet::PubAck { packet_id }),
        0x50 => (Kind::PubRec, Packet::PubRec { packet_id, failed: false }),
        0x62 => (Kind::PubRel, Packet::PubRel { packet_id }),
        0x70 => (Kind::PubComp, Packet::PubComp { packet_id }),
        _ => return None,
    };
    input.advance(4);
    Some(taken)
}

/// A PUBLISH whose body has passed the rules. Gives it back when it has properties.
pub(super) fn publish(raw: Raw, v5: bool) -> Result<Publish, Raw> {
    let Some((topic, packet_id, payload)) = fields(raw.flags, raw.body(), v5) else { return Err(raw) };
    let (topic, payload) = (raw.header + topic.start..raw.header + topic.end, raw.header + payload);
    let flags = raw.flags;
    let frame = raw.frame.freeze();
    // The rules have seen that it is UTF-8.
    let topic = ByteString::try_from(frame.slice(topic)).unwrap_or_default();
    let payload = frame.slice(payload..);
    Ok(Publish {
        packet_id,
        alias: None,
        message: Message {
            topic,
            payload: if payload.is_empty() { Bytes::new() } else { payload },
            qos: match flags >> 1 & 3 {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            retain: flags & 1 != 0,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: OnceLock::new(),
        },
    })
}

/// Where the topic is, the packet identifier, and where the payload begins.
fn fields(flags: u8, body: &[u8], v5: bool) -> Option<(std::ops::Range<usize>, u16, usize)> {
    let topic = 2..2 + usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let mut at = topic.end;
    let mut packet_id = 0;
    if flags & 0b0110 != 0 {
        packet_id = u16::from_be_bytes(*body.get(at..)?.first_chunk()?);
        at += 2;
    }
    if v5 {
        if *body.get(at)? != 0 {
            return None;
        }
        at += 1;
    }
    (at <= body.len()).then_some((topic, packet_id, at))
}

/// Appends `packet`, if it is one of those.
pub(super) fn encode(
    version: ProtocolVersion,
    packet: &Outgoing<'_>,
    output: &mut BytesMut,
) -> Option<Result<(), NotEncodable>> {
    let v5 = version == ProtocolVersion::V5;
    let (first, packet_id, code) = match *packet {
        Outgoing::PubAck { packet_id, code } => (0x40, packet_id, code),
        Outgoing::PubRec { packet_id, code } => (0x50, packet_id, code),
        Outgoing::PubRel { packet_id, code } => (0x62, packet_id, code),
        Outgoing::PubComp { packet_id, code } => (0x70, packet_id, code),
        Outgoing::Publish(ref delivery) => return delivered(delivery, v5, output),
        Outgoing::Welcome(_)
        | Outgoing::Refusal { .. }
        | Outgoing::SubAck { .. }
        | Outgoing::UnsubAck { .. }
        | Outgoing::PingResp
        | Outgoing::Disconnect { .. } => return None,
    };
    if packet_id == 0 || (v5 && code != 0) {
        return None;
    }
    let [high, low] = packet_id.to_be_bytes();
    if v5 {
        output.put_slice(&[first, 4, high, low, 0, 0]); // success, no properties
    } else {
        output.put_slice(&[first, 2, high, low]);
    }
    Some(Ok(()))
}

fn delivered(delivery: &Delivery<'_>, v5: bool, output: &mut BytesMut) -> Option<Result<(), NotEncodable>> {
    let message = delivery.message;
    let bare = message.properties.is_none() && delivery.expiry_s.is_none() && delivery.subscription_ids.is_empty();
    if v5 && !(bare && delivery.naming == Naming::Name) {
        return None;
    }
    let acknowledged = delivery.qos != Qos::AtMostOnce;
    if acknowledged != (delivery.packet_id != 0) {
        return None;
    }
    let Ok(topic_bytes) = u16::try_from(message.topic.len()) else { return Some(Err(NotEncodable)) };
    if message.bytes() > CONTENT_BYTES_MAX {
        return Some(Err(NotEncodable));
    }
    let content =
        2 + usize::from(topic_bytes) + 2 * usize::from(acknowledged) + usize::from(v5) + message.payload.len();
    output.reserve(5 + content);
    output.put_u8(0x30 | u8::from(delivery.dup) << 3 | delivery.qos.code() << 1 | u8::from(delivery.retain));
    put_length(content, output);
    output.put_u16(topic_bytes);
    output.put_slice(message.topic.as_bytes());
    if acknowledged {
        output.put_u16(delivery.packet_id);
    }
    if v5 {
        output.put_u8(0); // no properties
    }
    output.put_slice(&message.payload);
    Some(Ok(()))
}

fn put_length(mut length: usize, output: &mut BytesMut) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        output.put_u8(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{inbound, outbound, take};
    use super::*;

    const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

    fn qos() -> impl Strategy<Value = Qos> {
        proptest::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
    }

    proptest! {
        #[test]
        fn a_plain_publish_is_written_and_read_as_the_library_does(
            version in proptest::sample::select(&VERSIONS[..]),
            topic in "[a-z/äß]{1,200}",
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            qos in qos(),
            packet_id in 1..=u16::MAX,
            (dup, retain) in (any::<bool>(), any::<bool>()),
        ) {
            let message = Message {
                topic: topic.into(),
                payload: Bytes::from(payload),
                qos,
                retain,
                expiry_s: None,
                properties: None,
                trace: None,
                kept: OnceLock::new(),
            };
            let acknowledged = qos != Qos::AtMostOnce;
            let packet = Outgoing::Publish(Delivery {
                message: &message,
                qos,
                packet_id: if acknowledged { packet_id } else { 0 },
                dup: dup && acknowledged,
                retain,
                expiry_s: None,
                subscription_ids: &[],
                naming: Naming::Name,
            });
            let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
            prop_assert_eq!(encode(version, &packet, &mut ours), Some(Ok(())));
            prop_assert_eq!(outbound::by_library(version, &packet, &mut theirs), Ok(()));
            prop_assert_eq!(&ours, &theirs);

            let v5 = version == ProtocolVersion::V5;
            let raw = |mut bytes: BytesMut| take(&mut bytes, true, v5, u32::MAX).unwrap().unwrap();
            let Packet::Publish(theirs) = inbound::by_library(raw(theirs), version).unwrap() else {
                panic!("no PUBLISH")
            };
            let ours = publish(raw(ours), v5).unwrap();
            prop_assert_eq!((ours.packet_id, ours.alias), (theirs.packet_id, theirs.alias));
            prop_assert_eq!(ours.message, theirs.message);
        }

        #[test]
        fn a_plain_acknowledgement_is_written_and_read_as_the_library_does(
            version in proptest::sample::select(&VERSIONS[..]),
            packet_id in any::<u16>(),
            code in proptest::sample::select(vec![0, 0x92, 0x97]),
            kind in 0..4,
        ) {
            let packet = match kind {
                0 => Outgoing::PubAck { packet_id, code },
                1 => Outgoing::PubRec { packet_id, code },
                2 => Outgoing::PubRel { packet_id, code },
                _ => Outgoing::PubComp { packet_id, code },
            };
            let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
            if encode(version, &packet, &mut ours).is_some() {
                prop_assert_eq!(outbound::by_library(version, &packet, &mut theirs), Ok(()));
                prop_assert_eq!(&ours, &theirs);
                let mut short = BytesMut::from(&[theirs[0], 2, theirs[2], theirs[3]][..]);
                let raw = take(&mut short.clone(), true, version == ProtocolVersion::V5, u32::MAX).unwrap().unwrap();
                let by_library = inbound::by_library(raw, version).unwrap();
                let (kind, taken) = take_acknowledgement(&mut short).unwrap();
                prop_assert!(short.is_empty());
                prop_assert_eq!(kind, packet.kind());
                prop_assert_eq!(format!("{taken:?}"), format!("{by_library:?}"));
            } else {
                prop_assert!(packet_id == 0 || (version == ProtocolVersion::V5 && code != 0));
            }
        }

        #[test]
        fn whatever_comes_an_acknowledgement_is_taken_whole_or_not_at_all(
            bytes in proptest::collection::vec(any::<u8>(), 0..6),
        ) {
            let mut input = BytesMut::from(&bytes[..]);
            match take_acknowledgement(&mut input) {
                None => prop_assert_eq!(&input[..], &bytes[..]),
                Some(_) => prop_assert_eq!(&input[..], &bytes[4..]),
            }
        }
    }
}
