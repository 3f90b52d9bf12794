//! All events that are asked for, in one answer, while they are read: nothing but the part under way is held.

use std::io;
use std::ops::ControlFlow;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tracemq_model::{ClientId, Event, Filter, Gap, Order, Subject};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::call::{Call, InstanceParameter, counted};
use super::parameters::{FilterParameters, OrderParameter, RangeParameters};
use super::problem::Problems;
use super::row::{EventRow, GapRow};
use super::table::{COLUMNS, cells};
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::metrics::Outcome;
use crate::state::Shared;

/// So much is gathered before it is sent.
const CHUNK_BYTES: usize = 64 * 1_024;

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportParameters {
    /// `ndjson`: a JSON object a line; `csv`: a table with a line of names.
    #[param(value_type = Option<FormatWord>, default = "ndjson")]
    format: Option<String>,
    /// Only of this client.
    client: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document alone")]
enum FormatWord {
    Ndjson,
    Csv,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
}

/// Export events
///
/// All that is asked for in one answer, of any length, by time. In NDJSON the spans for which the record is incomplete come first, as
/// `{"gap": ...}`; the header `x-tracemq-gaps` has their number in both formats. In CSV a text that begins with `=`, `+`, `-`, `@`, a
/// tab, a carriage return or `'` gets a `'` before it, so that no spreadsheet takes it for a formula.
#[utoipa::path(
    get,
    path = "/api/v1/export",
    tag = "Fleet",
    params(ExportParameters, RangeParameters, FilterParameters, OrderParameter, InstanceParameter),
    responses((status = 200, content_type = "application/x-ndjson", body = String), Problems)
)]
pub(crate) async fn export(State(app): State<Shared>, request: Parts) -> Response {
    match begin(&app, &request).await {
        Ok(response) => counted(&app, Outcome::Success, response),
        Err(problem) => {
            let response = problem.into_response();
            counted(&app, Outcome::of(response.status()), response)
        }
    }
}

async fn begin(app: &Shared, request: &Parts) -> Result<Response, Problem> {
    let mut call = Call::begin(app, request)?;
    let (sent, range): (ExportParameters, RangeParameters) = (call.parameters()?, call.parameters()?);
    let (filter, order): (FilterParameters, OrderParameter) = (call.parameters()?, call.parameters()?);
    let call = call.allowed(PERMISSIONS)?;
    let format = sent.format()?;
    let client = sent.client.map(|name| ClientId::new(&name).map_err(|error| Problem::field("client", &error)));
    let subject = client.transpose()?.map(Subject::Client);
    let (range, order) = (range.read(call.now)?, order.read()?);
    let filter = filter.read(call.instance.id, range, subject)?;
    let unstored = app.unstored.clone();
    let gaps = app.lookup.ask(move |store| {
        let unstored = unstored.gaps();
        store.gaps(range).map(|stored| merged(stored, &unstored, range))
    });
    let gaps = gaps.await.map_err(|error| Problem::lookup(&error))?;
    let count = HeaderValue::from(gaps.len());
    let (sender, body) = Channel::<Bytes, io::Error>::new(1);
    let out = Out { format, pending: Vec::new(), sender, runtime: Handle::current() };
    let work = move |store: &dyn tracemq_store::EventStore| out.write(store, &filter, order, &gaps);
    app.lookup.begin_long(work).await.map_err(|error| Problem::lookup(&error))?;
    let mut response = Body::new(body).into_response();
    let (kind, name) = match format {
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"events.ndjson\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"events.csv\""),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    headers.insert("x-tracemq-gaps", count);
    Ok(response)
}

impl ExportParameters {
    fn format(&self) -> Result<Format, Problem> {
        match self.format.as_deref() {
            None | Some("ndjson") => Ok(Format::Ndjson),
            Some("csv") => Ok(Format::Csv),
            Some(_) => Err(Problem::field("format", &"must be ndjson or csv")),
        }
    }
}

/// What is written, piece by piece, as fast as it is read at the other end.
struct Out {
    format: Format,
    pending: Vec<u8>,
    sender: Sender<Bytes, io::Error>,
    runtime: Handle,
}

#[derive(Serialize)]
struct GapLine {
    gap: GapRow,
}

/// Nobody reads any more.
struct Gone;

impl Out {
    fn write(mut self, store: &dyn tracemq_store::EventStore, filter: &Filter, order: Order, gaps: &[Gap]) {
        let mut is_gone = self.begin(gaps).is_err();
        let scanned = store.scan(filter, order, &mut |event| {
            is_gone = is_gone || self.event(event).is_err();
            if is_gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(error) = scanned {
            tracing::error!(error = &error as &dyn std::error::Error, "an export failed");
            // Broken off, so that nobody takes a part for the whole.
            self.sender.abort(io::Error::other("the store failed"));
        } else if !is_gone {
            let _ = self.flush();
        }
    }

    fn begin(&mut self, gaps: &[Gap]) -> Result<(), Gone> {
        match self.format {
            Format::Ndjson => gaps.iter().try_for_each(|gap| self.line(&GapLine { gap: GapRow::of(*gap) })),
            Format::Csv => {
                self.row(COLUMNS.map(str::to_owned));
                Ok(())
            }
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), Gone> {
        match self.format {
            Format::Ndjson => self.line(&EventRow::of(event)),
            Format::Csv => {
                self.row(cells(&EventRow::of(event)));
                self.flush_if_full()
            }
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Gone> {
        // Texts and numbers are JSON, and memory takes all.
        let _ = serde_json::to_writer(&mut self.pending, line);
        self.pending.push(b'\n');
        self.flush_if_full()
    }

    fn row<const N: usize>(&mut self, row: [String; N]) {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut self.pending);
        let _ = writer.write_record(row);
        let _ = writer.flush();
    }

    fn flush_if_full(&mut self) -> Result<(), Gone> {
        if self.pending.len() < CHUNK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let chunk = Bytes::from(std::mem::take(&mut self.pending));
        self.runtime.block_on(self.sender.send_data(chunk)).map_err(|_| Gone)
    }
}
