//! Opens what was appended and asks: cold, then warm.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tracemq_model::{Pattern, TimeRange, TraceQuery};

use super::{DAY_MS, DROPPED, PAGE, RARE, Task, page_of, page_of_anybody, time_page, whole_minutes};
use crate::random::Random;
use crate::stores::{self, Reader, Store};
use crate::{figures, machine};

/// One kind of question is asked so often, or so long.
const PAGES_MAX: usize = 1_000;
const PAGES_UNASKED: usize = 20;
const WINDOWS_MAX: usize = 20;
const COLD_MAX: usize = 100;
const ASKING_MAX: Duration = Duration::from_secs(5);
const COLD_ASKING_MAX: Duration = Duration::from_secs(30);

pub(super) fn run(task: &Task) -> Result<()> {
    let start = Instant::now();
    let store = stores::open(task.kind, &task.dir, task.tuning)?;
    figures::seconds("open.clean_s", start.elapsed());
    check(task, &mut *store.reader()?)?;
    store.close()?;

    let store = cold(task)?;
    let mut reader = store.reader()?;
    pages(task, &mut *reader)?;
    windows(task, &mut *reader)?;
    names(&mut *reader)?;
    let processes = store.server().map_or_else(|| vec![std::process::id()], machine::with_descendants);
    figures::count("memory.after_queries", machine::memory(&processes));
    drop(reader);
    store.close()
}

/// A store that has lost something is not worth measuring.
fn check(task: &Task, reader: &mut dyn Reader) -> Result<()> {
    let events = reader.events()?;
    ensure!(events == task.known.events, "has {events} events of {}", task.known.events);
    let page = reader.page(&page_of(task.fleet.giant(), TimeRange::ALL, 0)?)?;
    let expected = task.known.events_of_giant;
    ensure!(page.total == expected, "has {} events of the giant's {expected}", page.total);
    ensure!(page.events.len() == PAGE.min(usize::try_from(expected)?), "a page has {} events", page.events.len());
    Ok(())
}

/// Each first question after an open, with nothing of the store in the page cache. Gives the store as it is open last.
fn cold(task: &Task) -> Result<Box<dyn Store>> {
    let mut random = Random::new(task.fleet.seed ^ 0xc01d);
    let (mut opens, mut anybody, mut deepest) = (Vec::new(), Vec::new(), Vec::new());
    let begin = Instant::now();
    let deepest_offset = task.known.events_of_giant.saturating_sub(100);
    loop {
        let all = machine::drop_page_cache(&task.dir)?;
        figures::tell(
            "cold.dropped",
            figures::Figure::Text(if all { "all files" } else { "the store's files" }.into()),
        );
        let start = Instant::now();
        let store = stores::open(task.kind, &task.dir, task.tuning)?;
        opens.push(start.elapsed());
        let mut reader = store.reader()?;
        anybody.push(time_page(&mut *reader, &page_of_anybody(task.fleet, &mut random, TimeRange::ALL)?)?);
        deepest.push(time_page(&mut *reader, &page_of(task.fleet.giant(), TimeRange::ALL, deepest_offset)?)?);
        if opens.len() == COLD_MAX || begin.elapsed() > COLD_ASKING_MAX {
            figures::latencies("cold.open", opens);
            figures::latencies("cold.page.anybody", anybody);
            figures::latencies("cold.page.giant.deepest", deepest);
            return Ok(store);
        }
        drop(reader);
        store.close()?;
    }
}

fn pages(task: &Task, reader: &mut dyn Reader) -> Result<()> {
    let fleet = task.fleet;
    let last_day = TimeRange { from: task.known.last.plus(-DAY_MS), to: task.known.last };
    // The cold questions have emptied the page cache: what is asked for the first time is read from the disk, and only what was
    // asked before is warm. The peers' caches hold it as well.
    for (name, range) in
        [("page.anybody.first", TimeRange::ALL), ("page.anybody.ever", TimeRange::ALL), ("page.anybody.day", last_day)]
    {
        let mut random = Random::new(fleet.seed ^ 0xa5c);
        let mut rows = 0;
        let latencies = ask_often(reader, &mut rows, || page_of_anybody(fleet, &mut random, range))?;
        figures::number(&format!("{name}.rows"), rows as f64 / (latencies.len() + PAGES_UNASKED) as f64);
        figures::latencies(name, latencies);
    }
    let of_giant = task.known.events_of_giant;
    let places = [("first", 0), ("middle", of_giant / 2), ("deepest", of_giant.saturating_sub(100))];
    for (place, offset) in places {
        let latencies = ask_often(reader, &mut 0, || page_of(fleet.giant(), TimeRange::ALL, offset))?;
        figures::latencies(&format!("page.giant.{place}"), latencies);
    }
    Ok(())
}

fn ask_often(
    reader: &mut dyn Reader,
    rows: &mut usize,
    mut next: impl FnMut() -> Result<TraceQuery>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for _ in 0..PAGES_UNASKED {
        *rows += reader.page(&next()?)?.events.len();
    }
    let begin = Instant::now();
    while latencies.len() < PAGES_MAX && begin.elapsed() < ASKING_MAX {
        let query = next()?;
        let start = Instant::now();
        let page = reader.page(&query)?;
        latencies.push(start.elapsed());
        *rows += page.events.len();
    }
    Ok(latencies)
}

fn windows(task: &Task, reader: &mut dyn Reader) -> Result<()> {
    let last = task.known.last;
    let since = |ms: i64| TimeRange { from: last.plus(-ms), to: last };
    let address = task.known.address.context("ingest knows one")?;
    let minutes = whole_minutes(since(DAY_MS));
    ask("window.day_by_minute", reader, |reader| reader.by_minute(minutes))?;
    ask("window.clients_of_day", reader, |reader| reader.clients(since(DAY_MS), &[]))?;
    ask("window.dropped_in_5_minutes", reader, |reader| reader.clients(since(300_000), &DROPPED))?;
    for (name, reasons) in [("scan.address", &[][..]), ("scan.address_and_reason", &DROPPED)] {
        let median = ask(name, reader, |reader| reader.by_address(address, reasons))?;
        figures::number(&format!("{name}.rate"), task.known.events as f64 / median.as_secs_f64());
    }
    Ok(())
}

fn names(reader: &mut dyn Reader) -> Result<()> {
    ask("names.prefix", reader, |reader| reader.names(&Pattern::Prefix("GID_fleet@@@dev-0001".into())))?;
    ask("names.substring", reader, |reader| reader.names(&Pattern::Substring("773".into())))?;
    ask("names.rare_substring", reader, |reader| reader.names(&Pattern::Substring(RARE.into())))?;
    Ok(())
}

/// Tells how long a question takes, and its answer. Gives the median.
fn ask(name: &str, reader: &mut dyn Reader, question: impl Fn(&mut dyn Reader) -> Result<u64>) -> Result<Duration> {
    figures::count(&format!("answer.{name}"), question(reader)?);
    let begin = Instant::now();
    let mut latencies = Vec::new();
    while latencies.len() < WINDOWS_MAX && (latencies.is_empty() || begin.elapsed() < ASKING_MAX) {
        let start = Instant::now();
        question(reader)?;
        latencies.push(start.elapsed());
    }
    latencies.sort_unstable();
    let median = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    figures::latencies(name, latencies);
    Ok(median)
}
