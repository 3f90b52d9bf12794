//! Which clients there are, what is known of one now, and its connections one by one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tracemq_model::{
    ClientId, Gap, GapCause, InstanceId, MessageId, Order, Pattern, Session, Subject, TimeMs, TimeRange, TraceQuery,
};
use tracemq_store::{EventStore, StoreError};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::call::{Call, InstanceParameter, answered, named_in_path};
use super::cursor::{self, of_question};
use super::parameters::{CursorParameter, LimitParameter, OrderParameter, RangeParameters};
use super::problem::Problems;
use super::row::{EventRow, GapRow};
use crate::apsara::PERMISSIONS;
use crate::gaps::merged;
use crate::state::Shared;

/// Names that were found.
#[derive(Serialize, ToSchema)]
struct SubjectsPage {
    items: Vec<SubjectRow>,
    /// Set when a part of the names could not be read.
    gaps: Vec<GapRow>,
    /// Where the next page begins; none on the last.
    next_cursor: Option<String>,
}

/// A client, or an address whose connections never named one.
#[derive(Serialize, ToSchema)]
pub(super) struct SubjectRow {
    /// The client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

/// Which names; one of them at most, all without.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PatternParameters {
    /// Names that begin with this.
    prefix: Option<String>,
    /// Names that hold this anywhere.
    contains: Option<String>,
    /// Names that are this as a whole, where `*` stands for any characters and `?` for one.
    #[param(example = "pump-*-north")]
    glob: Option<String>,
    /// Names that hold this but for a typing error or two, in either case of letters.
    like: Option<String>,
}

/// What is known of a client now.
#[derive(Serialize, ToSchema)]
struct ClientState {
    /// The client identifier.
    client: String,
    /// Whether a connection of it is open, by the record.
    is_connected: bool,
    /// The beginnings of its open connections, newest first. More than one while a takeover is under way, or where ends were
    /// lost in a gap.
    open: Vec<EventRow>,
    /// The newest event.
    last: EventRow,
    /// Why it was last gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_end: Option<EventRow>,
    /// Spans for which the record is incomplete, since the oldest of these events, all without a `last_end`: an end may be missing, or
    /// something newer.
    gaps: Vec<GapRow>,
}

/// Some connections of a client.
#[derive(Serialize, ToSchema)]
struct SessionsPage {
    items: Vec<SessionRow>,
    /// Spans in the range for which the record is incomplete.
    gaps: Vec<GapRow>,
    /// Where the next page begins; none on the last. A page may be short, even empty, before the last.
    next_cursor: Option<String>,
}

/// One network connection from its beginning to its end.
#[derive(Serialize, ToSchema)]
struct SessionRow {
    /// Which, 32 hex digits.
    connection: String,
    /// Its connect, or else its open; none for one that was refused at once, or whose beginning is not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    beginning: Option<EventRow>,
    /// Its end; none while it is open, or when the end is not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<EventRow>,
    /// How long it was open, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// Find clients
///
/// By prefix, substring, glob, or with typing errors; in the order of their names, then addresses whose connections never named a
/// client.
#[utoipa::path(
    get,
    operation_id = "search_clients",
    path = "/api/v1/clients",
    tag = "Devices",
    params(PatternParameters, LimitParameter, CursorParameter, InstanceParameter),
    responses((status = 200, description = "What was asked for", body = SubjectsPage), Problems)
)]
pub(crate) async fn search(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, find(&app, &request).await)
}

async fn find(app: &Shared, request: &Parts) -> Result<SubjectsPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let (pattern, limit): (PatternParameters, LimitParameter) = (call.parameters()?, call.parameters()?);
    let cursor: CursorParameter = call.parameters()?;
    let call = call.allowed(PERMISSIONS)?;
    let (pattern, limit) = (pattern.read()?, limit.read()?);
    let of = of_question(&(call.instance.id.as_str(), format!("{pattern:?}")));
    let after: Option<After> = cursor.read(&of)?;
    let after = after.map(After::subject).transpose()?;
    let instance = call.instance.id;
    let found = app.lookup.ask(move |store| store.subjects(&instance, &pattern, after.as_ref(), limit)).await;
    let found = found.map_err(|error| Problem::lookup(&error))?;
    let last = found.subjects.last().filter(|_| found.more);
    Ok(SubjectsPage {
        next_cursor: last.map(|subject| cursor::write(&of, &After::of(subject))),
        items: found.subjects.iter().map(SubjectRow::of).collect(),
        gaps: found.gaps.into_iter().map(GapRow::of).collect(),
    })
}

