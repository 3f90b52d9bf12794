//! S51 to S57: sizes and shapes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, InstanceId, MessageDetails, MessageId, Order, ProtocolVersion,
    Provenance, Reason, Subject, TimeMs, TimeRange, TlsVersion, TracePage, TraceQuery, Traffic,
};
use tracemq_store::{Batch, EventStore, StoreError};

use super::world::World;
use crate::fs::simulated::Dice;
use crate::manifest::{Manifest, SegmentEntry};
use crate::memtable::Memtable;
use crate::store::worker::{Attempts, Leisure};
use crate::store::{Segments, lock};
use crate::view::Frozen;
use crate::{SegmentSettings, view};

/// No client identifier is longer: two bytes of MQTT say how long it is.
const NAME_BYTES: usize = 65_535;

fn event(client: &str, time: i64) -> Event {
    Event {
        time: TimeMs(time),
        instance: InstanceId::new("mqtt-local").unwrap(),
        connection: ConnectionId(u128::from(time.unsigned_abs())),
        action: Action::Close,
        reason: Reason::KeepAliveTimeout,
        provenance: Provenance::Observed,
        client: Some(ClientId::new(client).unwrap()),
        peer: None,
        details: Details::default(),
    }
}

fn append(store: &Segments, events: Vec<Event>) {
    store.append(&Batch { events, gaps: Vec::new() }).unwrap();
}

fn page(store: &Segments, client: &str, offset: usize) -> TracePage {
    let query = TraceQuery {
        instance: InstanceId::new("mqtt-local").unwrap(),
        subject: Subject::Client(ClientId::new(client).unwrap()),
        range: TimeRange::ALL,
        order: Order::OldestFirst,
        offset: offset as u64,
        limit: 10,
    };
    store.page(&query).unwrap()
}

#[test]
fn s51_numbers_at_their_end_are_refused_and_nothing_is_changed() {
    let mut world = World::small();
    let last = Manifest::load(&world.disk, &world.dir()).unwrap().unwrap();
    let late = [
        Manifest { generation: last.generation + 1, next_file: u64::MAX, ..last.clone() },
        Manifest { generation: last.generation + 1, next_file: u64::MAX - 5, ..last.clone() },
    ];
    for manifest in late {
        manifest.publish(&world.disk, &world.dir()).unwrap();
        let before = world.disk.contents();
        assert!(matches!(world.open(), Err(StoreError::Io { .. })));
        assert_eq!(world.disk.contents(), before);
    }
    Manifest { generation: last.generation + 2, ..last }.publish(&world.disk, &world.dir()).unwrap();
    world.open().unwrap();
    world.check("with the numbers of before");
}

#[test]
fn s52_the_longest_names_and_details_are_found_again() {
    let world = World::new();
    let store = world.store();
    let long = "é".repeat(NAME_BYTES / 2);
    let text: Arc<str> = "x".repeat(512).into();
    let mut full = event(&long, i64::MAX);
    full.peer = Some("[2001:db8::7]:65535".parse().unwrap());
    full.details = Details {
        listener: Some(Arc::clone(&text)),
        protocol: Some(ProtocolVersion::V5),
        username: Some(Arc::clone(&text)),
        keep_alive_s: Some(u16::MAX),
        clean_start: Some(true),
        session_present: Some(true),
        reason_code: Some(u8::MAX),
        detail: Some(Arc::clone(&text)),
        other_connection: Some(ConnectionId(u128::MAX)),
        duration_ms: Some(u64::MAX),
        traffic: Some(Traffic {
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            packets_in: u64::MAX,
            packets_out: u64::MAX,
            last_in_age_ms: Some(u64::MAX),
            last_out_age_ms: Some(u64::MAX),
            ..Traffic::default()
        }),
        tls_version: Some(TlsVersion::V13),
        server_name: Some(Arc::clone(&text)),
        certificate_subject: Some(Arc::clone(&text)),
        certificate_issuer: Some(text),
        certificate_not_after: Some(TimeMs::MIN),
        count: Some(u64::MAX),
        message: Some(Box::new(MessageDetails {
            id: MessageId(u128::MAX - 7),
            topic: "x".repeat(512).into(),
            qos: 2,
            payload_bytes: u64::MAX,
            client: Some("é".repeat(NAME_BYTES / 2).as_str().into()),
        })),
    };
    let shortest = event("c", i64::MIN);
    append(store, vec![full.clone(), shortest.clone()]);
    for _ in 0..3 {
        assert_eq!(page(store, &long, 0).events, std::slice::from_ref(&full));
        assert_eq!(page(store, "c", 0).events, std::slice::from_ref(&shortest));
        store.settle(&mut |_| {}).unwrap();
    }
}

