//! Tokens and credentials of devices: which calls give them out, and which don't.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use serde_json::Value;
use tracemq_access::mqtt::issued::{Change, DeviceCredential, Grant, Group, Issued, TokenState};
use tracemq_api::{DevicesPage, IssueError, Issuing};
use tracemq_model::{ClientId, InstanceId, TimeMs};

use crate::signing::{Signer, pairs};
use crate::world::{Answer, INSTANCE, NOW, OTHER_INSTANCE, World, policy};

/// The books in memory; what is drawn is never the same.
#[derive(Default)]
pub(crate) struct Books {
    issued: Mutex<Issued>,
    drawn: AtomicU8,
    /// While set, nothing can be written.
    pub(crate) full: AtomicBool,
}

impl Books {
    fn random<const N: usize>(&self) -> [u8; N] {
        let number = self.drawn.fetch_add(1, Ordering::SeqCst);
        [number; N]
    }

    fn apply<T>(&self, drawn: Option<(T, Change)>) -> Result<Option<T>, IssueError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(IssueError::Write(std::io::Error::other("secret-path is full")));
        }
        Ok(drawn.map(|(given, change)| {
            self.issued.lock().unwrap().apply(change, TimeMs(NOW));
            given
        }))
    }
}

impl Issuing for Books {
    fn issue_token(&self, grant: Grant) -> Result<String, IssueError> {
        let drawn = self.issued.lock().unwrap().issue_token(&self.random(), grant, TimeMs(NOW));
        Ok(self.apply(Some(drawn.map_err(IssueError::Token)?))?.unwrap())
    }
    fn token_is_valid(&self, token: &str, instance: &InstanceId) -> bool {
        let issued = self.issued.lock().unwrap();
        matches!(issued.tokens.state(token, TimeMs(NOW)), TokenState::Valid(grant) if grant.instance == instance.as_str())
    }
    fn revoke_token(&self, token: &str, instance: &InstanceId) -> Result<bool, IssueError> {
        let change = self.issued.lock().unwrap().revoke_token(token, instance.as_str());
        self.apply(change.map(|change| ((), change))).map(|done| done.is_some())
    }
    fn register_device(&self, instance: &InstanceId, client: &ClientId) -> Result<DeviceCredential, IssueError> {
        let random = self.random();
        let drawn =
            self.issued.lock().unwrap().register_device(instance.as_str(), client.as_str(), &random, TimeMs(NOW));
        Ok(self.apply(Some(drawn.map_err(IssueError::Device)?))?.unwrap())
    }
    fn device(&self, instance: &InstanceId, client: &ClientId) -> Option<DeviceCredential> {
        self.issued.lock().unwrap().devices.get(instance.as_str(), client.as_str()).cloned()
    }
    fn devices_of_group(
        &self,
        instance: &InstanceId,
        group: &str,
        after: Option<&str>,
        skip: usize,
        limit: usize,
    ) -> DevicesPage {
        let issued = self.issued.lock().unwrap();
        let all = |after| issued.devices.of_group(instance.as_str(), group, after).map(str::to_owned);
        let clients: Vec<String> = all(after).skip(skip).take(limit).collect();
        let has_more = all(after).count() > skip + clients.len();
        DevicesPage { clients, total: all(None).count(), has_more }
    }
    fn refresh_device(&self, instance: &InstanceId, client: &ClientId) -> Result<Option<DeviceCredential>, IssueError> {
        let random = self.random();
        let later = TimeMs(NOW + 5);
        let drawn = self.issued.lock().unwrap().refresh_device(instance.as_str(), client.as_str(), &random, later);
        self.apply(drawn)
    }
    fn unregister_device(&self, instance: &InstanceId, client: &ClientId) -> Result<bool, IssueError> {
        let change = self.issued.lock().unwrap().unregister_device(instance.as_str(), client.as_str());
        self.apply(change.map(|change| ((), change))).map(|done| done.is_some())
    }
    fn groups(&self, instance: &InstanceId) -> Vec<Group> {
        let configured = Group { instance: instance.to_string(), group: "GID_configured".into(), created_ms: 0 };
        let mut all = vec![configured];
        all.extend(self.issued.lock().unwrap().groups.of(instance.as_str()));
        all
    }
    fn create_group(&self, instance: &InstanceId, group: &str) -> Result<(), IssueError> {
        let drawn = self.issued.lock().unwrap().create_group(instance.as_str(), group, TimeMs(NOW));
        self.apply(Some(((), drawn.map_err(IssueError::Group)?))).map(drop)
    }
    fn delete_group(&self, instance: &InstanceId, group: &str) -> Result<bool, IssueError> {
        let change = self.issued.lock().unwrap().delete_group(instance.as_str(), group);
        self.apply(change.map(|change| ((), change))).map(|done| done.is_some())
    }
}

