//! The events of a fleet, in time order, made one after the other: the same seed gives the same events, and whatever is
//! asked for first is a prefix of what would be asked for later.
//!
//! A day begins with a storm: the server restarts, everybody's connection is closed within 5 seconds, and everybody
//! reconnects within 2 minutes, a fifth of the attempts refused. The rest of the day clients come and go, some often and
//! most of them seldom. One giant client has a twentieth of all events.
//!
//! The two ends between which each fleet lies are [`Shape`]s of their own, of steady days without a storm.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracemq_model::{
    Action, ClientId, ConnectionId, ConnectionIds, Details, Event, InstanceId, ProtocolVersion, Provenance, Reason,
    TimeMs, Traffic,
};

use crate::random::Random;

/// The instance of all events.
pub(crate) const INSTANCE: &str = "mqtt-cn-bench";
/// Half a second after midnight, 1 June 2026.
const BEGIN_MS: i64 = 1_780_272_000_500;
const EVENTS_A_DAY: u64 = 2_900_000;
const DAY_US: u64 = 86_400_000_000;
const CLOSING_US: u64 = 5_000_000;
/// With the giant's events between, closing and reconnecting take two minutes.
const RECONNECTING_US: u64 = 109_000_000;
const GIANT_PERCENT: u64 = 5;
const REFUSED_PERCENT: u64 = 20;
/// A prime above any number of clients, so that its multiples visit each client once.
const STRIDE: u64 = 2_147_483_647;

/// How connection ids are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ids {
    /// As TraceMQ makes them: time, process, counter
    Own,
    /// As other brokers do: 128 random bits
    Foreign,
}

/// Who has the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// Many clients, a few of which have most events; a restart of the server each day
    Fleet,
    /// One client has all of them
    OneClient,
    /// Each is of another client, four in five of which stay connected
    OnceEach,
}

/// Which fleet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    pub(crate) shape: Shape,
    /// In all: a fleet that has an event each has none for the next one.
    pub(crate) clients: u32,
    pub(crate) seed: u64,
    pub(crate) ids: Ids,
    /// Whether events have the details that TraceMQ's own broker records.
    pub(crate) rich: bool,
}

impl Fleet {
    /// The client whose events are counted apart: whoever has most of them, or has the first one.
    pub(crate) fn giant(self) -> usize {
        match self.shape {
            // Neither the first nor the last by name.
            Shape::Fleet => usize::try_from(self.clients / 3).unwrap_or_default(),
            Shape::OneClient | Shape::OnceEach => 0,
        }
    }

    /// Of so many clients it must be known whether they are connected.
    fn remembered(self) -> u32 {
        match self.shape {
            Shape::Fleet => self.clients.max(4),
            Shape::OneClient | Shape::OnceEach => 1,
        }
    }
}

#[derive(Clone, Copy)]
struct Client {
    /// None while it is not connected.
    connection: Option<ConnectionId>,
    connected_ms: i64,
    address: Ipv4Addr,
    port: u16,
    /// Lost its connection to the storm and has yet to come back.
    wants_back: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    Closing { next: u64 },
    Reconnecting { next: u64, tries_left: u8 },
    Calm,
}

pub(crate) struct Generator {
    fleet: Fleet,
    random: Random,
    own_ids: ConnectionIds,
    clients: Vec<Client>,
    giant: usize,
    giant_name: Option<ClientId>,
    instance: InstanceId,
    listener: Arc<str>,
    username: Arc<str>,
    now_us: u64,
    gap_us: u64,
    next_storm_us: u64,
    today: u64,
    phase: Phase,
    made: u64,
    made_of_giant: u64,
}

