//! S43 to S45, S49: what is kept, and what a clock that steps does to it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tracemq_model::{ClientId, Event, Filter, Gap, GapCause, InstanceId, Order, Subject, TimeMs, TimeRange};
use tracemq_store::{Batch, EventStore, StoreError};

use super::world::{START, World};
use crate::fs::Fs;
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
            event.time = TimeMs(START + day * DAY + hour * 3_600_000);
        }
        batch.truncate(10);
        world.append(batch).unwrap();
        world.store().shared.freeze_now().unwrap();
        world.store().shared.seal_next().unwrap();
    }
}

fn look(world: &mut World, now: i64) {
    world.retain(now).unwrap();
    world.store().settle(&mut |_| {}).unwrap();
}

/// What can't be asked for any more does not count, wherever its bytes still are.
#[test]
fn what_has_been_erased_or_has_expired_does_not_count() {
    let mut world = world(Retention::default());
    let mut dice = Dice(4);
    let hour = 3_600_000;
    for round in 0..5 {
        let mut batch: Vec<_> = std::iter::repeat_with(|| world.batch(&mut dice)).take(8).flatten().collect();
        for (event, at) in batch.iter_mut().zip(0..) {
            event.time = TimeMs(round * hour + at * 60_000);
        }
        world.append(batch).unwrap();
        if round < 3 {
            world.store().shared.seal_all().unwrap();
        }
    }
    let events = |world: &World| world.store().stats().events;
    assert_eq!(events(&world), world.acknowledged.len() as u64);
    let instance = InstanceId::new("mqtt-local").unwrap();
    for client in ["a", "bb"] {
        let subject = Subject::Client(ClientId::new(client).unwrap());
        let hidden = world.store().erase(&instance, &subject).unwrap();
        let before = world.acknowledged.len();
        world.acknowledged.retain(|event| event.instance != instance || Subject::of(event).as_ref() != Some(&subject));
        assert_eq!(hidden, (before - world.acknowledged.len()) as u64);
        assert_eq!(events(&world), world.acknowledged.len() as u64, "{client}");
    }
    // Within the second segment.
    let cutoff = TimeMs(hour + 5 * 60_000);
    let cutoffs = ["mqtt-local", "other"].map(|name| (InstanceId::new(name).unwrap(), cutoff));
    world.store().shared.change_view(|view| view.cutoffs = std::sync::Arc::new(cutoffs.to_vec()));
    world.acknowledged.retain(|event| event.time >= cutoff);
    assert_eq!(events(&world), world.acknowledged.len() as u64, "expired");
}

#[test]
fn history_is_kept_for_as_long_as_wanted_and_its_files_go() {
    let mut world =
        world(Retention { each: Keep { age_ms: Some(10 * DAY as u64), bytes: None }, ..Retention::default() });
    forty_days(&mut world);
    let bytes = world.store().stats().bytes;
    look(&mut world, START + 40 * DAY);
    world.acknowledged.retain(|event| event.time.0 >= START + 30 * DAY);
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
    look(&mut world, START + 40 * DAY);
    world.acknowledged.retain(|event| event.instance != other || event.time.0 >= START + 35 * DAY);
    world.check("after a look");
}

#[test]
fn s45_a_bound_in_bytes_keeps_the_newest() {
    let mut world = world(Retention { bytes: Some(1), ..Retention::default() });
    forty_days(&mut world);
    world.append_one_more();
    look(&mut world, START + 40 * DAY);
    let left = world.store().stats().events;
    assert!(left <= 11, "{left}");
    assert!(world.newest_is_there());
}

