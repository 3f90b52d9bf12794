//! A15 to A28: methods, paths, replays, clocks, keys, tokens.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tracemq_access::{AccessKey, Secret};

use crate::signing::{Place, Signer, Wire, pairs};
use crate::world::{CLIENT, INSTANCE, NOW, OTHER_INSTANCE, SECRET, World, key, parameters, parameters_with};

const MINUTE: i64 = 60_000;

#[tokio::test]
async fn a15_only_the_listed_methods_each_with_its_own_key() {
    let world = World::new();
    world.call(&world.signer("main").with("SignatureMethod", Some("hmac-sha1")).v1(&parameters())).await.assert_ok();
    for method in ["none", "HMAC-MD5", "HMAC-SHA256", "SHA1", "HMAC-SHA1 "] {
        let wire = world.signer("main").with("SignatureMethod", Some(method)).v1(&parameters());
        world.call(&wire).await.assert_refused(400, "InvalidSignatureMethod");
    }
    for (name, code) in [
        ("SignatureMethod", "MissingSignatureMethod"),
        ("SignatureVersion", "MissingSignatureVersion"),
        ("SignatureNonce", "MissingSignatureNonce"),
        ("Timestamp", "MissingTimestamp"),
        ("AccessKeyId", "MissingAccessKeyId"),
    ] {
        world.call(&world.signer("main").with(name, None).v1(&parameters())).await.assert_refused(400, code);
        world.call(&world.signer("main").with(name, Some("")).v1(&parameters())).await.assert_refused(400, code);
    }
    let version = world.signer("main").with("SignatureVersion", Some("2.0")).v1(&parameters());
    world.call(&version).await.assert_refused(400, "InvalidSignatureVersion");
    let bearer = world.signer("main").with("SignatureType", Some("BEARERTOKEN")).v1(&parameters());
    world.call(&bearer).await.assert_refused(400, "InvalidSignatureType");
    let empty = world.signer("main").with("SignatureType", Some("")).v1(&parameters());
    world.call(&empty).await.assert_ok();

    for method in ["ACS3-HMAC-SM3", "ACS3-RSA-SHA256", "acs3-hmac-sha256", "ACS3-HMAC-SHA1", "none", "Basic"] {
        let wire = world.signer("main").v3(&parameters());
        let authorization = wire.value("Authorization").replace("ACS3-HMAC-SHA256", method);
        world
            .call(&wire.set("Authorization", Some(&authorization)))
            .await
            .assert_refused(400, "InvalidSignatureMethod");
    }
    // The key of the one scheme in the other.
    let signer = Signer { secret: format!("{SECRET}&"), ..world.signer("main") };
    world.call(&signer.v3(&parameters())).await.assert_refused(400, "SignatureDoesNotMatch");
    let signer = Signer { secret: SECRET.trim_end_matches('1').into(), ..world.signer("main") };
    world.call(&signer.v1(&parameters())).await.assert_refused(400, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a16_a_scheme_that_is_switched_off_is_refused() {
    let world = World::with(|state| state.settings.allow_rpc_v1 = false);
    world.call(&world.signer("main").v1(&parameters())).await.assert_refused(403, "Forbidden.SignatureMethod");
    world.call(&world.signer("main").v3(&parameters())).await.assert_ok();
    let world = World::with(|state| state.settings.allow_acs3 = false);
    world.call(&world.signer("main").v3(&parameters())).await.assert_refused(403, "Forbidden.SignatureMethod");
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    let metrics = world.get("/metrics", &[]).await.body;
    assert!(metrics.contains(r#"tracemq_api_calls_total{surface="apsara",outcome="denied"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a17_the_signed_path_is_the_routed_path() {
    let world = World::new();
    for path in ["//", "/.", "/%2e", "/x/..", "/x", "/%2F", "/index.html", "/?/"] {
        for wire in [world.signer("main").v1(&parameters()), world.signer("main").v3(&parameters())] {
            let answer = world.call(&wire.target_with("/?", &format!("{path}?"))).await;
            assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
            assert!(!answer.body.contains("DeviceInfoList"), "{path}: {answer:?}");
        }
        if !path.contains('?') {
            let signer = world.signer("main");
            let wire = signer.sign_v3(signer.v3(&parameters()).target_with("/?", &format!("{path}?")));
            let answer = world.call(&wire).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
    }
    for host in ["http://127.0.0.1:8080", "http://evil.example"] {
        let wire = world.signer("main").v3(&parameters());
        let answer = world.call(&Wire { target: format!("{host}{}", wire.target), ..wire }).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // Any Host is taken as it is sent, for SDKs send what their user typed; changed on the way it breaks the signature.
    for host in ["LOCALHOST", "localhost.:80", "127.0.0.1:8080/", "http://127.0.0.1:8080"] {
        let signer = world.signer("main");
        world.call(&signer.sign_v3(signer.v3(&parameters()).set("Host", Some(host)))).await.assert_ok();
        let changed = world.signer("main").v3(&parameters()).set("Host", Some(host));
        world.call(&changed).await.assert_refused(400, "SignatureDoesNotMatch");
    }
}

#[tokio::test]
async fn a18_the_signed_method_is_the_method() {
    let world = World::new();
    let as_post = Wire { method: "POST".into(), ..world.signer("main").v1(&parameters()) };
    world.call(&as_post).await.assert_refused(400, "SignatureDoesNotMatch");
    let as_get = Wire { method: "GET".into(), ..world.signer("main").v3(&parameters()) };
    world.call(&as_get).await.assert_refused(400, "SignatureDoesNotMatch");
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "BREW"] {
        let wire = world.signer("main").v1_at(method, Place::Query, &parameters());
        let answer = world.call(&wire).await;
        assert_eq!(answer.status, 400, "{method}: {answer:?}");
        if method != "HEAD" {
            answer.assert_refused(400, "UnsupportedHTTPMethod");
        }
    }
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let wire = world.signer("main").v1(&parameters()).header(name, "POST");
        world.call(&wire).await.assert_refused(400, "UnsupportedHTTPMethod");
    }
}

#[tokio::test]
async fn a19_a_request_is_good_once_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::with(|state| state.settings.nonce_file = Some(folder.path().join("nonces")));
    let wires = [world.signer("main").v1(&parameters()), world.signer("main").v3(&parameters())];
    for wire in &wires {
        world.call(wire).await.assert_ok();
        world.call(wire).await.assert_refused(400, "SignatureNonceUsed");
    }
    for _ in 0..3 {
        world = world.restarted();
        world.pass(5 * MINUTE - 1);
        for wire in &wires {
            world.call(wire).await.assert_refused(400, "SignatureNonceUsed");
        }
    }
    world.pass(MINUTE);
    for wire in &wires {
        world.call(wire).await.assert_refused(400, "InvalidTimeStamp.Expired");
    }
    // Two at once: one of them.
    let wire = world.signer("main").v1(&parameters());
    let (one, other) = tokio::join!(world.call(&wire), world.call(&wire));
    assert_eq!([one.status, other.status].iter().sum::<u16>(), 600, "{one:?} {other:?}");
}

#[tokio::test]
async fn a20_nonces_are_needed_and_bounded_and_live_ones_never_forgotten() {
    let world = World::with(|state| state.settings.nonces_max = 1_000);
    for nonce in ["", " "] {
        let signer = Signer { nonce: nonce.into(), ..world.signer("main") };
        world.call(&signer.v3(&parameters())).await.assert_refused(400, "MissingSignatureNonce");
    }
    let long = Signer { nonce: "n".repeat(257), ..world.signer("main") };
    world.call(&long.v1(&parameters())).await.assert_refused(400, "InvalidSignatureNonce");
    world.call(&long.v3(&parameters())).await.assert_refused(400, "InvalidSignatureNonce");
    let huge = Signer { nonce: "n".repeat(1_000_000), ..world.signer("main") };
    let answer = world.call(&huge.v1_at("POST", Place::Form, &parameters())).await;
    answer.assert_refused(413, "RequestBodyTooLarge");

    let first = Signer { nonce: "same".into(), ..world.signer("main") };
    world.call(&first.v1(&parameters())).await.assert_ok();
    let other_key = Signer { nonce: "same".into(), ..world.signer("second") };
    world.call(&other_key.v1(&parameters())).await.assert_ok();
    for _ in 2..1_000 {
        world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    }
    let answer = world.call(&world.signer("main").v1(&parameters())).await;
    answer.assert_refused(400, "Throttling");
    assert_eq!(answer.header("x-acs-retry-after"), "1000");
    world.call(&first.v1(&parameters())).await.assert_refused(400, "SignatureNonceUsed");
    world.pass(31 * MINUTE);
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
}

#[tokio::test]
async fn a21_a_wrong_signature_burns_no_nonce() {
    let world = World::new();
    let signer = world.signer("main");
    let forged = Signer { secret: "guess".into(), ..signer.clone() };
    for wire in [forged.v1(&parameters()), forged.v3(&parameters())] {
        world.call(&wire).await.assert_refused(400, "SignatureDoesNotMatch");
    }
    world.call(&signer.v1(&parameters())).await.assert_ok();
    // Nor does a call that the rate turns away.
    let world = World::with(|state| state.settings.calls_per_second = 1);
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    let early = world.signer("main").v1(&parameters());
    world.call(&early).await.assert_refused(400, "Throttling.User");
    world.pass(1_000);
    world.call(&early).await.assert_ok();
}

#[tokio::test]
async fn a22_the_window_is_fifteen_minutes_to_the_second() {
    let world = World::new();
    for (off_ms, fresh) in [
        (-15 * MINUTE - 1_000, false),
        (-15 * MINUTE, true),
        (-15 * MINUTE + 1_000, true),
        (0, true),
        (15 * MINUTE - 1_000, true),
        (15 * MINUTE, true),
        (15 * MINUTE + 1_000, false),
    ] {
        let signer = Signer::new("main", SECRET, NOW + off_ms);
        for wire in [signer.v1(&parameters()), Signer { nonce: format!("{off_ms}"), ..signer }.v3(&parameters())] {
            let answer = world.call(&wire).await;
            if fresh { answer.assert_ok() } else { answer.assert_refused(400, "InvalidTimeStamp.Expired") }
        }
    }
    for timestamp in [
        "2026-11-22T08:17:60Z",
        "2026-11-22T08:17:52",
        "2026-11-22T16:17:52+08:00",
        "2026-11-22 08:17:52Z",
        "10000-01-01T00:00:00Z",
        "-2026-11-22T08:17:52Z",
        "1795335472000",
        "2026-11-31T08:17:52Z",
        "None",
    ] {
        let signer = Signer { timestamp: timestamp.into(), ..world.signer("main") };
        world.call(&signer.v1(&parameters())).await.assert_refused(400, "InvalidTimeStamp.Format");
        world.call(&signer.v3(&parameters())).await.assert_refused(400, "InvalidTimeStamp.Format");
    }
    for timestamp in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
        let signer = Signer { timestamp: timestamp.into(), ..world.signer("main") };
        world.call(&signer.v1(&parameters())).await.assert_refused(400, "InvalidTimeStamp.Expired");
    }
}

#[tokio::test]
async fn a23_a_clock_that_steps_back_revives_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::with(|state| state.settings.nonce_file = Some(folder.path().join("nonces")));
    let wire = world.signer("main").v1(&parameters());
    world.call(&wire).await.assert_ok();
    world.pass(60 * MINUTE);
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    world.pass(-60 * MINUTE);
    world.call(&wire).await.assert_refused(400, "InvalidTimeStamp.Expired");
    world = world.restarted();
    let answer = world.call(&wire).await;
    assert!(["InvalidTimeStamp.Expired", "SignatureNonceUsed"].contains(&answer.code().as_str()), "{answer:?}");
    world.pass(MINUTE);
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
}

/// The comparison itself is one of constant time by its library; what shows from outside is that nothing else differs.
#[tokio::test]
async fn a23_a_clock_that_was_ahead_for_one_call_locks_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::with(|state| state.settings.nonce_file = Some(folder.path().join("nonces")));
    let day = 24 * 60 * MINUTE;
    let before = world.signer("main").v1(&parameters());
    world.call(&before).await.assert_ok();
    world.pass(day);
    let ahead = world.signer("main").v1(&parameters());
    world.call(&ahead).await.assert_ok();
    world.pass(1_000 - day);
    world.call(&before).await.assert_refused(400, "InvalidTimeStamp.Expired");
    // Past the glitch and beyond, now and then with a restart.
    for step in 0..(26 * 60 / 5) {
        world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
        world.call(&world.signer("second").v3(&parameters())).await.assert_ok();
        world.pass(5 * MINUTE);
        if step % 50 == 9 {
            world = world.restarted();
        }
    }
    // And the call that was ahead is still good but once.
    world.pass(NOW + day - world.clock.load(std::sync::atomic::Ordering::SeqCst));
    world.call(&ahead).await.assert_refused(400, "InvalidTimeStamp.Expired");
    world = world.restarted();
    world.call(&ahead).await.assert_refused(400, "InvalidTimeStamp.Expired");
}

