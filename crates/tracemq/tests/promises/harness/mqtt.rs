//! Raw MQTT: packets written by hand, and a device that sends them over a plain socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;
use super::server::Server;

/// PINGREQ, the same in all versions.
pub(crate) const PINGREQ: &[u8] = &[0xC0, 0];

/// The protocol level of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311 = 4,
    V5 = 5,
}

/// Both.
pub(crate) const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// A number of variable length.
pub(crate) fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A field with its length before it: a string, or binary data.
pub(crate) fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// A whole control packet.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    [&[first_byte], &*varint(body.len()), body].concat()
}

/// A CONNECT packet.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client: Vec<u8>,
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) login: Option<(&'static str, &'static str)>,
    pub(crate) will_topic: Option<&'static str>,
}

impl Connect {
    pub(crate) fn new(version: Version, client: impl AsRef<[u8]>) -> Self {
        let client = client.as_ref().to_vec();
        Self { version, client, clean: true, keep_alive_s: 60, login: None, will_topic: None }
    }

    pub(crate) fn login(self, user: &'static str, password: &'static str) -> Self {
        Self { login: Some((user, password)), ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let flags = u8::from(self.clean) << 1
            | u8::from(self.will_topic.is_some()) << 2
            | if self.login.is_some() { 0b1100_0000 } else { 0 };
        let mut body = string("MQTT");
        body.extend([self.version as u8, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(no_properties(self.version));
        body.extend(string(&self.client));
        if let Some(topic) = self.will_topic {
            body.extend(no_properties(self.version));
            body.extend([string(topic), string("gone")].concat());
        }
        if let Some((user, password)) = self.login {
            body.extend([string(user), string(password)].concat());
        }
        packet(0x10, &body)
    }
}

fn no_properties(version: Version) -> &'static [u8] {
    match version {
        Version::V311 => &[],
        Version::V5 => &[0],
    }
}

/// PUBLISH with QoS 0.
pub(crate) fn publish(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&*string(topic), no_properties(version), payload].concat())
}

/// SUBSCRIBE to one filter with QoS 0.
pub(crate) fn subscribe(version: Version, filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 1], no_properties(version), &*string(filter), &[0]].concat())
}

/// DISCONNECT; the code only exists in 5.0.
pub(crate) fn disconnect(version: Version, code: u8) -> Vec<u8> {
    match version {
        Version::V311 => vec![0xE0, 0],
        Version::V5 => packet(0xE0, &[code]),
    }
}

/// A client at the wire. Dropped, it closes like any socket: with a FIN.
pub(crate) struct Device {
    stream: TcpStream,
    address: SocketAddr,
}

impl Device {
    /// TCP only.
    pub(crate) fn dial(server: &Server) -> Self {
        Self::try_dial(server).unwrap()
    }

    /// The same, where the server may be gone.
    pub(crate) fn try_dial(server: &Server) -> std::io::Result<Self> {
        Self::dial_at(server.mqtt)
    }

    /// The same, at another listener.
    pub(crate) fn dial_at(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let address = stream.local_addr()?;
        Ok(Self { stream, address })
    }

    /// TCP, CONNECT, and CONNACK with success.
    pub(crate) fn connect(server: &Server, connect: &Connect) -> Self {
        let mut device = Self::dial(server);
        device.send(&connect.bytes());
        let (first_byte, body) = device.receive();
        assert_eq!((first_byte, body[1]), (0x20, 0), "CONNECT was refused: {body:x?}");
        device
    }

    /// Our own end of the connection: what the server has as its peer.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same, where the server may close in the middle.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// One whole packet: its first byte and what follows the remaining length.
    pub(crate) fn receive(&mut self) -> (u8, Vec<u8>) {
        self.try_receive().unwrap()
    }

    /// The same, where the server may close in the middle.
    pub(crate) fn try_receive(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first_byte = self.byte()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first_byte, body))
    }

    fn byte(&mut self) -> std::io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Lets `span` pass unless the server says something, which is then a failure.
    pub(crate) fn hear_nothing_for(&mut self, span: Duration) {
        self.stream.set_read_timeout(Some(span)).unwrap();
        let heard = self.stream.read(&mut [0; 64]);
        assert!(
            heard.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
            "heard {heard:?}"
        );
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Everything that the server still sends until it closes.
    pub(crate) fn receive_until_closed(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return heard,
                Ok(count) => heard.extend(&chunk[..count]),
                // A server that closes with our bytes unread makes the system send a reset after its last words.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return heard;
                }
                Err(error) => panic!("the server did not close: {error}, heard {heard:x?}"),
            }
        }
    }

    /// FIN, as from a closed socket.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// FIN from our side, and the socket stays readable.
    pub(crate) fn half_close(&mut self) {
        self.try_half_close().unwrap();
    }

    /// The same, where the server may have closed before.
    pub(crate) fn try_half_close(&mut self) -> std::io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// RST, as from a device that lost its state.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
