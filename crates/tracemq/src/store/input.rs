//! What an import reads: a file or standard input, NDJSON or Parquet, whichever the first bytes say.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tracemq_files::{Record, ndjson, parquet};

use super::args::Format;
use super::usage;

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";

/// Takes records, with the number of each from 1 on, or what is wrong with them.
pub(super) type Take<'a> = dyn FnMut(Place, Result<Record, String>) -> anyhow::Result<()> + 'a;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `line` or `row`.
    pub(super) unit: &'static str,
    /// From 1 on.
    pub(super) number: u64,
}

/// What is read.
pub(super) struct Input {
    /// How long it is; 0 when that is not known.
    pub(super) bytes: u64,
    /// How many rows it has, where that is written in it.
    pub(super) rows: Option<u64>,
    /// How much was read.
    pub(super) read: Arc<AtomicU64>,
    source: Source,
    wanted: Wanted,
}

enum Source {
    Stdin,
    /// A pipe or a device: what was read of it is gone.
    Special(File),
    File(File, Format),
}

/// What it should be.
struct Wanted {
    name: String,
    asked: Option<Format>,
    is_named_parquet: bool,
}

impl Input {
    /// Opens the file at `path`, or standard input, which people call `name`.
    ///
    /// # Errors
    /// When it can't be read, is a folder, or is not of the format asked for.
    pub(super) fn open(path: &Path, name: &str, asked: Option<Format>) -> anyhow::Result<Self> {
        let is_named_parquet = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
        let wanted = Wanted { name: name.to_owned(), asked, is_named_parquet };
        let input = Self { bytes: 0, rows: None, read: Arc::default(), source: Source::Stdin, wanted };
        if path == Path::new("-") {
            return Ok(input);
        }
        let cannot = || format!("can't read {name}");
        let mut file = File::open(path).with_context(cannot)?;
        let found = file.metadata().with_context(cannot)?;
        if found.is_dir() {
            let next = "name a file that `tracemq store export` wrote; where to import it to is said with --data-dir";
            return Err(usage(&format!("{name} is a folder"), next));
        }
        if !found.is_file() {
            return Ok(Self { source: Source::Special(file), ..input });
        }
        let head = head(&mut file).with_context(cannot)?;
        file.rewind().with_context(cannot)?;
        let format = input.wanted.format(&head)?;
        let rows = match format {
            Format::Ndjson => None,
            Format::Parquet => Some(parquet::rows(&file).with_context(|| name.to_owned())?),
        };
        Ok(Self { bytes: found.len(), rows, source: Source::File(file, format), ..input })
    }

    /// Hands all records to `take`.
    ///
    /// # Errors
    /// When `take` gives one, or the input can't be read.
    pub(super) fn each(self, take: &mut Take<'_>) -> anyhow::Result<()> {
        let Self { read, source, wanted, .. } = self;
        each_of(source, read, &wanted, take).with_context(|| wanted.name)
    }
}

fn each_of(source: Source, read: Arc<AtomicU64>, wanted: &Wanted, take: &mut Take<'_>) -> anyhow::Result<()> {
    let inner: Box<dyn Read> = match source {
        Source::File(file, Format::Parquet) => return rows(file, take),
        Source::File(file, Format::Ndjson) | Source::Special(file) => Box::new(file),
        Source::Stdin => Box::new(stdin()),
    };
    let mut source = Counted { inner, read };
    let head = head(&mut source)?;
    let format = wanted.format(&head)?;
    let mut source = Cursor::new(head).chain(source);
    match format {
        Format::Ndjson => ndjson::each(&mut BufReader::with_capacity(1 << 18, source), &mut |number, record| {
            take(Place { unit: "line", number }, record)
        }),
        // Parquet is read from its end.
        Format::Parquet => {
            let mut whole = tempfile::tempfile().context("can't make a temporary file")?;
            io::copy(&mut source, &mut whole).context("can't keep it in a temporary file")?;
            whole.rewind()?;
            rows(whole, take)
        }
    }
}

fn rows(file: File, take: &mut Take<'_>) -> anyhow::Result<()> {
    parquet::each(file, &mut |number, record| take(Place { unit: "row", number }, record))
}

fn head(source: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.take(PARQUET.len() as u64).read_to_end(&mut head)?;
    Ok(head)
}

impl Wanted {
    /// The format that `head` is the beginning of.
    fn format(&self, head: &[u8]) -> anyhow::Result<Format> {
        let (is_parquet, is_json) = (head == PARQUET, head.trim_ascii_start().starts_with(b"{"));
        let other = |what: &str| {
            let next = "leave out --format: what a file is, is seen from its first bytes";
            Err(usage(&format!("{} is {what}", self.name), next))
        };
        match self.asked {
            Some(Format::Ndjson) if is_parquet => other("a Parquet file, not NDJSON"),
            Some(Format::Parquet) if is_json => other("NDJSON, not a Parquet file"),
            Some(asked) => Ok(asked),
            // By its name alone: then it is said that it is no whole one.
            None if is_parquet || self.is_named_parquet && !is_json => Ok(Format::Parquet),
            None => Ok(Format::Ndjson),
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
