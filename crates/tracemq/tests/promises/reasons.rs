//! Promise: whatever ends a connection, the record says what it was, in both APIs, with the connection's own identity.
//!
//! Nearly every test here lets one connection end in one way, and then reads its history as a user would.

use std::time::Duration;

use crate::harness::{
    Connect, Device, Event, Home, PINGREQ, Server, VERSIONS, Version, disconnect, now_ms, packet, publish, string,
    subscribe, wait_until,
};

/// One user, who may use the topics under `a/` only; short deadlines, small packets.
const CONFIG: &str = r#"
[mqtt]
connect_timeout_s = 1
max_packet_bytes = 4096
users_file = "users"

[[mqtt.rules]]
publish = ["a/#"]
subscribe = ["a/#"]
"#;

/// A server that lets anybody in.
const OPEN: &str = "[mqtt]\nconnect_timeout_s = 1\n";

/// What must stand on record of a connection's end.
struct End<'a> {
    action: &'a str,
    reason: &'a str,
    initiator: &'a str,
    info: &'a str,
}

impl<'a> End<'a> {
    fn closed_by_server(reason: &'a str, info: &'a str) -> Self {
        Self { action: "close", reason, initiator: "server", info }
    }
}

/// A connection to be judged: who it was, whether it was accepted, and when it began.
struct Trial<'a> {
    server: &'a Server,
    client: &'a str,
    address: String,
    accepted: bool,
    begun_ms: i64,
}

impl<'a> Trial<'a> {
    /// A connection that is accepted.
    fn accepted(server: &'a Server, client: &'a str, connect: &Connect) -> (Device, Self) {
        let begun_ms = now_ms();
        let device = Device::connect(server, connect);
        let trial = Self { server, client, address: device.address(), accepted: true, begun_ms };
        (device, trial)
    }

    /// A connection whose CONNECT is refused: what the server answered, and the trial.
    fn refused(server: &'a Server, client: &'a str, connect: &Connect) -> (Vec<u8>, Self) {
        let begun_ms = now_ms();
        let mut device = Device::dial(server);
        device.send(&connect.bytes());
        let answer = device.receive_until_closed();
        (answer, Self { server, client, address: device.address(), accepted: false, begun_ms })
    }

    /// Waits for the end on record, and checks all that both APIs tell of this connection. Gives the end.
    fn ended(&self, expected: &End<'_>) -> Event {
        let end = wait_until(&format!("end of {}", self.client), || {
            let history = self.server.history(self.client);
            history.end_of(&self.address).cloned().ok_or(history)
        });
        let told = (&*end.action, &*end.reason, &*end.initiator, &*end.provenance);
        assert_eq!(told, (expected.action, expected.reason, expected.initiator, "observed"), "{end:#?}");

        let history = self.server.history(self.client);
        let mine: Vec<_> = history.items.iter().filter(|event| event.connection == end.connection).collect();
        let actions: Vec<_> = mine.iter().map(|event| &*event.action).collect();
        let begins: &[_] = if self.accepted { &["connect"] } else { &[] };
        assert_eq!(actions, [begins, &[expected.action]].concat(), "{history:#?}");
        self.check_identity(&mine);
        self.check_times(&mine);
        self.check_rows(&mine, expected);
        end
    }

    fn check_identity(&self, events: &[&Event]) {
        let instance = self.server.credentials().instance_id;
        for event in events {
            let id = &event.connection;
            assert!(
                id.len() == 32 && id.bytes().all(|b| b"0123456789abcdef".contains(&b)),
                "{id} is not 32 hex digits"
            );
            assert_eq!(event.peer.as_ref(), Some(&self.address));
            assert_eq!(event.client.as_deref(), Some(self.client));
            assert_eq!(event.instance, instance);
        }
    }

    fn check_times(&self, events: &[&Event]) {
        let mut earliest = self.begun_ms;
        for event in events {
            assert!((earliest..=now_ms()).contains(&event.time_ms), "{event:#?} is not after {earliest}");
            let text: jiff::Timestamp = event.time.parse().unwrap();
            assert_eq!(text.as_millisecond(), event.time_ms, "{}", event.time);
            earliest = event.time_ms;
        }
        let duration_ms = i64::try_from(events.last().unwrap().duration_ms.unwrap()).unwrap();
        assert!((0..=now_ms() - self.begun_ms).contains(&duration_ms), "a duration of {duration_ms} ms");
    }

