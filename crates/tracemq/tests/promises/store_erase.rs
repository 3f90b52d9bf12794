//! Promise: one command takes the history of a client away, out of the files too, says first what it would do, and when it says
//! that nothing is left, nothing is.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tracemq_model::{ClientId, Filter, InstanceId, Order, TimeMs, TimeRange};
use tracemq_segments::{SegmentSettings, Segments};
use tracemq_store::{Batch, EventStore};

use crate::harness::{Connect, Device, Home, Server, Version, disconnect, finish_within, signal, wait_until};
use crate::store_cli::Place;

const NAME: &str = "conspicuous-valve";

/// Every tenth event is of the one to be erased, every tenth of connections that named no client.
fn line(number: u64, instance: &str) -> String {
    let client = match number % 10 {
        0 => format!("\"{NAME}\""),
        1 => "null".into(),
        other => format!("\"pump-{other:02}\""),
    };
    let (action, reason) = if number.is_multiple_of(20) { ("connect", "accepted") } else { ("close", "client-closed") };
    format!(
        r#"{{"time":{},"instance":"{instance}","connection":"{number:032x}","action":"{action}","reason":"{reason}","provenance":"observed","client":{client},"peer":"192.0.2.7:4711","details":{{"listener":null,"protocol":null,"username":null,"keep_alive_s":null,"clean_start":null,"session_present":null,"reason_code":null,"detail":null,"other_connection":null,"duration_ms":null,"traffic":null}}}}"#,
        1_700_000_000_000 + number,
    )
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| line(number, "mqtt-local") + "\n").collect()
}

fn events_dir(place: &Place) -> PathBuf {
    place.path().join("data/events")
}

/// The files in which the name stands.
fn holders(place: &Place) -> BTreeSet<PathBuf> {
    let paths = fs::read_dir(events_dir(place)).unwrap().map(|entry| entry.unwrap().path());
    let holds = |path: &PathBuf| fs::read(path).unwrap().windows(NAME.len()).any(|window| window == NAME.as_bytes());
    paths.filter(holds).collect()
}

fn contents(place: &Place) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(events_dir(place)).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn without(exported: &str, word: &str) -> Vec<String> {
    exported.lines().filter(|line| !line.contains(word)).map(str::to_owned).collect()
}

#[test]
fn what_would_be_erased_is_said_and_nothing_is_changed() {
    let place = Place::of(&lines(0..2_000));
    let before = contents(&place);
    let (code, stdout, stderr) = place.run(&["erase", NAME, "--address", "::ffff:192.0.2.7", NAME]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let mut told = stdout.lines();
    assert_eq!(told.next(), Some("conspicuous-valve: 200 events from 2023-11-14 22:13:20Z to 2023-11-14 22:13:21Z"));
    assert!(told.next().unwrap().starts_with("connections from 192.0.2.7 that named no client: 200 events from "));
    assert!(told.next().unwrap().starts_with("would be erased: 400 events of 1 client and 1 address, about "));
    assert!(stderr.starts_with("tracemq: nothing was changed yet\n  to do it: "), "{stderr}");
    assert!(stderr.contains(" store erase --yes conspicuous-valve --address ::ffff:192.0.2.7 "), "{stderr}");
    let (code, stdout, _) = place.run(&["erase", NAME, "nobody", "--json"]);
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!((&told["done"], &told["events"], &told["left"]), (&json!(false), &json!(200), &json!([])));
    assert_eq!(told["not_found"], json!([{"client": "nobody"}]));
    assert_eq!(
        told["subjects"][0],
        json!({"client": NAME, "instance": "mqtt-local", "events": 200, "from": 1_700_000_000_000_u64,
            "to": 1_700_000_001_990_u64, "erased_before": false})
    );
    assert!(told["bytes_estimate"].as_u64().unwrap() > 0);
    assert!(contents(&place) == before);
}

#[test]
fn what_is_erased_is_in_no_file_and_the_rest_is_all_there() {
    let place = Place::of(&lines(0..30_000));
    let before = place.exported();
    assert!(!holders(&place).is_empty());
    let (code, stdout, stderr) = place.run(&["erase", "--yes", NAME]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("conspicuous-valve: 3,000 events from "), "{stdout}");
    assert!(
        stderr.starts_with("erased 3,000 events of 1 client; nothing of them is left in the files of "),
        "{stderr}"
    );
    assert_eq!(holders(&place), BTreeSet::new());
    assert_eq!(place.exported().lines().collect::<Vec<_>>(), without(&before, NAME));
    assert_eq!(place.run(&["check"]).0, Some(0));

    // Names from a file, and connections that never named a client.
    let names = place.put("names", "pump-02\r\n\npump-03\npump-02\n");
    let words = ["erase", "-y", "--json", "--file", names.to_str().unwrap(), "--address", "192.0.2.7"];
    let (code, stdout, stderr) = place.run(&words);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&told["done"], &told["events"]), (&json!(true), &json!(9_000)));
    let mut rest = without(&before, NAME);
    for word in ["pump-02", "pump-03", "\"client\":null"] {
        rest.retain(|line| !line.contains(word));
    }
    assert_eq!(rest.len(), 18_000);
    assert_eq!(place.exported().lines().collect::<Vec<_>>(), rest);
    // What comes later is kept.
    place.put("more.ndjson", &lines(0..10));
    assert_eq!(place.run(&["import", "more.ndjson"]).0, Some(0));
    assert_eq!(place.exported().lines().count(), 18_000 + 4);
}

