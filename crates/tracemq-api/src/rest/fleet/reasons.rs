//! How often what happened, over time.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracemq_model::{Action, Counts, Gap, Reason, TimeRange};
use tracemq_store::COUNTS_MAX;
use utoipa::{IntoParams, ToSchema};

use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::lookup::LookupError;
use crate::rest::Problem;
use crate::rest::call::{Call, InstanceParameter, answered};
use crate::rest::parameters::{FilterParameters, WindowParameters};
use crate::rest::problem::Problems;
use crate::rest::row::{GapRow, rfc_3339};
use crate::rest::time_words;
use crate::state::Shared;

/// Buckets that an answer has at most.
const BUCKETS_MAX: u64 = 10_000;
/// Buckets that it has at most when nobody says how long one is to be.
const BUCKETS_EASY: u64 = 200;
const MINUTE_MS: u64 = 60_000;
/// Lengths that people like to read.
const EASY_MS: [u64; 12] = [
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    60 * MINUTE_MS,
    3 * 60 * MINUTE_MS,
    6 * 60 * MINUTE_MS,
    12 * 60 * MINUTE_MS,
    24 * 60 * MINUTE_MS,
    7 * 24 * 60 * MINUTE_MS,
];

/// How often what happened.
#[derive(Serialize, ToSchema)]
struct ReasonCounts {
    /// The length of a bucket, in milliseconds.
    bucket_ms: u64,
    /// By bucket, action and reason; buckets without events are left out.
    items: Vec<CountRow>,
    /// By action and reason, over the whole window.
    totals: Vec<TotalRow>,
    /// Spans in the window for which the record is incomplete.
    gaps: Vec<GapRow>,
}

/// How often one thing happened in one bucket.
#[derive(Serialize, ToSchema)]
struct CountRow {
    /// The first moment of the bucket, RFC 3339 in UTC.
    time: String,
    /// The same in milliseconds since 1970.
    time_ms: i64,
    /// What happened.
    action: &'static str,
    /// The stable code of why.
    reason: &'static str,
    /// How often.
    events: u64,
}

/// How often one thing happened.
#[derive(Serialize, ToSchema)]
struct TotalRow {
    /// What happened.
    action: &'static str,
    /// The stable code of why.
    reason: &'static str,
    /// How often.
    events: u64,
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct BucketParameter {
    /// How long a bucket is: `1m`, `1h`, `1d`, `90s`. Without it, so long that there are no more than 200.
    #[param(example = "1h")]
    bucket: Option<String>,
}

/// How often what happened
///
/// Events by action and reason over time, in buckets of any length from a second on. A day without filters is answered from counts that are kept by
/// the minute; with an address, a user name or a listener each event is looked at.
#[utoipa::path(
    get,
    path = "/api/v1/fleet/reasons",
    tag = "Fleet",
    params(WindowParameters, BucketParameter, FilterParameters, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = ReasonCounts), Problems)
)]
pub(crate) async fn reasons(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, read(&app, &request).await)
}

async fn read(app: &Shared, request: &Parts) -> Result<ReasonCounts, Problem> {
    let mut call = Call::begin(app, request)?;
    let (window, bucket): (WindowParameters, BucketParameter) = (call.parameters()?, call.parameters()?);
    let filter: FilterParameters = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let range = window.read(call.now)?;
    let bucket_ms = bucket.read(range)?;
    let filter = filter.read(call.instance.id, range, None)?;
    let unstored = app.unstored.clone();
    let asked = app.lookup.ask_long(move |store, _| {
        let unstored = unstored.gaps();
        store.counts(&filter, bucket_ms).map(|counts| (counts, unstored))
    });
    match asked.await {
        Ok((counts, unstored)) => Ok(ReasonCounts::of(counts, bucket_ms, &unstored, range)),
        Err(LookupError::Store(tracemq_store::StoreError::InvalidQuery(_))) => {
            let why = format!("is so short that there would be more than {COUNTS_MAX} counts");
            Err(Problem::field("bucket", &why))
        }
        Err(error) => Err(Problem::lookup(&error)),
    }
}

impl BucketParameter {
    fn read(&self, range: TimeRange) -> Result<u64, Problem> {
        let span = range.to.since(range.from).max(1);
        let Some(text) = self.bucket.as_deref() else {
            let easy = EASY_MS.into_iter().find(|bucket| span / bucket < BUCKETS_EASY);
            return Ok(easy.unwrap_or_else(|| span.div_ceil(BUCKETS_EASY)));
        };
        let bucket = time_words::span(text).and_then(|span| u64::try_from(span.as_millis()).ok());
        match bucket {
            Some(bucket) if bucket > 0 && span / bucket < BUCKETS_MAX => Ok(bucket),
            Some(bucket) if bucket > 0 => {
                let why = format!("is so short that there would be more than {BUCKETS_MAX} of them");
                Err(Problem::field("bucket", &why))
            }
            Some(_) | None => Err(Problem::field("bucket", &"must be a length such as 90s, 5m, 1h or 1d")),
        }
    }
}

impl ReasonCounts {
    fn of(counts: Counts, bucket_ms: u64, unstored: &[Gap], range: TimeRange) -> Self {
        let mut totals: BTreeMap<(Action, Reason), u64> = BTreeMap::new();
        for count in &counts.counts {
            let total = totals.entry((count.action, count.reason)).or_default();
            *total = total.saturating_add(count.events);
        }
        let rows = counts.counts.iter().map(|count| CountRow {
            time: rfc_3339(count.from),
            time_ms: count.from.0,
            action: count.action.code(),
            reason: count.reason.code(),
            events: count.events,
        });
        let items = rows.collect();
        let mut totals: Vec<TotalRow> = totals
            .into_iter()
            .map(|((action, reason), events)| TotalRow { action: action.code(), reason: reason.code(), events })
            .collect();
        totals.sort_by_key(|total| std::cmp::Reverse(total.events));
        let gaps = merged(counts.gaps, unstored, range).into_iter().map(GapRow::of).collect();
        Self { bucket_ms, items, totals, gaps }
    }
}
