//! Judgements over all ways in, and what becomes of them when the files change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracemq_model::{Reason, TimeMs};

use super::hook::{NoVerdict, Verdict};
use super::issued::{Grant, Issued};
use super::*;
use crate::{AccessKey, AccountId, KeyRing, Policy, Secret, signature::mqtt_password};

const CHEAP: Cost = Cost { memory_kib: 8, rounds: 1, lanes: 1 };
const NOW: TimeMs = TimeMs(1_000_000);
const PUBLISH: Deed = Deed::Publish { qos: 1, retain: false };
const SUBSCRIBE: Deed = Deed::Subscribe { qos: 1 };

fn users(list: &[(&str, &str)]) -> Users {
    let mut text = String::new();
    for (name, password) in list {
        let stored = StoredPassword::hash(password.as_bytes(), &[1; 16], CHEAP).unwrap();
        text = users::with_password(&text, name, &stored).unwrap();
    }
    Users::parse(&text).unwrap()
}

fn key(id: &str, secret: &str) -> AccessKey {
    AccessKey {
        id: id.into(),
        secret: Secret::new(secret).unwrap(),
        account: AccountId::new("local").unwrap(),
        enabled: true,
        security_token: None,
        expires: None,
        holder: crate::Holder::Account,
        policy: Policy::full_access(),
        session: None,
    }
}

fn access() -> MqttAccess {
    MqttAccess::nothing(AccountId::new("local").unwrap())
}

fn with_users() -> MqttAccess {
    MqttAccess { users: Some(users(&[("ops", "secret"), ("pump", "other")])), ..access() }
}

fn with_keys(keys: Vec<AccessKey>) -> MqttAccess {
    MqttAccess { keys: Arc::new(KeyRing::new(keys).unwrap()), ..access() }
}

fn login<'a>(client_id: &'a str, username: Option<&'a str>, password: &'a str) -> Login<'a> {
    Login {
        client_id,
        username,
        password: Some(password.as_bytes()),
        address: "192.0.2.7".parse().unwrap(),
        instance: "mqtt-1",
        listener: "mqtt",
        proven: None,
        anonymous: Anonymous::No,
    }
}

/// The whole way, comparing included.
fn outcome(access: &MqttAccess, login: &Login<'_>, issued: &Issued) -> Result<Identity, Refusal> {
    match access.judge(login, issued, NOW) {
        Judgement::Admitted(identity) => Ok(identity),
        Judgement::Refused(refusal) => Err(refusal),
        Judgement::Compare(comparison) => {
            let fits = comparison.stored.fits(login.password.unwrap_or_default(), &mut Workspace::default());
            comparison.outcome(fits)
        }
        Judgement::Ask(question) => question.outcome(Err(NoVerdict::Busy)),
    }
}

fn reason(access: &MqttAccess, login: &Login<'_>) -> Option<Reason> {
    outcome(access, login, &Issued::default()).err().map(|refusal| refusal.reason)
}

#[test]
fn users_come_in_by_name_and_password_only() {
    let access = with_users();
    assert_eq!(reason(&access, &login("c", Some("ops"), "secret")), None);
    for (name, password) in [("ops", "Secret"), ("ops", ""), ("nobody", "secret"), ("pump", "secret"), ("", "")] {
        assert_eq!(reason(&access, &login("c", Some(name), password)), Some(Reason::BadCredentials), "{name}");
    }
    assert_eq!(reason(&access, &login("c", None, "secret")), Some(Reason::NotAuthorized));
    let without = Login { password: None, ..login("c", Some("ops"), "") };
    assert_eq!(reason(&access, &without), Some(Reason::BadCredentials));
}

