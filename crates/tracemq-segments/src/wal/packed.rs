//! Events that are kept in memory for a while, in the few bytes that a record takes.

use tracemq_model::Event;
use tracemq_store::Batch;

use super::decode::{Decoded, Entry};
use super::encode::Encoder;

/// So many events are packed together.
const EVENTS_A_PACK: usize = 8_192;

/// Events in about 30 bytes each, in the place of some hundreds.
#[derive(Debug, Default)]
pub(crate) struct Packed(Vec<Vec<u8>>);

impl Packed {
    pub(crate) fn new(events: Vec<Event>) -> Self {
        let (mut packs, mut encoder) = (Vec::new(), Encoder::default());
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let batch = Batch { events: events.by_ref().take(EVENTS_A_PACK).collect(), gaps: Vec::new() };
            let mut pack = Vec::new();
            encoder.encode(&batch, &mut pack);
            packs.push(pack);
        }
        Self(packs)
    }

    /// The events, in their order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let (mut decoded, mut events) = (Decoded::default(), Vec::new());
        for pack in &self.0 {
            if decoded.decode(pack).is_some() {
                decoded.visit(&mut |entry| {
                    if let Entry::Event(event) = entry {
                        events.extend(event.to_event());
                    }
                });
            }
        }
        events
    }
}
