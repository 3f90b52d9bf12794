//! What is erased is hidden at once, stays hidden, and leaves the disk.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tracemq_model::{ClientId, Event, Filter, InstanceId, Order, Subject, TimeMs, TimeRange};
use tracemq_store::EventStore;

use super::world::{CLIENTS, World};
use crate::SegmentSettings;
use crate::fs::simulated::{Dice, Fault, Unsynced};

fn erase(world: &mut World, client: &str) {
    let instance = InstanceId::new("mqtt-local").unwrap();
    let subject = Subject::Client(ClientId::new(client).unwrap());
    let hidden = world.store().erase(&instance, &subject).unwrap();
    let before = world.acknowledged.len();
    world.acknowledged.retain(|event| event.instance != instance || event.client.as_ref().unwrap().as_str() != client);
    assert_eq!(hidden, (before - world.acknowledged.len()) as u64);
}

#[test]
fn an_erased_history_stays_hidden_through_any_life() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        for step in 0..24 {
            match dice.roll(10) {
                0..=3 => {
                    let batch = world.batch(&mut dice);
                    world.append(batch).unwrap();
                }
                4 => world.store().shared.freeze_now().unwrap(),
                5 => drop(world.store().shared.seal_next().unwrap()),
                6 => drop(world.store().shared.merge_next(&mut |_| {}).unwrap()),
                7 => erase(&mut world, CLIENTS[dice.roll(CLIENTS.len())]),
                8 => drop(world.open().unwrap()),
                _ => drop(world.lose_power(Unsynced::Any(dice.roll(usize::MAX) as u64))),
            }
            world.check(&format!("seed {seed}, step {step}"));
        }
    }
}

/// The note of an erasure goes into the log, then into the manifest: whoever dies in between has erased all, or nothing.
#[test]
fn an_erasure_cut_off_at_any_call_is_there_as_a_whole_or_not_at_all() {
    let (instance, subject) = (InstanceId::new("mqtt-local").unwrap(), Subject::Client(ClientId::new("bb").unwrap()));
    let mut dice = Dice(4);
    let mut world = World::new();
    for _ in 0..6 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    let batch = world.batch(&mut dice);
    world.append(batch).unwrap();
    let (before, acknowledged) = (world.disk.copy(), world.acknowledged.clone());
    for call in 1.. {
        world.restart_on(before.copy());
        world.disk.set_fault(Some(Fault { first: call, for_good: true, kind: ErrorKind::Other, written: call % 5 }));
        let erased = world.store().erase(&instance, &subject);
        let calls = world.disk.calls();
        let left = [
            world.disk.copy(),
            world.disk.after_power_loss(Unsynced::Lost),
            world.disk.after_power_loss(Unsynced::Any(9)),
        ];
        world.disk.set_fault(None);
        for (at, disk) in left.into_iter().enumerate() {
            let context = format!("call {call}, disk {at}");
            world.acknowledged.clone_from(&acknowledged);
            world.restart_on(disk);
            let is_erased = world.page("mqtt-local", "bb").total == 0;
            assert!(is_erased || erased.is_err(), "{context}");
            if is_erased {
                world
                    .acknowledged
                    .retain(|event| event.instance != instance || Subject::of(event).as_ref() != Some(&subject));
            }
            let is_shown = |world: &World| world.orphans().iter().all(|orphan| world.acknowledged.contains(orphan));
            world.check(&context);
            assert!(is_shown(&world), "{context}");
            world.store().shared.seal_all().unwrap();
            world.open().unwrap();
            world.check(&context);
            assert!(is_shown(&world), "{context}, after the log is gone");
            world.store().settle(&mut |_| {}).unwrap();
            world.open().unwrap();
            world.check(&context);
            assert!(is_shown(&world), "{context}, settled");
        }
        if erased.is_ok() && calls < call {
            return;
        }
    }
}

#[test]
fn the_bytes_of_an_erased_history_leave_the_disk() {
    let mut world = World::new();
    let mut dice = Dice(5);
    for _ in 0..20 {
        let mut batch = world.batch(&mut dice);
        for event in &mut batch {
            if event.client.as_ref().unwrap().as_str() == "bb" {
                event.client = Some(ClientId::new("conspicuous-name").unwrap());
            }
        }
        world.append(batch).unwrap();
    }
    let holds = |world: &World| {
        let conspicuous = |bytes: &Vec<u8>| bytes.windows(12).any(|window| window == b"conspicuous-");
        world.disk.contents().values().filter(|content| conspicuous(content)).count()
    };
    assert!(holds(&world) > 0);
    for instance in ["mqtt-local", "other"] {
        let subject = Subject::Client(ClientId::new("conspicuous-name").unwrap());
        world.store().erase(&InstanceId::new(instance).unwrap(), &subject).unwrap();
    }
    world.acknowledged.retain(|event| event.client.as_ref().unwrap().as_str() != "conspicuous-name");
    world.store().settle(&mut |_| {}).unwrap();
    world.check("settled");
    // The note of the erasure itself names it, in the log and in the manifest before this one, until these are replaced.
    for _ in 0..2 {
        let batch = world.batch(&mut dice);
        world.append(batch).unwrap();
        world.store().settle(&mut |_| {}).unwrap();
    }
    assert_eq!(holds(&world), 0);
    world.check("in the end");
}

