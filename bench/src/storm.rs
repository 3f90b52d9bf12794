//! A storm: a fleet that was connected loses its connections and comes back at once, together with as many who have a
//! wrong password, while others publish with QoS 1. Then the record is compared with what happened.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::lanes::{Lanes, Shared, Tally, Traffic};
use crate::report::percentile;
use crate::server::{self, Process};
use crate::wire::{self, CONNACK, DISCONNECT};

const USER: &str = "fleet";
const PASSWORD: &str = "the right one";
/// A client that was refused although its password is right comes again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// By then the storm must be over.
const STORM_MAX: Duration = Duration::from_secs(120);

/// 10,000 clients that connect at once, half of them with a wrong password, while 1,000 publish. Fails when a message
/// or an event is lost, or memory grows beyond the bound.
#[derive(Args)]
pub(crate) struct StormArgs {
    /// The tracemq binary, built with --release
    #[arg(long, default_value = "target/release/tracemq")]
    tracemq: PathBuf,
    /// Clients that were connected and come back
    #[arg(long, default_value_t = 5_000)]
    good: usize,
    /// Clients with a wrong password, each of which tries once
    #[arg(long, default_value_t = 5_000)]
    wrong: usize,
    /// Clients that publish all the while, each to a subscriber of its own
    #[arg(long, default_value_t = 1_000)]
    steady: usize,
    /// Messages of QoS 1 a second that each of them publishes
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Addresses of the loopback network from which the storm comes
    #[arg(long, default_value_t = 50)]
    addresses: u8,
    /// Threads that connect
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Mebibytes of resident memory that the server may take at its peak
    #[arg(long, default_value_t = 256)]
    memory_max: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What the clients of the storm saw.
#[derive(Default)]
struct Seen {
    /// TCP connections made.
    connections: AtomicU64,
    /// CONNACKs with success.
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Closed without CONNACK.
    unanswered: AtomicU64,
    /// Clients with the wrong password that were let in.
    intruders: AtomicU64,
}

impl Seen {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Serialize)]
struct Outcome {
    good: usize,
    wrong: usize,
    steady: usize,
    descriptors_max: u64,
    connections: u64,
    connections_recorded: u64,
    accepted: u64,
    accepted_recorded: u64,
    refused: u64,
    unanswered: u64,
    intruders: u64,
    events_recorded: u64,
    events_lost: u64,
    gaps: u64,
    seconds_until_good_are_in: f64,
    seconds_until_all_are_answered: f64,
    good_p50_ms: f64,
    good_p99_ms: f64,
    messages_published: u64,
    messages_delivered: u64,
    messages_lost: u64,
    message_p50_us: f64,
    message_p99_us: f64,
    message_max_us: f64,
    resident_mib_before: f64,
    resident_mib_peak: f64,
    resident_mib_after: f64,
}

/// What a client of the storm is about.
struct Comer {
    id: String,
    is_good: bool,
    address: IpAddr,
    stream: Option<TcpStream>,
    /// TCP is connected, and CONNECT is sent.
    has_knocked: bool,
    /// When to try again; only those whose password is right do.
    again: Option<Instant>,
}

impl Comer {
    fn new(number: usize, is_good: bool, addresses: u8) -> Self {
        let host = u8::try_from(number % usize::from(addresses.max(1))).unwrap_or(0).saturating_add(1);
        let id = format!("{}-{number:05}", if is_good { "good" } else { "wrong" });
        Self {
            id,
            is_good,
            address: Ipv4Addr::new(127, 0, 1, host).into(),
            stream: None,
            has_knocked: false,
            again: None,
        }
    }

