//! All events that are asked for, in one answer, while they are read: nothing but the part under way is held.

mod out;

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::Channel;
use serde::Deserialize;
use tokio::runtime::Handle;
use tracemq_model::{ClientId, Subject};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::call::{Call, InstanceParameter, counted};
use super::parameters::{FilterParameters, OrderParameter, RangeParameters};
use super::problem::Problems;
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::metrics::Outcome;
use crate::state::Shared;
use out::Pipe;

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportParameters {
    /// `ndjson`: a JSON object a line; `csv`: a table with a line of names; `parquet`: what stands on record, as `tracemq store import` takes it.
    #[param(value_type = Option<FormatWord>, default = "ndjson")]
    format: Option<String>,
    /// Only of this client.
    client: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document alone")]
pub(super) enum FormatWord {
    Ndjson,
    Csv,
    Parquet,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
    Parquet,
}

/// Export events
///
/// All that is asked for in one answer, of any length, by time. In NDJSON the spans for which the record is incomplete come first, as
/// `{"gap": ...}`, in Parquet they stand in the metadata; the header `x-tracemq-gaps` has their number in all formats. In CSV a text that begins with `=`, `+`, `-`, `@`, a
/// tab, a carriage return or `'` gets a `'` before it, so that no spreadsheet takes it for a formula.
#[utoipa::path(
    get,
    path = "/api/v1/export",
    tag = "Fleet",
    params(ExportParameters, RangeParameters, FilterParameters, OrderParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", content((String = "application/x-ndjson"), (String = "text/csv; charset=utf-8"), (String = "application/vnd.apache.parquet"))), Problems)
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
    let pipe = Pipe::new(sender, Handle::current());
    let work = move |store: &dyn tracemq_store::EventStore| out::write(format, pipe, store, &filter, order, &gaps);
    app.lookup.begin_long(work).await.map_err(|error| Problem::lookup(&error))?;
    let mut response = Body::new(body).into_response();
    let (kind, name) = match format {
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"events.ndjson\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"events.csv\""),
        Format::Parquet => ("application/vnd.apache.parquet", "attachment; filename=\"events.parquet\""),
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
            Some("parquet") => Ok(Format::Parquet),
            Some(_) => Err(Problem::field("format", &"must be ndjson, csv or parquet")),
        }
    }
}