#[test]
fn anonymous_clients_come_in_where_they_may() {
    let mut open = Login { anonymous: Anonymous::WhileNobodyIsKnown, ..login("c", None, "") };
    assert_eq!(reason(&access(), &open), None);
    assert_eq!(reason(&with_users(), &open), Some(Reason::NotAuthorized));
    open.anonymous = Anonymous::Yes;
    assert_eq!(reason(&with_users(), &open), None);
    open.username = Some("anything");
    assert_eq!(reason(&access(), &open), None, "nobody to be");
    assert_eq!(reason(&with_users(), &open), Some(Reason::BadCredentials));
    open.anonymous = Anonymous::No;
    assert_eq!(reason(&access(), &open), Some(Reason::BadCredentials));
    let identity = outcome(&access(), &Login { anonymous: Anonymous::Yes, ..open }, &Issued::default()).unwrap();
    assert_eq!(identity.user, None, "a name that was not checked is nobody's");
}

#[test]
fn a_certificate_names_a_user() {
    let proven = |user| Login { proven: Some(user), ..login("c", Some("pump"), "wrong") };
    assert_eq!(reason(&access(), &proven("anybody")), None);
    assert_eq!(reason(&with_users(), &proven("ops")), None);
    assert_eq!(reason(&with_users(), &proven("mallory")), Some(Reason::NotAuthorized));
}

#[test]
fn b69_known_and_unknown_users_right_and_wrong_bytes_take_the_same_work() {
    let cost = Cost { memory_kib: 256, rounds: 1, lanes: 1 };
    let stored = StoredPassword::hash(b"secret", &[1; 16], cost).unwrap();
    let file = users::with_password("", "ops", &stored).unwrap();
    let access = MqttAccess { users: Some(Users::parse(&file).unwrap()), ..access() };
    let tries = [("ops", "secreT"), ("ops", "Xecret"), ("nobody", "secret")];
    let mut least = [Duration::MAX; 3];
    for _ in 0..200 {
        for (at, (name, password)) in tries.iter().enumerate() {
            let started = Instant::now();
            assert_eq!(reason(&access, &login("c", Some(name), password)), Some(Reason::BadCredentials));
            least[at] = least[at].min(started.elapsed());
        }
    }
    let (min, max) = (least.iter().min().unwrap(), least.iter().max().unwrap());
    assert!(*max < *min * 3 / 2, "{least:?}");
}

#[test]
fn a_signature_by_an_access_key_lets_its_client_in_and_no_other() {
    let mut limited = key("limited", "s");
    limited.policy = Policy::parse(
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:QueryMqttDeviceTrace","Resource":"*"}]}"#,
    )
    .unwrap();
    let mut disabled = key("disabled", "s");
    disabled.enabled = false;
    let mut over = key("over", "s");
    over.expires = Some(NOW);
    let mut foreign = key("foreign", "s");
    foreign.account = AccountId::new("other").unwrap();
    let access = with_keys(vec![key("LTAI", "s"), limited, disabled, over, foreign]);
    let sign = |id: &str| mqtt_password(&Secret::new("s").unwrap(), id);
    let password = sign("GID_a@@@1");
    let of = |client: &str, name: &str| reason(&access, &login(client, Some(name), &password));
    assert_eq!(of("GID_a@@@1", "Signature|LTAI|mqtt-1"), None);
    assert_eq!(of("GID_a@@@2", "Signature|LTAI|mqtt-1"), Some(Reason::BadCredentials));
    assert_eq!(of("GID_a@@@1", "Signature|LTAI|mqtt-2"), Some(Reason::NotAuthorized));
    for (name, expected) in [
        ("Signature|unknown|mqtt-1", Reason::BadCredentials),
        ("Signature|disabled|mqtt-1", Reason::BadCredentials),
        ("Signature|over|mqtt-1", Reason::BadCredentials),
        ("Signature|limited|mqtt-1", Reason::NotAuthorized),
        ("Signature|foreign|mqtt-1", Reason::NotAuthorized),
        ("DeviceCredential|LTAI|mqtt-1", Reason::BadCredentials),
        ("Token|LTAI|mqtt-1", Reason::BadCredentials),
        ("Signature|LTAI|mqtt-1|", Reason::BadCredentials),
        ("signature|LTAI|mqtt-1", Reason::BadCredentials),
    ] {
        assert_eq!(of("GID_a@@@1", name), Some(expected), "{name}");
    }
    let empty = Login { password: None, ..login("GID_a@@@1", Some("Signature|LTAI|mqtt-1"), "") };
    assert_eq!(reason(&access, &empty), Some(Reason::BadCredentials));
    let open = Login { anonymous: Anonymous::Yes, ..login("x", Some("Signature|LTAI|mqtt-1"), "wrong") };
    assert_eq!(reason(&access, &open), Some(Reason::BadCredentials), "who signs is judged, also where all come in");
}

