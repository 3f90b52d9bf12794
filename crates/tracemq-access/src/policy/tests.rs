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
    policy.decide(ACTION, &[&short, &long])
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
    for element in ["NotAction", "NotResource", "Principal", "Condition", "Sid", "effect"] {
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
