//! New events as they come, as server-sent events.
//!
//! A stream holds a place among the newest events, no queue of its own: one that does not read costs others nothing, and is told how
//! many it has missed. While it is open it is asked time and again whether its key may still do this.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracemq_access::AccountId;
use tracemq_model::{ClientId, Event, Filter, Subject, TimeRange};
use tracemq_recorder::Recent;
use utoipa::{IntoParams, ToSchema};

use super::call::{Call, InstanceParameter, counted};
use super::parameters::FilterParameters;
use super::problem::Problems;
use super::row::EventRow;
use super::{Problem, login};
use crate::apsara::PERMISSIONS;
use crate::audit::Peer;
use crate::caller::Caller;
use crate::metrics::Outcome;
use crate::state::{Instance, Shared};

/// Streams open at once, of all and of one account.
const STREAMS_MAX: usize = 256;
const STREAMS_OF_ACCOUNT_MAX: usize = 32;
/// How often it is looked for new events.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Something is sent so often at least, so that both ends notice when the other is gone.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// How often the key is looked at.
const KEY_EVERY: Duration = Duration::from_secs(5);
/// Events that are taken at a time.
const AT_ONCE_MAX: usize = 256;

/// The streams that are open, by account.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<AccountId, usize>>);

struct Open {
    streams: Arc<Streams>,
    account: AccountId,
}

impl Streams {
    fn open(self: &Arc<Self>, account: &AccountId) -> Result<Open, Problem> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= STREAMS_MAX
            || open.get(account).is_some_and(|n| *n >= STREAMS_OF_ACCOUNT_MAX)
        {
            return Err(Problem::too_many_streams(STREAMS_MAX, STREAMS_OF_ACCOUNT_MAX));
        }
        *open.entry(account.clone()).or_default() += 1;
        Ok(Open { streams: Arc::clone(self), account: account.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.account);
            }
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ClientParameter {
    /// Only of this client.
    client: Option<String>,
}

/// What a `gap` event holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct Missed {
    /// How many events were missed; none when that can't be known, as after a restart of the server.
    missed: Option<u64>,
}

/// New events as they come
///
/// Server-sent events: `event` with an event as its data, `gap` when some were missed (read them by `/api/v1/events`), `end` with the
/// reason before the server ends the stream. `id` is a place: with it as `Last-Event-ID`, which browsers send by themselves, a new stream
/// goes on behind it, within a minute and 16,384 events. In the order of arrival, durable before they are shown.
#[utoipa::path(
    get,
    path = "/api/v1/live",
    tag = "Fleet",
    params(
        FilterParameters, ClientParameter, InstanceParameter,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was seen.")
    ),
    responses((status = 200, description = "What was asked for", content_type = "text/event-stream", body = String), Problems)
)]
pub(crate) async fn live(State(app): State<Shared>, request: Parts) -> Response {
    match begin(&app, &request) {
        Ok((live, place)) => {
            let (sender, body) = Channel::<Bytes>::new(1);
            tokio::spawn(live.run(sender, place));
            let mut response = Body::new(body).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            // Proxies are not to gather what is to be seen at once.
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            counted(&app, Outcome::Success, response)
        }
        Err(problem) => {
            let response = problem.into_response();
            counted(&app, Outcome::of(response.status()), response)
        }
    }
}

struct Live {
    app: Shared,
    /// What the call came with: the key is asked for again with it.
    headers: HeaderMap,
    peer: Option<Peer>,
    instance: Instance,
    filter: Filter,
    recent: Arc<Recent>,
    _open: Open,
}

/// Where a stream begins, and whether more than can be counted came before.
struct Start {
    place: u64,
    is_new: bool,
    was_elsewhere: bool,
}