#[tokio::test]
async fn a24_answers_do_not_depend_on_where_a_signature_is_wrong() {
    let world = World::new();
    let mask = |answer: crate::world::Answer| {
        let body = answer.body.replace(answer.header("x-acs-request-id"), "");
        (answer.status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let wire = world.signer("main").v3(&parameters());
    let (before, signature) =
        wire.value("Authorization").split_once("Signature=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let mut answers = Vec::new();
    for at in [0, 31, 63] {
        let mut wrong = signature.clone().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        let authorization = format!("{before}Signature={}", String::from_utf8(wrong).unwrap());
        answers.push(mask(world.call(&wire.clone().set("Authorization", Some(&authorization))).await));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // An unknown key is told apart from a wrong signature on purpose, whatever the signature.
    for secret in [SECRET, "guess"] {
        let signer = Signer { key_id: "unknown".into(), secret: secret.into(), ..world.signer("main") };
        world.call(&signer.v1(&parameters())).await.assert_refused(404, "InvalidAccessKeyId.NotFound");
        world.call(&signer.v3(&parameters())).await.assert_refused(404, "InvalidAccessKeyId.NotFound");
    }
}

#[tokio::test]
async fn a25_errors_echo_neither_secrets_nor_markup_and_not_without_end() {
    let world = World::new();
    let hostile = "</Message><x>&amp;\u{1}\"'";
    let named = parameters_with(&[("ClientId", Some(hostile))]);
    let signer = world.signer("main");
    for (right, wrong) in [
        (signer.v1(&named), Signer { secret: "guess".into(), ..signer.clone() }.v1(&named)),
        (signer.v3(&named), Signer { secret: "guess".into(), ..signer.clone() }.v3(&named)),
    ] {
        let answer = world.call(&wrong).await;
        answer.assert_refused(400, "SignatureDoesNotMatch");
        let signature = if right.target.contains("Signature=") {
            right.target.split("Signature=").nth(1).unwrap().split('&').next().unwrap().to_owned()
        } else {
            right.value("Authorization").split_once("Signature=").unwrap().1.to_owned()
        };
        for secret in [SECRET, "guess", &signature] {
            assert!(!answer.body.contains(secret), "{secret}: {answer:?}");
        }
    }
    let xml = Signer { secret: "guess".into(), ..world.signer("main").with("Format", Some("XML")) };
    let odd_host = xml.v1(&named).set("Host", Some("h</HostId>&<x>"));
    let answer = world.call(&odd_host).await;
    assert!(answer.body.contains("<HostId>h&lt;/HostId&gt;&amp;&lt;x&gt;</HostId>"), "{answer:?}");
    assert!(!answer.body.contains("<x>"), "{answer:?}");
    let long = parameters_with(&[("ClientId", Some(&"x".repeat(60_000)))]);
    let answer =
        world.call(&Signer { secret: "guess".into(), ..world.signer("main") }.v1_at("POST", Place::Form, &long)).await;
    answer.assert_refused(400, "SignatureDoesNotMatch");
    assert!(answer.body.len() < 10_000, "{}", answer.body.len());
}

#[tokio::test]
async fn a26_odd_secrets_work_and_disabled_keys_do_not() {
    let world = World::new();
    for (key, secret) in [("ampersand", "a&b"), ("percent", "100%25 of it"), ("one-byte", "x"), ("unicode", "ключ-é中")]
    {
        let signer = Signer { secret: secret.into(), ..world.signer(key) };
        world.call(&signer.v1(&parameters())).await.assert_ok();
        let signer = Signer { secret: secret.into(), ..world.signer(key) };
        world.call(&signer.v3(&parameters())).await.assert_ok();
    }
    for key in ["disabled", "ended"] {
        world.call(&world.signer(key).v1(&parameters())).await.assert_refused(400, "InvalidAccessKeyId.Inactive");
        world.call(&world.signer(key).v3(&parameters())).await.assert_refused(400, "InvalidAccessKeyId.Inactive");
    }
}

/// What `login` gets from the REST API.
async fn rest(world: &World, login: &str) -> u16 {
    let login = format!("Basic {}", BASE64.encode(login));
    world.get("/api/v1/clients/nobody/events", &[("Authorization", &login)]).await.status
}

#[tokio::test]
async fn a26_a_change_of_keys_holds_from_the_next_call_on_and_for_nothing_but_keys() {
    let world = World::new();
    let v1 = |secret: &str| Signer { secret: secret.into(), ..world.signer("main") }.v1(&parameters());
    let v3 = |secret: &str| Signer { secret: secret.into(), ..world.signer("main") }.v3(&parameters());
    fn main(keys: &mut [AccessKey]) -> &mut AccessKey {
        keys.iter_mut().find(|key| key.id == "main").unwrap()
    }
    let secret_again = format!("main:{SECRET}");

    let taken = v1(SECRET);
    world.call(&taken).await.assert_ok();
    world.call(&v3(SECRET)).await.assert_ok();
    assert_eq!(rest(&world, &secret_again).await, 200);
    let signed_before = [v1(SECRET), v3(SECRET)];

    // Disabled, taken out, and with another secret: also for what was signed before.
    type Change = fn(&mut Vec<AccessKey>);
    let changes: [(Change, u16, &str); 3] = [
        (|keys| main(keys).enabled = false, 400, "InvalidAccessKeyId.Inactive"),
        (|keys| keys.retain(|key| key.id != "main"), 404, "InvalidAccessKeyId.NotFound"),
        (|keys| main(keys).secret = Secret::new("changed").unwrap(), 400, "SignatureDoesNotMatch"),
    ];
    for (change, status, code) in changes {
        world.change_keys(change);
        for wire in signed_before.iter().chain(&[v1(SECRET), v3(SECRET), taken.clone()]) {
            world.call(wire).await.assert_refused(status, code);
        }
        assert_eq!(rest(&world, &secret_again).await, 401, "{code}");
        world.call(&world.signer("second").v3(&parameters())).await.assert_ok();
    }
    world.call(&v1("changed")).await.assert_ok();
    world.call(&v3("changed")).await.assert_ok();
    assert_eq!(rest(&world, "main:changed").await, 200);

    // As before, and a new one. What was refused had not used up its nonce, what was answered had.
    world.change_keys(|keys| keys.push(key("new", "n", "local")));
    for wire in &signed_before {
        world.call(wire).await.assert_ok();
    }
    world.call(&taken).await.assert_refused(400, "SignatureNonceUsed");
    world.call(&Signer { secret: "n".into(), ..world.signer("new") }.v1(&parameters())).await.assert_ok();
    assert_eq!(rest(&world, "new:n").await, 200);
}

#[tokio::test]
async fn a26_a_change_of_keys_gives_no_account_its_calls_back() {
    let world = World::with(|state| state.settings.calls_per_second = 2);
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    world.call(&world.signer("main").v3(&parameters())).await.assert_ok();
    world.change_keys(|keys| keys.push(key("new", SECRET, "local")));
    for key in ["main", "new"] {
        world.call(&world.signer(key).v1(&parameters())).await.assert_refused(400, "Throttling.User");
        assert_eq!(rest(&world, &format!("{key}:{SECRET}")).await, 429);
    }
    world.pass(1_000);
    world.call(&world.signer("new").v1(&parameters())).await.assert_ok();
}

#[tokio::test]
async fn a27_a_token_belongs_to_its_key() {
    let world = World::new();
    let with = |key: &str, token: Option<&str>| Signer { token: token.map(str::to_owned), ..world.signer(key) };
    for (key, token, code) in [
        ("sts", Some("CAIS+token/==%"), ""),
        ("sts", None, "MissingSecurityToken"),
        ("sts", Some("CAIS+old"), "InvalidSecurityToken.MismatchWithAccessKey"),
        ("sts", Some("cais+token/==%"), "InvalidSecurityToken.MismatchWithAccessKey"),
        ("main", Some("CAIS+token/==%"), "InvalidSecurityToken.MismatchWithAccessKey"),
        ("sts-ended", Some("CAIS+old"), "InvalidSecurityToken.Expired"),
    ] {
        for wire in [with(key, token).v1(&parameters()), with(key, token).v3(&parameters())] {
            let answer = world.call(&wire).await;
            if code.is_empty() { answer.assert_ok() } else { answer.assert_refused(400, code) }
        }
    }
    let malformed = with("sts", Some(&"x".repeat(2_000)));
    world.call(&malformed.v1(&parameters())).await.assert_refused(400, "InvalidSecurityToken.Malformed");
    let control = with("sts", Some("a\nb"));
    world.call(&control.v1(&parameters())).await.assert_refused(400, "InvalidSecurityToken.Malformed");
    // What the token is, is told only to those who can sign.
    let forged = Signer { secret: "guess".into(), ..with("sts", Some("CAIS+token/==%")) };
    world.call(&forged.v1(&parameters())).await.assert_refused(400, "SignatureDoesNotMatch");
    // Unsigned: a header beside a signature over parameters is not read; one beside ACS3 is refused.
    let beside = with("sts", None).v1(&parameters()).header("x-acs-security-token", "CAIS+token/==%");
    world.call(&beside).await.assert_refused(400, "MissingSecurityToken");
    let unsigned = with("sts", None).v3(&parameters()).header("x-acs-security-token", "CAIS+token/==%");
    world.call(&unsigned).await.assert_refused(400, "IncompleteSignature");
    let mut doubled = with("sts", Some("CAIS+token/==%")).v1(&parameters());
    doubled.target.push_str("&SecurityToken=x");
    world.call(&doubled).await.assert_refused(400, "InvalidParameter");
}

#[tokio::test]
async fn a28_one_source_names_the_target() {
    let world = World::new();
    // The operation: parameter and header must agree, and the signed one decides.
    let wire = world.signer("main").v1(&parameters());
    world.call(&wire.clone().header("x-acs-action", "SendMessage")).await.assert_refused(400, "InvalidAction");
    world.call(&wire.clone().header("x-acs-version", "2019-01-01")).await.assert_refused(400, "InvalidVersion");
    world.call(&wire.header("x-acs-action", "QueryMqttTraceDevice")).await.assert_ok();
    let both = [parameters(), pairs(&[("Action", "SendMessage")])].concat();
    world.call(&world.signer("main").v3(&both)).await.assert_refused(400, "InvalidAction");
    let unsigned = world.signer("main").with("Action", None).with("Version", None).v1(&parameters());
    let unsigned = unsigned.header("x-acs-action", "QueryMqttTraceDevice").header("x-acs-version", "2020-04-20");
    world.call(&unsigned).await.assert_refused(400, "MissingAction");

    // The region and the instance: MqttRegionId and InstanceId alone. SDKs send their own RegionId beside it.
    let elsewhere = [parameters(), pairs(&[("RegionId", "cn-beijing")])].concat();
    let wire = world.signer("main").v1(&elsewhere).set("Host", Some("onsmqtt.cn-shanghai.example"));
    let wire = wire.header("x-acs-region-id", "cn-shenzhen").header("x-acs-instance-id", OTHER_INSTANCE);
    world.call(&wire).await.assert_ok();
    let foreign = |region| parameters_with(&[("InstanceId", Some(OTHER_INSTANCE)), ("MqttRegionId", Some(region))]);
    world.call(&world.signer("foreign").v1(&foreign("cn-beijing"))).await.assert_ok();
    let wrong = [foreign("cn-hangzhou"), pairs(&[("RegionId", "cn-beijing")])].concat();
    world.call(&world.signer("foreign").v1(&wrong)).await.assert_refused(400, "InstanceNotFound");
    let crossed = world.signer("main").v1(&foreign("cn-beijing"));
    world.call(&crossed).await.assert_refused(400, "InstancePermissionCheckFailed");
    // A resource's name can't be bent by what is put into it.
    for (name, bent) in [("MqttRegionId", "x:local:instance/mqtt-cn-test"), ("InstanceId", "mqtt-cn-test:x")] {
        let answer = world.call(&world.signer("by-name").v1(&parameters_with(&[(name, Some(bent))]))).await;
        answer.assert_refused(403, "NoPermission");
    }
    let bent = parameters_with(&[("MqttRegionId", Some("x:local:instance/good"))]);
    world.call(&world.signer("good-only").v1(&bent)).await.assert_refused(403, "NoPermission");
    world.call(&world.signer("by-name").v1(&parameters())).await.assert_ok();
}

#[tokio::test]
async fn a_browser_is_told_what_runs_here() {
    let world = World::new();
    let request = |accept: &str| Request::builder().uri("/").header("accept", accept).body(Body::empty()).unwrap();
    let page = world.send(request("text/html,application/xhtml+xml,*/*;q=0.8")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("QueryMqttTraceDevice") && !page.body.contains(INSTANCE) && !page.body.contains(CLIENT));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    for accept in ["text/html", "TEXT/HTML", "application/xml, text/html;q=0.1", "*/*;q=0.1,text/html; charset=utf-8"] {
        assert_eq!(world.send(request(accept)).await.status, 200, "{accept}");
    }
    let several = [("accept", "application/xml"), ("accept", "text/html")];
    assert_eq!(world.get("/?", &several).await.status, 200);
    let html = ("accept", "text/html");
    assert_eq!(world.get("/", &[html, ("authorization", "Basic bWFpbjp4")]).await.status, 200);
    let head = Request::builder().method("HEAD").uri("/").header("accept", "text/html").body(Body::empty()).unwrap();
    assert_eq!(world.send(head).await.status, 200);
    for signed in ["ACS3-HMAC-SHA256 Credential=main", "basically", ""] {
        assert_eq!(world.get("/", &[html, ("authorization", signed)]).await.status, 400, "{signed}");
    }
    for query in ["/?Action=QueryMqttTraceDevice", "/?x"] {
        assert_eq!(world.get(query, &[html]).await.status, 400, "{query}");
    }
    for accept in ["*/*", "application/json", "text/html;q=0", "text/htmlx", ""] {
        world.send(request(accept)).await.assert_refused(400, "MissingAction");
    }
}
