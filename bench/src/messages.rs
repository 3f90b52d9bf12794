//! Messages a second, and how long they take at half of that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use serde::Serialize;

use crate::lanes::{Lanes, Shared, Tally, Traffic};
use crate::report::{median, percentile};
use crate::server::{self, Kind, Process};

/// How long the load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// A window of messages must fit into the buffers of a socket, since the load writes them at once.
const WINDOW_BYTES_MAX: usize = 128 * 1024;

/// Messages a second of QoS 0, 1 and 2 with one and with many subscribers, and the latency at half of that rate.
#[derive(Args)]
pub(crate) struct MessagesArgs {
    #[command(flatten)]
    peers: Peers,
    /// Rounds; each server has its turn in each, and the medians are told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that are measured in a turn, after half a second that is not
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Qualities of service
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    qos: Vec<u8>,
    /// Subscribers of each topic
    #[arg(long, value_delimiter = ',', default_value = "1,10,50")]
    fan_out: Vec<usize>,
    /// Clients in all, about: with a fan-out of 1 half of them publish
    #[arg(long, default_value_t = 128)]
    clients: usize,
    /// Messages of one publisher under way: not acknowledged, or not with all subscribers. 20 is what mosquitto takes
    #[arg(long, default_value_t = 20)]
    window: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Threads that make the load; half of the cores when not given
    #[arg(long)]
    threads: Option<usize>,
    /// No latencies
    #[arg(long)]
    no_latency: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The servers that are measured.
#[derive(Args)]
pub(crate) struct Peers {
    /// The tracemq binary, built with --release
    #[arg(long, default_value = "target/release/tracemq")]
    pub(crate) tracemq: PathBuf,
    /// The mosquitto binary; left out of the run when it is not there
    #[arg(long, default_value = "/usr/sbin/mosquitto")]
    pub(crate) mosquitto: PathBuf,
}

impl Peers {
    /// Those that are there, of `kinds` and mosquitto.
    pub(crate) fn kinds(&self, kinds: &[Kind]) -> Vec<Kind> {
        let mosquitto = self.mosquitto.exists().then_some(Kind::Mosquitto);
        kinds.iter().copied().chain(mosquitto).collect()
    }
}

/// What is told of one kind of traffic and one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Phase {
    qos: u8,
    fan_out: usize,
    /// Half of whose rate; none for all that goes.
    at: Option<Kind>,
    server: Kind,
}

/// What one turn gave.
#[derive(Clone, Copy, Debug, Serialize)]
struct Turn {
    published_per_second: f64,
    delivered_per_second: f64,
    /// Of the server, for each message that was delivered.
    cpu_us: f64,
    /// Of the load.
    load_us: f64,
    undelivered: u64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    qos: u8,
    fan_out: usize,
    at_half_of: Option<&'static str>,
    server: &'static str,
    median: Turn,
    turns: Vec<Turn>,
    /// Of messages delivered, to mosquitto's: the median of the rounds.
    to_mosquitto: Option<f64>,
}

pub(crate) fn run(args: &MessagesArgs) -> anyhow::Result<String> {
    ensure!(args.window * (args.payload + 64) <= WINDOW_BYTES_MAX, "a window of more than {WINDOW_BYTES_MAX} bytes");
    ensure!(args.payload >= 8, "a payload of less than 8 bytes has no room for the time");
    ensure!(args.window > 0 && args.fan_out.iter().all(|n| *n > 0), "nothing to send");
    let cores = thread::available_parallelism()?.get();
    let threads = args.threads.unwrap_or(cores / 2).max(1);
    let kinds = args.peers.kinds(&[Kind::RecordingOn]);
    let mut turns: BTreeMap<Phase, Vec<Turn>> = BTreeMap::new();
    for _ in 0..args.rounds {
        for (&qos, &fan_out) in args.qos.iter().flat_map(|qos| args.fan_out.iter().map(move |fan_out| (qos, fan_out))) {
            for &server in &kinds {
                let phase = Phase { qos, fan_out, at: None, server };
                turns.entry(phase).or_default().push(turn(args, phase, threads, None)?);
            }
        }
    }
    if !args.no_latency {
        let peak = |server, qos| {
            let fan_out = *args.fan_out.iter().min()?;
            let turns = turns.get(&Phase { qos, fan_out, at: None, server })?;
            Some((fan_out, median(turns.iter().map(|turn| turn.published_per_second))))
        };
        let mut halves = Vec::new();
        for (&qos, &at) in args.qos.iter().flat_map(|qos| kinds.iter().map(move |at| (qos, at))) {
            let Some((fan_out, peak)) = peak(at, qos) else { continue };
            // At half of its own rate each, and all at half of mosquitto's.
            let servers = kinds.iter().filter(|server| at == Kind::Mosquitto || **server == at);
            halves.extend(servers.map(|server| (Phase { qos, fan_out, at: Some(at), server: *server }, peak / 2.0)));
        }
        for _ in 0..args.rounds {
            for (phase, rate) in &halves {
                turns.entry(*phase).or_default().push(turn(args, *phase, threads, Some(*rate))?);
            }
        }
    }
    let rows = rows(&turns);
    if args.json {
        let json = serde_json::json!({
            "cores": cores, "threads": threads, "window": args.window, "payload": args.payload,
            "clients": args.clients, "rows": rows,
        });
        return Ok(serde_json::to_string_pretty(&json)? + "\n");
    }
    let head =
        format!("{cores} cores, {threads} threads of load, window {}, payload {} bytes\n", args.window, args.payload);
    Ok(head + &table(&rows))
}

