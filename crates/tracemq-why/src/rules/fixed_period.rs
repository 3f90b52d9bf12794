//! It drops at a constant period: the life of a token, a DHCP lease, a watchdog, a job that restarts something.
//!
//! Either each connection lives equally long, or the drops lie on a grid of time; where one is missing, the next lies at twice the
//! period, or three times.

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::cluster::{Width, densest};
use crate::verdict::{Cause, Confidence};
use crate::words::{seconds, share_first, span};

/// So many of the same length at least.
const SAME_MIN: usize = 4;
/// From so many on there is no doubt.
const MANY: usize = 6;
/// Shorter ones are how long the client waits between attempts.
const PERIOD_MIN_MS: u64 = 20_000;
/// Jitter of a timer and of what is seen of it.
const LIFE_WIDTH: Width = Width { permille: 40, ms: 2_000 };
/// For what lies between two drops, jitter counts twice.
const BETWEEN_WIDTH: Width = Width { permille: 50, ms: 4_000 };
/// So many in a row may be missing, and one less.
const STEPS_MAX: u64 = 4;
/// The newest drops are enough to see a period.
const DROPS_MAX: usize = 400;

/// A period, and which drops keep it.
struct Period {
    ms: u64,
    /// Connections.
    members: Vec<usize>,
    /// Whether each connection lives so long; else it is the time between the drops.
    is_of_lives: bool,
}

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let mut drops: Vec<usize> = scene.unexplained().map(|(at, _)| at).collect();
    drops.drain(..drops.len().saturating_sub(DROPS_MAX));
    if drops.len() < SAME_MIN {
        return Outcome::Silent;
    }
    let enough = |period: &Period| {
        period.ms >= PERIOD_MIN_MS && period.members.len() >= SAME_MIN && period.members.len() * 10 >= drops.len() * 6
    };
    let found = [of_lives(scene, &drops), of_grid(scene, &drops)];
    let found =
        found.into_iter().flatten().filter(enough).max_by_key(|period| (period.members.len(), period.is_of_lives));
    let Some(period) = found else {
        return Outcome::RuledOut(
            "neither the lengths of its connections nor the times between its drops are constant".into(),
        );
    };
    let is_plain = period.members.len() >= MANY && period.members.len() * 10 >= drops.len() * 8;
    let confidence = if is_plain { Confidence::Certain } else { Confidence::Likely };
    let reason = scene.histories.get(*period.members.last().unwrap_or(&0)).and_then(|one| one.reason());
    let what = if period.is_of_lives { "after they had been open for" } else { "on a beat of" };
    let sentence = format!(
        "{} drops came {what} {} each ({}), however the connection was used.",
        share_first(period.members.len(), drops.len()),
        span(period.ms),
        reason.map(Reason::code).unwrap_or_default()
    );
    let advice = if reason == Some(Reason::CredentialsExpired) {
        "Its token or key lives that long: let the device renew it before, or give out longer ones."
    } else {
        "Look for what runs at that period: the life of a token, a DHCP lease, a watchdog or a timer on the device, a nightly job."
    };
    Finding::new(Cause::FixedPeriod, confidence, sentence, advice)
        .fact("period_s", seconds(period.ms))
        .fact("count", period.members.len())
        .fact("drops", drops.len())
        .fact("measured", if period.is_of_lives { "life" } else { "between" })
        .fact("reason", reason.map(Reason::code).unwrap_or_default())
        .explaining(scene, period.members)
        .holds()
}

fn of_lives(scene: &Scene<'_>, drops: &[usize]) -> Option<Period> {
    let lives: Vec<(usize, u64)> =
        drops.iter().filter_map(|at| Some((*at, scene.histories.get(*at)?.open_ms()?))).collect();
    let values: Vec<u64> = lives.iter().map(|(_, ms)| *ms).collect();
    let same = densest(&values, LIFE_WIDTH)?;
    let members = same.members.iter().filter_map(|place| Some(lives.get(*place)?.0)).collect();
    Some(Period { ms: same.centre, members, is_of_lives: true })
}

fn of_grid(scene: &Scene<'_>, drops: &[usize]) -> Option<Period> {
    let mut ends: Vec<(i64, usize)> =
        drops.iter().filter_map(|at| Some((scene.histories.get(*at)?.ended()?.0, *at))).collect();
    ends.sort_unstable();
    let between: Vec<u64> = ends.windows(2).filter_map(|pair| distance(pair.first()?, pair.last()?)).collect();
    let same = densest(&between, BETWEEN_WIDTH).filter(|same| same.members.len() + 1 >= SAME_MIN)?;
    let members = longest_chain(&ends, same.centre);
    Some(Period { ms: same.centre, members, is_of_lives: false })
}

fn distance(earlier: &(i64, usize), later: &(i64, usize)) -> Option<u64> {
    u64::try_from(later.0.saturating_sub(earlier.0)).ok()
}

/// The most drops of which each lies a few periods behind the one before.
fn longest_chain(ends: &[(i64, usize)], period: u64) -> Vec<usize> {
    if period == 0 {
        return Vec::new();
    }
    let tolerance = BETWEEN_WIDTH.at(period) / 2;
    // For each drop how many its chain has, and which one is before it.
    let mut chains: Vec<(usize, Option<usize>)> = Vec::with_capacity(ends.len());
    for (place, end) in ends.iter().enumerate() {
        let mut best = (1, None);
        for (before, (earlier, chain)) in ends.iter().zip(&chains).enumerate().take(place).rev() {
            let Some(apart) = distance(earlier, end) else { continue };
            let steps = apart.saturating_add(period / 2) / period;
            if steps > STEPS_MAX {
                break;
            }
            let is_on = steps > 0 && apart.abs_diff(steps.saturating_mul(period)) <= tolerance;
            if is_on && chain.0 >= best.0 {
                best = (chain.0 + 1, Some(before));
            }
        }
        chains.push(best);
    }
    let longest = chains.iter().enumerate().max_by_key(|(_, (count, _))| *count).map(|(place, _)| place);
    let mut members: Vec<usize> = std::iter::successors(longest, |place| chains.get(*place)?.1)
        .filter_map(|place| Some(ends.get(place)?.1))
        .collect();
    members.reverse();
    members
}
