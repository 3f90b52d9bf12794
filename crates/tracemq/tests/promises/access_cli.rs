//! Promise: `tracemq access` makes users who may do what their policies say and no more, tells why, and shows a secret once.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::harness::{Credentials, Home, PATIENCE, Server, finish_within, get, signed_as, signed_call, tracemq};

const READ: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:Query*","Resource":"*",
  "Condition":{"IpAddress":{"acs:SourceIp":["127.0.0.0/8","::1"]}}}]}"#;
const KEEP_OUT: &str = r#"{"Version":"1","Statement":[
  {"Effect":"Allow","Action":"mq:Send*","Resource":"*"},
  {"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"acs:CurrentTime":"2020-01-01T00:00:00Z"}}}]}"#;
const DEVICES: &str = "/api/v1/clients/nobody/events";

fn access(home: &Home, words: &str) -> Output {
    let mut command = tracemq();
    command.current_dir(home.path()).arg("access").args(words.split_whitespace()).arg("-D").arg(home.data_dir());
    finish_within(PATIENCE, &mut command)
}

#[track_caller]
fn said(home: &Home, words: &str) -> String {
    let output = access(home, words);
    assert!(output.status.success() && output.stderr.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn done(home: &Home, words: &str) {
    assert_eq!(said(home, words), "", "{words}");
}

/// `name   value` lines.
fn values(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, value)| (name, value.trim())).collect()
}

fn credentials(server: &Server, text: &str) -> Credentials {
    let values = values(text);
    Credentials {
        access_key_id: values["access_key_id"].into(),
        access_key_secret: values["access_key_secret"].into(),
        ..server.credentials()
    }
}

/// How a call of each API is answered: the status, and of the first the code or the kind of denial.
fn outcome(server: &Server, key: &Credentials) -> (String, u16) {
    let answer = get(server.http, &signed_as(key, "nobody"), &[]).unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let kind = body["AccessDeniedDetail"]["NoPermissionType"].as_str().or(body["Code"].as_str());
    let rest = server.rest_as(Some((&key.access_key_id, &key.access_key_secret)), DEVICES);
    (kind.unwrap_or_default().to_owned(), rest.status)
}

fn with_policies() -> Home {
    let home = Home::new("");
    fs::write(home.path().join("read.json"), READ).unwrap();
    fs::write(home.path().join("keep-out.json"), KEEP_OUT).unwrap();
    home
}

#[test]
fn a_user_s_life() {
    let home = with_policies();
    let server = home.start();
    let told = |code: &str, status| (code.to_owned(), status);
    done(&home, "user add ops");
    let key = credentials(&server, &said(&home, "key add ops"));
    assert_eq!(outcome(&server, &key), told("InvalidAccessKeyId.NotFound", 401), "not before the reload");
    let word = server.reload();
    assert!(word.contains("\"keys\":2"), "{word}");
    assert_eq!(outcome(&server, &key), told("ImplicitDeny", 403));

    done(&home, "policy put reader read.json");
    done(&home, "policy put keep-out keep-out.json");
    done(&home, "attach reader --user ops");
    server.reload();
    assert_eq!(outcome(&server, &key), told("", 200));

    done(&home, "group add night");
    done(&home, "group join night ops");
    done(&home, "attach keep-out --group night");
    server.reload();
    assert_eq!(outcome(&server, &key), told("ExplicitDeny", 403), "what a group denies, no user's policy allows");
    done(&home, "group leave night ops");

    done(&home, &format!("key disable {}", key.access_key_id));
    server.reload();
    assert_eq!(outcome(&server, &key), told("InvalidAccessKeyId.Inactive", 401));
    done(&home, &format!("key enable {}", key.access_key_id));
    done(&home, "user disable ops");
    server.reload();
    assert_eq!(outcome(&server, &key), told("InvalidAccessKeyId.Inactive", 401));
    done(&home, "user enable ops");
    server.reload();
    assert_eq!(outcome(&server, &key), told("", 200));
    done(&home, "user delete ops");
    server.reload();
    assert_eq!(outcome(&server, &key), told("InvalidAccessKeyId.NotFound", 401));
    let own = server.credentials();
    assert_eq!(outcome(&server, &own), told("", 200), "the account's own key is as it was");
}

#[test]
fn a_key_for_a_time_needs_no_reload_and_ends_with_its_user() {
    let home = with_policies();
    done(home_with_data(&home), "user add ops");
    done(&home, "policy put reader read.json");
    done(&home, "attach reader --user ops");
    let server = home.start();
    let call = |given: &str, token: Option<&str>| {
        let key = credentials(&server, given);
        let now = jiff::Timestamp::now().as_millisecond();
        let (begin, end) = ((now - 1_000).to_string(), now.to_string());
        let mut own = vec![("MqttRegionId", "r"), ("ClientId", "nobody"), ("CurrentPage", "1"), ("PageSize", "1")];
        own.extend([("BeginTime", begin.as_str()), ("EndTime", end.as_str())]);
        own.extend(token.map(|token| ("SecurityToken", token)));
        let answer = get(server.http, &signed_call(&key, "QueryMqttTraceDevice", &own), &[]).unwrap();
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        body["AccessDeniedDetail"]["PolicyType"].as_str().or(body["Code"].as_str()).unwrap_or_default().to_owned()
    };
    let whole = said(&home, "sts --user ops --duration 15m");
    let narrowed = said(&home, "sts --user ops --policy keep-out.json");
    let token = |given: &str| values(given)["security_token"].to_owned();
    assert!(values(&whole)["access_key_id"].starts_with("STS.") && values(&whole)["expires"].ends_with('Z'), "{whole}");
    assert_eq!(call(&whole, Some(&token(&whole))), "");
    assert_eq!(call(&narrowed, Some(&token(&narrowed))), "SessionPolicy");
    assert_eq!(call(&whole, None), "MissingSecurityToken");
    assert_eq!(call(&whole, Some(&token(&narrowed))), "InvalidSecurityToken.MismatchWithAccessKey");
    done(&home, "user disable ops");
    server.reload();
    assert_eq!(call(&whole, Some(&token(&whole))), "InvalidAccessKeyId.Inactive");
    assert!(!access(&home, "sts --user ops").status.success());
    let log = server.log();
    for secret in ["security_token", "access_key_secret"] {
        assert!(!log.contains(values(&whole)[secret]), "a log is no place for a secret: {log}");
    }
}

/// The same with a data folder, as a first start would make it.
fn home_with_data(home: &Home) -> &Home {
    fs::create_dir_all(home.data_dir()).unwrap();
    home
}

#[test]
fn a52_no_list_shows_a_secret_and_the_file_is_its_owner_s() {
    let home = with_policies();
    home_with_data(&home);
    done(&home, "user add ops");
    done(&home, "user add guest --account stranger");
    done(&home, "group add night");
    done(&home, "group join night ops");
    done(&home, "policy put reader read.json");
    done(&home, "attach reader --group night");
    let key = said(&home, "key add ops");
    let (id, secret) = (values(&key)["access_key_id"], values(&key)["access_key_secret"]);
    let file = home.data_dir().join("access.json");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let session_key = text.lines().find(|line| line.contains("session_key")).unwrap().split('"').nth(3).unwrap();
    assert!(text.contains(secret) && session_key.len() == 64);

    let lists = ["user list", "key list", "key list ops", "group list", "policy list", "policy show reader"];
    let lists: Vec<String> = lists.iter().map(|words| said(&home, words)).collect();
    let all = lists.join("\n");
    assert!(!all.contains(secret) && !all.contains(session_key), "{all}");
    let columns = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    assert_eq!(
        columns(&lists[0])[1..],
        [
            ["guest", "stranger", "enabled", "0/0", "-", "-"].map(str::to_owned).to_vec(),
            ["ops", "local", "enabled", "1/1", "night", "-"].map(str::to_owned).to_vec(),
        ]
    );
    assert_eq!(columns(&lists[1])[1][..3], [id, "ops", "enabled"].map(str::to_owned));
    assert_eq!(lists[1], lists[2]);
    assert_eq!(columns(&lists[3])[1], ["night", "reader", "ops"]);
    assert_eq!(columns(&lists[4])[1], ["reader", "group", "night"]);
    assert_eq!(lists[5].trim(), READ);
}

#[test]
fn what_can_t_be_done_changes_nothing_and_says_why() {
    let home = with_policies();
    let nowhere = access(&home, "user add ops");
    assert!(!nowhere.status.success() && !home.data_dir().exists(), "{nowhere:?}");
    home_with_data(&home);
    let unknown = access(&home, "explain --user ops --action mq:x --resource acs:x");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("access user add"), "{unknown:?}");
    done(&home, "user add ops");
    done(&home, "policy put reader read.json");
    done(&home, "attach reader --user ops");
    let file = home.data_dir().join("access.json");
    let before = fs::read(&file).unwrap();
    fs::write(
        home.path().join("bad.json"),
        r#"{"Version":"1","Statement":[{"Effect":"Deny","NotAction":"*","Resource":"*"}]}"#,
    )
    .unwrap();
    fs::write(home.path().join("long.json"), " ".repeat(40_000)).unwrap();
    for (words, status, why) in [
        ("user add ops", 1, "there is a user `ops` already"),
        ("user add a/b", 1, "a name is 1 to 64"),
        ("user delete nobody", 3, "there is no user `nobody`"),
        ("key add nobody", 3, "there is no user `nobody`"),
        ("key disable none", 3, "there is no key `none`"),
        ("policy put bad bad.json", 1, "Statement[0].NotAction is not supported"),
        ("policy put long long.json", 1, "longer than 32768 bytes"),
        ("policy put none none.json", 1, "can't read none.json"),
        ("policy delete reader", 1, "in use by user ops"),
        ("attach reader --user ops", 1, "attached to it already"),
        ("attach reader", 2, "--user"),
        ("sts --user ops --duration 13h", 1, "12 hours"),
        ("sts --user ops --duration=-1h", 1, "12 hours"),
        ("sts --user ops --duration=x", 1, "--duration"),
        ("sts --user nobody", 3, "there is no user `nobody`"),
    ] {
        let output = access(&home, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(why) && output.stdout.is_empty(), "{words}: {output:?}");
        assert_eq!(output.status.code(), Some(status), "{words}: {said}");
        assert_eq!(fs::read(&file).unwrap(), before, "{words}");
    }
    let names = fs::read_dir(home.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| name == "access.json" || name == "access.lock"), "nothing is left behind");
}

