use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tracemq_model::{InstanceId, TlsVersion};

use super::*;

const MQTT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01a\xc0\x00";
const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const PROXY: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4321 1883\r\n";

struct Ways {
    proxy: bool,
    websocket: bool,
    tls: Option<(Certificates, ClientConfig)>,
}

impl Ways {
    fn settings(&self) -> DoorSettings {
        DoorSettings {
            proxies: self.proxy.then(|| Arc::from(vec!["10.0.0.0/8".parse().unwrap()])),
            tls: self.tls.as_ref().map(|(certificates, _)| certificates.clone()),
            websocket: self.websocket.then(|| WebSocketRules { path: "/mqtt".into(), origins: Arc::from([]) }),
            ..DoorSettings::new(InstanceId::new("mqtt-local").unwrap(), "mqtt")
        }
    }
}

fn certificates() -> (Certificates, ClientConfig) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (cert, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let clients = ClientCertificates::Unasked;
    let files = TlsFiles { cert, key: key_file, clients, user_is_common_name: false };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Certificates::load(files).unwrap(), client)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip([9, 8, 7, 6].iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x82, 0x80 | u8::try_from(payload.len()).unwrap(), 9, 8, 7, 6].into_iter().chain(masked).collect()
}

/// What a client sends within TLS, if there is any: the MQTT, or frames around it.
fn inner(ways: &Ways) -> Vec<u8> {
    if !ways.websocket {
        return MQTT.to_vec();
    }
    let (first, rest) = MQTT.split_at(5);
    [UPGRADE, &frame(first), &frame(&[]), &frame(rest)].concat()
}

/// Goes the whole way in pieces of `step` bytes: gives the MQTT that arrived, what was learned, and what came back to
/// the client of `answer`.
fn travel(ways: &Ways, step: usize, answer: &[u8]) -> (Vec<u8>, Vec<Observation>, Vec<u8>) {
    let mut transport = Transport::new(&ways.settings());
    let (mut mqtt, mut news, mut heard) = (BytesMut::new(), Vec::new(), Vec::new());
    let mut feed = |transport: &mut Transport, bytes: &[u8]| {
        for piece in bytes.chunks(step) {
            transport.take(piece, &mut mqtt);
            news.extend(transport.news());
        }
    };
    if ways.proxy {
        feed(&mut transport, PROXY);
    }
    let name = "localhost".try_into().unwrap();
    let mut client =
        ways.tls.as_ref().map(|(_, config)| ClientConnection::new(Arc::new(config.clone()), name).unwrap());
    match &mut client {
        None => feed(&mut transport, &inner(ways)),
        Some(client) => {
            client.writer().write_all(&inner(ways)).unwrap();
            while client.wants_write() {
                let mut out = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut out).unwrap();
                }
                feed(&mut transport, &out);
                let mut none = BytesMut::new();
                let back = transport.wire(&mut none).split();
                client.read_tls(&mut &back[..]).unwrap();
                client.process_new_packets().unwrap();
            }
        }
    }
    assert_eq!((transport.unfinished(), transport.end()), (None, None));
    let mut out = BytesMut::from(answer);
    transport.seal(&mut out);
    transport.farewell(&Closing::DisconnectReceived { reason_code: None });
    let wire = transport.wire(&mut out).split();
    match &mut client {
        None => heard.extend_from_slice(&wire),
        Some(client) => {
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets().unwrap();
            client.reader().read_to_end(&mut heard).unwrap();
        }
    }
    (mqtt.to_vec(), news, heard)
}

#[test]
fn mqtt_arrives_whatever_it_travels_in_and_however_it_is_cut() {
    for number in 0..8 {
        let ways =
            Ways { proxy: number & 1 != 0, websocket: number & 2 != 0, tls: (number & 4 != 0).then(certificates) };
        for step in [1, 2, 3, 5, 13, 64, 1_000_000] {
            let (mqtt, news, heard) = travel(&ways, step, b"\x20\x02\0\0");
            assert_eq!(mqtt, MQTT, "{number} by {step}");
            let client = "192.0.2.7:4321".parse().unwrap();
            assert_eq!(ways.proxy, news.contains(&Observation::ProxyHeader { client }), "{news:?}");
            let is_known = |one: &Observation| {
                matches!(one, Observation::TlsHandshake(facts)
                    if facts.version == Some(TlsVersion::V13) && facts.server_name.as_deref() == Some("localhost"))
            };
            assert_eq!(ways.tls.is_some(), news.iter().any(is_known), "{news:?}");
            if ways.websocket {
                assert!(heard.starts_with(b"HTTP/1.1 101"), "{heard:?}");
                assert!(heard.ends_with(b"\x82\x04\x20\x02\0\0\x88\x02\x03\xe8"), "{heard:?}");
            } else {
                assert_eq!(heard, b"\x20\x02\0\0");
            }
        }
    }
}

#[test]
fn a_plain_connection_has_no_layers_and_behind_a_proxy_none_is_left() {
    let plain = Ways { proxy: false, websocket: false, tls: None };
    assert!(matches!(Transport::new(&plain.settings()), Transport::Tcp));
    let mut transport = Transport::new(&Ways { proxy: true, ..plain }.settings());
    transport.take(&[PROXY, MQTT].concat(), &mut BytesMut::new());
    assert_eq!(transport.news().len(), 1);
    assert!(matches!(transport, Transport::Tcp));
}

#[test]
fn a_whole_header_is_nothing_of_the_client_s_and_leaves_what_is_behind_it_unfinished() {
    let ways = Ways { proxy: true, websocket: true, tls: None };
    let mut transport = Transport::new(&ways.settings());
    let mut mqtt = BytesMut::new();
    let mut told = |bytes: &[u8]| {
        transport.take(bytes, &mut mqtt);
        (transport.unfinished(), transport.has_only_a_proxy_header())
    };
    let (most, last) = PROXY.split_at(PROXY.len() - 1);
    assert_eq!(told(most), (Some("PROXY protocol header"), false));
    assert_eq!(told(last), (Some("WebSocket upgrade"), true));
    assert_eq!(told(b"G"), (Some("WebSocket upgrade"), false));
}

#[test]
fn what_comes_with_the_end_is_taken_before_it() {
    let ways = Ways { proxy: false, websocket: true, tls: None };
    let mut transport = Transport::new(&ways.settings());
    let mut mqtt = BytesMut::new();
    let close = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
    transport.take(&[&inner(&ways)[..], &close, &frame(b"too late")].concat(), &mut mqtt);
    assert_eq!(&mqtt[..], MQTT);
    assert_eq!(transport.end().map(|end| end.reason), Some(Reason::ClientClosed));
    transport.take(&frame(b"later still"), &mut mqtt);
    assert_eq!(&mqtt[..], MQTT);
}
