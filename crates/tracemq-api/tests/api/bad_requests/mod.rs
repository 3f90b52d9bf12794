//! Bad requests as tables, a line each: what is wrong with it, and the error that it must get. Every one is a good request of which one
//! thing was changed; the ones to the signed API are made with both signatures and asked for in JSON and XML.
//!
//! Whatever is asked: nothing of another account's is in the answer, nothing of the own history is in a refusal, the store is not asked,
//! the answer is short, and the next good request is answered.

mod cursors;
mod doubled;
mod encoding;
mod foreign;
mod huge;
mod missing;
mod rest;
mod signed;
mod stale;
mod tampered;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use tracemq_access::mqtt::issued::Grant;
use tracemq_api::{Clients, ConnectedClient, Issuing, MessageRecord, SendError, Whose};
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, InstanceId, MessageDetails, MessageId, Reason, TimeMs,
};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_store::{Batch, ByMessage, EventStore, MemoryStore};

use crate::issuing::Books;
use crate::world::{Answer, CLIENT, INSTANCE, NOW, OTHER_INSTANCE, World, event};

/// No answer to a bad request is longer.
const ANSWER_BYTES_MAX: usize = 4_096;
/// But for what was signed by our reckoning: up to 8 KiB twice, and escaped for XML six times that.
const ECHO_BYTES_MAX: usize = 60_000;

/// What only the other account's records hold.
const STRANGERS: [&str; 6] =
    ["strangers-user", "strangers-listener", "strangers-detail", "203.0.113.99", "5754a4ce", "GID_stranger"];
const STRANGERS_CLIENT: &str = "GID_stranger@@@pump";
/// 2026-11-22T08:17:49Z and a node and a count.
const MESSAGE: &str = "01A2026D8B48DEADBEEF000000000001";

/// Two accounts, each with a history, messages, a connected client, a token and a credential.
struct Bad {
    world: World,
    /// What only the other account's answers may hold.
    strangers: Vec<String>,
    /// A token that the other account gave out.
    strangers_token: String,
}

impl Bad {
    fn new() -> Self {
        let books = Arc::new(Books::default());
        let (own, other) = (InstanceId::new(INSTANCE).unwrap(), InstanceId::new(OTHER_INSTANCE).unwrap());
        let client = ClientId::new(CLIENT).unwrap();
        books.register_device(&own, &client).unwrap();
        let credential = books.register_device(&other, &client).unwrap();
        let strangers_token = books.issue_token(grant()).unwrap();
        let world = World::with(|state| {
            state.issuing = books;
            state.clients = Arc::new(Connected);
            let store: Arc<dyn EventStore> = Arc::new(ByMessage(Arc::new(MemoryStore::new(1_000))));
            store.append(&Batch { events: vec![message(event_of(1, CLIENT))], gaps: vec![] }).unwrap();
            store.append(&Batch { events: vec![message(strangers(CLIENT))], gaps: vec![] }).unwrap();
            let recorder =
                Recorder::start(Arc::clone(&store), Arc::clone(&state.clock), RecorderSettings::default()).unwrap();
            state.messages = Some(MessageRecord { store, recorder });
        });
        world.append(vec![strangers(CLIENT), strangers(STRANGERS_CLIENT)], vec![]);
        let given = [strangers_token.clone(), credential.secret.clone(), credential.id.clone()];
        let strangers = STRANGERS.map(str::to_owned).into_iter().chain(given).collect();
        Self { world, strangers, strangers_token }
    }

    /// What is wrong with any answer to a bad request, whichever API gave it.
    fn common_faults(&self, answer: &Answer, questions_before: usize, may_ask: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let is_echo = answer.body.contains("SignatureDoesNotMatch");
        if answer.body.len() > if is_echo { ECHO_BYTES_MAX } else { ANSWER_BYTES_MAX } {
            faults.push(format!("an answer of {} bytes", answer.body.len()));
        }
        let headers = format!("{:?}", answer.headers);
        let strangers = self.strangers.iter().map(String::as_str);
        for secret in strangers.chain(["192.0.2.7", "DeviceInfoList", "mqtt.trace.action", crate::world::SECRET]) {
            if answer.body.contains(secret) || headers.contains(secret) {
                faults.push(format!("{secret} in the answer"));
            }
        }
        if !may_ask && self.world.questions() != questions_before {
            faults.push("the store was asked".to_owned());
        }
        faults
    }

