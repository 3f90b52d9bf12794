//! What all queues of a broker hold together.
//!
//! A message counts once, in however many queues it is, and each queue that it is in, or from which it is on its way to a client,
//! counts for what that costs beside. Each of them has a [`Hold`] on it: so the sum is exact, however a message leaves a queue.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::packet::Message;

/// What a message in one queue is taken to cost beside its own bytes, one subscription identifier included.
const HOLD_BYTES: usize = 128;
/// What each further one costs: a session has as many as subscriptions that match.
const IDENTIFIER_BYTES: usize = 4;

/// What a message by so many subscription identifiers costs in one queue beside its own bytes.
pub(crate) fn beside(identifiers: usize) -> usize {
    HOLD_BYTES + IDENTIFIER_BYTES * identifiers.saturating_sub(1)
}

/// The sum.
#[derive(Debug, Default)]
pub(crate) struct Pool(AtomicUsize);

impl Pool {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A message as it is held for all who get it.
#[derive(Debug)]
pub(crate) struct Published {
    message: Message,
    holds: AtomicUsize,
    pool: Arc<Pool>,
}

impl Published {
    pub(crate) fn new(message: Message, pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { message, holds: AtomicUsize::new(0), pool: Arc::clone(pool) })
    }

    /// Whether one more hold on it, with one subscription identifier at most, is within `most`.
    pub(crate) fn has_room(&self, most: usize) -> bool {
        let own = if self.holds.load(Ordering::Relaxed) == 0 { self.bytes() } else { 0 };
        self.pool.bytes().saturating_add(HOLD_BYTES + own) <= most
    }

    /// What it counts for with holds on it that cost so much beside it.
    pub(crate) fn cost(&self, beside: usize) -> usize {
        if beside == 0 { 0 } else { self.bytes() + beside }
    }
}

impl Deref for Published {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// A queue's hold on a message.
#[derive(Debug)]
pub(crate) struct Hold {
    of: Arc<Published>,
    beside: usize,
}

impl Hold {
    /// Counts one by so many subscription identifiers, whatever there is already.
    pub(crate) fn take(message: &Arc<Published>, identifiers: usize) -> Self {
        Self::count(message, identifiers).0
    }

    /// Counts one if the sum stays within `most`.
    pub(crate) fn take_within(message: &Arc<Published>, identifiers: usize, most: usize) -> Option<Self> {
        let (hold, sum) = Self::count(message, identifiers);
        (sum <= most).then_some(hold) // dropped, it is counted back
    }

    fn count(message: &Arc<Published>, identifiers: usize) -> (Self, usize) {
        let beside = beside(identifiers);
        let is_first = message.holds.fetch_add(1, Ordering::AcqRel) == 0;
        let cost = beside + if is_first { message.bytes() } else { 0 };
        let before = message.pool.0.fetch_add(cost, Ordering::Relaxed);
        (Self { of: Arc::clone(message), beside }, before.saturating_add(cost))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let was_last = self.of.holds.fetch_sub(1, Ordering::AcqRel) == 1;
        let cost = self.beside + if was_last { self.of.bytes() } else { 0 };
        self.of.pool.0.fetch_sub(cost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Qos;

    fn message(pool: &Arc<Pool>, payload: usize) -> Arc<Published> {
        let message = Message {
            topic: "t".into(),
            payload: Bytes::from(vec![0; payload]),
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: OnceLock::new(),
        };
        Published::new(message, pool)
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_all_holds_and_within_the_bound_whatever_comes_and_goes(
            steps in proptest::collection::vec(
                (0_usize..5, 0_usize..4, any::<bool>(), any::<prop::sample::Index>()), 0..200
            ),
            most in 0_usize..10_000,
        ) {
            let pool = Arc::default();
            let messages: Vec<_> = (0..5).map(|at| message(&pool, at * 300)).collect();
            let mut held: Vec<(usize, usize, Hold)> = Vec::new();
            for (at, identifiers, comes, which) in steps {
                if comes {
                    let fits = messages[at].has_room(most);
                    let hold = Hold::take_within(&messages[at], identifiers, most);
                    prop_assert!(hold.is_none() || fits);
                    prop_assert!(hold.is_some() || !fits || identifiers > 1);
                    held.extend(hold.map(|hold| (at, identifiers, hold)));
                } else if !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                }
                let cost = |(at, message): (usize, &Arc<Published>)| {
                    message.cost(held.iter().filter(|(of, ..)| *of == at).map(|(_, identifiers, _)| beside(*identifiers)).sum())
                };
                let sum: usize = messages.iter().enumerate().map(cost).sum();
                prop_assert_eq!(pool.bytes(), sum);
                prop_assert!(sum <= most);
            }
            held.clear();
            prop_assert_eq!(pool.bytes(), 0);
        }
    }

    #[test]
    fn the_sum_is_exact_when_many_take_and_give_back_at_once() {
        let pool = Arc::default();
        let shared = message(&pool, 1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let one = Hold::take_within(&shared, 1, 1_300);
                        drop((Hold::take_within(&shared, 1, 1_300), one));
                    }
                });
            }
        });
        assert_eq!(pool.bytes(), 0);
    }
}
