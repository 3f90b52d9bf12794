//! Tokens: rights to topics for a time. A token is known by its digest alone, so that who reads the book has none.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracemq_model::TimeMs;

use super::BookError;
use crate::mqtt::rules::Use;
use crate::mqtt::topic::{Filter, FilterError, Values};

/// An expired or revoked token is remembered for so long: until then a device is told what it was.
const REMEMBERED_MS: u64 = 24 * 3_600_000;

/// What a token gives a right to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The access key that it was given out under, and that the user name names.
    pub access_key_id: String,
    /// The instance that it is for.
    pub instance: String,
    /// Whether its topics may be subscribed to.
    pub read: bool,
    /// Whether its topics may be published to.
    pub write: bool,
    /// Topic filters.
    pub resources: Vec<String>,
    /// From this moment on it is worth nothing, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// Why no token is given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// As many as there may be are valid.
    #[error("all {0} tokens are in use")]
    Full(usize),
    /// A resource that is no topic filter.
    #[error("`{resource}` is not a topic filter: {why}")]
    Resource {
        /// The resource.
        resource: String,
        /// What is wrong with it.
        why: FilterError,
    },
    /// It would give no right.
    #[error("neither reading nor writing, or no resource")]
    Nothing,
}

/// What a text is worth as a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState<'a> {
    /// Never given out, or long forgotten.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
    /// It is good.
    Valid(&'a Grant),
}

pub(in crate::mqtt) type TokenDigest = [u8; 32];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(with = "hex")]
    digest: TokenDigest,
    grant: Grant,
    revoked: bool,
}

impl Token {
    fn state(&self, now: TimeMs) -> TokenState<'_> {
        if self.revoked {
            TokenState::Revoked
        } else if TimeMs(self.grant.expires_ms) <= now {
            TokenState::Expired
        } else {
            TokenState::Valid(&self.grant)
        }
    }

    fn is_past(&self, now: TimeMs) -> bool {
        now.since(TimeMs(self.grant.expires_ms)) >= REMEMBERED_MS
    }
}

/// All tokens.
#[derive(Debug)]
pub struct TokenBook {
    tokens: HashMap<TokenDigest, Token>,
    tokens_max: usize,
}

impl Default for TokenBook {
    /// Empty, with room for 100,000: a token for each of the devices that a server holds.
    fn default() -> Self {
        Self { tokens: HashMap::new(), tokens_max: 100_000 }
    }
}

impl TokenBook {
    /// Gives out a token with the rights of `grant`, made of `random`.
    ///
    /// # Errors
    /// When it would give no right, or the book is full.
    pub fn issue(&mut self, random: &[u8; 32], grant: Grant, now: TimeMs) -> Result<String, TokenError> {
        if !(grant.read || grant.write) || grant.resources.is_empty() {
            return Err(TokenError::Nothing);
        }
        for resource in &grant.resources {
            Filter::parse_plain(resource).map_err(|why| TokenError::Resource { resource: resource.clone(), why })?;
        }
        if self.tokens.len() >= self.tokens_max {
            self.tokens.retain(|_, token| matches!(token.state(now), TokenState::Valid(_)));
            if self.tokens.len() >= self.tokens_max {
                return Err(TokenError::Full(self.tokens_max));
            }
        }
        let text = URL_SAFE_NO_PAD.encode(random);
        let digest = digest_of(&text);
        self.tokens.insert(digest, Token { digest, grant, revoked: false });
        Ok(text)
    }

