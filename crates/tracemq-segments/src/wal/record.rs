//! The frame of a record: a head that vouches for the length and the checksum of what follows.

use super::file::{StoreId, take};

const MARKER: [u8; 4] = *b"TMW\xb1";

/// How long a head is.
pub(super) const HEAD_BYTES: usize = 16;

/// The same, as a distance in a file.
pub(super) const HEAD_LENGTH: u64 = 16;

/// What the checksums of a file cover beside its bytes.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    seed: crc32fast::Hasher,
}

impl Identity {
    pub(super) fn new(store: StoreId, file_number: u64) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&store);
        seed.update(&file_number.to_le_bytes());
        Self { seed }
    }

    /// The checksum of `bytes` that begin at `offset` of this file.
    fn checksum(&self, offset: u64, bytes: &[u8]) -> u32 {
        let mut hasher = self.seed.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// A head that is what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) payload_bytes: u32,
    pub(super) payload_checksum: u32,
}

impl Head {
    /// The head that the record of `payload` has; none when it is too large for one.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let payload_bytes = u32::try_from(payload.len()).ok()?;
        Some(Self { payload_bytes, payload_checksum: crc32fast::hash(payload) })
    }

    /// As it stands at `offset` of the file.
    pub(super) fn encode(self, offset: u64, identity: &Identity) -> [u8; HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&MARKER);
        bytes.extend_from_slice(&self.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.payload_checksum.to_le_bytes());
        bytes.extend_from_slice(&identity.checksum(offset, &bytes).to_le_bytes());
        bytes.first_chunk().copied().unwrap_or([0; HEAD_BYTES])
    }

    /// The head that `bytes`, from `offset` of the file on, begin with.
    pub(super) fn decode(bytes: &[u8], offset: u64, identity: &Identity) -> Option<Self> {
        let mut fields = bytes;
        if take(&mut fields)? != MARKER {
            return None;
        }
        let payload_bytes = u32::from_le_bytes(take(&mut fields)?);
        let payload_checksum = u32::from_le_bytes(take(&mut fields)?);
        let known = u32::from_le_bytes(take(&mut fields)?);
        let checksum = identity.checksum(offset, bytes.get(..HEAD_BYTES - 4)?);
        (known == checksum).then_some(Self { payload_bytes, payload_checksum })
    }

    /// Whether `payload` is what was written behind this head.
    pub(super) fn vouches_for(self, payload: &[u8]) -> bool {
        u32::try_from(payload.len()) == Ok(self.payload_bytes) && crc32fast::hash(payload) == self.payload_checksum
    }
}

/// Where in `bytes` the first head may begin.
pub(super) fn find_marker(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARKER.len()).position(|window| window == MARKER)
}

/// How many bytes at the end of what was searched may be the beginning of a marker.
pub(super) const MARKER_OVERLAP: usize = MARKER.len() - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_none_in_another_store_file_or_place() {
        let identity = Identity::new([9; 16], 1);
        let head = Head::of(b"payload").unwrap();
        let bytes = head.encode(100, &identity);
        assert_eq!(Head::decode(&bytes, 100, &identity), Some(head));
        assert!(head.vouches_for(b"payload") && !head.vouches_for(b"payloae") && !head.vouches_for(b"payloa"));
        assert_eq!(Head::decode(&bytes, 101, &identity), None);
        assert_eq!(Head::decode(&bytes, 100, &Identity::new([9; 16], 2)), None);
        assert_eq!(Head::decode(&bytes, 100, &Identity::new([8; 16], 1)), None);
        for bit in 0..HEAD_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&flipped, 100, &identity), None, "bit {bit}");
        }
    }
}
