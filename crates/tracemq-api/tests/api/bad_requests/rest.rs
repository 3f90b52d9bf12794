//! Bad requests to our own API.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Bad, expanded};
use crate::world::{Answer, SECRET};

use As::{Header, Key, Login, Main, Nobody, Token, Twice};

/// Who asks for what by which method, and what it gets: status, code, and the field that is at fault, if one is.
pub(super) type Case = (As, &'static str, &'static str, u16, &'static str, &'static str);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum As {
    /// The key that may do all.
    Main,
    /// Another key, with its secret.
    Key(&'static str),
    Nobody,
    /// Id and secret as they are.
    Login(&'static str),
    /// The whole header.
    Header(&'static str),
    /// The key that may do all, in two headers.
    Twice,
    /// A key for a time, with a token.
    Token(&'static str, &'static str),
}

/// Sends each case.
pub(super) async fn run(cases: &[Case]) {
    let bad = Bad::new();
    let mut wrong = Vec::new();
    for (who, method, target, status, code, field) in cases {
        let before = bad.world.questions();
        let answer = ask(&bad, *who, method, &expanded(target)).await;
        let mut faults = bad.common_faults(&answer, before, *code == "no-such-client");
        faults.extend(unlike(&answer, *status, code, field));
        if !faults.is_empty() {
            wrong.push(format!("{who:?} {method} {target}: {faults:?}\n  {} {:.600}", answer.status, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    bad.assert_still_answers().await;
}

/// How `answer` differs from the problem document that was meant.
pub(super) fn unlike(answer: &Answer, status: u16, code: &str, field: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let of = |name: &str| problem[name].as_str().unwrap_or_default();
    if (answer.status, of("code"), of("field")) != (status, code, field) {
        faults.push(format!("{} {} {}", answer.status, of("code"), of("field")));
    }
    let is_whole = ["title", "detail"].into_iter().all(|name| !of(name).is_empty())
        && of("type") == format!("urn:tracemq:problem:{code}")
        && problem["status"] == status
        && of("request_id") == answer.header("x-request-id");
    if answer.header("content-type") != "application/problem+json" || !is_whole {
        faults.push("no whole problem document".to_owned());
    }
    if (status == 401) != answer.header("www-authenticate").starts_with("Basic ") {
        faults.push("the challenge".to_owned());
    }
    if (status == 405) != answer.header("allow").contains("GET") {
        faults.push(format!("the methods that are allowed: {}", answer.header("allow")));
    }
    faults
}

pub(super) async fn ask(bad: &Bad, who: As, method: &str, target: &str) -> Answer {
    let basic = |login: &str| format!("Basic {}", BASE64.encode(login));
    let (headers, token) = match who {
        Main => (vec![basic(&format!("main:{SECRET}"))], None),
        Key(id) => (vec![basic(&format!("{id}:{SECRET}"))], None),
        Nobody => (vec![], None),
        Login(login) => (vec![basic(&expanded(login))], None),
        Header(header) => (vec![expanded(header)], None),
        Twice => (vec![basic(&format!("main:{SECRET}")); 2], None),
        Token(id, token) => (vec![basic(&format!("{id}:{SECRET}"))], Some(expanded(token))),
    };
    let mut request = Request::builder().method(method).uri(target);
    for header in headers {
        request = request.header("authorization", header);
    }
    if let Some(token) = token {
        request = request.header("x-acs-security-token", token);
    }
    bad.world.send(request.body(Body::empty()).unwrap()).await
}
