//! RPC signatures, `SignatureVersion=1.0`: every parameter of query and form is signed, nothing else is.
//!
//! `StringToSign = METHOD & enc("/") & enc(canonical parameters without Signature)`, HMAC-SHA1 with `secret&`, base64.
//! A header or a body that is no form is not signed: whoever reads one to decide anything has a hole.

use super::{BASE64, Claim, ClaimError, Request, Scheme, checked_nonce, hmac_sha1};
use base64::Engine;

use crate::params::{Params, encode};

/// Reads what `request` claims.
///
/// # Errors
/// When a part that every signed request has is missing or not taken.
pub fn claim<'a>(request: &Request<'a>) -> Result<Claim<'a>, ClaimError> {
    let params = request.all;
    if request.path != "/" {
        return Err(ClaimError::Incomplete("the path is not /".into()));
    }
    if params.get("SignatureType").is_some_and(|kind| !kind.is_empty()) {
        return Err(ClaimError::Invalid("SignatureType"));
    }
    let needed = |name| params.get(name).filter(|value| !value.is_empty()).ok_or(ClaimError::Missing(name));
    let key_id = needed("AccessKeyId")?;
    let signature = needed("Signature")?;
    if !needed("SignatureMethod")?.eq_ignore_ascii_case("HMAC-SHA1") {
        return Err(ClaimError::Method);
    }
    if needed("SignatureVersion")? != "1.0" {
        return Err(ClaimError::Invalid("SignatureVersion"));
    }
    let timestamp = needed("Timestamp")?;
    let nonce = checked_nonce(params.get("SignatureNonce"))?;
    Ok(Claim {
        scheme: Scheme::RpcV1,
        key_id,
        timestamp,
        nonce,
        security_token: params.get("SecurityToken").filter(|token| !token.is_empty()),
        canonical_request: None,
        string_to_sign: string_to_sign(request.method, params),
        signature,
        body_is_as_claimed: true, // a form is among the parameters; any other body is read by nobody
    })
}

/// What is signed.
pub fn string_to_sign(method: &str, params: &Params) -> String {
    format!("{method}&%2F&{}", encode(&params.canonical(Some("Signature"))))
}

/// The signature of `text`.
pub fn sign(secret: &str, text: &str) -> String {
    BASE64.encode(hmac_sha1(format!("{secret}&").as_bytes(), text.as_bytes()))
}
