//! A manifest as text. The types here are the format: they never change; a change in the store's types must not reach the
//! disk through them unseen, so that every field is named in both directions.
//!
//! JSON with a line for each field, and for each element of a list. Ids are hex digits, times milliseconds since 1970, and
//! an erased subject is told by its instance and its client or address.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tracemq_model::{ClientId, Gap, GapCause, InstanceId, MessageId, Subject, TimeMs};

use super::{Cutoff, Erasure, Manifest, RetentionClock, SegmentEntry};
use crate::key::{Key, push_key};

/// The newest format that is read, and the one that is written.
pub(super) const VERSION: u32 = 1;

const DAMAGED: &str = "it is not what was written; make a new one with: tracemq store repair";
const NONSENSE: &str = "what it says can't be";

/// Why there is no manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Written by a later version of this program.
    Newer(u32),
    /// Not what was written.
    Invalid(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestV1 {
    store: String,
    generation: u64,
    next_file: u64,
    first_wal: u64,
    orphans: Option<u64>,
    retention_seen: Option<i64>,
    retention_trusted: Option<i64>,
    segments: Vec<SegmentV1>,
    erasures: Vec<ErasureV1>,
    cutoffs: Vec<CutoffV1>,
    gaps: Vec<GapV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentV1 {
    number: u64,
    seq_lo: u64,
    seq_hi: u64,
    rows: u64,
    bytes: u64,
    min_time: i64,
    max_time: i64,
    footer: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErasureV1 {
    instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<MessageId>,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CutoffV1 {
    instance: String,
    time: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GapV1 {
    from: i64,
    to: i64,
    lost: Option<u64>,
    cause: String,
}

/// `manifest` as it stands on disk; or why no reader would take it.
pub(super) fn encode(manifest: &Manifest) -> Result<Vec<u8>, &'static str> {
    let v1 = ManifestV1::of(manifest).ok_or("an erased subject has no key")?;
    if v1.to_manifest().as_ref() != Some(manifest) {
        return Err(NONSENSE);
    }
    let body = v1.text().ok_or("it can't be written as text")?;
    let mut bytes = first_line(VERSION, &body).into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    Ok(bytes)
}

/// The manifest that `bytes` hold.
pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Invalid(DAMAGED))?;
    let (first, body) = text.split_once('\n').ok_or(Fault::Invalid(DAMAGED))?;
    let version = version(first).ok_or(Fault::Invalid(DAMAGED))?;
    if first_line(version, body).strip_suffix('\n') != Some(first) {
        return Err(Fault::Invalid(DAMAGED));
    }
    match version {
        VERSION => {}
        0 => return Err(Fault::Invalid(DAMAGED)),
        newer => return Err(Fault::Newer(newer)),
    }
    let v1: ManifestV1 = serde_json::from_str(body).map_err(|_| Fault::Invalid(NONSENSE))?;
    v1.to_manifest().ok_or(Fault::Invalid(NONSENSE))
}

/// The first line of a manifest in the format `version`.
pub(super) fn first_line(version: u32, body: &str) -> String {
    let mut sum = crc32fast::Hasher::new();
    if version > 1 {
        // Version 1 does not cover its own number. With a later one a flipped bit in it would else be taken for that.
        sum.update(version.to_string().as_bytes());
    }
    sum.update(body.as_bytes());
    format!("tracemq-manifest {version} crc32 {:08x}\n", sum.finalize())
}

fn version(first: &str) -> Option<u32> {
    first.strip_prefix("tracemq-manifest ")?.split(' ').next()?.parse().ok()
}

impl ManifestV1 {
    /// None when the key of an erasure is none.
    fn of(manifest: &Manifest) -> Option<Self> {
        let Manifest { store, generation, next_file, first_wal, segments, erasures, cutoffs, gaps, clock, orphans } =
            manifest;
        let RetentionClock { seen, trusted } = *clock;
        Some(Self {
            store: hex::encode(store),
            generation: *generation,
            next_file: *next_file,
            first_wal: *first_wal,
            orphans: *orphans,
            retention_seen: seen.map(|time| time.0),
            retention_trusted: trusted.map(|time| time.0),
            segments: segments.iter().map(SegmentV1::of).collect(),
            erasures: erasures.iter().map(ErasureV1::of).collect::<Option<_>>()?,
            cutoffs: cutoffs.iter().map(CutoffV1::of).collect(),
            gaps: gaps.iter().map(GapV1::of).collect(),
        })
    }

    /// None when what it says can't be.
    fn to_manifest(&self) -> Option<Manifest> {
        let manifest = Manifest {
            store: hex::decode(&self.store).ok()?.try_into().ok()?,
            generation: self.generation,
            next_file: self.next_file,
            first_wal: self.first_wal,
            segments: self.segments.iter().map(SegmentV1::to_entry).collect::<Option<_>>()?,
            erasures: self.erasures.iter().map(ErasureV1::to_erasure).collect::<Option<_>>()?,
            cutoffs: self.cutoffs.iter().map(CutoffV1::to_cutoff).collect::<Option<_>>()?,
            gaps: self.gaps.iter().map(GapV1::to_gap).collect::<Option<_>>()?,
            clock: RetentionClock {
                seen: self.retention_seen.map(TimeMs),
                trusted: self.retention_trusted.map(TimeMs),
            },
            orphans: self.orphans,
        };
        let mut numbers = BTreeSet::new();
        let mut all = manifest.segments.iter().map(|segment| segment.number);
        all.all(|number| number < manifest.next_file && numbers.insert(number)).then_some(manifest)
    }

    /// A line for each field, and for each element of a list.
    fn text(&self) -> Option<String> {
        let Self { store, generation, next_file, first_wal, orphans, retention_seen, retention_trusted, .. } = self;
        let mut text = String::from("{\n");
        field(&mut text, "store", store)?;
        field(&mut text, "generation", generation)?;
        field(&mut text, "next_file", next_file)?;
        field(&mut text, "first_wal", first_wal)?;
        field(&mut text, "orphans", orphans)?;
        field(&mut text, "retention_seen", retention_seen)?;
        field(&mut text, "retention_trusted", retention_trusted)?;
        list(&mut text, "segments", &self.segments, ",")?;
        list(&mut text, "erasures", &self.erasures, ",")?;
        list(&mut text, "cutoffs", &self.cutoffs, ",")?;
        list(&mut text, "gaps", &self.gaps, "")?;
        text.push_str("}\n");
        Some(text)
    }
}

fn field(text: &mut String, name: &str, value: &impl Serialize) -> Option<()> {
    writeln!(text, "\"{name}\": {},", serde_json::to_string(value).ok()?).ok()
}

fn list(text: &mut String, name: &str, elements: &[impl Serialize], end: &str) -> Option<()> {
    write!(text, "\"{name}\": [").ok()?;
    for (at, element) in elements.iter().enumerate() {
        let separator = if at == 0 { "\n  " } else { ",\n  " };
        write!(text, "{separator}{}", serde_json::to_string(element).ok()?).ok()?;
    }
    writeln!(text, "]{end}").ok()
}

impl SegmentV1 {
    fn of(entry: &SegmentEntry) -> Self {
        let SegmentEntry { number, seq_lo, seq_hi, rows, bytes, min_time, max_time, footer_checksum } = *entry;
        let (min_time, max_time, footer) = (min_time.0, max_time.0, format!("{footer_checksum:08x}"));
        Self { number, seq_lo, seq_hi, rows, bytes, min_time, max_time, footer }
    }

    fn to_entry(&self) -> Option<SegmentEntry> {
        let Self { number, seq_lo, seq_hi, rows, bytes, min_time, max_time, ref footer } = *self;
        let footer_checksum = u32::from_str_radix(footer, 16).ok()?;
        let (min_time, max_time) = (TimeMs(min_time), TimeMs(max_time));
        let entry = SegmentEntry { number, seq_lo, seq_hi, rows, bytes, min_time, max_time, footer_checksum };
        (seq_lo <= seq_hi && min_time <= max_time).then_some(entry)
    }
}

impl ErasureV1 {
    fn of(erasure: &Erasure) -> Option<Self> {
        let Erasure { key, seq } = erasure;
        let key = Key::read(key)?;
        let (client, address, message) = match key.subject? {
            Subject::Client(client) => (Some(client.as_str().to_owned()), None, None),
            Subject::Address(address) => (None, Some(address), None),
            Subject::Message(id) => (None, None, Some(id)),
        };
        Some(Self { instance: key.instance.as_str().to_owned(), client, address, message, seq: *seq })
    }

    fn to_erasure(&self) -> Option<Erasure> {
        let subject = match (&self.client, self.address, self.message) {
            (Some(client), None, None) => Subject::Client(ClientId::new(client).ok()?),
            (None, Some(address), None) => Subject::Address(address),
            (None, None, Some(id)) => Subject::Message(id),
            _ => return None,
        };
        let mut key = Vec::new();
        push_key(&InstanceId::new(&self.instance).ok()?, &subject, &mut key);
        Some(Erasure { key, seq: self.seq })
    }
}

impl CutoffV1 {
    fn of(cutoff: &Cutoff) -> Self {
        let Cutoff { instance, time } = cutoff;
        Self { instance: instance.as_str().to_owned(), time: time.0 }
    }

    fn to_cutoff(&self) -> Option<Cutoff> {
        Some(Cutoff { instance: InstanceId::new(&self.instance).ok()?, time: TimeMs(self.time) })
    }
}

impl GapV1 {
    fn of(gap: &Gap) -> Self {
        let Gap { from, to, lost, cause } = *gap;
        Self { from: from.0, to: to.0, lost, cause: cause.code().to_owned() }
    }

    fn to_gap(&self) -> Option<Gap> {
        let cause = GapCause::ALL.iter().copied().find(|cause| cause.code() == self.cause)?;
        Some(Gap { from: TimeMs(self.from), to: TimeMs(self.to), lost: self.lost, cause })
    }
}
