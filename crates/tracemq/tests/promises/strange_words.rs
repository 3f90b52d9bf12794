//! Promise: what clients call themselves and their topics stays data: in the log, in metrics, on disk; secrets are in none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::harness::{
    Connect, Device, Home, Server, VERSIONS, Version, packet, publish, string, subscribe, wait_until,
};

/// A line of a log that never was, sequences for a terminal, right-to-left marks, and names of files.
const STRANGE: [&str; 6] = [
    "x\r\n2026-11-22T19:12:41Z ERROR forged: all is lost",
    "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m",
    "\u{202e}gpj.exe\u{2066}",
    "../../../outside",
    "CON",
    "<script>{{x}}</script>\"} 1\n# HELP forged",
];

const CONFIG: &str = "
[mqtt]
users_file = 'users'
on_refusal = 'reason-code'

[[mqtt.rules]]
publish = ['open/#']
subscribe = ['open/#']
";

fn with_log(home: &Home, level: &str) -> Server {
    let mut command = home.serve_command();
    command.env("TRACEMQ_LOG", level);
    home.start_command(command)
}

/// Says each strange word wherever a client may: as name, user, password, topic, filter and will.
fn say(server: &Server, word: &str) {
    for version in VERSIONS {
        let none: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let login = |user: &str, password: &str| {
            let texts = [&string(word)[..], none, &string(word), &string("gone"), &string(user), &string(password)];
            let head = [&string("MQTT")[..], &[version as u8, 0xC6, 0, 60], none].concat();
            packet(0x10, &[head, texts.concat()].concat())
        };
        for bytes in
            [login(word, word), login("ops", word), login("ops", "secret"), Connect::new(version, word).bytes()]
        {
            let mut device = Device::dial(server);
            device.send(&bytes);
            let _ = device.try_receive();
        }
        for bytes in [publish(version, word, b"x"), subscribe(version, word)] {
            let mut device = Device::connect(server, &Connect::new(version, "plain").login("ops", "secret"));
            device.send(&bytes);
            let _ = device.try_send(&[0xE0, 0]);
            device.receive_until_closed();
        }
    }
}

fn names_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        names.insert(name.chars().map(|c| if c.is_ascii_hexdigit() { '#' } else { c }).collect());
        if entry.file_type().unwrap().is_dir() {
            names_below(&entry.path(), names);
        }
    }
}

/// Names and labels of all that is counted.
fn series(server: &Server) -> BTreeSet<String> {
    let metrics = server.rest_as(None, "/metrics").body;
    metrics.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

#[test]
fn b91_b93_b94_what_clients_say_is_no_line_of_the_log_no_label_and_no_file() {
    let home = Home::new(CONFIG);
    let mut server = with_log(&home, "debug");
    let once_each = |server: &Server, word: &str| {
        say(server, word);
        server.history(word)
    };
    once_each(&server, "ordinary");
    let (before, mut files) = (series(&server), BTreeSet::new());
    names_below(home.path(), &mut files);
    for word in STRANGE {
        once_each(&server, word);
    }
    once_each(&server, &"long".repeat(60));
    let found = wait_until("an end on record under each name", || {
        let found = STRANGE.iter().filter(|word| server.history(word).items.iter().any(|event| event.is_end())).count();
        if found == STRANGE.len() { Ok(found) } else { Err(found) }
    });
    assert_eq!(found, STRANGE.len());
    assert_eq!(series(&server), before, "b93");
    let mut now = BTreeSet::new();
    names_below(home.path(), &mut now);
    assert!(
        now.iter().all(|name| !STRANGE.iter().any(|word| name.contains(word.trim_start_matches("../")))),
        "{now:?}"
    );
    assert!(!home.path().parent().unwrap().join("outside").exists(), "b94");
    server.stop();
    let log = server.log();
    for line in log.lines() {
        assert!(!line.starts_with("2026-11-22T19:12:41Z"), "b91, forged: {line}");
        assert!(line.len() < 4_096, "b91, too long: {line}");
    }
    let acts = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || c == '\u{2066}';
    assert!(!log.contains(acts), "b91: {log:?}");
}

#[test]
fn b92_no_secret_is_in_the_log_at_any_level_on_record_or_in_metrics() {
    let home = Home::new("[mqtt]\nusers_file = 'users'\n");
    let mut server = with_log(&home, "trace");
    let credentials = server.credentials();
    for version in VERSIONS {
        for (user, password) in [("ops", "secret"), ("ops", "hunter2-wrong"), ("nobody", "hunter2-unknown")] {
            let mut hello = Connect::new(version, "keeper").login(user, password);
            hello.will_topic = Some("will"); // whose payload is "gone"
            let mut device = Device::dial(&server);
            device.send(&hello.bytes());
            let _ = device.try_receive();
            let _ = device.try_send(&publish(version, "t", b"hunter2-payload"));
            let _ = device.try_send(&[0x00, 0x00]);
            device.receive_until_closed();
        }
    }
    let wrong = Some((&*credentials.access_key_id, "hunter2-key"));
    assert_eq!(server.rest_as(wrong, "/api/v1/clients/keeper/events").status, 401);
    let history = server.history_with_ends("keeper", 6);
    let shown = format!("{history:?} {}", server.rest_as(None, "/metrics").body);
    server.stop();
    assert!(!server.log().is_empty());
    // The access key is shown to who starts the server, once, and nowhere else.
    let everything = [shown, server.log()].concat();
    for secret in ["hunter2", &*credentials.access_key_secret] {
        assert!(!everything.contains(secret), "{secret}");
    }
    assert!(!server.said().contains("hunter2"));
}

#[test]
fn b95_ten_thousand_refusals_are_a_count_and_not_as_many_lines() {
    let home = Home::new(CONFIG);
    let server = home.start();
    let mut device = Device::connect(&server, &Connect::new(Version::V5, "stubborn").login("ops", "secret"));
    let before = server.log().len();
    let refused = publish(Version::V5, "forbidden/topic", b"x").repeat(1_000);
    for _ in 0..10 {
        device.send(&refused);
    }
    device.send(&[0xC0, 0]);
    assert_eq!(device.receive().0, 0xD0, "all of them were read");
    let log = server.log();
    assert!(log.len() - before < 10_000, "{}", &log[before..]);
    let rows = server.history("stubborn").items.len();
    assert!(rows < 10, "{rows} rows on record");
}
