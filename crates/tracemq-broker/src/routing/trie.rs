//! A tree with one node a topic level, for filters that are matched by a topic.
//!
//! The number of levels is bounded where topics and filters are judged; no walk recurses but removal, to that depth.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

/// What a node can hold. An empty one is as good as none, and its node is removed.
pub(super) trait Slot: Default {
    fn is_vacant(&self) -> bool;
}

/// Levels to values. Children are boxed and hashed: an inner node of a fleet has 100,000 of them, a leaf none, and an
/// idle subscriber pays for its few nodes only.
#[derive(Debug, Default)]
struct Node<T> {
    children: HashMap<Box<str>, Box<Node<T>>>,
    value: T,
}

#[derive(Debug, Default)]
pub(super) struct Trie<T> {
    root: Node<T>,
}

impl<T: Slot> Trie<T> {
    /// The value at `path`, made if it is not there.
    pub(super) fn entry(&mut self, path: &str) -> &mut T {
        let mut node = &mut self.root;
        for level in path.split('/') {
            if !node.children.contains_key(level) {
                node.children.insert(level.into(), Box::default());
            }
            node = node.children.entry(level.into()).or_default();
        }
        &mut node.value
    }

    /// Lets `change` alter the value at `path`, if there is one; removes what is then vacant.
    pub(super) fn alter(&mut self, path: &str, change: impl FnOnce(&mut T)) {
        let levels: Vec<&str> = path.split('/').collect();
        alter(&mut self.root, &levels, change);
    }

    /// The value at `path`.
    pub(super) fn get(&self, path: &str) -> Option<&T> {
        let mut node = &self.root;
        for level in path.split('/') {
            node = node.children.get(level)?;
        }
        Some(&node.value)
    }

    /// Visits the value of each filter that matches `topic`. A wildcard on the first level matches no `$` topic.
    pub(super) fn visit_filters<'a>(&'a self, topic: &str, mut visit: impl FnMut(&'a T)) {
        let mut open: SmallVec<[(&Node<T>, Option<&str>); 8]> = smallvec![(&self.root, Some(topic))];
        let mut wildcards = !topic.starts_with('$');
        while let Some((node, rest)) = open.pop() {
            if wildcards && let Some(below) = node.children.get("#") {
                visit(&below.value);
            }
            let Some(rest) = rest else {
                visit(&node.value);
                continue;
            };
            let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
            if wildcards && let Some(any) = node.children.get("+") {
                open.push((any, rest));
            }
            if let Some(same) = node.children.get(level) {
                open.push((same, rest));
            }
            wildcards = true; // the root is first
        }
    }
}

fn alter<T: Slot>(node: &mut Node<T>, levels: &[&str], change: impl FnOnce(&mut T)) {
    let Some((level, rest)) = levels.split_first() else {
        change(&mut node.value);
        return;
    };
    let Some(child) = node.children.get_mut(*level) else { return };
    alter(child, rest, change);
    if child.value.is_vacant() && child.children.is_empty() {
        node.children.remove(*level);
        if node.children.is_empty() {
            node.children = HashMap::new(); // gives the table's memory back
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::naive_match;

    impl Slot for Vec<String> {
        fn is_vacant(&self) -> bool {
            self.is_empty()
        }
    }

    fn level() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["a", "b", "", "$SYS", "c"])
    }

    fn topic() -> impl Strategy<Value = String> {
        proptest::collection::vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("empty", |t| !t.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 2 => Just("+")];
        (proptest::collection::vec(level, 0..5), any::<bool>())
            .prop_map(|(mut levels, hash)| {
                if hash {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter("empty", |f| !f.is_empty())
    }

    proptest! {
        // MQTT 3.1.1: 3.3.2-3
        // MQTT 5.0: 3.3.2-3
        #[test]
        fn the_walk_agrees_with_the_definition(
            filters in proptest::collection::vec(filter(), 0..20),
            topics in proptest::collection::vec(topic(), 0..20),
        ) {
            let mut by_filter: Trie<Vec<String>> = Trie::default();
            for filter in &filters {
                by_filter.entry(filter).push(filter.clone());
            }
            for topic in &topics {
                let mut found = Vec::new();
                by_filter.visit_filters(topic, |values| found.extend(values.iter().cloned()));
                let mut model: Vec<_> = filters.iter().filter(|f| naive_match(f, topic)).cloned().collect();
                found.sort();
                model.sort();
                prop_assert_eq!(found, model, "{}", topic);
            }
            for filter in &filters {
                by_filter.alter(filter, |values| values.clear());
            }
            prop_assert!(by_filter.root.children.is_empty(), "nothing stays behind");
        }
    }
}
