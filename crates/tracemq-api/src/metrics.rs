//! Numbers for Prometheus, as text. No label holds anything that a client chose, so that their count is fixed.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracemq_model::{GapCause, InstanceId};

use crate::state::{App, Shared};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    ClientError,
    Denied,
    Throttled,
    ServerError,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Success, Self::ClientError, Self::Denied, Self::Throttled, Self::ServerError];

    fn code(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client-error",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::ServerError => "server-error",
        }
    }

    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..400 => Self::Success,
            401 | 403 => Self::Denied,
            429 => Self::Throttled,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

/// By which API a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Apsara,
    Rest,
}

#[derive(Default)]
struct Calls([AtomicU64; Outcome::ALL.len()]);

impl Calls {
    fn of(&self, outcome: Outcome) -> Option<&AtomicU64> {
        Outcome::ALL.iter().position(|known| *known == outcome).and_then(|at| self.0.get(at))
    }
}

pub(crate) struct Metrics {
    apsara: Calls,
    rest: Calls,
    metered: Vec<(InstanceId, AtomicU64)>,
    durations: Durations,
}

impl Metrics {
    pub(crate) fn new<'a>(instances: impl Iterator<Item = &'a InstanceId>) -> Self {
        let metered = instances.map(|id| (id.clone(), AtomicU64::new(0))).collect();
        let durations = Durations { buckets: Default::default(), sum_us: AtomicU64::new(0) };
        Self { apsara: Calls::default(), rest: Calls::default(), metered, durations }
    }

    /// Counts an answered call.
    pub(crate) fn answered(&self, surface: Surface, outcome: Outcome) {
        if let Some(counter) = self.calls(surface).of(outcome) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request by the time until its answer began.
    pub(crate) fn took(&self, took: Duration) {
        self.durations.note(took);
    }

    /// Counts a call that adds to the messaging rate of `instance`.
    pub(crate) fn metered(&self, instance: &InstanceId) {
        if let Some((_, counter)) = self.metered.iter().find(|(id, _)| id == instance) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn calls(&self, surface: Surface) -> &Calls {
        match surface {
            Surface::Apsara => &self.apsara,
            Surface::Rest => &self.rest,
        }
    }
}

/// How long requests took, in buckets.
struct Durations {
    /// As many as [`DURATIONS_S`], and one for what took longer.
    buckets: [AtomicU64; DURATIONS_S.len() + 1],
    sum_us: AtomicU64,
}

/// Upper bounds in seconds: a call of an SDK is below the first, a question about a fleet among the last.
const DURATIONS_S: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0];

