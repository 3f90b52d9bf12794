//! Who gets a message: the tree of subscriptions, and the retained messages for those who subscribe later.

mod retained;
mod subscriptions;
mod trie;

pub(crate) use retained::Retained;
pub(crate) use subscriptions::{Subscriber, Subscriptions};
