//! Promise: who is connected can be seen, and an administrator can end a connection; the record says who did it.

use std::process::Command;

use crate::harness::{Connect, Device, Home, PATIENCE, Server, Version, finish_within, tracemq};

fn run(server: &Server, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command: Command = tracemq();
    let (first, rest) = args.split_first().unwrap();
    command
        .arg(first)
        .args(["--url", &format!("http://{}", server.http)])
        .arg("--data-dir")
        .arg(&server.data)
        .args(rest);
    let output = finish_within(PATIENCE, &mut command);
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn connected_clients_are_listed_and_kicked() {
    let home = Home::new("");
    let server = home.start();
    let mut device = Device::connect(&server, &Connect::new(Version::V5, "pump 07/é"));
    let _other = Device::connect(&server, &Connect::new(Version::V311, "valve"));
    let (code, stdout, stderr) = run(&server, &["clients"]);
    assert_eq!(code, Some(0), "{stderr}");
    let names: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(names.iter().map(|row| row["client"].as_str().unwrap()).collect::<Vec<_>>(), ["pump 07/é", "valve"]);
    assert!(names[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let (code, stdout, _) = run(&server, &["clients", "val", "-o", "table"]);
    assert_eq!((code, stdout.lines().count()), (Some(0), 2), "{stdout}");
    let (code, _, stderr) = run(&server, &["clients", "nobody"]);
    assert_eq!(code, Some(3), "{stderr}");

    let (code, stdout, stderr) = run(&server, &["kick", "pump 07/é"]);
    assert_eq!((code, &*stdout), (Some(0), "1 ended\n"), "{stderr}");
    device.receive_until_closed();
    let history = server.history_with_ends("pump 07/é", 1);
    let end = history.items.iter().find(|event| event.is_end()).unwrap();
    assert_eq!((&*end.reason, &*end.initiator), ("kicked", "admin"));
    let (code, _, _) = run(&server, &["kick", "pump 07/é"]);
    assert_eq!(code, Some(3));
    let (code, stdout, _) = run(&server, &["kick", "--address", "127.0.0.1"]);
    assert_eq!((code, &*stdout), (Some(0), "1 ended\n"));
    let (code, _, _) = run(&server, &["kick"]);
    assert_eq!(code, Some(2));
}
