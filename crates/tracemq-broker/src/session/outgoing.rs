//! Messages on their way to the client: window, packet identifiers, sending again, acknowledgements.

use std::sync::Arc;

use bytes::BytesMut;
use tracemq_model::ProtocolVersion;

use super::{Aliases, InFlight, Judged, Mailbox, Queued, Stage, State};
use crate::broker::{Passage, Traces};
use crate::codec;
use crate::keeping::{KeptStage, Mark};
use crate::limits::Tick;
use crate::link::Permissions;
use crate::packet::{Delivery, Kind, Outgoing, Qos};
use crate::rules;

const EXPIRED: Passage = Passage::Dropped("it expired while it waited");
const FORBIDDEN: Passage = Passage::Dropped("the client may not receive its topic any more");

/// How messages are written to one connection, and what was.
pub(crate) struct Pump<'a> {
    pub(crate) now: Tick,
    /// What the client may receive.
    pub(crate) permissions: &'a dyn Permissions,
    pub(crate) version: ProtocolVersion,
    pub(crate) aliases: &'a mut Aliases,
    /// The client's maximum packet size.
    pub(crate) packet_bytes_max: u32,
    /// Stop when so much is in the output.
    pub(crate) room: usize,
    pub(crate) output: &'a mut BytesMut,
    /// Packets written.
    pub(crate) packets: u64,
    /// The kind of the last one.
    pub(crate) last: Option<Kind>,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// PUBLISH packets among them.
    pub(crate) messages: u64,
    /// Bytes of their payloads.
    pub(crate) payload: u64,
    /// Links that waited for the room that there is now.
    pub(crate) freed: Vec<Arc<Mailbox>>,
    /// What is durable.
    pub(crate) durable: Mark,
    /// Messages wait for this to be durable.
    pub(crate) waits_for: Option<Mark>,
    /// Messages given up: expired, larger than the client takes, or no longer permitted.
    pub(crate) dropped: u64,
    /// Who is told of messages that are traced.
    pub(crate) traces: Traces<'a>,
}

impl Pump<'_> {
    fn write(&mut self, packet: &Outgoing<'_>) -> bool {
        let before = self.output.len();
        let done = codec::encode(self.version, packet, self.output).is_ok()
            && self.output.len() - before <= usize::try_from(self.packet_bytes_max).unwrap_or(usize::MAX);
        if done {
            self.packets += 1;
            self.last = Some(packet.kind());
            self.bytes += u64::try_from(self.output.len() - before).unwrap_or(u64::MAX);
        } else {
            self.output.truncate(before);
        }
        done
    }

    /// Tells whether it was written; if not, it is given up, as the standard has it [MQTT-3.1.2-25].
    fn publish(&mut self, queued: &Queued, packet_id: u16, dup: bool) -> bool {
        let topic = &queued.routed.message.topic;
        let naming = self.aliases.naming(topic);
        let done = self.write(&Outgoing::Publish(Delivery {
            naming,
            message: &queued.routed.message,
            qos: queued.qos,
            packet_id,
            dup,
            retain: queued.retain,
            expiry_s: queued.routed.seconds_left(self.now),
            subscription_ids: &queued.subscription_ids,
        }));
        if done {
            self.aliases.note(topic, naming);
            self.messages += 1;
            if !dup {
                self.tell(queued, Passage::Delivered);
            }
            self.payload += u64::try_from(queued.routed.message.payload.len()).unwrap_or(u64::MAX);
        } else {
            self.dropped += 1;
            self.tell(queued, Passage::Dropped("it is larger than the client takes"));
        }
        done
    }

    fn tell(&self, queued: &Queued, passage: Passage) {
        self.traces.tell(&queued.routed.message, queued.qos, passage);
    }

    fn is_full(&self) -> bool {
        self.output.len() >= self.room
    }
}

/// The answer to an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// It was waited for.
    Yes,
    /// No message under way has that packet identifier.
    Unknown,
    /// The message with that packet identifier is not at that stage, or of another QoS.
    Wrong,
    /// A newer connection has the session: it counts for nothing.
    TooLate,
}

