//! Cursors of pages as callers might write them by hand: a cursor gives no right, so it may name any place of its own question, and
//! nothing else. A forged one is refused, or answered with what anybody with that key could have asked for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use tracemq_model::{Action, ClientId, Event, Reason};

use super::rest::As::{self, Key, Main};
use super::{Bad, rest};
use crate::world::{NOW, event};

const EVENTS: &str = "/api/v1/clients/GID_test@@@producer/events?limit=1";
const ALL: &str = "/api/v1/events?limit=1";
const SESSIONS: &str = "/api/v1/clients/GID_test@@@producer/sessions?limit=1";
const CLIENTS: &str = "/api/v1/clients?limit=1";
const DROPPED: &str = "/api/v1/fleet/dropped?limit=1&since=1d";
const QUESTIONS: [&str; 5] = [EVENTS, ALL, SESSIONS, CLIENTS, DROPPED];

fn world() -> Bad {
    let bad = Bad::new();
    let close = |client: &str| Event {
        client: Some(ClientId::new(client).unwrap()),
        ..event(9, NOW - 500, Action::Close, Reason::ConnectionReset)
    };
    bad.world.append(vec![close("another"), close("a third")], vec![]);
    bad
}

/// The cursor of the question's first page.
async fn cursor(bad: &Bad, who: As, question: &str) -> Value {
    let page = rest::ask(bad, who, "GET", question).await.json();
    let cursor = page["next_cursor"].as_str().unwrap_or_else(|| panic!("{question}: {page}"));
    serde_json::from_slice(&BASE64.decode(cursor).unwrap()).unwrap()
}

async fn status_with(bad: &Bad, question: &str, cursor: &Value) -> u16 {
    let text = BASE64.encode(cursor.to_string());
    let answer = rest::ask(bad, Main, "GET", &format!("{question}&cursor={text}")).await;
    let known = (answer.status, answer.json()["field"].as_str().unwrap_or_default().to_owned());
    let is_right = known == (200, String::new()) || known == (400, "cursor".to_owned());
    assert!(is_right, "{question} {cursor}: {answer:?}");
    for secret in &bad.strangers {
        assert!(!answer.body.contains(secret), "{question} {cursor}: {secret} in {answer:?}");
    }
    answer.status
}

#[tokio::test]
async fn a_forged_cursor_is_refused_or_gives_what_could_be_asked_for_anyway() {
    let bad = world();
    let extremes =
        [json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!(0), json!(-1), json!(1.5), json!("x"), json!(null)];
    let (mut refused, mut answered) = (0, 0);
    for question in QUESTIONS {
        let good = cursor(&bad, Main, question).await;
        assert_eq!(status_with(&bad, question, &good).await, 200, "{good}");
        let mut forged = vec![json!({}), json!([]), json!(null), json!("x"), json!({"of": good["of"]})];
        forged.push(json!({"of": "AAAA", "at": good["at"]}));
        for name in good["at"].as_object().unwrap().keys() {
            for value in &extremes {
                let mut one = good.clone();
                one["at"][name] = value.clone();
                forged.push(one);
            }
            let mut one = good.clone();
            one["at"].as_object_mut().unwrap().remove(name);
            forged.push(one);
        }
        for one in forged {
            match status_with(&bad, question, &one).await {
                200 => answered += 1,
                _ => refused += 1,
            }
        }
    }
    assert!(refused > 60 && answered > 10, "{refused} {answered}");
    bad.assert_still_answers().await;
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_question_of_its_own_account() {
    let bad = world();
    for question in QUESTIONS {
        let good = cursor(&bad, Main, question).await;
        for other in QUESTIONS.into_iter().filter(|other| *other != question) {
            assert_eq!(status_with(&bad, other, &good).await, 400, "{question} {other}");
        }
    }
    let foreign = cursor(&bad, Key("foreign"), ALL).await;
    assert_eq!(status_with(&bad, ALL, &foreign).await, 400);
    let foreign = cursor(&bad, Key("foreign"), CLIENTS).await;
    assert_eq!(status_with(&bad, CLIENTS, &foreign).await, 400);
}
