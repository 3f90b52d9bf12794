//! Topic names and topic filters (MQTT 5.0, 4.7 and 4.8.2).

use tracemq_model::Reason;

use super::Fault;
use crate::limits::Limits;

/// A filter that keeps the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter<'a> {
    /// Of one subscriber.
    Plain(&'a str),
    /// `$share/{group}/{filter}`.
    Shared {
        /// Who shares.
        group: &'a str,
        /// What is matched.
        filter: &'a str,
    },
}

/// At most so much of a client's text is repeated in a detail.
const QUOTED_BYTES_MAX: usize = 128;

/// `text` for a detail: quoted, escaped, cut.
pub(super) fn quote(text: &str) -> String {
    let mut end = text.len().min(QUOTED_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let dots = if end < text.len() { "..." } else { "" };
    format!("{:?}{dots}", text.get(..end).unwrap_or_default())
}

fn bad(code: u8, detail: String) -> Fault {
    Fault::new(Reason::BadTopic, code, detail)
}

fn bounds(kind: &str, code: u8, text: &str, limits: &Limits) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(bad(code, format!("{kind} is empty [MQTT-4.7.3-1]")));
    }
    if text.contains('\0') {
        return Err(bad(code, format!("{kind} contains U+0000 [MQTT-4.7.3-2]")));
    }
    if text.len() > limits.topic_bytes_max {
        return Err(bad(code, format!("{kind} of {} bytes; the limit is {}", text.len(), limits.topic_bytes_max)));
    }
    let levels = text.bytes().filter(|byte| *byte == b'/').count() + 1;
    if levels > limits.levels() {
        return Err(bad(code, format!("{kind} of {levels} levels; the limit is {}", limits.levels())));
    }
    Ok(())
}

/// A topic that something is published to.
pub(crate) fn name(kind: &str, topic: &str, limits: &Limits) -> Result<(), Fault> {
    const CODE: u8 = 0x90;
    bounds(kind, CODE, topic, limits)?;
    if topic.contains(['#', '+']) {
        return Err(bad(CODE, format!("{kind} {} contains a wildcard [MQTT-3.3.2-2]", quote(topic))));
    }
    let first = topic.split('/').next().unwrap_or_default();
    if first == "$share" {
        return Err(bad(CODE, format!("{kind} {} begins with $share, which is for filters", quote(topic))));
    }
    if first == "$SYS" {
        return Err(bad(CODE, format!("{kind} {} is the server's own [MQTT-4.7.2]", quote(topic))));
    }
    Ok(())
}

/// A filter that is subscribed to.
pub(crate) fn filter<'a>(text: &'a str, limits: &Limits) -> Result<Filter<'a>, Fault> {
    const CODE: u8 = 0x8f;
    bounds("topic filter", CODE, text, limits)?;
    let fault = |rule: &str| bad(CODE, format!("topic filter {} {rule}", quote(text)));
    let Some(shared) = text.strip_prefix("$share").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        wildcards(text).map_err(fault)?;
        return Ok(Filter::Plain(text));
    };
    let (group, filter) = shared
        .strip_prefix('/')
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| fault("is not $share/{group}/{filter} [MQTT-4.8.2-2]"))?;
    if group.is_empty() || group.contains(['#', '+']) {
        return Err(fault("has an empty group or a wildcard in it [MQTT-4.8.2-1]"));
    }
    if filter.is_empty() {
        return Err(fault("has no filter behind the group [MQTT-4.8.2-2]"));
    }
    wildcards(filter).map_err(fault)?;
    Ok(Filter::Shared { group, filter })
}

/// The parts of a filter that was judged before.
pub(crate) fn parts(text: &str) -> Filter<'_> {
    match text.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => Filter::Shared { group, filter },
        None => Filter::Plain(text),
    }
}

impl<'a> Filter<'a> {
    /// What is matched with topics, and what permission is asked for: the group's name has no say.
    pub(crate) fn matched(self) -> &'a str {
        match self {
            Self::Plain(filter) | Self::Shared { filter, .. } => filter,
        }
    }
}

fn wildcards(filter: &str) -> Result<(), &'static str> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        if level.contains('#') && (level != "#" || !last) {
            return Err("has # other than alone on the last level [MQTT-4.7.1-1]");
        }
        if level.contains('+') && level != "+" {
            return Err("has + beside other characters of a level [MQTT-4.7.1-2]");
        }
    }
    Ok(())
}

/// Whether `filter` matches `topic`, level by level as the standard says it: the model for tests of the tree.
#[cfg(test)]
pub(crate) fn naive_match(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let topic: Vec<&str> = topic.split('/').collect();
    let filter: Vec<&str> = filter.split('/').collect();
    for (at, level) in filter.iter().enumerate() {
        if *level == "#" {
            return true;
        }
        match topic.get(at) {
            Some(part) if *level == "+" || level == part => {}
            Some(_) | None => return false,
        }
    }
    filter.len() == topic.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_keep_the_rules_of_wildcards_and_groups() {
        let limits = Limits::default();
        for good in ["a", "/", "#", "+", "a/#", "+/+/#", "/+", "$SYS/#", "$shared/x", "$", " "] {
            assert_eq!(filter(good, &limits), Ok(Filter::Plain(good)), "{good}");
        }
        for bad in [
            "",
            "a/#/b",
            "a+",
            "#a",
            "a#",
            "a/b+",
            "##",
            "++",
            "$share",
            "$share/",
            "$share/ab",
            "$share//a",
            "$share/g/",
            "$share/g+/a",
            "$share/#/a",
            "$share/g/a#",
            "a\0b",
        ] {
            assert_eq!(filter(bad, &limits).map_err(|fault| fault.reason), Err(Reason::BadTopic), "{bad}");
        }
        assert_eq!(filter("$share/g/a/+", &limits), Ok(Filter::Shared { group: "g", filter: "a/+" }));
        assert!(filter(&"+/".repeat(40), &limits).is_err());
    }

    #[test]
    fn names_have_no_wildcards_and_leave_the_servers_topics_alone() {
        let limits = Limits::default();
        for good in ["a", "/", "//", "$", "$/", "$SYSTEM/x", "$x/y", "é"] {
            assert_eq!(name("topic", good, &limits), Ok(()), "{good}");
        }
        for bad in ["", "a/#", "+", "a+b", "$SYS", "$SYS/x", "$share", "$share/g/a", "\0"] {
            assert!(name("topic", bad, &limits).is_err(), "{bad}");
        }
        assert!(name("topic", &"/".repeat(65_535), &limits).is_err());
    }

    #[test]
    fn quotes_are_escaped_and_cut() {
        assert_eq!(quote("a\r\nb"), "\"a\\r\\nb\"");
        assert!(quote(&"é".repeat(200)).len() < 140);
    }
}
