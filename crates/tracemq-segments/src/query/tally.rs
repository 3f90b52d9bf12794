//! What each subject has of the events asked for. The sources are gone through side by side in the order of keys, so that
//! nothing has to be kept but the subject at hand, and of a memtable, which is in no order, [`SUBJECTS_AT_ONCE`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::ControlFlow;

use hashbrown::HashMap;
use tracemq_model::{Filter, Gap, Tally, TimeMs, TimeRange};
use tracemq_store::{StoreError, VisitTally};

use super::damage::Unreadable;
use super::first_keys::first_keys;
use super::gaps;
use super::matches::{Keys, Matches, matches_kind};
use crate::key::{self, Key};
use crate::memtable::Memtable;
use crate::row::Kind;
use crate::segment::Segment;
use crate::view::Snapshot;

/// Subjects of a memtable that are looked at together: some six megabytes. A memtable with more is gone through more than once.
/// (Few in unit tests, so that they see it.)
const SUBJECTS_AT_ONCE: usize = if cfg!(test) { 3 } else { 1 << 16 };

/// What one subject has in one source, or in some.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    events: u64,
    first: TimeMs,
    last: TimeMs,
    last_kind: Kind,
}

impl Part {
    fn new(time: TimeMs, kind: Kind) -> Self {
        Self { events: 1, first: time, last: time, last_kind: kind }
    }

    /// Adds what arrived later.
    fn add(&mut self, later: Self) {
        self.events += later.events;
        self.first = self.first.min(later.first);
        if later.last >= self.last {
            self.last = later.last;
            self.last_kind = later.last_kind;
        }
    }
}

/// Subjects in the order of keys.
enum Source<'a> {
    Segment(Box<Runs<'a>>),
    Memory(MemoryRuns<'a>),
}

/// What is next in a source. The least key comes first, and of one key what the oldest source has.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Vec<u8>,
    /// Which source.
    age: usize,
    part: Part,
}

pub(crate) fn tally(snapshot: &Snapshot, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
    let mut unreadable = Unreadable::default();
    let range = snapshot.kept(&filter.instance, filter.range);
    let mut sources = Vec::new();
    for segment in snapshot.segments() {
        let matches = Matches::new(snapshot, segment, filter, range, &mut unreadable)?;
        sources.push(Source::Segment(Box::new(Runs { segment, matches, keys: Keys::new(segment) })));
    }
    for (memtable, visible) in snapshot.memtables().filter(|(memtable, _)| memtable.times().overlaps(range)) {
        sources.push(Source::Memory(MemoryRuns::new(memtable, visible, filter, range)));
    }
    merge(&mut sources, &mut unreadable, visit)?;
    Ok(gaps(snapshot, filter.range, unreadable))
}

/// Shows `visit` what the sources have together, subject after subject.
fn merge(
    sources: &mut [Source<'_>],
    unreadable: &mut Unreadable,
    visit: &mut VisitTally<'_>,
) -> Result<(), StoreError> {
    let mut heads = BinaryHeap::with_capacity(sources.len());
    for (age, source) in sources.iter_mut().enumerate() {
        let mut key = Vec::new();
        if let Some(part) = source.next(&mut key, unreadable)? {
            heads.push(Reverse(Head { key, age, part }));
        }
    }
    let (mut key, mut sum) = (Vec::new(), None::<Part>);
    while let Some(mut top) = heads.peek_mut() {
        let Reverse(head) = &mut *top;
        match &mut sum {
            Some(sum) if key == head.key => sum.add(head.part),
            _ => {
                if show(&key, sum, visit).is_break() {
                    return Ok(());
                }
                std::mem::swap(&mut key, &mut head.key);
                sum = Some(head.part);
            }
        }
        let next = match sources.get_mut(head.age) {
            Some(source) => source.next(&mut head.key, unreadable)?,
            None => None,
        };
        match next {
            Some(part) => head.part = part,
            None => drop(PeekMut::pop(top)),
        }
    }
    let _ = show(&key, sum, visit);
    Ok(())
}

fn show(key: &[u8], sum: Option<Part>, visit: &mut VisitTally<'_>) -> ControlFlow<()> {
    if let Some(Part { events, first, last, last_kind }) = sum
        && let Some(subject) = Key::read(key).and_then(|key| key.subject)
        && let Some((last_action, last_reason, _)) = last_kind.parts()
    {
        return visit(&Tally { subject, events, first, last, last_action, last_reason });
    }
    ControlFlow::Continue(())
}

impl Source<'_> {
    /// What the next subject has; `key` becomes its key.
    fn next(&mut self, key: &mut Vec<u8>, unreadable: &mut Unreadable) -> Result<Option<Part>, StoreError> {
        match self {
            Self::Segment(runs) => runs.next(key, unreadable),
            Self::Memory(parts) => Ok(parts.next().map(|(found, part)| {
                *key = found;
                part
            })),
        }
    }
}

