//! The way of messages by our own API: every row, also of what was dropped, however many receivers there are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tracemq_access::params::encode;
use tracemq_model::{Gap, GapCause, Reason, TimeMs};

use crate::trace_messages::{MESSAGE, seen, traced_world, way, world};
use crate::world::{Answer, CLIENT, NOW, SECRET, World};

async fn get_as(world: &World, key: &str, target: &str) -> Answer {
    let login = format!("Basic {}", BASE64.encode(format!("{key}:{SECRET}")));
    world.get(target, &[("Authorization", &login)]).await
}

async fn get(world: &World, target: &str) -> Value {
    let answer = get_as(world, "main", target).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    answer.json()
}

fn of_client(client: &str) -> String {
    format!("/api/v1/clients/{}/messages", encode(client))
}

fn of_message() -> String {
    format!("/api/v1/messages/{MESSAGE}")
}

fn fates(page: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    page["items"].as_array().unwrap().iter().map(|row| (text(&row["client"]), text(&row["reason"]))).collect()
}

fn fate(client: &str, reason: &str) -> (String, String) {
    (client.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn the_way_of_a_message_has_each_receiver_also_one_that_it_did_not_reach() {
    let world = traced_world();
    let page = get(&world, &format!("{}?order=asc", of_message())).await;
    let mut found = fates(&page);
    found[..2].sort();
    found[2..4].sort();
    let mut expected = vec![
        fate(CLIENT, "message-published"),
        fate("GID_test@@@here", "message-delivered"),
        fate("GID_test@@@away", "message-queued"),
        fate("GID_test@@@full", "message-dropped"),
        fate("GID_test@@@away", "message-delivered"),
    ];
    expected[..2].sort();
    expected[2..4].sort();
    assert_eq!((found, &page["total"], &page["next_cursor"]), (expected, &json!(5), &Value::Null));
    let row = &page["items"][4];
    assert_eq!(
        (&row["message"], &row["topic"], &row["qos"], &row["payload_bytes"], &row["time"]),
        (&json!(MESSAGE), &json!("a/b"), &json!(1), &json!(4), &json!("2026-11-22T08:17:51.000Z"))
    );
    let dropped = get(&world, &format!("{}?reason=message-dropped", of_message())).await;
    assert_eq!(fates(&dropped), [fate("GID_test@@@full", "message-dropped")]);
    let lower = get(&world, &format!("/api/v1/messages/{}", MESSAGE.to_lowercase())).await;
    assert_eq!(lower["total"], 5);
    assert_eq!(get(&world, "/api/v1/messages/01A2026D8B48DEADBEEF000000000002").await["items"], json!([]));
}

#[tokio::test]
async fn the_messages_of_a_client_are_its_own() {
    let world = traced_world();
    assert_eq!(fates(&get(&world, &of_client(CLIENT)).await), [fate(CLIENT, "message-published")]);
    let away = "GID_test@@@away";
    let both = [fate(away, "message-delivered"), fate(away, "message-queued")];
    assert_eq!(fates(&get(&world, &of_client(away)).await), both);
    let queued = get(&world, &format!("{}?reason=message-queued", of_client(away))).await;
    assert_eq!((fates(&queued), &queued["total"]), (vec![both[1].clone()], &json!(1)));
    assert_eq!(get(&world, &format!("{}?until=0", of_client(away))).await["total"], 0);
}

#[tokio::test]
async fn cursors_show_each_receiver_once_in_either_order_also_in_one_millisecond() {
    let receivers = (0..23).map(|n| seen(MESSAGE, &format!("device-{n:02}"), Reason::MessageDelivered, NOW - n / 10));
    let world = world(receivers.collect(), Vec::new());
    for order in ["asc", "desc"] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&world, &format!("{}?limit=4&order={order}{cursor}", of_message())).await;
            assert_eq!(page["total"], 23);
            found.extend(fates(&page).into_iter().map(|(client, _)| client));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found.len(), 23, "{order}: {found:?}");
        found.sort();
        assert_eq!(found, (0..23).map(|n| format!("device-{n:02}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_can_t_be_asked_is_told_with_its_name() {
    let traced = traced_world();
    for (target, status, code, field) in [
        ("/api/v1/messages/xyz".to_owned(), 400, "invalid-parameter", Some("message_id")),
        (format!("{}?reason=accepted", of_message()), 400, "invalid-parameter", Some("reason")),
        (format!("{}?address=192.0.2.1", of_message()), 400, "invalid-parameter", Some("address")),
        (format!("{}?limit=0", of_client(CLIENT)), 400, "invalid-parameter", Some("limit")),
        (format!("{}?instance=mqtt-x", of_client(CLIENT)), 404, "no-such-instance", Some("instance")),
    ] {
        let answer = get_as(&traced, "main", &target).await;
        let told = answer.json();
        assert_eq!(
            (answer.status, told["code"].as_str(), told["field"].as_str()),
            (status, Some(code), field),
            "{target}"
        );
    }
    let off = get_as(&World::new(), "main", &of_message()).await;
    assert_eq!((off.status, off.json()["code"].as_str()), (404, Some("messages-not-on-record")));
}

#[tokio::test]
async fn a_key_needs_the_right_to_ask_for_messages() {
    let traced = traced_world();
    for target in [of_message(), of_client(CLIENT)] {
        for (key, status) in [("main", 200), ("denied", 403), ("nothing", 403), ("by-name", 403)] {
            assert_eq!(get_as(&traced, key, &target).await.status, status, "{key}: {target}");
        }
    }
}

#[tokio::test]
async fn gaps_of_the_record_of_messages_are_told() {
    let gap = Gap { from: TimeMs(NOW - 10), to: TimeMs(NOW), lost: Some(2), cause: GapCause::QueueFull };
    let traced = world(way(), vec![gap]);
    for target in [of_message(), of_client(CLIENT)] {
        assert_eq!(get(&traced, &target).await["gaps"][0]["lost"], 2, "{target}");
        assert_eq!(get(&traced, &format!("{target}?until=1795335471000")).await["gaps"], json!([]), "{target}");
    }
}
