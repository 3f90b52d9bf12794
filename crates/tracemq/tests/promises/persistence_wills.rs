//! Promise: the will of a client whose session outlives it is published also when the server is killed, if that is still
//! allowed then.

use crate::harness::{Connect, Device, Home, Server, Version, packet, string};

const CONFIG: &str = "[mqtt]\nusers_file = 'users'\n";

fn watcher() -> Connect {
    Connect { clean: false, ..Connect::new(Version::V311, "watcher").login("ops", "secret") }
}

/// A CONNECT of MQTT 5.0 by `pump` with a session for 1,000 s and a will of QoS 1.
fn device(will_delay_s: u8) -> Vec<u8> {
    let body = [
        &*string("MQTT"),
        &[5, 0b1100_1100, 0, 60, 5, 0x11, 0, 0, 3, 0xe8],
        &*string("device"),
        &[5, 0x18, 0, 0, 0, will_delay_s],
        &[&*string("will"), &*string("gone"), &*string("pump"), &*string("other")].concat(),
    ];
    packet(0x10, &body.concat())
}

/// With a watcher that is away.
fn with_watcher(home: &Home) -> Server {
    let server = home.start();
    let mut device_of_watcher = Device::connect(&server, &watcher());
    device_of_watcher.send(&packet(0x82, &[&[0, 1], &*string("will"), &[1]].concat()));
    assert_eq!(device_of_watcher.receive().0, 0x90);
    device_of_watcher.close();
    server
}

/// The same, and a device that was told that all it did so far is on disk.
fn with_device(home: &Home, will_delay_s: u8) -> (Server, Device) {
    let server = with_watcher(home);
    let mut there = Device::dial(&server);
    there.send(&device(will_delay_s));
    assert_eq!(there.receive().0, 0x20);
    there.send(&packet(0x32, &[&*string("will"), &[0, 1, 0], b"here"].concat()));
    assert_eq!(there.receive().0, 0x40);
    (server, there)
}

/// What the watcher gets first, and next.
fn two_messages(server: &Server) -> [String; 2] {
    let mut watcher = Device::connect(server, &watcher());
    [(); 2].map(|()| {
        let (first, body) = watcher.receive();
        assert_eq!(first >> 4, 3);
        watcher.send(&packet(0x40, &body[6..8]));
        String::from_utf8(body[8..].to_vec()).unwrap()
    })
}

#[test]
fn a_will_whose_delay_runs_is_published_after_kill_9() {
    let home = Home::new(CONFIG);
    let (mut server, mut device) = with_device(&home, 1);
    device.send(&packet(0xE0, &[4])); // goes, and wants its will published
    device.receive_until_closed();
    server.kill();
    let server = home.start();
    assert_eq!(two_messages(&server), ["here", "gone"]);
}

#[test]
fn the_will_of_a_client_that_was_there_at_kill_9_is_published_by_the_next_server() {
    let home = Home::new(CONFIG);
    let (mut server, _device) = with_device(&home, 0);
    server.kill();
    let server = home.start();
    assert_eq!(two_messages(&server), ["here", "gone"]);
}

#[test]
fn a_will_whose_user_was_taken_out_while_the_server_was_off_is_dropped_and_told() {
    let home = Home::new(CONFIG);
    let (mut server, _device) = with_device(&home, 0);
    server.kill();
    let users = std::fs::read_to_string(home.path().join("users")).unwrap();
    let without: Vec<&str> = users.lines().filter(|line| !line.starts_with("pump:")).collect();
    std::fs::write(home.path().join("users"), without.join("\n") + "\n").unwrap();
    let server = home.start();
    assert!(server.log().contains(r#""wills_dropped":1"#), "{}", server.log());
}

#[test]
fn a_will_that_connack_accepted_is_published_after_kill_9() {
    let home = Home::new(CONFIG);
    let mut server = with_watcher(&home);
    let mut there = Device::dial(&server);
    there.send(&device(0));
    assert_eq!(there.receive().0, 0x20);
    server.kill();
    let server = home.start();
    let mut watcher = Device::connect(&server, &watcher());
    assert!(watcher.receive().1.ends_with(b"gone"));
}
