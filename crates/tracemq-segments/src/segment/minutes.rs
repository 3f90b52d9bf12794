//! How many events of each kind each minute has: what a chart of the fleet is drawn from without reading a row.
//!
//! ```text
//! minutes      of each instance, in their order: entries varint | entry ...
//! entry        minute less the previous entry's varint (the first: zigzag) | kind varint | events varint
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use tracemq_model::{InstanceId, TimeMs};

use super::bits;
use super::meta::InstanceTotal;
use super::source::{Source, What, wide};
use crate::row::Kind;
use crate::varint;

const MS_A_MINUTE: i64 = 60_000;
/// Room that is made before the entries are known to be there.
const ENTRIES_AT_ONCE: usize = 16 << 10;

/// Events of one kind in one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MinuteCount {
    /// Minutes since 1970-01-01T00:00Z, rounded down.
    pub(crate) minute: i64,
    pub(crate) kind: Kind,
    pub(crate) events: u64,
}

/// The minute of `time`, rounded down.
pub(crate) fn minute_of(time: TimeMs) -> i64 {
    time.0.div_euclid(MS_A_MINUTE)
}

/// Counts the rows of one instance after the other. Holds as many entries as one instance's rows have distinct minutes
/// and kinds.
#[derive(Default)]
pub(super) struct MinuteCounter {
    counts: HashMap<(i64, u16), u64, BuildHasherDefault<Mix>>,
    sorted: Vec<MinuteCount>,
    out: Vec<u8>,
}

impl MinuteCounter {
    #[inline]
    pub(super) fn count(&mut self, time: TimeMs, kind: Kind) {
        *self.counts.entry((minute_of(time), kind.0)).or_default() += 1;
    }

    /// No more rows of this instance come.
    pub(super) fn end_instance(&mut self) {
        let entries = self.counts.drain();
        self.sorted.extend(entries.map(|((minute, kind), events)| MinuteCount { minute, kind: Kind(kind), events }));
        self.sorted.sort_unstable_by_key(|entry| (entry.minute, entry.kind));
        varint::push(&mut self.out, wide(self.sorted.len()));
        let mut previous = None;
        for MinuteCount { minute, kind, events } in self.sorted.drain(..) {
            let step = previous.map_or(varint::zigzag(minute), |previous| bits::distance(previous, minute));
            varint::push(&mut self.out, step);
            varint::push(&mut self.out, u64::from(kind.0));
            varint::push(&mut self.out, events);
            previous = Some(minute);
        }
    }

    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// Minutes and kinds come from clocks, not from whoever wants collisions.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(17) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, value: i64) {
        self.write_u64(bits::bits(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }
}

/// The minute table of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Minutes {
    instances: Vec<(InstanceId, Vec<MinuteCount>)>,
}

impl Minutes {
    /// Reads the table of `instances`.
    pub(super) fn read(bytes: &[u8], instances: &[InstanceTotal]) -> Result<Self, What> {
        let mut source = Source::new(bytes);
        let mut read = Vec::with_capacity(instances.len());
        for total in instances {
            let counts = read_instance(&mut source, bytes.len())?;
            let events = counts.iter().try_fold(0_u64, |sum, entry| sum.checked_add(entry.events));
            if events != Some(total.rows) {
                return Err("the minutes have another number of events than the instance");
            }
            read.push((total.instance.clone(), counts));
        }
        source.finish()?;
        Ok(Self { instances: read })
    }

    /// Each instance and its entries, sorted by minute and kind.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (&InstanceId, &[MinuteCount])> {
        self.instances.iter().map(|(instance, counts)| (instance, counts.as_slice()))
    }

    /// The entries of `instance`, sorted by minute and kind; none of them when the segment has no such instance.
    pub(crate) fn of(&self, instance: &InstanceId) -> &[MinuteCount] {
        let found = self.instances.binary_search_by(|(known, _)| known.cmp(instance)).ok();
        found.and_then(|at| self.instances.get(at)).map_or(&[], |(_, counts)| counts)
    }
}

fn read_instance(source: &mut Source<'_>, bytes: usize) -> Result<Vec<MinuteCount>, What> {
    let entries = source.length()?;
    // An entry has three bytes at least.
    if entries > bytes / 3 {
        return Err("more minutes than there is room for");
    }
    let mut counts: Vec<MinuteCount> = Vec::with_capacity(entries.min(ENTRIES_AT_ONCE));
    for _ in 0..entries {
        let step = source.varint()?;
        let kind = Kind(u16::try_from(source.varint()?).map_err(|_| "a kind that can't be")?);
        let events = source.varint()?;
        let minute = match counts.last() {
            None => varint::unzigzag(step),
            Some(last) => last.minute.checked_add_unsigned(step).ok_or("a minute that can't be")?,
        };
        if counts.last().is_some_and(|last| (last.minute, last.kind) >= (minute, kind)) || events == 0 {
            return Err("minutes are out of order");
        }
        counts.push(MinuteCount { minute, kind, events });
    }
    Ok(counts)
}
