//! Requests as official SDKs sent them, byte for byte: each verifies, and after any change of one byte it does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that stops is a test that failed")]

use std::path::Path;

use serde_json::Value;
use tracemq_access::Secret;
use tracemq_access::params::Params;
use tracemq_access::signature::{Claim, ClaimError, Headers, Request, Scheme, acs3, mqtt_password, rpc_v1};

/// A captured request, open to changes.
#[derive(Clone)]
struct Captured {
    id: String,
    scheme: Scheme,
    secret: String,
    method: String,
    target: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    expected: Value,
}

fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/signature-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn captured() -> Vec<Captured> {
    let fixture = fixture();
    let lists = ["vectors", "published"].map(|list| fixture[list].as_array().unwrap().clone());
    let read = |vector: Value| Captured {
        id: text(&vector["id"]),
        scheme: if text(&vector["scheme"]).starts_with("RPC-V1") { Scheme::RpcV1 } else { Scheme::Acs3 },
        secret: text(&vector["access_key_secret"]),
        method: text(&vector["request"]["method"]),
        target: text(&vector["request"]["target"]).into_bytes(),
        headers: vector["request"]["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (text(&pair[0]), text(&pair[1]).into_bytes()))
            .collect(),
        body: text(&vector["request"]["body"]).into_bytes(),
        expected: vector,
    };
    lists.into_iter().flatten().map(read).collect()
}

impl Captured {
    /// Reads the request as a server would, and hands over what it claims.
    fn judge<T>(&self, judge: impl FnOnce(Result<&Claim<'_>, String>) -> T) -> T {
        let mut halves = self.target.splitn(2, |b| *b == b'?');
        let path = String::from_utf8_lossy(halves.next().unwrap()).into_owned();
        let headers = Headers::new(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        let is_form = headers.one("content-type").is_ok_and(|kind| kind == Some("application/x-www-form-urlencoded"));
        let form: &[u8] = if is_form { &self.body } else { b"" };
        let parsed = Params::parse(halves.next().unwrap_or_default()).and_then(|query| {
            let form = Params::parse(form)?;
            let all = Params::joined(&query, &form)?;
            Ok((query, form, all))
        });
        let (query, form, all) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return judge(Err(error.to_string())),
        };
        let request = Request {
            method: &self.method,
            path: &path,
            query: &query,
            form: &form,
            all: &all,
            headers: &headers,
            body: &self.body,
        };
        let claim: Result<Claim<'_>, ClaimError> = match self.scheme {
            Scheme::RpcV1 => rpc_v1::claim(&request),
            Scheme::Acs3 => acs3::claim(&request),
        };
        judge(claim.as_ref().map_err(ToString::to_string))
    }

    fn passes(&self) -> bool {
        let secret = Secret::new(&self.secret).unwrap();
        // The key's id is not signed: it is what a server finds the secret by.
        let key_id = text(&self.expected["access_key_id"]);
        self.judge(|claim| claim.is_ok_and(|claim| claim.key_id == key_id && claim.verify(&secret)))
    }

    /// What is left of target and body once they are decoded.
    fn meaning(&self) -> Option<(Vec<u8>, Params, Params)> {
        let mut halves = self.target.splitn(2, |b| *b == b'?');
        let path = halves.next().unwrap().to_vec();
        let query = Params::parse(halves.next().unwrap_or_default()).ok()?;
        Some((path, query, Params::parse(&self.body).ok()?))
    }
}

#[test]
fn every_captured_request_verifies_with_every_step_as_documented() {
    let all = captured();
    assert_eq!(all.len(), 14);
    for one in all {
        assert!(one.passes(), "{}", one.id);
        one.judge(|claim| {
            let claim = claim.unwrap();
            let expected = &one.expected;
            assert_eq!(claim.key_id, text(&expected["access_key_id"]), "{}", one.id);
            assert_eq!(claim.string_to_sign, text(&expected["string_to_sign"]), "{}", one.id);
            assert_eq!(claim.canonical_request.as_deref(), expected["canonical_request"].as_str(), "{}", one.id);
            assert_eq!(claim.security_token, expected["security_token"].as_str(), "{}", one.id);
            let signature = match one.scheme {
                Scheme::RpcV1 => rpc_v1::sign(&one.secret, &claim.string_to_sign),
                Scheme::Acs3 => acs3::sign(&one.secret, &claim.string_to_sign),
            };
            assert_eq!(signature, text(&expected["expected_signature"]), "{}", one.id);
        });
    }
}

#[test]
fn canonical_queries_are_as_documented() {
    for one in captured() {
        let target = String::from_utf8(one.target.clone()).unwrap();
        let query = Params::parse(target.split_once('?').map_or("", |(_, query)| query).as_bytes()).unwrap();
        let form = match one.scheme {
            Scheme::RpcV1 => Params::parse(&one.body).unwrap(),
            Scheme::Acs3 => Params::default(),
        };
        let canonical = Params::joined(&query, &form).unwrap().canonical(Some("Signature"));
        assert_eq!(canonical, text(&one.expected["canonical_query"]), "{}", one.id);
    }
}

/// What a byte is replaced by: neighbours in bits, markers of every syntax around, and far away.
fn replacements(byte: u8) -> Vec<u8> {
    let mut others = vec![byte ^ 1, byte ^ 0x20, b'&', b'=', b'%', b'+', b' ', b';', b',', b'A', b'0', 0, b'\n', 0xff];
    others.retain(|other| *other != byte);
    others.sort_unstable();
    others.dedup();
    others
}

/// The only changes of one byte that leave the decoded meaning as it is: the other letter case in a `%` escape, an `&`
/// for the `=` before an empty value, and a bare space (which no HTTP request can hold there) for its `+`.
fn is_another_spelling(text: &[u8], at: usize, other: u8) -> bool {
    let hex = text[at].is_ascii_hexdigit() && text[at].eq_ignore_ascii_case(&other);
    let escape = hex && [1, 2].iter().any(|back| at.checked_sub(*back).is_some_and(|percent| text[percent] == b'%'));
    let empty_value = text[at] == b'=' && other == b'&' && matches!(text.get(at + 1), None | Some(b'&'));
    escape || empty_value || (text[at] == b'+' && other == b' ')
}

fn check_every_byte(one: &Captured, what: &str, pick: impl Fn(&mut Captured) -> &mut Vec<u8>) {
    let mut changed = one.clone();
    for at in 0..pick(&mut changed).len() {
        let text = pick(&mut changed).clone();
        for other in replacements(text[at]) {
            pick(&mut changed)[at] = other;
            let same = matches!(what, "target" | "body") && is_another_spelling(&text, at, other);
            assert!(!same || changed.meaning() == one.meaning(), "{}: {what} byte {at}", one.id);
            let whole = String::from_utf8_lossy(pick(&mut changed)).into_owned();
            assert_eq!(changed.passes(), same, "{}: {what} byte {at} as {other:#04x}: {whole}", one.id);
        }
        pick(&mut changed)[at] = text[at];
    }
}

#[test]
fn no_byte_of_target_or_body_can_be_changed() {
    for one in captured() {
        check_every_byte(&one, "target", |request| &mut request.target);
        check_every_byte(&one, "body", |request| &mut request.body);
        for more in [&b"x"[..], b"&x=1", b"=", b"%"] {
            let mut changed = one.clone();
            changed.target.extend(more);
            assert!(!changed.passes(), "{}: target with {}", one.id, more.escape_ascii());
            let mut changed = one.clone();
            changed.body.extend(more);
            let unread = one.scheme == Scheme::RpcV1 && one.body.is_empty(); // no form: signed by nobody, read by nobody
            assert_eq!(changed.passes(), unread, "{}: body with {}", one.id, more.escape_ascii());
        }
    }
}

#[test]
fn no_byte_of_a_signed_header_or_of_the_authorization_can_be_changed() {
    let mut checked = 0;
    for one in captured().into_iter().filter(|one| one.scheme == Scheme::Acs3) {
        let signed: Vec<String> = match one.expected["signed_headers"].as_array() {
            Some(names) => names.iter().map(text).collect(),
            None => one.headers.iter().map(|(name, _)| name.to_lowercase()).filter(|n| n != "authorization").collect(),
        };
        for (number, (name, _)) in one.headers.iter().enumerate() {
            let name = name.to_lowercase();
            if signed.contains(&name) || name == "authorization" {
                check_every_byte(&one, &name, |request| &mut request.headers[number].1);
                checked += 1;
                let mut without = one.clone();
                without.headers.remove(number);
                assert!(!without.passes(), "{} without {name}", one.id);
                let mut doubled = one.clone();
                doubled.headers.push(one.headers[number].clone());
                assert!(!doubled.passes(), "{} with {name} twice", one.id);
                let mut shouted = one.clone();
                shouted.headers[number].0 = name.to_uppercase();
                assert!(shouted.passes(), "{}: letter case of the name {name} says nothing", one.id);
                let mut renamed = one.clone();
                renamed.headers[number].0 = format!("{name}x");
                assert!(!renamed.passes(), "{} with {name} renamed", one.id);
            }
        }
        let mut added = one.clone();
        added.headers.push(("x-acs-extra".into(), b"1".to_vec()));
        assert!(!added.passes(), "{} with an unsigned x-acs- header", one.id);
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn another_method_secret_or_scheme_fails() {
    for one in captured() {
        for method in ["GET", "POST", "HEAD", "post", ""] {
            let mut changed = one.clone();
            changed.method = method.into();
            assert_eq!(changed.passes(), method == one.method, "{} as {method}", one.id);
        }
        for secret in [
            "x",
            &format!("{}&", one.secret),
            one.secret.trim_start_matches(['F', 't', 'Y']),
            &format!("{}x", one.secret),
        ] {
            let mut changed = one.clone();
            changed.secret = secret.into();
            assert!(!changed.passes(), "{} with {secret}", one.id);
        }
        let mut changed = one.clone();
        changed.scheme = match one.scheme {
            Scheme::RpcV1 => Scheme::Acs3,
            Scheme::Acs3 => Scheme::RpcV1,
        };
        assert!(!changed.passes(), "{} by the other scheme", one.id);
    }
}

#[test]
fn passwords_of_mqtt_clients_are_as_documented() {
    let fixture = fixture();
    let vectors = fixture["mqtt"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let secret = Secret::new(&text(&vector["secret"])).unwrap();
        assert_eq!(mqtt_password(&secret, &text(&vector["client_id"])), text(&vector["password"]));
        assert_ne!(mqtt_password(&secret, "GID_Test@@@0002"), text(&vector["password"]));
    }
}
