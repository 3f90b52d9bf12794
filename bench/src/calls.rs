//! Signed calls of the ApsaraMQ-compatible API a second, over a store with years in it.

mod caller;
mod history;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::report::{median, percentile};
use crate::server::{self, Process};
use caller::{Caller, Key, Served};
use history::History;

/// `QueryMqttTraceDevice` with ACS3 signatures, each for the newest page of a client at random, and `GET /livez`, which costs
/// what any request over HTTP does
#[derive(Args)]
pub(crate) struct CallsArgs {
    /// The tracemq binary, built with --release
    #[arg(long, default_value = "target/release/tracemq")]
    tracemq: PathBuf,
    /// Events on record
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Clients who have them, each as many
    #[arg(long, default_value_t = 100_000)]
    clients: u64,
    /// `PageSize` of the calls, at most 100
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
    page_size: u64,
    /// Connections that call, each on a thread of its own, one call at a time
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Rounds, of which the medians are told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each kind of load in a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Seconds that the store is left alone before it is asked: after a minute it merges what it has
    #[arg(long, default_value_t = 0)]
    leisure: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Trace,
    Livez,
}

/// What one turn gave.
#[derive(Clone, Copy, Debug, Serialize)]
struct Turn {
    calls_per_second: f64,
    /// Processor time of the server and of the load, for each call.
    cpu_us: f64,
    load_us: f64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    max_us: Option<u64>,
    answer_bytes: f64,
}

#[derive(Serialize)]
struct Outcome {
    cores: usize,
    events: u64,
    clients: u64,
    page_size: u64,
    connections: usize,
    segments: usize,
    /// Calls as fast as they are answered.
    trace: Vec<Turn>,
    livez: Vec<Turn>,
    /// Calls by a schedule, at half of that rate; latency is from when each was due.
    half: Vec<Turn>,
    /// Processor time of the same page from the store alone, without HTTP.
    store_us: f64,
    /// Of the server's processor time for a call.
    store_share: f64,
}

pub(crate) fn run(args: &CallsArgs) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let history =
        History::write(&folder.path().join("data"), args.events, args.clients, Duration::from_secs(args.leisure))?;
    let store_us = history.page_us(args.page_size)?;
    // What is measured is the server, not how it holds callers back.
    let config = "api.calls_per_second = 1000000\napi.calls_per_second_of_address = 0\napi.max_nonces = 10000000\n";
    let server = Process::tracemq(&args.tracemq, folder, config, true)?;
    let key = Key::read(&fs::read_to_string(server.data_dir().join("credentials.toml"))?)?;
    let http = server.http().context("it told no HTTP address")?;
    let measure = |asked, rate| turn(args, &server, http, &key, &history, asked, rate);

    measure(Asked::Trace, None).context("a first turn, not counted")?;
    let (mut trace, mut livez, mut half) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds.max(1) {
        trace.push(measure(Asked::Trace, None)?);
        livez.push(measure(Asked::Livez, None)?);
        let rate = median(trace.iter().map(|turn| turn.calls_per_second));
        half.push(measure(Asked::Trace, Some(rate / 2.0))?);
    }
    let outcome = Outcome {
        cores: std::thread::available_parallelism()?.get(),
        events: args.events,
        clients: args.clients,
        page_size: args.page_size,
        connections: args.connections,
        segments: history.segments,
        store_share: store_us / median(trace.iter().map(|turn| turn.cpu_us)),
        trace,
        livez,
        half,
        store_us,
    };
    if args.json { Ok(serde_json::to_string_pretty(&outcome)? + "\n") } else { Ok(outcome.to_table()) }
}

/// `rate` in calls a second by all, none for as fast as they are answered.
fn turn(
    args: &CallsArgs,
    server: &Process,
    http: SocketAddr,
    key: &Key,
    history: &History,
    asked: Asked,
    rate: Option<f64>,
) -> anyhow::Result<Turn> {
    let connections = args.connections.max(1);
    let pause = rate.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
    let time = Duration::from_secs(args.seconds);
    let (cpu_before, load_before) = (server.cpu_ms()?, server::own_cpu_ms()?);
    let begun = Instant::now();
    let served = std::thread::scope(|scope| {
        let threads = (0..connections).map(|number| {
            let phase = pause.map_or(Duration::ZERO, |pause| pause.mul_f64(number as f64 / connections as f64));
            scope.spawn(move || {
                Caller::connect(http, key, history, args.page_size)?.call(asked, begun + phase, pause, begun + time)
            })
        });
        let threads: Vec<_> = threads.collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))));
        joined.collect::<anyhow::Result<Vec<Served>>>()
    })?;
    let took = begun.elapsed().as_secs_f64();
    let (cpu, load) = (server.cpu_ms()? - cpu_before, server::own_cpu_ms()? - load_before);
    let mut latencies: Vec<u64> = served.iter().flat_map(|served| served.latencies_us.iter().copied()).collect();
    latencies.sort_unstable();
    let calls = latencies.len().max(1) as f64;
    Ok(Turn {
        calls_per_second: latencies.len() as f64 / took,
        cpu_us: cpu * 1_000.0 / calls,
        load_us: load * 1_000.0 / calls,
        p50_us: percentile(&latencies, 0.5),
        p99_us: percentile(&latencies, 0.99),
        max_us: latencies.last().copied(),
        answer_bytes: served.iter().map(|served| served.bytes).sum::<u64>() as f64 / calls,
    })
}

impl Outcome {
    fn to_table(&self) -> String {
        let mut table = format!(
            "{} cores, {} events of {} clients in {} segments, pages of {}, {} connections\n{:<36} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
            self.cores,
            self.events,
            self.clients,
            self.segments,
            self.page_size,
            self.connections,
            "",
            "calls/s",
            "cpu us",
            "load us",
            "p50 us",
            "p99 us",
            "max us",
            "bytes"
        );
        let named = [
            ("QueryMqttTraceDevice, all that goes", &self.trace),
            ("GET /livez, all that goes", &self.livez),
            ("QueryMqttTraceDevice, half of its rate", &self.half),
        ];
        for (name, turns) in named {
            let of = |value: fn(&Turn) -> f64| median(turns.iter().map(value));
            let us = |value: fn(&Turn) -> Option<u64>| median(turns.iter().filter_map(value).map(|us| us as f64));
            let _ = writeln!(
                table,
                "{name:<36} {:>9.0} {:>8.1} {:>8.1} {:>8.0} {:>8.0} {:>8.0} {:>8.0}",
                of(|turn| turn.calls_per_second),
                of(|turn| turn.cpu_us),
                of(|turn| turn.load_us),
                us(|turn| turn.p50_us),
                us(|turn| turn.p99_us),
                us(|turn| turn.max_us),
                of(|turn| turn.answer_bytes),
            );
        }
        let _ = writeln!(
            table,
            "the page from the store alone: {:.1} us of processor time, {:.1} % of a call's",
            self.store_us,
            self.store_share * 100.0
        );
        table
    }
}
