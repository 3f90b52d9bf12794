//! The way of messages: of a client, of a message from its publisher and to its subscribers.

use std::sync::Arc;

use serde_json::{Value, json};
use tracemq_api::MessageRecord;
use tracemq_model::{Action, ClientId, Details, Event, Gap, GapCause, MessageDetails, MessageId, Reason, TimeMs};
use tracemq_recorder::{Recorder, RecorderSettings};
use tracemq_store::{Batch, ByMessage, EventStore, MemoryStore};

use crate::erasure::delete;
use crate::signing::Signer;
use crate::world::{Answer, CLIENT, NOW, World, event, parameters_with};

/// 2026-11-22T08:17:49Z and a node and a count.
pub(crate) const MESSAGE: &str = "01A2026D8B48DEADBEEF000000000001";
const OF_CLIENT: &str = "QueryMqttTraceMessageOfClient";
const PUBLISH: &str = "QueryMqttTraceMessagePublish";
const SUBSCRIBE: &str = "QueryMqttTraceMessageSubscribe";

pub(crate) fn seen(id: &str, client: &str, reason: Reason, time: i64) -> Event {
    let id: MessageId = id.parse().unwrap();
    let message = MessageDetails { id, topic: "a/b".into(), qos: 1, payload_bytes: 4, client: None };
    let details = Details { message: Some(Box::new(message)), ..Details::default() };
    Event { client: Some(ClientId::new(client).unwrap()), details, ..event(7, time, Action::Message, reason) }
}

/// One message to two devices, one of which was away, and did not reach a third.
pub(crate) fn way() -> Vec<Event> {
    vec![
        seen(MESSAGE, CLIENT, Reason::MessagePublished, NOW - 3_000),
        seen(MESSAGE, "GID_test@@@here", Reason::MessageDelivered, NOW - 3_000),
        seen(MESSAGE, "GID_test@@@away", Reason::MessageQueued, NOW - 2_999),
        seen(MESSAGE, "GID_test@@@full", Reason::MessageDropped, NOW - 2_999),
        seen(MESSAGE, "GID_test@@@away", Reason::MessageDelivered, NOW - 1_000),
    ]
}

pub(crate) fn world(events: Vec<Event>, gaps: Vec<Gap>) -> World {
    World::with(|state| {
        let store: Arc<dyn EventStore> = Arc::new(ByMessage(Arc::new(MemoryStore::new(10_000))));
        store.append(&Batch { events, gaps }).unwrap();
        let recorder =
            Recorder::start(Arc::clone(&store), Arc::clone(&state.clock), RecorderSettings::default()).unwrap();
        state.messages = Some(MessageRecord { store, recorder });
    })
}

pub(crate) fn traced_world() -> World {
    world(way(), Vec::new())
}

pub(crate) fn signer(world: &World, key: &str, action: &str) -> Signer {
    Signer { action: action.into(), ..world.signer(key) }
}

async fn call(world: &World, action: &str, changes: &[(&str, Option<&str>)]) -> Answer {
    let of_message: &[_] = if action == OF_CLIENT { &[] } else { &[("MsgId", Some(MESSAGE)), ("ClientId", None)] };
    let changes = [of_message, changes].concat();
    world.call(&signer(world, "main", action).v3(&parameters_with(&changes))).await
}

async fn ask(world: &World, action: &str, changes: &[(&str, Option<&str>)]) -> Value {
    let answer = call(world, action, changes).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut found = answer.json();
    found["RequestId"] = json!("masked");
    found
}

fn row(client: &str, action: &str, time: &str) -> Value {
    let (code, info) = match action {
        "pub_mqtt" => ("pub.mqtt", "Pub From Mqtt Client"),
        "sub" => ("sub", "Push To Mqtt Client"),
        _ => ("push.offline", "Push Offline Msg To Mqtt Client"),
    };
    json!({
        "Time": format!("2026-11-22 16:17:{time}"), "Action": action, "ActionInfo": info,
        "ActionCode": format!("mqtt.trace.action.msg.{code}"), "MsgId": MESSAGE, "ClientId": client,
    })
}

#[tokio::test]
async fn the_way_of_a_message_is_told_in_that_service_s_words() {
    let world = traced_world();
    let delivered = row("GID_test@@@here", "sub", "49.000");
    let queued = row("GID_test@@@away", "push_offline", "49.001");
    let later = row("GID_test@@@away", "sub", "51.000");
    let published = row(CLIENT, "pub_mqtt", "49.000");
    let page = |total: u64, list: &str, rows: Value| json!({"CurrentPage": 1, "RequestId": "masked", "PageSize": 5, "Total": total, list: rows});
    assert_eq!(ask(&world, OF_CLIENT, &[]).await, page(1, "MessageOfClientList", json!([published])));
    let away = ask(&world, OF_CLIENT, &[("ClientId", Some("GID_test@@@away"))]).await;
    assert_eq!(away, page(2, "MessageOfClientList", json!([queued, later])));
    let found = ask(&world, PUBLISH, &[("CurrentPage", None), ("PageSize", None), ("Reverse", None)]).await;
    assert_eq!(found, json!({"RequestId": "masked", "MessageTraceLists": [published]}));
    let all = ask(&world, SUBSCRIBE, &[]).await;
    assert_eq!(all, page(3, "MessageTraceLists", json!([delivered, queued, later])));
    let of_one = ask(&world, SUBSCRIBE, &[("ClientId", Some("GID_test@@@away")), ("Reverse", Some("True"))]).await;
    assert_eq!(of_one, page(2, "MessageTraceLists", json!([later, queued])));
    let lower = MESSAGE.to_lowercase();
    assert_eq!(ask(&world, SUBSCRIBE, &[("MsgId", Some(&lower))]).await["Total"], 3);
}

