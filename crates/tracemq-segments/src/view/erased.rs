//! What has been erased: which keys, up to which arrival, and in which rows of a segment that leaves a hole.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashSet};
use tracemq_model::InstanceId;
use tracemq_store::StoreError;
use tracing::warn;

use crate::manifest::Erasure;
use crate::memtable::Minutes;
use crate::segment::{Lookup, Segment};

type KeyBytes = Arc<[u8]>;

/// So many keys that nothing asks for any more are remembered beside those that are erased.
const STALE_MAX: usize = 1_024;

/// Keys that have been erased, each up to an arrival sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Erasures {
    by_key: HashMap<KeyBytes, u64>,
}

impl Erasures {
    pub(crate) fn of<'e>(erasures: impl IntoIterator<Item = &'e Erasure>) -> Self {
        let mut all = Self::default();
        for Erasure { key, seq } in erasures {
            all.add(key, *seq);
        }
        all
    }

    /// Up to `seq`, or to what is known of the key already.
    pub(crate) fn add(&mut self, key: &[u8], seq: u64) {
        match self.by_key.get_mut(key) {
            Some(known) => *known = seq.max(*known),
            None => drop(self.by_key.insert(key.into(), seq)),
        }
    }

    /// Takes away what says just that.
    pub(crate) fn remove(&mut self, key: &[u8], seq: u64) {
        if self.up_to(key) == Some(seq) {
            self.by_key.remove(key);
        }
    }

    /// Up to which sequence the rows of `key` are hidden; none when they are not.
    pub(crate) fn up_to(&self, key: &[u8]) -> Option<u64> {
        if self.by_key.is_empty() { None } else { self.by_key.get(key).copied() }
    }

    /// Whether the rows of `key` are hidden in a segment.
    pub(crate) fn cover(&self, segment: &Segment, key: &[u8]) -> bool {
        self.up_to(key).is_some_and(|seq| *segment.meta().sequence.end() <= seq)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&KeyBytes, u64)> {
        self.by_key.iter().map(|(key, seq)| (key, *seq))
    }

    /// As the manifest lists them: by key, so that two of one content are the same.
    pub(crate) fn to_list(&self) -> Vec<Erasure> {
        let mut list: Vec<Erasure> = self.iter().map(|(key, seq)| Erasure { key: key.to_vec(), seq }).collect();
        list.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        list
    }
}

/// The rows of a segment that are hidden.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// In ascending order.
    rows: Vec<HiddenRows>,
    /// Keys of which it can't be known whether the segment has them.
    unknown: Vec<KeyBytes>,
    /// How many rows.
    events: u64,
    /// What they are by minute and kind, of each instance that was asked for.
    pub(crate) minutes: Mutex<HashMap<InstanceId, Arc<Minutes>>>,
}

#[derive(Clone, Debug)]
struct HiddenRows {
    key: KeyBytes,
    start: u64,
    end: u64,
}

impl Hidden {
    fn of(rows: Vec<HiddenRows>, unknown: Vec<KeyBytes>) -> Self {
        let events = rows.iter().map(|rows| rows.end - rows.start).sum();
        Self { rows, unknown, events, minutes: Mutex::default() }
    }

    /// How many rows are hidden.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Whether a part can't be read that may say of more rows that they are hidden.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// The keys whose rows are, or may be, in the segment.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyBytes> {
        self.rows.iter().map(|rows| &rows.key).chain(&self.unknown)
    }

    /// Those that share a row with `rows`, in ascending order.
    pub(crate) fn within(&self, rows: &std::ops::Range<u64>) -> impl Iterator<Item = std::ops::Range<u64>> {
        let first = self.rows.partition_point(|hidden| hidden.end <= rows.start);
        let last = rows.end;
        let rest = self.rows.get(first..).unwrap_or_default();
        rest.iter().take_while(move |hidden| hidden.start < last).map(|hidden| hidden.start..hidden.end)
    }
}

/// What is known of hidden rows, by the number of the segment: each key is looked for once in a segment.
#[derive(Debug, Default)]
pub(crate) struct HiddenCache {
    segments: Mutex<HashMap<u64, Arc<Mutex<Known>>>>,
}

#[derive(Debug, Default)]
struct Known {
    looked_for: HashSet<KeyBytes>,
    rows: Vec<HiddenRows>,
    unknown: Vec<KeyBytes>,
    /// The last answer, and to what.
    last: Option<(Arc<Erasures>, Arc<Hidden>)>,
}

impl HiddenCache {
    /// What of `segment` is hidden. `live` are the segments that may be asked about again.
    ///
    /// # Errors
    /// When the operating system refuses to read.
    pub(crate) fn of(
        &self,
        segment: &Segment,
        erasures: &Arc<Erasures>,
        live: &[Arc<Segment>],
    ) -> Result<Arc<Hidden>, StoreError> {
        let number = segment.meta().id.number;
        let known = {
            let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            if segments.len() > live.len() * 2 {
                segments.retain(|number, _| live.iter().any(|segment| segment.meta().id.number == *number));
            }
            Arc::clone(segments.entry(number).or_default())
        };
        // Whoever asks meanwhile wants to know the same.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match &known.last {
            Some((of, last)) if Arc::ptr_eq(of, erasures) => Ok(Arc::clone(last)),
            _ => known.answer(segment, erasures),
        }
    }
}

impl Known {
    fn answer(&mut self, segment: &Segment, erasures: &Arc<Erasures>) -> Result<Arc<Hidden>, StoreError> {
        if self.looked_for.len() > erasures.len() * 2 + STALE_MAX {
            self.looked_for.retain(|key| erasures.up_to(key).is_some());
            self.rows.retain(|rows| erasures.up_to(&rows.key).is_some());
            self.unknown.retain(|key| erasures.up_to(key).is_some());
        }
        let end = *segment.meta().sequence.end();
        let is_new = |(key, seq): &(&KeyBytes, u64)| end <= *seq && !self.looked_for.contains(*key);
        let mut new: Vec<KeyBytes> = erasures.iter().filter(is_new).map(|(key, _)| Arc::clone(key)).collect();
        // Neighbours are in one block of the directory.
        new.sort_unstable();
        let mut lookup = Lookup::default();
        for key in new {
            match segment.find_with(&key, &mut lookup) {
                Ok(Some(rows)) => {
                    self.rows.push(HiddenRows { key: Arc::clone(&key), start: rows.start, end: rows.end });
                }
                Ok(None) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    warn!(%error, "can't tell whether erased events are in it");
                    self.unknown.push(Arc::clone(&key));
                }
                Err(error) => return Err(error),
            }
            self.looked_for.insert(key);
        }
        self.rows.sort_unstable_by_key(|rows| rows.start);
        let is_hidden = |key: &KeyBytes| erasures.cover(segment, key);
        let rows = self.rows.iter().filter(|rows| is_hidden(&rows.key)).cloned().collect();
        let unknown = self.unknown.iter().filter(|key| is_hidden(key)).cloned().collect();
        let hidden = Arc::new(Hidden::of(rows, unknown));
        self.last = Some((Arc::clone(erasures), Arc::clone(&hidden)));
        Ok(hidden)
    }
}
