use tracemq_model::TimeMs;

use super::*;

const ACTION: &[&str] = &["mq:QueryMqttDeviceTrace", "mq:QueryMqttTraceDevice"];

fn statement(effect: &str, action: &str, resource: &str) -> String {
    format!(r#"{{"Effect":"{effect}","Action":"{action}","Resource":"{resource}"}}"#)
}

fn policy(statements: &[String]) -> Policy {
    Policy::parse(&format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements.join(","))).unwrap()
}

fn instance(id: &str) -> [String; 2] {
    [format!("acs:mq:cn-hangzhou:local:{id}"), format!("acs:mq:cn-hangzhou:local:instance/{id}")]
}

fn decide(policy: &Policy, id: &str) -> Decision {
    let [short, long] = instance(id);
    policy.decide(ACTION, &[&short, &long], &Context::default())
}

#[test]
fn a39_deny_wins_in_any_order() {
    let allow = statement("Allow", "*", "*");
    let deny = statement("Deny", "mq:QueryMqttDeviceTrace", "acs:mq:*:*:instance/mqtt-a");
    for statements in [[allow.clone(), deny.clone()], [deny, allow]] {
        let policy = policy(&statements);
        assert_eq!(decide(&policy, "mqtt-a"), Decision::ExplicitDeny);
        assert_eq!(decide(&policy, "mqtt-b"), Decision::Allow);
    }
}

