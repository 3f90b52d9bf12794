//! Numbers for Prometheus, as text. No label holds anything that a client chose, so that their count is fixed.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracemq_model::{GapCause, InstanceId};

use crate::state::Shared;

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
}

impl Metrics {
    pub(crate) fn new<'a>(instances: impl Iterator<Item = &'a InstanceId>) -> Self {
        let metered = instances.map(|id| (id.clone(), AtomicU64::new(0))).collect();
        Self { apsara: Calls::default(), rest: Calls::default(), metered }
    }

    /// Counts an answered call.
    pub(crate) fn answered(&self, surface: Surface, outcome: Outcome) {
        if let Some(counter) = self.calls(surface).of(outcome) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
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

/// `GET /metrics`.
pub(crate) async fn scrape(State(app): State<Shared>) -> Response {
    let Ok(stats) = app.lookup.ask(|store| Ok(store.stats())).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store is busy\n").into_response();
    };
    let counts = app.recorder.counts();
    let mut page = Page(String::with_capacity(4_096));
    page.family("tracemq_build_info", "gauge", "The version that runs.");
    page.value("tracemq_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one("tracemq_connections", "gauge", "Open MQTT connections.", (app.gauges.connections)());
    page.one("tracemq_sessions", "gauge", "MQTT sessions kept.", (app.gauges.sessions)());
    page.one("tracemq_queued_bytes", "gauge", "Bytes that all queues hold.", (app.gauges.queued_bytes)());
    let dropped = "Messages that were for a client and did not reach it.";
    page.one("tracemq_messages_dropped_total", "counter", dropped, (app.gauges.messages_dropped)());
    page.one("tracemq_recorder_events_total", "counter", "Events made durable.", counts.recorded);
    page.family("tracemq_recorder_events_lost_total", "counter", "Events lost, by cause; each is in a gap.");
    for cause in GapCause::ALL {
        page.value("tracemq_recorder_events_lost_total", &[("cause", cause.code())], counts.lost.by(*cause));
    }
    page.one("tracemq_recorder_queue_events", "gauge", "Events waiting for the store.", counts.queued);
    page.one("tracemq_store_events", "gauge", "Events that can be asked for.", stats.events);
    page.one("tracemq_store_size_bytes", "gauge", "Bytes of the store on disk.", stats.bytes);
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
    let unaudited = "Questions that could not be written into the audit file.";
    page.one("tracemq_audit_lines_lost_total", "counter", unaudited, app.audit.lost());
    let unlogged = "Lines of the access log that found no room.";
    let lost = app.access_log.as_ref().map_or(0, |log| log.lost());
    page.one("tracemq_access_log_lines_lost_total", "counter", unlogged, lost);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.0).into_response()
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Values of labels are codes and configured names, none of which needs an escape.
    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels.iter().map(|(label, text)| format!("{label}=\"{text}\"")).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{braces} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }
}
