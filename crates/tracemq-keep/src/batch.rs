//! The changes of one transaction: what came and went within it is not there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracemq_broker::{Change, KeptEntry, KeptMessage, KeptOwed, KeptSession, KeptWill};

/// The last state of each thing that changed; none of what is gone.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) sessions: BTreeMap<u64, Option<KeptSession>>,
    pub(crate) entries: BTreeMap<(u64, u64), Option<KeptEntry>>,
    pub(crate) received: BTreeMap<(u64, u16), bool>,
    pub(crate) owed: BTreeMap<(u64, String), Option<KeptOwed>>,
    pub(crate) messages: HashMap<u64, Arc<KeptMessage>>,
    pub(crate) retained: BTreeMap<String, Option<u64>>,
    pub(crate) wills: BTreeMap<u64, Option<Box<KeptWill>>>,
}

impl Batch {
    pub(crate) fn add(&mut self, change: Change) {
        match change {
            Change::Session(number, session) => {
                self.sessions.insert(number, Some(session));
            }
            Change::SessionEnded(number) => {
                let entries = self.entries.range((number, 0)..=(number, u64::MAX));
                for key in entries.map(|(key, _)| *key).collect::<Vec<_>>() {
                    self.entries.remove(&key);
                }
                let received = self.received.range((number, 0)..=(number, u16::MAX));
                for key in received.map(|(key, _)| *key).collect::<Vec<_>>() {
                    self.received.remove(&key);
                }
                let owed =
                    self.owed.range((number, String::new())..).take_while(|((session, _), _)| *session == number);
                for key in owed.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                    self.owed.remove(&key);
                }
                self.sessions.insert(number, None);
            }
            Change::Message(number, message) => {
                self.messages.insert(number, message);
            }
            Change::Entry(session, place, entry) => {
                self.entries.insert((session, place), Some(entry));
            }
            Change::EntryGone(session, place) => {
                self.entries.insert((session, place), None);
            }
            Change::Owed(session, filter, owed) => {
                self.owed.insert((session, filter), owed);
            }
            Change::Received(session, packet_id) => {
                self.received.insert((session, packet_id), true);
            }
            Change::Released(session, packet_id) => {
                self.received.insert((session, packet_id), false);
            }
            Change::Retained(topic, message) => {
                self.retained.insert(topic, message);
            }
            Change::Will(number, will) => {
                self.wills.insert(number, will);
            }
        }
    }
}

/// What a change is taken to cost while it waits, in bytes.
pub(crate) fn bytes(change: &Change) -> usize {
    let own = size_of::<Change>() + 64;
    match change {
        Change::Session(_, session) => {
            let username = session.username.as_ref().map_or(0, String::len);
            let subscriptions = session.subscriptions.iter().map(|one| one.filter.len() + 64);
            own + session.client.len() + username + subscriptions.sum::<usize>()
        }
        Change::Message(_, message) => own + of_message(message),
        Change::Will(_, Some(will)) => {
            own + size_of::<KeptWill>() + will.keepsake.as_ref().map_or(0, String::len) + of_message(&will.message)
        }
        Change::Retained(topic, _) => own + topic.len(),
        Change::Owed(_, filter, owed) => {
            own + filter.len() + owed.as_ref().and_then(|owed| owed.after.as_ref()).map_or(0, String::len)
        }
        Change::Entry(_, _, entry) => {
            own + size_of_val(&*entry.subscription_ids) + entry.shared.as_ref().map_or(0, String::len)
        }
        Change::SessionEnded(_)
        | Change::EntryGone(..)
        | Change::Received(..)
        | Change::Released(..)
        | Change::Will(_, None) => own,
    }
}

fn of_message(message: &KeptMessage) -> usize {
    message.topic.len()
        + message.payload.len()
        + message.content_type.as_ref().map_or(0, String::len)
        + message.response_topic.as_ref().map_or(0, String::len)
        + message.correlation_data.as_ref().map_or(0, bytes::Bytes::len)
        + message.user.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>()
}
