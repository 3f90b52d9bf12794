//! After a purge no file holds what was erased, or it is told which.

use std::io::ErrorKind;
use std::path::PathBuf;

use tracemq_model::{ClientId, InstanceId, Subject};
use tracemq_store::EventStore;

use super::world::{CLIENTS, World};
use crate::fs::simulated::{Dice, Fault, SimulatedFs, Unsynced};

const NAME: &str = "conspicuous-name";

fn subjects() -> Vec<(InstanceId, Subject)> {
    let subject = Subject::Client(ClientId::new(NAME).unwrap());
    ["mqtt-local", "other"].map(|instance| (InstanceId::new(instance).unwrap(), subject.clone())).to_vec()
}

/// Clients, of which one is called so; some of it sealed.
fn world(dice: &mut Dice, seals: bool) -> World {
    let mut world = World::new();
    for _ in 0..8 {
        let mut batch = world.batch(dice);
        for event in &mut batch {
            if event.client.as_ref().unwrap().as_str() == CLIENTS[1] {
                event.client = Some(ClientId::new(NAME).unwrap());
                event.details.detail = Some("conspicuous-words".into());
            }
        }
        world.append(batch).unwrap();
        if seals && dice.roll(3) == 0 {
            world.store().shared.seal_all().unwrap();
        }
    }
    world
}

fn erase(world: &World) {
    for (instance, subject) in subjects() {
        world.store().erase(&instance, &subject).unwrap();
    }
}

fn forget(world: &mut World) {
    world.acknowledged.retain(|event| event.client.as_ref().unwrap().as_str() != NAME);
}

fn holders(disk: &SimulatedFs) -> Vec<PathBuf> {
    let conspicuous = |bytes: &Vec<u8>| bytes.windows(12).any(|window| window == b"conspicuous-");
    disk.contents().into_iter().filter(|(_, content)| conspicuous(content)).map(|(path, _)| path).collect()
}

fn purge(world: &World) -> Vec<super::super::Left> {
    world.store().purge(&subjects(), &mut |_| {}).unwrap()
}

#[test]
fn no_file_holds_what_was_erased_nor_its_name() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        // What is only in the log, what is only in segments, and both.
        let mut world = world(&mut dice, seed % 4 > 0);
        if seed % 4 == 1 {
            world.store().shared.seal_all().unwrap();
        }
        assert!(seed % 4 > 0 || !holders(&world.disk).is_empty());
        erase(&world);
        forget(&mut world);
        if seed % 3 == 0 {
            world.open().unwrap();
        }
        assert_eq!(purge(&world), [], "seed {seed}");
        assert_eq!(holders(&world.disk), [] as [PathBuf; 0], "seed {seed}");
        world.check(&format!("seed {seed}"));
        world.open().unwrap();
        world.check(&format!("seed {seed}, opened"));
    }
}

#[test]
fn a_purge_cut_off_at_any_call_is_made_up_for_by_the_next() {
    let mut dice = Dice(3);
    let mut world = world(&mut dice, true);
    erase(&world);
    forget(&mut world);
    let (before, acknowledged) = (world.disk.copy(), world.acknowledged.clone());
    for call in 1.. {
        world.restart_on(before.copy());
        world.disk.set_fault(Some(Fault { first: call, for_good: true, kind: ErrorKind::Other, written: call % 5 }));
        let purged = world.store().purge(&subjects(), &mut |_| {});
        let calls = world.disk.calls();
        // The process ends, or the power goes.
        let left = if call % 2 == 0 { world.disk.copy() } else { world.disk.after_power_loss(Unsynced::Any(7)) };
        world.disk.set_fault(None);
        let context = format!("call {call}");
        world.acknowledged.clone_from(&acknowledged);
        world.restart_on(left);
        world.check(&context);
        assert_eq!(purge(&world), [], "{context}");
        assert_eq!(holders(&world.disk), [] as [PathBuf; 0], "{context}");
        world.check(&context);
        if purged.is_ok() && calls < call {
            return;
        }
    }
}

#[test]
fn what_can_not_be_written_anew_is_named_with_the_reason() {
    let path_of = |world: &World| world.store().shared.view().segments[0].path().to_owned();
    let sealed = || {
        let world = world(&mut Dice(5), false);
        world.store().shared.seal_all().unwrap();
        world.store().settle(&mut |_| {}).unwrap();
        world
    };
    // No room for it beside itself.
    let full = sealed();
    erase(&full);
    full.disk.set_room(Some(16 << 20));
    let left = purge(&full);
    assert!(!left.is_empty() && left.iter().all(|left| left.why.contains("too little room")), "{left:?}");
    full.disk.set_room(None);
    assert_eq!(purge(&full), []);
    assert_eq!(holders(&full.disk), [] as [PathBuf; 0]);

    // One that can't be opened.
    let mut world = sealed();
    let path = path_of(&world);
    world.disk.set_unreadable(&path, true);
    world.open().unwrap();
    erase(&world);
    let left = purge(&world);
    assert_eq!(left.iter().map(|left| (&left.path, left.why)).collect::<Vec<_>>(), [(&path, "it can't be opened")]);
    world.disk.set_unreadable(&path, false);
    world.open().unwrap();
    assert_eq!(purge(&world), [], "its erasure is not forgotten meanwhile");
    assert_eq!(holders(&world.disk), [] as [PathBuf; 0]);

    // Copies that a repair has put aside: the one that has it, and one that does not.
    let mut world = sealed();
    let with = world.disk.content(&path_of(&world));
    let aside = |world: &World, path: &PathBuf| {
        PathBuf::from(format!("{}.aside", world.dir().join(path.file_name().unwrap()).display()))
    };
    let first = aside(&world, &path_of(&world));
    erase(&world);
    forget(&mut world);
    assert_eq!(purge(&world), []);
    let without = path_of(&world);
    let second = aside(&world, &without);
    world.disk.put(&second, world.disk.content(&without));
    world.disk.put(&first, with);
    let manifest = world.dir().join("manifest.before-repair-1");
    world.disk.put(&manifest, b"anything".to_vec());
    world.disk.put(&world.dir().join("notes.txt"), b"conspicuous-".to_vec());
    let left: Vec<PathBuf> = purge(&world).into_iter().map(|left| left.path).collect();
    assert_eq!(left, [first, manifest]);
}
