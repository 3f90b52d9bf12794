//! Its certificate has expired, or is about to.
//!
//! A certificate is looked at when a connection begins, so that an expired one ends nothing; it keeps the device from coming back.
//! A handshake that is refused names no client: such ends are found under the device's addresses, by the certificate's subject.

use tracemq_model::{Event, Reason, TimeMs};

use super::{Finding, Outcome, Scene};
use crate::verdict::{Cause, Confidence};
use crate::words::{counted, span};

/// How long before its end a certificate is worth a word: renewing by hand takes a fortnight where it needs somebody's signature.
const SOON_MS: u64 = 14 * 86_400_000;

/// How long a device may be away before its certificate is suspected: longer than clients wait between attempts.
const AWAY_MS: u64 = 10 * 60_000;

pub(super) fn expired(scene: &Scene<'_>) -> Outcome {
    let refused: Vec<&Event> =
        scene.case.surroundings.nameless.iter().filter(|end| is_of_an_expired(scene, end)).collect();
    let newest = scene.connections().filter_map(|(_, one)| Some((one, one.certificate_not_after()?))).last();
    let until_of = |end: &&Event| end.details.certificate_not_after;
    let Some(until) = refused.iter().rev().find_map(until_of).or(newest.map(|(_, until)| until)) else {
        return Outcome::Silent;
    };
    let now = scene.case.now;
    if until >= now {
        return Outcome::Silent;
    }
    let later = |connection: &crate::histories::Connection<'_>| connection.was_accepted() && connection.began() > until;
    if scene.connections().any(|(_, connection)| later(connection)) {
        return Outcome::RuledOut("it was connected again after its certificate had expired".into());
    }
    let ago = span(now.since(until));
    let advice = "Give the device a new certificate, by a way that does not need this connection; check the clocks of both ends.";
    let finding = |confidence, sentence| {
        let mut finding = Finding::new(Cause::CertificateExpired, confidence, sentence, advice)
            .fact("expired_ms", until.0.to_string())
            .fact("refused", refused.len());
        finding.since = Some(until);
        finding.evidence = newest.iter().filter_map(|(connection, _)| connection.places().last()).collect();
        finding.beside = refused.iter().copied().cloned().collect();
        finding
    };
    if !refused.is_empty() {
        let times = counted(refused.len(), "handshake");
        let sentence = format!("Its certificate expired {ago} ago, and {times} of it were refused since.");
        return Finding { is_urgent: true, ..finding(Confidence::Certain, sentence) }.holds();
    }
    if scene.histories.open().is_some() {
        let sentence =
            format!("Its certificate expired {ago} ago: the connection that is open goes on, the next one fails.");
        return finding(Confidence::Likely, sentence).holds();
    }
    let ended = scene.connections().filter_map(|(_, connection)| connection.ended()).max();
    expired_while_away(ended, until, now, || {
        let sentence = format!("Its certificate expired {ago} ago, and it has not come back since it was last gone.");
        Finding { is_urgent: true, ..finding(Confidence::Likely, sentence) }
    })
}

fn expired_while_away(ended: Option<TimeMs>, until: TimeMs, now: TimeMs, finding: impl FnOnce() -> Finding) -> Outcome {
    let Some(ended) = ended else { return Outcome::Silent };
    if until.since(ended) > AWAY_MS {
        return Outcome::RuledOut("it had been gone for a while when its certificate expired".into());
    }
    if now.since(ended) < AWAY_MS { Outcome::Silent } else { finding().holds() }
}

/// Whether it is the end of a handshake that failed because this device's certificate is over.
fn is_of_an_expired(scene: &Scene<'_>, end: &Event) -> bool {
    let subject = scene.connections().filter_map(|(_, connection)| connection.certificate()).last();
    let is_over = end.details.certificate_not_after.is_some_and(|until| until < end.time);
    end.reason == Reason::CertificateRefused && is_over && end.details.certificate_subject.as_deref() == subject
}

pub(super) fn expiring(scene: &Scene<'_>) -> Outcome {
    let newest = scene.connections().filter(|(_, one)| one.certificate_not_after().is_some()).last();
    let Some((connection, until)) = newest.and_then(|(_, one)| Some((one, one.certificate_not_after()?))) else {
        return Outcome::Silent;
    };
    let left = until.since(scene.case.now);
    if until < scene.case.now || left > SOON_MS {
        return Outcome::Silent;
    }
    let sentence = format!("Its certificate expires in {}; from then on it can't connect.", span(left));
    let advice = "Renew the certificate before that.";
    let mut finding = Finding::new(Cause::CertificateExpiring, Confidence::Certain, sentence, advice)
        .fact("expires_ms", until.0.to_string())
        .fact("left_s", left / 1_000);
    finding.evidence = connection.places().collect();
    finding.defies_gaps = true;
    finding.holds()
}