fn turn(args: &MessagesArgs, phase: Phase, threads: usize, rate: Option<f64>) -> anyhow::Result<Turn> {
    let traffic = Traffic {
        qos: phase.qos,
        fan_out: phase.fan_out,
        publishers: (args.clients / (1 + phase.fan_out)).max(1),
        payload_bytes: args.payload,
        window: args.window,
        rate,
        login: None,
    };
    let server = Process::start(phase.server, &args.peers.tracemq, &args.peers.mosquitto)?;
    measure(&server, traffic, threads, Duration::from_secs(args.seconds)).with_context(|| format!("{phase:?}"))
}

fn measure(server: &Process, traffic: Traffic, threads: usize, time: Duration) -> anyhow::Result<Turn> {
    let threads = threads.min(traffic.publishers);
    let lanes = (0..threads)
        .map(|thread| Lanes::open(server.mqtt, traffic, (0..traffic.publishers).skip(thread).step_by(threads)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let shared = Shared::new();
    let observed = |shared: &Shared| {
        let counts = (shared.published.load(Ordering::Relaxed), shared.delivered.load(Ordering::Relaxed));
        anyhow::Ok((std::time::Instant::now(), counts, server.cpu_ms()?, server::own_cpu_ms()?))
    };
    let (before, after, tallies) = thread::scope(|scope| {
        let shared = &shared;
        let threads: Vec<_> = lanes.into_iter().map(|lanes| scope.spawn(move || lanes.run(shared))).collect();
        thread::sleep(WARM_UP);
        shared.measuring.store(true, Ordering::Relaxed);
        let before = observed(shared);
        thread::sleep(time);
        let after = observed(shared);
        shared.measuring.store(false, Ordering::Relaxed);
        shared.stop.store(true, Ordering::Relaxed);
        let tallies =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?);
        (before, after, tallies.collect::<anyhow::Result<Vec<Tally>>>())
    });
    let ((from, counts_before, cpu_before, load_before), (to, counts, cpu, load)) = (before?, after?);
    let seconds = (to - from).as_secs_f64();
    let (published, delivered) = (counts.0 - counts_before.0, counts.1 - counts_before.1);
    let tallies = tallies?;
    let mut latencies: Vec<u64> = tallies.iter().flat_map(|tally| tally.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    let us = |share| percentile(&latencies, share).map(|ns| ns as f64 / 1e3);
    Ok(Turn {
        published_per_second: published as f64 / seconds,
        delivered_per_second: delivered as f64 / seconds,
        cpu_us: (cpu - cpu_before) * 1e3 / delivered.max(1) as f64,
        load_us: (load - load_before) * 1e3 / delivered.max(1) as f64,
        undelivered: tallies.iter().map(|tally| tally.undelivered).sum(),
        p50_us: us(0.5),
        p99_us: us(0.99),
        max_us: us(1.0),
    })
}

fn rows(turns: &BTreeMap<Phase, Vec<Turn>>) -> Vec<Row> {
    let rows = turns.iter().map(|(phase, own)| {
        let peer = turns.get(&Phase { server: Kind::Mosquitto, ..*phase }).filter(|_| phase.server != Kind::Mosquitto);
        let ratio = |peer: &Vec<Turn>| {
            median(own.iter().zip(peer).map(|(a, b)| a.delivered_per_second / b.delivered_per_second))
        };
        let of = |field: fn(&Turn) -> f64| median(own.iter().map(field));
        let maybe = |field: fn(&Turn) -> Option<f64>| {
            own.iter().all(|turn| field(turn).is_some()).then(|| median(own.iter().filter_map(field)))
        };
        Row {
            qos: phase.qos,
            fan_out: phase.fan_out,
            at_half_of: phase.at.map(Kind::name),
            server: phase.server.name(),
            median: Turn {
                published_per_second: of(|turn| turn.published_per_second),
                delivered_per_second: of(|turn| turn.delivered_per_second),
                cpu_us: of(|turn| turn.cpu_us),
                load_us: of(|turn| turn.load_us),
                undelivered: own.iter().map(|turn| turn.undelivered).sum(),
                p50_us: maybe(|turn| turn.p50_us),
                p99_us: maybe(|turn| turn.p99_us),
                max_us: maybe(|turn| turn.max_us),
            },
            turns: own.clone(),
            to_mosquitto: peer.map(ratio),
        }
    });
    rows.collect()
}

fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:<4} {:>7} {:<22} {:<22} {:>12} {:>12} {:>8} {:>8} {:>9} {:>9} {:>9} {:>6} {:>12}\n",
        "qos",
        "fan-out",
        "server",
        "rate",
        "published/s",
        "delivered/s",
        "cpu us",
        "load us",
        "p50 us",
        "p99 us",
        "max us",
        "lost",
        ": mosquitto"
    );
    for row in rows {
        let us = |us: Option<f64>| us.map_or_else(String::new, |us| format!("{us:.0}"));
        let rate = row.at_half_of.map_or_else(|| "all that goes".to_owned(), |of| format!("half of {of}"));
        let Turn { published_per_second, delivered_per_second, cpu_us, load_us, undelivered, .. } = row.median;
        let _ = writeln!(
            table,
            "{:<4} {:>7} {:<22} {rate:<22} {published_per_second:>12.0} {delivered_per_second:>12.0} {cpu_us:>8.2} \
             {load_us:>8.2} {:>9} {:>9} {:>9} {undelivered:>6} {:>12}",
            row.qos,
            row.fan_out,
            row.server,
            us(row.median.p50_us),
            us(row.median.p99_us),
            us(row.median.max_us),
            row.to_mosquitto
                .filter(|_| row.at_half_of.is_none())
                .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        );
    }
    table
}
