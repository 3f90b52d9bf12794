//! PROXY protocol: the device's own address is on record, and only trusted peers may tell it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::harness::{Connect, Home, PATIENCE, Version, nameless_end, wait_until};

const CONFIG: &str = "
[mqtt]
connect_timeout_s = 1
allow_anonymous = true

[[mqtt.listeners]]
name = 'behind'
listen = '127.0.0.1:0'
proxy_protocol = true
trusted_proxies = ['127.0.0.0/8']

[[mqtt.listeners]]
name = 'wary'
listen = '127.0.0.1:0'
proxy_protocol = true
trusted_proxies = ['10.0.0.0/8']

[[mqtt.listeners]]
name = 'plain'
listen = '127.0.0.1:0'
";

const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 10.0.0.1 4321 1883\r\n";

fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has closed already may reset what comes later.
    let _ = stream.write_all(bytes);
    stream
}

#[test]
fn b39_the_address_that_a_trusted_proxy_tells_is_the_peer() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    v2.extend("2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    v2.extend([0; 16]);
    v2.extend([0x10, 0xe1, 0x07, 0x5b]);
    for (client, header, peer) in [("v1", HEADER, "198.51.100.7:4321"), ("v2", &v2, "[2001:db8::7]:4321")] {
        let connect = Connect::new(Version::V311, client).bytes();
        let mut stream = send(server.listener("behind"), &[header, &connect].concat());
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        let connected = server.rest(&format!("/api/v1/connections?prefix={client}")).unwrap().body;
        assert!(connected.contains(peer), "{connected:?}");
        drop(stream);
        let history = server.history_with_ends(client, 1);
        assert!(history.items.iter().all(|event| event.peer.as_deref() == Some(peer)), "{history:?}");
    }
}

#[test]
fn b39_no_header_a_bad_one_two_of_them_or_a_stranger_s_end_the_connection() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let connect = Connect::new(Version::V311, "x").bytes();
    let cases = [
        ("behind", connect.clone(), "no PROXY protocol header"),
        ("behind", b"PROXY TCP4 1.2.3 10.0.0.1 1 2\r\n".to_vec(), "version 1"),
        ("behind", [b"PROXY TCP4 ", &[b'1'; 200][..]].concat(), "no line end"),
        ("wary", [HEADER, &connect].concat(), "not one of trusted_proxies"),
    ];
    for (listener, bytes, said) in cases {
        let mut stream = send(server.listener(listener), &bytes);
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
        let end = nameless_end(&server, stream.local_addr().unwrap());
        assert_eq!(end.reason, "proxy-header-invalid");
        assert!(end.detail.as_deref().unwrap().contains(said), "{end:?}");
    }
    // From here on the address is that of the header, also on record.
    let mut twice = send(server.listener("behind"), &HEADER.repeat(2));
    assert_eq!(twice.read(&mut [0; 1]).unwrap_or(0), 0);
    let told = wait_until("end of the one who told twice", || {
        let body = server.rest("/api/v1/addresses/198.51.100.7/events").unwrap().body;
        if body.contains("proxy-header-invalid") { Ok(body) } else { Err(body) }
    });
    assert!(told.contains("a second PROXY protocol header"), "{told}");
    // Where none is due it is no MQTT, and changes no address.
    let mut unasked = send(server.listener("plain"), &[HEADER, &connect].concat());
    assert_eq!(unasked.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(nameless_end(&server, unasked.local_addr().unwrap()).reason, "protocol-error");
}

#[test]
fn b39_half_a_header_ends_at_the_deadline() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let stream = send(server.listener("behind"), &HEADER[..20]);
    let end = nameless_end(&server, stream.local_addr().unwrap());
    assert_eq!(end.reason, "connect-timeout");
    assert!(end.detail.as_deref().unwrap().contains("no whole PROXY protocol header"), "{end:?}");
}

#[test]
fn a_proxy_s_own_health_checks_are_counted_like_those_without_a_byte() {
    let home = Home::new(CONFIG);
    let mut server = home.start_listeners();
    let v2_local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&v2_local[..], b"PROXY UNKNOWN\r\n"].repeat(25) {
        drop(send(server.listener("behind"), header));
    }
    let counts = home.data_dir().join("mqtt-counts");
    wait_until("their count in the file", || {
        let text = std::fs::read_to_string(&counts).unwrap_or_default();
        if text.contains("\"count\":49") { Ok(()) } else { Err(text) }
    });
    server.stop();
    let history = home.start_listeners().nameless_history();
    let [first, others] = &history.items[..] else { panic!("not one and the others: {history:#?}") };
    assert_eq!((first.reason.as_str(), first.count, first.detail.as_deref()), ("client-closed", None, None));
    assert_eq!((others.reason.as_str(), others.count), ("client-closed", Some(49)));
}

#[test]
fn a_close_in_the_middle_of_the_header_is_told_as_that() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let stream = send(server.listener("behind"), &HEADER[..20]);
    let address = stream.local_addr().unwrap();
    drop(stream);
    let end = nameless_end(&server, address);
    assert_eq!((end.reason.as_str(), end.count), ("client-closed", None));
    assert_eq!(end.detail.as_deref(), Some("in the middle of the PROXY protocol header"));
}
