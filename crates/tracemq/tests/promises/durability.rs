//! Promise: what an answer has shown once is never lost and never doubled, and every connection gets its one end,
//! whatever happens to the server or to its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::harness::{Connect, Device, Dice, Event, Home, Server, Version, disconnect, now_ms, wait_until};

#[test]
fn connections_that_were_open_at_kill_9_are_closed_at_the_next_start() {
    let home = Home::new("");
    let mut server = home.start();
    let clients = ["pump-1", "pump-2", "pump-3"];
    let devices = clients.map(|client| Device::connect(&server, &Connect::new(Version::V311, client)));
    let begins = clients.map(|client| server.wait_for_connect(client));
    let silent = Device::dial(&server);
    wait_until("open of the silent connection", || server.nameless_history().items.pop().ok_or("nothing"));
    server.kill();
    let killed_ms = now_ms();

    // The second restart must find nothing left to close.
    for _ in 0..2 {
        let mut server = home.start();
        for (client, begin) in clients.iter().zip(&begins) {
            let history = server.history_with_ends(client, 1);
            history.assert_every_connection_ended_once();
            assert_eq!(history.items.len(), 2, "{history:#?}");
            assert_eq!(&history.items[0], begin);
            let end = &history.items[1];
            let told = (&*end.action, &*end.reason, &*end.provenance, &*end.initiator);
            assert_eq!(told, ("close", "server-lost", "inferred", "server"));
            assert_eq!((&end.connection, &end.peer), (&begin.connection, &begin.peer));
            assert!((begin.time_ms..=killed_ms).contains(&end.time_ms), "{end:#?} not in {begin:#?}..{killed_ms}");
            assert!(history.gaps.iter().any(|gap| gap.cause == "not-running"), "no gap: {history:#?}");
            let row = server.trace_device(client).pop().unwrap();
            assert_eq!((&*row.action, &*row.action_info), ("close", "Socket IOException"));
        }
        let history = server.nameless_history();
        history.assert_every_connection_ended_once();
        assert_eq!(history.end_of(&silent.address()).unwrap().reason, "server-lost");
        assert_eq!(server.stop().code(), Some(0));
    }
    drop(devices);
}

#[test]
fn a_clean_stop_leaves_nothing_to_infer() {
    let home = Home::new("");
    let mut server = home.start();
    let _device = Device::connect(&server, &Connect::new(Version::V5, "pump-07"));
    assert_eq!(server.stop().code(), Some(0));
    let server = home.start();
    let history = server.history("pump-07");
    let told: Vec<_> = history.items.iter().map(|e| (&*e.reason, &*e.provenance)).collect();
    assert_eq!(told, [("accepted", "observed"), ("server-shutdown", "observed")]);
}

#[test]
fn a_stop_right_after_the_start_is_as_clean_as_any() {
    for _ in 0..20 {
        assert_eq!(Home::new("").start().stop().code(), Some(0));
    }
}

/// What answers have shown before a kill, by client.
type Seen = Mutex<BTreeMap<String, BTreeSet<Event>>>;

/// Connects and ends connections, each as its own client, until the server is gone. Names each client to `dialled`.
fn make_load(server: &Server, round: u64, worker: u64, dialled: &mpsc::Sender<String>) {
    let mut dice = Dice::new(round * 10 + worker);
    for number in 0.. {
        let client = format!("load-{round}-{worker}-{number}");
        let Ok(mut device) = Device::try_dial(server) else { return };
        let connect = Connect::new(Version::V311, &client).bytes();
        if device.try_send(&connect).is_err() || device.try_receive().is_err() || dialled.send(client).is_err() {
            return;
        }
        match dice.below(3) {
            0 if device.try_send(&disconnect(Version::V311, 0)).is_err() => return,
            0 | 1 => device.close(),
            _ => device.reset(),
        }
    }
}

/// Reads the histories of the clients in `dialled` and notes what it saw, until the server is gone or `enough`.
fn watch(
    server: &Server,
    dialled: &mpsc::Receiver<String>,
    seen: &Seen,
    enough: &AtomicBool,
    answers: &mpsc::Sender<()>,
) {
    for client in dialled {
        if enough.load(Ordering::Relaxed) {
            return;
        }
        let Ok(history) = server.try_history(&client) else { return };
        seen.lock().unwrap().entry(client).or_default().extend(history.items);
        let _ = answers.send(());
    }
}