    /// Begins to connect; all do so at once, and the system tells when it is done.
    fn set_out(&mut self, server: SocketAddr) -> anyhow::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::new(self.address, 0)))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(server)) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error).context("connect");
            }
            Ok(()) | Err(_) => {}
        }
        self.stream = Some(TcpStream::from(socket));
        self.has_knocked = false;
        self.again = None;
        Ok(())
    }

    fn knock(&mut self, seen: &Seen) -> anyhow::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if let Some(error) = stream.take_error()? {
            return Err(error).context("connect");
        }
        stream.set_nonblocking(false)?;
        Seen::count(&seen.connections);
        let password = if self.is_good { PASSWORD } else { "a wrong one" };
        // The server may have closed it already: that is read below.
        let _ = stream.write_all(&wire::connect(&self.id, Some((USER, password))));
        self.has_knocked = true;
        Ok(())
    }

    /// What the server says; tells whether the client has what it came for.
    fn hear(&mut self, seen: &Seen) -> bool {
        let mut connack = [0; CONNACK.len()];
        let Some(stream) = &mut self.stream else { return false };
        match stream.read_exact(&mut connack) {
            Ok(()) if connack == CONNACK => {
                Seen::count(&seen.accepted);
                if !self.is_good {
                    Seen::count(&seen.intruders);
                }
                return true;
            }
            Ok(()) => Seen::count(&seen.refused),
            Err(_) => Seen::count(&seen.unanswered),
        }
        self.stream = None;
        if self.is_good {
            self.again = Some(Instant::now() + AGAIN_AFTER);
        }
        !self.is_good
    }
}

/// When who was served, from the beginning of the storm.
#[derive(Default)]
struct Served {
    good_ns: Vec<u64>,
    last: Duration,
    still: Vec<TcpStream>,
}

/// All clients of one thread come at once, and stay until they are served.
fn come(mut comers: Vec<Comer>, server: SocketAddr, seen: &Seen, begin: Instant) -> anyhow::Result<Served> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let set_out = |n: usize, comer: &mut Comer| -> anyhow::Result<()> {
        comer.set_out(server)?;
        let stream = comer.stream.as_ref().context("no socket")?;
        Ok(epoll::add(&epoll, stream, epoll::EventData::new_u64(n as u64), epoll::EventFlags::OUT)?)
    };
    for (n, comer) in comers.iter_mut().enumerate() {
        set_out(n, comer)?;
    }
    let mut served = Served::default();
    let mut open = comers.len();
    let mut events = Vec::with_capacity(1_024);
    while open > 0 {
        ensure!(begin.elapsed() < STORM_MAX, "{open} clients are not served after {STORM_MAX:?}");
        let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait))?;
        for event in events.drain(..) {
            let comer = comers.get_mut(usize::try_from(event.data.u64())?).context("no such client")?;
            if !comer.has_knocked {
                comer.knock(seen)?;
                let stream = comer.stream.as_ref().context("no socket")?;
                epoll::modify(&epoll, stream, event.data, epoll::EventFlags::IN)?;
            } else if comer.hear(seen) {
                open -= 1;
                served.last = begin.elapsed();
                if let (true, Some(stream)) = (comer.is_good, &comer.stream) {
                    served.good_ns.push(u64::try_from(served.last.as_nanos())?);
                    epoll::delete(&epoll, stream)?;
                }
            }
        }
        for (n, comer) in comers.iter_mut().enumerate() {
            if comer.again.is_some_and(|again| again <= Instant::now()) {
                set_out(n, comer)?;
            }
        }
    }
    served.still = comers.into_iter().filter_map(|comer| comer.stream).collect();
    Ok(served)
}

/// Comers of `kinds`, dealt out to the threads; all of them come.
fn all_come(args: &StormArgs, server: SocketAddr, seen: &Seen, with_wrong: bool) -> anyhow::Result<Served> {
    let good = (0..args.good).map(|n| Comer::new(n, true, args.addresses));
    let wrong = (0..if with_wrong { args.wrong } else { 0 }).map(|n| Comer::new(n, false, args.addresses));
    let mut dealt: Vec<Vec<Comer>> = (0..args.threads.max(1)).map(|_| Vec::new()).collect();
    let threads = dealt.len();
    for (n, comer) in good.chain(wrong).enumerate() {
        if let Some(hand) = dealt.get_mut(n % threads) {
            hand.push(comer);
        }
    }
    let begin = Instant::now();
    let mut all = Served::default();
    thread::scope(|scope| {
        let threads: Vec<_> =
            dealt.into_iter().map(|hand| scope.spawn(move || come(hand, server, seen, begin))).collect();
        for thread in threads {
            let served = thread.join().map_err(|_| anyhow!("a thread of the storm panicked"))??;
            all.good_ns.extend(served.good_ns);
            all.still.extend(served.still);
            all.last = all.last.max(served.last);
        }
        anyhow::Ok(())
    })?;
    all.good_ns.sort_unstable();
    Ok(all)
}

/// What stands on record.
#[derive(Default)]
struct Recorded {
    connections: u64,
    accepted: u64,
    events: u64,
    gaps: u64,
}

