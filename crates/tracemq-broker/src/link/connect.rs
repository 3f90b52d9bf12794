//! Until a CONNECT is accepted.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use bytestring::ByteString;
use tracemq_model::{Acceptance, ClientId, Details, End, ProtocolVersion, Reason};

use super::connected::Connected;
use super::{Closing, ConnectAttempt, Decision, Link, Permissions, Stage, Step, codes};
use crate::broker::{Attached, Newcomer};
use crate::codec;
use crate::keeping::Mark;
use crate::limits::{Limits, Tick};
use crate::packet::{About, Connect, Kind, Outgoing, Packet, Welcome};
use crate::rules::{Fault, Sketch, judge};

/// A CONNACK with success that is not sent yet.
pub(super) struct Unsent {
    /// What must be durable before it is: the will that it accepts.
    mark: Mark,
    welcome: Welcome,
    acceptance: Acceptance,
}

impl Link {
    pub(super) fn receive_opening(&mut self, now: Tick, input: &mut BytesMut, output: &mut BytesMut) -> Step {
        let raw = match codec::opening(input) {
            Ok(None) => return Step::Continue,
            Ok(Some(())) => codec::take(input, false, false, self.limits.packet_bytes_max),
            Err(fault) => Err(fault),
        };
        let mut raw = match raw {
            Ok(None) => return Step::Continue,
            Ok(Some(raw)) => raw,
            Err(fault) => return self.refuse_unread(now, &fault),
        };
        self.packets_received += 1;
        self.last_in = Some(raw.kind);
        self.last_received = now;
        let sketch = Sketch::of(raw.fields());
        self.request = sketch.request().map(Box::new);
        let judged = judge(&sketch, &self.limits).map_err(|fault| fault.within(Kind::Connect.name()));
        let version = sketch.connack_version();
        let zero_expiry = match judged {
            Ok(zero_expiry) => zero_expiry,
            Err(fault) => {
                let code = sketch.connack_code(&fault);
                return self.refuse_connect(now, version, &fault, code, output);
            }
        };
        let raise_clean_start = version == ProtocolVersion::V5 && sketch.id_is_empty();
        if let Some(behind) = zero_expiry {
            raw.raise_zero_expiry(behind);
        }
        if raise_clean_start {
            raw.set_clean_start();
        }
        match codec::decode(raw, version) {
            Ok(Packet::Connect(connect)) => self.attempt(now, connect, output),
            Ok(_) => self.refuse_unread(now, &Fault::protocol("first packet is not CONNECT [MQTT-3.1.0-1]")),
            Err(fault) => {
                let code = (version == ProtocolVersion::V5).then_some(fault.code);
                self.refuse_connect(now, version, &fault, code, output)
            }
        }
    }

    /// What came is no CONNECT that could be read: nothing is answered.
    fn refuse_unread(&mut self, now: Tick, fault: &Fault) -> Step {
        let end = End::of(fault.reason).with_detail(&fault.detail);
        self.close(now, Closing::End(end), false)
    }

    fn refuse_connect(
        &mut self,
        now: Tick,
        version: ProtocolVersion,
        fault: &Fault,
        code: Option<u8>,
        output: &mut BytesMut,
    ) -> Step {
        let mut end = End::of(fault.reason).with_detail(&fault.detail);
        // The client's own limits and wishes are not known, or not to be trusted: it gets the code alone.
        end.reason_code = code.filter(|code| {
            self.send(version, u32::MAX, &Outgoing::Refusal { code: *code, about: About::default() }, output)
        });
        self.close(now, Closing::End(end), false)
    }

    fn attempt(&mut self, now: Tick, connect: Box<Connect>, output: &mut BytesMut) -> Step {
        // Before anybody spends time on its password.
        if let Err(end) = self.broker.count_connect(now, self.mailbox.origin().as_ref(), &self.limits) {
            return self.refuse(now, &connect, end, output);
        }
        let request = self.request.as_deref().cloned().unwrap_or_default();
        let attempt = ConnectAttempt {
            client_id: self.identify(&connect),
            username: connect.username.as_deref().map(Arc::from),
            password: connect.password.clone(),
            will_topic: connect.will.as_ref().map(|will| Arc::from(&*will.message.topic)),
            request,
        };
        self.stage = Stage::Deciding(connect);
        Step::Authenticate(Box::new(attempt))
    }

    /// The client's identifier, or the one that it is assigned: made from the connection's, which never repeats.
    fn identify(&self, connect: &Connect) -> Option<ClientId> {
        if connect.client_id.is_empty() {
            ClientId::new(&format!("auto-{}", self.connection)).ok()
        } else {
            ClientId::new(&connect.client_id).ok()
        }
    }

