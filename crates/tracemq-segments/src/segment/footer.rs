//! The ends of the file: the header says whose it is, the footer where everything stands. Every version keeps the header and its
//! checksum, so that a later one can be told from damage.
//!
//! ```text
//! footer       rows u64 | subjects u64 | earliest and latest time i64 | first and last arrival u64 | texts u32
//!              | checksum of the checksums of all pieces before it, so that the footer's own tells files apart
//!              | offset u64 and length u64 of the sections: minutes, row index, directory index, text index, instances
//!              | parts u8 | bytes of each part u64
//! ```

use std::ops::RangeInclusive;

use tracemq_model::{InstanceId, TimeMs, TimeRange};

use super::bits;
use super::checksum::{Checksums, Piece, SegmentId};
use super::meta::{InstanceTotal, NO_TIMES, PartBytes};
use super::output::Section;
use super::source::{CUT, Source, What, wide};
use crate::varint;

const HEADER_MAGIC: [u8; 8] = *b"TMQSEGM\n";
const TAIL_MAGIC: [u8; 8] = *b"TMQSEGE\n";
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const TAIL_BYTES: usize = 16;
/// The newest format that is read, and the one that is written.
pub(super) const VERSION: u32 = 1;
/// A footer has some 350 bytes; more are not read on anyone's word.
const FOOTER_BYTES_MAX: u32 = 4096;

/// The header of the segment `id`.
pub(super) fn header(id: SegmentId, sums: &Checksums) -> Vec<u8> {
    header_of(VERSION, id, sums)
}

/// The header of the segment `id` in the format `version`.
pub(super) fn header_of(version: u32, id: SegmentId, sums: &Checksums) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&HEADER_MAGIC);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&id.store);
    out.extend_from_slice(&id.number.to_le_bytes());
    let sum = sums.of(Piece::Header, 0, &out);
    out.extend_from_slice(&sum);
    out
}

pub(super) enum HeaderFault {
    Newer { found: u32 },
    Wrong(What),
}

/// Checks that `bytes` are the header of the segment `id`.
pub(super) fn check_header(bytes: &[u8], id: SegmentId, sums: &Checksums) -> Result<(), HeaderFault> {
    let mut source = Source::new(bytes);
    if source.array() != Ok(HEADER_MAGIC) {
        return Err(HeaderFault::Wrong("is no segment"));
    }
    let version = source.u32().map_err(HeaderFault::Wrong)?;
    let found = SegmentId {
        store: source.array().map_err(HeaderFault::Wrong)?,
        number: source.u64().map_err(HeaderFault::Wrong)?,
    };
    if found != id {
        return Err(HeaderFault::Wrong("is the file of another segment or store"));
    }
    if sums.open(Piece::Header, 0, bytes).is_none() {
        return Err(HeaderFault::Wrong("the header's checksum is another"));
    }
    match version {
        VERSION => Ok(()),
        0 => Err(HeaderFault::Wrong("has a format that never was")),
        found => Err(HeaderFault::Newer { found }),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) rows: u64,
    pub(super) subjects: u64,
    pub(super) times: TimeRange,
    pub(super) sequence: RangeInclusive<u64>,
    pub(super) texts: u32,
    /// The checksum of the checksums of all pieces before the footer.
    pub(super) content: u32,
    pub(super) sections: Sections,
    pub(super) parts: PartBytes,
}

/// Where the sections stand, in the order in which they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sections {
    pub(super) minutes: Section,
    pub(super) rows: Section,
    pub(super) directory: Section,
    pub(super) texts: Section,
    pub(super) instances: Section,
}

