//! All events in one answer.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tracemq_model::{Action, Gap, GapCause, Reason, TimeMs};

use crate::devices::{get, of};
use crate::world::{NOW, SECRET, World};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn all_that_is_asked_for_comes_as_lines_of_json_with_the_gaps_first() {
    let world = World::empty();
    let gap = Gap { from: TimeMs(NOW - 5), to: TimeMs(NOW - 4), lost: Some(2), cause: GapCause::QueueFull };
    let event = |n: i64| of("c", n.unsigned_abs().into(), NOW + n, Action::Connect, Reason::Accepted);
    world.append((1..=3_000).map(event).collect(), vec![gap]);
    world.append(vec![of("other", 9, NOW, Action::Close, Reason::ClientClosed)], vec![]);
    let answer = get(&world, "/api/v1/export").await;
    assert_eq!((answer.header("content-type"), answer.header("x-tracemq-gaps")), ("application/x-ndjson", "1"));
    let all = lines(&answer.body);
    assert_eq!((all.len(), &all[0]["gap"]["cause"]), (3_002, &json!("queue-full")));
    // Newest first, unless somebody says.
    assert_eq!((&all[1]["time_ms"], &all[3_001]["client"]), (&json!(NOW + 3_000), &json!("other")));
    let some = get(&world, &format!("/api/v1/export?client=c&order=asc&since={}&until={}", NOW + 10, NOW + 12)).await;
    let times: Vec<_> = lines(&some.body).iter().map(|row| row["time_ms"].as_i64().unwrap() - NOW).collect();
    assert_eq!(times, [10, 11, 12]);
    let closes = get(&world, "/api/v1/export?action=close").await;
    assert_eq!(lines(&closes.body).last().unwrap()["client"], "other");
    for (bad, field) in [("format=xml", "format"), ("client=", "client"), ("limit=3", "limit"), ("action=x", "action")]
    {
        let answer = get(&world, &format!("/api/v1/export?{bad}")).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{bad}");
    }
}

/// A strict reader gets the stored values back by the stated rule, whatever they hold.
#[tokio::test]
async fn a56_a_table_holds_what_is_stored_and_no_formula() {
    let world = World::empty();
    let names = ["=1+1", "+x", "-x", "@x", "a,b", "a\"b\"", "a;b", "a=b", "'a", "é中", "a b"];
    for (at, name) in (0..).zip(names) {
        let mut event = of(name, 1, NOW + at, Action::Close, Reason::ClientClosed);
        event.details.detail = Some("two\nlines, \"quoted\"\r\n=3".into());
        event.details.duration_ms = Some(7);
        world.append(vec![event], vec![]);
    }
    let answer = get(&world, "/api/v1/export?format=csv&order=asc").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert!(answer.header("content-disposition").ends_with("\"events.csv\""));
    let mut reader = csv::Reader::from_reader(answer.body.as_bytes());
    let names_of_columns = reader.headers().unwrap().clone();
    let at = |name: &str| names_of_columns.iter().position(|known| known == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), names.len());
    for (row, name) in rows.iter().zip(names) {
        let shown = &row[at("client")];
        assert!(!shown.starts_with(['=', '+', '-', '@']), "{shown}");
        assert_eq!(shown.strip_prefix('\'').unwrap_or(shown), name);
        assert_eq!(&row[at("detail")], "two\nlines, \"quoted\"\r\n=3");
        assert_eq!((&row[at("duration_ms")], &row[at("bytes_in")]), ("7", ""));
    }
}

/// A part is not taken for the whole, and who does not read holds a turn only until the connection is given up.
#[tokio::test]
async fn an_export_that_fails_is_broken_off_and_one_that_is_not_read_gives_its_turn_back() {
    let world = World::empty();
    let event = |n: i64| of("c", n.unsigned_abs().into(), NOW + n, Action::Connect, Reason::Accepted);
    world.append((1..=3_000).map(event).collect(), vec![]);
    let open = async || {
        let login = format!("Basic {}", BASE64.encode(format!("main:{SECRET}")));
        let request = Request::builder().uri("/api/v1/export").header("Authorization", login);
        world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    // Two turns: both are held by those who do not read, and free when they are gone.
    for _ in 0..3 {
        let (one, other) = (open().await, open().await);
        assert_eq!((one.status().as_u16(), other.status().as_u16()), (200, 200));
        drop((one, other));
    }
    world.store.fails.store(true, Ordering::SeqCst);
    let response = open().await;
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.into_body().collect().await.is_err());
}
