//! Something in the path (NAT, load balancer, firewall) forgets connections that are silent for a while, and the keep alive is longer.
//!
//! Two ways to see it. A box that tells: the connection is reset or closed after the same silence each time. A box that does not
//! tell: what the client sends next is lost, so that it takes over its own connection, or the server gives it up, after the same silence.

use tracemq_model::{PacketKind, Reason};

use super::{Finding, Outcome, Scene};
use crate::cluster::{Cluster, Width, densest};
use crate::histories::Connection;
use crate::verdict::{Cause, Confidence};
use crate::words::{seconds, share, share_first, span};

/// A silence that is shorter is ordinary: no box in use forgets so soon.
const SILENCE_MIN_MS: u64 = 15_000;
/// Boxes look at their tables every few seconds, and a client takes a moment to see that it is cut off.
const WIDTH: Width = Width { permille: 50, ms: 3_000 };
/// So many of the same silence at least.
const SAME_MIN: usize = 4;
/// From so many on there is no doubt.
const MANY: usize = 6;
/// A keep alive from here on is longer than what many boxes allow.
const LONG_MS: u64 = 240_000;

/// One drop after a silence.
struct Silence<'a> {
    at: usize,
    connection: &'a Connection<'a>,
    ms: u64,
}

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let silences: Vec<Silence<'_>> = scene.unexplained().filter_map(|(at, one)| silence(at, one)).collect();
    let values: Vec<u64> = silences.iter().map(|silence| silence.ms).collect();
    let Some(same) = densest(&values, WIDTH).filter(|same| same.members.len() >= SAME_MIN) else {
        return given_up(scene);
    };
    if same.centre < SILENCE_MIN_MS || same.members.len() * 10 < values.len() * 7 {
        return Outcome::RuledOut("it was silent for ever other spans before it dropped".into());
    }
    let members: Vec<&Silence<'_>> = same.members.iter().filter_map(|place| silences.get(*place)).collect();
    if let Some(because) = spoken_against(scene, &members, &same) {
        return Outcome::RuledOut(because);
    }
    told(scene, &members, same.centre, silences.len())
}

/// How long it was silent before it dropped, where that may have been why.
fn silence<'a>(at: usize, connection: &'a Connection<'a>) -> Option<Silence<'a>> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all reasons these are what a box in the path brings about")]
    let ms = match connection.reason()? {
        Reason::ConnectionReset | Reason::ClientClosed | Reason::BrokenPipe | Reason::NetworkError => {
            connection.idle_ms()?
        }
        Reason::SessionTakenOver => connection.silent_ms()?,
        _ => return None,
    };
    Some(Silence { at, connection, ms })
}

fn spoken_against(scene: &Scene<'_>, members: &[&Silence<'_>], same: &Cluster) -> Option<String> {
    let silence = same.centre;
    let keep_alive = members.iter().filter_map(|member| member.connection.keep_alive_ms()).max();
    // By then the server has given it up.
    if keep_alive.is_some_and(|keep_alive| silence > keep_alive * 8 / 5) {
        return Some("the silence was longer than the server lets pass".into());
    }
    let open: Vec<u64> = members.iter().filter_map(|member| member.connection.open_ms()).collect();
    let of_one_length = densest(&open, Width { permille: 30, ms: 2_000 })?;
    let has_spoken = of_one_length.centre > silence.saturating_mul(3) / 2;
    if has_spoken && of_one_length.members.len() * 10 >= open.len() * 8 {
        return Some("the connections were all of one length, however they were used".into());
    }
    let survived = |connection: &Connection<'_>| {
        let ended_well = connection.reason() == Some(Reason::ClientDisconnected);
        ended_well && connection.idle_ms().is_some_and(|idle| idle > silence + WIDTH.at(silence))
    };
    let survivors = scene.connections().filter(|(_, connection)| survived(connection)).count();
    (survivors > 0).then(|| format!("longer silences were survived {}", crate::words::counted(survivors, "time")))
}

