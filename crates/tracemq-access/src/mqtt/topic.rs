//! Topic filters of rules, with `%c` and `%u` in them.

use std::borrow::Cow;

/// Why a text is no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No bytes.
    #[error("it is empty")]
    Empty,
    /// More than a topic can have.
    #[error("it is longer than 65535 bytes")]
    TooLong,
    /// A character that topics can't have.
    #[error("it holds U+0000")]
    Nul,
    /// A misplaced `#`.
    #[error("`#` must stand alone as the last level")]
    MultiLevel,
    /// A misplaced `+`.
    #[error("`+` must stand alone in its level")]
    SingleLevel,
    /// An unknown placeholder.
    #[error("`%` stands before `c` (client identifier), `u` (user name) or another `%`")]
    Placeholder,
}

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) client_id: &'a str,
    pub(super) user: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    ClientId,
    User,
}

/// What stands for something else.
#[derive(Clone, Copy)]
struct Word {
    /// What no other text begins with.
    begin: &'static str,
    /// The rest of it.
    rest: &'static str,
    means: Meaning,
}

#[derive(Clone, Copy)]
enum Meaning {
    Percent,
    ClientId,
    User,
}

const WORDS: [Word; 3] = [
    Word { begin: "%", rest: "%", means: Meaning::Percent },
    Word { begin: "%", rest: "c", means: Meaning::ClientId },
    Word { begin: "%", rest: "u", means: Meaning::User },
];
const EMQX_WORDS: [Word; 2] = [
    Word { begin: "${", rest: "clientid}", means: Meaning::ClientId },
    Word { begin: "${", rest: "username}", means: Meaning::User },
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// `+`
    Any,
    /// `#`
    Rest,
    Text(Box<str>),
    Template(Box<[Piece]>),
}

/// A level with the values in their places: a value is text, whatever it looks like.
enum Filled<'a> {
    Any,
    Rest,
    Text(Cow<'a, str>),
}

/// A topic filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    levels: Box<[Level]>,
}

/// A topic filter as a SUBSCRIBE has it, without placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFilter(Filter);

impl TopicFilter {
    /// Takes `text` if it is one.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Filter::parse_plain(text).map(Self)
    }

    /// Whether a message to the topic name `topic` is among those that it asks for. Wildcards in the first level ask for none that begins with `$`.
    pub fn matches(&self, topic: &str) -> bool {
        self.0.covers(topic, &Values { client_id: "", user: None })
    }
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_with(text, &WORDS)
    }

    /// The same where EMQX's words stand for the values as well.
    pub(super) fn parse_with_words(text: &str) -> Result<Self, FilterError> {
        Self::parse_with(text, &[&WORDS[..], &EMQX_WORDS].concat())
    }

    fn parse_with(text: &str, words: &[Word]) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > 65_535 {
            return Err(FilterError::TooLong);
        }
        if text.contains('\0') {
            return Err(FilterError::Nul);
        }
        let mut levels = Vec::new();
        let mut texts = text.split('/').peekable();
        while let Some(text) = texts.next() {
            levels.push(match text {
                "#" if texts.peek().is_none() => Level::Rest,
                "+" => Level::Any,
                _ if text.contains('#') => return Err(FilterError::MultiLevel),
                _ if text.contains('+') => return Err(FilterError::SingleLevel),
                _ if words.iter().any(|word| text.contains(word.begin)) => Level::Template(template(text, words)?),
                _ => Level::Text(text.into()),
            });
        }
        Ok(Self { levels: levels.into() })
    }

    /// The same where `%` is a character like any other.
    pub(super) fn parse_plain(text: &str) -> Result<Self, FilterError> {
        Self::parse(&text.replace('%', "%%"))
    }

    /// Whether it matches every topic that `wanted`, a topic name or filter, matches.
    pub(super) fn covers(&self, wanted: &str, values: &Values<'_>) -> bool {
        if wanted.starts_with('$') && !self.begins_with_dollar() {
            return false;
        }
        let mut wanted_levels = wanted.split('/');
        for level in &self.levels {
            if *level == Level::Rest {
                return true; // also matches the parent itself: `a/#` covers `a`
            }
            match (level, wanted_levels.next()) {
                (_, Some("#") | None) => return false,
                (Level::Any | Level::Rest, Some(_)) => {}
                // A value may look like a wildcard, but it is none, and covers none.
                (Level::Text(_) | Level::Template(_), Some("+")) => return false,
                (Level::Text(own), Some(other)) if **own == *other => {}
                (Level::Template(pieces), Some(other)) if fills(pieces, other, values) => {}
                (Level::Text(_) | Level::Template(_), Some(_)) => return false,
            }
        }
        wanted_levels.next().is_none()
    }

    /// Whether there is a topic that it matches and `wanted`, a topic name or filter, matches too. Here a value with a
    /// `/` stands for its levels: what is forbidden must not be stepped around by a client's name.
    pub(super) fn overlaps(&self, wanted: &str, values: &Values<'_>) -> bool {
        let Some(levels) = self.filled(values) else { return false };
        let dollar = matches!(levels.first(), Some(Filled::Text(text)) if text.starts_with('$'));
        if (wanted.starts_with('$') && !dollar) || (wanted.starts_with(['+', '#']) && dollar) {
            return false;
        }
        let mut wanted_levels = wanted.split('/');
        for level in &levels {
            match (level, wanted_levels.next()) {
                (Filled::Rest, _) | (_, Some("#")) => return true,
                (_, None) => return false,
                (Filled::Any, Some(_)) | (Filled::Text(_), Some("+")) => {}
                (Filled::Text(own), Some(other)) if *own == other => {}
                (Filled::Text(_), Some(_)) => return false,
            }
        }
        matches!(wanted_levels.next(), None | Some("#"))
    }

    /// Its levels with the values in their places; none when one is missing.
    fn filled(&self, values: &Values<'_>) -> Option<Vec<Filled<'_>>> {
        let mut levels = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            match level {
                Level::Any => levels.push(Filled::Any),
                Level::Rest => levels.push(Filled::Rest),
                Level::Text(text) => levels.push(Filled::Text(Cow::Borrowed(text))),
                Level::Template(pieces) => {
                    let text: String = pieces.iter().map(|piece| value(piece, values)).collect::<Option<_>>()?;
                    levels.extend(text.split('/').map(|text| Filled::Text(Cow::Owned(text.to_owned()))));
                }
            }
        }
        Some(levels)
    }

    /// Only who writes the `$` into the rule opens topics that begin with it: not a wildcard [MQTT-4.7.2-1], and not a
    /// client that calls itself `$SYS`.
    fn begins_with_dollar(&self) -> bool {
        match self.levels.first() {
            Some(Level::Text(text)) => text.starts_with('$'),
            Some(Level::Template(pieces)) => {
                matches!(pieces.first(), Some(Piece::Text(text)) if text.starts_with('$'))
            }
            Some(Level::Any | Level::Rest) | None => false,
        }
    }
}

