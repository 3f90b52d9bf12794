//! From bytes to packets and back. The only module that knows the codec library.
//!
//! Framing is done here and not by the library, because it must be judged before anything is buffered: the first byte
//! before the length is read, the length before the body has come. A whole packet is copied into memory of its own
//! size, so that a small retained payload never keeps a large read buffer alive; the library cuts its `Bytes` from
//! that copy. It only gets to see bodies that [`crate::rules`] has passed.

mod inbound;
mod outbound;
mod plain;

use bytes::{Buf, BytesMut};
use tracemq_model::Reason;

pub(crate) use inbound::decode;
pub(crate) use outbound::encode;
pub(crate) use plain::take_acknowledgement;

use crate::packet::Kind;
use crate::rules::{Fault, Reader};

/// A whole packet.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) kind: Kind,
    /// The lower half of the first byte.
    pub(crate) flags: u8,
    frame: BytesMut,
    header: usize,
}

impl Raw {
    pub(crate) fn body(&self) -> &[u8] {
        self.frame.get(self.header..).unwrap_or_default()
    }

    /// The body for who walks over its fields.
    pub(crate) fn fields(&self) -> Reader<'_> {
        Reader::new(self.header, self.body())
    }

    /// The library refuses a Message Expiry Interval of 0, which the standard allows; 1 is the nearest that it takes.
    pub(crate) fn raise_zero_expiry(&mut self, bytes_behind: usize) {
        let last = self.frame.len().checked_sub(bytes_behind + 1);
        if let Some(byte) = last.and_then(|at| self.frame.get_mut(at)) {
            *byte = 1;
        }
    }

    /// The library refuses an empty client identifier without clean start, which MQTT 5.0 allows. Such a client gets a
    /// new identifier, so that its session is new in either case.
    pub(crate) fn set_clean_start(&mut self) {
        const FLAGS_AT: usize = 7; // behind the protocol name "MQTT" and the level
        if let Some(byte) = self.frame.get_mut(self.header + FLAGS_AT) {
            *byte |= 0x02;
        }
    }
}

const VERBS: &[&[u8]] = &[b"GET ", b"PUT ", b"POST", b"HEAD", b"DELE", b"OPTI", b"PATC", b"TRAC", b"CONN", b"PRI "];

/// Whether `input` begins like a connection of MQTT; none while that can't be told.
pub(crate) fn opening(input: &[u8]) -> Result<Option<()>, Fault> {
    let Some(first) = input.first() else { return Ok(None) };
    if *first == 0x10 {
        return Ok(Some(()));
    }
    let begin = input.get(..4).unwrap_or(input);
    if VERBS.contains(&begin) {
        return Err(Fault::new(Reason::HttpOnMqttPort, 0x82, "an HTTP request on an MQTT port"));
    }
    if begin.len() < 4 && VERBS.iter().any(|verb| verb.starts_with(begin)) {
        return Ok(None);
    }
    match input {
        [0x16] => return Ok(None),
        [0x16, 0x03, ..] => {
            return Err(Fault::new(Reason::TlsOnPlainPort, 0x82, "a TLS handshake on a plain MQTT port"));
        }
        _ => {}
    }
    Err(match first >> 4 {
        0 => Fault::malformed(0, "packet type 0 is forbidden [MQTT-2.1.2]"),
        1 => Fault::malformed(0, format_args!("CONNECT: header flags are {:x}, not 0 [MQTT-2.1.3-1]", first & 15)),
        other => Fault::protocol(format!("first packet is of type {other}, not CONNECT [MQTT-3.1.0-1]")),
    })
}

/// Judges a connected client's first byte.
fn kind(first: u8, v5: bool) -> Result<Kind, Fault> {
    let (kind, flags) = match first >> 4 {
        1 => (Kind::Connect, 0),
        3 => (Kind::Publish, first & 15),
        4 => (Kind::PubAck, 0),
        5 => (Kind::PubRec, 0),
        6 => (Kind::PubRel, 2),
        7 => (Kind::PubComp, 0),
        8 => (Kind::Subscribe, 2),
        10 => (Kind::Unsubscribe, 2),
        12 => (Kind::PingReq, 0),
        14 => (Kind::Disconnect, 0),
        15 if v5 => (Kind::Auth, 0),
        2 | 9 | 11 | 13 => {
            return Err(Fault::protocol(format!("packet of type {}, which only a server sends", first >> 4)));
        }
        other => return Err(Fault::malformed(0, format_args!("packet type {other} is forbidden [MQTT-2.1.2]"))),
    };
    if first & 15 != flags {
        return Err(Fault::malformed(
            0,
            format_args!("{}: header flags are {:x}, not {flags:x} [MQTT-2.1.3-1]", kind.name(), first & 15),
        ));
    }
    if kind == Kind::Publish && flags & 0b0110 == 0b0110 {
        return Err(Fault::malformed(0, "PUBLISH: QoS is 3 [MQTT-3.3.1-4]"));
    }
    if kind == Kind::Publish && flags & 0b1110 == 0b1000 {
        return Err(Fault::malformed(0, "PUBLISH: DUP with QoS 0 [MQTT-3.3.1-2]"));
    }
    Ok(kind)
}

/// Takes one whole packet off `input`; none while it is not whole. `connected` tells whether CONNECT is behind.
pub(crate) fn take(input: &mut BytesMut, connected: bool, v5: bool, max: u32) -> Result<Option<Raw>, Fault> {
    let Some(first) = input.first().copied() else { return Ok(None) };
    let kind = kind(first, v5)?;
    if connected && kind == Kind::Connect {
        return Err(Fault::protocol("CONNECT: a second one on this connection [MQTT-3.1.0-2]"));
    }
    if connected && kind == Kind::Auth {
        return Err(Fault::protocol("AUTH: without an authentication method in CONNECT [MQTT-4.12.0-7]"));
    }
    let Some((length, header)) = remaining_length(input, kind, v5)? else { return Ok(None) };
    let total = header + length;
    if total > usize::try_from(max).unwrap_or(usize::MAX) {
        let detail = format!("{}: {total} bytes announced; the limit is {max}", kind.name());
        return Err(Fault::new(Reason::PacketTooLarge, 0x95, detail));
    }
    let Some(whole) = input.get(..total) else { return Ok(None) };
    let frame = BytesMut::from(whole);
    input.advance(total);
    Ok(Some(Raw { kind, flags: first & 15, frame, header }))
}

/// The remaining length and the size of the header, once it is there.
fn remaining_length(input: &[u8], kind: Kind, v5: bool) -> Result<Option<(usize, usize)>, Fault> {
    let mut length = 0;
    for (at, byte) in input.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            if v5 && *byte == 0 && at > 0 {
                let rule = "remaining length takes more bytes than it needs [MQTT-1.5.5-1]";
                return Err(Fault::malformed(1, rule).within(kind.name()));
            }
            return Ok(Some((length, at + 2)));
        }
    }
    if input.len() > 4 {
        return Err(Fault::malformed(1, "remaining length is longer than 4 bytes [MQTT-2.1.4]").within(kind.name()));
    }
    Ok(None)
}
