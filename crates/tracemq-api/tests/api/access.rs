//! Promise: who may do what is decided by all policies that a key has, under the circumstances of the very call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tracemq_access::{AccessKey, Holder, Policy};

use crate::world::{Answer, SECRET, World, parameters, policy};

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
