//! Promise: no bytes from the network bring the server down, disturb a good client, or leave a hole in the record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{
    Connect, Device, Dice, Event, Home, PINGREQ, Server, VERSIONS, Version, packet, publish, string, subscribe, varint,
    wait_until,
};

/// A quiet short deadline for those who only pretend to begin.
const CONFIG: &str = "[mqtt]\nconnect_timeout_s = 1\n";

/// Connections whose end has to be on record: named by client, or by address only.
#[derive(Default)]
struct Thrown {
    by_client: BTreeMap<String, String>,
    by_address: Vec<String>,
    /// Names in broken CONNECT packets: the record may be under them, if that much could be read.
    perhaps_named: BTreeSet<&'static str>,
    /// Sockets stay open on our side, so that no two connections share a port.
    devices: Vec<Device>,
}

impl Thrown {
    /// Throws `bytes` at the port, as the first thing said.
    fn before_connect(&mut self, server: &Server, name: Option<&'static str>, bytes: &[u8]) {
        self.perhaps_named.extend(name);
        let mut device = Device::dial(server);
        let _ = device.try_send(bytes); // the server may close before it has taken all
        self.by_address.push(device.address());
        self.keep(device);
    }

    /// Throws `bytes` at the port, after a good CONNECT.
    fn after_connect(&mut self, server: &Server, version: Version, bytes: &[u8]) {
        let client = format!("hostile-{}", self.by_client.len());
        let mut device = Device::connect(server, &Connect::new(version, &client));
        let _ = device.try_send(bytes);
        self.by_client.insert(client, device.address());
        self.keep(device);
    }

    /// What we don't end, the server must, or has already.
    fn keep(&mut self, mut device: Device) {
        if self.devices.len().is_multiple_of(2) {
            let _ = device.try_half_close();
        }
        self.devices.push(device);
    }

    fn end_all(&mut self) {
        for (number, device) in self.devices.drain(..).enumerate() {
            if number.is_multiple_of(3) { device.reset() } else { device.close() }
        }
    }
}

/// Packets that break a rule of the specification, or stretch one, after a CONNECT.
fn broken_packets(version: Version) -> Vec<Vec<u8>> {
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let topic = string("a");
    let slashes = "/".repeat(65_535);
    let deep_filter = "+/".repeat(32_767);
    let mut packets = vec![
        vec![0x00, 0],                                                   // reserved type
        vec![0xF0, 0],                                                   // AUTH, which was not asked for
        vec![0xF1, 0],                                                   // and with a flag
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],                        // a length of five bytes
        vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F],                              // 256 MiB announced
        vec![0x30, 0],                                                   // PUBLISH without a topic
        packet(0x30, &[0, 0]),                                           // with an empty one
        packet(0x30, &[0xFF, 0xFF, b'a']),                               // with one longer than the packet
        packet(0x36, &[&*topic, &[0, 1], properties].concat()),          // QoS 3
        packet(0x32, &[&*topic, &[0, 0], properties].concat()),          // QoS 1 without an id
        packet(0x34, &[&*topic, &[0, 0], properties].concat()),          // QoS 2 without an id
        packet(0x38, &[&*topic, properties].concat()),                   // DUP with QoS 0
        packet(0x30, &[&*string(b"a\0b"), properties].concat()),         // U+0000
        packet(0x30, &[&*string(b"\xED\xA0\x80"), properties].concat()), // a surrogate
        packet(0x30, &[&*string(b"\xC0\x80"), properties].concat()),     // over-long UTF-8
        packet(0x30, &[&*string(b"\xFF\xFE"), properties].concat()),     // no UTF-8
        packet(0x30, &[&*string(&slashes), properties].concat()),
        packet(0x40, &[0, 7]), // PUBACK of nothing
        packet(0x50, &[0, 7]), // PUBREC of nothing
        packet(0x62, &[0, 7]), // PUBREL of nothing
        packet(0x70, &[0, 7]), // PUBCOMP of nothing
        packet(0x60, &[0, 7]), // PUBREL without its flag
        packet(0x62, &[]),
        packet(0x82, &[&[0, 1][..], properties].concat()), // SUBSCRIBE to nothing
        packet(0x82, &[&[0, 0][..], properties, &topic, &[0]].concat()), // without an id
        packet(0x82, &[&[0, 1][..], properties, &topic, &[3]].concat()), // QoS 3
        packet(0x82, &[&[0, 1][..], properties, &topic, &[0xC0]].concat()), // reserved options
        packet(0x82, &[&[0, 1][..], properties, &topic].concat()), // options cut off
        packet(0x82, &[&[0, 1][..], properties, &string(&deep_filter), &[0]].concat()),
        packet(0x82, &[&[0, 1][..], properties, &[&*string("a/+"), &[1]].concat().repeat(20_000)].concat()),
        packet(0xA2, &[&[0, 1][..], properties].concat()), // UNSUBSCRIBE from nothing
        packet(0xA2, &[&[0, 0][..], properties, &topic].concat()),
        packet(0xC0, &[1]),          // PINGREQ with a body
        packet(0xE0, &[0, 0, 0, 0]), // DISCONNECT with too much of one
        packet(0xE1, &[]),           // with a flag
        Connect::new(version, "second").bytes(),
    ];
    for filter in ["a/#/b", "#a", "a+", "", "$share/g", "$share//a", "$share/g/", "$share/g+/a", "$share/#/a"] {
        packets.push(subscribe(version, filter));
    }
    for topic in ["#", "a/+", "$SYS/broker/uptime", "$share/g/a", "$"] {
        packets.push(publish(version, topic, b"x"));
    }
    // What only a server may send.
    packets.extend([0x20, 0x90, 0xB0, 0xD0].map(|first_byte| packet(first_byte, &[0, 1, 0])));
    packets
}

