//! CONNECT: who it is, as far as that can be read, and every rule that it can break.
//!
//! The two are apart on purpose: a CONNECT that is refused must still go on record under its client identifier.

use tracemq_model::{ClientId, ConnectRequest, Details, ProtocolVersion, Reason};

use super::properties::{self, Place};
use super::topic::{name as topic_name, quote};
use super::{Fault, Reader};
use crate::limits::Limits;

/// Client identifiers up to this length go on record, also when they are refused for their length.
const RECORDED_ID_BYTES_MAX: usize = 1024;

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

/// The fields of a CONNECT, as far as they could be read.
#[derive(Debug, Default)]
pub(crate) struct Sketch<'a> {
    name: &'a [u8],
    level: u8,
    flags: u8,
    /// Which byte of the packet they are.
    flags_at: usize,
    properties: Reader<'a>,
    client_id: Option<Reader<'a>>,
    will_properties: Reader<'a>,
    behind_will_properties: usize,
    will_topic: Option<Reader<'a>>,
    username: Option<Reader<'a>>,
    trailing: Reader<'a>,
    broken: Option<Fault>,
    /// The version, when it is one that is spoken here.
    pub(crate) version: Option<ProtocolVersion>,
    keep_alive_s: u16,
}

impl<'a> Sketch<'a> {
    /// Reads as far as it goes.
    pub(crate) fn of(body: Reader<'a>) -> Self {
        let mut sketch = Self::default();
        sketch.broken = sketch.read(body).err();
        sketch
    }

    fn read(&mut self, mut reader: Reader<'a>) -> Result<(), Fault> {
        self.name = reader.binary("protocol name")?.rest();
        self.level = reader.byte("protocol level")?;
        self.version = match (self.name, self.level) {
            (b"MQIsdp", 3) => Some(ProtocolVersion::V31),
            (b"MQTT", 4) => Some(ProtocolVersion::V311),
            (b"MQTT", 5) => Some(ProtocolVersion::V5),
            _ => return Ok(()), // what follows can't be told
        };
        self.flags_at = reader.at();
        self.flags = reader.byte("connect flags")?;
        self.keep_alive_s = reader.u16("keep alive")?;
        if self.is_v5() {
            self.properties = reader.properties()?;
        }
        self.client_id = Some(reader.binary("client identifier")?);
        if self.flags & WILL != 0 {
            if self.is_v5() {
                self.will_properties = reader.properties()?;
                self.behind_will_properties = reader.rest().len();
            }
            self.will_topic = Some(reader.binary("will topic")?);
            reader.binary("will message")?;
        }
        if self.flags & USERNAME != 0 {
            self.username = Some(reader.binary("user name")?);
        }
        if self.flags & PASSWORD != 0 {
            reader.binary("password")?;
        }
        self.trailing = reader;
        Ok(())
    }

    fn is_v5(&self) -> bool {
        self.version == Some(ProtocolVersion::V5)
    }

    /// Whether an identifier of length 0 was read.
    pub(crate) fn id_is_empty(&self) -> bool {
        self.client_id.is_some_and(|id| id.is_empty())
    }

    /// What goes on record; none when not even the protocol could be read.
    pub(crate) fn request(&self) -> Option<ConnectRequest> {
        self.version?;
        let text = |field: Option<Reader<'a>>| field.and_then(|field| field.text("").ok());
        Some(ConnectRequest {
            client: text(self.client_id)
                .filter(|id| id.len() <= RECORDED_ID_BYTES_MAX)
                .and_then(|id| ClientId::new(id).ok()),
            username: text(self.username).map(Details::text),
            protocol: self.version,
            keep_alive_s: self.keep_alive_s,
            clean_start: self.flags & CLEAN_START != 0,
        })
    }

    /// The code of the CONNACK that answers `fault`, where the standard has one: 3.x has none for a packet that
    /// breaks its rules, and nothing can be said to who does not speak MQTT.
    pub(crate) fn connack_code(&self, fault: &Fault) -> Option<u8> {
        if fault.reason == Reason::UnsupportedProtocolVersion {
            return (self.name == b"MQTT" || self.name == b"MQIsdp").then_some(if self.level > 5 {
                0x84
            } else {
                0x01
            });
        }
        match self.version? {
            ProtocolVersion::V5 => Some(fault.code),
            ProtocolVersion::V31 | ProtocolVersion::V311 => (fault.reason == Reason::BadClientId).then_some(2),
        }
    }