    /// The answer to [`Step::Authenticate`]. Gives `Accepted` or `Close`; then [`receive`](Link::receive) is to be
    /// called again, since bytes may have come behind the CONNECT. Gives `Continue` when the CONNACK waits until the
    /// client's will is durable; then [`poll_deliveries`](Link::poll_deliveries) gives `Accepted`.
    pub fn decide(&mut self, now: Tick, decision: Decision, output: &mut BytesMut) -> Step {
        if let Some(end) = self.mailbox.end() {
            return self.end_on_order(now, *end, output);
        }
        let connect = match std::mem::replace(&mut self.stage, Stage::Opening) {
            Stage::Deciding(connect) => connect,
            other @ (Stage::Opening | Stage::Connected(_)) => {
                self.stage = other;
                return Step::Continue; // nothing was asked
            }
            Stage::Closed(closing) => {
                self.stage = Stage::Closed(closing.clone());
                return Step::Close(*closing);
            }
        };
        let refusal = match decision {
            Decision::Refuse { reason, detail } => Err(End { detail, ..End::of(reason) }),
            Decision::Admit { permissions } => {
                self.admit(now, &connect, permissions).and_then(|()| self.welcome(output))
            }
        };
        self.turn_is_over();
        match refusal {
            Ok(Some(acceptance)) => Step::Accepted(acceptance),
            Ok(None) => Step::Continue,
            Err(end) => self.refuse(now, &connect, end, output),
        }
    }

    /// Sends the CONNACK, if it may go out by now.
    pub(super) fn welcome(&mut self, output: &mut BytesMut) -> Result<Option<Acceptance>, End> {
        let durable = self.broker.keeper().map_or(Mark(u64::MAX), |keeper| keeper.kept());
        let Stage::Connected(connected) = &self.stage else { return Ok(None) };
        let Some(unsent) = connected.welcome.as_ref().filter(|unsent| unsent.mark <= durable) else { return Ok(None) };
        let (version, most) = (connected.version, connected.packet_bytes_max);
        let welcome = Outgoing::Welcome(unsent.welcome.clone());
        if !self.send(version, most, &welcome, output) {
            let detail = format!("CONNACK is larger than the client's maximum packet size of {most}");
            return Err(End::of(Reason::PacketTooLarge).with_detail(&detail));
        }
        let Stage::Connected(connected) = &mut self.stage else { return Ok(None) };
        Ok(connected.welcome.take().map(|unsent| unsent.acceptance))
    }

    /// The same when it waited; none when there is nothing to wait for. Registers the waker.
    pub(super) fn poll_welcome(&mut self, now: Tick, cx: &Context<'_>, output: &mut BytesMut) -> Option<Poll<Step>> {
        match self.welcome(output) {
            Ok(Some(acceptance)) => {
                self.last_received = now; // it was not listened to
                Some(Poll::Ready(Step::Accepted(acceptance)))
            }
            Ok(None) => {
                let Stage::Connected(connected) = &self.stage else { return None };
                self.broker.keeper()?.wake_at(connected.welcome.as_ref()?.mark, cx.waker());
                Some(Poll::Pending)
            }
            Err(end) => Some(Poll::Ready(self.end(now, end, output))),
        }
    }

    /// Whether it waits for its CONNACK, and so gets nothing else.
    pub(super) fn is_unwelcomed(&self) -> bool {
        matches!(&self.stage, Stage::Connected(connected) if connected.welcome.is_some())
    }

    /// Answers the CONNECT of who has a session, and is ended before its CONNACK; gives the code. `code` is what a DISCONNECT
    /// would say.
    pub(super) fn send_refusal(
        &mut self,
        reason: Reason,
        code: u8,
        about: About<'_>,
        output: &mut BytesMut,
    ) -> Option<u8> {
        let Stage::Connected(connected) = &self.stage else { return None };
        let (version, most) = (connected.version, connected.packet_bytes_max);
        let server = about.server.filter(|_| version == ProtocolVersion::V5);
        let code = if server.is_some() { code } else { codes::connack(reason, version) };
        let refusal = Outgoing::Refusal { code, about: About { reason: None, server } };
        self.send(version, most, &refusal, output).then_some(code)
    }