/// A device with two hundred thousand events, in many segments: any page of it is the right one, with the exact total.
#[test]
fn s52_one_giant_client_has_exact_pages() {
    const EVENTS: i64 = 200_000;
    let settings = SegmentSettings { memtable_events: 20_000, merge_segments: 4, ..SegmentSettings::default() };
    let world = World::with(settings);
    let store = world.store();
    for first in (0..EVENTS).step_by(5_000) {
        append(store, (first..first + 5_000).map(|n| event("giant", n * 10)).collect());
    }
    for _ in 0..2 {
        for offset in [0, 1, 19_999, 20_000, 123_456, 199_990, 199_995, 200_000] {
            let found = page(store, "giant", offset);
            let times: Vec<i64> = found.events.iter().map(|event| event.time.0).collect();
            let expected: Vec<i64> = (0..EVENTS).map(|n| n * 10).skip(offset).take(10).collect();
            assert_eq!((found.total, times), (EVENTS as u64, expected), "offset {offset}");
        }
        store.settle(&mut |_| {}).unwrap();
    }
}

#[test]
fn s53_names_that_look_alike_are_told_apart() {
    let begin = "0123456789".repeat(6);
    let mut names: Vec<String> = (0..40).map(|n| format!("{begin}{n}")).collect();
    names.extend(
        ["Pump", "pump", "PUMP", "pump ", "é", "e\u{301}", "ﬁ", "fi", "𐀀", "\u{10ffff}", "\u{1}", "😀", "ß", "ẞ", "ss"]
            .map(String::from),
    );
    names.push(begin.clone());
    let world = World::new();
    let store = world.store();
    for (name, time) in names.iter().zip(0..) {
        append(store, vec![event(name, time)]);
    }
    for _ in 0..2 {
        for (name, time) in names.iter().zip(0..) {
            assert_eq!(page(store, name, 0).events, [event(name, time)], "{name:?}");
        }
        assert_eq!(page(store, begin.get(..59).unwrap(), 0).total, 0);
        store.settle(&mut |_| {}).unwrap();
    }
}

#[test]
fn s54_many_tiny_segments_become_few() {
    let mut world = World::with(SegmentSettings { memtable_events: 1, ..SegmentSettings::default() });
    let mut most = 0;
    for n in 0..10_000 {
        append(world.store(), vec![event("a", n)]);
        world.store().shared.seal_all().unwrap();
        while world.store().shared.merge_next(&mut |_| {}).unwrap() {}
        most = most.max(world.store().shared.view().segments.len());
    }
    assert!(most <= 24, "{most} segments");
    let recovery = world.open().unwrap();
    assert!(recovery.events == 10_000 && recovery.segments <= 24, "{recovery:?}");
    assert_eq!(page(world.store(), "a", 9_995).total, 10_000);
}

/// What was merged waits for its like, and is not merged again with each few small ones that come after it.
#[test]
fn an_event_is_written_anew_once_for_each_size_of_segments() {
    let world = World::with(SegmentSettings { merge_segments: 4, ..SegmentSettings::default() });
    let mut merged = 0;
    for n in 0..64 {
        append(world.store(), (0..4_100).map(|m| event("a", n * 4_100 + m)).collect());
        world.store().shared.seal_all().unwrap();
        while world.store().shared.merge_next(&mut |_| {}).unwrap() {
            merged += world
                .store()
                .shared
                .view()
                .segments
                .iter()
                .map(|segment| segment.meta())
                .max_by_key(|meta| meta.id.number)
                .unwrap()
                .rows;
        }
    }
    // Sizes of 4,100, 16,400, 65,600 and 262,400 events: three times at most.
    assert_eq!(merged, 3 * 64 * 4_100);
}

/// A page looks into each segment: who has the time has few.
#[test]
fn segments_become_fewer_when_nothing_was_sealed_for_a_minute() {
    let mut world = World::with(SegmentSettings::default());
    let count = |world: &World| world.store().shared.view().segments.len();
    let begun = Instant::now();
    let (mut leisure, mut merging, mut merged) = (Leisure::new(begun), Attempts::to_merge(), Vec::new());
    for n in 0..11 {
        append(world.store(), (0..5_000).map(|m| event("a", n * 5_000 + m)).collect());
        world.store().shared.seal_all().unwrap();
        let shared = &world.store().shared;
        let now = begun + Duration::from_secs(50 * u64::try_from(n).unwrap());
        assert!(
            !shared.merge_when_due(&mut merging, now) && !shared.merge_when_at_leisure(&mut leisure, &mut merging, now)
        );
    }
    assert_eq!(count(&world), 11);
    let later = |seconds: u64| begun + Duration::from_secs(500 + seconds);
    let shared = &world.store().shared;
    assert!(!shared.merge_when_at_leisure(&mut leisure, &mut merging, later(59)), "not yet");
    while shared.merge_when_at_leisure(&mut leisure, &mut merging, later(60)) {
        merged.push(count(&world));
    }
    assert_eq!(merged, [1]);
    // What was merged waits for its like, at leisure too.
    for n in 11..14 {
        append(world.store(), (0..5_000).map(|m| event("a", n * 5_000 + m)).collect());
        world.store().shared.seal_all().unwrap();
    }
    let shared = &world.store().shared;
    assert!(!shared.merge_when_at_leisure(&mut leisure, &mut merging, later(100)));
    assert!(!shared.merge_when_at_leisure(&mut leisure, &mut merging, later(200)));
    assert_eq!((count(&world), page(world.store(), "a", 0).total), (4, 70_000));
    world.open().unwrap();
    assert_eq!((count(&world), page(world.store(), "a", 0).total), (4, 70_000));
}

