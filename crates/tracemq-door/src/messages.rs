//! Message events: which messages are chosen, and how what the broker tells of them becomes events.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tracemq_access::mqtt::TopicFilter;
use tracemq_broker::{Passage, Traced, Tracer};
use tracemq_model::{Action, ConnectionId, Details, Event, InstanceId, MessageDetails, MessageId, Provenance, Reason};
use tracemq_recorder::Recorder;

use crate::settings::Clock;

/// Which messages go on record.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Those to topics that one of these matches.
    pub topics: Vec<TopicFilter>,
    /// Of these, this share, from 0 to 1; by the message, so that all that happens to it is on record or nothing is.
    pub share: f64,
}

/// Brings what happens to messages of one instance to a recorder. Never waits.
pub struct Messages {
    instance: InstanceId,
    recorder: Recorder,
    clock: Clock,
    choice: Choice,
    node: u32,
    /// Messages that were given an id.
    count: AtomicU64,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("choice", &self.choice).finish_non_exhaustive()
    }
}

impl Messages {
    /// For the messages of `instance` that are among the `choice`.
    ///
    /// # Errors
    /// When the operating system has no random numbers for message ids.
    pub fn new(instance: InstanceId, recorder: Recorder, clock: Clock, choice: Choice) -> std::io::Result<Self> {
        let mut node = [0; 4];
        getrandom::fill(&mut node).map_err(std::io::Error::other)?;
        let node = u32::from_ne_bytes(node);
        Ok(Self { instance, recorder, clock, choice, node, count: AtomicU64::new(0) })
    }
}

impl Tracer for Messages {
    fn choose(&self, topic: &str) -> Option<MessageId> {
        if !self.choice.topics.iter().any(|filter| filter.matches(topic)) {
            return None;
        }
        let id = MessageId::made((self.clock)(), self.node, self.count.fetch_add(1, Ordering::Relaxed) + 1);
        is_in_share(id, self.choice.share).then_some(id)
    }

    fn tell(&self, traced: Traced<'_>) {
        let Traced { id, passage, client, connection, topic, qos, payload_bytes } = traced;
        let (reason, detail) = match passage {
            Passage::Published => (Reason::MessagePublished, None),
            Passage::Delivered => (Reason::MessageDelivered, None),
            Passage::Queued => (Reason::MessageQueued, None),
            Passage::Dropped(why) => (Reason::MessageDropped, Some(why.into())),
        };
        let payload_bytes = u64::try_from(payload_bytes).unwrap_or(u64::MAX);
        let message = MessageDetails { id, topic: Details::text(topic), qos, payload_bytes, client: None };
        self.recorder.record(Event {
            time: (self.clock)(),
            instance: self.instance.clone(),
            // Of a client that is away there is none.
            connection: connection.unwrap_or(ConnectionId(0)),
            action: Action::Message,
            reason,
            provenance: Provenance::Observed,
            client: client.cloned(),
            peer: None,
            details: Details { detail, message: Some(Box::new(message)), ..Details::default() },
        });
    }
}

/// Whether the message is among a `share` of all. Neighbouring ids are spread evenly.
fn is_in_share(id: MessageId, share: f64) -> bool {
    if share >= 1.0 {
        return true;
    }
    // The finalizer of SplitMix64: each bit of the id turns about half of the bits.
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    let mut hash = half(id.0 >> 64).rotate_left(32) ^ half(id.0);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    // 53 bits are as many as a float tells apart.
    ((hash >> 11) as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tracemq_model::{ClientId, Filter, Order, TimeMs, TimeRange};
    use tracemq_recorder::RecorderSettings;
    use tracemq_store::{EventStore, MemoryStore};

    use super::*;

    fn messages(store: &Arc<MemoryStore>, topics: &[&str], share: f64) -> Messages {
        let clock: Clock = Arc::new(|| TimeMs(5));
        let recorder = Recorder::start(store.clone(), clock.clone(), RecorderSettings::default()).unwrap();
        let topics = topics.iter().map(|text| TopicFilter::parse(text).unwrap()).collect();
        Messages::new(InstanceId::new("i").unwrap(), recorder, clock, Choice { topics, share }).unwrap()
    }

    #[test]
    fn topics_choose_and_a_share_is_about_that_share() {
        let store = Arc::new(MemoryStore::new(10));
        let all = messages(&store, &["a/#", "b"], 1.0);
        let chosen = ["a", "a/x/y", "b", "b/x", "c", "$SYS/a"].map(|topic| all.choose(topic).is_some());
        assert_eq!(chosen, [true, true, true, false, false, false]);
        assert!(messages(&store, &["#"], 1.0).choose("$SYS/a").is_none());
        for (share, least, most) in [(0.0, 0, 0), (0.01, 60, 140), (0.5, 4_800, 5_200)] {
            let some = messages(&store, &["#"], share);
            let count = (0..10_000).filter(|_| some.choose("a").is_some()).count();
            assert!((least..=most).contains(&count), "{share}: {count}");
        }
        let id = MessageId(u128::MAX / 3);
        assert_eq!(is_in_share(id, 0.5), is_in_share(id, 0.5));
    }

    #[test]
    fn what_the_broker_tells_is_an_event() {
        let store = Arc::new(MemoryStore::new(10));
        let messages = messages(&store, &["#"], 1.0);
        let client = ClientId::new("app").unwrap();
        let long = "x".repeat(600);
        messages.tell(Traced {
            id: MessageId(7),
            passage: Passage::Dropped("why"),
            client: Some(&client),
            connection: None,
            topic: &long,
            qos: 2,
            payload_bytes: 9,
        });
        assert!(messages.recorder.flush(Duration::from_secs(10)));
        let mut found = Vec::new();
        let all = Filter::all(InstanceId::new("i").unwrap(), TimeRange::ALL);
        store
            .scan(&all, Order::OldestFirst, &mut |event| {
                found.push(event.clone());
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        let event = found.pop().unwrap();
        assert_eq!((event.action, event.reason, event.time), (Action::Message, Reason::MessageDropped, TimeMs(5)));
        assert_eq!(
            (event.client, event.connection, event.details.detail),
            (Some(client), ConnectionId(0), Some("why".into()))
        );
        let message = event.details.message.unwrap();
        assert_eq!((message.id, message.topic.len(), message.qos, message.payload_bytes), (MessageId(7), 512, 2, 9));
    }
}
