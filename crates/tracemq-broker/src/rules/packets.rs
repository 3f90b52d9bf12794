//! The packets of a connected client: their fields, walked and judged before the codec library copies any.

use tracemq_model::Reason;

use super::properties::{self, Place, Seen};
use super::{Fault, Reader, topic};
use crate::limits::Limits;
use crate::packet::Kind;

/// Reason codes that a client may put into a DISCONNECT (5.0, table 3-10).
const DISCONNECT_CODES: &[u8] = &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
const PUBACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL_CODES: &[u8] = &[0x00, 0x92];

/// Judges the body of a `kind` packet. Gives how many bytes are behind a Message Expiry Interval of 0, if there is one.
pub(crate) fn inspect(
    kind: Kind,
    flags: u8,
    v5: bool,
    mut reader: Reader<'_>,
    limits: &Limits,
) -> Result<Option<usize>, Fault> {
    match kind {
        Kind::Publish => return publish(flags, v5, &mut reader, limits),
        Kind::PubAck | Kind::PubRec => acknowledgement(PUBACK_CODES, v5, &mut reader, limits)?,
        Kind::PubRel | Kind::PubComp => acknowledgement(PUBREL_CODES, v5, &mut reader, limits)?,
        Kind::Subscribe => filters(true, v5, &mut reader, limits)?,
        Kind::Unsubscribe => filters(false, v5, &mut reader, limits)?,
        Kind::PingReq => {}
        Kind::Disconnect => disconnect(v5, &mut reader, limits)?,
        Kind::Auth => return Err(Fault::protocol("sent without an authentication method in CONNECT [MQTT-4.12.0-7]")),
        Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => {
            return Err(Fault::protocol("a packet that only a server sends"));
        }
        Kind::Connect => return Err(Fault::protocol("a second CONNECT [MQTT-3.1.0-2]")),
    }
    reader.end().map(|()| None)
}

fn packet_id(reader: &mut Reader<'_>) -> Result<(), Fault> {
    let at = reader.at();
    match reader.u16("packet identifier")? {
        0 => Err(Fault::malformed(at, "packet identifier is 0 [MQTT-2.2.1-3]")),
        _ => Ok(()),
    }
}

fn block(place: Place, v5: bool, reader: &mut Reader<'_>, limits: &Limits) -> Result<Seen, Fault> {
    if v5 { properties::check(place, reader.properties()?, limits) } else { Ok(Seen::default()) }
}

fn publish(flags: u8, v5: bool, reader: &mut Reader<'_>, limits: &Limits) -> Result<Option<usize>, Fault> {
    let topic = reader.string("topic name")?;
    if flags & 0b0110 != 0 {
        packet_id(reader)?;
    }
    let seen = block(Place::Publish, v5, reader, limits)?;
    if topic.is_empty() && v5 {
        if !seen.has(0x23) {
            return Err(Fault::new(
                Reason::BadTopic,
                0x82,
                "topic name is empty and there is no topic alias [MQTT-4.7.3-1]",
            ));
        }
    } else if !limits.heard_topics.contains(&topic) {
        topic::name("topic name", topic, limits)?;
    }
    Ok(seen.behind_zero_expiry.map(|behind| behind + reader.rest().len()))
}

fn acknowledgement(codes: &[u8], v5: bool, reader: &mut Reader<'_>, limits: &Limits) -> Result<(), Fault> {
    packet_id(reader)?;
    if v5 && !reader.is_empty() {
        reason_code(codes, reader)?;
        if !reader.is_empty() {
            block(Place::Ack, v5, reader, limits)?;
        }
    }
    Ok(())
}

fn reason_code(codes: &[u8], reader: &mut Reader<'_>) -> Result<u8, Fault> {
    let code = reader.byte("reason code")?;
    if codes.contains(&code) {
        Ok(code)
    } else {
        Err(Fault::protocol(format!("reason code 0x{code:02x} is not one that a client may send")))
    }
}

fn filters(subscribe: bool, v5: bool, reader: &mut Reader<'_>, limits: &Limits) -> Result<(), Fault> {
    packet_id(reader)?;
    block(if subscribe { Place::Subscribe } else { Place::Unsubscribe }, v5, reader, limits)?;
    if reader.is_empty() {
        return Err(Fault::protocol("no topic filter [MQTT-3.8.3-2, 3.10.2-2]"));
    }
    let mut count = 0;
    while !reader.is_empty() {
        count += 1;
        if count > limits.filters_per_packet_max {
            let detail = format!("more than {} topic filters", limits.filters_per_packet_max);
            return Err(Fault::new(Reason::QuotaExceeded, 0x97, detail));
        }
        let filter = topic::filter(reader.string("topic filter")?, limits)?;
        if subscribe {
            options(reader, v5, filter)?;
        }
    }
    Ok(())
}

fn options(reader: &mut Reader<'_>, v5: bool, filter: topic::Filter<'_>) -> Result<(), Fault> {
    let at = reader.at();
    let options = reader.byte("subscription options")?;
    if options & 3 == 3 {
        let detail = "requested QoS is 3 [MQTT-3.8.3]";
        return Err(if v5 { Fault::protocol(detail) } else { Fault::malformed(at, detail) });
    }
    let reserved = if v5 { 0b1100_0000 } else { 0b1111_1100 };
    if options & reserved != 0 {
        return Err(Fault::malformed(at, "reserved bits of the subscription options are set [MQTT-3.8.3-5]"));
    }
    if options >> 4 & 3 == 3 {
        return Err(Fault::protocol("retain handling is 3"));
    }
    if options & 0b100 != 0 && matches!(filter, topic::Filter::Shared { .. }) {
        return Err(Fault::protocol("no local on a shared subscription [MQTT-3.8.3-4]"));
    }
    Ok(())
}

fn disconnect(v5: bool, reader: &mut Reader<'_>, limits: &Limits) -> Result<(), Fault> {
    if v5 && !reader.is_empty() {
        reason_code(DISCONNECT_CODES, reader)?;
        if !reader.is_empty() {
            block(Place::Disconnect, v5, reader, limits)?;
        }
    }
    Ok(())
}