/// So many segments of three events each, which were never merged.
fn with_segments(count: u64) -> World {
    let mut world = World::with(SegmentSettings { merge_segments: usize::MAX, ..SegmentSettings::default() });
    let shared = &world.store().shared;
    let mut metas = Vec::new();
    for (n, sequence) in (0..).zip(1..=count) {
        let memtable = Arc::new(Memtable::new(3));
        memtable.show(memtable.insert(&["a", "m", "z"].map(|client| event(client, n))));
        let (log, log_bytes) = (0, 0);
        metas.extend(shared.write_segments(&Frozen { sequence, log, log_bytes, memtable }).unwrap().0);
    }
    // In one manifest: as many manifests would take most of the time.
    let name = |manifest: &mut Manifest| manifest.segments.extend(metas.iter().map(SegmentEntry::of));
    shared.publish(&mut lock(&shared.publisher), None, name, |_| {}).unwrap();
    world.open().unwrap();
    assert_eq!(world.store().shared.view().segments.len() as u64, count);
    world
}

#[test]
fn s55_a_question_for_nobody_reads_a_block_of_each_segment_at_most() {
    const SEGMENTS: u64 = 10_000;
    let mut world = with_segments(SEGMENTS);
    let calls = |world: &World, question: &dyn Fn(&Segments)| {
        world.disk.set_fault(None);
        question(world.store());
        world.disk.calls() as u64
    };
    let nobody = |store: &Segments| assert_eq!(page(store, "nobody", 0).total, 0);
    assert!(calls(&world, &nobody) <= SEGMENTS);
    // Whoever has an event in each is found as well.
    assert_eq!(page(world.store(), "m", 0).total, SEGMENTS);
    // A question about a time when nothing was asks no file.
    let range = TimeRange { from: TimeMs(20_000), to: TimeMs(30_000) };
    let filter = tracemq_model::Filter::all(InstanceId::new("mqtt-local").unwrap(), range);
    let no_time = |store: &Segments| assert_eq!(store.counts(&filter, 60_000).unwrap().counts, []);
    assert_eq!(calls(&world, &no_time), 0);
    // A start reads a few pieces of each.
    world.disk.set_fault(None);
    assert_eq!(world.open().unwrap().events, 3 * SEGMENTS);
    assert!(world.disk.calls() as u64 <= 10 * SEGMENTS, "{} calls", world.disk.calls());
}

/// More comes than is sealed: what waits in memory is bounded, and what was acknowledged is there.
#[test]
fn s56_what_waits_for_being_sealed_is_bounded() {
    let mut world = World::new();
    let mut dice = Dice(2);
    for _ in 0..200 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
        let view: Arc<view::View> = world.store().shared.view();
        assert!(view.frozen.len() <= SegmentSettings::FROZEN_MAX);
        let rows: usize =
            view.frozen.iter().map(|frozen| &frozen.memtable).chain([&view.active]).map(|one| one.len()).sum();
        assert!(rows <= 3 * (world.settings.memtable_events + 10), "{rows} rows in memory");
    }
    world.check("in the end");
}

#[test]
fn s57_nothing_one_row_and_the_borders_of_a_block() {
    let rows = crate::segment::ROWS;
    for count in [0, 1, rows - 1, rows, rows + 1, 2 * rows] {
        let world = World::with(SegmentSettings::default());
        let store = world.store();
        append(store, (0..).zip(0..count).map(|(n, _)| event("a", n)).collect());
        for _ in 0..2 {
            assert_eq!(page(store, "a", 0).total, count as u64);
            assert_eq!(page(store, "a", count.saturating_sub(1)).events.len(), count.min(1));
            assert_eq!(page(store, "a", count).events, []);
            store.settle(&mut |_| {}).unwrap();
        }
    }
}
