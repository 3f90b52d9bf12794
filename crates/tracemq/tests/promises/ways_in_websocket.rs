//! MQTT over WebSocket: frames are a stream, hostile ones end at a bound, and a refused upgrade says why.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::harness::{Authority, Connect, Event, Home, PATIENCE, PINGREQ, Server, Version};
use super::harness::{client_config, nameless_end, publish, tls, wait_until};

const CONFIG: &str = "
[mqtt]
connect_timeout_s = 2
max_packet_bytes = 4096

[[mqtt.listeners]]
name = 'ws'
listen = '127.0.0.1:0'
transport = 'ws'
websocket = { origins = ['https://fleet.example'] }
";

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// A frame of a client: masked, as it must be.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first_byte, payload.len() as u64);
    let masked = payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask);
    frame.extend(masked);
    frame
}

fn head(first_byte: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first_byte];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([1, 2, 3, 4]);
    head
}

fn request(change: impl FnOnce(String) -> String) -> String {
    let usual = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    change(usual.to_owned())
}

/// A device over any stream that carries WebSocket.
struct Socket<S>(S);

impl Socket<TcpStream> {
    fn dial(server: &Server) -> Self {
        let stream = TcpStream::connect(server.listener("ws")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn end(&self, server: &Server) -> Event {
        nameless_end(server, self.0.local_addr().unwrap())
    }
}

impl<S: Read + Write> Socket<S> {
    /// The status line and headers of the answer to `request`.
    fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.0.read(&mut byte).unwrap() == 0 {
                break;
            }
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    }

    fn upgraded(mut self) -> Self {
        let answer = self.ask(&request(|usual| usual));
        assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        assert!(answer.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
        self
    }

    /// The next frame: its first byte and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        assert!(head[1] < 126, "a short frame, not masked");
        let mut payload = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    fn connected(self, client: &str) -> Self {
        let mut socket = self.upgraded();
        socket.0.write_all(&frame(BINARY, &Connect::new(Version::V311, client).bytes())).unwrap();
        assert_eq!(socket.frame(), (BINARY, vec![0x20, 2, 0, 0]));
        socket
    }

    /// The code of the close that the server sends, past whatever it sends before.
    fn close_code(&mut self) -> u16 {
        loop {
            let (first_byte, payload) = self.frame();
            if first_byte == CLOSE {
                return u16::from_be_bytes(payload.try_into().unwrap());
            }
        }
    }
}

/// The one end on record of `client`.
fn end_of(server: &Server, client: &str) -> Event {
    server.history_with_ends(client, 1).items.pop().unwrap()
}

// MQTT 3.1.1: 6.0.0-2
// MQTT 5.0: 6.0.0-2
#[test]
fn b40_packets_cut_over_frames_and_frames_of_many_packets_are_one_stream() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let mut socket = Socket::dial(&server).connected("cut");
    let publish = publish(Version::V311, "a/topic", &[7; 91]);
    assert!(publish.len() > 100);
    let mut bytes = Vec::new();
    for (at, byte) in publish.iter().enumerate() {
        let is_last = at + 1 == publish.len();
        let opcode = if at == 0 { 0x02 } else { 0x00 };
        bytes.extend(frame(opcode | u8::from(is_last) << 7, &[*byte]));
        if !is_last {
            bytes.extend(frame(0x00, &[])); // empty, and of the same message
        }
    }
    bytes.extend(frame(BINARY, &[]));
    bytes.extend(frame(BINARY, &PINGREQ.repeat(100)));
    // Through the socket in pieces that have nothing to do with frames.
    for piece in bytes.chunks(13) {
        socket.0.write_all(piece).unwrap();
    }
    let mut pongs = Vec::new();
    while pongs.len() < 200 {
        let mut head = [0; 2];
        socket.0.read_exact(&mut head).unwrap();
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut long = [0; 2];
            socket.0.read_exact(&mut long).unwrap();
            length = usize::from(u16::from_be_bytes(long));
        }
        let mut payload = vec![0; length];
        socket.0.read_exact(&mut payload).unwrap();
        pongs.extend(payload);
    }
    assert_eq!(pongs, [0xD0, 0].repeat(100));
    socket.0.write_all(&frame(BINARY, &[0xE0, 0])).unwrap();
    assert_eq!(socket.close_code(), 1000);
    assert_eq!(end_of(&server, "cut").reason, "client-disconnected");
}

#[test]
fn a_client_that_answers_the_close_meets_an_open_socket() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    for round in 0..5 {
        let mut socket = Socket::dial(&server).connected(&format!("polite-{round}"));
        socket.0.write_all(&frame(BINARY, &[0xE0, 0])).unwrap();
        assert_eq!(socket.close_code(), 1000);
        assert_eq!(socket.0.read(&mut [0; 1]).unwrap(), 0);
        for _ in 0..3 {
            socket.0.write_all(&frame(CLOSE, &1000_u16.to_be_bytes())).expect("the server still reads");
        }
    }
}