impl Generator {
    pub(crate) fn new(fleet: Fleet) -> anyhow::Result<Self> {
        let mut random = Random::new(fleet.seed);
        let clients = (0..fleet.remembered())
            .map(|_| Client {
                connection: None,
                connected_ms: 0,
                address: address(&mut random),
                port: 0,
                wants_back: true,
            })
            .collect();
        let mut generator = Self {
            fleet,
            own_ids: ConnectionIds::new(random.bits()),
            random,
            clients,
            giant: fleet.giant(),
            giant_name: client_name(fleet.giant()),
            instance: InstanceId::new(INSTANCE)?,
            listener: "mqtt".into(),
            username: "fleet".into(),
            now_us: 0,
            gap_us: 0,
            next_storm_us: DAY_US,
            today: 0,
            phase: Phase::Calm,
            made: 0,
            made_of_giant: 0,
        };
        match fleet.shape {
            Shape::Fleet => generator.begin_reconnecting(), // the fleet comes online for the first time
            Shape::OneClient | Shape::OnceEach => generator.gap_us = DAY_US / EVENTS_A_DAY,
        }
        Ok(generator)
    }

    /// The next `count` events.
    pub(crate) fn batch(&mut self, count: usize) -> Vec<Event> {
        // Of its own, since a count that all threads share would slow them down.
        if let Ok(instance) = InstanceId::new(INSTANCE) {
            self.instance = instance;
        }
        (0..count).map(|_| self.event()).collect()
    }

    /// How many events were made.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// How many of them are the giant's.
    pub(crate) fn made_of_giant(&self) -> u64 {
        self.made_of_giant
    }

    /// The time of the newest event.
    pub(crate) fn now(&self) -> TimeMs {
        TimeMs(BEGIN_MS.saturating_add_unsigned(self.now_us / 1_000))
    }

    fn event(&mut self) -> Event {
        self.now_us += self.random.below(2 * self.gap_us + 1);
        let event = match self.fleet.shape {
            Shape::Fleet if self.random.percent(GIANT_PERCENT) => self.visit(self.giant),
            Shape::Fleet => self.step(),
            Shape::OneClient => self.visit(self.giant),
            Shape::OnceEach => self.visit_once(),
        };
        self.made += 1;
        self.made_of_giant += u64::from(event.client == self.giant_name);
        self.today += 1;
        event
    }

    fn step(&mut self) -> Event {
        loop {
            match self.phase {
                Phase::Closing { next } => match self.find(next, |client| client.connection.is_some()) {
                    Some((at, client)) => {
                        self.phase = Phase::Closing { next: at + 1 };
                        if let Some(client) = self.clients.get_mut(client) {
                            client.wants_back = true;
                        }
                        return self.end(client, Action::Close, Reason::ServerShutdown);
                    }
                    None => self.begin_reconnecting(),
                },
                Phase::Reconnecting { next, tries_left } => match self.find(next, |client| client.wants_back) {
                    Some((at, client)) => {
                        self.phase = Phase::Reconnecting { next: at + 1, tries_left };
                        return self.come_back(client);
                    }
                    None if tries_left == 0 => self.begin_calm(),
                    None => self.phase = Phase::Reconnecting { next: 0, tries_left: tries_left - 1 },
                },
                Phase::Calm if self.now_us >= self.next_storm_us => self.begin_storm(),
                Phase::Calm => {
                    let rank = self.random.skewed_below(self.size());
                    return self.visit(self.nth(rank));
                }
            }
        }
    }

    fn begin_storm(&mut self) {
        self.next_storm_us += DAY_US;
        self.today = 0;
        let connected = self.count(|client| client.connection.is_some());
        self.gap_us = CLOSING_US / connected;
        self.phase = Phase::Closing { next: 0 };
    }

    fn begin_reconnecting(&mut self) {
        let attempts = self.count(|client| client.wants_back) * 100 / (100 - REFUSED_PERCENT);
        self.gap_us = RECONNECTING_US / attempts;
        self.phase = Phase::Reconnecting { next: 0, tries_left: 4 };
    }

    fn begin_calm(&mut self) {
        let left = EVENTS_A_DAY.saturating_sub(self.today).max(EVENTS_A_DAY / 10);
        self.gap_us = self.next_storm_us.saturating_sub(self.now_us) / left;
        self.phase = Phase::Calm;
    }

    fn come_back(&mut self, client: usize) -> Event {
        if self.random.percent(REFUSED_PERCENT) {
            return self.refuse(client, Reason::RateLimited);
        }
        self.connect(client)
    }

