//! Promise: a key that is disabled opens nothing any more, from SIGHUP on, without a restart; a file that can't be used
//! changes nothing.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Answer, Credentials, Home, Kept, Server, basic, signed_as, wait_until};

const REST: &str = "/api/v1/clients/nobody/events";

fn entry(id: &str, secret: &str, more: &str) -> String {
    format!("[[access_keys]]\nid = '{id}'\nsecret = '{secret}'\n{more}\n")
}

/// Whoever calls both APIs, over connections that were open before the keys changed.
struct Caller {
    http: SocketAddr,
    own: Credentials,
    rpc: Kept,
    rest: Kept,
}

impl Caller {
    fn new(server: &Server) -> Self {
        Self::to(server.http, server.credentials())
    }

    fn to(http: SocketAddr, own: Credentials) -> Self {
        Self { http, own, rpc: Kept::open(http), rest: Kept::open(http) }
    }

    fn signed(&self, id: &str, secret: &str) -> String {
        let key = Credentials { access_key_id: id.into(), access_key_secret: secret.into(), ..self.own.clone() };
        signed_as(&key, "nobody")
    }

    fn rpc(&mut self, id: &str, secret: &str) -> Answer {
        self.rpc.get(&self.signed(id, secret), &[])
    }

    fn rest(&mut self, id: &str, secret: &str) -> Answer {
        self.rest.get(REST, &[("Authorization", &basic(id, secret))])
    }

    /// The first call on each fails if it is let in, on a kept connection and on a new one.
    #[track_caller]
    fn assert_refused(&mut self, id: &str, secret: &str, status: u16, code: &str) {
        let answer = self.rpc(id, secret);
        assert_eq!((answer.status, code_of(&answer).as_str()), (status, code), "{answer:?}");
        assert_eq!(self.rest(id, secret).status, 401, "{id} at REST");
        let mut new = Self::to(self.http, self.own.clone());
        assert_eq!(code_of(&new.rpc(id, secret)), code);
        assert_eq!(new.rest(id, secret).status, 401, "{id} at REST");
    }

    #[track_caller]
    fn assert_let_in(&mut self, id: &str, secret: &str) {
        for answer in [self.rpc(id, secret), self.rest(id, secret)] {
            assert_eq!(answer.status, 200, "{id}: {answer:?}");
        }
    }
}

