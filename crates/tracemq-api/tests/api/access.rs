//! Promise: who may do what is decided by all policies that a key has, under the circumstances of the very call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tracemq_access::accounts::{Accounts, AccountsFile, Attached, Grant};
use tracemq_access::{AccessKey, Holder, KeyRing, Policy};
use tracemq_model::TimeMs;

use crate::signing::Signer;
use crate::world::{Answer, NOW, SECRET, World, parameters, policy};

const REST_EVENTS: &str = "/api/v1/clients/nobody/events";

fn under(condition: &str) -> Policy {
    let statement = format!(r#"{{"Effect":"Allow","Action":"mq:*","Resource":"*","Condition":{condition}}}"#);
    Policy::parse(&format!(r#"{{"Version":"1","Statement":[{statement}]}}"#)).unwrap()
}

async fn by_both(world: &World) -> [u16; 2] {
    let signed = world.call(&world.signer("main").v3(&parameters())).await;
    [signed.status, by_rest(world).await.status]
}

async fn by_rest(world: &World) -> Answer {
    let login = format!("Basic {}", BASE64.encode(format!("main:{SECRET}")));
    world.get(REST_EVENTS, &[("Authorization", &login)]).await
}

fn detail(answer: &Answer) -> Value {
    answer.json()["AccessDeniedDetail"].clone()
}

#[tokio::test]
async fn a46_time_and_transport_are_those_of_the_call() {
    let world = World::new();
    let until = |time| under(&format!(r#"{{"DateLessThan":{{"acs:CurrentTime":"{time}"}}}}"#));
    world.change_keys(|keys| keys[0].policy = until("2026-11-22T16:18:00+08:00"));
    assert_eq!(by_both(&world).await, [200, 200]);
    world.pass(8_000);
    assert_eq!(by_both(&world).await, [403, 403], "the time has come");
    for (condition, status) in [
        (r#"{"Bool":{"acs:SecureTransport":"true"}}"#, 403),
        (r#"{"Bool":{"acs:SecureTransport":"false"}}"#, 200),
        // The tests' router knows of no connection, so that no address is known: such a statement allows nothing.
        (r#"{"IpAddress":{"acs:SourceIp":["0.0.0.0/0","::/0"]}}"#, 403),
        (r#"{"NotIpAddress":{"acs:SourceIp":"192.0.2.1"}}"#, 403),
    ] {
        world.change_keys(|keys| keys[0].policy = under(condition));
        assert_eq!(by_both(&world).await, [status, status], "{condition}");
    }
}

#[tokio::test]
async fn a35_headers_don_t_say_where_a_call_comes_from() {
    let world = World::new();
    world.change_keys(|keys| keys[0].policy = under(r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#));
    let wire =
        world.signer("main").v1(&parameters()).header("X-Forwarded-For", "10.1.1.1").header("X-Real-IP", "10.1.1.1");
    world.call(&wire.header("Forwarded", "for=10.1.1.1;proto=https")).await.assert_refused(403, "NoPermission");
    let login = format!("Basic {}", BASE64.encode(format!("main:{SECRET}")));
    let headers = [("Authorization", login.as_str()), ("X-Forwarded-For", "10.1.1.1"), ("Forwarded", "for=10.1.1.1")];
    assert_eq!(world.get(REST_EVENTS, &headers).await.status, 403);
}

#[tokio::test]
async fn a_denial_says_who_was_denied_by_which_kind_of_policy() {
    let change = |holder: Holder, own: Policy, session: Option<Policy>| {
        move |keys: &mut Vec<AccessKey>| {
            keys[0].holder = holder;
            keys[0].policy = own;
            keys[0].session = session;
        }
    };
    let deny = || policy("Deny", "mq:QueryMqttDeviceTrace", "*");
    let nothing = || policy("Allow", "mq:Other", "*");
    let (full, user) = (Policy::full_access, || Holder::User("ops".into()));
    let session = || Holder::Session("ops".into());
    let (own, by_session) = ("AccountLevelIdentityBasedPolicy", "SessionPolicy");
    for (holder, policy, narrowed, expected) in [
        (Holder::Account, nothing(), None, [own, "SubUser", "main", "ImplicitDeny"]),
        (user(), Policy::default(), None, [own, "SubUser", "ops", "ImplicitDeny"]),
        (user(), deny(), None, [own, "SubUser", "ops", "ExplicitDeny"]),
        (session(), full(), Some(deny()), [by_session, "AssumedRoleUser", "ops:main", "ExplicitDeny"]),
        (session(), full(), Some(nothing()), [by_session, "AssumedRoleUser", "ops:main", "ImplicitDeny"]),
        (session(), nothing(), Some(full()), [own, "AssumedRoleUser", "ops:main", "ImplicitDeny"]),
        (session(), nothing(), Some(deny()), [by_session, "AssumedRoleUser", "ops:main", "ExplicitDeny"]),
    ] {
        let world = World::new();
        world.change_keys(change(holder, policy, narrowed));
        let answer = world.call(&world.signer("main").v3(&parameters())).await;
        answer.assert_refused(403, "NoPermission");
        let [policy_type, principal, name, kind] = expected;
        let detail = detail(&answer);
        assert_eq!(
            detail,
            json!({
                "PolicyType": policy_type,
                "AuthPrincipalOwnerId": "local",
                "AuthPrincipalType": principal,
                "AuthPrincipalDisplayName": name,
                "NoPermissionType": kind,
                "AuthAction": "mq:QueryMqttDeviceTrace",
            })
        );
        let xml = world.call(&world.signer("main").with("Format", Some("XML")).v1(&parameters())).await;
        for (element, text) in detail.as_object().unwrap() {
            let text = text.as_str().unwrap();
            assert!(xml.body.contains(&format!("<{element}>{text}</{element}>")), "{element}: {}", xml.body);
        }
        let rest = by_rest(&world).await;
        assert_eq!(rest.status, 403);
        let told = rest.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(told.contains("forbids"), kind == "ExplicitDeny", "{told}");
        assert_eq!(told.contains("temporary"), policy_type == by_session, "{told}");
    }
}

#[tokio::test]
async fn a49_the_instance_that_the_policy_allows_is_the_one_that_is_read() {
    let world = World::new();
    world.change_keys(|keys| keys[0].policy = policy("Allow", "mq:*", "acs:mq:*:*:instance/mqtt-cn-other"));
    // Allowed by the policy, and another account's.
    let other = crate::world::parameters_with(&[("InstanceId", Some("mqtt-cn-other"))]);
    world.call(&world.signer("main").v1(&other)).await.assert_refused(400, "InstancePermissionCheckFailed");
    world.call(&world.signer("main").v1(&parameters())).await.assert_refused(403, "NoPermission");
    // The allowed one named beside the own one: by case, by a second parameter.
    for (name, value) in
        [("InstanceId", "mqtt-cn-other"), ("instanceid", "mqtt-cn-other"), ("InstanceID", "mqtt-cn-other")]
    {
        let mut both = parameters();
        both.push((name.to_owned(), value.to_owned()));
        let answer = world.call(&world.signer("main").v1(&both)).await;
        assert!(answer.status >= 400 && !answer.body.contains("DeviceInfoList"), "{name}: {answer:?}");
    }
    assert_eq!(world.questions(), 0);
}

const READ: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:Query*","Resource":"*"}]}"#;
const ELSEWHERE: &str =
    r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"acs:mq:*:*:instance/other"}]}"#;

/// A file with one user, who may read.
fn users() -> AccountsFile {
    let mut file = AccountsFile::new(&[7; 32]);
    file.add_user("ops", "local", [1; 8]).unwrap();
    file.add_key("ops", "TMQOPS", SECRET, TimeMs(NOW)).unwrap();
    file.put_policy("reader", READ).unwrap();
    file.attach("reader", Attached::User("ops")).unwrap();
    file
}

fn put_in_force(world: &World, file: &AccountsFile) {
    let Accounts { keys, sessions } = file.accounts().unwrap();
    world.state.keys.replace(KeyRing::new(keys).unwrap().with_sessions(sessions));
}

fn grant(file: &AccountsFile, policy: Option<&str>, random: u8) -> Grant {
    let sessions = file.accounts().unwrap().sessions;
    sessions.grant(&file.users[0].id, policy, TimeMs(NOW), 3_600_000, &[random; 64]).unwrap()
}

fn signer(world: &World, id: &str, secret: &str, token: Option<&str>) -> Signer {
    Signer { secret: secret.to_owned(), token: token.map(str::to_owned), ..world.signer(id) }
}

/// The `Code` by each signature, and the status of REST.
async fn outcome(world: &World, id: &str, secret: &str, token: Option<&str>) -> (String, u16) {
    let v1 = world.call(&signer(world, id, secret, token).v1(&parameters())).await;
    let v3 = world.call(&signer(world, id, secret, token).v3(&parameters())).await;
    assert_eq!((v1.status, v1.code()), (v3.status, v3.code()));
    if v1.status == 200 {
        v1.assert_ok();
    } else {
        assert!(!v1.body.contains("DeviceInfoList"), "{v1:?}");
    }
    let login = format!("Basic {}", BASE64.encode(format!("{id}:{secret}")));
    let mut headers = vec![("Authorization", login.as_str())];
    headers.extend(token.map(|token| ("x-acs-security-token", token)));
    (v1.code(), world.get(REST_EVENTS, &headers).await.status)
}

#[tokio::test]
async fn a_temporary_key_opens_both_apis_until_it_ends() {
    let (world, mut file) = (World::new(), users());
    put_in_force(&world, &file);
    let given = grant(&file, None, 1);
    let ask = async |world: &World| outcome(world, &given.id, &given.secret, Some(&given.token)).await;
    let told = |code: &str, status| (code.to_owned(), status);
    assert_eq!(ask(&world).await, told("", 200));
    world.pass(3_599_000);
    assert_eq!(ask(&world).await, told("", 200));
    world.pass(1_000);
    assert_eq!(ask(&world).await, told("InvalidSecurityToken.Expired", 401));

    let world = World::new();
    file.detach("reader", Attached::User("ops")).unwrap();
    put_in_force(&world, &file);
    assert_eq!(ask(&world).await, told("NoPermission", 403), "what the user loses");
    file.attach("reader", Attached::User("ops")).unwrap();
    file.enable_key("TMQOPS", false).unwrap();
    put_in_force(&world, &file);
    assert_eq!(ask(&world).await, told("", 200), "it is the user's, not one of its other keys'");
    file.enable_user("ops", false).unwrap();
    put_in_force(&world, &file);
    assert_eq!(ask(&world).await, told("InvalidAccessKeyId.Inactive", 401));
    assert_eq!(outcome(&world, "TMQOPS", SECRET, None).await, told("InvalidAccessKeyId.Inactive", 401));
    file.delete_user("ops").unwrap();
    put_in_force(&world, &file);
    assert_eq!(ask(&world).await, told("InvalidAccessKeyId.NotFound", 401));
    world.state.keys.replace(KeyRing::default());
    assert_eq!(ask(&world).await, told("InvalidAccessKeyId.NotFound", 401), "without a file there are no users");
}

#[tokio::test]
async fn a_temporary_key_may_no_more_than_its_own_policy() {
    let (world, file) = (World::new(), users());
    put_in_force(&world, &file);
    let given = grant(&file, Some(ELSEWHERE), 1);
    let signer = signer(&world, &given.id, &given.secret, Some(&given.token));
    let answer = world.call(&signer.v3(&parameters())).await;
    answer.assert_refused(403, "NoPermission");
    let detail = detail(&answer);
    assert_eq!(
        (&detail["PolicyType"], &detail["AuthPrincipalType"], &detail["AuthPrincipalDisplayName"]),
        (&json!("SessionPolicy"), &json!("AssumedRoleUser"), &json!(format!("ops:{}", given.id)))
    );
}

#[tokio::test]
async fn tokens_of_others_changed_ones_and_none_are_each_told_by_their_code() {
    let (world, file) = (World::new(), users());
    put_in_force(&world, &file);
    let (one, other) = (grant(&file, Some(ELSEWHERE), 1), grant(&file, None, 2));
    let changed = one.token.replacen("TMQ1.e", "TMQ1.f", 1);
    assert!(changed != one.token);
    for (id, secret, token, code) in [
        (&*one.id, &*one.secret, None, "MissingSecurityToken"),
        (&one.id, &one.secret, Some(""), "MissingSecurityToken"),
        (&one.id, &one.secret, Some("CAIS+token"), "InvalidSecurityToken.Malformed"),
        (&one.id, &one.secret, Some(&*changed), "InvalidSecurityToken.Malformed"),
        (&one.id, &one.secret, Some(&*other.token), "InvalidSecurityToken.MismatchWithAccessKey"),
        (&one.id, &other.secret, Some(&*other.token), "SignatureDoesNotMatch"),
        (&one.id, "guess", Some(&*one.token), "SignatureDoesNotMatch"),
        ("STS.never", &one.secret, Some(&*one.token), "SignatureDoesNotMatch"),
        ("TMQOPS", SECRET, Some(&*one.token), "InvalidSecurityToken.MismatchWithAccessKey"),
        ("TMQOPS", SECRET, Some("short"), "InvalidSecurityToken.MismatchWithAccessKey"),
        ("TMQNONE", SECRET, Some(&*one.token), "InvalidAccessKeyId.NotFound"),
    ] {
        assert_eq!(outcome(&world, id, secret, token).await, (code.to_owned(), 401), "{id} {token:?}");
    }
    assert_eq!(outcome(&world, &other.id, &other.secret, Some(&other.token)).await, (String::new(), 200));
    // The token is signed: one that is put in its place is seen.
    let wire = signer(&world, &one.id, &one.secret, Some(&one.token)).v3(&parameters());
    let swapped = world.call(&wire.set("x-acs-security-token", Some(&other.token))).await;
    swapped.assert_refused(400, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a51_each_call_is_judged_by_one_version_and_after_a_change_by_the_new_one() {
    let (world, mut file) = (World::new(), users());
    for round in 0..50 {
        let allowed = round % 2 == 0;
        put_in_force(&world, &file);
        let under_way: Vec<_> = (0..4).map(|_| world.signer("TMQOPS").v3(&parameters())).collect();
        let calls: Vec<_> =
            under_way.into_iter().map(|wire| tokio::spawn(crate::world::send(world.router.clone(), wire))).collect();
        if allowed {
            file.detach("reader", Attached::User("ops")).unwrap();
        } else {
            file.attach("reader", Attached::User("ops")).unwrap();
        }
        put_in_force(&world, &file);
        let after = world.call(&world.signer("TMQOPS").v3(&parameters())).await.status;
        assert_eq!(after, if allowed { 403 } else { 200 });
        for call in calls {
            let answer = call.await.unwrap();
            assert!(matches!(answer.status, 200 | 403), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a50_reading_gives_no_right_to_change_end_erase_or_give_out() {
    let (world, file) = (World::new(), users());
    put_in_force(&world, &file);
    assert_eq!(outcome(&world, "TMQOPS", SECRET, None).await, (String::new(), 200));
    let login = format!("Basic {}", BASE64.encode(format!("TMQOPS:{SECRET}")));
    for (method, target) in [
        ("DELETE", "/api/v1/clients/pump/events"),
        ("DELETE", "/api/v1/connections?client=pump"),
        ("GET", "/api/v1/connections"),
    ] {
        let request = axum::http::Request::builder().method(method).uri(target).header("Authorization", &login);
        let answer = world.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 403, "{method} {target}: {answer:?}");
    }
    for action in
        ["ApplyToken", "RevokeToken", "RegisterDeviceCredential", "GetDeviceCredential", "UnRegisterDeviceCredential"]
    {
        let signer = Signer { action: action.into(), ..world.signer("TMQOPS") };
        world.call(&signer.v3(&parameters())).await.assert_refused(403, "NoPermission");
    }
}
/// All operations of that version.
const OPERATIONS: [&str; 50] = [
    "ActiveCaCertificate",
    "ActiveDeviceCertificate",
    "AddCustomAuthConnectBlack",
    "AddCustomAuthIdentity",
    "AddCustomAuthPermission",
    "ApplyToken",
    "BatchQuerySessionByClientIds",
    "CloseConnection",
    "CreateGroupId",
    "DeleteCaCertificate",
    "DeleteCustomAuthConnectBlack",
    "DeleteCustomAuthIdentity",
    "DeleteCustomAuthPermission",
    "DeleteDeviceCertificate",
    "DeleteGroupId",
    "DisasterDowngrade",
    "DisasterRecovery",
    "GetCaCertificate",
    "GetDeviceCertificate",
    "GetDeviceCredential",
    "GetRegisterCode",
    "InactivateCaCertificate",
    "InactivateDeviceCertificate",
    "ListCaCertificate",
    "ListDeviceCertificate",
    "ListDeviceCertificateByCaSn",
    "ListDeviceCredentialClientId",
    "ListGroupId",
    "ListInstances",
    "ListTagResources",
    "QueryCustomAuthConnectBlack",
    "QueryCustomAuthIdentity",
    "QueryCustomAuthPermission",
    "QueryMqttTraceDevice",
    "QueryMqttTraceMessageOfClient",
    "QueryMqttTraceMessagePublish",
    "QueryMqttTraceMessageSubscribe",
    "QuerySessionByClientId",
    "QueryToken",
    "RefreshDeviceCredential",
    "RegisterCaCertificate",
    "RegisterDeviceCredential",
    "RevokeToken",
    "SendMessage",
    "SetSniConfig",
    "TagResources",
    "UnRegisterDeviceCredential",
    "UntagResources",
    "UpdateCustomAuthIdentity",
    "UpdateCustomAuthPermission",
];

#[tokio::test]
async fn a47_no_operation_is_done_without_a_right_of_its_own() {
    let world = World::new();
    let mut denied = 0;
    for action in OPERATIONS {
        // Neither without a word nor when all is allowed but the operation itself and the group that it may be in.
        let all_but_this = format!(
            r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*"}},
                {{"Effect":"Deny","Action":["mq:{action}","mq:QueryMqttDeviceTrace"],"Resource":"*"}}]}}"#
        );
        for policy in [Policy::default(), Policy::parse(&all_but_this).unwrap()] {
            world.change_keys(|keys| keys[0].policy = policy);
            let signer = Signer { action: action.into(), ..world.signer("main") };
            let answer = world.call(&signer.v3(&parameters())).await;
            let found = (answer.status, answer.code());
            let is_shut = matches!((found.0, &*found.1), (403, "NoPermission") | (404, "ApiNotSupport"));
            assert!(is_shut, "{action}: {found:?}");
            denied += usize::from(found.0 == 403);
        }
    }
    assert!(denied >= 2 * 11, "{denied}");
    assert_eq!(world.questions(), 0);
}

#[tokio::test]
async fn it_is_written_down_which_user_a_temporary_key_belongs_to() {
    let dir = tempfile::TempDir::new().unwrap();
    let audit = dir.path().to_owned();
    let world = World::with(move |state| state.settings.audit_dir = Some(audit));
    let mut file = users();
    file.put_policy("all", r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#).unwrap();
    file.attach("all", Attached::User("ops")).unwrap();
    put_in_force(&world, &file);
    let given = grant(&file, None, 1);
    let login = format!("Basic {}", BASE64.encode(format!("{}:{}", given.id, given.secret)));
    let headers = [("Authorization", login.as_str()), ("x-acs-security-token", given.token.as_str())];
    assert_eq!(world.get(REST_EVENTS, &headers).await.status, 200);
    assert_eq!(by_rest(&world).await.status, 401, "the usual keys are not in force");
    let text = std::fs::read_to_string(dir.path().join("audit-queries.ndjson")).unwrap();
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&line["key"], &line["user"]), (&json!(given.id), &json!("ops")));
    assert!(!text.contains(&given.secret) && !text.contains(&given.token), "{text}");

    let signer = Signer { action: "ApplyToken".into(), ..signer(&world, &given.id, &given.secret, Some(&given.token)) };
    let token = crate::signing::pairs(&[
        ("InstanceId", "mqtt-cn-test"),
        ("Actions", "R"),
        ("Resources", "t"),
        ("ExpireTime", "1795399999999"),
    ]);
    world.call(&signer.v3(&token)).await.assert_refused(400, "ParameterCheckFailed");
    let own = Signer { action: "ApplyToken".into(), ..world.signer("TMQOPS") };
    assert_eq!(world.call(&own.v3(&token)).await.status, 200);
}
