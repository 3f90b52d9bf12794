//! What others did while a client dropped, by reads that are bounded: few drops, and of each so many events of the fleet.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::ControlFlow;

use tracemq_model::{
    Action, ClientId, Event, Filter, InstanceId, Order, Reason, Subject, TimeMs, TimeRange, TraceQuery,
};
use tracemq_store::{EventStore, StoreError};
use tracemq_why::{Around, Surroundings};

use crate::lookup::Waiting;

/// The newest drops say enough, and each costs two scans.
const DROPS_MAX: usize = 3;
/// Drops that are closer than this have the same surroundings.
const APART_MS: u64 = 120_000;
/// What has one cause is seen within so long: servers do not end all at once, and clients do not notice at once.
const ABOUT_MS: i64 = 30_000;
/// A silence is noticed so much later that the server's clock for it does not matter beyond that.
const SILENCE_MAX_MS: i64 = 600_000;
/// How far before a window a connection may have begun, and from when on a usual rate is known.
const BEFORE_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Events that are looked at in a window, and before it: some tens of milliseconds each.
const DROPPED_MAX: usize = 20_000;
const BEFORE_MAX: usize = 50_000;
/// Addresses of the client that are asked for handshakes that failed, and how many events of each.
const ADDRESSES_MAX: usize = 3;
const NAMELESS_MAX: usize = 200;

/// What ends a connection that was accepted, without its client's wish.
const DROPS: [Reason; 12] = [
    Reason::ConnectionReset,
    Reason::BrokenPipe,
    Reason::NetworkError,
    Reason::TlsFailure,
    Reason::ClientClosed,
    Reason::KeepAliveTimeout,
    Reason::SessionTakenOver,
    Reason::SlowConsumer,
    Reason::ServerShutdown,
    Reason::ServerLost,
    Reason::ServerOverloaded,
    Reason::InternalError,
];

/// Of these, the ones of the server's own state.
const BY_SERVER: [Reason; 4] =
    [Reason::ServerShutdown, Reason::ServerLost, Reason::ServerOverloaded, Reason::InternalError];

/// Of a client with these `events`, oldest first.
pub(super) fn surroundings(
    store: &dyn EventStore,
    instance: &InstanceId,
    events: &[Event],
    until: TimeMs,
    waiting: &Waiting,
) -> Result<Surroundings, StoreError> {
    let mut found = Surroundings::default();
    let mut last: Option<TimeMs> = None;
    let drops = events.iter().rev().filter(|event| event.action == Action::Close && DROPS.contains(&event.reason));
    for drop in drops {
        if found.around.len() == DROPS_MAX || waiting.go_on().is_break() {
            break;
        }
        if last.is_none_or(|last| last.since(drop.time) >= APART_MS) {
            found.around.push(around(store, instance, drop, waiting)?);
            last = Some(drop.time);
        }
    }
    found.nameless = nameless(store, instance, events, until)?;
    Ok(found)
}

fn around(
    store: &dyn EventStore,
    instance: &InstanceId,
    drop: &Event,
    waiting: &Waiting,
) -> Result<Around, StoreError> {
    let window = window(drop);
    let mut others = Others::about(drop);
    let filter = |range, reasons: &[Reason]| Filter {
        actions: if reasons.is_empty() { Vec::new() } else { vec![Action::Close] },
        reasons: reasons.to_vec(),
        ..Filter::all(instance.clone(), range)
    };
    let mut left = DROPPED_MAX;
    store.scan(&filter(window, &DROPS), Order::OldestFirst, &mut |event| {
        others.dropped(event);
        others.goes_on(&mut left, waiting)
    })?;
    let before = TimeRange { from: window.from.plus(-BEFORE_MS), to: window.from.plus(-1) };
    left = BEFORE_MAX;
    store.scan(&filter(before, &[]), Order::NewestFirst, &mut |event| {
        others.before(event);
        others.goes_on(&mut left, waiting)
    })?;
    let hour = TimeRange { from: window.from.plus(-HOUR_MS), ..before };
    let hourly = store.counts(&filter(hour, &DROPS), HOUR_MS.unsigned_abs())?;
    let hourly: u64 = hourly.counts.iter().map(|count| count.events).sum();
    let length = window.to.since(window.from);
    others.around.usually_dropped = hourly.saturating_mul(length).div_ceil(HOUR_MS.unsigned_abs());
    Ok(others.around)
}

