//! What was handed over, by kind: also what is lost later, or not recorded at all.

use std::sync::atomic::{AtomicU64, Ordering};

use tracemq_model::{Action, Event, Reason};

/// How many connections were accepted by a CONNACK, and how many ended for which reason, since the start.
#[derive(Debug)]
pub(crate) struct Seen {
    connects: AtomicU64,
    /// In the order of [`Reason::ALL`].
    ends: Box<[AtomicU64]>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { connects: AtomicU64::new(0), ends: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Seen {
    pub(crate) fn note(&self, event: &Event) {
        let counter = match event.action {
            Action::Connect => Some(&self.connects),
            Action::Disconnect | Action::Close => self.ends.get(event.reason as usize),
            Action::Open | Action::Message => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(event.details.count.unwrap_or(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Without the reasons that end nothing.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (Reason, u64)> {
        let ends = self.ends.iter().map(|ended| ended.load(Ordering::Relaxed));
        Reason::ALL.iter().copied().zip(ends).filter(|(reason, _)| {
            !matches!(
                reason,
                Reason::Opened
                    | Reason::Accepted
                    | Reason::MessagePublished
                    | Reason::MessageDelivered
                    | Reason::MessageQueued
                    | Reason::MessageDropped
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event is counted under its reason only if reasons are numbered as they are listed.
    #[test]
    fn reasons_are_listed_in_the_order_of_their_numbers() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }
}
