//! What of a session is handed to the keeper: the changes of one that outlives its connection, gathered while it is locked.

use std::fmt;
use std::sync::Arc;

use tracemq_model::ClientId;

use super::{InFlight, PendingWill, Queued, Stage, State};
use crate::keeping::{
    Change, Keeper, KeptEntry, KeptMessage, KeptOwed, KeptSession, KeptStage, KeptSubscription, KeptWill, Mark,
};
use crate::limits::Tick;
use crate::packet::{Message, Qos, Routed, Will};

/// The keeper, and how the core's time relates to the wall clock: fixed at the start, so that a step of the clock moves
/// nothing.
#[derive(Clone)]
pub(crate) struct Keeping {
    pub(crate) keeper: Arc<dyn Keeper>,
    /// The wall clock at tick 0, in milliseconds since 1970.
    pub(crate) wall_at_zero: i64,
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping").finish_non_exhaustive()
    }
}

impl Keeping {
    /// The wall clock at `tick`.
    pub(crate) fn wall(&self, tick: Tick) -> i64 {
        self.wall_at_zero.saturating_add(i64::try_from(tick.0).unwrap_or(i64::MAX))
    }

    /// The tick at `wall`; 0 when that was before.
    pub(crate) fn tick(&self, wall: i64) -> Tick {
        Tick(u64::try_from(wall.saturating_sub(self.wall_at_zero)).unwrap_or(0))
    }

    /// The message as it is kept.
    pub(crate) fn message(&self, routed: &Routed) -> Arc<KeptMessage> {
        let expires = routed.expires.map(|tick| self.wall(tick));
        let make = || Arc::new(KeptMessage { expires, ..record(&routed.message) });
        Arc::clone(routed.message.kept.get_or_init(make))
    }
}

/// A message without a moment at which it expires.
fn record(message: &Message) -> KeptMessage {
    let Message { topic, payload, qos, retain, properties, trace, .. } = message;
    let mut kept = KeptMessage {
        topic: topic.to_string(),
        payload: payload.clone(),
        qos: qos.code(),
        retain: *retain,
        trace: trace.as_deref().copied(),
        ..KeptMessage::default()
    };
    if let Some(properties) = properties {
        kept.utf8_payload = properties.utf8_payload;
        kept.content_type = properties.content_type.as_ref().map(ToString::to_string);
        kept.response_topic = properties.response_topic.as_ref().map(ToString::to_string);
        kept.correlation_data = properties.correlation_data.clone();
        let user = properties.user.iter();
        kept.user = user.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    }
    kept
}

/// The changes of one session.
#[derive(Debug)]
pub(crate) struct Ledger {
    keeping: Keeping,
    session: u64,
    client: ClientId,
    pub(super) subscriptions: Vec<KeptSubscription>,
    /// Of the last message; 0 is no place.
    last_place: u64,
    /// The number under which its client's will is kept; 0 when it has none.
    will: u64,
    changes: Vec<Change>,
}

impl Ledger {
    pub(crate) fn new(keeping: Keeping, session: u64, client: ClientId) -> Self {
        Self { keeping, session, client, subscriptions: Vec::new(), last_place: 0, will: 0, changes: Vec::new() }
    }

    /// A message waits from now on.
    fn enter(&mut self, queued: &mut Queued) {
        self.last_place += 1;
        queued.place = self.last_place;
        self.changes.push(Change::Message(queued.routed.number, self.keeping.message(&queued.routed)));
        self.note(queued, KeptStage::Queued);
    }

    fn note(&mut self, queued: &Queued, stage: KeptStage) {
        let entry = KeptEntry {
            message: queued.routed.number,
            qos: queued.qos.code(),
            retain: queued.retain,
            subscription_ids: queued.subscription_ids.clone(),
            shared: queued.shared.as_deref().map(ToOwned::to_owned),
            stage,
        };
        self.changes.push(Change::Entry(self.session, queued.place, entry));
    }
}

impl State {
    /// Whether it is kept over a restart.
    pub(crate) fn is_kept(&self) -> bool {
        self.ledger.is_some()
    }

    /// Hands the changes so far to the keeper; gives the mark at which they are durable. None for a session that is not kept.
    pub(crate) fn hand_over(&mut self) -> Option<Mark> {
        let ledger = self.ledger.as_mut()?;
        let changes = std::mem::take(&mut ledger.changes);
        Some(if changes.is_empty() { ledger.keeping.keeper.taken() } else { ledger.keeping.keeper.keep(changes) })
    }

    /// The same for whoever unlocks: costs nothing when nothing changed.
    pub(super) fn hand_over_changes(&mut self) {
        if self.ledger.as_ref().is_some_and(|ledger| !ledger.changes.is_empty()) {
            self.hand_over();
        }
    }

    /// The session as such has changed.
    pub(crate) fn keep_session(&mut self) {
        let Some(ledger) = &mut self.ledger else { return };
        let record = KeptSession {
            client: ledger.client.as_str().to_owned(),
            username: self.user.as_deref().map(ToOwned::to_owned),
            expiry_s: self.expiry_s,
            expires: self.expires.map(|tick| ledger.keeping.wall(tick)),
            subscriptions: ledger.subscriptions.clone(),
        };
        ledger.changes.push(Change::Session(ledger.session, record));
    }

    /// It has ended, and nothing of it is kept any more.
    pub(crate) fn keep_no_more(&mut self) {
        if let Some(ledger) = &mut self.ledger {
            ledger.changes.push(Change::SessionEnded(ledger.session));
            self.hand_over();
            self.ledger = None;
        }
    }