#[test]
fn b68_tokens_and_device_credentials_stand_until_they_end_or_are_taken_back() {
    let access = with_keys(vec![key("LTAI", "s")]);
    let mut issued = Issued::default();
    let grant = Grant {
        access_key_id: "LTAI".into(),
        instance: "mqtt-1".into(),
        read: true,
        write: false,
        resources: vec!["a/#".into()],
        expires_ms: 2_000_000,
    };
    let token = issued.tokens.issue(&[1; 32], grant, NOW).unwrap();
    let password = format!("R|{token}");
    let by_token = outcome(&access, &login("c", Some("Token|LTAI|mqtt-1"), &password), &issued).unwrap();
    assert_eq!(by_token.expires(&access), Some(TimeMs(2_000_000)));
    let rights = access.of(&by_token, &issued, NOW);
    assert!(rights.allows(&by_token, SUBSCRIBE, "a/b") && !rights.allows(&by_token, PUBLISH, "a/b"));

    let credential = issued.devices.register("mqtt-1", "GID_a@@@1", &[2; 64], NOW).unwrap().clone();
    let password = mqtt_password(&Secret::new(&credential.secret).unwrap(), "GID_a@@@1");
    let name = format!("DeviceCredential|{}|mqtt-1", credential.id);
    let by_device = outcome(&access, &login("GID_a@@@1", Some(&name), &password), &issued).unwrap();
    assert!(outcome(&access, &login("GID_a@@@2", Some(&name), &password), &issued).is_err());

    let standing = |issued: &Issued, who: &Identity, at| {
        access.standing(who, issued, TimeMs(at)).err().map(|refusal| refusal.reason)
    };
    assert_eq!(standing(&issued, &by_token, 1_999_999), None);
    assert_eq!(standing(&issued, &by_token, 2_000_000), Some(Reason::CredentialsExpired));
    let late = access.of(&by_token, &issued, TimeMs(2_000_000));
    assert!(!late.allows(&by_token, SUBSCRIBE, "a/b"), "not one message after it");
    issued.tokens.revoke(&token, "mqtt-1");
    assert_eq!(standing(&issued, &by_token, 1_000_000), Some(Reason::CredentialsWithdrawn));

    assert_eq!(standing(&issued, &by_device, 9_000_000), None);
    issued.devices.refresh("mqtt-1", "GID_a@@@1", &[9; 64], NOW).unwrap();
    assert_eq!(standing(&issued, &by_device, 1_000_000), Some(Reason::CredentialsWithdrawn));
}

#[test]
fn groups_are_asked_for_when_they_are_listed() {
    let access = MqttAccess { groups: Some(["GID_a".to_owned()].into()), ..access() };
    let of = |client| reason(&access, &Login { anonymous: Anonymous::Yes, ..login(client, None, "") });
    assert_eq!(of("GID_a@@@1"), None);
    for other in ["GID_b@@@1", "GID_a", "@@@1", "GID_a@@1", "x@@@GID_a"] {
        assert_eq!(of(other), Some(Reason::NotAuthorized), "{other}");
    }
}

fn rule(rule: RuleEntry) -> MqttAccess {
    MqttAccess { rules: RuleBook::new(&[rule]).unwrap(), ..with_users() }
}

fn rights(access: &MqttAccess, who: &Identity) -> impl Fn(Use, &str) -> bool + use<> {
    let (rights, who) = (access.of(who, &Issued::default(), NOW), who.clone());
    let deed = |used| if used == Use::Publish { PUBLISH } else { SUBSCRIBE };
    move |used, wanted| rights.allows(&who, deed(used), wanted)
}

