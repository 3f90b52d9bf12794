//! Subjects by a part of their name.

use tracemq_model::{GapCause, InstanceId, Matcher, Pattern, Subject, SubjectPage, TimeMs, TimeRange, TraceQuery};
use tracemq_store::StoreError;

use super::damage::Unreadable;
use super::first_keys::first_keys;
use super::gaps;
use super::reading::times_of;
use crate::key::{self, Key};
use crate::memtable::Memtable;
use crate::segment::{Block, Segment, Sought, Unread};
use crate::view::Snapshot;

/// Names of a memtable that are looked at together, at most.
const AT_ONCE_MAX: usize = 1 << 16;

/// What is looked for.
struct Search<'a> {
    snapshot: &'a Snapshot,
    matcher: Matcher,
    cutoff: TimeMs,
    /// What the keys of the instance begin with.
    instance: Vec<u8>,
    /// What the keys of clients that can match begin with.
    clients: Vec<u8>,
    /// What their names hold.
    part: String,
    /// What the keys of addresses begin with.
    addresses: Vec<u8>,
    /// What the keys of messages begin with.
    messages: Vec<u8>,
    /// Only what is behind this.
    after: Vec<u8>,
    limit: usize,
}

pub(crate) fn subjects(
    snapshot: &Snapshot,
    instance: &InstanceId,
    pattern: &Pattern,
    after: Option<&Subject>,
    limit: usize,
) -> Result<SubjectPage, StoreError> {
    if limit > TraceQuery::LIMIT_MAX {
        return Err(StoreError::InvalidQuery("limit is above 1,000"));
    }
    let mut search = Search {
        snapshot,
        matcher: pattern.matcher(),
        cutoff: snapshot.cutoff(instance),
        instance: Vec::new(),
        clients: Vec::new(),
        part: part(pattern).to_owned(),
        addresses: Vec::new(),
        messages: Vec::new(),
        after: Vec::new(),
        limit,
    };
    key::push_instance(instance, &mut search.instance);
    key::push_client_prefix(instance, pattern.literal_prefix(), &mut search.clients);
    key::push_address_prefix(instance, &mut search.addresses);
    key::push_message_prefix(instance, &mut search.messages);
    if let Some(after) = after {
        key::push_key(instance, after, &mut search.after);
    }
    let mut unreadable = Unreadable::default();
    let mut found = Vec::new();
    for (memtable, visible) in snapshot.memtables() {
        found.extend(search.in_memory(memtable, visible));
    }
    for segment in snapshot.segments() {
        let mut keys = Vec::new();
        let mut unread = Unread::new();
        let searched = search.in_segment(segment, &mut keys, &mut unread);
        unreadable.note(searched, segment.meta().times, None)?;
        for (number, error) in unread {
            unreadable.note(Err::<(), _>(error), times_of(segment, number), None)?;
        }
        found.append(&mut keys);
    }
    found.sort_unstable();
    found.dedup();
    let more = found.len() > limit;
    found.truncate(limit);
    let subjects = found.iter().filter_map(|key| Key::read(key)?.subject).collect();
    let mut gaps = gaps(snapshot, TimeRange::ALL, unreadable);
    // Names that were never recorded are nobody's.
    gaps.retain(|gap| gap.cause == GapCause::Damaged);
    Ok(SubjectPage { subjects, more, gaps })
}

impl Search<'_> {
    fn matches(&self, key: &[u8]) -> bool {
        key > self.after.as_slice() && key::with_name(key, |name| self.matcher.matches(name)).unwrap_or(false)
    }

    /// The first ones of a memtable, one more than asked for if there are.
    fn in_memory(&self, memtable: &Memtable, visible: usize) -> Vec<Vec<u8>> {
        let (mut found, mut after, mut at_once) = (Vec::new(), Vec::new(), self.limit + 1);
        while found.len() <= self.limit {
            let is_wanted =
                |key: &[u8], _| key > after.as_slice() && key.starts_with(&self.instance) && self.matches(key);
            let (names, more) = first_keys(memtable, visible, at_once, is_wanted);
            let last = names.last().map(|(key, _)| key.clone());
            let is_kept = |subject| self.cutoff == TimeMs::MIN || memtable.newest(subject) >= Some(self.cutoff);
            found.extend(names.into_iter().filter(|(_, subject)| is_kept(*subject)).map(|(key, _)| key));
            match last.filter(|_| more) {
                // Where much has expired, fewer looks through all names.
                Some(last) => (after, at_once) = (last, AT_ONCE_MAX.min(at_once * 4)),
                None => break,
            }
        }
        found.truncate(self.limit + 1);
        found
    }

    fn in_segment(&self, segment: &Segment, found: &mut Vec<Vec<u8>>, unread: &mut Unread) -> Result<(), StoreError> {
        let mut block = Block::default();
        // An address or a message is looked for by a text that is not in its key.
        let prefixes = [(&self.clients, self.part.as_str()), (&self.addresses, ""), (&self.messages, "")];
        for (prefix, part) in prefixes {
            let behind = self.instance.len() + 1;
            let mut keys = segment.search(Sought { from: &self.after, prefix, part: part.as_bytes(), behind })?;
            while let Some((key, rows)) = keys.next()? {
                if found.len() > self.limit {
                    break;
                }
                if !self.matches(key) || self.snapshot.is_erased(segment, key) {
                    continue;
                }
                let is_kept = segment.meta().times.from >= self.cutoff
                    || segment.lower_bound(&rows, self.cutoff, &mut block, unread)? < rows.end;
                if is_kept {
                    found.push(key.to_vec());
                }
            }
        }
        Ok(())
    }
}

/// What every name that matches holds somewhere.
fn part(pattern: &Pattern) -> &str {
    match pattern {
        Pattern::Substring(part) => part,
        Pattern::Glob(glob) => glob.split(['*', '?']).max_by_key(|part| part.len()).unwrap_or_default(),
        Pattern::All | Pattern::Prefix(_) | Pattern::Fuzzy(_) => "",
    }
}