    /// What `text` is worth at `now`.
    pub fn state(&self, text: &str, now: TimeMs) -> TokenState<'_> {
        self.state_of(&digest_of(text), now)
    }

    pub(in crate::mqtt) fn state_of(&self, digest: &TokenDigest, now: TimeMs) -> TokenState<'_> {
        self.tokens.get(digest).map_or(TokenState::Unknown, |token| token.state(now))
    }

    /// Takes a token back that was given out for `instance`. False when it was not.
    pub fn revoke(&mut self, text: &str, instance: &str) -> bool {
        let token = self.tokens.get_mut(&digest_of(text)).filter(|token| token.grant.instance == instance);
        token.map(|token| token.revoked = true).is_some()
    }

    /// The book as a file's text; what is long past is left out.
    pub fn to_lines(&self, now: TimeMs) -> String {
        let lines = self.tokens.values().filter(|token| !token.is_past(now));
        lines.filter_map(|token| serde_json::to_string(token).ok()).map(|line| line + "\n").collect()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// The line that is none.
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let mut book = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let token: Token = serde_json::from_str(line).map_err(|_| BookError(number))?;
            book.tokens.insert(token.digest, token);
        }
        Ok(book)
    }
}

fn digest_of(text: &str) -> TokenDigest {
    Sha256::digest(text.as_bytes()).into()
}

/// A token of a connection, with the rights that it has there.
#[derive(Clone)]
struct Held {
    digest: TokenDigest,
    read: bool,
    write: bool,
    filters: Arc<[Filter]>,
    expires: TimeMs,
}

