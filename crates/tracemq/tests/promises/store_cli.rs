//! Promise: `tracemq store` looks into the files of the event store, also beside whoever has it open, tells all that is
//! wrong with them, and takes history out and in without losing anything.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Connect, Device, Home, PATIENCE, Server, Version, disconnect, finish_within, tracemq, wait_until,
};

pub(crate) const GAP: &str = r#"{"gap":{"from":1700000000100,"to":1700000000200,"lost":812,"cause":"queue-full"}}"#;

/// A line, as an export writes it.
pub(crate) fn line(number: u64) -> String {
    let time = 1_700_000_000_000 + number / 3 * 40;
    let (action, reason) =
        if number.is_multiple_of(2) { ("connect", "accepted") } else { ("close", "keep-alive-timeout") };
    let client = if number.is_multiple_of(9) { "null".into() } else { format!("\"pump-{:02} é\"", number % 23) };
    let traffic = match number % 4 {
        1 => {
            r#"{"bytes_in":18446744073709551615,"bytes_out":2,"packets_in":3,"packets_out":4,"last_in_age_ms":null,"last_out_age_ms":5}"#
        }
        3 => {
            r#"{"bytes_in":1,"bytes_out":0,"packets_in":0,"packets_out":0,"last_in_age_ms":0,"last_out_age_ms":null,"last_in_kind":"PINGREQ","last_out_kind":"PINGRESP","subscriptions":4,"in_flight":0,"missed_keep_alives":1}"#
        }
        _ => "null",
    };
    format!(
        r#"{{"time":{time},"instance":"mqtt-local","connection":"{:032x}","action":"{action}","reason":"{reason}","provenance":"observed","client":{client},"peer":"192.0.2.{}:4711","details":{{"listener":"mqtt","protocol":"3.1.1","username":null,"keep_alive_s":60,"clean_start":true,"session_present":null,"reason_code":0,"detail":"\"quoted\"","other_connection":null,"duration_ms":{number},"traffic":{traffic}}}}}"#,
        number / 2,
        number % 200,
    )
}

pub(crate) fn lines(numbers: std::ops::Range<u64>) -> String {
    let mut text: String = numbers.map(|number| line(number) + "\n").collect();
    text.push_str(GAP);
    text.push('\n');
    text
}

