//! A program elsewhere that is asked about clients: what it is sent, and what its answers mean. It is asked over HTTP by
//! whoever has sockets.
//!
//! `POST` of `{"clientid","username","password","peerhost","instance"}`; the answer is 200 with
//! `{"result":"allow"|"deny"|"ignore"}`, 204 for allow, or 401 or 403 for deny. With allow may come `"acl"`, a list of
//! `{"permission":"allow"|"deny","action":"publish"|"subscribe"|"all","topic":"a/${clientid}/#"}`, which `"qos":[0,1]` and
//! `"retain":true` may narrow, and `"expire_at"`, in seconds since 1970, at which the client goes. Whatever else is answered
//! is no verdict, and without a verdict nobody comes in.

mod rules;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracemq_model::{Reason, TimeMs};

use super::identity::Proof;
use super::{Identity, Question, Refusal};
pub(super) use rules::HookRules;

/// What is sent.
#[derive(Serialize)]
struct Asked<'a> {
    clientid: &'a str,
    username: &'a str,
    password: &'a str,
    peerhost: IpAddr,
    instance: &'a str,
}

/// What a program said.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Let in.
    Allow(Arc<HookGrant>),
    /// Kept out.
    Deny,
    /// It does not know: kept out as well, since nobody else does.
    Ignore,
}

/// On which terms a client is let in.
#[derive(Debug, Default)]
pub struct HookGrant {
    /// What it may do; none when `mqtt.rules` say it.
    pub(super) rules: Option<HookRules>,
    /// When it goes.
    pub expires: Option<TimeMs>,
}

impl HookGrant {
    /// Whether its time is over.
    pub fn has_expired(&self, now: TimeMs) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// Nothing that means anything.
    #[error("answered {status} without a verdict")]
    Unclear {
        /// The HTTP status.
        status: u16,
    },
    /// The rules that came with it.
    #[error("answered with an acl that is not understood")]
    Rules,
    /// The time that came with it.
    #[error("answered with an expire_at that is no time in whole seconds since 1970")]
    Expiry,
    /// No answer.
    #[error("gave no answer: {0}")]
    Unreachable(String),
    /// Too many wait for one already.
    #[error("is asked about too many clients at once")]
    Busy,
}

/// The body of the question. A password that is no UTF-8 can't be sent on, and fits nobody.
pub fn question(client_id: &str, username: &str, password: &[u8], address: IpAddr, instance: &str) -> Option<String> {
    let password = std::str::from_utf8(password).ok()?;
    serde_json::to_string(&Asked { clientid: client_id, username, password, peerhost: address, instance }).ok()
}

#[derive(Deserialize)]
struct Answer {
    result: String,
    acl: Option<Box<RawValue>>,
    expire_at: Option<Box<RawValue>>,
}

/// What an answer of that HTTP status and body means.
///
/// # Errors
/// When it is no verdict.
pub fn verdict(status: u16, body: &[u8]) -> Result<Verdict, NoVerdict> {
    match status {
        204 => return Ok(Verdict::Allow(Arc::default())),
        401 | 403 => return Ok(Verdict::Deny),
        200 => {}
        _ => return Err(NoVerdict::Unclear { status }),
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(NoVerdict::Unclear { status }); // a list would be read as an object's fields in their order
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| NoVerdict::Unclear { status })?;
    match answer.result.as_str() {
        "allow" => {
            let rules = answer.acl.map(|acl| HookRules::parse(&acl)).transpose()?;
            let expires = answer.expire_at.map(|at| time(&at).ok_or(NoVerdict::Expiry)).transpose()?;
            Ok(Verdict::Allow(Arc::new(HookGrant { rules, expires })))
        }
        "deny" => Ok(Verdict::Deny),
        "ignore" => Ok(Verdict::Ignore),
        _ => Err(NoVerdict::Unclear { status }),
    }
}