/// The subjects of a segment.
struct Runs<'a> {
    segment: &'a Segment,
    matches: Matches<'a>,
    keys: Keys<'a>,
}

impl Runs<'_> {
    fn next(&mut self, key: &mut Vec<u8>, unreadable: &mut Unreadable) -> Result<Option<Part>, StoreError> {
        let Self { segment, matches, keys } = self;
        while let Some(first) = matches.next(unreadable)? {
            let found = unreadable.note(keys.of(first.row), segment.meta().times, Some(1))?;
            let Some((found, rows)) = found else { continue };
            key.clear();
            key.extend_from_slice(found);
            let mut part = Part::new(first.time, first.kind);
            loop {
                let found = matches.next_before(rows.end, unreadable)?;
                if found.is_empty() {
                    return Ok(Some(part));
                }
                for next in found {
                    part.add(Part::new(next.time, next.kind));
                }
            }
        }
        Ok(None)
    }
}

/// The subjects of a memtable, [`SUBJECTS_AT_ONCE`] at a time.
struct MemoryRuns<'a> {
    memtable: &'a Memtable,
    visible: usize,
    filter: &'a Filter,
    range: TimeRange,
    /// What the keys of the instance begin with.
    prefix: Vec<u8>,
    /// Made when it is first needed.
    found: Option<Found>,
    /// The last key that was looked at; none when there are no more behind it.
    after: Option<Vec<u8>>,
    ready: std::vec::IntoIter<(Vec<u8>, Part)>,
}

impl<'a> MemoryRuns<'a> {
    fn new(memtable: &'a Memtable, visible: usize, filter: &'a Filter, range: TimeRange) -> Self {
        let mut prefix = Vec::new();
        key::push_instance(&filter.instance, &mut prefix);
        let ready = Vec::new().into_iter();
        Self { memtable, visible, filter, range, prefix, found: None, after: Some(Vec::new()), ready }
    }

    fn next(&mut self) -> Option<(Vec<u8>, Part)> {
        loop {
            if let Some(next) = self.ready.next() {
                return Some(next);
            }
            let after = self.after.take()?;
            let (memtable, visible, filter, range) = (self.memtable, self.visible, self.filter, self.range);
            let found = self.found.get_or_insert_with(|| Found::new(memtable, visible, filter, range));
            let is_wanted =
                |key: &[u8], subject| found.has(subject) && key > after.as_slice() && key.starts_with(&self.prefix);
            let (keys, more) = first_keys(self.memtable, self.visible, SUBJECTS_AT_ONCE, is_wanted);
            self.after = keys.last().filter(|_| more).map(|(key, _)| key.clone());
            self.ready = self.parts(keys).into_iter();
        }
    }

    fn parts(&self, keys: Vec<(Vec<u8>, u32)>) -> Vec<(Vec<u8>, Part)> {
        let mut parts: HashMap<u32, Option<Part>> = keys.iter().map(|(_, subject)| (*subject, None)).collect();
        let mut rows = Vec::new();
        let is_by_kind = self.filter.is_by_kind_alone();
        let add = |part: &mut Option<Part>, new: Part| match part {
            Some(part) => part.add(new),
            None => *part = Some(new),
        };
        self.memtable.each(
            self.visible,
            |row| self.range.contains(row.time) && matches_kind(self.filter, row.kind),
            |at, subject, row| match parts.get_mut(&subject) {
                Some(part) if is_by_kind => add(part, Part::new(row.time, row.kind)),
                Some(_) => rows.push((at, subject)),
                None => {}
            },
        );
        for (row, subject) in rows {
            if let Some(event) = self.memtable.event(row).filter(|event| self.filter.matches(event))
                && let Some(part) = parts.get_mut(&subject)
            {
                add(part, Part::new(event.time, Kind::new(event.action, event.reason, event.provenance)));
            }
        }
        let of = |subject: u32| parts.get(&subject).copied().flatten();
        keys.into_iter().filter_map(|(key, subject)| Some((key, of(subject)?))).collect()
    }
}

/// Which subjects of a memtable have rows of the time and kind that are asked for: a bit for each, so that who dropped in a few
/// minutes is not looked for among all that have come since.
struct Found(Vec<u64>);

impl Found {
    fn new(memtable: &Memtable, visible: usize, filter: &Filter, range: TimeRange) -> Self {
        let mut found = Self(Vec::new());
        memtable.each(
            visible,
            |row| range.contains(row.time) && matches_kind(filter, row.kind),
            |_, subject, _| found.add(subject),
        );
        found
    }

    fn add(&mut self, subject: u32) {
        let word = subject as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (subject % 64);
        }
    }

    fn has(&self, subject: u32) -> bool {
        self.0.get(subject as usize / 64).is_some_and(|bits| bits >> (subject % 64) & 1 == 1)
    }
}
