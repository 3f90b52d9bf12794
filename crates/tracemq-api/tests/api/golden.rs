//! What goes over the wire, to the letter: one file a case under `tests/golden/`, request and answer.
//!
//! A difference is a change of contract. `TRACEMQ_GOLDEN=write` writes the files anew; read the difference before it
//! is committed.

use std::fmt::Write as _;
use std::path::Path;

use crate::signing::{Place, Signer, Wire};
use crate::trace_messages;
use crate::world::{Answer, OTHER_INSTANCE, World, parameters, parameters_with};

/// Headers that are part of the contract, in the order in which they are written down.
const HEADERS: [&str; 6] =
    ["content-type", "x-acs-request-id", "x-acs-trace-id", "x-acs-retry-after", "x-tracemq-gaps", "connection"];

/// Signatures and ids, which differ from run to run, as words.
fn mask(text: &str, answer: &Answer, wire: &Wire) -> String {
    let mut text = text.to_owned();
    for name in ["x-acs-request-id", "x-acs-trace-id"] {
        if !answer.header(name).is_empty() {
            text = text.replace(answer.header(name), &format!("<{name}>"));
        }
    }
    let in_target = wire.target.split('&').find_map(|part| part.strip_prefix("Signature="));
    let authorization = wire.headers.iter().find(|(name, _)| name == "Authorization");
    let in_header = authorization.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let in_header = in_header.as_deref().and_then(|value| value.split_once("Signature=")).map(|(_, value)| value);
    for signature in in_target.into_iter().chain(in_header).filter(|signature| signature.len() > 8) {
        text = text.replace(signature, "<signature>");
    }
    text
}

fn transcript(wire: &Wire, answer: &Answer) -> String {
    let mut text = format!("{} {}\n", wire.method, wire.target);
    for (name, value) in &wire.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value));
    }
    let _ = write!(text, "\n{}\n---\n{}\n", String::from_utf8_lossy(&wire.body), answer.status);
    for name in HEADERS {
        if !answer.header(name).is_empty() {
            let _ = writeln!(text, "{name}: {}", answer.header(name));
        }
    }
    let _ = write!(text, "\n{}\n", answer.body);
    mask(&text, answer, wire)
}

fn compare(name: &str, wire: &Wire, answer: &Answer) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    let found = transcript(wire, answer);
    if std::env::var("TRACEMQ_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected == found { Ok(()) } else { Err(format!("--- {name}\nexpected:\n{expected}\nfound:\n{found}")) }
}

/// Each error once, as a request that brings it about and the world in which it does.
fn cases(world: &World) -> Vec<(&'static str, Wire)> {
    let signer = |nonce: &str| Signer { nonce: nonce.into(), ..world.signer("main") };
    let by = |key: &str, nonce: &str| Signer { nonce: nonce.into(), ..world.signer(key) };
    let plain = parameters();
    let token = |key, token: Option<&str>, nonce| Signer { token: token.map(str::to_owned), ..by(key, nonce) };
    let foreign = parameters_with(&[("InstanceId", Some(OTHER_INSTANCE))]);
    let used = signer("used").v1(&plain);
    let too_large = Wire { body: vec![b'x'; 3], ..signer("large").v1(&plain).header("Content-Length", "65537") };
    vec![
        ("success-v1", signer("v1").v1(&plain)),
        ("success-v1-form", signer("v1-form").v1_at("POST", Place::Form, &plain)),
        ("success-v3", signer("v3").v3(&plain)),
        ("success-empty", signer("empty").v1(&parameters_with(&[("ClientId", Some("nobody"))]))),
        ("invalid-parameter", signer("doubled").v1(&plain).target_with("PageSize=5", "PageSize=5&PageSize=5")),
        ("unsupported-http-method", signer("put").v1_at("PUT", Place::Query, &plain)),
        ("request-body-too-large", too_large),
        ("invalid-parameter-format", signer("format").with("Format", Some("yaml")).v1(&plain)),
        ("missing-action", signer("no-action").with("Action", None).v1(&plain)),
        ("api-not-support", Signer { action: "SetSniConfig".into(), ..signer("sni") }.v1(&plain)),
        ("invalid-api-not-found", Signer { action: "Nothing".into(), ..signer("nothing") }.v1(&plain)),
        ("missing-access-key-id", signer("no-key").with("AccessKeyId", None).v1(&plain)),
        ("invalid-signature-method", signer("method").with("SignatureMethod", Some("none")).v1(&plain)),
        ("incomplete-signature", signer("incomplete").v3(&plain).header("x-acs-extra", "x")),
        ("invalid-time-stamp-format", Signer { timestamp: "now".into(), ..signer("format") }.v1(&plain)),
        ("invalid-time-stamp-expired", Signer { timestamp: "2026-11-22T07:00:00Z".into(), ..signer("old") }.v1(&plain)),
        ("invalid-access-key-id-not-found", Signer { key_id: "unknown".into(), ..signer("unknown") }.v1(&plain)),
        ("invalid-access-key-id-inactive", by("disabled", "disabled").v1(&plain)),
        ("missing-security-token", token("sts", None, "no-token").v1(&plain)),
        ("invalid-security-token-malformed", token("sts", Some("a\nb"), "malformed").v1(&plain)),
        ("invalid-security-token-mismatch", token("sts", Some("other"), "mismatch").v1(&plain)),
        ("invalid-security-token-expired", token("sts-ended", Some("CAIS+old"), "expired").v1(&plain)),
        ("signature-does-not-match-v1", Signer { secret: "guess".into(), ..signer("guess") }.v1(&plain)),
        ("signature-does-not-match-v3", Signer { secret: "guess".into(), ..signer("guess") }.v3(&plain)),
        ("signature-nonce-used", used),
        ("no-permission", by("denied", "denied").v1(&plain)),
        ("missing-client-id", signer("no-client").v1(&parameters_with(&[("ClientId", None)]))),
        ("invalid-page-size", signer("page-size").v1(&parameters_with(&[("PageSize", Some("101"))]))),
        ("instance-not-found", signer("nowhere").v1(&parameters_with(&[("InstanceId", Some("mqtt-x"))]))),
        ("instance-permission-check-failed", signer("foreign").v1(&foreign)),
    ]
}

