//! An event as the store moves it about: what every event has in a [`Row`] of fixed size, what only some have in
//! [cells](crate::cells), and whose it is in a [key](crate::key).

use std::net::{IpAddr, SocketAddr};

use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, Provenance, Reason, Subject, TimeMs};

use crate::key::Key;

/// What every event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) time: TimeMs,
    pub(crate) connection: ConnectionId,
    pub(crate) peer: Peer,
    pub(crate) kind: Kind,
}

/// The peer's address in 18 bytes and a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    None,
    Some { ip: IpAddr, port: u16 },
}

/// Action, reason and provenance in numbers that stay the same for ever, as they stand on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kind(pub(crate) u16);

impl Kind {
    /// One more than the largest number that a kind has today; every reader of a file holds against it.
    const PROVENANCES: u16 = 4;
    /// Those of a connection. There is one beside them, which has no room in their two bits.
    const ACTIONS: u16 = 4;
    /// The action is [`Action::Message`], and theirs is 0.
    const MESSAGE: u16 = 1 << 15;

    pub(crate) fn new(action: Action, reason: Reason, provenance: Provenance) -> Self {
        let (flag, action) = match action {
            Action::Open => (0, 0),
            Action::Connect => (0, 1),
            Action::Disconnect => (0, 2),
            Action::Close => (0, 3),
            Action::Message => (Self::MESSAGE, 0),
        };
        Self(
            flag | ((reason_number(reason) * Self::ACTIONS + action) * Self::PROVENANCES
                + provenance_number(provenance)),
        )
    }

    /// None for a number that this version doesn't know.
    pub(crate) fn parts(self) -> Option<(Action, Reason, Provenance)> {
        let (flag, number) = (self.0 & Self::MESSAGE, self.0 & !Self::MESSAGE);
        let provenance = match number % Self::PROVENANCES {
            0 => Provenance::Observed,
            1 => Provenance::Reported,
            2 => Provenance::Inferred,
            _ => return None,
        };
        let action = match (flag, number / Self::PROVENANCES % Self::ACTIONS) {
            (0, 0) => Action::Open,
            (0, 1) => Action::Connect,
            (0, 2) => Action::Disconnect,
            (0, _) => Action::Close,
            (_, 0) => Action::Message,
            _ => return None,
        };
        let number = number / Self::PROVENANCES / Self::ACTIONS;
        let reason = REASONS.get(usize::from(number)).copied().flatten()?;
        Some((action, reason, provenance))
    }
}

fn provenance_number(provenance: Provenance) -> u16 {
    match provenance {
        Provenance::Observed => 0,
        Provenance::Reported => 1,
        Provenance::Inferred => 2,
    }
}

/// The reasons by their number: each row that is read or sealed asks.
const REASONS: [Option<Reason>; 64] = reasons_by_number();

#[expect(clippy::indexing_slicing, reason = "a number out of bounds does not compile")]
const fn reasons_by_number() -> [Option<Reason>; 64] {
    let mut table = [None; 64];
    let mut at = 0;
    while at < Reason::ALL.len() {
        table[reason_number(Reason::ALL[at]) as usize] = Some(Reason::ALL[at]);
        at += 1;
    }
    table
}

/// Stands on disk: a number is never changed and never used again.
const fn reason_number(reason: Reason) -> u16 {
    match reason {
        Reason::Opened => 0,
        Reason::Accepted => 1,
        Reason::BadCredentials => 2,
        Reason::NotAuthorized => 3,
        Reason::QuotaExceeded => 4,
        Reason::RateLimited => 5,
        Reason::Banned => 6,
        Reason::Kicked => 7,
        Reason::SessionTakenOver => 8,
        Reason::PublishNotAuthorized => 9,
        Reason::SubscribeNotAuthorized => 10,
        Reason::WillNotAuthorized => 11,
        Reason::KeepAliveTimeout => 12,
        Reason::ClientClosed => 13,
        Reason::ClientDisconnected => 14,
        Reason::MalformedPacket => 15,
        Reason::ProtocolError => 16,
        Reason::PacketTooLarge => 17,
        Reason::UnsupportedProtocolVersion => 18,
        Reason::BadClientId => 19,
        Reason::BadTopic => 20,
        Reason::ConnectTimeout => 21,
        Reason::HttpOnMqttPort => 22,
        Reason::TlsOnPlainPort => 23,
        Reason::ConnectionReset => 24,
        Reason::BrokenPipe => 25,
        Reason::NetworkError => 26,
        Reason::TlsFailure => 27,
        Reason::SlowConsumer => 28,
        Reason::ServerShutdown => 29,
        Reason::ServerLost => 30,
        Reason::ServerOverloaded => 31,
        Reason::InternalError => 32,
        Reason::CertificateRefused => 33,
        Reason::PlainOnTlsPort => 34,
        Reason::WebsocketRefused => 35,
        Reason::ProxyHeaderInvalid => 36,
        Reason::CredentialsExpired => 37,
        Reason::CredentialsWithdrawn => 38,
        Reason::TokenRefused => 39,
        Reason::MessagePublished => 40,
        Reason::MessageDelivered => 41,
        Reason::MessageQueued => 42,
        Reason::MessageDropped => 43,
    }
}

impl Row {
    /// The row of `event`; whose it is and its details are not in it.
    pub(crate) fn of(event: &Event) -> Self {
        Self {
            time: event.time,
            connection: event.connection,
            peer: event.peer.map_or(Peer::None, |peer| Peer::Some { ip: peer.ip(), port: peer.port() }),
            kind: Kind::new(event.action, event.reason, event.provenance),
        }
    }

    /// The event that this is the row of; none when the kind is of a later version.
    pub(crate) fn to_event(self, key: &Key, details: Details) -> Option<Event> {
        let (action, reason, provenance) = self.kind.parts()?;
        Some(Event {
            time: self.time,
            instance: key.instance.clone(),
            connection: self.connection,
            action,
            reason,
            provenance,
            client: client_of(key),
            peer: match self.peer {
                Peer::None => None,
                Peer::Some { ip, port } => Some(SocketAddr::new(ip, port)),
            },
            details,
        })
    }
}

fn client_of(key: &Key) -> Option<ClientId> {
    match &key.subject {
        Some(Subject::Client(client)) => Some(client.clone()),
        Some(Subject::Address(_) | Subject::Message(_)) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            for action in [Action::Open, Action::Connect, Action::Disconnect, Action::Close, Action::Message] {
                for provenance in [Provenance::Observed, Provenance::Reported, Provenance::Inferred] {
                    let kind = Kind::new(action, *reason, provenance);
                    assert_eq!(kind.parts(), Some((action, *reason, provenance)));
                    assert!(seen.insert(kind));
                }
            }
        }
        assert_eq!(Kind(u16::MAX).parts(), None);
        assert_eq!(Kind(3).parts(), None);
        assert_eq!(Kind(1 << 15 | 4).parts(), None);
    }
}
