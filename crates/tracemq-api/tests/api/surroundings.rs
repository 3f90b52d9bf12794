//! What stands around every answer: request ids, other origins, how often an address may call.

use axum::body::Body;
use axum::http::Request;

use crate::devices::get;
use crate::world::{Answer, World, parameters_with};

async fn with(world: &World, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_answer_has_an_id_and_an_error_names_it() {
    let world = World::new();
    let (one, other) = (get(&world, "/api/v1/gaps").await, get(&world, "/api/v1/gaps").await);
    assert!(one.header("x-request-id").len() == 36 && one.header("x-request-id") != other.header("x-request-id"));
    let problem = with(&world, "GET", "/api/v1/gaps", &[]).await;
    assert_eq!(problem.json()["request_id"], problem.header("x-request-id"));
    let signed = world.call(&world.signer("main").v3(&parameters_with(&[]))).await;
    assert_eq!(signed.json()["RequestId"], signed.header("x-acs-request-id"));
    assert_eq!(world.get("/livez", &[]).await.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn a64_only_an_origin_that_is_named_to_the_letter_may_read_answers() {
    let world = World::with(|state| state.settings.cors_origins = vec!["https://fleet.example".into()]);
    let preflight = ("access-control-request-method", "GET");
    for (origin, may) in [
        ("https://fleet.example", true),
        ("https://fleet.example.evil", false),
        ("https://evil-fleet.example", false),
        ("https://a.fleet.example", false),
        ("http://fleet.example", false),
        ("https://fleet.example:8443", false),
        ("https://FLEET.example", false),
        ("null", false),
        ("*", false),
    ] {
        for (method, headers) in [("OPTIONS", vec![("origin", origin), preflight]), ("GET", vec![("origin", origin)])] {
            let answer = with(&world, method, "/api/v1/gaps", &headers).await;
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, if may { origin } else { "" }, "{method} {origin}");
            assert_eq!((answer.header("access-control-allow-credentials"), answer.header("vary")), ("", "origin"));
            assert_eq!(answer.status == 204, may && method == "OPTIONS", "{method} {origin}: {answer:?}");
        }
    }
    let none = World::new();
    let answer = with(&none, "OPTIONS", "/api/v1/gaps", &[("origin", "https://fleet.example"), preflight]).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, ""));
}
