//! What is on record when the demo begins: a day in the life of its devices, the same each time.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;

use tracemq_model::{ClientId, Event, Gap, GapCause, InstanceId, PacketKind, Reason, TimeMs};
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore};
use tracemq_stories::{Connected, Device, Dice, Ending, Plot};

use super::cast::{PARTS, Past};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Of a batch that the store takes at once.
const BATCH: usize = 1_000;

/// Puts it into the store in `folder`, which nobody has open.
pub(super) fn write(folder: &Path, instance: &InstanceId, now: TimeMs) -> anyhow::Result<()> {
    let (store, _) = Segments::open(folder, SegmentSettings::default()).context("can't make the demo's event store")?;
    let (events, gap) = day(instance, now.0)?;
    for events in events.chunks(BATCH) {
        store.append(&Batch { events: events.to_vec(), gaps: Vec::new() })?;
    }
    store.append(&Batch { events: Vec::new(), gaps: vec![gap] })?;
    Ok(())
}

/// By time; and the span in which the server was down.
fn day(instance: &InstanceId, now: i64) -> anyhow::Result<(Vec<Event>, Gap)> {
    let stopped = now - 22 * HOUR;
    let started = stopped + 4 * SECOND;
    let mut events = Vec::new();
    for (seed, part) in (1..).zip(&PARTS) {
        if part.name.is_empty() {
            continue;
        }
        let client = ClientId::new(part.name)?;
        let mut dice = Dice::new(seed);
        match part.past {
            Past::Nothing => {}
            // They came to this server after it was started anew.
            Past::Story(plot) => {
                events.extend(story(plot, &client, instance, (started + 5 * MINUTE, now - 20 * SECOND), seed));
            }
            Past::Restart => {
                let begun = now - 24 * HOUR + dice.between(0, 20 * MINUTE);
                let mut device = device(&client, instance, Ipv4Addr::new(192, 0, 2, last(seed)), seed);
                let connected = device.connect(begun);
                let ending = spoke(&mut dice, Reason::ServerShutdown);
                device.end(connected, stopped - dice.between(0, 200), ending);
                let back = device.connect(started + dice.between(SECOND, 90 * SECOND));
                events.extend(left(device, back, now));
            }
            Past::Site => {
                let mut device = device(&client, instance, Ipv4Addr::new(198, 18, 7, last(seed)), seed);
                let connected = device.connect(started + dice.between(MINUTE, HOUR));
                let cut = now - 130 * MINUTE + dice.between(0, 4 * SECOND);
                let ending = spoke(&mut dice, Reason::ConnectionReset);
                device.end(connected, cut, ending);
                let back = device.connect(cut + dice.between(4 * MINUTE, 5 * MINUTE));
                events.extend(left(device, back, now));
            }
        }
    }
    events.sort_by_key(|event| (event.time, event.connection));
    let gap = Gap { from: TimeMs(stopped), to: TimeMs(started), lost: None, cause: GapCause::NotRunning };
    Ok((events, gap))
}

fn last(seed: u64) -> u8 {
    u8::try_from(seed % 200).unwrap_or(1)
}

fn device(client: &ClientId, instance: &InstanceId, address: Ipv4Addr, seed: u64) -> Device {
    Device::new(client.clone(), instance.clone(), address, 60, seed)
}

/// An end of a connection that was in use.
fn spoke(dice: &mut Dice, reason: Reason) -> Ending {
    let silent_ms = dice.between(0, 60 * SECOND);
    Ending { reason, silent_ms, answered_ms: silent_ms, last: PacketKind::PingReq }
}

/// Its history, with a goodbye: it comes back to the demo's server over a real connection.
fn left(mut device: Device, connected: Connected, now: i64) -> Vec<Event> {
    device.end(connected, now - 10 * SECOND, Ending::idle(Reason::ClientDisconnected, 0, PacketKind::Disconnect));
    device.events
}

/// A story, whose last connection ends with a goodbye as well.
fn story(plot: Plot, client: &ClientId, instance: &InstanceId, (from, to): (i64, i64), seed: u64) -> Vec<Event> {
    let story = plot.story(client, instance, from, to, seed);
    let mut events = story.events;
    let is_ended = |id| events.iter().any(|event| event.connection == id && event.action.is_end());
    let open: Vec<Event> =
        events.iter().filter(|event| event.action.is_beginning() && !is_ended(event.connection)).cloned().collect();
    events.extend(open.into_iter().map(|beginning| goodbye(&beginning, to)));
    events.extend(story.nameless);
    events
}

fn goodbye(beginning: &Event, at: i64) -> Event {
    let mut details = beginning.details.clone();
    details.duration_ms = Some(TimeMs(at).since(beginning.time));
    details.session_present = None;
    Event {
        time: TimeMs(at),
        action: tracemq_model::Action::Disconnect,
        reason: Reason::ClientDisconnected,
        details,
        ..beginning.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_day_is_the_same_each_time_and_nothing_of_it_is_open_or_to_come() {
        let instance = InstanceId::new("mqtt-local").unwrap();
        let now = 1_795_334_400_000;
        let (events, _) = day(&instance, now).unwrap();
        assert_eq!(events, day(&instance, now).unwrap().0);
        assert!(events.iter().all(|event| (now - 25 * HOUR..now).contains(&event.time.0)));
        let of = |is: fn(&Event) -> bool| -> BTreeSet<_> {
            events.iter().filter(|event| is(event)).map(|event| event.connection).collect()
        };
        let (begun, ended) = (of(|event| event.action.is_beginning()), of(|event| event.action.is_end()));
        assert!(begun.is_subset(&ended), "what is open would be taken for lost at the start");
        let devices: BTreeSet<_> = events.iter().filter_map(|event| event.client.clone()).collect();
        assert_eq!(devices.len(), super::super::cast::NAMED);
        assert!(events.len() > 400, "{}", events.len());
    }
}
