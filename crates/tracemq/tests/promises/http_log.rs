//! The access log and the audit files tell the same request by the same id, and neither tells a secret.

use std::fs;

use serde_json::Value;

use super::harness::{Home, Server, basic, get, signed_call, wait_until};

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
