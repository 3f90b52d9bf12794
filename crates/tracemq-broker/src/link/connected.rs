//! Each packet of a connected client.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::BytesMut;
use bytestring::ByteString;
use tracemq_model::{ProtocolVersion, Reason};

use super::backlog::Backlog;
use super::connect::Unsent;
use super::held::{Answer, Held};
use super::step::Wanted;
use super::{Closing, Link, Permissions, Stage, Step};
use crate::broker::Counters;
use crate::codec::{self, Raw};
use crate::limits::Tick;
use crate::packet::{Connect, Kind, Message, Outgoing, Packet, Publish, Qos, Subscription, Will};
use crate::rules::{self, Fault};
use crate::session::{Acknowledged, Aliases, Session, State};

/// What a link knows from the acceptance of CONNECT on.
pub(super) struct Connected {
    pub(super) version: ProtocolVersion,
    pub(super) session: Arc<Session>,
    pub(super) permissions: Arc<dyn Permissions>,
    pub(super) will: Option<Will>,
    /// The largest packet that the client takes.
    pub(super) packet_bytes_max: u32,
    pub(super) keep_alive_s: u16,
    /// Whether its CONNECT asked for a session that outlives the connection, granted or not.
    asked_for_expiry: bool,
    /// Whether the client wants reasons in words.
    pub(super) wants_problems: bool,
    /// Of what is sent to it.
    pub(super) aliases_out: Aliases,
    aliases: BTreeMap<u16, ByteString>,
    pub(super) backlog: Option<Box<Backlog>>,
    pub(super) held: Option<Box<Held>>,
    /// Its CONNACK, until it is sent. Nothing is before that, and nothing that the client sends is looked at.
    pub(super) welcome: Option<Box<Unsent>>,
}

impl Connected {
    pub(super) fn new(
        connect: &Connect,
        session: Arc<Session>,
        permissions: Arc<dyn Permissions>,
        keep_alive_s: u16,
        topic_alias_max: u16,
        welcome: Unsent,
    ) -> Self {
        Self {
            version: connect.version,
            session,
            permissions,
            will: connect.will.clone(),
            packet_bytes_max: connect.packet_bytes_max,
            keep_alive_s,
            asked_for_expiry: connect.session_expiry_s != 0,
            wants_problems: connect.wants_problems,
            aliases_out: Aliases::new(connect.topic_alias_max.min(topic_alias_max)),
            aliases: BTreeMap::new(),
            backlog: None,
            held: None,
            welcome: Some(Box::new(welcome)),
        }
    }

    /// Subscriptions, and messages that are not acknowledged.
    pub(super) fn held(&self) -> (u32, u32) {
        let held = self.session.lock().held();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (count(held.subscriptions), count(held.in_flight))
    }

    /// Puts in the topic that an alias stands for, and notes a new alias [MQTT-3.3.2-7 to 3.3.2-12].
    fn resolve(&mut self, publish: &mut Publish, alias_max: u16) -> Result<(), Fault> {
        let Some(alias) = publish.alias else { return Ok(()) };
        if alias > alias_max {
            let detail = format!("PUBLISH: topic alias {alias}; the maximum is {alias_max} [MQTT-3.3.2-9]");
            return Err(Fault::new(Reason::ProtocolError, 0x94, detail));
        }
        let topic = &mut publish.message.topic;
        if topic.is_empty() {
            let known = self.aliases.get(&alias);
            *topic = known
                .cloned()
                .ok_or_else(|| Fault::protocol(format!("PUBLISH: topic alias {alias} stands for no topic")))?;
        } else {
            // A copy: a slice would keep the whole PUBLISH packet alive.
            self.aliases.insert(alias, ByteString::from(topic.to_string()));
        }
        Ok(())
    }
}

fn too_small(kind: &str) -> Fault {
    Fault::new(Reason::PacketTooLarge, 0x95, format!("{kind} is larger than the client's maximum packet size"))
}

fn wrong(kind: Kind, packet_id: u16) -> Fault {
    Fault::protocol(format!("{}: does not fit the message with packet identifier {packet_id}", kind.name()))
}

