//! It comes and goes often, and nothing that is on record says why.

use std::collections::BTreeMap;

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::cluster::median;
use crate::verdict::{Cause, Confidence};
use crate::words::{counted, seconds, span};

/// So many at least.
const DROPS_MIN: usize = 5;
/// So many a day at least, over the time in which they came.
const A_DAY_MIN: u64 = 6;
/// From so many on there is no doubt.
const MANY: usize = 10;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let drops: Vec<usize> = scene
        .connections()
        .filter(|(at, one)| (one.is_drop() || one.is_refused()) && !scene.is_explained(*at))
        .map(|(at, _)| at)
        .collect();
    let ends = |at: &usize| scene.histories.get(*at)?.ended();
    let (Some(first), Some(last)) = (drops.iter().filter_map(ends).min(), drops.iter().filter_map(ends).max()) else {
        return Outcome::Silent;
    };
    let a_day = (drops.len() as u64).saturating_mul(DAY_MS) / last.since(first).max(HOUR_MS);
    if drops.len() < DROPS_MIN || a_day < A_DAY_MIN {
        return Outcome::Silent;
    }
    let lives = drops.iter().filter_map(|at| scene.histories.get(*at)?.open_ms()).collect();
    let life = median(lives).unwrap_or(0);
    let reasons = reasons(scene, &drops);
    let confidence = if drops.len() >= MANY { Confidence::Certain } else { Confidence::Likely };
    let sentence = format!(
        "It comes and goes: {} within {}, half of its connections shorter than {}, and nothing that repeats but the reasons ({reasons}).",
        counted(drops.len(), "drop"),
        span(last.since(first)),
        span(life)
    );
    let advice = "Look at the device's link and power; `docs/reasons.md` says of each reason where to look.";
    Finding::new(Cause::Flapping, confidence, sentence, advice)
        .fact("count", drops.len())
        .fact("drops_per_day", a_day)
        .fact("median_s", seconds(life))
        .fact("reasons", reasons.clone())
        .explaining(scene, drops)
        .holds()
}

/// The reasons of the ends of `connections`, the most frequent first: `4 x connection-reset, 1 x client-closed`.
pub(super) fn reasons(scene: &Scene<'_>, connections: &[usize]) -> String {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for reason in connections.iter().filter_map(|at| scene.histories.get(*at)?.reason()) {
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<(usize, Reason)> = counts.into_iter().map(|(reason, count)| (count, reason)).collect();
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let named: Vec<String> = counts.iter().take(3).map(|(count, reason)| format!("{count} x {reason}")).collect();
    named.join(", ")
}
