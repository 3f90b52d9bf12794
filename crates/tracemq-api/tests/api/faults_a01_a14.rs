//! A1 to A14: what is signed, what is used, and that the two are the same.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::Digest;
use tracemq_api::{Login, ROUTES};

use crate::signing::{Place, Wire, hex, pairs, query};
use crate::world::{CLIENT, INSTANCE, SECRET, World, parameters, parameters_with};

#[tokio::test]
async fn every_way_of_signing_works() {
    let world = World::new();
    world.call(&world.signer("main").v1(&parameters())).await.assert_ok();
    for place in [Place::Query, Place::Form, Place::Mixed] {
        world.call(&world.signer("main").v1_at("POST", place, &parameters())).await.assert_ok();
    }
    world.call(&world.signer("main").v3(&parameters())).await.assert_ok();
    assert_eq!(world.questions(), 5);
}

#[tokio::test]
async fn a01_text_moved_across_a_border_breaks_the_signature() {
    let world = World::new();
    for (from, to) in [
        ("CurrentPage=1", "CurrentPag=e1"),
        ("CurrentPage=1&", "CurrentPage=1%26"),
        ("PageSize=5", "PageSize=%3D5"),
        ("PageSize=5&Reverse=false", "PageSize=5%26Reverse%3Dfalse"),
        ("PageSize=5&Reverse=false", "PageSize%3D5=&Reverse=false"),
    ] {
        for wire in [world.signer("main").v1(&parameters()), world.signer("main").v3(&parameters())] {
            world.call(&wire.target_with(from, to)).await.assert_refused(400, "SignatureDoesNotMatch");
        }
    }
    assert_eq!(world.questions(), 0);
}

