//! S43 to S45, S49: what is kept, and what a clock that steps does to it.

use tracemq_model::{InstanceId, TimeMs};
use tracemq_store::EventStore;

use super::world::World;
use crate::fs::simulated::{Dice, Unsynced};
use crate::{Keep, Retention, SegmentSettings};

const DAY: i64 = 86_400_000;

fn world(retention: Retention) -> World {
    World::with(SegmentSettings { memtable_events: 12, merge_segments: 3, retention, ..SegmentSettings::default() })
}

/// Ten events a day for forty days, sealed day by day.
fn forty_days(world: &mut World) {
    let mut dice = Dice(1);
    for day in 0..40 {
        let mut batch = Vec::new();
        while batch.len() < 10 {
            batch.extend(world.batch(&mut dice));
        }
        for (event, hour) in batch.iter_mut().zip(0..) {
            event.time = TimeMs(day * DAY + hour * 3_600_000);
        }
        batch.truncate(10);
        world.append(batch).unwrap();
        world.store().shared.freeze_now().unwrap();
        world.store().shared.seal_next().unwrap();
    }
}

fn look(world: &mut World, now: i64) {
    world.store().mark_alive(TimeMs(now)).unwrap();
    world.store().shared.retain().unwrap();
    world.store().settle(&mut |_| {}).unwrap();
}

#[test]
fn history_is_kept_for_as_long_as_wanted_and_its_files_go() {
    let mut world =
        world(Retention { each: Keep { age_ms: Some(10 * DAY as u64), bytes: None }, ..Retention::default() });
    forty_days(&mut world);
    let bytes = world.store().stats().bytes;
    look(&mut world, 40 * DAY);
    world.acknowledged.retain(|event| event.time.0 >= 30 * DAY);
    world.check("after a look");
    assert!(world.store().stats().bytes < bytes / 2);
    world.lose_power(Unsynced::Lost);
    world.check("after a restart");
}

#[test]
fn instances_are_kept_each_by_its_own_rule() {
    let other = InstanceId::new("other").unwrap();
    let keep = Keep { age_ms: Some(5 * DAY as u64), bytes: None };
    let mut world = world(Retention { instances: vec![(other.clone(), keep)], ..Retention::default() });
    forty_days(&mut world);
    look(&mut world, 40 * DAY);
    world.acknowledged.retain(|event| event.instance != other || event.time.0 >= 35 * DAY);
    world.check("after a look");
}

#[test]
fn s45_a_bound_in_bytes_keeps_the_newest() {
    let mut world = world(Retention { bytes: Some(1), ..Retention::default() });
    forty_days(&mut world);
    world.append_one_more();
    look(&mut world, 40 * DAY);
    let left = world.store().stats().events;
    assert!(left <= 11, "{left}");
    assert!(world.newest_is_there());
}

#[test]
fn s49_a_clock_that_steps_a_year_ahead_deletes_nothing_at_once() {
    let mut world =
        world(Retention { each: Keep { age_ms: Some(50 * DAY as u64), bytes: None }, ..Retention::default() });
    forty_days(&mut world);
    look(&mut world, 40 * DAY);
    world.check("before");
    look(&mut world, 400 * DAY);
    world.check("a year ahead");
    look(&mut world, 41 * DAY);
    world.check("back");
}
