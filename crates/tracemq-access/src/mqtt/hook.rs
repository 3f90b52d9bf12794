//! A program elsewhere that is asked about clients: what it is sent, and what its answers mean. It is asked over HTTP by
//! whoever has sockets.
//!
//! `POST` of `{"clientid","username","password","peerhost","instance"}`; the answer is 200 with
//! `{"result":"allow"|"deny"|"ignore"}`, 204 for allow, or 401 or 403 for deny. With allow may come `"acl"`, a list of
//! `{"permission":"allow"|"deny","action":"publish"|"subscribe"|"all","topic":"a/%c/#"}`, judged in its order; what
//! none of them names is denied. Whatever else is answered is no verdict, and without a verdict nobody comes in.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracemq_model::Reason;

use super::identity::Proof;
use super::rules::{Use, Who};
use super::topic::{Filter, Values};
use super::{Identity, Question, Refusal};

/// The most rules that an answer may bring: they are gone through with every message.
const RULES_MAX: usize = 256;

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
    Allow(Option<Arc<HookRules>>),
    /// Kept out.
    Deny,
    /// It does not know: kept out as well, since nobody else does.
    Ignore,
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
    /// An end that would not be kept.
    #[error("answered with expire_at, which is not supported")]
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
    #[serde(default)]
    acl: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    expire_at: Option<serde_json::Value>,
}

/// A field that is not known narrows the entry, or it would not be there: without it, it is not what was said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AclEntry {
    permission: String,
    action: String,
    topic: String,
}

/// What an answer of that HTTP status and body means.
///
/// # Errors
/// When it is no verdict.
pub fn verdict(status: u16, body: &[u8]) -> Result<Verdict, NoVerdict> {
    match status {
        204 => return Ok(Verdict::Allow(None)),
        401 | 403 => return Ok(Verdict::Deny),
        200 => {}
        _ => return Err(NoVerdict::Unclear { status }),
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(NoVerdict::Unclear { status }); // a list would be read as an object's fields in their order
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| NoVerdict::Unclear { status })?;
    match answer.result.as_str() {
        "allow" if answer.expire_at.is_some() => Err(NoVerdict::Expiry),
        "allow" => answer.acl.map(HookRules::new).transpose().map(|rules| Verdict::Allow(rules.map(Arc::new))),
        "deny" => Ok(Verdict::Deny),
        "ignore" => Ok(Verdict::Ignore),
        _ => Err(NoVerdict::Unclear { status }),
    }
}

impl Question {
    /// What follows from the program's word, or from its silence.
    ///
    /// # Errors
    /// The refusal.
    pub fn outcome(self, verdict: Result<Verdict, NoVerdict>) -> Result<Identity, Refusal> {
        match verdict {
            Ok(Verdict::Allow(rules)) => {
                let user = self.identity.username.clone();
                Ok(Identity { user, proof: Proof::Hook(rules), ..self.identity })
            }
            Ok(Verdict::Deny) => Err(Refusal::new(Reason::BadCredentials, "mqtt.hook denied it")),
            Ok(Verdict::Ignore) => {
                Err(Refusal::new(Reason::BadCredentials, "mqtt.hook does not know it, and nobody else does"))
            }
            Err(none) => Err(Refusal::new(Reason::NotAuthorized, format!("no verdict: mqtt.hook {none}"))),
        }
    }
}

#[derive(Debug)]
struct HookRule {
    allow: bool,
    publish: bool,
    subscribe: bool,
    filter: Filter,
}

/// The rules that came with a verdict.
#[derive(Debug)]
pub struct HookRules(Vec<HookRule>);

