//! The rules that come with an answer, in EMQX's words: judged in their order, the first that fits decides, and what none
//! of them names is denied.
//!
//! An entry that is not understood in all of its parts is no rule, and with it the answer is none: half of a rule allows
//! more, or denies less, than was said.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::rules::{Deed, Who, inner};
use super::super::topic::{Filter, Values};
use super::NoVerdict;

/// The most rules that an answer may bring: they are gone through with every message.
const RULES_MAX: usize = 256;

/// A field that is not known narrows the entry, or it would not be there; one that is there twice says two things.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AclEntry {
    permission: String,
    action: String,
    topic: String,
    qos: Option<QosWord>,
    retain: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum QosWord {
    One(u8),
    Several(Vec<u8>),
}

/// The topics of a rule.
#[derive(Debug)]
enum Topics {
    /// All that the filter matches.
    Matched(Filter),
    /// `eq `: this text alone, character by character, and what a subscription to it brings.
    Equal(Box<str>, Filter),
}

#[derive(Debug)]
struct HookRule {
    allow: bool,
    publish: bool,
    subscribe: bool,
    topics: Topics,
    /// Of each QoS, whether the rule is about it.
    qos: [bool; 3],
    /// The retain flag that the rule is about; of PUBLISH alone.
    retain: Option<bool>,
}

/// The rules that came with a verdict.
#[derive(Debug)]
pub(in super::super) struct HookRules(Vec<HookRule>);

impl HookRules {
    pub(super) fn parse(acl: &RawValue) -> Result<Self, NoVerdict> {
        let entries: Vec<&RawValue> = serde_json::from_str(acl.get()).map_err(|_| NoVerdict::Rules)?;
        if entries.len() > RULES_MAX {
            return Err(NoVerdict::Rules);
        }
        entries.into_iter().map(HookRule::parse).collect::<Option<_>>().map(Self).ok_or(NoVerdict::Rules)
    }

    pub(in super::super) fn allow(&self, who: &Who<'_>, deed: Deed, wanted: &str) -> bool {
        let values = Values { client_id: who.client_id, user: who.user };
        let wanted = inner(wanted);
        let first = self.0.iter().find(|rule| rule.is_about(deed) && rule.fits(deed, wanted, &values));
        first.is_some_and(|rule| rule.allow)
    }
}

impl HookRule {
    fn parse(entry: &RawValue) -> Option<Self> {
        if !entry.get().starts_with('{') {
            return None; // a list would be read as an object's fields in their order
        }
        let entry: AclEntry = serde_json::from_str(entry.get()).ok()?;
        let allow = match entry.permission.as_str() {
            "allow" => true,
            "deny" => false,
            _ => return None,
        };
        let (publish, subscribe) = match entry.action.as_str() {
            "publish" => (true, false),
            "subscribe" => (false, true),
            "all" => (true, true),
            _ => return None,
        };
        let topics = match entry.topic.strip_prefix("eq ") {
            Some(text) => Topics::Equal(text.into(), Filter::parse_plain(text).ok()?),
            None => Topics::Matched(Filter::parse_with_words(&entry.topic).ok()?),
        };
        let qos = entry.qos.map_or(Some([true; 3]), |word| word.each())?;
        Some(Self { allow, publish, subscribe, topics, qos, retain: entry.retain })
    }

    fn is_about(&self, deed: Deed) -> bool {
        let is_of = |qos: u8| self.qos.get(usize::from(qos)).copied().unwrap_or_default();
        match deed {
            Deed::Publish { qos, retain } => self.publish && is_of(qos) && self.retain.is_none_or(|one| one == retain),
            Deed::Subscribe { qos } => self.subscribe && is_of(qos),
            // Judged before: what allowed one QoS holds, what denied another does not.
            Deed::Receive => self.subscribe && (self.allow || self.qos == [true; 3]),
        }
    }

    /// What is allowed is allowed whole; what is denied is not to be touched.
    fn fits(&self, deed: Deed, wanted: &str, values: &Values<'_>) -> bool {
        match &self.topics {
            Topics::Matched(filter) if self.allow => filter.covers(wanted, values),
            Topics::Matched(filter) => filter.overlaps(wanted, values),
            Topics::Equal(_, filter) if deed == Deed::Receive => self.allow && filter.covers(wanted, values),
            Topics::Equal(text, _) => **text == *wanted,
        }
    }
}

