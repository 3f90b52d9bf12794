//! Groups that were created by calls, beside those of the configuration.
//!
//! In the file, a line of a group stands in place of all its lines before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracemq_model::TimeMs;

use super::BookError;

/// What every group's name begins with, one or the other.
const PREFIXES: [&str; 2] = ["GID_", "GID-"];

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The instance that it is in.
    pub instance: String,
    /// Its name, the part of a client identifier before `@@@`.
    pub group: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
}

/// Why no group is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// It is none: `GID_` or `GID-` first, 7 to 64 letters, digits, `-` and `_` in all.
    #[error("no group can be called that")]
    Name,
    /// It is there already.
    #[error("there is such a group")]
    Exists,
    /// The instance has as many as it may have.
    #[error("all {0} groups of the instance are in use")]
    Full(usize),
}

/// A group that was deleted, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deleted {
    pub(super) instance: String,
    pub(super) group: String,
    /// Always true: it tells this line from a group's.
    deleted: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Is(Group),
    IsNot(Deleted),
}

/// All groups that were created.
#[derive(Debug)]
pub struct GroupBook {
    /// By instance and name; when each was created.
    created: BTreeMap<(String, String), i64>,
    of_instance_max: usize,
}

impl Default for GroupBook {
    /// Empty, with room for a thousand in each instance.
    fn default() -> Self {
        Self { created: BTreeMap::new(), of_instance_max: 1_000 }
    }
}

impl GroupBook {
    /// Those of an instance, by name.
    pub fn of<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = Group> + 'a {
        let from = (instance.to_owned(), String::new());
        let all = self.created.range(from..).take_while(move |((of, _), _)| of == instance);
        all.map(|((instance, group), created_ms)| group_of(instance, group, *created_ms))
    }

    /// Whether the instance has it.
    pub fn has(&self, instance: &str, group: &str) -> bool {
        self.created.contains_key(&(instance.to_owned(), group.to_owned()))
    }

    pub(super) fn draw(&self, instance: &str, group: &str, now: TimeMs) -> Result<Group, GroupError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let begins = PREFIXES.iter().any(|prefix| group.starts_with(prefix));
        if !begins || !(7..=64).contains(&group.len()) || !group.bytes().all(is_plain) {
            return Err(GroupError::Name);
        }
        if self.has(instance, group) {
            return Err(GroupError::Exists);
        }
        if self.of(instance).count() >= self.of_instance_max {
            return Err(GroupError::Full(self.of_instance_max));
        }
        Ok(group_of(instance, group, now.0))
    }

    /// What takes it away. None when it was not created.
    pub(super) fn deleted(&self, instance: &str, group: &str) -> Option<Deleted> {
        let (instance, group) = (instance.to_owned(), group.to_owned());
        self.has(&instance, &group).then_some(Deleted { instance, group, deleted: true })
    }

    pub(super) fn put(&mut self, group: Group) {
        self.created.insert((group.instance, group.group), group.created_ms);
    }

    pub(super) fn take_out(&mut self, gone: Deleted) {
        self.created.remove(&(gone.instance, gone.group));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.created.len()
    }

    pub(super) fn lines(&self, from: usize, count: usize) -> String {
        let some = self.created.iter().skip(from).take(count);
        let lines = some.filter_map(|((instance, group), created_ms)| {
            serde_json::to_string(&group_of(instance, group, *created_ms)).ok()
        });
        lines.map(|line| line + "\n").collect()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// The line that is none.
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let mut book = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            match serde_json::from_str(line).map_err(|_| BookError(number))? {
                Line::Is(group) => book.put(group),
                Line::IsNot(gone) => book.take_out(gone),
            }
        }
        Ok(book)
    }
}

fn group_of(instance: &str, group: &str, created_ms: i64) -> Group {
    Group { instance: instance.to_owned(), group: group.to_owned(), created_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_created_once_and_deleted_and_each_instance_has_its_own() {
        let mut book = GroupBook { of_instance_max: 2, ..GroupBook::default() };
        let create = |book: &mut GroupBook, instance: &str, group: &str| {
            let drawn = book.draw(instance, group, TimeMs(5))?;
            book.put(drawn);
            Ok::<_, GroupError>(())
        };
        assert_eq!(create(&mut book, "i", "GID_one"), Ok(()));
        assert_eq!(create(&mut book, "i", "GID_one"), Err(GroupError::Exists));
        assert_eq!(create(&mut book, "i", "GID-two"), Ok(()));
        assert_eq!(create(&mut book, "i", "GID_three"), Err(GroupError::Full(2)));
        assert_eq!(create(&mut book, "j", "GID_three"), Ok(()));
        let names = |book: &GroupBook| book.of("i").map(|group| group.group).collect::<Vec<_>>();
        assert_eq!(names(&book), ["GID-two", "GID_one"]);
        assert_eq!(names(&GroupBook::parse(&book.lines(0, 9)).unwrap()), names(&book));
        assert!(book.deleted("j", "GID_one").is_none());
        let gone = book.deleted("i", "GID_one").unwrap();
        let text = book.lines(0, 9) + &serde_json::to_string(&gone).unwrap() + "\n";
        book.take_out(gone);
        assert_eq!((names(&book), book.len()), (vec!["GID-two".to_owned()], 2));
        assert_eq!(names(&GroupBook::parse(&text).unwrap()), names(&book));
        assert_eq!(GroupBook::parse(&(text + "{}\n")).unwrap_err(), BookError(5));
    }

    #[test]
    fn names_are_those_that_are_documented() {
        let book = GroupBook::default();
        let long = format!("GID_{}", "x".repeat(60));
        for good in ["GID_abc", "GID-abc", "GID_a-B_9", &long] {
            assert!(book.draw("i", good, TimeMs(5)).is_ok(), "{good}");
        }
        for bad in ["", "GID_ab", "gid_abc", "GIDabcdef", "GID_a@@@b", "GID_a b c", "GID_äöü", &(long + "x")] {
            assert_eq!(book.draw("i", bad, TimeMs(5)), Err(GroupError::Name), "{bad}");
        }
    }
}