const DEVICE: &str = "GID_test@@@pump";
const MINUTE: &str = "1795335532000";

fn signer(world: &World, key: &str, action: &str) -> Signer {
    Signer { action: action.into(), ..world.signer(key) }
}

async fn call(world: &World, key: &str, action: &str, parameters: &[(&str, &str)]) -> Answer {
    world.call(&signer(world, key, action).v3(&pairs(parameters))).await
}

fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["Token"].as_str().unwrap().to_owned()
}

/// The parameters of ApplyToken that are answered, with changes.
fn apply<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all =
        vec![("Actions", "R"), ("ExpireTime", MINUTE), ("InstanceId", INSTANCE), ("Resources", "TopicA/+,TopicB/#")];
    for (name, value) in changes {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    let members = answer.json();
    assert!(
        ["Token", "TokenStatus", "DeviceCredential"].iter().all(|name| members[*name] == Value::Null),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_token_is_given_out_asked_for_and_taken_back() {
    let world = World::new();
    let answer = call(&world, "main", "ApplyToken", &apply(&[])).await;
    let token = token_of(&answer);
    assert_eq!(answer.header("cache-control"), "no-store");
    let named = [("InstanceId", INSTANCE), ("Token", &token)];
    let status = call(&world, "second", "QueryToken", &named).await;
    assert_eq!((status.status, status.json()["TokenStatus"].clone()), (200, Value::Bool(true)));
    let forged = call(&world, "main", "QueryToken", &[("InstanceId", INSTANCE), ("Token", "forged")]).await;
    assert_eq!(forged.json()["TokenStatus"], Value::Bool(false));
    for _ in 0..2 {
        let revoked = call(&world, "main", "RevokeToken", &named).await;
        let members: Vec<_> = revoked.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!((revoked.status, members), (200, vec!["RequestId".to_owned()]));
    }
    assert_eq!(call(&world, "main", "QueryToken", &named).await.json()["TokenStatus"], Value::Bool(false));
    let forged = call(&world, "main", "RevokeToken", &[("InstanceId", INSTANCE), ("Token", "forged")]).await;
    assert_refused(&forged, 400, "ParameterCheckFailed");
}

#[tokio::test]
async fn each_parameter_of_a_token_has_its_bounds() {
    let world = World::new();
    let hundred = ["a/#"; 100].join(",");
    let more = format!("{hundred},b");
    for (change, code) in [
        (("Actions", ""), "MissingActions"),
        (("Actions", "RW"), "InvalidActions"),
        (("Actions", "r"), "InvalidActions"),
        (("ExpireTime", ""), "MissingExpireTime"),
        (("ExpireTime", "soon"), "InvalidExpireTime"),
        (("ExpireTime", "1795335531999"), "InvalidExpireTime"),
        (("ExpireTime", "-1"), "InvalidExpireTime"),
        (("Resources", ""), "MissingResources"),
        (("Resources", "a,,b"), "InvalidResources"),
        (("Resources", "a/#/b"), "InvalidResources"),
        (("Resources", "a+"), "InvalidResources"),
        (("Resources", "$SYS/#"), "InvalidResources"),
        (("Resources", &*more), "InvalidResources"),
        (("InstanceId", ""), "MissingInstanceId"),
        (("InstanceId", "mqtt-unknown"), "InstanceNotFound"),
        (("InstanceId", OTHER_INSTANCE), "InstancePermissionCheckFailed"),
    ] {
        assert_refused(&call(&world, "main", "ApplyToken", &apply(&[change])).await, 400, code);
    }
    for changes in
        [[("Actions", "R,W"), ("Resources", &*hundred)], [("Actions", "W"), ("ExpireTime", "9223372036854775807")]]
    {
        token_of(&call(&world, "main", "ApplyToken", &apply(&changes)).await);
    }
}

#[tokio::test]
async fn a_token_lives_a_month_at_most_whatever_was_asked_for() {
    let books = std::sync::Arc::new(Books::default());
    let world = World::with(|state| state.issuing = books.clone());
    let answer = call(&world, "main", "ApplyToken", &apply(&[("ExpireTime", "9999999999999")])).await;
    let issued = books.issued.lock().unwrap();
    let TokenState::Valid(grant) = issued.tokens.state(&token_of(&answer), TimeMs(NOW)) else { panic!() };
    assert_eq!(grant.expires_ms, NOW + 30 * 86_400_000);
    assert_eq!((&*grant.access_key_id, grant.read, grant.write), ("main", true, false));
    assert_eq!(grant.resources, ["TopicA/+", "TopicB/#"]);
}

#[tokio::test]
async fn a_device_has_one_credential_and_the_last_one_counts() {
    let world = World::new();
    let named = [("InstanceId", INSTANCE), ("ClientId", DEVICE)];
    let of = |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["DeviceCredential"].clone()
    };
    for action in ["GetDeviceCredential", "RefreshDeviceCredential", "UnRegisterDeviceCredential"] {
        assert_refused(&call(&world, "main", action, &named).await, 400, "ParameterCheckFailed");
    }
    let first = of(call(&world, "main", "RegisterDeviceCredential", &named).await);
    assert_eq!((&first["ClientId"], &first["InstanceId"]), (&DEVICE.into(), &INSTANCE.into()));
    assert_eq!((&first["CreateTime"], &first["UpdateTime"]), (&NOW.into(), &NOW.into()));
    assert!(first["DeviceAccessKeyId"].as_str().unwrap().starts_with("DC."));
    assert_eq!(of(call(&world, "main", "GetDeviceCredential", &named).await), first);
    let second = of(call(&world, "main", "RefreshDeviceCredential", &named).await);
    assert_eq!(second["DeviceAccessKeyId"], first["DeviceAccessKeyId"]);
    assert_ne!(second["DeviceAccessKeySecret"], first["DeviceAccessKeySecret"]);
    assert_eq!((&second["CreateTime"], &second["UpdateTime"]), (&NOW.into(), &(NOW + 5).into()));
    let third = of(call(&world, "main", "RegisterDeviceCredential", &named).await);
    assert_ne!(third["DeviceAccessKeyId"], first["DeviceAccessKeyId"]);
    assert_eq!(of(call(&world, "main", "GetDeviceCredential", &named).await), third);
    assert_eq!(call(&world, "main", "UnRegisterDeviceCredential", &named).await.status, 200);
    assert_refused(&call(&world, "main", "GetDeviceCredential", &named).await, 400, "ParameterCheckFailed");

    let long = "x".repeat(257);
    for (client, code) in [("", "MissingClientId"), (&*long, "InvalidClientId")] {
        let named = [("InstanceId", INSTANCE), ("ClientId", client)];
        assert_refused(&call(&world, "main", "RegisterDeviceCredential", &named).await, 400, code);
    }
}

const OPERATIONS: [&str; 7] = [
    "ApplyToken",
    "QueryToken",
    "RevokeToken",
    "RegisterDeviceCredential",
    "GetDeviceCredential",
    "RefreshDeviceCredential",
    "UnRegisterDeviceCredential",
];

#[tokio::test]
async fn each_operation_needs_its_own_permission_and_says_which() {
    let world = World::new();
    for operation in OPERATIONS {
        let mut parameters = apply(&[("ClientId", DEVICE)]);
        parameters.push(("Token", "x"));
        let refused = call(&world, "nothing", operation, &parameters).await;
        assert_refused(&refused, 403, "NoPermission");
        assert_eq!(refused.json()["AccessDeniedDetail"]["AuthAction"], format!("mq:{operation}"));
        world.change_keys(|keys| {
            keys[0].policy = policy("Allow", &format!("mq:{operation}"), "acs:mq:*:*:instance/mqtt-cn-test");
        });
        let allowed = call(&world, "main", operation, &parameters).await;
        assert_ne!(allowed.status, 403, "{allowed:?}");
        world
            .change_keys(|keys| keys[0].policy = policy("Deny", &format!("mq:{operation}"), "acs:mq:*:*:mqtt-cn-test"));
        assert_refused(&call(&world, "main", operation, &parameters).await, 403, "NoPermission");
        world.change_keys(|_| {});
    }
    let unsigned = signer(&world, "main", "ApplyToken").v3(&pairs(&apply(&[]))).target_with("TopicA", "TopicC");
    assert_refused(&world.call(&unsigned).await, 400, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn no_token_reaches_a_topic_that_the_policy_keeps() {
    let world = World::new();
    let topic = "acs:mq:*:*:topic/mqtt-cn-test/secret*";
    world.change_keys(|keys| keys[0].policy = policy("Deny", "mq:ApplyToken", topic));
    for hidden in ["secret", "secret/a", "secret/#", "#", "+/a", "a,#", "sec+", "secrets/+/b"] {
        let answer = call(&world, "main", "ApplyToken", &apply(&[("Resources", hidden)])).await;
        assert_refused(&answer, 403, "NoPermission");
    }
    for open in ["a", "a/#", "b/+/secret"] {
        token_of(&call(&world, "main", "ApplyToken", &apply(&[("Resources", open)])).await);
    }
    world.change_keys(|keys| {
        let both = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:ApplyToken","Resource":
            ["acs:mq:*:*:topic/mqtt-cn-test/mine"]}]}"#;
        keys[0].policy = tracemq_access::Policy::parse(both).unwrap();
    });
    // Who may give out for a topic alone, may not for the instance.
    assert_refused(&call(&world, "main", "ApplyToken", &apply(&[])).await, 403, "NoPermission");
    assert_refused(
        &call(&world, "main", "ApplyToken", &apply(&[("Resources", "mine,other")])).await,
        403,
        "NoPermission",
    );
    token_of(&call(&world, "main", "ApplyToken", &apply(&[("Resources", "mine,mine/#")])).await);
}

