//! What a device shows to be let in, and what it may do.

use tracemq_model::{Reason, TimeMs};

use super::{HOUR, MINUTE, SECOND};
use crate::plot::Stage;

/// It tries again and again, waiting longer each time; gives the moments.
fn tries(stage: &mut Stage<'_>, from: i64, most: i64) -> Vec<i64> {
    let (mut at, mut wait) = (from, SECOND);
    let mut tries = Vec::new();
    for _ in 0..stage.dice.between(2, most) {
        at += wait + stage.dice.between(0, wait);
        if at > stage.to {
            break;
        }
        tries.push(at);
        wait = (wait * 2).min(5 * MINUTE);
    }
    tries
}

pub(crate) fn wrong_password(stage: &mut Stage<'_>) {
    let connected = stage.calm();
    let changed = stage.to - stage.dice.between(10 * MINUTE, stage.length() / 4);
    let reason = if stage.dice.percent(50) { Reason::ClientClosed } else { Reason::ConnectionReset };
    let ending = stage.in_use(reason);
    stage.device.end(connected, changed, ending);
    let reason = if stage.dice.percent(80) { Reason::BadCredentials } else { Reason::NotAuthorized };
    for at in tries(stage, changed, 60) {
        stage.device.refused(at, reason);
    }
}

pub(crate) fn expired_certificate(stage: &mut Stage<'_>) {
    let not_after = stage.to - stage.dice.between(HOUR, stage.length() / 3);
    stage.device.certificate = Some(TimeMs(not_after));
    let connected = stage.calm();
    // It stays connected until the link breaks, and then can't come back.
    let lost = not_after + stage.dice.between(MINUTE, 40 * MINUTE);
    let ending = stage.in_use(Reason::ConnectionReset);
    stage.device.end(connected, lost, ending);
    for at in tries(stage, lost, 40) {
        let refused = stage.device.handshake_refused(at);
        stage.nameless.push(refused);
    }
}

pub(crate) fn expiring_certificate(stage: &mut Stage<'_>) {
    stage.device.certificate = Some(TimeMs(stage.to + stage.dice.between(6 * HOUR, 12 * 24 * HOUR)));
    stage.calm();
}

/// It is let in and sent away for what it does then, again and again.
fn sent_away(stage: &mut Stage<'_>, reason: Reason) {
    let mut at = stage.to - stage.dice.between(HOUR / 2, stage.length() / 2);
    let wait = stage.dice.between(2 * SECOND, 2 * MINUTE);
    for _ in 0..stage.dice.between(3, 40) {
        let connected = stage.device.connect(at);
        let mut ending = stage.in_use(reason);
        let lives = stage.dice.between(30, 3_000);
        (ending.silent_ms, ending.answered_ms) = (0, 0);
        stage.device.end(connected, at + lives, ending);
        at += lives + wait + stage.dice.between(0, wait);
        if at > stage.to {
            break;
        }
    }
}

pub(crate) fn forbidden_topic(stage: &mut Stage<'_>) {
    let reason = if stage.dice.percent(70) { Reason::PublishNotAuthorized } else { Reason::SubscribeNotAuthorized };
    sent_away(stage, reason);
}

pub(crate) fn broken_software(stage: &mut Stage<'_>) {
    let reason = if stage.dice.percent(50) { Reason::MalformedPacket } else { Reason::ProtocolError };
    sent_away(stage, reason);
}