impl HookRules {
    fn new(entries: Vec<serde_json::Value>) -> Result<Self, NoVerdict> {
        if entries.len() > RULES_MAX {
            return Err(NoVerdict::Rules);
        }
        let rule = |entry: serde_json::Value| {
            let entry: AclEntry = serde_json::from_value(entry).map_err(|_| NoVerdict::Rules)?;
            // EMQX's words, which would be plain text here, and a rule that never fits.
            if entry.topic.starts_with("eq ") || entry.topic.contains("${") {
                return Err(NoVerdict::Rules);
            }
            let allow = match entry.permission.as_str() {
                "allow" => true,
                "deny" => false,
                _ => return Err(NoVerdict::Rules),
            };
            let (publish, subscribe) = match entry.action.as_str() {
                "publish" => (true, false),
                "subscribe" => (false, true),
                "all" => (true, true),
                _ => return Err(NoVerdict::Rules),
            };
            let filter = Filter::parse(&entry.topic).map_err(|_| NoVerdict::Rules)?;
            Ok(HookRule { allow, publish, subscribe, filter })
        };
        entries.into_iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn allow(&self, who: &Who<'_>, used: Use, wanted: &str) -> bool {
        let values = Values { client_id: who.client_id, user: who.user };
        let wanted = match wanted.strip_prefix("$share/") {
            Some(shared) => shared.split_once('/').map_or("", |(_, inner)| inner),
            None => wanted,
        };
        for rule in &self.0 {
            let about = match used {
                Use::Publish => rule.publish,
                Use::Subscribe => rule.subscribe,
            };
            if about && rule.allow && rule.filter.covers(wanted, &values) {
                return true;
            }
            if about && !rule.allow && rule.filter.overlaps(wanted, &values) {
                return false;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b63_what_is_no_verdict_lets_nobody_in() {
        assert!(matches!(verdict(200, br#"{"result":"allow","is_superuser":false}"#), Ok(Verdict::Allow(None))));
        assert!(matches!(verdict(204, b""), Ok(Verdict::Allow(None))));
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
        for acl in [
            r#"[{"permission":"maybe","action":"all","topic":"a"}]"#,
            r#"[{"permission":"allow","action":"read","topic":"a"}]"#,
            r#"[{"permission":"allow","action":"all","topic":"a/#/b"}]"#,
            r#"[{"permission":"allow","action":"all","topic":"a","qos":[0]}]"#,
            r#"[{"permission":"deny","action":"all","topic":"a/${username}"}]"#,
            r#"[{"permission":"deny","action":"all","topic":"eq a"}]"#,
        ] {
            let body = format!(r#"{{"result":"allow","acl":{acl}}}"#);
            assert_eq!(verdict(200, body.as_bytes()).unwrap_err(), NoVerdict::Rules);
        }
        let ending = br#"{"result":"allow","expire_at":1000}"#;
        assert_eq!(verdict(200, ending).unwrap_err(), NoVerdict::Expiry);
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

    const C: Who<'_> = Who { client_id: "c", user: Some("u") };

    #[test]
    fn rules_of_an_answer_know_the_user() {
        let body = r##"{"result":"allow","acl":[{"permission":"deny","action":"publish","topic":"cmd/%u/#"},
            {"permission":"allow","action":"all","topic":"#"}]}"##;
        let Ok(Verdict::Allow(Some(rules))) = verdict(200, body.as_bytes()) else { panic!("no rules") };
        assert!(!rules.allow(&C, Use::Publish, "cmd/u/reset") && rules.allow(&C, Use::Publish, "cmd/x"));
    }

    #[test]
    fn rules_of_an_answer_are_judged_in_their_order() {
        let body = r#"{"result":"allow","acl":[{"permission":"deny","action":"publish","topic":"a/secret"},
            {"permission":"allow","action":"all","topic":"a/#"},{"permission":"allow","action":"publish","topic":"d/%c"}]}"#;
        let Ok(Verdict::Allow(Some(rules))) = verdict(200, body.as_bytes()) else { panic!("no rules") };
        assert!(rules.allow(&C, Use::Publish, "a/b") && !rules.allow(&C, Use::Publish, "a/secret"));
        assert!(rules.allow(&C, Use::Subscribe, "a/+") && rules.allow(&C, Use::Subscribe, "$share/g/a/+"));
        assert!(!rules.allow(&C, Use::Subscribe, "#") && !rules.allow(&C, Use::Subscribe, "$share/g/#"));
        assert!(rules.allow(&C, Use::Publish, "d/c") && !rules.allow(&C, Use::Publish, "d/x"));
    }
}
