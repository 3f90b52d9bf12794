//! Our own API: who may ask, what can be asked, what stays true when pages follow pages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tracemq_access::params::encode;
use tracemq_api::Instance;
use tracemq_api::rest::EventRow;
use tracemq_model::{
    Action, ClientId, ConnectionId, Details, Event, Gap, GapCause, ProtocolVersion, Provenance, Reason, TimeMs,
    TlsVersion, Traffic,
};
use tracemq_recorder::Recorder;
use tracemq_store::{EventStore, MemoryStore};

use crate::world::{Answer, CLIENT, INSTANCE, NOW, OTHER_INSTANCE, SECRET, World, event, parameters_with};

async fn get_as(world: &World, login: &str, target: &str) -> Answer {
    let login = format!("Basic {}", BASE64.encode(login));
    world.get(target, &[("Authorization", &login)]).await
}

async fn get(world: &World, target: &str) -> Answer {
    get_as(world, &format!("main:{SECRET}"), target).await
}

fn of(client: &str) -> String {
    format!("/api/v1/clients/{}/events", encode(client))
}

fn named(client: &str, connection: u128, time: i64) -> Event {
    Event { client: Some(ClientId::new(client).unwrap()), ..event(connection, time, Action::Connect, Reason::Accepted) }
}

fn connections(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|row| u64::from_str_radix(row["connection"].as_str().unwrap(), 16).unwrap()).collect()
}

#[tokio::test]
async fn who_has_an_answer_is_told_so_until_it_changes() {
    let world = World::new();
    world.append(vec![named("pump", 1, NOW - 5)], Vec::new());
    let target = of("pump");
    let first = get(&world, &target).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.len() == 34 && tag.starts_with('"'), "{first:?}");
    let login = format!("Basic {}", BASE64.encode(format!("main:{SECRET}")));
    let again = async |known: &str| world.get(&target, &[("Authorization", &login), ("If-None-Match", known)]).await;
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let same = again(&known).await;
        assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", tag.as_str()), "{known}");
        assert_eq!(same.header("cache-control"), "no-store");
    }
    assert_eq!(again("\"other\"").await.body, first.body);
    world.append(vec![named("pump", 2, NOW)], Vec::new());
    let changed = again(&tag).await;
    assert_eq!((changed.status, connections(&changed.json())), (200, vec![2, 1]));
    // Whoever may not have the answer learns nothing from a tag.
    assert_eq!(world.get(&target, &[("If-None-Match", tag.as_str())]).await.status, 401);
}

#[tokio::test]
async fn an_event_says_all_that_is_known_and_nothing_that_is_not() {
    let world = World::new();
    let full = Event {
        provenance: Provenance::Inferred,
        details: Details {
            listener: Some("mqtt".into()),
            protocol: Some(ProtocolVersion::V5),
            username: Some("ops".into()),
            keep_alive_s: Some(30),
            clean_start: Some(false),
            session_present: Some(true),
            reason_code: Some(142),
            detail: Some("PUBLISH to x".into()),
            other_connection: Some(ConnectionId(9)),
            duration_ms: Some(1_500),
            traffic: Some(Traffic {
                bytes_in: 1,
                bytes_out: 2,
                packets_in: 3,
                packets_out: 4,
                last_in_age_ms: Some(5),
                last_out_age_ms: None,
                missed_keep_alives: Some(2),
                ..Traffic::default()
            }),
            tls_version: Some(TlsVersion::V13),
            server_name: Some("mqtt.example".into()),
            certificate_subject: Some("CN=full".into()),
            certificate_issuer: Some("CN=fleet".into()),
            certificate_not_after: Some(TimeMs(NOW)),
            count: Some(3),
            message: None,
        },
        ..event(7, NOW, Action::Close, Reason::SessionTakenOver)
    };
    world.append(vec![Event { client: Some(ClientId::new("full").unwrap()), ..full }], vec![]);
    let page = get(&world, &of("full")).await.json();
    let expected = json!({
        "time": "2026-11-22T08:17:52.000Z", "time_ms": NOW, "instance": INSTANCE,
        "connection": "00000000000000000000000000000007", "action": "close", "reason": "session-taken-over",
        "initiator": "client", "provenance": "inferred", "client": "full", "peer": "192.0.2.7:4711",
        "listener": "mqtt", "protocol": "5.0", "username": "ops", "keep_alive_s": 30, "clean_start": false,
        "session_present": true, "reason_code": 142, "detail": "PUBLISH to x",
        "other_connection": "00000000000000000000000000000009", "duration_ms": 1500, "bytes_in": 1, "bytes_out": 2,
        "packets_in": 3, "packets_out": 4, "last_in_age_ms": 5, "tls_version": "1.3", "server_name": "mqtt.example",
        "certificate_subject": "CN=full", "certificate_issuer": "CN=fleet", "certificate_not_after": "2026-11-22T08:17:52.000Z", "count": 3,
        "missed_keep_alives": 2,
    });
    assert_eq!(page, json!({"items": [expected], "total": 1, "gaps": [], "next_cursor": null}));
    let row: EventRow = serde_json::from_value(page["items"][0].clone()).unwrap();
    assert_eq!(serde_json::to_value(&row).unwrap(), expected);

    let bare = get(&world, &format!("{}?order=asc&limit=1", of(CLIENT))).await.json();
    let members: Vec<_> = bare["items"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members.len(), 10, "{members:?}");
}

