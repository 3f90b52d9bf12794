//! Who is connected now, and ending connections.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tracemq_api::{Clients, ConnectedClient, SendError, Whose};
use tracemq_model::{ClientId, ConnectionId, InstanceId, MessageId, ProtocolVersion, TimeMs};

use crate::signing::{Signer, pairs};
use crate::world::{Answer, INSTANCE, NOW, SECRET, World};

/// Clients `c0` to `c4`; notes what is to be ended.
#[derive(Default)]
struct Five(Mutex<Vec<(Whose, String)>>);

impl Clients for Five {
    fn page(
        &self,
        instance: &InstanceId,
        prefix: &str,
        after: Option<&ClientId>,
        limit: usize,
    ) -> (Vec<ConnectedClient>, Option<ClientId>) {
        assert_eq!(instance.as_str(), INSTANCE);
        let ids = (0..5).map(|at| ClientId::new(&format!("c{at}")).unwrap());
        let mut left = ids.filter(|id| id.as_str().starts_with(prefix) && after.is_none_or(|after| id > after));
        let clients: Vec<ConnectedClient> = left
            .by_ref()
            .take(limit)
            .map(|client| ConnectedClient {
                client,
                connection: ConnectionId(7),
                username: Some("alice".into()),
                peer: Some("192.0.2.7:4711".parse().unwrap()),
                listener: Some("mqtt".into()),
                protocol: Some(ProtocolVersion::V5),
                since: Some(TimeMs(NOW)),
                subscriptions: 2,
                queued: 3,
                queued_bytes: 4,
                in_flight: 5,
            })
            .collect();
        let next = left.next().and(clients.last().map(|last| last.client.clone()));
        (clients, next)
    }

    fn is_connected(&self, instance: &InstanceId, client: &ClientId) -> bool {
        assert_eq!(instance.as_str(), INSTANCE);
        client.as_str().len() == 2 && client.as_str() >= "c0" && client.as_str() <= "c4"
    }

    fn end(&self, _: &InstanceId, whose: &Whose, detail: &str, limit: usize) -> usize {
        self.0.lock().unwrap().push((whose.clone(), detail.to_owned()));
        if matches!(whose, Whose::User(_)) { limit } else { 1 }
    }

    fn send(&self, instance: &InstanceId, topic: &str, payload: Vec<u8>) -> Result<MessageId, SendError> {
        assert_eq!(instance.as_str(), INSTANCE);
        match topic {
            "full" => Err(SendError::Full),
            "a/#" => Err(SendError::Topic("a wildcard".into())),
            _ => Ok(MessageId(payload.len() as u128)),
        }
    }
}

fn login(key: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{key}:{SECRET}")))
}

async fn get(world: &World, target: &str, key: &str) -> Answer {
    world.get(target, &[("authorization", &login(key))]).await
}

async fn delete(world: &World, target: &str, key: &str) -> Answer {
    let request = Request::builder().method("DELETE").uri(target).header("authorization", login(key));
    world.send(request.body(Body::empty()).unwrap()).await
}

