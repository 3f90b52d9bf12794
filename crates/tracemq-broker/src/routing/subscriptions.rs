//! The tree of subscriptions.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::trie::{Slot, Trie};
use crate::packet::Qos;
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

/// All subscriptions of one session that match a topic, as one: the standard lets a server send one copy, with the
/// highest QoS and all identifiers [MQTT-3.3.4-2, 3.3.4-3].
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: Vec<NonZeroU32>,
}

/// Subscribers of one filter, by session. A sorted list: newcomers have the highest number and go to the end.
#[derive(Debug, Default)]
struct Subscribers(Vec<Subscriber>);

impl Slot for Subscribers {
    fn is_vacant(&self) -> bool {
        self.0.is_empty()
    }
}

impl Subscribers {
    fn find(&self, session: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&session, |subscriber| subscriber.session.number)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    tree: Trie<Subscribers>,
    count: usize,
}

impl Subscriptions {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds or replaces; tells whether it is new.
    pub(crate) fn insert(&mut self, filter: &str, subscriber: Subscriber) -> bool {
        let subscribers = self.tree.entry(filter);
        match subscribers.find(subscriber.session.number) {
            Ok(at) => {
                if let Some(old) = subscribers.0.get_mut(at) {
                    *old = subscriber;
                }
                false
            }
            Err(at) => {
                if subscribers.0.is_empty() {
                    subscribers.0.reserve_exact(1); // most filters of a fleet have one subscriber
                }
                subscribers.0.insert(at, subscriber);
                self.count += 1;
                true
            }
        }
    }

    /// Removes; tells whether it was there.
    pub(crate) fn remove(&mut self, filter: &str, session: u64) -> bool {
        let mut removed = false;
        self.tree.alter(filter, |subscribers| {
            if let Ok(at) = subscribers.find(session) {
                subscribers.0.remove(at);
                removed = true;
            }
        });
        self.count -= usize::from(removed);
        removed
    }

    /// Who gets a message to `topic` that the session `publisher` sent.
    pub(crate) fn matches(&self, topic: &str, publisher: u64) -> Vec<Match> {
        let mut found: Vec<&Subscriber> = Vec::new();
        self.tree.visit_filters(topic, |subscribers| {
            found.extend(subscribers.0.iter().filter(|one| !one.no_local || one.session.number != publisher));
        });
        found.sort_by_key(|subscriber| subscriber.session.number);
        let mut matches: Vec<Match> = Vec::with_capacity(found.len());
        for one in found {
            match matches.last_mut().filter(|last| last.session.number == one.session.number) {
                Some(last) => {
                    last.qos = last.qos.max(one.qos);
                    last.retain_as_published |= one.retain_as_published;
                    last.subscription_ids.extend(one.subscription_id);
                }
                None => matches.push(Match {
                    session: Arc::clone(&one.session),
                    qos: one.qos,
                    retain_as_published: one.retain_as_published,
                    subscription_ids: one.subscription_id.into_iter().collect(),
                }),
            }
        }
        matches
    }
}