#[tokio::test]
async fn a02_nothing_can_be_appended_and_a_plain_hash_is_no_signature() {
    let world = World::new();
    for wire in [world.signer("main").v1(&parameters()), world.signer("main").v3(&parameters())] {
        let longer = Wire { target: format!("{}&Extra=1", wire.target), ..wire };
        world.call(&longer).await.assert_refused(400, "SignatureDoesNotMatch");
    }
    let mut form = world.signer("main").v1_at("POST", Place::Form, &parameters());
    form.body.extend(b"&Extra=1");
    world.call(&form).await.assert_refused(400, "SignatureDoesNotMatch");

    let signer = world.signer("main");
    let wire = signer.v3(&parameters());
    let refusal = world.call(&wire.clone().set("accept", Some("x/y"))).await.json();
    let signed = refusal["Message"].as_str().unwrap();
    let signed = signed.split_once("StringToSign is [").unwrap().1.split_once(']').unwrap().0;
    let mut hash = sha2::Sha256::new();
    hash.update(SECRET);
    hash.update(signed);
    let plain: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let authorization = wire.value("Authorization");
    let authorization = format!("{}Signature={plain}", authorization.split_once("Signature=").unwrap().0);
    let forged = wire.set("accept", Some("x/y")).set("Authorization", Some(&authorization));
    world.call(&forged).await.assert_refused(400, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a03_a_parameter_is_there_once() {
    let world = World::new();
    for value in [CLIENT, "another"] {
        let doubled = format!("&ClientId={value}");
        for mut wire in [world.signer("main").v1(&parameters()), world.signer("main").v3(&parameters())] {
            wire.target.push_str(&doubled);
            world.call(&wire).await.assert_refused(400, "InvalidParameter");
        }
        let mut form = world.signer("main").v1_at("POST", Place::Form, &parameters());
        form.body.extend(doubled.bytes());
        world.call(&form).await.assert_refused(400, "InvalidParameter");
        let mut across = world.signer("main").v1_at("POST", Place::Mixed, &parameters());
        across.target.push_str(&doubled);
        world.call(&across).await.assert_refused(400, "InvalidParameter");
    }
    // Also when the doubled set is what was signed.
    let signed = [parameters(), vec![("ClientId".to_owned(), "another".to_owned())]].concat();
    world.call(&world.signer("main").v1(&signed)).await.assert_refused(400, "InvalidParameter");
    world.call(&world.signer("main").v3(&signed)).await.assert_refused(400, "InvalidParameter");
    assert_eq!(world.questions(), 0);
}

#[tokio::test]
async fn a04_names_are_read_one_way() {
    let world = World::new();
    let wire = world.signer("main").v1(&parameters()).target_with("ClientId=", "%43lientId=");
    world.call(&wire).await.assert_ok();
    for doubled in ["clientid", "CLIENTID", "%43lientId"] {
        let mut wire = world.signer("main").v1(&parameters());
        wire.target.push_str(&format!("&{doubled}=x"));
        world.call(&wire).await.assert_refused(400, "InvalidParameter");
    }
    for odd in ["ClientId%20", "ClientId%00", "%20ClientId", "ClientId%0A", "Client%C4%B1d"] {
        let wire = world.signer("main").v1(&parameters()).target_with("ClientId=", &format!("{odd}="));
        world.call(&wire).await.assert_refused(400, "InvalidParameter");
    }
    let lower = parameters_with(&[("ClientId", None), ("clientid", Some(CLIENT))]);
    world.call(&world.signer("main").v1(&lower)).await.assert_refused(400, "MissingClientId");
}

#[tokio::test]
async fn a05_one_decoding_for_verifier_and_operation() {
    let world = World::new();
    let odd = "GID_a@@@x *+/~é";
    let named = parameters_with(&[("ClientId", Some(odd))]);
    for (from, to) in
        [("%20", "+"), ("%2A", "*"), ("%2A", "%2a"), ("%2F", "/"), ("%2B", "%2b"), ("~", "%7E"), ("%40", "@")]
    {
        for wire in [world.signer("main").v1(&named), world.signer("main").v3(&named)] {
            world.call(&wire.target_with(from, to)).await.assert_ok();
        }
    }
    for (from, to) in
        [("%20", "%u0041"), ("%20", "%zz"), ("%20", "%"), ("%20", "%2"), ("%20", "%c0%a0"), ("%20", "%ff")]
    {
        for wire in [world.signer("main").v1(&named), world.signer("main").v3(&named)] {
            world.call(&wire.target_with(from, to)).await.assert_refused(400, "InvalidParameter");
        }
    }
    let plus = world.signer("main").v1(&named).target_with("%2B", "+");
    world.call(&plus).await.assert_refused(400, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a06_a_form_counts_only_when_it_was_signed() {
    let world = World::new();
    let form = || world.signer("main").v1_at("POST", Place::Form, &parameters());
    for kind in ["Application/X-WWW-Form-Urlencoded", "application/x-www-form-urlencoded; charset=UTF-8"] {
        world.call(&form().set("Content-Type", Some(kind))).await.assert_ok();
    }
    for kind in
        ["text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencodedx"]
    {
        world.call(&form().set("Content-Type", Some(kind))).await.assert_refused(400, "MissingAction");
    }
    world.call(&form().set("Content-Type", None)).await.assert_refused(400, "MissingAction");
    let twice = form().header("Content-Type", "text/plain");
    world.call(&twice).await.assert_refused(400, "InvalidParameter");
    let utf_16 = form().set("Content-Type", Some("application/x-www-form-urlencoded; charset=utf-16"));
    world.call(&utf_16).await.assert_refused(400, "InvalidParameter");

    // ACS3 signs the body, and a form in it only together with the header that makes it one.
    let signer = world.signer("main");
    let mut wire = signer.v3(&parameters_with(&[("ClientId", None)]));
    wire.body = format!("ClientId={}", query(&[("x".into(), CLIENT.into())]).trim_start_matches("x=")).into_bytes();
    let wire = wire.clone().set("x-acs-content-sha256", Some(&hex(&wire.body)));
    let as_form = wire.clone().header("Content-Type", "application/x-www-form-urlencoded");
    world.call(&signer.sign_v3(as_form)).await.assert_ok();
    let signer = world.signer("main");
    let renamed = signer.sign_v3(wire.set("x-acs-signature-nonce", Some(&signer.nonce)));
    let renamed = renamed.header("Content-Type", "application/x-www-form-urlencoded");
    world.call(&renamed).await.assert_refused(400, "IncompleteSignature");
}

#[tokio::test]
async fn a07_a_json_body_is_never_read() {
    let world = World::new();
    let without = parameters_with(&[("ClientId", None)]);
    let mut wire = world.signer("main").v1_at("POST", Place::Query, &without);
    wire.body = format!(r#"{{"ClientId":"{CLIENT}"}}"#).into_bytes();
    world.call(&wire.header("Content-Type", "application/json")).await.assert_refused(400, "MissingClientId");
}

#[tokio::test]
async fn a08_only_a_verified_signature_counts() {
    let world = World::new();
    let unsigned = |from: &str| {
        let wire = world.signer("main").v1(&parameters());
        let signature = wire.target.split('&').find(|part| part.starts_with("Signature=")).unwrap().to_owned();
        wire.target_with(&format!("&{signature}"), from)
    };
    world.call(&unsigned("")).await.assert_refused(400, "MissingSignature");
    world.call(&unsigned("&Signature=")).await.assert_refused(400, "MissingSignature");
    world.call(&unsigned("&Signature")).await.assert_refused(400, "MissingSignature");
    world.call(&unsigned("&Signature=AAAA")).await.assert_refused(400, "SignatureDoesNotMatch");
    world.call(&unsigned("&Signature=AAAA&Signature=AAAA")).await.assert_refused(400, "InvalidParameter");
    world.call(&unsigned("&signature=AAAA")).await.assert_refused(400, "MissingSignature");

    let v3 = || world.signer("main").v3(&parameters());
    let authorization = v3().value("Authorization");
    world.call(&v3().header("Authorization", &authorization)).await.assert_refused(400, "IncompleteSignature");
    world.call(&v3().header("Authorization", "Basic eDp5")).await.assert_refused(400, "IncompleteSignature");
    for malformed in ["", "ACS3-HMAC-SHA256", "ACS3-HMAC-SHA256 ", "ACS3-HMAC-SHA256 Credential=main"] {
        world.call(&v3().set("Authorization", Some(malformed))).await.assert_refused(400, "IncompleteSignature");
    }
    let (before, _) = authorization.split_once("Signature=").unwrap();
    let empty = v3().set("Authorization", Some(&format!("{before}Signature=")));
    world.call(&empty).await.assert_refused(400, "IncompleteSignature");
    let none = v3().set("Authorization", None);
    world.call(&none).await.assert_refused(400, "MissingAuthorization");

    let both = world.signer("main").v1(&parameters());
    let both = both.header("Authorization", &authorization).header("x-acs-action", "QueryMqttTraceDevice");
    let both = both.header("x-acs-version", "2020-04-20");
    world.call(&both).await.assert_refused(400, "IncompleteSignature");
    for second in [("AccessKeyId", "main"), ("Signature", "AAAA")] {
        let more = [parameters(), pairs(&[second])].concat();
        world.call(&world.signer("main").v3(&more)).await.assert_refused(400, "IncompleteSignature");
    }
    assert_eq!(world.questions(), 0);
}

#[tokio::test]
async fn a09_no_route_answers_a_key_id_with_a_made_up_proof() {
    let world = World::new();
    let basic = format!("Basic {}", BASE64.encode("main:made-up"));
    let acs3 = "ACS3-HMAC-SHA256 Credential=main,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
                x-acs-signature-nonce;x-acs-version,Signature=00";
    let mut with_login = 0;
    for route in ROUTES {
        let path = route.path.replace("{client_id}", CLIENT).replace("{ip}", "192.0.2.7").replace("{file}", "sign.js");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for proof in ["", &basic, acs3, "Bearer x", "V1"] {
                let mut wire = Wire { method: method.to_string(), target: path.clone(), headers: vec![], body: vec![] };
                if proof == "V1" {
                    let signed = world.signer("main").v1_at(method.as_str(), Place::Query, &parameters());
                    let (_, query) = signed.target.split_once('?').unwrap();
                    wire.target = format!("{path}?{}", query.replace("&Signature=", "&Signature=x"));
                } else if !proof.is_empty() {
                    wire = world.signer("main").v3(&parameters()).set("Authorization", Some(proof));
                    wire.method = method.to_string();
                    wire.target = path.clone();
                }
                let answer = world.call(&wire).await;
                if route.login == Login::None {
                    assert!(matches!(answer.status, 200 | 405), "{method} {path} {proof}: {answer:?}");
                } else {
                    assert!(matches!(answer.status, 400..=405), "{method} {path} {proof}: {answer:?}");
                    with_login += 1;
                }
                for history in ["mqtt.trace.action", "192.0.2.7:4711", "keep-alive-timeout", INSTANCE] {
                    // The numbers are by instance and by reason, and a refused signature gets back what the caller sent.
                    let is_label = route.path == "/metrics" && [INSTANCE, "keep-alive-timeout"].contains(&history);
                    let named = is_label || (history == INSTANCE && proof == "V1");
                    assert!(named || !answer.body.contains(history), "{method} {path} {proof}: {answer:?}");
                }
            }
        }
    }
    let routes = ROUTES.iter().filter(|route| route.login != Login::None).count();
    assert_eq!((with_login, world.questions()), (routes * 10 * 5, 0));
}

#[tokio::test]
async fn a10_the_policy_is_asked_after_the_proof() {
    let world = World::new();
    for key in ["main", "nothing", "denied"] {
        let mut wire = world.signer(key).v1(&parameters());
        let at = wire.target.find("&Signature=").unwrap();
        let rest = wire.target[at + 1..].find('&').unwrap();
        wire.target.replace_range(at..=at + rest, "&");
        world.call(&wire).await.assert_refused(400, "MissingSignature");
        let wrong = world.signer(key).v1(&parameters()).target_with("PageSize=5", "PageSize=6");
        world.call(&wrong).await.assert_refused(400, "SignatureDoesNotMatch");
    }
}

#[tokio::test]
async fn a11_the_body_s_hash_is_that_of_the_bytes_received() {
    let world = World::new();
    let empty = hex(b"");
    for claimed in [hex(b"other"), empty.to_uppercase(), "UNSIGNED-PAYLOAD".into(), String::new(), format!("{empty}0")]
    {
        let signer = world.signer("main");
        let wire = signer.sign_v3(signer.v3(&parameters()).set("x-acs-content-sha256", Some(&claimed)));
        world.call(&wire).await.assert_refused(400, "SignatureDoesNotMatch");
    }
    // The right hash where it is signed, another in the header.
    let names =
        ["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"];
    for claimed in [hex(b"other"), empty.to_uppercase(), "UNSIGNED-PAYLOAD".into()] {
        let signer = world.signer("main");
        let wire = signer.v3(&parameters()).set("x-acs-content-sha256", Some(&claimed));
        let wire = signer.sign_v3_with_hash(wire, &names, &empty);
        world.call(&wire).await.assert_refused(400, "SignatureDoesNotMatch");
    }
    let mut wire = world.signer("main").v3(&parameters());
    wire.body = b"smuggled".to_vec();
    world.call(&wire).await.assert_refused(400, "SignatureDoesNotMatch");
    let signer = world.signer("main");
    let wire = signer.sign_v3(signer.v3(&parameters()).set("x-acs-content-sha256", None));
    world.call(&wire).await.assert_refused(400, "IncompleteSignature");
}

#[tokio::test]
async fn a12_signed_headers_must_hold_what_is_read() {
    let world = World::new();
    let needed =
        ["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"];
    let signer = world.signer("main");
    world.call(&signer.sign_v3_over(signer.v3(&parameters()), &needed)).await.assert_ok();
    for missing in needed {
        let signer = world.signer("main");
        let names: Vec<_> = needed.into_iter().filter(|name| *name != missing).collect();
        let answer = world.call(&signer.sign_v3_over(signer.v3(&parameters()), &names)).await;
        answer.assert_refused(400, "IncompleteSignature");
        assert!(answer.json()["Message"].as_str().unwrap().contains(missing), "{missing}: {answer:?}");
    }
    let lists: [&[&str]; 6] = [
        &[
            "host",
            "host",
            "x-acs-action",
            "x-acs-content-sha256",
            "x-acs-date",
            "x-acs-signature-nonce",
            "x-acs-version",
        ],
        &["x-acs-action", "host", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"],
        &["", "host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"],
        &[
            "host",
            "x-acs-action",
            "x-acs-content-sha256",
            "x-acs-date",
            "x-acs-nowhere",
            "x-acs-signature-nonce",
            "x-acs-version",
        ],
        &["Host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"],
        &["", ""],
    ];
    for names in lists {
        let signer = world.signer("main");
        let wire = signer.sign_v3_over(signer.v3(&parameters()), names);
        world.call(&wire).await.assert_refused(400, "IncompleteSignature");
    }
}

#[tokio::test]
async fn a13_an_unsigned_acs_header_is_refused() {
    let world = World::new();
    for (name, value) in [
        ("x-acs-security-token", "x"),
        ("x-acs-accesskey-id", "main"),
        ("X-Acs-Region-Id", "cn-beijing"),
        ("x-acs-", "x"),
    ] {
        let answer = world.call(&world.signer("main").v3(&parameters()).header(name, value)).await;
        answer.assert_refused(400, "IncompleteSignature");
        assert!(answer.json()["Message"].as_str().unwrap().contains(&name.to_lowercase()), "{answer:?}");
    }
    let signer = world.signer("main");
    let other = signer.sign_v3(signer.v3(&parameters()).header("x-acs-accesskey-id", "second"));
    world.call(&other).await.assert_refused(400, "IncompleteSignature");
    world.call(&world.signer("main").v3(&parameters()).header("User-Agent", "not signed")).await.assert_ok();
}

#[tokio::test]
async fn a14_a_signed_header_has_one_plain_value() {
    let world = World::new();
    for (name, value) in [("host", "127.0.0.1:8080"), ("accept", "application/json"), ("x-acs-date", "x")] {
        let wire = world.signer("main").v3(&parameters()).header(name, value);
        let answer = world.call(&wire).await;
        assert!(answer.status == 400 && !answer.body.contains("mqtt.trace"), "{name}: {answer:?}");
    }
    for value in ["a\tb", "é", "a\u{a0}"] {
        let signer = world.signer("main");
        let wire = signer.sign_v3(signer.v3(&parameters()).header("user-agent", value));
        world.call(&wire).await.assert_refused(400, "IncompleteSignature");
    }
    let signer = world.signer("main");
    let mut wire = signer.sign_v3(signer.v3(&parameters()).header("user-agent", "a  b"));
    for (name, value) in &mut wire.headers {
        if name == "user-agent" {
            *value = b"a  b  ".to_vec(); // spaces around a value are the transport's
        }
    }
    world.call(&wire).await.assert_ok();
}
