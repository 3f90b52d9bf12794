//! Keys for a time: given out to a user, with a policy that narrows what the user may do.
//!
//! Nothing is kept of them. The token says who, until when and for what, under a MAC that only the file's session key makes; the
//! secret is made of the key's id with the same session key. A token is readable by who holds it and changed by nobody. It
//! ends with its time, with the user (disabled or deleted), or with the session key.
//!
//! `TMQ1.` payload `.` MAC, both in URL-safe base64, without a secret; the MAC is HMAC-SHA256 over `token:` and the encoded payload, the secret HMAC-SHA256
//! over `secret:` and the id, in hexadecimal digits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;
use tracemq_model::TimeMs;

use crate::policy::PolicyError;
use crate::signature::hmac_sha256;
use crate::{AccessKey, AccountId, Holder, Policy, Secret};

/// What every id of a temporary key begins with.
const ID_PREFIX: &str = "STS.";
/// What every token begins with: its format.
const TOKEN_PREFIX: &str = "TMQ1.";

/// Whom a temporary key can be given to.
#[derive(Clone, Debug)]
pub struct SessionUser {
    /// The user's name.
    pub name: Arc<str>,
    /// Whose user it is.
    pub account: AccountId,
    /// Whether its keys are good.
    pub enabled: bool,
    /// What it may do.
    pub policy: Policy,
}

/// What makes and verifies temporary keys.
#[derive(Clone)]
pub struct Sessions {
    key: [u8; 32],
    /// By id.
    users: HashMap<String, SessionUser>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("users", &self.users).finish_non_exhaustive()
    }
}

/// What is given out, shown once.
pub struct Grant {
    /// `AccessKeyId`
    pub id: String,
    /// `AccessKeySecret`
    pub secret: String,
    /// `SecurityToken`
    pub token: String,
    /// When it ends.
    pub expires: TimeMs,
}

/// Why no key can be given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nobody has that id, or the user is disabled.
    #[error("there is no such user, or it is disabled")]
    User,
    /// Shorter or longer than it may be.
    #[error("a temporary key lives from one minute to 12 hours")]
    Duration,
    /// A policy that would make the token too long for a header.
    #[error("the policy is longer than {} bytes", Sessions::POLICY_BYTES_MAX)]
    TooLong,
    /// A policy that says what is not understood.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// What is wrong with a token before any signature is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// A temporary key comes without.
    Missing,
    /// It was not given out here, or is not as it was given out.
    Malformed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    /// Of the key.
    id: String,
    /// Of the user.
    user: String,
    expires: TimeMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Box<RawValue>>,
}

impl Sessions {
    /// The most bytes of a session's policy, without spaces: as much as that service takes.
    pub const POLICY_BYTES_MAX: usize = 2_048;
    /// Longer tokens are none: base64 of the longest policy and what stands beside it.
    const TOKEN_BYTES_MAX: usize = 4_096;
    const LIFE_MS: std::ops::RangeInclusive<i64> = 60_000..=12 * 3_600_000;

    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, users: HashMap::new() }
    }

    pub(super) fn add(&mut self, id: String, user: SessionUser) -> Option<SessionUser> {
        self.users.insert(id, user)
    }

    /// The user with this id.
    pub fn user(&self, id: &str) -> Option<&SessionUser> {
        self.users.get(id)
    }

    /// A key for the user with the id `user`, that lives for `life_ms` and may do what the user and `policy` both allow.
    ///
    /// # Errors
    /// When the user is not there, the time is out of bounds, or the policy is not understood or too long.
    pub fn grant(
        &self,
        user: &str,
        policy: Option<&str>,
        now: TimeMs,
        life_ms: i64,
        random: &[u8; 64],
    ) -> Result<Grant, SessionError> {
        if !self.users.get(user).is_some_and(|user| user.enabled) {
            return Err(SessionError::User);
        }
        if !Self::LIFE_MS.contains(&life_ms) {
            return Err(SessionError::Duration);
        }
        let policy = policy.map(without_spaces).transpose()?;
        if policy.as_ref().is_some_and(|policy| policy.get().len() > Self::POLICY_BYTES_MAX) {
            return Err(SessionError::TooLong);
        }
        let (drawn, _) = AccessKey::random_pair(random);
        let id = format!("{ID_PREFIX}{drawn}");
        let payload = Payload { id: id.clone(), user: user.to_owned(), expires: now.plus(life_ms), policy };
        let (expires, payload) = (payload.expires, serde_json::to_vec(&payload).unwrap_or_default());
        let payload = BASE64.encode(payload);
        let token = format!("{TOKEN_PREFIX}{payload}.{}", BASE64.encode(self.mac("token:", &payload)));
        Ok(Grant { secret: self.secret(&id), id, token, expires })
    }

    /// The key that a token stands for, with the secret of the key called `id`: whoever signs with that proves to hold it, and whether
    /// the token is for `id` shows in the key's id. None when `id` can't be a temporary key's, or the user is gone.
    ///
    /// # Errors
    /// When there is no token, or it is not one that was given out here.
    pub fn key(&self, id: &str, token: Option<&str>) -> Result<Option<AccessKey>, TokenError> {
        if !id.starts_with(ID_PREFIX) {
            return Ok(None);
        }
        let token = token.ok_or(TokenError::Missing)?;
        let payload = self.open(token).ok_or(TokenError::Malformed)?;
        let Some(user) = self.users.get(&payload.user) else { return Ok(None) };
        let session = payload.policy.map(|policy| Policy::parse(policy.get())).transpose();
        Ok(Some(AccessKey {
            secret: Secret::unchecked(self.secret(id)),
            id: payload.id,
            account: user.account.clone(),
            enabled: user.enabled,
            security_token: Some(Secret::unchecked(token.to_owned())),
            expires: Some(payload.expires),
            holder: Holder::Session(Arc::clone(&user.name)),
            policy: user.policy.clone(),
            // One that an earlier version understood and this one doesn't.
            session: session.map_err(|_| TokenError::Malformed)?,
        }))
    }

    fn open(&self, token: &str) -> Option<Payload> {
        if token.len() > Self::TOKEN_BYTES_MAX {
            return None;
        }
        let (payload, mac) = token.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
        let expected = BASE64.encode(self.mac("token:", payload));
        if !bool::from(expected.as_bytes().ct_eq(mac.as_bytes())) {
            return None;
        }
        serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
    }

    fn secret(&self, id: &str) -> String {
        hex::encode(self.mac("secret:", id)) // no letter of it has a meaning in a shell or a URL
    }

    fn mac(&self, what_for: &str, text: &str) -> [u8; 32] {
        hmac_sha256(&self.key, format!("{what_for}{text}").as_bytes())
    }
}

/// The same document, understood, and as short as it can be written.
fn without_spaces(json: &str) -> Result<Box<RawValue>, PolicyError> {
    Policy::parse(json)?;
    let value: serde_json::Value = serde_json::from_str(json).map_err(|error| PolicyError::Json(error.to_string()))?;
    serde_json::value::to_raw_value(&value).map_err(|error| PolicyError::Json(error.to_string()))
}
