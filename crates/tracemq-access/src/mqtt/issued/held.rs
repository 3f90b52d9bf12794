//! The tokens of one connection: those that it came in with, and those by which it renewed them.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tracemq_model::TimeMs;

use super::notice::{Code, Kind, Notice, Upload};
use super::tokens::{TokenBook, TokenDigest, TokenState, digest_of};
use crate::mqtt::rules::Use;
use crate::mqtt::topic::{Filter, Values};

/// A client is told of a token's end so long before it.
const WARNED_MS: i64 = 5 * 60_000;

/// One of each kind.
const TOKENS_MAX: usize = 3;

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) struct TokenFault {
    pub(in crate::mqtt) code: Code,
    kind: Option<Kind>,
    /// In words.
    pub(in crate::mqtt) text: &'static str,
}

impl TokenFault {
    pub(in crate::mqtt) fn notice(&self) -> Notice {
        Notice::invalid(self.code, self.kind)
    }
}

/// For whom a token must have been given out.
#[derive(Clone, Copy)]
pub(in crate::mqtt) struct Bearer<'a> {
    pub(in crate::mqtt) access_key_id: &'a str,
    pub(in crate::mqtt) instance: &'a str,
}

#[derive(Clone)]
struct Held {
    digest: TokenDigest,
    kind: Kind,
    filters: Arc<[Filter]>,
    expires: TimeMs,
    /// Its bearer was told that it ends soon.
    warned: bool,
}

impl Held {
    /// Takes a token that is good for `bearer`, and for what it is used for.
    fn take(book: &TokenBook, kind: Kind, text: &str, bearer: Bearer<'_>, now: TimeMs) -> Result<Self, TokenFault> {
        let fault = |code, text| Err(TokenFault { code, kind: Some(kind), text });
        let digest = digest_of(text);
        let grant = match book.state_of(&digest, now) {
            TokenState::Valid(grant) => grant,
            TokenState::Unknown => return fault(Code::Forged, "the token was not given out here"),
            TokenState::Expired => return fault(Code::Expired, "the token has expired"),
            TokenState::Revoked => return fault(Code::Revoked, "the token was revoked"),
        };
        if grant.access_key_id != bearer.access_key_id {
            return fault(Code::Account, "the token was given out under another access key");
        }
        if grant.instance != bearer.instance {
            return fault(Code::OtherResource, "the token is for another instance");
        }
        if (kind.reads() && !grant.read) || (kind.writes() && !grant.write) {
            return fault(Code::OtherPermission, "the token does not give the right, R or W, that it is used for");
        }
        let filters = grant.resources.iter().filter_map(|text| Filter::parse_plain(text).ok()).collect();
        Ok(Self { digest, kind, filters, expires: TimeMs(grant.expires_ms), warned: false })
    }

    fn right(&self, used: Use) -> bool {
        match used {
            Use::Publish => self.kind.writes(),
            Use::Subscribe => self.kind.reads(),
        }
    }

    fn covers(&self, wanted: &str) -> bool {
        let none = Values { client_id: "", user: None };
        self.filters.iter().any(|filter| filter.covers(wanted, &none))
    }

    fn warned_at(&self) -> TimeMs {
        TimeMs(self.expires.0.saturating_sub(WARNED_MS))
    }
}

/// The tokens of a connection. All clones are one.
#[derive(Clone)]
pub(in crate::mqtt) struct Tokens(Arc<RwLock<Vec<Held>>>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.read().len())
    }
}

impl Tokens {
    fn read(&self) -> RwLockReadGuard<'_, Vec<Held>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Held>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the password `R|token`, `W|token`, `RW|token` or several of them, one of each kind: all must be good.
    pub(in crate::mqtt) fn of_password(
        book: &TokenBook,
        password: &str,
        bearer: Bearer<'_>,
        now: TimeMs,
    ) -> Result<Self, TokenFault> {
        const FORM: TokenFault =
            TokenFault { code: Code::Forged, kind: None, text: "the password is not R|token, W|token or RW|token" };
        let parts: Vec<&str> = password.split('|').collect();
        let (pairs, rest) = parts.as_chunks::<2>();
        if !rest.is_empty() || pairs.is_empty() || pairs.len() > TOKENS_MAX {
            return Err(FORM);
        }
        let mut held: Vec<Held> = Vec::with_capacity(pairs.len());
        for [kind, text] in pairs {
            let kind = Kind::of(kind).ok_or(FORM)?;
            if held.iter().any(|known| known.kind == kind) {
                return Err(FORM);
            }
            held.push(Held::take(book, kind, text, bearer, now)?);
        }
        Ok(Self(Arc::new(RwLock::new(held))))
    }

