//! Why a client drops: the verdict over REST, and what it is made of.

use serde_json::{Value, json};
use tracemq_access::params::encode;
use tracemq_model::{Action, Event, Gap, GapCause, Reason, TimeMs, Traffic};

use crate::devices::{get, of};
use crate::world::{NOW, World, event};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A connection that ended `silent` after the last packet.
fn connection(client: &str, id: u128, from: i64, to: i64, reason: Reason, silent: i64) -> [Event; 2] {
    let mut end = of(client, id, to, Action::Close, reason);
    end.details.duration_ms = Some((to - from).unsigned_abs());
    end.details.traffic =
        Some(Traffic { last_in_age_ms: Some(silent.unsigned_abs()), subscriptions: Some(0), ..Traffic::default() });
    let mut connect = of(client, id, from, Action::Connect, Reason::Accepted);
    for event in [&mut connect, &mut end] {
        event.details.keep_alive_s = Some(600);
    }
    [connect, end]
}

/// Seven drops, each after five minutes of silence, the last one ten minutes ago.
fn cut_after_five_minutes(client: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut at = NOW - 10 * 60 * SECOND - 7 * HOUR;
    for (id, life) in [300, 900, 450, 300, 2_000, 4_100, 777].into_iter().enumerate() {
        let to = at + life * SECOND;
        events.extend(connection(client, id as u128 + 1, at, to, Reason::ConnectionReset, 300 * SECOND));
        at = to + 5 * SECOND;
    }
    events
}

fn causes(answer: &Value) -> (String, Vec<String>) {
    let cause = |verdict: &Value| verdict["cause"].as_str().unwrap().to_owned();
    (cause(&answer["verdict"]), answer["others"].as_array().unwrap().iter().map(cause).collect())
}

#[tokio::test]
async fn the_verdict_has_a_sentence_facts_the_events_that_prove_it_and_what_to_do() {
    let world = World::empty();
    let name = "site/7 é";
    world.append(cut_after_five_minutes(name), vec![]);
    let answer = get(&world, &format!("/api/v1/clients/{}/why?since=1d", encode(name))).await;
    assert_eq!(answer.status, 200);
    let why = answer.json();
    let verdict = &why["verdict"];
    assert_eq!((&why["client"], &verdict["cause"]), (&json!(name), &json!("idle-timeout-in-path")), "{why}");
    assert_eq!((&verdict["confidence"], &verdict["facts"]["period_s"]), (&json!("certain"), &json!(300)));
    assert!(verdict["sentence"].as_str().unwrap().contains("5 min"), "{verdict}");
    assert!(verdict["advice"].as_str().unwrap().contains("150 s"), "{verdict}");
    assert!(verdict["since"].as_str().unwrap().ends_with('Z'));
    let evidence = verdict["evidence"].as_array().unwrap();
    assert_eq!((evidence.len(), &evidence[0]["reason"]), (7, &json!("connection-reset")));
    assert_eq!(evidence[0]["client"], name);
    assert!(verdict["ruled_out"].as_array().unwrap().iter().all(|one| one["because"].is_string()));
    assert_eq!((&why["events_seen"], &why["is_partial"]), (&json!(14), &json!(false)));
    assert_eq!(why["reason_page"], "docs/why.md#idle-timeout-in-path");
    assert!(why["from"].as_str().unwrap() < why["to"].as_str().unwrap() && why["gaps"] == json!([]));
}

#[tokio::test]
async fn a_gap_is_told_and_makes_the_verdict_less_sure() {
    let world = World::empty();
    let gap = Gap {
        from: TimeMs(NOW - 6 * HOUR),
        to: TimeMs(NOW - 6 * HOUR + 60_000),
        lost: None,
        cause: GapCause::QueueFull,
    };
    world.append(cut_after_five_minutes("pump"), vec![gap]);
    let why = get(&world, "/api/v1/clients/pump/why").await.json();
    assert_eq!((&why["verdict"]["confidence"], &why["gaps"][0]["cause"]), (&json!("likely"), &json!("queue-full")));
}

/// A fleet of 60 in three networks; the client's is 10.0.1.0/24.
fn fleet(world: &World, drops: impl Fn(u8, u8) -> Option<Reason>) {
    let mut events = Vec::new();
    for (id, (net, host)) in (1..=3).flat_map(|net| (1..=20).map(move |host| (net, host))).enumerate() {
        let client = format!("device-{net}-{host}");
        let peer = Some(format!("10.0.{net}.{host}:4000").parse().unwrap());
        let id = id as u128 + 100;
        let end = NOW - HOUR + i64::from(host) * 100;
        let pair = connection(&client, id, NOW - 5 * HOUR, end, Reason::NetworkError, 900);
        for mut event in pair {
            event.peer = peer;
            match (event.action, drops(net, host)) {
                (Action::Close, None) => continue,
                (Action::Close, Some(reason)) => event.reason = reason,
                _ => {}
            }
            events.push(event);
        }
    }
    world.append(events, vec![]);
}

