//! Promise: a program elsewhere decides who comes in; without its word nobody does, and its silence stands on record.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::{Authority, Connect, Device, Home, Paper, Server, Version, packet, publish, string, wait_until};

/// A program that gives `answer` (status line and body) to everything, and tells what it was asked.
fn program(
    answer: impl Fn(&serde_json::Value) -> Option<String> + Send + 'static,
) -> (SocketAddr, Receiver<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut silent = Vec::new(); // kept open
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let Some(question) = read(&mut BufReader::new(&stream)) else { continue };
            let _ = tell.send(question.clone());
            match answer(&question) {
                Some(answer) => drop((&stream).write_all(answer.as_bytes())),
                None => silent.push(stream),
            }
        }
    });
    (address, told)
}

fn read(reader: &mut impl BufRead) -> Option<serde_json::Value> {
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// A program that lets everybody in, over TLS. Counts whom it was asked about.
fn program_over_tls(paper: &Paper) -> (SocketAddr, Receiver<serde_json::Value>) {
    let chain = vec![CertificateDer::from_pem_slice(paper.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(paper.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream.unwrap()));
            // None when the handshake fails.
            let Some(question) = read(&mut stream) else { continue };
            let _ = tell.send(question);
            let mut stream = stream.into_inner();
            let _ = stream.write_all(http("200 OK", r#"{"result":"allow"}"#).as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (address, told)
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn config(address: SocketAddr, more: &str) -> String {
    format!("[mqtt.hook]\nurl = 'http://{address}/auth'\ntimeout_ms = 1000\n{more}\n")
}

/// The code of the CONNACK, and what stands on record if it is a refusal.
fn login(server: &Server, client: &str, user: &'static str, password: &'static str) -> (u8, Option<(String, String)>) {
    let mut device = Device::dial(server);
    device.send(&Connect::new(Version::V311, client).login(user, password).bytes());
    let code = device.receive().1[1];
    if code == 0 {
        return (0, None);
    }
    let target = format!("/api/v1/clients/{client}/events?order=asc&limit=1000");
    let end = wait_until("end on record", || {
        let answer = server.rest(&target).unwrap();
        let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let mut items = page["items"].as_array().unwrap().iter();
        let text = |event: &serde_json::Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let end = items.find(|event| event["action"] == "close").map(|end| (text(end, "reason"), text(end, "detail")));
        end.ok_or(page)
    });
    (code, Some(end))
}

#[test]
fn b64_the_program_is_sent_each_value_as_one_and_its_word_holds() {
    let (address, told) = program(|asked| {
        Some(match asked["password"].as_str() {
            Some("good") => {
                http("200 OK", r#"{"result":"allow","acl":[{"permission":"allow","action":"publish","topic":"a/%c"}]}"#)
            }
            Some("plain") => http("204 No Content", ""),
            Some("ignored") => http("200 OK", r#"{"result":"ignore"}"#),
            _ => http("200 OK", r#"{"result":"deny"}"#),
        })
    });
    let home = Home::new(&config(address, "cache_s = 60"));
    let server = home.start();
    let user = "a&b=c\"'\\{};";
    assert_eq!(login(&server, "plain", user, "plain").0, 0);
    let asked = told.recv().unwrap();
    assert_eq!((&asked["username"], &asked["clientid"]), (&user.into(), &"plain".into()));
    assert_eq!((&asked["peerhost"], &asked["instance"]), (&"127.0.0.1".into(), &"mqtt-local".into()));

    let mut device = Device::connect(&server, &Connect::new(Version::V311, "ruled").login("x", "good"));
    device.send(&publish(Version::V311, "a/ruled", b"x"));
    device.send(&publish(Version::V311, "a/other", b"x"));
    let history = server.history_with_ends("ruled", 1);
    assert_eq!(history.items.last().unwrap().reason, "publish-not-authorized");
    assert_eq!(told.recv().unwrap()["clientid"], "ruled");

    for (client, password) in [("denied", "bad-pass"), ("unknown", "ignored")] {
        let (code, end) = login(&server, client, "x", password);
        assert_eq!((code, &*end.unwrap().0), (4, "bad-credentials"));
        told.recv().unwrap();
    }
    assert_eq!(login(&server, "plain", user, "plain").0, 0, "remembered");
    assert!(told.try_recv().is_err(), "and not asked again");
    assert!(!server.log().contains("bad-pass"), "b92: no password in the log");
}

#[test]
fn an_answer_in_emqx_s_words_narrows_by_qos_retain_and_eq() {
    let (address, _told) = program(|_| {
        Some(http(
            "200 OK",
            r##"{"result":"allow","expire_at":4102444800,"acl":[
            {"permission":"deny","action":"publish","topic":"up/${clientid}","retain":true},
            {"permission":"allow","action":"publish","topic":"up/${clientid}","qos":[1]},
            {"permission":"allow","action":"subscribe","topic":"eq for/${username}/#"},
            {"permission":"allow","action":"subscribe","topic":"for/${username}/+","qos":[0]}]}"##,
        ))
    });
    let home = Home::new(&format!("mqtt.on_refusal = 'reason-code'\n{}", config(address, "")));
    let server = home.start();
    let mut device = Device::connect(&server, &Connect::new(Version::V5, "pump").login("ops", "x"));
    let mut answer = |first: u8, body: &[u8]| {
        device.send(&packet(first, body));
        device.receive().1
    };
    let mut publish = |first, topic| {
        let acknowledged = answer(first, &[&string(topic)[..], &[0, 1, 0]].concat());
        acknowledged.get(2).copied().unwrap_or(0) < 0x80
    };
    assert!(publish(0x32, "up/pump") && !publish(0x32, "up/other"));
    assert!(!publish(0x33, "up/pump"), "retained");
    assert!(!publish(0x34, "up/pump"), "QoS 2");
    let mut subscribe =
        |filter, qos| answer(0x82, &[&[0, 2, 0], &string(filter)[..], &[qos]].concat()).last() == Some(&qos);
    assert!(subscribe("for/ops/+", 0) && !subscribe("for/ops/+", 1));
    assert!(subscribe("for/${username}/#", 1) && !subscribe("for/ops/#", 1), "`eq` takes the text as it stands");
}

#[test]
fn b63_without_a_verdict_nobody_comes_in_and_the_record_says_so() {
    let (address, _told) = program(|asked| match asked["clientid"].as_str().unwrap_or_default() {
        "garbage" => Some("what?\r\n\r\n".into()),
        "no-verdict" => Some(http("200 OK", "{}")),
        "empty" => Some(http("200 OK", "")),
        "broken" => Some(http("500 Oops", r#"{"result":"allow"}"#)),
        "redirect" => Some("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".into()),
        "huge" => Some(http("200 OK", &format!(r#"{{"result":"allow","x":"{}"}}"#, "x".repeat(200_000)))),
        _ => None,
    });
    let home = Home::new(&config(address, ""));
    let server = home.start();
    for client in ["garbage", "no-verdict", "empty", "broken", "redirect", "huge", "slow"] {
        let (code, end) = login(&server, client, "x", "y");
        let (reason, detail) = end.unwrap();
        assert_eq!((code, &*reason), (5, "not-authorized"), "{client}");
        assert!(detail.contains("no verdict: mqtt.hook"), "{client}: {detail}");
    }
    let nowhere = Home::new(&config("127.0.0.1:1".parse().unwrap(), ""));
    let (_, end) = login(&nowhere.start(), "down", "x", "y");
    assert!(end.unwrap().1.contains("gave no answer"));
}

#[test]
fn a_reload_without_the_program_lets_nobody_in_who_was_not() {
    let (address, _told) = program(|_| Some(http("200 OK", r#"{"result":"deny"}"#)));
    let home = Home::new(&config(address, ""));
    let server = home.start();
    assert_eq!(login(&server, "before", "root", "x").0, 4);
    home.reconfigure("");
    assert!(server.reload_users().contains("rules reloaded"));
    assert_ne!(login(&server, "after", "root", "x").0, 0);
}

#[test]
fn a_client_that_leaves_while_the_program_thinks_is_on_record_as_gone() {
    let (address, told) = program(|_| None);
    let home = Home::new(&config(address, ""));
    let server = home.start();
    let mut device = Device::dial(&server);
    device.send(&Connect::new(Version::V311, "impatient").login("x", "y").bytes());
    told.recv().unwrap();
    drop(device);
    let history = server.history_with_ends("impatient", 1);
    assert_eq!(history.items.last().unwrap().reason, "client-closed");
}

fn config_over_tls(host: &str, address: SocketAddr) -> String {
    format!("[mqtt.hook]\nurl = 'https://{host}:{}/auth'\nca_file = 'hook-ca.pem'\ntimeout_ms = 2000\n", address.port())
}

#[test]
fn over_tls_the_program_is_asked_and_one_with_another_certificate_is_not() {
    let (own, another) = (Authority::new("our CA"), Authority::new("another CA"));
    let (good, stranger) = (own.server("hook"), another.server("hook"));
    let client = own.client("hook", 2098);
    let expired = own.expired_server("hook");
    for (paper, host, said) in [
        (&good, "localhost", None),
        (&stranger, "localhost", Some("UnknownIssuer")),
        (&expired, "localhost", Some("xpired")),
        (&good, "127.0.0.1", Some("not valid for name")),
        (&client, "localhost", Some("server authentication")),
    ] {
        let (address, told) = program_over_tls(paper);
        let home = Home::new(&config_over_tls(host, address));
        std::fs::write(home.path().join("hook-ca.pem"), own.pem()).unwrap();
        let server = home.start();
        let (code, end) = login(&server, "pump", "x", "the-password");
        let Some(said) = said else {
            assert_eq!((code, &told.recv().unwrap()["password"]), (0, &"the-password".into()));
            continue;
        };
        let (reason, detail) = end.unwrap();
        assert_eq!((code, &*reason), (5, "not-authorized"), "{said}");
        assert!(detail.contains("no verdict: mqtt.hook gave no answer") && detail.contains(said), "{said}: {detail}");
        assert!(told.try_recv().is_err(), "it was not told the password");
    }
}

#[test]
fn a_file_of_cas_that_can_t_be_used_stops_the_start() {
    let home = Home::new(&config_over_tls("localhost", "127.0.0.1:1".parse().unwrap()));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in [None, Some(""), Some("no PEM"), Some(damaged)] {
        if let Some(text) = text {
            std::fs::write(home.path().join("hook-ca.pem"), text).unwrap();
        }
        let (_, said) = home.refused_start();
        assert!(said.contains("mqtt.hook.ca_file hook-ca.pem"), "{text:?}: {said}");
    }
}