#[tokio::test]
async fn requests_and_answers_are_those_on_file() {
    let world = World::new();
    world.call(&Signer { nonce: "used".into(), ..world.signer("main") }.v1(&parameters())).await.assert_ok();
    let mut differing = Vec::new();
    for (name, wire) in cases(&world) {
        differing.extend(compare(name, &wire, &world.call(&wire).await).err());
    }
    let slow = World::with(|state| state.settings.calls_per_second = 0);
    let wire = Signer { nonce: "throttled".into(), ..slow.signer("main") }.v1(&parameters());
    differing.extend(compare("throttling-user", &wire, &slow.call(&wire).await).err());
    let full = World::with(|state| state.settings.nonces_max = 0);
    let wire = Signer { nonce: "full".into(), ..full.signer("main") }.v1(&parameters());
    differing.extend(compare("throttling", &wire, &full.call(&wire).await).err());
    let off = World::with(|state| state.settings.allow_rpc_v1 = false);
    let wire = Signer { nonce: "off".into(), ..off.signer("main") }.v1(&parameters());
    differing.extend(compare("forbidden-signature-method", &wire, &off.call(&wire).await).err());
    world.store.fails.store(true, std::sync::atomic::Ordering::SeqCst);
    let wire = Signer { nonce: "fails".into(), ..world.signer("main") }.v1(&parameters());
    differing.extend(compare("internal-error", &wire, &world.call(&wire).await).err());
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test]
async fn the_way_of_messages_is_that_on_file() {
    let world = trace_messages::traced_world();
    let of_message = [("MsgId", Some(trace_messages::MESSAGE)), ("ClientId", None)];
    let unpaged = [("CurrentPage", None), ("PageSize", None), ("Reverse", None)];
    let mut differing = Vec::new();
    for (name, action, changes) in [
        ("message-of-client", "QueryMqttTraceMessageOfClient", Vec::new()),
        ("message-publish", "QueryMqttTraceMessagePublish", [&of_message[..], &unpaged].concat()),
        ("message-subscribe", "QueryMqttTraceMessageSubscribe", of_message.to_vec()),
    ] {
        for format in ["JSON", "XML"] {
            let signer = Signer { nonce: format!("{name}-{format}"), ..trace_messages::signer(&world, "main", action) };
            let wire = signer.with("Format", Some(format)).v1(&parameters_with(&changes));
            let name = if format == "XML" { format!("xml-success-{name}") } else { format!("success-{name}") };
            differing.extend(compare(&name, &wire, &world.call(&wire).await).err());
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test]
async fn in_xml_too() {
    let world = World::new();
    let mut differing = Vec::new();
    let nonce =
        |nonce: &str, key: &str| Signer { nonce: nonce.into(), ..world.signer(key) }.with("Format", Some("XML"));
    let hostile = parameters_with(&[("ClientId", Some("</Message><x>&\u{1}"))]);
    for (name, wire) in [
        ("xml-success", nonce("xml", "main").v1(&parameters())),
        ("xml-success-empty", nonce("xml-empty", "main").v1(&parameters_with(&[("ClientId", Some("nobody"))]))),
        ("xml-no-permission", nonce("xml-denied", "denied").v1(&parameters())),
        ("xml-invalid-page-size", nonce("xml-size", "main").v1(&parameters_with(&[("PageSize", Some("0"))]))),
        ("xml-signature-does-not-match", Signer { secret: "guess".into(), ..nonce("xml-guess", "main") }.v1(&hostile)),
    ] {
        differing.extend(compare(name, &wire, &world.call(&wire).await).err());
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
