//! Two devices, or two programs, with one client identifier: each connect of the one ends the other's connection, and back again.
//!
//! What one device can't do: be somebody else, be the first one again, within minutes, and over and over. A device that roams between
//! two networks comes back to the first one, too, but after hours.

use super::{Finding, Outcome, Scene};
use crate::cluster::median;
use crate::histories::Connection;
use crate::verdict::{Cause, Confidence};
use crate::words::{counted, seconds, span};

/// Within which time whoever was put out comes back, where only the address tells the two apart: clients wait so long between attempts.
const BACK_MS: u64 = 10 * 60_000;
/// The same for two that look alike: they end each other's connections within seconds.
const ALIKE_BACK_MS: u64 = 15_000;
/// How many take-overs in a row two that look alike have at least.
const ALIKE_ROW: usize = 6;

const ADVICE: &str = "Give each device a client identifier of its own; look for a device that was cloned or replaced, or for a \
                      second copy of the program.";

/// What two connections look like beside each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    None,
    Address,
    /// Another certificate, user, or program.
    Person,
}

fn difference(one: &Connection<'_>, other: &Connection<'_>) -> Difference {
    let differ = |one: Option<&str>, other: Option<&str>| one.is_some() && other.is_some() && one != other;
    if differ(one.certificate(), other.certificate())
        || differ(one.username(), other.username())
        || one.program() != other.program()
    {
        Difference::Person
    } else if one.address() != other.address() {
        Difference::Address
    } else {
        Difference::None
    }
}

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let taken: Vec<(usize, usize)> =
        scene.drops().filter_map(|(at, _)| Some((at, scene.histories.taken_over_by(at)?))).collect();
    if taken.is_empty() {
        return Outcome::Silent;
    }
    let returns = Returns::among(scene, &taken);
    let (times, people) = (returns.lags_ms.len(), returns.by_person);
    // Who is told apart by more than an address may take its time, but one change and back may be a correction.
    let confidence = match (people, times) {
        (3.., _) | (_, 4..) => Confidence::Certain,
        (2, _) | (_, 2 | 3) => Confidence::Likely,
        _ => return alike(scene, &taken),
    };
    let lag = median(returns.lags_ms).unwrap_or(0);
    let apart = if people > 0 { "certificate, user or settings" } else { "address" };
    let (one, other) = returns.addresses;
    let sentence = format!(
        "Two devices have this client identifier: connections that differ by {apart} ended each other's {}, and whoever was put \
         out came back after {}.",
        counted(times + 1, "time"),
        span(lag)
    );
    Finding::new(Cause::TwoDevicesOneId, confidence, sentence, ADVICE)
        .fact("count", times + 1)
        .fact("told_apart_by", if people > 0 { "identity" } else { "address" })
        .fact("address_1", one)
        .fact("address_2", other)
        .fact("back_after_s", seconds(lag))
        .ruling_out(Cause::OwnTakeover, "the two alternate: one device does not become another one and itself again")
        .explaining(scene, returns.taken)
        .holds()
}

/// Take-overs after which the one that was put out took over in turn.
#[derive(Default)]
struct Returns {
    /// How long each was away.
    lags_ms: Vec<u64>,
    /// How many are told apart by more than an address.
    by_person: usize,
    taken: Vec<usize>,
    addresses: (String, String),
}

impl Returns {
    fn among(scene: &Scene<'_>, taken: &[(usize, usize)]) -> Self {
        let mut found = Self::default();
        for (first, second) in taken {
            let Some((_, third)) = next_of(taken, *second) else { continue };
            let get = |at: &usize| scene.histories.get(*at);
            let (Some(a), Some(b), Some(c)) = (get(first), get(second), get(third)) else { continue };
            let lag = c.began().since(a.ended().unwrap_or_default());
            let apart = difference(a, b).min(difference(b, c));
            if apart == Difference::None || difference(a, c) != Difference::None || lag > BACK_MS {
                continue;
            }
            found.by_person += usize::from(apart == Difference::Person);
            found.lags_ms.push(lag);
            found.taken.extend([*first, *second]);
            let address = |of: &Connection<'_>| of.address().map(|ip| ip.to_string()).unwrap_or_default();
            found.addresses = (address(a), address(b));
        }
        found.taken.sort_unstable();
        found.taken.dedup();
        found
    }
}

/// The take-over of the connection at `at`.
fn next_of(taken: &[(usize, usize)], at: usize) -> Option<&(usize, usize)> {
    taken.binary_search_by_key(&at, |(old, _)| *old).ok().and_then(|place| taken.get(place))
}

/// Two that look alike, such as two copies of a program behind one address: nobody was silent, and each lives for seconds only.
fn alike(scene: &Scene<'_>, taken: &[(usize, usize)]) -> Outcome {
    let (mut rows, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (at, newer) in taken {
        let lived = scene.histories.get(*at).and_then(Connection::open_ms);
        if lived.is_none_or(|lived| lived > ALIKE_BACK_MS) {
            continue;
        }
        row.push(*at);
        let goes_on = next_of(taken, *newer)
            .and_then(|(newer, _)| scene.histories.get(*newer)?.open_ms())
            .is_some_and(|lived| lived <= ALIKE_BACK_MS);
        if !goes_on {
            if row.len() >= ALIKE_ROW {
                rows.append(&mut row);
            }
            row.clear();
        }
    }
    if rows.is_empty() {
        return Outcome::RuledOut(
            "nobody who was put out came back within minutes to end the other's connection".into(),
        );
    }
    let lives = rows.iter().filter_map(|at| scene.histories.get(*at)?.open_ms()).collect();
    let life = median(lives).unwrap_or(0);
    let sentence = format!(
        "{}, one after the other, were each ended by a newer one with this client identifier after {}: two copies of a program, or two \
         devices behind one address.",
        counted(rows.len(), "connection"),
        span(life)
    );
    Finding::new(Cause::TwoDevicesOneId, Confidence::Likely, sentence, ADVICE)
        .fact("count", rows.len())
        .fact("told_apart_by", "nothing")
        .fact("back_after_s", seconds(life))
        .ruling_out(Cause::OwnTakeover, "the connections that were ended were not dead")
        .explaining(scene, rows)
        .holds()
}
