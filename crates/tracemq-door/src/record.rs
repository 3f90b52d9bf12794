//! One connection's way onto the record: what is observed goes through its lifecycle to the recorder. However the
//! connection's task comes to its end, the connection gets one.

mod counts;
mod fold;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tracemq_model::{ConnectionId, End, Lifecycle, Meter, Observation, Opening, Reason, Traffic};

pub(crate) use counts::Counts;
pub(crate) use fold::Folds;

use crate::shared::Shared;

pub(crate) struct Record {
    shared: Arc<Shared>,
    lifecycle: Lifecycle,
    pub(crate) opened: Instant,
    /// Whether an event of this connection is on record.
    is_known: bool,
}

impl Record {
    /// Of a connection that TCP has just accepted.
    pub(crate) fn new(shared: Arc<Shared>, opening: Opening) -> Self {
        Self { shared, lifecycle: Lifecycle::new(opening), opened: Instant::now(), is_known: false }
    }

    /// What was known at the accept.
    pub(crate) fn opening(&self) -> &Opening {
        self.lifecycle.opening()
    }

    pub(crate) fn connection(&self) -> ConnectionId {
        self.lifecycle.opening().connection
    }

    /// The client's address: the peer's, or what a trusted proxy says.
    pub(crate) fn client_address(&self) -> IpAddr {
        self.lifecycle.opening().peer.ip()
    }

    /// Hands the event that `observation` makes, if it makes one, to the recorder.
    pub(crate) fn observe(&mut self, observation: Observation, traffic: Option<Traffic>) {
        let duration_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let meter = Meter { duration_ms, traffic };
        let house = &self.shared.house;
        let Some(event) = self.lifecycle.observe((house.clock)(), observation, &meter) else { return };
        let left_no_trace = !self.is_known
            && matches!(event.reason, Reason::ClientClosed | Reason::ConnectionReset)
            && traffic.is_some_and(|traffic| traffic.last_in_age_ms.is_none());
        self.is_known = true;
        let event = if left_no_trace { house.folds.count(event, Instant::now()) } else { Some(event) };
        if let Some(event) = event {
            house.recorder.record(event);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let (reason, detail) = if std::thread::panicking() {
            (Reason::InternalError, "a fault of the server ended this connection; its log says more")
        } else {
            (Reason::ServerShutdown, "the server stopped before the connection could be closed in order")
        };
        self.observe(Observation::Ended(End::of(reason).with_detail(detail)), None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracemq_access::AccountId;
    use tracemq_access::mqtt::MqttAccess;
    use tracemq_access::mqtt::issued::Issued;
    use tracemq_broker::{Broker, Limits};
    use tracemq_model::{ConnectionId, InstanceId, Order, Subject, TimeMs, TimeRange, TraceQuery};
    use tracemq_recorder::{Recorder, RecorderSettings};
    use tracemq_store::{EventStore, MemoryStore};

    use super::*;
    use crate::admission::{Guard, GuardSettings};
    use crate::settings::DoorSettings;
    use crate::settings::HouseSettings;
    use crate::shared::House;

    #[test]
    fn a_connection_has_an_end_however_its_task_comes_to_its_own() {
        let instance = InstanceId::new("mqtt-local").unwrap();
        let store = Arc::new(MemoryStore::new(100));
        let recorder = Recorder::start(store.clone(), Arc::new(|| TimeMs(5)), RecorderSettings::default()).unwrap();
        let access = MqttAccess::nothing(AccountId::new("local").unwrap());
        let clock = Arc::new(|| TimeMs(5));
        let guard = Guard::new(access, Issued::default(), None, GuardSettings::default(), clock).unwrap();
        let settings = DoorSettings::new(instance.clone(), "mqtt");
        let broker = Broker::new(Limits::default());
        let house = House::new(recorder.clone(), Arc::new(|| TimeMs(5)), HouseSettings::default()).unwrap();
        let shared = Arc::new(Shared::new(house, broker, guard, settings));
        let record = |id| {
            let peer = "192.0.2.1:4000".parse().unwrap();
            let listener = "mqtt".into();
            let opening = Opening { instance: instance.clone(), connection: ConnectionId(id), peer, listener };
            Record::new(Arc::clone(&shared), opening)
        };

        drop(record(1));
        let faulty = record(2);
        let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = faulty;
            panic!("a fault of the server");
        }));
        assert!(fault.is_err());
        let mut closed = record(3);
        closed.observe(Observation::Ended(End::of(Reason::ClientClosed)), None);
        drop(closed);

        assert!(recorder.flush(Duration::from_secs(10)));
        let query = TraceQuery {
            instance: instance.clone(),
            subject: Subject::Address("192.0.2.1".parse().unwrap()),
            range: TimeRange::ALL,
            order: Order::OldestFirst,
            offset: 0,
            limit: 10,
        };
        let reasons: Vec<_> = store.page(&query).unwrap().events.iter().map(|event| event.reason).collect();
        assert_eq!(reasons, [Reason::ServerShutdown, Reason::InternalError, Reason::ClientClosed]);
    }
}
