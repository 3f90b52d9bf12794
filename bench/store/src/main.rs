//! `tracemq-store-bench`: the event store beside SQLite, PostgreSQL and fjall, with the same events in one run. Machines
//! are shared and noisy, so that the ratios are what counts.

mod figures;
mod generator;
mod machine;
mod phases;
mod random;
mod report;
mod stores;
mod supervise;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use tracemq_model::TimeMs;

use generator::{Fleet, Ids, Shape};
use phases::{Kill, Known, Phase, Task};
use report::{Report, StoreReport};
use stores::{Kind, Tuning};
use supervise::{Bounds, Verdict};

/// Measures event stores: durable appends, bytes, pages, windows of time, opening, memory.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    worker: Option<Worker>,
    /// Events that our store gets
    #[arg(long, default_value_t = 20_000_000)]
    events: u64,
    /// Events that each peer gets: the first ones of the same
    #[arg(long, default_value_t = 2_000_000)]
    peer_events: u64,
    /// Who has the events
    #[arg(long, value_enum, default_value = "fleet")]
    shape: Shape,
    /// Clients of a fleet; the other shapes say how many they have
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10..=20_000_000))]
    clients: u32,
    /// The same seed makes the same events
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connection ids as TraceMQ makes them, or as other brokers do
    #[arg(long, value_enum, default_value = "foreign")]
    ids: Ids,
    /// Give events the details that TraceMQ's own broker records
    #[arg(long)]
    rich: bool,
    /// Which stores, and in which order
    #[arg(long, value_enum, value_delimiter = ',', default_value = "segments,sqlite,postgres,fjall")]
    stores: Vec<Kind>,
    /// Events in a batch; each batch is durable before the next
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    #[command(flatten)]
    tuning: Tuning,
    /// Measure what the machine needs for the least that a store must do as well
    #[arg(long)]
    floor: bool,
    /// Folder for the files, which are removed in the end; on the disk that is to be measured
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// The run ends after so many minutes, with what it has
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[derive(Debug, Subcommand)]
enum Worker {
    /// One part of a run, in a process of its own
    #[command(hide = true)]
    Worker { task: String },
}

/// What a worker says last when it can't go on.
const FAILED: &str = "failed";

/// Further ones would not be scattered over all names.
const CLIENTS_MAX: u32 = 2_000_000_000;

