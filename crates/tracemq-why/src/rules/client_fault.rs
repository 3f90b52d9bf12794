//! The client breaks a rule of MQTT or a limit of the server, and the server ends the connection for it.

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::verdict::{Cause, Confidence};
use crate::words::share_first;

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let faulty: Vec<(usize, Reason)> = scene
        .connections()
        .filter_map(|(at, connection)| Some((at, connection.reason().filter(|reason| words(*reason).is_some())?)))
        .collect();
    let Some((newest, reason)) = faulty.last().copied() else { return Outcome::Silent };
    let ends = scene.connections().filter(|(_, connection)| connection.is_drop() || connection.is_refused()).count();
    let detail = scene.histories.get(newest).and_then(|one| one.end()?.details.detail.as_deref()).unwrap_or_default();
    let named = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    let of = share_first(faulty.len(), ends);
    let sentence =
        format!("{of} ends came because the client {} ({reason}){named}.", words(reason).unwrap_or_default());
    let advice = if reason == Reason::SlowConsumer {
        "Let the device read faster, subscribe to less, or take fewer messages at once (Receive Maximum)."
    } else {
        "It is the device's software: the detail names the packet and the rule. Look at what was released when it began."
    };
    Finding::new(Cause::ClientFault, Confidence::Certain, sentence, advice)
        .fact("count", faulty.len())
        .fact("ends", ends)
        .fact("reason", reason.code())
        .fact("detail", detail)
        .explaining(scene, faulty.into_iter().map(|(at, _)| at).collect())
        .holds()
}

fn words(reason: Reason) -> Option<&'static str> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all reasons these are the client's own")]
    match reason {
        Reason::MalformedPacket => Some("sent what is no MQTT packet"),
        Reason::ProtocolError => Some("broke a rule of MQTT"),
        Reason::PacketTooLarge => Some("sent a packet larger than the server takes"),
        Reason::UnsupportedProtocolVersion => Some("speaks a version of MQTT that the server does not"),
        Reason::BadClientId => Some("has a client identifier that is not allowed"),
        Reason::BadTopic => Some("used a topic that breaks a rule or a limit"),
        Reason::SlowConsumer => Some("does not read what is sent to it"),
        _ => None,
    }
}