/// Somebody reads all of it the whole time: what is beyond the bound is deleted all the same, once, and read to its end.
#[test]
fn s45_a_bound_in_bytes_holds_while_all_is_being_read() {
    let mut world = world(Retention { bytes: Some(1), ..Retention::default() });
    forty_days(&mut world);
    world.append_one_more();
    world.store().settle(&mut |_| {}).unwrap();
    let all = world.acknowledged.iter().filter(|event| event.instance.as_str() == "mqtt-local").count();
    let (mut read, mut calls) = (0, Vec::new());
    let filter = Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL);
    let mut visit = |_: &Event| {
        read += 1;
        if (3..9).contains(&read) {
            world.disk.set_fault(None);
            world.retain(START + 40 * DAY).unwrap();
            calls.push(world.disk.calls());
        }
        ControlFlow::Continue(())
    };
    world.store().scan(&filter, Order::OldestFirst, &mut visit).unwrap();
    assert_eq!(read, all);
    assert!(world.store().stats().events <= 11, "{}", world.store().stats().events);
    assert!(world.newest_is_there());
    // There is nothing left to do for who looks again.
    assert!(calls[0] > calls[1] && calls[1..].windows(2).all(|two| two[0] == two[1]), "{calls:?}");
}

#[test]
fn s45_a_bound_in_bytes_of_one_instance_takes_its_oldest_and_nothing_of_others() {
    let mut world = World::new();
    forty_days(&mut world);
    let other = InstanceId::new("other").unwrap();
    let bytes_of = |world: &World, instance: &InstanceId| -> u64 {
        let view = world.store().shared.view();
        let totals = view.segments.iter().flat_map(|segment| &segment.meta().instances);
        totals.filter(|total| total.instance == *instance).map(|total| total.bytes).sum()
    };
    let bound = bytes_of(&world, &other) / 2;
    let keep = Keep { age_ms: None, bytes: Some(bound) };
    world.settings.retention = Retention { instances: vec![(other.clone(), keep)], ..Retention::default() };
    world.open().unwrap();
    look(&mut world, START + 40 * DAY);
    let left = shown(&world);
    let is_other = |event: &&Event| event.instance == other;
    let oldest = left.iter().filter(is_other).map(|event| event.time).min().unwrap();
    let (before, after) = (world.acknowledged.iter().filter(is_other).count(), left.iter().filter(is_other).count());
    assert!(after < before * 3 / 4 && after > before / 4, "{after} of {before}");
    world.acknowledged.retain(|event| event.instance != other || event.time >= oldest);
    world.check("after a look");
}

/// Looks once, so much later by a clock that doesn't step.
fn look_once(world: &World, now: i64, at: Instant) {
    world.store().mark_alive(TimeMs(now)).unwrap();
    world.store().shared.retain_at(at).unwrap();
    world.store().settle(&mut |_| {}).unwrap();
}

const HOUR: Duration = Duration::from_secs(3_600);

fn keep_days(days: i64) -> Retention {
    Retention { each: Keep { age_ms: Some((days * DAY).unsigned_abs()), bytes: None }, ..Retention::default() }
}