    fn check_rows(&self, events: &[&Event], expected: &End<'_>) {
        let rows = self.server.trace_device(self.client);
        let rows: Vec<_> = rows.into_iter().filter(|row| row.channel_id == events[0].connection).collect();
        assert_eq!(rows.len(), events.len(), "{rows:#?}");
        for (row, event) in rows.iter().zip(events) {
            assert_eq!(row.action, event.action);
            assert_eq!(row.action_code, format!("mqtt.trace.action.{}", event.action));
            assert_eq!(row.time, china_time(event.time_ms));
            let info = if event.is_end() { expected.info } else { "accepted" };
            assert_eq!(row.action_info, info, "{event:#?}");
        }
    }
}

fn china_time(time_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    let time = jiff::Timestamp::from_millisecond(time_ms).unwrap().to_zoned(zone);
    time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// The end of the nameless connection from `address`, with the actions that were recorded of it.
fn nameless_end(server: &Server, address: &str) -> (Event, Vec<String>) {
    let end = wait_until(&format!("end of the connection from {address}"), || {
        let history = server.nameless_history();
        history.end_of(address).cloned().ok_or(history)
    });
    assert_eq!((&*end.action, &*end.provenance, &end.client), ("close", "observed", &None));
    let items = server.nameless_history().items.into_iter();
    let actions = items.filter(|event| event.connection == end.connection).map(|event| event.action).collect();
    (end, actions)
}

/// Lets a connection that sends `bytes` and names no client end, and gives its recorded reason.
fn reason_of_nameless(server: &Server, bytes: &[u8]) -> String {
    let mut device = Device::dial(server);
    device.send(bytes);
    device.receive_until_closed();
    nameless_end(server, &device.address()).0.reason
}

/// The last packet that a v5 client hears is a DISCONNECT with `code`; a 3.x client hears nothing.
fn assert_last_words(version: Version, heard: &[u8], code: u8) {
    match version {
        Version::V311 => assert_eq!(heard, b"", "3.1.1 has no DISCONNECT from the server"),
        Version::V5 => {
            assert!(heard.len() >= 3 && heard[0] == 0xE0, "no DISCONNECT: {heard:x?}");
            assert_eq!(heard[2], code, "DISCONNECT: {heard:x?}");
        }
    }
}

/// The end came when it should: not before, and not much later.
fn assert_duration_ms(end: &Event, expected: u64) {
    let duration_ms = end.duration_ms.unwrap();
    assert!((expected..expected + 3000).contains(&duration_ms), "closed after {duration_ms} ms, not {expected}");
}

#[test]
fn wrong_password() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for (version, code) in VERSIONS.into_iter().zip([0x04, 0x86]) {
        for (user, password) in [("ops", "wrong"), ("nobody", "secret")] {
            let connect = Connect::new(version, "pump-07").login(user, password);
            let (answer, trial) = Trial::refused(&server, "pump-07", &connect);
            assert_eq!((answer[0], answer[3]), (0x20, code), "{answer:x?}");
            let end = trial.ended(&End::closed_by_server("bad-credentials", "not authorized"));
            assert_eq!(end.reason_code, Some(code));
        }
    }
}

#[test]
fn no_credentials_where_users_are_configured() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for (version, code) in VERSIONS.into_iter().zip([0x05, 0x87]) {
        let (answer, trial) = Trial::refused(&server, "pump-07", &Connect::new(version, "pump-07"));
        assert_eq!((answer[0], answer[3]), (0x20, code), "{answer:x?}");
        trial.ended(&End::closed_by_server("not-authorized", "not authorized"));
    }
}

