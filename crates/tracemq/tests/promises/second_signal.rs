//! Promise: a second SIGTERM or Ctrl-C ends the server at once, whatever it is at, and costs nothing that was acknowledged.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::harness::{Connect, Device, Home, Server, Version, packet, signal, string, subscribe, wait_until};

/// A connection that is on record with its end, one that is open, and a retained message; all acknowledged.
fn acknowledged_in(server: &Server, round: usize) -> Device {
    Device::connect(server, &Connect::new(Version::V311, format!("ended-{round}"))).close();
    server.history_with_ends(&format!("ended-{round}"), 1);
    let mut device = Device::connect(server, &Connect::new(Version::V311, format!("open-{round}")));
    server.wait_for_connect(&format!("open-{round}"));
    device.send(&packet(0x33, &[&*string(format!("state/{round}")), &[0, 1], b"on"].concat()));
    assert_eq!(device.receive(), (0x40, vec![0, 1]));
    device
}

fn assert_nothing_lost(server: &Server, rounds: usize) {
    for round in 0..rounds {
        for client in [format!("ended-{round}"), format!("open-{round}")] {
            let history = server.history_with_ends(&client, 1);
            history.assert_every_connection_ended_once();
            assert_eq!(history.items.len(), 2, "{history:#?}");
        }
        let mut device = Device::connect(server, &Connect::new(Version::V311, "reader"));
        device.send(&subscribe(Version::V311, &format!("state/{round}")));
        assert_eq!(device.receive().0, 0x90);
        assert_eq!(device.receive().1, [&*string(format!("state/{round}")), b"on"].concat());
    }
}

#[test]
fn s58_a_second_signal_while_it_stops_ends_it_at_once_and_loses_nothing_that_was_acknowledged() {
    let home = Home::new("");
    for round in 0..6 {
        let mut server = home.start();
        assert_nothing_lost(&server, round);
        let _device = acknowledged_in(&server, round);
        let again = ["TERM", "INT"][round % 2];
        if round < 3 {
            // It hears of both before it can have done anything about the first.
            server.freeze();
            server.send("TERM");
            server.send("INT");
            server.thaw();
            assert_eq!(server.wait_for_end().code(), Some(1));
            assert!(server.log().contains("stopped at once by a second signal"), "{}", server.log());
        } else {
            server.send(again);
            wait_until("the beginning of the stop", || match server.log() {
                log if log.contains("stopping") => Ok(()),
                log => Err(log),
            });
            server.send(again);
            // It may be faster.
            assert!(matches!(server.wait_for_end().code(), Some(0 | 1)));
        }
    }
    assert_nothing_lost(&home.start(), 6);
}

/// Does not outlive a test that fails.
struct Hanging(Child);

impl Drop for Hanging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opening a pipe that nobody writes to takes for ever, as a disk can that has gone.
#[test]
fn s58_a_second_signal_ends_a_start_that_hangs() {
    let home = Home::new("");
    assert_eq!(home.start().stop().code(), Some(0));
    let pipe = home.data_dir().join("events/0000000007.segment");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let log = home.path().join("hanging");
    let mut command = home.serve_command();
    command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let mut hanging = Hanging(command.spawn().unwrap());
    let pid = hanging.0.id();
    // From here on it hears signals: bit 14 is SIGTERM.
    wait_until("a handler of signals", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
        let is_heard = u64::from_str_radix(&caught, 16).unwrap_or(0) & 1 << 14 != 0;
        if is_heard { Ok(()) } else { Err(status) }
    });
    // Two that follow each other at once may be heard as one.
    let ended = wait_until("end of the process", || {
        signal("TERM", pid);
        hanging.0.try_wait().unwrap().ok_or_else(|| fs::read_to_string(&log))
    });
    assert_eq!(ended.code(), Some(1));
    fs::remove_file(&pipe).unwrap();
    assert_eq!(home.start().stop().code(), Some(0));
}
