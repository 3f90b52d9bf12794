//! Promise: a store whose list of files is lost is made whole again by one command, which says first what it would do and
//! deletes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Connect, Device, Home, PATIENCE, Version, disconnect, finish_within, tracemq, wait_until};

fn store(home: &Home, words: &[&str]) -> (Option<i32>, String, String) {
    let output = finish_within(PATIENCE, tracemq().arg("store").args(words).arg("-D").arg(home.data_dir()));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn events(home: &Home, name: &str) -> PathBuf {
    home.data_dir().join("events").join(name)
}

fn contents(home: &Home) -> BTreeSet<Vec<u8>> {
    let entries = fs::read_dir(events(home, "")).unwrap().map(|entry| entry.unwrap().path());
    let is_content = |path: &PathBuf| !path.ends_with("lock") && !path.ends_with("alive");
    entries.filter(is_content).map(|path| fs::read(path).unwrap()).collect()
}

fn line(number: u64, instance: &str, time: u64) -> String {
    format!(
        r#"{{"time":{time},"instance":"{instance}","connection":"{number:032x}","action":"close","reason":"keep-alive-timeout","provenance":"observed","client":"pump-{:02}","peer":null,"details":{{"listener":null,"protocol":null,"username":null,"keep_alive_s":null,"clean_start":null,"session_present":null,"reason_code":null,"detail":null,"other_connection":null,"duration_ms":null,"traffic":null}}}}"#,
        number % 17
    )
}

/// With so many events imported, which stand in segments.
fn imported(events: u64) -> Home {
    let home = Home::new("");
    let text: String =
        (0..events).map(|number| line(number, "mqtt-local", 1_700_000_000_000 + number) + "\n").collect();
    let file = home.path().join("in.ndjson");
    fs::write(&file, text).unwrap();
    assert_eq!(store(&home, &["import", file.to_str().unwrap()]).0, Some(0));
    home
}

/// Without the gaps, which a repair may add.
fn exported_events(home: &Home) -> Vec<String> {
    let (_, stdout, stderr) = store(home, &["export"]);
    assert!(!stdout.is_empty(), "{stderr}");
    stdout.lines().filter(|line| !line.starts_with("{\"gap\"")).map(str::to_owned).collect()
}

#[test]
fn history_is_all_there_after_the_manifests_were_lost_and_made_anew() {
    for is_damaged in [false, true] {
        let home = imported(3_000);
        let mut server = home.start();
        for times in 1..=3 {
            let mut device = Device::connect(&server, &Connect::new(Version::V5, "valve"));
            device.send(&disconnect(Version::V5, 0));
            device.receive_until_closed();
            server.history_with_ends("valve", times);
        }
        assert!(server.stop().success());
        let before = exported_events(&home);
        assert_eq!(before.len(), 3_006);
        for name in ["manifest", "manifest.old"] {
            if is_damaged {
                let mut bytes = fs::read(events(&home, name)).unwrap();
                bytes.truncate(bytes.len() / 2);
                fs::write(events(&home, name), bytes).unwrap();
            } else {
                fs::remove_file(events(&home, name)).unwrap();
            }
        }

        let (code, told) = home.refused_start();
        assert!(code != Some(0) && told.contains("tracemq store repair"), "{told}");
        let left = contents(&home);
        let (code, stdout, stderr) = store(&home, &["repair"]);
        assert_eq!(code, Some(1), "{stdout}{stderr}");
        assert!(
            stdout.contains("a new one would name 1 segment with 3,000 events; behind them 1 file of the log with 6"),
            "{stdout}"
        );
        assert!(stdout.contains("erasures are not known"), "{stdout}");
        assert!(stderr.contains("nothing was changed yet") && stderr.contains("--yes"), "{stderr}");
        let (code, looked, stderr) = store(&home, &["repair", "--json"]);
        assert!(code == Some(1) && stderr.contains("nothing was changed yet"), "{stderr}");
        let looked: Value = serde_json::from_str(&looked).unwrap();
        assert_eq!(
            (&looked["segment_events"], &looked["log_events"], &looked["done"]),
            (&3_000.into(), &6.into(), &false.into())
        );
        assert!(contents(&home) == left, "nothing was changed");
        let (code, stdout, stderr) = store(&home, &["repair", "--yes"]);
        assert_eq!((code, stderr.as_str()), (Some(0), "repaired; the server can be started\n"), "{stdout}");
        assert!(contents(&home).is_superset(&left), "nothing was deleted");
        let (code, stdout, _) = store(&home, &["repair"]);
        assert!(code == Some(0) && stdout.starts_with("nothing to repair"), "{stdout}");
        let (code, stdout, _) = store(&home, &["repair", "--yes", "--json"]);
        let object: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &object["damage"], &object["done"]), (Some(0), &Value::Null, &false.into()));
        assert_eq!(store(&home, &["check"]).0, Some(0));

        let mut server = home.start();
        assert_eq!(server.history("valve").items.len(), 6);
        assert!(server.stop().success());
        assert_eq!(exported_events(&home), before);
    }
}

