//! Promise: a listener has limits of its own, one address can't take all places of it, and the record says which limit it was.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::harness::{Connect, Event, Home, PATIENCE, Server, Version, nameless_end, publish, wait_until};

/// A connection from `source`, an address of loopback, which has sent `bytes`.
fn from(source: &str, address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes); // a server that has closed already may reset it
    stream
}

fn is_in(mut stream: &TcpStream) -> bool {
    let mut connack = [0; 4];
    matches!(stream.read_exact(&mut connack), Ok(()) if connack == [0x20, 2, 0, 0])
}

fn connect(client: &str) -> Vec<u8> {
    // Without keep alive: nothing but the operating system would ever end it.
    Connect { keep_alive_s: 0, ..Connect::new(Version::V311, client) }.bytes()
}

fn end_of(server: &Server, client: &str, stream: &TcpStream) -> Event {
    let address = stream.local_addr().unwrap().to_string();
    wait_until("end on record", || {
        let history = server.history(client);
        history.end_of(&address).cloned().ok_or(history)
    })
}

#[test]
fn b29_an_address_has_its_share_of_a_listener_and_leaves_the_rest_to_others() {
    let config = "
        [mqtt]
        max_connections_per_address = 2

        [[mqtt.listeners]]
        name = 'devices'
        listen = '127.0.0.1:0'

        [[mqtt.listeners]]
        name = 'gateways'
        listen = '127.0.0.1:0'
        max_connections_per_address = 0
    ";
    let home = Home::new(config);
    let server = home.start_listeners();
    let (devices, gateways) = (server.listener("devices"), server.listener("gateways"));
    let silent = from("127.0.0.9", devices, b"");
    let second = from("127.0.0.9", devices, &connect("second"));
    assert!(is_in(&second));

    let third = from("127.0.0.9", devices, &connect("third"));
    assert!(!is_in(&third));
    let end = nameless_end(&server, third.local_addr().unwrap());
    assert_eq!((&*end.reason, end.listener.as_deref()), ("server-overloaded", Some("devices")));
    let said = "the listener \"devices\" holds 2 connections from 127.0.0.9, the most that it takes from one address (max_connections_per_address)";
    assert_eq!(end.detail.as_deref(), Some(said));

    assert!(is_in(&from("127.0.0.8", devices, &connect("genuine"))), "another address");
    let all: Vec<_> = (0..5).map(|number| from("127.0.0.9", gateways, &connect(&format!("g{number}")))).collect();
    assert!(all.iter().all(is_in), "another listener, which has no bound");
    drop(second);
    wait_until("place of the one that has gone", || {
        if is_in(&from("127.0.0.9", devices, &connect("fourth"))) { Ok(()) } else { Err("not yet") }
    });
    drop(silent);
}

#[test]
fn b29_behind_a_proxy_it_is_the_address_of_the_client_that_counts() {
    let config = "
        [[mqtt.listeners]]
        name = 'behind'
        listen = '127.0.0.1:0'
        proxy_protocol = true
        trusted_proxies = ['127.0.0.0/8']
        allow_anonymous = true
        max_connections_per_address = 1
    ";
    let home = Home::new(config);
    let server = home.start_listeners();
    let join = |client: &str, number: u8| {
        let header = format!("PROXY TCP4 198.51.100.{number} 10.0.0.1 4321 1883\r\n");
        from("127.0.0.1", server.listener("behind"), &[header.as_bytes(), &connect(client)].concat())
    };
    let [first, other] = [join("first", 7), join("other", 8)];
    assert!(is_in(&first) && is_in(&other), "the proxy's own address is nobody's");
    assert!(!is_in(&join("second", 7)));
    let end = nameless_end(&server, "198.51.100.7:4321".parse().unwrap());
    assert_eq!(end.reason, "server-overloaded");
    assert!(end.detail.as_deref().is_some_and(|said| said.contains("from 198.51.100.7, the most")), "{end:?}");
    drop(first);
    wait_until("place of the one that has gone", || if is_in(&join("third", 7)) { Ok(()) } else { Err("not yet") });
    drop(other);
}

