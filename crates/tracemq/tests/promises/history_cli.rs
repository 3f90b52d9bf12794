//! Promise: `tracemq history` answers the operator on a screen and the script behind a pipe, and its exit code says
//! what went wrong.

use std::net::TcpListener;
use std::process::{Command, Output};

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

    let free_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free_port}");
    let (code, stdout, stderr) = run(tracemq().args(["history", "x", "--url", &url, "--data-dir"]).arg(&server.data));
    assert_eq!((code, &*stdout), (Some(5), ""), "{stderr}");
    assert!(stderr.contains(&free_port.to_string()), "{stderr}");
}