/// MQTT 5.0 properties where they may not be, twice, cut, or without end.
fn broken_properties() -> Vec<Vec<u8>> {
    let publish_with =
        |properties: &[u8]| packet(0x30, &[&*string("a"), &varint(properties.len()), properties].concat());
    let user_property = [&[0x26][..], &string("k"), &string("v")].concat();
    vec![
        publish_with(&[0x0B, 1]),                      // a subscription identifier from a client
        publish_with(&[0x01, 0, 0x01, 0]),             // twice
        publish_with(&[0x01, 7]),                      // a value that does not exist
        publish_with(&[0x23, 0, 0]),                   // topic alias 0
        publish_with(&[0x23, 0xFF, 0xFF]),             // topic alias above the maximum
        publish_with(&[0x7F, 0]),                      // an unknown property
        publish_with(&[0x08, 0, 3, b'a', b'/', b'#']), // a response topic with a wildcard
        publish_with(&[0x26, 0, 1]),                   // cut off
        publish_with(&user_property.repeat(10_000)),
        packet(0x30, &[&*string("a"), &[0x80, 0x80, 0x80, 0x80, 1]].concat()),
        packet(0x30, &[&*string("a"), &[50]].concat()), // longer than the packet
        packet(0x30, &[&*string(""), &[0]].concat()),   // no topic and no alias
        packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 9]),        // a session that wants to live on after all
        packet(0xE0, &[0xAA, 0]),                       // a reason that does not exist
    ]
}

/// CONNECT packets that break a rule, each with the client identifier that it tries to say.
fn broken_connects() -> Vec<(&'static str, Vec<u8>)> {
    let connect = |protocol: &[u8], level: u8, flags: u8, properties: &[u8], client: &'static str, rest: &[u8]| {
        let head = [&*string(protocol), &[level, flags, 0, 60], properties].concat();
        (client, packet(0x10, &[&*head, &string(client), rest].concat()))
    };
    let v311 = |flags, client, rest: &[u8]| connect(b"MQTT", 4, flags, &[], client, rest);
    let v5 = |properties: &[u8], client| connect(b"MQTT", 5, 2, properties, client, &[]);
    vec![
        v311(3, "reserved-flag", &[]),
        v311(0x1E, "will-qos-3", &[string("a"), string("x")].concat()),
        v311(0x22, "will-retain-without-will", &[]),
        v311(0x42, "password-without-user", &string("secret")),
        v311(0xC2, "no-user-there", &[]),
        v311(0x06, "will-of-wildcards", &[string("a/#"), string("")].concat()),
        v311(0x06, "will-without-topic", &[string(""), string("")].concat()),
        v311(2, "trailing-bytes", &[0; 9]),
        v5(&[6, 0x21, 0, 0, 0x21, 0, 0], "receive-maximum-0-twice"),
        v5(&[0x80, 0x80, 0x80, 0x80, 1], "property-length-of-five-bytes"),
        v5(&[6, 0x15, 0, 1, b'x', 0x7F, 0], "unknown-property"),
        v5(&[4, 0x15, 0, 1, b'x'], "authentication-that-nobody-speaks"),
        v5(&[5, 0x27, 0, 0, 0, 0], "maximum-packet-size-0"),
        connect(b"MQTT", 0, 2, &[], "level-0", &[]),
        connect(b"MQTT", 0x84, 2, &[], "bridge-level", &[]),
        connect(b"mqtt", 4, 2, &[], "small-letters", &[]),
        connect(b"\0\0\0\0", 4, 2, &[], "zeros", &[]),
    ]
}

