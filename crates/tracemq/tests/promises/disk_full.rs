//! Promise: a full disk stops the recording and nothing else. Devices come and go, questions are answered, what is not recorded is counted
//! and stands in a gap, and the recording goes on by itself when there is room.
//!
//! The disk is a real one of its own: a file system in memory that only the server sees, in a mount namespace, which not every system lets
//! its users make.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Connect, Device, Dice, Event, Home, Server, Version, disconnect, encode, wait_until};

/// Runs what follows with a file system of 48 MiB on the folder of events, which is the first argument.
const ON_A_SMALL_DISK: &str = r#"mkdir -p "$1" && mount -t tmpfs -o size=48m none "$1" && shift && exec "$@""#;

fn namespaces() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c"]);
    command
}

fn start_on_a_small_disk(home: &Home) -> Option<Server> {
    let mut probe = namespaces();
    let is_allowed = probe.arg("mount -t tmpfs none /mnt").stdin(Stdio::null()).output();
    if !is_allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: this system lets nobody mount a file system in a namespace");
        return None;
    }
    let serve = home.serve_command();
    let mut command = namespaces();
    command.args([ON_A_SMALL_DISK, "sh"]).arg(home.data_dir().join("events"));
    command.arg(serve.get_program()).args(serve.get_args()).current_dir(home.path()).stdin(Stdio::null());
    serve.get_envs().for_each(|(name, value)| match value {
        Some(value) => drop(command.env(name, value)),
        None => drop(command.env_remove(name)),
    });
    Some(home.start_command(command))
}

/// The server's view of the folder of events.
fn events_folder(server: &Server) -> PathBuf {
    let seen = server.data.join("events");
    Path::new(&format!("/proc/{}/root", server.pid())).join(seen.strip_prefix("/").unwrap())
}

fn metric(server: &Server, wanted: &str) -> u64 {
    let page = server.rest("/metrics").unwrap();
    let values =
        page.body.lines().filter_map(|line| line.strip_prefix(wanted)?.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// Fills the disk to the last byte; removed to make room.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let (mut ballast, mut piece) = (File::create(&path).unwrap(), 1 << 20);
    while piece > 0 {
        if ballast.write_all(&vec![1; piece]).is_err() {
            piece /= 2;
        }
    }
    path
}

/// A device comes and goes: it is let in and answered, whatever happens to the record.
fn come_and_go(server: &Server, client: &str) {
    let mut device = Device::connect(server, &Connect::new(Version::V311, client));
    device.send(&disconnect(Version::V311, 0));
    device.receive_until_closed();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn all_events(server: &Server) -> Vec<Event> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.rest(&format!("/api/v1/events?limit=1000{cursor}")).unwrap();
        let page: serde_json::Value = serde_json::from_str(&page.body).unwrap();
        let items: Vec<Event> = serde_json::from_value(page["items"].clone()).unwrap();
        all.extend(items.into_iter().filter(|event| event.client.is_some()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => return all,
        }
    }
}

#[test]
fn s21_a_full_disk_stops_the_recording_and_nothing_else() {
    let home = Home::new("");
    let Some(mut server) = start_on_a_small_disk(&home) else { return };
    come_and_go(&server, "before");
    let before = server.history_with_ends("before", 1);
    assert_eq!(before.items.len(), 2);

    let ballast = fill(&events_folder(&server));
    let lost = |server: &Server| metric(server, "tracemq_recorder_events_lost_total");
    let mut clients = BTreeSet::new();
    // What the log has taken of the disk beforehand is used up first.
    let mut dice = Dice::new(21);
    while lost(&server) < 10 {
        for _ in 0..50 {
            // Names that take room.
            let client = format!("{}-{}", clients.len(), hex(&dice.bytes(100)));
            come_and_go(&server, &client);
            clients.insert(client);
        }
        assert!(clients.len() < 20_000 && server.is_running(), "{} came and went", clients.len());
    }
    assert_eq!(server.history("before").items, before.items, "questions go on");
    assert!(server.history("before").gaps.iter().any(|gap| gap.cause == "store-failed"), "and tell the gap at once");

    fs::remove_file(ballast).unwrap();
    let mut number = 0;
    wait_until("recording goes on", || {
        number += 1;
        let client = format!("after-{number}");
        come_and_go(&server, &client);
        clients.insert(client.clone());
        wait_until("nothing is queued", || match metric(&server, "tracemq_recorder_queue_events") {
            0 => Ok(()),
            queued => Err(queued),
        });
        let history = server.history(&client);
        if history.items.len() == 2 { Ok(()) } else { Err("not on record") }
    });

    // Each event is there, once, or counted in a gap.
    let events = all_events(&server);
    let once: BTreeSet<_> = events.iter().map(|event| (&event.connection, &event.action)).collect();
    assert_eq!(once.len(), events.len(), "doubled");
    let told: u64 = server.history("before").gaps.iter().filter_map(|gap| gap.lost).sum();
    assert_eq!(told, lost(&server), "what is lost stands in gaps");
    assert_eq!(events.len() as u64 + told, 2 * (clients.len() as u64 + 1));
    assert_eq!(server.stop().code(), Some(0));
}