fn ops(access: &MqttAccess, client: &str) -> Identity {
    outcome(access, &login(client, Some("ops"), "secret"), &Issued::default()).unwrap()
}

#[test]
fn without_rules_all_but_the_server_s_topics_are_open_and_with_one_the_rest_is_shut() {
    let access = with_users();
    let may = rights(&access, &ops(&access, "c"));
    assert!(may(Use::Publish, "a/b") && may(Use::Subscribe, "#") && may(Use::Subscribe, "$share/g/a/#"));
    for server in ["$SYS/x", "$SYS/#", "$CONTROL/x", "$share/g/$SYS/#"] {
        assert!(!may(Use::Publish, server) && !may(Use::Subscribe, server), "b53, b58: {server}");
    }
    let access =
        rule(RuleEntry { publish: vec!["up/#".into()], subscribe: vec!["down/+/cmd".into()], ..RuleEntry::default() });
    let may = rights(&access, &ops(&access, "c"));
    for topic in ["up", "up/", "up/a/b"] {
        assert!(may(Use::Publish, topic), "{topic}");
    }
    for topic in ["upper", "down/x/cmd", "$SYS/up", "up#", "/up"] {
        assert!(!may(Use::Publish, topic), "{topic}");
    }
    for filter in ["down/x/cmd", "down/+/cmd", "$share/g/down/+/cmd"] {
        assert!(may(Use::Subscribe, filter), "{filter}");
    }
    for filter in ["#", "+/x/cmd", "down/#", "down/x", "down/x/cmd/#", "up/a", "$share/down/x/cmd", "$share/g/#"] {
        assert!(!may(Use::Subscribe, filter), "b56, b59: {filter}");
    }
}

/// Who came in by `listener` to `instance`.
fn by(access: &MqttAccess, listener: &str, instance: &str) -> Identity {
    let login = Login { listener, instance, ..login("c", Some("ops"), "secret") };
    outcome(access, &login, &Issued::default()).unwrap()
}

#[test]
fn a_rule_of_a_listener_or_an_instance_is_for_those_who_came_there() {
    let rule = |listeners: &[&str], instances: &[&str], deny, topic: &str| RuleEntry {
        listeners: listeners.iter().map(|&name| name.to_owned()).collect(),
        instances: instances.iter().map(|&name| name.to_owned()).collect(),
        deny,
        publish: vec![topic.into()],
        ..RuleEntry::default()
    };
    let of = |rules: &[RuleEntry]| MqttAccess { rules: RuleBook::new(rules).unwrap(), ..with_users() };
    let access = of(&[
        rule(&["field", "lab"], &[], false, "up/#"),
        rule(&[], &["mqtt-2"], false, "two"),
        rule(&["field"], &["mqtt-2"], false, "both"),
        rule(&["lab"], &[], true, "up/secret"),
    ]);
    let may = |listener, instance, topic: &str| rights(&access, &by(&access, listener, instance))(Use::Publish, topic);
    assert!(may("field", "mqtt-1", "up/secret") && may("lab", "mqtt-1", "up/x"));
    assert!(!may("lab", "mqtt-1", "up/secret"), "denied there");
    assert!(!may("office", "mqtt-1", "up/x") && !may("fiel", "mqtt-1", "up/x"));
    assert!(may("office", "mqtt-2", "two") && !may("office", "mqtt-1", "two"));
    assert!(may("field", "mqtt-2", "both") && !may("field", "mqtt-1", "both") && !may("lab", "mqtt-2", "both"));

    let narrow = of(&[rule(&["field"], &[], false, "up/#")]);
    let elsewhere = by(&narrow, "office", "mqtt-1");
    assert!(!rights(&narrow, &elsewhere)(Use::Publish, "up/x"), "a rule that is made narrower opens nothing elsewhere");
}

