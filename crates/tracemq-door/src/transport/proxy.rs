//! The PROXY protocol header (versions 1 and 2) that a trusted proxy puts before the client's bytes.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use ppp::{HeaderResult, v1, v2};

/// The longest header of version 1, with its line end.
const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is taken: the addresses, and more notes than proxies write.
const V2_BYTES_MAX: usize = 4 * 1024;
const V1_PREFIX: &[u8] = b"PROXY ";
const V2_PREFIX: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header on its way in, and a look at whether another one follows.
#[derive(Default)]
pub(super) struct Header {
    held: BytesMut,
    is_read: bool,
    is_done: bool,
    client: Option<SocketAddr>,
}

impl Header {
    /// Whether it is whole.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Whether it is whole, and no byte followed yet.
    pub(super) fn is_all_that_came(&self) -> bool {
        self.is_read && self.held.is_empty()
    }

    /// Whether everything from here on is the client's.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The client's address, once, when the header has told it; it does not for the proxy's own connections.
    pub(super) fn take_client(&mut self) -> Option<SocketAddr> {
        self.client.take()
    }

    /// Takes `bytes`; what follows the header goes to `rest`.
    pub(super) fn take(&mut self, bytes: &[u8], rest: &mut BytesMut) -> Result<(), String> {
        self.held.extend_from_slice(bytes);
        if !self.is_read {
            let Some((length, told)) = read(&self.held)? else { return Ok(()) };
            self.client = told;
            self.is_read = true;
            drop(self.held.split_to(length));
        }
        match begins_header(&self.held) {
            Some(true) => Err("a second PROXY protocol header follows the first".into()),
            None if !self.held.is_empty() => Ok(()),
            Some(false) | None => {
                self.is_done = !self.held.is_empty();
                rest.unsplit(std::mem::take(&mut self.held));
                Ok(())
            }
        }
    }
}

/// Whether a header begins here; none when there are too few bytes to tell.
fn begins_header(bytes: &[u8]) -> Option<bool> {
    let begins = |prefix: &[u8]| bytes.starts_with(prefix);
    if begins(V1_PREFIX) || begins(V2_PREFIX) {
        Some(true)
    } else if V1_PREFIX.starts_with(bytes) || V2_PREFIX.starts_with(bytes) {
        None
    } else {
        Some(false)
    }
}

/// The length of the header at the front of `bytes`, and the client's address; none when it is not whole.
fn read(bytes: &[u8]) -> Result<Option<(usize, Option<SocketAddr>)>, String> {
    match begins_header(bytes) {
        Some(true) => {}
        Some(false) => return Err("no PROXY protocol header comes first".into()),
        None => return Ok(None),
    }
    let length = if bytes.starts_with(V1_PREFIX) {
        match bytes.iter().take(V1_BYTES_MAX).position(|b| *b == b'\n') {
            Some(end) => end + 1,
            None if bytes.len() < V1_BYTES_MAX => return Ok(None),
            None => return Err("the PROXY header has no line end".into()),
        }
    } else {
        let Some(length) = bytes.get(14..16).and_then(|length| length.first_chunk::<2>()) else { return Ok(None) };
        16 + usize::from(u16::from_be_bytes(*length))
    };
    if length > V2_BYTES_MAX {
        return Err(format!("the PROXY header has {length} bytes, more than {V2_BYTES_MAX}"));
    }
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let header = HeaderResult::parse(whole);
    match header {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Unknown => None,
                v1::Addresses::Tcp4(ip) => Some(SocketAddr::new(ip.source_address.into(), ip.source_port)),
                v1::Addresses::Tcp6(ip) => Some(socket(ip.source_address.into(), ip.source_port)),
            };
            Ok(Some((length, client)))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match (header.command, header.addresses) {
                (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
                    Some(SocketAddr::new(ip.source_address.into(), ip.source_port))
                }
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some(socket(ip.source_address.into(), ip.source_port)),
            };
            Ok(Some((length, client)))
        }
        HeaderResult::V1(Err(error)) => Err(format!("PROXY header, version 1: {error}")),
        HeaderResult::V2(Err(error)) => Err(format!("PROXY header, version 2: {error}")),
    }
}

fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = [V2_PREFIX, &[0x20 | command, family]].concat();
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    /// What is told of the client, and what follows the header; fed in pieces of `step` bytes.
    fn fed(bytes: &[u8], step: usize) -> Result<(Option<SocketAddr>, Vec<u8>, bool), String> {
        let (mut header, mut rest, mut client) = (Header::default(), BytesMut::new(), None);
        for piece in bytes.chunks(step) {
            if header.is_done() {
                rest.extend_from_slice(piece);
            } else {
                header.take(piece, &mut rest)?;
                client = header.take_client().or(client);
            }
        }
        Ok((client, rest.to_vec(), header.is_done()))
    }

    #[test]
    fn the_client_is_who_the_header_says_however_it_is_cut() {
        let address = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let body = [&[192, 0, 2, 7, 10, 0, 0, 1][..], &[0x10, 0xe1, 0x07, 0x5b], b"\x04\0\0"].concat();
        let six = |client: &str| {
            let octets = client.parse::<std::net::Ipv6Addr>().unwrap().octets();
            v2(1, 0x21, &[&octets[..], &[0; 16], &[0x10, 0xe1, 0x07, 0x5b]].concat())
        };
        let cases = [
            (six("2001:db8::7"), address("[2001:db8::7]:4321")),
            (six("::ffff:192.0.2.7"), address("192.0.2.7:4321")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4321 1883\r\n".to_vec(), address("192.0.2.7:4321")),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 4321 1883\r\n".to_vec(), address("192.0.2.7:4321")),
            (b"PROXY TCP6 2001:db8::7 ::1 4321 1883\r\n".to_vec(), address("[2001:db8::7]:4321")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(1, 0x11, &body), address("192.0.2.7:4321")),
            (v2(0, 0x00, b""), None),
        ];
        for (header, client) in cases {
            for step in [1, 2, 7, 1_000] {
                let told = fed(&[&header[..], b"\x10\x0crest"].concat(), step);
                assert_eq!(told, Ok((client, b"\x10\x0crest".to_vec(), true)), "{header:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let twice = b"PROXY TCP4 192.0.2.7 10.0.0.1 4321 1883\r\n".repeat(2);
        let long = [b"PROXY TCP4 ", &[b' '; 100][..], b"\r\n"].concat();
        let large = [V2_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat();
        let version_3 = [V2_PREFIX, &[0x31, 0x11, 0, 0]].concat();
        let broken = b"PROXY TCP4 192.0.2.700 10.0.0.1 4321 1883\r\n".to_vec();
        let cases = [
            twice,
            long,
            large,
            version_3,
            broken,
            b"\x10\x0c\0\x04MQTT".to_vec(),
            b"PRO\x10".to_vec(),
            v2(1, 0x11, b"abc"),
        ];
        for bytes in cases {
            for step in [1, 1_000] {
                assert!(fed(&bytes, step).is_err(), "{bytes:?} by {step}");
            }
        }
    }
}
