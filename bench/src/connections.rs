//! Connect cycles a second, and what an idle connection costs.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::load;
use crate::messages::Peers;
use crate::report::{Figures, Report};
use crate::server::{self, Kind, Process};
use crate::tls;

/// Connect and disconnect cycles a second, and resident bytes of an idle connection: TraceMQ with recording on and
/// off, and mosquitto.
#[derive(Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    peers: Peers,
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
    /// Idle connections over TLS; in the first round alone, for the handshakes take a while
    #[arg(long, default_value_t = 2_000)]
    idle_tls: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ConnectionsArgs) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?.get();
    // With fewer, a thread of the load that is always busy bounds the rate, and all servers seem the same.
    let threads = args.threads.unwrap_or(cores).max(1);
    let kinds = args.peers.kinds(&[Kind::RecordingOn, Kind::RecordingOff]);
    let mut report = Report::new(cores);
    for round in 0..args.rounds {
        for kind in &kinds {
            let mut figures = measure(*kind, args, threads).with_context(|| format!("{kind:?}"))?;
            if round == 0 && args.idle_tls > 0 && *kind != Kind::RecordingOff {
                figures.bytes_per_idle_tls_connection =
                    Some(measure_tls(*kind, args).with_context(|| format!("{kind:?} over TLS"))?);
            }
            report.add(*kind, figures);
        }
    }
    if args.json { report.to_json() } else { Ok(report.to_table()) }
}

fn measure(kind: Kind, args: &ConnectionsArgs, threads: usize) -> anyhow::Result<Figures> {
    let server = Process::start(kind, &args.peers.tracemq, &args.peers.mosquitto)?;
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
        bytes_per_idle_tls_connection: None,
        recorded,
        lost,
    })
}

fn measure_tls(kind: Kind, args: &ConnectionsArgs) -> anyhow::Result<f64> {
    let (server, certificate) = Process::start_with_tls(kind, &args.peers.tracemq, &args.peers.mosquitto)?;
    drop(tls::hold(server.mqtt, &certificate, 1)?); // what the first one costs all others have for nothing
    let empty = server.resident_bytes()?;
    let idle = tls::hold(server.mqtt, &certificate, args.idle_tls)?;
    let full = server.resident_bytes()?;
    drop(idle);
    Ok(full.saturating_sub(empty) as f64 / args.idle_tls as f64)
}
