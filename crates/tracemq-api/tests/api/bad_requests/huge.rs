//! More than there may be: of bytes, of parameters, of items, of digits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper::body::{Frame, SizeHint};

use super::Bad;
use super::rest::As::{Header, Key as Other, Login, Main, Token as Session};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{
    Auth, BodyIs, Calls, Date, Form, Head, Key, More, MoreBody, Named, Nonce, Set, Swap, System, Token, Version, With,
};
use super::signed::{self, APPLY, Case, Do, GET, QUERY, REGISTER, SESSIONS};
use crate::world::SECRET;

const HUGE_CHARSET: &str = "application/x-www-form-urlencoded;charset={20000}";
const SIZE: Do = Swap("PageSize=5", "PageSize=6");
const CUT: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

pub(super) const SIGNED: &[Case] = &[
    ("a body a byte too long", Both, &[BodyIs("{65537}")], 413, "RequestBodyTooLarge"),
    ("a body of a mebibyte", Both, &[BodyIs("{1048576}")], 413, "RequestBodyTooLarge"),
    ("a form a byte too long", Both, &[Form, BodyIs("a={65535}")], 413, "RequestBodyTooLarge"),
    ("a form of ampersands", V1, &[Form, BodyIs("{65536:&}")], 400, "InvalidParameter"),
    ("a form of names", V1, &[Form, BodyIs("{16000:a=1&}")], 400, "InvalidParameter"),
    ("a form of escapes", V1, &[Form, BodyIs("{13000:%41=&}")], 400, "InvalidParameter"),
    ("257 parameters in a form", Both, &[Form, MoreBody("{257:&a=}")], 400, "InvalidParameter"),
    ("257 parameters in the query", Both, &[More("{257:&a=}")], 400, "InvalidParameter"),
    ("257 ampersands", Both, &[More("{257:&}")], 400, "InvalidParameter"),
    ("a huge name twice", Both, &[Form, BodyIs("{30000}=1&{30000}=2")], 400, "InvalidParameter"),
    ("a huge name of markup twice", Both, &[Form, BodyIs("{30000:<}=1&{30000:<}=2")], 400, "InvalidParameter"),
    ("a huge parameter that is not signed", Both, &[Form, MoreBody("&a={60000}")], 400, "SignatureDoesNotMatch"),
    ("a huge parameter of quotes", Both, &[Form, MoreBody("&a={60000:\"}")], 400, "SignatureDoesNotMatch"),
    ("a huge region", Both, &[Form, With("MqttRegionId", "{60000}")], 400, "InvalidMqttRegionId"),
    ("a huge instance", Both, &[Form, With("InstanceId", "{60000}")], 400, "InstanceNotFound"),
    ("a huge number", Both, &[Form, With("BeginTime", "{60000:9}")], 400, "InvalidBeginTime"),
    ("a huge negative number", Both, &[With("EndTime", "-{20:9}")], 400, "InvalidEndTime"),
    ("a number beyond 64 bits", Both, &[With("EndTime", "9223372036854775808")], 400, "InvalidEndTime"),
    ("a page beyond 32 bits", Both, &[With("CurrentPage", "2147483648")], 400, "InvalidCurrentPage"),
    ("a page beyond 64 bits", Both, &[With("CurrentPage", "18446744073709551616")], 400, "InvalidCurrentPage"),
    ("a page size of 32 bits", Both, &[With("PageSize", "2147483647")], 400, "InvalidPageSize"),
    ("a page size that would wrap", Both, &[With("PageSize", "4294967297")], 400, "InvalidPageSize"),
    ("a page size below 32 bits", Both, &[With("PageSize", "-2147483649")], 400, "InvalidPageSize"),
    ("a huge order", Both, &[Form, With("Reverse", "{60000}")], 400, "InvalidReverse"),
    ("a client beyond MQTT's bound", Both, &[Form, With("ClientId", "{21800:中}")], 413, "RequestBodyTooLarge"),
    ("a client far down the list", Both, &[Calls(SESSIONS), With("ClientIdList.12", "a")], 400, "InvalidClientIdList"),
    ("a client beyond all", Both, &[Calls(SESSIONS), With("ClientIdList.{9:9}", "a")], 400, "InvalidClientIdList"),
    ("101 topics", Both, &[Calls(APPLY), With("Resources", "a{100:,a}")], 400, "InvalidResources"),
    ("rights in plenty", Both, &[Form, Calls(APPLY), With("Actions", "R{15000:,W}")], 400, "InvalidActions"),
    ("a client of 257 bytes", Both, &[Calls(REGISTER), With("ClientId", "{257}")], 400, "InvalidClientId"),
    ("a credential of a huge client", Both, &[Form, Calls(GET), With("ClientId", "{60000}")], 400, "InvalidClientId"),
    ("a huge action", V1, &[Form, Named("{60000}")], 404, "InvalidApi.NotFound"),
    ("a huge version", V1, &[Form, Version("{60000}")], 404, "InvalidApi.NotFound"),
    ("a huge format", V1, &[Form, System("Format", "{60000}")], 400, "InvalidParameter.Format"),
    ("a huge method of signing", V1, &[Form, System("SignatureMethod", "{60000}")], 400, "InvalidSignatureMethod"),
    ("a huge key", V1, &[Form, Key("{60000}")], 404, "InvalidAccessKeyId.NotFound"),
    ("a huge key in a header", V3, &[Key("{20000}")], 404, "InvalidAccessKeyId.NotFound"),
    ("a nonce of 257 bytes", Both, &[Nonce("{257}")], 400, "InvalidSignatureNonce"),
    ("a huge nonce", V1, &[Form, Nonce("{60000}")], 400, "InvalidSignatureNonce"),
    ("a huge time", V1, &[Form, Date("{60000:9}")], 400, "InvalidTimeStamp.Format"),
    ("a huge date", V3, &[Date("{20000:9}")], 400, "InvalidTimeStamp.Format"),
    ("a huge signature", V1, &[Form, MoreBody("&Signature={60000}")], 400, "InvalidParameter"),
    ("a huge signature in a header", V3, &[Auth("Credential=a,SignedHeaders=a,{20000}")], 400, "IncompleteSignature"),
    ("a huge list of signed headers", V3, &[Auth("Credential=a,{9000:a;},Signature=c")], 400, "IncompleteSignature"),
    ("a header of quotes", V3, &[Head("x-acs-more", "{20000:\"}"), SIZE], 400, "SignatureDoesNotMatch"),
    ("a huge token", V1, &[Form, Key("sts"), Token("{60000}")], 400, "InvalidSecurityToken.Malformed"),
    ("a huge token in a header", V3, &[Key("sts"), Token("{20000}")], 400, "InvalidSecurityToken.Malformed"),
    ("a huge host", V3, &[Set("host", "{20000:<}")], 400, "SignatureDoesNotMatch"),
    ("a huge kind of body", Both, &[Form, Set("content-type", HUGE_CHARSET)], 400, "InvalidParameter"),
    ("a huge token, unsigned", Both, &[Form, Calls(QUERY), MoreBody("{50000}")], 400, "SignatureDoesNotMatch"),
];