#[tokio::test]
async fn what_others_did_at_that_time_tells_server_and_network_apart() {
    for (others, expected) in [
        ("all", "server-side"),
        ("server", "server-side"),
        ("net", "network-of-subnet"),
        ("none", "not-enough-evidence"),
    ] {
        let world = World::empty();
        fleet(&world, |net, host| match (others, net, host) {
            (_, 1, 1) | ("all", ..) | ("net", 1, _) => Some(Reason::NetworkError),
            ("server", ..) => Some(Reason::InternalError),
            _ => None,
        });
        let why = get(&world, "/api/v1/clients/device-1-1/why").await.json();
        assert_eq!(causes(&why).0, expected, "{others}: {why}");
    }
}

#[tokio::test]
async fn an_everyday_rate_of_drops_is_no_storm_though_nobody_is_known_to_have_stayed() {
    let world = World::empty();
    let mut events = Vec::new();
    for n in 0..600 {
        let mut pair = connection(&format!("other-{n}"), n + 10, NOW - 40 * HOUR, 0, Reason::NetworkError, 900);
        pair[1].time = TimeMs(NOW - 2 * HOUR + i64::try_from(n).unwrap() * 7 * SECOND);
        events.extend(pair);
    }
    events.extend(connection("pump", 1, NOW - 40 * HOUR, NOW - HOUR, Reason::NetworkError, 900));
    events.sort_by_key(|event| event.time);
    for event in &mut events {
        event.peer = Some(format!("10.{}.0.1:1", event.connection.0 % 200).parse().unwrap());
    }
    world.append(events, vec![]);
    let why = get(&world, "/api/v1/clients/pump/why").await.json();
    assert_eq!(causes(&why).0, "not-enough-evidence", "{why}");
}

#[tokio::test]
async fn handshakes_that_a_certificate_failed_are_found_under_the_clients_address() {
    let world = World::empty();
    let over = NOW - 3 * HOUR;
    let certified = |mut event: Event, subject: &str| {
        event.details.certificate_subject = Some(subject.into());
        event.details.certificate_not_after = Some(TimeMs(over));
        event
    };
    let own = connection("pump", 1, NOW - DAY, NOW - 2 * HOUR, Reason::ConnectionReset, 900);
    world.append(own.map(|event| certified(event, "CN=pump")).to_vec(), vec![]);
    let handshake = |id, at, subject| {
        certified(Event { client: None, ..event(id, at, Action::Close, Reason::CertificateRefused) }, subject)
    };
    world.append(vec![handshake(2, NOW - HOUR, "CN=pump"), handshake(3, NOW - HOUR, "CN=neighbour")], vec![]);
    let why = get(&world, "/api/v1/clients/pump/why").await.json();
    let verdict = &why["verdict"];
    assert_eq!(
        (&verdict["cause"], &verdict["confidence"]),
        (&json!("certificate-expired"), &json!("certain")),
        "{why}"
    );
    let subjects: Vec<&str> = verdict["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["certificate_subject"].as_str().unwrap())
        .collect();
    assert!(subjects.len() == 2 && !subjects.contains(&"CN=neighbour"), "{subjects:?}");
}

#[tokio::test]
async fn a_device_that_is_long_gone_is_judged_by_its_last_week() {
    let world = World::empty();
    let mut events = cut_after_five_minutes("pump");
    events.iter_mut().for_each(|event| event.time = event.time.plus(-60 * DAY));
    world.append(events, vec![]);
    let why = get(&world, "/api/v1/clients/pump/why").await.json();
    assert_eq!((causes(&why).0.as_str(), &why["events_seen"]), ("idle-timeout-in-path", &json!(14)));
    let asked = get(&world, "/api/v1/clients/pump/why?since=1d").await.json();
    assert_eq!((causes(&asked).0.as_str(), &asked["events_seen"]), ("not-enough-evidence", &json!(0)));
    let nobody = get(&world, "/api/v1/clients/nobody/why").await;
    assert_eq!((nobody.status, nobody.json()["code"].as_str()), (404, Some("no-such-client")));
}

#[tokio::test]
async fn of_a_long_history_the_newest_five_thousand_events_are_looked_at() {
    let world = World::empty();
    let mut events = Vec::new();
    for n in 0..2_600_i64 {
        let from = NOW - 2 * DAY + n * 60 * SECOND;
        let id = u128::try_from(n).unwrap() + 1;
        events.extend(connection(
            "pump",
            id,
            from,
            from + 30 * SECOND + n % 17 * SECOND,
            Reason::ClientClosed,
            n % 29 * 100,
        ));
    }
    world.append(events, vec![]);
    let why = get(&world, "/api/v1/clients/pump/why").await.json();
    assert_eq!((&why["events_seen"], &why["is_partial"]), (&json!(5_000), &json!(true)));
    assert!(why["verdict"]["evidence"].as_array().unwrap().len() <= 20);
}
