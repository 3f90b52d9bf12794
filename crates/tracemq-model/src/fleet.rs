//! What the answers to questions about many devices hold.

use crate::{Action, ConnectionId, Event, Gap, Reason, Subject, TimeMs};

/// How many events of one action and reason a bucket of time holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The first moment of the bucket: a multiple of its length since 1970. For the one bucket that begins before
    /// [`TimeMs::MIN`], that.
    pub from: TimeMs,
    /// What happened.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// How often; never 0.
    pub events: u64,
}

/// Counts over time, ordered by bucket, action and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Buckets without events are left out.
    pub counts: Vec<Count>,
    /// When, within the range, events were or may have been missed; oldest first.
    pub gaps: Vec<Gap>,
}

/// What one subject has of the events asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Whose.
    pub subject: Subject,
    /// How many; never 0.
    pub events: u64,
    /// The time of the oldest of them.
    pub first: TimeMs,
    /// The time of the newest of them.
    pub last: TimeMs,
    /// The action of the newest of them.
    pub last_action: Action,
    /// The reason of the newest of them.
    pub last_reason: Reason,
}

/// One network connection of a subject, as far as it is on record under that subject and near its first event there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which.
    pub connection: ConnectionId,
    /// Its connect event, or else its open event: a connect is later in a connection's life, whatever the clock said.
    /// None for a connection that was refused at once, or whose beginning is not on record.
    pub beginning: Option<Event>,
    /// Its disconnect or close event; none while it is open, or when the end is not on record.
    pub end: Option<Event>,
}

/// Some of a subject's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// In the order asked for, by their first event. May be fewer than asked for, even none, before the end.
    pub sessions: Vec<Session>,
    /// The offset (in events) at which to go on; none when there are no more.
    pub next_offset: Option<u64>,
    /// When, within the range, events were or may have been missed; oldest first.
    pub gaps: Vec<Gap>,
}

/// What is known of a subject now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentState {
    /// The beginnings of connections without an end on record, newest first; of each its connect, or else its open. More
    /// than one while a takeover is under way, or where ends were lost in a gap.
    pub open: Vec<Event>,
    /// The newest event.
    pub last: Event,
    /// The newest end.
    pub last_end: Option<Event>,
    /// Gaps since the oldest of these events, all without an end: an end may be missing, or something newer.
    pub gaps: Vec<Gap>,
}

impl CurrentState {
    /// From when on an event that is missing could change it.
    pub fn since(&self) -> TimeMs {
        let Some(last_end) = &self.last_end else { return TimeMs::MIN };
        self.open.iter().map(|event| event.time).fold(last_end.time, TimeMs::min)
    }
}

/// Some of the subjects of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectPage {
    /// Clients by the bytes of their names, then addresses by number (IPv4 as IPv6-mapped).
    pub subjects: Vec<Subject>,
    /// Whether there are more behind the last one.
    pub more: bool,
    /// Set when a part of the names could not be read.
    pub gaps: Vec<Gap>,
}
