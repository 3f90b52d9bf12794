//! What can be played.

use std::net::Ipv4Addr;

use tracemq_model::{ClientId, Event, Gap, InstanceId};

use crate::device::Device;
use crate::dice::Dice;
use crate::plots;

macro_rules! plots {
    ($($(#[$doc:meta])* $variant:ident = $cause:literal, $play:path;)+) => {
        /// A story that can be told in many ways.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Plot {
            $($(#[$doc])* $variant,)+
        }

        impl Plot {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code of the cause that is behind it, as verdicts have them.
            #[must_use]
            pub fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause,)+ }
            }

            fn play(self, stage: &mut Stage<'_>) {
                match self { $(Self::$variant => $play(stage),)+ }
            }
        }
    };
}

plots! {
    /// Two devices with different addresses.
    Clones = "two-devices-one-id", plots::takeovers::clones;
    /// Two devices behind one address, which connect differently.
    ClonesBehindOneAddress = "two-devices-one-id", plots::takeovers::clones_behind_one_address;
    /// A link that breaks; the device is back before the server knows, from the same address.
    HalfDead = "own-takeover", plots::takeovers::half_dead;
    /// The same with a new address each time.
    Roaming = "own-takeover", plots::takeovers::roaming;
    /// A load balancer resets what is idle.
    IdleReset = "idle-timeout-in-path", plots::path::idle_reset;
    /// A NAT forgets what is idle, without a word.
    IdleForgotten = "idle-timeout-in-path", plots::path::idle_forgotten;
    /// A client that never pings.
    NeverPings = "keep-alive-not-honoured", plots::path::never_pings;
    /// A watchdog, or a token that the client itself gives up: so long after each connect.
    Watchdog = "fixed-period", plots::path::watchdog;
    /// A lease or a nightly job: at fixed times.
    Nightly = "fixed-period", plots::path::nightly;
    /// The server ends it when its token does.
    TokenExpires = "fixed-period", plots::path::token_expires;
    /// A password that was changed on one side.
    WrongPassword = "bad-credentials", plots::rights::wrong_password;
    /// A certificate that has expired.
    ExpiredCertificate = "certificate-expired", plots::rights::expired_certificate;
    /// One that will.
    ExpiringCertificate = "certificate-expiring", plots::rights::expiring_certificate;
    /// A topic that is refused, again and again.
    ForbiddenTopic = "topic-refused", plots::rights::forbidden_topic;
    /// A release of the device's software that gets a packet wrong.
    BrokenSoftware = "client-fault", plots::rights::broken_software;
    /// The server was stopped.
    Restart = "server-side", plots::others::restart;
    /// Everyone was reset at once.
    Storm = "server-side", plots::others::storm;
    /// One site was cut off.
    SiteDown = "network-of-subnet", plots::others::site_down;
    /// A bad link.
    BadLink = "flapping", plots::others::bad_link;
    /// A device that sleeps and wakes and says goodbye.
    Sleeper = "healthy", plots::others::sleeper;
    /// A device that stays.
    Steady = "healthy", plots::others::steady;
    /// A drop or two.
    OnceOrTwice = "not-enough-evidence", plots::others::once_or_twice;
    /// Some drops that have nothing in common.
    AFew = "not-enough-evidence", plots::others::a_few;
}

/// What happened to other devices at the newest drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// They dropped, too.
    pub dropped: u64,
    /// They stayed.
    pub stayed: u64,
    /// Of those that dropped: from the same /24.
    pub subnet_dropped: u64,
    /// Of those that stayed: from the same /24.
    pub subnet_stayed: u64,
}

/// A device's history, and what is behind it.
#[derive(Clone, Debug)]
pub struct Story {
    /// What was played.
    pub plot: Plot,
    /// Whose it is.
    pub client: ClientId,
    /// Oldest first.
    pub events: Vec<Event>,
    /// Failures before CONNECT, which name no client; oldest first.
    pub nameless: Vec<Event>,
    /// Where something is missing.
    pub gaps: Vec<Gap>,
    /// At the newest drop.
    pub others: Others,
}

/// Where it is played.
pub(crate) struct Stage<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) device: Device,
    /// When it begins and when it ends, in milliseconds since 1970.
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) nameless: Vec<Event>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) others: Others,
}

impl Plot {
    /// A story of it, from `from` to `to` (milliseconds since 1970). The same numbers give the same story.
    #[must_use]
    pub fn story(self, client: &ClientId, instance: &InstanceId, from: i64, to: i64, seed: u64) -> Story {
        let mut dice = Dice::new(seed);
        let last = u8::try_from(dice.between(1, 250)).unwrap_or(1);
        let address = match dice.between(0, 2) {
            0 => Ipv4Addr::new(192, 0, 2, last),
            1 => Ipv4Addr::new(198, 51, 100, last),
            _ => Ipv4Addr::new(203, 0, 113, last),
        };
        let keep_alive_s = dice.pick(&[30, 60, 60, 120, 300]);
        let number = dice.number() >> 40;
        let device = Device::new(client.clone(), instance.clone(), address, keep_alive_s, number);
        // Those to whom nothing special happened: a quiet moment in a fleet.
        let others = Others { dropped: u64::from(dice.percent(30)), stayed: 400, subnet_dropped: 0, subnet_stayed: 30 };
        let mut stage = Stage { dice: &mut dice, device, from, to, nameless: Vec::new(), gaps: Vec::new(), others };
        self.play(&mut stage);
        let Stage { device, mut nameless, gaps, others, .. } = stage;
        let mut events = device.events;
        events.sort_by_key(|event| event.time);
        nameless.sort_by_key(|event| event.time);
        events.retain(|event| event.time.0 <= to);
        nameless.retain(|event| event.time.0 <= to);
        Story { plot: self, client: client.clone(), events, nameless, gaps, others }
    }
}