impl Link {
    /// Handles one packet; `Some` when the caller must act or no whole packet is left.
    pub(super) fn receive_connected(
        &mut self,
        now: Tick,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Step>, Fault> {
        if self.is_held(input.first().copied()) {
            return Ok(Some(Step::Continue));
        }
        if let Some((kind, packet)) = codec::take_acknowledgement(input) {
            self.note_received(now, kind);
            return self.obey(now, kind, packet, output);
        }
        match self.take(input)? {
            Some(raw) => self.handle(now, raw, output),
            None => Ok(Some(Step::Continue)),
        }
    }

    /// The same when the end is ordered: nothing that the client sent takes effect any more, but a DISCONNECT among it
    /// was said before it could know, and is the end. `Continue` when there is none.
    pub(super) fn receive_last(&mut self, now: Tick, input: &mut BytesMut, output: &mut BytesMut) -> Step {
        while let Ok(Some(raw)) = self.take(input) {
            if raw.kind == Kind::Disconnect {
                return self.handle(now, raw, output).ok().flatten().unwrap_or(Step::Continue);
            }
            self.note_received(now, raw.kind);
        }
        Step::Continue
    }

    fn take(&self, input: &mut BytesMut) -> Result<Option<Raw>, Fault> {
        let Stage::Connected(connected) = &self.stage else { return Ok(None) };
        let v5 = connected.version == ProtocolVersion::V5;
        codec::take(input, true, v5, self.limits.packet_bytes_max)
    }

    fn handle(&mut self, now: Tick, mut raw: Raw, output: &mut BytesMut) -> Result<Option<Step>, Fault> {
        let Stage::Connected(connected) = &self.stage else { return Ok(Some(Step::Continue)) };
        let version = connected.version;
        let v5 = version == ProtocolVersion::V5;
        self.note_received(now, raw.kind);
        let limits = &self.limits;
        let kind = raw.kind;
        let judged = rules::inspect(kind, raw.flags, v5, raw.fields(), limits);
        if let Some(behind) = judged.map_err(|fault| fault.within(kind.name()))? {
            raw.raise_zero_expiry(behind);
        }
        let packet = codec::decode(raw, version)?;
        self.obey(now, kind, packet, output)
    }

    fn obey(&mut self, now: Tick, kind: Kind, packet: Packet, output: &mut BytesMut) -> Result<Option<Step>, Fault> {
        match packet {
            Packet::Connect(_) => Err(Fault::protocol("CONNECT: a second one on this connection [MQTT-3.1.0-2]")),
            Packet::Publish(publish) => self.publish(now, publish, output).map(|()| None),
            Packet::PubAck { packet_id } => {
                self.acknowledged(kind, packet_id, |state| state.acknowledge(packet_id)).map(|_| None)
            }
            Packet::PubRec { packet_id, failed } => self.pubrec(packet_id, failed, output).map(|()| None),
            Packet::PubRel { packet_id } => self.pubrel(packet_id, output).map(|()| None),
            Packet::PubComp { packet_id } => {
                self.acknowledged(kind, packet_id, |state| state.complete(packet_id)).map(|_| None)
            }
            Packet::Subscribe { packet_id, subscription_id, filters } => {
                self.subscribe(now, packet_id, subscription_id, filters, output).map(|()| None)
            }
            Packet::Unsubscribe { packet_id, filters } => self.unsubscribe(packet_id, &filters, output).map(|()| None),
            Packet::PingReq => self.reply(&Outgoing::PingResp, "PINGRESP", output).map(|()| None),
            Packet::Disconnect { reason_code, session_expiry_s } => {
                self.disconnect(now, reason_code, session_expiry_s).map(Some)
            }
        }
    }

    fn note_received(&mut self, now: Tick, kind: Kind) {
        self.packets_received += 1;
        self.last_received = now;
        self.last_in = Some(kind);
    }

    pub(super) fn connected(&mut self) -> Result<&mut Connected, Fault> {
        match &mut self.stage {
            Stage::Connected(connected) => Ok(connected),
            Stage::Opening | Stage::Deciding(_) | Stage::Closed(_) => Err(Fault::not_connected()),
        }
    }

    pub(super) fn reply(&mut self, packet: &Outgoing<'_>, name: &str, output: &mut BytesMut) -> Result<(), Fault> {
        let connected = self.connected()?;
        let (version, max) = (connected.version, connected.packet_bytes_max);
        if self.send(version, max, packet, output) { Ok(()) } else { Err(too_small(name)) }
    }

    fn publish(&mut self, now: Tick, mut publish: Publish, output: &mut BytesMut) -> Result<(), Fault> {
        let alias_max = self.broker.limits().topic_alias_max;
        let connected = self.connected()?;
        connected.resolve(&mut publish, alias_max)?;
        if self.broker.limits().heard_topics.contains(&&*publish.message.topic) {
            return self.hear(publish, output);
        }
        let connected = self.connected()?;
        let Message { topic, qos, retain, .. } = &publish.message;
        if !connected.permissions.may_publish(topic, qos.code(), *retain) {
            if self.broker.limits().refuses_by_code {
                return self.refuse_publish(now, &publish, output);
            }
            let detail = format!("PUBLISH: no permission for topic {:?}", &**topic);
            let fault = Fault::new(Reason::PublishNotAuthorized, 0x87, detail);
            return Err(self.not_allowed(Wanted::Publish, topic, fault, output));
        }
        let payload = u64::try_from(publish.message.payload.len()).unwrap_or(u64::MAX);
        let turn = self.turn.get_or_insert_default();
        turn.messages += 1;
        turn.payload += payload;
        if publish.message.qos == Qos::AtMostOnce {
            let Stage::Connected(connected) = &self.stage else { return Err(Fault::not_connected()) };
            self.broker.publish_of(&connected.session, &self.mailbox, now, publish.message, &mut turn.wakes);
            return Ok(());
        }
        self.publish_acknowledged(now, publish, output)
    }

    /// The message goes nowhere, and is counted. Only MQTT 5.0 has a code to say so.
    fn refuse_publish(&mut self, now: Tick, publish: &Publish, output: &mut BytesMut) -> Result<(), Fault> {
        if publish.message.qos == Qos::AtMostOnce {
            Counters::add(&self.broker.counters().dropped, 1);
            return Ok(());
        }
        self.refuse_acknowledged(now, publish, output)
    }

    /// An acknowledgement of the client. One that nobody waits for is passed over: it may be late, from before a
    /// resume. One that does not fit is an error. One that comes when a newer connection has the session is for that
    /// one to get: to it the message is sent again.
    fn acknowledged(
        &mut self,
        kind: Kind,
        packet_id: u16,
        apply: impl FnOnce(&mut State) -> Acknowledged,
    ) -> Result<Acknowledged, Fault> {
        let mailbox = Arc::clone(&self.mailbox);
        let mut state = self.connected()?.session.lock();
        if !state.is_owned_by(&mailbox) {
            return Ok(Acknowledged::TooLate);
        }
        let acknowledged = apply(&mut state);
        let has_waiting = state.has_waiting();
        drop(state);
        if acknowledged == Acknowledged::Wrong {
            return Err(wrong(kind, packet_id));
        }
        if has_waiting {
            self.turn.get_or_insert_default().wakes.add(&self.mailbox);
        }
        Ok(acknowledged)
    }

    fn pubrec(&mut self, packet_id: u16, failed: bool, output: &mut BytesMut) -> Result<(), Fault> {
        let acknowledged =
            self.acknowledged(Kind::PubRec, packet_id, |state| state.received_by_client(packet_id, failed))?;
        match acknowledged {
            Acknowledged::Yes | Acknowledged::Wrong if failed => Ok(()),
            Acknowledged::Yes | Acknowledged::Wrong => {
                // Sent before it is durable, a crash would bring the message again.
                let kept = self.is_kept();
                self.answer(kept, Answer::PubRel { packet_id, code: 0 }, output)
            }
            Acknowledged::TooLate => Ok(()),
            Acknowledged::Unknown if failed => Ok(()),
            // It may be known again after a crash, if that it is not is not durable yet.
            Acknowledged::Unknown => {
                let kept = self.is_kept();
                self.answer(kept, Answer::PubRel { packet_id, code: 0x92 }, output)
            }
        }
    }

    fn pubrel(&mut self, packet_id: u16, output: &mut BytesMut) -> Result<(), Fault> {
        let mailbox = Arc::clone(&self.mailbox);
        let mut state = self.connected()?.session.lock();
        if !state.is_owned_by(&mailbox) {
            return Ok(()); // the client sends it again, where the packet identifier may be another message's already
        }
        let known = state.release(packet_id);
        drop(state);
        let code = if known { 0 } else { 0x92 };
        // Sent before it is durable, a crash would take the next message with that identifier for this one. Also when it is
        // not known: an earlier connection may have released it just now.
        let kept = self.is_kept();
        self.answer(kept, Answer::PubComp { packet_id, code }, output)
    }

    fn subscribe(
        &mut self,
        now: Tick,
        packet_id: u16,
        subscription_id: Option<NonZeroU32>,
        filters: Vec<Subscription>,
        output: &mut BytesMut,
    ) -> Result<(), Fault> {
        let broker = Arc::clone(&self.broker);
        let connected = self.connected()?;
        let mut judged = Vec::with_capacity(filters.len());
        let mut allowed = Vec::with_capacity(filters.len());
        for one in filters {
            let filter = rules::filter(&one.filter, broker.limits())?.matched();
            let may = may_subscribe(connected, filter, one.qos);
            allowed.push(may.is_ok());
            match may {
                Ok(()) => {}
                Err(_) if broker.limits().refuses_by_code => continue,
                Err(fault) => return Err(self.not_allowed(Wanted::Subscribe, filter, fault, output)),
            }
            judged.push(one);
        }
        let session = Arc::clone(&connected.session);
        let mut codes = broker.subscribe(now, &session, subscription_id, &judged).into_iter();
        let code = |allowed| if allowed { codes.next().unwrap_or(0x80) } else { 0x87 };
        let codes = allowed.into_iter().map(code).collect();
        let kept = self.is_kept();
        self.answer(kept, Answer::SubAck { packet_id, codes }, output)
    }

    fn unsubscribe(&mut self, packet_id: u16, filters: &[ByteString], output: &mut BytesMut) -> Result<(), Fault> {
        let session = Arc::clone(&self.connected()?.session);
        let there = self.broker.unsubscribe(&session, filters.iter().map(|filter| &**filter));
        let codes: Vec<u8> = there.into_iter().map(|there| if there { 0 } else { 0x11 }).collect();
        let kept = self.is_kept();
        self.answer(kept, Answer::UnsubAck { packet_id, codes }, output)
    }

    fn disconnect(&mut self, now: Tick, reason_code: Option<u8>, session_expiry_s: Option<u32>) -> Result<Step, Fault> {
        let expiry_max = self.broker.limits().session_expiry_s_max;
        let mailbox = Arc::clone(&self.mailbox);
        let connected = self.connected()?;
        if let Some(expiry_s) = session_expiry_s {
            if !connected.asked_for_expiry && expiry_s != 0 {
                return Err(Fault::protocol(
                    "DISCONNECT: session expiry is set, but was 0 in CONNECT [MQTT-3.14.2.2.2]",
                ));
            }
            let mut state = connected.session.lock();
            if state.is_owned_by(&mailbox) {
                state.expiry_s = expiry_s.min(expiry_max);
            }
        }
        let with_will = reason_code.unwrap_or(0) != 0;
        Ok(self.close(now, Closing::DisconnectReceived { reason_code }, with_will))
    }
}

fn may_subscribe(connected: &Connected, filter: &str, qos: Qos) -> Result<(), Fault> {
    if connected.permissions.may_subscribe(filter, Some(qos.code())) {
        Ok(())
    } else {
        let detail = format!("SUBSCRIBE: no permission for filter {filter:?}");
        Err(Fault::new(Reason::SubscribeNotAuthorized, 0x87, detail))
    }
}
