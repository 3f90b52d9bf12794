//! Publications of QoS 1 and 2 whose acknowledgement waits, because a subscriber has no room for them.
//!
//! Acknowledgements go out in the order of the publications [MQTT-4.6.0-2], so that one that waits holds up those behind
//! it: these are not even routed, which keeps the order of messages. The client's other packets are handled meanwhile,
//! its own acknowledgements above all, until so much waits that nothing more is taken from it.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::held::Answer;
use super::{Fault, Link, Stage};
use crate::broker::{Counters, Progress, Rest};
use crate::limits::Tick;
use crate::packet::{Message, Publish, Qos};
use crate::session::{Receipt, Session};
use tracemq_model::{ProtocolVersion, Reason};

/// A publication of QoS 1 or 2 on its way.
#[derive(Debug)]
struct Pending {
    packet_id: u16,
    qos: Qos,
    stage: PendingStage,
}

#[derive(Debug)]
enum PendingStage {
    /// Not routed yet.
    Unrouted(Message),
    /// QoS 1: these have no room yet.
    Rest(Rest),
    /// QoS 2: the same, kept in the session, where a resumed connection finds it.
    RestInSession,
    /// It was for the server itself.
    Heard,
    /// It may not be published, and the client is told by a code.
    Refused,
}

/// Publications that wait, in their order.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<Pending>,
    bytes: usize,
    /// A PUBLISH is next in the input, and there is no room for it.
    holds: bool,
    /// When to try the first again.
    pub(super) until: Tick,
}

impl Backlog {
    /// What a client can make us hold is bounded: beyond, nothing is read from it.
    fn is_full(&self, count_max: usize, bytes_max: usize) -> bool {
        self.waiting.len() >= count_max || self.bytes >= bytes_max
    }
}

fn too_many(bound: u16, statement: &str) -> Fault {
    let detail = format!("PUBLISH: more than {bound} of QoS 2 under way [{statement}]");
    Fault::new(Reason::ProtocolError, 0x93, detail)
}

/// How one publication fared.
enum Fared {
    /// To be acknowledged with that code; when `kept`, once it is durable.
    Acknowledge { code: u8, kept: bool },
    /// It waits.
    Waits(PendingStage, Tick),
}

impl Link {
    /// Whether more is taken from the client. While it is not, the caller should not read from its socket.
    pub fn takes_input(&self) -> bool {
        let Stage::Connected(connected) = &self.stage else { return true };
        connected.welcome.is_none()
            && connected.backlog.as_ref().is_none_or(|backlog| !backlog.holds)
            && connected.held.as_ref().is_none_or(|held| !held.is_full())
            && self.broker.keeper().is_none_or(|keeper| keeper.has_room())
    }

    /// Whether the packet that begins with `first` has to stay in the input. Only publications do: acknowledgements of
    /// the client may be what others wait for, or it itself.
    pub(super) fn is_held(&mut self, first: Option<u8>) -> bool {
        let acknowledged = first.is_some_and(|first| first >> 4 == 3 && first & 0b0110 != 0);
        let limits = &self.limits;
        let Stage::Connected(connected) = &mut self.stage else { return false };
        // A client of 5.0 keeps to our receive maximum; one of 3.x knows of none, and may send many before it reads.
        let v5 = connected.version == ProtocolVersion::V5;
        let count_max = if v5 { usize::MAX } else { limits.queue_messages_max.max(usize::from(limits.window())) };
        let Some(backlog) = &mut connected.backlog else { return false };
        backlog.holds = acknowledged && backlog.is_full(count_max, limits.queue_bytes_max);
        backlog.holds
    }

    /// A PUBLISH of QoS 1 or 2 that may be published.
    pub(super) fn publish_acknowledged(
        &mut self,
        now: Tick,
        publish: Publish,
        output: &mut BytesMut,
    ) -> Result<(), Fault> {
        let Publish { message, packet_id, .. } = publish;
        let (qos, bytes) = (message.qos, message.bytes());
        let pending = Pending { packet_id, qos, stage: PendingStage::Unrouted(message) };
        self.take_up(now, pending, bytes, output)
    }

    /// A PUBLISH of QoS 1 or 2 that may not be: it goes nowhere, and is answered in its turn.
    pub(super) fn refuse_acknowledged(
        &mut self,
        now: Tick,
        publish: &Publish,
        output: &mut BytesMut,
    ) -> Result<(), Fault> {
        let Publish { message, packet_id, .. } = publish;
        let pending = Pending { packet_id: *packet_id, qos: message.qos, stage: PendingStage::Refused };
        self.take_up(now, pending, 0, output)
    }

