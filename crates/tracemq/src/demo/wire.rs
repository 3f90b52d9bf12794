//! The few MQTT 3.1.1 packets that the pretend devices send, written out by hand: some of them are wrong on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What a device says of itself.
pub(super) struct Identity<'a> {
    pub(super) client_id: &'a str,
    pub(super) credentials: Option<(&'a str, &'a str)>,
    pub(super) keep_alive_s: u16,
    /// Of all loopback addresses the one that it comes from, so that not all devices are of one network.
    pub(super) address: Ipv4Addr,
}

pub(super) const DISCONNECT: &[u8] = &[0xe0, 0];
/// A PUBLISH with QoS 3, which there is not [MQTT-3.3.1-4].
pub(super) const MALFORMED: &[u8] = &[0x36, 5, 0, 1, b'a', 0, 1];

pub(super) fn connect(identity: &Identity<'_>) -> Vec<u8> {
    let flags = if identity.credentials.is_some() { 0b1100_0010 } else { 0b0000_0010 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
    body.extend(identity.keep_alive_s.to_be_bytes());
    push_text(&mut body, identity.client_id);
    if let Some((user, password)) = identity.credentials {
        push_text(&mut body, user);
        push_text(&mut body, password);
    }
    packet(0x10, &body)
}

pub(super) fn publish(topic: &str, payload: &str) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    body.extend(payload.as_bytes());
    packet(0x30, &body)
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    // The demo's own short words: they fit 16 bits of length.
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    // One byte of length is enough for bodies below 128 bytes, and the demo's are.
    let mut packet = vec![first_byte, u8::try_from(body.len()).unwrap_or(127)];
    packet.extend(body);
    packet
}

/// Connects over TCP, sends CONNECT and waits for the CONNACK.
pub(super) async fn join(server: SocketAddr, identity: &Identity<'_>) -> io::Result<TcpStream> {
    let mut stream = reach(server, identity.address).await?;
    stream.write_all(&connect(identity)).await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await?;
    Ok(stream)
}

/// Over TCP, from `address` if the system lets it (some have no loopback address but one).
async fn reach(server: SocketAddr, address: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    match socket.bind(SocketAddr::new(address.into(), 0)) {
        Ok(()) => socket.connect(server).await,
        Err(_) => TcpStream::connect(server).await,
    }
}

/// Reads until the server closes.
pub(super) async fn until_closed(stream: &mut TcpStream) {
    let mut scratch = [0; 256];
    while let Ok(n) = stream.read(&mut scratch).await {
        if n == 0 {
            return;
        }
    }
}
