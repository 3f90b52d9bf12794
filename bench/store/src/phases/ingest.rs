//! Appends batch after batch, each durable before the next; waits until the store has settled; appends a tenth more while
//! somebody asks for pages, and another while somebody asks about the fleet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tracemq_model::{Pattern, TimeMs, TimeRange};
use tracemq_store::Batch;

use super::{DAY_MS, DROPPED, Known, RARE, Task, page_of, page_of_anybody, time_page, whole_minutes};
use crate::generator::{Fleet, Generator};
use crate::random::Random;
use crate::stores::{self, Reader, Store};
use crate::{figures, machine};

/// Batches that wait for the store at most; made ahead on a thread of its own.
const AHEAD: usize = 8;
const MIXED_MAX: Duration = Duration::from_secs(60);
const SETTLE_MAX: Duration = Duration::from_secs(600);

pub(super) fn run(task: &Task) -> Result<()> {
    let mut feed = Feed::start(task)?;
    feed.ready()?;
    let memory_before = machine::memory(&[std::process::id()]);
    let mut store = stores::open(task.kind, &task.dir, task.tuning)?;
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

    let fleet = task.fleet;
    append_while_asked("mixed", task, &mut *store, &mut feed, |reader| Pages::new(fleet, reader))?;
    let last = feed.known.last;
    let address = feed.known.address.context("no event had an address")?;
    append_while_asked("mixed_fleet", task, &mut *store, &mut feed, |reader| AboutTheFleet { last, address, reader })?;
    // Not tidied: what is opened and asked next is a store as it stands on a working day.
    settle(&*store, processes);
    figures::count("memory.peak", peak.stop()?.saturating_sub(memory_before));
    figures::count("memory.after_ingest", machine::memory(&processes.list()).saturating_sub(memory_before));
    figures::count("known.events", feed.known.events);
    figures::count("known.events_of_giant", feed.known.events_of_giant);
    figures::number("known.last_ms", feed.known.last.0 as f64);
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

/// Appends a tenth of the events more, or for a minute, while another thread asks.
fn append_while_asked<A: Asker>(
    name: &str,
    task: &Task,
    store: &mut dyn Store,
    feed: &mut Feed,
    asker: impl FnOnce(Box<dyn Reader>) -> A,
) -> Result<()> {
    let (before, until) = (feed.known.events, feed.known.events + task.events / 10);
    let stop = Arc::new(AtomicBool::new(false));
    let asking = ask_until(Arc::clone(&stop), asker(store.reader()?));
    let start = Instant::now();
    let spent = append_until(store, feed, |known| known.events >= until || start.elapsed() > MIXED_MAX)?;
    figures::number(&format!("{name}.rate"), (feed.known.events - before) as f64 / start.elapsed().as_secs_f64());
    figures::latencies(&format!("{name}.batch"), spent.batches);
    stop.store(true, Ordering::Relaxed);
    for (question, latencies) in asking.join().map_err(|_| anyhow!("whoever asked has panicked"))?? {
        figures::latencies(&format!("{name}.{question}"), latencies);
    }
    Ok(())
}

/// Somebody who asks one question after another.
trait Asker: Send + 'static {
    /// A pause after each round of questions.
    const PAUSE: Duration;

    /// Asks, and tells how long each question took.
    fn round(&mut self) -> Result<Vec<(&'static str, Duration)>>;
}

type Asked = BTreeMap<&'static str, Vec<Duration>>;

fn ask_until(stop: Arc<AtomicBool>, mut asker: impl Asker) -> JoinHandle<Result<Asked>> {
    fn until<A: Asker>(stop: &AtomicBool, asker: &mut A) -> Result<Asked> {
        let mut asked = Asked::new();
        while !stop.load(Ordering::Relaxed) {
            for (question, took) in asker.round()? {
                asked.entry(question).or_default().push(took);
            }
            thread::sleep(A::PAUSE);
        }
        Ok(asked)
    }
    thread::spawn(move || until(&stop, &mut asker))
}

/// Wants to know of one device after another.
struct Pages {
    fleet: Fleet,
    random: Random,
    reader: Box<dyn Reader>,
}

impl Pages {
    fn new(fleet: Fleet, reader: Box<dyn Reader>) -> Self {
        Self { fleet, random: Random::new(fleet.seed ^ 0x5eed), reader }
    }
}

impl Asker for Pages {
    const PAUSE: Duration = Duration::from_millis(5);

    fn round(&mut self) -> Result<Vec<(&'static str, Duration)>> {
        let of_anybody = page_of_anybody(self.fleet, &mut self.random, TimeRange::ALL)?;
        let of_giant = page_of(self.fleet.giant(), TimeRange::ALL, 0)?;
        let reader = &mut *self.reader;
        Ok(vec![("page.anybody", time_page(reader, &of_anybody)?), ("page.giant", time_page(reader, &of_giant)?)])
    }
}

/// Has a dashboard open, and looks for a cause.
struct AboutTheFleet {
    /// The time of the newest event when it began.
    last: TimeMs,
    address: IpAddr,
    reader: Box<dyn Reader>,
}

impl Asker for AboutTheFleet {
    const PAUSE: Duration = Duration::from_millis(100);

    fn round(&mut self) -> Result<Vec<(&'static str, Duration)>> {
        let since = |ms: i64| TimeRange { from: self.last.plus(-ms), to: self.last };
        let reader = &mut *self.reader;
        let mut timed = |question, ask: &dyn Fn(&mut dyn Reader) -> Result<u64>| -> Result<(&'static str, Duration)> {
            let start = Instant::now();
            ask(reader)?;
            Ok((question, start.elapsed()))
        };
        Ok(vec![
            timed("day_by_minute", &|reader| reader.by_minute(whole_minutes(since(DAY_MS))))?,
            timed("dropped_in_5_minutes", &|reader| reader.clients(since(300_000), &DROPPED))?,
            timed("rare_substring", &|reader| reader.names(&Pattern::Substring(RARE.into())))?,
            timed("address", &|reader| reader.by_address(self.address, &[]))?,
        ])
    }
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