const HOUR: i64 = 3_600_000;

/// So many segments, in each of which so many clients have an event.
fn fleet(segments: usize, clients: usize) -> World {
    let settings = SegmentSettings { memtable_events: 1_000_000, merge_segments: 100, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(3));
    let model = loop {
        if let Some(event) = world.batch(&mut dice).into_iter().find(|event| event.instance.as_str() == "mqtt-local") {
            break event;
        }
    };
    for segment in 0..segments {
        let event = |at: usize| Event {
            client: Some(client(at)),
            time: TimeMs(i64::try_from(segment * 40 + at).unwrap()),
            ..model.clone()
        };
        world.append((0..clients).map(event).collect()).unwrap();
        world.store().shared.seal_all().unwrap();
    }
    world
}

fn client(at: usize) -> ClientId {
    ClientId::new(&format!("device-{at:05}")).unwrap()
}

fn erase_nth(world: &World, at: usize) -> u64 {
    let instance = InstanceId::new("mqtt-local").unwrap();
    world.store().erase(&instance, &Subject::Client(client(at))).unwrap()
}

/// How many events a question of all finds, and how many reads it takes.
fn scan_all(world: &World) -> (usize, usize) {
    let (mut found, before) = (0, world.disk.reads());
    let all = Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL);
    let mut count = |_: &Event| {
        found += 1;
        ControlFlow::Continue(())
    };
    world.store().scan(&all, Order::OldestFirst, &mut count).unwrap();
    (found, world.disk.reads() - before)
}

fn reads_of(world: &World, question: impl FnOnce()) -> usize {
    let before = world.disk.reads();
    question();
    world.disk.reads() - before
}

#[test]
fn ten_thousand_erased_clients_cost_a_question_no_read() {
    let world = fleet(3, 12_000);
    let page = |at: usize| world.page("mqtt-local", client(at).as_str());
    let all = Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL);
    let counts = || drop(world.store().counts(&all, 60_000).unwrap());
    page(11_000); // its texts are in memory from now on
    let before = [reads_of(&world, || drop(page(11_000))), reads_of(&world, counts)];
    for at in 0..10_000 {
        assert_eq!(erase_nth(&world, at), 3);
    }
    assert_eq!((page(9_999).total, page(10_000).total), (0, 3));
    // Each directory is looked through once, and the counts of what is hidden are made once.
    counts();
    assert_eq!([reads_of(&world, || drop(page(11_000))), reads_of(&world, counts)], before);
    // Again one more is one more look into each segment.
    erase_nth(&world, 10_000);
    assert!(reads_of(&world, || drop(page(11_000))) <= before[0]);
    let directories = 3 * 12_000_usize.div_ceil(64);
    assert!(reads_of(&world, || world.store().settle(&mut |_| {}).unwrap()) < directories * 8);
    assert_eq!(world.store().shared.view().segments.iter().map(|segment| segment.meta().rows).sum::<u64>(), 3 * 1_999);
    assert_eq!(world.store().shared.view().erasures.len(), 0);
}

#[test]
fn a_large_file_is_written_anew_for_an_hour_of_erasures_together() {
    let mut world = fleet(1, 1_000);
    let number = |world: &World| world.store().shared.view().segments[0].meta().id.number;
    let merge = |world: &World| world.store().shared.merge_next(&mut |_| {}).unwrap();
    let first = number(&world);
    world.store().mark_alive(TimeMs(HOUR)).unwrap();
    for at in 0..100 {
        assert_eq!(erase_nth(&world, at), 1);
        assert!(!merge(&world), "{at}");
        assert_eq!(world.page("mqtt-local", client(at).as_str()).total, 0);
    }
    world.store().mark_alive(TimeMs(2 * HOUR - 1)).unwrap();
    assert!(!merge(&world));
    world.store().mark_alive(TimeMs(2 * HOUR)).unwrap();
    assert!(merge(&world), "after an hour");
    assert_eq!(world.store().shared.view().segments[0].meta().rows, 900);
    // The next one has an hour of its own.
    erase_nth(&world, 100);
    assert!(!merge(&world));
    // An eighth of a file is not waited with.
    for at in 101..300 {
        erase_nth(&world, at);
    }
    assert!(merge(&world));
    assert_eq!(world.store().shared.view().segments[0].meta().rows, 700);
    assert_ne!(number(&world), first);
    // What was waiting when the server stopped is not waited with any longer.
    erase_nth(&world, 300);
    world.open().unwrap();
    assert!(!merge(&world), "the time is not known yet");
    world.store().mark_alive(TimeMs(3 * HOUR)).unwrap();
    assert!(merge(&world));
    assert_eq!((scan_all(&world).0, world.store().shared.view().segments[0].meta().rows), (699, 699));
}

