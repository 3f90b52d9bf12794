//! Messages of QoS 2 that the client has sent and not yet released [MQTT-4.3.3-10].

use std::sync::Arc;

use super::{Mailbox, State};
use crate::broker::Rest;
use crate::packet::Qos;

/// A message that was routed, but not yet to all who should get it.
#[derive(Debug)]
pub(super) struct Unfinished {
    packet_id: u16,
    /// None while a link tries to bring it to the others.
    rest: Option<Rest>,
}

/// What a client's PUBLISH of QoS 2 is.
#[derive(Debug)]
pub(crate) enum Receipt {
    /// To be routed.
    New,
    /// Routed before; only acknowledged again.
    Repeated,
    /// Routed before to some, not yet acknowledged; for these others it is to be tried again.
    Unfinished(Rest),
    /// An earlier connection of the client is just trying that.
    Busy,
    /// More than the receive maximum.
    TooMany,
    /// A newer connection has the session, and the client sends it there again.
    TooLate,
}

impl State {
    /// Notes a QoS 2 message of the client that came by the link of `mailbox`.
    pub(crate) fn receive(&mut self, mailbox: &Arc<Mailbox>, packet_id: u16, receive_max: usize) -> Receipt {
        if !self.is_owned_by(mailbox) {
            return Receipt::TooLate;
        }
        if self.received.contains(&packet_id) {
            let unfinished = self.unfinished.iter_mut().find(|one| one.packet_id == packet_id);
            return match unfinished.map(|one| one.rest.take()) {
                None => Receipt::Repeated,
                Some(Some(rest)) => Receipt::Unfinished(rest),
                Some(None) => Receipt::Busy,
            };
        }
        if self.received.len() >= receive_max {
            return Receipt::TooMany;
        }
        self.received.insert(packet_id);
        self.unfinished.push(Unfinished { packet_id, rest: None });
        Receipt::New
    }

    /// Those who are to get the message still.
    pub(crate) fn take_rest(&mut self, packet_id: u16) -> Option<Rest> {
        self.unfinished.iter_mut().find(|one| one.packet_id == packet_id)?.rest.take()
    }

    /// Keeps who did not get the message yet; none when all have it.
    pub(crate) fn keep_rest(&mut self, packet_id: u16, rest: Option<Rest>) {
        match rest {
            Some(rest) => {
                if let Some(one) = self.unfinished.iter_mut().find(|one| one.packet_id == packet_id) {
                    one.rest = Some(rest);
                }
            }
            None => {
                self.unfinished.retain(|one| one.packet_id != packet_id);
                if self.unfinished.is_empty() {
                    self.unfinished = Vec::new();
                }
            }
        }
    }

    /// All who could have a message have it: it is only to be released.
    pub(crate) fn routed(&mut self, packet_id: u16) {
        self.keep_rest(packet_id, None);
        self.keep_received(packet_id);
    }

    /// A message that came by the link of `mailbox` is refused. Who is told so, `by_code`, takes the packet identifier of QoS 2 for
    /// the next message [MQTT-4.3.3-9], also when it had sent this one before and it was routed: who did not get it then does not
    /// any more. Gives how many copies are lost.
    pub(crate) fn refuse(&mut self, mailbox: &Arc<Mailbox>, packet_id: u16, qos: Qos, by_code: bool) -> u64 {
        if qos != Qos::ExactlyOnce || !self.is_owned_by(mailbox) {
            return 1;
        }
        let copies = self.take_rest(packet_id).map_or(1, |rest| rest.copies());
        if by_code {
            self.release(packet_id);
        } else {
            self.keep_rest(packet_id, None); // its PUBREL is to come
        }
        copies
    }

    /// The client releases a QoS 2 message, or it was refused; tells whether it was known.
    pub(crate) fn release(&mut self, packet_id: u16) -> bool {
        self.keep_rest(packet_id, None);
        let known = self.received.remove(&packet_id);
        if known {
            self.keep_released(packet_id);
        }
        known
    }
}