    /// Notes a subscription.
    pub(crate) fn keep_subscription(&mut self, subscription: KeptSubscription) {
        if let Some(ledger) = &mut self.ledger {
            ledger.subscriptions.retain(|known| known.filter != subscription.filter);
            ledger.subscriptions.push(subscription);
        }
    }

    /// The subscription to `filter`, of a session that is kept.
    pub(crate) fn kept_subscription(&self, filter: &str) -> Option<KeptSubscription> {
        self.ledger.as_ref()?.subscriptions.iter().find(|known| known.filter == filter).cloned()
    }

    /// Notes that there is no subscription to `filter` any more.
    pub(crate) fn forget_subscription(&mut self, filter: &str) {
        if let Some(ledger) = &mut self.ledger {
            ledger.subscriptions.retain(|known| known.filter != filter);
        }
    }

    /// How far the retained messages of a subscription were handed out; none when all were.
    pub(super) fn keep_owed(&mut self, filter: &str, owed: Option<KeptOwed>) {
        if let Some(ledger) = &mut self.ledger {
            ledger.changes.push(Change::Owed(ledger.session, filter.to_owned(), owed));
        }
    }

    /// What of QoS 1 and 2 comes into the queue.
    pub(super) fn keep_queued(&mut self, queued: &mut Queued) {
        if queued.qos != Qos::AtMostOnce
            && let Some(ledger) = &mut self.ledger
        {
            ledger.enter(queued);
        }
    }

    /// How far a message has come.
    pub(super) fn keep_stage(&mut self, queued: &Queued, stage: KeptStage) {
        if queued.place != 0
            && let Some(ledger) = &mut self.ledger
        {
            ledger.note(queued, stage);
        }
    }

    /// A message has left the session.
    pub(super) fn keep_gone(&mut self, place: u64) {
        if place != 0
            && let Some(ledger) = &mut self.ledger
        {
            ledger.changes.push(Change::EntryGone(ledger.session, place));
        }
    }

    /// A QoS 2 message of the client was routed.
    pub(super) fn keep_received(&mut self, packet_id: u16) {
        if let Some(ledger) = &mut self.ledger {
            ledger.changes.push(Change::Received(ledger.session, packet_id));
        }
    }

    /// The client has released it.
    pub(super) fn keep_released(&mut self, packet_id: u16) {
        if let Some(ledger) = &mut self.ledger {
            ledger.changes.push(Change::Released(ledger.session, packet_id));
        }
    }

    /// Keeps the will of its client under `number`, in the place of any earlier one. `due` is none while its client is
    /// connected.
    pub(crate) fn keep_will(&mut self, number: u64, will: &Will, keepsake: Option<String>, due: Option<Tick>) {
        if number != self.kept_will() {
            self.forget_will();
        }
        let Some(ledger) = self.ledger.as_mut().filter(|_| number != 0) else { return };
        ledger.will = number;
        let record = KeptWill {
            session: ledger.session,
            message: record(&will.message),
            expiry_s: will.message.expiry_s,
            delay_s: will.delay_s,
            due: due.map(|tick| ledger.keeping.wall(tick)),
            keepsake,
        };
        ledger.changes.push(Change::Will(number, Some(Box::new(record))));
    }

    /// The number under which its client's will is kept; 0 when none is.
    pub(crate) fn kept_will(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| ledger.will)
    }

    /// The will that was kept is not to be published any more.
    pub(crate) fn forget_will(&mut self) {
        let number = self.release_will();
        if number != 0
            && let Some(ledger) = &mut self.ledger
        {
            ledger.changes.push(Change::Will(number, None));
        }
    }

    /// The same number, and from now on it is the caller's to tell the keeper what becomes of it.
    pub(crate) fn release_will(&mut self) -> u64 {
        self.ledger.as_mut().map_or(0, |ledger| std::mem::take(&mut ledger.will))
    }

    /// Takes back a will that was kept under `number`.
    pub(crate) fn restore_will(&mut self, number: u64, will: PendingWill) {
        if let Some(ledger) = &mut self.ledger {
            ledger.will = number;
        }
        self.will = Some(Box::new(will));
    }

    /// The state as it was kept. `entries` are in the order of their places; their messages have been found.
    pub(crate) fn restored(
        mut ledger: Ledger,
        kept: KeptSession,
        entries: Vec<(Queued, KeptStage)>,
        received: impl IntoIterator<Item = u16>,
    ) -> Self {
        ledger.subscriptions = kept.subscriptions;
        ledger.last_place = entries.iter().map(|(queued, _)| queued.place).max().unwrap_or(0);
        let mut state = Self {
            user: kept.username.map(Into::into),
            expiry_s: kept.expiry_s,
            received: received.into_iter().collect(),
            ..Self::default()
        };
        for (queued, stage) in entries {
            let place = queued.place;
            let (packet_id, stage) = match stage {
                KeptStage::Queued => {
                    state.queue_bytes += queued.routed.message.bytes();
                    state.queue.push_back(queued);
                    continue;
                }
                KeptStage::Published(packet_id) => (packet_id, Stage::Published(queued)),
                KeptStage::Released(packet_id) => (packet_id, Stage::Released),
            };
            state.last_packet_id = state.last_packet_id.max(packet_id);
            state.in_flight.push_back(InFlight { packet_id, place, mark: Mark(0), sent: true, dup: false, stage });
        }
        state.ledger = Some(Box::new(ledger));
        state
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_payload_that_is_kept_is_the_one_in_the_queue_and_no_copy() {
        let message = Message {
            topic: "t".into(),
            payload: Bytes::from(vec![7; 1_000]),
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: OnceLock::new(),
        };
        assert_eq!(record(&message).payload.as_ptr(), message.payload.as_ptr());
    }
}
