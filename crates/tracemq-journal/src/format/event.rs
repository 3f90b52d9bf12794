//! What stands in the body of a frame. These types are the format: they never change; a change in the domain's types
//! must not reach the disk through them unseen, so that every field is named in both directions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracemq_model::{ClientId, ConnectionId, Details, Event, Gap, InstanceId, TimeMs, Traffic};

use super::codes;

/// An event.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventV1<'a> {
    time: i64,
    connection: [u8; 16],
    action: u8,
    reason: u8,
    provenance: u8,
    pub(crate) instance: &'a str,
    pub(crate) client: Option<&'a str>,
    peer: Option<PeerV1>,
    #[serde(borrow)]
    details: DetailsV1<'a>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum PeerV1 {
    V4 { ip: [u8; 4], port: u16 },
    V6 { ip: [u8; 16], port: u16, flow: u32, scope: u32 },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DetailsV1<'a> {
    listener: Option<&'a str>,
    protocol: Option<u8>,
    username: Option<&'a str>,
    keep_alive_s: Option<u16>,
    clean_start: Option<bool>,
    session_present: Option<bool>,
    reason_code: Option<u8>,
    detail: Option<&'a str>,
    other_connection: Option<[u8; 16]>,
    duration_ms: Option<u64>,
    traffic: Option<TrafficV1>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TrafficV1 {
    bytes_in: u64,
    bytes_out: u64,
    packets_in: u64,
    packets_out: u64,
    last_in_age_ms: Option<u64>,
    last_out_age_ms: Option<u64>,
}

/// A gap.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GapV1 {
    from: i64,
    to: i64,
    lost: Option<u64>,
    cause: u8,
}

impl<'a> EventV1<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        let Event { time, instance, connection, action, reason, provenance, client, peer, details } = event;
        Self {
            time: time.0,
            connection: connection.0.to_le_bytes(),
            action: codes::action_code(*action),
            reason: codes::reason_code(*reason),
            provenance: codes::provenance_code(*provenance),
            instance: instance.as_str(),
            client: client.as_ref().map(ClientId::as_str),
            peer: peer.map(PeerV1::of),
            details: DetailsV1::of(details),
        }
    }

    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        match postcard::take_from_bytes(body) {
            Ok((event, [])) => Some(event),
            Ok(_) | Err(_) => None,
        }
    }

    /// None when a number or a name in it has no meaning to this version.
    pub(crate) fn to_event(&self) -> Option<Event> {
        Some(Event {
            time: self.time(),
            instance: InstanceId::new(self.instance).ok()?,
            connection: self.connection(),
            action: self.action()?,
            reason: codes::reason_of(self.reason)?,
            provenance: codes::provenance_of(self.provenance)?,
            client: self.client.map(ClientId::new).transpose().ok()?,
            peer: self.peer.as_ref().map(PeerV1::address),
            details: self.details.to_details()?,
        })
    }

    pub(crate) fn time(&self) -> TimeMs {
        TimeMs(self.time)
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(u128::from_le_bytes(self.connection))
    }

    pub(crate) fn action(&self) -> Option<tracemq_model::Action> {
        codes::action_of(self.action)
    }

    /// The peer's address as subjects name it.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.peer.as_ref().map(|peer| peer.address().ip().to_canonical())
    }

    /// Whether [`Self::to_event`] would give an event, at a fraction of its price.
    pub(crate) fn has_meaning(&self) -> bool {
        self.action().is_some()
            && codes::reason_of(self.reason).is_some()
            && codes::provenance_of(self.provenance).is_some()
            && self.details.protocol.is_none_or(|code| codes::protocol_of(code).is_some())
    }
}

impl PeerV1 {
    fn of(peer: SocketAddr) -> Self {
        match peer {
            SocketAddr::V4(v4) => Self::V4 { ip: v4.ip().octets(), port: v4.port() },
            SocketAddr::V6(v6) => {
                Self::V6 { ip: v6.ip().octets(), port: v6.port(), flow: v6.flowinfo(), scope: v6.scope_id() }
            }
        }
    }

    fn address(&self) -> SocketAddr {
        match *self {
            Self::V4 { ip, port } => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(ip), port)),
            Self::V6 { ip, port, flow, scope } => {
                SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope))
            }
        }
    }
}

impl<'a> DetailsV1<'a> {
    fn of(details: &'a Details) -> Self {
        let Details {
            listener,
            protocol,
            username,
            keep_alive_s,
            clean_start,
            session_present,
            reason_code,
            detail,
            other_connection,
            duration_ms,
            traffic,
        } = details;
        Self {
            listener: listener.as_deref(),
            protocol: protocol.map(codes::protocol_code),
            username: username.as_deref(),
            keep_alive_s: *keep_alive_s,
            clean_start: *clean_start,
            session_present: *session_present,
            reason_code: *reason_code,
            detail: detail.as_deref(),
            other_connection: other_connection.map(|other| other.0.to_le_bytes()),
            duration_ms: *duration_ms,
            traffic: traffic.as_ref().map(TrafficV1::of),
        }
    }

    fn to_details(&self) -> Option<Details> {
        let protocol = match self.protocol {
            Some(code) => Some(codes::protocol_of(code)?),
            None => None,
        };
        Some(Details {
            listener: self.listener.map(Arc::from),
            protocol,
            username: self.username.map(Arc::from),
            keep_alive_s: self.keep_alive_s,
            clean_start: self.clean_start,
            session_present: self.session_present,
            reason_code: self.reason_code,
            detail: self.detail.map(Arc::from),
            other_connection: self.other_connection.map(|bytes| ConnectionId(u128::from_le_bytes(bytes))),
            duration_ms: self.duration_ms,
            traffic: self.traffic.as_ref().map(TrafficV1::to_traffic),
        })
    }
}

impl TrafficV1 {
    fn of(traffic: &Traffic) -> Self {
        let Traffic { bytes_in, bytes_out, packets_in, packets_out, last_in_age_ms, last_out_age_ms } = *traffic;
        Self { bytes_in, bytes_out, packets_in, packets_out, last_in_age_ms, last_out_age_ms }
    }

    fn to_traffic(&self) -> Traffic {
        let Self { bytes_in, bytes_out, packets_in, packets_out, last_in_age_ms, last_out_age_ms } = *self;
        Traffic { bytes_in, bytes_out, packets_in, packets_out, last_in_age_ms, last_out_age_ms }
    }
}

impl GapV1 {
    pub(crate) fn of(gap: &Gap) -> Self {
        let Gap { from, to, lost, cause } = *gap;
        Self { from: from.0, to: to.0, lost, cause: codes::cause_code(cause) }
    }

    /// None when it is no gap, or one of a cause that this version does not know.
    pub(crate) fn decode(body: &[u8]) -> Option<Gap> {
        let (gap, rest) = postcard::take_from_bytes::<Self>(body).ok()?;
        let cause = codes::cause_of(gap.cause)?;
        rest.is_empty().then_some(Gap { from: TimeMs(gap.from), to: TimeMs(gap.to), lost: gap.lost, cause })
    }
}
