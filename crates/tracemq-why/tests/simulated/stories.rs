//! Histories with a known cause. Whoever tells them knows devices, and not how the rules look at them.

use tracemq_model::{Action, ClientId, GapCause, Provenance, Reason};
use tracemq_why::{Around, Cause};

use crate::world::{DAY, Device, HOUR, Life, MINUTE, Path, Publishes, SECOND, START, Strike, World, address};

/// The causes that stories are told of.
pub(crate) const CAUSES: &[Cause] = Cause::ALL;

pub(crate) fn story(cause: Cause, seed: u64) -> World {
    let mut world = World::new(seed.wrapping_mul(1_000_003) + cause as u64);
    match cause {
        Cause::TwoDevicesOneId => two_devices(&mut world, seed),
        Cause::OwnTakeover => own_takeover(&mut world),
        Cause::IdleTimeoutInPath => idle_timeout(&mut world),
        Cause::KeepAliveNotHonoured => keep_alive(&mut world),
        Cause::FixedPeriod => fixed_period(&mut world, seed),
        Cause::BadCredentials => bad_credentials(&mut world),
        Cause::CertificateExpired => certificate_expired(&mut world, seed),
        Cause::CertificateExpiring => certificate_expiring(&mut world),
        Cause::TopicRefused => sent_away(&mut world, &[Reason::PublishNotAuthorized, Reason::SubscribeNotAuthorized]),
        Cause::ClientFault => {
            sent_away(&mut world, &[Reason::MalformedPacket, Reason::PacketTooLarge, Reason::BadTopic]);
        }
        Cause::ServerSide => server_side(&mut world, seed),
        Cause::NetworkOfSubnet => network(&mut world),
        Cause::Flapping => flapping(&mut world),
        Cause::Healthy => healthy(&mut world, seed),
        Cause::NotEnoughEvidence => too_little(&mut world, seed),
    }
    world
}

/// Some records are not whole, and now and then a device drops for no reason of this story.
fn blemishes(world: &mut World) {
    if world.dice.chance(0.4) {
        let part = world.dice.unit() * 0.06;
        world.lose(part);
    }
    if world.dice.chance(0.15) {
        let from = START + world.dice.between(0, 10) * HOUR;
        let to = from + world.dice.between(1, 600) * SECOND;
        world.gap(from, to, GapCause::QueueFull);
        let gap = *world.gaps.last().unwrap();
        world.events.retain(|event| !gap.range().contains(event.time));
    }
}

/// A program that is restarted by hand, now and then.
fn accidents(world: &mut World, to: i64, most: i64) -> Vec<Strike> {
    let count = world.dice.between(0, most);
    let mut strikes: Vec<Strike> = (0..count)
        .map(|_| {
            let at = START + world.dice.between(MINUTE, to - START);
            let reason = world.dice.one_of(&[Reason::ClientClosed, Reason::ConnectionReset, Reason::ServerShutdown]);
            Strike { at, reason, until: at + world.dice.between(1, 60) * SECOND }
        })
        .collect();
    strikes.sort_by_key(|strike| strike.at);
    strikes
}