/// A folder with a data folder in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With `text` imported.
    pub(crate) fn of(text: &str) -> Self {
        let place = Self::new();
        let input = place.put("in.ndjson", text);
        let (code, _, stderr) = place.run(&["import", input.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{stderr}");
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = tracemq();
        command.current_dir(self.path()).arg("store").args(words).arg("--data-dir").arg(self.path().join("data"));
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = finish_within(PATIENCE, &mut self.command(words));
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    pub(crate) fn exported(&self) -> String {
        let (code, stdout, stderr) = self.run(&["export"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout
    }

    fn json(&self, words: &[&str]) -> (Option<i32>, Value) {
        let (code, stdout, stderr) = self.run(words);
        (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.path().join("data/events")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    /// The largest file of that kind.
    fn largest(&self, kind: &str) -> (PathBuf, Vec<u8>) {
        let files = self.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|found| found == kind));
        files.max_by_key(|(_, bytes)| bytes.len()).unwrap()
    }
}

/// An import that waits for more: it has the store open.
struct Holder(Child);

impl Holder {
    fn of(place: &Place, first: &str) -> Self {
        let mut child = place.command(&["import"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(first.as_bytes()).unwrap();
        let pid = child.id().to_string();
        let lock = place.path().join("data/events/lock");
        wait_until("lock", || match fs::read_to_string(&lock) {
            Ok(text) if text.trim() == pid => Ok(()),
            other => Err(other),
        });
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_exported_and_imported_is_exported_alike() {
    let place = Place::of(&lines(0..3_000));
    let first = place.exported();
    assert_eq!(first.lines().count(), 3_001);
    let mut sorted: Vec<&str> = first.lines().collect();
    sorted.sort_unstable();
    let expected = lines(0..3_000);
    let mut expected: Vec<&str> = expected.lines().collect();
    expected.sort_unstable();
    assert!(sorted == expected, "each line came back as it was");
    let times = first.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["time"].as_i64());
    assert!(times.is_sorted());
    assert!(Place::of(&first).exported() == first, "byte for byte");

    let (code, stdout, stderr) = place.run(&["export", "all.parquet"]);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.starts_with("3,000 events and 1 gap written to all.parquet"), "{stderr}");
    let other = Place::new();
    let (code, _, stderr) = other.run(&["import", place.path().join("all.parquet").to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(other.exported() == first, "byte for byte, by way of Parquet");
}

#[test]
fn files_of_an_export_are_whole_and_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::of(&lines(0..50));
    for name in ["out.ndjson", "out.parquet"] {
        place.put(name, "what was there before");
        let (code, _, stderr) = place.run(&["export", name]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("exists already") && stderr.contains("--force"), "{stderr}");
        assert!(fs::read(place.path().join(name)).unwrap().starts_with(b"what"), "as it was");
        let (code, _, stderr) = place.run(&["export", "--force", name]);
        assert_eq!(code, Some(0), "{stderr}");
        let path = place.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read(&path).unwrap().starts_with(b"what"));
    }
    let left = fs::read_dir(place.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(left.count(), 0);
    let (code, _, stderr) = place.run(&["export", "no/such/folder/x"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no/such/folder/x"), "{stderr}");
}

#[test]
fn an_export_can_be_of_one_client_and_of_some_time() {
    let place = Place::of(&lines(0..600));
    let (code, stdout, _) = place.run(&["export", "-i", "pump-05 é", "-i", "pump-07 é", "--instance", "mqtt-local"]);
    let wanted = |number: &u64| !number.is_multiple_of(9) && (number % 23 == 5 || number % 23 == 7);
    let expected = (0..600).filter(wanted).count() + 1;
    assert_eq!((code, stdout.lines().count()), (Some(0), expected));
    let (code, stdout, _) = place.run(&["export", "--from", "1700000001000", "--to", "1700000002000"]);
    let times = |number: &u64| (1_700_000_001_000..=1_700_000_002_000).contains(&(1_700_000_000_000 + number / 3 * 40));
    assert_eq!((code, stdout.lines().count()), (Some(0), (0..600).filter(times).count()));
    let (code, stdout, _) = place.run(&["export", "--instance", "other"]);
    assert_eq!((code, stdout.as_str()), (Some(0), format!("{GAP}\n").as_str()));
    // Offsets from UTC, and an evening that ends in the morning.
    let (code, stdout, _) =
        place.run(&["export", "--from", "2023-11-15T06:13:21+08:00", "--to", "2023-11-14T22:13:22Z"]);
    assert_eq!((code, stdout.lines().count()), (Some(0), (0..600).filter(times).count()));
    assert_eq!(place.run(&["export", "-S", "22:00", "-U", "06:00"]).0, Some(0));
    for words in [&["export", "--since", "soon"][..], &["export", "-S", "1h", "-U", "2h"], &["export", "-i", ""]] {
        assert_eq!(place.run(words).0, Some(2), "{words:?}");
    }
}

#[test]
fn a_sound_store_is_said_to_be_sound() {
    let place = Place::of(&lines(0..3_000));
    let before = place.files();
    let (code, stdout, stderr) = place.run(&["check"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.starts_with("sound: 3,000 events in "), "{stdout}");
    let (code, report) = place.json(&["check", "--json"]);
    assert_eq!((code, &report["damaged"], &report["findings"]), (Some(0), &json!(false), &json!([])));
    assert!(place.files() == before, "nothing is changed");
}

#[test]
fn a_flipped_byte_is_found_and_told_with_what_it_means() {
    let place = Place::of(&lines(0..3_000));
    let whole = place.exported();
    let (path, mut bytes) = place.largest("segment");
    bytes[100] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let (code, stdout, stderr) = place.run(&["check"]);
    assert_eq!(code, Some(1), "{stdout}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(stdout.contains(name) && stdout.contains("bytes 40 to "), "{stdout}");
    assert!(stdout.contains("events of mqtt-local between 2023-11-14 22:13:20Z and "), "{stdout}");
    assert!(stdout.contains("can't be read: up to ") && stdout.contains("\ndamaged: "), "{stdout}");
    assert!(stderr.contains("one part of the store is damaged"), "{stderr}");
    let (code, report) = place.json(&["check", "--json"]);
    assert_eq!((code, &report["damaged"]), (Some(1), &json!(true)));
    let finding = &report["findings"][0];
    assert_eq!((&finding["kind"], finding["path"].as_str()), (&json!("damage"), path.to_str()));
    let (offset, length) = (finding["offset"].as_u64().unwrap(), finding["length"].as_u64().unwrap());
    assert!((offset..offset + length).contains(&100));

    // All the rest can be exported, and the file says itself that something is missing.
    let (code, stdout, stderr) = place.run(&["export"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("incomplete: between ") && stderr.contains("lacks what can't be read"), "{stderr}");
    let gaps: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line.get("gap").is_some())
        .collect();
    let lost: u64 = gaps
        .iter()
        .filter(|gap| gap["gap"]["cause"] == "damaged")
        .map(|gap| gap["gap"]["lost"].as_u64().unwrap())
        .sum();
    let events: Vec<&str> = stdout.lines().filter(|line| !line.starts_with("{\"gap\"")).collect();
    assert_eq!(events.len() as u64 + lost, 3_000);
    assert!(lost > 0 && events.iter().all(|event| whole.contains(event)));
    assert_eq!(finding["lost"]["events_at_most"].as_u64(), Some(lost));
}

#[test]
fn a_damaged_manifest_and_files_of_others_are_named() {
    let place = Place::of(&lines(0..200));
    place.put("data/events/notes\u{1b}[31m.txt", "mine");
    let (code, stdout, _) = place.run(&["check"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("not ours: ") && stdout.contains("notes") && !stdout.contains('\u{1b}'), "{stdout}");
    let manifest = place.path().join("data/events/manifest");
    let mut text = fs::read_to_string(&manifest).unwrap();
    text.pop();
    fs::write(&manifest, text).unwrap();
    let (code, stdout, _) = place.run(&["check"]);
    assert_eq!(code, Some(1));
    assert!(
        stdout.contains("events/manifest, bytes 0 to ") && stdout.contains("can't be opened without it"),
        "{stdout}"
    );
    let (code, _, stderr) = place.run(&["export"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("manifest is damaged") && stderr.contains("tracemq store check"), "{stderr}");
}

#[test]
fn where_there_is_no_store_that_is_said() {
    let place = Place::new();
    for words in [&["check"][..], &["stats"], &["export"]] {
        let (code, stdout, stderr) = place.run(words);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words:?}");
        assert!(stderr.contains("there is no event store in it") && stderr.contains("--data-dir"), "{stderr}");
    }
    assert_eq!(place.run(&["import", "nothing.ndjson"]).0, Some(1));
    assert!(!place.path().join("data").exists(), "nothing is made");
}

#[test]
fn beside_whoever_has_the_store_open_it_can_be_looked_at_and_not_written_to() {
    let place = Place::of(&lines(0..1_000));
    let whole = place.exported();
    let holder = Holder::of(&place, "");
    assert_eq!(place.exported(), whole);
    assert_eq!(place.json(&["check", "--json"]).1["damaged"], json!(false));
    assert_eq!(place.json(&["stats", "--json"]).1["events"], json!(1_000));
    let (code, _, stderr) = place.run(&["import"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("in use by process {}", holder.0.id())), "{stderr}");
}

/// What `tracemq history` prints of the client.
fn history(server: &Server, client: &str) -> String {
    let mut command = tracemq();
    command.args(["history", client, "-o", "jsonl", "--data-dir"]).arg(&server.data);
    let output = finish_within(PATIENCE, &mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_server_on_an_imported_store_tells_the_same_history() {
    let home = Home::new("");
    let mut server = home.start();
    for times in 1..=3 {
        let mut device = Device::connect(&server, &Connect::new(Version::V5, "pump 07"));
        device.send(&disconnect(Version::V5, 0));
        device.receive_until_closed();
        server.history_with_ends("pump 07", times);
    }
    let store = |home: &Home, words: &[&str]| {
        let mut command = tracemq();
        command.arg("store").args(words).arg("-D").arg(home.data_dir());
        let output = finish_within(PATIENCE, &mut command);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Beside the running server.
    let exported = store(&home, &["export"]);
    assert_eq!(exported.lines().count(), 6, "{exported}");
    let report: Value = serde_json::from_str(&store(&home, &["check", "--json"])).unwrap();
    assert_eq!(report["damaged"], json!(false));
    store(&home, &["stats"]);

    let before = history(&server, "pump 07");
    assert!(server.stop().success());
    assert_eq!(store(&home, &["export"]), exported);
    let other = Home::new("");
    let file = other.path().join("all.ndjson");
    fs::write(&file, &exported).unwrap();
    store(&other, &["import", file.to_str().unwrap()]);
    assert_eq!(history(&other.start(), "pump 07"), before);
}

#[test]
fn a_bad_line_is_told_with_number_and_field() {
    let bad = line(7).replace("\"reason_code\":0", "\"reason_code\":999");
    let text = format!("{}\n{bad}\n\n{}\nnot json\n{}\n", line(1), line(3), line(5));
    let place = Place::new();
    let input = place.put("in.ndjson", &text);
    let input = input.to_str().unwrap();
    let (code, _, stderr) = place.run(&["import", input]);
    assert_eq!(code, Some(1));
    let said = format!("tracemq: {input}, line 2: details.reason_code: invalid value: integer `999`, expected u8\n");
    assert!(stderr.starts_with(&said), "{stderr}");
    assert!(
        stderr.contains("--keep-going; 1 event and 0 gaps imported before that; the same command goes on"),
        "{stderr}"
    );
    assert_eq!(place.exported(), line(1) + "\n");

    let place = Place::new();
    let (code, _, stderr) = place.run(&["import", "--keep-going", input]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&format!("left out: {input}, line 2: details.reason_code")) && stderr.contains(", line 5: "),
        "{stderr}"
    );
    assert!(
        stderr.contains("3 events and 0 gaps imported") && stderr.contains(&format!("2 records of {input} left out")),
        "{stderr}"
    );
    assert_eq!(place.exported().lines().count(), 3);
}

#[test]
fn figures_say_what_takes_room() {
    let place = Place::of(&lines(0..3_000));
    let (code, stdout, stderr) = place.run(&["stats"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for words in [
        "3,000 events in ",
        "bytes an event",
        "as lines of JSON, uncompressed",
        "1 gap on record",
        "\ncolumn ",
        "\nmqtt-local ",
        ".segment ",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let (_, figures) = place.json(&["stats", "--json"]);
    assert_eq!((&figures["events"], &figures["gaps"]), (&json!(3_000), &json!(1)));
    let on_disk: usize = place.files().iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(figures["bytes"].as_u64().unwrap() <= on_disk as u64);
}

#[test]
fn a_reader_that_has_seen_enough_ends_an_export() {
    let place = Place::of(&lines(0..3_000));
    let mut command = std::process::Command::new("sh");
    let data = place.path().join("data");
    command.arg("-c").arg("\"$0\" store export -D \"$1\" | head -n 2").arg(env!("CARGO_BIN_EXE_tracemq")).arg(&data);
    let output = finish_within(PATIENCE, &mut command);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn help_fits_on_80_columns() {
    for words in [
        &["store", "--help"][..],
        &["store", "check", "--help"],
        &["store", "export", "--help"],
        &["store", "import", "--help"],
        &["store", "repair", "--help"],
    ] {
        let output = finish_within(PATIENCE, tracemq().args(words).env("COLUMNS", "80"));
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}