/// Lets load run until a number of answers was seen, and kills the server in the middle of it.
fn load_and_kill(mut server: Server, round: u64, seen: &Seen) {
    let answers_before_kill = 1 + Dice::new(round).below(60);
    let enough = AtomicBool::new(false);
    let (answered, answers) = mpsc::channel();
    thread::scope(|scope| {
        let server = &server;
        for worker in 0..2 {
            let (dial, dialled) = mpsc::channel();
            let (answered, enough) = (answered.clone(), &enough);
            scope.spawn(move || make_load(server, round, worker, &dial));
            scope.spawn(move || watch(server, &dialled, seen, enough, &answered));
        }
        for _ in 0..answers_before_kill {
            answers.recv_timeout(Duration::from_secs(20)).expect("an answer under load");
        }
        server.kill_from_outside();
        enough.store(true, Ordering::Relaxed);
    });
    server.kill();
}

fn assert_nothing_lost_or_doubled(server: &Server, seen: &Seen) {
    for (client, events) in &*seen.lock().unwrap() {
        let history = server.history(client);
        history.assert_every_connection_ended_once();
        let found: BTreeSet<_> = history.items.iter().cloned().collect();
        let lost: Vec<_> = events.difference(&found).collect();
        assert!(lost.is_empty(), "seen before the kill, and lost: {lost:#?}; left: {history:#?}");
    }
}

#[test]
fn s15_what_was_seen_once_survives_fifty_kills() {
    let home = Home::new("");
    let seen_in_all_rounds = Seen::default();
    for round in 0..50 {
        let seen = Seen::default();
        load_and_kill(home.start(), round, &seen);
        let mut server = home.start();
        assert_nothing_lost_or_doubled(&server, &seen);
        seen_in_all_rounds.lock().unwrap().append(&mut seen.lock().unwrap());
        if round % 2 == 0 {
            server.kill();
        } else {
            assert_eq!(server.stop().code(), Some(0));
        }
    }
    assert!(seen_in_all_rounds.lock().unwrap().len() > 50, "the load was no load");
    assert_nothing_lost_or_doubled(&home.start(), &seen_in_all_rounds);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let home = Home::new("");
    let mut server = home.start();
    let (code, message) = home.refused_start();
    assert_eq!(code, Some(1), "{message}");
    let data_dir = home.data_dir();
    assert!(message.contains(&*data_dir.to_string_lossy()), "which folder? {message}");
    assert!(server.is_running());
    Device::connect(&server, &Connect::new(Version::V311, "pump-07")).close();
    server.history_with_ends("pump-07", 1);
}

/// A stopped server's folder with the histories of `clients` pumps. One pump at a time, so that no write of the store
/// holds the events of many.
fn home_with_history(clients: usize) -> Home {
    let home = Home::new("");
    let mut server = home.start();
    for number in 0..clients {
        Device::connect(&server, &Connect::new(Version::V311, format!("pump-{number}"))).close();
        server.history_with_ends(&format!("pump-{number}"), 1);
    }
    assert_eq!(server.stop().code(), Some(0));
    home
}

/// How many of the pumps still have their whole history; none may have more than that.
fn whole_histories(server: &Server, clients: usize) -> usize {
    (0..clients)
        .filter(|number| {
            let history = server.history(&format!("pump-{number}"));
            assert!(history.items.len() <= 2, "{history:#?}");
            let reasons: Vec<_> = history.items.iter().map(|event| &*event.reason).collect();
            reasons == ["accepted", "client-closed"]
        })
        .count()
}

#[test]
fn a_flipped_byte_costs_little_and_is_said() {
    let home = home_with_history(100);
    let file = home.store_files().remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&file, bytes).unwrap();

    let mut server = home.start();
    let whole = whole_histories(&server, 100);
    assert!((90..100).contains(&whole), "{whole} of 100 histories are whole");
    let log = server.log();
    assert!(log.contains("WARN") && log.contains(&*file.to_string_lossy()), "not said: {log}");
    let gaps = server.history("pump-1").gaps;
    assert!(gaps.iter().any(|gap| gap.cause == "damaged"), "not in the answer: {gaps:#?}");

    // And it still takes new events, which survive.
    Device::connect(&server, &Connect::new(Version::V311, "late")).close();
    server.history_with_ends("late", 1).assert_every_connection_ended_once();
    assert_eq!(server.stop().code(), Some(0));
    home.start().history_with_ends("late", 1);
}

#[test]
fn a_torn_tail_costs_only_itself() {
    let home = home_with_history(50);
    let file = home.store_files().remove(0);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();

    let server = home.start();
    let whole = whole_histories(&server, 50);
    assert!(whole >= 49, "{whole} of 50 histories are whole");
    assert!(!server.log().trim().is_empty(), "not said");
    Device::connect(&server, &Connect::new(Version::V311, "late")).close();
    server.history_with_ends("late", 1).assert_every_connection_ended_once();
}
