//! `tracemq store import`: puts events into the store of a stopped server.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read, Seek, Write, stderr, stdin};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use tracemq_model::TimeMs;
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore};

use super::args::{Format, ImportArgs};
use super::ndjson::{self, Record};
use super::progress::Progress;
use super::words::counted;
use super::{events_dir, parquet};

/// Events in a durable write.
const BATCH_EVENTS: usize = 4_096;
/// So many bad records are shown.
const SHOWN_MAX: u64 = 20;
/// As a server merges whose store may take a gigabyte, which is the default: retention deletes whole segments.
const SEGMENT_EVENTS: u64 = 8 << 20;

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let format = Format::of(args.format, &args.input);
    // First: a name that was mistyped makes no folder.
    let input = Input::open(&args.input)?;
    let dir = events_dir(args.place.data_dir.as_deref());
    if let Some(data_dir) = dir.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .with_context(|| format!("can't make the data folder {}", data_dir.display()))?;
    }
    let settings = SegmentSettings { segment_events: SEGMENT_EVENTS, ..SegmentSettings::default() };
    let (store, _) = Segments::open(&dir, settings)?;
    let mut import = Import {
        store,
        batch: Batch::default(),
        events: 0,
        gaps: 0,
        left_out: 0,
        latest: None,
        keep_going: args.keep_going,
        unit: if format == Format::Parquet { "row" } else { "line" },
        progress: match format {
            Format::Ndjson => Progress::of_bytes("importing", input.bytes),
            Format::Parquet => Progress::of_events("importing", 0),
        },
        read: Arc::clone(&input.read),
    };
    let result = input.each(format, &mut |number, record| import.take(number, record));
    import.finish(result)
}

/// An import under way.
struct Import {
    store: Segments,
    batch: Batch,
    events: u64,
    gaps: u64,
    left_out: u64,
    /// The latest moment of which something is known.
    latest: Option<TimeMs>,
    keep_going: bool,
    unit: &'static str,
    progress: Progress,
    read: Arc<AtomicU64>,
}

impl Import {
    fn take(&mut self, number: u64, record: Result<Record, String>) -> anyhow::Result<()> {
        match record {
            Ok(Record::Event(event)) => {
                self.latest = self.latest.max(Some(event.time));
                self.batch.events.push(*event);
            }
            Ok(Record::Gap(gap)) => self.batch.gaps.push(gap),
            Err(what) if self.keep_going => {
                self.left_out += 1;
                if self.left_out <= SHOWN_MAX {
                    self.progress.say(&format!("left out: {} {number}: {what}", self.unit));
                }
            }
            Err(what) => bail!("{} {number}: {what}", self.unit),
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
        self.store.append(&self.batch)?;
        self.events += self.batch.events.len() as u64;
        self.gaps += self.batch.gaps.len() as u64;
        self.batch.events.clear();
        self.batch.gaps.clear();
        // Of a table it is not known how much of the file was read.
        let read = self.read.load(Ordering::Relaxed);
        self.progress.set(if read > 0 { read } else { self.events });
        Ok(())
    }

    fn finish(mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        // What came before a bad line is kept, too: how much that is, is said.
        let result = result.and(self.append());
        let what = format!("{} and {} imported", counted(self.events, "event"), counted(self.gaps, "gap"));
        if let Err(error) = result {
            return Err(error.context(format!("{what}, then it ended; what was imported twice is there twice")));
        }
        self.mark()?;
        let Self { store, progress, left_out, unit, .. } = self;
        drop(progress);
        {
            let merging = Progress::of_share("merging");
            store.settle(&mut |share| merging.share(share))?;
        }
        writeln!(stderr(), "{what}")?;
        if left_out > 0 {
            bail!("{} left out", counted(left_out, unit));
        }
        Ok(())
    }

    /// Says up to when there was a recorder, so that the next start knows from when on nothing was recorded.
    fn mark(&self) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now = TimeMs(i64::try_from(now).unwrap_or(i64::MAX));
        match self.latest {
            Some(latest) if self.store.last_alive().is_none() => Ok(self.store.mark_alive(latest.min(now))?),
            Some(_) | None => Ok(()),
        }
    }
}

/// What is read.
struct Input {
    source: Source,
    /// How long it is; 0 when that is not known.
    bytes: u64,
    /// How much was read.
    read: Arc<AtomicU64>,
}

enum Source {
    Stdin,
    File(File),
}

impl Input {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let read = Arc::default();
        if path == Path::new("-") {
            return Ok(Self { source: Source::Stdin, bytes: 0, read });
        }
        let cannot = || format!("can't read {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        let found = file.metadata().with_context(cannot)?;
        if found.is_dir() {
            bail!("{} is a folder", path.display());
        }
        Ok(Self { bytes: if found.is_file() { found.len() } else { 0 }, source: Source::File(file), read })
    }

    fn each(
        self,
        format: Format,
        take: &mut dyn FnMut(u64, Result<Record, String>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let counted = |inner: Box<dyn Read>| Counted { inner, read: Arc::clone(&self.read) };
        match (format, self.source) {
            (Format::Ndjson, source) => {
                let input: Box<dyn Read> = match source {
                    Source::Stdin => Box::new(stdin()),
                    Source::File(file) => Box::new(file),
                };
                ndjson::each(&mut BufReader::with_capacity(1 << 18, counted(input)), take)
            }
            (Format::Parquet, Source::File(file)) if self.bytes > 0 => parquet::each(file, take),
            // Parquet is read from its end.
            (Format::Parquet, source) => {
                let mut whole = tempfile::tempfile().context("can't make a temporary file")?;
                let copied = match source {
                    Source::Stdin => io::copy(&mut stdin().lock(), &mut whole),
                    Source::File(mut file) => io::copy(&mut file, &mut whole),
                };
                copied.context("can't keep the input in a temporary file")?;
                whole.rewind()?;
                parquet::each(whole, take)
            }
        }
    }
}

/// Counts what is read.
struct Counted {
    inner: Box<dyn Read>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
