//! What somebody may have meant who wrote a word that is not known.

/// The one of the words in `` `...` `` after the first in `message` that is most like the first, if one is.
///
/// Takes what the parser says of an unknown key or value: ``unknown field `lisen`, expected one of `listen`, ...``
pub(super) fn nearest(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let given = words.next()?;
    let most = if given.len() < 5 { 1 } else { 2 };
    words
        .map(|word| (distance(given, word), word))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, word)| word)
}

/// Letters to put in, take out or change to come from `a` to `b`; two that are swapped count as two.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (line, of_a) in a.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (cell, of_b) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            *cell = (diagonal + usize::from(of_a != of_b)).min(above + 1).min(left + 1);
            (diagonal, left) = (above, *cell);
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_right_is_found_and_nothing_else() {
        let message =
            |word: &str| format!("unknown field `{word}`, expected one of `listen`, `listeners`, `tls`, `users`");
        for (word, meant) in
            [("lisen", "listen"), ("listener", "listeners"), ("tsl", ""), ("tl", "tls"), ("user", "users")]
        {
            assert_eq!(nearest(&message(word)).unwrap_or_default(), meant, "{word}");
        }
        assert_eq!(nearest(&message("port")), None);
        assert_eq!(nearest("invalid type: `lisen`, expected `listen`"), None);
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("é", "e", 1), ("abc", "abc", 0)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
