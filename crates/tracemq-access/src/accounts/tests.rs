use tracemq_model::TimeMs;

use super::*;
use crate::{Context, Denial, Holder, KeyRing};

const NOW: TimeMs = TimeMs(1_795_335_472_000);
const HOUR_MS: i64 = 3_600_000;
const READ: &[&str] = &["mq:QueryMqttDeviceTrace"];
const ALLOW: &str =
    r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:Query*","Resource":"acs:mq:*:*:instance/mqtt-a"}]}"#;
const DENY: &str =
    r#"{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"acs:mq:*:*:instance/mqtt-b"}]}"#;
const ALL: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

fn file() -> AccountsFile {
    let mut file = AccountsFile::new(&[7; 32]);
    file.add_user("ops", "local", [1; 8]).unwrap();
    file.add_key("ops", "TMQOPS", "secret-of-ops", NOW).unwrap();
    for (name, json) in [("read-a", ALLOW), ("not-b", DENY), ("all", ALL)] {
        file.put_policy(name, json).unwrap();
    }
    file.add_group("night").unwrap();
    file
}

fn ring(file: &AccountsFile) -> KeyRing {
    let file = AccountsFile::parse(&file.text()).unwrap();
    let Accounts { keys, sessions } = file.accounts().unwrap();
    KeyRing::new(keys).unwrap().with_sessions(sessions)
}

fn may(key: &crate::AccessKey, instance: &str) -> Result<(), Denial> {
    key.allows(READ, &[&format!("acs:mq:r:local:instance/{instance}")], &Context::default())
}

const IMPLICIT: Result<(), Denial> = Err(Denial { is_explicit: false, by_session: false });
const EXPLICIT: Result<(), Denial> = Err(Denial { is_explicit: true, by_session: false });

#[test]
fn a39_a_deny_of_user_or_group_wins_over_an_allow_of_the_other() {
    use Attached::{Group, User};
    for (allow, deny) in [(User("ops"), Group("night")), (Group("night"), User("ops")), (User("ops"), User("ops"))] {
        for order in [[("all", allow), ("not-b", deny)], [("not-b", deny), ("all", allow)]] {
            let mut file = file();
            file.join("night", "ops").unwrap();
            for (policy, to) in order {
                file.attach(policy, to).unwrap();
            }
            let key = ring(&file).get("TMQOPS").unwrap().clone();
            assert_eq!((may(&key, "mqtt-a"), may(&key, "mqtt-b")), (Ok(()), EXPLICIT), "{order:?}");
        }
    }
}

#[test]
fn a40_a_user_without_policies_may_do_nothing() {
    let mut file = file();
    let of = |file: &AccountsFile| ring(file).get("TMQOPS").unwrap().clone();
    assert_eq!(may(&of(&file), "mqtt-a"), IMPLICIT);
    assert_eq!(of(&file).holder, Holder::User("ops".into()));
    file.attach("read-a", Attached::User("ops")).unwrap();
    assert_eq!((may(&of(&file), "mqtt-a"), may(&of(&file), "mqtt-b")), (Ok(()), IMPLICIT));
    file.detach("read-a", Attached::User("ops")).unwrap();
    assert_eq!(may(&of(&file), "mqtt-a"), IMPLICIT);
}

#[test]
fn a_key_is_good_while_it_and_its_user_are() {
    let mut file = file();
    let enabled = |file: &AccountsFile| ring(file).get("TMQOPS").map(|key| key.enabled);
    file.enable_user("ops", false).unwrap();
    assert_eq!(enabled(&file), Some(false));
    file.enable_user("ops", true).unwrap();
    file.enable_key("TMQOPS", false).unwrap();
    assert_eq!(enabled(&file), Some(false));
    file.enable_key("TMQOPS", true).unwrap();
    assert_eq!(enabled(&file), Some(true));
    file.delete_key("TMQOPS").unwrap();
    assert_eq!(enabled(&file), None);
}

