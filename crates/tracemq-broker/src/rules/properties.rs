//! Property blocks of MQTT 5.0: which property may stand where, how often, and with which values (2.2.2).
//!
//! Walks a block once, keeps nothing, allocates nothing unless a rule is broken.

use super::topic::quote;
use super::{Fault, Reader};
use crate::limits::Limits;

/// Where a client can send properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    Ack,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

#[derive(Clone, Copy)]
enum Value {
    Flag,
    U16,
    U32,
    Variable,
    Text,
    Binary,
    Pair,
}

const USER_PROPERTY: u8 = 0x26;

/// Name, type, and the places of the property that may come from a client.
fn property(id: u8) -> Option<(&'static str, Value, &'static [Place])> {
    use Place::{Ack, Auth, Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};
    Some(match id {
        0x01 => ("Payload Format Indicator", Value::Flag, &[Publish, Will]),
        0x02 => ("Message Expiry Interval", Value::U32, &[Publish, Will]),
        0x03 => ("Content Type", Value::Text, &[Publish, Will]),
        0x08 => ("Response Topic", Value::Text, &[Publish, Will]),
        0x09 => ("Correlation Data", Value::Binary, &[Publish, Will]),
        0x0b => ("Subscription Identifier", Value::Variable, &[Subscribe]),
        0x11 => ("Session Expiry Interval", Value::U32, &[Connect, Disconnect]),
        0x12 => ("Assigned Client Identifier", Value::Text, &[]),
        0x13 => ("Server Keep Alive", Value::U16, &[]),
        0x15 => ("Authentication Method", Value::Text, &[Connect, Auth]),
        0x16 => ("Authentication Data", Value::Binary, &[Connect, Auth]),
        0x17 => ("Request Problem Information", Value::Flag, &[Connect]),
        0x18 => ("Will Delay Interval", Value::U32, &[Will]),
        0x19 => ("Request Response Information", Value::Flag, &[Connect]),
        0x1a => ("Response Information", Value::Text, &[]),
        0x1c => ("Server Reference", Value::Text, &[]),
        0x1f => ("Reason String", Value::Text, &[Ack, Disconnect, Auth]),
        0x21 => ("Receive Maximum", Value::U16, &[Connect]),
        0x22 => ("Topic Alias Maximum", Value::U16, &[Connect]),
        0x23 => ("Topic Alias", Value::U16, &[Publish]),
        0x24 => ("Maximum QoS", Value::Flag, &[]),
        0x25 => ("Retain Available", Value::Flag, &[]),
        USER_PROPERTY => {
            ("User Property", Value::Pair, &[Connect, Will, Publish, Ack, Subscribe, Unsubscribe, Disconnect, Auth])
        }
        0x27 => ("Maximum Packet Size", Value::U32, &[Connect]),
        0x28 => ("Wildcard Subscription Available", Value::Flag, &[]),
        0x29 => ("Subscription Identifier Available", Value::Flag, &[]),
        0x2a => ("Shared Subscription Available", Value::Flag, &[]),
        _ => return None,
    })
}

/// What of a block matters to the rules of its packet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    ids: u64,
    users: usize,
    /// Bytes of the block behind a Message Expiry Interval of 0.
    pub(super) behind_zero_expiry: Option<usize>,
}

impl Seen {
    pub(super) fn has(self, id: u8) -> bool {
        self.ids & (1 << (id & 63)) != 0
    }
}

/// Checks a whole block.
pub(super) fn check(place: Place, mut reader: Reader<'_>, limits: &Limits) -> Result<Seen, Fault> {
    let mut seen = Seen::default();
    while !reader.is_empty() {
        let at = reader.at();
        let id = reader.byte("property")?;
        let Some((name, value, places)) = property(id) else {
            return Err(Fault::malformed(at, format_args!("property 0x{id:02x} does not exist")));
        };
        if !places.contains(&place) {
            return Err(Fault::protocol(format!("{name} (0x{id:02x}) does not belong here [MQTT-2.2.2.2]")));
        }
        if id == USER_PROPERTY {
            seen.users += 1;
            if seen.users > limits.user_properties_max {
                let detail = format!("more than {} user properties", limits.user_properties_max);
                return Err(Fault::new(tracemq_model::Reason::PacketTooLarge, 0x95, detail));
            }
        } else if seen.has(id) {
            return Err(Fault::protocol(format!("{name} (0x{id:02x}) is there twice")));
        }
        seen.ids |= 1 << (id & 63);
        let number = one(id, name, value, &mut reader)?;
        if id == 0x02 && number == 0 {
            seen.behind_zero_expiry = Some(reader.rest().len());
        }
    }
    if seen.has(0x16) && !seen.has(0x15) {
        return Err(Fault::protocol("Authentication Data (0x16) without Authentication Method"));
    }
    Ok(seen)
}

fn one(id: u8, name: &str, value: Value, reader: &mut Reader<'_>) -> Result<u32, Fault> {
    let number = match value {
        Value::Flag => u32::from(reader.byte(name)?),
        Value::U16 => u32::from(reader.u16(name)?),
        Value::U32 => reader.u32(name)?,
        Value::Variable => reader.variable(name)?,
        Value::Text => {
            let text = reader.string(name)?;
            if id == 0x08 && (text.is_empty() || text.contains(['#', '+'])) {
                let detail = format!("Response Topic {} is empty or has a wildcard [MQTT-3.3.2-14]", quote(text));
                return Err(Fault::new(tracemq_model::Reason::BadTopic, 0x90, detail));
            }
            return Ok(0);
        }
        Value::Binary => return reader.binary(name).map(|_| 0),
        Value::Pair => {
            reader.string("name of a User Property")?;
            return reader.string("value of a User Property").map(|_| 0);
        }
    };
    if matches!(value, Value::Flag) && number > 1 {
        return Err(Fault::protocol(format!("{name} (0x{id:02x}) is {number}; only 0 and 1 are allowed")));
    }
    if number == 0 && id == 0x23 {
        let detail = "Topic Alias is 0 [MQTT-3.3.2-8]";
        return Err(Fault::new(tracemq_model::Reason::ProtocolError, 0x94, detail));
    }
    if number == 0 && matches!(id, 0x0b | 0x21 | 0x27) {
        return Err(Fault::protocol(format!("{name} (0x{id:02x}) is 0")));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_walked_to_their_end() {
        let limits = Limits::default();
        let check = |place, block: &[u8]| check(place, Reader::new(0, block), &limits).map(drop).map_err(|f| f.code);
        assert_eq!(check(Place::Connect, &[]), Ok(()));
        assert_eq!(check(Place::Connect, &[0x11, 0, 0, 0, 9, 0x21, 0, 5]), Ok(()));
        for (block, code) in [
            (&[0x11, 0, 0, 0][..], 0x81),
            (&[0x11, 0, 0, 0, 9, 0x11, 0, 0, 0, 9], 0x82),
            (&[0x23, 0, 1], 0x82),
            (&[0x7f], 0x81),
            (&[0x21, 0, 0], 0x82),
            (&[0x16, 0, 0], 0x82),
            (&[0x17, 2], 0x82),
            (&[0x26, 0, 1, 0, 0, 0], 0x81),
        ] {
            assert_eq!(check(Place::Connect, block), Err(code), "{block:?}");
        }
        let many = [0x26, 0, 0, 0, 0].repeat(65);
        assert_eq!(check(Place::Publish, &many), Err(0x95));
    }
}