#[test]
fn a_folder_with_segments_and_no_manifest_names_the_command_whatever_is_asked_of_it() {
    let home = imported(200);
    for name in ["manifest", "manifest.old"] {
        fs::remove_file(events(&home, name)).unwrap();
    }
    let left = contents(&home);
    let input = home.path().join("in.ndjson");
    for words in [&["check"][..], &["stats"], &["export"], &["import", input.to_str().unwrap()]] {
        let (code, stdout, stderr) = store(&home, words);
        assert_ne!(code, Some(0), "{words:?}");
        let told = format!("{stdout}{stderr}");
        assert!(told.contains("manifest") && told.contains("tracemq store repair"), "{words:?}: {told}");
    }
    assert!(contents(&home) == left, "and nothing is changed");
}

#[test]
fn beside_a_process_that_has_the_store_open_nothing_is_repaired() {
    let home = imported(200);
    let mut server = home.start();
    fs::remove_file(events(&home, "manifest")).unwrap();
    let (code, _, stderr) = store(&home, &["repair", "--yes"]);
    let pid = fs::read_to_string(events(&home, "lock")).unwrap();
    assert_eq!(code, Some(2));
    assert!(stderr.contains(&format!("in use by process {}", pid.trim())), "{stderr}");
    assert!(!events(&home, "manifest").exists());
    server.kill();
}

#[test]
fn where_there_is_no_store_nothing_is_made() {
    let home = Home::new("");
    let (code, _, stderr) = store(&home, &["repair", "--yes"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there is no event store in it"), "{stderr}");
    assert!(!home.data_dir().join("events").exists());
}

#[test]
fn figures_of_a_damaged_store_say_that_it_is() {
    let home = imported(3_000);
    let dir = home.data_dir();
    let figures = |words: &[&str]| {
        // The folder as people type it.
        let output = finish_within(PATIENCE, tracemq().arg("store").args(words).arg(&dir).stdin(Stdio::null()));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let is_damaged = || serde_json::from_str::<Value>(&figures(&["stats", "--json"])).unwrap()["damaged"].clone();
    assert_eq!(is_damaged(), Value::Bool(false));
    assert!(!figures(&["stats"]).contains("damaged"));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "segment");
    let mut names = fs::read_dir(events(&home, "")).unwrap().map(|entry| entry.unwrap().path());
    fs::write(names.find(is_segment).unwrap(), "not a segment").unwrap();
    assert_eq!(is_damaged(), Value::Bool(true));
    let told = figures(&["stats"]);
    assert!(told.contains("1 part of the store is damaged") && told.contains("tracemq store check"), "{told}");
    assert!(told.contains("0 events in 0 segments, ") && !told.contains("(- "), "{told}");
    let output = finish_within(PATIENCE, tracemq().args(["store", "check"]).arg(&dir));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("up to 3,000 events"), "{told}");
}

#[test]
fn an_instance_keeps_as_long_as_it_is_told_to() {
    let home = Home::new("[store]\nkeep_days = 30000\n[[store.instance]]\nid = 'mqtt-short'\nkeep_days = 30\n");
    let text: String = (0..100)
        .map(|number| {
            let instance = if number % 2 == 0 { "mqtt-short" } else { "mqtt-local" };
            line(number, instance, 1_700_000_000_000 + number) + "\n"
        })
        .collect();
    let file = home.path().join("in.ndjson");
    fs::write(&file, text).unwrap();
    assert_eq!(store(&home, &["import", file.to_str().unwrap()]).0, Some(0));
    let kept = |instance: &str| {
        let (_, stdout, _) = store(&home, &["export", "--instance", instance]);
        stdout.lines().filter(|line| !line.starts_with("{\"gap\"")).count()
    };
    assert_eq!((kept("mqtt-short"), kept("mqtt-local")), (50, 50));
    let _server = home.start();
    wait_until("retention", || match kept("mqtt-short") {
        0 => Ok(()),
        left => Err(left),
    });
    assert_eq!(kept("mqtt-local"), 50);
}
