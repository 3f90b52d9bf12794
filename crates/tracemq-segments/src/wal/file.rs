//! A file of the log: its name, and the header that says what it is, whose, and which one.

use std::path::{Path, PathBuf};

/// The newest format that is read, and the one that is written.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"TRACEMQW";

/// How long a header is.
pub(super) const HEADER_BYTES: usize = 48;

/// The same, as a place in a file.
pub(super) const HEADER_END: u64 = 48;

/// Tells one store's files from another's.
pub(crate) type StoreId = [u8; 16];

/// The path of the file `number` in `dir`.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.wal"))
}

/// The number of the file called `name`; none when it is none of ours.
pub(super) fn number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".wal")?.parse().ok()?;
    (number > 0 && path(Path::new(""), number) == Path::new(name)).then_some(number)
}

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store: StoreId,
    pub(super) number: u64,
    /// How long the file with the number before was when it was left for this one; 0 when there was none or its state
    /// was unknown.
    pub(super) previous_bytes: u64,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Written by a later version of this program.
    Newer(u32),
    /// Not what was written.
    Invalid,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        self.encode_as(VERSION)
    }

    /// As a later version would write it: the length and the checksum of a header stay what they are.
    pub(super) fn encode_as(&self, version: u32) -> [u8; HEADER_BYTES] {
        let mut bytes: Vec<u8> = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.previous_bytes.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.first_chunk().copied().unwrap_or([0; HEADER_BYTES])
    }

    /// The header that `file` begins with.
    pub(super) fn decode(file: &[u8]) -> Result<Self, HeaderFault> {
        Self::parse(file).unwrap_or(Err(HeaderFault::Invalid))
    }

    fn parse(file: &[u8]) -> Option<Result<Self, HeaderFault>> {
        let mut rest = file;
        if take::<8>(&mut rest)? != MAGIC {
            return None;
        }
        let version = u32::from_le_bytes(take(&mut rest)?);
        let store = take(&mut rest)?;
        let number = u64::from_le_bytes(take(&mut rest)?);
        let previous_bytes = u64::from_le_bytes(take(&mut rest)?);
        let checksum = u32::from_le_bytes(take(&mut rest)?);
        let covered = file.get(..HEADER_BYTES - 4)?;
        if crc32fast::hash(covered) != checksum {
            return None;
        }
        match version {
            VERSION => Some(Ok(Self { store, number, previous_bytes })),
            0 => None,
            newer => Some(Err(HeaderFault::Newer(newer))),
        }
    }
}

/// Whether `file` begins with a header that is what was written, by this version or a later one.
pub(crate) fn is_whole_header(file: &[u8]) -> bool {
    Header::decode(file) != Err(HeaderFault::Invalid)
}

/// Takes the first `N` bytes off `bytes`; none when there are fewer.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_every_flipped_bit_is_seen() {
        let header = Header { store: [7; 16], number: u64::MAX, previous_bytes: 4_711 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped), Err(HeaderFault::Invalid), "bit {bit}");
        }
        assert_eq!(Header::decode(&header.encode_as(7)), Err(HeaderFault::Newer(7)));
        assert_eq!(Header::decode(&header.encode_as(0)), Err(HeaderFault::Invalid));
        assert_eq!(Header::decode(&bytes[..47]), Err(HeaderFault::Invalid));
        assert_eq!(Header::decode(&[0; 48]), Err(HeaderFault::Invalid));
    }

    #[test]
    fn names_are_numbers_written_in_one_way() {
        for at in [1, 9_999_999_999, 10_000_000_000, u64::MAX] {
            assert_eq!(number(path(Path::new(""), at).to_str().unwrap()), Some(at));
        }
        for name in ["0000000000.wal", "1.wal", "00000000001.wal", "+000000001.wal", "0000000001.wal~", "x.wal", ".wal"]
        {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