fn template(text: &str, words: &[Word]) -> Result<Box<[Piece]>, FilterError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut left = text;
    while let Some(character) = left.chars().next() {
        let word = |word: &Word| Some((word.means, left.strip_prefix(word.begin)?.strip_prefix(word.rest)?));
        let piece = match words.iter().find_map(word) {
            Some((means, rest)) => {
                left = rest;
                match means {
                    Meaning::Percent => {
                        plain.push('%');
                        continue;
                    }
                    Meaning::ClientId => Piece::ClientId,
                    Meaning::User => Piece::User,
                }
            }
            None if words.iter().any(|word| left.starts_with(word.begin)) => return Err(FilterError::Placeholder),
            None => {
                plain.push(character);
                left = left.get(character.len_utf8()..).unwrap_or_default();
                continue;
            }
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
        }
        pieces.push(piece);
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    Ok(pieces.into())
}

fn value<'a>(piece: &'a Piece, values: &Values<'a>) -> Option<&'a str> {
    match piece {
        Piece::Text(text) => Some(text),
        Piece::ClientId => Some(values.client_id).filter(|value| !value.is_empty()),
        Piece::User => values.user.filter(|value| !value.is_empty()),
    }
}

/// Whether `level` is what the pieces give, one after the other.
fn fills(pieces: &[Piece], level: &str, values: &Values<'_>) -> bool {
    let rest = pieces.iter().try_fold(level, |rest, piece| rest.strip_prefix(value(piece, values)?));
    rest == Some("")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOBODY: Values<'_> = Values { client_id: "c", user: None };

    fn covers(rule: &str, wanted: &str) -> bool {
        Filter::parse(rule).unwrap().covers(wanted, &NOBODY)
    }

    fn overlaps(rule: &str, wanted: &str) -> bool {
        Filter::parse(rule).unwrap().overlaps(wanted, &NOBODY)
    }

    #[test]
    fn a_filter_covers_what_every_topic_of_is_its_own() {
        for (rule, wanted, expected) in [
            ("#", "a/b", true),
            ("#", "#", true),
            ("#", "+/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/#", "a", true),
            ("a/#", "a/+/b", true),
            ("a/#", "b", false),
            ("a/+", "a/#", false),
            ("a/+", "a/+", true),
            ("a/+", "a", false),
            ("a/b", "a/+", false),
            ("a/b", "a/b/c", false),
            ("+/+", "/", true),
        ] {
            assert_eq!(covers(rule, wanted), expected, "{rule} {wanted}");
        }
    }

    #[test]
    fn b60_values_are_literal_whatever_they_look_like() {
        let fits = |rule: &str, client_id: &str, user: Option<&str>, wanted: &str| {
            let (filter, values) = (Filter::parse(rule).unwrap(), Values { client_id, user });
            let covered = filter.covers(wanted, &values);
            assert!(!covered || filter.overlaps(wanted, &values), "what is covered overlaps");
            covered
        };
        assert!(fits("dev/%c/#", "pump", None, "dev/pump/up"));
        assert!(fits("dev/x-%c-%u", "pump", Some("ops"), "dev/x-pump-ops"));
        assert!(fits("dev/100%%/%c", "pump", None, "dev/100%/pump"));
        for evil in ["#", "+", "a/../b", "%c", "%u", ".*", "a|b", "pump/#", "+/x", ""] {
            for wanted in
                ["dev/#", "dev/+", "dev/+/up", "dev/pump/up", "dev/pump", "dev/pump/#", "dev/a/up", "dev/b/up"]
            {
                assert!(!fits("dev/%c/#", evil, None, wanted), "{evil} {wanted}");
                assert!(!fits("dev/%u/#", "pump", Some(evil), wanted), "{evil} {wanted}");
            }
        }
        assert!(fits("dev/%c", "%u", Some("ops"), "dev/%u"), "no placeholder within a value");
        assert!(!fits("dev/%c", "%u", Some("ops"), "dev/ops"));
        assert!(!fits("%c/#", "$SYS", None, "$SYS/broker"));
        assert!(fits("%c/#", "pump", None, "pump/broker"));
    }

    #[test]
    fn b65_a_missing_value_matches_nothing() {
        let filter = Filter::parse("users/%u/#").unwrap();
        for user in [None, Some("")] {
            let values = Values { client_id: "c", user };
            for wanted in ["users//x", "users/", "users", "users/+/x", "users/%u/x"] {
                assert!(!filter.covers(wanted, &values), "{user:?} {wanted}");
            }
            assert!(!Filter::parse("a-%u").unwrap().covers("a-", &values));
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_by_name() {
        for (text, error) in [
            ("", FilterError::Empty),
            ("a\0", FilterError::Nul),
            ("a/#/b", FilterError::MultiLevel),
            ("a#", FilterError::MultiLevel),
            ("a+/b", FilterError::SingleLevel),
            ("a/%x", FilterError::Placeholder),
            ("a/%", FilterError::Placeholder),
            (&*"x".repeat(65_536), FilterError::TooLong),
        ] {
            assert_eq!(Filter::parse(text), Err(error));
        }
    }

    fn matches(filter: &str, topic: &str) -> bool {
        let (mut filters, mut topics) = (filter.split('/'), topic.split('/'));
        loop {
            match (filters.next(), topics.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    proptest! {
        #[test]
        fn a_rule_with_the_client_id_denies_the_topic_with_it_put_in(id in "[a-b/+#$]{1,6}", other in "[a-b/$]{1,6}") {
            let filter = Filter::parse("dev/%c/cfg").unwrap();
            let values = Values { client_id: &id, user: None };
            let (own, topic) = (format!("dev/{id}/cfg"), format!("dev/{other}/cfg"));
            prop_assert!(filter.overlaps(&own, &values));
            prop_assert_eq!(filter.overlaps(&topic, &values), own == topic);
        }

        #[test]
        fn covering_and_overlapping_are_what_topics_say(
            rule in "(a|b|\\+)(/(a|b|\\+)){0,2}(/#)?", wanted in "(a|b|\\+)(/(a|b|\\+)){0,2}(/#)?",
        ) {
            let levels = ["a", "b", "c"];
            let mut topics: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
            for depth in 0..4 {
                let deeper: Vec<_> = topics.iter().filter(|topic| topic.split('/').count() == depth + 1)
                    .flat_map(|topic| levels.iter().map(move |level| format!("{topic}/{level}"))).collect();
                topics.extend(deeper);
            }
            let wanted_topics: Vec<_> = topics.iter().filter(|topic| matches(&wanted, topic)).collect();
            prop_assert_eq!(covers(&rule, &wanted), wanted_topics.iter().all(|topic| matches(&rule, topic)));
            prop_assert_eq!(overlaps(&rule, &wanted), wanted_topics.iter().any(|topic| matches(&rule, topic)));
        }
    }
}
