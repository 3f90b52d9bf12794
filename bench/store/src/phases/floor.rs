//! What the machine needs for the least that a store must do with the same events: nothing can be faster on it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};

use super::Task;
use super::ingest::Feed;
use crate::random::Random;
use crate::{figures, machine};

/// An event takes so many bytes in our log.
const BYTES_AN_EVENT: usize = 34;
const EVENTS: u64 = 5_000_000;
/// Room is taken in such pieces, so that a sync has little to write but the bytes.
const ROOM: u64 = 16 << 20;
const BLOCK: usize = 4_096;
const READS: usize = 2_000;

/// Writes as many bytes as the log would have, and reads them.
pub(super) fn run(task: &Task) -> Result<()> {
    let path = task.dir.join("floor");
    let events = EVENTS.min(task.events);
    write(task, &path, events)?;
    read_whole(&path, events)?;
    let file = File::open(&path)?;
    let blocks = file.metadata()?.len() / BLOCK as u64;
    let mut random = Random::new(task.fleet.seed);
    figures::latencies("floor.read.warm", reads(&file, READS, || random.below(blocks), || Ok(()))?);
    let dir = &task.dir;
    let drop_cache = || machine::drop_page_cache(dir).map(drop);
    figures::latencies("floor.read.cold", reads(&file, 100, || random.below(blocks), drop_cache)?);
    drop(file);
    Ok(fs::remove_file(path)?)
}

/// Batches are generated and as many bytes made durable as the log would have of them: no store is in between.
fn write(task: &Task, path: &std::path::Path, events: u64) -> Result<()> {
    let mut feed = Feed::start(task)?;
    feed.ready()?;
    let mut file = File::create(path)?;
    let bytes = vec![0xa5; task.batch * BYTES_AN_EVENT];
    let (mut at, mut room, mut syncs) = (0, 0, Vec::new());
    let start = Instant::now();
    while feed.known.events < events {
        drop(feed.next()?);
        at += bytes.len() as u64;
        if at > room {
            fallocate(&file, FallocateFlags::empty(), room, ROOM)?;
            room += ROOM;
        }
        let begun = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        syncs.push(begun.elapsed());
    }
    figures::number("floor.rate", feed.known.events as f64 / start.elapsed().as_secs_f64());
    figures::latencies("floor.batch", syncs);
    Ok(file.set_len(at)?)
}

/// How long it takes to read the log of a million events, from the page cache.
fn read_whole(path: &std::path::Path, events: u64) -> Result<()> {
    let start = Instant::now();
    let bytes = fs::read(path)?;
    let took = start.elapsed();
    anyhow::ensure!(!bytes.is_empty(), "nothing was written");
    figures::number("floor.read_log_s", took.as_secs_f64() * 1e6 / events as f64);
    Ok(())
}

fn reads(
    file: &File,
    count: usize,
    mut next: impl FnMut() -> u64,
    before: impl Fn() -> Result<()>,
) -> Result<Vec<Duration>> {
    let mut block = [0; BLOCK];
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        before()?;
        let at = next() * BLOCK as u64;
        let start = Instant::now();
        file.read_exact_at(&mut block, at).context("can't read what was written")?;
        took.push(start.elapsed());
    }
    Ok(took)
}