const ADDRESS: [u8; 16] = *b"a v6 address yes";
/// Personal values, as they stand in files: of the client identifier what it has not in common with its neighbour.
const NEEDLES: [&[u8]; 4] = [b"picuous-name", b"remarkable-user", &ADDRESS, b"telling-words"];

/// Segments, of which an eighth and more is of others, and a log, in which one client is conspicuous. `sealed` says whether it is in
/// the segments, and in the log.
fn conspicuous(sealed: bool, in_log: bool) -> World {
    let settings = SegmentSettings { memtable_events: 1_000_000, merge_segments: 100, ..SegmentSettings::default() };
    let (mut world, mut dice) = (World::with(settings), Dice(12));
    for round in 0..4 {
        let mut batch: Vec<Event> = (0..30).flat_map(|_| world.batch(&mut dice)).collect();
        if if round < 3 { sealed } else { in_log } {
            for event in batch.iter_mut().step_by(40) {
                event.instance = InstanceId::new("mqtt-local").unwrap();
                event.client = Some(ClientId::new("conspicuous-name").unwrap());
                event.peer = Some((ADDRESS, 4711).into());
                event.details.username = Some("remarkable-user".into());
                event.details.detail = Some("telling-words".into());
            }
        }
        world.append(batch).unwrap();
        if round < 3 {
            world.store().shared.seal_all().unwrap();
        }
    }
    world
}

/// The files that hold a personal value, each with the values.
fn held(world: &World) -> Vec<(PathBuf, Vec<usize>)> {
    let is_in = |content: &[u8], needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
    let held = world.disk.contents().into_iter().map(|(path, content)| {
        (path, (0..NEEDLES.len()).filter(|at| is_in(&content, NEEDLES[*at])).collect::<Vec<_>>())
    });
    held.filter(|(_, values)| !values.is_empty()).collect()
}

fn erase_conspicuous(world: &mut World) {
    let (instance, client) = (InstanceId::new("mqtt-local").unwrap(), ClientId::new("conspicuous-name").unwrap());
    world.store().erase(&instance, &Subject::Client(client.clone())).unwrap();
    world.acknowledged.retain(|event| event.client.as_ref() != Some(&client));
}

/// As the threads do behind the store: until there is nothing to do.
fn merge_on(world: &World) {
    while world.store().shared.seal_next().unwrap() || world.store().shared.merge_next(&mut |_| {}).unwrap() {}
}

#[test]
fn an_hour_after_an_erasure_no_file_holds_its_bytes_or_its_name() {
    for (sealed, in_log) in [(true, true), (true, false), (false, true)] {
        let mut world = conspicuous(sealed, in_log);
        let before = held(&world);
        assert_eq!(before.len(), if sealed { 3 } else { 0 } + usize::from(in_log), "{before:?}");
        assert!(before.iter().all(|(_, values)| values.len() == NEEDLES.len()), "{before:?}");
        world.store().mark_alive(TimeMs(HOUR)).unwrap();
        erase_conspicuous(&mut world);
        merge_on(&world);
        assert!(held(&world).len() >= before.len(), "a large file is not written anew for each");
        world.store().mark_alive(TimeMs(2 * HOUR)).unwrap();
        merge_on(&world);
        assert_eq!(held(&world), [], "{sealed}, {in_log}");
        world.check("after an hour");
        world.lose_power(Unsynced::Lost);
        assert_eq!(held(&world), [], "{sealed}, {in_log}");
        world.check("after an hour, and a power loss");
        // What comes after it is kept, and the next hour has nothing to do.
        let files = world.disk.paths();
        world.store().mark_alive(TimeMs(4 * HOUR)).unwrap();
        merge_on(&world);
        assert_eq!(world.disk.paths(), files);
    }
}

