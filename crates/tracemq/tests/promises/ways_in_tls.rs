//! TLS: who comes in, and what is on record of those who don't.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::harness::{Authority, Connect, Home, PATIENCE, Paper, Server, Version};
use super::harness::{client_config, nameless_end, publish, tls, wait_until};

const CONFIG: &str = "
[mqtt]
connect_timeout_s = 1

[[mqtt.listeners]]
name = 'plain'
listen = '127.0.0.1:0'

[[mqtt.listeners]]
name = 'secure'
listen = '127.0.0.1:0'
transport = 'tls'
tls = { cert = 'server.pem', key = 'server.key' }

[[mqtt.listeners]]
name = 'mutual'
listen = '127.0.0.1:0'
transport = 'tls'
[mqtt.listeners.tls]
cert = 'server.pem'
key = 'server.key'
client_ca = 'devices.pem'
client_certificate = 'required'
username_from = 'common-name'
";

struct World {
    home: Home,
    own: Authority,
    devices: Authority,
}

impl World {
    fn new(config: &str) -> (Self, Server) {
        let home = Home::new(config);
        let (own, devices) = (Authority::new("our CA"), Authority::new("device CA"));
        own.server("the server").save(home.path(), "server");
        fs::write(home.path().join("devices.pem"), devices.pem()).unwrap();
        let server = home.start_listeners();
        (Self { home, own, devices }, server)
    }

    fn client(&self, paper: Option<&Paper>) -> ClientConfig {
        client_config(&self.own, paper)
    }
}

/// CONNECT, PUBLISH and DISCONNECT over TLS; gives the CONNACK's code.
fn visit(address: SocketAddr, config: ClientConfig, client: &str) -> std::io::Result<u8> {
    let mut stream = tls(address, config);
    stream.write_all(&Connect::new(Version::V311, client).bytes())?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    stream.write_all(&publish(Version::V311, "a", &[7; 40_000]))?;
    stream.write_all(&[0xE0, 0])?;
    stream.flush()?;
    let _ = stream.read(&mut [0; 1]);
    Ok(connack[3])
}

#[test]
fn a_device_over_tls_has_its_tls_on_record() {
    let (world, server) = World::new(CONFIG);
    assert_eq!(visit(server.listener("secure"), world.client(None), "over-tls").unwrap(), 0);
    let history = server.history_with_ends("over-tls", 1);
    let [connect, end] = &history.items[..] else { panic!("{history:?}") };
    for event in [connect, end] {
        assert_eq!((event.listener.as_deref(), event.tls_version.as_deref()), (Some("secure"), Some("1.3")));
        assert_eq!((event.server_name.as_deref(), &event.certificate_subject), (Some("localhost"), &None));
    }
    assert_eq!(end.reason, "client-disconnected");
}

#[test]
fn a_client_certificate_is_the_user_and_on_record() {
    let config = CONFIG.replace("[mqtt]", "[mqtt]\nusers_file = 'users'")
        + "\n[[mqtt.rules]]\nusers = ['pump-07']\npublish = ['b']\n";
    let (world, server) = World::new(&config);
    let good = world.devices.client("pump-07", 2098);
    assert_eq!(visit(server.listener("mutual"), world.client(Some(&good)), "pump").unwrap(), 0);
    let history = server.history_with_ends("pump", 1);
    for event in &history.items {
        assert_eq!(event.username.as_deref(), Some("pump-07"));
        assert_eq!(event.certificate_subject.as_deref(), Some("CN=pump-07"));
        assert_eq!(event.certificate_issuer.as_deref(), Some("CN=device CA"));
        assert_eq!(event.certificate_not_after.as_deref(), Some("2098-12-31T00:00:00.000Z"));
    }
    assert_eq!(history.items[1].reason, "publish-not-authorized", "the rules of the user hold");

    let nobody = world.devices.client("nobody", 2098);
    assert_eq!(visit(server.listener("mutual"), world.client(Some(&nobody)), "nobody").unwrap(), 5);
    let history = server.history_with_ends("nobody", 1);
    assert_eq!((&*history.items[0].reason, history.items[0].username.as_deref()), ("not-authorized", Some("nobody")));
}

/// Whether a session was there.
fn resumes(address: SocketAddr, config: ClientConfig, connect: &Connect) -> bool {
    let mut stream = tls(address, config);
    stream.write_all(&connect.bytes()).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[3], 0);
    stream.write_all(&[0xE0, 0]).unwrap();
    stream.flush().unwrap();
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "closed");
    connack[2] == 1
}

