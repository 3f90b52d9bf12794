//! Tokens: rights to topics for a time. A token is known by its digest alone, so that who reads the book has none.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracemq_model::TimeMs;

use super::BookError;
use crate::mqtt::topic::{Filter, FilterError};

/// Resources of all tokens together take no more than this, whatever they are; 100,000 ordinary tokens need a tenth.
const RESOURCE_BYTES_MAX: usize = 64 << 20;

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
    /// As much text as there may be is in use.
    #[error("the topics of all tokens together are too long")]
    TooMuch,
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

/// A token as it is known here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    #[serde(with = "hex")]
    pub(super) digest: TokenDigest,
    grant: Grant,
    revoked: bool,
}

impl Token {
    fn bytes(&self) -> usize {
        self.grant.resources.iter().map(String::len).sum()
    }

    fn state(&self, now: TimeMs) -> TokenState<'_> {
        if self.revoked {
            TokenState::Revoked
        } else if TimeMs(self.grant.expires_ms) <= now {
            TokenState::Expired
        } else {
            TokenState::Valid(&self.grant)
        }
    }

    fn is_valid(&self, now: TimeMs) -> bool {
        matches!(self.state(now), TokenState::Valid(_))
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
    /// What their resources take.
    resource_bytes: usize,
}

impl Default for TokenBook {
    /// Empty, with room for 100,000: a token for each of the devices that a server holds.
    fn default() -> Self {
        Self { tokens: HashMap::new(), tokens_max: 100_000, resource_bytes: 0 }
    }
}

impl TokenBook {
    /// Gives out a token with the rights of `grant`, made of `random`.
    ///
    /// # Errors
    /// When it would give no right, or the book is full.
    pub fn issue(&mut self, random: &[u8; 32], grant: Grant, now: TimeMs) -> Result<String, TokenError> {
        let (text, token) = self.draw(random, grant, now)?;
        self.put(token, now);
        Ok(text)
    }

    /// The same, and nothing is changed yet.
    pub(super) fn draw(&self, random: &[u8; 32], grant: Grant, now: TimeMs) -> Result<(String, Token), TokenError> {
        if !(grant.read || grant.write) || grant.resources.is_empty() {
            return Err(TokenError::Nothing);
        }
        for resource in &grant.resources {
            Filter::parse_plain(resource).map_err(|why| TokenError::Resource { resource: resource.clone(), why })?;
        }
        let text = URL_SAFE_NO_PAD.encode(random);
        let token = Token { digest: digest_of(&text), grant, revoked: false };
        let fits = |count: usize, bytes: usize| {
            if count >= self.tokens_max {
                Err(TokenError::Full(self.tokens_max))
            } else if bytes + token.bytes() > RESOURCE_BYTES_MAX {
                Err(TokenError::TooMuch)
            } else {
                Ok(())
            }
        };
        if fits(self.tokens.len(), self.resource_bytes).is_err() {
            let valid = || self.tokens.values().filter(|token| token.is_valid(now));
            fits(valid().count(), valid().map(Token::bytes).sum())?;
        }
        Ok((text, token))
    }

    /// Puts a token into the book; where there is no room, what is over is forgotten first.
    pub(super) fn put(&mut self, token: Token, now: TimeMs) {
        if self.tokens.len() >= self.tokens_max || self.resource_bytes + token.bytes() > RESOURCE_BYTES_MAX {
            self.tokens.retain(|_, token| token.is_valid(now));
            self.resource_bytes = self.tokens.values().map(Token::bytes).sum();
        }
        self.insert(token);
    }

    fn insert(&mut self, token: Token) {
        self.resource_bytes += token.bytes();
        let before = self.tokens.insert(token.digest, token);
        self.resource_bytes -= before.as_ref().map_or(0, Token::bytes);
    }

    /// How many there are, valid or not.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
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
        let revoked = self.revoked(text, instance);
        revoked.map(|token| self.insert(token)).is_some()
    }

    /// The token as it is once it was taken back, and nothing is changed yet. None when it was not given out for
    /// `instance`.
    pub(super) fn revoked(&self, text: &str, instance: &str) -> Option<Token> {
        let token = self.tokens.get(&digest_of(text)).filter(|token| token.grant.instance == instance)?;
        Some(Token { revoked: true, ..token.clone() })
    }

    pub(super) fn lines(&self, now: TimeMs, from: usize, count: usize) -> String {
        let lines = self.tokens.values().skip(from).take(count).filter(|token| !token.is_past(now));
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
            book.insert(token);
        }
        Ok(book)
    }
}

pub(in crate::mqtt) fn digest_of(text: &str) -> TokenDigest {
    Sha256::digest(text.as_bytes()).into()
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
    fn the_book_outlives_a_restart_and_holds_no_token() {
        let mut book = TokenBook::default();
        let text = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        let lines = book.lines(NOW, 0, 9);
        assert!(!lines.contains(&text) && !format!("{book:?}").contains(&text));
        let read = TokenBook::parse(&lines).unwrap();
        assert_eq!(read.state(&text, NOW), TokenState::Valid(&grant(true, false)));
        assert_eq!(TokenBook::parse(&format!("{lines}{{}}\n")).unwrap_err(), BookError(2));
        let a_day_later = TimeMs(2_000_000 + 86_400_000);
        assert_eq!(book.lines(a_day_later, 0, 9), "", "what is long past is forgotten");
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

    #[test]
    fn a_token_is_revoked_where_it_was_given_out() {
        let mut book = TokenBook::default();
        let read = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        assert!(!book.revoke(&read, "mqtt-2") && !book.revoke("forged", "mqtt-1"));
        assert_eq!(book.state(&read, NOW), TokenState::Valid(&grant(true, false)));
        assert!(book.revoke(&read, "mqtt-1") && book.revoke(&read, "mqtt-1"));
        assert_eq!(book.state(&read, NOW), TokenState::Revoked);
    }

    #[test]
    fn the_text_of_all_topics_is_bounded_and_counted_right() {
        let mut book = TokenBook::default();
        let long = |n: u8| Grant {
            resources: vec![char::from(b'a' + n).to_string().repeat(60_000); 400],
            ..grant(true, false)
        };
        book.issue(&[1; 32], long(1), NOW).unwrap();
        let text = book.issue(&[2; 32], long(2), NOW).unwrap();
        assert_eq!(book.issue(&[3; 32], long(3), NOW), Err(TokenError::TooMuch));
        assert!(book.revoke(&text, "mqtt-1"));
        assert!(book.issue(&[3; 32], long(3), NOW).is_ok(), "a revoked one makes room");
        assert_eq!(book.resource_bytes, book.tokens.values().map(Token::bytes).sum::<usize>());
    }
}
