//! What is left when no rule holds: nothing is wrong, or what is on record does not suffice.

use super::{Finding, Scene};
use crate::histories::Connection;
use crate::verdict::{Cause, Confidence};
use crate::words::{counted, span};

/// A connection that is open for so long says that all is well.
const STEADY_MS: u64 = 3_600_000;

pub(crate) fn nothing_wrong_or_unknown(scene: &Scene<'_>) -> Finding {
    let troubles: Vec<usize> =
        scene.connections().filter(|(_, one)| one.is_drop() || one.is_refused()).map(|(at, _)| at).collect();
    if !troubles.is_empty() {
        return too_few(scene, troubles);
    }
    let accepted: Vec<&Connection<'_>> =
        scene.connections().map(|(_, one)| one).filter(|one| one.was_accepted()).collect();
    let Some(newest) = accepted.last() else {
        let sentence = "Nothing that can be read is on record of it in this time.".to_owned();
        let advice = "Ask about a longer time, or look for the name: `GET /api/v1/clients?like=NAME`; what fails before it names itself \
                      is under its address.";
        return Finding::new(Cause::NotEnoughEvidence, Confidence::Possible, sentence, advice).fact("drops", 0_u64);
    };
    let ended = accepted.iter().filter(|one| one.end().is_some()).count();
    let open_ms = newest.ended().is_none().then(|| scene.case.now.since(newest.began()));
    let is_steady = open_ms.is_some_and(|open| open >= STEADY_MS);
    let confidence = if is_steady || ended >= 3 { Confidence::Certain } else { Confidence::Likely };
    let sentence = match (open_ms, ended) {
        (Some(open), 0) => format!("Nothing is wrong: it has been connected for {}.", span(open)),
        (Some(open), _) => format!(
            "Nothing is wrong: it has been connected for {}, and took its leave properly {} before.",
            span(open),
            counted(ended, "time")
        ),
        (None, _) => format!(
            "Nothing is wrong: it took its leave properly {}; it is not connected since.",
            counted(ended, "time")
        ),
    };
    let mut finding = Finding::new(Cause::Healthy, confidence, sentence, "Nothing to do.")
        .fact("connections", accepted.len())
        .fact("left_properly", ended);
    if let Some(open) = open_ms {
        finding = finding.fact("connected_s", open / 1_000);
    }
    finding.since = Some(newest.began());
    finding.evidence = newest.places().collect();
    finding
}

fn too_few(scene: &Scene<'_>, troubles: Vec<usize>) -> Finding {
    let reasons = super::flapping::reasons(scene, &troubles);
    let drops = if troubles.len() == 1 {
        "1 end without a goodbye".to_owned()
    } else {
        format!("{} ends without a goodbye", troubles.len())
    };
    let sentence = format!("{drops} ({reasons}) show no pattern that would say why.");
    let advice = "Ask about a longer time; `docs/reasons.md` says of each reason what was seen, and where to look.";
    Finding::new(Cause::NotEnoughEvidence, Confidence::Possible, sentence, advice)
        .fact("drops", troubles.len())
        .fact("reasons", reasons.clone())
        .explaining(scene, troubles)
}
