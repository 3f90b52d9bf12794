//! `tracemq-bench`: measures TraceMQ beside a real peer, with the same load generator in the same run, since machines
//! are shared and noisy: the ratios are what counts.

mod load;
mod report;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use report::{Figures, Report};
use server::{Kind, Process};

/// Connect and disconnect cycles a second, and resident bytes of an idle connection: TraceMQ with recording on and
/// off, and mosquitto.
#[derive(Parser)]
struct Args {
    /// The tracemq binary, built with --release
    #[arg(long, default_value = "target/release/tracemq")]
    tracemq: PathBuf,
    /// The mosquitto binary; left out of the run when it is not there
    #[arg(long, default_value = "/usr/sbin/mosquitto")]
    mosquitto: PathBuf,
    /// Rounds; each server has its turn in each, and the medians are told
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that one server is under load in a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections that go through cycles at once
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Threads that make the load; one a core when not given
    #[arg(long)]
    threads: Option<usize>,
    /// Idle connections for the memory figure
    #[arg(long, default_value_t = 5_000)]
    idle: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tracemq-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<String> {
    server::raise_descriptor_limit()?;
    let cores = std::thread::available_parallelism()?.get();
    // With fewer, a thread of the load that is always busy bounds the rate, and all servers seem the same.
    let threads = args.threads.unwrap_or(cores).max(1);
    let mut kinds = vec![Kind::RecordingOn, Kind::RecordingOff];
    if args.mosquitto.exists() {
        kinds.push(Kind::Mosquitto);
    }
    let mut report = Report::new(cores);
    for _ in 0..args.rounds {
        for kind in &kinds {
            let figures = measure(*kind, args, threads).with_context(|| format!("{kind:?}"))?;
            report.add(*kind, figures);
        }
    }
    if args.json { report.to_json() } else { Ok(report.to_table()) }
}

fn measure(kind: Kind, args: &Args, threads: usize) -> anyhow::Result<Figures> {
    let server = Process::start(kind, &args.tracemq, &args.mosquitto)?;
    let empty = server.resident_bytes()?;
    let idle = load::hold(server.mqtt, args.idle)?;
    let full = server.resident_bytes()?;
    load::release(idle)?;

    let (cpu_before, load_before) = (server.cpu_ms()?, server::own_cpu_ms()?);
    let cycles =
        load::cycles(server.mqtt, threads, args.concurrency.div_ceil(threads), Duration::from_secs(args.seconds))?;
    let (cpu, load) = (server.cpu_ms()? - cpu_before, server::own_cpu_ms()? - load_before);
    let (recorded, lost) = server.recorded()?;
    Ok(Figures {
        cycles_per_second: cycles as f64 / args.seconds as f64,
        cpu_us_per_cycle: cpu * 1_000.0 / cycles.max(1) as f64,
        load_us_per_cycle: load * 1_000.0 / cycles.max(1) as f64,
        bytes_per_idle_connection: full.saturating_sub(empty) as f64 / args.idle.max(1) as f64,
        recorded,
        lost,
    })
}
