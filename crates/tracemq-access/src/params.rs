//! The one parser of names and values in a query or a form: what a signature is verified over is, to the byte, what
//! an operation reads.
//!
//! Decoding is that of `application/x-www-form-urlencoded` (`+` is a space), strictly: a broken `%` escape or text
//! that is not UTF-8 is refused, never passed on. Empty pieces between `&` are passed over.

use std::collections::HashSet;

/// Why names and values can't be read. The texts hold nothing that the caller chose but a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// A `%` that two hexadecimal digits don't follow.
    #[error("a % is not followed by two hexadecimal digits")]
    Escape,
    /// Decoded bytes that are no UTF-8.
    #[error("a name or value is not UTF-8")]
    NotUtf8,
    /// A name that is empty or holds other than visible ASCII.
    #[error("a name is empty or holds a character that is not visible ASCII")]
    Name,
    /// More parameters than [`Params::COUNT_MAX`].
    #[error("there are more than {} parameters", Params::COUNT_MAX)]
    TooMany,
    /// A name that is there twice, letter case aside.
    #[error("the parameter {0} is there twice")]
    Doubled(String),
}

/// Names and values, decoded, in the order sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// More are refused: no operation takes a tenth of it.
    pub const COUNT_MAX: usize = 256;

    /// Reads `text`, the part after `?` of a target or the body of a form. Doubled names are kept; see [`Self::joined`].
    ///
    /// # Errors
    /// See [`ParamsError`]; never [`ParamsError::Doubled`].
    pub fn parse(text: &[u8]) -> Result<Self, ParamsError> {
        let mut pairs = Vec::new();
        for (count, piece) in text.split(|b| *b == b'&').enumerate() {
            if count >= Self::COUNT_MAX {
                return Err(ParamsError::TooMany);
            }
            if piece.is_empty() {
                continue;
            }
            let mut halves = piece.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default(), Plus::IsSpace)?;
            let value = decode(halves.next().unwrap_or_default(), Plus::IsSpace)?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(ParamsError::Name);
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// Those of a query and of a form as one set.
    ///
    /// # Errors
    /// When a name is there twice, in either or across both, or there are too many.
    pub fn joined(query: &Self, form: &Self) -> Result<Self, ParamsError> {
        if query.pairs.len() + form.pairs.len() > Self::COUNT_MAX {
            return Err(ParamsError::TooMany);
        }
        let mut seen = HashSet::with_capacity(query.pairs.len() + form.pairs.len());
        let mut pairs = Vec::with_capacity(query.pairs.len() + form.pairs.len());
        for (name, value) in query.iter().chain(form.iter()) {
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(ParamsError::Doubled(name.to_owned()));
            }
            pairs.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self { pairs })
    }

    /// The value of the first parameter called exactly `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Names and values in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Sorted by name, then value, percent-encoded, joined by `=` and `&`; without the parameter called `without`.
    pub fn canonical(&self, without: Option<&str>) -> String {
        let mut sorted: Vec<_> = self.iter().filter(|(name, _)| Some(*name) != without).collect();
        sorted.sort_unstable();
        let mut text = String::new();
        for (name, value) in sorted {
            if !text.is_empty() {
                text.push('&');
            }
            encode_to(&mut text, name);
            text.push('=');
            encode_to(&mut text, value);
        }
        text
    }
}

/// What a `+` means: a space in a query or form, itself in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    /// As in a query or a form.
    IsSpace,
    /// As in a path.
    IsPlus,
}

/// Decodes `%` escapes.
///
/// # Errors
/// [`ParamsError::Escape`] or [`ParamsError::NotUtf8`].
pub fn decode(text: &[u8], plus: Plus) -> Result<String, ParamsError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let high = hex_digit(bytes.next()).ok_or(ParamsError::Escape)?;
                let low = hex_digit(bytes.next()).ok_or(ParamsError::Escape)?;
                high << 4 | low
            }
            b'+' if plus == Plus::IsSpace => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).map_err(|_| ParamsError::NotUtf8)
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'a'..=b'f' => Some(letter - b'a' + 10),
        letter @ b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

/// Percent-encodes all but `A-Z a-z 0-9 - _ . ~`, upper-case.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    encode_to(&mut encoded, text);
    encoded
}

fn encode_to(encoded: &mut String, text: &str) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].iter().filter_map(|half| DIGITS.get(usize::from(*half))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_text_is_refused() {
        for (text, expected) in [
            (&b"a=%"[..], ParamsError::Escape),
            (b"a=%2", ParamsError::Escape),
            (b"a=%zz", ParamsError::Escape),
            (b"a=%u0041", ParamsError::Escape),
            (b"a=%+1", ParamsError::Escape),
            (b"a=%c0%af", ParamsError::NotUtf8),
            (b"a=%ed%a0%80", ParamsError::NotUtf8),
            (b"a=\xff", ParamsError::NotUtf8),
            (b"=x", ParamsError::Name),
            (b"ClientId%20=x", ParamsError::Name),
            (b"ClientId%00=x", ParamsError::Name),
            (b"Cl%C3%ADentId=x", ParamsError::Name),
        ] {
            assert_eq!(Params::parse(text), Err(expected), "{}", text.escape_ascii());
        }
        assert_eq!(Params::parse(&b"a&".repeat(100_000)), Err(ParamsError::TooMany));
        assert_eq!(Params::parse(&b"&".repeat(1_000_000)), Err(ParamsError::TooMany));
    }

    #[test]
    fn one_name_has_one_value() {
        let parse = |text: &str| Params::parse(text.as_bytes()).unwrap();
        for (query, form) in [
            ("a=1&a=1", ""),
            ("", "a=1&a=2"),
            ("a=1", "a=1"),
            ("ClientId=1", "clientid=2"),
            ("ClientId=1&%43lientId=2", ""),
        ] {
            let joined = Params::joined(&parse(query), &parse(form));
            assert!(matches!(joined, Err(ParamsError::Doubled(_))), "{query} | {form}");
        }
        let joined = Params::joined(&parse("b=2&&c"), &parse("a=%31+")).unwrap();
        assert_eq!(joined.canonical(None), "a=1%20&b=2&c=");
        assert_eq!((joined.get("c"), joined.get("C"), joined.get("a")), (Some(""), None, Some("1 ")));
    }

    #[test]
    fn encoding_is_the_documented_one() {
        assert_eq!(encode("A-z_0.~ *+/é中"), "A-z_0.~%20%2A%2B%2F%C3%A9%E4%B8%AD");
        assert_eq!(decode(b"a+b", Plus::IsPlus).unwrap(), "a+b");
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes(text in any::<String>()) {
            prop_assert_eq!(decode(encode(&text).as_bytes(), Plus::IsSpace).unwrap(), text.clone());
            prop_assert_eq!(decode(encode(&text).as_bytes(), Plus::IsPlus).unwrap(), text);
        }

        /// Two different decoded sets never have one canonical text: nothing can be moved across a border.
        #[test]
        fn canonical_texts_parse_back(
            pairs in proptest::collection::btree_map("[!-~]{1,4}", ".{0,6}", 0..5)
        ) {
            let params = Params { pairs: pairs.clone().into_iter().collect() };
            let back = Params::parse(params.canonical(None).as_bytes()).unwrap();
            prop_assert_eq!(back, params);
        }
    }
}
