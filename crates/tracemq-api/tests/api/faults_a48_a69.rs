//! A48 and A61 to A69: what an answer tells of others, and what pages, names and guesses can reach.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tracemq_api::{Instance, Login, ROUTES, ServeLimits};
use tracemq_model::{Action, Event, Reason};

use crate::devices::{get, of};
use crate::faults_a29_a38::served_world;
use crate::live::Stream;
use crate::trace_messages::{MESSAGE, traced_world};
use crate::world::{Answer, CLIENT, INSTANCE, NOW, OTHER_INSTANCE, SECRET, World, key, parameters_with};

async fn with(world: &World, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::empty()).unwrap()).await
}

fn basic(login: &str) -> String {
    format!("Basic {}", BASE64.encode(login))
}

fn main_key() -> String {
    basic(&format!("main:{SECRET}"))
}

/// Each path that is served, as a target.
fn targets() -> impl Iterator<Item = (&'static str, Login, String)> {
    ROUTES.iter().map(|route| {
        let names =
            [("{client_id}", CLIENT), ("{message_id}", MESSAGE), ("{ip}", "192.0.2.7"), ("{file}", "explorer.js")];
        let target = names.iter().fold(route.path.to_owned(), |path, (name, value)| path.replace(name, value));
        (route.path, route.login, target)
    })
}

fn without_id(answer: &Answer) -> Value {
    let mut problem = answer.json();
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

/// By REST; the signed API has the codes of the service that it is compatible with, of which one is for each.
#[tokio::test]
async fn a48_another_account_s_instance_is_as_one_that_never_was() {
    let world = World::new();
    let mut compared = 0;
    for (path, login, target) in targets() {
        if login != Login::Basic || path == "/api/v1/live" {
            continue;
        }
        for method in ["GET", "DELETE"] {
            let ask = async |instance: &str| {
                let target = format!("{target}?instance={instance}");
                let target = if path == "/api/v1/connections" && method == "DELETE" {
                    format!("{target}&client=a")
                } else {
                    target
                };
                with(&world, method, &target, &[("authorization", &main_key())]).await
            };
            let (theirs, nobodys) = (ask(OTHER_INSTANCE).await, ask("mqtt-cn-never").await);
            if theirs.status != 405 {
                assert_eq!((theirs.status, without_id(&theirs)), (404, without_id(&nobodys)), "{method} {path}");
                assert_eq!(theirs.body.len(), nobodys.body.len());
                compared += 1;
            }
        }
    }
    assert!(compared > 14, "{compared}");
    assert_eq!(world.questions(), 0);
    // Told apart, as documented.
    for (instance, code) in [(OTHER_INSTANCE, "InstancePermissionCheckFailed"), ("mqtt-cn-never", "InstanceNotFound")] {
        let asked = parameters_with(&[("InstanceId", Some(instance))]);
        world.call(&world.signer("main").v3(&asked)).await.assert_refused(400, code);
    }
}

/// A browser may send along the login that its user once gave: then nothing is changed by what a page of elsewhere can send without asking,
/// and what it has to ask for is refused.
#[tokio::test]
async fn a61_a_page_of_elsewhere_changes_nothing_with_the_login_of_its_visitor() {
    let world = traced_world();
    let (login, origin) = (main_key(), ("origin", "https://evil.example"));
    for (path, needs, target) in targets() {
        for kind in ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"] {
            let headers = [origin, ("authorization", &login), ("content-type", kind), ("sec-fetch-site", "cross-site")];
            let form = with(&world, "POST", &target, &headers).await;
            let refused = if path == "/" { 400 } else { 405 };
            assert_eq!(form.status, refused, "{path} {kind}: {form:?}");
        }
        // A stream has no end.
        let target = if path == "/api/v1/live" { "/api/v1/gaps".to_owned() } else { target };
        let image = with(&world, "GET", &target, &[origin, ("authorization", &login)]).await;
        assert!(image.status == 200 || needs == Login::Signature, "{path}: {image:?}");
        assert_eq!(image.header("access-control-allow-origin"), "");
        for method in ["DELETE", "PUT", "GET"] {
            let asked = [origin, ("access-control-request-method", method)];
            let preflight = with(&world, "OPTIONS", &target, &asked).await;
            let allowed = ["origin", "methods", "credentials"].map(|of| format!("access-control-allow-{of}"));
            assert!(allowed.iter().all(|name| preflight.header(name).is_empty()), "{path} {method}: {preflight:?}");
            assert_ne!(preflight.status, 204);
        }
    }
    let history = get(&world, &format!("/api/v1/clients/{CLIENT}/events")).await.json();
    assert_eq!(history["total"], 3, "all is there as it was");
}