/// The tokens that a connection came in with.
#[derive(Clone)]
pub(in crate::mqtt) struct Tokens(Arc<[Held]>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads the password `R|token`, `W|token`, `RW|token` or several of them: all must be good for that key and
    /// instance, and for what they are used for.
    pub(in crate::mqtt) fn of_password(
        book: &TokenBook,
        password: &str,
        access_key_id: &str,
        instance: &str,
        now: TimeMs,
    ) -> Result<Self, &'static str> {
        const FORM: &str = "the password is not R|token, W|token or RW|token";
        let parts: Vec<&str> = password.split('|').collect();
        let (pairs, rest) = parts.as_chunks::<2>();
        if !rest.is_empty() || pairs.is_empty() || pairs.len() > 2 {
            return Err(FORM);
        }
        let mut held = Vec::with_capacity(pairs.len());
        for [kind, text] in pairs {
            let (read, write) = match *kind {
                "R" => (true, false),
                "W" => (false, true),
                "RW" => (true, true),
                _ => return Err(FORM),
            };
            let digest = digest_of(text);
            let grant = match book.state_of(&digest, now) {
                TokenState::Valid(grant) => grant,
                TokenState::Unknown => return Err("the token was not given out here"),
                TokenState::Expired => return Err("the token has expired"),
                TokenState::Revoked => return Err("the token was revoked"),
            };
            if grant.access_key_id != access_key_id || grant.instance != instance {
                return Err("the token is for another access key or instance");
            }
            if (read && !grant.read) || (write && !grant.write) {
                return Err("the token does not give the right, R or W, that it is used for");
            }
            let filters = grant.resources.iter().filter_map(|text| Filter::parse_plain(text).ok()).collect();
            held.push(Held { digest, read, write, filters, expires: TimeMs(grant.expires_ms) });
        }
        Ok(Self(held.into()))
    }

    /// Whether one of them allows it.
    pub(in crate::mqtt) fn allow(&self, used: Use, wanted: &str) -> bool {
        let none = Values { client_id: "", user: None };
        self.0.iter().any(|held| {
            let right = match used {
                Use::Publish => held.write,
                Use::Subscribe => held.read,
            };
            right && held.filters.iter().any(|filter| filter.covers(wanted, &none))
        })
    }

    pub(in crate::mqtt) fn digests(&self) -> impl Iterator<Item = &TokenDigest> {
        self.0.iter().map(|held| &held.digest)
    }

    /// When the first of them ends.
    pub(in crate::mqtt) fn expires(&self) -> Option<TimeMs> {
        self.0.iter().map(|held| held.expires).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = TimeMs(1_000_000);

    fn grant(read: bool, write: bool) -> Grant {
        let resources = vec!["topic1/#".into(), "100%/+".into()];
        Grant { access_key_id: "ak".into(), instance: "mqtt-1".into(), read, write, resources, expires_ms: 2_000_000 }
    }

    #[test]
    fn a_token_is_good_for_what_it_was_given_out_for_and_until_then() {
        let mut book = TokenBook::default();
        let read = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        let both = book.issue(&[2; 32], grant(true, true), NOW).unwrap();
        let of = |book: &TokenBook, password: &str, now| {
            Tokens::of_password(book, password, "ak", "mqtt-1", TimeMs(now)).map_err(str::to_owned)
        };
        let tokens = of(&book, &format!("R|{read}"), 1_999_999).unwrap();
        assert!(tokens.allow(Use::Subscribe, "topic1/x") && !tokens.allow(Use::Publish, "topic1/x"));
        assert!(tokens.allow(Use::Subscribe, "100%/a") && !tokens.allow(Use::Subscribe, "topic2"));
        assert_eq!(tokens.expires(), Some(TimeMs(2_000_000)));
        assert!(of(&book, &format!("RW|{both}"), 0).unwrap().allow(Use::Publish, "topic1"));
        assert!(of(&book, &format!("W|{both}|R|{read}"), 0).unwrap().allow(Use::Publish, "topic1"));
        for (password, said) in [
            (format!("W|{read}"), "right"),
            (format!("R|{both}|W|{read}"), "right"),
            (format!("R|{both}|W|forged"), "not given out"),
            (both.clone(), "R|token"),
            (format!("X|{both}"), "R|token"),
            (format!("R|{both}|"), "R|token"),
            (String::new(), "R|token"),
        ] {
            assert!(of(&book, &password, 0).unwrap_err().contains(said), "{password}");
        }
        assert!(of(&book, &format!("R|{read}"), 2_000_000).unwrap_err().contains("expired"));
        assert!(Tokens::of_password(&book, &format!("R|{read}"), "ak", "mqtt-2", NOW).is_err());
        assert!(Tokens::of_password(&book, &format!("R|{read}"), "other", "mqtt-1", NOW).is_err());
        assert!(!book.revoke(&read, "mqtt-2") && !book.revoke("forged", "mqtt-1"));
        assert!(book.revoke(&read, "mqtt-1"));
        assert_eq!(book.state(&read, NOW), TokenState::Revoked);
        assert!(of(&book, &format!("R|{read}"), 0).unwrap_err().contains("revoked"));
    }

    #[test]
    fn the_book_outlives_a_restart_and_holds_no_token() {
        let mut book = TokenBook::default();
        let text = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        let lines = book.to_lines(NOW);
        assert!(!lines.contains(&text) && !format!("{book:?}").contains(&text));
        let read = TokenBook::parse(&lines).unwrap();
        assert_eq!(read.state(&text, NOW), TokenState::Valid(&grant(true, false)));
        assert_eq!(TokenBook::parse(&format!("{lines}{{}}\n")).unwrap_err(), BookError(2));
        let a_day_later = TimeMs(2_000_000 + 86_400_000);
        assert_eq!(book.to_lines(a_day_later), "", "what is long past is forgotten");
    }

    #[test]
    fn a_full_book_forgets_what_is_over_first() {
        let mut book = TokenBook { tokens_max: 1, ..TokenBook::default() };
        book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        assert_eq!(book.issue(&[2; 32], grant(true, false), NOW), Err(TokenError::Full(1)));
        let later = Grant { expires_ms: 9_000_000, ..grant(true, false) };
        assert!(book.issue(&[2; 32], later, TimeMs(2_000_000)).is_ok());
        assert_eq!(book.issue(&[3; 32], grant(false, false), NOW), Err(TokenError::Nothing));
        let bad = Grant { resources: vec!["a/#/b".into()], ..grant(true, false) };
        assert!(matches!(book.issue(&[3; 32], bad, NOW), Err(TokenError::Resource { .. })));
    }
}
