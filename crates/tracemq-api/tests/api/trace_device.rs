//! The operation: pages, order, ranges, words, formats.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};
use tracemq_model::{Action, ClientId, Gap, GapCause, Reason, TimeMs};

use crate::signing::{Signer, pairs};
use crate::world::{CLIENT, NOW, World, event, parameters, parameters_with, policy, send};

async fn ask(world: &World, changes: &[(&str, Option<&str>)]) -> Value {
    let answer = world.call(&world.signer("main").v1(&parameters_with(changes))).await;
    answer.assert_ok();
    answer.json()
}

fn channels(page: &Value) -> Vec<u64> {
    let list = page["DeviceInfoList"].as_array().unwrap();
    list.iter().map(|row| u64::from_str_radix(row["ChannelId"].as_str().unwrap(), 16).unwrap()).collect()
}

#[tokio::test]
async fn a_page_says_what_happened_in_that_service_s_words() {
    let world = World::new();
    let answer = world.call(&world.signer("main").v3(&parameters())).await;
    answer.assert_ok();
    let mut page = answer.json();
    let id = page["RequestId"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-acs-request-id"), id);
    assert_eq!((id.len(), id.as_bytes()[14], id.to_uppercase()), (36, b'4', id.clone()));
    assert_eq!(answer.header("x-acs-trace-id").len(), 32);
    assert_eq!(answer.header("content-type"), "application/json;charset=utf-8");
    assert_eq!((answer.header("cache-control"), answer.header("x-content-type-options")), ("no-store", "nosniff"));
    page["RequestId"] = json!("masked");
    let row = |channel: u64, time: &str, action: &str, info: &str| {
        json!({
            "ChannelId": format!("{channel:032x}"), "Time": time, "Action": action,
            "ActionCode": format!("mqtt.trace.action.{action}"), "ActionInfo": info,
        })
    };
    let expected = json!({
        "CurrentPage": 1, "RequestId": "masked", "PageSize": 5, "Total": 3,
        "DeviceInfoList": [
            row(1, "2026-11-22 16:17:49.000", "connect", "accepted"),
            row(1, "2026-11-22 16:17:50.000", "close", "no heart"),
            row(2, "2026-11-22 16:17:51.000", "connect", "accepted"),
        ],
    });
    assert_eq!(page, expected);
}

#[tokio::test]
async fn pages_cut_one_list_and_ties_keep_their_order() {
    let world = World::new();
    let named = |connection, time| {
        let mut event = event(connection, time, Action::Connect, Reason::Accepted);
        event.client = Some(ClientId::new("paged").unwrap());
        event
    };
    world.append((1..=7).map(|n| named(n, NOW + i64::from(n > 4))).collect(), vec![]);
    let device = ("ClientId", Some("paged"));
    for (reverse, expected) in [("False", vec![1, 2, 3, 4, 5, 6, 7]), ("True", vec![7, 6, 5, 4, 3, 2, 1])] {
        let mut found = Vec::new();
        for page in 1..=4 {
            let answer = ask(
                &world,
                &[
                    device,
                    ("Reverse", Some(reverse)),
                    ("PageSize", Some("3")),
                    ("CurrentPage", Some(&page.to_string())),
                ],
            )
            .await;
            assert_eq!(
                (&answer["Total"], &answer["PageSize"], &answer["CurrentPage"]),
                (&json!(7), &json!(3), &json!(page))
            );
            found.extend(channels(&answer));
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn both_ends_of_a_range_are_in_it() {
    let world = World::new();
    for (begin, end, expected) in [
        (NOW - 3_000, NOW - 1_000, 3),
        (NOW - 2_999, NOW - 1_001, 1),
        (NOW - 2_000, NOW - 2_000, 1),
        (NOW, NOW + 1, 0),
        (i64::MIN, i64::MAX, 3),
    ] {
        let (begin, end) = (begin.to_string(), end.to_string());
        let page = ask(&world, &[("BeginTime", Some(&begin)), ("EndTime", Some(&end))]).await;
        assert_eq!(page["Total"], json!(expected), "{begin} {end}");
    }
    let nobody = ask(&world, &[("ClientId", Some("nobody"))]).await;
    assert_eq!((&nobody["Total"], &nobody["DeviceInfoList"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn gaps_in_the_range_are_told_in_a_header() {
    let world = World::new();
    let gap = |from, to| Gap { from: TimeMs(from), to: TimeMs(to), lost: Some(812), cause: GapCause::QueueFull };
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    assert_eq!(answer.header("x-tracemq-gaps"), "");
    world.append(vec![], vec![gap(NOW - 10, NOW), gap(0, 1)]);
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    assert_eq!(answer.header("x-tracemq-gaps"), "1");
}

#[tokio::test]
async fn times_are_at_the_configured_offset() {
    for (offset, expected) in [(0, "2026-11-22 08:17:49.000"), (-12_600, "2026-11-22 04:47:49.000")] {
        let world = World::with(|state| state.settings.utc_offset_s = offset);
        let page = ask(&world, &[]).await;
        assert_eq!(page["DeviceInfoList"][0]["Time"], expected);
    }
    let world = World::new();
    let odd = |time| {
        let mut event = event(9, time, Action::Close, Reason::ServerLost);
        event.client = Some(ClientId::new("odd").unwrap());
        event
    };
    world.append(vec![odd(i64::MIN), odd(i64::MAX)], vec![]);
    let (begin, end) = (i64::MIN.to_string(), i64::MAX.to_string());
    let page = ask(&world, &[("ClientId", Some("odd")), ("BeginTime", Some(&begin)), ("EndTime", Some(&end))]).await;
    assert_eq!(page["DeviceInfoList"][0]["Time"], "0001-01-01 00:00:00.000");
    assert_eq!(page["DeviceInfoList"][1]["ActionInfo"], "Socket IOException");
}

#[tokio::test]
async fn formats_are_json_xml_or_refused() {
    let world = World::new();
    for (format, xml) in [
        (None, false),
        (Some(""), false),
        (Some("json"), false),
        (Some("Json"), false),
        (Some("XML"), true),
        (Some("xml"), true),
    ] {
        let answer = world.call(&world.signer("main").with("Format", format).v1(&parameters())).await;
        assert_eq!((answer.status, answer.body.starts_with("<?xml")), (200, xml), "{format:?}");
        let content_type = if xml { "text/xml;charset=utf-8" } else { "application/json;charset=utf-8" };
        assert_eq!(answer.header("content-type"), content_type);
    }
    for format in ["None", "yaml", " JSON", "JSONP"] {
        let wire = world.signer("main").with("Format", Some(format)).v1(&parameters());
        world.call(&wire).await.assert_refused(400, "InvalidParameter.Format");
    }
    for (accept, xml) in
        [("application/xml", true), ("text/xml;q=1", true), ("application/json, text/xml", false), ("*/*", false)]
    {
        let signer = world.signer("main");
        let answer = world.call(&signer.sign_v3(signer.v3(&parameters()).set("accept", Some(accept)))).await;
        assert_eq!((answer.status, answer.body.starts_with("<?xml")), (200, xml), "{accept}");
    }
}

#[tokio::test]
async fn operations_are_served_known_or_unknown() {
    let world = World::new();
    for (action, code) in [
        ("SetSniConfig", "ApiNotSupport"),
        ("UpdateCustomAuthPermission", "ApiNotSupport"),
        ("queryMqttTraceDevice", "InvalidApi.NotFound"),
        ("QueryMqttTraceDevice ", "InvalidApi.NotFound"),
        ("DropTable", "InvalidApi.NotFound"),
    ] {
        let signer = Signer { action: action.into(), ..world.signer("main") };
        world.call(&signer.v1(&parameters())).await.assert_refused(404, code);
        if !action.ends_with(' ') {
            world.call(&signer.v3(&parameters())).await.assert_refused(404, code);
        }
    }
    let signer = Signer { version: "2019-12-10".into(), ..world.signer("main") };
    world.call(&signer.v1(&parameters())).await.assert_refused(404, "InvalidApi.NotFound");
    world.call(&signer.v3(&parameters())).await.assert_refused(404, "InvalidApi.NotFound");
    let none = world.signer("main").with("Version", None);
    world.call(&none.v1(&parameters())).await.assert_refused(400, "MissingVersion");
}

#[tokio::test]
async fn a_policy_decides_and_says_how() {
    let world = World::new();
    for (key, kind) in [("nothing", "ImplicitDeny"), ("denied", "ExplicitDeny")] {
        for wire in [world.signer(key).v1(&parameters()), world.signer(key).v3(&parameters())] {
            let answer = world.call(&wire).await;
            answer.assert_refused(403, "NoPermission");
            let detail = answer.json()["AccessDeniedDetail"].clone();
            assert_eq!(
                (&detail["NoPermissionType"], &detail["AuthAction"]),
                (&json!(kind), &json!("mq:QueryMqttDeviceTrace"))
            );
            assert_eq!(
                (&detail["AuthPrincipalDisplayName"], &detail["AuthPrincipalOwnerId"]),
                (&json!(key), &json!("local"))
            );
        }
    }
    assert_eq!(world.questions(), 0);
    assert_eq!(
        policy("Allow", "mq:*", "acs:mq:*:*:x").decide(
            &["mq:y"],
            &["acs:mq:a:b:x"],
            &tracemq_access::Context::default()
        ),
        tracemq_access::Decision::Allow
    );
}

#[tokio::test]
async fn only_answered_calls_are_metered() {
    let world = World::new();
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    world.call(&world.signer("main").v3(&parameters())).await.assert_ok();
    world.call(&world.signer("nothing").v1(&parameters())).await.assert_refused(403, "NoPermission");
    let wrong = world.signer("main").v1(&parameters_with(&[("PageSize", Some("0"))]));
    world.call(&wrong).await.assert_refused(400, "InvalidPageSize");
    let metrics = world.get("/metrics", &[]).await.body;
    for line in [
        r#"tracemq_api_metered_calls_total{instance="mqtt-cn-test"} 2"#,
        r#"tracemq_api_metered_calls_total{instance="mqtt-cn-other"} 0"#,
        r#"tracemq_api_calls_total{surface="apsara",outcome="success"} 2"#,
        r#"tracemq_api_calls_total{surface="apsara",outcome="denied"} 1"#,
        r#"tracemq_api_calls_total{surface="apsara",outcome="client-error"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_without_its_inside() {
    let world = World::new();
    world.store.fails.store(true, SeqCst);
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    answer.assert_refused(500, "InternalError");
    assert!(!answer.body.contains("secret-path"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_stuck_is_an_overload_and_calls_given_up_give_nothing_back_early() {
    let world = World::new();
    world.store.stuck.store(true, SeqCst);
    let waiting: Vec<_> = (0..32)
        .map(|_| {
            let (router, wire) = (world.router.clone(), world.signer("main").v1(&parameters()));
            tokio::spawn(send(router, wire))
        })
        .collect();
    while world.questions() < 32 {
        tokio::task::yield_now().await;
    }
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    answer.assert_refused(500, "SystemOverFlow");
    let expected = "An error occurred while processing your request. Please try again.";
    assert_eq!(answer.json()["Message"], expected);
    // Callers that went away have not made room: their questions are still under way.
    for call in &waiting {
        call.abort();
    }
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    answer.assert_refused(500, "SystemOverFlow");
    assert_eq!(world.questions(), 32);
    world.store.stuck.store(false, SeqCst);
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
}

#[tokio::test]
async fn client_ids_are_plain_text_whatever_they_hold() {
    let world = World::new();
    for id in ["</ClientId><x>", "a&b=c", "#+/$", "%2f", "é中🛰", "\u{1}\n", "*", "'; DROP"] {
        let mut event = event(5, NOW, Action::Connect, Reason::Accepted);
        event.client = Some(ClientId::new(id).unwrap());
        world.append(vec![event], vec![]);
        for wire in [
            world.signer("main").v1(&parameters_with(&[("ClientId", Some(id))])),
            world.signer("main").v3(&parameters_with(&[("ClientId", Some(id))])),
        ] {
            let answer = world.call(&wire).await;
            answer.assert_ok();
            assert_eq!(answer.json()["Total"], 1, "{id}");
        }
    }
    let more = [parameters(), pairs(&[("Unknown", "x"), ("ClientIdx", CLIENT)])].concat();
    world.call(&world.signer("main").v1(&more)).await.assert_ok();
}