#[tokio::test]
async fn what_can_t_be_written_is_an_error_without_a_secret_or_a_path() {
    let books = std::sync::Arc::new(Books::default());
    let world = World::with(|state| state.issuing = books.clone());
    books.full.store(true, Ordering::SeqCst);
    let failed = call(&world, "main", "ApplyToken", &apply(&[])).await;
    assert_refused(&failed, 500, "InternalError");
    assert!(!failed.body.contains("secret-path"));
    let failed =
        call(&world, "main", "RegisterDeviceCredential", &[("InstanceId", INSTANCE), ("ClientId", DEVICE)]).await;
    assert_refused(&failed, 500, "InternalError");
}

#[tokio::test]
async fn answers_in_xml_have_the_same_members() {
    let world = World::new();
    let ask = |action: &str, parameters: &[(&str, &str)]| {
        let wire = signer(&world, "main", action).with("Format", Some("XML")).v1(&pairs(parameters));
        let world = &world;
        async move { world.call(&wire).await.body }
    };
    let body = ask("ApplyToken", &apply(&[])).await;
    assert!(
        body.contains("<ApplyTokenResponse><RequestId>") && body.contains("</Token></ApplyTokenResponse>"),
        "{body}"
    );
    let body = ask("QueryToken", &[("InstanceId", INSTANCE), ("Token", "x")]).await;
    assert!(body.ends_with("<TokenStatus>false</TokenStatus></QueryTokenResponse>"), "{body}");
    let body = ask("RegisterDeviceCredential", &[("InstanceId", INSTANCE), ("ClientId", "a<b")]).await;
    for part in
        ["<DeviceCredential><UpdateTime>", "<DeviceAccessKeySecret>", "<ClientId>a&lt;b</ClientId></DeviceCredential>"]
    {
        assert!(body.contains(part), "{part}: {body}");
    }
}

