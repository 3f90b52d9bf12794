//! Each way of matching against its plain definition.

use proptest::prelude::*;

use super::*;
use crate::ClientId;

/// Few letters, so that much matches; characters of one to four bytes; ASCII in both cases.
const NAME: &str = "[abAB?*é中\u{1F980}]{0,12}";
const PART: &str = "[abAé中\u{1F980}]{0,7}";
const GLOB: &str = "[abé?*?*]{0,9}";

fn matches(pattern: &Pattern, name: &str) -> bool {
    pattern.matcher().matches(name)
}

/// A star is nothing, or one character and then a star.
fn glob_by_definition(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), None) => glob_by_definition(rest, name),
        (Some(('*', rest)), Some((_, behind))) => glob_by_definition(rest, name) || glob_by_definition(pattern, behind),
        (Some(('?', rest)), Some((_, behind))) => glob_by_definition(rest, behind),
        (Some((wanted, rest)), Some((found, behind))) => wanted == found && glob_by_definition(rest, behind),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The errors between two whole texts.
fn errors(one: &[char], other: &[char]) -> usize {
    match (one.split_first(), other.split_first()) {
        (None, _) => other.len(),
        (_, None) => one.len(),
        (Some((a, one_rest)), Some((b, other_rest))) if a == b => errors(one_rest, other_rest),
        (Some((_, one_rest)), Some((_, other_rest))) => {
            1 + errors(one_rest, other_rest).min(errors(one_rest, other)).min(errors(one, other_rest))
        }
    }
}

fn fuzzy_by_definition(text: &str, name: &str) -> bool {
    let lower = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    let (text, name) = (lower(text), lower(name));
    let errors_max = if text.len() <= 2 {
        0
    } else if text.len() <= 5 {
        1
    } else {
        2
    };
    (0..=name.len()).any(|from| (from..=name.len()).any(|to| errors(&text, &name[from..to]) <= errors_max))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn prefix_and_substring_are_those_of_the_language(part in PART, name in NAME) {
        prop_assert!(matches(&Pattern::All, &name));
        prop_assert_eq!(matches(&Pattern::Prefix(part.clone()), &name), name.starts_with(&part));
        prop_assert_eq!(matches(&Pattern::Substring(part.clone()), &name), name.contains(&part));
    }

    #[test]
    fn globs_are_what_they_say(pattern in GLOB, name in NAME) {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = glob_by_definition(&chars(&pattern), &chars(&name));
        prop_assert_eq!(matches(&Pattern::Glob(pattern), &name), expected);
    }

    /// A pattern that is made from the name, so that about half of them match.
    #[test]
    fn globs_find_what_they_were_made_from(name in NAME, holes in proptest::collection::vec(0..4_u8, 12)) {
        let pattern: String = name.chars().zip(holes).map(|(c, hole)| match hole { 0 => '*', 1 => '?', _ => c }).collect();
        prop_assert!(matches(&Pattern::Glob(pattern), &name));
    }

    #[test]
    fn fuzzy_counts_errors(text in PART, name in NAME) {
        let expected = fuzzy_by_definition(&text, &name);
        prop_assert_eq!(matches(&Pattern::Fuzzy(text), &name), expected);
    }

    /// A text of the name with some characters changed, left out or put in.
    #[test]
    fn fuzzy_forgives_and_refuses(
        name in "[abcé]{6,9}",
        slips in proptest::collection::vec((0..9_usize, 0..3_u8, proptest::char::range('a', 'd')), 0..4),
    ) {
        let mut text: Vec<char> = name.chars().collect();
        for (at, what, c) in slips {
            let at = at.min(text.len() - 1);
            match what {
                0 => text[at] = c,
                1 if text.len() > 1 => drop(text.remove(at)),
                _ => text.insert(at, c),
            }
        }
        let text: String = text.into_iter().collect();
        let name = format!("xx{}", name.to_ascii_uppercase().replace('É', "é"));
        prop_assert_eq!(matches(&Pattern::Fuzzy(text.clone()), &name), fuzzy_by_definition(&text, &name));
    }

    /// Both ways of counting agree on each side of the border between them.
    #[test]
    fn long_texts_are_matched_as_short_ones(
        text in "[abé]{60,68}",
        slips in proptest::collection::vec((0..60_usize, proptest::char::range('a', 'c')), 0..4),
    ) {
        let mut name: Vec<char> = text.chars().collect();
        for (at, c) in slips {
            name[at] = c;
        }
        let name: String = ['x'].into_iter().chain(name).chain(['y']).collect();
        let chars: Vec<char> = text.chars().collect();
        prop_assert_eq!(matches(&Pattern::Fuzzy(text), &name), fuzzy::column_matches(&chars, &name, 2));
    }

    #[test]
    fn all_that_matches_begins_with_the_literal_prefix(pattern in GLOB, name in NAME) {
        for pattern in [Pattern::Glob(pattern.clone()), Pattern::Prefix(pattern.clone()), Pattern::Substring(pattern)] {
            prop_assert!(!matches(&pattern, &name) || name.starts_with(pattern.literal_prefix()));
        }
    }
}

#[test]
fn a_prefix_is_as_long_as_it_can_be() {
    let prefix = |pattern: &str| Pattern::Glob(pattern.to_owned()).literal_prefix().to_owned();
    assert_eq!((prefix("é中*x").as_str(), prefix("a?b").as_str(), prefix("ab").as_str()), ("é中", "a", "ab"));
    assert_eq!((prefix("*a").as_str(), prefix("").as_str()), ("", ""));
    assert_eq!(Pattern::Prefix("a*".to_owned()).literal_prefix(), "a*");
    for pattern in [Pattern::All, Pattern::Substring("a".to_owned()), Pattern::Fuzzy("a".to_owned())] {
        assert_eq!(pattern.literal_prefix(), "");
    }
}

#[test]
fn stars_do_not_explode() {
    let name = "a".repeat(60_000);
    assert!(!matches(&Pattern::Glob(format!("{}b", "a*".repeat(500))), &name));
    assert!(!matches(&Pattern::Glob(format!("{}b*", "*?a".repeat(200))), &name));
    assert!(matches(&Pattern::Glob("*a?a*".to_owned()), &name));
}

#[test]
fn subjects_match_by_the_text_they_are_shown_as() {
    let address = |text: &str| Subject::Address(text.parse().unwrap());
    let glob = |text: &str| Pattern::Glob(text.to_owned()).matcher();
    assert!(glob("10.0.?.*").matches_subject(&address("10.0.0.7")));
    assert!(glob("10.0.?.*").matches_subject(&address("::ffff:10.0.0.7")));
    assert!(glob("2001:db8::*").matches_subject(&address("2001:db8::7")));
    assert!(glob("d*").matches_subject(&Subject::Client(ClientId::new("device").unwrap())));
    assert!(!glob("d*").matches_subject(&Subject::Client(ClientId::new("Device").unwrap())));
}

/// The cases of the documentation.
#[test]
fn how_many_errors_are_forgiven() {
    let fuzzy = |text: &str, name: &str| matches(&Pattern::Fuzzy(text.to_owned()), name);
    assert!(fuzzy("", "anything") && fuzzy("AB", "xabx") && !fuzzy("ab", "axb"));
    assert!(fuzzy("abc", "abx") && !fuzzy("abc", "axx"));
    assert!(fuzzy("thermostat", "Thremostat-07") && fuzzy("pump42", "PUMP-42") && !fuzzy("pump42", "PP4"));
}