    /// Takes a token in place of that of its kind, or beside the others.
    pub(in crate::mqtt) fn renew(
        &self,
        book: &TokenBook,
        payload: &[u8],
        bearer: Bearer<'_>,
        now: TimeMs,
    ) -> Result<(), TokenFault> {
        const FORM: TokenFault =
            TokenFault { code: Code::Forged, kind: None, text: "the upload is not {\"token\", \"type\"}" };
        let upload = Upload::parse(payload).ok_or(FORM)?;
        let taken = Held::take(book, upload.kind().ok_or(FORM)?, &upload.token, bearer, now)?;
        let mut held = self.write();
        match held.iter_mut().find(|known| known.kind == taken.kind) {
            // What it was told of this token it need not be told again.
            Some(known) if known.digest == taken.digest => {}
            Some(known) => *known = taken,
            None => held.push(taken),
        }
        Ok(())
    }

    /// Whether one of them allows it.
    pub(in crate::mqtt) fn allow(&self, used: Use, wanted: &str) -> bool {
        self.read().iter().any(|held| held.right(used) && held.covers(wanted))
    }

    /// What of the tokens does not allow it: the topic, or what it is used for.
    pub(in crate::mqtt) fn missing(&self, used: Use, wanted: &str) -> TokenFault {
        let held = self.read();
        let of_topic = held.iter().find(|held| held.covers(wanted)).map(|held| held.kind);
        let of_right = held.iter().find(|held| held.right(used)).map(|held| held.kind);
        match (of_topic, of_right) {
            // One allows it: what forbids it is a rule.
            _ if self.allow(used, wanted) => {
                TokenFault { code: Code::Account, kind: of_right, text: "a rule forbids it" }
            }
            (Some(kind), _) => TokenFault {
                code: Code::OtherPermission,
                kind: Some(kind),
                text: "its token is for the topic, but not for this use",
            },
            (None, kind) => TokenFault {
                code: Code::OtherResource,
                kind: kind.or_else(|| held.first().map(|held| held.kind)),
                text: "no token of it is for the topic",
            },
        }
    }

    /// What is wrong with one of them by now.
    pub(in crate::mqtt) fn fault(&self, book: &TokenBook, now: TimeMs) -> Option<TokenFault> {
        self.read().iter().find_map(|held| {
            let fault = |code, text| Some(TokenFault { code, kind: Some(held.kind), text });
            match book.state_of(&held.digest, now) {
                TokenState::Valid(_) => None,
                TokenState::Expired => fault(Code::Expired, "its token has expired"),
                TokenState::Revoked | TokenState::Unknown => fault(Code::Revoked, "its token was revoked"),
            }
        })
    }

    /// When all is well with the tokens, but not with the key that they were given out under.
    pub(in crate::mqtt) fn fault_of_key(&self) -> TokenFault {
        let kind = self.read().first().map(|held| held.kind);
        TokenFault { code: Code::Account, kind, text: "its access key is not good any more" }
    }

    pub(in crate::mqtt) fn has(&self, digest: &TokenDigest) -> bool {
        self.read().iter().any(|held| held.digest == *digest)
    }

    /// When the first of them ends.
    pub(in crate::mqtt) fn expires(&self) -> Option<TimeMs> {
        self.read().iter().map(|held| held.expires).min()
    }

    /// When its bearer is to be told next that one ends soon.
    pub(in crate::mqtt) fn warned_at(&self) -> Option<TimeMs> {
        self.read().iter().filter(|held| !held.warned).map(Held::warned_at).min()
    }