    /// Brings a publication of so many bytes as far as it comes now, or puts it behind those that wait.
    fn take_up(&mut self, now: Tick, pending: Pending, bytes: usize, output: &mut BytesMut) -> Result<(), Fault> {
        let window = self.limits.window();
        let connected = self.connected()?;
        let v5 = connected.version == ProtocolVersion::V5;
        if let Some(backlog) = &mut connected.backlog {
            if v5 && backlog.waiting.len() >= usize::from(window) {
                let detail = format!("PUBLISH: more than {window} under way [MQTT-3.3.4-7]");
                return Err(Fault::new(Reason::ProtocolError, 0x93, detail));
            }
            backlog.bytes += bytes;
            backlog.waiting.push_back(pending);
            return Ok(());
        }
        let Pending { packet_id, qos, stage } = pending;
        match self.try_publish(now, packet_id, qos, stage)? {
            Fared::Acknowledge { code, kept } => self.acknowledge(packet_id, qos, code, kept, output),
            Fared::Waits(stage, until) => {
                let waiting = VecDeque::from([Pending { packet_id, qos, stage }]);
                self.connected()?.backlog = Some(Box::new(Backlog { waiting, bytes, holds: false, until }));
                Ok(())
            }
        }
    }

    /// A PUBLISH to the server itself, that took effect: acknowledged in its turn.
    pub(super) fn acknowledge_heard(&mut self, publish: Publish, output: &mut BytesMut) -> Result<(), Fault> {
        let Publish { message, packet_id, .. } = publish;
        if message.qos == Qos::AtMostOnce {
            return Ok(());
        }
        if let Some(backlog) = &mut self.connected()?.backlog {
            backlog.waiting.push_back(Pending { packet_id, qos: message.qos, stage: PendingStage::Heard });
            return Ok(());
        }
        match self.try_publish(Tick(0), packet_id, message.qos, PendingStage::Heard)? {
            Fared::Acknowledge { code, kept } => self.acknowledge(packet_id, message.qos, code, kept, output),
            Fared::Waits(..) => Ok(()), // it waits for nobody
        }
    }

    /// Tries again what waits; tells whether anything was acknowledged.
    pub(super) fn advance(&mut self, now: Tick, output: &mut BytesMut) -> Result<bool, Fault> {
        if self.mailbox.has_order() {
            return Ok(false); // another connection may have the session already
        }
        let took_input = self.takes_input();
        let mut advanced = false;
        while let Some(backlog) = self.connected()?.backlog.as_mut() {
            let Some(first) = backlog.waiting.pop_front() else {
                self.connected()?.backlog = None;
                break;
            };
            let Pending { packet_id, qos, stage } = first;
            if let PendingStage::Unrouted(message) = &stage {
                backlog.bytes = backlog.bytes.saturating_sub(message.bytes());
            }
            match self.try_publish(now, packet_id, qos, stage)? {
                Fared::Acknowledge { code, kept } => {
                    advanced = true;
                    self.acknowledge(packet_id, qos, code, kept, output)?;
                }
                Fared::Waits(stage, until) => {
                    if let Some(backlog) = self.connected()?.backlog.as_mut() {
                        backlog.until = until;
                        backlog.waiting.push_front(Pending { packet_id, qos, stage });
                    }
                    break;
                }
            }
        }
        if advanced && let Some(backlog) = self.connected()?.backlog.as_mut() {
            backlog.holds = false; // to be seen anew
        }
        if !took_input && self.takes_input() {
            self.last_received = now; // it was not listened to
        }
        Ok(advanced)
    }

    /// What a kept session of the client's sent with QoS 2 becomes durable together with the note that it was: after a crash
    /// the client sends again what was not acknowledged, and it is routed again or not at all.
    fn try_publish(&mut self, now: Tick, packet_id: u16, qos: Qos, stage: PendingStage) -> Result<Fared, Fault> {
        let keeper = self.broker.keeper().filter(|_| qos == Qos::ExactlyOnce).cloned();
        let Some(keeper) = keeper.filter(|_| self.is_kept()) else {
            return self.route(now, packet_id, qos, stage);
        };
        let (mut stage, mut fared) = (Some(stage), None);
        keeper.together(&mut || fared = stage.take().map(|stage| self.route(now, packet_id, qos, stage)));
        fared.unwrap_or_else(|| Err(Fault::new(Reason::InternalError, 0x80, "a publication was not routed")))
    }

    /// Whether the session is kept over a restart.
    pub(super) fn is_kept(&self) -> bool {
        matches!(&self.stage, Stage::Connected(connected) if connected.session.lock().is_kept())
    }