#[test]
fn b51_a_session_belongs_to_the_user_of_the_certificate_whatever_connect_says() {
    let (world, server) = World::new(CONFIG);
    let [alice, bob] = ["alice", "bob"].map(|name| world.devices.client(name, 2098));
    let silent = Connect { clean: false, ..Connect::new(Version::V311, "meter-1") };
    let says_alice = silent.clone().login("alice", "");
    let visits = [
        (&alice, &silent, false),
        (&alice, &silent, true),
        (&bob, &silent, false),
        (&bob, &says_alice, true),
        (&alice, &says_alice, false),
        (&bob, &says_alice, false),
    ];
    for (number, (paper, connect, is_present)) in visits.into_iter().enumerate() {
        let found = resumes(server.listener("mutual"), world.client(Some(paper)), connect);
        assert_eq!(found, is_present, "visit {number}");
    }
}

#[test]
fn b51_who_only_says_the_name_of_a_certificate_does_not_get_its_session() {
    let (world, server) = World::new(CONFIG);
    let alice = world.devices.client("alice", 2098);
    let silent = Connect { clean: false, ..Connect::new(Version::V311, "meter-1") };
    let as_alice = || resumes(server.listener("mutual"), world.client(Some(&alice)), &silent);
    assert!(!as_alice() && as_alice());
    let anonymous = |login| {
        let mut stream = TcpStream::connect(server.listener("plain")).unwrap();
        stream.write_all(&Connect { login, ..silent.clone() }.bytes()).unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        stream.write_all(&[0xE0, 0]).unwrap();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "closed");
        assert_eq!(connack[3], 0);
        connack[2] == 1
    };
    assert!(!anonymous(Some(("alice", ""))), "the session of the certificate");
    assert!(anonymous(None), "a name that nobody proved is as good as none");
    assert!(!as_alice(), "what the other left under that name");
}

#[test]
fn a_client_certificate_that_is_refused_is_on_record_with_whose_it_is_and_why() {
    let (world, server) = World::new(CONFIG);
    let expired = world.devices.client("old-pump", 2020);
    let stranger = Authority::new("another CA").client("stranger", 2098);
    let cases = [
        (Some(&expired), "expired", Some("CN=old-pump"), Some("2020-12-31T00:00:00.000Z")),
        (Some(&stranger), "not in client_ca", Some("CN=stranger"), Some("2098-12-31T00:00:00.000Z")),
        (None, "no certificate", None, None),
    ];
    for (paper, said, subject, not_after) in cases {
        let mut stream = tls(server.listener("mutual"), world.client(paper));
        let address = stream.sock.local_addr().unwrap();
        let _ = stream.write_all(&Connect::new(Version::V311, "x").bytes());
        let refusal = stream.read(&mut [0; 1]).unwrap_err().to_string();
        assert!(refusal.contains("alert") || refusal.contains("Alert"), "the client is told by an alert: {refusal}");
        let end = nameless_end(&server, address);
        assert_eq!((&*end.reason, end.listener.as_deref()), ("certificate-refused", Some("mutual")));
        let detail = end.detail.unwrap();
        assert!(detail.contains(said) && detail.contains("alert sent: "), "{detail}");
        assert!(detail.contains("offered: TLS 1.3, TLS 1.2"), "{detail}");
        assert_eq!((end.certificate_subject.as_deref(), end.certificate_not_after.as_deref()), (subject, not_after));
        assert_eq!(end.server_name.as_deref(), Some("localhost"));
    }
}

#[test]
fn a_client_that_does_not_know_our_ca_is_on_record_with_its_alert() {
    let (_world, server) = World::new(CONFIG);
    let mut stream = tls(server.listener("secure"), client_config(&Authority::new("another CA"), None));
    let address = stream.sock.local_addr().unwrap();
    assert!(stream.write_all(b"x").is_err());
    let end = nameless_end(&server, address);
    assert_eq!((&*end.reason, end.server_name.as_deref()), ("tls-failure", Some("localhost")));
    assert!(end.detail.as_deref().unwrap().contains("client sent the alert UnknownCA"), "{end:?}");
}

#[test]
fn versions_that_are_too_old_are_on_record() {
    let (_world, server) = World::new(CONFIG);
    // A client hello of TLS 1.0, without extensions.
    let mut hello = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\x00\x04\x00\x2f\x00\x35\x01\x00");
    let mut stream = TcpStream::connect(server.listener("secure")).unwrap();
    stream.write_all(&hello).unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:x?}");
    let end = nameless_end(&server, stream.local_addr().unwrap());
    assert_eq!(end.reason, "tls-failure");
    let detail = end.detail.unwrap();
    assert!(detail.contains("offered: TLS 1.0") && detail.contains("alert sent: "), "{detail}");
}

