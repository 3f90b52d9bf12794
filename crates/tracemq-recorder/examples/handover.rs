//! Measures what recording costs the connection path:
//! `cargo run --release -p tracemq-recorder --example handover -- <folder> [events a second]`.
//!
//! Two threads hand events over at that rate, in all, for ten seconds, to a recorder on a store in an empty folder;
//! each call is timed.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Provenance, Reason, TimeMs};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_segments::{SegmentSettings, Segments};

const THREADS: u32 = 2;
const SECONDS: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let rate: u32 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let (segments, _) = Segments::open(&dir, SegmentSettings::default())?;
    let recorder = Recorder::start(Arc::new(segments), Arc::new(|| TimeMs(0)), RecorderSettings::default())?;
    let event = Event {
        time: TimeMs(0),
        instance: InstanceId::new("mqtt-local")?,
        connection: ConnectionId(1),
        action: Action::Connect,
        reason: Reason::Accepted,
        provenance: Provenance::Observed,
        client: None,
        peer: Some("10.0.0.7:1024".parse()?),
        details: Details { listener: Some("mqtt".into()), keep_alive_s: Some(60), ..Details::default() },
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (recorder, event) = (recorder.clone(), event.clone());
            thread::spawn(move || hand_over(&recorder, &event, rate / THREADS))
        })
        .collect();
    let mut nanoseconds: Vec<u64> = threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect();
    let counts = recorder.stop(Duration::from_secs(60));
    nanoseconds.sort_unstable();
    for percent in [50, 99] {
        println!("p{percent}    {} ns", nanoseconds.get(nanoseconds.len() * percent / 100).unwrap_or(&0));
    }
    println!("p99.99 {} ns", nanoseconds.get(nanoseconds.len() / 10_000 * 9_999).unwrap_or(&0));
    println!("worst  {} ns", nanoseconds.last().unwrap_or(&0));
    println!("{} recorded in {} batches, {} lost", counts.recorded, counts.batches, counts.lost.total());
    Ok(())
}

fn hand_over(recorder: &Recorder, event: &Event, rate: u32) -> Vec<u64> {
    let started = Instant::now();
    let pause = Duration::from_secs(1) / rate.max(1);
    let mut nanoseconds = Vec::new();
    for number in 0..rate * SECONDS {
        let client = ClientId::new(&format!("device-{}", number % 50_000)).ok();
        let event = Event { client, ..event.clone() };
        while started.elapsed() < pause * number {
            std::hint::spin_loop();
        }
        let call = Instant::now();
        recorder.record(event);
        nanoseconds.push(u64::try_from(call.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    nanoseconds
}