    fn route(&mut self, now: Tick, packet_id: u16, qos: Qos, stage: PendingStage) -> Result<Fared, Fault> {
        let Self { broker, limits, mailbox, turn, stage: link, .. } = self;
        let wakes = &mut turn.get_or_insert_default().wakes;
        let Stage::Connected(connected) = link else { return Err(Fault::not_connected()) };
        let session = &connected.session;
        let v5 = connected.version == ProtocolVersion::V5;
        // 3.x has no receive maximum; there the number of packet identifiers is the bound.
        let bound = if v5 { limits.window() } else { u16::MAX };
        let once = qos == Qos::ExactlyOnce;
        let progress = match stage {
            PendingStage::Unrouted(message) if once => {
                let receipt = session.lock().receive(mailbox, packet_id, usize::from(bound));
                match receipt {
                    Receipt::New => broker.publish_of(session, mailbox, now, message, wakes),
                    Receipt::Repeated => return Ok(Fared::Acknowledge { code: 0, kept: session.lock().is_kept() }),
                    Receipt::Unfinished(rest) => broker.publish_rest(now, rest, mailbox, wakes),
                    Receipt::Busy => {
                        mailbox.wake();
                        return Ok(Fared::Waits(PendingStage::Unrouted(message), now));
                    }
                    // Until the link obeys the order to end, which is on its way.
                    Receipt::TooLate => {
                        let until = now.plus_ms(broker.limits().slow_consumer_ms);
                        return Ok(Fared::Waits(PendingStage::Unrouted(message), until));
                    }
                    Receipt::TooMany => return Err(too_many(bound, "MQTT-3.3.4-7")),
                }
            }
            PendingStage::Unrouted(message) => broker.publish_of(session, mailbox, now, message, wakes),
            PendingStage::Rest(rest) => broker.publish_rest(now, rest, mailbox, wakes),
            PendingStage::Heard => {
                if once && matches!(session.lock().receive(mailbox, packet_id, usize::from(bound)), Receipt::TooMany) {
                    return Err(too_many(bound, "MQTT-3.3.4-9"));
                }
                Progress::Done { kept: false }
            }
            PendingStage::Refused => {
                let lost = session.lock().refuse(mailbox, packet_id, qos, v5);
                Counters::add(&broker.counters().dropped, lost);
                return Ok(Fared::Acknowledge { code: 0x87, kept: session.lock().is_kept() });
            }
            PendingStage::RestInSession => {
                let rest = session.lock().take_rest(packet_id);
                match rest {
                    Some(rest) => broker.publish_rest(now, rest, mailbox, wakes),
                    // The client released it, or another connection of the session brings it to its end.
                    None => return Ok(Fared::Acknowledge { code: 0, kept: session.lock().is_kept() }),
                }
            }
        };
        Ok(fared(progress, session, packet_id, once, v5))
    }

    fn acknowledge(
        &mut self,
        packet_id: u16,
        qos: Qos,
        code: u8,
        kept: bool,
        output: &mut BytesMut,
    ) -> Result<(), Fault> {
        let answer = if qos == Qos::ExactlyOnce {
            Answer::PubRec { packet_id, code }
        } else {
            Answer::PubAck { packet_id, code }
        };
        self.answer(kept, answer, output)
    }

    /// The connection goes: what of QoS 1 was not brought to all was not acknowledged, and the client sends it again.
    pub(super) fn give_up(&self, backlog: &Backlog) {
        let copies = backlog.waiting.iter().map(|pending| match &pending.stage {
            PendingStage::Rest(rest) => rest.copies(),
            PendingStage::Unrouted(_) | PendingStage::RestInSession | PendingStage::Heard | PendingStage::Refused => 0,
        });
        Counters::add(&self.broker.counters().dropped, copies.sum());
    }
}

/// What follows for the client from how far its publication has come; the session notes what of QoS 2 is to be noted.
fn fared(progress: Progress, session: &Session, packet_id: u16, once: bool, v5: bool) -> Fared {
    match progress {
        Progress::Waits(rest) => {
            let until = rest.until;
            if once {
                session.lock().keep_rest(packet_id, Some(rest));
                Fared::Waits(PendingStage::RestInSession, until)
            } else {
                Fared::Waits(PendingStage::Rest(rest), until)
            }
        }
        Progress::Done { mut kept } => {
            if once {
                let mut state = session.lock();
                state.routed(packet_id);
                kept |= state.is_kept();
            }
            Fared::Acknowledge { code: 0, kept }
        }
        Progress::Refused => {
            let code = if v5 { 0x97 } else { 0 };
            let mut state = session.lock();
            if once && v5 {
                state.release(packet_id);
            } else if once {
                state.routed(packet_id);
            }
            Fared::Acknowledge { code, kept: once && state.is_kept() }
        }
    }
}
