//! What is erased is hidden at once, stays hidden, and leaves the disk.

use std::io::ErrorKind;

use tracemq_model::{ClientId, InstanceId, Subject};
use tracemq_store::EventStore;

use super::world::{CLIENTS, World};
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
            let is_shown = |world: &World| {
                world.store().orphans().unwrap().iter().all(|orphan| world.acknowledged.contains(orphan))
            };
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