    /// A client's next event on an ordinary day.
    fn visit(&mut self, client: usize) -> Event {
        if self.clients.get(client).is_some_and(|client| client.connection.is_some()) {
            let (action, reason) = match self.random.below(100) {
                0..30 => (Action::Disconnect, Reason::ClientDisconnected),
                30..55 => (Action::Close, Reason::KeepAliveTimeout),
                55..75 => (Action::Close, Reason::ClientClosed),
                75..95 => (Action::Close, Reason::ConnectionReset),
                _ => (Action::Close, Reason::SessionTakenOver),
            };
            return self.end(client, action, reason);
        }
        match self.random.below(100) {
            0..REFUSED_PERCENT => self.refuse(client, Reason::BadCredentials),
            _ => self.connect(client),
        }
    }

    /// The only event of a client that nothing is known of.
    fn visit_once(&mut self) -> Event {
        let address = address(&mut self.random);
        if let Some(client) = self.clients.first_mut() {
            client.connection = None;
            client.address = address;
        }
        self.visit(0)
    }

    fn connect(&mut self, client: usize) -> Event {
        let connection = self.next_id();
        let (moved, port) = (self.random.percent(2).then(|| address(&mut self.random)), port(&mut self.random));
        let now = self.now();
        if let Some(client) = self.clients.get_mut(client) {
            client.connection = Some(connection);
            client.wants_back = false;
            client.connected_ms = now.0;
            client.address = moved.unwrap_or(client.address);
            client.port = port;
        }
        let details = Details { session_present: Some(false), reason_code: Some(0), ..Details::default() };
        self.make(client, connection, (Action::Connect, Reason::Accepted), details)
    }

    fn end(&mut self, number: usize, action: Action, reason: Reason) -> Event {
        let now = self.now();
        let lost =
            self.clients.get_mut(number).and_then(|client| Some((client.connection.take()?, client.connected_ms)));
        let (connection, connected_ms) = lost.unwrap_or_else(|| (self.next_id(), now.0));
        let duration_ms = now.since(TimeMs(connected_ms)) + 3;
        let packets = duration_ms / 30_000;
        let details = Details {
            reason_code: (action == Action::Disconnect).then_some(0),
            duration_ms: Some(duration_ms),
            traffic: Some(Traffic {
                bytes_in: 60 + packets * 90,
                bytes_out: 4 + packets * 6,
                packets_in: 1 + packets,
                packets_out: 1 + packets,
                last_in_age_ms: Some(self.random.below(60_000)),
                last_out_age_ms: Some(self.random.below(60_000)),
                ..Traffic::default()
            }),
            ..Details::default()
        };
        self.make(number, connection, (action, reason), details)
    }

    fn refuse(&mut self, number: usize, reason: Reason) -> Event {
        let connection = self.next_id();
        let port = port(&mut self.random);
        if let Some(client) = self.clients.get_mut(number) {
            client.port = port;
        }
        let details = Details {
            reason_code: Some(if reason == Reason::RateLimited { 0x9f } else { 0x86 }),
            duration_ms: Some(self.random.below(40)),
            traffic: Some(Traffic { bytes_in: 60, bytes_out: 5, packets_in: 1, packets_out: 1, ..Traffic::default() }),
            ..Details::default()
        };
        self.make(number, connection, (Action::Close, reason), details)
    }

    fn make(&self, number: usize, connection: ConnectionId, kind: (Action, Reason), details: Details) -> Event {
        let details = if self.fleet.rich { self.enriched(details) } else { Details::default() };
        Event {
            time: self.now(),
            instance: self.instance.clone(),
            connection,
            action: kind.0,
            reason: kind.1,
            provenance: Provenance::Observed,
            client: self.name(number),
            peer: self.clients.get(number).map(|client| SocketAddr::new(client.address.into(), client.port)),
            details,
        }
    }

    fn enriched(&self, details: Details) -> Details {
        Details {
            listener: Some(Arc::clone(&self.listener)),
            protocol: Some(ProtocolVersion::V311),
            username: Some(Arc::clone(&self.username)),
            keep_alive_s: Some(60),
            clean_start: Some(true),
            ..details
        }
    }

