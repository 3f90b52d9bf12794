//! Access keys: who calls, what proves it, whose things it may touch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracemq_model::TimeMs;

use crate::accounts::{Sessions, TokenError};
use crate::{Context, Decision, Policy};

/// A text that must not be seen: not in logs, not in errors, not in answers.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// The most bytes of a secret; longer ones are mistakes.
    pub const MAX_BYTES: usize = 1_024;

    /// Takes `text` if it can be a secret.
    ///
    /// # Errors
    /// Empty, longer than [`Self::MAX_BYTES`], or with a control character.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::SecretEmpty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(KeyError::SecretTooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(KeyError::SecretCharacter);
        }
        Ok(Self(text.into()))
    }

    /// One that was made here.
    pub(crate) fn unchecked(text: String) -> Self {
        Self(text.into())
    }

    /// The text itself, to sign with.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this secret. The time it takes does not depend on where the two differ.
    pub fn is(&self, given: &str) -> bool {
        let expected: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        let found: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        found.ct_eq(&expected).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who owns instances and keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Takes `text` if it can be an account: 1 to 64 of `A-Z a-z 0-9 - _ .`
    ///
    /// # Errors
    /// When it is anything else.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(KeyError::Account);
        }
        Ok(Self(text.into()))
    }

    /// The account as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a key can't be used. The texts never hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret of no bytes.
    #[error("the secret is empty")]
    SecretEmpty,
    /// A secret above the limit.
    #[error("the secret is longer than {} bytes", Secret::MAX_BYTES)]
    SecretTooLong,
    /// A secret that can't be typed or sent.
    #[error("the secret holds a control character")]
    SecretCharacter,
    /// An account that is none.
    #[error("an account is 1 to 64 of A-Z a-z 0-9 - _ .")]
    Account,
    /// A key id that is none.
    #[error("access key id `{0}` is not 1 to 128 visible ASCII characters without `:` and `,`")]
    Id(String),
    /// Two keys of one id.
    #[error("access key id `{0}` is there twice")]
    Twice(String),
}

/// Whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The account's own.
    Account,
    /// A user's of the account, by name.
    User(Arc<str>),
    /// Given out for a time to a user of this name.
    Session(Arc<str>),
}

/// How a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// A statement forbids it; else none allows it.
    pub is_explicit: bool,
    /// By the policy that a temporary key was given out with, not by those of its holder.
    pub by_session: bool,
}

/// A key that requests are signed with.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Its name, sent with every request.
    pub id: String,
    /// What signatures are made with.
    pub secret: Secret,
    /// Who owns it: only that account's instances can be asked for.
    pub account: AccountId,
    /// A disabled key is known and refused.
    pub enabled: bool,
    /// A temporary key is valid only together with this token.
    pub security_token: Option<Secret>,
    /// From this moment on it is refused.
    pub expires: Option<TimeMs>,
    /// Whose it is.
    pub holder: Holder,
    /// What its holder may do.
    pub policy: Policy,
    /// What a temporary key was given out for: it may do what both allow.
    pub session: Option<Policy>,
}

impl AccessKey {
    /// Whether it may be used for a call that goes by any of `actions`, on a thing that goes by any of `resources`.
    ///
    /// # Errors
    /// How it is refused. What is forbidden stands before what is only not allowed.
    pub fn allows(&self, actions: &[&str], resources: &[&str], context: &Context) -> Result<(), Denial> {
        let own = self.policy.decide(actions, resources, context);
        let session = self.session.as_ref().map(|policy| policy.decide(actions, resources, context));
        let session = session.unwrap_or(Decision::Allow);
        for wrong in [Decision::ExplicitDeny, Decision::ImplicitDeny] {
            let is_explicit = wrong == Decision::ExplicitDeny;
            if own == wrong {
                return Err(Denial { is_explicit, by_session: false });
            }
            if session == wrong {
                return Err(Denial { is_explicit, by_session: true });
            }
        }
        Ok(())
    }

    /// Whether it is forbidden any of `actions` on anything whose name begins with `prefix`.
    ///
    /// # Errors
    /// By which policy it is.
    pub fn is_free_below(&self, actions: &[&str], prefix: &str, context: &Context) -> Result<(), Denial> {
        let denial = |by_session| Denial { is_explicit: true, by_session };
        if self.policy.denies_below(actions, prefix, context) {
            return Err(denial(false));
        }
        match &self.session {
            Some(session) if session.denies_below(actions, prefix, context) => Err(denial(true)),
            Some(_) | None => Ok(()),
        }
    }

    /// An id (`TMQ` and 20 of `A-Z 0-9`) and a secret (40 of `A-Z a-z 0-9`) out of 64 random bytes.
    ///
    /// A byte picks a character by remainder; the most likely character of the secret has 5 chances in 256, so that it
    /// is worth over 220 bits.
    pub fn random_pair(random: &[u8; 64]) -> (String, String) {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz";
        let pick = |byte: &u8, of: usize| ALPHABET.get(usize::from(*byte) % of).copied().map(char::from);
        let id = random.iter().take(20).filter_map(|byte| pick(byte, 36));
        let secret = random.iter().skip(20).take(40).filter_map(|byte| pick(byte, 62));
        ("TMQ".chars().chain(id).collect(), secret.collect())
    }

