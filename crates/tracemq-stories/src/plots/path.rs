//! Time-outs: of the path, of the client's promise, of the device's own.

use tracemq_model::{PacketKind, Reason};

use super::{HOUR, MINUTE, SECOND};
use crate::device::{Connected, Ending};
use crate::plot::Stage;

/// It connects and publishes a few times, never pausing longer than `pause_max`; gives when it last spoke.
fn works(stage: &mut Stage<'_>, connected: Connected, pause_max: i64) -> i64 {
    let times = stage.dice.between(1, 12);
    (0..times).fold(connected.since, |at, _| at + stage.dice.between(SECOND, pause_max))
}

pub(crate) fn idle_reset(stage: &mut Stage<'_>) {
    let idle = stage.dice.pick(&[60, 120, 180, 240, 300, 350, 600]) * SECOND;
    // Nothing, or a promise that comes too late.
    let late = u16::try_from(idle / SECOND * 2).unwrap_or(0);
    stage.device.keep_alive_s = if stage.dice.percent(40) { 0 } else { late };
    let reason = if stage.dice.percent(60) { Reason::ConnectionReset } else { Reason::ClientClosed };
    let times = stage.dice.between(4, 30);
    let mut at = stage.to - times * (idle + stage.length() / 40) - MINUTE;
    at = at.max(stage.from);
    for _ in 0..times {
        let connected = stage.device.connect(at);
        let spoke = works(stage, connected, idle * 9 / 10);
        let ends = spoke + idle + stage.dice.between(0, 600);
        let last = if stage.dice.percent(80) { PacketKind::Publish } else { PacketKind::Subscribe };
        stage.device.end(connected, ends, Ending::idle(reason, ends - spoke, last));
        at = ends + stage.dice.between(SECOND, 2 * MINUTE);
        if at > stage.to {
            return;
        }
    }
    stage.device.connect(at);
}

pub(crate) fn idle_forgotten(stage: &mut Stage<'_>) {
    stage.device.keep_alive_s = stage.dice.pick(&[120, 180, 300, 600]);
    let promised = i64::from(stage.device.keep_alive_s) * SECOND;
    let forgets = promised * stage.dice.between(30, 80) / 100;
    let patience = stage.dice.between(3, 15) * SECOND;
    let times = stage.dice.between(4, 25);
    let mut connected = stage.calm();
    for _ in 0..times {
        let spoke = works(stage, connected, forgets * 9 / 10);
        // Its ping is due, is lost, and it waits for the answer.
        let silent = promised + patience + stage.dice.between(0, SECOND);
        if spoke + silent > stage.to {
            return;
        }
        let ending = Ending::idle(Reason::SessionTakenOver, silent, PacketKind::Publish);
        connected = stage.device.take_over(connected, spoke + silent, ending);
    }
}

pub(crate) fn never_pings(stage: &mut Stage<'_>) {
    stage.device.keep_alive_s = stage.dice.pick(&[10, 15, 30, 60]);
    let allowed = i64::from(stage.device.keep_alive_s) * SECOND * 3 / 2;
    let times = stage.dice.between(4, 40);
    let mut at = stage.from + stage.dice.between(0, stage.length() / 2);
    for _ in 0..times {
        let connected = stage.device.connect(at);
        let spoke = works(stage, connected, allowed * 9 / 10);
        let ends = spoke + allowed + stage.dice.between(1, 900);
        if ends > stage.to {
            return;
        }
        stage.device.end(connected, ends, Ending::idle(Reason::KeepAliveTimeout, ends - spoke, PacketKind::Publish));
        at = ends + stage.dice.between(200, 6_000);
    }
    stage.device.connect(at);
}

/// So long, if it fits into the time seven times.
fn period(stage: &mut Stage<'_>, of: &[i64]) -> i64 {
    let most = stage.length() / 8;
    let fitting: Vec<i64> = of.iter().copied().filter(|period| *period <= most).collect();
    if fitting.is_empty() { most } else { stage.dice.pick(&fitting) }
}

pub(crate) fn watchdog(stage: &mut Stage<'_>) {
    let period = period(stage, &[10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 12 * HOUR]);
    let reason = if stage.dice.percent(50) { Reason::ClientClosed } else { Reason::ConnectionReset };
    let times = stage.dice.between(5, 7);
    let mut at = stage.to - times * (period + 3 * MINUTE) - stage.dice.between(0, period / 2);
    at = at.max(stage.from);
    for time in 0..times {
        let connected = stage.device.connect(at);
        // Once in a while something else comes first, but not last.
        let is_other = time > 0 && time + 2 < times && stage.dice.percent(10);
        let lives = if is_other { stage.dice.between(period / 5, period * 4 / 5) } else { period };
        let ends = at + lives + stage.dice.between(0, (period / 400).max(400));
        let ending = stage.in_use(reason);
        stage.device.end(connected, ends, ending);
        at = ends + stage.dice.between(2 * SECOND, 3 * MINUTE);
    }
    stage.device.connect(at);
}

pub(crate) fn nightly(stage: &mut Stage<'_>) {
    let period = period(stage, &[30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 24 * HOUR]);
    let first = stage.to - 7 * period - stage.dice.between(MINUTE, period / 2);
    let mut connected = stage.device.connect(stage.from.min(first - MINUTE));
    for time in 0..8 {
        let jitter = (period / 400).max(500);
        let at = first + time * period + stage.dice.between(-jitter, jitter);
        // Now and then the device was not there.
        if at > stage.to - MINUTE || time > 0 && time < 5 && stage.dice.percent(10) {
            continue;
        }
        let ending = stage.in_use(Reason::ConnectionReset);
        stage.device.end(connected, at, ending);
        connected = stage.device.connect(at + stage.dice.between(SECOND, 50 * SECOND));
    }
}

pub(crate) fn token_expires(stage: &mut Stage<'_>) {
    let period = period(stage, &[10 * MINUTE, HOUR, 2 * HOUR]);
    let times = stage.dice.between(1, 6);
    let mut at = (stage.to - times * (period + MINUTE) - stage.dice.between(0, period / 2)).max(stage.from);
    for _ in 0..times {
        let connected = stage.device.connect(at);
        let ends = at + period + stage.dice.between(0, SECOND);
        let ending = stage.in_use(Reason::CredentialsExpired);
        stage.device.end(connected, ends, ending);
        at = ends + stage.dice.between(SECOND, 30 * SECOND);
    }
    stage.device.connect(at);
}
