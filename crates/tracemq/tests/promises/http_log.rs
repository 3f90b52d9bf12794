//! The access log and the audit files tell the same request by the same id, and neither tells a secret; the numbers tell what happened.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::harness::{Connect, Home, Server, Version, basic, get, publish, signed_call, wait_until};

fn access_lines(server: &Server) -> Vec<Value> {
    let lines = server.log();
    let lines = lines.lines().filter(|line| line.contains("\"tracemq::access\""));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_request_is_a_line_with_its_bytes_and_the_id_that_the_audit_has() {
    let home = Home::new("[http]\naccess_log = true\n");
    let server = home.start();
    let own = server.credentials();
    let login = basic(&own.access_key_id, &own.access_key_secret);
    let headers = [("Authorization", login.as_str())];
    let answer = get(server.http, "/api/v1/clients/pump/events?limit=7", &headers).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(get(server.http, "/api/v1/nothing?password=hunter2", &[]).unwrap().status, 404);
    let target = signed_call(&own, "QuerySessionByClientId", &[("ClientId", "pump")]);
    let signed = get(server.http, &target, &[]).unwrap();
    assert_eq!(signed.status, 200, "{}", signed.body);
    let lines = wait_until("three lines", || {
        let lines = access_lines(&server);
        if lines.len() == 3 { Ok(lines) } else { Err(lines) }
    });
    let [rest, nothing, sdk] = &lines[..] else { unreachable!() };
    assert_eq!((&rest["method"], &rest["path"]), (&"GET".into(), &"/api/v1/clients/pump/events".into()));
    assert_eq!((&rest["status"], &rest["bytes"]), (&200.into(), &answer.body.len().into()));
    assert!(rest["ms"].is_u64() && rest["tls"] == false, "{rest}");
    assert!(rest["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{rest}");
    assert_eq!((&nothing["status"], &nothing["path"]), (&404.into(), &"/api/v1/nothing".into()));
    assert_eq!((&sdk["path"], &sdk["bytes"]), (&"/".into(), &signed.body.len().into()));

    let audit = fs::read_to_string(server.data.join("audit-queries.ndjson")).unwrap();
    let audited: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids = |lines: &[&Value]| lines.iter().map(|line| line["request_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&audited.iter().collect::<Vec<_>>()), ids(&[rest, sdk]));
    assert_eq!((&audited[0]["peer"], &audited[1]["peer"]), (&rest["peer"], &sdk["peer"]));
    assert!(signed.body.contains(audited[1]["request_id"].as_str().unwrap()), "{}", signed.body);
    for never in [own.access_key_secret.as_str(), "hunter2", "Basic ", "Signature"] {
        assert!(!server.log().contains(never) && !audit.contains(never), "{never}");
    }
}

#[test]
fn lines_that_wait_are_written_before_the_end() {
    let home = Home::new("[http]\naccess_log = true\n");
    let mut server = home.start();
    for _ in 0..50 {
        assert_eq!(get(server.http, "/livez", &[]).unwrap().status, 200);
    }
    assert!(server.stop().success());
    assert_eq!(access_lines(&server).len(), 50);
}

#[test]
fn the_numbers_of_a_running_server_tell_what_happened() {
    let home = Home::new("");
    let server = home.start();
    let mut device = TcpStream::connect(server.mqtt).unwrap();
    device.write_all(&Connect::new(Version::V311, "pump").bytes()).unwrap();
    device.read_exact(&mut [0; 4]).unwrap();
    device.write_all(&publish(Version::V311, "a", b"x")).unwrap();
    device.write_all(&[0xE0, 0]).unwrap();
    let page = wait_until("its end among the numbers", || {
        let page = get(server.http, "/metrics", &[]).unwrap().body;
        if page.contains("tracemq_disconnects_total{reason=\"client-disconnected\"} 1\n") {
            Ok(page)
        } else {
            Err(page)
        }
    });
    for line in ["tracemq_connects_total 1", "tracemq_messages_received_total 1", "tracemq_connections 0"] {
        assert!(page.lines().any(|found| found == line), "{line} in {page}");
    }
    let free = page.lines().find_map(|line| line.strip_prefix("tracemq_store_free_bytes ")).unwrap();
    assert!(free.parse::<u64>().unwrap() > 0);
}