impl QosWord {
    /// None when it is no QoS, or names none.
    fn each(self) -> Option<[bool; 3]> {
        let named = match self {
            Self::One(qos) => vec![qos],
            Self::Several(named) => named,
        };
        let mut each = [false; 3];
        for qos in named {
            *each.get_mut(usize::from(qos))? = true;
        }
        (each != [false; 3]).then_some(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: Who<'_> = Who { client_id: "c", user: Some("u"), listener: "mqtt", instance: "mqtt-1" };
    const PUBLISH: Deed = Deed::Publish { qos: 0, retain: false };
    const SUBSCRIBE: Deed = Deed::Subscribe { qos: 1 };

    fn parsed(acl: &str) -> Result<HookRules, NoVerdict> {
        HookRules::parse(serde_json::from_str(acl).unwrap())
    }

    fn rules(acl: &str) -> impl Fn(Deed, &str) -> bool + use<> {
        let rules = parsed(acl).unwrap();
        move |deed, wanted| rules.allow(&C, deed, wanted)
    }

    #[test]
    fn b63_a_rule_that_is_not_understood_in_all_of_its_parts_is_none() {
        let entries = [
            r#""permission":"maybe","action":"all","topic":"a""#,
            r#""permission":"allow","action":"read","topic":"a""#,
            r#""permission":"allow","action":"all","topic":"a/#/b""#,
            r#""permission":"allow","action":"all","topic":"eq a/#/b""#,
            r#""permission":"allow","action":"all","topic":"""#,
            r#""permission":"allow","action":"all","topic":"eq ""#,
            r#""permission":"deny","action":"all","topic":"a/${peerhost}""#,
            r#""permission":"deny","action":"all","topic":"a/${username""#,
            r#""permission":"deny","action":"all","topic":"a","ipaddr":"192.0.2.1""#,
            r#""permission":"deny","action":"all","topics":["a"]"#,
            r#""permission":"deny","action":"all","topic":"a","qos":3"#,
            r#""permission":"deny","action":"all","topic":"a","qos":[]"#,
            r#""permission":"deny","action":"all","topic":"a","qos":[0,-1]"#,
            r#""permission":"deny","action":"all","topic":"a","qos":"0""#,
            r#""permission":"deny","action":"all","topic":"a","retain":1"#,
            r#""permission":"deny","action":"all","topic":"a","topic":"b""#,
            r#""permission":"deny","permission":"allow","action":"all","topic":"a""#,
        ];
        for entry in entries {
            assert_eq!(parsed(&format!("[{{{entry}}}]")).unwrap_err(), NoVerdict::Rules, "{entry}");
        }
        for acl in [r#"[["allow","all","a"]]"#, r#"{"pub":["a"]}"#, r#""a""#, "[1]"] {
            assert_eq!(parsed(acl).unwrap_err(), NoVerdict::Rules, "{acl}");
        }
        let entry = r#"{"permission":"allow","action":"all","topic":"a"}"#;
        assert!(parsed(&format!("[{}]", vec![entry; RULES_MAX].join(","))).is_ok());
        assert!(parsed(&format!("[{}]", vec![entry; RULES_MAX + 1].join(","))).is_err());
    }

    #[test]
    fn rules_of_an_answer_are_judged_in_their_order() {
        let may = rules(
            r#"[{"permission":"deny","action":"publish","topic":"a/secret"},
            {"permission":"allow","action":"all","topic":"a/#"},{"permission":"allow","action":"publish","topic":"d/%c"}]"#,
        );
        assert!(may(PUBLISH, "a/b") && !may(PUBLISH, "a/secret"));
        assert!(may(SUBSCRIBE, "a/+") && may(SUBSCRIBE, "$share/g/a/+"));
        assert!(!may(SUBSCRIBE, "#") && !may(SUBSCRIBE, "$share/g/#"));
        assert!(may(PUBLISH, "d/c") && !may(PUBLISH, "d/x"));
    }

    #[test]
    fn rules_of_an_answer_know_the_client_and_the_user_by_either_word() {
        for (client, user) in [("%c", "%u"), ("${clientid}", "${username}")] {
            let acl = r##"[{"permission":"deny","action":"publish","topic":"cmd/USER/#"},
                {"permission":"allow","action":"all","topic":"cmd/#"},
                {"permission":"allow","action":"publish","topic":"up/v1-CLIENT.USER"}]"##;
            let may = rules(&acl.replace("CLIENT", client).replace("USER", user));
            assert!(!may(PUBLISH, "cmd/u/reset") && may(PUBLISH, "cmd/x"));
            assert!(may(PUBLISH, "up/v1-c.u") && !may(PUBLISH, "up/v1-c.x"));
        }
    }