    /// After all that was refused, a good request is answered.
    async fn assert_still_answers(&self) {
        let signer = self.world.signer("main");
        self.world.call(&signer.v3(&crate::world::parameters())).await.assert_ok();
    }
}

fn grant() -> Grant {
    Grant {
        access_key_id: "foreign".into(),
        instance: OTHER_INSTANCE.into(),
        read: true,
        write: true,
        resources: vec!["t".into()],
        expires_ms: NOW + 3_600_000,
    }
}

fn event_of(connection: u128, client: &str) -> Event {
    let client = Some(ClientId::new(client).unwrap());
    Event { client, ..event(connection, NOW - 2_000, Action::Connect, Reason::Accepted) }
}

/// An event of the other account's instance, with its marks in all that can hold one.
fn strangers(client: &str) -> Event {
    let details = Details {
        username: Some("strangers-user".into()),
        listener: Some("strangers-listener".into()),
        detail: Some("strangers-detail".into()),
        ..Details::default()
    };
    Event {
        instance: InstanceId::new(OTHER_INSTANCE).unwrap(),
        peer: Some("203.0.113.99:99".parse().unwrap()),
        details,
        ..event_of(0x5754_a4ce, client)
    }
}

/// The same client publishing a message.
fn message(event: Event) -> Event {
    let id: MessageId = MESSAGE.parse().unwrap();
    let message = MessageDetails { id, topic: "a/b".into(), qos: 1, payload_bytes: 4, client: None };
    let details = Details { message: Some(Box::new(message)), ..event.details };
    Event { action: Action::Message, reason: Reason::MessagePublished, details, ..event }
}

/// One client of either instance.
struct Connected;

impl Clients for Connected {
    fn page(
        &self,
        instance: &InstanceId,
        _: &str,
        _: Option<&ClientId>,
        _: usize,
    ) -> (Vec<ConnectedClient>, Option<ClientId>) {
        let event = if instance.as_str() == INSTANCE { event_of(1, CLIENT) } else { strangers(STRANGERS_CLIENT) };
        let client = ConnectedClient {
            client: event.client.unwrap(),
            connection: ConnectionId(event.connection.0),
            username: event.details.username,
            peer: event.peer,
            listener: event.details.listener,
            protocol: None,
            since: Some(TimeMs(NOW)),
            subscriptions: 0,
            queued: 0,
            queued_bytes: 0,
            in_flight: 0,
        };
        (vec![client], None)
    }

    fn is_connected(&self, _: &InstanceId, _: &ClientId) -> bool {
        true
    }

    fn end(&self, _: &InstanceId, whose: &Whose, _: &str, _: usize) -> usize {
        panic!("a bad request ends {whose}")
    }

    fn send(&self, _: &InstanceId, topic: &str, _: Vec<u8>) -> Result<MessageId, SendError> {
        panic!("a bad request is published to {topic}")
    }
}

/// `{9}` becomes nine `x`, `{9:ab}` nine times `ab`.
fn expanded(text: &str) -> String {
    let Some((before, rest)) = text.split_once('{') else { return text.to_owned() };
    let (inside, after) = rest.split_once('}').unwrap();
    let (count, piece) = inside.split_once(':').unwrap_or((inside, "x"));
    format!("{before}{}{}", piece.repeat(count.parse().unwrap()), expanded(after))
}