impl Sections {
    pub(super) fn in_order(&self) -> [(Piece, Section); 5] {
        [
            (Piece::Minutes, self.minutes),
            (Piece::RowIndex, self.rows),
            (Piece::DirectoryIndex, self.directory),
            (Piece::TextIndex, self.texts),
            (Piece::Instances, self.instances),
        ]
    }
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut push = |number: u64| out.extend_from_slice(&number.to_le_bytes());
        push(self.rows);
        push(self.subjects);
        push(bits::bits(self.times.from.0));
        push(bits::bits(self.times.to.0));
        push(*self.sequence.start());
        push(*self.sequence.end());
        out.extend_from_slice(&self.texts.to_le_bytes());
        out.extend_from_slice(&self.content.to_le_bytes());
        for (_, section) in self.sections.in_order() {
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.length.to_le_bytes());
        }
        out.push(u8::try_from(self.parts.0.len()).unwrap_or(u8::MAX));
        for bytes in self.parts.0 {
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        out
    }

    /// Reads a footer that stands at `end`: the sections lie one behind the other, before it.
    pub(super) fn read(bytes: &[u8], end: u64) -> Result<Self, What> {
        let mut source = Source::new(bytes);
        let (rows, subjects) = (source.u64()?, source.u64()?);
        let times = TimeRange { from: TimeMs(source.i64()?), to: TimeMs(source.i64()?) };
        let sequence = source.u64()?..=source.u64()?;
        let (texts, content) = (source.u32()?, source.u32()?);
        let mut section = || Ok::<_, What>(Section { offset: source.u64()?, length: source.u64()? });
        let sections = Sections {
            minutes: section()?,
            rows: section()?,
            directory: section()?,
            texts: section()?,
            instances: section()?,
        };
        let mut parts = PartBytes::default();
        // Columns come at the end: an older file has fewer.
        let known = parts.0.get_mut(..usize::from(source.u8()?)).ok_or("has columns that this version doesn't know")?;
        for bytes in known {
            *bytes = source.u64()?;
        }
        source.finish()?;
        check_order(&sections, end)?;
        if (rows == 0) != (times == NO_TIMES) || (rows > 0 && times.from > times.to) || subjects > rows {
            return Err("the footer contradicts itself");
        }
        Ok(Self { rows, subjects, times, sequence, texts, content, sections, parts })
    }
}

fn check_order(sections: &Sections, end: u64) -> Result<(), What> {
    let mut at = sections.minutes.offset;
    for (_, section) in sections.in_order() {
        if section.offset != at || section.length < wide(Checksums::BYTES) {
            return Err("sections do not stand one behind the other");
        }
        at = section.end().ok_or(CUT)?;
    }
    if at == end && sections.minutes.offset >= wide(HEADER_BYTES) {
        Ok(())
    } else {
        Err("sections do not stand one behind the other")
    }
}

/// What stands behind the footer `content`, whose checksum is `sum`.
pub(super) fn tail(content: &[u8], sum: [u8; Checksums::BYTES]) -> Vec<u8> {
    let mut out = Vec::with_capacity(TAIL_BYTES);
    out.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&sum);
    out.extend_from_slice(&TAIL_MAGIC);
    out
}

/// The footer's length and its checksum.
pub(super) fn read_tail(bytes: &[u8]) -> Result<(u64, [u8; Checksums::BYTES]), What> {
    let mut source = Source::new(bytes);
    let (length, sum) = (source.u32()?, source.array()?);
    if source.array() != Ok(TAIL_MAGIC) {
        return Err("ends in no footer, as a file does that was not written to its end");
    }
    if length > FOOTER_BYTES_MAX {
        return Err("the footer is longer than it can be");
    }
    Ok((u64::from(length), sum))
}

/// The section of instances.
pub(super) fn encode_instances(instances: &[InstanceTotal]) -> Vec<u8> {
    let mut out = Vec::new();
    for InstanceTotal { instance, rows, times, bytes } in instances {
        varint::push(&mut out, wide(instance.as_str().len()));
        out.extend_from_slice(instance.as_str().as_bytes());
        varint::push(&mut out, *rows);
        varint::push(&mut out, varint::zigzag(times.from.0));
        varint::push(&mut out, bits::distance(times.from.0, times.to.0));
        varint::push(&mut out, *bytes);
    }
    out
}

/// Reads the section of instances of a segment of `rows` rows.
pub(super) fn read_instances(content: &[u8], rows: u64) -> Result<Vec<InstanceTotal>, What> {
    let mut source = Source::new(content);
    let mut instances: Vec<InstanceTotal> = Vec::new();
    let mut sum = 0_u64;
    while !source.is_empty() {
        let length = source.length()?;
        let name = std::str::from_utf8(source.take(length)?).ok().and_then(|name| InstanceId::new(name).ok());
        let instance = name.ok_or("an instance has a name that none can have")?;
        if instances.last().is_some_and(|last| last.instance >= instance) {
            return Err("instances are out of order");
        }
        let rows = source.varint()?;
        sum = sum.checked_add(rows).ok_or("more rows than there can be")?;
        let from = varint::unzigzag(source.varint()?);
        let to = from.checked_add_unsigned(source.varint()?).ok_or("a time that can't be")?;
        let times = TimeRange { from: TimeMs(from), to: TimeMs(to) };
        instances.push(InstanceTotal { instance, rows, times, bytes: source.varint()? });
    }
    if sum == rows { Ok(instances) } else { Err("instances have another number of rows than the segment") }
}