#[derive(Deserialize)]
struct Line {
    connection: Option<String>,
    action: Option<String>,
    count: Option<u64>,
    gap: Option<serde_json::Value>,
}

fn recorded(tracemq: &PathBuf, server: &Process) -> anyhow::Result<Recorded> {
    let file = server.folder().join("events.ndjson");
    let status = Command::new(tracemq)
        .args(["store", "export", "--data-dir"])
        .arg(server.data_dir())
        .arg(&file)
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "tracemq store export: {status}");
    let mut recorded = Recorded::default();
    let (mut began, mut ended) = (HashSet::new(), HashSet::new());
    for line in BufReader::new(File::open(&file)?).lines() {
        let line = line?;
        let Line { connection, action, count, gap } = serde_json::from_str(&line).context("a line of the export")?;
        recorded.gaps += u64::from(gap.is_some());
        let (Some(connection), Some(action)) = (connection, action) else { continue };
        recorded.events += 1;
        match action.as_str() {
            "connect" if began.insert(connection.clone()) => recorded.accepted += 1,
            "disconnect" | "close" if ended.insert(connection.clone()) => recorded.connections += count.unwrap_or(1),
            "connect" | "disconnect" | "close" => bail!("{connection} has two beginnings or ends on record"),
            _ => {}
        }
    }
    Ok(recorded)
}

/// Makes the file of users.
fn make_user(tracemq: &PathBuf, file: &PathBuf) -> anyhow::Result<()> {
    let mut passwd = Command::new(tracemq)
        .arg("passwd")
        .arg(file)
        .arg(USER)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    passwd.stdin.take().context("no stdin")?.write_all(PASSWORD.as_bytes())?;
    let status = passwd.wait()?;
    ensure!(status.success(), "tracemq passwd: {status}");
    Ok(())
}

/// Tells what happened, and whether nothing was lost.
pub(crate) fn run(args: &StormArgs, descriptors_max: u64) -> anyhow::Result<(String, bool)> {
    let needed = u64::try_from(args.good + args.wrong + 2 * args.steady + 300)?;
    ensure!(
        needed <= descriptors_max,
        "this storm needs {needed} descriptors, and the limit is {descriptors_max}: raise it (ulimit -Hn) or take fewer clients"
    );
    let folder = tempfile::tempdir()?;
    let users = folder.path().join("users");
    make_user(&args.tracemq, &users)?;
    let config = format!("[mqtt]\nusers_file = {:?}\nallow_anonymous = false\n", users.display());
    let mut server = Process::tracemq(&args.tracemq, folder, &config, true)?;
    let outcome = storm(args, &mut server, descriptors_max)?;
    let is_whole = outcome.messages_lost == 0
        && outcome.events_lost == 0
        && outcome.gaps == 0
        && outcome.connections == outcome.connections_recorded
        && outcome.accepted == outcome.accepted_recorded
        && outcome.intruders == 0
        && outcome.resident_mib_peak <= args.memory_max as f64;
    let text = if args.json { serde_json::to_string_pretty(&outcome)? + "\n" } else { told(&outcome, is_whole) };
    Ok((text, is_whole))
}

fn take_leave(clients: Vec<TcpStream>) -> anyhow::Result<()> {
    for mut stream in clients {
        stream.write_all(&DISCONNECT)?;
        while stream.read(&mut [0; 16]).unwrap_or(0) > 0 {}
    }
    Ok(())
}

/// The steady clients publish all the while.
fn with_steady(
    args: &StormArgs,
    server: &Process,
    seen: &Seen,
    shared: &Shared,
) -> anyhow::Result<(u64, Served, u64, Tally)> {
    let address = server.mqtt;
    let traffic = Traffic {
        qos: 1,
        fan_out: 1,
        publishers: args.steady,
        payload_bytes: 64,
        window: 20,
        rate: Some(args.rate * args.steady as f64),
        login: Some((USER, PASSWORD)),
    };
    let lanes = Lanes::open(address, traffic, 0..args.steady)?;
    thread::scope(|scope| {
        let steady = scope.spawn(move || lanes.run(shared));
        let storm = (|| {
            // The first time in peace; then all connections are gone, and everybody comes at once.
            let first = all_come(args, address, seen, false)?;
            let before = server.resident_bytes()?;
            shared.measuring.store(true, Ordering::Relaxed);
            drop(first);
            let served = all_come(args, address, seen, true)?;
            shared.measuring.store(false, Ordering::Relaxed);
            anyhow::Ok((before, served, server.resident_bytes()?))
        })();
        shared.stop.store(true, Ordering::Relaxed);
        let tally = steady.join().map_err(|_| anyhow!("the steady clients' thread panicked"))??;
        let (before, served, after) = storm?;
        Ok((before, served, after, tally))
    })
}