#[test]
fn a_file_that_is_not_understood_stops_a_start_and_changes_nothing_in_a_running_server() {
    let home = with_policies();
    let mut server = home.start();
    done(&home, "user add ops");
    done(&home, "policy put reader read.json");
    done(&home, "attach reader --user ops");
    let key = credentials(&server, &said(&home, "key add ops"));
    server.reload();
    assert_eq!(outcome(&server, &key).1, 200);
    let file = home.data_dir().join("access.json");
    let good = fs::read_to_string(&file).unwrap();
    for (from, to, why) in [
        ("\"enabled\": true", "\"enabled\": true, \"admin\": true", "access.json: line"),
        ("\"Effect\":\"Allow\"", "\"Effect\":\"allow\"", "Statement[0].Effect"),
        (key.access_key_id.as_str(), server.credentials().access_key_id.as_str(), "credentials.toml, too"),
    ] {
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let word = server.reload();
        assert!(word.contains("not reloaded") && word.contains(why), "{word}");
        assert_eq!(outcome(&server, &key).1, 200, "the old ones stay in force");
        if why != "credentials.toml, too" {
            let mut check = tracemq();
            let check = finish_within(PATIENCE, check.args(["config", "check", "-D"]).arg(home.data_dir()));
            assert!(String::from_utf8_lossy(&check.stderr).contains(why), "{check:?}");
        }
    }
    assert!(server.stop().success());
    let (status, said) = home.refused_start();
    assert!(status == Some(1) && said.contains("access.json"), "{said}");
    assert!(!said.contains(&key.access_key_secret), "{said}");
}

