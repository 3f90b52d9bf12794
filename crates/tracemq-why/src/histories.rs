//! The client's connections, put together from its events, and how they follow on each other.

use std::collections::HashMap;
use std::net::IpAddr;

use tracemq_model::{Action, ConnectionId, Event, PacketKind, Reason, TimeMs, Traffic};

/// One connection, as far as it is on record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) id: ConnectionId,
    /// Its connect event and that event's place.
    connect: Option<(usize, &'a Event)>,
    /// Its end and that event's place.
    end: Option<(usize, &'a Event)>,
}

impl<'a> Connection<'a> {
    /// Some event of it: whoever it is, all of them say.
    fn any(&self) -> Option<&'a Event> {
        self.end.or(self.connect).map(|(_, event)| event)
    }

    /// The places of its events.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        self.connect.into_iter().chain(self.end).map(|(place, _)| place)
    }

    pub(crate) fn end(&self) -> Option<&'a Event> {
        self.end.map(|(_, event)| event)
    }

    pub(crate) fn end_place(&self) -> Option<usize> {
        self.end.map(|(place, _)| place)
    }

    /// When it began, by its connect, or else by how long it had been open at its end.
    pub(crate) fn began(&self) -> TimeMs {
        let by_end = |(_, end): (usize, &Event)| {
            let open_ms = end.details.duration_ms.unwrap_or(0);
            end.time.plus(i64::try_from(open_ms).unwrap_or(i64::MAX).saturating_neg())
        };
        self.connect.map(|(_, connect)| connect.time).or_else(|| self.end.map(by_end)).unwrap_or_default()
    }

    pub(crate) fn ended(&self) -> Option<TimeMs> {
        self.end().map(|end| end.time)
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.end().map(|end| end.reason)
    }

    /// How long it was open.
    pub(crate) fn open_ms(&self) -> Option<u64> {
        let end = self.end()?;
        end.details.duration_ms.or_else(|| self.connect.map(|(_, connect)| end.time.since(connect.time)))
    }

    pub(crate) fn traffic(&self) -> Option<Traffic> {
        self.end()?.details.traffic
    }

    /// How long nothing had come from the client when it ended.
    pub(crate) fn silent_ms(&self) -> Option<u64> {
        self.traffic()?.last_in_age_ms
    }

    /// How long nothing had passed in either direction when it ended.
    pub(crate) fn idle_ms(&self) -> Option<u64> {
        let traffic = self.traffic()?;
        traffic.last_in_age_ms.map(|age| traffic.last_out_age_ms.map_or(age, |out| out.min(age)))
    }

    pub(crate) fn last_in_kind(&self) -> Option<PacketKind> {
        self.traffic()?.last_in_kind
    }

    /// Keep alive in force; none when it is off or not known.
    pub(crate) fn keep_alive_ms(&self) -> Option<u64> {
        let seconds = self.any()?.details.keep_alive_s.filter(|seconds| *seconds > 0)?;
        Some(u64::from(seconds) * 1_000)
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.any()?.peer.map(|peer| peer.ip().to_canonical())
    }

    pub(crate) fn username(&self) -> Option<&'a str> {
        self.any()?.details.username.as_deref()
    }

    pub(crate) fn certificate(&self) -> Option<&'a str> {
        self.any()?.details.certificate_subject.as_deref()
    }

    pub(crate) fn certificate_not_after(&self) -> Option<TimeMs> {
        self.any()?.details.certificate_not_after
    }

    /// What the program at the other end says of itself; one program says the same each time.
    pub(crate) fn program(&self) -> impl PartialEq + use<'a> {
        self.any().map(|event| {
            let details = &event.details;
            (details.protocol, details.keep_alive_s, details.clean_start, details.listener.as_deref())
        })
    }

    /// Whether a CONNACK with success was sent.
    pub(crate) fn was_accepted(&self) -> bool {
        let had_session = || self.traffic().is_some_and(|traffic| traffic.subscriptions.is_some());
        self.connect.is_some() || had_session() || self.reason().is_some_and(|reason| !is_refusal(reason))
    }

    /// Whether it was accepted and ended without a DISCONNECT packet.
    pub(crate) fn is_drop(&self) -> bool {
        self.was_accepted() && self.end().is_some_and(|end| end.action == Action::Close)
    }

    /// Whether its CONNECT was refused.
    pub(crate) fn is_refused(&self) -> bool {
        !self.was_accepted() && self.end.is_some()
    }
}