impl Durations {
    fn note(&self, took: Duration) {
        let bucket = DURATIONS_S.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(DURATIONS_S.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// `GET /metrics`.
pub(crate) async fn scrape(State(app): State<Shared>) -> Response {
    let mut page = Page(String::with_capacity(8_192));
    page.family("tracemq_build_info", "gauge", "The version that runs.");
    page.value("tracemq_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    mqtt(&mut page, &app);
    recorder(&mut page, &app);
    store(&mut page, &app).await;
    http(&mut page, &app);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.0).into_response()
}

fn mqtt(page: &mut Page, app: &App) {
    let gauges = &app.gauges;
    page.one("tracemq_connections", "gauge", "Open MQTT connections.", (gauges.connections)());
    page.one("tracemq_sessions", "gauge", "MQTT sessions kept.", (gauges.sessions)());
    page.one("tracemq_connects_total", "counter", "Connections that a CONNACK let in.", app.recorder.connects());
    let help = "Connections that ended, by reason; also those that no CONNACK let in.";
    page.family("tracemq_disconnects_total", "counter", help);
    for (reason, count) in app.recorder.ends() {
        page.value("tracemq_disconnects_total", &[("reason", reason.code())], count);
    }
    page.one("tracemq_queued_bytes", "gauge", "Bytes that all queues hold.", (gauges.queued_bytes)());
    let received = "PUBLISH packets taken from clients.";
    page.one("tracemq_messages_received_total", "counter", received, (gauges.messages_received)());
    page.one("tracemq_messages_sent_total", "counter", "PUBLISH packets sent to clients.", (gauges.messages_sent)());
    let dropped = "Messages that were for a client and did not reach it.";
    page.one("tracemq_messages_dropped_total", "counter", dropped, (gauges.messages_dropped)());
}

fn recorder(page: &mut Page, app: &App) {
    let counts = app.recorder.counts();
    page.one("tracemq_recorder_events_total", "counter", "Events made durable.", counts.recorded);
    page.family("tracemq_recorder_events_lost_total", "counter", "Events lost, by cause; each is in a gap.");
    for cause in GapCause::ALL {
        page.value("tracemq_recorder_events_lost_total", &[("cause", cause.code())], counts.lost.by(*cause));
    }
    page.one("tracemq_recorder_queue_events", "gauge", "Events waiting for the store.", counts.queued);
    let lag = "For how long the oldest of them has been waiting.";
    page.one("tracemq_recorder_lag_seconds", "gauge", lag, counts.lag.as_secs_f64());
}

/// A store that does not answer takes only its own numbers out of the page.
async fn store(page: &mut Page, app: &App) {
    if let Ok(stats) = app.lookup.ask(|store| Ok(store.stats())).await {
        page.one("tracemq_store_events", "gauge", "Events that can be asked for.", stats.events);
        page.one("tracemq_store_size_bytes", "gauge", "Bytes of the store on disk.", stats.bytes);
    }
    if let Some(free) = (app.gauges.free_bytes)() {
        page.one("tracemq_store_free_bytes", "gauge", "Bytes for which the store's disk has room.", free);
    }
}

fn http(page: &mut Page, app: &App) {
    page.family("tracemq_api_calls_total", "counter", "Answered calls, by API and outcome.");
    for (surface, name) in [(Surface::Apsara, "apsara"), (Surface::Rest, "rest")] {
        for outcome in Outcome::ALL {
            let count = app.metrics.calls(surface).of(outcome).map_or(0, |counter| counter.load(Ordering::Relaxed));
            page.value("tracemq_api_calls_total", &[("surface", name), ("outcome", outcome.code())], count);
        }
    }
    page.family("tracemq_api_metered_calls_total", "counter", "Successful calls that add to an instance's rate.");
    for (instance, counter) in &app.metrics.metered {
        let count = counter.load(Ordering::Relaxed);
        page.value("tracemq_api_metered_calls_total", &[("instance", instance.as_str())], count);
    }
    page.durations(&app.metrics.durations);
    let failed = "TLS handshakes of HTTP that failed or took too long.";
    page.one("tracemq_http_handshakes_failed_total", "counter", failed, (app.gauges.handshakes_failed)());
    let certificates = (app.gauges.certificates)();
    if !certificates.is_empty() {
        let help = "Until when the certificate of a listener is good, in seconds since 1970.";
        page.family("tracemq_certificate_expiry_timestamp_seconds", "gauge", help);
        for (listener, until) in certificates {
            let labels = [("listener", listener.as_str())];
            page.value("tracemq_certificate_expiry_timestamp_seconds", &labels, until.0.div_euclid(1_000));
        }
    }
    let unaudited = "Questions that could not be written into the audit file.";
    page.one("tracemq_audit_lines_lost_total", "counter", unaudited, app.audit.lost());
    let unlogged = "Lines of the access log that found no room.";
    let lost = app.access_log.as_ref().map_or(0, |log| log.lost());
    page.one("tracemq_access_log_lines_lost_total", "counter", unlogged, lost);
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Values of labels are codes and configured names, none of which needs an escape.
    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }

    fn durations(&mut self, durations: &Durations) {
        const NAME: &str = "tracemq_http_request_duration_seconds";
        self.family(NAME, "histogram", "From a request's head to the head of its answer.");
        let mut below = 0;
        let bounds = DURATIONS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&durations.buckets) {
            below += bucket.load(Ordering::Relaxed);
            self.value(&format!("{NAME}_bucket"), &[("le", &bound)], below);
        }
        let sum = Duration::from_micros(durations.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        self.value(&format!("{NAME}_sum"), &[], sum);
        self.value(&format!("{NAME}_count"), &[], below);
    }
}
