//! What stands around every answer: request ids, other origins, how often an address may call.

use axum::body::Body;
use axum::http::Request;

use tracemq_api::{Login, ROUTES};

use crate::devices::get;
use crate::world::{Answer, SECRET, World, parameters_with};

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

/// Headers of every answer, whatever it says, and where a value is due, which.
#[track_caller]
fn assert_secure(answer: &Answer, what: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("vary", "origin"),
        ("access-control-allow-credentials", ""),
    ] {
        assert_eq!(answer.header(name), value, "{what}: {name} in {answer:?}");
        assert!(answer.headers.get_all(name).iter().count() <= 1, "{what}: {name} in {answer:?}");
    }
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
    assert!(!policy.contains("unsafe-eval") && !policy.contains("script-src 'unsafe-inline'"), "{what}: {policy}");
    let ids = ["x-request-id", "x-acs-request-id"].map(|name| answer.header(name).len());
    assert!(ids.contains(&36), "{what}: {answer:?}");
    for name in ["server", "x-powered-by", "set-cookie"] {
        assert_eq!(answer.header(name), "", "{what}: {name}");
    }
}

#[tokio::test]
async fn a65_every_path_answers_with_the_headers_of_safety_also_when_it_refuses_or_fails() {
    let world = World::new();
    for route in ROUTES {
        let path = route.path.replace("{ip}", "192.0.2.7").replace("{client_id}", "c").replace("{file}", "nothing.js");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            if path == "/api/v1/live" && matches!(method, "GET" | "HEAD") {
                continue; // without its login below: with one it does not end
            }
            assert_secure(&with(&world, method, &path, &[]).await, &format!("{method} {path}"));
        }
    }
    let long = format!("/{}", "x".repeat(20_000));
    for target in
        ["/nothing", "/api/v1/gaps?since=never", "/%ff", "/api/v1/live", "http://elsewhere/livez", long.as_str()]
    {
        assert_secure(&with(&world, "GET", target, &[]).await, &target[..target.len().min(40)]);
    }
    for (name, answer) in [
        ("an answer", get(&world, "/api/v1/gaps").await),
        ("an export", get(&world, "/api/v1/export").await),
        ("an SDK's answer", world.call(&world.signer("main").v3(&parameters_with(&[]))).await),
        ("an SDK's error", world.call(&world.signer("main").v3(&parameters_with(&[("PageSize", Some("0"))]))).await),
    ] {
        assert_secure(&answer, name);
    }
    world.store.fails.store(true, std::sync::atomic::Ordering::SeqCst);
    let failed = get(&world, "/api/v1/clients/c/events").await;
    assert_eq!(failed.status, 500);
    assert_secure(&failed, "a failure");
    let throttled = World::with(|state| state.settings.calls_per_second = 1);
    get(&throttled, "/api/v1/gaps").await;
    let refused = get(&throttled, "/api/v1/gaps").await;
    assert_eq!(refused.status, 429);
    assert_secure(&refused, "too many");
}

#[tokio::test]
async fn no_page_of_another_origin_reads_anything_unless_it_is_configured() {
    let world = World::new();
    for route in ROUTES {
        let path = route.path.replace("{ip}", "192.0.2.7").replace("{client_id}", "c").replace("{file}", "nothing.js");
        for method in ["GET", "POST", "OPTIONS"] {
            let origin = ("origin", "https://fleet.example");
            let answer = with(&world, method, &path, &[origin, ("access-control-request-method", "GET")]).await;
            let told = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(told, None, "{method} {path}");
            assert_ne!((method, answer.status), ("OPTIONS", 204), "{path}");
        }
    }
    let named = World::with(|state| state.settings.cors_origins = vec!["https://fleet.example".into()]);
    for path in ["/api/v1/gaps", "/nothing", "/"] {
        let answer = with(&named, "GET", path, &[("origin", "https://fleet.example")]).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://fleet.example",
            "errors can be read, too: {path}"
        );
    }
    // Two origins are none.
    let two = [("origin", "https://fleet.example"), ("origin", "https://evil.example")];
    assert_eq!(with(&named, "GET", "/api/v1/gaps", &two).await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a72_without_a_login_there_is_what_is_listed_and_nothing_to_look_inside() {
    let open: Vec<_> = ROUTES.iter().filter(|route| route.login == Login::None).map(|route| route.path).collect();
    assert_eq!(open, ["/api/v1/openapi.json", "/explorer", "/explorer/{file}", "/livez", "/readyz", "/metrics"]);
    let world = World::new();
    for path in [
        "/debug",
        "/debug/pprof/heap",
        "/metrics/",
        "/actuator/env",
        "/-/reload",
        "/status",
        "/server-status",
        "/.git/config",
    ] {
        assert_eq!(world.get(path, &[]).await.status, 404, "{path}");
    }
    for path in open {
        let answer = world.get(&path.replace("{file}", "nothing"), &[]).await;
        for inside in ["GID_test@@@producer", "192.0.2.7:4711", "secret-path", SECRET] {
            assert!(!answer.body.contains(inside), "{inside} in {path}");
        }
    }
}