#[tokio::test]
async fn only_a_key_s_secret_lets_in() {
    let world = World::new();
    assert_eq!(get(&world, &of(CLIENT)).await.status, 200);
    let logins = [
        "main:wrong",
        "main:",
        ":",
        "",
        "main",
        "unknown:x",
        "Main:x",
        &format!("unknown:{SECRET}"),
        &format!("main:{SECRET} "),
        &format!("disabled:{SECRET}"),
        &format!("ended:{SECRET}"),
        &format!("sts:{SECRET}"),
    ];
    for login in logins {
        let answer = get_as(&world, login, &of(CLIENT)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("login-required")), "{login}");
        assert!(answer.header("www-authenticate").starts_with("Basic "), "{login}");
    }
    let right = BASE64.encode(format!("main:{SECRET}"));
    let basic = format!("Basic {right}");
    assert_eq!(world.get(&of(CLIENT), &[]).await.status, 401);
    assert_eq!(world.get(&of(CLIENT), &[("Authorization", &basic), ("Authorization", &basic)]).await.status, 401);
    for header in [format!("Bearer {right}"), right.clone(), "Basic ???".into(), "Basic /w==".into()] {
        assert_eq!(world.get(&of(CLIENT), &[("Authorization", &header)]).await.status, 401, "{header}");
    }
    assert_eq!(world.get(&of(CLIENT), &[("Authorization", &format!("basic {right}"))]).await.status, 200);
    let unicode = get_as(&world, "unicode:ключ-é中", &of(CLIENT)).await;
    assert_eq!(unicode.status, 200);
}

#[tokio::test]
async fn policies_accounts_and_rates_hold_here_too() {
    let world = World::new();
    for key in ["nothing", "denied"] {
        let answer = get_as(&world, &format!("{key}:{SECRET}"), &of(CLIENT)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("not-allowed")), "{key}");
    }
    for (login, instance, status) in [
        ("main", INSTANCE, 200),
        ("main", OTHER_INSTANCE, 404),
        ("main", "nowhere", 404),
        ("main", "", 404),
        ("foreign", INSTANCE, 404),
        ("foreign", OTHER_INSTANCE, 200),
    ] {
        let target = format!("{}?instance={instance}", of(CLIENT));
        assert_eq!(get_as(&world, &format!("{login}:{SECRET}"), &target).await.status, status, "{login} {instance}");
    }
    let stranger = get_as(&world, &format!("foreign:{SECRET}"), &of(CLIENT)).await.json();
    assert_eq!(stranger["total"], 0, "another account's instance, another history");

    let world = World::with(|state| {
        let second = Instance { id: "mqtt-two".parse().unwrap(), ..state.instances[0].clone() };
        state.instances.push(second);
        state.settings.calls_per_second = 2;
    });
    let answer = get(&world, &of(CLIENT)).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("instance")));
    assert_eq!(get(&world, &format!("{}?instance=mqtt-two", of(CLIENT))).await.json()["total"], 0);
    let answer = get(&world, &of(CLIENT)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
    assert_eq!(answer.json()["code"], "too-many-calls");
}