fn code_of(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    body["Code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a26_a_key_of_the_config_is_disabled_changed_taken_out_and_added_at_once() {
    let home = Home::new(&entry("dash", "one", ""));
    let server = home.start();
    let own = server.credentials();
    let mut caller = Caller::new(&server);
    caller.assert_let_in("dash", "one");
    let taken = caller.signed("dash", "one");
    assert_eq!(caller.rpc.get(&taken, &[]).status, 200);

    home.reconfigure(&entry("dash", "one", "enabled = false"));
    let word = server.reload();
    assert!(word.contains("access keys reloaded") && word.contains("\"keys\":2"), "{word}");
    assert!(word.contains("listeners, limits"), "what is not reloaded is told: {word}");
    caller.assert_refused("dash", "one", 400, "InvalidAccessKeyId.Inactive");
    assert_eq!(code_of(&caller.rpc.get(&taken, &[])), "InvalidAccessKeyId.Inactive");
    caller.assert_let_in(&own.access_key_id, &own.access_key_secret);

    home.reconfigure(&entry("dash", "one", "enabled = true"));
    server.reload();
    caller.assert_let_in("dash", "one");
    assert_eq!(code_of(&caller.rpc.get(&taken, &[])), "SignatureNonceUsed", "a reload is no second chance");

    home.reconfigure(&entry("dash", "two", ""));
    server.reload();
    caller.assert_refused("dash", "one", 400, "SignatureDoesNotMatch");
    caller.assert_let_in("dash", "two");

    home.reconfigure(&entry("other", "three", ""));
    server.reload();
    caller.assert_refused("dash", "two", 404, "InvalidAccessKeyId.NotFound");
    caller.assert_let_in("other", "three");

    let log = server.log();
    for secret in [&own.access_key_secret, "\"one\"", "\"two\"", "\"three\""] {
        assert!(!log.contains(secret), "a log is no place for a secret: {log}");
    }
}

#[test]
fn a26_the_key_of_the_data_folder_is_changed_at_once() {
    let home = Home::new("");
    let server = home.start();
    let old = server.credentials();
    let mut caller = Caller::new(&server);
    caller.assert_let_in(&old.access_key_id, &old.access_key_secret);

    let file = home.data_dir().join("credentials.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&old.access_key_secret, "another")).unwrap();
    server.reload();
    caller.assert_refused(&old.access_key_id, &old.access_key_secret, 400, "SignatureDoesNotMatch");
    caller.assert_let_in(&old.access_key_id, "another");

    fs::write(&file, text.replace(&old.access_key_id, "renamed")).unwrap();
    server.reload();
    caller.assert_refused(&old.access_key_id, &old.access_key_secret, 404, "InvalidAccessKeyId.NotFound");
    caller.assert_let_in("renamed", &old.access_key_secret);
}

#[test]
fn a26_files_that_can_t_be_used_leave_the_keys_as_they_are() {
    let home = Home::new(&entry("dash", "one", ""));
    let mut server = home.start();
    let own = server.credentials();
    let (config, credentials) = (home.path().join("tracemq.toml"), home.data_dir().join("credentials.toml"));
    let good = [&config, &credentials].map(|file| fs::read_to_string(file).unwrap());
    let disabled = entry("dash", "one", "enabled = false");
    let mut caller = Caller::new(&server);
    let mut assert_kept = |said: &[&str]| {
        let word = server.reload();
        for part in said.iter().chain(&["\"level\":\"ERROR\"", "access keys not reloaded", "stay in force"]) {
            assert!(word.contains(part), "{part:?} in {word}");
        }
        for secret in [&own.access_key_secret, "sekrit", "47114711"] {
            assert!(!word.contains(secret), "a log is no place for a secret: {word}");
        }
        caller.assert_let_in("dash", "one");
        caller.assert_let_in(&own.access_key_id, &own.access_key_secret);
    };

    for (text, said) in [
        (format!("{disabled}[[access_keys]]\nid = 'x'\nsecret = ''\n"), &["access_keys: `x`", "secret"][..]),
        (format!("{disabled}{}", entry("dash", "sekrit", "")), &["access_keys", "`dash`", "twice"]),
        (format!("{disabled}{}", entry("x", "sekrit", "policy = '{}'")), &["access_keys: `x`", "policy"]),
        (format!("{disabled}{}", entry("x", "sekrit", "expires = 'soon'")), &["access_keys: `x`", "expires"]),
        (format!("{disabled}{}", entry("x", "sekrit", "enable = false")), &["line 8", "enable"]),
        (format!("{disabled}[[access_keys]]\nid = 'x'\nsecret = 47114711\n"), &["line 7", "secret"]),
        (format!("{disabled}[[access_keys]]\nid = 'x'\nsecret = sekrit\n"), &["line 7"]),
        (format!("{disabled}[mqtt]\nmax_inflight = 0\n"), &["mqtt.max_inflight"]),
    ] {
        fs::write(&config, text).unwrap();
        assert_kept(&[said, &["tracemq.toml"][..]].concat()[..]);
    }
    fs::write(&config, format!("{disabled}{}", entry(&own.access_key_id, "sekrit", ""))).unwrap();
    assert_kept(&["credentials.toml: access_key_id", "access_keys"]);
    fs::remove_file(&config).unwrap();
    assert_kept(&["tracemq.toml"]);
    // A pipe would never end, or be empty and so take all keys away.
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    assert_kept(&["tracemq.toml", "no regular file"]);
    fs::remove_file(&config).unwrap();

    fs::write(&config, &disabled).unwrap();
    for (text, said) in [
        (good[1].replace(&own.access_key_secret, ""), "access_key_secret"),
        (good[1].replace(&own.access_key_id, "a b"), "access_key_id"),
        (good[1].replace(&format!("\"{}\"", own.access_key_secret), "4711"), "line 2"),
        (good[1].replace("access_key_secret", "secret"), "secret"),
        (String::new(), "access_key_id"),
    ] {
        assert_ne!(text, good[1]);
        fs::write(&credentials, text).unwrap();
        assert_kept(&["credentials.toml", said]);
    }
    fs::remove_file(&credentials).unwrap();
    assert_kept(&["credentials.toml", "restart"]);
    assert!(!credentials.exists(), "a key that nobody was shown");

    fs::write(&config, &good[0]).unwrap();
    fs::write(&credentials, &good[1]).unwrap();
    assert!(server.reload().contains("access keys reloaded"));
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_log_that_can_t_be_written_stops_nothing() {
    let home = Home::new("");
    let serve = home.serve_command();
    let mut command = Command::new("sh");
    command.current_dir(home.path()).args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let mut server = home.start_command(command);
    home.reconfigure(&entry("dash", "one", ""));
    server.hang_up();
    wait_until("new key in force", || match server.rest_as(Some(("dash", "one")), REST) {
        Answer { status: 200, .. } => Ok(()),
        other => Err(other),
    });
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_server_stops_with_its_terminal() {
    let home = Home::new("");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let mut command = home.serve_command();
    command.stdin(File::options().read(true).write(true).open(name).unwrap());
    let mut server = home.start_command(command);
    assert!(server.reload().contains("access keys reloaded"), "while the terminal is there");
    drop(terminal);
    server.hang_up();
    assert_eq!(server.wait_for_end().code(), Some(0));
    assert!(server.log().contains("stopped"), "in order");
}
