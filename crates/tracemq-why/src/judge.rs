//! All rules are asked, and of what holds the chief verdict is chosen.

use tracemq_model::{Event, Gap, TimeMs, TimeRange};

use crate::rules::{Finding, Outcome, RULES, Scene, nothing_wrong_or_unknown};
use crate::surroundings::Surroundings;
use crate::verdict::{Cause, EVIDENCE_MAX, Judgement, RuledOut, Verdict};
use crate::words::span;

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The client's events in the range, oldest first; the newest [`EVENTS_MAX`](crate::EVENTS_MAX) of them.
    pub events: &'a [Event],
    /// The gaps that touch the range.
    pub gaps: &'a [Gap],
    /// What others did meanwhile.
    pub surroundings: &'a Surroundings,
    /// When it is.
    pub now: TimeMs,
}

/// Why the client drops.
#[must_use]
pub fn judge(case: &Case<'_>) -> Judgement {
    let mut scene = Scene::of(case);
    let (mut findings, mut ruled_out) = (Vec::new(), Vec::new());
    for (cause, rule) in RULES {
        match rule(&scene) {
            Outcome::Holds(finding) => {
                scene.explain(&finding.explains);
                findings.push(*finding);
            }
            Outcome::RuledOut(because) => ruled_out.push(RuledOut { cause, because }),
            Outcome::Silent => {}
        }
    }
    let chief = chief(&scene, &findings);
    let chief = match chief {
        Some(at) => findings.remove(at),
        None => nothing_wrong_or_unknown(&scene),
    };
    let held: Vec<Cause> = findings.iter().map(|finding| finding.cause).chain([chief.cause]).collect();
    ruled_out.retain(|one| !held.contains(&one.cause));
    let mut verdict = verdict(case, chief);
    for one in ruled_out {
        if verdict.ruled_out.iter().all(|known| known.cause != one.cause) {
            verdict.ruled_out.push(one);
        }
    }
    let mut others: Vec<Verdict> = findings.into_iter().map(|finding| self::verdict(case, finding)).collect();
    others.sort_by_key(|other| std::cmp::Reverse(other.confidence));
    Judgement { verdict, others }
}

/// Which of `findings` says most: what keeps the client away now; else what explains most of its drops, or the newest one.
fn chief(scene: &Scene<'_>, findings: &[Finding]) -> Option<usize> {
    let troubles: Vec<usize> =
        scene.connections().filter(|(_, one)| one.is_drop() || one.is_refused()).map(|(at, _)| at).collect();
    let newest = troubles.iter().max_by_key(|at| scene.histories.get(**at).and_then(|one| one.ended())).copied();
    let weight = |finding: &Finding| {
        let examined = finding.examined.unwrap_or(troubles.len());
        let (explains, has_most) = (finding.explains.len(), finding.explains.len() * 2 >= examined.max(1));
        let has_newest = newest.is_some_and(|newest| finding.explains.contains(&newest));
        let counts = finding.is_urgent || has_most || has_newest || troubles.is_empty();
        counts.then_some((finding.is_urgent, has_most, finding.confidence, explains * 1_000 / examined.max(1)))
    };
    let weighed = findings.iter().enumerate().filter_map(|(at, finding)| Some((weight(finding)?, at)));
    // Of two that weigh the same, the one that was asked first.
    weighed.max_by_key(|(weight, at)| (*weight, std::cmp::Reverse(*at))).map(|(_, at)| at)
}

/// What holds, with the events themselves, and as sure as gaps in the record let it be.
fn verdict(case: &Case<'_>, finding: Finding) -> Verdict {
    let mut evidence: Vec<Event> =
        finding.evidence.iter().filter_map(|place| case.events.get(*place)).chain(&finding.beside).cloned().collect();
    evidence.sort_by_key(|event| event.time);
    let gap = lost(case, &finding, &evidence);
    let (mut confidence, mut sentence, mut facts) = (finding.confidence, finding.sentence, finding.facts);
    if let Some(ms) = gap {
        confidence = confidence.lowered();
        sentence
            .push_str(&format!(" The record has gaps in that time ({} in all), so that this is less sure.", span(ms)));
        facts.insert("gaps_s", (ms / 1_000).into());
    }
    evidence.drain(..evidence.len().saturating_sub(EVIDENCE_MAX));
    Verdict {
        cause: finding.cause,
        confidence,
        sentence,
        facts,
        since: finding.since,
        evidence,
        ruled_out: finding.ruled_out,
        advice: finding.advice,
    }
}

/// How long the record is incomplete while the finding's evidence came; none where it is complete.
fn lost(case: &Case<'_>, finding: &Finding, evidence: &[Event]) -> Option<u64> {
    let (first, last) = (evidence.first()?.time, evidence.last()?.time);
    let goes_on = finding.is_urgent || finding.cause == Cause::Healthy;
    let span = TimeRange { from: first, to: if goes_on { last.max(case.now) } else { last } };
    let gaps = case.gaps.iter().filter(|gap| !finding.defies_gaps && gap.range().overlaps(span));
    gaps.map(|gap| gap.to.min(span.to).since(gap.from.max(span.from))).reduce(u64::saturating_add)
}
