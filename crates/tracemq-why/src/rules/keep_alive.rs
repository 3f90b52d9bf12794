//! The client never sends the pings that it promised, or sleeps longer than its keep alive.
//!
//! It is alive and the path works when the server gives it up: so it is back at once, as soon as it sees the close. A link that is
//! dead comes back when it comes back. A client that pings shows a PINGREQ as the last packet of some connection sooner or later.

use tracemq_model::{PacketKind, Reason};

use super::{Finding, Outcome, Scene};
use crate::cluster::{Width, densest};
use crate::histories::Connection;
use crate::verdict::{Cause, Confidence};
use crate::words::{seconds, share, span};

/// So many timeouts at least.
const TIMEOUTS_MIN: usize = 3;
/// From so many on there is no doubt.
const MANY: usize = 5;
/// Who sees the close of the server is back within that.
const PROMPT_MS: u64 = 30_000;
/// A timer of a device is about so exact.
const SLEEP_WIDTH: Width = Width { permille: 100, ms: 2_000 };
/// A keep alive that long may be too long for the path: that is another rule's.
const LONG_MS: u64 = 240_000;

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let timeouts: Vec<(usize, &Connection<'_>)> =
        scene.unexplained().filter(|(_, connection)| connection.reason() == Some(Reason::KeepAliveTimeout)).collect();
    let Some((_, newest)) = timeouts.last() else { return Outcome::Silent };
    if timeouts.len() < TIMEOUTS_MIN {
        return Outcome::Silent;
    }
    let kinds: Vec<PacketKind> = scene.connections().filter_map(|(_, connection)| connection.last_in_kind()).collect();
    let pings = kinds.iter().filter(|kind| **kind == PacketKind::PingReq).count();
    if pings > 0 {
        let because = format!("it does send PINGREQ: the last packet of {} connections", share(pings, kinds.len()));
        return Outcome::RuledOut(because);
    }
    let away: Vec<u64> = timeouts.iter().filter_map(|(at, _)| scene.histories.away_ms(*at)).collect();
    let prompt = away.iter().filter(|away| **away <= PROMPT_MS).count();
    let keep_alive_ms = newest.keep_alive_ms().unwrap_or(0);
    let asleep = densest(&away, SLEEP_WIDTH).filter(|asleep| {
        asleep.members.len() >= TIMEOUTS_MIN && asleep.members.len() * 10 >= away.len() * 7 && keep_alive_ms < LONG_MS
    });
    let is_prompt = prompt >= TIMEOUTS_MIN - 1 && prompt * 4 >= away.len() * 3;
    if !is_prompt && asleep.is_none() {
        return Outcome::RuledOut(
            "it was not back at once when the server gave it up: the link was gone, or the device".into(),
        );
    }
    let is_plain = is_prompt && timeouts.len() >= MANY && !kinds.is_empty();
    let confidence = if is_plain { Confidence::Certain } else { Confidence::Likely };
    let how = match (is_prompt, &asleep) {
        (false, Some(asleep)) => format!("it was back {} later each time, as if it had slept", span(asleep.centre)),
        (true, _) | (false, None) => "it was back at once each time, so that the path was good".to_owned(),
    };
    let sentence = format!(
        "It promises a packet every {} and does not keep that: the server gave it up {} after one and a half of these, no \
         connection ever ended with a PINGREQ, and {how}.",
        span(keep_alive_ms),
        crate::words::counted(timeouts.len(), "time"),
    );
    let advice = "Let the client's loop run so often that it can ping (its library does it only when it is called), or ask for a keep \
                  alive longer than it sleeps.";
    Finding::new(Cause::KeepAliveNotHonoured, confidence, sentence, advice)
        .fact("count", timeouts.len())
        .fact("keep_alive_s", seconds(keep_alive_ms))
        .fact("back_at_once", prompt)
        .ruling_out(
            Cause::IdleTimeoutInPath,
            "a connection that the path forgot would not let the server's close through",
        )
        .explaining(scene, timeouts.iter().map(|(at, _)| *at).collect())
        .holds()
}