    #[test]
    fn b60_a_value_in_emqx_s_words_is_text_whatever_it_looks_like() {
        let allow = parsed(r##"[{"permission":"allow","action":"all","topic":"dev/${clientid}/#"}]"##).unwrap();
        let deny = parsed(
            r##"[{"permission":"deny","action":"all","topic":"dev/${clientid}/cfg"},
            {"permission":"allow","action":"all","topic":"dev/#"}]"##,
        )
        .unwrap();
        for evil in ["#", "+", "+/x", "${username}", "%u", "a/b", ""] {
            let who = Who { client_id: evil, user: Some("u"), listener: "mqtt", instance: "mqtt-1" };
            for wanted in ["dev/#", "dev/+/up", "dev/+", "dev/u/up", "dev/a/up", "dev/a/b/up", "dev//up"] {
                assert!(!allow.allow(&who, SUBSCRIBE, wanted), "{evil} {wanted}");
                assert!(!allow.allow(&who, PUBLISH, wanted), "{evil} {wanted}");
            }
        }
        let slashed = Who { client_id: "a/b", user: None, listener: "mqtt", instance: "mqtt-1" };
        assert!(!deny.allow(&slashed, PUBLISH, "dev/a/b/cfg") && deny.allow(&slashed, PUBLISH, "dev/a/cfg"));
    }

    #[test]
    fn eq_is_that_text_alone() {
        let may = rules(
            r##"[{"permission":"deny","action":"subscribe","topic":"eq all/#"},
            {"permission":"allow","action":"subscribe","topic":"all/#"},
            {"permission":"allow","action":"subscribe","topic":"eq t/1/#"},
            {"permission":"allow","action":"publish","topic":"eq up/${clientid}/%c"}]"##,
        );
        assert!(may(SUBSCRIBE, "t/1/#") && may(SUBSCRIBE, "$share/g/t/1/#"));
        for other in ["t/1/x", "t/1", "t/1/+", "t/#", "#"] {
            assert!(!may(SUBSCRIBE, other), "{other}");
        }
        assert!(may(Deed::Receive, "t/1/x") && may(Deed::Receive, "t/1/#") && !may(Deed::Receive, "t/2"));
        assert!(!may(SUBSCRIBE, "all/#") && may(SUBSCRIBE, "all/+"), "a rule about the filter, not about its topics");
        assert!(may(Deed::Receive, "all/x"));
        assert!(may(PUBLISH, "up/${clientid}/%c") && !may(PUBLISH, "up/c/c"), "no placeholders");
    }

    #[test]
    fn qos_and_retain_narrow_a_rule() {
        let may = rules(
            r#"[{"permission":"deny","action":"all","topic":"a","retain":true},
            {"permission":"allow","action":"all","topic":"a","qos":[0,1]},
            {"permission":"deny","action":"subscribe","topic":"b/x","qos":2},
            {"permission":"allow","action":"all","topic":"b/+","retain":false}]"#,
        );
        let publish = |qos, retain| Deed::Publish { qos, retain };
        let subscribe = |qos| Deed::Subscribe { qos };
        assert!(may(publish(0, false), "a") && may(publish(1, false), "a") && !may(publish(2, false), "a"));
        assert!(!may(publish(0, true), "a"));
        assert!(!may(subscribe(0), "a"), "retain says nothing of a subscription, and so its rule fits it");
        assert!(may(subscribe(1), "b/+") && !may(subscribe(2), "b/+") && may(subscribe(2), "b/y"));
        assert!(may(publish(2, false), "b/x") && !may(publish(2, true), "b/x"));
        assert!(may(Deed::Receive, "b/x"), "it was subscribed to with another QoS");
        assert!(!may(Deed::Receive, "a"));
    }
}