#[test]
fn explain_names_the_statement_that_decides_and_why_others_have_no_say() {
    let home = with_policies();
    home_with_data(&home);
    for words in [
        "user add ops",
        "group add night",
        "group join night ops",
        "policy put reader read.json",
        "policy put keep-out keep-out.json",
        "attach reader --user ops",
    ] {
        done(&home, words);
    }
    let ask = |more: &str| {
        let words = format!("explain --user ops --action mq:QueryMqttDeviceTrace --resource acs:mq:*:*:mqtt-a {more}");
        let output = access(&home, &words);
        let said = String::from_utf8(output.stdout).unwrap();
        let asked =
            "action    mq:QueryMqttDeviceTrace\nresource  acs:mq:*:local:mqtt-a or acs:mq:*:local:instance/mqtt-a\n";
        (output.status.code().unwrap(), said.strip_prefix(asked).unwrap_or_else(|| panic!("{said}")).to_owned())
    };
    let from_here = "--source-ip 127.0.0.1";
    assert_eq!(ask(from_here), (0, "allowed by reader Statement[0] (Allow)\n".to_owned()));
    let unknown = "denied (ImplicitDeny): no statement allows it\n  reader Statement[0] (Allow): IpAddress asks for acs:SourceIp, which is not given\n";
    assert_eq!(ask(""), (4, unknown.to_owned()));
    let elsewhere = "denied (ImplicitDeny): no statement allows it\n  reader Statement[0] (Allow): IpAddress of acs:SourceIp is not met\n";
    assert_eq!(ask("--source-ip 192.0.2.1"), (4, elsewhere.to_owned()));

    done(&home, "attach keep-out --group night");
    let denied = "denied (ExplicitDeny) by keep-out Statement[1] (Deny)\n  reader Statement[0] (Allow): would allow; a Deny wins\n  keep-out Statement[0] (Allow): is about other actions\n";
    let (status, said) = ask(from_here);
    assert_eq!(status, 4);
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&said), sorted(denied));
    let before = ask(&format!("{from_here} --time 2019-12-31T23:00:00Z"));
    assert!(before.0 == 0 && before.1.contains("DateGreaterThan of acs:CurrentTime is not met"), "{before:?}");
    let narrowed = ask(&format!("{from_here} --time 2019-12-31T23:00:00Z --policy keep-out.json --secure"));
    assert!(narrowed.0 == 4 && narrowed.1.contains("(of the temporary key) Statement[0]"), "{narrowed:?}");
    done(&home, "user disable ops");
    let disabled = ask(&format!("{from_here} --time 2019-12-31T23:00:00Z"));
    assert!(disabled.0 == 4 && disabled.1.starts_with("user ops is disabled"), "{disabled:?}");
}

