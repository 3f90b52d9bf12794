//! Promise: history can be moved without thinking twice: nothing is doubled, nothing half-done is left behind, and whoever
//! stops it or gives it the wrong thing is told what to do.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{
    Connect, Device, Home, PATIENCE, Version, disconnect, finish_within, signal, tracemq, wait_until,
};
use crate::store_cli::{GAP, Place, line, lines};

#[test]
fn what_is_imported_twice_is_there_once() {
    let place = Place::of(&lines(0..9_000));
    let whole = place.exported();
    let (code, _, stderr) = place.run(&["import", "in.ndjson"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("0 events and 0 gaps imported; 9,000 events and 1 gap were there already"), "{stderr}");
    assert!(place.exported() == whole);

    // Another file with some of the same, none of it in order; and the same twice in one file.
    let mut more: Vec<String> = (8_900..9_100).map(line).chain((0..50).map(line)).collect();
    more.reverse();
    place.put("more.ndjson", &(more.join("\n") + "\n" + &more.join("\n") + "\n" + GAP));
    let (code, _, stderr) = place.run(&["import", "more.ndjson"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("100 events and 0 gaps imported; 400 events and 1 gap were there already"), "{stderr}");
    assert!(place.exported() == Place::of(&lines(0..9_100)).exported());

    let (code, _, stderr) = place.run(&["import", "--again", "more.ndjson"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.starts_with("500 events and 1 gap imported\n"), "{stderr}");
    assert_eq!(place.exported().lines().count(), 9_100 + 500 + 2);
}

#[test]
fn rows_that_differ_only_in_their_details_are_two_events_however_often_they_are_imported() {
    let changed = |number: u64| line(number).replace("\"keep_alive_s\":60", "\"keep_alive_s\":61");
    let text: String = (0..60).flat_map(|number| [line(number), changed(number)].map(|line| line + "\n")).collect();
    let place = Place::of(&text);
    let whole = place.exported();
    assert_eq!((whole.lines().count(), whole.matches("\"keep_alive_s\":61").count()), (120, 60));
    assert_eq!(place.run(&["export", "all.parquet"]).0, Some(0));
    for file in ["in.ndjson", "all.parquet"] {
        let (code, _, stderr) = place.run(&["import", file]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("0 events and 0 gaps imported; 120 events and 0 gaps were there already"), "{stderr}");
    }
    assert!(place.exported() == whole);
}

/// Waits for the end of `child`, and gives its exit status and what it said.
fn end_of(mut child: Child) -> (Option<i32>, String) {
    let status = wait_until("end of the process", || child.try_wait().unwrap().ok_or("still running"));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}

#[test]
fn an_import_that_was_stopped_goes_on_where_it_ended() {
    let place = Place::new();
    let all = lines(0..12_000);
    for (name, status) in [("INT", 130), ("TERM", 143)] {
        let mut child = place
            .command(&["import"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // More than a batch, and then nothing more comes.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines(0..5_000).as_bytes()).unwrap();
        let log = place.path().join("data/events/lock");
        wait_until("store", || if log.exists() { Ok(()) } else { Err("none yet") });
        signal(name, child.id());
        let (code, said) = end_of(child);
        assert_eq!(code, Some(status), "{said}");
        assert!(said.starts_with("tracemq: stopped by a signal within standard input\n"), "{said}");
        assert!(said.contains(" imported") && said.contains("the same command goes on from there"), "{said}");
        drop(stdin);
    }
    let before = place.exported().lines().filter(|line| *line != GAP).count();
    assert!((4_096..=5_000).contains(&before), "{before}");
    place.put("all.ndjson", &all);
    let (code, _, stderr) = place.run(&["import", "all.ndjson"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(place.exported() == Place::of(&all).exported());
}

#[test]
fn an_export_that_was_stopped_leaves_nothing() {
    let place = Place::of(&lines(0..60_000));
    let parts = || -> Vec<PathBuf> {
        let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.to_string_lossy().contains("out.ndjson")).collect()
    };
    for (name, status) in [("INT", 130), ("TERM", 143)] {
        let (code, said) = wait_until("export that is stopped before its end", || {
            let child = place.command(&["export", "out.ndjson"]).stderr(Stdio::piped()).spawn().unwrap();
            while parts().is_empty() {
                thread::yield_now();
            }
            // On a busy machine the export may be done before the signal comes.
            let _ = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status();
            match end_of(child) {
                (Some(0), _) => Err(fs::remove_file(place.path().join("out.ndjson"))),
                ended => Ok(ended),
            }
        });
        assert_eq!((code, parts()), (Some(status), Vec::new()), "{said}");
        assert!(said.contains("stopped by a signal; nothing of the export is left"), "{said}");
    }
}

#[test]
fn what_a_file_is_is_seen_from_what_is_in_it() {
    let source = Place::of(&lines(0..100));
    assert_eq!(source.run(&["export", "all.parquet"]).0, Some(0));
    let table = fs::read(source.path().join("all.parquet")).unwrap();
    let import = |name: &str, content: &[u8], words: &[&str]| {
        let place = Place::new();
        fs::write(place.path().join(name), content).unwrap();
        let (code, _, stderr) = place.run(&[&["import", name][..], words].concat());
        let is_made = place.path().join("data").exists();
        (code, stderr, is_made)
    };
    for (name, content) in [("a.ndjson", &table[..]), ("b.parquet", lines(0..100).as_bytes())] {
        let (code, said, _) = import(name, content, &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.starts_with("100 events and 1 gap imported\n"), "{said}");
    }
    for (content, format, expected) in [
        (&table[..], "ndjson", "x is a Parquet file, not NDJSON\n  leave out --format"),
        (lines(0..1).as_bytes(), "parquet", "x is NDJSON, not a Parquet file\n  leave out --format"),
        (&table[..50], "parquet", "x: not a Parquet file, or not a whole one"),
    ] {
        let (code, said, is_made) = import("x", content, &["--format", format]);
        assert!(code == Some(if expected.contains("--format") { 2 } else { 1 }) && !is_made, "{code:?}: {said}");
        assert!(said.starts_with(&format!("tracemq: {expected}")), "{said}");
    }
    let (code, said, is_made) = import("empty.ndjson", b"", &[]);
    assert_eq!(
        (code, said.as_str(), is_made),
        (Some(0), "empty.ndjson holds no events: nothing was imported\n", false)
    );
    let place = Place::new();
    let (code, _, said) = place.run(&["import", "."]);
    assert_eq!(code, Some(2));
    assert!(said.contains("tracemq: . is a folder\n") && !place.path().join("data").exists(), "{said}");
    // By a pipe as well.
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg("cat \"$1\" | \"$0\" store import -D \"$2\"").arg(env!("CARGO_BIN_EXE_tracemq"));
    command.arg(source.path().join("all.parquet")).arg(place.path().join("data"));
    let output = finish_within(PATIENCE, &mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(place.exported() == source.exported());
}

#[test]
fn an_import_that_fails_leaves_no_folder() {
    for words in [&["import", "bad.ndjson"][..], &["import", "--keep-going", "bad.ndjson"]] {
        let place = Place::new();
        place.put("bad.ndjson", "{\"time\":1}\n");
        let (code, _, said) = place.run(words);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("bad.ndjson, line 1: missing field"), "{said}");
        assert!(!place.path().join("data").exists());
    }
}

#[test]
fn an_export_can_be_of_addresses_actions_and_reasons() {
    let place = Place::of(&lines(0..600));
    let count = |words: &[&str]| {
        let (code, stdout, stderr) = place.run(&[&["export"][..], words].concat());
        assert_eq!(code, Some(0), "{stderr}");
        stdout.lines().filter(|line| *line != GAP).count()
    };
    let expected = |wanted: &dyn Fn(u64) -> bool| (0..600).filter(|number| wanted(*number)).count();
    assert_eq!(count(&["--action", "close"]), expected(&|n| n % 2 == 1));
    assert_eq!(count(&["--reason", "accepted", "--reason", "kicked"]), expected(&|n| n % 2 == 0));
    assert_eq!(count(&["--reason", "accepted", "--action", "close"]), 0);
    let nameless = |n: u64| n.is_multiple_of(9) && n % 200 == 18;
    assert_eq!(count(&["--address", "192.0.2.18"]), expected(&nameless));
    let of_client = |n: u64| !n.is_multiple_of(9) && n % 23 == 5;
    assert_eq!(
        count(&["--address", "::ffff:192.0.2.18", "-i", "pump-05 é"]),
        expected(&|n| nameless(n) || of_client(n))
    );
    for words in [["--reason", "keepalive-timeout"], ["--action", "closed"], ["--address", "pump"]] {
        let (code, _, said) = place.run(&[&["export"][..], &words].concat());
        assert!(code == Some(2) && said.contains(words[1]), "{code:?}: {said}");
    }
    let (_, _, said) = place.run(&["export", "--reason", "keepalive-timeout"]);
    assert!(said.contains("'keep-alive-timeout'"), "the nearest: {said}");
}

#[test]
fn what_history_prints_is_not_taken_for_an_export() {
    let home = Home::new("");
    let mut server = home.start();
    let mut device = Device::connect(&server, &Connect::new(Version::V5, "pump-07"));
    device.send(&disconnect(Version::V5, 0));
    device.receive_until_closed();
    server.history_with_ends("pump-07", 1);
    let history = |words: &[&str]| {
        let mut command = tracemq();
        finish_within(PATIENCE, command.args(["history", "pump-07", "-D"]).arg(home.data_dir()).args(words))
    };
    let place = Place::new();
    place.put("in.ndjson", &String::from_utf8(history(&["-o", "jsonl"]).stdout).unwrap());
    let (code, _, said) = place.run(&["import", "in.ndjson"]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("tracemq: in.ndjson, line 1: this is a line of `tracemq history`, which has no gaps"),
        "{said}"
    );
    assert!(said.contains("`tracemq store export` writes, of one client with -i CLIENT"), "{said}");

    // And where the server is down, its files still answer, by the command that is shown.
    assert!(server.stop().success());
    let output = history(&["--since", "1h", "--url", "http://127.0.0.1:1"]); // the default's port may be another test's
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let shown = said.trim_end().rsplit_once("read its files: ").unwrap_or_else(|| panic!("{said}")).1;
    let mut shell = std::process::Command::new("sh");
    let output = finish_within(PATIENCE, shell.arg("-c").arg(shown));
    assert_eq!(output.status.code(), Some(0), "{shown}: {output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    fs::remove_dir_all(home.data_dir().join("events")).unwrap();
    let said = String::from_utf8(history(&[]).stderr).unwrap();
    assert!(said.contains("no server answers") && !said.contains("export"), "only where there are files: {said}");
}

/// A terminal, and all that was written to it until now.
struct Terminal {
    name: String,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open() -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut source, written) = (File::from(terminal), Arc::clone(&seen));
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // It fails when nobody has the terminal open, also before the first one has.
            loop {
                match source.read(&mut buffer) {
                    Ok(read) => written.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read])),
                    Err(_) if Arc::strong_count(&written) == 1 => break,
                    Err(_) => thread::yield_now(),
                }
            }
        });
        Self { name, seen }
    }

    fn side(&self) -> File {
        File::options().read(true).write(true).open(&self.name).unwrap()
    }

    fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }
}

