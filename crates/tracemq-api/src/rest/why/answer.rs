//! The answer as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use tracemq_model::{ClientId, Event, Gap, TimeRange};
use tracemq_why::{Fact, Judgement, RuledOut, Verdict};
use utoipa::ToSchema;

use crate::rest::row::{EventRow, GapRow, rfc_3339};

/// Why a client drops.
#[derive(Serialize, ToSchema)]
pub(super) struct Why {
    /// The client identifier.
    client: String,
    /// The first moment that was looked at, RFC 3339 in UTC.
    from: String,
    /// The last moment that was looked at, RFC 3339 in UTC.
    to: String,
    /// What explains most of what is on record.
    verdict: VerdictRow,
    /// What holds as well, the weaker ones last.
    others: Vec<VerdictRow>,
    /// Spans in the range for which the record is incomplete.
    gaps: Vec<GapRow>,
    /// How many events of the client were looked at.
    events_seen: usize,
    /// Whether there was more than is looked at: of the client's events, or of what others did about its drops.
    is_partial: bool,
    /// Where the documents of the project describe the cause.
    reason_page: String,
}

/// One thing that holds.
#[derive(Serialize, ToSchema)]
struct VerdictRow {
    /// `two-devices-one-id`, `own-takeover`, `idle-timeout-in-path`, `keep-alive-not-honoured`, `fixed-period`, `bad-credentials`, `client-fault`,
    /// `certificate-expired`, `certificate-expiring`, `topic-refused`, `server-side`, `network-of-subnet`, `flapping`, `healthy` or
    /// `not-enough-evidence`.
    cause: &'static str,
    /// `certain`, `likely` or `possible`.
    confidence: &'static str,
    /// It in English.
    sentence: String,
    /// What the sentence is made of, so that it can be said in other words. Units are the ends of the names.
    facts: BTreeMap<&'static str, FactRow>,
    /// Since when it holds, as far as the record goes, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// The events that prove it, oldest first; the newest 20 of them.
    evidence: Vec<EventRow>,
    /// What else it might have been, and why it is not.
    ruled_out: Vec<RuledOutRow>,
    /// What to do.
    advice: String,
}

/// A number, or a text.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum FactRow {
    Number(u64),
    Text(String),
}

/// A cause that something spoke for.
#[derive(Serialize, ToSchema)]
struct RuledOutRow {
    /// Which.
    cause: &'static str,
    /// What speaks against it.
    because: String,
}

impl Why {
    pub(super) fn of(
        client: &ClientId,
        range: TimeRange,
        judgement: Judgement,
        gaps: Vec<Gap>,
        events: &[Event],
        is_partial: bool,
    ) -> Self {
        let Judgement { verdict, others } = judgement;
        Self {
            client: client.to_string(),
            from: rfc_3339(range.from),
            to: rfc_3339(range.to),
            reason_page: format!("docs/why.md#{}", verdict.cause),
            verdict: VerdictRow::of(verdict),
            others: others.into_iter().map(VerdictRow::of).collect(),
            gaps: gaps.into_iter().map(GapRow::of).collect(),
            events_seen: events.len(),
            is_partial,
        }
    }
}

impl VerdictRow {
    fn of(verdict: Verdict) -> Self {
        let Verdict { cause, confidence, sentence, facts, since, evidence, ruled_out, advice } = verdict;
        let fact = |fact| match fact {
            Fact::Number(number) => FactRow::Number(number),
            Fact::Text(text) => FactRow::Text(text),
        };
        let row = |RuledOut { cause, because }| RuledOutRow { cause: cause.code(), because };
        Self {
            cause: cause.code(),
            confidence: confidence.code(),
            sentence,
            facts: facts.into_iter().map(|(name, one)| (name, fact(one))).collect(),
            since: since.map(rfc_3339),
            evidence: evidence.iter().map(EventRow::of).collect(),
            ruled_out: ruled_out.into_iter().map(row).collect(),
            advice,
        }
    }
}
