//! How long others wait for one client whose queue is full, and what becomes of it then.
//!
//! Time is counted from the moment at which somebody finds the queue full to the one at which the client has emptied it;
//! while it has not, all of it counts against the client, and the time after that for it. While that sum is below
//! `slow_consumer_ms`, publishers wait. Beyond, nobody waits for this client any more: what has no room is dropped and
//! counted; and if it takes less than half a queue in that time, it is ended. So a slow client loses messages, and
//! never sets the pace of its publishers and of all their other subscribers for longer than that.

use tracemq_model::{End, Reason};

use super::State;
use crate::limits::{Limits, Tick};

/// The account of a client whose queue was full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    /// Milliseconds against it, up to `at`.
    against_ms: u64,
    at: Tick,
    /// It has not emptied its queue since that was found full.
    lasts: bool,
    watched: Option<Watched>,
}

/// Since when it is watched how much a client takes, and what it had taken by then.
#[derive(Clone, Copy, Debug)]
struct Watched {
    since: Tick,
    taken_out: u64,
}

/// What a full queue means for who would wait.
#[derive(Debug)]
pub(crate) enum Congested {
    /// To be looked at again then.
    Until(Tick),
    /// They have waited long enough for this client.
    NoLonger,
    /// The client takes too little.
    Slow(End),
}

impl Congestion {
    fn new(now: Tick) -> Self {
        Self { against_ms: 0, at: now, lasts: false, watched: None }
    }

    /// Brings the account up to `now`.
    fn settle(&mut self, now: Tick) {
        let passed = now.since(self.at);
        self.at = self.at.max(now);
        self.against_ms =
            if self.lasts { self.against_ms.saturating_add(passed) } else { self.against_ms.saturating_sub(passed) };
    }
}

impl State {
    /// Somebody would have to wait for room in the queue of this connected client, for a message of that size. If it is all
    /// queues together that have none, the client may take what comes to it, and is not ended.
    pub(crate) fn congested(&mut self, size: usize, limits: &Limits, now: Tick) -> Congested {
        let is_full = !self.has_room(size, limits);
        let most_ms = limits.slow_consumer_ms;
        let begun = Watched { since: now, taken_out: self.taken_out };
        let congestion = self.congestion.get_or_insert_with(|| Box::new(Congestion::new(now)));
        congestion.against_ms = congestion.against_ms.min(most_ms);
        congestion.settle(now);
        if !congestion.lasts {
            congestion.lasts = true;
            congestion.watched = None;
        }
        let left_ms = most_ms.saturating_sub(congestion.against_ms);
        let watched = *congestion.watched.get_or_insert(begun);
        let watched_ms = now.since(watched.since);
        if watched_ms >= most_ms {
            congestion.watched = Some(begun);
            let taken = self.taken_out - watched.taken_out;
            if is_full && taken < u64::try_from(limits.queue_messages_max / 2).unwrap_or(u64::MAX).max(1) {
                return Congested::Slow(self.too_slow(taken, watched_ms));
            }
        }
        if left_ms == 0 { Congested::NoLonger } else { Congested::Until(now.plus_ms(left_ms)) }
    }

    fn too_slow(&self, taken: u64, ms: u64) -> End {
        let (messages, bytes) = (self.queue.len(), self.queue_bytes);
        let detail = format!(
            "its queue was full ({messages} messages, {bytes} bytes) and it took {taken} messages in {ms} ms, while more came for it"
        );
        End::of(Reason::SlowConsumer).with_detail(&detail)
    }

    /// Whether the queue was found full, and not emptied since.
    pub(super) fn is_congested(&self) -> bool {
        self.congestion.as_ref().is_some_and(|congestion| congestion.lasts)
    }

    /// The queue is empty.
    pub(super) fn caught_up(&mut self, now: Tick) {
        if let Some(congestion) = &mut self.congestion {
            congestion.settle(now);
            congestion.lasts = false;
            if congestion.against_ms == 0 {
                self.congestion = None;
            }
        }
    }

    /// Another connection has the session, and has its own time to show what it takes. Who waited long enough for the one
    /// before does not begin anew: a client that only comes back would else hold its publishers for ever.
    pub(super) fn watch_anew(&mut self) {
        if let Some(congestion) = &mut self.congestion {
            congestion.watched = None;
        }
    }
}
