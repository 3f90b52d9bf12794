//! `ACS3-HMAC-SHA256` signatures: method, path, query, the listed headers and the body are signed.
//!
//! Which headers are listed is the client's choice, but for a few that must be, and for every `x-acs-*` header: one
//! that is there and not signed would be read as if it were.

use sha2::{Digest, Sha256};

use super::{Claim, ClaimError, Headers, Request, Scheme, checked_nonce, hmac_sha256};

/// The name of the method in the Authorization header.
pub const METHOD: &str = "ACS3-HMAC-SHA256";

/// Headers that every signature must cover.
const ALWAYS_SIGNED: [&str; 5] = ["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-version"];

/// Reads what `request` claims.
///
/// # Errors
/// When the Authorization header is not of the form that clients send, or what it lists is not what must be signed.
pub fn claim<'a>(request: &Request<'a>) -> Result<Claim<'a>, ClaimError> {
    let headers = request.headers;
    let authorization = headers.one("authorization")?.ok_or(ClaimError::Missing("Authorization"))?;
    let Authorization { key_id, signed_headers, signature } = Authorization::parse(authorization)?;
    let names: Vec<&str> = signed_headers.split(';').collect();
    check_names(&names, headers)?;
    let body_hash = hex::encode(Sha256::digest(request.body));
    let mut header_lines = String::new();
    for name in &names {
        let value = headers.one(name)?.ok_or_else(|| incomplete(name, "is listed as signed and not there"))?;
        header_lines.push_str(&format!("{name}:{value}\n"));
    }
    let canonical_request = format!(
        "{}\n{}\n{}\n{header_lines}\n{signed_headers}\n{body_hash}",
        request.method,
        request.path,
        request.query.canonical(None),
    );
    if headers.one("x-acs-accesskey-id")?.is_some_and(|id| id != key_id) {
        return Err(incomplete("x-acs-accesskey-id", "names another key"));
    }
    if !request.form.is_empty() && !names.contains(&"content-type") {
        return Err(incomplete("content-type", "says that the body is a form, and is not signed"));
    }
    Ok(Claim {
        scheme: Scheme::Acs3,
        key_id,
        timestamp: headers.one("x-acs-date")?.unwrap_or_default(),
        nonce: checked_nonce(headers.one("x-acs-signature-nonce")?)?,
        security_token: headers.one("x-acs-security-token")?.filter(|token| !token.is_empty()),
        string_to_sign: string_to_sign(&canonical_request),
        canonical_request: Some(canonical_request),
        signature,
        body_is_as_claimed: headers.one("x-acs-content-sha256")? == Some(body_hash.as_str()),
    })
}

/// What is signed.
pub fn string_to_sign(canonical_request: &str) -> String {
    format!("{METHOD}\n{}", hex::encode(Sha256::digest(canonical_request.as_bytes())))
}

/// The signature of `text`.
pub fn sign(secret: &str, text: &str) -> String {
    hex::encode(hmac_sha256(secret.as_bytes(), text.as_bytes()))
}

/// `ACS3-HMAC-SHA256 Credential=<id>,SignedHeaders=<a;b>,Signature=<hex>`.
struct Authorization<'a> {
    key_id: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, ClaimError> {
        let malformed = || ClaimError::Incomplete("the Authorization header is malformed".into());
        let (method, rest) = text.split_once(' ').ok_or_else(malformed)?;
        if method != METHOD {
            return Err(ClaimError::Method);
        }
        let mut parts = rest.split(',');
        let mut part = |name| parts.next().and_then(|part| part.strip_prefix(name)).filter(|value| !value.is_empty());
        let key_id = part("Credential=").ok_or_else(malformed)?;
        let signed_headers = part("SignedHeaders=").ok_or_else(malformed)?;
        let signature = part("Signature=").ok_or_else(malformed)?;
        if parts.next().is_some() {
            return Err(malformed());
        }
        Ok(Self { key_id, signed_headers, signature })
    }
}

fn incomplete(header: &str, why: &str) -> ClaimError {
    ClaimError::Incomplete(format!("the header {header} {why}"))
}

fn check_names(names: &[&str], headers: &Headers) -> Result<(), ClaimError> {
    let in_order = names.iter().zip(names.iter().skip(1)).all(|(a, b)| a < b);
    let plain = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase() || b == b' ');
    if !in_order || !names.iter().all(plain) {
        return Err(ClaimError::Incomplete("SignedHeaders is not a sorted list of lower-case names".into()));
    }
    for name in ALWAYS_SIGNED {
        if !names.contains(&name) {
            return Err(incomplete(name, "is not signed"));
        }
    }
    match headers.names().find(|name| name.starts_with("x-acs-") && !names.contains(name)) {
        Some(unsigned) => Err(incomplete(unsigned, "is there and not signed")),
        None => Ok(()),
    }
}
