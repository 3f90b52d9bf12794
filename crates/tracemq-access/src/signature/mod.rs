//! Request signatures: what a request claims, and whether a key's secret proves it.
//!
//! A [`Claim`] is what was read out of a request, without any trust; [`Claim::verify`] is the only thing that turns
//! it into a fact. There is one method a scheme and no other: HMAC-SHA1 for [`rpc_v1`], HMAC-SHA256 for [`acs3`].

pub mod acs3;
mod headers;
pub mod rpc_v1;
mod timestamp;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Secret;
use crate::params::Params;

pub use headers::{HeaderError, Headers};
pub use timestamp::parse_timestamp;

/// A request as far as signatures go.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method as sent, `GET`.
    pub method: &'a str,
    /// The path as sent, not decoded.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: &'a Params,
    /// What the body says, if its media type is that of a form.
    pub form: &'a Params,
    /// Query and form as one set.
    pub all: &'a Params,
    /// All headers.
    pub headers: &'a Headers,
    /// The body as received.
    pub body: &'a [u8],
}

/// By which rules a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Parameters signed by HMAC-SHA1.
    RpcV1,
    /// Canonical request signed by HMAC-SHA256.
    Acs3,
}

/// Why a request is not signed in a form that could be verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Something that every signed request has is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something has a value that is not taken.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// Signed by a method that is not taken.
    #[error("the signature method is not taken")]
    Method,
    /// Signed in part, twice, or not readably so.
    #[error("{0}")]
    Incomplete(String),
}

impl From<HeaderError> for ClaimError {
    fn from(error: HeaderError) -> Self {
        Self::Incomplete(error.to_string())
    }
}

/// What a request claims about itself.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// By which rules it is signed.
    pub scheme: Scheme,
    /// Who claims to have signed.
    pub key_id: &'a str,
    /// When, as text; see [`parse_timestamp`].
    pub timestamp: &'a str,
    /// What makes the request unlike all others.
    pub nonce: &'a str,
    /// The token of a temporary key.
    pub security_token: Option<&'a str>,
    /// What was signed, before it was hashed; none where nothing is hashed.
    pub canonical_request: Option<String>,
    /// What was signed.
    pub string_to_sign: String,
    signature: &'a str,
    body_is_as_claimed: bool,
}

impl Claim<'_> {
    /// More bytes of a nonce are refused.
    pub const NONCE_MAX_BYTES: usize = 256;

    /// Whether `secret` made the signature. The time it takes does not depend on where the two differ.
    pub fn verify(&self, secret: &Secret) -> bool {
        let expected = match self.scheme {
            Scheme::RpcV1 => rpc_v1::sign(secret.reveal(), &self.string_to_sign),
            Scheme::Acs3 => acs3::sign(secret.reveal(), &self.string_to_sign),
        };
        let same = self.is_signed(&expected);
        same && self.body_is_as_claimed
    }

    /// Whether the signature is `expected`. Apart from [`Self::verify`], so that a test can ask it with signatures so
    /// long that any comparison which stops early gives itself away.
    fn is_signed(&self, expected: &str) -> bool {
        self.signature.as_bytes().ct_eq(expected.as_bytes()).into()
    }
}

/// The nonce, if it is one.
fn checked_nonce(nonce: Option<&str>) -> Result<&str, ClaimError> {
    match nonce {
        None | Some("") => Err(ClaimError::Missing("SignatureNonce")),
        Some(long) if long.len() > Claim::NONCE_MAX_BYTES => Err(ClaimError::Invalid("SignatureNonce")),
        Some(nonce) => Ok(nonce),
    }
}

/// The password of an MQTT client that signs its client identifier: base64 of HMAC-SHA1.
pub fn mqtt_password(secret: &Secret, client_id: &str) -> String {
    BASE64.encode(hmac_sha1(secret.reveal().as_bytes(), client_id.as_bytes()))
}

pub(crate) fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
