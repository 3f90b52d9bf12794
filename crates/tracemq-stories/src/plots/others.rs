//! What happened to others, too; and what has no cause.

use tracemq_model::{PacketKind, Reason};

use super::{HOUR, MINUTE, SECOND};
use crate::device::Ending;
use crate::plot::{Others, Stage};

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn restart(stage: &mut Stage<'_>) {
    let mut connected = stage.calm();
    let times = stage.dice.between(1, 2);
    for time in 0..times {
        let at = stage.to - (times - time) * stage.dice.between(HOUR, stage.length() / 4);
        let reason = if stage.dice.percent(70) { Reason::ServerShutdown } else { Reason::ServerLost };
        let ending = stage.in_use(reason);
        stage.device.end(connected, at, ending);
        connected = stage.device.connect(at + stage.dice.between(5 * SECOND, 2 * MINUTE));
    }
}

/// One drop as many have them.
fn one_drop(stage: &mut Stage<'_>) {
    let connected = stage.calm();
    let at = stage.to - stage.dice.between(10 * MINUTE, stage.length() / 3);
    let ending = stage.in_use(Reason::ConnectionReset);
    stage.device.end(connected, at, ending);
    stage.device.connect(at + stage.dice.between(2 * SECOND, 3 * MINUTE));
}

pub(crate) fn storm(stage: &mut Stage<'_>) {
    one_drop(stage);
    let dropped = stage.dice.between(60, 500);
    let subnet_dropped = number(dropped / stage.dice.between(8, 20));
    let stayed = number(stage.dice.between(0, dropped / 20));
    stage.others = Others { dropped: number(dropped), stayed, subnet_dropped, subnet_stayed: 0 };
}

pub(crate) fn site_down(stage: &mut Stage<'_>) {
    one_drop(stage);
    let subnet_dropped = stage.dice.between(6, 60);
    let dropped = subnet_dropped + stage.dice.between(0, subnet_dropped / 10);
    let stayed = number(stage.dice.between(dropped * 4, dropped * 20));
    let subnet_stayed = number(stage.dice.between(0, subnet_dropped / 12));
    stage.others = Others { dropped: number(dropped), stayed, subnet_dropped: number(subnet_dropped), subnet_stayed };
}

pub(crate) fn bad_link(stage: &mut Stage<'_>) {
    let mean = stage.dice.between(4, 15) * MINUTE;
    let mut at = stage.to - mean * stage.dice.between(25, 50);
    let mut connected = stage.device.connect(at.max(stage.from));
    loop {
        at = connected.since + stage.dice.wait(mean).max(20 * SECOND);
        if at + 10 * MINUTE > stage.to {
            return;
        }
        connected = stage.breaks(connected, at);
    }
}

pub(crate) fn sleeper(stage: &mut Stage<'_>) {
    let sleeps = stage.dice.between(10, 60) * MINUTE;
    let mut at = stage.from + stage.dice.between(0, sleeps);
    while at + MINUTE < stage.to {
        let connected = stage.device.connect(at);
        let leaves = at + stage.dice.between(SECOND, 20 * SECOND);
        stage.device.end(connected, leaves, Ending::idle(Reason::ClientDisconnected, 0, PacketKind::Disconnect));
        at = leaves + sleeps + stage.dice.between(0, sleeps / 10);
    }
}

pub(crate) fn steady(stage: &mut Stage<'_>) {
    stage.calm();
}

fn drops(stage: &mut Stage<'_>, times: i64) {
    let mut connected = stage.calm();
    for time in 0..times {
        let part = stage.length() / (times + 1);
        let at = stage.from + part * (time + 1) + stage.dice.between(-part / 3, part / 3);
        if at > connected.since + MINUTE {
            connected = stage.breaks(connected, at);
        }
    }
}

pub(crate) fn once_or_twice(stage: &mut Stage<'_>) {
    let times = stage.dice.between(1, 2);
    drops(stage, times);
}

pub(crate) fn a_few(stage: &mut Stage<'_>) {
    let times = stage.dice.between(3, 4);
    drops(stage, times);
}
