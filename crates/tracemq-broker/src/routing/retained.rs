//! Retained messages: the last one of each topic, bounded in number and bytes, gone when expired.

use std::collections::BTreeSet;

use bytestring::ByteString;

use super::trie::{Slot, Trie};
use crate::limits::Tick;
use crate::packet::Routed;

impl Slot for Option<Routed> {
    fn is_vacant(&self) -> bool {
        self.is_none()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Retained {
    tree: Trie<Option<Routed>>,
    count: usize,
    bytes: usize,
    /// When to look at which topic.
    expiring: BTreeSet<(Tick, ByteString)>,
}

impl Retained {
    pub(crate) fn count(&self) -> usize {
        self.count
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
        if self.count >= count_max || self.bytes + size > bytes_max {
            return false;
        }
        self.count += 1;
        self.bytes += size;
        if let Some(expires) = routed.expires {
            self.expiring.insert((expires, topic.clone()));
        }
        *self.tree.entry(&topic) = Some(routed);
        true
    }

    fn remove(&mut self, topic: &ByteString) {
        let mut removed = None;
        if self.tree.get(topic).is_some() {
            self.tree.alter(topic, |slot| removed = slot.take());
        }
        let Some(routed) = removed else { return };
        self.count -= 1;
        self.bytes -= routed.message.bytes();
        if let Some(expires) = routed.expires {
            self.expiring.remove(&(expires, topic.clone()));
        }
    }

    /// At most `most` messages that `filter` matches and that are not expired.
    pub(crate) fn matches(&self, filter: &str, now: Tick, most: usize) -> Vec<Routed> {
        let mut found = Vec::new();
        self.tree.visit_topics(filter, |slot| {
            found.extend(slot.iter().filter(|routed| !routed.is_expired(now)).cloned());
            found.len() < most
        });
        found
    }

    /// Removes what has expired, and gives the topics.
    pub(crate) fn expire(&mut self, now: Tick) -> Vec<ByteString> {
        let mut expired = Vec::new();
        while let Some((_, topic)) = self.expiring.first().filter(|(at, _)| *at <= now).cloned() {
            self.expiring.pop_first();
            self.remove(&topic);
            expired.push(topic);
        }
        expired
    }
}
