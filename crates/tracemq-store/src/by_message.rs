//! Keeps each message event twice, in one batch: under its client and under its message, so that both are a page of a subject.

use std::sync::Arc;

use tracemq_model::{
    Counts, Event, Filter, Gap, InstanceId, Order, Pattern, Reason, Subject, SubjectPage, TimeMs, TimeRange, TracePage,
    TraceQuery,
};

use crate::{Batch, EventStore, StoreError, StoreStats, Visit, VisitTally};

/// A store that a recorder of message events writes to. It answers as the store behind it does.
pub struct ByMessage(pub Arc<dyn EventStore>);

/// The rows of `event`. What was dropped is no part of a client's history: it is kept under the message alone.
fn rows(event: &Event) -> impl Iterator<Item = Event> {
    let under_it = event.under_its_message();
    let own = under_it.is_none() || (event.client.is_some() && event.reason != Reason::MessageDropped);
    own.then(|| event.clone()).into_iter().chain(under_it)
}

impl EventStore for ByMessage {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        let events = batch.events.iter().flat_map(rows).collect();
        self.0.append(&Batch { events, gaps: batch.gaps.clone() })
    }

    fn page(&self, query: &TraceQuery) -> Result<TracePage, StoreError> {
        self.0.page(query)
    }

    fn page_at_once(&self, query: &TraceQuery) -> Result<Option<TracePage>, StoreError> {
        self.0.page_at_once(query)
    }

    fn scan(&self, filter: &Filter, order: Order, visit: &mut Visit<'_>) -> Result<Vec<Gap>, StoreError> {
        self.0.scan(filter, order, visit)
    }

    fn counts(&self, filter: &Filter, bucket_ms: u64) -> Result<Counts, StoreError> {
        self.0.counts(filter, bucket_ms)
    }

    fn tally(&self, filter: &Filter, visit: &mut VisitTally<'_>) -> Result<Vec<Gap>, StoreError> {
        self.0.tally(filter, visit)
    }

    fn subjects(
        &self,
        instance: &InstanceId,
        pattern: &Pattern,
        after: Option<&Subject>,
        limit: usize,
    ) -> Result<SubjectPage, StoreError> {
        self.0.subjects(instance, pattern, after, limit)
    }

    fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        self.0.erase(instance, subject)
    }

    fn gaps(&self, range: TimeRange) -> Result<Vec<Gap>, StoreError> {
        self.0.gaps(range)
    }

    fn orphans(&self, visit: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        self.0.orphans(visit)
    }

    fn mark_alive(&self, now: TimeMs) -> Result<(), StoreError> {
        self.0.mark_alive(now)
    }

    fn last_alive(&self) -> Option<TimeMs> {
        self.0.last_alive()
    }

    fn stats(&self) -> StoreStats {
        self.0.stats()
    }
}

#[cfg(test)]
mod tests {
    use tracemq_model::{Action, ClientId, ConnectionId, Details, MessageDetails, MessageId, Provenance};

    use super::*;
    use crate::MemoryStore;

    #[test]
    fn each_is_kept_under_its_client_and_its_message() {
        let store = ByMessage(Arc::new(MemoryStore::new(100)));
        let instance = InstanceId::new("i").unwrap();
        let event = |reason, client: Option<&str>| {
            let message =
                MessageDetails { id: MessageId(7), topic: "t".into(), qos: 1, payload_bytes: 3, client: None };
            Event {
                time: TimeMs(1),
                instance: instance.clone(),
                connection: ConnectionId(1),
                action: Action::Message,
                reason,
                provenance: Provenance::Observed,
                client: client.map(|name| ClientId::new(name).unwrap()),
                peer: None,
                details: Details { message: Some(Box::new(message)), ..Details::default() },
            }
        };
        let events = vec![
            event(Reason::MessagePublished, Some("sensor")),
            event(Reason::MessageDropped, Some("app")),
            event(Reason::MessageDropped, None),
        ];
        store.append(&Batch { events: events.clone(), gaps: Vec::new() }).unwrap();
        let rows = |subject| {
            let query = TraceQuery {
                instance: instance.clone(),
                subject,
                range: TimeRange::ALL,
                order: Order::OldestFirst,
                offset: 0,
                limit: 10,
            };
            store.page(&query).unwrap().events
        };
        let client = |name| Subject::Client(ClientId::new(name).unwrap());
        assert_eq!(rows(client("sensor")), events[..1]);
        assert_eq!(rows(client("app")), []);
        let of_it = rows(Subject::Message(MessageId(7)));
        let clients: Vec<_> = of_it.iter().map(|row| row.details.message.as_ref().unwrap().client.as_deref()).collect();
        assert_eq!(clients, [Some("sensor"), Some("app"), None]);
        assert!(of_it.iter().all(|row| row.client.is_none()));
    }
}
