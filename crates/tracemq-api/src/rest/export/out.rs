//! How an export is written: piece by piece, as fast as it is read at the other end.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use http_body_util::channel::Sender;
use serde::Serialize;
use tokio::runtime::Handle;
use tracemq_files::{FileError, parquet};
use tracemq_model::{Event, Filter, Gap, Order};
use tracemq_store::EventStore;

use super::Format;
use crate::rest::row::{EventRow, GapRow};
use crate::rest::table::{COLUMNS, cells};

/// So much is gathered before it is sent.
const CHUNK_BYTES: usize = 64 * 1_024;
/// Rows of a Parquet file that are held until they are written: some 8 MB.
const ROWS_A_GROUP: usize = 8_192;

/// Writes what `filter` takes, and the gaps. Whatever fails breaks the answer off, so that nobody takes a part for the whole.
pub(super) fn write(format: Format, pipe: Pipe, store: &dyn EventStore, filter: &Filter, order: Order, gaps: &[Gap]) {
    let end = pipe.end.clone();
    if let Err(error) = written(format, pipe, store, filter, order, gaps)
        && end.break_off()
    {
        tracing::error!(error = &*error, "an export failed");
    }
}

fn written(
    format: Format,
    pipe: Pipe,
    store: &dyn EventStore,
    filter: &Filter,
    order: Order,
    gaps: &[Gap],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut table = Table::begin(format, pipe, gaps)?;
    let mut failed = None;
    store.scan(filter, order, &mut |event| match table.event(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(table.finish()?),
    }
}

/// What is written into.
enum Table {
    Ndjson(Pipe),
    Csv(Box<csv::Writer<Pipe>>),
    Parquet(Box<parquet::Writer<Pipe>>),
}

#[derive(Serialize)]
struct GapLine {
    gap: GapRow,
}

impl Table {
    fn begin(format: Format, mut pipe: Pipe, gaps: &[Gap]) -> Result<Self, FileError> {
        Ok(match format {
            Format::Ndjson => {
                gaps.iter().try_for_each(|gap| pipe.line(&GapLine { gap: GapRow::of(*gap) }))?;
                Self::Ndjson(pipe)
            }
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(pipe);
                writer.write_record(COLUMNS).map_err(io::Error::from)?;
                Self::Csv(Box::new(writer))
            }
            Format::Parquet => {
                let mut writer = parquet::Writer::new(pipe, ROWS_A_GROUP)?;
                gaps.iter().for_each(|gap| writer.gap(*gap));
                Self::Parquet(Box::new(writer))
            }
        })
    }

    fn event(&mut self, event: &Event) -> Result<(), FileError> {
        match self {
            Self::Ndjson(pipe) => pipe.line(&EventRow::of(event)),
            Self::Csv(writer) => Ok(writer.write_record(cells(&EventRow::of(event))).map_err(io::Error::from)?),
            Self::Parquet(writer) => writer.event(event),
        }
    }

    fn finish(self) -> Result<(), FileError> {
        match self {
            Self::Ndjson(mut pipe) => Ok(pipe.flush()?),
            Self::Csv(mut writer) => Ok(writer.flush()?),
            Self::Parquet(writer) => writer.finish(),
        }
    }
}

/// The answer's body. What is written waits until it is read at the other end.
pub(super) struct Pipe {
    pending: Vec<u8>,
    end: End,
    runtime: Handle,
}

/// Where it is read; none when nobody does any more.
#[derive(Clone)]
struct End(Arc<Mutex<Option<Sender<Bytes, io::Error>>>>);

impl Pipe {
    pub(super) fn new(sender: Sender<Bytes, io::Error>, runtime: Handle) -> Self {
        Self { pending: Vec::new(), end: End(Arc::new(Mutex::new(Some(sender)))), runtime }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        serde_json::to_writer(&mut *self, line)?;
        Ok(self.write_all(b"\n")?)
    }
}

impl End {
    /// Whether somebody still read.
    fn break_off(&self) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        sender.map(|sender| sender.abort(io::Error::other("the export failed"))).is_some()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        let mut sender = self.end.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.as_mut().is_some_and(|sender| self.runtime.block_on(sender.send_data(chunk)).is_ok()) {
            return Ok(());
        }
        *sender = None;
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads any more"))
    }
}