#[test]
fn explain_asks_by_all_names_that_the_server_asks_by() {
    let home = with_policies();
    home_with_data(&home);
    done(&home, "user add ops");
    for (number, (action, resource, asked_action, asked_resource, status)) in [
        ("mq:QueryMqttTraceDevice", "acs:mq:*:*:instance/mqtt-a", "mq:QueryMqttTraceDevice", "acs:mq:*:*:mqtt-a", 0),
        (
            "mq:QueryMqttDeviceTrace",
            "acs:mq:*:*:mqtt-a",
            "mq:QueryMqttTraceDevice",
            "acs:mq:r:local:instance/mqtt-a",
            0,
        ),
        ("mq:QueryMqttTraceDevice", "*", "mq:QueryMqttDeviceTrace", "acs:mq:*:*:mqtt-a", 4),
        ("*", "acs:mq:*:local:*", "mq:SendMessage", "acs:mq:*:*:mqtt-a", 0),
        ("*", "acs:mq:*:stranger:*", "mq:SendMessage", "acs:mq:*:*:mqtt-a", 4),
        ("*", "acs:mq:*:*:topic/mqtt-a/t", "mq:ApplyToken", "acs:mq:r:*:topic/mqtt-a/t", 0),
        ("*", "acs:mq:*:*:instance/topic*", "mq:ApplyToken", "acs:mq:r:*:topic/mqtt-a/t", 4),
    ]
    .into_iter()
    .enumerate()
    {
        let document = format!(
            r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]}}"#
        );
        fs::write(home.path().join("one.json"), document).unwrap();
        done(&home, "policy put one one.json");
        if number == 0 {
            done(&home, "attach one --user ops");
        }
        let words = format!("explain --user ops --action {asked_action} --resource {asked_resource}");
        let output = access(&home, &words);
        assert_eq!(output.status.code(), Some(status), "{action} {resource}: {output:?}");
    }
}

#[test]
fn commands_at_once_lose_nothing() {
    let home = with_policies();
    home_with_data(&home);
    let add = |number: usize| {
        let mut command = tracemq();
        command.current_dir(home.path()).args(["access", "user", "add", &format!("user-{number}"), "-D"]);
        command.arg(home.data_dir()).spawn().unwrap()
    };
    let children: Vec<_> = (0..12).map(add).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(said(&home, "user list").lines().count(), 13);
    assert!(Path::new(&home.data_dir()).join("access.json").exists());
}