#[test]
fn a_twin_takes_over() {
    let home = Home::new(OPEN);
    let server = home.start();
    for (version, client) in VERSIONS.into_iter().zip(["twin-3", "twin-5"]) {
        let connect = Connect::new(version, client);
        let (mut old, old_trial) = Trial::accepted(&server, client, &connect);
        let (mut new, new_trial) = Trial::accepted(&server, client, &connect);
        assert_last_words(version, &old.receive_until_closed(), 0x8E);

        let info = "clientId conflict";
        let takeover = End { action: "close", reason: "session-taken-over", initiator: "client", info };
        let old_end = old_trial.ended(&takeover);
        new.send(&disconnect(version, 0));
        let new_end = new_trial.ended(&DISCONNECTED);
        assert_eq!(old_end.other_connection.as_ref(), Some(&new_end.connection));
        assert_ne!(old_end.connection, new_end.connection);
    }
}

#[test]
fn publish_to_a_forbidden_topic() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for version in VERSIONS {
        let connect = Connect::new(version, "pump-07").login("ops", "secret");
        let (mut device, trial) = Trial::accepted(&server, "pump-07", &connect);
        device.send(&publish(version, "a/allowed", b"1"));
        device.send(&publish(version, "b/forbidden", b"1"));
        assert_last_words(version, &device.receive_until_closed(), 0x87);
        trial.ended(&End::closed_by_server("publish-not-authorized", "resource auth failed"));
    }
}

#[test]
fn subscribe_to_a_forbidden_filter() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for version in VERSIONS {
        for filter in ["b/forbidden", "#", "+/x", "$share/group/b/x"] {
            let connect = Connect::new(version, "pump-07").login("ops", "secret");
            let (mut device, trial) = Trial::accepted(&server, "pump-07", &connect);
            device.send(&subscribe(version, filter));
            device.receive_until_closed();
            trial.ended(&End::closed_by_server("subscribe-not-authorized", "resource auth failed"));
        }
    }
}

#[test]
fn a_will_for_a_forbidden_topic() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for (version, code) in VERSIONS.into_iter().zip([0x05, 0x87]) {
        let connect = Connect { will_topic: Some("b/will"), ..Connect::new(version, "pump-07").login("ops", "secret") };
        let (answer, trial) = Trial::refused(&server, "pump-07", &connect);
        assert_eq!((answer[0], answer[3]), (0x20, code), "{answer:x?}");
        trial.ended(&End::closed_by_server("will-not-authorized", "resource auth failed"));
    }
}

#[test]
fn silence_past_one_and_a_half_keep_alives() {
    let home = Home::new(OPEN);
    let server = home.start();
    for version in VERSIONS {
        let connect = Connect { keep_alive_s: 1, ..Connect::new(version, "pump-07") };
        let (mut device, trial) = Trial::accepted(&server, "pump-07", &connect);
        assert_last_words(version, &device.receive_until_closed(), 0x8D);
        let end = trial.ended(&End::closed_by_server("keep-alive-timeout", "no heart"));
        assert_duration_ms(&end, 1500);
    }
}

#[test]
fn a_client_that_pings_is_not_dropped() {
    let home = Home::new(OPEN);
    let server = home.start();
    let connect = Connect { keep_alive_s: 1, ..Connect::new(Version::V311, "pump-07") };
    let (mut device, trial) = Trial::accepted(&server, "pump-07", &connect);
    for _ in 0..4 {
        device.hear_nothing_for(Duration::from_millis(700));
        device.send(PINGREQ);
        assert_eq!(device.receive(), (0xD0, vec![]));
    }
    device.send(&disconnect(Version::V311, 0));
    trial.ended(&DISCONNECTED);
}

#[test]
fn fin_without_a_disconnect_packet() {
    let home = Home::new(OPEN);
    let server = home.start();
    let closed = End { action: "close", reason: "client-closed", initiator: "client", info: "closed by client" };
    for version in VERSIONS {
        let (device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(version, "pump-07"));
        device.close();
        trial.ended(&closed);
        let (mut device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(version, "pump-07"));
        device.half_close();
        device.receive_until_closed();
        trial.ended(&closed);
    }
}

#[test]
fn rst() {
    let home = Home::new(OPEN);
    let server = home.start();
    let (device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(Version::V311, "pump-07"));
    device.reset();
    let info = "Socket IOException";
    trial.ended(&End { action: "close", reason: "connection-reset", initiator: "network", info });
}

