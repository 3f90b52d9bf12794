//! What lies between a socket's bytes and MQTT's: nothing (TCP), TLS, WebSocket, or the one in the other; and before
//! them, where a proxy stands in front, its PROXY protocol header.
//!
//! Sans I/O: bytes in, bytes out. The connection keeps the socket, and with it all that the operating system says of
//! how a connection ends.

mod certificates;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hello;
mod proxy;
mod tls;
mod upgrade;
mod websocket;

use bytes::{Buf, BytesMut};
use tracemq_broker::Closing;
use tracemq_model::{Details, End, Observation, Reason, TlsFacts};

pub use certificates::{Certificates, CertificatesError, ClientCertificates, TlsFiles};
pub use tracemq_access::{Network, NetworkError};
pub use upgrade::WebSocketRules;

use crate::settings::DoorSettings;
use proxy::Header;
use tls::Tls;
use websocket::WebSocket;

/// Either nothing at all, which costs an idle connection nothing, or layers.
pub(crate) enum Transport {
    Tcp,
    Layered(Box<Layers>),
}

/// The layers of one connection, and what they have to say.
pub(crate) struct Layers {
    proxy: Option<Header>,
    tls: Option<Tls>,
    websocket: Option<WebSocket>,
    /// For the socket.
    wire: BytesMut,
    /// What ends the connection once the MQTT before it is done.
    end: Option<End>,
    news: Vec<Observation>,
}

impl Transport {
    /// What `settings` ask for.
    pub(crate) fn new(settings: &DoorSettings) -> Self {
        let proxy = settings.proxies.as_ref().map(|_| Header::default());
        let tls = settings.tls.as_ref().map(Tls::new);
        let websocket = settings.websocket.as_ref().map(|rules| WebSocket::new(rules, settings.frame_bytes_max));
        if proxy.is_none() && tls.is_none() && websocket.is_none() {
            return Self::Tcp;
        }
        Self::Layered(Box::new(Layers { proxy, tls, websocket, wire: BytesMut::new(), end: None, news: Vec::new() }))
    }

    /// Takes `bytes` that came from the socket, and appends the MQTT that is in them to `mqtt`.
    pub(crate) fn take(&mut self, bytes: &[u8], mqtt: &mut BytesMut) {
        match self {
            Self::Tcp => mqtt.extend_from_slice(bytes),
            Self::Layered(layers) => layers.take(bytes, mqtt),
        }
    }

    /// What was learned of the client since the last call.
    pub(crate) fn news(&mut self) -> Vec<Observation> {
        let Self::Layered(layers) = self else { return Vec::new() };
        let news = std::mem::take(&mut layers.news);
        if layers.is_spent() {
            *self = Self::Tcp;
        }
        news
    }

    /// Whether, and how, the layers end the connection. To be asked when all MQTT that came is done.
    pub(crate) fn end(&self) -> Option<End> {
        match self {
            Self::Tcp => None,
            Self::Layered(layers) => layers.end.clone(),
        }
    }

    /// What the client has yet to finish before its first byte of MQTT.
    pub(crate) fn unfinished(&self) -> Option<&'static str> {
        match self {
            Self::Tcp => None,
            Self::Layered(layers) => layers.unfinished(),
        }
    }

    /// Whether nothing came but the proxy's whole header: of the client there is no byte yet.
    pub(crate) fn has_only_a_proxy_header(&self) -> bool {
        match self {
            Self::Tcp => false,
            Self::Layered(layers) => layers.proxy.as_ref().is_some_and(Header::is_all_that_came),
        }
    }

    /// The user that the client's certificate names, where that is asked for.
    pub(crate) fn user_of_certificate(&self) -> Option<&str> {
        match self {
            Self::Tcp => None,
            Self::Layered(layers) => layers.tls.as_ref().and_then(Tls::user),
        }
    }

    /// Whether the client expects a WebSocket's close.
    pub(crate) fn is_websocket(&self) -> bool {
        match self {
            Self::Tcp => false,
            Self::Layered(layers) => layers.websocket.is_some(),
        }
    }

    /// What a TLS handshake that is not over has told so far.
    pub(crate) fn facts_so_far(&self) -> Option<TlsFacts> {
        match self {
            Self::Tcp => None,
            Self::Layered(layers) => layers.tls.as_ref().and_then(Tls::facts_so_far),
        }
    }

    /// Puts what waits in `mqtt` into the layers; gives how much that was. Over TCP it is for the socket as it is.
    pub(crate) fn seal(&mut self, mqtt: &mut BytesMut) -> u64 {
        match self {
            Self::Tcp => 0,
            Self::Layered(layers) => {
                let sealed = mqtt.len() as u64;
                layers.seal(mqtt);
                sealed
            }
        }
    }

    /// The bytes for the socket, when all of `mqtt` is sealed.
    pub(crate) fn wire<'a>(&'a mut self, mqtt: &'a mut BytesMut) -> &'a mut BytesMut {
        match self {
            Self::Tcp => mqtt,
            Self::Layered(layers) => &mut layers.wire,
        }
    }

    /// How much MQTT is in `written` bytes that the socket took, beside what was counted when it was sealed.
    pub(crate) fn mqtt_in(&self, written: usize) -> u64 {
        match self {
            Self::Tcp => written as u64,
            Self::Layered(_) => 0,
        }
    }

    /// Bytes that wait for the socket beside those of MQTT.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::Layered(layers) => layers.wire.len(),
        }
    }

    /// Takes leave as each layer does it, behind the last bytes of MQTT.
    pub(crate) fn farewell(&mut self, closing: &Closing) {
        if let Self::Layered(layers) = self {
            layers.farewell(closing);
        }
    }
}

