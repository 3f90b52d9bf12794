//! Promise: the first minute needs no manual, and none of it is unsafe by default.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::harness::{Connect, Device, Home, PATIENCE, Version, finish_within, tracemq, wait_until};

/// `serve` with nothing but free ports, in an empty folder.
fn bare_serve(home: &Home) -> std::process::Command {
    let mut command = tracemq();
    command.current_dir(home.path()).args(["serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command
}

#[test]
fn serve_without_a_config_is_ready_at_once() {
    let home = Home::new("");
    let begun = Instant::now();
    let server = home.start_command(bare_serve(&home));
    assert!(begun.elapsed() < Duration::from_secs(5), "ready after {:?}", begun.elapsed());
    assert!(server.mqtt.ip().is_loopback() && server.http.ip().is_loopback());
    assert!(home.path().join("tracemq-data").is_dir());

    let device = Device::connect(&server, &Connect::new(Version::V311, "my-device"));
    assert_eq!(server.wait_for_connect("my-device").peer, Some(device.address()));
}

#[test]
fn the_first_start_makes_credentials_and_shows_them_once() {
    let home = Home::new("");
    let mut server = home.start_command(bare_serve(&home));
    let file = home.path().join("tracemq-data/credentials.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = server.credentials();
    assert!(first.access_key_secret.len() >= 30, "a secret too short to be one");
    assert_eq!(server.stop().code(), Some(0));
    assert!(server.said().contains(&first.access_key_secret), "whoever starts it must learn it");
    assert!(!server.log().contains(&first.access_key_secret), "a log is no place for a secret");

    let mut server = home.start_command(bare_serve(&home));
    server.history("nobody");
    assert_eq!(server.credentials().access_key_secret, first.access_key_secret, "the next start keeps them");
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.said().contains(&first.access_key_secret));
    assert!(!server.log().contains(&first.access_key_secret));

    let other = Home::new("");
    let other = other.start_command(bare_serve(&other));
    assert_ne!(other.credentials().access_key_secret, first.access_key_secret, "no default password");
}

#[test]
fn nobody_reads_without_the_access_key() {
    let home = Home::new("");
    let server = home.start();
    let target = "/api/v1/clients/pump-07/events";
    assert_eq!(server.rest(target).unwrap().status, 200);
    assert_eq!(server.rest_as(None, target).status, 401);
    let key = server.credentials();
    assert_eq!(server.rest_as(Some((&key.access_key_id, "wrong")), target).status, 401);
    assert_eq!(server.rest_as(Some(("wrong", &key.access_key_secret)), target).status, 401);
}

#[test]
fn a_listener_for_the_world_needs_users() {
    let home = Home::new("[mqtt]\n");
    let output = finish_within(PATIENCE, &mut home.serve_command_at("0.0.0.0:0"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("allow_anonymous"), "the message does not name the key: {message}");
    assert!(
        message.contains("mqtt.users_file") && message.contains("tracemq passwd"),
        "the message does not name the better way: {message}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let home = Home::new("[mqtt]\nlisten = \"127.0.0.1:0\"\nallow_anonymus = true\n");
    let (code, message) = home.refused_start();
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("allow_anonymus") && message.contains("line 3"), "{message}");

    let config = home.path().join("tracemq.toml");
    let output = finish_within(PATIENCE, tracemq().args(["config", "check", "--config"]).arg(config));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("allow_anonymus") && message.contains("line 3"), "{message}");
}

#[test]
fn config_check_prints_what_will_be_in_force() {
    let home =
        Home::new("[mqtt]\nlisten = \"127.0.0.1:2883\"\n\n[[access_keys]]\nid = \"ops\"\nsecret = \"hunter2\"\n");
    let config = home.path().join("tracemq.toml");
    let output = finish_within(PATIENCE, tracemq().args(["config", "check", "--config"]).arg(&config));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let resolved: toml::Table = text.parse().unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(resolved["mqtt"]["listen"].as_str(), Some("127.0.0.1:2883"));
    assert_eq!(resolved["mqtt"]["connect_timeout_s"].as_integer(), Some(10));
    assert_eq!(resolved["http"]["listen"].as_str(), Some("127.0.0.1:8080"));
    assert_eq!(resolved["recorder"]["enabled"].as_bool(), Some(true));
    assert!(!text.contains("hunter2"), "a password on the screen: {text}");
}

#[test]
fn a_taken_port_is_named() {
    let home = Home::new("");
    let first = home.start();
    let other = Home::new("");
    let taken = first.mqtt.to_string();
    let output = finish_within(PATIENCE, &mut other.serve_command_at(&taken));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&taken), "{output:?}");
}

