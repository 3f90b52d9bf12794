//! Who asked for what and who changed what stands on record, by whichever API, and never a secret.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::devices::get;
use crate::signing::{Signer, pairs};
use crate::world::{Answer, CLIENT, INSTANCE, OTHER_INSTANCE, SECRET, World, parameters, parameters_with};

/// A world that writes down, and what it wrote.
struct Written {
    world: World,
    dir: TempDir,
}

impl Written {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let audit = dir.path().to_owned();
        let world = World::with(move |state| state.settings.audit_dir = Some(audit));
        Self { world, dir }
    }

    async fn call(&self, key: &str, action: &str, parameters: &[(&str, &str)]) -> Answer {
        let signer = Signer { action: action.into(), ..self.world.signer(key) };
        self.world.call(&signer.v3(&pairs(parameters))).await
    }

    fn queries(&self) -> Vec<Value> {
        lines(self.dir.path(), "audit-queries.ndjson")
    }

    fn changes(&self) -> Vec<Value> {
        lines(self.dir.path(), "audit-changes.ndjson")
    }

    fn all(&self) -> String {
        format!("{:?}{:?}", self.queries(), self.changes())
    }
}

fn lines(dir: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn outcomes(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_question_stands_on_record_alike_by_both_apis_with_the_id_of_its_answer() {
    let written = Written::new();
    let signed = written.world.call(&written.world.signer("main").v3(&parameters())).await;
    let rest = get(&written.world, "/api/v1/clients/c/events?limit=5").await;
    let queries = written.queries();
    let [by_sdk, by_rest] = &queries[..] else { panic!("{queries:?}") };
    assert_eq!((&by_sdk["request_id"], signed.status), (&signed.json()["RequestId"], 200));
    assert_eq!((by_rest["request_id"].as_str(), rest.status), (Some(rest.header("x-request-id")), 200));
    for line in [by_sdk, by_rest] {
        for (name, value) in [
            ("key", "main"),
            ("account", "local"),
            ("action", "mq:QueryMqttDeviceTrace"),
            ("instance", INSTANCE),
            ("outcome", "allowed"),
            ("time", "2026-11-22T08:17:52.000Z"),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
    }
    assert_eq!(by_rest["target"], "/api/v1/clients/c/events?limit=5");
    let target = by_sdk["target"].as_str().unwrap();
    assert!(target.starts_with("/?Action=QueryMqttTraceDevice&") && target.contains("&ClientId=GID_test%40%40%40"));
    assert!(!written.all().contains("ignature"));
}

#[tokio::test]
async fn what_is_denied_or_refused_stands_on_record_by_both_apis_and_whoever_is_not_known_does_not() {
    let written = Written::new();
    let world = &written.world;
    for (key, changes) in [
        ("denied", &[][..]),
        ("main", &[("PageSize", Some("0"))]),
        ("main", &[("InstanceId", Some(OTHER_INSTANCE))]),
        ("main", &[("InstanceId", Some("nowhere\n{\"key\":\"forged\"}"))]),
    ] {
        assert_ne!(world.call(&world.signer(key).v3(&parameters_with(changes))).await.status, 200);
    }
    get(world, "/api/v1/gaps?instance=nowhere").await;
    let queries = written.queries();
    assert_eq!(
        outcomes(&queries),
        [
            "denied",
            "refused: InvalidPageSize",
            "refused: InstancePermissionCheckFailed",
            "refused: InstanceNotFound",
            "refused: no-such-instance"
        ]
    );
    assert_eq!((&queries[0]["key"], &queries[4]["instance"]), (&"denied".into(), &"nowhere".into()));

    let forged = Signer { secret: "guess".into(), ..world.signer("main") };
    for key in [&forged, &world.signer("nobody"), &world.signer("disabled")] {
        assert_ne!(world.call(&key.v3(&parameters())).await.status, 200);
    }
    world.call(&world.signer("main").v3(&parameters()).set("Authorization", None)).await;
    assert_eq!(written.queries().len(), 5, "nobody fills the record without a key");
}

#[tokio::test]
async fn every_change_by_the_signed_api_stands_on_record_before_it_is_made_and_then_what_became_of_it() {
    let written = Written::new();
    let device = [("InstanceId", INSTANCE), ("ClientId", CLIENT)];
    let grant =
        [("InstanceId", INSTANCE), ("Resources", "TopicA/+"), ("Actions", "R"), ("ExpireTime", "1795399999999")];
    let given = written.call("main", "ApplyToken", &grant).await;
    let token = given.json()["Token"].as_str().unwrap().to_owned();
    let named = [("InstanceId", INSTANCE), ("Token", token.as_str())];
    let registered = written.call("main", "RegisterDeviceCredential", &device).await;
    let secret = registered.json()["DeviceCredential"]["DeviceAccessKeySecret"].as_str().unwrap().to_owned();
    for (action, parameters) in [
        ("QueryToken", named),
        ("RevokeToken", named),
        ("GetDeviceCredential", device),
        ("RefreshDeviceCredential", device),
        ("UnRegisterDeviceCredential", device),
    ] {
        assert_eq!(written.call("main", action, &parameters).await.status, 200, "{action}");
    }
    assert_eq!(written.call("main", "UnRegisterDeviceCredential", &device).await.status, 400);

    let changes = written.changes();
    let said = changes.iter().map(|line| (line["action"].as_str().unwrap(), line["outcome"].as_str().unwrap()));
    let done = |action| [(action, "begun"), (action, "done")];
    let mut expected = [
        done("mq:ApplyToken"),
        done("mq:RegisterDeviceCredential"),
        done("mq:RevokeToken"),
        done("mq:RefreshDeviceCredential"),
        done("mq:UnRegisterDeviceCredential"),
    ]
    .concat();
    let again = "mq:UnRegisterDeviceCredential";
    expected.extend([(again, "begun"), (again, "failed: ParameterCheckFailed")]);
    assert_eq!(said.collect::<Vec<_>>(), expected);
    assert_eq!(changes[0]["request_id"], given.json()["RequestId"]);
    assert_eq!(
        changes[0]["target"],
        format!("/?Action=ApplyToken&InstanceId={INSTANCE}&Resources=TopicA%2F%2B&Actions=R&ExpireTime=1795399999999")
    );
    assert!(changes[4]["target"].as_str().unwrap().contains("&Token=sha256:"), "{}", changes[4]);
    let queries = written.queries();
    assert_eq!(outcomes(&queries), ["allowed", "allowed", "refused: ParameterCheckFailed"]);
    let all = written.all();
    for never in [token.as_str(), &secret, SECRET, "ignature"] {
        assert!(!all.contains(never), "{never} in {all}");
    }
}

#[tokio::test]
async fn a_change_that_can_t_be_written_down_is_not_made_by_the_signed_api_either() {
    let written = Written::new();
    std::fs::write(written.dir.path().join("audit-changes.ndjson"), vec![b'\n'; 64 << 20]).unwrap();
    let Written { world, dir } = written;
    let world = world.restarted();
    std::fs::remove_dir_all(dir.path()).unwrap();
    let device = pairs(&[("InstanceId", INSTANCE), ("ClientId", CLIENT)]);
    let signer = |action: &str| Signer { action: action.into(), ..world.signer("main") };
    let refused = world.call(&signer("RegisterDeviceCredential").v3(&device)).await;
    assert_eq!(refused.status, 500, "{refused:?}");
    let asked = world.call(&signer("GetDeviceCredential").v3(&device)).await;
    assert_eq!((asked.status, asked.code().as_str()), (400, "ParameterCheckFailed"), "nothing is registered");
}

#[tokio::test]
async fn who_sent_a_message_to_which_topic_stands_there_before_it_is_sent_and_not_what_it_says() {
    let written = Written::new();
    let parameters = [("InstanceId", INSTANCE), ("MqttTopic", "cmd/1"), ("Payload", "reboot now")];
    // Without a broker it is not sent; that it was to be is on record all the same.
    let answer = written.call("main", "SendMessage", &parameters).await;
    assert_eq!(answer.code(), "ApiNotSupport");
    let changes = written.changes();
    assert_eq!(outcomes(&changes), ["begun", "failed: ApiNotSupport"]);
    assert!(changes[0]["target"].as_str().unwrap().contains("MqttTopic=cmd%2F1"), "{changes:?}");
    assert!(!written.all().contains("reboot"));
}
