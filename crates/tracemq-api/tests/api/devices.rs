//! Which clients there are, what is known of one, its connections one by one, and what happened in all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use tracemq_access::params::encode;
use tracemq_model::{Action, ClientId, Event, Gap, GapCause, Reason, TimeMs};

use crate::world::{Answer, NOW, SECRET, World, event};

pub(crate) async fn get(world: &World, target: &str) -> Answer {
    let login = format!("Basic {}", BASE64.encode(format!("main:{SECRET}")));
    world.get(target, &[("Authorization", &login)]).await
}

pub(crate) fn of(client: &str, connection: u128, time: i64, action: Action, reason: Reason) -> Event {
    Event { client: Some(ClientId::new(client).unwrap()), ..event(connection, time, action, reason) }
}

fn names(page: &Value) -> Vec<String> {
    let name = |row: &Value| row["client"].as_str().or(row["address"].as_str()).unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn clients_are_found_by_a_part_of_their_name_page_by_page() {
    let world = World::empty();
    let connect = |client: &str| of(client, 1, NOW, Action::Connect, Reason::Accepted);
    let names_of = ["pump-1-north", "pump-2-north", "pump-2-south", "valve/7 é"];
    world.append(names_of.iter().map(|name| connect(name)).collect(), vec![]);
    let silent = Event { client: None, ..event(9, NOW, Action::Close, Reason::ConnectTimeout) };
    world.append(vec![silent], vec![]);
    for (query, expected) in [
        ("", vec!["pump-1-north", "pump-2-north", "pump-2-south", "valve/7 é", "192.0.2.7"]),
        ("prefix=pump-2", vec!["pump-2-north", "pump-2-south"]),
        ("contains=north", vec!["pump-1-north", "pump-2-north"]),
        ("glob=pump-%3F-south", vec!["pump-2-south"]),
        ("glob=*7*", vec!["valve/7 é", "192.0.2.7"]),
        ("like=VALV/7", vec!["valve/7 é"]),
        ("prefix=none", vec![]),
    ] {
        let page = get(&world, &format!("/api/v1/clients?{query}")).await.json();
        assert_eq!(
            (names(&page), page["next_cursor"].is_null()),
            (expected.iter().map(ToString::to_string).collect(), true),
            "{query}"
        );
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for _ in 0..10 {
            let page = get(&world, &format!("/api/v1/clients?limit=1&{query}{cursor}")).await.json();
            seen.extend(names(&page));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={}", encode(next));
        }
        assert_eq!(seen, expected, "{query}");
    }
    for (bad, field) in [("prefix=a&glob=b", "prefix"), ("cursor=x", "cursor"), ("limit=0", "limit")] {
        let answer = get(&world, &format!("/api/v1/clients?{bad}")).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{bad}");
    }
}

#[tokio::test]
async fn what_is_known_of_a_client_now() {
    let world = World::empty();
    let name = "a/b é";
    world.append(
        vec![
            of(name, 1, NOW - 500, Action::Connect, Reason::Accepted),
            of(name, 1, NOW - 400, Action::Close, Reason::KeepAliveTimeout),
            of(name, 2, NOW - 300, Action::Connect, Reason::Accepted),
        ],
        vec![],
    );
    let target = format!("/api/v1/clients/{}", encode(name));
    let state = get(&world, &target).await.json();
    assert_eq!((state["client"].as_str(), state["is_connected"].as_bool()), (Some(name), Some(true)));
    assert_eq!(state["open"][0]["time_ms"], NOW - 300);
    assert_eq!(state["last_end"]["reason"], "keep-alive-timeout");
    world.append(vec![of(name, 2, NOW, Action::Disconnect, Reason::ClientDisconnected)], vec![]);
    let state = get(&world, &target).await.json();
    assert_eq!((state["is_connected"].as_bool(), state["open"].as_array().unwrap().len()), (Some(false), 0));
    assert_eq!((&state["last"], &state["last_end"]["reason"]), (&state["last_end"], &json!("client-disconnected")));
    let nobody = get(&world, "/api/v1/clients/nobody").await;
    assert_eq!((nobody.status, nobody.json()["code"].as_str()), (404, Some("no-such-client")));
    // A gap in which a connection may have ended is told, though newer events are known.
    let gap = Gap { from: TimeMs(NOW - 350), to: TimeMs(NOW - 320), lost: Some(1), cause: GapCause::QueueFull };
    world.append(vec![of(name, 3, NOW - 390, Action::Connect, Reason::Accepted)], vec![gap]);
    let state = get(&world, &target).await.json();
    assert_eq!((&state["open"][0]["time_ms"], &state["gaps"][0]["lost"]), (&json!(NOW - 390), &json!(1)), "{state}");
}

#[tokio::test]
async fn who_is_on_record_and_can_not_be_read_is_not_said_to_be_unknown() {
    let world = World::empty();
    world.append(vec![of("pump", 1, NOW, Action::Connect, Reason::Accepted)], vec![]);
    let nobody = |answer: &Answer| (answer.status, answer.json()["detail"].as_str().unwrap().contains("can't be read"));
    assert_eq!(nobody(&get(&world, "/api/v1/clients/nobody").await), (404, false));
    world.store.damaged.store(true, Ordering::SeqCst);
    let pump = get(&world, "/api/v1/clients/pump").await;
    assert_eq!((pump.status, pump.json()["code"].as_str()), (500, Some("store-failed")), "{pump:?}");
    assert_eq!(nobody(&get(&world, "/api/v1/clients/nobody").await), (404, true));
}

#[tokio::test]
async fn connections_one_by_one_while_events_come_in() {
    for (order, expected) in [("asc", (1..=7).collect::<Vec<u64>>()), ("desc", (1..=7).rev().collect())] {
        for limit in [1, 2, 3, 7, 8] {
            let world = World::empty();
            for n in 1..=7_u32 {
                let at = NOW - 10_000 + i64::from(n) * 1_000;
                let connect = of("walked", n.into(), at, Action::Connect, Reason::Accepted);
                let close = of("walked", n.into(), at + 250, Action::Close, Reason::ClientClosed);
                world.append(if n < 7 { vec![connect, close] } else { vec![connect] }, vec![]);
            }
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            for more in 0..30 {
                let target = format!("/api/v1/clients/walked/sessions?order={order}&limit={limit}{cursor}");
                let page = get(&world, &target).await.json();
                for row in page["items"].as_array().unwrap() {
                    let number = u64::from_str_radix(row["connection"].as_str().unwrap(), 16).unwrap();
                    assert_eq!(row["duration_ms"].as_u64(), (number < 7).then_some(250), "{row}");
                    assert_eq!(row["end"].is_null(), number >= 7);
                    seen.push(number);
                }
                world.pass(1);
                world.append(vec![of("walked", 100 + more, NOW + 1, Action::Connect, Reason::Accepted)], vec![]);
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={}", encode(next));
            }
            assert_eq!(seen, expected, "{order} {limit}");
        }
    }
}

#[tokio::test]
async fn all_events_are_walked_once_whatever_comes_in() {
    for limit in [1, 2, 3, 5, 100] {
        for order in ["asc", "desc"] {
            let world = World::empty();
            let mut expected = Vec::new();
            for n in 0..12_u32 {
                let (client, at) = (["a", "b", "c"][n as usize % 3], NOW - 10 + i64::from(n / 6));
                world.append(vec![of(client, u128::from(n) + 1, at, Action::Connect, Reason::Accepted)], vec![]);
                expected.push((at, client, u64::from(n) + 1));
            }
            expected.sort_by_key(|(at, client, _)| (*at, *client));
            if order == "desc" {
                expected.reverse();
            }
            let (mut seen, mut cursor, mut more) = (Vec::new(), String::new(), 100);
            for _ in 0..40 {
                let page = get(&world, &format!("/api/v1/events?order={order}&limit={limit}{cursor}")).await.json();
                for row in page["items"].as_array().unwrap() {
                    seen.push(u64::from_str_radix(row["connection"].as_str().unwrap(), 16).unwrap());
                }
                // Into moments that are being walked, under a name before, one that is there, and one behind.
                for client in ["0", "b", "z"] {
                    more += 1;
                    if more > 109 {
                        break;
                    }
                    world.append(vec![of(client, more, NOW - 10, Action::Connect, Reason::Accepted)], vec![]);
                }
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={}", encode(next));
            }
            let known: Vec<u64> = seen.iter().copied().filter(|number| *number < 100).collect();
            assert_eq!(known, expected.iter().map(|(.., number)| *number).collect::<Vec<_>>(), "{order} {limit}");
            let mut once = seen.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), seen.len(), "{order} {limit}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn gaps_are_told() {
    let world = World::empty();
    let gap = Gap { from: TimeMs(NOW - 100), to: TimeMs(NOW - 50), lost: Some(3), cause: GapCause::QueueFull };
    world.append(vec![], vec![gap]);
    let page = get(&world, "/api/v1/gaps?since=1h").await.json();
    assert_eq!((page["items"][0]["lost"].as_u64(), page["items"][0]["cause"].as_str()), (Some(3), Some("queue-full")));
    assert_eq!(get(&world, &format!("/api/v1/gaps?since={NOW}")).await.json()["items"], json!([]));
}