pub(super) const REST: &[RestCase] = &[
    (Main, "GET", "/api/v1/events?username={16384}", 414, "target-too-long", ""),
    (Main, "GET", "/api/v1/clients/{16384}/events", 414, "target-too-long", ""),
    (Main, "DELETE", "/api/v1/clients/{16384}/events", 414, "target-too-long", ""),
    (Main, "GET", "/{16384}", 414, "target-too-long", ""),
    (Main, "GET", "/api/v1/events?{257:&}", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?{257:a=&}", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?{8000}=1&{8000}=2", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?{2000:%22}=1&{2000:%22}=2", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?{9000}=1", 400, "invalid-parameter", CUT),
    (Main, "GET", "/api/v1/events?limit=1001", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/events?limit=00005", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/events?limit=18446744073709551617", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/events?limit={9000:9}", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/clients?limit=65536", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/connections?limit=1001", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/fleet/common?limit=4294967296", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/clients/a/events?page=18446744073709551616", 400, "invalid-parameter", "page"),
    (Main, "GET", "/api/v1/clients/a/events?page={9000:9}", 400, "invalid-parameter", "page"),
    (Main, "GET", "/api/v1/events?since=9223372036854775808", 400, "invalid-parameter", "since"),
    (Main, "GET", "/api/v1/events?since={9000:9}", 400, "invalid-parameter", "since"),
    (Main, "GET", "/api/v1/events?since={20:9}w", 400, "invalid-parameter", "since"),
    (Main, "GET", "/api/v1/events?until=99999-01-01", 400, "invalid-parameter", "until"),
    (Main, "GET", "/api/v1/fleet/reasons?bucket={20:9}h", 400, "invalid-parameter", "bucket"),
    (Main, "GET", "/api/v1/fleet/reasons?bucket={7000:1h}x", 400, "invalid-parameter", "bucket"),
    (Main, "GET", "/api/v1/events?action={9000}", 400, "invalid-parameter", "action"),
    (Main, "GET", "/api/v1/events?reason={2000:close,}", 400, "invalid-parameter", "reason"),
    (Main, "GET", "/api/v1/events?address={7000:1.}", 400, "invalid-parameter", "address"),
    (Main, "GET", "/api/v1/addresses/{7000:1.}/events", 400, "invalid-parameter", "ip"),
    (Main, "GET", "/api/v1/events?cursor={12000:A}", 400, "invalid-parameter", "cursor"),
    (Main, "GET", "/api/v1/export?format={9000}", 400, "invalid-parameter", "format"),
    (Main, "GET", "/api/v1/events?instance={9000}", 404, "no-such-instance", "instance"),
    (Main, "GET", "/api/v1/clients/{15000}", 404, "no-such-client", ""),
    (Login("main:{20000}"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Login("{20000}:x"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("Basic {20000:A}"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Session("sts", "{20000}"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Other("nothing"), "GET", "/api/v1/clients?glob={5000:*a}", 403, "not-allowed", ""),
];

#[tokio::test]
async fn of_signed_calls_what_is_too_much_is_refused() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn of_rest_calls_what_is_too_much_is_refused() {
    rest::run(REST).await;
}

/// A body of 4 KiB pieces without an end, that counts what was taken of it.
struct Endless {
    taken: Arc<AtomicUsize>,
    announced: Option<u64>,
}

const PIECE: usize = 4_096;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let taken = self.taken.fetch_add(PIECE, Ordering::SeqCst);
        assert!(taken < 1 << 30, "it is read for ever");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE])))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// Of a body without an end no more is read than a body may have, of one that is announced as too long nothing; and where no body is
/// looked at, nothing of it is read.
#[tokio::test]
async fn a_huge_request_is_refused_before_it_is_read() {
    let bad = Bad::new();
    let login = format!("Basic {}", {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("main:{SECRET}"))
    });
    for (method, target, announced, status, read_max) in [
        ("POST", "/", None, 413, 65_536 + PIECE),
        ("GET", "/", None, 413, 65_536 + PIECE),
        ("POST", "/", Some(65_537_u64), 413, 0),
        ("POST", "/", Some(u64::MAX), 413, 0),
        ("PUT", "/", Some(1 << 40), 413, 0),
        ("GET", "/api/v1/events?limit=0", None, 400, 0),
        ("GET", "/api/v1/events?limit=0", Some(1 << 40), 400, 0),
        ("POST", "/api/v1/events", None, 405, 0),
        ("DELETE", "/api/v1/connections", None, 400, 0),
        ("DELETE", "/api/v1/clients/%00/events", None, 400, 0),
        ("POST", "/nothing", None, 404, 0),
        ("POST", "/metrics", None, 405, 0),
        ("PUT", "/livez", None, 405, 0),
    ] {
        let taken = Arc::new(AtomicUsize::new(0));
        let body = Body::new(Endless { taken: Arc::clone(&taken), announced });
        let mut request = Request::builder().method(method).uri(target).header("authorization", &login);
        if let Some(length) = announced {
            request = request.header("content-length", length);
        }
        let answer = bad.world.send(request.body(body).unwrap()).await;
        let taken = taken.load(Ordering::SeqCst);
        assert_eq!(answer.status, status, "{method} {target} {announced:?}: {answer:?}");
        assert!(taken <= read_max, "{method} {target} {announced:?}: {taken} bytes were read");
    }
    bad.assert_still_answers().await;
}
