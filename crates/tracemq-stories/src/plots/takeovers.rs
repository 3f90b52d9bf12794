//! One client identifier on two connections.

use std::net::Ipv4Addr;

use tracemq_model::{PacketKind, Reason};

use super::{MINUTE, SECOND};
use crate::device::{Connected, Device, Ending};
use crate::plot::Stage;

/// The two take turns: each was thrown out, waits as it does, and comes back.
fn fight(stage: &mut Stage<'_>, mut change: impl FnMut(&mut Device)) {
    let rounds = stage.dice.between(5, 60);
    let waits = [stage.dice.between(1, 30), stage.dice.between(1, 30)].map(|s| s * SECOND);
    let publishes = stage.dice.between(2, 40) * SECOND;
    let length = rounds * (waits[0] + waits[1]);
    let mut connected = stage.calm();
    let mut at = (stage.to - length - stage.dice.between(SECOND, 5 * MINUTE)).max(connected.since + MINUTE);
    for round in 0..rounds {
        let wait = if round % 2 == 0 { waits[0] } else { waits[1] };
        at += wait + stage.dice.between(0, wait / 5 + 50);
        let silent_ms = stage.dice.between(0, publishes).min(at - connected.since);
        change(&mut stage.device);
        let last = if stage.dice.percent(70) { PacketKind::Publish } else { PacketKind::Subscribe };
        let answered_ms = silent_ms;
        connected = stage.device.take_over(
            connected,
            at,
            Ending { reason: Reason::SessionTakenOver, silent_ms, answered_ms, last },
        );
    }
}

pub(crate) fn clones(stage: &mut Stage<'_>) {
    let last = u8::try_from(stage.dice.between(1, 250)).unwrap_or(1);
    let (one, other) = (stage.device.address, Ipv4Addr::new(10, 20, 30, last));
    fight(stage, |device| device.address = if device.address == one { other } else { one });
}

pub(crate) fn clones_behind_one_address(stage: &mut Stage<'_>) {
    let own = (stage.device.username.clone(), stage.device.keep_alive_s);
    let other = ("device".to_owned(), own.1.saturating_add(15));
    fight(stage, |device| {
        let is_own = device.keep_alive_s == own.1;
        (device.username, device.keep_alive_s) = if is_own { other.clone() } else { own.clone() };
    });
}

/// The link is gone at a moment; the device learns of it or comes up anew, and the server still holds the old connection.
fn comes_back(stage: &mut Stage<'_>, connected: Connected, broke: i64) -> Connected {
    let spoken = stage.dice.between(0, i64::from(stage.device.keep_alive_s) * SECOND / 2);
    let away = stage.dice.between(25, 80).min(i64::from(stage.device.keep_alive_s).max(30)) * SECOND;
    let last = if stage.dice.percent(50) { PacketKind::PingReq } else { PacketKind::Publish };
    stage.device.take_over(connected, broke + away, Ending::idle(Reason::SessionTakenOver, spoken + away, last))
}

fn blips(stage: &mut Stage<'_>, times: i64, mut change: impl FnMut(&mut Stage<'_>, i64)) {
    let mut connected = stage.calm();
    let mut at = connected.since;
    for time in 0..times {
        let left = stage.to - at;
        at += stage.dice.between(left / (times * 3 + 3), left / (times + 1)).max(20 * MINUTE);
        change(stage, time);
        connected = comes_back(stage, connected, at);
    }
}

pub(crate) fn half_dead(stage: &mut Stage<'_>) {
    let times = stage.dice.between(1, 7);
    blips(stage, times, |_, _| {});
}

pub(crate) fn roaming(stage: &mut Stage<'_>) {
    let times = stage.dice.between(3, 7);
    blips(stage, times, |stage, time| {
        let [third, last] = [time, time + 7].map(|number| u8::try_from(number % 200).unwrap_or(1));
        stage.device.address = Ipv4Addr::new(100, 64, third, last);
    });
}
