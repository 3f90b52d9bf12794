//! Questions about all clients together.

use serde_json::{Value, json};
use tracemq_access::params::encode;
use tracemq_model::{Action, Event, Reason};

use crate::devices::{get, of};
use crate::world::{NOW, World, event};

const HOUR: i64 = 3_600_000;

fn listener(mut event: Event, name: &str) -> Event {
    event.details.listener = Some(name.into());
    event.details.certificate_issuer = (name == "tls").then(|| "CN=fleet".into());
    event
}

#[tokio::test]
async fn reasons_are_counted_over_time() {
    let world = World::empty();
    let first = NOW / HOUR * HOUR - 3 * HOUR;
    let close = |at, reason| of("c", 1, at, Action::Close, reason);
    let events = vec![
        close(first, Reason::KeepAliveTimeout),
        close(first + 1, Reason::KeepAliveTimeout),
        close(first + HOUR, Reason::KeepAliveTimeout),
        close(first + HOUR, Reason::ClientClosed),
        of("d", 2, first + HOUR + 5, Action::Connect, Reason::Accepted),
        close(first - 48 * HOUR, Reason::ClientClosed),
    ];
    world.append(events, vec![]);
    let counts = get(&world, "/api/v1/fleet/reasons?bucket=1h").await.json();
    assert_eq!(counts["bucket_ms"], HOUR);
    let rows = |answer: &Value| -> Vec<(i64, String, u64)> {
        let row = |row: &Value| {
            (
                row["time_ms"].as_i64().unwrap(),
                row["reason"].as_str().unwrap().to_owned(),
                row["events"].as_u64().unwrap(),
            )
        };
        answer["items"].as_array().unwrap().iter().map(row).collect()
    };
    let mut found = rows(&counts);
    found.sort();
    let expected = [
        (first, "keep-alive-timeout", 2),
        (first + HOUR, "accepted", 1),
        (first + HOUR, "client-closed", 1),
        (first + HOUR, "keep-alive-timeout", 1),
    ];
    assert_eq!(found, expected.map(|(at, reason, events)| (at, reason.to_owned(), events)));
    assert_eq!(counts["totals"][0], json!({"action": "close", "reason": "keep-alive-timeout", "events": 3}));
    // Without a length one that makes no more than 200 buckets of a day.
    let easy = get(&world, "/api/v1/fleet/reasons?action=close").await.json();
    assert_eq!((easy["bucket_ms"].as_u64(), easy["totals"].as_array().unwrap().len()), (Some(600_000), 2));
    let all = get(&world, "/api/v1/fleet/reasons?since=0&until=now").await.json();
    assert!(all["bucket_ms"].as_u64().unwrap() > 7 * 24 * 3_600_000, "{all}");
    assert_eq!(all["totals"].as_array().unwrap().iter().map(|row| row["events"].as_u64().unwrap()).sum::<u64>(), 6);
    for bad in ["bucket=0s", "bucket=x", "bucket=1s", "bucket=-1h", "bucket=1h&since=0"] {
        let answer = get(&world, &format!("/api/v1/fleet/reasons?{bad}")).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("bucket")), "{bad}");
    }
}

#[tokio::test]
async fn who_flaps_most_comes_first() {
    let world = World::empty();
    for (client, drops) in [("calm", 1), ("flaps", 9), ("some", 4), ("also", 4)] {
        for n in 0..drops {
            let at = NOW - 60_000 + n * 10;
            world.append(
                vec![
                    of(client, 1, at, Action::Connect, Reason::Accepted),
                    of(client, 1, at + 5, Action::Close, Reason::ClientClosed),
                ],
                vec![],
            );
        }
    }
    let found = get(&world, "/api/v1/fleet/flappers?limit=3").await.json();
    let names: Vec<_> = found["items"].as_array().unwrap().iter().map(|row| row["client"].as_str().unwrap()).collect();
    assert_eq!(names, ["flaps", "also", "some"]);
    assert_eq!((found["subjects"].as_u64(), found["events"].as_u64()), (Some(4), Some(18)));
    assert_eq!(
        (found["items"][0]["events"].as_u64(), &found["items"][0]["last_reason"]),
        (Some(9), &json!("client-closed"))
    );
    let connects = get(&world, "/api/v1/fleet/flappers?action=connect&limit=1").await.json();
    assert_eq!((connects["items"][0]["events"].as_u64(), connects["events"].as_u64()), (Some(9), Some(18)));
    let none = get(&world, "/api/v1/fleet/flappers?since=1s").await.json();
    assert_eq!((none["items"].as_array().unwrap().len(), none["subjects"].as_u64()), (0, Some(0)));
}