/// Whatever the order is in which the server tells the time and the merger looks.
#[test]
fn after_a_start_no_file_holds_the_bytes_of_an_erasure_before_it_or_its_name() {
    for seed in 0..24 {
        let mut world = conspicuous(seed % 3 < 2, seed % 3 > 0);
        world.store().mark_alive(TimeMs(HOUR)).unwrap();
        erase_conspicuous(&mut world);
        if seed % 2 == 0 {
            // The manifest has it.
            merge_on(&world);
        }
        match seed % 4 {
            0 | 1 => drop(world.open().unwrap()),
            2 => drop(world.lose_power(Unsynced::Lost)),
            _ => drop(world.lose_power(Unsynced::Any(seed))),
        }
        world.check(&format!("seed {seed}, after the start"));
        if seed % 8 < 4 {
            merge_on(&world);
        }
        world.store().mark_alive(TimeMs(HOUR + 1)).unwrap();
        merge_on(&world);
        assert_eq!(held(&world), [], "seed {seed}");
        world.check(&format!("seed {seed}"));
        world.open().unwrap();
        assert_eq!(held(&world), [], "seed {seed}, opened");
        world.check(&format!("seed {seed}, opened"));
    }
}

#[test]
fn a_sweep_cut_off_at_any_call_is_made_up_for_by_the_next_start() {
    let mut world = conspicuous(true, true);
    world.store().mark_alive(TimeMs(HOUR)).unwrap();
    erase_conspicuous(&mut world);
    world.close();
    let (before, acknowledged) = (world.disk.copy(), world.acknowledged.clone());
    for call in 1.. {
        world.restart_on(before.copy());
        world.store().mark_alive(TimeMs(HOUR)).unwrap();
        world.disk.set_fault(Some(Fault { first: call, for_good: true, kind: ErrorKind::Other, written: call % 5 }));
        let swept = (|| {
            while world.store().shared.merge_next(&mut |_| {})? {}
            Ok::<_, tracemq_store::StoreError>(())
        })();
        let calls = world.disk.calls();
        let left = if call % 2 == 0 { world.disk.copy() } else { world.disk.after_power_loss(Unsynced::Any(3)) };
        world.disk.set_fault(None);
        let context = format!("call {call}");
        world.acknowledged.clone_from(&acknowledged);
        world.restart_on(left);
        world.check(&context);
        world.store().mark_alive(TimeMs(2 * HOUR)).unwrap();
        merge_on(&world);
        let old = world.dir().join("manifest.old");
        assert!(held(&world).iter().all(|(path, _)| *path == old), "{context}: {:?}", held(&world));
        let batch = world.batch(&mut Dice(1));
        world.append(batch).unwrap();
        world.store().shared.seal_all().unwrap();
        assert_eq!(held(&world), [], "{context}");
        world.check(&context);
        if swept.is_ok() && calls < call {
            return;
        }
    }
}

#[test]
fn who_erases_waits_for_the_sealer_and_holds_up_nobody() {
    let mut world = fleet(1, 20);
    let batch = world.batch(&mut Dice(1));
    let store = world.store();
    let sealing = store.shared.sealing.lock().unwrap();
    std::thread::scope(|scope| {
        let (told, hears) = channel();
        let eraser = scope.spawn(|| erase_nth(&world, 7));
        let begun = Instant::now();
        while world.page("mqtt-local", client(7).as_str()).total > 0 && begun.elapsed() < Duration::from_secs(30) {
            std::thread::yield_now();
        }
        scope.spawn(move || {
            store.append(&tracemq_store::Batch { events: batch, gaps: Vec::new() }).unwrap();
            told.send(()).unwrap();
        });
        let appended = hears.recv_timeout(Duration::from_secs(30));
        assert!(!eraser.is_finished());
        drop(sealing);
        appended.expect("an append waits for an erasure");
        assert_eq!(eraser.join().unwrap(), 1);
    });
}

/// A file that a start can't open may be readable at the next one.
#[test]
fn what_is_erased_while_a_file_is_unreadable_stays_hidden_when_it_is_back() {
    let mut world = fleet(4, 20);
    let path = world.store().shared.view().segments[1].path().to_owned();
    world.disk.set_unreadable(&path, true);
    assert_eq!(world.open().unwrap().damaged.len(), 1);
    assert_eq!(erase_nth(&world, 7), 3);
    // In no segment that could be opened.
    assert_eq!(erase_nth(&world, 7), 0);
    for _ in 0..2 {
        let batch = world.batch(&mut Dice(9));
        world.append(batch).unwrap();
        world.store().settle(&mut |_| {}).unwrap();
        world.open().unwrap();
    }
    world.disk.set_unreadable(&path, false);
    assert_eq!(world.open().unwrap().damaged, []);
    assert_eq!(world.page("mqtt-local", client(7).as_str()).total, 0);
    assert_eq!(world.page("mqtt-local", client(8).as_str()).total, 4);
    world.store().settle(&mut |_| {}).unwrap();
    assert_eq!(world.store().shared.view().erasures.len(), 0, "and leaves the disk");
}