// MQTT 3.1.1: 6.0.0-1
// MQTT 5.0: 6.0.0-1
#[test]
fn b40_a_text_frame_closes() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let mut socket = Socket::dial(&server).connected("texter");
    socket.0.write_all(&frame(0x81, b"hello")).unwrap();
    assert_eq!(socket.close_code(), 1003);
    let end = end_of(&server, "texter");
    assert_eq!(end.reason, "websocket-refused");
    assert!(end.detail.as_deref().unwrap().contains("text frame [MQTT-6.0.0-1]"), "{end:?}");
}

#[test]
fn b41_frames_that_are_too_large_close_at_their_header() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    for (name, length) in [("huge", 1 << 63), ("endless", u64::MAX), ("large", 4097)] {
        let mut socket = Socket::dial(&server).connected(name);
        socket.0.write_all(&head(BINARY, length)).unwrap();
        assert_eq!(socket.close_code(), 1009);
        assert_eq!(end_of(&server, name).reason, "websocket-refused");
    }
    let mut socket = Socket::dial(&server).connected("inner");
    socket.0.write_all(&frame(BINARY, &[0x30, 0xFF, 0xFF, 0x7F, 0])).unwrap();
    assert_eq!(socket.close_code(), 1009);
    assert_eq!(end_of(&server, "inner").reason, "packet-too-large");
}

#[test]
fn b42_endless_fragments_have_an_end() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    for (name, payload) in [("nothing", &[][..]), ("bytes", &[0xC0][..])] {
        let mut socket = Socket::dial(&server).connected(name);
        let mut bytes = frame(0x02, &[]);
        for at in 0..2_000 {
            bytes.extend(frame(0x00, if at % 2 == 0 { payload } else { &[] }));
        }
        let _ = socket.0.write_all(&bytes);
        let end = end_of(&server, name);
        assert!(matches!(&*end.reason, "websocket-refused" | "malformed-packet"), "{end:?}");
    }
}

#[test]
fn b43_pings_are_answered_and_never_reach_mqtt() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let mut socket = Socket::dial(&server).connected("pinger");
    socket.0.write_all(&frame(0x89, b"are you there")).unwrap();
    assert_eq!(socket.frame(), (0x8A, b"are you there".to_vec()));
    socket.0.write_all(&frame(0x89, b"")).unwrap();
    assert_eq!(socket.frame(), (0x8A, Vec::new()));
    socket.0.write_all(&frame(0x8A, b"unasked")).unwrap();
    socket.0.write_all(&frame(0x02, &[0xC0])).unwrap();
    socket.0.write_all(&frame(0x89, b"within")).unwrap();
    assert_eq!(socket.frame(), (0x8A, b"within".to_vec()));
    socket.0.write_all(&frame(0x80, &[0])).unwrap();
    assert_eq!(socket.frame(), (BINARY, vec![0xD0, 0]));
    socket.0.write_all(&frame(CLOSE, &1001_u16.to_be_bytes())).unwrap();
    assert_eq!(socket.close_code(), 1000);
    let end = end_of(&server, "pinger");
    assert_eq!((&*end.reason, end.detail.as_deref()), ("client-closed", Some("WebSocket close, code 1001")));
}

// MQTT 3.1.1: 6.0.0-3, 6.0.0-4
// MQTT 5.0: 6.0.0-3, 6.0.0-4
#[test]
fn b44_b45_b46_an_upgrade_that_is_refused_is_answered_and_on_record_with_the_rule() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let without = |header: &'static str| {
        request(|usual| usual.split("\r\n").filter(|line| !line.starts_with(header)).collect::<Vec<_>>().join("\r\n"))
    };
    let with = |header: &str| request(|usual| usual.replacen("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"), 1));
    let cases = [
        (request(|usual| usual.replace("/mqtt", "/other")), "404", "/other"),
        (without("Upgrade:"), "426", "Upgrade"),
        ("GET /mqtt HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), "426", "Connection"),
        (request(|usual| usual.replace("GET", "POST")), "405", "GET"),
        (request(|usual| usual.replace("Version: 13", "Version: 8")), "426", "Version"),
        (without("Sec-WebSocket-Key"), "400", "Key"),
        (without("Sec-WebSocket-Protocol"), "400", "no Sec-WebSocket-Protocol"),
        (request(|usual| usual.replace("Protocol: mqtt", "Protocol: chat, \u{7f}")), "400", "invalid header value"),
        (request(|usual| usual.replace("Protocol: mqtt", "Protocol: chat")), "400", "\"chat\" is not mqtt"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "400", "HTTP/1.1"),
        (with("Origin: https://evil.example"), "403", "https://evil.example"),
        (with(&format!("X-Long: {}", "x".repeat(100_000))), "431", "8192"),
        (with(&"X: y\r\n".repeat(1_000)), "431", "headers"),
    ];
    for (request, status, said) in cases {
        let mut socket = Socket::dial(&server);
        let answer = socket.ask(&request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{said}: {answer}");
        let end = socket.end(&server);
        let detail = end.detail.unwrap_or_default();
        assert_eq!(end.reason, "websocket-refused", "{detail}");
        assert!(detail.contains(&format!("answered {status}")) && detail.contains(said), "{said}: {detail}");
    }
    let mut at_home = Socket::dial(&server);
    assert!(at_home.ask(&with("Origin: https://fleet.example")).starts_with("HTTP/1.1 101"));
}

#[test]
fn the_subprotocol_that_is_selected_is_one_that_was_offered_and_mqtt_before_others() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    for (offered, selected) in [
        ("mqttv3.1", "mqttv3.1"),
        ("mqttv3.1, mqtt", "mqtt"),
        ("chat,mqtt", "mqtt"),
        ("chat\r\nSec-WebSocket-Protocol: mqttv3.1", "mqttv3.1"),
    ] {
        let mut socket = Socket::dial(&server);
        let answer = socket.ask(&request(|usual| usual.replace("Protocol: mqtt", &format!("Protocol: {offered}"))));
        let answer = answer.to_lowercase();
        let named: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("sec-websocket-protocol: ")).collect();
        assert_eq!((answer.starts_with("http/1.1 101"), named), (true, vec![selected]), "{offered}: {answer}");
    }
    let mut none = Socket::dial(&server);
    assert!(none.ask(&request(|usual| usual.replace("Protocol: mqtt", "Protocol: MQTT"))).starts_with("HTTP/1.1 400"));
}

