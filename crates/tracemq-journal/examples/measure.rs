//! Measures a journal: `cargo run --release -p tracemq-journal --example measure -- <folder> [events] [clients]`.
//!
//! Appends batches of 2,000 realistic events (connects and ends, interleaved over the clients), then opens the folder
//! anew, and asks for pages. The folder must be empty; what was written stays there.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tracemq_journal::{Journal, JournalSettings};
use tracemq_model::{Acceptance, ClientId, ConnectRequest, ConnectionIds, End, Event, InstanceId, Lifecycle};
use tracemq_model::{Meter, Observation, Opening, Order, ProtocolVersion, Reason, Subject, TimeMs, TimeRange};
use tracemq_model::{TraceQuery, Traffic};
use tracemq_store::{Batch, EventStore};

const BATCH: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let events: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let clients: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let settings = JournalSettings { total_bytes_max: 16 << 30, ..JournalSettings::default() };

    let batches = batches(events, clients)?;
    let before = resident_bytes();
    let (journal, _) = Journal::open(&dir, settings)?;
    let started = Instant::now();
    for batch in &batches {
        journal.append(batch)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let stats = journal.stats();
    println!(
        "append   {events} events in {seconds:.3} s with a sync each {BATCH}: {:.0} events/s",
        per(events, seconds)
    );
    println!("disk     {:.1} bytes an event", ratio(stats.bytes, stats.events));
    println!("memory   {:.0} bytes an event, {clients} clients", ratio(resident_bytes() - before, stats.events));
    drop(journal);
    drop(batches);

    let started = Instant::now();
    let (journal, recovery) = Journal::open(&dir, settings)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("open     {} events in {seconds:.3} s: {:.0} events/s", recovery.events, per(events, seconds));

    let started = Instant::now();
    let mut rows = 0;
    for client in 0..10_000 {
        rows += journal.page(&query(client % clients)?)?.events.len();
    }
    println!("page     {:.1} us each, {} rows each", started.elapsed().as_secs_f64() * 100.0, rows / 10_000);
    Ok(())
}

fn query(client: usize) -> Result<TraceQuery, Box<dyn Error>> {
    Ok(TraceQuery {
        instance: InstanceId::new("mqtt-local")?,
        subject: Subject::Client(client_id(client)?),
        range: TimeRange::ALL,
        order: Order::NewestFirst,
        offset: 0,
        limit: 100,
    })
}

fn client_id(client: usize) -> Result<ClientId, Box<dyn Error>> {
    Ok(ClientId::new(&format!("GID_fleet@@@dev-{client:08}"))?)
}

fn batches(events: usize, clients: usize) -> Result<Vec<Batch>, Box<dyn Error>> {
    let instance = InstanceId::new("mqtt-local")?;
    let listener: Arc<str> = "mqtt".into();
    let mut ids = ConnectionIds::new(0xdead_beef);
    let mut batches = vec![Batch::default()];
    let mut time = TimeMs(1_763_800_000_000);
    for connection in 0..events / 2 {
        time = time.plus(i64::from(connection % 20 == 0));
        let client = connection.wrapping_mul(7_919) % clients;
        let opening = Opening {
            instance: instance.clone(),
            connection: ids.next(time),
            peer: format!("10.{}.{}.7:{}", client / 256 % 256, client % 256, 1_024 + connection % 60_000).parse()?,
            listener: Arc::clone(&listener),
        };
        for event in life(opening, client, time)? {
            if batches.last().is_none_or(|batch| batch.events.len() == BATCH) {
                batches.push(Batch::default());
            }
            if let Some(batch) = batches.last_mut() {
                batch.events.push(event);
            }
        }
    }
    Ok(batches)
}

fn life(opening: Opening, client: usize, time: TimeMs) -> Result<Vec<Event>, Box<dyn Error>> {
    let mut lifecycle = Lifecycle::new(opening);
    let meter = Meter {
        duration_ms: 61_234,
        traffic: Some(Traffic {
            bytes_in: 4_711,
            bytes_out: 815,
            packets_in: 61,
            packets_out: 62,
            last_in_age_ms: Some(90_001),
            last_out_age_ms: Some(30_001),
        }),
    };
    let request = ConnectRequest {
        client: Some(client_id(client)?),
        username: Some(format!("user-{client}").into()),
        protocol: Some(ProtocolVersion::V311),
        keep_alive_s: 60,
        clean_start: true,
    };
    let accepted = Acceptance { assigned: None, keep_alive_s: 60, session_present: false };
    let seen = [
        Observation::ConnectReceived(request),
        Observation::ConnectAccepted(accepted),
        Observation::Ended(End::of(Reason::KeepAliveTimeout)),
    ];
    Ok(seen.into_iter().filter_map(|observation| lifecycle.observe(time, observation, &meter)).collect())
}

/// What this process holds in memory, in bytes; 0 where that can't be read.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

fn per(events: usize, seconds: f64) -> f64 {
    f64::from(u32::try_from(events).unwrap_or(u32::MAX)) / seconds
}

fn ratio(bytes: u64, events: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1_024).unwrap_or(u32::MAX)) * 1_024.0
        / f64::from(u32::try_from(events.max(1)).unwrap_or(u32::MAX))
}