const DISCONNECTED: End<'_> =
    End { action: "disconnect", reason: "client-disconnected", initiator: "client", info: "disconnected by client" };

#[test]
fn a_disconnect_packet() {
    let home = Home::new(OPEN);
    let server = home.start();
    let (mut device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(Version::V311, "pump-07"));
    device.send(&disconnect(Version::V311, 0));
    device.close();
    trial.ended(&DISCONNECTED);

    for (device_closes, code) in [(false, 0), (true, 4)] {
        let (mut device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(Version::V5, "pump-07"));
        device.send(&disconnect(Version::V5, code));
        if device_closes {
            device.close();
        } else {
            assert_eq!(device.receive_until_closed(), b"", "the server closes, and has nothing more to say");
        }
        assert_eq!(trial.ended(&DISCONNECTED).reason_code.unwrap_or(0), code);
    }
}

#[test]
fn no_mqtt_before_connect() {
    let home = Home::new(OPEN);
    let server = home.start();
    // A type that does not exist; a remaining length that never ends; a CONNECT cut by its own length.
    for bytes in [&[0x00, 0x00][..], &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], &[0x10, 2, 0, 4]] {
        assert_eq!(reason_of_nameless(&server, bytes), "malformed-packet", "{bytes:x?}");
    }
    let publish = publish(Version::V311, "a", b"");
    for bytes in [PINGREQ, &publish, &[0x40, 2, 0, 1], &[0xE0, 0]] {
        assert_eq!(reason_of_nameless(&server, bytes), "protocol-error", "{bytes:x?}");
    }
}

#[test]
fn malformed_packets_after_connect() {
    let home = Home::new(OPEN);
    let server = home.start();
    let length_without_end = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    let both_qos_bits = packet(0x36, &[&*string("a"), &[0, 1]].concat());
    let subscribe_without_its_flag = packet(0x80, &[&[0, 1], &*string("a"), &[0]].concat());
    let type_zero = [0x00, 0x00];
    for bytes in [&length_without_end[..], &both_qos_bits, &subscribe_without_its_flag, &type_zero] {
        for version in VERSIONS {
            let (mut device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(version, "pump-07"));
            device.send(bytes);
            device.receive_until_closed();
            trial.ended(&End::closed_by_server("malformed-packet", "invalid param"));
        }
    }
}

#[test]
fn packets_out_of_order() {
    let home = Home::new(OPEN);
    let server = home.start();
    for version in VERSIONS {
        let connect = Connect::new(version, "pump-07");
        for bytes in [connect.bytes(), vec![0xD0, 0]] {
            let (mut device, trial) = Trial::accepted(&server, "pump-07", &connect);
            device.send(&bytes);
            assert_last_words(version, &device.receive_until_closed(), 0x82);
            trial.ended(&End::closed_by_server("protocol-error", "invalid param"));
        }
    }
}

#[test]
fn topics_that_break_the_rules() {
    let home = Home::new(OPEN);
    let server = home.start();
    for version in VERSIONS {
        for bytes in [subscribe(version, "a/#/b"), subscribe(version, "a+"), publish(version, "a/#", b"")] {
            let (mut device, trial) = Trial::accepted(&server, "pump-07", &Connect::new(version, "pump-07"));
            device.send(&bytes);
            device.receive_until_closed();
            trial.ended(&End::closed_by_server("bad-topic", "invalid param"));
        }
    }
}

#[test]
fn a_packet_too_large() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for version in VERSIONS {
        let connect = Connect::new(version, "pump-07").login("ops", "secret");
        let (mut device, trial) = Trial::accepted(&server, "pump-07", &connect);
        device.send(&publish(version, "a/fits", &[b'x'; 4000]));
        device.send(&publish(version, "a/large", &[b'x'; 5000])[..100]);
        assert_last_words(version, &device.receive_until_closed(), 0x95);
        trial.ended(&End::closed_by_server("packet-too-large", "invalid param"));
    }
}

