//! The write-ahead log: what was acknowledged and stands in no segment yet.
//!
//! # On disk, version 1
//! All numbers of fixed size are little-endian. Files `0000000001.wal` are numbered without holes in the order of writing.
//! A file is a header and then records, without anything between:
//!
//! ```text
//! header, 48 bytes   magic "TRACEMQW" | version u32 | store id [16] | file number u64 | length of the file before u64
//!                    | crc32 of these 44 bytes
//! record             marker "TMW\xb1" | payload length u32 | crc32 of the payload
//!                    | crc32 of store id, file number, place in the file and these 12 bytes | payload
//! payload            1, then a batch (see `encode`), or 2, then the key of an erased subject
//! ```
//!
//! The header of a later version is as long and has the same checksum in the same place, so that a flipped bit in the version
//! is not taken for one.
//!
//! A record is a batch: it counts as a whole or not at all, and needs no other record to be read. Its checksum covers
//! whose it is and where it stands, so that bytes which are valid elsewhere (in another store or file, or as they
//! were before) are not valid here. So they are read behind a header that is damaged, too.
//!
//! # What a broken record means
//! A record is written only when all before it are durable. So a broken one at the very end is a write that a crash cut
//! off: it was never acknowledged, and is cut away. A broken one with whole ones behind it, or in a file that another
//! followed, is damage: its bytes stay, the rest is read, and the report says where and between which times.
//!
//! # How it is used
//! [`replay`] at start, from the first file that the manifest says is live; [`Wal::resume`] with what it leaves. In a new
//! store [`Wal::create`], before the first manifest is published: a manifest never names a log that isn't durable.
//! When a memtable is sealed: [`Wal::rotate`], write the segment, publish the manifest, delete the file.

mod codes;
mod connection;
mod decode;
mod encode;
mod file;
mod found;
mod front;
mod names;
mod reader;
mod record;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use decode::Entry;
pub(crate) use file::{StoreId, is_whole_header, path};
pub(crate) use replay::{Damage, Mode, Replayed, replay};
pub(crate) use writer::{Synced, Unsynced, Wal};
