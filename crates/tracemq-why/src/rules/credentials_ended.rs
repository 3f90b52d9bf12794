//! A token or key came to its end while the client was connected: the server itself says so.

use tracemq_model::Reason;

use super::{Finding, Outcome, Scene};
use crate::cluster::{Width, densest};
use crate::verdict::{Cause, Confidence};
use crate::words::{seconds, share_first, span};

const LIFE_WIDTH: Width = Width { permille: 40, ms: 2_000 };

pub(super) fn rule(scene: &Scene<'_>) -> Outcome {
    let ended: Vec<usize> = scene
        .connections()
        .filter(|(_, connection)| connection.reason() == Some(Reason::CredentialsExpired))
        .map(|(at, _)| at)
        .collect();
    if ended.is_empty() {
        return Outcome::Silent;
    }
    let drops = scene.drops().count();
    let lives: Vec<u64> = ended.iter().filter_map(|at| scene.histories.get(*at)?.open_ms()).collect();
    let life = densest(&lives, LIFE_WIDTH).filter(|same| same.members.len() > 1).map(|same| same.centre);
    let after = life.map(|ms| format!(", {} after it had connected", span(ms))).unwrap_or_default();
    let of = share_first(ended.len(), drops);
    let sentence = format!("{of} drops came because its token or key was at its end{after} (credentials-expired).");
    let advice = "Let the device renew its token before it ends, or give out longer ones.";
    let mut finding = Finding::new(Cause::FixedPeriod, Confidence::Certain, sentence, advice)
        .fact("count", ended.len())
        .fact("drops", drops)
        .fact("measured", "life")
        .fact("reason", Reason::CredentialsExpired.code())
        .explaining(scene, ended);
    if let Some(ms) = life {
        finding = finding.fact("period_s", seconds(ms));
    }
    finding.holds()
}
