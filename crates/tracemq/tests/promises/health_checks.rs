//! Health checks: what comes and goes without a byte is visible, and does not fill the store.

use std::net::TcpStream;

use super::harness::{Home, Server, wait_until};

fn check_health(server: &Server, times: usize) {
    for _ in 0..times {
        drop(TcpStream::connect(server.mqtt).unwrap());
    }
}

/// Events on record, and the connections that they stand for.
fn counted(server: &Server) -> (usize, u64) {
    let items = server.nameless_history().items;
    assert!(items.iter().all(|event| event.reason == "client-closed" && event.action == "close"), "{items:#?}");
    (items.len(), items.iter().map(|event| event.count.unwrap_or(1)).sum())
}

#[test]
fn health_checks_are_folded_into_one_event_with_their_count() {
    let home = Home::new("mqtt.fold_silent_s = 1");
    let server = home.start();
    check_health(&server, 50);
    wait_until("fifty connections in few events", || match counted(&server) {
        (events, 50) if events <= 10 => Ok(()),
        other => Err(other),
    });
}

#[test]
fn a_stop_writes_the_count_of_the_running_minute() {
    let home = Home::new("");
    let mut server = home.start();
    check_health(&server, 50);
    wait_until("first of them", || if counted(&server).0 == 1 { Ok(()) } else { Err(counted(&server)) });
    wait_until("their end", || {
        let metrics = server.rest("/metrics").unwrap().body;
        if metrics.contains("tracemq_connections 0") { Ok(()) } else { Err(metrics) }
    });
    server.stop();
    assert_eq!(counted(&home.start()), (2, 50));
}

#[test]
fn they_are_recorded_one_by_one_where_that_is_asked_for() {
    let home = Home::new("mqtt.fold_silent_s = 0");
    let server = home.start();
    check_health(&server, 10);
    wait_until("ten events", || if counted(&server) == (10, 10) { Ok(()) } else { Err(counted(&server)) });
}

#[test]
fn a_kill_loses_no_count_but_of_the_last_second() {
    let home = Home::new("");
    let mut server = home.start();
    check_health(&server, 50);
    let counts = home.data_dir().join("mqtt-counts");
    wait_until("their count in the file", || {
        let text = std::fs::read_to_string(&counts).unwrap_or_default();
        if text.contains("\"count\":49") { Ok(()) } else { Err(text) }
    });
    wait_until("first of them", || if counted(&server) == (1, 1) { Ok(()) } else { Err(counted(&server)) });
    server.kill();
    let mut server = home.start();
    assert_eq!(counted(&server), (2, 50));
    assert!(!counts.exists(), "recorded once");
    server.kill();
    let server = home.start();
    assert_eq!(counted(&server), (2, 50));
}