    fn next_id(&mut self) -> ConnectionId {
        match self.fleet.ids {
            Ids::Own => self.own_ids.next(self.now()),
            Ids::Foreign => ConnectionId(u128::from(self.random.next()) << 64 | u128::from(self.random.next())),
        }
    }

    /// The name of the client that `number` is remembered of.
    fn name(&self, number: usize) -> Option<ClientId> {
        client_name(match self.fleet.shape {
            Shape::Fleet | Shape::OneClient => number,
            Shape::OnceEach => scattered(self.made, self.fleet.clients.into()),
        })
    }

    fn size(&self) -> u64 {
        self.clients.len().try_into().unwrap_or(u64::MAX)
    }

    /// The number of the client at place `rank`.
    fn nth(&self, rank: u64) -> usize {
        scattered(rank, self.size())
    }

    fn find(&self, from: u64, is_wanted: impl Fn(&Client) -> bool) -> Option<(u64, usize)> {
        (from..self.size()).find_map(|rank| {
            let number = self.nth(rank);
            self.clients.get(number).is_some_and(&is_wanted).then_some((rank, number))
        })
    }

    /// At least 1.
    fn count(&self, is_wanted: impl Fn(&Client) -> bool) -> u64 {
        self.clients.iter().filter(|client| is_wanted(client)).count().max(1).try_into().unwrap_or(1)
    }
}

/// Each number below `of` once, neighbours by rank being no neighbours by name.
fn scattered(rank: u64, of: u64) -> usize {
    usize::try_from(rank.wrapping_mul(STRIDE) % of.max(1)).unwrap_or_default()
}