#[test]
fn progress_is_shown_of_what_takes_long_and_of_nothing_else() {
    let terminal = Terminal::open();
    let side = terminal.side();
    let place = Place::new();
    place.put("in.ndjson", &lines(0..50));
    let mut command = place.command(&["import", "in.ndjson"]);
    let begun = Instant::now();
    let status = command.env("TERM", "xterm").stderr(side.try_clone().unwrap()).status().unwrap();
    let is_short = begun.elapsed() < Duration::from_millis(500);
    assert!(status.success());
    wait_until("word of what was done", || match terminal.seen() {
        seen if seen.contains("50 events and 1 gap imported") => Ok(()),
        seen => Err(seen),
    });
    // A busy machine may make long work of it.
    assert!(!is_short || !terminal.seen().contains("importing"), "{:?}", terminal.seen());

    let mut command = place.command(&["import"]);
    let mut child = command.env("TERM", "xterm").stdin(Stdio::piped()).stderr(side).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(lines(0..6_000).as_bytes()).unwrap();
    wait_until("line of progress", || match terminal.seen() {
        seen if seen.contains("importing") => Ok(()),
        seen => Err(seen),
    });
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let cleared = wait_until("word of what was done", || match terminal.seen() {
        seen if seen.contains("5,950 events and 0 gaps imported") => Ok(seen),
        seen => Err(seen),
    });
    assert!(!cleared.rsplit('\r').next().unwrap().contains("importing"), "the line goes: {cleared:?}");
}

#[test]
fn progress_is_shown_of_a_check_that_takes_long() {
    let place = Place::of(&lines(0..50));
    // A log that nobody reads to its end within a test: all of it must be looked through for records.
    let logs = fs::read_dir(place.path().join("data/events")).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.max_by_key(|path| (path.extension().is_some_and(|kind| kind == "wal"), path.clone())).unwrap();
    File::options().write(true).open(log).unwrap().set_len(1 << 42).unwrap();
    let terminal = Terminal::open();
    let mut command = place.command(&["check"]);
    let _checking = Checking(command.env("TERM", "xterm").stderr(terminal.side()).spawn().unwrap());
    wait_until("line of progress", || match terminal.seen() {
        seen if seen.contains("checking") && seen.contains("of 4.40 TB") => Ok(()),
        seen => Err(seen.len()),
    });
}

/// It would take an hour to end by itself.
struct Checking(std::process::Child);

impl Drop for Checking {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
