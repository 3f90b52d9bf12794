//! The tree of subscriptions.

use std::num::NonZeroU32;
use std::sync::Arc;

use smallvec::SmallVec;

use super::group::{Group, Groups};
use super::trie::{Slot, Trie};
use crate::packet::Qos;
use crate::rules::{Filter, parts};
use crate::session::Session;

/// One session's subscription to one filter.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_id: Option<NonZeroU32>,
}

/// All plain subscriptions of one session that match a topic, as one: the standard lets a server send one copy, with
/// the highest QoS and all identifiers [MQTT-3.3.4-2, 3.3.4-3].
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: Vec<NonZeroU32>,
}

/// Who gets a message: each of the plain ones, and one member of each group.
#[derive(Debug)]
pub(crate) struct Matches<'a> {
    pub(crate) plain: SmallVec<[Match; 4]>,
    pub(crate) groups: Vec<&'a Group>,
}

/// What became of a SUBSCRIBE's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    Replaced,
    /// The shared subscription has all the members that it may have.
    Full,
}

/// A list by session. Sorted: newcomers have the highest number and go to the end.
#[derive(Debug, Default)]
pub(super) struct Members(pub(super) Vec<Subscriber>);

impl Members {
    fn find(&self, session: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&session, |subscriber| subscriber.session.number)
    }

    pub(super) fn insert(&mut self, subscriber: Subscriber, most: usize) -> Inserted {
        match self.find(subscriber.session.number) {
            Ok(at) => {
                if let Some(old) = self.0.get_mut(at) {
                    *old = subscriber;
                }
                Inserted::Replaced
            }
            Err(_) if self.0.len() >= most => Inserted::Full,
            Err(at) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1); // most filters of a fleet have one subscriber
                }
                self.0.insert(at, subscriber);
                Inserted::New
            }
        }
    }

    pub(super) fn remove(&mut self, session: u64) -> bool {
        let at = self.find(session);
        if let Ok(at) = at {
            self.0.remove(at);
        }
        at.is_ok()
    }
}

/// Subscribers of one filter.
#[derive(Debug, Default)]
struct Subscribers {
    plain: Members,
    /// Most filters have none.
    shared: Option<Box<Groups>>,
}

impl Slot for Subscribers {
    fn is_vacant(&self) -> bool {
        self.plain.0.is_empty() && self.shared.is_none()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    tree: Trie<Subscribers>,
    count: usize,
    shared: usize,
}

impl Subscriptions {
    /// All, shared ones included.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Memberships of shared subscriptions.
    pub(crate) fn shared_count(&self) -> usize {
        self.shared
    }

    /// Adds or replaces. `text` is the filter as the client wrote it.
    pub(crate) fn insert(&mut self, text: &str, subscriber: Subscriber, group_members_max: usize) -> Inserted {
        let inserted = match parts(text) {
            Filter::Plain(filter) => self.tree.entry(filter).plain.insert(subscriber, usize::MAX),
            Filter::Shared { filter, .. } => {
                let groups = self.tree.entry(filter).shared.get_or_insert_default();
                let inserted = groups.insert(text, subscriber, group_members_max);
                self.shared += usize::from(inserted == Inserted::New);
                if inserted == Inserted::Full {
                    self.tree.alter(filter, Subscribers::tidy); // a bound of 0 leaves an empty group
                }
                inserted
            }
        };
        self.count += usize::from(inserted == Inserted::New);
        inserted
    }

    /// Removes; tells whether it was there.
    pub(crate) fn remove(&mut self, text: &str, session: u64) -> bool {
        let filter = parts(text);
        let mut removed = false;
        self.tree.alter(filter.matched(), |subscribers| match filter {
            Filter::Plain(_) => removed = subscribers.plain.remove(session),
            Filter::Shared { .. } => {
                removed = subscribers.shared.as_mut().is_some_and(|groups| groups.remove(text, session));
                subscribers.tidy();
            }
        });
        self.count -= usize::from(removed);
        self.shared -= usize::from(removed && matches!(filter, Filter::Shared { .. }));
        removed
    }

    /// The group of the shared subscription `text`.
    pub(crate) fn group(&self, text: &str) -> Option<&Group> {
        self.tree.get(parts(text).matched())?.shared.as_ref()?.get(text)
    }

    /// Who gets a message to `topic` that the session `publisher` sent.
    pub(crate) fn matches(&self, topic: &str, publisher: u64) -> Matches<'_> {
        let mut found: SmallVec<[&Subscriber; 8]> = SmallVec::new();
        let mut groups = Vec::new();
        self.tree.visit_filters(topic, |subscribers| {
            let plain = subscribers.plain.0.iter();
            found.extend(plain.filter(|one| !one.no_local || one.session.number != publisher));
            groups.extend(subscribers.shared.iter().flat_map(|groups| groups.iter()));
        });
        found.sort_by_key(|subscriber| subscriber.session.number);
        let mut plain: SmallVec<[Match; 4]> = SmallVec::with_capacity(found.len());
        for one in found {
            match plain.last_mut().filter(|last| last.session.number == one.session.number) {
                Some(last) => {
                    last.qos = last.qos.max(one.qos);
                    last.retain_as_published |= one.retain_as_published;
                    last.subscription_ids.extend(one.subscription_id);
                }
                None => plain.push(Match {
                    session: Arc::clone(&one.session),
                    qos: one.qos,
                    retain_as_published: one.retain_as_published,
                    subscription_ids: one.subscription_id.into_iter().collect(),
                }),
            }
        }
        Matches { plain, groups }
    }
}

impl Subscribers {
    fn tidy(&mut self) {
        self.shared.take_if(|groups| groups.is_empty());
    }
}
