//! Who gets a message: the tree of subscriptions, and the retained messages for those who subscribe later.

mod group;
mod retained;
mod subscriptions;
mod trie;

pub(crate) use group::{Given, Group};
pub(crate) use retained::Retained;
pub(crate) use subscriptions::{Inserted, Match, Subscriber, Subscriptions};
