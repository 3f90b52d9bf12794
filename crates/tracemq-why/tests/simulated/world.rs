//! A pretend device, the path to it, and a pretend server that writes down what it sees. It knows nothing of the rules.

use std::net::SocketAddr;

use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, InstanceId, PacketKind, ProtocolVersion, Provenance,
    Reason, TimeMs, Traffic,
};
use tracemq_why::{Around, Surroundings};

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// When all stories begin.
pub(crate) const START: i64 = 1_795_000_000_000;

/// Numbers that look random and are the same each time (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low + 1) as f64) as i64
    }

    pub(crate) fn chance(&mut self, part: f64) -> bool {
        self.unit() < part
    }

    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.next() % of.len() as u64) as usize]
    }

    /// A waiting time of that mean, without memory.
    pub(crate) fn waiting(&mut self, mean: i64) -> i64 {
        (-(1.0 - self.unit()).ln() * mean as f64) as i64
    }

    pub(crate) fn about(&mut self, value: i64, part: f64) -> i64 {
        value + ((self.unit() * 2.0 - 1.0) * part * value as f64) as i64
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Publishes {
    Never,
    /// Each so often, with a jitter of that part.
    Every(i64, f64),
    /// At random, so often in the mean.
    AtRandom(i64),
    /// Some close together, then a pause of that mean.
    InBursts(i64),
}

#[derive(Clone, Copy)]
pub(crate) enum Path {
    Good,
    /// Cuts connections that are idle for so long, and tells both ends.
    Cuts(i64),
    /// Forgets them, and tells nobody.
    Forgets(i64),
}

#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) address: SocketAddr,
    pub(crate) username: Option<&'static str>,
    pub(crate) certificate: Option<(&'static str, i64)>,
    pub(crate) keep_alive: i64,
    pub(crate) pings: bool,
    pub(crate) publishes: Publishes,
    pub(crate) path: Path,
    /// How long it waits before it connects again.
    pub(crate) back: (i64, i64),
    /// Mean time between breaks of its link, and how long such a break is.
    pub(crate) breaks: Option<(i64, (i64, i64))>,
    /// How long its TCP tries before it sees that nothing goes through.
    pub(crate) patience: i64,
    /// Downlink messages, so often in the mean.
    pub(crate) downlink: Option<i64>,
    /// It ends the connection after so long by itself, properly.
    pub(crate) leaves_after: Option<i64>,
}

impl Device {
    pub(crate) fn ordinary(dice: &mut Dice) -> Self {
        let keep_alive = dice.one_of(&[30, 45, 60, 90, 120]) * SECOND;
        Self {
            address: address(dice, 10),
            username: dice.chance(0.7).then_some("meter"),
            certificate: None,
            keep_alive,
            pings: true,
            publishes: match dice.between(0, 3) {
                0 => Publishes::Never,
                1 => Publishes::Every(dice.between(5, 400) * SECOND, 0.02),
                2 => Publishes::AtRandom(dice.between(10, 600) * SECOND),
                _ => Publishes::InBursts(dice.between(60, 900) * SECOND),
            },
            path: Path::Good,
            back: (SECOND, dice.between(2, 12) * SECOND),
            breaks: None,
            patience: dice.between(5, 25) * SECOND,
            downlink: dice.chance(0.3).then_some(dice.between(60, 3_600) * SECOND),
            leaves_after: None,
        }
    }
}

pub(crate) fn address(dice: &mut Dice, net: u8) -> SocketAddr {
    SocketAddr::from((
        [10, net, dice.between(0, 200) as u8, dice.between(2, 250) as u8],
        dice.between(20_000, 60_000) as u16,
    ))
}

/// Why and when something from outside ends a connection.
#[derive(Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) at: i64,
    pub(crate) reason: Reason,
    /// From when on connecting works again.
    pub(crate) until: i64,
}