/// From when on what ended the connection may have begun, until when others have noticed it.
fn window(drop: &Event) -> TimeRange {
    let silent = drop.details.traffic.and_then(|traffic| traffic.last_in_age_ms).unwrap_or(0);
    let is_late = [Reason::KeepAliveTimeout, Reason::SessionTakenOver].contains(&drop.reason);
    let silent = if is_late { i64::try_from(silent).unwrap_or(SILENCE_MAX_MS).min(SILENCE_MAX_MS) } else { 0 };
    TimeRange { from: drop.time.plus(-silent - ABOUT_MS), to: drop.time.plus(silent + ABOUT_MS) }
}

/// The others, each counted once; of names only digests are kept.
struct Others {
    hasher: RandomState,
    seen: HashSet<u64>,
    subnet: Option<(bool, u128)>,
    around: Around,
}

impl Others {
    fn about(drop: &Event) -> Self {
        let mut others = Self {
            hasher: RandomState::new(),
            seen: HashSet::new(),
            subnet: drop.peer.map(|peer| subnet(peer.ip())),
            around: Around {
                connection: drop.connection,
                dropped: 0,
                usually_dropped: 0,
                stayed: 0,
                subnet_dropped: 0,
                subnet_stayed: 0,
                ended_by_server: 0,
                is_partial: false,
            },
        };
        others.is_new(drop.client.as_ref());
        others
    }

    fn is_new(&mut self, client: Option<&ClientId>) -> bool {
        client.is_some_and(|client| self.seen.insert(self.hasher.hash_one(client.as_str())))
    }

    fn is_near(&self, event: &Event) -> bool {
        self.subnet.is_some() && event.peer.map(|peer| subnet(peer.ip())) == self.subnet
    }

    fn dropped(&mut self, event: &Event) {
        if self.is_new(event.client.as_ref()) {
            self.around.dropped += 1;
            self.around.subnet_dropped += u64::from(self.is_near(event));
            self.around.ended_by_server += u64::from(BY_SERVER.contains(&event.reason));
        }
    }

    /// An event before the window, the newest first: the first one of a client says whether it was connected.
    fn before(&mut self, event: &Event) {
        if self.is_new(event.client.as_ref()) && event.action == Action::Connect {
            self.around.stayed += 1;
            self.around.subnet_stayed += u64::from(self.is_near(event));
        }
    }

    fn goes_on(&mut self, left: &mut usize, waiting: &Waiting) -> ControlFlow<()> {
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.around.is_partial = true;
            return ControlFlow::Break(());
        }
        waiting.go_on()
    }
}

/// The /24 of an IPv4 address, the /64 of an IPv6 one.
fn subnet(address: IpAddr) -> (bool, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (false, u128::from(v4.to_bits() >> 8)),
        IpAddr::V6(v6) => (true, v6.to_bits() >> 64),
    }
}

/// Handshakes from the client's last addresses that its certificate failed.
fn nameless(
    store: &dyn EventStore,
    instance: &InstanceId,
    events: &[Event],
    until: TimeMs,
) -> Result<Vec<Event>, StoreError> {
    let subject = events.iter().rev().find_map(|event| event.details.certificate_subject.clone());
    let Some(first) = events.first().filter(|_| subject.is_some()) else { return Ok(Vec::new()) };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in events.iter().rev().filter_map(|event| Some(event.peer?.ip().to_canonical())) {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut found = Vec::new();
    for address in addresses {
        let range = TimeRange { from: first.time, to: until };
        let (instance, subject_of) = (instance.clone(), Subject::Address(address));
        let order = Order::NewestFirst;
        let query = TraceQuery { instance, subject: subject_of, range, order, offset: 0, limit: NAMELESS_MAX };
        let is_its_own =
            |event: &Event| event.reason == Reason::CertificateRefused && event.details.certificate_subject == subject;
        found.extend(store.page(&query)?.events.into_iter().filter(is_its_own));
    }
    found.sort_by_key(|event| event.time);
    Ok(found)
}