fn time(seconds: &RawValue) -> Option<TimeMs> {
    let seconds: u64 = serde_json::from_str(seconds.get()).ok()?;
    i64::try_from(seconds.checked_mul(1_000)?).ok().map(TimeMs)
}

impl Question {
    /// What follows from the program's word, or from its silence.
    ///
    /// # Errors
    /// The refusal.
    pub fn outcome(self, verdict: Result<Verdict, NoVerdict>) -> Result<Identity, Refusal> {
        match verdict {
            Ok(Verdict::Allow(grant)) => {
                let user = self.identity.username.clone();
                Ok(Identity { user, proof: Proof::Hook(grant), ..self.identity })
            }
            Ok(Verdict::Deny) => Err(Refusal::new(Reason::BadCredentials, "mqtt.hook denied it")),
            Ok(Verdict::Ignore) => {
                Err(Refusal::new(Reason::BadCredentials, "mqtt.hook does not know it, and nobody else does"))
            }
            Err(none) => Err(Refusal::new(Reason::NotAuthorized, format!("no verdict: mqtt.hook {none}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b63_what_is_no_verdict_lets_nobody_in() {
        assert!(matches!(verdict(200, br#"{"result":"allow","is_superuser":false}"#), Ok(Verdict::Allow(_))));
        assert!(matches!(verdict(204, b""), Ok(Verdict::Allow(_))));
        assert!(matches!(verdict(200, br#"{"result":"deny"}"#), Ok(Verdict::Deny)));
        assert!(matches!(verdict(403, b"x"), Ok(Verdict::Deny)));
        assert!(matches!(verdict(200, br#"{"result":"ignore"}"#), Ok(Verdict::Ignore)));
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, "allow"),
            (200, r#"{"result":"ALLOW"}"#),
            (200, r#"{"result":true}"#),
            (200, r#"["allow"]"#),
            (201, r#"{"result":"allow"}"#),
            (302, ""),
            (404, ""),
            (500, r#"{"result":"allow"}"#),
        ] {
            assert_eq!(verdict(status, body.as_bytes()).unwrap_err(), NoVerdict::Unclear { status }, "{body}");
        }
        for acl in [r#"[{"permission":"allow"}]"#, r#"{"pub":["a"]}"#, "1"] {
            let body = format!(r#"{{"result":"allow","acl":{acl}}}"#);
            assert_eq!(verdict(200, body.as_bytes()).unwrap_err(), NoVerdict::Rules, "{body}");
        }
        let twice = br#"{"result":"deny","result":"allow"}"#;
        assert_eq!(verdict(200, twice).unwrap_err(), NoVerdict::Unclear { status: 200 });
    }

    #[test]
    fn an_answer_says_when_the_client_goes_or_is_none() {
        let expires = |at: &str| match verdict(200, format!(r#"{{"result":"allow","expire_at":{at}}}"#).as_bytes()) {
            Ok(Verdict::Allow(grant)) => Ok(grant.expires),
            Ok(other) => panic!("{other:?}"),
            Err(none) => Err(none),
        };
        assert_eq!(expires("1706844358"), Ok(Some(TimeMs(1_706_844_358_000))));
        assert_eq!(expires("null"), Ok(None));
        for at in ["-1", "1.5", "\"1706844358\"", "true", "[]", "18446744073709551615", "1e3"] {
            assert_eq!(expires(at), Err(NoVerdict::Expiry), "{at}");
        }
    }

    #[test]
    fn b64_each_value_arrives_as_one_value() {
        let evil = "a&b=c\r\nX: y\"'\\};{";
        let address = "192.0.2.1".parse().unwrap();
        let body = question(evil, evil, evil.as_bytes(), address, "mqtt-1").unwrap();
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        for field in ["clientid", "username", "password"] {
            assert_eq!(read[field], evil);
        }
        assert_eq!(read["peerhost"], "192.0.2.1");
        assert!(!body.contains('\n') && question("c", "u", b"\xff", address, "i").is_none());
    }
}