/// Whether a CONNECT can be refused for it.
fn is_refusal(reason: Reason) -> bool {
    match reason {
        Reason::BadCredentials
        | Reason::NotAuthorized
        | Reason::QuotaExceeded
        | Reason::RateLimited
        | Reason::Banned
        | Reason::CredentialsExpired
        | Reason::WillNotAuthorized
        | Reason::BadClientId
        | Reason::UnsupportedProtocolVersion
        | Reason::CertificateRefused
        | Reason::ServerOverloaded
        | Reason::ConnectTimeout
        | Reason::MalformedPacket
        | Reason::ProtocolError
        | Reason::PacketTooLarge
        | Reason::BadTopic => true,
        Reason::Opened
        | Reason::Accepted
        | Reason::Kicked
        | Reason::SessionTakenOver
        | Reason::PublishNotAuthorized
        | Reason::SubscribeNotAuthorized
        | Reason::KeepAliveTimeout
        | Reason::ClientClosed
        | Reason::ClientDisconnected
        | Reason::HttpOnMqttPort
        | Reason::TlsOnPlainPort
        | Reason::ConnectionReset
        | Reason::BrokenPipe
        | Reason::NetworkError
        | Reason::TlsFailure
        | Reason::SlowConsumer
        | Reason::ServerShutdown
        | Reason::ServerLost
        | Reason::InternalError
        | Reason::PlainOnTlsPort
        | Reason::WebsocketRefused
        | Reason::ProxyHeaderInvalid
        | Reason::CredentialsWithdrawn
        | Reason::TokenRefused
        | Reason::MessagePublished
        | Reason::MessageDelivered
        | Reason::MessageQueued
        | Reason::MessageDropped => false,
    }
}

/// All connections, in the order in which they began.
#[derive(Debug)]
pub(crate) struct Histories<'a> {
    pub(crate) connections: Vec<Connection<'a>>,
    by_id: HashMap<ConnectionId, usize>,
    /// When each began, ascending.
    began: Vec<TimeMs>,
}

impl<'a> Histories<'a> {
    pub(crate) fn of(events: &'a [Event]) -> Self {
        let mut places: HashMap<ConnectionId, usize> = HashMap::new();
        let mut connections: Vec<Connection<'a>> = Vec::new();
        for (place, event) in events.iter().enumerate() {
            let at = *places.entry(event.connection).or_insert_with(|| {
                connections.push(Connection { id: event.connection, connect: None, end: None });
                connections.len() - 1
            });
            let Some(connection) = connections.get_mut(at) else { continue };
            match event.action {
                Action::Connect => connection.connect = connection.connect.or(Some((place, event))),
                Action::Disconnect | Action::Close => connection.end = connection.end.or(Some((place, event))),
                Action::Open | Action::Message => {}
            }
        }
        connections.retain(|connection| connection.any().is_some());
        connections.sort_by_key(|connection| (connection.began(), connection.places().min()));
        let by_id = connections.iter().enumerate().map(|(at, connection)| (connection.id, at)).collect();
        let began = connections.iter().map(Connection::began).collect();
        Self { connections, by_id, began }
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Connection<'a>> {
        self.connections.get(at)
    }

    pub(crate) fn place_of(&self, id: ConnectionId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The newer connection that took the one at `at` over.
    pub(crate) fn taken_over_by(&self, at: usize) -> Option<usize> {
        /// The old one's end and the new one's connect are written by the same step of the server.
        const AT_ONCE_MS: i64 = 2_000;
        let old = self.get(at)?;
        let end = old.end().filter(|end| end.reason == Reason::SessionTakenOver)?;
        if let Some(other) = end.details.other_connection {
            return self.place_of(other);
        }
        let from = self.began.partition_point(|began| *began < end.time.plus(-AT_ONCE_MS)).max(at + 1);
        self.began.get(from).is_some_and(|began| *began <= end.time.plus(AT_ONCE_MS)).then_some(from)
    }

    /// How long after the end of the one at `at` the next one began.
    pub(crate) fn away_ms(&self, at: usize) -> Option<u64> {
        let ended = self.get(at)?.ended()?;
        let next = self.began.partition_point(|began| *began < ended).max(at + 1);
        self.began.get(next).map(|began| began.since(ended))
    }

    /// The newest connection that was accepted, if it has no end on record.
    pub(crate) fn open(&self) -> Option<&Connection<'a>> {
        self.connections.iter().rev().find(|connection| connection.was_accepted()).filter(|newest| newest.end.is_none())
    }
}
