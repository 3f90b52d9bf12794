//! How history is asked for, and what an answer holds.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ClientId, Event, InstanceId, MessageId, TimeMs};

/// Whose history. In order: clients by the bytes of their names, then addresses by number (IPv4 as IPv6-mapped), then
/// messages by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Of a client, by its identifier.
    Client(ClientId),
    /// Of the connections from an address that never named a client. To a store an IPv4 address and its IPv6-mapped form
    /// are one.
    Address(IpAddr),
    /// Of a message, by its id: what became of it, whoever published or got it.
    Message(MessageId),
}

impl Subject {
    /// The subject that `event` is kept under; none only for an event without client and without address.
    pub fn of(event: &Event) -> Option<Self> {
        match (&event.client, &event.details.message, event.peer) {
            (Some(client), ..) => Some(Self::Client(client.clone())),
            (None, Some(message), _) => Some(Self::Message(message.id)),
            (None, None, Some(peer)) => Some(Self::Address(peer.ip().to_canonical())),
            (None, None, None) => None,
        }
    }

    /// Whether `event` is kept under it.
    pub fn is_of(&self, event: &Event) -> bool {
        match self {
            Self::Client(client) => event.client.as_ref() == Some(client),
            Self::Address(address) => {
                let from = |ip: IpAddr| ip.to_canonical() == address.to_canonical();
                let is_nobodys = event.client.is_none() && event.details.message.is_none();
                is_nobodys && event.peer.is_some_and(|peer| from(peer.ip()))
            }
            Self::Message(id) => {
                event.client.is_none() && event.details.message.as_ref().is_some_and(|message| message.id == *id)
            }
        }
    }

    /// The form that [`Subject::of`] gives: an IPv6-mapped address as IPv4.
    #[must_use]
    pub fn canonical(&self) -> Self {
        match self {
            Self::Client(client) => Self::Client(client.clone()),
            Self::Address(address) => Self::Address(address.to_canonical()),
            Self::Message(id) => Self::Message(*id),
        }
    }
}

impl Subject {
    fn rank(&self) -> u8 {
        match self {
            Self::Client(_) => 0,
            Self::Address(_) => 1,
            Self::Message(_) => 2,
        }
    }
}

impl Ord for Subject {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Client(one), Self::Client(other)) => one.cmp(other),
            (Self::Address(one), Self::Address(other)) => {
                number(*one).cmp(&number(*other)).then_with(|| one.cmp(other))
            }
            (Self::Message(one), Self::Message(other)) => one.cmp(other),
            (one, other) => one.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Subject {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// From one moment to another, both included. Empty when `from` is after `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment of the range.
    pub from: TimeMs,
    /// The last moment of the range.
    pub to: TimeMs,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: TimeMs::MIN, to: TimeMs::MAX };

    /// Whether `time` is in it.
    pub fn contains(self, time: TimeMs) -> bool {
        self.from <= time && time <= self.to
    }

    /// Whether the two share a moment.
    pub fn overlaps(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// In which order. Events of the same millisecond keep the order of arrival, exactly reversed in `NewestFirst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By (time, arrival).
    #[default]
    OldestFirst,
    /// By (time, arrival), reversed.
    NewestFirst,
}

/// A page of one subject's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceQuery {
    /// In which instance.
    pub instance: InstanceId,
    /// Whose.
    pub subject: Subject,
    /// When.
    pub range: TimeRange,
    /// In which order.
    pub order: Order,
    /// How many matches to pass over.
    pub offset: u64,
    /// The most events to return; bounded by the caller, at most [`TraceQuery::LIMIT_MAX`].
    pub limit: usize,
}

impl TraceQuery {
    /// More than this a page is refused by every store: a page is held in memory.
    pub const LIMIT_MAX: usize = 1_000;
}

/// The answer to a [`TraceQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracePage {
    /// How many events match in the whole range.
    pub total: u64,
    /// The events of this page, in the order asked for.
    pub events: Vec<Event>,
    /// When, within the range, events were or may have been missed; oldest first.
    pub gaps: Vec<Gap>,
}

/// Why events are not on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapCause {
    /// They came faster than the store took them, and the recorder's queue was at its bound.
    QueueFull,
    /// The store refused or failed to write them.
    StoreFailed,
    /// No recorder was running.
    NotRunning,
    /// Written, but no longer readable: the file is damaged.
    Damaged,
}

impl GapCause {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::QueueFull, Self::StoreFailed, Self::NotRunning, Self::Damaged];

    /// The stable code, `kebab-case`.
    pub fn code(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::StoreFailed => "store-failed",
            Self::NotRunning => "not-running",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A span of time for which the record is incomplete, for all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first moment from which something may be missing.
    pub from: TimeMs,
    /// The last.
    pub to: TimeMs,
    /// How many events are missing; none when that can't be known.
    pub lost: Option<u64>,
    /// Why.
    pub cause: GapCause,
}

impl Gap {
    /// The span as a range.
    pub fn range(self) -> TimeRange {
        TimeRange { from: self.from, to: self.to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_before_addresses_by_number_and_those_before_messages() {
        let client = |name| Subject::Client(ClientId::new(name).unwrap());
        let address = |text: &str| Subject::Address(text.parse().unwrap());
        let sorted = [
            client("10.0.0.9"),
            client("B"),
            client("a"),
            client("a\u{1}"),
            client("é"),
            address("::1"),
            address("9.0.0.1"),
            address("10.0.0.1"),
            address("::ffff:10.0.0.1"),
            address("10.0.0.2"),
            address("::1:0:0:1"),
            address("2001:db8::7"),
            Subject::Message(MessageId(0)),
            Subject::Message(MessageId(7)),
        ];
        assert!(sorted.is_sorted_by(|one, other| one < other));
        assert_eq!(address("::ffff:10.0.0.1").canonical(), address("10.0.0.1"));
    }

    #[test]
    fn ranges_include_both_ends() {
        let range = TimeRange { from: TimeMs(10), to: TimeMs(20) };
        assert!(range.contains(TimeMs(10)) && range.contains(TimeMs(20)));
        assert!(!range.contains(TimeMs(9)) && !range.contains(TimeMs(21)));
        assert!(range.overlaps(TimeRange { from: TimeMs(20), to: TimeMs(30) }));
        assert!(!range.overlaps(TimeRange { from: TimeMs(21), to: TimeMs(30) }));
    }
}