#[test]
fn the_demo_shows_all_nine_reasons() {
    let home = Home::new("");
    let mut command = tracemq();
    command.current_dir(home.path()).arg("demo");
    let mut server = home.start_command(command);
    wait_until("all nine reasons", || {
        let devices = (1..=8).map(|number| format!("pump-{number:02}"));
        let seen: BTreeSet<_> =
            devices.flat_map(|device| server.trace_device(&device)).map(|row| row.action_info).collect();
        if NINE.iter().all(|reason| seen.contains(*reason)) { Ok(()) } else { Err(seen) }
    });
    let folder = server.data.clone();
    assert_eq!(server.stop().code(), Some(0));
    assert!(!folder.exists(), "{} is left behind", folder.display());
}

/// The demo's devices by what is behind their drops; each has a past when the demo begins.
#[test]
fn the_demo_has_a_device_for_every_cause_of_a_verdict() {
    let home = Home::new("");
    let mut command = tracemq();
    command.current_dir(home.path()).arg("demo");
    let server = home.start_command(command);
    for (device, cause) in [
        ("pump-01", "healthy"),
        ("pump-02", "bad-credentials"),
        ("pump-03", "two-devices-one-id"),
        ("pump-04", "topic-refused"),
        ("pump-05", "keep-alive-not-honoured"),
        ("pump-06", "flapping"),
        ("pump-07", "client-fault"),
        ("pump-09", "two-devices-one-id"),
        ("pump-10", "own-takeover"),
        ("pump-11", "own-takeover"),
        ("pump-12", "idle-timeout-in-path"),
        ("pump-13", "idle-timeout-in-path"),
        ("pump-14", "fixed-period"),
        ("pump-15", "fixed-period"),
        ("pump-16", "fixed-period"),
        ("pump-17", "certificate-expired"),
        ("pump-18", "certificate-expiring"),
        ("pump-19", "not-enough-evidence"),
        ("pump-21", "network-of-subnet"),
        ("pump-29", "server-side"),
        ("pump-40", "healthy"),
    ] {
        let answer = server.rest(&format!("/api/v1/clients/{device}/why?since=25h")).unwrap();
        let judged: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(judged["verdict"]["cause"], cause, "{device}: {judged:#}");
        assert!(!judged["verdict"]["sentence"].as_str().unwrap().is_empty());
    }
}

const NINE: [&str; 9] = [
    "accepted",
    "not authorized",
    "clientId conflict",
    "resource auth failed",
    "no heart",
    "closed by client",
    "disconnected by client",
    "invalid param",
    "Socket IOException",
];

#[test]
fn a_start_that_fails_does_not_use_up_the_one_time_a_key_is_shown() {
    let home = Home::new("");
    fs::create_dir_all(home.data_dir().join("nonces")).unwrap(); // where a file is wanted
    let (code, message) = home.refused_start();
    assert_eq!(code, Some(1), "{message}");
    assert!(!home.data_dir().join("credentials.toml").exists());
    fs::remove_dir(home.data_dir().join("nonces")).unwrap();
    let mut server = home.start();
    let secret = server.credentials().access_key_secret;
    wait_until("the key is shown", || {
        let said = server.said();
        if said.contains(&secret) { Ok(()) } else { Err(said) }
    });
}

#[test]
fn a_start_with_the_defaults_warns_of_nothing() {
    let home = Home::new("");
    let mut server = home.start_command(bare_serve(&home));
    assert_eq!(server.stop().code(), Some(0));
    assert!(!server.log().contains("\"WARN\""), "{}", server.log());
    // What was asked for and can't be had is worth a warning.
    let home = Home::new("[mqtt]\nmax_connections = 4000\n");
    let mut limited = std::process::Command::new("sh");
    let command = home.serve_command();
    limited.current_dir(home.path()).args(["-c", "ulimit -n 512 && exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    let mut server = home.start_command(limited);
    assert_eq!(server.stop().code(), Some(0));
    assert!(server.log().contains("fewer connections than mqtt.max_connections"), "{}", server.log());
}

#[test]
fn the_version_names_the_commit_that_was_built() {
    let output = finish_within(PATIENCE, tracemq().arg("--version"));
    let said = String::from_utf8(output.stdout).unwrap();
    let version = said.trim_end().strip_prefix(concat!("tracemq ", env!("CARGO_PKG_VERSION"))).unwrap();
    let is_commit = |text: &str| text.len() >= 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = version.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    // Without a repository, as in a tarball, there is none to name.
    let in_repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git").exists();
    assert_eq!(commit.is_some_and(is_commit), in_repository, "{said}");
}

#[test]
fn an_error_that_nobody_can_read_is_still_an_exit_status() {
    let home = Home::new("");
    let mut command = tracemq();
    command.current_dir(home.path()).args(["store", "check"]).stderr(fs::File::create("/dev/full").unwrap());
    assert_eq!(command.status().unwrap().code(), Some(2));
}
