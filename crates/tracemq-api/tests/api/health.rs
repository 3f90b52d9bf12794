//! For those who run the server: liveness, readiness, numbers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;

use tracemq_model::{Action, Reason};
use tracemq_recorder::Recorder;

use crate::world::{NOW, World, event};

#[tokio::test]
async fn alive_and_ready() {
    let world = World::new();
    for path in ["/livez", "/readyz"] {
        let answer = world.get(path, &[]).await;
        assert_eq!((answer.status, answer.header("x-content-type-options")), (200, "nosniff"), "{path}");
        let post = world.send(Request::builder().method("POST").uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!((post.status, post.json()["code"].as_str()), (405, Some("method-not-allowed")));
    }
    let world = World::with(|state| state.gauges.ready = Arc::new(|| false));
    let unready = world.get("/readyz", &[]).await;
    assert_eq!((unready.status, unready.body.as_str()), (503, "not ready: the server is starting or stopping\n"));
    assert_eq!(world.get("/livez", &[]).await.status, 200);
}

#[tokio::test]
async fn not_ready_while_the_store_does_not_take_events() {
    let world = World::new();
    let one = || event(9, NOW, Action::Connect, Reason::Accepted);
    world.store.full.store(true, Ordering::SeqCst);
    world.record(one());
    let unready = world.get("/readyz", &[]).await;
    assert_eq!(unready.status, 503);
    assert!(unready.body.contains("the store does not take events") && !unready.body.contains("secret-path"));
    assert_eq!(world.get("/livez", &[]).await.status, 200);
    world.store.full.store(false, Ordering::SeqCst);
    world.record(one());
    assert_eq!(world.get("/readyz", &[]).await.status, 200);
    // To have nothing to do is no failure.
    let off = World::with(|state| state.recorder = Recorder::off());
    assert_eq!(off.get("/readyz", &[]).await.status, 200);
}

#[tokio::test]
async fn metrics_tell_the_live_numbers_and_hold_no_text_of_clients() {
    let world = World::new();
    let answer = world.get("/metrics", &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "tracemq_connections 3",
        "tracemq_sessions 4",
        "tracemq_queued_bytes 6",
        "tracemq_messages_received_total 8",
        "tracemq_messages_sent_total 7",
        "tracemq_messages_dropped_total 5",
        "tracemq_store_free_bytes 9",
        "tracemq_http_handshakes_failed_total 10",
        r#"tracemq_certificate_expiry_timestamp_seconds{listener="[http]"} 1795335472"#,
        r#"tracemq_certificate_expiry_timestamp_seconds{listener="devices"} 1795335473"#,
        "tracemq_recorder_lag_seconds 0",
        "tracemq_store_events 3",
        "tracemq_store_size_bytes 0",
        "tracemq_recorder_events_total 0",
        "tracemq_recorder_queue_events 0",
        r#"tracemq_recorder_events_lost_total{cause="queue-full"} 0"#,
        concat!("tracemq_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} in {}", answer.body);
    }
    assert!(!answer.body.contains("GID_test") && !answer.body.contains("192.0.2.7"));
}

#[tokio::test]
async fn unknown_paths_say_so() {
    let world = World::new();
    for path in ["/api", "/api/v1/nothing", "/api/v2/clients/x/events", "/console", "/../etc"] {
        let answer = world.get(path, &[]).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("no-such-path")), "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}
