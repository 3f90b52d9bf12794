//! TLS, by a library that is fed bytes. What is here is what goes on record of a handshake, and which end a failure is.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::server::Acceptor;
use rustls::{AlertDescription, CertificateError, Error, ProtocolVersion, ServerConfig, ServerConnection};
use tracemq_model::{Details, End, Reason, TlsFacts, TlsVersion};

use super::certificates::{Certificates, take_judged};
use super::{begins_http, hello};

/// The first byte of a handshake.
const HANDSHAKE: u8 = 22;

pub(super) struct Tls {
    phase: Phase,
    facts: TlsFacts,
    /// The client's first bytes, until they are understood.
    first: Vec<u8>,
    user_is_common_name: bool,
    user: Option<Arc<str>>,
}

enum Phase {
    /// The client's hello is to come.
    Hello(Box<Acceptor>, Arc<ServerConfig>),
    Session(Box<ServerConnection>),
    Over,
}

/// What came of some bytes.
#[derive(Default)]
pub(super) struct Taken {
    /// The handshake is over, well or not.
    pub(super) facts: Option<TlsFacts>,
    pub(super) end: Option<End>,
}

impl Tls {
    pub(super) fn new(certificates: &Certificates) -> Self {
        Self {
            phase: Phase::Hello(Box::default(), certificates.current()),
            facts: TlsFacts::default(),
            first: Vec::new(),
            user_is_common_name: certificates.user_is_common_name(),
            user: None,
        }
    }

    pub(super) fn is_shaking_hands(&self) -> bool {
        match &self.phase {
            Phase::Hello(..) => true,
            Phase::Session(session) => session.is_handshaking(),
            Phase::Over => false,
        }
    }

