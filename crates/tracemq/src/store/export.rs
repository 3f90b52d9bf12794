//! `tracemq store export`: events in the order of time, and the spans of which something is missing.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, anyhow, bail};
use jiff::Zoned;
use tempfile::NamedTempFile;
use tracemq_api::rest::time_words;
use tracemq_files::{FileError, ndjson, parquet};
use tracemq_model::{ClientId, Event, Gap, InstanceId, Subject, TimeMs, TimeRange};
use tracemq_segments::{FindingKind, Look, Selection};

use super::args::{ExportArgs, Format};
use super::check::{finding_told, lost_told};
use super::progress::Progress;
use super::words::{counted, moment};
use super::{cannot_look, events_dir, signals, usage};

/// How often progress is told, in events.
const EVENTS_A_TICK: u64 = 4_096;

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let selection = selection(args, &Zoned::now())?;
    let format = Format::of(args.format, &args.out);
    if format == Format::Parquet && is_stdout(&args.out) && stdout().is_terminal() {
        return Err(usage(
            "Parquet is nothing to look at on a terminal",
            "name a file: tracemq store export x.parquet",
        ));
    }
    let look = Look::open(&events_dir(args.place.data_dir.as_deref())).map_err(cannot_look)?;
    let is_unreadable = tell_findings(&look, selection.range)?;
    let out = Out::open(&args.out, args.force)?;
    let mut sink = match format {
        Format::Ndjson => Sink::Ndjson(ndjson::Writer::new(BufWriter::with_capacity(1 << 18, out.writer()?))),
        Format::Parquet => Sink::Parquet(Box::new(parquet::Writer::new(out.writer()?, parquet::ROWS_A_GROUP)?)),
    };
    let written = write(&look, &selection, &mut sink, out.is_file())?;
    sink.finish()?;
    out.keep()?;
    if !is_stdout(&args.out) {
        let what = format!("{} and {}", counted(written.events, "event"), counted(written.gaps, "gap"));
        writeln!(stderr(), "{what} written to {}", crate::shell::quoted(&args.out.to_string_lossy()))?;
    }
    for gap in &written.unreadable {
        let lost = gap.lost.map_or_else(|| "an unknown number of events".to_owned(), |lost| counted(lost, "event"));
        let (from, to) = (moment(gap.from), moment(gap.to));
        writeln!(stderr(), "incomplete: between {from} and {to}, {lost} can't be read")?;
    }
    if is_unreadable || !written.unreadable.is_empty() {
        bail!("the export lacks what can't be read; each span of it is written as a gap with cause `damaged`");
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn selection(args: &ExportArgs, now: &Zoned) -> anyhow::Result<Selection> {
    let time = |flag: &str, text: &Option<String>, latest: &Zoned| {
        let parsed = text.as_deref().map(|text| time_words::parse(text, now, latest)).transpose();
        parsed.map_err(|error| usage(&format!("{flag}: {error}"), "more about times: tracemq history --help"))
    };
    let until = time("--until", &args.until, now)?;
    let since = time("--since", &args.since, &time_words::latest_start(until.as_ref(), now))?;
    let ms = |time: Zoned| TimeMs(time.timestamp().as_millisecond());
    let (from, to) = (since.map_or(TimeMs::MIN, ms), until.map_or(TimeMs::MAX, ms));
    if from > to {
        return Err(usage("--since is after --until", "more about times: tracemq history --help"));
    }
    let bad = |flag: &str, error: &dyn std::fmt::Display| {
        usage(&format!("{flag}: {error}"), "see tracemq store export --help")
    };
    let instances: Result<_, _> = args.instance.iter().map(|id| InstanceId::new(id)).collect();
    let clients: Result<Vec<_>, _> = args.client.iter().map(|id| ClientId::new(id)).collect();
    let clients = clients.map_err(|error| bad("--client", &error))?.into_iter().map(Subject::Client);
    Ok(Selection {
        instances: instances.map_err(|error| bad("--instance", &error))?,
        range: TimeRange { from, to },
        subjects: clients.chain(args.address.iter().copied().map(Subject::Address)).collect(),
        actions: args.action.clone(),
        reasons: args.reason.clone(),
    })
}

/// Tells what was found damaged at the opening, and whether it can hold anything of `range`.
fn tell_findings(look: &Look, range: TimeRange) -> anyhow::Result<bool> {
    let mut is_damaged = false;
    for finding in look.findings().iter().filter(|finding| finding.kind == FindingKind::Damage) {
        writeln!(stderr(), "{}", finding_told(finding))?;
        let Some(lost) = &finding.lost else { continue };
        writeln!(stderr(), "  {}", lost_told(lost))?;
        let of = TimeRange { from: lost.from.unwrap_or(TimeMs::MIN), to: lost.to.unwrap_or(TimeMs::MAX) };
        is_damaged |= of.overlaps(range);
    }
    Ok(is_damaged)
}

/// What was written.
struct Written {
    events: u64,
    gaps: u64,
    /// What turned out to be damaged on the way.
    unreadable: Vec<Gap>,
}

/// Writes events and gaps by time; a gap comes before what happened in it.
fn write<W: Write + Send>(
    look: &Look,
    selection: &Selection,
    sink: &mut Sink<W>,
    with_progress: bool,
) -> anyhow::Result<Written> {
    // How many of a client, or for a reason, is not known before they are read.
    let is_by_time = selection.subjects.is_empty() && selection.actions.is_empty() && selection.reasons.is_empty();
    let total = if is_by_time { look.events_at_most(selection) } else { 0 };
    let progress = with_progress.then(|| Progress::of_events("exporting", total));
    let mut gaps = look.gaps(selection.range).into_iter().peekable();
    let mut written = Written { events: 0, gaps: 0, unreadable: Vec::new() };
    let mut failed = None;
    let mut step = |event: &Event| -> anyhow::Result<()> {
        while let Some(gap) = gaps.next_if(|gap| gap.from <= event.time) {
            sink.gap(gap)?;
            written.gaps += 1;
        }
        sink.event(event)?;
        written.events += 1;
        if let Some(progress) = progress.as_ref().filter(|_| written.events.is_multiple_of(EVENTS_A_TICK)) {
            progress.set(written.events);
        }
        Ok(())
    };
    let scanned = look.scan(selection, &mut |event| match step(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    written.unreadable = scanned?;
    for gap in gaps.chain(written.unreadable.clone()) {
        sink.gap(gap)?;
        written.gaps += 1;
    }
    Ok(written)
}

/// Where records go.
enum Sink<W: Write + Send> {
    Ndjson(ndjson::Writer<BufWriter<W>>),
    Parquet(Box<parquet::Writer<W>>),
}

impl<W: Write + Send> Sink<W> {
    fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        match self {
            Self::Ndjson(writer) => writer.event(event),
            Self::Parquet(writer) => writer.event(event),
        }
        .map_err(as_it_is)
    }

    fn gap(&mut self, gap: Gap) -> anyhow::Result<()> {
        match self {
            Self::Ndjson(writer) => writer.gap(gap).map_err(as_it_is)?,
            Self::Parquet(writer) => writer.gap(gap),
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Ndjson(writer) => writer.finish(),
            Self::Parquet(writer) => writer.finish(),
        }
        .map_err(as_it_is)
    }
}

/// What is known by its kind when the command ends: that nobody reads any more is no failure.
fn as_it_is(error: FileError) -> anyhow::Error {
    match error {
        FileError::Io(error) => error.into(),
        FileError::Parquet(_) | FileError::Json(_) | FileError::Unreadable(_) => error.into(),
    }
}

/// What is written to.
enum Out {
    Stdout,
    /// A pipe or a device.
    Special(File),
    /// A file that gets its name when it is whole. For its owner's eyes only: history names devices, users and addresses.
    File {
        unfinished: NamedTempFile,
        path: PathBuf,
        force: bool,
    },
}

impl Out {
    fn open(path: &Path, force: bool) -> anyhow::Result<Self> {
        if is_stdout(path) {
            return Ok(Self::Stdout);
        }
        let cannot = || format!("can't write {}", path.display());
        match path.metadata() {
            Ok(found) if found.is_dir() => {
                return Err(usage(&format!("{} is a folder", path.display()), "name a file in it"));
            }
            Ok(found) if !found.is_file() => {
                return Ok(Self::Special(OpenOptions::new().write(true).open(path).with_context(cannot)?));
            }
            Ok(_) if !force => return Err(exists(path)),
            Ok(_) | Err(_) => {}
        }
        let name = path.file_name().ok_or_else(|| anyhow!("{} names no file", path.display()))?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        let begin = format!("{}.", name.to_string_lossy());
        let part = Arc::new(OnceLock::<PathBuf>::new());
        let left = Arc::clone(&part);
        signals::at_the_first(move |ending| {
            if let Some(part) = left.get() {
                let _ = std::fs::remove_file(part);
            }
            let _ = writeln!(stderr(), "tracemq: stopped by a signal; nothing of the export is left");
            exit(ending as i32);
        })?;
        let unfinished = builder.prefix(&begin).suffix(".part").tempfile_in(folder).with_context(cannot)?;
        part.get_or_init(|| unfinished.path().to_owned());
        Ok(Self::File { unfinished, path: path.to_owned(), force })
    }

    fn writer(&self) -> anyhow::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => Box::new(stdout()),
            Self::Special(file) => Box::new(file.try_clone()?),
            Self::File { unfinished, .. } => Box::new(unfinished.as_file().try_clone()?),
        })
    }

    fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    fn keep(self) -> anyhow::Result<()> {
        if let Self::File { unfinished, path, force } = self {
            unfinished.as_file().sync_all()?;
            let kept = if force { unfinished.persist(&path) } else { unfinished.persist_noclobber(&path) };
            kept.map_err(|error| {
                if error.error.kind() == ErrorKind::AlreadyExists {
                    return exists(&path);
                }
                anyhow::Error::new(error.error).context(format!("can't write {}", path.display()))
            })?;
        }
        Ok(())
    }
}

fn exists(path: &Path) -> anyhow::Error {
    usage(&format!("{} exists already", path.display()), "name another file, or replace it with --force")
}