/// How the reason begins for a store that this machine can't run.
const UNAVAILABLE: &str = "not available";

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.worker {
        Some(Worker::Worker { task }) => worker(task),
        None => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if args.worker.is_some() => ExitCode::FAILURE, // it has told
        Err(error) => {
            eprintln!("tracemq-store-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn worker(task: &str) -> Result<()> {
    // Without whoever started us, nobody would remove our files.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let done = phases::work(&serde_json::from_str(task)?);
    if let Err(error) = &done {
        figures::tell(FAILED, figures::Figure::Text(format!("{error:#}")));
    }
    done
}

fn run(args: &Args) -> Result<()> {
    ensure!(args.batch > 0 && args.events > 0 && args.peer_events > 0, "nothing to append");
    let bounds = Bounds::new(Duration::from_secs(60 * args.minutes))?;
    let clients = match args.shape {
        Shape::Fleet => args.clients,
        Shape::OneClient => 1,
        Shape::OnceEach => once_each(args)?,
    };
    let fleet = Fleet { shape: args.shape, clients, seed: args.seed, ids: args.ids, rich: args.rich };
    let generator_rate = phases::generator_rate(fleet)?;
    let mut report = Report { settings: settings(args, fleet), machine: machine(), generator_rate, stores: Vec::new() };
    for kind in &args.stores {
        eprintln!("{} ...", kind.name());
        report.stores.push(measure(args, fleet, *kind, &bounds));
        if let Some(json) = &args.json {
            let text = serde_json::to_string_pretty(&report)?;
            std::fs::write(json, text).with_context(|| format!("can't write {}", json.display()))?;
        }
    }
    print!("{report}");
    ensure!(report.disagreements().is_empty(), "stores disagree");
    let is_fault = |why: &String| !why.starts_with(UNAVAILABLE);
    ensure!(!report.stores.iter().filter_map(|store| store.failed.as_ref()).any(is_fault), "not all could be measured");
    Ok(())
}

/// One for each event, those included that are appended while somebody asks.
fn once_each(args: &Args) -> Result<u32> {
    let batches = 8 * u64::try_from(args.batch)?;
    let clients = args.events.checked_add(args.events / 5 + batches).and_then(|clients| u32::try_from(clients).ok());
    let clients = clients.filter(|clients| *clients < CLIENTS_MAX);
    clients.with_context(|| format!("more than {CLIENTS_MAX} clients have no names"))
}

fn measure(args: &Args, fleet: Fleet, kind: Kind, bounds: &Bounds) -> StoreReport {
    let mut report = StoreReport::new(kind);
    if let Err(error) = measure_into(&mut report, args, fleet, bounds) {
        report.failed = Some(report.text(FAILED).map_or_else(|| format!("{error:#}"), str::to_owned));
    }
    report
}

fn measure_into(report: &mut StoreReport, args: &Args, fleet: Fleet, bounds: &Bounds) -> Result<()> {
    bounds.check()?;
    let kind = report.store;
    let folder = tempfile::Builder::new()
        .prefix("tracemq-store-bench-")
        // PostgreSQL runs as another user.
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir_in(args.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let events = if kind.is_peer() { args.peer_events.min(args.events) } else { args.events };
    let task = |phase, known, place: &Path| -> Result<Task> {
        let dir = folder.path().join(place);
        std::fs::create_dir_all(&dir)?;
        Ok(Task { phase, kind, dir, tuning: args.tuning, fleet, events, batch: args.batch, known })
    };
    let whole = Path::new("whole");

    if args.floor && !kind.is_peer() {
        supervise::run(&task(Phase::Floor, Known::default(), Path::new("floor"))?, bounds, |figure| {
            go_on(report, figure)
        })?;
    }
    supervise::run(&task(Phase::Ingest, Known::default(), whole)?, bounds, |figure| go_on(report, figure))?;
    let known = known(report)?;
    supervise::run(&task(Phase::Query, known, whole)?, bounds, |figure| go_on(report, figure))?;

    for (kill, place) in [(Kill::AtWork, "cut"), (Kill::Logged, "logged"), (Kill::Behind, "behind")] {
        if !kill.is_for(kind) {
            continue;
        }
        let place = Path::new(place);
        supervise::run(&task(Phase::Crash(kill), Known::default(), place)?, bounds, |figure| {
            report.take(figure);
            let is_enough = report.number(&kill.acknowledged()) >= Some(kill.after(events) as f64);
            if is_enough { Verdict::Kill } else { Verdict::GoOn }
        })?;
        supervise::run(&task(Phase::Reopen(kill), Known::default(), place)?, bounds, |figure| go_on(report, figure))?;
        let acknowledged = report.number(&kill.acknowledged());
        ensure!(report.number(&kill.found()) >= acknowledged, "lost events that it had acknowledged");
    }
    Ok(())
}

fn go_on(report: &mut StoreReport, figure: figures::Named) -> Verdict {
    report.take(figure);
    Verdict::GoOn
}

fn known(report: &StoreReport) -> Result<Known> {
    let number = |name: &str| report.number(name).with_context(|| format!("no {name}"));
    let whole = |name: &str| -> Result<i64> { Ok(serde_json::from_str(&format!("{:.0}", number(name)?))?) };
    Ok(Known {
        events: u64::try_from(whole("known.events")?)?,
        events_of_giant: u64::try_from(whole("known.events_of_giant")?)?,
        last: TimeMs(whole("known.last_ms")?),
        address: report.text("known.address").map(str::parse).transpose()?,
    })
}

fn settings(args: &Args, fleet: Fleet) -> BTreeMap<String, String> {
    [
        ("events", args.events.to_string()),
        ("peer_events", args.peer_events.to_string()),
        ("shape", format!("{:?}", args.shape)),
        ("clients", fleet.clients.to_string()),
        ("seed", args.seed.to_string()),
        ("ids", format!("{:?}", args.ids).to_lowercase()),
        ("tuning", format!("{:?}", args.tuning)),
        ("rich", args.rich.to_string()),
        ("batch", args.batch.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn machine() -> BTreeMap<String, String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let name = rustix::system::uname();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default().trim_start_matches("MemTotal:").trim().to_owned();
    [
        ("cores_allowed", cores.to_string()),
        ("kernel", name.release().to_string_lossy().into_owned()),
        ("memory", memory),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