#[test]
fn a_change_that_would_widen_unseen_or_make_the_file_unreadable_is_refused() {
    let mut file = file();
    file.join("night", "ops").unwrap();
    file.attach("not-b", Attached::Group("night")).unwrap();
    file.attach("not-b", Attached::User("ops")).unwrap();
    let before = file.text();
    let refusals = [
        (file.delete_policy("not-b"), "policy `not-b` is in use by group night"),
        (file.delete_group("night"), "group `night` is in use by user ops"),
        (file.add_user("ops", "local", [2; 8]), "there is a user `ops` already"),
        (file.add_user("a b", "local", [2; 8]), "user `a b`: a name is 1 to 64 of A-Z a-z 0-9 - _ ."),
        (file.put_policy("x", r#"{"Version":"1","Statement":[]}"#), "policy `x`"),
        (file.put_policy("../x", ALL), "policy `../x`: a name is 1 to 64 of A-Z a-z 0-9 - _ ."),
        (file.attach("none", Attached::User("ops")), "there is no policy `none`"),
        (file.attach("not-b", Attached::User("nobody")), "there is no user `nobody`"),
        (file.attach("not-b", Attached::User("ops")), "policy `not-b` is attached to it already"),
        (file.detach("all", Attached::User("ops")), "policy `all` is not attached to it"),
        (file.leave("day", "ops"), "there is no group `day`"),
        (file.enable_key("none", true), "there is no key `none`"),
        (file.delete_user("none"), "there is no user `none`"),
    ];
    for (refused, why) in refusals {
        assert_eq!(refused.unwrap_err().to_string(), why);
    }
    assert_eq!(file.text(), before);
}

#[test]
fn a_file_is_understood_as_a_whole_or_refused_and_never_tells_a_secret() {
    let mut good = file();
    good.join("night", "ops").unwrap();
    good.attach("all", Attached::Group("night")).unwrap();
    let good = good.text();
    for (from, to, why) in [
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"name\": \"ops\"", "\"name\": \"ops\", \"role\": \"x\"", "line"),
        ("\"enabled\": true", "\"enabled\": \"secret-of-ops\"", "line"),
        ("\"name\": \"read-a\"", "\"name\": \"all\"", "policy `all` is there twice"),
        ("\"account\": \"local\"", "\"account\": \"a b\"", "user `ops`"),
        ("\"id\": \"TMQOPS\"", "\"id\": \"a:b\"", "user `ops`"),
        ("\"secret\": \"secret-of-ops\"", "\"secret\": \"secret-of-ops\\n\"", "user `ops`"),
        ("\"night\"\n", "\"day\"\n", "there is no group `day`"),
        ("\"all\"\n", "\"none\"\n", "there is no policy `none`"),
        ("\"Effect\":\"Deny\"", "\"Effect\":\"Deny\",\"Effect\":\"Allow\"", "policy `not-b`"),
        ("\"Action\":\"mq:Query*\"", "\"NotAction\":\"mq:Query*\"", "policy `read-a`"),
        ("07070707", "0707070", "session_key"),
        ("0707070707", "zz07070707", "session_key"),
    ] {
        assert!(good.contains(from), "{from} in {good}");
        let Err(error) = AccountsFile::parse(&good.replacen(from, to, 1)) else { panic!("{to}") };
        let said = format!("{error} {error:?}");
        assert!(said.contains(why), "{to}: {said}");
        assert!(!said.contains("secret-of-ops") && !said.contains("0707"), "{said}");
    }
    let shown = format!("{:?} {:?}", ring(&file()), file().accounts());
    assert!(shown.contains("TMQOPS") && !shown.contains("secret-of-ops") && !shown.contains("7, 7"), "{shown}");
}

fn grant(file: &AccountsFile, policy: Option<&str>) -> Result<Grant, SessionError> {
    let accounts = file.accounts().unwrap();
    accounts.sessions.grant(&file.user("ops").unwrap().id, policy, NOW, HOUR_MS, &[9; 64])
}

#[test]
fn a_temporary_key_may_do_what_user_and_session_both_allow() {
    let mut file = file();
    file.attach("read-a", Attached::User("ops")).unwrap();
    let key = |file: &AccountsFile, grant: &Grant| ring(file).find(&grant.id, Some(&grant.token)).unwrap();
    let whole = grant(&file, None).unwrap();
    let found = key(&file, &whole).unwrap();
    assert!(whole.id.starts_with("STS.") && whole.secret.len() >= 40);
    assert!(found.secret.is(&whole.secret) && found.id == whole.id);
    assert_eq!((found.expires, found.holder.clone()), (Some(NOW.plus(HOUR_MS)), Holder::Session("ops".into())));
    assert_eq!((may(&found, "mqtt-a"), may(&found, "mqtt-b")), (Ok(()), IMPLICIT));

    let wider = key(&file, &grant(&file, Some(ALL)).unwrap()).unwrap();
    assert_eq!(may(&wider, "mqtt-b"), IMPLICIT, "a session gives nothing that its user has not");
    let narrowed = grant(&file, Some(DENY)).unwrap();
    let found = key(&file, &narrowed).unwrap();
    assert_eq!(may(&found, "mqtt-a"), Err(Denial { is_explicit: false, by_session: true }));
    assert_eq!(may(&found, "mqtt-b"), Err(Denial { is_explicit: true, by_session: true }));

    // What the user loses, the session loses.
    file.detach("read-a", Attached::User("ops")).unwrap();
    assert_eq!(may(&key(&file, &whole).unwrap(), "mqtt-a"), IMPLICIT);
    file.enable_user("ops", false).unwrap();
    assert!(!key(&file, &whole).unwrap().enabled);
    assert!(matches!(grant(&file, None), Err(SessionError::User)));
    file.delete_user("ops").unwrap();
    file.add_user("ops", "local", [2; 8]).unwrap();
    assert!(key(&file, &whole).is_none(), "another user of that name");
}

#[test]
fn tokens_are_bound_to_their_key_and_changed_by_nobody() {
    let file = file();
    let ring = ring(&file);
    let one = grant(&file, Some(DENY)).unwrap();
    let accounts = file.accounts().unwrap();
    let other = accounts.sessions.grant(&file.users[0].id, None, NOW, HOUR_MS, &[8; 64]).unwrap();
    assert!(one.id != other.id && one.secret != other.secret);
    // With the other's token the key found is the other's, and the secret that is asked for is still the one's own.
    let mixed = ring.find(&one.id, Some(&other.token)).unwrap().unwrap();
    assert!(mixed.id == other.id && mixed.secret.is(&one.secret));

    assert_eq!(ring.find(&one.id, None).unwrap_err(), TokenError::Missing);
    for at in 0..one.token.len() {
        let mut bytes = one.token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let spoiled = String::from_utf8(bytes).unwrap();
        assert_eq!(ring.find(&one.id, Some(&spoiled)).unwrap_err(), TokenError::Malformed, "at {at}");
    }
    let long = format!("{}{}", one.token, "A".repeat(10_000));
    let short = one.token.get(..one.token.len() - 1).unwrap();
    for spoiled in ["", "TMQ1.", "TMQ1..", "x", short, &format!("{}=", one.token), &long] {
        assert_eq!(ring.find(&one.id, Some(spoiled)).unwrap_err(), TokenError::Malformed, "{spoiled}");
    }
    let elsewhere = AccountsFile::new(&[6; 32]).accounts().unwrap().sessions;
    assert_eq!(elsewhere.key(&one.id, Some(&one.token)).unwrap_err(), TokenError::Malformed);
    assert!(ring.find("TMQNONE", Some(&one.token)).unwrap().is_none());
}

#[test]
fn what_a_temporary_key_can_be_is_bounded() {
    let file = file();
    let sessions = file.accounts().unwrap().sessions;
    let user = file.users[0].id.as_str();
    for (life_ms, good) in [
        (0, false),
        (59_999, false),
        (60_000, true),
        (12 * HOUR_MS, true),
        (12 * HOUR_MS + 1, false),
        (i64::MAX, false),
    ] {
        assert_eq!(sessions.grant(user, None, NOW, life_ms, &[9; 64]).is_ok(), good, "{life_ms}");
    }
    assert!(matches!(sessions.grant("none", None, NOW, HOUR_MS, &[9; 64]), Err(SessionError::User)));
    assert!(matches!(sessions.grant(user, Some("{}"), NOW, HOUR_MS, &[9; 64]), Err(SessionError::Policy(_))));
    let of = |length: usize| {
        let resource = format!("acs:mq:{}", "x".repeat(length));
        format!(r#"{{ "Version": "1", "Statement": [{{"Effect":"Allow","Action":"*","Resource":"{resource}"}}]}}"#)
    };
    let longest = sessions.grant(user, Some(&of(1_960)), NOW, HOUR_MS, &[9; 64]).unwrap();
    assert!(sessions.key(&longest.id, Some(&longest.token)).unwrap().is_some(), "{}", longest.token.len());
    assert!(matches!(sessions.grant(user, Some(&of(2_048)), NOW, HOUR_MS, &[9; 64]), Err(SessionError::TooLong)));
}
