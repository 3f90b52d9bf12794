//! Retained messages: the last one of each topic, bounded in number and bytes, gone when expired.
//!
//! In the order of their topics, level by level, so that a filter's walk can stop anywhere and go on there later, whatever
//! came and went meanwhile. What a filter can't match is leapt over, not gone through.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytestring::ByteString;

use crate::limits::Tick;
use crate::packet::Routed;

/// A topic in the order of its levels: all that is below a topic follows it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByLevels(ByteString);

impl Ord for ByLevels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for ByLevels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Retained {
    topics: BTreeMap<ByLevels, Routed>,
    bytes: usize,
    /// When to look at which topic.
    expiring: BTreeSet<(Tick, ByteString)>,
}

/// A part of what a filter matches.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) found: Vec<Routed>,
    /// The last topic that was looked at; none when there are no more.
    pub(crate) last: Option<ByteString>,
}

impl Retained {
    pub(crate) fn count(&self) -> usize {
        self.topics.len()
    }

    /// Of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `routed`, or removes what was kept if its payload is empty. False when there is no room.
    pub(crate) fn set(&mut self, routed: Routed, count_max: usize, bytes_max: usize) -> bool {
        let topic = routed.message.topic.clone();
        let size = routed.message.bytes();
        self.remove(&topic);
        if routed.message.payload.is_empty() {
            return true;
        }
        if self.topics.len() >= count_max || self.bytes + size > bytes_max {
            return false;
        }
        self.bytes += size;
        if let Some(expires) = routed.expires {
            self.expiring.insert((expires, topic.clone()));
        }
        self.topics.insert(ByLevels(topic), routed);
        true
    }

    fn remove(&mut self, topic: &ByteString) {
        let Some(routed) = self.topics.remove(&ByLevels(topic.clone())) else { return };
        self.bytes -= routed.message.bytes();
        if let Some(expires) = routed.expires {
            self.expiring.remove(&(expires, topic.clone()));
        }
    }

    /// Messages that `filter` matches and that `wanted` takes, behind the topic `after`: at most `most` of them. Each topic
    /// that is looked at costs one of `looks`.
    pub(crate) fn walk(
        &self,
        filter: &str,
        after: Option<&ByteString>,
        most: usize,
        looks: &mut usize,
        wanted: impl Fn(&Routed) -> bool,
    ) -> Walk {
        let mut walk = Walk::default();
        let levels: Vec<&str> = filter.split('/').collect();
        let begin = match after {
            Some(topic) => Bound::Excluded(ByLevels(topic.clone())),
            None => Bound::Included(ByLevels(literal(&levels).into())),
        };
        let mut topics = self.topics.range((begin, Bound::Unbounded));
        while *looks > 0 {
            *looks -= 1;
            let Some((topic, routed)) = topics.next() else {
                walk.last = None;
                return walk;
            };
            walk.last = Some(topic.0.clone());
            match fit(&levels, &topic.0) {
                Fit::Matches if wanted(routed) => {
                    walk.found.push(routed.clone());
                    if walk.found.len() >= most {
                        return walk;
                    }
                }
                Fit::Matches | Fit::Above => {}
                Fit::Behind(from) => topics = self.topics.range(ByLevels(from.into())..),
                Fit::Over => {
                    walk.last = None;
                    return walk;
                }
            }
        }
        walk
    }

    /// Removes what has expired, at most `most` topics, and gives them.
    pub(crate) fn expire(&mut self, now: Tick, most: usize) -> Vec<ByteString> {
        let mut expired = Vec::new();
        while expired.len() < most
            && let Some((_, topic)) = self.expiring.first().filter(|(at, _)| *at <= now).cloned()
        {
            self.expiring.pop_first();
            self.remove(&topic);
            expired.push(topic);
        }
        expired
    }
}

/// The levels of a filter before its first wildcard.
fn literal(levels: &[&str]) -> String {
    let literal: Vec<&str> = levels.iter().copied().take_while(|level| !matches!(*level, "+" | "#")).collect();
    literal.join("/")
}

/// What a topic means for the walk of a filter.
enum Fit {
    Matches,
    /// What is below it may match.
    Above,
    /// The next one that may match is not before this.
    Behind(String),
    /// None behind it matches.
    Over,
}

/// The first possible topic that is neither `levels` nor below them, behind them. No topic has U+0000.
fn past(levels: &[&str]) -> Fit {
    if levels.is_empty() { Fit::Over } else { Fit::Behind(levels.join("/") + "\0") }
}