#[test]
fn a40_what_is_not_allowed_is_denied_and_what_is_not_understood_refused() {
    assert_eq!(decide(&policy(&[statement("Allow", "mq:Other", "*")]), "mqtt-a"), Decision::ImplicitDeny);
    for (json, path) in [
        (r#"{"Version":"1","Statement":[]}"#, "Statement"),
        (r#"{"Version":"1","Statement":{}}"#, "Statement"),
        (r#"{"Version":"2","Statement":[]}"#, "Version"),
        (r#"{"Version":1,"Statement":[]}"#, "Version"),
        (r#"{"Statement":[]}"#, "Version"),
        (r#"[]"#, "the document"),
        (r#"{"Version":"1","Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}"#, "Statement[0].Effect"),
        (r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":[],"Resource":"*"}]}"#, "Statement[0].Action"),
        (r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":[1],"Resource":"*"}]}"#, "Statement[0].Action"),
        (r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"Query","Resource":"*"}]}"#, "Statement[0].Action"),
        (r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*"}]}"#, "Statement[0].Resource"),
        (r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"x"}]}"#, "Statement[0].Resource"),
        (
            r#"{"Version":"1","Statement":[{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}]}"#,
            "Statement[0].Effect",
        ),
    ] {
        let Err(PolicyError::At { path: found, .. }) = Policy::parse(json) else { panic!("{json}") };
        assert_eq!(found, path, "{json}");
    }
    assert!(matches!(Policy::parse("{"), Err(PolicyError::Json(_))));
    assert!(matches!(Policy::parse(&"[".repeat(30_000)), Err(PolicyError::Json(_))));
    assert!(matches!(Policy::parse(&" ".repeat(40_000)), Err(PolicyError::TooLong)));
}

#[test]
fn a41_action_patterns() {
    for (pattern, expected) in [
        ("*", true),
        ("mq:*", true),
        ("mq:**", true),
        ("mq:Query*", true),
        ("mq:Q?eryMqttDeviceTrace", true),
        ("MQ:QUERYMQTTDEVICETRACE", true),
        ("mq:QueryMqttTraceDevice", true),
        ("mq:Q??eryMqttDeviceTrace", false),
        ("mq:QueryMqttDevice", false),
        ("rocketmq:*", false),
    ] {
        let allowed = policy(&[statement("Allow", pattern, "*")]);
        assert_eq!(decide(&allowed, "mqtt-a") == Decision::Allow, expected, "{pattern}");
        let denied = policy(&[statement("Allow", "*", "*"), statement("Deny", pattern, "*")]);
        assert_eq!(decide(&denied, "mqtt-a") == Decision::ExplicitDeny, expected, "{pattern}");
    }
    for bad in ["mq:Query* ", " mq:*", "mq:\\u0000*", "mq:é"] {
        let json = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement("Deny", bad, "*"));
        assert!(Policy::parse(&json).is_err(), "{bad:?}");
    }
}

#[test]
fn a42_a44_resource_patterns_and_both_spellings() {
    for (pattern, id, expected) in [
        ("acs:mq:*:*:instance/mqtt-a*", "mqtt-a", true),
        ("acs:mq:*:*:instance/mqtt-a*", "mqtt-ab", true),
        ("acs:mq:*:*:instance/mqtt-a*", "mqtt-a/x", true),
        ("acs:mq:*:*:instance/mqtt-a*", "MQTT-A", false),
        ("acs:mq:*:*:instance/mqtt-a", "mqtt-ab", false),
        ("acs:mq:*:*:mqtt-a", "mqtt-a", true),
        ("acs:mq:cn-hangzhou:local:mqtt-?", "mqtt-a", true),
        ("acs:mq:cn-beijing:*:mqtt-a", "mqtt-a", false),
        ("acs:mq:*:other:mqtt-a", "mqtt-a", false),
        ("acs:mq:*:*:mqtt-a", "*", false),
        ("acs:mq:*:*:mqtt-a", "mqtt-?", false),
        ("acs:mq:*", "mqtt-a", true),
    ] {
        let allowed = policy(&[statement("Allow", "mq:*", pattern)]);
        assert_eq!(decide(&allowed, id) == Decision::Allow, expected, "{pattern} {id}");
    }
    for (allow, deny) in [("mqtt-a", "instance/mqtt-a"), ("instance/mqtt-a", "mqtt-a")] {
        let both = policy(&[
            statement("Allow", "*", &format!("acs:mq:*:*:{allow}")),
            statement("Deny", "*", &format!("acs:mq:*:*:{deny}")),
        ]);
        assert_eq!(decide(&both, "mqtt-a"), Decision::ExplicitDeny);
    }
}

#[test]
fn a45_restrictions_that_are_not_done_are_refused_by_name() {
    for element in ["NotAction", "NotResource", "Principal", "condition", "Sid", "effect"] {
        let json = format!(
            r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"*","Resource":"*","{element}":"x"}}]}}"#
        );
        let error = Policy::parse(&json).unwrap_err();
        assert_eq!(error.to_string(), format!("Statement[0].{element} is not supported"));
    }
    let error = Policy::parse(r#"{"Version":"1","Id":"x","Statement":[]}"#).unwrap_err();
    assert_eq!(error.to_string(), "Id is not supported");
}

#[test]
fn full_access_is_full() {
    assert_eq!(decide(&Policy::full_access(), "mqtt-a"), Decision::Allow);
}

fn with_condition(effect: &str, condition: &str) -> Result<Policy, PolicyError> {
    let all = statement("Allow", "*", "*");
    let own = format!(r#"{{"Effect":"{effect}","Action":"*","Resource":"*","Condition":{condition}}}"#);
    let statements = if effect == "Deny" { format!("{all},{own}") } else { own };
    Policy::parse(&format!(r#"{{"Version":"1","Statement":[{statements}]}}"#))
}

fn from(address: &str, time_ms: i64, secure: bool) -> Context {
    Context { source_ip: Some(address.parse().unwrap()), time: Some(TimeMs(time_ms)), secure: Some(secure) }
}

#[test]
fn conditions_hold_where_they_say() {
    let noon = 1_795_348_800_000; // 2026-11-22T12:00:00Z
    let here = from("10.1.2.3", noon, false);
    for (condition, context, holds) in [
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#, here, true),
        (r#"{"IpAddress":{"acs:SourceIp":["192.0.2.0/24","10.1.2.3"]}}"#, here, true),
        (r#"{"IpAddress":{"acs:SourceIp":["192.0.2.0/24","10.1.2.4"]}}"#, here, false),
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#, from("::ffff:10.9.9.9", noon, false), true),
        (r#"{"IpAddress":{"acs:SourceIp":"2001:db8::/32"}}"#, from("2001:db8::7", noon, false), true),
        (r#"{"IpAddress":{"acs:SourceIp":"0.0.0.0/0"}}"#, from("2001:db8::7", noon, false), false),
        (r#"{"NotIpAddress":{"acs:SourceIp":["192.0.2.0/24","10.0.0.0/8"]}}"#, here, false),
        (r#"{"NotIpAddress":{"acs:SourceIp":["192.0.2.0/24","10.2.0.0/16"]}}"#, here, true),
        (r#"{"DateLessThan":{"acs:CurrentTime":"2026-11-22T12:00:00Z"}}"#, here, false),
        (r#"{"DateLessThanEquals":{"acs:CurrentTime":"2026-11-22T20:00:00+08:00"}}"#, here, true),
        (r#"{"DateGreaterThan":{"acs:CurrentTime":"2026-11-22T12:00:00Z"}}"#, here, false),
        (r#"{"DateGreaterThan":{"acs:CurrentTime":"2026-11-22T11:59:59.999Z"}}"#, here, true),
        (r#"{"DateGreaterThanEquals":{"acs:CurrentTime":"2026-11-22T12:00:00Z"}}"#, here, true),
        (r#"{"DateEquals":{"acs:CurrentTime":"2026-11-22T12:00:00Z"}}"#, here, true),
        (r#"{"DateNotEquals":{"acs:CurrentTime":"2026-11-22T12:00:00Z"}}"#, here, false),
        (r#"{"Bool":{"acs:SecureTransport":"true"}}"#, here, false),
        (r#"{"Bool":{"acs:SecureTransport":["false"]}}"#, here, true),
        (r#"{"Bool":{"acs:SecureTransport":true}}"#, from("10.1.2.3", noon, true), true),
        (
            r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"},"DateLessThan":{"acs:CurrentTime":"2026-11-22T12:00:01Z"}}"#,
            here,
            true,
        ),
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"},"Bool":{"acs:SecureTransport":"true"}}"#, here, false),
    ] {
        let decide = |effect| with_condition(effect, condition).unwrap().decide(ACTION, &["acs:mq:r:a:i"], &context);
        assert_eq!(decide("Allow") == Decision::Allow, holds, "{condition}");
        assert_eq!(decide("Deny") == Decision::ExplicitDeny, holds, "{condition}");
        let denied = with_condition("Deny", condition).unwrap();
        assert_eq!(denied.denies_below(ACTION, "acs:mq:r:a:topic/", &context), holds, "{condition}");
    }
}

#[test]
fn a46_a_condition_that_is_not_understood_is_refused_and_one_that_is_not_known_never_allows() {
    for (condition, place) in [
        (r#"{}"#, "Condition is empty"),
        (r#"[]"#, "Condition must be an object"),
        (r#"{"IpAddress":{}}"#, "Condition.IpAddress is empty"),
        (r#"{"IpAddress":"10.0.0.0/8"}"#, "Condition.IpAddress must be an object"),
        (r#"{"IpAddress":{"acs:SourceIp":[]}}"#, "acs:SourceIp is empty"),
        (r#"{"IpAddress":{"acs:sourceip":"10.0.0.0/8"}}"#, "acs:sourceip is not supported"),
        (r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, "aws:SourceIp is not supported"),
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/33"}}"#, "acs:SourceIp must hold addresses"),
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0/8"}}"#, "acs:SourceIp must hold addresses"),
        (r#"{"IpAddress":{"acs:SourceIp":["10.0.0.0/8",7]}}"#, "acs:SourceIp must hold addresses"),
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8","acs:SourceIp":"::/0"}}"#, "acs:SourceIp is there twice"),
        (r#"{"IpAddressIfExists":{"acs:SourceIp":"10.0.0.0/8"}}"#, "acs:SourceIp is not supported"),
        (r#"{"ForAllValues:IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#, "acs:SourceIp is not supported"),
        (r#"{"StringLike":{"acs:SourceIp":"10.*"}}"#, "acs:SourceIp is not supported"),
        (r#"{"DateLessThan":{"acs:CurrentTime":"2026-11-22"}}"#, "acs:CurrentTime must hold times"),
        (r#"{"DateLessThan":{"acs:CurrentTime":1795348800}}"#, "acs:CurrentTime must hold times"),
        (r#"{"DateLessThan":{"acs:SourceIp":"2026-11-22T12:00:00Z"}}"#, "acs:SourceIp is not supported"),
        (r#"{"Bool":{"acs:SecureTransport":"yes"}}"#, "acs:SecureTransport must be"),
        (r#"{"Bool":{"acs:MFAPresent":"true"}}"#, "acs:MFAPresent is not supported"),
    ] {
        for effect in ["Allow", "Deny"] {
            let error = with_condition(effect, condition).expect_err(condition).to_string();
            assert!(error.contains(place) && error.starts_with("Statement["), "{condition}: {error}");
        }
    }
    for condition in [
        r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#,
        r#"{"NotIpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#,
        r#"{"DateGreaterThan":{"acs:CurrentTime":"2000-01-01T00:00:00Z"}}"#,
        r#"{"Bool":{"acs:SecureTransport":"true"}}"#,
        r#"{"Bool":{"acs:SecureTransport":["true","false"]}}"#,
    ] {
        let nothing_known = Context::default();
        let decide = |effect| with_condition(effect, condition).unwrap().decide(ACTION, &["acs:mq:a"], &nothing_known);
        assert_eq!(decide("Allow"), Decision::ImplicitDeny, "{condition}");
        assert_eq!(decide("Deny"), Decision::ExplicitDeny, "{condition}");
        let denied = with_condition("Deny", condition).unwrap();
        assert!(denied.denies_below(ACTION, "acs:mq:", &nothing_known), "{condition}");
    }
}

#[test]
fn a39_deny_wins_over_what_another_policy_allows() {
    let named = |name: &str, statement: String| {
        Policy::named(name, &format!(r#"{{"Version":"1","Statement":[{statement}]}}"#)).unwrap()
    };
    let allow = named("reader", statement("Allow", "*", "*"));
    let deny = named("not-a", statement("Deny", "*", "acs:mq:*:*:instance/mqtt-a"));
    for together in [Policy::together([&allow, &deny]), Policy::together([&deny, &allow])] {
        assert_eq!(decide(&together, "mqtt-a"), Decision::ExplicitDeny);
        assert_eq!(decide(&together, "mqtt-b"), Decision::Allow);
    }
    assert_eq!(decide(&Policy::together([]), "mqtt-a"), Decision::ImplicitDeny);
    let both = Policy::together([&allow, &deny]);
    let findings = both.findings(ACTION, &["acs:mq:r:a:instance/mqtt-b"], &Context::default());
    let told: Vec<_> = findings.iter().map(|found| (found.policy, found.number, found.effect, found.misfit)).collect();
    assert_eq!(told, [("reader", 0, Effect::Allow, None), ("not-a", 0, Effect::Deny, Some(Misfit::Resource))]);
}
