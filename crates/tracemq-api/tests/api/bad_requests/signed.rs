//! Bad requests to the signed API: what is done to a good one.

#![allow(clippy::wildcard_enum_match_arm, reason = "what is done before a request is signed is nothing to do after it")]

use super::{Bad, MESSAGE, expanded};
use crate::signing::{Place, Signer, Wire, date, hex, pairs, query};
use crate::world::{Answer, CLIENT, INSTANCE, NOW, World, parameters};

use By::{Both, V1, V3};
use Do::{
    Add, Again, Ago, Auth, BodyIs, Calls, Date, Drop, Form, Head, Key, Method, More, MoreBody, Named, NoHead, NoSystem,
    Nonce, Secret, Set, StrangersToken, Swap, System, Token, Unlisted, Version, With, Without,
};

/// What is wrong, by which signatures, what is done to a good call, and what it gets: status and code.
pub(super) type Case = (&'static str, By, &'static [Do], u16, &'static str);

/// By which signatures a case is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// RPC V1, all in the query of a GET.
    V1,
    /// ACS3, by POST, parameters in the query.
    V3,
    Both,
}

/// A change of a good call. `{9}` in a value is nine `x`, `{9:ab}` nine times `ab`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    // Before it is signed, so that the signature is right:
    /// Another operation, with good parameters of it.
    Calls(&'static str),
    /// A name of an operation, with the parameters as they are.
    Named(&'static str),
    Version(&'static str),
    /// A parameter of the operation set, or there for a second time when it stands behind another `With` of it.
    With(&'static str, &'static str),
    Without(&'static str),
    /// The token that another account gave out for its instance.
    StrangersToken,
    /// Parameters in a form.
    Form,
    /// A parameter of RPC V1's own.
    System(&'static str, &'static str),
    NoSystem(&'static str),
    /// A header, signed by ACS3.
    Head(&'static str, &'static str),
    NoHead(&'static str),
    /// A header that is there and not signed.
    Unlisted(&'static str),
    /// Another access key.
    Key(&'static str),
    /// Another secret to sign with.
    Secret(&'static str),
    /// A security token.
    Token(&'static str),
    Nonce(&'static str),
    /// The time as a text.
    Date(&'static str),
    /// Signed so many seconds ago.
    Ago(i64),
    // After it was signed:
    /// Sent a second time.
    Again,
    Method(&'static str),
    /// A text of the target replaced.
    Swap(&'static str, &'static str),
    /// Appended to the target.
    More(&'static str),
    /// Appended to the body.
    MoreBody(&'static str),
    BodyIs(&'static str),
    /// What stands in the Authorization header behind the method.
    Auth(&'static str),
    /// A header set.
    Set(&'static str, &'static str),
    /// A header added to those of the same name.
    Add(&'static str, &'static str),
    /// A header taken out.
    Drop(&'static str),
}

pub(super) const OF_CLIENT: &str = "QueryMqttTraceMessageOfClient";
pub(super) const PUBLISH: &str = "QueryMqttTraceMessagePublish";
pub(super) const SUBSCRIBE: &str = "QueryMqttTraceMessageSubscribe";
pub(super) const SESSION: &str = "QuerySessionByClientId";
pub(super) const SESSIONS: &str = "BatchQuerySessionByClientIds";
pub(super) const APPLY: &str = "ApplyToken";
pub(super) const QUERY: &str = "QueryToken";
pub(super) const REVOKE: &str = "RevokeToken";
pub(super) const SEND: &str = "SendMessage";
pub(super) const REGISTER: &str = "RegisterDeviceCredential";
pub(super) const GET: &str = "GetDeviceCredential";
pub(super) const REFRESH: &str = "RefreshDeviceCredential";
pub(super) const UNREGISTER: &str = "UnRegisterDeviceCredential";

/// Codes of what can't be read, or holds no parameters: by then it is not known in which format to answer.
const BEFORE_FORMAT: [&str; 5] =
    ["InvalidParameter", "InvalidParameter.Format", "UnsupportedHTTPMethod", "RequestBodyTooLarge", "MissingAction"];

/// Makes each case by each of its signatures, in each format.
pub(super) async fn run(cases: &[Case]) {
    let bad = Bad::new();
    let mut wrong = Vec::new();
    for (name, by, steps, status, code) in cases {
        for scheme in [V1, V3].into_iter().filter(|scheme| [Both, *scheme].contains(by)) {
            for xml in [false, true] {
                let wire = wire(&bad, steps, scheme, xml);
                if steps.iter().any(|step| matches!(step, Again)) {
                    bad.world.call(&wire).await.assert_ok_in(xml);
                }
                let before = bad.world.questions();
                let answer = bad.world.call(&wire).await;
                let mut faults = bad.common_faults(&answer, before, false);
                faults.extend(unlike(&answer, *status, code, xml));
                if !faults.is_empty() {
                    wrong.push(format!("{name}, {scheme:?}, xml {xml}: {faults:?}\n  {:.600}", answer.body));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    bad.assert_still_answers().await;
}

/// How `answer` differs from the error that SDKs can read.
fn unlike(answer: &Answer, status: u16, code: &str, xml: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let is_xml = answer.header("content-type") == "text/xml;charset=utf-8";
    if is_xml != xml && !BEFORE_FORMAT.contains(&code) {
        faults.push(format!("content-type {}", answer.header("content-type")));
    }
    let of = |name: &str| if is_xml { element(&answer.body, name) } else { member(&answer.body, name) };
    let (found, message) = (of("Code"), of("Message"));
    if (answer.status, found.as_str()) != (status, code) {
        faults.push(format!("{} {found} in place of {status} {code}", answer.status));
    }
    if message.is_empty() || of("Recommend").is_empty() {
        faults.push("no message".to_owned());
    }
    if of("RequestId") != answer.header("x-acs-request-id") || answer.header("x-acs-request-id").len() != 36 {
        faults.push("no request id".to_owned());
    }
    faults
}

fn member(json: &str, name: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    json[name].as_str().unwrap_or_default().to_owned()
}

fn element(xml: &str, name: &str) -> String {
    let whole = xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error>") && xml.ends_with("</Error>");
    let inside = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    inside.filter(|_| whole).map(|(text, _)| text.to_owned()).unwrap_or_default()
}

impl Answer {
    #[track_caller]
    fn assert_ok_in(&self, xml: bool) {
        assert_eq!((self.status, self.body.starts_with("<?xml")), (200, xml), "{self:?}");
    }
}

/// What is to be signed.
struct Draft {
    signer: Signer,
    parameters: Vec<(String, String)>,
    set: Vec<&'static str>,
    form: bool,
    headers: Vec<(&'static str, Option<String>)>,
    unlisted: Vec<&'static str>,
}

fn wire(bad: &Bad, steps: &[Do], scheme: By, xml: bool) -> Wire {
    let mut draft = Draft::good(&bad.world, xml);
    for step in steps {
        draft.change(step, bad);
    }
    let signed = if scheme == V1 { draft.by_v1() } else { draft.by_v3() };
    steps.iter().fold(signed, spoiled)
}

impl Draft {
    fn good(world: &World, xml: bool) -> Self {
        let signer = world.signer("main").with("Format", Some(if xml { "XML" } else { "JSON" }));
        let accept = if xml { "text/xml" } else { "application/json" };
        let headers = vec![("accept", Some(accept.to_owned()))];
        Self { signer, parameters: parameters(), set: vec![], form: false, headers, unlisted: vec![] }
    }

    fn change(&mut self, step: &Do, bad: &Bad) {
        let signer = &mut self.signer;
        match *step {
            Calls(operation) => {
                operation.clone_into(&mut signer.action);
                self.parameters = good_parameters(operation);
            }
            Named(operation) => signer.action = expanded(operation),
            Version(version) => signer.version = expanded(version),
            With(name, value) => {
                if !self.set.contains(&name) {
                    self.parameters.retain(|(known, _)| known != name);
                    self.set.push(name);
                }
                self.parameters.push((expanded(name), expanded(value)));
            }
            Without(name) => self.parameters.retain(|(known, _)| known != name),
            StrangersToken => {
                self.parameters.retain(|(known, _)| known != "Token");
                self.parameters.push(("Token".to_owned(), bad.strangers_token.clone()));
            }
            Form => self.form = true,
            System(name, value) => signer.extra.push((name.to_owned(), Some(expanded(value)))),
            NoSystem(name) => signer.extra.push((name.to_owned(), None)),
            Head(name, value) => self.headers.push((name, Some(expanded(value)))),
            NoHead(name) => self.headers.push((name, None)),
            Unlisted(name) => self.unlisted.push(name),
            Key(id) => signer.key_id = expanded(id),
            Secret(secret) => signer.secret = expanded(secret),
            Token(token) => signer.token = Some(expanded(token)),
            Nonce(nonce) => signer.nonce = expanded(nonce),
            Date(date) => signer.timestamp = expanded(date),
            Ago(seconds) => signer.timestamp = date(NOW - seconds * 1_000),
            _ => {}
        }
    }

    fn by_v1(&self) -> Wire {
        let (method, place) = if self.form { ("POST", Place::Form) } else { ("GET", Place::Query) };
        let wire = self.signer.v1_at(method, place, &self.parameters);
        let headers = self.headers.iter().filter(|(name, _)| *name != "accept");
        headers.fold(wire, |wire, (name, value)| wire.set(name, value.as_deref()))
    }

    fn by_v3(&self) -> Wire {
        let mut wire = self.signer.v3(&self.parameters).set("Authorization", None);
        if self.form {
            wire.target = "/".to_owned();
            wire.body = query(&self.parameters).into_bytes();
            let hash = hex(&wire.body);
            wire = wire.set("content-type", Some("application/x-www-form-urlencoded"));
            wire = wire.set("x-acs-content-sha256", Some(&hash));
        }
        for (name, value) in &self.headers {
            wire = wire.set(name, value.as_deref());
        }
        let mut names: Vec<String> = wire.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        names.retain(|name| !self.unlisted.contains(&name.as_str()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.signer.sign_v3_over(wire, &names)
    }
}

fn spoiled(wire: Wire, step: &Do) -> Wire {
    match *step {
        Method(method) => Wire { method: method.to_owned(), ..wire },
        Swap(from, to) => wire.target_with(from, &expanded(to)),
        More(text) => Wire { target: format!("{}{}", wire.target, expanded(text)), ..wire },
        MoreBody(text) => Wire { body: [wire.body, expanded(text).into_bytes()].concat(), ..wire },
        BodyIs(text) => Wire { body: expanded(text).into_bytes(), ..wire },
        Auth(parts) => wire.set("authorization", Some(&format!("ACS3-HMAC-SHA256 {parts}"))),
        Set(name, value) => wire.set(name, Some(&expanded(value))),
        Add(name, value) => wire.header(name, &expanded(value)),
        Drop(name) => wire.set(name, None),
        _ => wire,
    }
}

/// Of a call that is answered; but for the tokens, which nobody gave out.
pub(super) fn good_parameters(operation: &str) -> Vec<(String, String)> {
    let instance = ("InstanceId", INSTANCE);
    let own = match operation {
        PUBLISH | SUBSCRIBE => {
            let mut parameters = parameters();
            parameters.retain(|(name, _)| name != "ClientId");
            parameters.push(("MsgId".to_owned(), MESSAGE.to_owned()));
            return parameters;
        }
        SESSIONS => vec![("ClientIdList.1", CLIENT), ("ClientIdList.2", "another")],
        APPLY => vec![("Resources", "t/1,u"), ("Actions", "R,W"), ("ExpireTime", "1795399999999")],
        SEND => vec![("MqttTopic", "a/b"), ("Payload", "on")],
        QUERY | REVOKE => vec![("Token", "nobodys-token")],
        SESSION | REGISTER | GET | REFRESH | UNREGISTER => vec![("ClientId", CLIENT)],
        _ => return parameters(),
    };
    pairs(&[vec![instance], own].concat())
}

/// What the tables spoil is good: each operation, by each signature, in each format and place, is answered as it is before.
#[tokio::test]
async fn the_requests_that_the_tables_spoil_are_answered_as_they_are() {
    let bad = Bad::new();
    for operation in
        ["QueryMqttTraceDevice", OF_CLIENT, PUBLISH, SUBSCRIBE, SESSION, SESSIONS, APPLY, QUERY, REGISTER, GET, REFRESH]
    {
        for (scheme, xml) in [(V1, false), (V1, true), (V3, false), (V3, true)] {
            for steps in [&[Calls(operation)][..], &[Calls(operation), Form]] {
                bad.world.call(&wire(&bad, steps, scheme, xml)).await.assert_ok_in(xml);
            }
        }
    }
    // And what the other account's marks are good for: its own answers hold them.
    let steps = [
        Key("foreign"),
        With("InstanceId", "mqtt-cn-other"),
        With("MqttRegionId", "cn-beijing"),
        With("ClientId", "GID_stranger@@@pump"),
    ];
    let answer = bad.world.call(&wire(&bad, &steps, V3, false)).await;
    answer.assert_ok();
    assert!(answer.body.contains("5754a4ce"), "{answer:?}");
    let [.., id] = &bad.strangers[..] else { panic!() };
    let steps = [Calls(GET), Key("foreign"), With("InstanceId", "mqtt-cn-other")];
    assert!(bad.world.call(&wire(&bad, &steps, V3, false)).await.body.contains(id));
}