#[tokio::test]
async fn every_bad_parameter_is_named() {
    let world = World::new();
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=+5", "limit"),
        ("limit=", "limit"),
        ("limit=00005", "limit"),
        ("order=up", "order"),
        ("order=ASC", "order"),
        ("since=someday", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("since=2026-11-22T08:00:00++08:00", "since"),
        ("since=20&until=10", "since"),
        ("cursor=x", "cursor"),
        ("cursor=YS4xLjIuMy40LjU", "cursor"),
        ("cursor=", "cursor"),
        ("colour=red", "colour"),
        ("Limit=5", "Limit"),
        ("limit=1&limit=2", "query"),
        ("limit=%zz", "query"),
    ] {
        let answer = get(&world, &format!("{}?{query}", of(CLIENT))).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["field"].as_str()), (400, Some(field)), "{query}: {problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(problem["code"], "invalid-parameter");
        for member in ["type", "title", "detail", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {problem}");
        }
    }
    for (path, field) in [
        ("/api/v1/clients/%ff/events", "path"),
        ("/api/v1/clients/%zz/events", "path"),
        ("/api/v1/clients/%00/events", "client_id"),
        ("/api/v1/addresses/nowhere/events", "ip"),
        ("/api/v1/addresses/1.2.3/events", "ip"),
    ] {
        let answer = get(&world, path).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn client_ids_of_any_text_and_addresses_of_any_spelling() {
    let world = World::new();
    for id in ["a/b/c", "/", "a+b", "a b", "é中", "?x=1", "#", "100%", "GID_a@@@1", "..", "\u{1}"] {
        world.append(vec![named(id, 1, NOW)], vec![]);
        let page = get(&world, &of(id)).await.json();
        assert_eq!((page["total"].as_u64(), page["items"][0]["client"].as_str()), (Some(1), Some(id)));
    }
    let nameless = |connection, peer: &str| Event {
        client: None,
        peer: Some(peer.parse().unwrap()),
        ..event(connection, NOW, Action::Close, Reason::ConnectTimeout)
    };
    world.append(vec![nameless(1, "198.51.100.9:1"), nameless(2, "[2001:db8::1]:1")], vec![]);
    for (address, connection) in
        [("198.51.100.9", 1), ("%3A%3Affff%3A198.51.100.9", 1), ("2001%3Adb8%3A%3A1", 2), ("2001:DB8:0:0:0:0:0:1", 2)]
    {
        let page = get(&world, &format!("/api/v1/addresses/{address}/events")).await.json();
        assert_eq!(connections(&page), [connection], "{address}");
        assert_eq!(page["items"][0].get("client"), None);
    }
}

#[tokio::test]
async fn ranges_and_gaps() {
    let world = World::new();
    let gap = Gap { from: TimeMs(NOW - 1_500), to: TimeMs(NOW - 1_400), lost: None, cause: GapCause::NotRunning };
    world.append(vec![], vec![gap]);
    for (query, total, gaps) in [
        (String::new(), 3, 1),
        ("since=-2s".into(), 2, 1),
        ("since=-1s".into(), 1, 0),
        (format!("since={}&until={}", NOW - 3_000, NOW - 2_000), 2, 0),
        ("until=2026-11-22T08:17:49.000Z".into(), 1, 0),
        ("since=2026-11-22T16:17:50%2B08:00&until=-1s".into(), 2, 1),
        ("since=2026-11-22T16:17:50+08:00&until=1s".into(), 2, 1),
    ] {
        let page = get(&world, &format!("{}?{query}", of(CLIENT))).await.json();
        assert_eq!((page["total"].as_u64(), page["gaps"].as_array().unwrap().len()), (Some(total), gaps), "{query}");
    }
    let page = get(&world, &of(CLIENT)).await.json();
    let expected = json!([{
        "from": "2026-11-22T08:17:50.500Z", "to": "2026-11-22T08:17:50.600Z",
        "from_ms": NOW - 1_500, "to_ms": NOW - 1_400, "cause": "not-running",
    }]);
    assert_eq!(page["gaps"], expected);
}

/// Of both APIs' answers about `range`: the gaps, and how many the header tells of.
async fn gaps(world: &World, range: (i64, i64)) -> (Value, String) {
    let page = get(world, &format!("{}?since={}&until={}", of(CLIENT), range.0, range.1)).await.json();
    let (from, to) = (range.0.to_string(), range.1.to_string());
    let asked = parameters_with(&[("BeginTime", Some(&from)), ("EndTime", Some(&to))]);
    let answer = world.call(&world.signer("main").v1(&asked)).await;
    answer.assert_ok();
    (page["gaps"].clone(), answer.header("x-tracemq-gaps").to_owned())
}

#[tokio::test]
async fn losses_show_before_the_store_can_be_told() {
    let world = World::new();
    let lost = |time| event(9, time, Action::Connect, Reason::Accepted);
    let none = (json!([]), String::new());
    let whole = (NOW - 3_600_000, NOW + 3_600_000);
    assert_eq!(gaps(&world, whole).await, none);
    world.store.full.store(true, Ordering::SeqCst);
    world.record(lost(NOW + 1));
    world.record(lost(NOW + 5));
    let expected = json!([{
        "from": "2026-11-22T08:17:52.001Z", "to": "2026-11-22T08:17:52.005Z",
        "from_ms": NOW + 1, "to_ms": NOW + 5, "lost": 2, "cause": "store-failed",
    }]);
    for range in [whole, (NOW + 5, NOW + 9), (NOW - 9, NOW + 1), (NOW + 2, NOW + 3)] {
        assert_eq!(gaps(&world, range).await, (expected.clone(), "1".into()), "{range:?}");
    }
    assert_eq!(gaps(&world, (NOW + 6, NOW + 9)).await, none);
    assert_eq!(gaps(&world, (NOW - 9, NOW)).await, none);
    // Later pages tell of it too.
    let page = get(&world, &format!("{}?limit=1", of(CLIENT))).await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = get(&world, &format!("{}?limit=1&cursor={cursor}", of(CLIENT))).await.json();
    assert_eq!(page["gaps"], expected);

    // Once the store knows of it, it is told once.
    world.store.full.store(false, Ordering::SeqCst);
    world.record(lost(NOW + 7));
    assert_eq!(gaps(&world, whole).await, (expected, "1".into()));
}

#[tokio::test]
async fn while_nobody_records_answers_say_so() {
    let world = World::with(|state| state.recorder = Recorder::off());
    world.pass(10_000);
    let expected = json!([{
        "from": "2026-11-22T08:17:52.000Z", "to": "2026-11-22T08:18:02.000Z",
        "from_ms": NOW, "to_ms": NOW + 10_000, "cause": "not-running",
    }]);
    for range in [(NOW - 5_000, NOW + 60_000), (NOW + 9_000, NOW + 60_000), (NOW - 5_000, NOW)] {
        assert_eq!(gaps(&world, range).await, (expected.clone(), "1".into()), "{range:?}");
    }
    assert_eq!(gaps(&world, (NOW - 5_000, NOW - 1)).await, (json!([]), String::new()));
    // The clock may step back.
    world.pass(-20_000);
    let (told, _) = gaps(&world, (NOW - 60_000, NOW + 60_000)).await;
    assert_eq!((told[0]["from_ms"].as_i64(), told[0]["to_ms"].as_i64()), (Some(NOW - 10_000), Some(NOW)));
}

#[tokio::test]
async fn while_nobody_records_the_gap_begins_with_the_last_sign_of_life() {
    let earlier = MemoryStore::new(10);
    earlier.mark_alive(TimeMs(NOW - 7_000)).unwrap();
    let world = World::with(|state| {
        state.recorder = Recorder::off();
        state.store = Arc::new(earlier.reopen());
    });
    let (told, _) = gaps(&world, (NOW - 60_000, NOW + 60_000)).await;
    assert_eq!((told[0]["from_ms"].as_i64(), told[0]["to_ms"].as_i64()), (Some(NOW - 7_000), Some(NOW)));
}

/// Walks all pages and returns the connections seen and the totals told; `between` is run after each page.
async fn walk(world: &World, order: &str, limit: usize, mut between: impl FnMut(&World)) -> (Vec<u64>, Vec<u64>) {
    let (mut seen, mut totals) = (Vec::new(), Vec::new());
    let mut cursor = String::new();
    for _ in 0..100 {
        let answer = get(world, &format!("{}?order={order}&limit={limit}{cursor}", of("walked"))).await;
        let page = answer.json();
        seen.extend(connections(&page));
        totals.push(page["total"].as_u64().unwrap());
        between(world);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => return (seen, totals),
        }
    }
    panic!("no end after {seen:?}");
}

