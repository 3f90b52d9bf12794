//! Others dropped at the same time: everybody, or those of one network.

use super::{Finding, Outcome, Scene};
use crate::surroundings::Around;
use crate::verdict::{Cause, Confidence};
use crate::words::share;

/// So many others at least make a coincidence unlikely.
const OTHERS_MIN: u64 = 3;
/// Which part of a network drops together when it is the network.
const TOGETHER_PERCENT: u64 = 50;
/// Which part of those elsewhere may drop meanwhile.
const ELSEWHERE_PERCENT: u64 = 20;

/// So many times what is usual is more than a busy moment. Whoever was connected and silent is not always known, what is usual is.
const UNUSUAL_TIMES: u64 = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    /// The server ended the others.
    Server,
    /// Everybody dropped, wherever they are.
    Everybody,
    /// Those of the client's network dropped, others stayed.
    Subnet,
    /// Those of the client's network dropped, and there is nobody elsewhere.
    OnlySubnet,
    /// The client dropped alone, or nearly so.
    Alone,
}

fn picture(around: &Around) -> Picture {
    let part =
        |of: u64, others: u64| of.saturating_mul(100) >= of.saturating_add(others).saturating_mul(TOGETHER_PERCENT);
    let elsewhere =
        (around.dropped.saturating_sub(around.subnet_dropped), around.stayed.saturating_sub(around.subnet_stayed));
    let is_quiet =
        elsewhere.0.saturating_mul(100) <= elsewhere.0.saturating_add(elsewhere.1).saturating_mul(ELSEWHERE_PERCENT);
    let is_unusual = around.dropped > around.usually_dropped.saturating_mul(UNUSUAL_TIMES);
    let is_subnet = around.subnet_dropped >= OTHERS_MIN && part(around.subnet_dropped, around.subnet_stayed);
    if around.ended_by_server >= OTHERS_MIN
        && part(around.ended_by_server, around.dropped - around.ended_by_server.min(around.dropped))
    {
        Picture::Server
    } else if is_subnet && elsewhere.0.saturating_add(elsewhere.1) < OTHERS_MIN {
        Picture::OnlySubnet
    } else if is_subnet && is_quiet {
        Picture::Subnet
    } else if is_unusual && elsewhere.0 >= OTHERS_MIN && part(around.dropped, around.stayed) {
        Picture::Everybody
    } else {
        Picture::Alone
    }
}

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let mut pictures: Vec<(usize, &Around, Picture)> = Vec::new();
    for around in &scene.case.surroundings.around {
        if let Some(at) = scene.unexplained_of(around.connection) {
            pictures.push((at, around, picture(around)));
        }
    }
    let examined = pictures.len();
    let of = |wanted: &[Picture]| -> Vec<(usize, &Around)> {
        pictures.iter().filter(|(_, _, seen)| wanted.contains(seen)).map(|(at, around, _)| (*at, *around)).collect()
    };
    let (subnet, only, everybody) =
        (of(&[Picture::Subnet]), of(&[Picture::OnlySubnet]), of(&[Picture::Server, Picture::Everybody]));
    let most = subnet.len().max(only.len()).max(everybody.len());
    if most == 0 {
        let alone =
            examined > 0 && pictures.iter().all(|(_, around, _)| around.dropped.saturating_add(around.stayed) > 0);
        return if alone {
            Outcome::RuledOut(
                "others of its network stayed when it dropped, or dropped no more than anywhere else".into(),
            )
        } else {
            Outcome::Silent
        };
    }
    if everybody.len() == most {
        storm(scene, &everybody, examined)
    } else if subnet.len() == most {
        network(scene, &subnet, examined, false)
    } else {
        network(scene, &only, examined, true)
    }
}

/// The drop with the most others.
fn largest<'a>(seen: &[(usize, &'a Around)]) -> Option<&'a Around> {
    seen.iter().map(|(_, around)| *around).max_by_key(|around| around.dropped)
}

fn storm(scene: &Scene<'_>, seen: &[(usize, &Around)], examined: usize) -> Outcome {
    let Some(most) = largest(seen) else { return Outcome::Silent };
    let by_server = most.ended_by_server >= OTHERS_MIN;
    let confidence =
        if by_server || (seen.len() > 1 && seen.len() == examined) { Confidence::Certain } else { Confidence::Likely };
    let whom = if by_server { "the server ended them" } else { "from networks of every kind" };
    let sentence = format!(
        "At {} of the drops that were looked at everybody dropped together: {} others with it, {} stayed; {whom}.",
        share(seen.len(), examined),
        most.dropped,
        most.stayed
    );
    let advice =
        "Nothing on the device: look at the server, at what stands in front of it, and at its network at that time.";
    let mut finding = Finding::new(Cause::ServerSide, confidence, sentence, advice)
        .fact("count", seen.len())
        .fact("examined", examined)
        .fact("others_dropped", most.dropped)
        .fact("others_stayed", most.stayed)
        .fact("others_usually", most.usually_dropped)
        .ruling_out(Cause::NetworkOfSubnet, "those of other networks dropped as well")
        .explaining(scene, seen.iter().map(|(at, _)| *at).collect());
    finding.examined = Some(examined);
    finding.holds()
}

fn network(scene: &Scene<'_>, seen: &[(usize, &Around)], examined: usize, nobody_elsewhere: bool) -> Outcome {
    let Some(most) = largest(seen) else { return Outcome::Silent };
    let confidence = match (nobody_elsewhere, seen.len()) {
        (true, _) => Confidence::Possible,
        (false, 1) => Confidence::Likely,
        (false, _) => Confidence::Certain,
    };
    let elsewhere = if nobody_elsewhere {
        "; nobody is connected from elsewhere, so that it may be the server as well".to_owned()
    } else {
        format!(", {} of those elsewhere", most.dropped.saturating_sub(most.subnet_dropped))
    };
    let sentence = format!(
        "At {} of the drops that were looked at its network dropped together: {} others of its subnet with it, {} stayed{elsewhere}.",
        share(seen.len(), examined),
        most.subnet_dropped,
        most.subnet_stayed
    );
    let advice = "Look at what the devices of this subnet share: router, access point, uplink, operator.";
    let mut finding = Finding::new(Cause::NetworkOfSubnet, confidence, sentence, advice)
        .fact("count", seen.len())
        .fact("examined", examined)
        .fact("subnet_dropped", most.subnet_dropped)
        .fact("subnet_stayed", most.subnet_stayed)
        .fact("others_dropped", most.dropped)
        .fact("others_stayed", most.stayed)
        .explaining(scene, seen.iter().map(|(at, _)| *at).collect());
    finding.examined = Some(examined);
    finding.holds()
}