impl Layers {
    fn take(&mut self, bytes: &[u8], mqtt: &mut BytesMut) {
        if self.end.is_some() {
            return;
        }
        let Some(header) = &mut self.proxy else { return self.take_after_proxy(bytes, mqtt) };
        let mut rest = BytesMut::new();
        let taken = header.take(bytes, &mut rest);
        self.news.extend(header.take_client().map(|client| Observation::ProxyHeader { client }));
        if header.is_done() {
            self.proxy = None;
        }
        if let Err(why) = taken {
            self.end = Some(End::of(Reason::ProxyHeaderInvalid).with_detail(&why));
        }
        if !rest.is_empty() {
            self.take_after_proxy(&rest, mqtt);
        }
    }

    fn take_after_proxy(&mut self, bytes: &[u8], mqtt: &mut BytesMut) {
        let Some(tls) = &mut self.tls else { return self.take_after_tls(bytes, mqtt) };
        let mut plain = BytesMut::new();
        let taken = tls.take(bytes, &mut plain, &mut self.wire);
        self.news.extend(taken.facts.map(Observation::TlsHandshake));
        if !plain.is_empty() {
            self.take_after_tls(&plain, mqtt);
        }
        if self.end.is_none() {
            self.end = taken.end;
        }
    }

    fn take_after_tls(&mut self, bytes: &[u8], mqtt: &mut BytesMut) {
        let Some(websocket) = &mut self.websocket else { return mqtt.extend_from_slice(bytes) };
        let mut reply = BytesMut::new();
        self.end = websocket.take(bytes, mqtt, &mut reply);
        self.send(reply);
    }

    fn seal(&mut self, mqtt: &mut BytesMut) {
        if mqtt.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(mqtt);
        if let Some(websocket) = &self.websocket {
            let mut framed = BytesMut::with_capacity(bytes.len() + 10);
            websocket.frame(&bytes, &mut framed);
            bytes = framed;
        }
        self.send(bytes);
    }

    /// Out through TLS, if there is any.
    fn send(&mut self, bytes: BytesMut) {
        match &mut self.tls {
            _ if bytes.is_empty() => {}
            Some(tls) => tls.send(&bytes, &mut self.wire),
            None if self.wire.is_empty() => self.wire = bytes,
            None => self.wire.extend_from_slice(bytes.chunk()),
        }
    }

    fn farewell(&mut self, closing: &Closing) {
        if let Some(websocket) = &mut self.websocket {
            let mut last = BytesMut::new();
            websocket.close(close_code(closing), &mut last);
            self.send(last);
        }
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.wire);
        }
    }

    /// Whether there is nothing left to do but to pass bytes on.
    fn is_spent(&self) -> bool {
        self.proxy.is_none() && self.tls.is_none() && self.websocket.is_none() && self.end.is_none()
    }

    fn unfinished(&self) -> Option<&'static str> {
        if self.proxy.as_ref().is_some_and(|header| !header.is_read()) {
            Some("PROXY protocol header")
        } else if self.tls.as_ref().is_some_and(Tls::is_shaking_hands) {
            Some("TLS handshake")
        } else if self.websocket.as_ref().is_some_and(WebSocket::is_upgrading) {
            Some("WebSocket upgrade")
        } else {
            None
        }
    }
}

/// The code of a WebSocket close for what ends the connection above it.
fn close_code(closing: &Closing) -> u16 {
    let end = match closing {
        Closing::DisconnectReceived { .. } => return 1000,
        Closing::End(end) => end,
    };
    match end.reason {
        Reason::ServerShutdown | Reason::ServerLost => 1001,
        Reason::MalformedPacket | Reason::ProtocolError | Reason::WebsocketRefused => 1002,
        Reason::PacketTooLarge => 1009,
        Reason::InternalError => 1011,
        Reason::ServerOverloaded => 1013,
        Reason::Opened
        | Reason::Accepted
        | Reason::ClientClosed
        | Reason::ClientDisconnected
        | Reason::MessagePublished
        | Reason::MessageDelivered
        | Reason::MessageQueued
        | Reason::MessageDropped
        | Reason::ConnectionReset
        | Reason::BrokenPipe
        | Reason::NetworkError
        | Reason::TlsFailure
        | Reason::CertificateRefused => 1000,
        Reason::BadCredentials
        | Reason::NotAuthorized
        | Reason::QuotaExceeded
        | Reason::RateLimited
        | Reason::Banned
        | Reason::CredentialsExpired
        | Reason::CredentialsWithdrawn
        | Reason::TokenRefused
        | Reason::Kicked
        | Reason::SessionTakenOver
        | Reason::PublishNotAuthorized
        | Reason::SubscribeNotAuthorized
        | Reason::WillNotAuthorized
        | Reason::KeepAliveTimeout
        | Reason::UnsupportedProtocolVersion
        | Reason::BadClientId
        | Reason::BadTopic
        | Reason::ConnectTimeout
        | Reason::HttpOnMqttPort
        | Reason::TlsOnPlainPort
        | Reason::PlainOnTlsPort
        | Reason::ProxyHeaderInvalid
        | Reason::SlowConsumer => 1008,
    }
}

/// Whether `bytes` begin an HTTP request; none when there are too few of them to tell.
fn begins_http(bytes: &[u8]) -> Option<bool> {
    const METHODS: [&[u8; 4]; 10] =
        [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "];
    if let Some(first) = bytes.first_chunk::<4>() {
        return Some(METHODS.contains(&first));
    }
    if METHODS.iter().any(|method| method.starts_with(bytes)) { None } else { Some(false) }
}

/// `text` for the record: short, and whatever the client chose of it escaped.
fn quoted(text: &str) -> String {
    format!("{:?}", &*Details::text(text))
}

#[cfg(test)]
mod tests;