#[tokio::test]
async fn who_dropped_and_who_is_back() {
    let world = World::empty();
    for client in ["a", "b", "c", "d"] {
        world.append(vec![of(client, 1, NOW - HOUR, Action::Connect, Reason::Accepted)], vec![]);
    }
    world.append(
        vec![
            of("a", 1, NOW - 500, Action::Close, Reason::KeepAliveTimeout),
            of("b", 1, NOW - 500, Action::Close, Reason::ConnectionReset),
            of("b", 2, NOW - 100, Action::Connect, Reason::Accepted),
            of("c", 1, NOW - 500, Action::Disconnect, Reason::ClientDisconnected),
            Event { client: None, ..event(7, NOW - 400, Action::Close, Reason::ConnectTimeout) },
        ],
        vec![],
    );
    let rows = |page: &Value| -> Vec<(String, bool)> {
        let row = |row: &Value| (row["client"].as_str().unwrap().to_owned(), row["is_back"].as_bool().unwrap());
        page["items"].as_array().unwrap().iter().map(row).collect()
    };
    let page = get(&world, "/api/v1/fleet/dropped?since=1m").await.json();
    assert_eq!(rows(&page), [("a".to_owned(), false), ("b".to_owned(), true)]);
    let all = get(&world, "/api/v1/fleet/dropped?since=1m&action=close,disconnect").await.json();
    assert_eq!(rows(&all).len(), 3);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _ in 0..5 {
        let page = get(&world, &format!("/api/v1/fleet/dropped?since=1m&limit=1{cursor}")).await.json();
        seen.extend(rows(&page).into_iter().map(|(name, _)| name));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={}", encode(next));
    }
    assert_eq!(seen, ["a", "b"]);
}

#[tokio::test]
async fn what_the_dropped_have_in_common_comes_first() {
    let world = World::empty();
    let mut events = Vec::new();
    for n in 0..40_u32 {
        let (client, way) = (format!("GID_pumps@@@{n}"), if n < 20 { "tls" } else { "plain" });
        events.push(listener(of(&client, 1, NOW - 2 * HOUR, Action::Connect, Reason::Accepted), way));
        // One half drops, nearly all of it by TLS; some twice.
        if n < 18 || n == 30 {
            let close = listener(of(&client, 1, NOW - 500, Action::Close, Reason::KeepAliveTimeout), way);
            events.extend([close.clone(), close]);
        }
    }
    // Gone before, so that it neither dropped nor stayed.
    events.push(of("gone", 1, NOW - 3 * HOUR, Action::Connect, Reason::Accepted));
    events.push(of("gone", 1, NOW - 2 * HOUR, Action::Close, Reason::ClientClosed));
    world.append(events, vec![]);
    let found = get(&world, "/api/v1/fleet/common?since=1h&limit=2").await.json();
    assert_eq!(
        (found["dropped"].as_u64(), found["stayed"].as_u64(), found["is_partial"].as_bool()),
        (Some(19), Some(21), Some(false))
    );
    let first = &found["items"][0];
    assert_eq!((&first["dimension"], &first["value"]), (&json!("certificate_issuer"), &json!("CN=fleet")));
    assert_eq!(found["items"][1]["value"], "tls", "what tells as much comes by its name");
    assert_eq!((first["dropped"].as_u64(), first["stayed"].as_u64()), (Some(18), Some(2)));
    assert!((first["dropped_share"].as_f64().unwrap() - 18.0 / 19.0).abs() < 1e-9);
    assert_eq!(found["items"].as_array().unwrap().len(), 2);
    let all = get(&world, "/api/v1/fleet/common?since=1h").await.json();
    let dimensions: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|item| item["dimension"].as_str().unwrap()).collect();
    for dimension in
        ["subnet", "username", "protocol", "tls_version", "certificate_issuer", "keep_alive_s", "listener", "group"]
    {
        assert!(dimensions.contains(&dimension), "{dimension}: {dimensions:?}");
    }
    let issuer = all["items"].as_array().unwrap().iter().find(|item| item["value"] == "CN=fleet").unwrap();
    assert_eq!((issuer["dropped"].as_u64(), issuer["stayed"].as_u64()), (Some(18), Some(2)));
    let none = get(&world, &format!("/api/v1/fleet/common?since={NOW}")).await.json();
    assert_eq!((none["dropped"].as_u64(), none["items"].as_array().unwrap().len()), (Some(0), 0));
}