impl State {
    /// Writes what may be sent now: first again what was under way, in its old order [MQTT-4.4.0-1, 4.6.0-1], then
    /// what waits. Tells whether more could be sent if there were room.
    pub(crate) fn pump(&mut self, pump: &mut Pump<'_>) -> bool {
        let withdrawn = self.review(pump.permissions, pump.traces);
        pump.dropped += withdrawn;
        if withdrawn > 0 {
            pump.freed = self.take_waiting();
        }
        if !self.send_again(pump) {
            return true;
        }
        let mut freed = false;
        let mut more = false;
        let mut noted = false;
        while let Some(next) = self.queue.front() {
            if next.qos != Qos::AtMostOnce && (self.credit == 0 || self.window_is_full()) {
                break;
            }
            // Its packet identifier is durable before it is sent: a crash would else bring it once more under another one.
            let waits = next.qos == Qos::ExactlyOnce && next.place != 0;
            if next.qos != Qos::AtMostOnce && !waits && self.in_flight.back().is_some_and(|last| !last.sent) {
                break;
            }
            if pump.is_full() {
                more = true;
                break;
            }
            let Some(queued) = self.take_first(pump.now) else { break };
            freed = true;
            let place = queued.place;
            if queued.routed.is_expired(pump.now) || !self.may_still_receive(&queued, pump.permissions) {
                pump.dropped += 1;
                pump.tell(&queued, if queued.routed.is_expired(pump.now) { EXPIRED } else { FORBIDDEN });
                self.keep_gone(place);
            } else if queued.qos == Qos::AtMostOnce {
                pump.publish(&queued, 0, false);
            } else {
                let packet_id = self.fresh_packet_id();
                if waits || pump.publish(&queued, packet_id, false) {
                    self.keep_stage(&queued, KeptStage::Published(packet_id));
                    self.credit -= u16::from(!waits);
                    noted |= waits;
                    let mark = if waits { Mark(u64::MAX) } else { Mark(0) };
                    let stage = Stage::Published(queued);
                    self.in_flight.push_back(InFlight { packet_id, place, mark, sent: !waits, dup: false, stage });
                } else {
                    self.keep_gone(place);
                }
            }
        }
        if noted && let Some(mark) = self.hand_over() {
            pump.waits_for = Some(mark);
            for one in self.in_flight.iter_mut().filter(|one| one.mark == Mark(u64::MAX)) {
                one.mark = mark;
            }
        }
        if freed {
            pump.freed.append(&mut self.take_waiting());
        }
        if self.queue.is_empty() {
            self.queue = std::collections::VecDeque::new(); // an idle session holds no large buffer
        } else if !more {
            self.queue.shrink_to(16);
        }
        more
    }

    /// When the rules have changed, or another connection has the session: what waits is judged once, and so are the
    /// subscriptions. If all of them are still allowed, later messages need no question. Gives how many messages went.
    ///
    /// What was sent on this connection stays until it is acknowledged: the client has it.
    fn review(&mut self, permissions: &dyn Permissions, traces: Traces<'_>) -> u64 {
        let generation = permissions.generation();
        if self.judged.is_some_and(|judged| judged.generation == generation) {
            return 0;
        }
        let before = self.queue.len() + self.in_flight.len();
        let may = |queued: &Queued| permissions.may_receive(&queued.routed.message.topic);
        if self.queue.iter().any(|queued| !may(queued)) {
            for queued in std::mem::take(&mut self.queue) {
                if may(&queued) {
                    self.queue.push_back(queued);
                } else {
                    traces.tell(&queued.routed.message, queued.qos, FORBIDDEN);
                    self.uncount(&queued);
                    self.keep_gone(queued.place);
                }
            }
        }
        let mut gone = Vec::new();
        self.in_flight.retain(|one| {
            let stays = match &one.stage {
                Stage::Published(queued) => one.sent || may(queued),
                Stage::Released => true,
            };
            if !stays {
                gone.push(one.place);
            }
            stays
        });
        gone.into_iter().for_each(|place| self.keep_gone(place));
        let whole = self.filters.iter().all(|filter| permissions.may_subscribe(rules::parts(filter).matched(), None));
        self.judged = Some(Judged { generation, whole });
        let gone = before - self.queue.len() - self.in_flight.len();
        u64::try_from(gone).unwrap_or(u64::MAX)
    }

