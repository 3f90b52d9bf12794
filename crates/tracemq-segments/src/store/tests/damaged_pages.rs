//! S30: a damaged block where segments hold rows of one client side by side in time. The rest keeps its place.

use tracemq_model::{ClientId, Event, Gap, GapCause, InstanceId, Order, Subject, TimeMs, TimeRange, TraceQuery};
use tracemq_store::EventStore;

use super::world::World;
use crate::SegmentSettings;
use crate::fs::simulated::Dice;

/// Three segments and a memtable, each with rows of "a" all over the same span of time, and others of clients before and behind.
fn overlapping(rows: i64) -> World {
    let settings = SegmentSettings { memtable_events: 100_000, merge_segments: 100, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(7));
    for source in 0..4 {
        let mut batch = Vec::new();
        for at in 0..rows + 600 {
            let mut event = world.batch(&mut dice).remove(0);
            let (client, time) = match at - rows {
                300.. => ("0", at * 11),
                0.. => ("z", at * 3),
                // Some share a moment with those of another source.
                _ => ("a", at * 4 + source % 2),
            };
            (event.time, event.client) = (TimeMs(time), Some(ClientId::new(client).unwrap()));
            event.instance = InstanceId::new("mqtt-local").unwrap();
            batch.push(event);
        }
        world.append(batch).unwrap();
        if source < 3 {
            world.store().shared.seal_all().unwrap();
        }
    }
    world
}

fn query(range: TimeRange, order: Order) -> TraceQuery {
    let subject = Subject::Client(ClientId::new("a").unwrap());
    TraceQuery { instance: InstanceId::new("mqtt-local").unwrap(), subject, range, order, offset: 0, limit: 250 }
}

/// All pages, one behind the other, with the number of all and the gaps.
fn paged(world: &World, range: TimeRange, order: Order) -> (Vec<Event>, u64, Vec<Gap>) {
    let (mut query, mut events, mut gaps) = (query(range, order), Vec::new(), Vec::new());
    loop {
        let page = world.store().page(&query).unwrap();
        events.extend(page.events);
        gaps.extend(page.gaps);
        query.offset += query.limit as u64;
        if query.offset >= page.total {
            return (events, page.total, gaps);
        }
    }
}

fn is_told(gaps: &[Gap], event: &Event) -> bool {
    gaps.iter().any(|gap| gap.cause == GapCause::Damaged && gap.range().contains(event.time))
}

#[test]
fn s30_a_damaged_block_takes_no_other_row_from_the_pages_of_a_client() {
    let world = overlapping(1_500);
    for range in [TimeRange::ALL, TimeRange { from: TimeMs(1_000), to: TimeMs(5_001) }] {
        let (whole, total, gaps) = paged(&world, range, Order::OldestFirst);
        assert_eq!((whole.len() as u64, gaps), (total, Vec::new()));
        for (segment, number) in (0..3).flat_map(|segment| (0..5).map(move |number| (segment, number))) {
            let segment = world.store().shared.view().segments[segment].clone();
            let Some(at) = segment.row_extent(number) else { continue };
            let flip = |bytes: &mut Vec<u8>| bytes[usize::try_from(at.start).unwrap() + 9] ^= 4;
            let context = format!("block {number} of {segment:?}, {range:?}");
            world.disk.change(segment.path(), flip);
            let (mut found, seen, gaps) = paged(&world, range, Order::OldestFirst);
            let (newest_first, ..) = paged(&world, range, Order::NewestFirst);
            found.reverse();
            assert_eq!(newest_first, found, "{context}");
            found.reverse();
            let mut rest = found.iter().peekable();
            let mut lost = 0;
            for event in &whole {
                if rest.next_if_eq(&event).is_none() {
                    lost += 1;
                    assert!(is_told(&gaps, event), "{context}");
                }
            }
            assert_eq!(rest.next(), None, "{context}: twice, or out of order");
            assert!(
                lost <= 512 && (lost > 0 || number == 0 || number > 3 || range != TimeRange::ALL),
                "{context}: {lost}"
            );
            assert!(seen <= total && seen >= found.len() as u64, "{context}");
            if range == TimeRange::ALL {
                assert_eq!(seen, total, "{context}: known to be there");
            }
            world.disk.change(segment.path(), flip);
        }
    }
}