#[test]
fn the_wrong_kind_of_port_is_on_record() {
    let (world, server) = World::new(CONFIG);
    let connect = Connect::new(Version::V311, "lost").bytes();
    let cases: [(&str, &[u8], &str); 4] = [
        ("secure", &connect, "plain-on-tls-port"),
        ("secure", b"GET / HTTP/1.1\r\n\r\n", "http-on-mqtt-port"),
        ("secure", b"\0\0\0\0", "plain-on-tls-port"),
        ("plain", b"GET / HTTP/1.1\r\n\r\n", "http-on-mqtt-port"),
    ];
    for (listener, bytes, reason) in cases {
        let mut stream = TcpStream::connect(server.listener(listener)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        assert_eq!(nameless_end(&server, stream.local_addr().unwrap()).reason, reason);
    }
    let mut stream = tls(server.listener("plain"), world.client(None));
    let address = stream.sock.local_addr().unwrap();
    assert!(stream.write_all(&connect).is_err());
    assert_eq!(nameless_end(&server, address).reason, "tls-on-plain-port");
}

#[test]
fn b28_a_handshake_that_stops_ends_at_the_deadline_and_others_go_on() {
    let (world, server) = World::new(CONFIG);
    let hello = {
        let mut bytes = Vec::new();
        let name = "localhost".try_into().unwrap();
        let mut session = rustls::ClientConnection::new(world.client(None).into(), name).unwrap();
        session.write_tls(&mut bytes).unwrap();
        bytes
    };
    let begun = Instant::now();
    let silent: Vec<_> = [&[][..], &hello[..1], &hello[..hello.len() / 2], &hello[..]]
        .into_iter()
        .map(|part| {
            let mut stream = TcpStream::connect(server.listener("secure")).unwrap();
            stream.write_all(part).unwrap();
            stream
        })
        .collect();
    assert_eq!(visit(server.listener("secure"), world.client(None), "meanwhile").unwrap(), 0);
    server.history_with_ends("meanwhile", 1);
    assert!(begun.elapsed() < Duration::from_secs(1), "a silent client held another up");
    for stream in silent {
        let end = nameless_end(&server, stream.local_addr().unwrap());
        assert_eq!(end.reason, "connect-timeout");
        assert!(end.detail.as_deref().unwrap().contains("no whole TLS handshake"), "{end:?}");
        assert!((1_000..5_000).contains(&end.duration_ms.unwrap()), "{end:?}");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_handshake_is_on_record_with_what_is_known() {
    let (world, server) = World::new(CONFIG);
    let mut session =
        rustls::ClientConnection::new(world.client(None).into(), "localhost".try_into().unwrap()).unwrap();
    let mut stream = TcpStream::connect(server.listener("secure")).unwrap();
    session.write_tls(&mut stream).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(stream.read(&mut [0; 1]).unwrap() > 0);
    stream.shutdown(Shutdown::Write).unwrap();
    let end = nameless_end(&server, stream.local_addr().unwrap());
    assert_eq!((&*end.reason, end.server_name.as_deref()), ("client-closed", Some("localhost")));
    assert_eq!(end.detail.as_deref(), Some("in the middle of the TLS handshake"));
}

#[test]
fn b33_certificates_are_reloaded_and_bad_ones_leave_the_old_in_force() {
    let (world, server) = World::new(CONFIG);
    let secure = server.listener("secure");
    let is_served = |common_name: &str, client: &str| {
        let mut stream = tls(secure, world.client(None));
        stream.write_all(&Connect::new(Version::V311, client).bytes()).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
        shown.windows(common_name.len()).any(|window| window == common_name.as_bytes())
    };
    let lines = |word: &str| server.log().matches(word).count();
    let hang_up_until = |word: &str| {
        let before = lines(word);
        server.hang_up();
        wait_until(word, || if lines(word) >= before + 2 { Ok(()) } else { Err(server.log()) }); // two listeners
    };
    assert!(is_served("the server", "before"));
    let mut kept = tls(secure, world.client(None));
    kept.write_all(&Connect::new(Version::V311, "kept").bytes()).unwrap();
    kept.read_exact(&mut [0; 4]).unwrap();

    let cert = world.home.path().join("server.pem");
    let new = world.own.server("its successor");
    let half = &new.cert[..new.cert.len() / 2];
    for bad in [Some(&*new.cert), Some(half), Some(""), None] {
        match bad {
            Some(text) => fs::write(&cert, text).unwrap(),
            None => fs::remove_file(&cert).unwrap(),
        }
        hang_up_until("certificates not reloaded");
        assert!(is_served("the server", "in-between"), "after {bad:?}");
    }
    new.save(world.home.path(), "server");
    hang_up_until("certificates reloaded");
    assert!(is_served("its successor", "after") && !is_served("the server", "after-all"));
    kept.write_all(&[0xC0, 0]).unwrap();
    let mut pong = [0; 2];
    kept.read_exact(&mut pong).unwrap();
    assert_eq!(pong, [0xD0, 0], "a connection outlives the reload");
}

#[test]
fn a_plain_device_is_as_it_was() {
    let (_world, server) = World::new(CONFIG);
    let mut stream = TcpStream::connect(server.listener("plain")).unwrap();
    stream.write_all(&Connect::new(Version::V311, "plain").bytes()).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    drop(stream);
    let history = server.history_with_ends("plain", 1);
    assert_eq!((&history.items[0].tls_version, history.items[0].listener.as_deref()), (&None, Some("plain")));
}
