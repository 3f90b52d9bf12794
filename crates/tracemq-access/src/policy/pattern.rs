//! Patterns of policies: `*` is any text, also none, also across `:` and `/`; `?` is any one character; anything else
//! is itself.

/// Whether letter case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Counts,
    Ignored,
}

/// Whether `pattern` matches all of `text`.
///
/// Only the last `*` is ever taken back, so that the work is at most the product of the two lengths.
pub(super) fn matches(pattern: &str, text: &str, case: Case) -> bool {
    let same = |a: char, b: char| match case {
        Case::Counts => a == b,
        Case::Ignored => a.eq_ignore_ascii_case(&b),
    };
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // After the last `*`: the rest of the pattern, and the text from which to try it next.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let text_before = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = text_before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if same(expected, found) => {}
            _ => {
                let Some((rest, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                pattern = rest.clone();
                text = from.clone();
            }
        }
    }
}

/// Whether `pattern` matches any text that begins with `prefix`, letter case counting: whether a beginning of it
/// matches the prefix.
///
/// All beginnings are followed at once, so that the work is the product of the two lengths here, too.
pub(super) fn can_begin_with(pattern: &str, prefix: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    // How much of the pattern can have matched what was read.
    let mut reached = vec![false; pattern.len() + 1];
    let mut next = reached.clone();
    enter(&pattern, &mut reached, 0);
    for read in prefix.chars() {
        next.fill(false);
        for (at, expected) in pattern.iter().enumerate() {
            if reached.get(at) == Some(&true) {
                match expected {
                    '*' => enter(&pattern, &mut next, at),
                    '?' => enter(&pattern, &mut next, at + 1),
                    same if *same == read => enter(&pattern, &mut next, at + 1),
                    _ => {}
                }
            }
        }
        std::mem::swap(&mut reached, &mut next);
        if !reached.contains(&true) {
            return false;
        }
    }
    true
}

/// Marks `at`, and what is reached from there without reading, since `*` is also nothing.
fn enter(pattern: &[char], reached: &mut [bool], at: usize) {
    for (at, mark) in reached.iter_mut().enumerate().skip(at) {
        if std::mem::replace(mark, true) || pattern.get(at) != Some(&'*') {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    #[test]
    fn a_pattern_can_begin_with_what_a_part_of_it_matches() {
        for (pattern, prefix, can) in [
            ("topic/i/secret", "topic/i/", true),
            ("topic/i/secret", "topic/i/s", true),
            ("topic/i/secret", "topic/i/secret/", false),
            ("topic/i/secret*", "topic/i/secret/", true),
            ("topic/?/secret", "topic/i/", true),
            ("*", "topic/i/", true),
            ("*:x", "topic/i/", true),
            ("instance/i", "topic/i/", false),
            ("", "topic/i/", false),
            ("topic/I/x", "topic/i/", false),
        ] {
            assert_eq!(can_begin_with(pattern, prefix), can, "{pattern} {prefix}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab?*é]{0,8}", text in "[abé*]{0,8}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &text, Case::Counts), naive(&chars(&pattern), &chars(&text)));
        }
    }

    proptest! {
        #[test]
        fn a_beginning_agrees_with_the_definition(pattern in "[ab?*é]{0,8}", prefix in "[abé*]{0,6}") {
            let beginnings = pattern.char_indices().map(|(at, _)| at).chain([pattern.len()]);
            let by_one = beginnings.filter_map(|end| pattern.get(..end)).any(|one| matches(one, &prefix, Case::Counts));
            prop_assert_eq!(can_begin_with(&pattern, &prefix), by_one);
        }
    }

    #[test]
    fn a43_hostile_patterns_take_bounded_time() {
        let text = format!("{}b", "a".repeat(65_536));
        let started = Instant::now();
        assert!(!matches(&format!("{}c", "*a".repeat(200)), &text, Case::Counts));
        assert!(matches(&format!("{}*b", "*a".repeat(200)), &text, Case::Counts));
        assert!(!matches(&format!("*{}c", "a".repeat(400)), &text, Case::Counts));
        let prefix = "a".repeat(8_192);
        assert!(can_begin_with(&"*a".repeat(200), &prefix));
        assert!(!can_begin_with(&format!("{}c", "?".repeat(400)), &prefix));
        assert!(can_begin_with(&format!("{}c", "*".repeat(400)), &prefix));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
