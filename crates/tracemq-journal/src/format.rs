//! The on-disk format, version 1. This file and those below it own it; nothing else knows a byte of it.
//!
//! All numbers are little-endian. A store is a folder of files `events-0000000001.log`, numbered without holes in the
//! order of writing. A file is a header and then records, without anything between:
//!
//! ```text
//! header, 48 bytes   magic "TRACEMQJ" | version u32 | store id [16] | file number u64 | length of the file before u64
//!                    | crc32 of these 44 bytes
//! record             marker "TMQ\xb1" | payload length u32 | crc32 of the payload | crc32 of these 12 bytes | payload
//! payload            frames, without anything between
//! frame              crc32 of the rest of the frame | body length u24, kind u8 | body
//! body               postcard of EventV1 (kind 1) or GapV1 (kind 2)
//! ```
//!
//! A record is a batch: it counts as a whole or not at all. A frame is one event of it, which a query reads and checks
//! without reading its neighbours. The checksums of records and frames also cover the store id, the file number and
//! the place in the file, so that bytes which are valid elsewhere (another store's, another file's, an older state's)
//! are not valid here.

mod codes;
mod event;
mod header;
mod record;

pub(crate) use event::{EventV1, GapV1};
pub(crate) use header::{HEADER_BYTES, Header, HeaderFault};
pub(crate) use record::{Frame, FramePlace, RecordAt, encode_batch, find_record, frames, open_frame, record_at};

/// The newest format that is read, and the one that is written.
pub(crate) const VERSION: u32 = 1;

/// Tells one store's files from another's.
pub(crate) type StoreId = [u8; 16];

/// What the checksums of a file cover beside its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    seed: crc32fast::Hasher,
}

impl Identity {
    pub(crate) fn new(store: StoreId, file_number: u32) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&store);
        seed.update(&u64::from(file_number).to_le_bytes());
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

/// Takes the first `N` bytes off `bytes`; none when there are fewer.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

/// Writes `value` over what stands at `at`, which must be there.
fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