fn told(scene: &Scene<'_>, members: &[&Silence<'_>], silence: u64, all: usize) -> Outcome {
    let keep_alive = members.iter().rev().find_map(|member| member.connection.keep_alive_ms());
    let taken = members.iter().filter(|member| member.connection.reason() == Some(Reason::SessionTakenOver)).count();
    let spoke = |member: &&&Silence<'_>| member.connection.open_ms().is_some_and(|open| open > member.ms * 5 / 4);
    let spoken = members.iter().filter(spoke).count();
    // Where each connection died at its first silence, a device that only wakes up that often looks the same.
    let is_plain = members.len() >= MANY && spoken >= 2 && members.len() * 10 >= all * 8;
    let confidence = if is_plain { Confidence::Certain } else { Confidence::Likely };
    let kept = match keep_alive {
        Some(keep_alive) => format!("its keep alive is {}", span(keep_alive)),
        None => "it has no keep alive".to_owned(),
    };
    let how = if taken * 2 > members.len() {
        "it had to connect anew, over its own dead connection,"
    } else {
        "the connection was cut"
    };
    let sentence = format!(
        "{} drops came after the same silence: {how} when nothing had passed for {}; {kept}. Something in the path forgets \
         connections that are silent for that long.",
        share_first(members.len(), all),
        span(silence)
    );
    let wanted = seconds(silence) / 2;
    let advice = format!(
        "Set the keep alive to {wanted} s or less, or raise the idle timeout of the NAT, firewall or load balancer in between."
    );
    let mut finding = Finding::new(Cause::IdleTimeoutInPath, confidence, sentence, &advice)
        .fact("period_s", seconds(silence))
        .fact("count", members.len())
        .fact("drops", all)
        .fact("keep_alive_wanted_s", wanted)
        .ruling_out(Cause::FixedPeriod, "what is constant is the silence, not how long the connections were open")
        .explaining(scene, members.iter().map(|member| member.at).collect());
    if let Some(keep_alive) = keep_alive {
        finding = finding.fact("keep_alive_s", seconds(keep_alive));
    }
    finding.holds()
}

/// The server gave it up after a long keep alive, and it saw that it was cut off at a time of its own, always the same.
fn given_up(scene: &Scene<'_>) -> Outcome {
    let timeouts: Vec<(usize, &Connection<'_>)> = scene
        .unexplained()
        .filter(|(_, one)| one.reason() == Some(Reason::KeepAliveTimeout))
        .filter(|(_, one)| one.keep_alive_ms().is_some_and(|keep_alive| keep_alive >= LONG_MS))
        .collect();
    let pings = timeouts.iter().any(|(_, connection)| connection.last_in_kind() == Some(PacketKind::PingReq));
    let away: Vec<u64> = timeouts.iter().filter_map(|(at, _)| scene.histories.away_ms(*at)).collect();
    let same = densest(&away, WIDTH).filter(|same| same.members.len() >= SAME_MIN);
    let Some(same) = same.filter(|same| !pings && same.members.len() * 10 >= away.len() * 7) else {
        return Outcome::Silent;
    };
    let keep_alive = timeouts.last().and_then(|(_, connection)| connection.keep_alive_ms()).unwrap_or(0);
    let sentence = format!(
        "The server gave it up {} for its silence, no PINGREQ ever came through, and it was back {} later each time: what it sent after a \
         silence as long as its keep alive ({}) was lost on the way.",
        share(timeouts.len(), scene.drops().count()),
        span(same.centre),
        span(keep_alive)
    );
    let advice = "Set the keep alive to a minute or two, or raise the idle timeout of the NAT, firewall or load balancer in between.";
    Finding::new(Cause::IdleTimeoutInPath, Confidence::Possible, sentence, advice)
        .fact("count", timeouts.len())
        .fact("keep_alive_s", seconds(keep_alive))
        .explaining(scene, timeouts.iter().map(|(at, _)| *at).collect())
        .holds()
}