#[test]
fn a_connection_that_says_nothing() {
    let home = Home::new(OPEN);
    let server = home.start();
    for first_words in [&[][..], &[0x10, 30, 0, 4, b'M']] {
        let mut device = Device::dial(&server);
        device.send(first_words);
        wait_until("open connection on record", || {
            let history = server.nameless_history();
            let is_open = history.items.iter().any(|e| e.action == "open" && e.peer == Some(device.address()));
            if is_open { Ok(()) } else { Err(history) }
        });
        assert_eq!(device.receive_until_closed(), b"");
        let (end, actions) = nameless_end(&server, &device.address());
        assert_eq!((&*end.reason, &*end.initiator), ("connect-timeout", "server"));
        assert_eq!(actions, ["open", "close"]);
        assert_duration_ms(&end, 1000);
    }
}

#[test]
fn gone_before_connect() {
    let home = Home::new(OPEN);
    let server = home.start();
    let device = Device::dial(&server);
    let address = device.address();
    device.close();
    assert_eq!(nameless_end(&server, &address).0.reason, "client-closed");
    let device = Device::dial(&server);
    let address = device.address();
    device.reset();
    assert_eq!(nameless_end(&server, &address).0.reason, "connection-reset");
}

#[test]
fn client_identifiers_that_are_refused() {
    let home = Home::new(OPEN);
    let server = home.start();
    for (version, code) in VERSIONS.into_iter().zip([0x02, 0x85]) {
        let long = "x".repeat(257);
        let (answer, trial) = Trial::refused(&server, &long, &Connect::new(version, &long));
        assert_eq!((answer[0], answer[3]), (0x20, code), "{answer:x?}");
        let end = trial.ended(&End::closed_by_server("bad-client-id", "invalid param"));
        assert_eq!(end.reason_code, Some(code));
    }

    let empty = Connect { clean: false, ..Connect::new(Version::V311, "") };
    let mut device = Device::dial(&server);
    device.send(&empty.bytes());
    assert_eq!(device.receive_until_closed(), [0x20, 2, 0, 2]);
    let (end, actions) = nameless_end(&server, &device.address());
    assert_eq!((&*end.reason, end.reason_code), ("bad-client-id", Some(2)));
    assert_eq!(actions, ["close"]);

    for version in VERSIONS {
        // [MQTT-1.5.3-2] calls the packet malformed; it is the client identifier that makes it so.
        let reason = reason_of_nameless(&server, &Connect::new(version, b"a\0b").bytes());
        assert!(matches!(&*reason, "bad-client-id" | "malformed-packet"), "{reason}");
    }
}

#[test]
fn any_client_identifier_is_found_again() {
    let home = Home::new(OPEN);
    let server = home.start();
    for client in ["GID_test@@@producer", "a/b", "..", "%2F", "é中 #+?&=", "\"'<>;\\", &"x".repeat(256)] {
        let (mut device, trial) = Trial::accepted(&server, client, &Connect::new(Version::V311, client));
        device.send(&disconnect(Version::V311, 0));
        trial.ended(&DISCONNECTED);
    }
}

#[test]
fn an_assigned_client_identifier_is_on_record() {
    let home = Home::new(OPEN);
    let server = home.start();
    let mut device = Device::dial(&server);
    device.send(&Connect::new(Version::V5, "").bytes());
    let (_, connack) = device.receive();
    let id = connack.windows(3).position(|w| w[0] == 0x12 && w[1] == 0).expect("an assigned client identifier");
    let length = usize::from(connack[id + 2]);
    let client = std::str::from_utf8(&connack[id + 3..id + 3 + length]).unwrap();
    assert_eq!(server.wait_for_connect(client).peer, Some(device.address()));

    // A 3.1.1 client is never told a name: it is found under its address, from beginning to end.
    let mut nameless = Device::dial(&server);
    nameless.send(&Connect::new(Version::V311, "").bytes());
    nameless.receive();
    let address = nameless.address();
    nameless.close();
    let (end, _) = nameless_end(&server, &address);
    assert_eq!((end.reason.as_str(), end.client), ("client-closed", None));
    let history = server.nameless_history();
    assert!(history.items.iter().any(|e| e.action == "connect" && e.connection == end.connection), "{history:#?}");
}