/// There is no running without a login, so that a name which leads here opens nothing, whatever it is.
#[tokio::test]
async fn a62_whatever_the_host_is_called_nothing_opens_without_a_login() {
    let world = World::new();
    for (path, needs, target) in targets().filter(|(_, needs, _)| *needs != Login::None) {
        for host in ["evil.example", "localhost.", "127.0.0.1:8080", "[::1]", "[::ffff:127.0.0.1]:8080", "0", ""] {
            for more in [("origin", "http://evil.example"), ("upgrade", "websocket"), ("x-forwarded-host", "localhost")]
            {
                let answer = with(&world, "GET", &target, &[("host", host), more]).await;
                let refused = if needs == Login::Basic { 401 } else { 400 };
                assert_eq!(answer.status, refused, "{path} {host}: {answer:?}");
            }
        }
    }
    assert_eq!(world.questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a66_so_many_streams_are_open_in_all_and_one_that_is_left_makes_room() {
    let world = World::with(|state| {
        for n in 0..9 {
            let (id, account) = (format!("mqtt-of-{n}"), format!("account-{n}"));
            let instance = Instance { id: id.parse().unwrap(), ..state.instances[0].clone() };
            state.instances.push(Instance { account: tracemq_access::AccountId::new(&account).unwrap(), ..instance });
        }
    });
    world.change_keys(|keys| keys.extend((0..9).map(|n| key(&format!("key-{n}"), SECRET, &format!("account-{n}")))));
    let mut open = Vec::new();
    for n in 0..8 {
        for _ in 0..32 {
            open.push(Stream::open_as(&world, &format!("key-{n}"), "", None).await.ok().unwrap());
        }
    }
    let (status, problem) = Stream::open_as(&world, "key-8", "", None).await.err().unwrap();
    assert_eq!((status, problem["code"].as_str()), (429, Some("too-many-streams")));
    open.truncate(100);
    // Those that are left are found by the comment that each is sent.
    tokio::time::sleep(std::time::Duration::from_secs(40)).await;
    assert!(Stream::open_as(&world, "key-8", "", None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a67_a_stream_shows_its_own_instance_alone() {
    let world = World::empty();
    let mut own = Stream::open(&world, "", None).await.ok().unwrap();
    let mut theirs = Stream::open_as(&world, "foreign", "", None).await.ok().unwrap();
    for n in 1..=20_u128 {
        let event = of("same name", n, NOW, Action::Connect, Reason::Accepted);
        let instance = if n % 2 == 0 { INSTANCE } else { OTHER_INSTANCE };
        world.record(Event { instance: instance.parse().unwrap(), ..event });
    }
    for n in 1..=10_u128 {
        for (stream, instance, n) in [(&mut own, INSTANCE, 2 * n), (&mut theirs, OTHER_INSTANCE, 2 * n - 1)] {
            let message = stream.message().await.unwrap();
            assert_eq!(message.data["instance"], instance);
            assert_eq!(message.data["connection"], format!("{n:032x}"));
        }
    }
}

/// There is no secret that is delivered with the server: each first start makes its own.
#[tokio::test]
async fn a68_guesses_are_few_a_second_and_known_names_get_the_answer_of_unknown_ones() {
    let world = World::with(|state| state.settings.calls_per_second_of_address = 20);
    let served = served_world(ServeLimits::default(), world).await;
    let guess = async |name: &str, n: usize| {
        let login = basic(&format!("{name}:guess-{n}"));
        let call =
            format!("GET /api/v1/gaps HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\nConnection: close\r\n\r\n");
        let answer = served.exchange(call.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut problem: Value = serde_json::from_str(body).unwrap();
        problem.as_object_mut().unwrap().remove("request_id");
        (head[9..12].to_owned(), problem)
    };
    for _ in 0..3 {
        let mut answers = Vec::new();
        for n in 0..100 {
            answers.push(guess(["main", "nobody", "disabled", "ended", "sts"][n % 5], n).await);
        }
        assert!(
            answers[..20].iter().all(|(status, problem)| status == "401" && *problem == answers[0].1),
            "{answers:?}"
        );
        assert!(answers[20..].iter().all(|(status, _)| status == "429"), "{answers:?}");
        served.world.pass(1_000);
    }
}

/// There are no sessions of browsers: no answer sets a cookie, and one that is sent opens nothing.
#[tokio::test]
async fn a69_no_cookie_is_given_and_none_is_taken() {
    let world = World::new();
    let login = main_key();
    for (path, needs, target) in targets().filter(|(path, ..)| *path != "/api/v1/live") {
        let answer = with(&world, "GET", &target, &[("authorization", &login)]).await;
        assert!(answer.headers.get("set-cookie").is_none(), "{path}");
        let cookie = format!("session=main; authorization={login}; token={SECRET}");
        let answer = with(&world, "GET", &target, &[("cookie", &cookie)]).await;
        assert_eq!(answer.status == 200, needs == Login::None, "{path}: {answer:?}");
    }
}
