//! Retained messages on their way to who subscribed, a step at a time.

use std::sync::Arc;

use super::{Broker, Counters, Tables, sys};
use crate::limits::Tick;
use crate::routing::Retained;
use crate::session::{Locked, Mailbox, Push, Queued, Session, State};

/// Topics that are looked at in one step, under the broker's lock: about a millisecond, whatever a filter matches.
const LOOKS_MAX: usize = 1_000;

impl Tables {
    fn retained_of(&self, filter: &str) -> &Retained {
        if sys::is_own(filter) { &self.own } else { &self.retained }
    }
}

impl Broker {
    /// The session of the connection that has it, with what is retained for it in its queue as far as there is room; and
    /// whether anything of that was done.
    pub(crate) fn lock_filled<'a>(
        &self,
        now: Tick,
        session: &'a Arc<Session>,
        owner: &Arc<Mailbox>,
    ) -> (Locked<'a>, bool) {
        let state = session.lock();
        if !state.is_owed_now(owner, &self.limits) {
            return (state, false);
        }
        drop(state); // the broker's lock comes first
        let any = self.hand_out_retained(now, session);
        (session.lock(), any)
    }

    /// Puts what is retained for a session into its queue, as far as there is room. Tells whether anything was done.
    pub(crate) fn hand_out_retained(&self, now: Tick, session: &Arc<Session>) -> bool {
        let tables = self.read();
        let mut state = session.lock();
        let (mut looks, mut any, mut dropped) = (LOOKS_MAX, false, 0);
        while looks > 0 && self.hand_out_step(now, &tables, &mut state, &mut looks, &mut dropped) {
            any = true;
        }
        drop(state);
        drop(tables);
        if dropped > 0 {
            Counters::add(&self.counters.dropped, dropped);
        }
        any
    }

    fn hand_out_step(
        &self,
        now: Tick,
        tables: &Tables,
        state: &mut State,
        looks: &mut usize,
        dropped: &mut u64,
    ) -> bool {
        let Some((owed, most)) = state.next_owed(&self.limits) else { return false };
        let owed = owed.clone();
        let wanted = |routed: &_| owed.wants(routed) && !routed.is_expired(now);
        let walk = tables.retained_of(&owed.filter).walk(&owed.filter, owed.after.as_ref(), most, looks, wanted);
        let mut after = owed.after.clone();
        for routed in walk.found {
            let topic = routed.message.topic.clone();
            let has_room = state.has_room_for_owed(&routed, &self.limits);
            let queued = Queued {
                qos: owed.qos_of(&routed),
                retain: true,
                subscription_ids: owed.subscription_id.into_iter().collect(),
                shared: None,
                place: 0,
                held: None,
                routed,
            };
            match has_room.then(|| state.push(queued, &self.limits, now)) {
                // Dropped: there never will be room for it.
                Some(Push::Taken { dropped: some } | Push::Dropped { dropped: some }) => {
                    *dropped += some;
                    after = Some(topic);
                }
                None | Some(Push::NotForIt | Push::Full { .. } | Push::Slow { .. }) => {
                    let moved = after != owed.after;
                    if moved {
                        state.handed_out(after);
                    }
                    return moved;
                }
            }
        }
        state.handed_out(walk.last);
        true
    }
}