    pub(super) fn facts_so_far(&self) -> Option<TlsFacts> {
        (self.is_shaking_hands() && self.facts != TlsFacts::default()).then(|| self.facts.clone())
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Takes `bytes`; what they mean goes to `plain`, answers of the handshake to `wire`.
    pub(super) fn take(&mut self, bytes: &[u8], plain: &mut BytesMut, wire: &mut BytesMut) -> Taken {
        let was_shaking_hands = self.is_shaking_hands();
        if let Phase::Hello(..) = self.phase {
            self.keep(bytes);
            if let Some(end) = self.not_tls() {
                return end.map_or_else(Taken::default, |end| self.over(end));
            }
        }
        match self.feed(bytes, plain, wire) {
            Ok(end) => {
                let is_done = was_shaking_hands && !self.is_shaking_hands();
                if is_done {
                    self.first = Vec::new();
                }
                Taken { facts: is_done.then(|| self.facts.clone()), end }
            }
            Err(error) => {
                let end = self.failure(&error, wire);
                let facts = was_shaking_hands.then(|| self.facts.clone());
                Taken { facts, ..self.over(end) }
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = hello::KEPT_BYTES_MAX.saturating_sub(self.first.len());
        self.first.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    fn over(&mut self, end: End) -> Taken {
        self.phase = Phase::Over;
        self.first = Vec::new();
        Taken { facts: None, end: Some(end) }
    }

    /// When the client does not speak TLS: what it is instead, or nothing yet.
    fn not_tls(&self) -> Option<Option<End>> {
        if self.first.first() == Some(&HANDSHAKE) {
            return None;
        }
        Some(match begins_http(&self.first) {
            Some(true) => Some(End::of(Reason::HttpOnMqttPort).with_detail("a plain HTTP request on a TLS port")),
            Some(false) if self.first.first() == Some(&0x10) => {
                Some(End::of(Reason::PlainOnTlsPort).with_detail("a plain MQTT CONNECT on a TLS port"))
            }
            Some(false) => Some(End::of(Reason::PlainOnTlsPort).with_detail("bytes that are no TLS on a TLS port")),
            None => None,
        })
    }

    /// Gives the end when the client took leave.
    fn feed(&mut self, bytes: &[u8], plain: &mut BytesMut, wire: &mut BytesMut) -> Result<Option<End>, Error> {
        let mut rest = bytes;
        if let Phase::Hello(acceptor, config) = &mut self.phase {
            while !rest.is_empty() {
                if matches!(acceptor.read_tls(&mut rest), Ok(0) | Err(_)) {
                    return Err(Error::General("the client's hello is too long".into()));
                }
            }
            let accepted = match acceptor.accept() {
                Ok(None) => return Ok(None),
                Ok(Some(accepted)) => accepted,
                Err((error, mut alert)) => {
                    let _ = alert.write_all(&mut Wire(wire));
                    return Err(error);
                }
            };
            self.facts.server_name = accepted.client_hello().server_name().map(Details::text);
            match accepted.into_connection(Arc::clone(config)) {
                Ok(mut session) => {
                    session.set_buffer_limit(None); // it is emptied after each write
                    self.phase = Phase::Session(Box::new(session));
                }
                Err((error, mut alert)) => {
                    let _ = alert.write_all(&mut Wire(wire));
                    return Err(error);
                }
            }
            rest = &[];
        }
        let Phase::Session(session) = &mut self.phase else { return Ok(None) };
        loop {
            let progress = session.process_new_packets();
            if let Some(shown) = take_judged() {
                self.facts.certificate_subject = shown.subject;
                self.facts.certificate_issuer = shown.issuer;
                self.facts.certificate_not_after = shown.not_after;
                self.user = shown.common_name.filter(|_| self.user_is_common_name);
            }
            self.facts.version = session.protocol_version().and_then(version);
            flush(session, wire);
            let state = progress?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let mut chunk = [0; 4 * 1024];
                let read = session.reader().read(&mut chunk).unwrap_or(0);
                if read == 0 {
                    break;
                }
                plain.extend_from_slice(chunk.get(..read).unwrap_or_default());
                left = left.saturating_sub(read);
            }
            if state.peer_has_closed() {
                return Ok(Some(End::of(Reason::ClientClosed).with_detail("TLS close_notify")));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            if matches!(session.read_tls(&mut rest), Ok(0) | Err(_)) {
                return Err(Error::General("the TLS library takes no more bytes".into()));
            }
        }
    }

    fn failure(&self, error: &Error, wire: &BytesMut) -> End {
        let mut offered = hello::offered(&self.first).join(", ");
        if offered.is_empty() {
            offered.push_str("nothing that could be read");
        }
        let is_certificate = matches!(error, Error::InvalidCertificate(_) | Error::NoCertificatesPresented);
        let reason = if is_certificate { Reason::CertificateRefused } else { Reason::TlsFailure };
        let sent = if let Error::InvalidCertificate(why) = error {
            Some(AlertDescription::from(why.clone()))
        } else if *error == Error::NoCertificatesPresented {
            Some(AlertDescription::CertificateRequired)
        } else {
            alert_in(wire)
        };
        let sent = sent.map_or_else(String::new, |alert| format!("; alert sent: {alert:?}"));
        let offer = if self.is_shaking_hands() { format!("; offered: {offered}") } else { String::new() };
        End::of(reason).with_detail(&format!("{}{sent}{offer}", words(error)))
    }

    /// Encrypts `bytes`.
    pub(super) fn send(&mut self, bytes: &[u8], wire: &mut BytesMut) {
        if let Phase::Session(session) = &mut self.phase {
            // Without a limit on its buffer, which is empty, the library takes all.
            let _ = session.writer().write_all(bytes);
            flush(session, wire);
        }
    }

    pub(super) fn close(&mut self, wire: &mut BytesMut) {
        if let Phase::Session(session) = &mut self.phase {
            session.send_close_notify();
            flush(session, wire);
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors, of which these have words of ours")]
fn words(error: &Error) -> String {
    use CertificateError as Wrong;
    match error {
        Error::AlertReceived(alert) => format!("the client sent the alert {alert:?}"),
        Error::NoCertificatesPresented => "the client showed no certificate".into(),
        Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
            "the client's certificate has expired".into()
        }
        Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => {
            "the client's certificate is not valid yet".into()
        }
        Error::InvalidCertificate(Wrong::UnknownIssuer) => {
            "the client's certificate is of a CA that is not in client_ca".into()
        }
        Error::InvalidCertificate(wrong) => format!("the client's certificate can't be taken: {wrong}"),
        other => other.to_string(),
    }
}

/// The alert that stands unencrypted at the end of `wire`.
fn alert_in(wire: &[u8]) -> Option<AlertDescription> {
    match wire.get(wire.len().checked_sub(7)?..)? {
        [21, 3, _, 0, 2, _, alert] => Some(AlertDescription::from(*alert)),
        _ => None,
    }
}

fn version(version: ProtocolVersion) -> Option<TlsVersion> {
    if version == ProtocolVersion::TLSv1_3 {
        Some(TlsVersion::V13)
    } else if version == ProtocolVersion::TLSv1_2 {
        Some(TlsVersion::V12)
    } else {
        None
    }
}

fn flush(session: &mut ServerConnection, wire: &mut BytesMut) {
    // Memory takes all that it is given.
    while session.wants_write() && session.write_tls(&mut Wire(wire)).is_ok_and(|written| written > 0) {}
}

struct Wire<'a>(&'a mut BytesMut);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