/// It does not know how long the server keeps what, and so which files should stay apart.
#[test]
fn files_that_hold_nothing_of_them_stay_as_they_are() {
    let place = Place::of(&lines(0..100));
    let open = || {
        let settings = SegmentSettings { merge_segments: usize::MAX, ..SegmentSettings::default() };
        Segments::open(&events_dir(&place), settings).unwrap().0
    };
    let store = open();
    let all = Filter::all(InstanceId::new("mqtt-local").unwrap(), TimeRange::ALL);
    let mut batch = Batch::default();
    store
        .scan(&all, Order::OldestFirst, &mut |event| {
            batch.events.extend((event.client.as_ref().map(ClientId::as_str) != Some(NAME)).then(|| event.clone()));
            ControlFlow::Continue(())
        })
        .unwrap();
    for day in 0..30 {
        for event in &mut batch.events {
            event.time = TimeMs(1_700_000_000_000 + day * 86_400_000);
        }
        store.append(&batch).unwrap();
        store.settle(&mut |_| {}).unwrap();
    }
    drop(store);
    let segments = || {
        let all = contents(&place).into_iter();
        all.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "segment")).collect::<BTreeSet<_>>()
    };
    let (before, holders) = (segments(), holders(&place));
    assert!(before.len() >= 30);
    let (code, stdout, stderr) = place.run(&["erase", "--yes", NAME]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let after = segments();
    let rest: BTreeSet<_> = before.into_iter().filter(|(path, _)| !holders.contains(path)).collect();
    assert!(after.is_superset(&rest) && rest.len() >= 29, "{} of {}", after.len(), rest.len());
}

