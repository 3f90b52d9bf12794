//! A29 to A38: what HTTP itself lets a peer try. Most of it over a socket, byte for byte.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tracemq_api::{ServeLimits, serve_within};

use crate::signing::{Place, Signer, Wire};
use crate::world::{World, parameters, parameters_with};

/// A world on a socket, until it is dropped.
pub(crate) struct Served {
    pub(crate) world: World,
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

async fn served(limits: ServeLimits) -> Served {
    served_world(limits, World::new()).await
}

pub(crate) async fn served_world(limits: ServeLimits, world: World) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(serve_within(limits, listener, world.router.clone(), stopped));
    Served { world, address, _stop: stop }
}

fn short() -> ServeLimits {
    let headers_timeout = Duration::from_millis(400);
    ServeLimits { headers_timeout, write_timeout: Duration::from_millis(400), ..ServeLimits::default() }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes`, and reads all that comes until the server closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open after {}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a29_ambiguous_framing_is_refused_and_nothing_of_the_rest_is_read() {
    let served = served(short()).await;
    let smuggled = String::from_utf8(served.world.signer("main").v1(&parameters()).to_bytes()).unwrap();
    for headers in [
        "Host: x\r\nContent-Length: +5",
        "Host: x\r\nContent-Length: 5\r\nContent-Length: 6",
        "Host: x\r\nContent-Length: 5, 6",
        "Host: x\r\nContent-Length: -1",
        "Host: x\r\nContent-Length : 5",
        "Host: x\r\nTransfer-Encoding: chunked, identity",
        "Host: x\r\nTransfer-Encoding: xchunked",
        "Host: x\r\nTransfer-Encoding : chunked",
        "Host: x\r\nX: a\r\n folded",
        "Host: x\r\nBad Name: 1",
        "Host: x\r\nX: a\0b",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n{smuggled}");
        let answer = served.exchange(request.as_bytes()).await;
        assert!(!answer.contains("DeviceInfoList"), "{headers}: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{headers}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count().max(1), 1, "{headers}: {answer}");
    }
    // Length and chunks both: the chunks count, and what the length would have hidden is no second request.
    let both = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    let answer = served.exchange(both.as_bytes()).await;
    assert!(!answer.contains("DeviceInfoList"), "{answer}");
    for chunk in ["fffffffffffffffff\r\nx", "-1\r\nx", "5;\r\n", "zz\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{smuggled}");
        let answer = served.exchange(request.as_bytes()).await;
        assert!(!answer.contains("DeviceInfoList"), "{chunk}: {answer}");
    }
    assert_eq!(served.world.questions(), 0);
}

#[tokio::test]
async fn a30_pipelined_requests_are_judged_one_by_one() {
    let served = served(short()).await;
    let good = || served.world.signer("main").v1(&parameters()).to_bytes();
    let bad = || Signer { secret: "guess".into(), ..served.world.signer("main") }.v3(&parameters()).to_bytes();
    let unsigned = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let answer = served.exchange(&[good(), unsigned.clone(), bad(), good(), unsigned].concat()).await;
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "400", "400", "200", "400"], "{answer}");
    assert_eq!(served.world.questions(), 2);
}

#[tokio::test]
async fn a31_slow_and_silent_peers_lose_their_slot() {
    let served = served(ServeLimits { connections_max: 2, ..short() }).await;
    let mut silent = served.connect().await;
    let mut dripping = served.connect().await;
    let drip = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            if dripping.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        read_to_end(&mut dripping).await
    });
    let started = Instant::now();
    assert!(!read_to_end(&mut silent).await.contains("DeviceInfoList"));
    // Both slots were taken: this one is served when they are back, and then loses its own by idling.
    let answer = served.exchange(&served.world.signer("main").v1(&parameters()).to_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    drip.abort();
}

#[tokio::test(start_paused = true)]
async fn a31_a_body_that_never_comes_has_a_deadline() {
    let world = World::new();
    let never = axum::body::Body::new(Never);
    let request = axum::http::Request::builder().method("POST").uri("/").body(never).unwrap();
    let answer = world.send(request).await;
    answer.assert_refused(408, "RequestTimeout");
    assert_eq!(answer.header("connection"), "close");
}

/// A body that never says anything.
struct Never;

impl hyper::body::Body for Never {
    type Data = hyper::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a31_a_peer_that_does_not_read_its_answers_is_let_go() {
    let served = served(ServeLimits { connections_max: 1, ..short() }).await;
    let mut deaf = served.connect().await;
    let page = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n".repeat(1_000);
    let writing = tokio::spawn(async move { while deaf.write_all(&page).await.is_ok() {} });
    // Served only when the deaf one has lost the only slot.
    let answer = served.exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("alive\n"), "{answer}");
    writing.abort();
}

#[tokio::test]
async fn a32_large_bodies_end_at_the_limit_before_any_check() {
    let served = served(short()).await;
    let announced = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    let answer = served.exchange(announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("RequestBodyTooLarge"), "{answer}");
    let mut chunks = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..65 {
        chunks.extend(b"400\r\n");
        chunks.extend([b'x'; 1024]);
        chunks.extend(b"\r\n");
    }
    let answer = served.exchange(&chunks).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("RequestBodyTooLarge"), "{answer}");

    let world = World::new();
    let limit = |bytes: usize| {
        let mut wire = world.signer("main").v3(&parameters());
        wire.body = vec![b'x'; bytes];
        wire
    };
    world.call(&limit(65_536)).await.assert_refused(400, "SignatureDoesNotMatch");
    world.call(&limit(65_537)).await.assert_refused(413, "RequestBodyTooLarge");
    // Nothing is unpacked: a compressed body is a body of no known kind.
    let mut packed = world.signer("main").v1_at("POST", Place::Form, &parameters()).header("Content-Encoding", "gzip");
    packed.body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
    assert_eq!(world.call(&packed).await.status, 400);
}

#[tokio::test]
async fn a33_http_2_is_not_spoken() {
    let served = served(short()).await;
    let answer = served.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    let upgrade = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let answer = served.exchange(upgrade.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn a34_many_parameters_and_headers_cost_nothing_much() {
    let world = World::new();
    let started = Instant::now();
    for body in ["a=1&".repeat(16_000), "&".repeat(65_536), "a".repeat(65_536), "%41=&".repeat(13_000)] {
        let mut wire = world.signer("main").v1_at("POST", Place::Form, &parameters());
        wire.body = body.into_bytes();
        assert_eq!(world.call(&wire).await.status, 400);
    }
    let extra: Vec<_> = (0..300).map(|n| (format!("p{n}"), "x".to_owned())).collect();
    let wire = world.signer("main").v1_at("POST", Place::Form, &parameters());
    let many = Wire { body: crate::signing::query(&extra).into_bytes(), ..wire };
    world.call(&many).await.assert_refused(400, "InvalidParameter");
    let long = world.get(&format!("/?{}", "x".repeat(16_384)), &[]).await;
    assert_eq!(long.status, 414);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let served = served(short()).await;
    let headers = "X: y\r\n".repeat(10_000);
    let answer = served.exchange(format!("GET /livez HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = served.exchange(format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = served.exchange(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(30_000)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414"), "{answer}");
}

#[tokio::test]
async fn a35_a36_forwarding_headers_change_nothing_and_a_flood_stays_in_its_account() {
    let world = World::with(|state| state.settings.calls_per_second = 2);
    for n in 0..2 {
        world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
        assert_eq!(n, world.questions() - 1);
    }
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP"] {
        let wire = world.signer("second").v1(&parameters()).header(name, "198.51.100.1");
        let answer = world.call(&wire).await;
        answer.assert_refused(400, "Throttling.User");
        assert_eq!(answer.header("x-acs-retry-after"), "1000");
    }
    let foreign =
        parameters_with(&[("InstanceId", Some(crate::world::OTHER_INSTANCE)), ("MqttRegionId", Some("cn-beijing"))]);
    world.call(&world.signer("foreign").v1(&foreign)).await.assert_ok();
    world.pass(600);
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    answer.assert_refused(400, "Throttling.User");
    assert_eq!(answer.header("x-acs-retry-after"), "400");
    world.pass(400);
    for _ in 0..2 {
        world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    }
    world.call(&world.signer("main").v1(&parameters())).await.assert_refused(400, "Throttling.User");
}

#[tokio::test]
async fn a37_the_widest_question_is_one_question() {
    let world = World::new();
    let widest = parameters_with(&[
        ("BeginTime", Some("-9223372036854775808")),
        ("EndTime", Some("9223372036854775807")),
        ("CurrentPage", Some("2147483647")),
        ("PageSize", Some("100")),
    ]);
    let answer = world.call(&world.signer("main").v1(&widest)).await;
    answer.assert_ok();
    assert_eq!((answer.json()["Total"].as_u64(), world.questions()), (Some(3), 1));
}

#[tokio::test]
async fn a38_every_bad_value_has_its_own_code() {
    let world = World::new();
    let numbers = [
        "0x1",
        "1e3",
        " 5",
        "5 ",
        "+5",
        "５",
        "--1",
        "-",
        "1.0",
        "True",
        "None",
        "1_000",
        "99999999999999999999",
        "-99999999999999999999",
    ];
    let mut cases: Vec<(&str, &str)> = Vec::new();
    for name in ["BeginTime", "EndTime", "CurrentPage", "PageSize"] {
        cases.extend(numbers.map(|value| (name, value)));
    }
    cases.extend(["0", "-1", "101", "2147483647", "2147483648", "-2147483649"].map(|value| ("PageSize", value)));
    cases.extend(["0", "-1", "2147483648", "9223372036854775807"].map(|value| ("CurrentPage", value)));
    cases.extend(["yes", "1", "0", "truefalse", " true", "tru"].map(|value| ("Reverse", value)));
    cases.extend(["a b", "cn:hangzhou", "é", "a/b"].map(|value| ("MqttRegionId", value)));
    cases.push(("ClientId", "a\0b"));
    cases.push(("BeginTime", "1795339999999999")); // after EndTime
    for (name, value) in cases {
        let wire = world.signer("main").v1(&parameters_with(&[(name, Some(value))]));
        let answer = world.call(&wire).await;
        answer.assert_refused(400, &format!("Invalid{name}"));
        assert_eq!(answer.json()["Message"], format!("Specified parameter {name} is not valid."), "{value}");
    }
    for name in ["MqttRegionId", "InstanceId", "ClientId", "BeginTime", "EndTime", "CurrentPage", "PageSize"] {
        for value in [None, Some("")] {
            let answer = world.call(&world.signer("main").v1(&parameters_with(&[(name, value)]))).await;
            answer.assert_refused(400, &format!("Missing{name}"));
            assert_eq!(answer.json()["Message"], format!("{name} is mandatory for this action."));
        }
    }
    let too_long = parameters_with(&[("ClientId", Some(&"x".repeat(65_000)))]);
    world.call(&world.signer("main").v1_at("POST", Place::Form, &too_long)).await.assert_ok();
    for good in ["true", "TRUE", "False", "fALSE", ""] {
        world.call(&world.signer("main").v1(&parameters_with(&[("Reverse", Some(good))]))).await.assert_ok();
    }
    world.call(&world.signer("main").v1(&parameters_with(&[("Reverse", None)]))).await.assert_ok();
    for id in ["mqtt-cn-nowhere", "*", "mqtt-cn-tes?", "a:b", "é", "MQTT-CN-TEST"] {
        let wire = world.signer("main").v1(&parameters_with(&[("InstanceId", Some(id))]));
        world.call(&wire).await.assert_refused(400, "InstanceNotFound");
    }
}

/// Signed or not, by one key or by another, on one connection or many: before anything of the call is read.
#[tokio::test]
async fn a36_an_address_has_so_many_calls_a_second_whoever_it_says_it_is() {
    let world = World::with(|state| state.settings.calls_per_second_of_address = 20);
    let served = served_world(ServeLimits::default(), world).await;
    let mut answers = Vec::new();
    for n in 0..30 {
        let key = ["main", "second", "foreign"][n % 3];
        let call = String::from_utf8(served.world.signer(key).v1(&parameters()).to_bytes()).unwrap();
        let call = call.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        answers.push(served.exchange(call.as_bytes()).await);
    }
    let throttled =
        |answer: &String| answer.contains("\"Code\":\"Throttling\"") && answer.contains("x-acs-retry-after");
    assert_eq!(answers.iter().filter(|answer| throttled(answer)).count(), 10, "{answers:?}");
    assert!(answers[..20].iter().all(|answer| !throttled(answer)));
    let rest = b"GET /api/v1/gaps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = served.exchange(rest).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("too-many-calls"), "{answer}");
    // Whoever looks whether the server lives may do so.
    let alive = served.exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(alive.starts_with("HTTP/1.1 200 "), "{alive}");
    served.world.pass(1_000);
    let answer = served.exchange(rest).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}
