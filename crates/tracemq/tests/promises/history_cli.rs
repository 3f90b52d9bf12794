//! Promise: `tracemq history` answers the operator on a screen and the script behind a pipe, and its exit code says
//! what went wrong.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use crate::harness::{Connect, Device, Event, Home, PATIENCE, Server, Version, disconnect, finish_within, tracemq};

fn history(server: &Server) -> Command {
    let mut command = tracemq();
    command.arg("history").args(["--url", &format!("http://{}", server.http)]).arg("--data-dir").arg(&server.data);
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = finish_within(PATIENCE, command);
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn events(ndjson: &str) -> Vec<Event> {
    ndjson.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// A server that knows one client, which came and went twice.
fn server_with_history(home: &Home) -> Server {
    let server = home.start();
    for times in 1..=2 {
        let mut device = Device::connect(&server, &Connect::new(Version::V311, "pump 07/é"));
        device.send(&disconnect(Version::V311, 0));
        device.receive_until_closed();
        server.history_with_ends("pump 07/é", times);
    }
    server
}

#[test]
fn a_pipe_gets_one_json_object_a_line() {
    let home = Home::new("");
    let server = server_with_history(&home);
    let expected = server.history("pump 07/é").items;
    for output in [&[][..], &["-o", "jsonl"]] {
        let (code, stdout, stderr) = run(history(&server).arg("pump 07/é").args(output));
        assert_eq!(code, Some(0), "{stderr}");
        let mut found = events(&stdout);
        found.sort_by_key(|event| expected.iter().position(|other| other == event));
        assert_eq!(found, expected);
    }
}

#[test]
fn a_table_is_for_people() {
    let home = Home::new("");
    let server = server_with_history(&home);
    let (code, stdout, stderr) = run(history(&server).args(["pump 07/é", "-o", "table"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stdout.contains('{') && !stdout.contains('\u{1b}'), "{stdout}");
    let rows = stdout.lines().filter(|line| line.contains("client-disconnected")).count();
    assert_eq!(rows, 2, "{stdout}");
}

#[test]
fn a_span_of_time_is_kept_to() {
    let home = Home::new("");
    let server = server_with_history(&home);
    let all = server.history("pump 07/é").items;
    let (code, stdout, stderr) = run(history(&server).args(["pump 07/é", "--since", "1h"]));
    assert_eq!((code, events(&stdout).len()), (Some(0), all.len()), "{stderr}");
    let (_, stdout, _) = run(history(&server).args(["pump 07/é", "--until", &all[1].time]));
    let found = events(&stdout);
    assert!(found.len() >= 2 && found.iter().all(|event| event.time_ms <= all[1].time_ms), "{found:#?}");
}

#[test]
fn nameless_connections_are_found_by_address() {
    let home = Home::new("");
    let server = home.start();
    let mut device = Device::dial(&server);
    device.send(b"GET / HTTP/1.0\r\n\r\n");
    device.receive_until_closed();
    let peer = device.address();
    crate::harness::wait_until("end on record", || server.nameless_history().end_of(&peer).cloned().ok_or("none yet"));
    let (code, stdout, stderr) = run(history(&server).args(["--address", "127.0.0.1"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(events(&stdout).pop().unwrap().peer, Some(peer));
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let home = Home::new("");
    let server = server_with_history(&home);
    assert_eq!(run(history(&server).arg("--no-such-flag")).0, Some(2));
    assert_eq!(run(history(&server).args(["x", "--since", "someday"])).0, Some(2));
    assert_eq!(run(history(&server).args(["x", "--url", "nonsense"])).0, Some(2));
    let (code, stdout, stderr) = run(history(&server).arg("pump-unknown"));
    assert_eq!((code, &*stdout), (Some(3), ""), "{stderr}");
    assert!(stderr.contains("pump-unknown"), "{stderr}");

    let other = Home::new("");
    let other = other.start();
    let url = format!("http://{}", server.http);
    let (code, _, stderr) = run(tracemq().args(["history", "x", "--url", &url, "--data-dir"]).arg(&other.data));
    assert_eq!(code, Some(4), "another server's key is refused: {stderr}");
    assert!(!stderr.contains(&other.credentials().access_key_secret), "{stderr}");
    assert!(stderr.contains(&*other.data.join("credentials.toml").to_string_lossy()), "which key? {stderr}");
    let mut command = history(&server);
    command.env("TRACEMQ_ACCESS_KEY_ID", "x").env("TRACEMQ_ACCESS_KEY_SECRET", "hunter2");
    let (code, _, stderr) = run(command.arg("x"));
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("TRACEMQ_ACCESS_KEY_ID") && !stderr.contains("credentials.toml"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");

    let free_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free_port}");
    let (code, stdout, stderr) = run(tracemq().args(["history", "x", "--url", &url, "--data-dir"]).arg(&server.data));
    assert_eq!((code, &*stdout), (Some(5), ""), "{stderr}");
    assert!(stderr.contains(&free_port.to_string()), "{stderr}");
}

#[test]
fn a_key_whose_policy_does_not_allow_it_is_told_so() {
    let home = Home::new(
        r#"
        [[access_keys]]
        id = "dashboard"
        secret = "a long secret of a dashboard"
        policy = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"mq:SendMessage","Resource":"*"}]}'
        "#,
    );
    let server = home.start();
    let mut command = history(&server);
    command.env("TRACEMQ_ACCESS_KEY_ID", "dashboard").env("TRACEMQ_ACCESS_KEY_SECRET", "a long secret of a dashboard");
    let (code, _, stderr) = run(command.arg("pump-07"));
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("policy") && !stderr.contains("--data-dir"), "{stderr}");
}

#[test]
fn what_can_hold_nothing_is_wrong_usage() {
    let home = Home::new("");
    let server = home.start();
    for (flags, said) in [
        (&["-n", "0"][..], "--lines"),
        (&["--since", "1h", "--until", "2h"], "is after --until"),
        (&["--since", "2999-01-01"], "--since: 2999-01-01 00:00:00.000 is in the future"),
    ] {
        let (code, stdout, stderr) = run(history(&server).args(["pump-07", "-o", "table"]).args(flags));
        assert_eq!((code, &*stdout), (Some(2), ""), "{flags:?}: {stderr}");
        assert!(stderr.contains(said), "{flags:?}: {stderr}");
    }
    let (code, _, stderr) = run(&mut history(&server));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("CLIENT_ID") && stderr.contains("--address"), "what else can be given? {stderr}");
}

#[test]
fn gaps_are_told_also_when_there_is_no_event() {
    let home = Home::new("");
    let mut server = home.start();
    let _device = Device::connect(&server, &Connect::new(Version::V311, "pump-1"));
    server.wait_for_connect("pump-1");
    server.kill();
    let server = home.start();
    let lost = server.history_with_ends("pump-1", 1).items.pop().unwrap();

    let (code, stdout, stderr) = run(history(&server).args(["nobody", "-o", "table"]));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stdout.starts_with("-- not recorded: ") && stdout.ends_with("(not-running)\n"), "{stdout}");
    assert!(stderr.contains("nothing is on record for nobody; part of the time was not recorded (above)"), "{stderr}");
    let (code, stdout, stderr) = run(history(&server).args(["nobody", "--since", "1h"]));
    assert_eq!((code, &*stdout), (Some(3), ""), "{stderr}");
    let said = "nothing is on record for nobody in that range; part of it was not recorded (above)";
    assert!(stderr.starts_with("-- not recorded: ") && stderr.contains(said), "{stderr}");

    let body = server.rest("/api/v1/clients/nobody/events").unwrap().body;
    let page: serde_json::Value = serde_json::from_str(&body).unwrap();
    let [from, to] = ["from_ms", "to_ms"].map(|name| page["gaps"][0][name].as_i64().unwrap());
    let range = |from: i64| ["--since".to_owned(), from.to_string(), "--until".to_owned(), to.to_string()];
    let (code, stdout, stderr) = run(history(&server).args(["nobody", "-o", "table"]).args(range(from)));
    assert_eq!((code, stdout.lines().count()), (Some(6), 1), "{stderr}");
    let (code, _, stderr) = run(history(&server).args(["nobody", "-o", "table"]).args(range(from - 1)));
    assert_eq!(code, Some(3), "one millisecond was recorded: {stderr}");
    let (code, _, stderr) = run(history(&server).arg("pump-1").args(range(lost.time_ms + 1)));
    assert_eq!(code, Some(6), "{stderr}");
    assert!(stderr.contains("; its last event was ") && stderr.contains(" close server-lost\n"), "{stderr}");
}

#[test]
fn an_empty_range_tells_of_the_last_event_outside_it() {
    let home = Home::new("");
    let server = server_with_history(&home);
    let last = server.history("pump 07/é").items.pop().unwrap();
    for range in [["--until", "2020-01-01"], ["--since", "now"]] {
        let (code, stdout, stderr) = run(history(&server).args(["pump 07/é", "-o", "table", "--utc"]).args(range));
        assert_eq!((code, &*stdout), (Some(3), ""), "{stderr}");
        let time = last.time.replace('T', " ").replace('Z', "");
        let said = format!("for 'pump 07/é' in that range; its last event was {time} disconnect client-disconnected\n");
        assert!(stderr.contains(&said), "no {said} in {stderr}");
        let next = format!(
            "tracemq history 'pump 07/é' --url http://{} -D {} --utc -o table\n",
            server.http,
            server.data.display()
        );
        assert!(stderr.ends_with(&next), "no {next} in {stderr}");
    }
}

#[test]
fn the_hint_to_older_events_is_a_whole_command() {
    let home = Home::new("");
    let server = server_with_history(&home);
    let (code, _, stderr) = run(history(&server).args(["pump 07/é", "-o", "table", "-n", "1", "--since", "1h"]));
    assert_eq!(code, Some(0), "{stderr}");
    let hint = stderr.trim_end().strip_prefix("1 of 4 events; older ones: ").unwrap_or_else(|| panic!("{stderr}"));
    // As the shell of the operator would; the binary is not on its PATH, so that the hint names it by its path.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(hint);
    let (code, stdout, stderr) = run(&mut shell);
    assert_eq!((code, &*stderr), (Some(0), ""), "{hint}: {stdout}");
    assert_eq!(stdout.lines().count(), 5, "{stdout}");
}

/// A server that gives `bodies` as its answers, one after another.
fn canned(bodies: &[&str]) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bodies: Vec<_> = bodies.iter().map(|body| (*body).to_owned()).collect();
    let serving = thread::spawn(move || {
        for body in bodies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    (url, serving)
}

fn history_of(url: &str) -> Command {
    let mut command = tracemq();
    command.args(["history", "--url", url]);
    command.env("TRACEMQ_ACCESS_KEY_ID", "x").env("TRACEMQ_ACCESS_KEY_SECRET", "y");
    command
}

#[test]
fn what_is_still_on_its_way_to_the_disk_is_asked_for_again() {
    let empty = r#"{"items":[],"total":0,"gaps":[]}"#;
    let one = r#"{"items":[{"time_ms":1,"action":"connect"}],"total":1,"gaps":[]}"#;
    for output in ["jsonl", "table"] {
        let (url, serving) = canned(&[empty, one]);
        let (code, stdout, stderr) = run(history_of(&url).args(["pump-07", "-o", output]));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("connect"), "{stdout}");
        serving.join().unwrap();
    }
}

#[test]
fn an_identifier_can_neither_act_on_the_terminal_nor_on_the_shell() {
    let (url, _serving) = canned(&[r#"{"items":[{"time_ms":1,"action":"connect"}],"total":7,"gaps":[]}"#]);
    let (code, _, stderr) = run(history_of(&url).args(["\u{1b}[31mred", "-o", "table", "-n", "1"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(r"tracemq history $'\x1b[31mred' --url ") && !stderr.contains('\u{1b}'), "{stderr}");
}

#[test]
fn nameless_connections_without_an_end_are_explained() {
    let home = Home::new("");
    let server = home.start();
    let _device = Device::dial(&server);
    crate::harness::wait_until("open", || server.nameless_history().items.pop().ok_or("none yet"));
    let (code, stdout, stderr) = run(history(&server).args(["--address", "127.0.0.1", "-o", "table"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.ends_with("still open, or it named a client later\n"), "{stdout}");
}

#[test]
fn help_fits_on_80_columns_as_it_was_written() {
    for words in [&["--help"][..], &["history", "--help"]] {
        let help = |columns: &str| {
            let (code, stdout, _) = run(tracemq().args(words).env("COLUMNS", columns));
            assert_eq!(code, Some(0));
            stdout
        };
        let narrow = help("80");
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        // What stands after the flags is laid out by hand: a break within it would break its columns.
        let by_hand = |help: &str| {
            let start = help.find("\nTimes").or_else(|| help.find("\nExamples")).unwrap();
            help[start..].to_owned()
        };
        assert_eq!(by_hand(&narrow), by_hand(&help("100")));
        assert!(by_hand(&narrow).lines().all(|line| line.chars().count() < 78), "{narrow}");
    }
    let (_, help, _) = run(tracemq().args(["history", "--help"]));
    for form in ["1w", "-1w", "10:30:15", "1795343400", "1795343400000", "yesterday"] {
        assert!(help.contains(form), "{form} is not told of: {help}");
    }
}