/// What was written down.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) events: Vec<Event>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) surroundings: Surroundings,
    pub(crate) now: i64,
    pub(crate) tells_kinds: bool,
    connections: u128,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let tells_kinds = dice.chance(0.9);
        let connections = u128::from(seed) << 40;
        let (events, gaps, surroundings) = (Vec::new(), Vec::new(), Surroundings::default());
        Self { dice, events, gaps, surroundings, now: START, tells_kinds, connections }
    }

    pub(crate) fn connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    pub(crate) fn event(
        &self,
        device: &Device,
        connection: ConnectionId,
        at: i64,
        action: Action,
        reason: Reason,
    ) -> Event {
        Event {
            time: TimeMs(at),
            instance: InstanceId::new("sim").unwrap(),
            connection,
            action,
            reason,
            provenance: Provenance::Observed,
            client: Some(ClientId::new("device").unwrap()),
            peer: Some(device.address),
            details: Details {
                listener: Some("mqtt".into()),
                protocol: Some(ProtocolVersion::V311),
                username: device.username.map(Into::into),
                keep_alive_s: Some((device.keep_alive / SECOND) as u16),
                clean_start: Some(false),
                certificate_subject: device.certificate.map(|(subject, _)| subject.into()),
                certificate_issuer: device.certificate.map(|_| "CN=fleet".into()),
                certificate_not_after: device.certificate.map(|(_, until)| TimeMs(until)),
                ..Details::default()
            },
        }
    }

    pub(crate) fn connect(&mut self, device: &Device, connection: ConnectionId, at: i64) {
        let event = self.event(device, connection, at, Action::Connect, Reason::Accepted);
        self.events.push(event);
    }

    pub(crate) fn end(&mut self, device: &Device, life: &Life, at: i64, reason: Reason) {
        let action = if reason == Reason::ClientDisconnected { Action::Disconnect } else { Action::Close };
        let mut event = self.event(device, life.connection, at, action, reason);
        event.details.duration_ms = Some((at - life.began) as u64);
        event.details.traffic = Some(Traffic {
            bytes_in: life.packets * 40,
            bytes_out: life.packets * 8,
            packets_in: life.packets,
            packets_out: life.packets,
            last_in_age_ms: Some((at - life.last_in).max(0) as u64),
            last_out_age_ms: Some((at - life.last_out).max(0) as u64),
            last_in_kind: self.tells_kinds.then_some(life.kind),
            last_out_kind: None,
            subscriptions: Some(1),
            in_flight: Some(0),
            missed_keep_alives: None,
        });
        self.events.push(event);
    }

    pub(crate) fn refuse(&mut self, device: &Device, at: i64, reason: Reason, detail: &str) {
        let connection = self.connection();
        let mut event = self.event(device, connection, at, Action::Close, reason);
        event.details.duration_ms = Some(self.dice.between(5, 400) as u64);
        event.details.detail = Some(detail.into());
        self.events.push(event);
    }

    /// The newest event names the connection that took over.
    fn taken_over_by(&mut self, newer: ConnectionId) {
        if let Some(event) = self.events.last_mut() {
            event.details.other_connection = Some(newer);
        }
    }

    /// Lives the life of `device` from `from` to `to`, with what strikes from outside, ascending.
    pub(crate) fn live(&mut self, device: &Device, from: i64, to: i64, strikes: &[Strike]) {
        let mut at = from;
        let mut dead: Option<Life> = None;
        let mut moving = device.clone();
        while at < to {
            let life = Life::begin(self.connection(), at);
            if let Some(old) = dead.take() {
                self.end(&moving, &old, at, Reason::SessionTakenOver);
                self.taken_over_by(life.connection);
            }
            let port = self.dice.between(20_000, 60_000) as u16;
            moving.address.set_port(port);
            self.connect(&moving, life.connection, at);
            at = match self.spend(&moving, life, to, strikes) {
                Spent::Over(next) => next,
                Spent::Dead(life, next) => {
                    dead = Some(life);
                    next
                }
            };
        }
        // Whoever is dead at the end of the story is found out by the server.
        if let Some(old) = dead {
            let at = old.last_in + moving.keep_alive * 3 / 2;
            if moving.keep_alive > 0 && at <= to {
                self.end(&moving, &old, at, Reason::KeepAliveTimeout);
            }
        }
    }

    fn spend(&mut self, device: &Device, mut life: Life, to: i64, strikes: &[Strike]) -> Spent {
        let strike = strikes.iter().find(|strike| strike.at > life.began).copied();
        let broken = device.breaks.map(|(mean, length)| (life.began + self.dice.waiting(mean), length));
        let leaves = device.leaves_after.map(|after| life.began + self.dice.about(after, 0.3));
        let mut burst = 0;
        loop {
            let publish = life.last_in + self.pause(device.publishes, &mut burst);
            let ping = if device.pings && device.keep_alive > 0 { life.last_in + device.keep_alive } else { i64::MAX };
            let (mut next, mut kind) =
                if publish <= ping { (publish, PacketKind::Publish) } else { (ping, PacketKind::PingReq) };
            let mut downlink = None;
            if let Some(mean) = device.downlink {
                let at = life.last_in.max(life.last_out) + self.dice.waiting(mean);
                if at < next {
                    downlink = Some(at);
                    next = at;
                    kind = life.kind;
                }
            }
            let given_up = if device.keep_alive > 0 { life.last_in + device.keep_alive * 3 / 2 } else { i64::MAX };
            let idle = life.last_in.max(life.last_out);
            let cut = match device.path {
                Path::Good => i64::MAX,
                Path::Cuts(after) => idle + after + self.dice.between(0, 900),
                Path::Forgets(after) => idle + after,
            };
            let struck = strike.map_or(i64::MAX, |strike| strike.at);
            let breaks = broken.map_or(i64::MAX, |(at, _)| at);
            let left = leaves.unwrap_or(i64::MAX);
            let first = next.min(given_up).min(cut).min(struck).min(breaks).min(left).min(to);
            if first == to {
                return Spent::Over(to);
            }
            if first == struck {
                let Some(strike) = strike else { unreachable!() };
                self.end(device, &life, first, strike.reason);
                return Spent::Over(strike.until + self.dice.between(device.back.0, device.back.1));
            }
            if first == left {
                self.end(device, &life, first, Reason::ClientDisconnected);
                return Spent::Over(first + self.dice.between(SECOND, 20 * MINUTE));
            }
            if first == breaks {
                let Some((_, length)) = broken else { unreachable!() };
                let back =
                    first + self.dice.between(length.0, length.1) + self.dice.between(device.back.0, device.back.1);
                return self.gone(device, life, back);
            }
            if first == cut {
                if matches!(device.path, Path::Cuts(_)) {
                    let reason =
                        self.dice.one_of(&[Reason::ConnectionReset, Reason::ConnectionReset, Reason::ClientClosed]);
                    self.end(device, &life, first, reason);
                    return Spent::Over(first + self.dice.between(device.back.0, device.back.1));
                }
                let sent = if downlink.is_some() { publish.min(ping) } else { next };
                let back = sent.saturating_add(self.dice.about(device.patience, 0.05))
                    + self.dice.between(device.back.0, device.back.1);
                return self.gone(device, life, back);
            }
            if first == given_up {
                self.end(device, &life, first, Reason::KeepAliveTimeout);
                return Spent::Over(first + self.dice.between(device.back.0, device.back.1));
            }
            if downlink.is_some() {
                life.last_out = first;
            } else {
                life.heard(first, kind);
            }
        }
    }

    /// Nothing goes through any more, and the device is back at `back`.
    fn gone(&mut self, device: &Device, life: Life, back: i64) -> Spent {
        let given_up = life.last_in + device.keep_alive * 3 / 2;
        if device.keep_alive > 0 && given_up <= back {
            self.end(device, &life, given_up, Reason::KeepAliveTimeout);
            return Spent::Over(back);
        }
        Spent::Dead(life, back)
    }

    fn pause(&mut self, publishes: Publishes, burst: &mut i64) -> i64 {
        match publishes {
            Publishes::Never => i64::MAX / 4,
            Publishes::Every(each, jitter) => self.dice.about(each, jitter).max(100),
            Publishes::AtRandom(mean) => self.dice.waiting(mean).max(100),
            Publishes::InBursts(mean) => {
                if *burst == 0 {
                    *burst = self.dice.between(2, 12);
                    return self.dice.waiting(mean).max(100);
                }
                *burst -= 1;
                self.dice.between(200, 4_000)
            }
        }
    }

    /// A moment from which on nothing is told.
    pub(crate) fn until(&mut self, now: i64) {
        self.now = now;
        self.events.sort_by_key(|event| event.time);
        self.events.retain(|event| event.time.0 <= now);
    }

    pub(crate) fn lose(&mut self, part: f64) {
        let dice = &mut self.dice;
        self.events.retain(|_| !dice.chance(part));
    }

    pub(crate) fn gap(&mut self, from: i64, to: i64, cause: GapCause) {
        self.gaps.push(Gap { from: TimeMs(from), to: TimeMs(to), lost: None, cause });
    }

    /// About the client's newest drops, others did what `others` says.
    pub(crate) fn around(&mut self, newest: usize, mut others: impl FnMut(&mut Dice, &Event) -> Around) {
        let ends: Vec<Event> = self.events.iter().filter(|event| event.action == Action::Close).cloned().collect();
        for end in ends.iter().rev().take(newest) {
            let around = others(&mut self.dice, end);
            self.surroundings.around.push(around);
        }
    }

    /// Others go about their own business.
    pub(crate) fn ordinary_surroundings(&mut self) {
        let (fleet, subnet) = (self.dice.between(20, 2_000) as u64, self.dice.between(0, 12) as u64);
        self.around(5, |dice, end| {
            let dropped = dice.between(0, (fleet / 50) as i64) as u64;
            let subnet_dropped = u64::from(dropped > 0 && subnet > 3 && dice.chance(0.1));
            Around {
                connection: end.connection,
                dropped,
                stayed: fleet - dropped,
                subnet_dropped,
                subnet_stayed: subnet - subnet_dropped.min(subnet),
                usually_dropped: 1,
                ended_by_server: 0,
                is_partial: false,
            }
        });
    }
}

/// A connection that is open.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) connection: ConnectionId,
    pub(crate) began: i64,
    pub(crate) last_in: i64,
    pub(crate) last_out: i64,
    pub(crate) packets: u64,
    pub(crate) kind: PacketKind,
}

impl Life {
    pub(crate) fn begin(connection: ConnectionId, at: i64) -> Self {
        Self { connection, began: at, last_in: at + 60, last_out: at + 61, packets: 2, kind: PacketKind::Subscribe }
    }

    pub(crate) fn heard(&mut self, at: i64, kind: PacketKind) {
        self.last_in = at;
        self.kind = kind;
        self.packets += 1;
        if kind == PacketKind::PingReq {
            self.last_out = at + 1;
        }
    }
}

enum Spent {
    /// Ended, and when the next one begins.
    Over(i64),
    /// The server does not know yet.
    Dead(Life, i64),
}
