//! What the server sees of one device.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, InstanceId, PacketKind, ProtocolVersion, Provenance, Reason,
    TimeMs, TlsVersion, Traffic,
};

/// A device, and what is on record of it so far.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its client identifier.
    pub client: ClientId,
    /// Whose it is.
    pub instance: InstanceId,
    /// The address that it comes from now.
    pub address: Ipv4Addr,
    /// User name of its CONNECT.
    pub username: String,
    /// What it promises, in seconds.
    pub keep_alive_s: u16,
    /// Whether it keeps no session.
    pub clean_start: bool,
    /// Until when its certificate is good, if it has one.
    pub certificate: Option<TimeMs>,
    /// What happened, in the order of telling.
    pub events: Vec<Event>,
    connections: u64,
}

/// A connection that was let in.
#[derive(Clone, Copy, Debug)]
pub struct Connected {
    /// Which.
    pub id: ConnectionId,
    /// Since when.
    pub since: i64,
    peer: SocketAddr,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Why.
    pub reason: Reason,
    /// How long the client had been silent.
    pub silent_ms: i64,
    /// How long the server had.
    pub answered_ms: i64,
    /// What came last.
    pub last: PacketKind,
}

impl Ending {
    /// One at which both had been silent for as long.
    #[must_use]
    pub fn idle(reason: Reason, idle_ms: i64, last: PacketKind) -> Self {
        Self { reason, silent_ms: idle_ms, answered_ms: idle_ms, last }
    }
}

impl Device {
    /// One that nothing is on record of yet. `number` tells its connections from those of others.
    #[must_use]
    pub fn new(client: ClientId, instance: InstanceId, address: Ipv4Addr, keep_alive_s: u16, number: u64) -> Self {
        Self {
            client,
            instance,
            address,
            username: "device".to_owned(),
            keep_alive_s,
            clean_start: true,
            certificate: None,
            events: Vec::new(),
            connections: number << 32,
        }
    }

    fn event(&mut self, at: i64, action: Action, reason: Reason) -> Event {
        self.connections += 1;
        // Ports count up, as those of an operating system do.
        let port = u16::try_from(32_768 + self.connections % 28_000).unwrap_or(32_768);
        Event {
            time: TimeMs(at),
            instance: self.instance.clone(),
            connection: ConnectionId(u128::try_from(at.max(0)).unwrap_or(0) << 80 | u128::from(self.connections)),
            action,
            reason,
            provenance: Provenance::Observed,
            client: Some(self.client.clone()),
            peer: Some(SocketAddr::new(IpAddr::V4(self.address), port)),
            details: self.details(),
        }
    }

    fn details(&self) -> Details {
        let has_certificate = self.certificate.is_some();
        Details {
            listener: Some(if has_certificate { "mqtts" } else { "mqtt" }.into()),
            protocol: Some(ProtocolVersion::V311),
            username: Some(self.username.as_str().into()),
            keep_alive_s: Some(self.keep_alive_s),
            clean_start: Some(self.clean_start),
            tls_version: has_certificate.then_some(TlsVersion::V13),
            certificate_subject: has_certificate.then(|| format!("CN={}", self.client).into()),
            certificate_not_after: self.certificate,
            ..Details::default()
        }
    }

    /// It is let in.
    pub fn connect(&mut self, at: i64) -> Connected {
        let mut event = self.event(at, Action::Connect, Reason::Accepted);
        event.details.session_present = Some(false);
        let peer = event.peer.unwrap_or(SocketAddr::new(IpAddr::V4(self.address), 0));
        let connected = Connected { id: event.connection, since: at, peer };
        self.events.push(event);
        connected
    }

    /// The end of what was let in.
    pub fn end(&mut self, of: Connected, at: i64, ending: Ending) {
        let Ending { reason, silent_ms, answered_ms, last } = ending;
        let action = if reason == Reason::ClientDisconnected { Action::Disconnect } else { Action::Close };
        let open = u64::try_from(at - of.since).unwrap_or(0);
        let age = |ms: i64| u64::try_from(ms).unwrap_or(0).min(open);
        let packets = open / 30_000 + 2;
        let keep_alive_ms = u64::from(self.keep_alive_s) * 1_000;
        let missed = age(silent_ms).checked_div(keep_alive_ms).unwrap_or(0);
        let traffic = Traffic {
            bytes_in: 40 + packets * 60,
            bytes_out: 10 + packets * 4,
            packets_in: packets,
            packets_out: packets,
            last_in_age_ms: Some(age(silent_ms)),
            last_out_age_ms: Some(age(answered_ms)),
            last_in_kind: Some(last),
            last_out_kind: Some(if last == PacketKind::PingReq { PacketKind::PingResp } else { PacketKind::PubAck }),
            subscriptions: Some(1),
            in_flight: Some(0),
            missed_keep_alives: Some(u32::try_from(missed).unwrap_or(u32::MAX)),
        };
        let details = Details { duration_ms: Some(open), traffic: Some(traffic), ..self.details() };
        let mut event = Event {
            time: TimeMs(at),
            instance: self.instance.clone(),
            connection: of.id,
            action,
            reason,
            provenance: if reason == Reason::ServerLost { Provenance::Inferred } else { Provenance::Observed },
            client: Some(self.client.clone()),
            peer: Some(of.peer),
            details,
        };
        event.details.detail = detail(reason, age(silent_ms), self.keep_alive_s).map(Into::into);
        self.events.push(event);
    }

    /// It comes again while `old` seems open: the server ends that for it.
    pub fn take_over(&mut self, old: Connected, at: i64, ending: Ending) -> Connected {
        let new = self.connect(at);
        self.end(old, at, Ending { reason: Reason::SessionTakenOver, ..ending });
        if let Some(end) = self.events.last_mut() {
            end.details.other_connection = Some(new.id);
            end.details.detail =
                Some(format!("a newer connection has the same client identifier (from {})", new.peer).into());
        }
        new
    }

    /// Its CONNECT is refused.
    pub fn refused(&mut self, at: i64, reason: Reason) {
        let mut event = self.event(at, Action::Close, reason);
        event.details.duration_ms = Some(40);
        event.details.detail = Some("unknown user or wrong password".into());
        self.events.push(event);
    }

    /// Its handshake is refused for its certificate, before it says who it is.
    #[must_use]
    pub fn handshake_refused(&mut self, at: i64) -> Event {
        let mut event = self.event(at, Action::Close, Reason::CertificateRefused);
        event.client = None;
        let Details { certificate_subject, certificate_not_after, listener, .. } = event.details;
        event.details = Details {
            certificate_subject,
            certificate_not_after,
            listener,
            duration_ms: Some(60),
            detail: Some("the client's certificate has expired".into()),
            ..Details::default()
        };
        event
    }
}

/// What the server says of such an end.
fn detail(reason: Reason, silent_ms: u64, keep_alive_s: u16) -> Option<String> {
    if reason == Reason::KeepAliveTimeout {
        Some(format!("no packet for {silent_ms} ms, keep alive is {keep_alive_s} s [MQTT-3.1.2-22]"))
    } else if reason == Reason::PublishNotAuthorized {
        Some("PUBLISH: no permission for topic \"admin/reboot\"".to_owned())
    } else if reason == Reason::SubscribeNotAuthorized {
        Some("SUBSCRIBE: no permission for filter \"fleet/#\"".to_owned())
    } else {
        None
    }
}
