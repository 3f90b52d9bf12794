//! Who plays: each device's name, what it does, what is in its past, and what it does while the demo runs.

use tracemq_stories::Plot;

/// A pretend device.
pub(super) struct Part {
    /// Its client identifier; empty for the one that never says it.
    pub(super) name: &'static str,
    /// In words, for those who watch.
    pub(super) does: &'static str,
    pub(super) past: Past,
    pub(super) play: Play,
}

/// What is on record of it when the demo begins.
#[derive(Clone, Copy)]
pub(super) enum Past {
    Nothing,
    Story(Plot),
    /// It is one of those that the server's stop threw out.
    Restart,
    /// It is one of those at the site that was cut off.
    Site,
}

/// What it does now, over a real connection.
#[derive(Clone, Copy)]
pub(super) enum Play {
    /// Nothing: it is away.
    Away,
    /// Stays connected and reports.
    Stays,
    /// Comes, reports and says goodbye.
    SaysGoodbye,
    WrongPassword,
    /// Two connections with its name take turns.
    Twins,
    ForbiddenTopic,
    FallsSilent,
    ClosesWithoutDisconnect,
    Malformed,
    Reset,
    NeverSaysConnect,
}

const fn part(name: &'static str, does: &'static str, past: Past, play: Play) -> Part {
    Part { name, does, past, play }
}

const fn story(name: &'static str, does: &'static str, plot: Plot, play: Play) -> Part {
    part(name, does, Past::Story(plot), play)
}

const fn one_of_many(name: &'static str) -> Part {
    part(name, "one of 11 that a restart threw out", Past::Restart, Play::Stays)
}

const fn of_site(name: &'static str) -> Part {
    part(name, "one of 8 at a site that was cut off", Past::Site, Play::Stays)
}

/// All of them. The first ones drop while one watches.
pub(super) const PARTS: [Part; 41] = [
    story("pump-01", "sleeps, wakes, says goodbye", Plot::Sleeper, Play::SaysGoodbye),
    story("pump-02", "has a password that was changed", Plot::WrongPassword, Play::WrongPassword),
    story("pump-03", "has a twin with its client id", Plot::ClonesBehindOneAddress, Play::Twins),
    story("pump-04", "publishes where it may not", Plot::ForbiddenTopic, Play::ForbiddenTopic),
    story("pump-05", "promises a keep alive, never pings", Plot::NeverPings, Play::FallsSilent),
    story("pump-06", "has a program that crashes", Plot::BadLink, Play::ClosesWithoutDisconnect),
    story("pump-07", "got broken software", Plot::BrokenSoftware, Play::Malformed),
    story("pump-08", "has a bad link", Plot::BadLink, Play::Reset),
    part("", "connects and never says who it is", Past::Nothing, Play::NeverSaysConnect),
    story("pump-09", "was copied, and the copy is elsewhere", Plot::Clones, Play::Stays),
    story("pump-10", "loses its link, is back at once", Plot::HalfDead, Play::Stays),
    story("pump-11", "moves from network to network", Plot::Roaming, Play::Stays),
    story("pump-12", "is behind a load balancer", Plot::IdleReset, Play::Stays),
    story("pump-13", "is behind a forgetful NAT", Plot::IdleForgotten, Play::Stays),
    story("pump-14", "has a watchdog", Plot::Watchdog, Play::Stays),
    story("pump-15", "drops by the clock", Plot::Nightly, Play::Stays),
    story("pump-16", "has a token that ends", Plot::TokenExpires, Play::Stays),
    story("pump-17", "has an expired certificate", Plot::ExpiredCertificate, Play::Away),
    story("pump-18", "has a certificate that will expire", Plot::ExpiringCertificate, Play::Away),
    story("pump-19", "dropped, nobody knows why", Plot::OnceOrTwice, Play::Stays),
    story("pump-20", "dropped a few times, without a pattern", Plot::AFew, Play::Stays),
    of_site("pump-21"),
    of_site("pump-22"),
    of_site("pump-23"),
    of_site("pump-24"),
    of_site("pump-25"),
    of_site("pump-26"),
    of_site("pump-27"),
    of_site("pump-28"),
    one_of_many("pump-29"),
    one_of_many("pump-30"),
    one_of_many("pump-31"),
    one_of_many("pump-32"),
    one_of_many("pump-33"),
    one_of_many("pump-34"),
    one_of_many("pump-35"),
    one_of_many("pump-36"),
    one_of_many("pump-37"),
    one_of_many("pump-38"),
    one_of_many("pump-39"),
    story("pump-40", "is well", Plot::Steady, Play::Stays),
];

/// Those that have a name.
pub(super) const NAMED: usize = PARTS.len() - 1;