#[tokio::test]
async fn pages_follow_without_a_hole_or_a_double_while_events_come_in() {
    for limit in [1, 2, 3, 5, 9, 10, 11] {
        // Ten events in three moments.
        let world = World::new();
        let time = |n: u64| NOW + [0, 0, 0, 0, 1, 2, 2, 2, 2, 2][usize::try_from(n - 1).unwrap()];
        world.append((1..=10).map(|n| named("walked", n.into(), time(n))).collect(), vec![]);
        let forward: Vec<u64> = (1..=10).collect();
        let backward: Vec<u64> = forward.iter().copied().rev().collect();
        let (seen, totals) = walk(&world, "asc", limit, |_| ()).await;
        assert_eq!(seen, forward, "limit {limit}");
        assert!(totals.iter().all(|total| *total == 10), "{totals:?}");
        assert_eq!(walk(&world, "desc", limit, |_| ()).await.0, backward, "limit {limit}");

        // Newest first, new ones do not show, also those that come into a moment that is being walked.
        let mut next = 100;
        let (seen, _) = walk(&world, "desc", limit, |world| {
            next += 1;
            world.append(vec![named("walked", next, NOW + 2), named("walked", next + 1_000, NOW + 3)], vec![]);
        })
        .await;
        assert_eq!(seen, backward, "limit {limit}");
    }
}