#[tokio::test]
async fn groups_are_listed_created_and_deleted() {
    let world = World::new();
    let of = [("InstanceId", INSTANCE)];
    let named = |group| [("InstanceId", INSTANCE), ("GroupId", group)];
    let names = |answer: &Answer| -> Vec<String> {
        assert_eq!(answer.status, 200, "{answer:?}");
        let rows = answer.json();
        rows["Data"].as_array().unwrap().iter().map(|row| row["GroupId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&call(&world, "main", "ListGroupId", &of).await), ["GID_configured"]);
    assert_eq!(call(&world, "main", "CreateGroupId", &named("GID_new")).await.status, 200);
    let listed = call(&world, "main", "ListGroupId", &of).await;
    assert_eq!(names(&listed), ["GID_configured", "GID_new"]);
    let row = &listed.json()["Data"][1];
    assert_eq!((row["InstanceId"].as_str(), row["CreateTime"].as_i64()), (Some(INSTANCE), Some(NOW)));
    let xml = call(&world, "main", "ListGroupId", &[of[0], ("Format", "XML")]).await.body;
    assert!(xml.contains("<Data><GroupId>GID_new</GroupId>"), "{xml}");
    for (action, group, code) in [
        ("CreateGroupId", "GID_new", "ParameterCheckFailed"),
        ("CreateGroupId", "new", "InvalidGroupId"),
        ("CreateGroupId", "", "MissingGroupId"),
        ("DeleteGroupId", "GID_configured", "ParameterCheckFailed"),
        ("DeleteGroupId", "GID_nothing", "ParameterCheckFailed"),
    ] {
        assert_refused(&call(&world, "main", action, &named(group)).await, 400, code);
    }
    for action in ["ListGroupId", "CreateGroupId", "DeleteGroupId"] {
        let parameters = if action == "ListGroupId" { of.to_vec() } else { named("GID_new").to_vec() };
        assert_refused(&call(&world, "nothing", action, &parameters).await, 403, "NoPermission");
        assert_refused(&call(&world, "foreign", action, &parameters).await, 400, "InstancePermissionCheckFailed");
    }
    assert_eq!(call(&world, "main", "DeleteGroupId", &named("GID_new")).await.status, 200);
    assert_eq!(names(&call(&world, "main", "ListGroupId", &of).await), ["GID_configured"]);
}

#[tokio::test]
async fn clients_of_a_group_that_have_a_credential_are_listed_page_by_page() {
    let world = World::new();
    for client in ["GID_a@@@1", "GID_a@@@2", "GID_a@@@3", "GID_ab@@@1", "GID_a", "other"] {
        let parameters = [("InstanceId", INSTANCE), ("ClientId", client)];
        assert_eq!(call(&world, "main", "RegisterDeviceCredential", &parameters).await.status, 200, "{client}");
    }
    let of = |more: &[(&'static str, &'static str)]| {
        [&[("InstanceId", INSTANCE), ("GroupId", "GID_a"), ("PageSize", "2")][..], more].concat()
    };
    let list = async |more: &[(&'static str, &'static str)]| {
        let answer = call(&world, "main", "ListDeviceCredentialClientId", &of(more)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["DeviceCredentialClientIdList"].clone()
    };
    let first = list(&[]).await;
    assert_eq!(first["ClientIdList"], serde_json::json!(["GID_a@@@1", "GID_a@@@2"]));
    let told =
        |list: &Value| [&list["Total"], &list["PageNo"], &list["PageSize"], &list["NextToken"]].map(Value::clone);
    assert_eq!(told(&first), ["3", "1", "2", "GID_a@@@2"].map(Value::from));
    for rest in [list(&[("PageNo", "2")]).await, list(&[("NextToken", "GID_a@@@2")]).await] {
        assert_eq!((&rest["ClientIdList"], &rest["NextToken"]), (&serde_json::json!(["GID_a@@@3"]), &Value::Null));
        assert_eq!(rest["Total"], "3");
    }
    let xml = call(&world, "main", "ListDeviceCredentialClientId", &of(&[("Format", "XML")])).await.body;
    assert!(
        xml.contains("<DeviceCredentialClientIdList><ClientIdList>GID_a@@@1</ClientIdList><ClientIdList>"),
        "{xml}"
    );
    for (name, value, code) in [
        ("PageSize", "101", "InvalidPageSize"),
        ("PageSize", "0", "InvalidPageSize"),
        ("PageSize", "", "MissingPageSize"),
        ("PageNo", "0", "InvalidPageNo"),
        ("GroupId", "", "MissingGroupId"),
    ] {
        let mut parameters = of(&[]);
        parameters.retain(|(known, _)| *known != name);
        parameters.push((name, value));
        assert_refused(&call(&world, "main", "ListDeviceCredentialClientId", &parameters).await, 400, code);
    }
    let denied = call(&world, "nothing", "ListDeviceCredentialClientId", &of(&[])).await;
    assert_refused(&denied, 403, "NoPermission");
}
