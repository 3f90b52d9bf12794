//! MQTT 3.1.1 on the wire, as little of it as the load needs: packets made beforehand, and frames cut from what was read.

use anyhow::{Context, bail};

pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Kinds of packets, as the upper half of their first byte.
pub(crate) mod kind {
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBACK: u8 = 9;
}

fn put_text(text: &str, packet: &mut Vec<u8>) {
    packet.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or(0);
        rest >>= 7;
        packet.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// CONNECT with clean session and the longest keep alive; with a user and password when given.
pub(crate) fn connect(client_id: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0xff, 0xff];
    put_text(client_id, &mut body);
    if let Some((user, password)) = login {
        put_text(user, &mut body);
        put_text(password, &mut body);
    }
    packet(0x10, &body)
}

pub(crate) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    put_text(filter, &mut body);
    body.push(qos);
    packet(0x82, &body)
}

/// PUBLISH, and where its packet identifier and its payload stand in it.
pub(crate) struct Publish {
    pub(crate) packet: Vec<u8>,
    pub(crate) id_at: usize,
    pub(crate) payload_at: usize,
}

pub(crate) fn publish(topic: &str, qos: u8, payload_bytes: usize) -> Publish {
    let mut body = Vec::new();
    put_text(topic, &mut body);
    if qos > 0 {
        body.extend([0, 0]);
    }
    let behind_topic = body.len();
    body.resize(behind_topic + payload_bytes, b'x');
    let packet = packet(0x30 | qos << 1, &body);
    let payload_at = packet.len() - payload_bytes;
    Publish { packet, id_at: payload_at.saturating_sub(2), payload_at }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn acknowledgement(kind: u8, id: [u8; 2]) -> [u8; 4] {
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    [kind << 4 | flags, 2, id[0], id[1]]
}

/// One packet that was read.
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) qos: u8,
    pub(crate) body: &'a [u8],
}

impl Frame<'_> {
    /// Of an acknowledgement, or of a PUBLISH of QoS 1 or 2.
    pub(crate) fn id(&self) -> anyhow::Result<[u8; 2]> {
        let at = if self.kind == kind::PUBLISH { self.behind_topic()? } else { 0 };
        self.body.get(at..).and_then(|rest| rest.first_chunk()).copied().context("a packet without identifier")
    }

    /// Of a PUBLISH.
    pub(crate) fn payload(&self) -> anyhow::Result<&[u8]> {
        let at = self.behind_topic()? + if self.qos > 0 { 2 } else { 0 };
        self.body.get(at..).context("a PUBLISH that is too short")
    }

    fn behind_topic(&self) -> anyhow::Result<usize> {
        let length = self.body.first_chunk().context("a PUBLISH without topic")?;
        Ok(2 + usize::from(u16::from_be_bytes(*length)))
    }
}

/// Cuts the first whole packet off `input`.
pub(crate) fn next<'a>(input: &mut &'a [u8]) -> anyhow::Result<Option<Frame<'a>>> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let mut length = 0;
    for (at, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let Some(body) = rest.get(at + 1..at + 1 + length) else { return Ok(None) };
            *input = rest.get(at + 1 + length..).unwrap_or_default();
            return Ok(Some(Frame { kind: first >> 4, qos: first >> 1 & 3, body }));
        }
    }
    if rest.len() >= 4 {
        bail!("a length of more than four bytes");
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_back_whole_and_in_pieces() {
        for payload_bytes in [0, 8, 64, 127, 128, 20_000] {
            for qos in [0, 1, 2] {
                let mut made = publish("bench/1", qos, payload_bytes);
                if qos > 0 {
                    made.packet[made.id_at..made.id_at + 2].copy_from_slice(&[1, 2]);
                }
                let mut short = &made.packet[..made.packet.len() - 1];
                assert!(next(&mut short).unwrap().is_none());
                let mut whole = &made.packet[..];
                let frame = next(&mut whole).unwrap().unwrap();
                assert_eq!((frame.kind, frame.qos, whole.len()), (kind::PUBLISH, qos, 0));
                assert_eq!(frame.payload().unwrap(), &made.packet[made.payload_at..]);
                if qos > 0 {
                    assert_eq!(frame.id().unwrap(), [1, 2]);
                }
            }
        }
    }
}
