//! Promise: a program elsewhere decides who comes in; without its word nobody does, and its silence stands on record.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::harness::{Connect, Device, Home, Server, Version, publish, wait_until};

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
            let Some(question) = read(&stream) else { continue };
            let _ = tell.send(question.clone());
            match answer(&question) {
                Some(answer) => drop((&stream).write_all(answer.as_bytes())),
                None => silent.push(stream),
            }
        }
    });
    (address, told)
}

fn read(stream: &TcpStream) -> Option<serde_json::Value> {
    let mut reader = BufReader::new(stream);
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