    /// The version in whose format that CONNACK is written.
    pub(crate) fn connack_version(&self) -> ProtocolVersion {
        self.version.unwrap_or(if self.level > 5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 })
    }
}

/// Judges all of it. Gives how many bytes are behind a will's Message Expiry Interval of 0, if there is one.
pub(crate) fn judge(sketch: &Sketch<'_>, limits: &Limits) -> Result<Option<usize>, Fault> {
    if let (None, None) = (sketch.version, &sketch.broken) {
        let name = String::from_utf8_lossy(sketch.name.get(..16).unwrap_or(sketch.name));
        return Err(Fault::new(
            Reason::UnsupportedProtocolVersion,
            0x84,
            format!("protocol {} level {} [MQTT-3.1.2-1, 3.1.2-2]", quote(&name), sketch.level),
        ));
    }
    flags(sketch)?;
    if let Some(fault) = &sketch.broken {
        return Err(fault.clone());
    }
    sketch.trailing.end()?;
    let connect = properties::check(Place::Connect, sketch.properties, limits)?;
    let will = properties::check(Place::Will, sketch.will_properties, limits).map_err(|fault| fault.within("will"))?;
    client_id(sketch, limits)?;
    if let Some(topic) = sketch.will_topic {
        topic_name("will topic", topic.text("will topic")?, limits)?;
    }
    if let Some(username) = sketch.username {
        username.text("user name")?;
    }
    if connect.has(0x15) {
        let detail = "enhanced authentication (property 0x15) is not supported";
        return Err(Fault::new(Reason::NotAuthorized, 0x8c, detail));
    }
    Ok(will.behind_zero_expiry.map(|behind| behind + sketch.behind_will_properties))
}

fn flags(sketch: &Sketch<'_>) -> Result<(), Fault> {
    let flags = sketch.flags;
    let malformed = |detail: &str| Err(Fault::malformed(sketch.flags_at, detail));
    if flags & 1 != 0 {
        return malformed("reserved connect flag is set [MQTT-3.1.2-3]");
    }
    let will_qos = flags >> 3 & 3;
    if flags & WILL == 0 && (will_qos != 0 || flags & WILL_RETAIN != 0) {
        return malformed("will QoS or will retain without a will [MQTT-3.1.2-11, 3.1.2-13]");
    }
    if will_qos == 3 {
        return malformed("will QoS is 3 [MQTT-3.1.2-12]");
    }
    if !sketch.is_v5() && flags & PASSWORD != 0 && flags & USERNAME == 0 {
        return malformed("password without a user name [MQTT-3.1.2-22]");
    }
    Ok(())
}

fn client_id(sketch: &Sketch<'_>, limits: &Limits) -> Result<(), Fault> {
    let bad = |detail: String| Fault::new(Reason::BadClientId, 0x85, detail);
    let field = sketch.client_id.unwrap_or_default();
    if field.is_empty() {
        let clean = sketch.flags & CLEAN_START != 0;
        return match sketch.version {
            Some(ProtocolVersion::V5) => Ok(()),
            Some(ProtocolVersion::V311) if clean => Ok(()),
            Some(ProtocolVersion::V311) => {
                Err(bad("client identifier is empty without clean session [MQTT-3.1.3-8]".into()))
            }
            Some(ProtocolVersion::V31) | None => Err(bad("client identifier is empty, which MQTT 3.1 forbids".into())),
        };
    }
    let id = field.text("client identifier").map_err(|fault| bad(fault.detail))?;
    if id.len() > limits.client_id_bytes_max {
        let mut end = id.len().min(64);
        while !id.is_char_boundary(end) {
            end -= 1;
        }
        let begin = quote(id.get(..end).unwrap_or_default());
        return Err(bad(format!(
            "client identifier of {} bytes, beginning {begin}; the limit is {}",
            id.len(),
            limits.client_id_bytes_max
        )));
    }
    Ok(())
}