    fn may_still_receive(&self, queued: &Queued, permissions: &dyn Permissions) -> bool {
        self.judged.is_some_and(|judged| judged.whole) || permissions.may_receive(&queued.routed.message.topic)
    }

    pub(super) fn window_is_full(&self) -> bool {
        self.in_flight.len() >= usize::from(self.window)
    }

    /// False when the room or the window ended before all was sent.
    fn send_again(&mut self, pump: &mut Pump<'_>) -> bool {
        let mut at = 0;
        while let Some(one) = self.in_flight.get_mut(at) {
            at += 1;
            if one.sent {
                continue;
            }
            if pump.is_full() {
                return false;
            }
            if one.mark > pump.durable {
                pump.waits_for = Some(one.mark);
                return true; // goes on when it is
            }
            let kept = match &one.stage {
                Stage::Released => pump.write(&Outgoing::PubRel { packet_id: one.packet_id, code: 0 }),
                Stage::Published(_) if self.credit == 0 => return true, // goes on with the next acknowledgement
                // A message that the client may have seen is not given up for its age: its packet identifier is in use.
                Stage::Published(queued) => pump.publish(queued, one.packet_id, one.dup),
            };
            if kept {
                one.sent = true;
                self.credit = self.credit.saturating_sub(u16::from(matches!(one.stage, Stage::Published(_))));
            } else {
                at -= 1;
                let gone = self.in_flight.remove(at).map_or(0, |one| one.place);
                self.keep_gone(gone);
            }
        }
        true
    }

    /// Not 0 and not in use. Fewer than the window, and so fewer than there are, are in use.
    fn fresh_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = self.last_packet_id;
            if !self.in_flight.iter().any(|one| one.packet_id == id) {
                return id;
            }
        }
    }

    fn find(&self, packet_id: u16) -> Option<usize> {
        self.in_flight.iter().position(|one| one.packet_id == packet_id)
    }

    /// Whether an acknowledgement may let more go out.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.is_empty() || self.in_flight.iter().any(|one| !one.sent)
    }

    fn finish(&mut self, at: usize) {
        let place = self.in_flight.remove(at).map_or(0, |one| one.place);
        self.keep_gone(place);
        if self.in_flight.is_empty() {
            self.in_flight = std::collections::VecDeque::new();
        }
        self.credit = self.credit.saturating_add(1).min(self.window);
    }

    fn stage_qos(&self, at: usize) -> Option<Qos> {
        match &self.in_flight.get(at)?.stage {
            Stage::Published(queued) => Some(queued.qos),
            Stage::Released => None,
        }
    }

    /// PUBACK.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Acknowledged {
        let Some(at) = self.find(packet_id) else { return Acknowledged::Unknown };
        if self.stage_qos(at) != Some(Qos::AtLeastOnce) {
            return Acknowledged::Wrong;
        }
        self.finish(at);
        Acknowledged::Yes
    }

    /// PUBREC; with an error code the message is done.
    pub(crate) fn received_by_client(&mut self, packet_id: u16, failed: bool) -> Acknowledged {
        let Some(at) = self.find(packet_id) else { return Acknowledged::Unknown };
        match self.stage_qos(at) {
            Some(Qos::ExactlyOnce) if failed => self.finish(at),
            Some(Qos::ExactlyOnce) => {
                let stage = self.in_flight.get_mut(at).map(|one| {
                    one.sent = true;
                    std::mem::replace(&mut one.stage, Stage::Released)
                });
                if let Some(Stage::Published(queued)) = stage {
                    self.keep_stage(&queued, KeptStage::Released(packet_id));
                }
                // Should the connection break before PUBREL is sent, it is not sent on the next one before this is durable.
                if let Some(mark) = self.hand_over()
                    && let Some(one) = self.in_flight.get_mut(at)
                {
                    one.mark = mark;
                }
            }
            Some(Qos::AtMostOnce | Qos::AtLeastOnce) => return Acknowledged::Wrong,
            None => {}
        }
        Acknowledged::Yes
    }

    /// PUBCOMP.
    pub(crate) fn complete(&mut self, packet_id: u16) -> Acknowledged {
        let Some(at) = self.find(packet_id) else { return Acknowledged::Unknown };
        if self.stage_qos(at).is_some() {
            return Acknowledged::Wrong;
        }
        self.finish(at);
        Acknowledged::Yes
    }
}
