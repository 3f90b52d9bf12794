//! HTTP Basic with an access key: its id as user, its secret as password; a temporary key also sends its token in the header
//! `x-acs-security-token`. Then what the key's policy says.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tracemq_access::{AccessKey, KeyRing, Secret};
use tracemq_model::TimeMs;

use crate::apsara::resource_names;
use crate::caller::Caller;
use crate::state::Instance;
use crate::state::Shared;

use super::Problem;

/// The key among `keys` that calls. Which part of a login is wrong is not told.
pub(super) fn login(keys: &KeyRing, headers: &HeaderMap, now: TimeMs) -> Result<Arc<AccessKey>, Problem> {
    let (id, password) = credentials(headers).ok_or_else(Problem::login)?;
    let token = only(headers, "x-acs-security-token")?;
    let key = keys.find(&id, token).ok().flatten().filter(|key| key.id == id);
    let nobody = Secret::new("no key has this secret, and no caller is let in by it").ok();
    // Compared also when there is no such key, so that both take the same time.
    let right = key.as_ref().map(|key| &key.secret).or(nobody.as_ref()).is_some_and(|secret| secret.is(&password));
    match key {
        Some(key) if right && key.enabled && token_fits(&key, token) && !key.has_expired(now) => Ok(key),
        Some(_) | None => Err(Problem::login()),
    }
}

fn token_fits(key: &AccessKey, given: Option<&str>) -> bool {
    match (&key.security_token, given) {
        (None, None) => true,
        (Some(expected), Some(given)) => expected.is(given),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The header's one value. Of two, neither is taken.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut sent = headers.get_all(name).iter();
    match (sent.next(), sent.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => only.to_str().map(Some).map_err(|_| Problem::login()),
        (Some(_), Some(_)) => Err(Problem::login()),
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, encoded) = only.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (id, password) = decoded.split_once(':')?;
    Some((id.to_owned(), password.to_owned()))
}

/// The instance called `named`, or the only one of the key's account.
pub(super) fn instance<'a>(app: &'a Shared, key: &AccessKey, named: Option<&str>) -> Result<&'a Instance, Problem> {
    let mut own = app.instances.iter().filter(|instance| instance.account == key.account);
    match named {
        Some(id) => own.find(|instance| instance.id.as_str() == id).ok_or_else(Problem::no_such_instance),
        None => match (own.next(), own.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Problem::no_such_instance()),
            (Some(_), Some(_)) => Err(Problem::field("instance", &"is needed: the account has several")),
        },
    }
}

/// Whether the caller's policies allow one of `actions`, which are names of the same right.
pub(super) fn check_policy(
    caller: &Caller,
    instance: &Instance,
    actions: &'static [&'static str],
) -> Result<(), Problem> {
    let region = instance.region.as_deref().unwrap_or_default();
    let [short, long] = resource_names(region, caller, instance.id.as_str());
    let denied = |denial| Problem::denied(actions.first().copied().unwrap_or_default(), denial);
    caller.allows(actions, &[&short, &long]).map_err(denied)
}