#[test]
fn limits_of_a_listener_take_the_place_of_those_of_all() {
    let config = "
        [mqtt]
        max_connects_per_s = 1000

        [[mqtt.listeners]]
        name = 'wide'
        listen = '127.0.0.1:0'

        [[mqtt.listeners]]
        name = 'narrow'
        listen = '127.0.0.1:0'
        max_packet_bytes = 300
        max_inflight = 3
        max_keep_alive_s = 30

        [[mqtt.listeners]]
        name = 'slow'
        listen = '127.0.0.1:0'
        max_connects_per_address_per_s = 1

        [[mqtt.listeners]]
        name = 'slower'
        listen = '127.0.0.1:0'
        max_connects_per_s = 1
    ";
    let home = Home::new(config);
    let server = home.start_listeners();
    let connack = |listener: &str| {
        let mut stream = from("127.0.0.1", server.listener(listener), &Connect::new(Version::V5, "v5").bytes());
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; usize::from(head[1])];
        stream.read_exact(&mut body).unwrap();
        let has = |property: &[u8]| body.windows(property.len()).any(|window| window == property);
        (has(&[0x21, 0, 3]), has(&[0x27, 0, 0, 1, 44]), has(&[0x13, 0, 30]))
    };
    assert_eq!(connack("narrow"), (true, true, true), "receive maximum, maximum packet size, server keep alive");
    assert_eq!(connack("wide"), (false, false, false));

    let large = [connect("large"), publish(Version::V311, "t", &[7; 400]), vec![0xE0, 0]].concat();
    for (listener, reason, detail) in [
        ("wide", "client-disconnected", None),
        ("narrow", "packet-too-large", Some("PUBLISH: 406 bytes announced; the limit is 300")),
    ] {
        let stream = from("127.0.0.1", server.listener(listener), &large);
        let end = end_of(&server, "large", &stream);
        assert_eq!((&*end.reason, end.detail.as_deref(), end.listener.as_deref()), (reason, detail, Some(listener)));
    }

    for (listener, said) in [
        (
            "slow",
            "CONNECT: more than 1 a second from 127.0.0.1 at the listener \"slow\" (max_connects_per_address_per_s)",
        ),
        ("slower", "CONNECT: more than 1 a second at the listener \"slower\" (max_connects_per_s)"),
    ] {
        let refused = wait_until("one too many", || {
            let stream = from("127.0.0.1", server.listener(listener), &connect(listener));
            if is_in(&stream) { Err("let in") } else { Ok(stream) }
        });
        let end = end_of(&server, listener, &refused);
        assert_eq!((&*end.reason, end.detail.as_deref()), ("rate-limited", Some(said)));
    }
    let address = server.listener("wide");
    assert!((0..20).all(|_| is_in(&from("127.0.0.1", address, &connect("often")))));
}

#[test]
fn a_listener_waits_for_a_connect_as_long_as_it_says() {
    let config = "
        [mqtt]
        connect_timeout_s = 3600

        [[mqtt.listeners]]
        name = 'hasty'
        listen = '127.0.0.1:0'
        connect_timeout_s = 1

        [[mqtt.listeners]]
        name = 'patient'
        listen = '127.0.0.1:0'
    ";
    let home = Home::new(config);
    let server = home.start_listeners();
    let patient = from("127.0.0.1", server.listener("patient"), b"\x10");
    let mut hasty = from("127.0.0.1", server.listener("hasty"), b"\x10");
    let mut rest = Vec::new();
    let _ = hasty.read_to_end(&mut rest);
    let end = nameless_end(&server, hasty.local_addr().unwrap());
    assert_eq!((&*end.reason, end.listener.as_deref()), ("connect-timeout", Some("hasty")));
    assert!((1_000..60_000).contains(&end.duration_ms.unwrap()), "{end:?}");
    let mut one = [0];
    patient.set_nonblocking(true).unwrap();
    assert_eq!((&patient).read(&mut one).unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "still waited for");
}
