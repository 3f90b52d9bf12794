//! The header of a file: what it is, whose, and which one.

use super::{StoreId, VERSION, take};

const MAGIC: [u8; 8] = *b"TRACEMQJ";

/// How long a header is.
pub(crate) const HEADER_BYTES: usize = 48;

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) store: StoreId,
    pub(crate) number: u64,
    /// How long the file with the number before was when it was left for this one; 0 when there was none or its state
    /// was unknown.
    pub(crate) previous_bytes: u64,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Written by a later version of this program.
    Newer(u32),
    /// Not what was written.
    Invalid,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.previous_bytes.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.first_chunk().copied().unwrap_or([0; HEADER_BYTES])
    }

    /// The header that `file` begins with.
    pub(crate) fn decode(file: &[u8]) -> Result<Self, HeaderFault> {
        Self::parse(file).unwrap_or(Err(HeaderFault::Invalid))
    }

    fn parse(file: &[u8]) -> Option<Result<Self, HeaderFault>> {
        let mut rest = file;
        if take::<8>(&mut rest)? != MAGIC {
            return None;
        }
        // Ahead of the checksum: a later version may keep its checksum elsewhere.
        let version = u32::from_le_bytes(take(&mut rest)?);
        if version > VERSION {
            return Some(Err(HeaderFault::Newer(version)));
        }
        let store = take(&mut rest)?;
        let number = u64::from_le_bytes(take(&mut rest)?);
        let previous_bytes = u64::from_le_bytes(take(&mut rest)?);
        let checksum = u32::from_le_bytes(take(&mut rest)?);
        let covered = file.get(..HEADER_BYTES - 4)?;
        (version == VERSION && crc32fast::hash(covered) == checksum).then_some(Ok(Self {
            store,
            number,
            previous_bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_every_flipped_bit_is_seen() {
        let header = Header { store: [7; 16], number: 3, previous_bytes: 4_711 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(Header::decode(&bytes[..47]), Err(HeaderFault::Invalid));
        assert_eq!(Header::decode(&[0; 48]), Err(HeaderFault::Invalid));
    }

    #[test]
    fn a_later_version_is_named() {
        let mut bytes = Header { store: [7; 16], number: 3, previous_bytes: 0 }.encode();
        bytes[8] = 9;
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Newer(9)));
    }
}
