//! What is erased is hidden at once, stays hidden, and leaves the disk.

use tracemq_model::{ClientId, InstanceId, Subject};
use tracemq_store::EventStore;

use super::world::{CLIENTS, World};
use crate::fs::simulated::{Dice, Unsynced};

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