fn fit(filter: &[&str], topic: &str) -> Fit {
    let levels: Vec<&str> = topic.split('/').collect();
    for (depth, level) in filter.iter().copied().enumerate() {
        let (above, here) = (levels.get(..depth).unwrap_or_default(), levels.get(depth).copied());
        // A wildcard on the first level matches no `$` topic.
        let hidden = depth == 0 && topic.starts_with('$');
        match (level, here) {
            ("+" | "#", Some(here)) if hidden => return past(&[here]),
            ("#", _) => return Fit::Matches,
            (_, None) => return Fit::Above,
            ("+", Some(_)) => {}
            (level, Some(here)) => match here.cmp(level) {
                Ordering::Equal => {}
                Ordering::Less => return Fit::Behind([above, &[level]].concat().join("/")),
                Ordering::Greater => return past(above),
            },
        }
    }
    match levels.get(..filter.len()) {
        Some(levels) if topic.split('/').count() > levels.len() => past(levels),
        Some(_) | None => Fit::Matches,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{Message, Qos};
    use crate::rules::naive_match;
    use crate::session::Published;

    fn message(topic: &str) -> Routed {
        let message = Message {
            topic: topic.to_owned().into(),
            payload: Bytes::from_static(b"x"),
            qos: Qos::AtMostOnce,
            retain: true,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: OnceLock::new(),
        };
        Routed::at(Tick(0), 0, Published::new(message, &Arc::default()))
    }

    fn retained<'a>(topics: impl IntoIterator<Item = &'a String>) -> Retained {
        let mut retained = Retained::default();
        for topic in topics {
            assert!(retained.set(message(topic), usize::MAX, usize::MAX));
        }
        retained
    }

    fn level() -> impl Strategy<Value = &'static str> {
        // `-` and `.` are before `/` among the bytes.
        proptest::sample::select(vec!["a", "b", "", "$SYS", "$a", "a-", "a.b", "c"])
    }

    fn topic() -> impl Strategy<Value = String> {
        let topic = proptest::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
        topic.prop_filter("empty", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 2 => Just("+")];
        let filter = (proptest::collection::vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, hash)| {
            levels.extend(hash.then_some("#"));
            levels.join("/")
        });
        filter.prop_filter("empty", |filter| !filter.is_empty())
    }

    /// All that matches, in steps, while `meddle` may change what is behind and before.
    fn in_steps(
        retained: &mut Retained,
        filter: &str,
        (most, looks): (usize, usize),
        mut meddle: impl FnMut(&mut Retained),
    ) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..10_000 {
            let walk = retained.walk(filter, after.as_ref(), most, &mut looks.clone(), |_| true);
            assert!(walk.found.len() <= most);
            found.extend(walk.found.iter().map(|routed| routed.message.topic.to_string()));
            after = walk.last;
            if after.is_none() {
                return found;
            }
            meddle(retained);
        }
        panic!("it never ends");
    }

    proptest! {
        // MQTT 3.1.1: 3.3.2-3
        // MQTT 5.0: 3.3.2-3
        #[test]
        fn a_walk_in_steps_finds_what_the_definition_says_once_each(
            topics in proptest::collection::btree_set(topic(), 0..40),
            filter in filter(),
            most in 1_usize..4,
            looks in 1_usize..4,
        ) {
            let mut found = in_steps(&mut retained(&topics), &filter, (most, looks), |_| {});
            found.sort();
            let expected: Vec<String> = topics.into_iter().filter(|topic| naive_match(&filter, topic)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_walk_finds_what_stays_whatever_comes_and_goes_meanwhile(
            stays in proptest::collection::btree_set(topic(), 0..20),
            moves in proptest::collection::vec((topic(), any::<bool>()), 0..40),
            filter in filter(),
        ) {
            let mut moves = moves.into_iter().filter(|(topic, _)| !stays.contains(topic));
            let mut found = in_steps(&mut retained(&stays), &filter, (1, 2), |retained| match moves.next() {
                Some((topic, true)) => assert!(retained.set(message(&topic), usize::MAX, usize::MAX)),
                Some((topic, false)) => retained.remove(&topic.into()),
                None => {}
            });
            found.retain(|topic| stays.contains(topic));
            found.sort();
            let expected: Vec<String> = stays.into_iter().filter(|topic| naive_match(&filter, topic)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_a_filter_can_not_match_is_leapt_over() {
        let topics: Vec<String> = (0..100).flat_map(|a| (0..100).map(move |b| format!("d{a:02}/{b:02}"))).collect();
        let retained = retained(&topics);
        for (filter, found, looks) in [
            ("d50/50", 1, 3),
            ("+/50", 100, 301),
            ("d50/#", 100, 101),
            ("x/#", 0, 1),
            ("+", 0, 101),
            ("#", 10_000, 10_001),
        ] {
            let mut left = usize::MAX;
            let walk = retained.walk(filter, None, usize::MAX, &mut left, |_| true);
            assert_eq!((walk.found.len(), walk.last, usize::MAX - left), (found, None, looks), "{filter}");
        }
    }
}
