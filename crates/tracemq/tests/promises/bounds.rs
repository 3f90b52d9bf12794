//! Promise: every number of the configuration may be 0 or huge: it is refused by name or line, or means what the documentation says.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use super::harness::{
    Connect, Device, Home, PATIENCE, VERSIONS, disconnect, finish_within, publish, subscribe, tracemq,
};

/// Section and key of every number, as `config check` prints them.
fn numbers() -> Vec<(String, String)> {
    let home = Home::new("");
    let printed = check(&home);
    let text = String::from_utf8(printed.1).unwrap();
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ")
            && value.parse::<i64>().is_ok()
        {
            found.push((section.clone(), key.to_owned()));
        }
    }
    found
}

/// Whether the configuration is good, and what is said about it.
fn check(home: &Home) -> (bool, Vec<u8>, String) {
    let mut command: Command = tracemq();
    command.current_dir(home.path()).args(["config", "check", "--config", "tracemq.toml"]);
    let output = finish_within(PATIENCE, &mut command);
    (output.status.success(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Starts, serves what the bounds allow of a little traffic, and stops cleanly; or is refused with the key or its line, and
/// gives the bounds that it names.
fn try_out(section: &str, key: &str, value: u64) -> Option<Vec<u64>> {
    let home = Home::new(&format!("[{section}]\n{key} = {value}\n"));
    let context = format!("{section}.{key} = {value}");
    let (good, _, said) = check(&home);
    if !good {
        assert!(said.contains(key) || said.contains("line 2: "), "{context}: {said}");
        assert!(!said.contains("panicked"), "{context}: {said}");
        let bounds = said.split_once("is not within ").map_or("", |(_, bounds)| bounds).split_whitespace();
        return Some(bounds.filter_map(|word| word.parse().ok()).collect());
    }
    let mut server = home.start();
    for version in VERSIONS {
        for client in ["one", "two"] {
            let mut device = Device::dial(&server);
            let _ = device.try_send(&Connect::new(version, client).bytes());
            let _ = device.try_receive();
            let _ = device.try_send(&subscribe(version, "t/#"));
            let _ = device.try_send(&publish(version, "t/x", b"x"));
            let _ = device.try_send(&disconnect(version, 0));
            device.receive_until_closed();
        }
    }
    assert!(server.rest_as(None, "/metrics").status == 200, "{context}");
    assert!(server.is_running(), "{context}: {}", server.log());
    assert!(server.stop().success(), "{context}: {}", server.log());
    assert!(!server.log().contains("panicked"), "{context}: {}", server.log());
    None
}

#[test]
fn b89_every_number_of_the_configuration_may_be_0_or_huge_and_the_bounds_that_it_names_serve() {
    let numbers = numbers();
    assert!(numbers.len() > 25, "{numbers:?}");
    let try_part = |part: &[(String, String)]| {
        for (section, key) in part {
            let tried = [0, u64::from(u16::MAX), u64::from(u32::MAX), i64::MAX as u64];
            let named: BTreeSet<u64> =
                tried.into_iter().filter_map(|value| try_out(section, key, value)).flatten().collect();
            for bound in named {
                assert_eq!(try_out(section, key, bound), None, "{section}.{key} = {bound}, which it says will do");
            }
        }
    };
    thread::scope(|scope| {
        for part in numbers.chunks(numbers.len().div_ceil(4)) {
            scope.spawn(move || try_part(part));
        }
    });
}