/// The name that a page ended with.
#[derive(Serialize, Deserialize)]
pub(super) enum After {
    Client(String),
    Address(std::net::IpAddr),
    Message(MessageId),
}

impl After {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Client(client) => Self::Client(client.to_string()),
            Subject::Address(address) => Self::Address(*address),
            Subject::Message(id) => Self::Message(*id),
        }
    }

    pub(super) fn subject(self) -> Result<Subject, Problem> {
        match self {
            Self::Client(name) => ClientId::new(&name).map(Subject::Client).map_err(|_| cursor::refused()),
            Self::Address(address) => Ok(Subject::Address(address)),
            Self::Message(id) => Ok(Subject::Message(id)),
        }
    }
}

impl SubjectRow {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Client(client) => Self { client: Some(client.to_string()), address: None },
            Subject::Address(address) => Self { client: None, address: Some(address.to_string()) },
            // Messages are kept in a store of their own.
            Subject::Message(_) => Self { client: None, address: None },
        }
    }
}

impl PatternParameters {
    fn read(self) -> Result<Pattern, Problem> {
        let Self { prefix, contains, glob, like } = self;
        let named = [
            prefix.map(Pattern::Prefix),
            contains.map(Pattern::Substring),
            glob.map(Pattern::Glob),
            like.map(Pattern::Fuzzy),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (pattern, None) => Ok(pattern.unwrap_or_default()),
            (_, Some(_)) => Err(Problem::field("prefix", &"and `contains`, `glob`, `like` exclude each other")),
        }
    }
}

/// What is known of a client now
///
/// By the record: the beginnings of its connections that have no end, the newest event, and why it was last gone.
#[utoipa::path(
    get,
    operation_id = "client_state",
    path = "/api/v1/clients/{client_id}",
    tag = "Devices",
    params(
        ("client_id" = String, Path, description = "Client identifier, percent-encoded; it may hold `/`."),
        InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = ClientState), Problems)
)]
pub(crate) async fn state(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, current(&app, &request).await)
}

async fn current(app: &Shared, request: &Parts) -> Result<ClientState, Problem> {
    let call = Call::begin(app, request)?.allowed(PERMISSIONS)?;
    let client = client_in_path(request, "")?;
    let (instance, subject) = (call.instance.id, Subject::Client(client.clone()));
    let unstored = app.unstored.clone();
    let found = app.lookup.ask(move |store| {
        let unstored = unstored.gaps();
        let found = store.current_state(&instance, &subject)?;
        let Some(found) = found else { return Ok(Err(unknown(store, instance, subject)?)) };
        let since = TimeRange { from: found.since(), to: TimeMs::MAX };
        let gaps = merged(found.gaps.clone(), &unstored, since);
        Ok(Ok((found, gaps)))
    });
    let (found, gaps) = found.await.map_err(|error| Problem::lookup(&error))??;
    Ok(ClientState {
        client: client.to_string(),
        is_connected: !found.open.is_empty(),
        open: found.open.iter().map(EventRow::of).collect(),
        last: EventRow::of(&found.last),
        last_end: found.last_end.as_ref().map(EventRow::of),
        gaps: gaps.into_iter().map(GapRow::of).collect(),
    })
}

/// Why no event of a client can be shown: nothing is on record, or it can't be read.
pub(super) fn unknown(store: &dyn EventStore, instance: InstanceId, subject: Subject) -> Result<Problem, StoreError> {
    let (range, order) = (TimeRange::ALL, Order::NewestFirst);
    let page = store.page(&TraceQuery { instance, subject, range, order, offset: 0, limit: 0 })?;
    if page.total > 0 {
        let detail = "what is on record for this client can't be read: a part of the store is damaged, and `tracemq store check` says which";
        return Ok(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "store-failed",
            "The history could not be read",
            detail,
        ));
    }
    let detail = if page.gaps.iter().any(|gap| gap.cause == GapCause::Damaged) {
        "nothing that can be read is on record for this client, and a part of the record can't be read: `/api/v1/gaps` says of when"
    } else {
        "nothing is on record for this client; `/api/v1/clients?like=NAME` finds names that are alike"
    };
    Ok(Problem::new(StatusCode::NOT_FOUND, "no-such-client", "Nobody knows this client", detail))
}