fn begin(app: &Shared, request: &Parts) -> Result<(Live, Start), Problem> {
    let mut call = Call::begin(app, request)?;
    let (filter, client): (FilterParameters, ClientParameter) = (call.parameters()?, call.parameters()?);
    let call = call.allowed(PERMISSIONS)?;
    let client = client.client.map(|name| ClientId::new(&name).map_err(|error| Problem::field("client", &error)));
    let subject = client.transpose()?.map(Subject::Client);
    let filter = filter.read(call.instance.id.clone(), TimeRange::ALL, subject)?;
    let recent = app.recorder.recent().ok_or_else(Problem::recording_is_off)?;
    let last = request.headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| app.live.place(id)));
    let start = match last {
        None => Start { place: recent.place(), is_new: true, was_elsewhere: false },
        Some(Some(place)) => Start { place, is_new: false, was_elsewhere: false },
        Some(None) => Start { place: recent.place(), is_new: false, was_elsewhere: true },
    };
    let open = app.live.streams.open(&call.key.account)?;
    let headers = request.headers.clone();
    let (app, peer, instance) = (Arc::clone(app), call.key.peer(), call.instance);
    Ok((Live { app, headers, peer, instance, filter, recent, _open: open }, start))
}

/// What is shared by all streams.
#[derive(Default)]
pub(crate) struct Lives {
    streams: Arc<Streams>,
    /// Tells this run of the server from others, whose places mean nothing here.
    run: u64,
}

impl Lives {
    pub(crate) fn new() -> Self {
        let mut random = [0; 8];
        // Should there be no randomness, places of another run are taken for ours: what is missed is not told then.
        let _ = getrandom::fill(&mut random);
        Self { streams: Arc::default(), run: u64::from_le_bytes(random) }
    }

    fn place(&self, id: &str) -> Option<u64> {
        let (run, place) = id.split_once('-')?;
        let run = u64::from_str_radix(run, 16).ok()?;
        place.parse().ok().filter(|_| run == self.run)
    }

    fn id(&self, place: u64) -> String {
        format!("{:x}-{place}", self.run)
    }
}

impl Live {
    async fn run(self, mut sender: Sender<Bytes>, start: Start) {
        let mut place = start.place;
        let mut text = String::new();
        // An id at once, so that who is cut off before the first event comes back to here.
        if start.is_new {
            let _ = write!(text, ": from here on\nid: {}\n\n", self.app.live.id(place));
        }
        if start.was_elsewhere {
            self.gap(&mut text, place, None);
        }
        let (mut sent, mut key) = (Instant::now(), Instant::now());
        loop {
            let arrived = self.recent.after(place, AT_ONCE_MAX);
            let is_all = arrived.events.len() < AT_ONCE_MAX;
            if arrived.missed > 0 {
                self.gap(&mut text, place.saturating_add(arrived.missed), Some(arrived.missed));
            }
            let mut at = arrived.place - u64::try_from(arrived.events.len()).unwrap_or(0);
            for event in &arrived.events {
                at += 1;
                if self.filter.matches(event) {
                    self.event(&mut text, at, event);
                }
            }
            place = arrived.place;
            if text.is_empty() && sent.elapsed() >= COMMENT_EVERY {
                let _ = write!(text, ":\nid: {}\n\n", self.app.live.id(place));
            }
            if !text.is_empty() {
                sent = Instant::now();
                if sender.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() {
                    return;
                }
            }
            if key.elapsed() >= KEY_EVERY {
                key = Instant::now();
                if let Err(why) = self.may_stay() {
                    let _ =
                        sender.send_data(Bytes::from(format!("event: end\ndata: {{\"reason\":\"{why}\"}}\n\n"))).await;
                    return;
                }
            }
            if is_all {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn event(&self, text: &mut String, place: u64, event: &Event) {
        let Ok(row) = serde_json::to_string(&EventRow::of(event)) else { return };
        let _ = write!(text, "id: {}\nevent: event\ndata: {row}\n\n", self.app.live.id(place));
    }

    fn gap(&self, text: &mut String, place: u64, missed: Option<u64>) {
        let missed = serde_json::to_string(&Missed { missed }).unwrap_or_default();
        let _ = write!(text, "id: {}\nevent: gap\ndata: {missed}\n\n", self.app.live.id(place));
    }

    /// Whether the caller would be let in now.
    fn may_stay(&self) -> Result<(), &'static str> {
        if !(self.app.gauges.ready)() {
            return Err("the server is stopping");
        }
        let keys = self.app.keys.in_force();
        let now = self.app.now();
        let key = login::login(&keys, &self.headers, now).map_err(|_| "the access key is not valid any more")?;
        if key.account != self.instance.account {
            return Err("the access key belongs to another account now");
        }
        let caller = Caller::new(key, self.peer, now);
        login::check_policy(&caller, &self.instance, PERMISSIONS).map_err(|_| "the access key may not do this any more")
    }
}