    /// What it is to be told at `now`; of each token once.
    pub(in crate::mqtt) fn warnings(&self, now: TimeMs) -> Vec<Notice> {
        let mut held = self.write();
        let due = held.iter_mut().filter(|held| !held.warned && held.warned_at() <= now);
        due.map(|held| {
            held.warned = true;
            Notice::expires(held.expires, held.kind)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::Grant;
    use super::*;

    const NOW: TimeMs = TimeMs(1_000_000);
    const BEARER: Bearer<'_> = Bearer { access_key_id: "ak", instance: "mqtt-1" };

    fn grant(read: bool, write: bool) -> Grant {
        let resources = vec!["topic1/#".into(), "100%/+".into()];
        Grant { access_key_id: "ak".into(), instance: "mqtt-1".into(), read, write, resources, expires_ms: 2_000_000 }
    }

    fn of(book: &TokenBook, password: &str, now: i64) -> Result<Tokens, TokenFault> {
        Tokens::of_password(book, password, BEARER, TimeMs(now))
    }

    fn said(fault: TokenFault) -> (String, &'static str) {
        (fault.notice().payload, fault.text)
    }

    #[test]
    fn a_token_is_good_for_what_it_was_given_out_for_and_until_then() {
        let mut book = TokenBook::default();
        let read = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        let both = book.issue(&[2; 32], grant(true, true), NOW).unwrap();
        let tokens = of(&book, &format!("R|{read}"), 1_999_999).unwrap();
        assert!(tokens.allow(Use::Subscribe, "topic1/x") && !tokens.allow(Use::Publish, "topic1/x"));
        assert!(tokens.allow(Use::Subscribe, "100%/a") && !tokens.allow(Use::Subscribe, "topic2"));
        assert_eq!(tokens.expires(), Some(TimeMs(2_000_000)));
        assert!(of(&book, &format!("RW|{both}"), 0).unwrap().allow(Use::Publish, "topic1"));
        for all in [format!("W|{both}|R|{read}"), format!("W|{both}|R|{read}|RW|{both}")] {
            assert!(of(&book, &all, 0).unwrap().allow(Use::Publish, "topic1"), "{all}");
        }
        for (password, code, words) in [
            (format!("W|{read}"), 5, "right"),
            (format!("R|{both}|W|{read}"), 5, "right"),
            (format!("R|{both}|W|forged"), 1, "not given out"),
            (format!("R|{both}|R|{read}"), 1, "R|token"),
            (both.clone(), 1, "R|token"),
            (format!("X|{both}"), 1, "R|token"),
            (format!("R|{both}|"), 1, "R|token"),
            (format!("R|{both}|W|{both}|RW|{both}|R|{both}"), 1, "R|token"),
            (String::new(), 1, "R|token"),
        ] {
            let fault = of(&book, &password, 0).unwrap_err();
            assert!(fault.code as i8 == code && fault.text.contains(words), "{password}: {fault:?}");
        }
        assert_eq!(of(&book, &format!("R|{read}"), 2_000_000).unwrap_err().code, Code::Expired);
        for (bearer, code) in [
            (Bearer { instance: "mqtt-2", ..BEARER }, Code::OtherResource),
            (Bearer { access_key_id: "other", ..BEARER }, Code::Account),
        ] {
            let fault = Tokens::of_password(&book, &format!("R|{read}"), bearer, NOW).unwrap_err();
            assert_eq!(fault.code, code);
        }
        assert!(tokens.fault(&book, NOW).is_none());
        assert!(book.revoke(&read, "mqtt-1"));
        assert_eq!(tokens.fault(&book, NOW).unwrap().notice().payload, r#"{"code":3,"type":"R"}"#);
        assert_eq!(of(&book, &format!("R|{read}"), 0).unwrap_err().code, Code::Revoked);
    }

    #[test]
    fn what_a_token_does_not_allow_is_told_by_its_code() {
        let mut book = TokenBook::default();
        let read = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        let tokens = of(&book, &format!("R|{read}"), 0).unwrap();
        let missing = |used, topic| tokens.missing(used, topic).notice();
        assert_eq!(missing(Use::Publish, "topic1/a").payload, r#"{"code":5,"type":"R"}"#);
        assert_eq!(missing(Use::Subscribe, "topic2").payload, r#"{"code":4,"type":"R"}"#);
        assert_eq!(missing(Use::Publish, "topic2").payload, r#"{"code":4,"type":"R"}"#);
        assert_eq!(missing(Use::Subscribe, "topic1/a").payload, r#"{"code":-1,"type":"R"}"#, "a rule");
        assert_eq!(missing(Use::Subscribe, "topic2").topic, "$SYS/tokenInvalidNotice");
        assert_eq!(tokens.fault_of_key().notice().payload, r#"{"code":-1,"type":"R"}"#);
    }

    #[test]
    fn an_upload_takes_the_place_of_the_token_of_its_kind() {
        let mut book = TokenBook::default();
        let old = book.issue(&[1; 32], grant(true, false), NOW).unwrap();
        let resources = vec!["other".into()];
        let later = Grant { expires_ms: 9_000_000, resources, ..grant(true, true) };
        let new = book.issue(&[2; 32], later, NOW).unwrap();
        let tokens = of(&book, &format!("R|{old}"), 0).unwrap();
        let renew = |payload: &str, now| tokens.renew(&book, payload.as_bytes(), BEARER, TimeMs(now));
        renew(&format!(r#"{{"token":"{new}","type":"R"}}"#), 0).unwrap();
        assert_eq!(tokens.expires(), Some(TimeMs(9_000_000)));
        assert!(tokens.allow(Use::Subscribe, "other") && !tokens.allow(Use::Subscribe, "topic1/x"));
        assert!(!tokens.allow(Use::Publish, "other"), "one of kind R");
        renew(&format!(r#"{{"type":"W","token":"{new}"}}"#), 0).unwrap();
        assert!(tokens.allow(Use::Publish, "other"), "beside the other");
        for (payload, now, expected) in [
            ("", 0, r#"{"code":1,"type":""}"#),
            ("{}", 0, r#"{"code":1,"type":""}"#),
            (&*format!(r#"{{"token":"{new}","type":"X"}}"#), 0, r#"{"code":1,"type":""}"#),
            (&*format!(r#"{{"token":"{}","type":"R"}}"#, "x".repeat(5_000)), 0, r#"{"code":1,"type":""}"#),
            (r#"{"token":"forged","type":"W"}"#, 0, r#"{"code":1,"type":"W"}"#),
            (&*format!(r#"{{"token":"{old}","type":"RW"}}"#), 0, r#"{"code":5,"type":"RW"}"#),
            (&*format!(r#"{{"token":"{new}","type":"RW"}}"#), 9_000_000, r#"{"code":2,"type":"RW"}"#),
        ] {
            let fault = renew(payload, now).unwrap_err();
            assert_eq!(said(fault).0, expected, "{payload}");
        }
        assert!(tokens.allow(Use::Subscribe, "other"), "what is refused changes nothing");
    }

    #[test]
    fn of_each_token_it_is_told_once_that_it_ends_and_anew_of_the_next() {
        let mut book = TokenBook::default();
        let old = book.issue(&[1; 32], grant(true, true), NOW).unwrap();
        let new = book.issue(&[2; 32], Grant { expires_ms: 9_000_000, ..grant(true, false) }, NOW).unwrap();
        let tokens = of(&book, &format!("R|{old}|W|{old}"), 0).unwrap();
        assert_eq!(tokens.warned_at(), Some(TimeMs(1_700_000)));
        assert!(tokens.warnings(TimeMs(1_699_999)).is_empty());
        let told: Vec<_> = tokens.warnings(TimeMs(1_700_000)).into_iter().map(|it| (it.topic, it.payload)).collect();
        let notice = |kind| ("$SYS/tokenExpireNotice", format!(r#"{{"expireTime":2000000,"type":"{kind}"}}"#));
        assert_eq!(told, [notice("R"), notice("W")]);
        assert!(tokens.warnings(TimeMs(1_900_000)).is_empty() && tokens.warned_at().is_none());
        let same = format!(r#"{{"token":"{old}","type":"R"}}"#);
        tokens.renew(&book, same.as_bytes(), BEARER, NOW).unwrap();
        assert!(tokens.warned_at().is_none(), "the same token again is no other");
        let other = format!(r#"{{"token":"{new}","type":"R"}}"#);
        tokens.renew(&book, other.as_bytes(), BEARER, NOW).unwrap();
        assert_eq!(tokens.warned_at(), Some(TimeMs(8_700_000)));
    }
}
