//! The server refuses its credentials, since a moment that is on record.

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::histories::Connection;
use crate::verdict::{Cause, Confidence};
use crate::words::{counted, span};

/// From so many refusals on there is no doubt.
const MANY: usize = 3;

const ADVICE: &str = "Compare user name, password, token or signature on the device with what the server knows; what was changed \
                      at that time, on either side?";

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let refused: Vec<(usize, &Connection<'_>)> = scene
        .connections()
        .filter(|(_, connection)| connection.is_refused() && is_about_credentials(connection))
        .collect();
    let Some((_, newest)) = refused.last() else { return Outcome::Silent };
    let accepted = scene.connections().filter(|(_, connection)| connection.was_accepted()).last();
    let locked_out: Vec<usize> = refused
        .iter()
        .filter(|(at, _)| accepted.is_none_or(|(accepted, _)| *at > accepted))
        .map(|(at, _)| *at)
        .collect();
    let all: Vec<usize> = refused.iter().map(|(at, _)| *at).collect();
    let reason = newest.reason().map(Reason::code).unwrap_or_default();
    let why = newest.end().and_then(|end| end.details.detail.as_deref()).unwrap_or_default();
    let confidence = if all.len() >= MANY { Confidence::Certain } else { Confidence::Likely };
    let times = counted(all.len(), "time");
    let finding = |confidence, sentence| {
        let finding = Finding::new(Cause::BadCredentials, confidence, sentence, ADVICE)
            .fact("count", all.len())
            .fact("reason", reason)
            .fact("detail", why);
        match newest.username() {
            Some(username) => finding.fact("username", username),
            None => finding,
        }
    };
    if locked_out.is_empty() {
        let sentence = format!("Its credentials were refused {times} ({reason}); it has been accepted since.");
        return finding(confidence, sentence).explaining(scene, all).holds();
    }
    if let Some(open) = scene.histories.open().filter(|open| open.was_accepted()) {
        let whose = if open.address() == newest.address() { "its own address" } else { "another address" };
        let sentence = format!(
            "While it is connected, somebody at {whose} was refused {times} with its client identifier ({reason})."
        );
        return finding(Confidence::Possible, sentence).explaining(scene, all).holds();
    }
    let since = scene.first_end(&locked_out);
    let sofar = span(scene.case.now.since(since.unwrap_or(scene.case.now)));
    let before = if accepted.is_some() { "; before that they were good" } else { "" };
    let times = counted(locked_out.len(), "time");
    let sentence = format!("Its credentials have been refused for {sofar}, {times} ({reason}){before}.");
    let mut finding = finding(confidence, sentence).explaining(scene, all);
    finding.evidence.extend(accepted.and_then(|(_, accepted)| accepted.places().last()));
    Finding { since, is_urgent: true, ..finding }.fact("refused_since", locked_out.len()).holds()
}

fn is_about_credentials(connection: &Connection<'_>) -> bool {
    const REASONS: [Reason; 4] =
        [Reason::BadCredentials, Reason::NotAuthorized, Reason::CredentialsExpired, Reason::TokenRefused];
    connection.reason().is_some_and(|reason| REASONS.contains(&reason))
}
