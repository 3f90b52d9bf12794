//! The document of the API says what the server does.

use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use tracemq_api::{Login, ROUTES};

use crate::world::{SECRET, World};

async fn document(world: &World) -> Value {
    let answer = world.get("/api/v1/openapi.json", &[]).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Path, method, operation.
fn operations(document: &Value) -> Vec<(String, Method, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((path.clone(), method.to_uppercase().parse().unwrap(), operation.clone()));
        }
    }
    found
}

#[tokio::test]
async fn it_names_every_path_that_needs_a_key_and_no_other() {
    let world = World::new();
    let document = document(&world).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut named: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut served: Vec<&str> =
        ROUTES.iter().filter(|route| route.login == Login::Basic).map(|route| route.path).collect();
    named.sort_unstable();
    served.sort_unstable();
    assert_eq!(named, served);
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn whatever_it_refers_to_is_there() {
    let document = document(&World::new()).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for reference in found {
        let at = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(at.is_some_and(Value::is_object), "{reference}");
    }
}

/// So that what is documented is taken, and a name that is mistyped is told.
#[tokio::test]
async fn every_parameter_that_it_names_is_one_and_no_other() {
    let world = World::new();
    let document = document(&world).await;
    let login = format!("Basic {}", BASE64.encode(format!("main:{SECRET}")));
    for (path, method, operation) in operations(&document) {
        let path = path.replace("{client_id}", "c").replace("{ip}", "192.0.2.7");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let names: Vec<String> = in_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
        assert!(names.contains(&"instance".to_owned()), "{method} {path}");
        for name in names.iter().map(String::as_str).chain(["no-such-parameter"]) {
            let target = format!("{path}?{name}=%01");
            let request = Request::builder().method(method.clone()).uri(&target).header("Authorization", &login);
            let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            // Some have no end when they begin well.
            let is_refused = response.status().as_u16() == 400;
            let body = if is_refused { response.into_body().collect().await.unwrap().to_bytes() } else { Bytes::new() };
            let unknown = std::str::from_utf8(&body).unwrap().contains("is not a parameter of this call");
            assert_eq!(unknown, name == "no-such-parameter", "{method} {target}: {body:?}");
        }
    }
}

#[tokio::test]
async fn every_operation_says_what_it_is_for_and_how_it_may_fail() {
    let world = World::new();
    for (path, method, operation) in operations(&document(&world).await) {
        let text = |name: &str| operation[name].as_str().unwrap_or_default().len();
        assert!(text("summary") > 5 && text("operationId") > 2, "{method} {path}: {operation}");
        for status in ["200", "400", "401", "403", "404", "429", "500", "503"] {
            assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
        }
        for parameter in operation["parameters"].as_array().unwrap() {
            assert!(parameter["description"].as_str().is_some_and(|text| text.len() > 5), "{path}: {parameter}");
        }
    }
}