fn storm(args: &StormArgs, server: &mut Process, descriptors_max: u64) -> anyhow::Result<Outcome> {
    let seen = Seen::default();
    let shared = Shared::new();
    let steady_connections = 2 * args.steady as u64;
    let (before, served, after, tally) = with_steady(args, server, &seen, &shared)?;
    let peak = server.peak_bytes()?;
    let Served { good_ns, last, still } = served;
    take_leave(still)?;
    let (_, events_lost) = server.recorded()?;
    server.stop()?;
    let recorded = recorded(&args.tracemq, server)?;
    let mut latencies = tally.latencies;
    latencies.sort_unstable();
    let us = |share| percentile(&latencies, share).map_or(f64::NAN, |ns| ns as f64 / 1e3);
    let ms = |share| percentile(&good_ns, share).map_or(f64::NAN, |ns| ns as f64 / 1e6);
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Outcome {
        good: args.good,
        wrong: args.wrong,
        steady: args.steady,
        descriptors_max,
        connections: count(&seen.connections) + steady_connections,
        connections_recorded: recorded.connections,
        accepted: count(&seen.accepted) + steady_connections,
        accepted_recorded: recorded.accepted,
        refused: count(&seen.refused),
        unanswered: count(&seen.unanswered),
        intruders: count(&seen.intruders),
        events_recorded: recorded.events,
        events_lost,
        gaps: recorded.gaps,
        seconds_until_good_are_in: ms(1.0) / 1e3,
        seconds_until_all_are_answered: last.as_secs_f64(),
        good_p50_ms: ms(0.5),
        good_p99_ms: ms(0.99),
        messages_published: count(&shared.published),
        messages_delivered: count(&shared.delivered),
        messages_lost: tally.undelivered,
        message_p50_us: us(0.5),
        message_p99_us: us(0.99),
        message_max_us: us(1.0),
        resident_mib_before: mib(before),
        resident_mib_peak: mib(peak),
        resident_mib_after: mib(after),
    })
}

fn told(outcome: &Outcome, is_whole: bool) -> String {
    let Outcome { good, wrong, steady, connections, connections_recorded, accepted, accepted_recorded, .. } = outcome;
    let Outcome { refused, unanswered, intruders, events_recorded, events_lost, gaps, descriptors_max, .. } = outcome;
    let Outcome { messages_published, messages_delivered, messages_lost, .. } = outcome;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{good} clients come back at once, {wrong} more with a wrong password; {steady} publish (descriptors: {descriptors_max})\n\
         connections   {connections} made, {connections_recorded} with an end on record\n\
         accepted      {accepted} CONNACKs, {accepted_recorded} on record\n\
         refused       {refused} by a code, {unanswered} closed without one; wrong passwords let in: {intruders}\n\
         events        {events_recorded} recorded, {events_lost} lost, {gaps} gaps",
    );
    let _ = writeln!(
        text,
        "time          all good ones in after {:.2} s (median {:.0} ms, p99 {:.0} ms), all answered after {:.2} s",
        outcome.seconds_until_good_are_in,
        outcome.good_p50_ms,
        outcome.good_p99_ms,
        outcome.seconds_until_all_are_answered
    );
    let _ = writeln!(
        text,
        "messages      {messages_published} published with QoS 1, {messages_delivered} delivered, {messages_lost} lost; \
         during the storm p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        outcome.message_p50_us / 1e3,
        outcome.message_p99_us / 1e3,
        outcome.message_max_us / 1e3
    );
    let _ = writeln!(
        text,
        "memory        {:.0} MiB before, {:.0} at the peak, {:.0} after\n{}",
        outcome.resident_mib_before,
        outcome.resident_mib_peak,
        outcome.resident_mib_after,
        if is_whole { "nothing lost" } else { "LOST, or too much memory: see above" }
    );
    text
}

/// How many descriptors there may be, once the limit is raised as far as it goes.
pub(crate) fn descriptors_max() -> anyhow::Result<u64> {
    server::raise_descriptor_limit()?;
    Ok(rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX))
}