#[tokio::test]
async fn oldest_first_what_comes_in_is_found_at_the_end() {
    let world = World::new();
    world.append((1..=4).map(|n| named("walked", n, NOW)).collect(), vec![]);
    let mut next = 4;
    let (seen, _) = walk(&world, "asc", 2, |world| {
        next += 1;
        if next < 8 {
            world.append(vec![named("walked", next, NOW)], vec![]);
        }
    })
    .await;
    assert_eq!(seen, (1..=6).collect::<Vec<u64>>(), "the seventh came in after the last page");
}

#[tokio::test]
async fn a_cursor_is_of_its_own_subject_and_keeps_its_range() {
    let world = World::new();
    world.append((1..=4).map(|n| named("walked", n, NOW - 10_000 + i64::try_from(n).unwrap())).collect(), vec![]);
    world.append((1..=4).map(|n| named("other", n, NOW)).collect(), vec![]);
    let page = get(&world, &format!("{}?order=asc&limit=2&since=-1m", of("walked"))).await.json();
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(get(&world, &format!("{}?cursor={cursor}", of("other"))).await.status, 400);
    world.pass(3_600_000);
    let page = get(&world, &format!("{}?cursor={cursor}&since=-1m", of("walked"))).await.json();
    assert_eq!((connections(&page), page["total"].as_u64()), (vec![3, 4], Some(4)));
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_without_its_inside() {
    let world = World::new();
    world.store.fails.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = get(&world, &of(CLIENT)).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("store-failed")));
    assert!(!answer.body.contains("secret-path"));
}

