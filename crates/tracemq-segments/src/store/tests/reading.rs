//! S43, S46, S48: who reads while files come and go sees one moment, and pages stay in their place.

use std::ops::ControlFlow;

use tracemq_model::{ClientId, Event, Filter, InstanceId, Order, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::EventStore;

use super::world::{START, World};
use crate::fs::simulated::Dice;
use crate::{Keep, Retention, SegmentSettings};

const DAY: i64 = 86_400_000;

/// Ten events a day, sealed day by day.
fn days(count: i64) -> World {
    let retention = Retention { each: Keep { age_ms: Some(10 * DAY as u64), bytes: None }, ..Retention::default() };
    let settings = SegmentSettings { memtable_events: 12, merge_segments: 3, retention, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(6));
    for day in 0..count {
        let mut batch = Vec::new();
        while batch.len() < 10 {
            batch.extend(world.batch(&mut dice));
        }
        batch.truncate(10);
        for (event, hour) in batch.iter_mut().zip(0..) {
            event.time = TimeMs(START + day * DAY + hour * 3_600_000);
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    world
}

fn all() -> Filter {
    Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL)
}

fn scanned(world: &World, order: Order, mut meanwhile: impl FnMut(usize)) -> Vec<Event> {
    let mut found = Vec::new();
    let scanned = world.store().scan(&all(), order, &mut |event| {
        meanwhile(found.len());
        found.push(event.clone());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    found
}

fn files(world: &World) -> usize {
    world.disk.paths().iter().filter(|path| path.extension().is_some_and(|kind| kind == "segment")).count()
}

#[test]
fn s43_what_retention_deletes_is_read_to_its_end_by_who_had_begun() {
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let world = days(30);
        let before = scanned(&world, order, |_| {});
        let found = scanned(&world, order, |at| {
            if at == 5 {
                world.retain(START + 30 * DAY).unwrap();
                world.store().settle(&mut |_| {}).unwrap();
            }
        });
        assert_eq!(found, before);
        let left: Vec<Event> = before.into_iter().filter(|event| event.time.0 >= START + 20 * DAY).collect();
        assert_eq!(scanned(&world, order, |_| {}), left);
        // The room is given back.
        assert_eq!(files(&world), world.store().shared.view().segments.len());
        assert!(files(&world) <= 10);
    }
}

/// Who wants a few events does not wait for all to be read.
#[test]
fn the_newest_events_are_found_without_a_look_at_older_blocks() {
    let settings = SegmentSettings { memtable_events: 12, merge_segments: 100, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(6));
    for day in 0..12 {
        let mut batch: Vec<Event> = std::iter::repeat_with(|| world.batch(&mut dice)).take(10).flatten().collect();
        for (event, minute) in batch.iter_mut().zip(0..) {
            event.time = TimeMs(day * DAY + minute * 60_000);
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    let reads = |order, wanted: usize| {
        let (before, mut found) = (world.disk.reads(), 0);
        let mut visit = |_: &Event| {
            found += 1;
            if found < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        world.store().scan(&all(), order, &mut visit).unwrap();
        world.disk.reads() - before
    };
    reads(Order::OldestFirst, usize::MAX); // texts are in memory from now on
    for order in [Order::OldestFirst, Order::NewestFirst] {
        // The minutes of each segment; keys and rows of one.
        assert!(reads(order, 3) <= 12 + 4, "{order:?}: {}", reads(order, 3));
    }
}

/// Each wait for a disk takes longer than all else that a page costs.
#[test]
fn a_page_waits_for_its_segments_together() {
    let settings = SegmentSettings { memtable_events: 100, merge_segments: 100, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(7));
    for part in 0..20 {
        let mut batch = world.batch(&mut dice);
        for (event, ms) in batch.iter_mut().zip(0..) {
            event.time = TimeMs(START + part * 1_000 + ms);
            event.instance = InstanceId::new("mqtt-local").unwrap();
            event.client = Some(ClientId::new("a").unwrap());
        }
        // In half of the cases what follows in the next segment is older.
        if part % 4 == 3 {
            batch.iter_mut().for_each(|event| event.time = TimeMs(event.time.0 - 1_500));
        }
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    assert!(world.store().shared.view().segments.len() >= 20);
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let query = TraceQuery {
            instance: InstanceId::new("mqtt-local").unwrap(),
            subject: Subject::Client(ClientId::new("a").unwrap()),
            range: TimeRange::ALL,
            order,
            offset: 0,
            limit: TraceQuery::LIMIT_MAX,
        };
        let warm = world.store().page(&query).unwrap();
        assert_eq!(warm.total, warm.events.len() as u64);
        world.disk.cool();
        assert_eq!(world.store().page(&query).unwrap(), warm);
        let waits = world.disk.cool();
        assert!(waits <= 3, "{waits}, {order:?}");
        // Who can't wait gets nothing instead, asks for what it lacked, and so gets the page in the end.
        let answers: Vec<_> = (0..40).map(|_| world.store().page_at_once(&query).unwrap()).collect();
        assert_eq!((answers.first(), answers.last()), (Some(&None), Some(&Some(warm))), "{order:?}");
        assert_eq!(world.disk.cool(), 0, "{order:?}");
    }
}

#[test]
fn s46_a_merge_in_the_middle_of_a_question_changes_no_answer() {
    let mut world = days(12);
    let mut dice = Dice(14);
    // Late ones, for days that are sealed.
    for _ in 0..3 {
        let mut late = world.batch(&mut dice);
        for event in &mut late {
            event.time = TimeMs(START + event.time.0.rem_euclid(12) * DAY);
        }
        world.append(late).unwrap();
        world.store().shared.freeze_now().unwrap();
    }
    let before = scanned(&world, Order::OldestFirst, |_| {});
    let mut merged = 0;
    let during = scanned(&world, Order::OldestFirst, |_| {
        world.store().shared.seal_next().unwrap();
        merged += usize::from(world.store().shared.merge_next(&mut |_| {}).unwrap());
    });
    assert!(merged > 2);
    assert_eq!(during, before);
    assert_eq!(scanned(&world, Order::OldestFirst, |_| {}), before);
    world.check("after");
}

#[test]
fn s48_pages_stay_in_their_place_while_files_come_and_go() {
    let mut world = days(20);
    let mut dice = Dice(3);
    let batch = world.batch(&mut dice);
    world.append(batch).unwrap();
    for client in ["a", "b", "bb", "c"] {
        let query = |offset: usize| TraceQuery {
            instance: InstanceId::new("mqtt-local").unwrap(),
            subject: Subject::Client(ClientId::new(client).unwrap()),
            range: TimeRange { from: TimeMs(START + 10 * DAY), to: TimeMs::MAX },
            order: Order::NewestFirst,
            offset: offset as u64,
            limit: 3,
        };
        let all = |world: &World| {
            let query = TraceQuery { limit: TraceQuery::LIMIT_MAX, ..query(0) };
            world.store().page(&query).unwrap().events
        };
        let before = all(&world);
        let mut paged = Vec::new();
        for step in 0.. {
            let page = world.store().page(&query(paged.len())).unwrap();
            assert_eq!(page.total, before.len() as u64);
            if page.events.is_empty() {
                break;
            }
            paged.extend(page.events);
            match step % 4 {
                0 => world.store().shared.freeze_now().unwrap(),
                1 => drop(world.store().shared.seal_next().unwrap()),
                2 => drop(world.store().shared.merge_next(&mut |_| {}).unwrap()),
                _ => {
                    // What is older than the range is taken away.
                    world.retain(START + 20 * DAY).unwrap();
                }
            }
        }
        assert_eq!(paged, before, "{client}");
        assert!(before.len() > 6, "{client}");
    }
}

/// With a bound on age a merged segment covers a part of it only: the ones behind a full one are merged all the same.
#[test]
fn s54_segments_behind_one_that_is_as_long_as_may_be_are_merged() {
    let mut world = days(60);
    world.store().settle(&mut |_| {}).unwrap();
    let segments = world.store().shared.view().segments.len();
    assert!(segments <= 25, "{segments} segments of 60");
    world.check("merged");
}
