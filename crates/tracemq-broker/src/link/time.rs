//! Deadlines of a link.

use bytes::BytesMut;
use tracemq_model::{End, Reason};

use super::connected::Connected;
use super::{Closing, Link, Stage, Step};
use crate::limits::Tick;

impl Link {
    /// When [`timed_out`](Self::timed_out) must be called unless bytes come first: the connect deadline until CONNACK
    /// is sent, one and a half times the keep alive after the last packet from then on; earlier when publications
    /// wait for room.
    pub fn deadline(&self) -> Option<Tick> {
        match &self.stage {
            Stage::Opening | Stage::Deciding(_) => Some(self.connect_deadline()),
            Stage::Connected(connected) if connected.welcome.is_some() => Some(self.connect_deadline()),
            Stage::Connected(connected) => {
                let backlog = connected.backlog.as_ref().map(|backlog| backlog.until);
                self.silent_until(connected).into_iter().chain(backlog).min()
            }
            Stage::Closed(_) => None,
        }
    }

    fn connect_deadline(&self) -> Tick {
        self.opened.plus_ms(self.limits.connect_timeout_ms)
    }

    /// When its keep alive is over; none without one, and while nothing is taken from the client.
    fn silent_until(&self, connected: &Connected) -> Option<Tick> {
        let watched = connected.keep_alive_s != 0 && self.takes_input();
        watched.then(|| self.last_received.plus_ms(u64::from(connected.keep_alive_s) * 1500))
    }

    /// How many keep alives the client has missed, by `now` or when this link let go of its session: whole intervals of the
    /// keep alive in force since its last packet. None are missed without one, and while nothing is taken from the client.
    pub fn missed_keep_alives(&self, now: Tick) -> u32 {
        let Stage::Connected(connected) = &self.stage else { return self.missed_at_end };
        if !self.takes_input() {
            return 0;
        }
        let interval_ms = u64::from(connected.keep_alive_s) * 1000;
        let missed = now.since(self.last_received).checked_div(interval_ms).unwrap_or(0);
        u32::try_from(missed).unwrap_or(u32::MAX)
    }

    /// The deadline has passed; `Continue` if it moved meanwhile.
    pub fn timed_out(&mut self, now: Tick, output: &mut BytesMut) -> Step {
        if self.deadline().is_some_and(|deadline| now < deadline) {
            return Step::Continue;
        }
        match &self.stage {
            Stage::Closed(closing) => Step::Close(Closing::clone(closing)),
            Stage::Opening => {
                let ms = self.limits.connect_timeout_ms;
                let end = End::of(Reason::ConnectTimeout).with_detail(&format!("no whole CONNECT within {ms} ms"));
                self.end(now, end, output)
            }
            Stage::Deciding(_) => {
                let ms = self.limits.connect_timeout_ms;
                let detail = format!("CONNECT was not decided on within {ms} ms of the connection's opening");
                self.end_on_order(now, End::of(Reason::ConnectTimeout).with_detail(&detail), output)
            }
            Stage::Connected(connected) if connected.welcome.is_some() => {
                let ms = self.limits.connect_timeout_ms;
                let detail = format!("its will was not on disk within {ms} ms of the connection's opening");
                self.end(now, End::of(Reason::ServerOverloaded).with_detail(&detail), output)
            }
            Stage::Connected(connected) if self.silent_until(connected).is_none_or(|until| now < until) => {
                let advanced = self.advance(now, output);
                self.turn_is_over();
                match advanced {
                    Ok(_) => Step::Continue,
                    Err(fault) => self.fail(now, &fault, output),
                }
            }
            Stage::Connected(connected) => {
                let detail = format!(
                    "no packet for {} ms, keep alive is {} s [MQTT-3.1.2-22]",
                    now.since(self.last_received),
                    connected.keep_alive_s
                );
                self.end(now, End::of(Reason::KeepAliveTimeout).with_detail(&detail), output)
            }
        }
    }
}
