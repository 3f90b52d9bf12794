//! How each story goes.

pub(super) mod others;
pub(super) mod path;
pub(super) mod rights;
pub(super) mod takeovers;

use tracemq_model::{PacketKind, Reason};

use crate::device::{Connected, Ending};
use crate::plot::Stage;

pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

impl Stage<'_> {
    pub(super) fn length(&self) -> i64 {
        self.to - self.from
    }

    /// It comes in the first part of the time and stays until it is told otherwise.
    pub(super) fn calm(&mut self) -> Connected {
        let at = self.from + self.dice.between(0, self.length() / 100);
        let mut connected = self.device.connect(at);
        if self.dice.percent(40) {
            // It was switched off and on in between, in good order.
            let leaves = at + self.dice.between(MINUTE, self.length() / 10);
            self.device.end(connected, leaves, Ending::idle(Reason::ClientDisconnected, 0, PacketKind::Disconnect));
            connected = self.device.connect(leaves + self.dice.between(SECOND, MINUTE));
        }
        connected
    }

    /// How a connection ends that was in use: the device spoke within its keep alive.
    pub(super) fn in_use(&mut self, reason: Reason) -> Ending {
        let promised = i64::from(self.device.keep_alive_s.max(10)) * SECOND;
        let silent_ms = self.dice.between(0, promised);
        let answered_ms = self.dice.between(0, silent_ms);
        let last = if self.dice.percent(60) { PacketKind::PingReq } else { PacketKind::Publish };
        Ending { reason, silent_ms, answered_ms, last }
    }

    /// How a link breaks, as the server sees it; and how long after the break it sees it.
    pub(super) fn broken(&mut self) -> (Ending, i64) {
        if self.dice.percent(40) {
            let promised = i64::from(self.device.keep_alive_s.max(10)) * SECOND;
            let ending = self.in_use(Reason::KeepAliveTimeout);
            let silent_ms = promised + promised / 2 + self.dice.between(0, 400);
            return (Ending { silent_ms, answered_ms: silent_ms, ..ending }, silent_ms);
        }
        let reason = if self.dice.percent(60) { Reason::ConnectionReset } else { Reason::NetworkError };
        (self.in_use(reason), self.dice.between(0, 20) * SECOND)
    }

    /// A link breaks at `at`, and the device comes back; gives when.
    pub(super) fn breaks(&mut self, connected: Connected, at: i64) -> Connected {
        let (ending, seen_after) = self.broken();
        self.device.end(connected, at + seen_after, ending);
        let away = self.dice.between(15 * SECOND, 5 * MINUTE);
        self.device.connect(at + seen_after + away)
    }
}
