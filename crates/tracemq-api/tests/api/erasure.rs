//! Erasing a history, and what is written down of calls.

use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracemq_model::{Action, Reason};

use crate::devices::{get, of};
use crate::world::{Answer, NOW, SECRET, World};

pub(crate) async fn delete(world: &World, key: &str, target: &str) -> Answer {
    let login = format!("Basic {}", BASE64.encode(format!("{key}:{SECRET}")));
    let request = Request::builder().method(Method::DELETE).uri(target).header("Authorization", login);
    world.send(request.body(Body::empty()).unwrap()).await
}

fn lines(dir: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_history_is_erased_and_it_stands_on_record_by_whom() {
    let dir = tempfile::TempDir::new().unwrap();
    let audit = dir.path().to_owned();
    let world = World::with(move |state| state.settings.audit_dir = Some(audit));
    let event = |client: &str, n: i64| of(client, 1, NOW + n, Action::Connect, Reason::Accepted);
    world.append(vec![event("a/b", 1), event("a/b", 2), event("c", 3)], vec![]);
    let answer = delete(&world, "main", "/api/v1/clients/a%2Fb/events").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"erased": 2})));
    assert_eq!(get(&world, "/api/v1/clients/a%2Fb/events").await.json()["total"], 0);
    assert_eq!(get(&world, "/api/v1/clients/c/events").await.json()["total"], 1);
    world.append(vec![event("a/b", 4)], vec![]);
    assert_eq!(get(&world, "/api/v1/clients/a%2Fb/events").await.json()["total"], 1);
    let changes = lines(dir.path(), "audit-changes.ndjson");
    let digest: String = Sha256::digest("a/b").iter().map(|byte| format!("{byte:02x}")).collect();
    let outcomes: Vec<_> = changes.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["begun", "erased 2 events"]);
    assert!(changes.iter().all(|line| line["key"] == "main" && line["target"] == format!("sha256:{digest}")));
    // Who asked, and for what.
    let queries = lines(dir.path(), "audit-queries.ndjson");
    assert_eq!(queries.len(), 3);
    assert_eq!(
        (&queries[1]["target"], &queries[1]["outcome"]),
        (&json!("/api/v1/clients/c/events"), &json!("allowed"))
    );
    let all = format!("{changes:?}{queries:?}");
    assert!(!all.contains(SECRET) && !all.contains("Basic"));
}

#[tokio::test]
async fn who_may_not_erase_does_not_and_that_stands_on_record() {
    let dir = tempfile::TempDir::new().unwrap();
    let audit = dir.path().to_owned();
    let world = World::with(move |state| state.settings.audit_dir = Some(audit));
    world.append(vec![of("c", 1, NOW, Action::Connect, Reason::Accepted)], vec![]);
    for (key, status) in [("nothing", 403), ("foreign", 200), ("disabled", 401)] {
        let answer = delete(&world, key, "/api/v1/clients/c/events").await;
        assert_eq!(answer.status, status, "{key}");
    }
    // The other account has an instance of its own, without such a client.
    assert_eq!(get(&world, "/api/v1/clients/c/events").await.json()["total"], 1);
    let denied = lines(dir.path(), "audit-queries.ndjson");
    let denied = denied.iter().filter(|line| line["outcome"] == "denied").count();
    assert!(denied >= 1, "{denied}");
}

#[tokio::test]
async fn what_can_t_be_written_down_is_not_done() {
    let dir = tempfile::TempDir::new().unwrap();
    let audit = dir.path().to_owned();
    let world = World::with(move |state| state.settings.audit_dir = Some(audit));
    world.append(vec![of("c", 1, NOW, Action::Connect, Reason::Accepted)], vec![]);
    // Full to the brim, and the folder is gone that the next file would be in.
    let full = std::fs::OpenOptions::new().write(true).open(dir.path().join("audit-changes.ndjson")).unwrap();
    drop(full);
    let world = {
        let path = dir.path().join("audit-changes.ndjson");
        std::fs::write(&path, vec![b'\n'; 64 << 20]).unwrap();
        world.restarted()
    };
    std::fs::remove_dir_all(dir.path()).unwrap();
    let answer = delete(&world, "main", "/api/v1/clients/c/events").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("audit-failed")));
    let ends = delete(&world, "main", "/api/v1/connections?client=c").await;
    assert_eq!((ends.status, ends.json()["code"].as_str()), (503, Some("audit-failed")));
    assert_eq!(get(&world, "/api/v1/clients/c/events").await.json()["total"], 1);
}
