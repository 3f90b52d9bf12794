//! Who calls: proven by a signature, fresh by its timestamp, new by its nonce, within the account's rate.
//!
//! That a key id is unknown or disabled is told before the signature is asked for: whoever mistypes one must be able
//! to see it, and ids are long and random enough not to be found by trying.

use std::sync::Arc;

use tracemq_access::accounts::TokenError;
use tracemq_access::signature::{Claim, Scheme, acs3, parse_timestamp, rpc_v1};
use tracemq_access::{AccessKey, Holder, KeyRing, Secret};
use tracemq_model::TimeMs;

use crate::nonces::{self, NonceRefusal};
use crate::state::Shared;

use super::fault::Fault;
use super::incoming::Incoming;

/// How far a request's clock and ours may be apart, either way.
const SKEW_MAX_MS: u64 = 15 * 60 * 1_000;

/// Finds the key among `keys` that signed the request.
pub(super) fn authenticate(
    app: &Shared,
    keys: &KeyRing,
    incoming: &Incoming,
    now: TimeMs,
) -> Result<Arc<AccessKey>, Fault> {
    let claim = claim(app, incoming)?;
    let timestamp = parse_timestamp(claim.timestamp).ok_or_else(Fault::timestamp_format)?;
    if now.since(timestamp).max(timestamp.since(now)) > SKEW_MAX_MS {
        return Err(Fault::timestamp_expired());
    }
    let key = keys.find(claim.key_id, claim.security_token).map_err(token_fault)?.ok_or_else(Fault::no_such_key)?;
    if !key.enabled || (key.security_token.is_none() && key.has_expired(now)) {
        return Err(Fault::key_inactive());
    }
    check_token_is_there(&key, &claim)?;
    if !claim.verify(&key.secret) {
        tracing::debug!(key = %key.id, "signature does not match");
        return Err(Fault::signature(&claim));
    }
    check_token(&key, &claim, now)?;
    let hash = nonces::hash(claim.key_id, claim.nonce);
    app.nonces.check(&hash, timestamp, now).map_err(refusal)?;
    // The nonce is taken after the rate has let the call through: else one account's flood would fill what all
    // accounts' nonces share. Of two equal requests at once, one fails here.
    app.throttle(&key.account, now).map_err(Fault::throttled)?;
    app.nonces.take(&hash, timestamp, now).map_err(refusal)?;
    Ok(key)
}

fn claim<'a>(app: &Shared, incoming: &'a Incoming) -> Result<Claim<'a>, Fault> {
    let by_header = incoming.is_signed_by_header();
    if by_header && ["Signature", "AccessKeyId"].iter().any(|name| incoming.all.get(name).is_some()) {
        let error = "the request is signed both in a header and by a parameter".to_owned();
        return Err(Fault::claim(&tracemq_access::signature::ClaimError::Incomplete(error)));
    }
    let (scheme, name, allowed) = if by_header {
        (Scheme::Acs3, acs3::METHOD, app.settings.allow_acs3)
    } else {
        (Scheme::RpcV1, "HMAC-SHA1", app.settings.allow_rpc_v1)
    };
    if !allowed {
        tracing::warn!(scheme = name, "refused a request signed by a scheme that is switched off");
        return Err(Fault::scheme_is_off(name));
    }
    let parts = incoming.signed_parts();
    let claim = match scheme {
        Scheme::Acs3 => acs3::claim(&parts),
        Scheme::RpcV1 => rpc_v1::claim(&parts),
    };
    claim.map_err(|error| Fault::claim(&error))
}

fn token_fault(error: TokenError) -> Fault {
    match error {
        TokenError::Missing => Fault::token_missing(),
        TokenError::Malformed => Fault::token_malformed(),
    }
}

/// Then its token was read already, and may be longer than others.
fn is_session(key: &AccessKey) -> bool {
    matches!(key.holder, Holder::Session(_))
}

fn check_token_is_there(key: &AccessKey, claim: &Claim<'_>) -> Result<(), Fault> {
    match claim.security_token {
        None if key.security_token.is_some() => Err(Fault::token_missing()),
        Some(token) if !is_session(key) && Secret::new(token).is_err() => Err(Fault::token_malformed()),
        Some(_) | None => Ok(()),
    }
}

/// Whether the token is the key's own: told only to those who hold the secret.
fn check_token(key: &AccessKey, claim: &Claim<'_>, now: TimeMs) -> Result<(), Fault> {
    if key.id != claim.key_id {
        return Err(Fault::token_of_another_key()); // a good one, of another key for a time
    }
    match (claim.security_token, &key.security_token) {
        (None, None) => Ok(()),
        (Some(given), Some(expected)) if expected.is(given) => {
            if key.has_expired(now) {
                Err(Fault::token_expired())
            } else {
                Ok(())
            }
        }
        (Some(_) | None, Some(_)) | (Some(_), None) => Err(Fault::token_of_another_key()),
    }
}

fn refusal(refusal: NonceRefusal) -> Fault {
    match refusal {
        NonceRefusal::Used => Fault::nonce_used(),
        NonceRefusal::Expired => Fault::timestamp_expired(),
        NonceRefusal::Full => Fault::nonces_full(),
    }
}