fn world() -> (World, Arc<Five>) {
    let five = Arc::new(Five::default());
    let clients = Arc::clone(&five);
    (World::with(move |state| state.clients = clients), five)
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let (world, _) = world();
    let first = get(&world, "/api/v1/connections?limit=3", "main").await;
    let page = first.json();
    assert_eq!(
        page["items"][0].to_string(),
        r#"{"client":"c0","connection":"00000000000000000000000000000007","in_flight":5,"listener":"mqtt","peer":"192.0.2.7:4711","protocol":"5.0","queued":3,"queued_bytes":4,"since":"2026-11-22T08:17:52.000Z","since_ms":1795335472000,"subscriptions":2,"username":"alice"}"#
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let second = get(&world, &format!("/api/v1/connections?limit=3&cursor={cursor}"), "main").await.json();
    assert_eq!((second["items"].as_array().unwrap().len(), second["next_cursor"].as_str()), (2, None));
    let one = get(&world, "/api/v1/connections?prefix=c3", "main").await.json();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn connections_are_ended_by_one_subject_and_it_is_noted_who_did_it() {
    let (world, five) = world();
    for (query, ended, more) in
        [("client=c1", 1, false), ("address=::ffff:192.0.2.7", 1, false), ("username=al%20ice", 1000, true)]
    {
        let answer = delete(&world, &format!("/api/v1/connections?{query}"), "main").await;
        assert_eq!((answer.status, answer.json()), (200, serde_json::json!({"ended": ended, "more": more})), "{query}");
    }
    let said = five.0.lock().unwrap();
    assert!(said.iter().all(|(_, detail)| detail == "by access key main"), "{said:?}");
    assert_eq!(said[1].0, Whose::Address("192.0.2.7".parse().unwrap()));
    assert_eq!(said[2].0, Whose::User("al ice".into()));
}

#[tokio::test]
async fn what_is_not_one_subject_ends_nothing() {
    let (world, five) = world();
    for query in ["", "client=c1&username=x", "client=", "address=nowhere", "prefix=c", "client=c1&client=c2"] {
        let answer = delete(&world, &format!("/api/v1/connections?{query}"), "main").await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    assert!(five.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_policy_must_allow_lists_and_ends_each_by_its_name() {
    let (world, five) = world();
    world.change_keys(|keys| {
        for (id, action) in [("nothing", "mq:QueryMqttDeviceTrace"), ("denied", "mq:ListMqttConnections")] {
            let key = keys.iter_mut().find(|key| key.id == id).unwrap();
            key.policy = crate::world::policy("Allow", action, "*");
        }
    });
    for (key, list, end) in [("nothing", 403, 403), ("denied", 200, 403), ("foreign", 404, 404), ("disabled", 401, 401)]
    {
        let target = format!("/api/v1/connections?instance={INSTANCE}");
        assert_eq!(get(&world, &target, key).await.status, list, "{key}");
        let answer = delete(&world, &format!("{target}&client=c1"), key).await;
        assert_eq!(answer.status, end, "{key}");
        if end == 403 {
            assert!(answer.body.contains("mq:EndMqttConnections"), "{answer:?}");
        }
    }
    assert!(five.0.lock().unwrap().is_empty());
}

async fn call(world: &World, key: &str, action: &str, parameters: &[(&str, &str)]) -> Answer {
    let signer = Signer { action: action.into(), ..world.signer(key) };
    world.call(&signer.v3(&pairs(parameters))).await
}

#[tokio::test]
async fn who_is_connected_is_told_of_one_client_and_of_ten() {
    let (world, _) = world();
    let one = |client| [("InstanceId", INSTANCE), ("ClientId", client)];
    for (client, online) in [("c0", true), ("c4", true), ("c", false), ("c10", false), ("\u{0}", false)] {
        let answer = call(&world, "main", "QuerySessionByClientId", &one(client)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["OnlineStatus"].as_bool(), Some(online), "{client:?}");
    }
    let names: Vec<String> = (1..=11).map(|number| format!("ClientIdList.{number}")).collect();
    let clients: Vec<String> = (0..11).map(|number| format!("c{number}")).collect();
    let mut ten = vec![("InstanceId", INSTANCE)];
    ten.extend(names.iter().map(String::as_str).zip(clients.iter().map(String::as_str)).take(10));
    let answer = call(&world, "main", "BatchQuerySessionByClientIds", &ten).await.json();
    let list = answer["OnlineStatusList"].as_array().unwrap();
    let shown: Vec<_> =
        list.iter().map(|one| (one["ClientId"].as_str().unwrap(), one["OnlineStatus"] == true)).collect();
    let expected: Vec<_> = clients.iter().take(10).map(|client| (client.as_str(), client.as_str() <= "c4")).collect();
    assert_eq!(shown, expected, "in the order asked for");
    ten.push(("Format", "XML"));
    let xml = call(&world, "main", "BatchQuerySessionByClientIds", &ten).await.body;
    assert!(
        xml.contains("<OnlineStatusList><OnlineStatus>false</OnlineStatus><ClientId>c9</ClientId></OnlineStatusList>"),
        "{xml}"
    );
    ten.pop();
    ten.push((&names[10], &clients[10]));
    for (parameters, status, code) in [
        (ten.as_slice(), 400, "InvalidClientIdList"),
        (&[("InstanceId", INSTANCE)], 400, "MissingClientIdList"),
        (&[("InstanceId", INSTANCE), ("ClientIdList.2", "c1")], 400, "InvalidClientIdList"),
        (&[("InstanceId", INSTANCE), ("ClientIdList.1", "")], 400, "InvalidClientIdList"),
        (&[("InstanceId", INSTANCE), ("ClientIdList.01", "c1")], 400, "InvalidClientIdList"),
        (&[("ClientIdList.1", "c1")], 400, "MissingInstanceId"),
        (&[("InstanceId", "mqtt-nowhere"), ("ClientIdList.1", "c1")], 400, "InstanceNotFound"),
    ] {
        let answer = call(&world, "main", "BatchQuerySessionByClientIds", parameters).await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{parameters:?}");
    }
    let answer = call(&world, "main", "QuerySessionByClientId", &[("InstanceId", INSTANCE)]).await;
    assert_eq!((answer.status, answer.code()), (400, "MissingClientId".to_owned()));
}

#[tokio::test]
async fn a_message_is_sent_by_whom_a_policy_allows_it_on_its_topic() {
    let (world, _) = world();
    let to = |topic| [("InstanceId", INSTANCE), ("MqttTopic", topic), ("Payload", "sixteen bytes, é")];
    let answer = call(&world, "main", "SendMessage", &to("cmd/1")).await;
    assert_eq!((answer.status, answer.json()["MsgId"].as_str()), (200, Some("00000000000000000000000000000011")));
    let xml = call(&world, "main", "SendMessage", &[&to("cmd/1")[..], &[("Format", "XML")]].concat()).await.body;
    assert!(xml.contains("<SendMessageResponse><MsgId>0000") && xml.contains("</RequestId></SendMess"), "{xml}");
    for (topic, status, code) in
        [("full", 500, "SystemOverFlow"), ("a/#", 400, "InvalidMqttTopic"), ("", 400, "MissingMqttTopic")]
    {
        let answer = call(&world, "main", "SendMessage", &to(topic)).await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{topic}");
    }
    for left_out in 0..3 {
        let mut less = to("cmd/1").to_vec();
        let (name, _) = less.remove(left_out);
        let answer = call(&world, "main", "SendMessage", &less).await;
        assert_eq!((answer.status, answer.code()), (400, format!("Missing{name}")));
    }
    let topics = format!("acs:mq:*:*:topic/{INSTANCE}/cmd");
    world.change_keys(|keys| {
        let key = keys.iter_mut().find(|key| key.id == "denied").unwrap();
        key.policy = crate::world::policy("Allow", "mq:SendMessage", &topics);
    });
    for (key, topic, status) in
        [("denied", "cmd/1", 200), ("denied", "other/1", 403), ("nothing", "cmd/1", 403), ("foreign", "cmd/1", 400)]
    {
        let answer = call(&world, key, "SendMessage", &to(topic)).await;
        assert_eq!(answer.status, status, "{key} {topic}: {answer:?}");
    }
}