#[tokio::test]
async fn a_history_is_filtered_by_what_events_have() {
    let world = World::new();
    let other = |mut event: Event, change: &dyn Fn(&mut Event)| {
        change(&mut event);
        event
    };
    let at = |n: u128| named("walked", n, NOW - 100 + i64::try_from(n).unwrap());
    let events = vec![
        at(1),
        other(at(2), &|event| (event.action, event.reason) = (Action::Close, Reason::KeepAliveTimeout)),
        other(at(3), &|event| (event.action, event.reason) = (Action::Disconnect, Reason::ClientDisconnected)),
        other(at(4), &|event| event.peer = Some("[2001:db8::7]:1883".parse().unwrap())),
        other(at(5), &|event| event.details.username = Some("ops".into())),
        other(at(6), &|event| event.details.listener = Some("tls".into())),
    ];
    world.append(events, vec![]);
    for (filter, expected) in [
        ("action=close", vec![2]),
        ("action=close,disconnect", vec![2, 3]),
        ("reason=client-disconnected", vec![3]),
        ("reason=client-disconnected&action=close", vec![]),
        ("address=2001:db8::7", vec![4]),
        ("username=ops", vec![5]),
        ("listener=tls", vec![6]),
        ("listener=TLS", vec![]),
        ("action=connect&since=-1m", vec![1, 4, 5, 6]),
    ] {
        let page = get(&world, &format!("{}?order=asc&{filter}", of("walked"))).await.json();
        let total = page["total"].as_u64().unwrap();
        assert_eq!((connections(&page), total), (expected.clone(), expected.len() as u64), "{filter}");
        // The same one by one, forward and back.
        for order in ["asc", "desc"] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            for _ in 0..10 {
                let target = format!("{}?order={order}&limit=1&{filter}{cursor}", of("walked"));
                let page = get(&world, &target).await.json();
                seen.extend(connections(&page));
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={}", encode(next));
            }
            if order == "desc" {
                seen.reverse();
            }
            assert_eq!(seen, expected, "{filter} {order}");
        }
    }
    for (bad, field) in [
        ("action=Close", "action"),
        ("action=", "action"),
        ("action=close,", "action"),
        ("reason=nonsense", "reason"),
        ("address=x", "address"),
        ("page=0", "page"),
        ("page=x", "page"),
        ("page=1&action=close", "page"),
    ] {
        let answer = get(&world, &format!("{}?{bad}", of("walked"))).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{bad}");
    }
}

#[tokio::test]
async fn a_history_has_pages_with_numbers_too() {
    let world = World::new();
    world.append((1..=5).map(|n| named("walked", n, NOW)).collect(), vec![]);
    for (page, expected) in [(1, vec![1, 2]), (2, vec![3, 4]), (3, vec![5]), (4, vec![]), (i64::MAX as u64, vec![])] {
        let answer = get(&world, &format!("{}?order=asc&limit=2&page={page}", of("walked"))).await.json();
        assert_eq!((connections(&answer), answer["total"].as_u64()), (expected, Some(5)), "{page}");
        assert!(answer["next_cursor"].is_null());
    }
    let cursor =
        get(&world, &format!("{}?limit=2", of("walked"))).await.json()["next_cursor"].as_str().unwrap().to_owned();
    let both = get(&world, &format!("{}?page=1&cursor={}", of("walked"), encode(&cursor))).await;
    assert_eq!((both.status, both.json()["field"].as_str()), (400, Some("page")));
}

#[tokio::test]
async fn a_cursor_is_of_its_own_filter() {
    let world = World::new();
    world.append((1..=4).map(|n| named("walked", n, NOW)).collect(), vec![]);
    let page = get(&world, &format!("{}?limit=2&action=connect", of("walked"))).await.json();
    let cursor = encode(page["next_cursor"].as_str().unwrap());
    for (query, status) in [("action=connect", 200), ("", 400), ("action=connect&listener=tls", 400)] {
        assert_eq!(get(&world, &format!("{}?cursor={cursor}&{query}", of("walked"))).await.status, status, "{query}");
    }
    for bad in ["x", "e30", &"A".repeat(10_000), "%00"] {
        assert_eq!(get(&world, &format!("{}?cursor={bad}", of("walked"))).await.status, 400, "{bad}");
    }
}