pub(super) fn client_in_path(request: &Parts, after: &str) -> Result<ClientId, Problem> {
    let name = named_in_path(request, "/api/v1/clients/", after)?;
    ClientId::new(&name).map_err(|error| Problem::field("client_id", &error))
}

/// The connections of a client
///
/// Each from its beginning to its end, listed where its first event is.
#[utoipa::path(
    get,
    operation_id = "client_sessions",
    path = "/api/v1/clients/{client_id}/sessions",
    tag = "Devices",
    params(
        ("client_id" = String, Path, description = "Client identifier, percent-encoded; it may hold `/`."),
        RangeParameters, OrderParameter, LimitParameter, CursorParameter, InstanceParameter
    ),
    responses((status = 200, description = "What was asked for", body = SessionsPage), Problems)
)]
pub(crate) async fn sessions(State(app): State<Shared>, request: Parts) -> Response {
    answered(&app, list_sessions(&app, &request).await)
}

async fn list_sessions(app: &Shared, request: &Parts) -> Result<SessionsPage, Problem> {
    let mut call = Call::begin(app, request)?;
    let (range, order): (RangeParameters, OrderParameter) = (call.parameters()?, call.parameters()?);
    let (limit, cursor): (LimitParameter, CursorParameter) = (call.parameters()?, call.parameters()?);
    let call = call.allowed(PERMISSIONS)?;
    let client = client_in_path(request, "/sessions")?;
    let of = of_question(&(call.instance.id.as_str(), client.as_str()));
    let (range, order, limit) = (range.read(call.now)?, order.read()?, limit.read()?);
    let question = match cursor.read::<Passed>(&of)? {
        Some(passed) => passed.question(call.instance.id, client, limit),
        None => {
            // What comes in while pages are turned would shift them.
            let to = if range.from <= call.now { range.to.min(call.now) } else { range.to };
            let range = TimeRange { to, ..range };
            let subject = Subject::Client(client);
            TraceQuery { instance: call.instance.id, subject, range, order, offset: 0, limit }
        }
    };
    let unstored = app.unstored.clone();
    let answer = move |store: &dyn EventStore| page_of_sessions(store, &question, &unstored.gaps(), &of);
    app.lookup.ask(answer).await.map_err(|error| Problem::lookup(&error))
}

fn page_of_sessions(
    store: &dyn EventStore,
    question: &TraceQuery,
    unstored: &[Gap],
    of: &str,
) -> Result<SessionsPage, StoreError> {
    let found = store.sessions(question)?;
    Ok(SessionsPage {
        items: found.sessions.iter().map(SessionRow::of).collect(),
        gaps: merged(found.gaps, unstored, question.range).into_iter().map(GapRow::of).collect(),
        next_cursor: found.next_offset.map(|offset| cursor::write(of, &Passed::of(question, offset))),
    })
}

/// How many events were passed of which question.
#[derive(Serialize, Deserialize)]
struct Passed {
    from: i64,
    to: i64,
    newest_first: bool,
    offset: u64,
}

impl Passed {
    fn of(question: &TraceQuery, offset: u64) -> Self {
        let TimeRange { from, to } = question.range;
        Self { from: from.0, to: to.0, newest_first: question.order == Order::NewestFirst, offset }
    }

    fn question(self, instance: InstanceId, client: ClientId, limit: usize) -> TraceQuery {
        let range = TimeRange { from: TimeMs(self.from), to: TimeMs(self.to) };
        let order = if self.newest_first { Order::NewestFirst } else { Order::OldestFirst };
        TraceQuery { instance, subject: Subject::Client(client), range, order, offset: self.offset, limit }
    }
}

impl SessionRow {
    fn of(session: &Session) -> Self {
        let between = || {
            let (beginning, end) = (session.beginning.as_ref()?, session.end.as_ref()?);
            Some(end.time.since(beginning.time))
        };
        let end = session.end.as_ref();
        Self {
            connection: session.connection.to_string(),
            beginning: session.beginning.as_ref().map(EventRow::of),
            end: end.map(EventRow::of),
            duration_ms: end.and_then(|end| end.details.duration_ms).or_else(between),
        }
    }
}
