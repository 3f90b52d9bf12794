//! Appends batch after batch, each durable before the next; waits until the store has settled; appends a tenth more while
//! somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tracemq_model::{TimeMs, TimeRange};
use tracemq_store::Batch;

use super::{Known, Task, page_of, page_of_anybody, time_page};
use crate::generator::{Fleet, Generator};
use crate::random::Random;
use crate::stores::{self, Reader, Store};
use crate::{figures, machine};

/// Batches that wait for the store at most; made ahead on a thread of its own.
const AHEAD: usize = 8;
/// Whoever asks while events are appended pauses so long between two pages.
const PAUSE: Duration = Duration::from_millis(5);
const MIXED_MAX: Duration = Duration::from_secs(60);
const SETTLE_MAX: Duration = Duration::from_secs(600);

pub(super) fn run(task: &Task) -> Result<()> {
    let mut feed = Feed::start(task)?;
    feed.ready()?;
    let memory_before = machine::memory(&[std::process::id()]);
    let mut store = stores::open(task.kind, &task.dir)?;
    let processes = Processes { server: store.server() };
    let written_before = machine::bytes_written(&processes.list());
    let empty = machine::disk_bytes(&task.dir)?;
    let peak = Peak::watch(processes);
    let memory_before = if processes.server.is_some() { 0 } else { memory_before };

    let start = Instant::now();
    let spent = append_until(&mut *store, &mut feed, |known| known.events >= task.events)?;
    let appended = feed.known.events as f64;
    figures::number("ingest.rate", appended / start.elapsed().as_secs_f64());
    figures::number("ingest.rate_in_append", appended / spent.in_append.as_secs_f64());
    figures::seconds("ingest.waited_for_generator_s", spent.waiting);
    figures::latencies("ingest.batch", spent.batches);
    store.tidy()?;
    let settled = settle(&*store, processes);
    figures::number("ingest.rate_until_settled", appended / (settled - start).as_secs_f64());
    figures::number("ingest.events", appended);

    let on_disk = machine::disk_bytes(&task.dir)?.saturating_sub(empty);
    figures::number("disk.bytes_an_event", on_disk as f64 / appended);
    if let Some(live) = store.live_bytes()? {
        figures::number("disk.live_bytes_an_event", live as f64 / appended);
    }
    let written = machine::bytes_written(&processes.list()) - written_before;
    figures::number("disk.written_an_event", written as f64 / appended);

    append_while_asked(task, &mut *store, &mut feed)?;
    // Not tidied: what is opened and asked next is a store as it stands on a working day.
    settle(&*store, processes);
    figures::count("memory.peak", peak.stop()?.saturating_sub(memory_before));
    figures::count("memory.after_ingest", machine::memory(&processes.list()).saturating_sub(memory_before));
    figures::count("known.events", feed.known.events);
    figures::count("known.events_of_giant", feed.known.events_of_giant);
    figures::number("known.last_ms", feed.known.last.0 as f64);
    let address = feed.known.address.context("no event had an address")?;
    figures::tell("known.address", figures::Figure::Text(address.to_string()));
    let start = Instant::now();
    store.close()?;
    figures::seconds("close.clean_s", start.elapsed());
    Ok(())
}

struct Spent {
    in_append: Duration,
    waiting: Duration,
    batches: Vec<Duration>,
}

fn append_until(store: &mut dyn Store, feed: &mut Feed, is_enough: impl Fn(&Known) -> bool) -> Result<Spent> {
    let mut spent = Spent { in_append: Duration::ZERO, waiting: Duration::ZERO, batches: Vec::new() };
    while !is_enough(&feed.known) {
        let start = Instant::now();
        let batch = feed.next()?;
        let received = Instant::now();
        store.append(&batch)?;
        let took = received.elapsed();
        spent.waiting += received - start;
        spent.in_append += took;
        spent.batches.push(took);
    }
    Ok(spent)
}