/// A client's name by its number.
pub(crate) fn client_name(number: usize) -> Option<ClientId> {
    if number >= 10_000_000 {
        return ClientId::new(&format!("GID_fleet@@@dev-{number}")).ok();
    }
    let mut text = *b"GID_fleet@@@dev-0000000";
    let mut rest = number;
    for digit in text.iter_mut().rev().take(7) {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    ClientId::new(str::from_utf8(&text).ok()?).ok()
}

fn address(random: &mut Random) -> Ipv4Addr {
    let [a, b, c, d] = random.bits().to_be_bytes();
    Ipv4Addr::new(36 + a % 190, b, c, d)
}

fn port(random: &mut Random) -> u16 {
    u16::try_from(1_024 + random.below(64_512)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const SMALL: Fleet = Fleet { shape: Shape::Fleet, clients: 10_000, seed: 7, ids: Ids::Foreign, rich: false };

    fn events(fleet: Fleet, count: usize) -> Vec<Event> {
        Generator::new(fleet).unwrap().batch(count)
    }

    #[test]
    fn the_same_seed_gives_the_same_events_however_they_are_cut() {
        let others = [Shape::OneClient, Shape::OnceEach].map(|shape| Fleet { shape, ..SMALL });
        for fleet in [SMALL, Fleet { ids: Ids::Own, rich: true, ..SMALL }].into_iter().chain(others) {
            let all = events(fleet, 20_000);
            let mut generator = Generator::new(fleet).unwrap();
            let parts: Vec<Event> = [1, 7, 9_992, 10_000].into_iter().flat_map(|n| generator.batch(n)).collect();
            assert!(all == parts);
            assert!(all != events(Fleet { seed: 8, ..fleet }, 20_000));
        }
    }

    #[test]
    fn time_never_goes_back_and_a_day_has_as_many_events_as_said() {
        let all = events(SMALL, 6_000_000);
        assert!(all.is_sorted_by_key(|event| event.time));
        let days = all.last().unwrap().time.since(all[0].time) as f64 / 86_400_000.0;
        assert!((1.9..2.2).contains(&days), "{days}");
    }

    #[test]
    fn a_connection_has_a_beginning_and_one_end_or_is_refused() {
        let mut open = HashMap::new();
        let mut ended = HashSet::new();
        for event in events(SMALL, 400_000) {
            if event.action == Action::Connect {
                assert!(open.insert(event.connection, event.client).is_none());
                continue;
            }
            if let Some(client) = open.remove(&event.connection) {
                assert_eq!(client, event.client);
            } else {
                assert!(matches!(event.reason, Reason::RateLimited | Reason::BadCredentials));
            }
            assert!(ended.insert(event.connection));
        }
        let connections = ended.len() + open.len();
        let events_a_connection = 400_000.0 / connections as f64;
        assert!((1.75..1.85).contains(&events_a_connection), "{events_a_connection}");
    }

    #[test]
    fn shares_are_as_said() {
        let all = events(SMALL, 3_000_000);
        let share = |of: &dyn Fn(&Event) -> bool| all.iter().filter(|event| of(event)).count() as f64 / 3e6;
        let name = client_name(SMALL.giant());
        assert!((0.049..0.052).contains(&share(&|event| event.client == name)));
        assert!((0.43..0.46).contains(&share(&|event| event.reason == Reason::Accepted)));
        assert!((0.10..0.15).contains(&share(&|event| event.reason == Reason::ClientDisconnected)));
        let reasons: HashSet<Reason> = all.iter().map(|event| event.reason).collect();
        assert_eq!(reasons.len(), 9);

        let mut by_client: HashMap<_, u64> = HashMap::new();
        for event in &all {
            *by_client.entry(event.client.clone()).or_default() += 1;
        }
        assert_eq!(by_client.len(), 10_000);
        let mut counts: Vec<u64> = by_client.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let hundred = counts[1..101].iter().sum::<u64>() as f64 / 3e6;
        assert!((0.15..0.30).contains(&hundred), "the hundred busiest behind the giant: {hundred}");
    }

    #[test]
    fn one_client_has_all_events_or_each_has_one() {
        let one = events(Fleet { shape: Shape::OneClient, clients: 1, ..SMALL }, 20_000);
        assert!(one.iter().all(|event| event.client == client_name(0)));
        let ends = one.iter().filter(|event| event.action.is_end()).count();
        assert!((9_000..12_500).contains(&ends), "{ends}");

        let fleet = Fleet { shape: Shape::OnceEach, clients: 20_000, ..SMALL };
        let each = events(fleet, 20_000);
        assert_eq!(each[0].client, client_name(fleet.giant()));
        let clients: HashSet<_> = each.iter().map(|event| &event.client).collect();
        let (connections, addresses): (HashSet<_>, HashSet<_>) =
            each.iter().map(|event| (event.connection, event.peer.unwrap().ip())).unzip();
        assert_eq!((clients.len(), connections.len()), (20_000, 20_000));
        assert!(addresses.len() > 19_000);
        assert!(each.is_sorted_by_key(|event| event.time));
        let connected = each.iter().filter(|event| event.action == Action::Connect).count();
        assert!((15_500..16_500).contains(&connected), "{connected}");
    }

    #[test]
    fn names_of_many_digits_are_names_too() {
        let name = |number| client_name(number).unwrap().as_str().to_owned();
        assert_eq!(
            (name(9_999_999), name(10_000_000)),
            ("GID_fleet@@@dev-9999999".into(), "GID_fleet@@@dev-10000000".into())
        );
    }

    #[test]
    fn everybody_reconnects_within_two_minutes_of_a_restart() {
        let all = events(SMALL, 3_100_000);
        let closed = all.iter().filter(|event| event.reason == Reason::ServerShutdown);
        let times: Vec<TimeMs> = closed.map(|event| event.time).collect();
        assert!(times.len() > 3_000, "{}", times.len());
        let begin = times[0];
        assert!(times.last().unwrap().since(begin) < 6_000);
        let mut away: HashSet<&ClientId> = HashSet::new();
        for event in all.iter().filter(|event| event.time >= begin && event.time.since(begin) < 130_000) {
            match (event.action, event.client.as_ref().unwrap()) {
                (Action::Connect, client) => away.remove(client),
                (_, client) if event.reason == Reason::ServerShutdown => away.insert(client),
                _ => false,
            };
        }
        assert!(away.len() < 30, "{} are still away", away.len());
    }
}