    /// The user that it was given to, for good or for a time.
    pub fn user(&self) -> Option<&str> {
        match &self.holder {
            Holder::Account => None,
            Holder::User(name) | Holder::Session(name) => Some(name),
        }
    }

    /// Whether it has ended at `now`.
    pub fn has_expired(&self, now: TimeMs) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// All keys, by id.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: HashMap<String, Arc<AccessKey>>,
    sessions: Option<Arc<Sessions>>,
}

impl KeyRing {
    /// The most bytes of a key's id.
    pub const ID_MAX_BYTES: usize = 128;

    /// Takes `keys`, all or none.
    ///
    /// # Errors
    /// An id that can't be sent in every place where ids are sent, or that is there twice.
    pub fn new(keys: impl IntoIterator<Item = AccessKey>) -> Result<Self, KeyError> {
        let mut known = HashMap::new();
        for key in keys {
            let allowed = |b: u8| b.is_ascii_graphic() && b != b':' && b != b',';
            if key.id.is_empty() || key.id.len() > Self::ID_MAX_BYTES || !key.id.bytes().all(allowed) {
                return Err(KeyError::Id(key.id.escape_debug().take(64).collect()));
            }
            let id = key.id.clone();
            if known.insert(id.clone(), Arc::new(key)).is_some() {
                return Err(KeyError::Twice(id));
            }
        }
        Ok(Self { keys: known, sessions: None })
    }

    /// The same, and keys that were given out for a time.
    #[must_use]
    pub fn with_sessions(self, sessions: Sessions) -> Self {
        Self { sessions: Some(Arc::new(sessions)), ..self }
    }

    /// The key for a caller that names `id` and brings `token`, if there is one. Of a key for a time its own id, the secret's proof and its
    /// end are still to be looked at, see [`Sessions::key`].
    ///
    /// # Errors
    /// When a key for a time comes without token, or with one that is none.
    pub fn find(&self, id: &str, token: Option<&str>) -> Result<Option<Arc<AccessKey>>, TokenError> {
        match (self.keys.get(id), &self.sessions) {
            (Some(key), _) => Ok(Some(Arc::clone(key))),
            (None, Some(sessions)) => Ok(sessions.key(id, token)?.map(Arc::new)),
            (None, None) => Ok(None),
        }
    }

    /// The key called exactly `id`.
    pub fn get(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.keys.get(id)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> AccessKey {
        AccessKey {
            id: id.into(),
            secret: Secret::new("s").unwrap(),
            account: AccountId::new("local").unwrap(),
            enabled: true,
            security_token: None,
            expires: None,
            holder: Holder::Account,
            policy: Policy::full_access(),
            session: None,
        }
    }

    #[test]
    fn unusable_secrets_are_refused() {
        for good in ["s", "a&b%c d=+/é", &"x".repeat(1_024)] {
            assert!(Secret::new(good).unwrap().is(good));
        }
        assert_eq!(Secret::new("").unwrap_err(), KeyError::SecretEmpty);
        assert_eq!(Secret::new(&"x".repeat(10_000)).unwrap_err(), KeyError::SecretTooLong);
        for bad in ["a\n", "a\0", "\u{9b}"] {
            assert_eq!(Secret::new(bad).unwrap_err(), KeyError::SecretCharacter);
        }
        let secret = Secret::new("secret").unwrap();
        for wrong in ["", "s", "Secret", "secret ", "secrets"] {
            assert!(!secret.is(wrong));
        }
    }

    #[test]
    fn unusable_ids_are_refused() {
        assert!(KeyRing::new([key("LTAI5t"), key("STS.x")]).is_ok());
        for bad in ["", "a b", "a:b", "a,b", "a\n", "é", &"x".repeat(129)] {
            assert!(matches!(KeyRing::new([key(bad)]), Err(KeyError::Id(_))), "{bad:?}");
        }
        assert_eq!(KeyRing::new([key("a"), key("a")]).unwrap_err(), KeyError::Twice("a".into()));
        let ring = KeyRing::new([key("a")]).unwrap();
        assert!(ring.get("a").is_some() && ring.get("A").is_none() && ring.get("").is_none());
    }

    #[test]
    fn secrets_don_t_show() {
        let mut key = key("shown");
        key.secret = Secret::new("hidden-secret").unwrap();
        key.security_token = Some(Secret::new("hidden-token").unwrap());
        let text = format!("{key:?} {:#?}", KeyRing::new([key.clone()]));
        assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn random_pairs_are_of_the_random_bytes() {
        let mut random = [0; 64];
        for (byte, value) in random.iter_mut().zip(0..) {
            *byte = value * 3;
        }
        let (id, secret) = AccessKey::random_pair(&random);
        assert_eq!((id.len(), secret.len()), (23, 40));
        assert!(id.starts_with("TMQ") && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
        assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric()));
        random[30] ^= 1;
        assert_ne!(AccessKey::random_pair(&random).1, secret);
        assert_eq!(AccessKey::random_pair(&random).0, id);
    }
}