    /// Ends the link as others ordered. A CONNECT that waits for its decision gets a CONNACK.
    pub(super) fn end_on_order(&mut self, now: Tick, end: End, output: &mut BytesMut) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Opening) {
            Stage::Deciding(connect) => self.refuse(now, &connect, end, output),
            other @ (Stage::Opening | Stage::Connected(_) | Stage::Closed(_)) => {
                self.stage = other;
                if !self.is_unwelcomed() {
                    self.tell_what_waits(output);
                }
                self.end(now, end, output)
            }
        }
    }

    fn refuse(&mut self, now: Tick, connect: &Connect, mut end: End, output: &mut BytesMut) -> Step {
        let (version, packet_bytes_max) = (connect.version, connect.packet_bytes_max);
        let code = codes::connack(end.reason, version);
        if let Stage::Connected(_) = self.stage {
            return self.end(now, end, output); // attached, but the CONNACK can't be sent
        }
        let broker = Arc::clone(&self.broker);
        let server = broker.limits().redirect_to.as_deref();
        let server = server.filter(|_| end.reason == Reason::ServerShutdown && version == ProtocolVersion::V5);
        let code = if server.is_some() { codes::USE_ANOTHER_SERVER } else { code };
        let reason = codes::words(end.reason).filter(|_| connect.wants_problems);
        // Without the words where they would make it too large [MQTT-3.2.2-19].
        let sent = [About { reason, server }, About { reason: None, server }]
            .into_iter()
            .any(|about| self.send(version, packet_bytes_max, &Outgoing::Refusal { code, about }, output));
        end.reason_code = sent.then_some(code);
        end.detail = end.detail.map(|detail| Details::text(&detail));
        self.close(now, Closing::End(end), false)
    }

    fn admit(&mut self, now: Tick, connect: &Connect, permissions: Arc<dyn Permissions>) -> Result<(), End> {
        let broker = Arc::clone(&self.broker);
        let limits = Arc::clone(&self.limits);
        if let Some(will) = &connect.will
            && !permissions.may_publish(&will.message.topic, will.message.qos.code(), will.message.retain)
        {
            let detail = format!("CONNECT: no permission to publish the will to {:?}", &*will.message.topic);
            return Err(End::of(Reason::WillNotAuthorized).with_detail(&detail));
        }
        let Some(client) = self.identify(connect) else { return Err(End::of(Reason::BadClientId)) };
        let assigned = connect.client_id.is_empty().then(|| client.clone());
        let name = client.clone();
        let expiry_s = connect.session_expiry_s.min(limits.session_expiry_s_max);
        let user = permissions.user();
        let newcomer = Newcomer {
            connection: self.connection,
            mailbox: &self.mailbox,
            client,
            username: user.clone().or_else(|| connect.username.as_deref().map(Arc::from)),
            user,
            protocol: connect.version,
            clean_start: connect.clean_start,
            expiry_s,
            window: connect.receive_max.min(limits.window()),
            will: connect.will.as_ref(),
            permissions: &permissions,
        };
        let Attached { session, present, missed } = broker.attach(now, &newcomer)?;
        let v5 = connect.version == ProtocolVersion::V5;
        let cap = limits.keep_alive_s_max;
        let capped = v5 && cap != 0 && (connect.keep_alive_s == 0 || connect.keep_alive_s > cap);
        let keep_alive_s = if capped { cap } else { connect.keep_alive_s };
        let welcome = Welcome {
            session_present: present,
            assigned: assigned.as_ref().map(|id| ByteString::from(id.as_str())),
            server_keep_alive_s: capped.then_some(cap),
            session_expiry_s: (expiry_s != connect.session_expiry_s).then_some(expiry_s),
            receive_max: limits.window(),
            packet_bytes_max: limits.packet_bytes_max.max(1),
            topic_alias_max: limits.topic_alias_max,
            response_information: connect.wants_response.then(|| response_information(&limits, &name)).flatten(),
        };
        // A 3.x client is never told what its session is called, so that it has no name to be found by.
        let assigned = assigned.filter(|_| v5);
        let detail = (missed > 0).then(|| {
            Details::text(&format!("{missed} messages of QoS 1 or 2 found its queue full since it last came"))
        });
        let acceptance = Acceptance { assigned, keep_alive_s, session_present: present, detail };
        let keeper = broker.keeper().filter(|_| connect.will.is_some() && expiry_s > 0);
        let mark = keeper.map_or(Mark(0), |keeper| keeper.taken());
        let unsent = Unsent { mark, welcome, acceptance };
        let aliases_max = limits.topic_alias_max;
        let connected = Connected::new(connect, session, permissions, keep_alive_s, aliases_max, unsent);
        self.stage = Stage::Connected(Box::new(connected));
        Ok(())
    }
}

/// None when there is none, or the client's identifier can't be a part of a topic.
fn response_information(limits: &Limits, client: &ClientId) -> Option<ByteString> {
    let topics = limits.response_topics.as_deref()?;
    (!client.as_str().contains(['+', '#'])).then(|| ByteString::from(format!("{topics}/{client}")))
}