fn two_devices(world: &mut World, seed: u64) {
    let mut one = Device::ordinary(&mut world.dice);
    let mut other = one.clone();
    match seed % 4 {
        0 | 1 => other.address = address(&mut world.dice, 77),
        2 => {
            other.address = address(&mut world.dice, 78);
            one.certificate = Some(("CN=old", START + 400 * DAY));
            other.certificate = Some(("CN=new", START + 700 * DAY));
        }
        // Two copies of one program behind one address; they try again within seconds.
        _ => {}
    }
    let back = if seed % 4 == 3 {
        (500, world.dice.between(1_000, 6_000))
    } else {
        (SECOND, world.dice.between(2, 90) * SECOND)
    };
    let to = START + world.dice.between(10, 40) * MINUTE;
    // Before the second one came, all was well.
    let mut at = START + world.dice.between(0, 8) * HOUR;
    if at > START {
        let first = Life::begin(world.connection(), START);
        world.connect(&one, first.connection, START);
        world.end(&one, &first, at - 30 * SECOND, Reason::ClientDisconnected);
    }
    let to = to.max(at + 15 * MINUTE);
    let mut turn = false;
    let mut open: Option<Life> = None;
    while at < to {
        let who = if turn { &one } else { &other };
        let (who, whom) = (who.clone(), if turn { other.clone() } else { one.clone() });
        let life = Life::begin(world.connection(), at);
        if let Some(mut old) = open.take() {
            // It was busy until it was put out.
            let spoke = old.began + (at - old.began) * world.dice.between(30, 99) / 100;
            old.last_in = spoke.max(old.last_in.min(at));
            world.end(&whom, &old, at, Reason::SessionTakenOver);
            world.events.last_mut().unwrap().details.other_connection = Some(life.connection);
        }
        world.connect(&who, life.connection, at);
        open = Some(life);
        turn = !turn;
        at += world.dice.between(back.0, back.1);
    }
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn own_takeover(world: &mut World) {
    let mut device = Device::ordinary(&mut world.dice);
    device.keep_alive = world.dice.one_of(&[60, 90, 120, 180, 300]) * SECOND;
    // Its link comes back before the server gives it up, mostly.
    let shortest = world.dice.between(4, 15) * SECOND;
    device.breaks = Some((world.dice.between(20, 180) * MINUTE, (shortest, shortest + device.keep_alive / 3)));
    device.back = (SECOND, 5 * SECOND);
    let to = START + world.dice.between(12, 48) * HOUR;
    let strikes = accidents(world, to, 1);
    world.live(&device, START, to, &strikes);
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn idle_timeout(world: &mut World) {
    let mut device = Device::ordinary(&mut world.dice);
    let after = world.dice.one_of(&[60, 75, 120, 180, 240, 300, 350, 600]) * SECOND;
    device.keep_alive = if world.dice.chance(0.1) { 0 } else { after + world.dice.between(30, 900) * SECOND };
    let tells = device.keep_alive == 0 || world.dice.chance(0.6);
    device.path = if tells { Path::Cuts(after) } else { Path::Forgets(after) };
    device.publishes = match world.dice.between(0, 2) {
        0 => Publishes::Never,
        1 => Publishes::InBursts(after * world.dice.between(4, 12) / 10),
        _ => Publishes::AtRandom(after * world.dice.between(2, 9) / 10),
    };
    if !tells {
        // What is sent after the silence is the ping; nothing else would come at a constant time.
        device.publishes =
            if world.dice.chance(0.5) { Publishes::Never } else { Publishes::Every(device.keep_alive * 2, 0.0) };
    }
    device.patience = world.dice.between(5, 20) * SECOND;
    let to = START + world.dice.between(8, 24) * HOUR;
    let strikes = accidents(world, to, 2);
    world.live(&device, START, to, &strikes);
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn keep_alive(world: &mut World) {
    let mut device = Device::ordinary(&mut world.dice);
    device.keep_alive = world.dice.one_of(&[10, 15, 20, 30, 60, 120]) * SECOND;
    device.pings = false;
    let mean = device.keep_alive * world.dice.between(10, 40) / 10;
    device.publishes = match world.dice.between(0, 2) {
        0 => Publishes::AtRandom(mean),
        1 => Publishes::InBursts(mean),
        _ => Publishes::Every(device.keep_alive * world.dice.between(18, 60) / 10, 0.1),
    };
    device.downlink = None;
    let to = START + world.dice.between(2, 12) * HOUR;
    let strikes = accidents(world, to, 2);
    world.live(&device, START, to, &strikes);
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn fixed_period(world: &mut World, seed: u64) {
    let device = Device::ordinary(&mut world.dice);
    let period = world.dice.one_of(&[600, 900, 1_800, 3_600, 7_200, 43_200, 86_400]) * SECOND;
    let to = START + period * world.dice.between(7, 16);
    let reason = world.dice.one_of(&[
        Reason::CredentialsExpired,
        Reason::ClientClosed,
        Reason::ConnectionReset,
        Reason::NetworkError,
    ]);
    let jitter = world.dice.unit() * 0.01;
    let back = |world: &mut World| world.dice.between(1, 40) * SECOND;
    let mut strikes = Vec::new();
    if seed.is_multiple_of(2) {
        // A clock on the wall; now and then it misses.
        let first = START + world.dice.between(0, period);
        let mut at = first;
        while at < to {
            if !world.dice.chance(0.1) {
                let off = (world.dice.unit() * jitter * period as f64) as i64;
                let until = at + off + back(world);
                strikes.push(Strike { at: at + off, reason, until });
            }
            at += period;
        }
        strikes.extend(accidents(world, to, 1));
        strikes.sort_by_key(|strike| strike.at);
        world.live(&device, START, to, &strikes);
    } else {
        // The life of a connection.
        let mut at = START;
        while at < to {
            let ends = at + world.dice.about(period, jitter);
            let until = ends + back(world);
            let strike = Strike { at: ends, reason, until };
            let stop = until.min(to);
            world.live(&device, at, stop, &[strike]);
            at = until + SECOND;
        }
    }
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn bad_credentials(world: &mut World) {
    let mut device = Device::ordinary(&mut world.dice);
    device.username = Some("meter");
    let good = START + world.dice.between(0, 20) * HOUR;
    if good > START {
        let strike = Strike { at: good - MINUTE, reason: Reason::ClientClosed, until: good };
        let strikes: Vec<Strike> = accidents(world, good - HOUR / 2, 1).into_iter().chain([strike]).collect();
        world.live(&device, START, good, &strikes);
    }
    let mut at = good + 5 * SECOND;
    let to = good + world.dice.between(5, 300) * MINUTE;
    let mut wait = world.dice.between(1, 20) * SECOND;
    while at < to {
        world.refuse(&device, at, Reason::BadCredentials, "wrong password");
        at += world.dice.about(wait, 0.2);
        wait = (wait * 3 / 2).min(5 * MINUTE);
    }
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn certificate_expired(world: &mut World, seed: u64) {
    let mut device = Device::ordinary(&mut world.dice);
    let over = START + world.dice.between(10, 30) * HOUR;
    device.certificate = Some(("CN=device", over));
    // The connection outlives its certificate; it is the next handshake that fails.
    let dropped = over + world.dice.between(1, 5 * 60) * MINUTE;
    let reason = world.dice.one_of(&[Reason::ConnectionReset, Reason::ClientClosed, Reason::KeepAliveTimeout]);
    let to = dropped + world.dice.between(1, 8) * HOUR;
    world.live(&device, START, dropped + 1, &[Strike { at: dropped, reason, until: to }]);
    // Without the rows of the addresses there is less to go by.
    if !seed.is_multiple_of(4) {
        let mut at = dropped + 10 * SECOND;
        while at < to {
            let connection = world.connection();
            let mut event = world.event(&device, connection, at, Action::Close, Reason::CertificateRefused);
            event.client = None;
            event.details.username = None;
            event.details.keep_alive_s = None;
            event.details.detail = Some("the client's certificate has expired".into());
            world.surroundings.nameless.push(event);
            at += world.dice.between(30, 300) * SECOND;
        }
    }
    world.until(to);
    world.ordinary_surroundings();
}

fn certificate_expiring(world: &mut World) {
    let mut device = Device::ordinary(&mut world.dice);
    let to = START + world.dice.between(2, 48) * HOUR;
    device.certificate = Some(("CN=device", to + world.dice.between(2, 7 * 24) * HOUR));
    device.leaves_after = world.dice.chance(0.4).then_some(5 * HOUR);
    world.live(&device, START, to, &[]);
    world.until(to);
    world.ordinary_surroundings();
}

/// It comes, does what it may not, and is sent away for it.
fn sent_away(world: &mut World, reasons: &[Reason]) {
    let device = Device::ordinary(&mut world.dice);
    let reason = world.dice.one_of(reasons);
    let from = START + world.dice.between(0, 10) * HOUR;
    let strike = Strike { at: from - MINUTE, reason: Reason::ClientClosed, until: from };
    if from > START {
        world.live(&device, START, from, &[strike]);
    }
    let mut at = from;
    let to = from + world.dice.between(10, 200) * MINUTE;
    while at < to {
        let life = Life::begin(world.connection(), at);
        world.connect(&device, life.connection, at);
        let ends = at + world.dice.between(100, 20_000);
        world.end(&device, &life, ends, reason);
        world.events.last_mut().unwrap().details.detail = Some("topic site/9/alarm".into());
        at = ends + world.dice.between(1, 120) * SECOND;
    }
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn server_side(world: &mut World, seed: u64) {
    let mut device = Device::ordinary(&mut world.dice);
    device.breaks = None;
    let to = START + world.dice.between(24, 96) * HOUR;
    let count = world.dice.between(1, 5);
    let is_storm = seed % 2 == 1;
    let reason = match seed % 6 {
        0 => Reason::ServerShutdown,
        2 => Reason::ServerLost,
        4 => Reason::ServerOverloaded,
        // A box in front of the server lost power.
        _ => world.dice.one_of(&[Reason::ConnectionReset, Reason::NetworkError]),
    };
    let mut strikes: Vec<Strike> = (0..count)
        .map(|_| {
            let at = START + world.dice.between(HOUR, to - START - HOUR);
            Strike { at, reason, until: at + world.dice.between(2, 120) * SECOND }
        })
        .collect();
    strikes.sort_by_key(|strike| strike.at);
    world.live(&device, START, to, &strikes);
    for event in &mut world.events {
        if event.reason == Reason::ServerLost {
            event.provenance = Provenance::Inferred;
            event.details.traffic = None;
        }
    }
    if reason == Reason::ServerLost {
        for strike in &strikes {
            world.gap(strike.at, strike.until, GapCause::NotRunning);
        }
    }
    world.until(to);
    if is_storm {
        let (fleet, subnet) = (world.dice.between(40, 3_000) as u64, world.dice.between(0, 10) as u64);
        world.around(5, |dice, end| {
            let dropped = fleet * dice.between(70, 100) as u64 / 100;
            Around {
                connection: end.connection,
                dropped,
                stayed: fleet - dropped,
                subnet_dropped: subnet.min(dropped),
                subnet_stayed: 0,
                usually_dropped: 1,
                ended_by_server: 0,
                is_partial: false,
            }
        });
    }
}

fn network(world: &mut World) {
    let device = Device::ordinary(&mut world.dice);
    let to = START + world.dice.between(24, 96) * HOUR;
    let count = world.dice.between(1, 6);
    let reason = world.dice.one_of(&[Reason::ConnectionReset, Reason::NetworkError, Reason::KeepAliveTimeout]);
    let mut strikes: Vec<Strike> = (0..count)
        .map(|_| {
            let at = START + world.dice.between(HOUR, to - START - HOUR);
            Strike { at, reason, until: at + world.dice.between(1, 20) * MINUTE }
        })
        .collect();
    strikes.sort_by_key(|strike| strike.at);
    world.live(&device, START, to, &strikes);
    world.until(to);
    let (fleet, subnet) = (world.dice.between(60, 3_000) as u64, world.dice.between(5, 40) as u64);
    world.around(5, |dice, end| {
        let subnet_dropped = subnet * dice.between(75, 100) as u64 / 100;
        let elsewhere = fleet * dice.between(0, 4) as u64 / 100;
        Around {
            connection: end.connection,
            dropped: subnet_dropped + elsewhere,
            stayed: subnet - subnet_dropped + fleet - elsewhere,
            subnet_dropped,
            subnet_stayed: subnet - subnet_dropped,
            usually_dropped: 1,
            ended_by_server: 0,
            is_partial: false,
        }
    });
}

fn flapping(world: &mut World) {
    let device = Device::ordinary(&mut world.dice);
    let mean = world.dice.between(10, 100) * MINUTE;
    let to = START + mean * world.dice.between(12, 60);
    let mut strikes = Vec::new();
    let mut at = START;
    while at < to {
        at += world.dice.waiting(mean).max(20 * SECOND);
        let reason = world.dice.one_of(&[
            Reason::ConnectionReset,
            Reason::ClientClosed,
            Reason::NetworkError,
            Reason::BrokenPipe,
            Reason::KeepAliveTimeout,
        ]);
        // Without power or link for a while.
        strikes.push(Strike { at, reason, until: at + world.dice.waiting(4 * MINUTE) });
    }
    world.live(&device, START, to, &strikes);
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}

fn healthy(world: &mut World, seed: u64) {
    let mut device = Device::ordinary(&mut world.dice);
    let to = START + world.dice.between(3, 72) * HOUR;
    if seed.is_multiple_of(3) {
        device.certificate = Some(("CN=device", to + world.dice.between(60, 700) * DAY));
    }
    device.leaves_after = (seed.is_multiple_of(2)).then(|| world.dice.between(30, 900) * MINUTE);
    world.live(&device, START, to, &[]);
    world.until(to);
    if world.events.is_empty() {
        let connection = world.connection();
        world.connect(&device, connection, START);
    }
}

fn too_little(world: &mut World, seed: u64) {
    let mut device = Device::ordinary(&mut world.dice);
    let to = START + world.dice.between(24, 96) * HOUR;
    let any = [Reason::ConnectionReset, Reason::ClientClosed, Reason::NetworkError, Reason::KeepAliveTimeout];
    match seed % 4 {
        0 => {
            // Nothing at all, or only of somebody else.
            world.until(to);
            let _ = ClientId::new("nobody");
            return;
        }
        1 => {
            // A box in the path, but the device hardly ever is silent for so long.
            device.path = Path::Cuts(300 * SECOND);
            device.keep_alive = 900 * SECOND;
            device.publishes = Publishes::Every(100 * SECOND, 0.05);
            device.downlink = None;
        }
        2 | 3 => {}
        _ => unreachable!(),
    }
    let count = world.dice.between(1, 4);
    let mut strikes: Vec<Strike> = (0..count)
        .map(|_| {
            let at = START + world.dice.between(HOUR, to - START - HOUR);
            let reason = world.dice.one_of(&any);
            Strike { at, reason, until: at + world.dice.between(1, 30) * MINUTE }
        })
        .collect();
    strikes.sort_by_key(|strike| strike.at);
    world.live(&device, START, to, &strikes);
    world.until(to);
    blemishes(world);
    world.ordinary_surroundings();
}
