//! The server ended the connection for its own state, by a limit, or because somebody with rights over it said so.

use std::collections::BTreeMap;

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::verdict::{Cause, Confidence};
use crate::words::share_first;

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let mut ended = Vec::new();
    let mut by_words: BTreeMap<&'static str, (usize, Reason)> = BTreeMap::new();
    for (at, connection) in scene.connections() {
        let Some((reason, words)) = connection.reason().and_then(|reason| Some((reason, words(reason)?))) else {
            continue;
        };
        by_words.entry(words).or_insert((0, reason)).0 += 1;
        ended.push(at);
    }
    let most = by_words.iter().max_by_key(|(_, (count, _))| *count);
    let Some((words, (_, reason))) = most else { return Outcome::Silent };
    let ends = scene.connections().filter(|(_, connection)| connection.is_drop() || connection.is_refused()).count();
    let of = share_first(ended.len(), ends);
    let sentence = format!("{of} ends were the server's doing: {words} ({reason}).");
    let mut finding = Finding::new(Cause::ServerSide, Confidence::Certain, sentence, advice(*reason))
        .fact("count", ended.len())
        .fact("ends", ends)
        .fact("reason", reason.code())
        .explaining(scene, ended);
    // A server that was down leaves a gap: that takes nothing from it.
    finding.defies_gaps = true;
    finding.holds()
}

fn words(reason: Reason) -> Option<&'static str> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all reasons these are the server's own")]
    match reason {
        Reason::ServerShutdown => Some("it was stopped"),
        Reason::ServerLost => Some("it died with the connection open"),
        Reason::ServerOverloaded => Some("it had no room"),
        Reason::InternalError => Some("it had a fault"),
        Reason::QuotaExceeded => Some("a quota was used up"),
        Reason::RateLimited => Some("more came a second than is allowed"),
        Reason::Kicked => Some("an administrator ended it"),
        Reason::Banned => Some("the client, its user or its address is banned"),
        Reason::CredentialsWithdrawn => Some("what it came in with was withdrawn"),
        _ => None,
    }
}

fn advice(reason: Reason) -> &'static str {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others need no more than this")]
    match reason {
        Reason::ServerShutdown => {
            "Nothing on the device: see who stopped the server, and whether devices came back in time."
        }
        Reason::ServerLost => "Look at the server's log and at the kernel's messages about memory.",
        Reason::ServerOverloaded => "Look at the server's limits: mqtt.max_connections, max_connections_per_address.",
        Reason::QuotaExceeded => "Look at mqtt.max_sessions.",
        Reason::RateLimited => "Look at what connects so often from there, and at the limits of connects a second.",
        Reason::Kicked | Reason::Banned | Reason::CredentialsWithdrawn => "Ask who did it: the audit log has the name.",
        _ => "Please report it, with the server's log of that time.",
    }
}