/// Things that are said first, and are no CONNECT that names a client.
fn broken_beginnings() -> Vec<Vec<u8>> {
    let mut beginnings = vec![
        vec![],
        vec![0x10],
        vec![0x10, 0],
        vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F],
        vec![0x1F, 12],
        packet(0x11, &[0; 12]),
        packet(0x10, &[&*string("MQTT"), &[4, 2, 0, 60], &string(b"\xFF\xFF")].concat()),
        packet(0x10, &[&*string("MQTT"), &[4, 2, 0, 60, 0xFF, 0xFF, b'a']].concat()),
        packet(0x10, &[0xFF; 20]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A!\x11\x00\x0C".to_vec(),
        vec![0x16, 3, 1, 0xFF, 0xFF],
        vec![0x80, 0x2E, 1, 3, 1],
        vec![0; 70_000],
        vec![0xFF; 70_000],
        PINGREQ.repeat(1000),
    ];
    for version in VERSIONS {
        beginnings.push(publish(version, "a", b"x"));
        beginnings.push(subscribe(version, "#"));
        // A good CONNECT, cut before its client identifier is whole.
        let connect = Connect::new(version, "cut").bytes();
        beginnings.extend((1..connect.len()).map(|length| connect[..length].to_vec()));
    }
    beginnings
}

/// A subscriber and a publisher that go on working whatever else happens.
fn good_clients(server: &Server) -> [Device; 2] {
    let mut subscriber = Device::connect(server, &Connect::new(Version::V5, "good-subscriber"));
    subscriber.send(&subscribe(Version::V5, "good/#"));
    assert_eq!(subscriber.receive().0, 0x90);
    [subscriber, Device::connect(server, &Connect::new(Version::V311, "good-publisher"))]
}

fn assert_still_good([subscriber, publisher]: &mut [Device; 2], word: &str) {
    publisher.send(&publish(Version::V311, "good/news", word.as_bytes()));
    let (first_byte, body) = subscriber.receive();
    assert_eq!((first_byte, body), (0x30, [&*string("good/news"), &[0], word.as_bytes()].concat()));
}

/// Every connection that was thrown has its one end on record.
fn assert_all_on_record(server: &Server, thrown: &Thrown) {
    for (client, address) in &thrown.by_client {
        let history = wait_until(&format!("end of {client}"), || {
            let history = server.history(client);
            if history.end_of(address).is_some() { Ok(history) } else { Err(history) }
        });
        history.assert_every_connection_ended_once();
    }
    let others = wait_until("end of all other connections", || {
        let mut histories: Vec<_> = thrown.perhaps_named.iter().map(|name| server.history(name)).collect();
        histories.push(server.nameless_history());
        let has_ended = |address: &&String| histories.iter().any(|history| history.end_of(address).is_some());
        let missing: Vec<_> = thrown.by_address.iter().filter(|address| !has_ended(address)).cloned().collect();
        if missing.is_empty() { Ok(histories) } else { Err(missing) }
    });
    let mut ends = BTreeMap::<_, Vec<&Event>>::new();
    for event in others.iter().flat_map(|history| &history.items).filter(|event| event.is_end()) {
        ends.entry(event.peer.as_deref().unwrap()).or_default().push(event);
    }
    for address in &thrown.by_address {
        assert_eq!(ends[&**address].len(), 1, "{:#?}", ends[&**address]);
        assert_ne!(ends[&**address][0].reason, "internal-error", "{:#?}", ends[&**address]);
    }
    assert_eq!(ends.len(), thrown.by_address.len(), "ends of connections that nobody made");
}