#[test]
fn a_protocol_that_is_not_spoken() {
    let home = Home::new(OPEN);
    let server = home.start();
    let mut unknown_level = Connect::new(Version::V311, "pump-07").bytes();
    unknown_level[8] = 9;
    let mut device = Device::dial(&server);
    device.send(&unknown_level);
    let answer = device.receive_until_closed();
    assert!(matches!(answer[..], [0x20, 2, 0, 1] | [0x20, _, 0, 0x84, ..]), "{answer:x?}");
    let (end, _) = nameless_end(&server, &device.address());
    assert_eq!(end.reason, "unsupported-protocol-version");
}

#[test]
fn http_on_the_mqtt_port() {
    let home = Home::new(OPEN);
    let server = home.start();
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /mqtt HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n"] {
        assert_eq!(reason_of_nameless(&server, request.as_bytes()), "http-on-mqtt-port", "{request:?}");
    }
}

#[test]
fn tls_on_the_plain_port() {
    let home = Home::new(OPEN);
    let server = home.start();
    let mut hello = vec![0x16, 3, 1, 0, 0xC8, 1, 0, 0, 0xC4, 3, 3];
    hello.resize(205, 0x55);
    assert_eq!(reason_of_nameless(&server, &hello), "tls-on-plain-port");
}

#[test]
fn the_server_stops() {
    let home = Home::new(OPEN);
    let mut server = home.start();
    let begun_ms = now_ms();
    let mut devices = VERSIONS.map(|v| (v, Device::connect(&server, &Connect::new(v, format!("pump-{v:?}")))));
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    for (version, device) in &mut devices {
        assert_last_words(*version, &device.receive_until_closed(), 0x8B);
    }

    let server = home.start();
    for (version, device) in &devices {
        let client = format!("pump-{version:?}");
        let trial = Trial { server: &server, client: &client, address: device.address(), accepted: true, begun_ms };
        trial.ended(&End::closed_by_server("server-shutdown", "Socket IOException"));
    }
}

/// The server could not look for a while; what clients said meanwhile is what happened, whatever else came later.
#[test]
fn what_was_said_to_a_frozen_server_comes_first() {
    let home = Home::new(OPEN);
    let mut server = home.start();
    let connect = |client: &str| Device::connect(&server, &Connect::new(Version::V311, client));
    let (mut gone, mut also_gone) = (connect("gone"), connect("gone-before-the-stop"));
    let mut alive = Device::connect(&server, &Connect { keep_alive_s: 1, ..Connect::new(Version::V311, "alive") });

    server.freeze();
    gone.send(&disconnect(Version::V311, 0));
    let mut twin = Device::dial(&server);
    twin.send(&Connect::new(Version::V311, "gone").bytes());
    for _ in 0..5 {
        alive.send(PINGREQ);
        alive.hear_nothing_for(Duration::from_millis(500)); // 2.5 s in all, more than 1.5 keep alives
    }
    server.thaw();
    twin.receive();
    assert_eq!(alive.receive().0, 0xD0, "the pings were answered, not overruled by a deadline");
    let ended = server.history_with_ends("gone", 1).items.into_iter().find(Event::is_end).unwrap();
    assert_eq!((&*ended.action, &*ended.reason), ("disconnect", "client-disconnected"));

    server.freeze();
    also_gone.send(&disconnect(Version::V311, 0));
    let mut late: Vec<_> = (0..5).map(|_| Device::dial(&server)).collect();
    server.ask_to_stop();
    server.thaw();
    late.iter_mut().for_each(|device| drop(device.receive_until_closed()));
    wait_until("end after SIGTERM", || if server.is_running() { Err("still running") } else { Ok(()) });
    let server = home.start();
    let ended = server.history("gone-before-the-stop").items.into_iter().find(Event::is_end).unwrap();
    assert_eq!(ended.reason, "client-disconnected");
    let nameless = server.nameless_history();
    for device in late {
        let end = nameless.end_of(&device.address()).expect("who waited in the backlog has its end on record");
        assert_eq!(end.reason, "server-shutdown");
    }
}
