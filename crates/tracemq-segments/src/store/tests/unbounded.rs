//! A store that is opened without bounds, as an import and an erasure do: what expired by those of a server stays so.

use std::time::Instant;

use tracemq_model::TimeMs;
use tracemq_store::EventStore;

use super::super::worker::Attempts;
use super::world::{START, World};
use crate::fs::simulated::Dice;
use crate::manifest::Manifest;
use crate::{Keep, Retention, SegmentSettings};

const DAY: i64 = 86_400_000;

#[test]
fn without_bounds_nothing_expires_and_what_had_expired_stays_so() {
    let age = Keep { age_ms: Some(10 * DAY.unsigned_abs()), bytes: None };
    let bounds = Retention { each: age, ..Retention::default() };
    // So large that what has expired is still in its file.
    let settings = SegmentSettings { retention: bounds, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(1));
    for day in 0..16 {
        let mut batch = world.batch(&mut dice);
        for event in &mut batch {
            event.time = TimeMs(START + day * DAY);
        }
        world.append(batch).unwrap();
    }
    world.store().shared.seal_all().unwrap();
    world.retain(START + 16 * DAY).unwrap();
    let kept = world.acknowledged.iter().filter(|event| event.time.0 >= START + 6 * DAY).count() as u64;
    assert_eq!(world.store().stats().events, kept);
    world.settings.retention = Retention::default();
    world.open().unwrap();
    let cutoffs = |world: &World| Manifest::load(&world.disk, &world.dir()).unwrap().unwrap().cutoffs;
    let before = cutoffs(&world);
    assert!(!before.is_empty());
    // As an import of old history says up to when there was a recorder, and as time goes by.
    for now in [START - 200 * DAY, START + 400 * DAY] {
        world.store().mark_alive(TimeMs(now)).unwrap();
        world.store().shared.retain_when_due(&mut Attempts::to_retain(), Instant::now());
        assert_eq!(world.store().stats().events, kept, "{now}");
        assert_eq!(cutoffs(&world), before, "{now}");
    }
}