#[test]
fn forbidden_packets_hurt_only_their_senders() {
    let home = Home::new(CONFIG);
    let mut server = home.start();
    let mut good = good_clients(&server);
    let mut thrown = Thrown::default();
    for bytes in broken_beginnings() {
        thrown.before_connect(&server, None, &bytes);
    }
    for (name, bytes) in broken_connects() {
        thrown.before_connect(&server, Some(name), &bytes);
    }
    assert_still_good(&mut good, "after the beginnings");
    for version in VERSIONS {
        for bytes in broken_packets(version) {
            thrown.after_connect(&server, version, &bytes);
        }
    }
    for bytes in broken_properties() {
        thrown.after_connect(&server, Version::V5, &bytes);
    }
    assert_still_good(&mut good, "after the packets");
    thrown.end_all();
    assert_all_on_record(&server, &thrown);
    assert_still_good(&mut good, "at the end");
    assert!(server.is_running());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn noise_hurts_only_its_senders() {
    let home = Home::new(CONFIG);
    let mut server = home.start();
    let mut good = good_clients(&server);
    let mut thrown = Thrown::default();
    let mut dice = Dice::new(20_261_122);
    for _ in 0..300 {
        let length = dice.below(200);
        let mut noise = dice.bytes(length);
        if let Some(first_byte) = noise.first_mut() {
            *first_byte |= 0x20; // anything but CONNECT, which could name a client by accident
        }
        thrown.before_connect(&server, None, &noise);
    }
    for number in 0..300 {
        let version = VERSIONS[number % 2];
        // Noise behind a good first byte and a good length gets further than noise alone.
        let first_byte = [0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xE0][number % 10];
        let length = dice.below(60);
        thrown.after_connect(&server, version, &packet(first_byte, &dice.bytes(length)));
    }
    assert_still_good(&mut good, "after the noise");
    thrown.end_all();
    assert_all_on_record(&server, &thrown);
    assert_still_good(&mut good, "at the end");
    assert!(server.is_running());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn connections_leave_descriptors_for_the_store_and_for_answers() {
    let home = Home::new("");
    let serve = home.serve_command();
    let mut limited = Command::new("sh");
    limited.current_dir(home.path()).args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
    limited.arg(serve.get_program()).args(serve.get_args());
    let server = home.start_command(limited);
    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(server.mqtt).unwrap()).collect();
    let refused = wait_until("the ones too many are on record", || {
        let history = server.nameless_history();
        let refused = history.items.iter().filter(|event| event.reason == "server-overloaded").count();
        if refused > 0 { Ok(refused) } else { Err("nothing yet") }
    });
    assert!(refused <= 100 - 20, "hardly any place for clients: {refused} of 100 were refused");
    drop(crowd);
    wait_until("places are free again", || {
        let mut device = Device::try_dial(&server)?;
        device.try_send(&Connect::new(Version::V311, "late").bytes())?;
        device.try_receive().map(|_| device.close())
    });
    server.history_with_ends("late", 1).assert_every_connection_ended_once();
}

/// B3, through the door: a thousand clients announce the largest packet there is, and then say nothing.
#[test]
fn a_thousand_announced_giants_cost_no_memory() {
    const CLIENTS: usize = 1_000;
    let home = Home::new("[mqtt]\nconnect_timeout_s = 60\n"); // not by the deadline are they closed
    let server = home.start();
    Device::connect(&server, &Connect::new(Version::V311, "good")).close();
    server.history_with_ends("good", 1);
    let before = server.resident_kib();
    let mut giants: Vec<_> = (0..CLIENTS).map(|_| Device::dial(&server)).collect();
    giants.iter_mut().for_each(|giant| giant.send(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]));
    for giant in &mut giants {
        assert!(giant.receive_until_closed().is_empty(), "closed at the length, without a word");
    }
    let all = wait_until("an end on record for each", || {
        let history = server.nameless_history();
        let ends = history.items.iter().filter(|event| event.is_end()).count();
        if ends == CLIENTS { Ok(history) } else { Err(ends) }
    });
    assert!(all.items.iter().filter(|event| event.is_end()).all(|event| event.reason == "packet-too-large"));
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 8 * CLIENTS as u64, "{grown} KiB more for {CLIENTS} clients");
    Device::connect(&server, &Connect::new(Version::V311, "good")).close();
    server.history_with_ends("good", 2).assert_every_connection_ended_once();
}
