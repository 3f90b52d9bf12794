//! `tracemq store import`: puts events into the store of a stopped server.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{Write as _, stderr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use tracemq_files::Record;
use tracemq_model::TimeMs;
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore};

use super::args::ImportArgs;
use super::input::{Input, Place};
use super::known::{Known, TakenOut};
use super::progress::Progress;
use super::words::counted;
use super::{events_dir, signals};
use crate::exit::{Ended, Ending};

/// Events in a durable write.
const BATCH_EVENTS: usize = 4_096;
/// So many bad records are shown.
const SHOWN_MAX: u64 = 20;
/// Some 270 MB. A server may be told to keep little, and retention deletes whole segments: it merges on as it is told.
const SEGMENT_EVENTS: u64 = 1 << 24;
/// Records that were read and wait to be taken, each of 64 KiB at most and mostly some hundred bytes.
const RECORDS_WAITING: usize = 512;

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let name = match args.input.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => crate::shell::quoted(&args.input.to_string_lossy()).into_owned(),
    };
    // First: a name that was mistyped makes no folder.
    let input = Input::open(&args.input, &name, args.format)?;
    let dir = events_dir(args.place.data_dir.as_deref());
    // A new one is made for the first good record.
    let store = if dir.exists() { Some(Store::open(&dir)?) } else { None };
    let progress = match input.rows {
        Some(rows) => Progress::of_events("importing", rows),
        None => Progress::of_bytes("importing", input.bytes),
    };
    let mut import = Import {
        name,
        dir,
        store,
        batch: Batch::default(),
        events: 0,
        gaps: 0,
        known: TakenOut::default(),
        left_out: 0,
        latest: None,
        keep_going: args.keep_going,
        again: args.again,
        progress,
        read: Arc::clone(&input.read),
    };
    let asked_to_stop = Arc::new(AtomicI32::new(0));
    let result = import.take_all(&steps(input, Arc::clone(&asked_to_stop))?);
    import.finish(result, &asked_to_stop)
}

/// What comes next.
enum Step {
    Record(Place, Result<Record, String>),
    End(anyhow::Result<()>),
    Stop(Ending),
}

/// The records of `input`, read by a thread of its own, so that a signal is heard also while nothing comes. The signal leaves
/// the exit status that it asks for in `asked_to_stop` as well.
fn steps(input: Input, asked_to_stop: Arc<AtomicI32>) -> anyhow::Result<Receiver<Step>> {
    let (send, steps) = sync_channel(RECORDS_WAITING);
    let stop = send.clone();
    signals::at_the_first(move |ending| {
        asked_to_stop.store(ending as i32, Ordering::Relaxed);
        let _ = stop.send(Step::Stop(ending)); // when all was taken, nobody waits for it
    })?;
    let reading = move || {
        let result = input.each(&mut |place, record| Ok(send.send(Step::Record(place, record))?));
        let _ = send.send(Step::End(result));
    };
    thread::Builder::new().name("import-reader".into()).spawn(reading).context("can't start a thread")?;
    Ok(steps)
}

/// The store that is imported into, and what it has already.
struct Store {
    segments: Segments,
    known: Known,
}

impl Store {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        if let Some(data_dir) = dir.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(data_dir)
                .with_context(|| format!("can't make the data folder {}", data_dir.display()))?;
        }
        let settings = SegmentSettings { segment_events: SEGMENT_EVENTS, ..SegmentSettings::default() };
        let (segments, _) = Segments::open(dir, settings)?;
        Ok(Self { known: Known::of(&segments), segments })
    }
}

/// An import under way.
struct Import {
    name: String,
    dir: PathBuf,
    store: Option<Store>,
    batch: Batch,
    events: u64,
    gaps: u64,
    /// What was there already.
    known: TakenOut,
    left_out: u64,
    /// The latest moment of which something is known.
    latest: Option<TimeMs>,
    keep_going: bool,
    again: bool,
    progress: Progress,
    read: Arc<AtomicU64>,
}

impl Import {
    fn take_all(&mut self, steps: &Receiver<Step>) -> anyhow::Result<()> {
        for step in steps {
            match step {
                Step::Record(place, record) => self.take(place, record)?,
                Step::End(result) => return result,
                Step::Stop(ending) => {
                    let what = format!("stopped by a signal within {}", self.name);
                    return Err(Ended { ending, what, next: String::new() }.into());
                }
            }
        }
        Err(anyhow!("{}: whoever read it is gone", self.name))
    }