const SIGNED: &[(&str, &[signed::Case])] = &[
    ("missing", missing::SIGNED),
    ("doubled", doubled::SIGNED),
    ("huge", huge::SIGNED),
    ("values", values::SIGNED),
    ("encoding", encoding::SIGNED),
    ("tampered", tampered::SIGNED),
    ("stale", stale::SIGNED),
    ("foreign", foreign::SIGNED),
];
const REST: &[(&str, &[rest::Case])] = &[
    ("missing", missing::REST),
    ("doubled", doubled::REST),
    ("huge", huge::REST),
    ("values", values::REST),
    ("encoding", encoding::REST),
    ("tampered", tampered::REST),
    ("stale", stale::REST),
    ("foreign", foreign::REST),
];

#[test]
fn there_are_at_least_two_hundred_and_no_two_are_the_same() {
    let signed = SIGNED
        .iter()
        .flat_map(|(kind, cases)| cases.iter().map(move |(_, by, steps, ..)| (*kind, format!("{by:?} {steps:?}"))));
    let rest = REST.iter().flat_map(|(kind, cases)| {
        cases.iter().map(move |(who, method, target, ..)| (*kind, format!("{who:?} {method} {target}")))
    });
    let all: Vec<_> = signed.chain(rest).collect();
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = all.iter().map(|(_, request)| request).filter(|request| !seen.insert(*request)).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(all.len() >= 200, "{}", all.len());
    for (kind, _) in SIGNED {
        let count = all.iter().filter(|(of, _)| of == kind).count();
        assert!(count >= 20, "{kind}: {count}");
    }
}

/// Status and code as `docs/http-api.md` has them, of both APIs.
fn documented() -> BTreeSet<(u16, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http-api.md")).unwrap();
    let mut documented = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let statuses: Vec<u16> = cells[1].split(", ").map(|status| status.parse().unwrap()).collect();
        let codes: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(statuses.len() == 1 || statuses.len() == codes.len(), "{row}");
        // `.Expired` behind `A.Malformed` stands for `A.Expired`.
        let family = codes.iter().find_map(|code| code.split_once('.').filter(|(family, _)| !family.is_empty()));
        for (at, code) in codes.iter().enumerate() {
            let family = if code.starts_with('.') { family.unwrap().0 } else { "" };
            documented.insert((*statuses.get(at).unwrap_or(&statuses[0]), format!("{family}{code}")));
        }
    }
    documented
}

/// A parameter's own code stands there as `Missing{Parameter}`.
fn of_family(code: &str) -> String {
    let family = ["Missing", "Invalid"].into_iter().find(|family| {
        let name = code.strip_prefix(family).unwrap_or_default();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()) && name != "Parameter"
    });
    family.map(|family| format!("{family}{{Parameter}}")).unwrap_or_else(|| code.to_owned())
}

#[test]
fn each_error_of_the_tables_is_documented_with_its_status() {
    let documented = documented();
    let signed = SIGNED.iter().flat_map(|(_, cases)| cases.iter().map(|(.., status, code)| (*status, *code)));
    let rest = REST.iter().flat_map(|(_, cases)| cases.iter().map(|(.., status, code, _)| (*status, *code)));
    let met: BTreeSet<_> = signed.chain(rest).collect();
    for (status, code) in &met {
        let named = [code.to_string(), of_family(code)].into_iter().any(|code| documented.contains(&(*status, code)));
        assert!(named, "{status} {code} is not documented");
    }
    // What no single bad request brings about: it takes other settings, other circumstances, or many requests.
    let of_circumstances = [
        "ApplyTokenOverFlow",
        "SystemOverFlow",
        "InternalError",
        "RequestTimeout",
        "Forbidden.SignatureMethod",
        "Throttling",
        "Throttling.User",
        "too-many-calls",
        "too-many-streams",
        "store-failed",
        "busy",
        "recording-is-off",
        "audit-failed",
        "messages-not-on-record",
    ];
    let met: BTreeSet<String> = met.iter().flat_map(|(_, code)| [code.to_string(), of_family(code)]).collect();
    let unmet: Vec<_> = documented
        .iter()
        .filter(|(_, code)| !met.contains(code) && !of_circumstances.contains(&code.as_str()))
        .collect();
    assert!(unmet.is_empty(), "no case is refused with {unmet:?}");
}