#[test]
fn an_erasure_that_was_killed_is_finished_by_the_same_command() {
    let whole = Place::of(&lines(0..40_000));
    let rest = without(&whole.exported(), NAME);
    let listing = |place: &Place| -> (BTreeSet<PathBuf>, Option<Vec<u8>>) {
        let names = fs::read_dir(events_dir(place)).unwrap().map(|entry| entry.unwrap().path()).collect();
        (names, fs::read(events_dir(place).join("manifest")).ok())
    };
    for kill_at in 0..8 {
        let place = Place::new();
        fs::create_dir_all(events_dir(&place)).unwrap();
        for (path, content) in contents(&whole) {
            fs::write(events_dir(&place).join(path.file_name().unwrap()), content).unwrap();
        }
        let mut child =
            place.command(&["erase", "--yes", NAME]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let lock = events_dir(&place).join("lock");
        let pid = child.id().to_string();
        // So many files came or went.
        let (mut changes, mut last) = (0, listing(&place));
        let mut is_locked = false;
        while child.try_wait().unwrap().is_none() && (!is_locked || changes < kill_at) {
            is_locked |= fs::read_to_string(&lock).is_ok_and(|text| text.trim() == pid);
            let now = listing(&place);
            changes += u32::from(now != last);
            last = now;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (code, stdout, stderr) = place.run(&["erase", "--yes", NAME]);
        // The other one may have come to its end.
        let is_known = !stderr.contains("nothing is on record of conspicuous-valve");
        assert_eq!(code, Some(if is_known { 0 } else { 1 }), "{kill_at}: {stdout}{stderr}");
        assert_eq!(holders(&place), BTreeSet::new(), "{kill_at}");
        assert_eq!(place.exported().lines().collect::<Vec<_>>(), rest, "{kill_at}");
    }
}

fn end_of(mut child: Child) -> Option<i32> {
    wait_until("end of the process", || child.try_wait().unwrap().ok_or("still running")).code()
}

#[test]
fn whoever_stops_an_erasure_finds_it_hidden_or_untouched() {
    for name in ["INT", "TERM"] {
        let place = Place::of(&lines(0..20_000));
        let all = place.exported();
        let child =
            place.command(&["erase", "--yes", NAME]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        signal(name, child.id());
        let code = end_of(child);
        // Before it listens for signals it ends as every process does, and it may be done before the signal comes.
        assert!([None, Some(0), Some(130), Some(143)].contains(&code), "{code:?}");
        let left: Vec<String> = place.exported().lines().map(str::to_owned).collect();
        assert!(left == without(&all, NAME) || left == without(&all, "nothing"), "{}", left.len());
    }
}

fn home_with_a_device() -> (Home, Server) {
    let home = Home::new("");
    let server = home.start();
    let mut device = Device::connect(&server, &Connect::new(Version::V5, NAME));
    device.send(&disconnect(Version::V5, 0));
    device.receive_until_closed();
    server.history_with_ends(NAME, 1);
    (home, server)
}

fn erase(home: &Home, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = crate::harness::tracemq();
    command.args(["store", "erase"]).args(words).arg("-D").arg(home.data_dir()).stdin(Stdio::null());
    let output = finish_within(crate::harness::PATIENCE, &mut command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn beside_a_server_it_only_says_what_would_be_erased_and_names_the_process() {
    let (home, mut server) = home_with_a_device();
    let (code, stdout, _) = erase(&home, &[NAME]);
    assert!(code == Some(1) && stdout.starts_with("conspicuous-valve: 2 events from "), "{stdout}");
    let (code, _, stderr) = erase(&home, &[NAME, "--yes"]);
    let pid = fs::read_to_string(home.data_dir().join("events/lock")).unwrap();
    assert_eq!(code, Some(2));
    assert!(stderr.contains(&format!("in use by process {}", pid.trim())), "{stderr}");
    assert_eq!(server.history(NAME).items.len(), 2);

    // What is only in the log goes as well, and a server goes on with the rest.
    assert!(server.stop().success());
    let (code, _, stderr) = erase(&home, &[NAME, "--yes"]);
    assert_eq!(code, Some(0), "{stderr}");
    let mut server = home.start();
    assert_eq!(server.history(NAME).items.len(), 0);
    let mut device = Device::connect(&server, &Connect::new(Version::V5, NAME));
    device.send(&disconnect(Version::V5, 0));
    device.receive_until_closed();
    server.history_with_ends(NAME, 1);
    assert!(server.stop().success());
}

#[test]
fn a_client_that_is_not_on_record_is_told_and_the_others_are_erased() {
    let place = Place::of(&lines(0..500));
    let before = contents(&place);
    let (code, stdout, stderr) = place.run(&["erase", "Conspicuous-valve"]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with("Conspicuous-valve: nothing on record\n"), "{stdout}");
    assert!(
        stderr.starts_with("tracemq: nothing is on record of Conspicuous-valve\n  names have to be exact"),
        "{stderr}"
    );
    assert!(contents(&place) == before);
    let (code, _, stderr) = place.run(&["erase", "--yes", "Conspicuous-valve", NAME]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("erased 50 events of 1 client; nothing of them is left"), "{stderr}");
    assert!(stderr.contains("nothing is on record of Conspicuous-valve\n"), "{stderr}");
    assert_eq!(holders(&place), BTreeSet::new());
}

#[test]
fn of_several_instances_one_has_to_be_named() {
    let text: String = (0..100).flat_map(|number| ["a", "b"].map(|instance| line(number, instance) + "\n")).collect();
    let place = Place::of(&text);
    let before = place.exported();
    let (code, _, stderr) = place.run(&["erase", "--yes", NAME]);
    assert_eq!(code, Some(2));
    assert!(stderr.starts_with("tracemq: the store has more than one instance: a, b\n"), "{stderr}");
    assert!(stderr.contains("--instance"), "{stderr}");
    assert!(place.exported() == before);
    let (code, _, stderr) = place.run(&["erase", "--yes", "--instance", "c", NAME]);
    assert!(code == Some(1) && stderr.contains("nothing is on record in c of conspicuous-valve"), "{stderr}");
    assert_eq!(place.run(&["erase", "--yes", "--instance", "b", NAME]).0, Some(0));
    let of_b = format!("\"instance\":\"b\",\"connection\":\"{:032x}\"", 0);
    assert!(before.contains(&of_b) && !place.exported().contains(&of_b));
    assert_eq!(place.exported().matches(NAME).count(), 10);
}

#[test]
fn a_file_that_may_still_hold_it_is_named() {
    let place = Place::of(&lines(0..2_000));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "segment");
    let segment = holders(&place).into_iter().find(is_segment).unwrap();
    let aside = events_dir(&place).join("0000000999.segment.aside");
    fs::copy(&segment, &aside).unwrap();
    let (code, stdout, stderr) = place.run(&["erase", "--yes", NAME]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(
        stdout.contains("may still hold something of them: ") && stdout.contains("0000000999.segment.aside"),
        "{stdout}"
    );
    assert!(stderr.contains("1 file may still hold something of them"), "{stderr}");
    assert_eq!(holders(&place), BTreeSet::from([aside.clone()]));
    fs::remove_file(aside).unwrap();
    assert_eq!(place.exported().matches(NAME).count(), 0);
}

#[test]
fn what_can_not_be_meant_is_refused() {
    let place = Place::of(&lines(0..100));
    for (words, expected) in [
        (&["erase", "--yes"][..], "whose history?"),
        (&["erase", "--yes", ""], "a client identifier: "),
        (&["erase", "--yes", "--address", "pump"], "invalid value 'pump'"),
    ] {
        let (code, _, stderr) = place.run(words);
        assert!(code == Some(2) && stderr.contains(expected), "{words:?}: {stderr}");
    }
    let none = Place::new();
    let (code, _, stderr) = none.run(&["erase", "--yes", NAME]);
    assert!(code == Some(2) && stderr.contains("give the data folder of a server"), "{stderr}");
    assert!(!none.path().join("data").exists());
}