/// Ten events an hour, the first at `from`, sealed.
fn hours(world: &mut World, from: i64, count: i64) {
    let mut dice = Dice(from.unsigned_abs());
    for hour in 0..count {
        let mut batch = world.batch(&mut dice);
        for event in &mut batch {
            event.time = TimeMs(from + hour * 3_600_000);
            event.instance = InstanceId::new("mqtt-local").unwrap();
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
}

#[test]
fn s49_a_clock_that_steps_a_year_ahead_deletes_nothing_at_once() {
    let mut world = world(keep_days(50));
    forty_days(&mut world);
    let begun = Instant::now();
    look_once(&world, START + 40 * DAY, begun);
    world.check("before");
    look_once(&world, START + 400 * DAY, begun + HOUR);
    world.check("a year ahead");
    look_once(&world, START + 41 * DAY, begun + 2 * HOUR);
    world.check("back");
}

/// The clock that the server first sees is the wrong one: neither history nor what comes later goes by it.
#[test]
fn s49_a_first_start_with_a_clock_a_year_ahead_deletes_nothing() {
    let mut world = world(keep_days(50));
    // Brought in, as an import does.
    forty_days(&mut world);
    let begun = Instant::now();
    look_once(&world, START + 400 * DAY, begun);
    look_once(&world, START + 400 * DAY, begun + HOUR);
    world.check("a year ahead");
    hours(&mut world, START + 400 * DAY, 3);
    look_once(&world, START + 41 * DAY, begun + 2 * HOUR);
    world.check("set right");
    world.open().unwrap();
    look_once(&world, START + 45 * DAY, begun + 3 * HOUR);
    world.check("after a restart");
    // What is too old by then goes.
    world.retain(START + 70 * DAY).unwrap();
    world.acknowledged.retain(|event| event.time.0 >= START + 20 * DAY);
    world.check("too old by the right clock");
}

#[test]
fn s49_what_comes_after_years_with_a_clock_ahead_is_shown() {
    let mut world = world(keep_days(10));
    for year in 1..4 {
        hours(&mut world, START + 365 * year * DAY, 2);
        world.retain(START + 365 * year * DAY + 60 * DAY).unwrap();
    }
    let known = world.acknowledged.len();
    let at = Instant::now() + HOUR * 24 * 400;
    look_once(&world, START + DAY, at);
    hours(&mut world, START + DAY, 3);
    look_once(&world, START + DAY, at + HOUR);
    let left = shown(&world);
    assert!(world.acknowledged[known..].iter().all(|event| left.contains(event)));
}

#[test]
fn s49_a_first_start_in_1970_deletes_nothing_and_the_right_clock_is_believed() {
    let mut world = world(keep_days(10));
    hours(&mut world, 0, 5);
    let begun = Instant::now();
    look_once(&world, 5 * 3_600_000, begun);
    look_once(&world, 6 * 3_600_000, begun + HOUR);
    world.check("in 1970");
    forty_days(&mut world);
    look_once(&world, 7 * 3_600_000, begun + 2 * HOUR);
    world.check("history of before, and a clock in 1970");
    look_once(&world, START + 40 * DAY, begun + 3 * HOUR);
    look_once(&world, START + 40 * DAY, begun + 9 * HOUR);
    world.acknowledged.retain(|event| event.time.0 >= START + 30 * DAY);
    world.check("set right");
}

#[test]
fn s49_a_bound_in_bytes_takes_what_was_written_in_1970_first() {
    let mut world = World::new();
    hours(&mut world, 0, 10);
    forty_days(&mut world);
    bounded(&mut world, |bytes| bytes * 9 / 10);
    // The bound holds whatever the clock says.
    for now in [3_600_000, START + 40 * DAY] {
        look_once(&world, now, Instant::now());
        let left = shown(&world);
        let oldest = left.iter().map(|event| event.time).min().unwrap();
        assert!(left.len() < world.acknowledged.len() && oldest < TimeMs(START + 5 * DAY), "{oldest:?}");
        assert!(world.acknowledged.iter().all(|event| event.time < oldest || left.contains(event)));
    }
}

/// A clock was ahead for so long that what it dated fills the bound, and more.
#[test]
fn s49_what_is_dated_in_the_future_leaves_half_of_a_bound_in_bytes_to_the_present() {
    let mut world = World::new();
    hours(&mut world, START + 400 * DAY, 60);
    bounded(&mut world, |bytes| bytes * 9 / 10);
    let begun = Instant::now();
    look_once(&world, START, begun);
    let known = world.acknowledged.len();
    for day in 0..2 {
        hours(&mut world, START + day * DAY, 10);
        look_once(&world, START + day * DAY + 10 * 3_600_000, begun + HOUR);
    }
    let left = shown(&world);
    assert!(world.acknowledged[known..].iter().all(|event| left.contains(event)), "what is recorded now");
    let future: Vec<&Event> = left.iter().filter(|event| event.time.0 >= START + 400 * DAY).collect();
    assert!(!future.is_empty() && future.len() < known);
    // The bound holds, but for a file.
    let sealed: u64 = world.store().shared.view().segments.iter().map(|segment| segment.meta().bytes).sum();
    let largest = world.store().shared.view().segments.iter().map(|segment| segment.meta().bytes).max().unwrap();
    assert!(sealed <= world.settings.retention.bytes.unwrap() + largest);
}

/// A machine without a clock of its own begins with some time of the past, until it is told a better one. What is newest is
/// then dated in the future.
#[test]
fn s49_a_clock_that_is_days_behind_costs_a_bound_in_bytes_the_oldest() {
    for behind in [2, 3, 10, 100] {
        let mut world = World::new();
        forty_days(&mut world);
        bounded(&mut world, |bytes| bytes * 9 / 10);
        look_once(&world, START + (40 - behind) * DAY, Instant::now());
        let left = shown(&world);
        let oldest = left.iter().map(|event| event.time).min().unwrap();
        let is_kept = |event: &&Event| event.time >= oldest && event.instance == left[0].instance;
        assert!((20..400).contains(&left.len()), "{behind} days behind: {} of 400", left.len());
        assert!(world.acknowledged.iter().filter(is_kept).all(|event| left.contains(event)), "{behind} days behind");
        assert!(oldest < TimeMs(START + 10 * DAY), "{behind} days behind: {oldest:?}");
        // What is recorded with that clock stays as well, and the newest of before.
        let known = world.acknowledged.len();
        hours(&mut world, START + (40 - behind) * DAY + 3_600_000, 3);
        look_once(&world, START + (40 - behind) * DAY + 4 * 3_600_000, Instant::now());
        let left = shown(&world);
        assert!(world.acknowledged[known - 10..].iter().all(|event| left.contains(event)), "{behind} days behind");
        look_once(&world, START + 40 * DAY + 3_600_000, Instant::now());
        assert!(shown(&world).contains(&world.acknowledged[known - 1]), "set right after {behind} days");
    }
}

/// What has expired and is not deleted yet, for the larger part of its file is to be kept.
#[test]
fn s49_a_clock_that_steps_back_shows_no_more_than_a_day_of_what_has_expired() {
    let mut world = world(keep_days(20));
    world.settings.memtable_events = 400;
    world.open().unwrap();
    let mut dice = Dice(1);
    let events = (0..280).map(|at| {
        let mut event = world.batch(&mut dice).remove(0);
        event.time = TimeMs(START + at * DAY / 10);
        event
    });
    let events: Vec<Event> = events.collect();
    world.append(events).unwrap();
    world.store().shared.seal_all().unwrap();
    let begun = Instant::now();
    let oldest = |world: &World| (shown(world).iter().map(|event| event.time.0).min().unwrap() - START).div_euclid(DAY);
    look_once(&world, START + 28 * DAY, begun);
    look_once(&world, START + 28 * DAY, begun + 24 * 30 * HOUR);
    assert!((7..=8).contains(&oldest(&world)), "{}", oldest(&world));
    look_once(&world, START + 5 * DAY, begun + 24 * 31 * HOUR);
    assert_eq!(oldest(&world), 4);
}

/// Opens it with a bound, made of the bytes that it takes.
fn bounded(world: &mut World, bound: fn(u64) -> u64) {
    let sealed: u64 = world.store().shared.view().segments.iter().map(|segment| segment.meta().bytes).sum();
    world.settings.retention.bytes = Some(bound(sealed));
    world.open().unwrap();
}

fn shown(world: &World) -> Vec<Event> {
    let mut found = Vec::new();
    for instance in ["mqtt-local", "other"] {
        let filter = Filter::all(InstanceId::new(instance).unwrap(), TimeRange::ALL);
        let scanned = world.store().scan(&filter, Order::OldestFirst, &mut |event| {
            found.push(event.clone());
            ControlFlow::Continue(())
        });
        scanned.unwrap();
    }
    found
}

/// Nothing can be written any more, and what has expired is to give room back.
#[test]
fn s21_retention_gives_room_back_on_a_full_disk() {
    let mut world = world(keep_days(10));
    forty_days(&mut world);
    let begun = Instant::now();
    look_once(&world, START + 40 * DAY, begun);
    let bytes = world.store().stats().bytes;
    world.disk.set_room(Some(0));
    world.store().mark_alive(TimeMs(START + 60 * DAY)).unwrap();
    assert!(world.append(vec![world.acknowledged[0].clone()]).is_err());
    world.store().shared.retain_at(begun + 40 * 24 * HOUR).unwrap();
    assert!(world.store().stats().bytes < bytes / 2);
    assert!(world.disk.free_space(&world.dir()).unwrap() > 1_000);
    world.append(vec![world.acknowledged.last().unwrap().clone()]).unwrap();
    // The next time as well.
    world.disk.set_room(None);
    world.store().shared.retain_at(begun + 41 * 24 * HOUR).unwrap();
    assert!(world.disk.paths().contains(&world.dir().join("reserve")));
    world.acknowledged.retain(|event| event.time.0 >= START + 50 * DAY);
    world.check("with room again");
    world.open().unwrap();
    world.check("after a restart");
}

/// Else it is missing when something can be deleted, and a full disk stays full.
#[test]
fn s21_the_reserve_is_not_spent_where_nothing_can_be_deleted_and_is_taken_back() {
    let mut world = world(keep_days(10));
    forty_days(&mut world);
    let begun = Instant::now();
    let reserve = world.dir().join("reserve");
    look_once(&world, START + 40 * DAY, begun);
    let whole = world.disk.content(&reserve).len();
    assert!(whole > 10_000);
    world.disk.set_room(Some(0));
    // The cutoff moves, into a day of which half is to be kept.
    world.store().mark_alive(TimeMs(START + 40 * DAY + 4 * 3_600_000)).unwrap();
    for tries in 1..4 {
        let refused = world.store().shared.retain_at(begun + HOUR * (4 + tries));
        assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
        assert_eq!(world.disk.free_space(&world.dir()).unwrap(), 0);
        assert_eq!(world.disk.content(&reserve).len(), whole);
    }
    // Now whole days can go, and give more back than the reserve.
    world.store().mark_alive(TimeMs(START + 60 * DAY)).unwrap();
    world.store().shared.retain_at(begun + 40 * 24 * HOUR).unwrap();
    assert_eq!(world.disk.content(&reserve).len(), whole);
    assert!(world.disk.free_space(&world.dir()).unwrap() > 1_000);
}

#[test]
fn s21_a_reserve_that_is_not_enough_is_not_lost() {
    let mut world = world(keep_days(10));
    forty_days(&mut world);
    let gap = |at: i64| {
        let (from, to) = (TimeMs(START + at * 1_000), TimeMs(START + at * 1_000 + 1));
        Gap { from, to, lost: None, cause: GapCause::QueueFull }
    };
    let batch = Batch { events: vec![world.acknowledged[399].clone()], gaps: (0..500).map(gap).collect() };
    world.store().append(&batch).unwrap();
    world.store().shared.seal_all().unwrap();
    let begun = Instant::now();
    look_once(&world, START + 40 * DAY, begun);
    let before = world.disk.paths();
    world.disk.set_room(Some(0));
    world.store().mark_alive(TimeMs(START + 45 * DAY)).unwrap();
    let refused = world.store().shared.retain_at(begun + 40 * 24 * HOUR);
    assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
    assert_eq!((world.disk.paths(), world.disk.free_space(&world.dir()).unwrap()), (before.clone(), 0));
    world.disk.set_room(Some(50_000));
    world.store().shared.retain_at(begun + 41 * 24 * HOUR).unwrap();
    assert!(world.disk.paths().len() < before.len() && world.disk.paths().contains(&world.dir().join("reserve")));
}

/// A few events of any time in the last weeks with each seal, for years.
#[test]
fn late_events_keep_neither_merges_nor_retention_from_their_work() {
    let settings = SegmentSettings { memtable_events: 64, retention: keep_days(30), ..SegmentSettings::default() };
    let (mut world, mut dice, begun) = (World::with(settings), Dice(3), Instant::now());
    let (mut most, mut kept) = (0, 0);
    for seal in 0..3_000 {
        let now = START + seal * DAY / 10;
        let mut batch = world.batch(&mut dice);
        for event in &mut batch {
            let late = if dice.roll(4) == 0 { dice.roll(30) } else { 0 };
            event.time = TimeMs(now - i64::try_from(late).unwrap() * DAY);
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
        if seal % 10 == 0 {
            let passed = Duration::from_millis((seal * DAY / 10).unsigned_abs());
            world.store().mark_alive(TimeMs(now)).unwrap();
            world.store().shared.retain_at(begun + passed).unwrap();
        }
        while world.store().shared.merge_next(&mut |_| {}).unwrap() {}
        most = most.max(world.store().shared.view().segments.len());
        kept = world.acknowledged.iter().filter(|event| event.time.0 >= now - 31 * DAY).count();
    }
    assert!(most < 60, "{most} segments");
    let on_disk = world.store().stats().events;
    assert!(on_disk < 4 * kept as u64, "{on_disk} events on disk, {kept} within what is kept");
}
