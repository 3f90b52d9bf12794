//! Batches that wait for each other are written together, and each appender is told what became of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tracemq_model::ConnectionId;
use tracemq_store::{Batch, EventStore, StoreError};

use super::world::World;
use crate::SegmentSettings;
use crate::fs::simulated::Dice;

const APPENDERS: u32 = 8;
const BATCHES: u32 = 800;

#[test]
fn what_is_acknowledged_is_there_and_what_is_refused_is_not() {
    let mut world = World::with(SegmentSettings { memtable_events: 1 << 16, ..SegmentSettings::default() });
    let event = world.batch(&mut Dice(1)).remove(0);
    let (disk, store, is_done) = (world.disk.clone(), world.store(), AtomicBool::new(false));
    let mut told: Vec<(u128, bool)> = Vec::new();
    thread::scope(|scope| {
        let fickle = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                disk.set_room(Some(0));
                thread::yield_now();
                disk.set_room(None);
                thread::yield_now();
            }
        });
        let append = |appender: u32| {
            let event = event.clone();
            move || {
                let mut told = Vec::new();
                for batch in 0..BATCHES {
                    let id = u128::from(appender * BATCHES + batch);
                    let mut event = event.clone();
                    event.connection = ConnectionId(id);
                    match store.append(&Batch { events: vec![event], gaps: Vec::new() }) {
                        Ok(()) => told.push((id, true)),
                        Err(StoreError::Full { .. }) => told.push((id, false)),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                told
            }
        };
        let appenders: Vec<_> = (0..APPENDERS).map(|appender| scope.spawn(append(appender))).collect();
        told.extend(appenders.into_iter().flat_map(|appender| appender.join().unwrap()));
        is_done.store(true, Ordering::Relaxed);
        fickle.join().unwrap();
    });
    let mut there: HashMap<u128, usize> = HashMap::new();
    for (memtable, visible) in store.shared.snapshot().memtables() {
        memtable.each(visible, |_| true, |_, _, row| *there.entry(row.connection.0).or_default() += 1);
    }
    for (id, is_acknowledged) in told {
        assert_eq!(there.get(&id).copied().unwrap_or(0), usize::from(is_acknowledged), "{id}");
    }
}