/// Appends a tenth of the events more, or for a minute, while another thread asks for pages.
fn append_while_asked(task: &Task, store: &mut dyn Store, feed: &mut Feed) -> Result<()> {
    let (before, until) = (feed.known.events, feed.known.events + task.events / 10);
    let stop = Arc::new(AtomicBool::new(false));
    let asking = ask_until(Arc::clone(&stop), task.fleet, store.reader()?);
    let start = Instant::now();
    append_until(store, feed, |known| known.events >= until || start.elapsed() > MIXED_MAX)?;
    figures::number("mixed.rate", (feed.known.events - before) as f64 / start.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    let (anybody, giant) = asking.join().map_err(|_| anyhow!("whoever asked has panicked"))??;
    figures::latencies("mixed.page.anybody", anybody);
    figures::latencies("mixed.page.giant", giant);
    Ok(())
}

type Asked = Result<(Vec<Duration>, Vec<Duration>)>;

fn ask_until(stop: Arc<AtomicBool>, fleet: Fleet, mut reader: Box<dyn Reader>) -> JoinHandle<Asked> {
    thread::spawn(move || {
        let mut random = Random::new(fleet.seed ^ 0x5eed);
        let (mut anybody, mut of_giant) = (Vec::new(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            anybody.push(time_page(&mut *reader, &page_of_anybody(fleet, &mut random, TimeRange::ALL)?)?);
            of_giant.push(time_page(&mut *reader, &page_of(fleet.giant(), TimeRange::ALL, 0)?)?);
            thread::sleep(PAUSE);
        }
        Ok((anybody, of_giant))
    })
}

/// When the store was last seen at work: from then on it neither wrote nor used the processor for a second.
fn settle(store: &dyn Store, processes: Processes) -> Instant {
    const LOOK: Duration = Duration::from_millis(200);
    let begin = Instant::now();
    let (mut last_work, mut seen) = (begin, (0, 0));
    while last_work.elapsed() < Duration::from_secs(1) && begin.elapsed() < SETTLE_MAX {
        let list = processes.list();
        let now = (machine::ticks(&list), machine::bytes_written(&list));
        if now.0 > seen.0 + 1 || now.1 != seen.1 || store.is_busy() {
            last_work = Instant::now();
        }
        seen = now;
        thread::sleep(LOOK);
    }
    last_work
}

/// Whose memory and writes are the store's.
#[derive(Clone, Copy)]
struct Processes {
    server: Option<u32>,
}

impl Processes {
    fn list(self) -> Vec<u32> {
        self.server.map_or_else(|| vec![std::process::id()], machine::with_descendants)
    }
}

/// The most memory that was seen in use, looked at four times a second.
struct Peak {
    stop: Arc<AtomicBool>,
    highest: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Peak {
    fn watch(processes: Processes) -> Self {
        let (stop, highest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (watched_stop, watched_highest) = (Arc::clone(&stop), Arc::clone(&highest));
        let thread = thread::spawn(move || {
            while !watched_stop.load(Ordering::Relaxed) {
                watched_highest.fetch_max(machine::memory(&processes.list()), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(250));
            }
        });
        Self { stop, highest, thread }
    }

    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("whoever watched the memory has panicked"))?;
        Ok(self.highest.load(Ordering::Relaxed))
    }
}

/// Batches, made ahead.
pub(super) struct Feed {
    ready: Receiver<()>,
    batches: Receiver<(Batch, Known)>,
    /// Of what was taken so far.
    pub(super) known: Known,
}

impl Feed {
    pub(super) fn start(task: &Task) -> Result<Self> {
        let (tell_ready, ready) = sync_channel(1);
        let (give, batches) = sync_channel(AHEAD);
        let (mut generator, size) = (Generator::new(task.fleet)?, task.batch);
        thread::spawn(move || {
            let first = generator.batch(size);
            let address = first.first().and_then(|event| event.peer).map(|peer| peer.ip());
            let mut events = first;
            // Whoever takes them ends this thread by going away.
            let _ = tell_ready.send(());
            loop {
                let known = Known {
                    events: generator.made(),
                    events_of_giant: generator.made_of_giant(),
                    last: generator.now(),
                    address,
                };
                if give.send((Batch { events, gaps: Vec::new() }, known)).is_err() {
                    return;
                }
                events = generator.batch(size);
            }
        });
        Ok(Self { ready, batches, known: Known { last: TimeMs::MIN, ..Known::default() } })
    }

    /// Waits until the generator has all its memory.
    pub(super) fn ready(&self) -> Result<()> {
        Ok(self.ready.recv()?)
    }

    pub(super) fn next(&mut self) -> Result<Batch> {
        let (batch, known) = self.batches.recv()?;
        self.known = known;
        Ok(batch)
    }
}

/// Events a second that the generator makes when nothing else runs.
pub(crate) fn generator_rate(fleet: Fleet) -> Result<f64> {
    const BATCHES: u32 = 200;
    const BATCH: u32 = 5_000;
    let mut generator = Generator::new(fleet)?;
    generator.batch(1);
    let start = Instant::now();
    for _ in 0..BATCHES {
        drop(generator.batch(usize::try_from(BATCH)?));
    }
    Ok(f64::from(BATCHES * BATCH) / start.elapsed().as_secs_f64())
}
