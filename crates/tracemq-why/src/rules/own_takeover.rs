//! One device takes over its own connection: its link broke, it noticed, and came back before the server knew.

use super::{Finding, Outcome, Scene};
use crate::cluster::median;
use crate::histories::Connection;
use crate::verdict::{Cause, Confidence};
use crate::words::{seconds, share_first, span};

/// Who takes over a live connection of its own has heard of no trouble; a link that broke was silent for a moment.
const SILENT_MIN_MS: u64 = 2_000;
/// From so many on there is little doubt.
const MANY: usize = 3;

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let taken: Vec<(usize, &Connection<'_>, &Connection<'_>)> = scene
        .unexplained()
        .filter_map(|(at, old)| Some((at, old, scene.histories.get(scene.histories.taken_over_by(at)?)?)))
        .collect();
    if taken.is_empty() {
        return Outcome::Silent;
    }
    let own: Vec<usize> = taken.iter().filter(|(_, old, new)| is_one_device(old, new)).map(|(at, ..)| *at).collect();
    if own.len() * 2 < taken.len() || own.is_empty() {
        return Outcome::RuledOut("whoever took over has another certificate or user".into());
    }
    let silent: Vec<u64> = own.iter().filter_map(|at| scene.histories.get(*at)?.silent_ms()).collect();
    let dead = silent.iter().filter(|ms| **ms >= SILENT_MIN_MS).count();
    if dead * 2 < silent.len() {
        return Outcome::RuledOut("the connections that were taken over were not silent".into());
    }
    let moved = taken.iter().filter(|(_, old, new)| old.address() != new.address()).count();
    let all = scene.drops().count();
    let confidence = match (own.len(), moved) {
        (1, _) => Confidence::Possible,
        (MANY.., 0) if dead * 10 >= own.len() * 8 => Confidence::Certain,
        _ => Confidence::Likely,
    };
    let silence = median(silent).unwrap_or(0);
    let place = if moved == 0 { "from the same address" } else { "in part from another address of its own" };
    let sentence = format!(
        "{} drops were its own connect: its link broke, it came back {place}, and took over its old connection, which had been silent \
         for {}.",
        share_first(own.len(), all),
        span(silence)
    );
    let advice = "Look at the device's link (radio, modem, cable); a shorter keep alive lets the server see sooner that it is gone.";
    Finding::new(Cause::OwnTakeover, confidence, sentence, advice)
        .fact("count", own.len())
        .fact("drops", all)
        .fact("silent_s", seconds(silence))
        .fact("moved", moved)
        .ruling_out(Cause::TwoDevicesOneId, "nobody else's connection came back in between")
        .explaining(scene, own)
        .holds()
}

fn is_one_device(old: &Connection<'_>, new: &Connection<'_>) -> bool {
    let differ = |one: Option<&str>, other: Option<&str>| one.is_some() && other.is_some() && one != other;
    !differ(old.certificate(), new.certificate()) && !differ(old.username(), new.username())
}