#[test]
fn who_is_away_is_held_to_the_rules_of_its_listener() {
    let access = with_users();
    let keepsake = by(&access, "field", "mqtt-1").keepsake().unwrap();
    let rule = |listener: &str, deny| RuleEntry {
        listeners: vec![listener.into()],
        deny,
        publish: vec!["t".into()],
        ..RuleEntry::default()
    };
    let may = |rules: &[RuleEntry], keepsake: &str| {
        let access = MqttAccess { rules: RuleBook::new(rules).unwrap(), ..with_users() };
        rights(&access, &access.recall(keepsake).unwrap())(Use::Publish, "t")
    };
    assert!(may(&[rule("field", false)], &keepsake) && !may(&[rule("lab", false)], &keepsake));
    let everywhere = RuleEntry { listeners: Vec::new(), ..rule("", false) };
    assert!(may(&[everywhere.clone(), rule("lab", true)], &keepsake));
    // One of an earlier build does not say by which it came.
    let early = keepsake.replace(r#","listener":"field""#, "");
    assert_ne!(early, keepsake);
    assert!(may(std::slice::from_ref(&everywhere), &early) && !may(&[rule("field", false)], &early));
    assert!(!may(&[everywhere, rule("lab", true)], &early), "what any listener forbids");
}

#[test]
fn what_a_rule_denies_no_rule_opens() {
    let entry = |deny, topics: &str| RuleEntry {
        deny,
        publish: vec![topics.into()],
        subscribe: vec![topics.into()],
        ..RuleEntry::default()
    };
    for entries in [[entry(false, "#"), entry(true, "a/secret/#")], [entry(true, "a/secret/#"), entry(false, "#")]] {
        let access = MqttAccess { rules: RuleBook::new(&entries).unwrap(), ..with_users() };
        let may = rights(&access, &ops(&access, "c"));
        assert!(may(Use::Publish, "a/b") && may(Use::Subscribe, "a/b") && may(Use::Subscribe, "b/#"));
        for wanted in ["a/secret", "a/secret/x", "a/+", "+/secret/x", "#", "a/#", "$share/g/#"] {
            assert!(!may(Use::Subscribe, wanted), "{wanted}");
        }
        assert!(!may(Use::Publish, "a/secret/x"));
    }
}

#[test]
fn a_rule_is_for_whom_it_names() {
    let access = rule(RuleEntry {
        users: vec!["op*".into()],
        groups: vec!["GID_a".into()],
        clients: vec!["GID_a@@@1*".into()],
        publish: vec!["%u/%c".into()],
        ..RuleEntry::default()
    });
    for (client, expected) in [("GID_a@@@1", true), ("GID_a@@@12", true), ("GID_a@@@2", false), ("GID_b@@@1", false)] {
        let may = rights(&access, &ops(&access, client));
        assert_eq!(may(Use::Publish, &format!("ops/{client}")), expected, "{client}");
    }
    let pump = outcome(&access, &login("GID_a@@@1", Some("pump"), "other"), &Issued::default()).unwrap();
    assert!(!rights(&access, &pump)(Use::Publish, "pump/GID_a@@@1"));
}

#[test]
fn b60_nobody_widens_a_rule_by_its_name() {
    let access = rule(RuleEntry {
        users: vec!["ops".into()],
        publish: vec!["d/%c/#".into()],
        subscribe: vec!["d/%c/#".into()],
        ..RuleEntry::default()
    });
    for evil in ["#", "+", "a/../b", "%c", ".*", "a|b", "*", "?"] {
        let may = rights(&access, &ops(&access, evil));
        for wanted in ["d/#", "d/+", "d/+/x", "d/victim/x", "d/b/x", "#"] {
            assert!(!may(Use::Subscribe, wanted) && !may(Use::Publish, wanted), "{evil} {wanted}");
        }
    }
    let named = MqttAccess { users: Some(users(&[("*", "x"), ("ops", "y")])), ..access };
    let star = outcome(&named, &login("c", Some("*"), "x"), &Issued::default()).unwrap();
    assert!(!rights(&named, &star)(Use::Publish, "d/c/x"), "a name is no pattern");
}

#[test]
fn unusable_rules_are_refused_by_name() {
    let filter = RuleBook::new(&[RuleEntry { publish: vec!["a/#/b".into()], ..RuleEntry::default() }]).unwrap_err();
    assert!(filter.to_string().contains("rule 1") && filter.to_string().contains("a/#/b"));
    assert_eq!(RuleBook::new(&[RuleEntry::default()]).unwrap_err(), RuleError::Nothing(1));
    let empty = RuleEntry { users: vec![String::new()], publish: vec!["#".into()], ..RuleEntry::default() };
    assert_eq!(RuleBook::new(&[empty]).unwrap_err(), RuleError::EmptyName(1));
}

#[test]
fn b66_who_is_banned_disabled_or_gone_stands_no_more() {
    let before = with_users();
    let who = ops(&before, "pump-07");
    let standing = |access: &MqttAccess| access.standing(&who, &Issued::default(), NOW).err().map(|it| it.reason);
    assert_eq!(standing(&before), None);
    assert_eq!(standing(&with_users()), None, "the same file again");
    for ban in [
        Ban { client: Some("pump-*".into()), ..Ban::default() },
        Ban { user: Some("ops".into()), ..Ban::default() },
        Ban { address: Some("192.0.2.0/24".parse().unwrap()), ..Ban::default() },
        Ban { user: Some("ops".into()), address: Some("192.0.2.7".parse().unwrap()), client: None },
    ] {
        let access = MqttAccess { bans: vec![ban], ..with_users() };
        assert_eq!(standing(&access), Some(Reason::Banned));
        assert_eq!(reason(&access, &login("pump-07", Some("ops"), "secret")), Some(Reason::Banned));
        assert!(!rights(&access, &who)(Use::Publish, "will/topic"), "no will and no message");
    }
    let elsewhere = Ban { user: Some("ops".into()), client: Some("other".into()), address: None };
    assert_eq!(standing(&MqttAccess { bans: vec![elsewhere, Ban::default()], ..with_users() }), None);
    let gone = |list: &[(&str, &str)]| standing(&MqttAccess { users: Some(users(list)), ..access() });
    assert_eq!(gone(&[("pump", "other")]), Some(Reason::CredentialsWithdrawn));
    assert_eq!(gone(&[("ops", "new")]), Some(Reason::CredentialsWithdrawn));
    assert_eq!(standing(&access()), Some(Reason::CredentialsWithdrawn));
    let stored = StoredPassword::hash(b"secret", &[1; 16], CHEAP).unwrap();
    let file = users::with_enabled(&users::with_password("", "ops", &stored).unwrap(), "ops", false).unwrap().unwrap();
    let disabled = MqttAccess { users: Some(Users::parse(&file).unwrap()), ..access() };
    assert_eq!(standing(&disabled), Some(Reason::CredentialsWithdrawn));
    assert_eq!(reason(&disabled, &login("c", Some("ops"), "secret")), Some(Reason::BadCredentials));
}

#[test]
fn who_came_in_unasked_leaves_when_there_are_users() {
    let open = Login { anonymous: Anonymous::WhileNobodyIsKnown, ..login("c", None, "") };
    let who = outcome(&access(), &open, &Issued::default()).unwrap();
    let now_known = with_users().standing(&who, &Issued::default(), NOW);
    assert_eq!(now_known.unwrap_err().reason, Reason::CredentialsWithdrawn);
    let always = outcome(&access(), &Login { anonymous: Anonymous::Yes, ..open }, &Issued::default()).unwrap();
    assert!(with_users().standing(&always, &Issued::default(), NOW).is_ok());
}

#[test]
fn b63_the_program_elsewhere_is_asked_about_whom_the_file_does_not_know() {
    let access = MqttAccess { has_hook: true, ..with_users() };
    let ask = |name| {
        let judgement = access.judge(&login("c", Some(name), "x"), &Issued::default(), NOW);
        let Judgement::Ask(question) = judgement else { panic!("{judgement:?}") };
        question
    };
    assert_eq!(reason(&access, &login("c", Some("ops"), "secret")), None);
    assert_eq!(ask("x").outcome(Ok(Verdict::Allow(Arc::default()))).unwrap().user.as_deref(), Some("x"));
    for (verdict, expected) in [
        (Ok(Verdict::Deny), Reason::BadCredentials),
        (Ok(Verdict::Ignore), Reason::BadCredentials),
        (Err(NoVerdict::Unclear { status: 200 }), Reason::NotAuthorized),
        (Err(NoVerdict::Unreachable("connection refused".into())), Reason::NotAuthorized),
    ] {
        let refusal = ask("x").outcome(verdict.clone()).unwrap_err();
        assert_eq!(refusal.reason, expected);
        assert!(verdict.is_ok() || refusal.detail.contains("no verdict"), "{refusal:?}");
    }
}

#[test]
fn a_client_that_is_away_is_found_again_with_the_rights_of_that_moment() {
    let nothing = Issued::default();
    let ops = outcome(&with_users(), &login("pump-7", Some("ops"), "secret"), &nothing).unwrap();
    let keepsake = ops.keepsake().unwrap();
    assert!(!keepsake.contains("argon2"), "no hash that could be guessed at: {keepsake}");
    let may = |access: &MqttAccess, keepsake: &str| {
        let who = access.recall(keepsake)?;
        Some(access.of(&who, &nothing, NOW).allows(&who, PUBLISH, "t"))
    };
    let bans = vec![Ban { address: Some("192.0.2.0/24".parse().unwrap()), ..Ban::default() }];
    let deny = RuleEntry { deny: true, users: vec!["ops".into()], publish: vec!["t".into()], ..RuleEntry::default() };
    let rules = RuleBook::new(&[deny]).unwrap();
    let groups = Some(std::iter::once("G".to_owned()).collect());
    assert_eq!(may(&with_users(), &keepsake), Some(true));
    assert_eq!(may(&MqttAccess { bans, ..with_users() }, &keepsake), Some(false), "banned");
    assert_eq!(may(&MqttAccess { rules, ..with_users() }, &keepsake), Some(false), "a rule");
    assert_eq!(may(&MqttAccess { groups, ..with_users() }, &keepsake), Some(false), "a group");
    let with = |list| MqttAccess { users: Some(users(list)), ..access() };
    assert_eq!(may(&with(&[("ops", "another")]), &keepsake), None, "another password");
    assert_eq!(may(&with(&[("pump", "other")]), &keepsake), None, "taken out");
    assert_eq!(may(&access(), &keepsake), None);
    for strange in ["", "{}", "null", keepsake.trim_start_matches('{')] {
        assert_eq!(may(&with_users(), strange), None, "{strange}");
    }

    let anybody = Login { anonymous: Anonymous::WhileNobodyIsKnown, ..login("c", None, "") };
    let keepsake = outcome(&access(), &anybody, &nothing).unwrap().keepsake().unwrap();
    assert_eq!((may(&access(), &keepsake), may(&with_users(), &keepsake)), (Some(true), Some(false)));
    let password = mqtt_password(&Secret::new("s").unwrap(), "c");
    let signs = login("c", Some("Signature|LTAI|mqtt-1"), &password);
    let keepsake = outcome(&with_keys(vec![key("LTAI", "s")]), &signs, &nothing).unwrap().keepsake().unwrap();
    assert_eq!(may(&with_keys(vec![key("LTAI", "s")]), &keepsake), Some(true));
    assert_eq!(may(&with_keys(vec![key("LTAI", "t")]), &keepsake), Some(false), "another secret");
    let asks = MqttAccess { has_hook: true, ..access() };
    let Judgement::Ask(question) = asks.judge(&login("c", Some("u"), "p"), &nothing, NOW) else { panic!("not asked") };
    let by_hook = question.outcome(Ok(Verdict::Allow(Arc::default()))).unwrap();
    assert_eq!(by_hook.keepsake(), None, "what the program allowed is not known any more");
}
