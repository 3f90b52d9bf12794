//! A file read piece by piece, so that none is too large.

use std::io;

use super::file::HEADER_BYTES;
use super::record::{HEAD_BYTES, HEAD_LENGTH, Head, Identity, MARKER_OVERLAP, find_marker};
use crate::fs::LogFile;

/// So much is read at once, or a whole record when that is more.
const PIECE_BYTES: usize = 1 << 20;

pub(super) struct Reader<'a> {
    file: &'a dyn LogFile,
    /// How long the file was when it was opened, or turned out to be: whoever looks beside a running writer may see it
    /// taken back.
    length: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    begin: u64,
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordAt<'a> {
    /// A whole record, and where it ends.
    Whole { payload: &'a [u8], end: u64 },
    /// A record of which only the head is what was written, and where it would end.
    Broken { end: u64 },
    /// None.
    Nothing,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a dyn LogFile) -> io::Result<Self> {
        Ok(Self { file, length: file.length()?, buffer: Vec::new(), begin: 0 })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// What may be a header.
    pub(super) fn start(&mut self) -> io::Result<&[u8]> {
        let start = self.at(0, HEADER_BYTES)?;
        Ok(start.get(..HEADER_BYTES.min(start.len())).unwrap_or_default())
    }

    /// What stands at `offset`.
    pub(super) fn record_at(&mut self, offset: u64, identity: &Identity) -> io::Result<RecordAt<'_>> {
        let Some(head) = Head::decode(self.at(offset, HEAD_BYTES)?, offset, identity) else {
            return Ok(RecordAt::Nothing);
        };
        let payload_at = offset.saturating_add(HEAD_LENGTH);
        let end = payload_at.saturating_add(u64::from(head.payload_bytes));
        if end > self.length {
            return Ok(RecordAt::Broken { end: self.length });
        }
        let length = usize::try_from(head.payload_bytes).unwrap_or(usize::MAX);
        let payload = self.at(payload_at, length)?.get(..length).unwrap_or_default();
        let is_whole = head.vouches_for(payload);
        Ok(if is_whole { RecordAt::Whole { payload, end } } else { RecordAt::Broken { end } })
    }

    /// Where the next whole record begins, at `from` or behind.
    pub(super) fn find_record(&mut self, from: u64, identity: &Identity) -> io::Result<Option<u64>> {
        let mut offset = from;
        loop {
            let bytes = self.at(offset, HEAD_BYTES)?;
            if bytes.len() < HEAD_BYTES {
                return Ok(None);
            }
            let Some(marker) = find_marker(bytes) else {
                offset = offset.saturating_add(wide(bytes.len() - MARKER_OVERLAP));
                continue;
            };
            offset = offset.saturating_add(wide(marker));
            match self.record_at(offset, identity)? {
                RecordAt::Whole { .. } => return Ok(Some(offset)),
                // Its head vouches for its length: nothing inside needs a look. That keeps the search linear.
                RecordAt::Broken { end } => offset = end,
                RecordAt::Nothing => offset = offset.saturating_add(1),
            }
        }
    }

    /// What stands at `offset`: `wanted` bytes or more, or all up to the end.
    fn at(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let until_end = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        if self.buffered(offset).len() < wanted.min(until_end) {
            self.fill(offset, wanted.max(PIECE_BYTES).min(until_end))?;
        }
        Ok(self.buffered(offset))
    }

    fn buffered(&self, offset: u64) -> &[u8] {
        let skipped = offset.checked_sub(self.begin).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.buffer.get(skipped..)).unwrap_or_default()
    }

    fn fill(&mut self, offset: u64, bytes: usize) -> io::Result<()> {
        // Nothing old is left should a read fail.
        self.begin = offset;
        self.buffer.clear();
        self.buffer.resize(bytes, 0);
        let mut filled = 0;
        while filled < bytes {
            let rest = self.buffer.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(rest, offset.saturating_add(wide(filled))) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        if filled < bytes {
            self.buffer.truncate(filled);
            self.length = offset.saturating_add(wide(filled));
        }
        Ok(())
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
