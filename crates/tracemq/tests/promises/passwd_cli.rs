//! Promise: `tracemq passwd` keeps passwords out of sight, and changes a file whole or not at all.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Connect, Device, Home, PATIENCE, Version, finish_within, tracemq};

fn passwd(folder: &Path, arguments: &[&str], stdin: &str) -> Output {
    let said = folder.join("stdin");
    fs::write(&said, stdin).unwrap();
    let mut command = tracemq();
    command.current_dir(folder).arg("passwd").args(arguments).stdin(File::open(said).unwrap());
    finish_within(PATIENCE, &mut command)
}

#[track_caller]
fn done(output: &Output) {
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_user_is_made_changed_disabled_and_taken_out() {
    let home = Home::new("[mqtt]\nusers_file = 'people'\n");
    let folder = home.path();
    done(&passwd(folder, &["people", "ops"], "hunter2\n"));
    done(&passwd(folder, &["people", "pump"], "other"));
    let file = folder.join("people");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("ops:$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("hunter2"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let server = home.start();
    let login = |user, password| {
        let mut device = Device::dial(&server);
        device.send(&Connect::new(Version::V311, "c").login(user, password).bytes());
        device.receive().1[1]
    };
    assert_eq!((login("ops", "hunter2"), login("pump", "other"), login("ops", "other")), (0, 0, 4));
    done(&passwd(folder, &["people", "ops"], "hunter3\r\nand no more"));
    done(&passwd(folder, &["people", "pump", "--disable"], ""));
    server.reload_users();
    assert_eq!((login("ops", "hunter3"), login("ops", "hunter2"), login("pump", "other")), (0, 4, 4));
    done(&passwd(folder, &["people", "pump", "--enable"], ""));
    done(&passwd(folder, &["people", "ops", "--delete"], ""));
    server.reload_users();
    assert_eq!((login("ops", "hunter3"), login("pump", "other")), (4, 0));
}

#[test]
fn what_can_t_be_done_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(&passwd(folder, &["people", "ops"], "secret"));
    let file = folder.join("people");
    let before = fs::read(&file).unwrap();
    for (arguments, stdin, code, said) in [
        (&["people", "ops"][..], "", 1, "the password is empty"),
        (&["people", "ops"], "\n", 1, "the password is empty"),
        (&["people", "a:b"], "x", 1, "user name"),
        (&["people", "nobody", "--delete"], "", 3, "no user `nobody`"),
        (&["people", "nobody", "--disable"], "", 3, "no user `nobody`"),
        (&["people", "ops", "--disable", "--enable"], "", 2, "cannot be used with"),
        (&["people", "ops", "hunter2"], "", 2, "unexpected argument"),
        (&["missing/people", "ops"], "x", 1, "missing/people"),
    ] {
        let output = passwd(folder, arguments, stdin);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && told.contains(said), "{arguments:?}: {told}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    fs::write(&file, "not a file of users").unwrap();
    let output = passwd(folder, &["people", "ops"], "x");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("line 1"), "{output:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a file of users");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no draft is left behind: {left:?}");
}

#[test]
fn behind_a_link_the_file_is_changed_and_the_link_stays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(&passwd(folder, &["real", "ops"], "x"));
    symlink("real", folder.join("link")).unwrap();
    done(&passwd(folder, &["link", "pump"], "y"));
    assert!(fs::symlink_metadata(folder.join("link")).unwrap().is_symlink());
    assert!(fs::read_to_string(folder.join("real")).unwrap().contains("\npump:"));
}

/// Types into a terminal; gives the exit status and all that was to be seen there.
fn typed(folder: &Path, keys: &[u8]) -> (bool, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let other_end = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
    let mut command: Command = tracemq();
    command.current_dir(folder).args(["passwd", "people", "ops"]);
    let mut child = command.stdin(other_end()).stdout(other_end()).stderr(other_end()).spawn().unwrap();
    drop(command);
    let mut terminal = File::from(terminal);
    let mut seen = Vec::new();
    let mut keys = keys.split_inclusive(|key| *key == b'\r' || *key == 3);
    let mut prompts = 0;
    let mut bytes = [0; 256];
    // The other end is closed when the program ends: an error on Linux.
    while let Ok(n @ 1..) = terminal.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..n]);
        let shown = seen.windows(2).filter(|two| *two == b": ").count();
        if shown > prompts {
            prompts = shown;
            if let Some(keys) = keys.next() {
                terminal.write_all(keys).unwrap();
            }
        }
    }
    let success = child.wait().unwrap().success();
    (success, String::from_utf8(seen).unwrap())
}

#[test]
fn on_a_terminal_the_password_is_asked_for_twice_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (success, seen) = typed(folder, b"hunterX\x7f2\rwrong\x15hunter2\r");
    assert!(success && seen.contains("Password for ops") && !seen.contains("hunter"), "{seen}");
    let before = fs::read_to_string(folder.join("people")).unwrap();
    let (success, seen) = typed(folder, b"one\rtwo\r");
    assert!(!success && seen.contains("differ"), "{seen}");
    let (success, seen) = typed(folder, b"on\x03");
    assert!(!success && seen.contains("nothing was changed"), "{seen}");
    assert_eq!(fs::read_to_string(folder.join("people")).unwrap(), before);
}
