//! What each subject has of the events asked for. The sources are gone through side by side in the order of keys, so that
//! nothing has to be kept but the subject at hand.

use hashbrown::HashMap;
use tracemq_model::{Filter, Gap, Tally, TimeMs, TimeRange};
use tracemq_store::{StoreError, VisitTally};

use super::damage::Unreadable;
use super::matches::{Keys, Match, Matches, matches_kind};
use super::{gaps, scan};
use crate::key::{self, Key};
use crate::memtable::Memtable;
use crate::row::Kind;
use crate::segment::Segment;
use crate::view::Snapshot;

/// What one subject has in one source, or in some.
#[derive(Clone, Copy)]
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
    Segment { segment: &'a Segment, matches: Matches<'a>, keys: Keys<'a>, ahead: Option<Match> },
    Memory(std::vec::IntoIter<(Vec<u8>, Part)>),
}

pub(crate) fn tally(snapshot: &Snapshot, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
    let mut unreadable = Unreadable::default();
    let range = snapshot.kept(&filter.instance, filter.range);
    let mut sources = Vec::new();
    for segment in snapshot.segments() {
        let matches = Matches::new(snapshot, segment, filter, range, &mut unreadable)?;
        sources.push(Source::Segment { segment, matches, keys: Keys::new(segment), ahead: None });
    }
    for (memtable, visible) in snapshot.memtables() {
        sources.push(Source::Memory(in_memory(memtable, visible, filter, range).into_iter()));
    }
    let mut heads = Vec::with_capacity(sources.len());
    for source in &mut sources {
        heads.push(source.next(&mut unreadable)?);
    }
    while let Some(least) = heads.iter().flatten().map(|(key, _)| key).min().cloned() {
        let mut sum: Option<Part> = None;
        for (source, head) in sources.iter_mut().zip(&mut heads) {
            let Some((_, part)) = head.take_if(|(key, _)| *key == least) else { continue };
            match &mut sum {
                Some(sum) => sum.add(part),
                None => sum = Some(part),
            }
            *head = source.next(&mut unreadable)?;
        }
        if let (Some(subject), Some(sum)) = (Key::read(&least).and_then(|key| key.subject), sum)
            && let Some((last_action, last_reason, _)) = sum.last_kind.parts()
        {
            let Part { events, first, last, .. } = sum;
            if visit(&Tally { subject, events, first, last, last_action, last_reason }).is_break() {
                break;
            }
        }
    }
    Ok(gaps(snapshot, filter.range, unreadable))
}

impl Source<'_> {
    fn next(&mut self, unreadable: &mut Unreadable) -> Result<Option<(Vec<u8>, Part)>, StoreError> {
        let (segment, matches, keys, ahead) = match self {
            Self::Memory(parts) => return Ok(parts.next()),
            Self::Segment { segment, matches, keys, ahead } => (segment, matches, keys, ahead),
        };
        let times = segment.meta().times;
        loop {
            let first = match ahead.take() {
                Some(first) => first,
                None => match matches.next(unreadable)? {
                    Some(first) => first,
                    None => return Ok(None),
                },
            };
            let found = keys.of(first.row).map(|(key, rows)| (key.to_vec(), rows.clone()));
            let Some((key, rows)) = unreadable.note(found, times, Some(1))? else { continue };
            let mut part = Part::new(first.time, first.kind);
            while let Some(next) = matches.next(unreadable)? {
                if !rows.contains(&next.row) {
                    *ahead = Some(next);
                    break;
                }
                part.add(Part::new(next.time, next.kind));
            }
            return Ok(Some((key, part)));
        }
    }
}

fn in_memory(memtable: &Memtable, visible: usize, filter: &Filter, range: TimeRange) -> Vec<(Vec<u8>, Part)> {
    let mut parts: HashMap<u32, Part> = HashMap::default();
    let mut add = |subject, time, kind| {
        let new = Part::new(time, kind);
        parts.entry(subject).and_modify(|part| part.add(new)).or_insert(new);
    };
    if filter.is_by_kind_alone() {
        memtable.each(
            visible,
            |row| range.contains(row.time) && matches_kind(filter, row.kind),
            |_, subject, row| add(subject, row.time, row.kind),
        );
    } else {
        for (row, event) in scan::matching(memtable, visible, filter, range) {
            let kind = Kind::new(event.action, event.reason, event.provenance);
            if let Some(subject) = memtable.subject_of(row) {
                add(subject, event.time, kind);
            }
        }
    }
    let mut prefix = Vec::new();
    key::push_instance(&filter.instance, &mut prefix);
    let keyed = parts.into_iter().map(|(subject, part)| (memtable.key(subject), part));
    let mut found: Vec<_> = keyed.filter(|(key, _)| key.starts_with(&prefix)).collect();
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    found
}