    fn take(&mut self, place: Place, record: Result<Record, String>) -> anyhow::Result<()> {
        match record {
            Ok(Record::Event(event)) => {
                self.latest = self.latest.max(Some(event.time));
                self.batch.events.push(*event);
            }
            Ok(Record::Gap(gap)) => self.batch.gaps.push(gap),
            Err(what) => {
                let what = format!("{}, {} {}: {what}", self.name, place.unit, place.number);
                if !self.keep_going {
                    let next = "mend it, or leave out what can't be read with --keep-going".to_owned();
                    return Err(Ended { ending: Ending::Failed, what, next }.into());
                }
                self.left_out += 1;
                if self.left_out <= SHOWN_MAX {
                    self.progress.say(&format!("left out: {what}"));
                }
            }
        }
        if self.batch.events.len() >= BATCH_EVENTS || self.batch.gaps.len() >= BATCH_EVENTS {
            self.append()?;
        }
        Ok(())
    }

    fn append(&mut self) -> anyhow::Result<()> {
        if self.batch == Batch::default() {
            return Ok(());
        }
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(Store::open(&self.dir)?),
        };
        if !self.again {
            let taken = store.known.take_out(&store.segments, &mut self.batch)?;
            self.known.events += taken.events;
            self.known.gaps += taken.gaps;
        }
        if self.batch != Batch::default() {
            store.segments.append(&self.batch)?;
        }
        self.events += self.batch.events.len() as u64;
        self.gaps += self.batch.gaps.len() as u64;
        self.batch.events.clear();
        self.batch.gaps.clear();
        // Of a table it is not known how much of the file was read.
        let read = self.read.load(Ordering::Relaxed);
        self.progress.set(if read > 0 { read } else { self.events + self.known.events });
        Ok(())
    }

    /// What came of it, up to now.
    fn told(&self) -> String {
        let both = |events, gaps| format!("{} and {}", counted(events, "event"), counted(gaps, "gap"));
        let mut told = format!("{} imported", both(self.events, self.gaps));
        if self.known != TakenOut::default() {
            let _ = write!(told, "; {} were there already", both(self.known.events, self.known.gaps));
        }
        told
    }

    fn finish(mut self, result: anyhow::Result<()>, asked_to_stop: &AtomicI32) -> anyhow::Result<()> {
        // What came before a bad line is kept, too: how much that is, is said.
        let appended = self.append();
        let result = result.and(appended);
        if result.is_ok() && self.is_nothing() {
            writeln!(stderr(), "{} holds no events: nothing was imported", self.name)?;
            return Ok(());
        }
        let marked = self.mark();
        let told = self.told();
        let ended = result.and(marked).map_err(|error| self.ended(&error, &told));
        let Self { name, store, progress, left_out, events, gaps, .. } = self;
        drop(progress);
        if let Some(Store { segments, .. }) = store {
            let _writing = Progress::of_time("writing what arrived last");
            if ended.is_ok() && events + gaps > 0 {
                merge(&segments, asked_to_stop)?;
            }
            drop(segments);
        }
        ended?;
        writeln!(stderr(), "{told}")?;
        match left_out {
            0 => Ok(()),
            _ => Err(anyhow!("{} of {name} left out", counted(left_out, "record"))),
        }
    }

    fn is_nothing(&self) -> bool {
        self.events + self.gaps + self.left_out == 0 && self.known == TakenOut::default()
    }

    /// The end that `error` makes of it, and what to do.
    fn ended(&self, error: &anyhow::Error, told: &str) -> anyhow::Error {
        let (ending, what, way_out) = match error.downcast_ref::<Ended>() {
            Some(Ended { ending, what, next }) => (*ending, what.clone(), next.clone()),
            None if self.is_nothing() => return anyhow!("{error:#}"),
            None => (Ending::Failed, format!("{error:#}"), String::new()),
        };
        let on = if self.again {
            "what was imported will be there twice when it is imported with --again once more"
        } else {
            "the same command goes on from there, for what the store has already is passed over"
        };
        let mut next = vec![way_out];
        next.retain(|way_out| !way_out.is_empty());
        if next.is_empty() || !self.is_nothing() {
            next.extend([format!("{told} before that"), on.to_owned()]);
        }
        Ended { ending, what, next: next.join("; ") }.into()
    }

    /// Says up to when there was a recorder, so that the next start knows from when on nothing was recorded.
    fn mark(&self) -> anyhow::Result<()> {
        let Some(Store { segments: store, .. }) = &self.store else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now = TimeMs(i64::try_from(now).unwrap_or(i64::MAX));
        match self.latest {
            Some(latest) if store.last_alive().is_none() => Ok(store.mark_alive(latest.min(now))?),
            Some(_) | None => Ok(()),
        }
    }
}

/// Leaves the store as it would be after a quiet while. A signal ends the process, which loses nothing.
fn merge(store: &Segments, asked_to_stop: &AtomicI32) -> anyhow::Result<()> {
    let line = Progress::of_share("merging");
    let merged = store.settle(&mut |share| {
        line.share(share);
        let status = asked_to_stop.load(Ordering::Relaxed);
        if status != 0 {
            line.say("stopped while merging: all is imported, and the server goes on with it");
            exit(status);
        }
    });
    Ok(merged?)
}
