//! The keys that hold a text, found while the directory is walked: what a key shares with the one before it is not looked
//! through again.

use tracemq_store::StoreError;

use super::cursor::{KeyCursor, KeyRows};
use super::reader::Segment;

/// What keys are looked for.
pub(crate) struct Sought<'s> {
    /// Not what is before this key.
    pub(crate) from: &'s [u8],
    pub(crate) prefix: &'s [u8],
    /// Keys that hold this, behind so many of their bytes.
    pub(crate) part: &'s [u8],
    pub(crate) behind: usize,
}

/// A walk over the keys that are looked for.
pub(crate) struct KeySearch<'a> {
    cursor: KeyCursor<'a>,
    sought: Sought<'a>,
    /// Whether a key was looked at.
    has_begun: bool,
    /// Where in the key at hand the part ends first.
    found: Option<usize>,
}

impl<'a> KeySearch<'a> {
    pub(super) fn new(segment: &'a Segment, sought: Sought<'a>) -> Result<Self, StoreError> {
        let cursor = KeyCursor::new(segment, sought.prefix.max(sought.from))?;
        Ok(Self { cursor, sought, has_begun: false, found: None })
    }

    /// The next of them and its rows. After an error, there is none.
    pub(crate) fn next(&mut self) -> Result<Option<KeyRows<'_>>, StoreError> {
        while self.cursor.advance()? {
            let shared = if std::mem::replace(&mut self.has_begun, true) { self.cursor.shared() } else { 0 };
            let key = self.cursor.key();
            if shared < self.sought.prefix.len() && !key.starts_with(self.sought.prefix) {
                return Ok(None);
            }
            if self.found.is_none_or(|end| end > shared) {
                self.found = self.sought.find(key, shared);
            }
            if self.found.is_some() {
                return Ok(Some(self.cursor.current()));
            }
        }
        Ok(None)
    }
}

impl Sought<'_> {
    /// Where in `key` the part ends first; that is not within the first `shared` bytes.
    fn find(&self, key: &[u8], shared: usize) -> Option<usize> {
        let Some((last, head)) = self.part.split_last() else { return Some(0) };
        let first = shared.max(self.behind + head.len());
        let mut ends = key.iter().enumerate().skip(first).filter(|(_, byte)| *byte == last);
        ends.find(|(at, _)| key.get(..*at).is_some_and(|before| before.ends_with(head))).map(|(at, _)| at + 1)
    }
}