#[tokio::test]
async fn pages_of_subscribers_cut_one_list() {
    let receivers = (0..23).map(|n| seen(MESSAGE, &format!("device-{n:02}"), Reason::MessageDelivered, NOW - 100 + n));
    let world = world(receivers.collect(), Vec::new());
    for reverse in ["False", "True"] {
        let mut found = Vec::new();
        for page in ["1", "2", "3", "4"] {
            let changes = [("CurrentPage", Some(page)), ("PageSize", Some("10")), ("Reverse", Some(reverse))];
            let answer = ask(&world, SUBSCRIBE, &changes).await;
            assert_eq!(answer["Total"], 23);
            let rows = answer["MessageTraceLists"].as_array().unwrap();
            found.extend(rows.iter().map(|row| row["ClientId"].as_str().unwrap().to_owned()));
        }
        let mut expected: Vec<String> = (0..23).map(|n| format!("device-{n:02}")).collect();
        if reverse == "True" {
            expected.reverse();
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn what_is_not_known_is_an_empty_list() {
    let world = traced_world();
    for id in ["01A2026D8B48DEADBEEF000000000002", "AC1900155F5C7A3E", "é"] {
        let found = ask(&world, SUBSCRIBE, &[("MsgId", Some(id))]).await;
        assert_eq!((&found["Total"], &found["MessageTraceLists"]), (&json!(0), &json!([])), "{id}");
        assert_eq!(ask(&world, PUBLISH, &[("MsgId", Some(id))]).await["MessageTraceLists"], json!([]));
    }
    assert_eq!(ask(&world, OF_CLIENT, &[("ClientId", Some("nobody"))]).await["MessageOfClientList"], json!([]));
    let early = [("BeginTime", Some("0")), ("EndTime", Some("1"))];
    assert_eq!(ask(&world, PUBLISH, &early).await["MessageTraceLists"], json!([]));
}

#[tokio::test]
async fn what_can_t_be_asked_is_refused_by_name() {
    let world = traced_world();
    for (action, changes, code) in [
        (OF_CLIENT, ("ClientId", None), "MissingClientId"),
        (OF_CLIENT, ("PageSize", Some("101")), "InvalidPageSize"),
        (OF_CLIENT, ("Reverse", Some("maybe")), "InvalidReverse"),
        (PUBLISH, ("MsgId", None), "MissingMsgId"),
        (PUBLISH, ("BeginTime", Some("1795339999999999")), "InvalidBeginTime"),
        (PUBLISH, ("EndTime", None), "MissingEndTime"),
        (SUBSCRIBE, ("MsgId", Some("")), "MissingMsgId"),
        (SUBSCRIBE, ("CurrentPage", Some("0")), "InvalidCurrentPage"),
        (SUBSCRIBE, ("PageSize", None), "MissingPageSize"),
        (SUBSCRIBE, ("ClientId", Some("a\0b")), "InvalidClientId"),
        (SUBSCRIBE, ("InstanceId", Some("mqtt-x")), "InstanceNotFound"),
        (SUBSCRIBE, ("MqttRegionId", Some("")), "MissingMqttRegionId"),
    ] {
        let answer = call(&world, action, &[changes]).await;
        answer.assert_refused(400, code);
    }
}

#[tokio::test]
async fn without_traces_the_operations_are_not_supported() {
    let off = World::new();
    for action in [OF_CLIENT, PUBLISH, SUBSCRIBE] {
        call(&off, action, &[]).await.assert_refused(404, "ApiNotSupport");
        let signer = signer(&off, "denied", action);
        off.call(&signer.v1(&parameters_with(&[]))).await.assert_refused(403, "NoPermission");
    }
}

#[tokio::test]
async fn a_policy_allows_by_either_name() {
    let world = traced_world();
    for action in [OF_CLIENT, PUBLISH, SUBSCRIBE] {
        let ask = async |key: &str| {
            let parameters = parameters_with(&[("MsgId", Some(MESSAGE))]);
            world.call(&signer(&world, key, action).v1(&parameters)).await.status
        };
        assert_eq!((ask("main").await, ask("denied").await, ask("nothing").await), (200, 403, 403), "{action}");
        assert_eq!(ask("by-name").await, 403, "that is the name of another operation");
    }
}

#[tokio::test]
async fn erasing_a_client_s_history_takes_its_messages_with_it() {
    let world = traced_world();
    let answer = delete(&world, "main", "/api/v1/clients/GID_test%40%40%40away/events").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"erased": 2})));
    assert_eq!(ask(&world, OF_CLIENT, &[("ClientId", Some("GID_test@@@away"))]).await["Total"], 0);
    assert_eq!(ask(&world, OF_CLIENT, &[]).await["Total"], 1);
}

#[tokio::test]
async fn gaps_are_told_in_a_header_here_too() {
    let gap = Gap { from: TimeMs(NOW - 10), to: TimeMs(NOW), lost: Some(2), cause: GapCause::QueueFull };
    let world = world(way(), vec![gap]);
    for action in [OF_CLIENT, PUBLISH, SUBSCRIBE] {
        assert_eq!(call(&world, action, &[]).await.header("x-tracemq-gaps"), "1", "{action}");
        let before = [("EndTime", Some("1795335471000"))];
        assert_eq!(call(&world, action, &before).await.header("x-tracemq-gaps"), "", "{action}");
    }
}
