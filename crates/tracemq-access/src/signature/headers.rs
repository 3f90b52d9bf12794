//! Headers as signatures see them: names in lower case, one value a name, visible ASCII and inner spaces.

/// Why a header can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There are two of it, and which one counts would be a guess.
    #[error("the header {0} is there twice")]
    Doubled(String),
    /// It holds a tab, a control character, or other than ASCII.
    #[error("the header {0} holds other than visible ASCII")]
    Character(String),
}

/// Headers in the order received.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    entries: Vec<(String, Vec<u8>)>,
}

impl Headers {
    /// Takes names, in any letter case, and values.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let entries = entries.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()));
        Self { entries: entries.collect() }
    }

    /// The value of the header `name` (lower case), without spaces around it; none when it is not there.
    ///
    /// # Errors
    /// When it is there twice or holds other than visible ASCII and spaces.
    pub fn one(&self, name: &str) -> Result<Option<&str>, HeaderError> {
        let mut found = self.entries.iter().filter(|(known, _)| known == name);
        let Some((_, value)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(HeaderError::Doubled(name.to_owned()));
        }
        let text = std::str::from_utf8(value).map_err(|_| HeaderError::Character(name.to_owned()))?;
        let text = text.trim_matches(' ');
        if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            Ok(Some(text))
        } else {
            Err(HeaderError::Character(name.to_owned()))
        }
    }

    /// All names, lower case, in the order received.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_or_a_refusal() {
        let entries: [(&str, &[u8]); 5] =
            [("Host", b" h "), ("a", b"1"), ("A", b"1"), ("tab", b"x\ty"), ("u", "é".as_bytes())];
        let headers = Headers::new(entries);
        assert_eq!(headers.one("host"), Ok(Some("h")));
        assert_eq!(headers.one("none"), Ok(None));
        assert_eq!(headers.one("a"), Err(HeaderError::Doubled("a".into())));
        assert_eq!(headers.one("tab"), Err(HeaderError::Character("tab".into())));
        assert_eq!(headers.one("u"), Err(HeaderError::Character("u".into())));
    }
}