#[test]
fn b44_a_slow_upgrade_ends_at_the_deadline() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let mut socket = Socket::dial(&server);
    socket.0.write_all(b"GET /mqtt HTTP/1.1\r\nHost: ").unwrap();
    let end = socket.end(&server);
    assert_eq!(end.reason, "connect-timeout");
    assert!(end.detail.as_deref().unwrap().contains("no whole WebSocket upgrade"), "{end:?}");
}

#[test]
fn bytes_that_are_no_http_are_on_record() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let connect = Connect::new(Version::V311, "x").bytes();
    for (bytes, reason) in [(&connect[..], "websocket-refused"), (b"\x16\x03\x01\0\0", "tls-on-plain-port")] {
        let mut socket = Socket::dial(&server);
        socket.0.write_all(bytes).unwrap();
        assert_eq!(socket.end(&server).reason, reason);
    }
}

#[test]
fn b48_malformed_mqtt_gets_a_close_code_and_harms_nobody() {
    let home = Home::new(CONFIG);
    let server = home.start_listeners();
    let mut socket = Socket::dial(&server).connected("malformed");
    socket.0.write_all(&frame(BINARY, &[0x00, 0x00])).unwrap();
    assert_eq!(socket.close_code(), 1002);
    assert_eq!(end_of(&server, "malformed").reason, "malformed-packet");
    for (name, bytes) in [
        ("unmasked", vec![BINARY, 1, 0]),
        ("extension", frame(0xC2, b"")),
        ("opcode", frame(0x83, b"")),
        ("long-ping", frame(0x89, &[0; 126])),
        ("cut-ping", frame(0x09, b"")),
        ("continues-nothing", frame(0x80, b"")),
    ] {
        let mut socket = Socket::dial(&server).connected(name);
        socket.0.write_all(&bytes).unwrap();
        assert_eq!(socket.close_code(), 1002, "{name}");
        assert_eq!(end_of(&server, name).reason, "websocket-refused", "{name}");
    }
    assert!(!server.log().contains("panic"), "{}", server.log());
}

#[test]
fn b47_wss_asks_for_a_certificate_just_as_tls_does() {
    let config = "
        [[mqtt.listeners]]
        name = 'wss'
        listen = '127.0.0.1:0'
        transport = 'wss'
        [mqtt.listeners.tls]
        cert = 'server.pem'
        key = 'server.key'
        client_ca = 'devices.pem'
        client_certificate = 'required'
    ";
    let home = Home::new(config);
    let (own, devices) = (Authority::new("our CA"), Authority::new("device CA"));
    own.server("the server").save(home.path(), "server");
    fs::write(home.path().join("devices.pem"), devices.pem()).unwrap();
    let server = home.start_listeners();

    let mut nobody = tls(server.listener("wss"), client_config(&own, None));
    let address = nobody.sock.local_addr().unwrap();
    let _ = nobody.write_all(request(|usual| usual).as_bytes());
    assert!(nobody.read(&mut [0; 1]).is_err());
    assert_eq!(nameless_end(&server, address).reason, "certificate-refused");

    let good = devices.client("browser", 2098);
    let mut socket = Socket(tls(server.listener("wss"), client_config(&own, Some(&good)))).connected("over-wss");
    socket.0.write_all(&frame(BINARY, &[0xE0, 0])).unwrap();
    assert_eq!(socket.close_code(), 1000);
    let end = end_of(&server, "over-wss");
    assert_eq!((&*end.reason, end.certificate_subject.as_deref()), ("client-disconnected", Some("CN=browser")));
    wait_until("free places", || {
        let metrics = server.rest("/metrics").unwrap().body;
        if metrics.contains("tracemq_connections 0") { Ok(()) } else { Err(metrics) }
    });
}
