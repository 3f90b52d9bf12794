//! It asks for a topic that it may not have, and the server sends it away for it.

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::verdict::{Cause, Confidence};
use crate::words::share_first;

/// From so many on it is a habit.
const MANY: usize = 3;

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let refused: Vec<usize> = scene
        .connections()
        .filter(|(_, connection)| connection.reason().is_some_and(is_about_topics))
        .map(|(at, _)| at)
        .collect();
    let Some(newest) = refused.last().and_then(|at| scene.histories.get(*at)) else { return Outcome::Silent };
    let ends = scene.connections().filter(|(_, connection)| connection.is_drop() || connection.is_refused()).count();
    let what = match newest.reason() {
        Some(Reason::SubscribeNotAuthorized) => "subscribing to",
        Some(Reason::WillNotAuthorized) => "having as its will's topic",
        _ => "publishing to",
    };
    let confidence = if refused.len() >= MANY { Confidence::Certain } else { Confidence::Likely };
    let topic = newest.end().and_then(|end| end.details.detail.as_deref());
    let named = topic.map(|topic| format!(": {topic}")).unwrap_or_default();
    let of = share_first(refused.len(), ends);
    let sentence = format!("{of} ends came from {what} a topic that it may not have{named}.");
    let advice = "Let the rules allow the topic (mqtt.rules), or correct it on the device.";
    Finding::new(Cause::TopicRefused, confidence, sentence, advice)
        .fact("count", refused.len())
        .fact("ends", ends)
        .fact("reason", newest.reason().map(Reason::code).unwrap_or_default())
        .fact("detail", topic.unwrap_or_default())
        .explaining(scene, refused)
        .holds()
}

fn is_about_topics(reason: Reason) -> bool {
    [Reason::PublishNotAuthorized, Reason::SubscribeNotAuthorized, Reason::WillNotAuthorized].contains(&reason)
}
