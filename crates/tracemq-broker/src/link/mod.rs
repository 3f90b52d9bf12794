//! One network connection's half of the broker: the order of packets, and the one place where a connection is ended.
//!
//! `connect.rs` has what happens until a CONNECT is accepted, `connected.rs` each packet after that, `codes.rs` which
//! code the client gets for which reason, `backlog.rs` publications that wait, `time.rs` deadlines.

mod backlog;
mod codes;
mod connect;
mod connected;
mod held;
mod notice;
mod step;
mod time;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tracemq_model::{ConnectRequest, ConnectionId, End, PacketKind, ProtocolVersion, Reason};

pub use step::{Closing, ConnectAttempt, Decision, Heard, Notice, Permissions, Refused, Step, Wanted};

use crate::broker::{Broker, Counters, Departure, Traces};
use crate::codec;
use crate::keeping::Mark;
use crate::limits::{Limits, Tick};
use crate::packet::{About, Connect, Outgoing};
use crate::rules::Fault;
use crate::session::{Mailbox, Pump, Wakes};
use connected::Connected;

/// How far a connection is.
enum Stage {
    /// CONNECT is to come.
    Opening,
    /// CONNECT is there, the decision is to come.
    Deciding(Box<Connect>),
    /// CONNACK with success was sent, or is as soon as the client's will is durable.
    Connected(Box<Connected>),
    /// Over, and why.
    Closed(Box<Closing>),
}

/// One network connection's half: owned by the connection's task.
///
/// The caller feeds what it reads into [`receive`](Self::receive), asks
/// [`poll_deliveries`](Self::poll_deliveries) for what others send (also after each `receive`: an acknowledgement may
/// let waiting messages go; and `receive` again after it when input is left), does not read from its socket while
/// [`takes_input`](Self::takes_input) says no, watches [`deadline`](Self::deadline), and says when the socket is [`gone`](Self::gone).
pub struct Link {
    broker: Arc<Broker>,
    /// The broker's, or those of the listener that it came in by.
    limits: Arc<Limits>,
    mailbox: Arc<Mailbox>,
    connection: ConnectionId,
    opened: Tick,
    /// When the last whole packet came.
    last_received: Tick,
    packets_received: u64,
    packets_sent: u64,
    last_in: Option<PacketKind>,
    last_out: Option<PacketKind>,
    /// What the session held when this link let go of it.
    held_at_end: Option<(u32, u32)>,
    /// Keep alives missed by then.
    missed_at_end: u32,
    request: Option<Box<ConnectRequest>>,
    stage: Stage,
    /// None between turns, and most links are idle.
    turn: Option<Box<Turn>>,
}

/// What is done once for all packets that came at once.
#[derive(Debug, Default)]
struct Turn {
    /// Who has something to send.
    wakes: Wakes,
    /// PUBLISH packets of the client.
    messages: u64,
    payload: u64,
    packets_out: u64,
    bytes_out: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(
        broker: Arc<Broker>,
        limits: Arc<Limits>,
        connection: ConnectionId,
        mailbox: Arc<Mailbox>,
        now: Tick,
    ) -> Self {
        Self {
            broker,
            limits,
            mailbox,
            connection,
            opened: now,
            last_received: now,
            packets_received: 0,
            packets_sent: 0,
            last_in: None,
            last_out: None,
            held_at_end: None,
            missed_at_end: 0,
            request: None,
            stage: Stage::Opening,
            turn: None,
        }
    }

    /// A trusted proxy has told the client's own address: from then on it counts as that one's connection.
    pub fn came_from(&self, peer: SocketAddr) {
        self.mailbox.came_from(peer);
    }

    /// Consumes whole packets from `input`, writes replies to `output`. Returns after at most one thing that the
    /// caller must act on; to be called again until it is `Continue`. Between [`Step::Authenticate`] and
    /// [`decide`](Self::decide) it consumes nothing.
    ///
    /// When a takeover or the server's stop has ordered the end, `input` has no effect any more; but a DISCONNECT in it
    /// was sent before, and is the end.
    pub fn receive(&mut self, now: Tick, input: &mut BytesMut, output: &mut BytesMut) -> Step {
        let (bytes, packets) = (input.len(), self.packets_received);
        let step = self.take_in(now, input, output);
        let counters = self.broker.counters();
        Counters::add(&counters.bytes_in, u64::try_from(bytes - input.len()).unwrap_or(u64::MAX));
        Counters::add(&counters.packets_in, self.packets_received - packets);
        self.turn_is_over();
        step
    }

    /// Wakes those who have something to send, once for all that was routed, and counts.
    fn turn_is_over(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let Turn { wakes, messages, payload, packets_out, bytes_out } = *turn;
        drop(wakes); // which wakes them
        let counters = self.broker.counters();
        Counters::add_all(&[
            (&counters.received, messages),
            (&counters.payload_in, payload),
            (&counters.packets_out, packets_out),
            (&counters.bytes_out, bytes_out),
        ]);
    }

    fn take_in(&mut self, now: Tick, input: &mut BytesMut, output: &mut BytesMut) -> Step {
        if self.mailbox.has_order() {
            let said = match &self.stage {
                Stage::Opening => self.receive_opening(now, input, output),
                Stage::Deciding(_) | Stage::Connected(_) | Stage::Closed(_) => self.receive_last(now, input, output),
            };
            if !matches!(said, Step::Continue) {
                return said; // a CONNECT too: who decides on it obeys
            }
            if let Some(end) = self.mailbox.end() {
                return self.end_on_order(now, *end, output);
            }
        }
        loop {
            let handled = match &self.stage {
                Stage::Closed(closing) => return Step::Close(Closing::clone(closing)),
                Stage::Deciding(_) => return Step::Continue,
                Stage::Opening => return self.receive_opening(now, input, output),
                Stage::Connected(connected) if connected.welcome.is_some() => return Step::Continue,
                Stage::Connected(_) => self.receive_connected(now, input, output),
            };
            match handled {
                Ok(Some(step)) => return step,
                Ok(None) => {}
                Err(fault) => return self.fail(now, &fault, output),
            }
        }
    }

    /// Whether somebody else has ordered this link to end. Before it is told so by
    /// [`poll_deliveries`](Self::poll_deliveries), the caller should bring it what the client may have said last.
    pub fn is_ordered_to_end(&self) -> bool {
        self.mailbox.has_order()
    }

    /// The same for a caller that can take no deliveries now, as the client takes nothing: registers the waker.
    pub fn poll_ordered_to_end(&self, cx: &mut Context<'_>) -> bool {
        self.mailbox.poll_order(cx.waker())
    }

    /// Messages that others sent to this client, takeover, shutdown. Registers the waker when there is nothing. Writes
    /// at most about `room` bytes, then returns `Ready(Continue)` so that the caller can flush before it asks again.
    pub fn poll_deliveries(
        &mut self,
        now: Tick,
        cx: &mut Context<'_>,
        room: usize,
        output: &mut BytesMut,
    ) -> Poll<Step> {
        let polled = self.deliver(now, cx, room, output);
        self.turn_is_over();
        polled
    }

    fn deliver(&mut self, now: Tick, cx: &mut Context<'_>, room: usize, output: &mut BytesMut) -> Poll<Step> {
        if let Stage::Closed(closing) = &self.stage {
            return Poll::Ready(Step::Close(Closing::clone(closing)));
        }
        let (end, has_notices) = self.mailbox.register(cx.waker());
        if let Some(end) = end {
            return Poll::Ready(self.end_on_order(now, *end, output));
        }
        if let Some(welcomed) = self.poll_welcome(now, cx, output) {
            return welcomed;
        }
        let Stage::Connected(connected) = &self.stage else { return Poll::Pending };
        let has_backlog = connected.backlog.is_some();
        let mut advanced = has_notices;
        if has_notices {
            self.tell_what_waits(output);
        }
        if has_backlog {
            match self.advance(now, output) {
                Ok(some) => advanced |= some,
                Err(fault) => return Poll::Ready(self.fail(now, &fault, output)),
            }
        }
        match self.release_held(output) {
            Ok(some) => advanced |= some,
            Err(fault) => return Poll::Ready(self.fail(now, &fault, output)),
        }
        let durable = self.broker.keeper().map_or(Mark(u64::MAX), |keeper| keeper.kept());
        let Stage::Connected(connected) = &mut self.stage else { return Poll::Pending };
        let mut pump = Pump {
            now,
            durable,
            waits_for: None,
            permissions: &*connected.permissions,
            version: connected.version,
            aliases: &mut connected.aliases_out,
            packet_bytes_max: connected.packet_bytes_max,
            room: output.len().saturating_add(room.max(1)),
            output,
            packets: 0,
            messages: 0,
            dropped: 0,
            traces: Traces { broker: &self.broker, client: &connected.session.client, connection: self.connection },
            freed: Vec::new(),
            payload: 0,
            bytes: 0,
            last: None,
        };
        let (mut state, handed_out) = self.broker.lock_filled(now, &connected.session, &self.mailbox);
        advanced |= handed_out;
        let mut more = state.is_owned_by(&self.mailbox) && state.pump(&mut pump);
        more |= !state.has_waiting() && state.is_owed_now(&self.mailbox, self.broker.limits());
        drop(state);
        std::mem::take(&mut pump.freed).into_iter().for_each(|waiter| waiter.wake());
        self.last_out = pump.last.or(self.last_out);
        self.packets_sent += pump.packets;
        let counters = self.broker.counters();
        Counters::add_all(&[
            (&counters.packets_out, pump.packets),
            (&counters.bytes_out, pump.bytes),
            (&counters.sent, pump.messages),
            (&counters.payload_out, pump.payload),
            (&counters.dropped, pump.dropped),
        ]);
        if more || advanced || pump.packets > 0 {
            return Poll::Ready(Step::Continue);
        }
        let waits_for = pump.waits_for;
        self.watch_keeper(waits_for, cx);
        Poll::Pending
    }

    /// The network connection is gone: the will is published unless the client took its leave, the session is kept or
    /// ended. Does nothing the second time.
    pub fn gone(&mut self, now: Tick) {
        self.close(now, Closing::End(End::of(Reason::ClientClosed)), true);
    }

    /// MQTT packets received and sent, whole ones.
    pub fn packets(&self) -> (u64, u64) {
        (self.packets_received, self.packets_sent)
    }

    /// Kinds of the last packets received and sent.
    pub fn last_packets(&self) -> (Option<PacketKind>, Option<PacketKind>) {
        (self.last_in, self.last_out)
    }

    /// Subscriptions of the session and messages of QoS 1 and 2 that its client has not acknowledged, now or when this
    /// link let go of it; none without a session.
    pub fn held(&self) -> Option<(u32, u32)> {
        match &self.stage {
            Stage::Connected(connected) => Some(connected.held()),
            Stage::Opening | Stage::Deciding(_) | Stage::Closed(_) => self.held_at_end,
        }
    }

    /// Who the client said it is: there as soon as a CONNECT's identity could be read, also when it was then refused.
    pub fn request(&self) -> Option<&ConnectRequest> {
        self.request.as_deref()
    }

    /// Appends a packet, unless the client does not take one of its size.
    fn send(
        &mut self,
        version: ProtocolVersion,
        packet_bytes_max: u32,
        packet: &Outgoing<'_>,
        output: &mut BytesMut,
    ) -> bool {
        let before = output.len();
        let fits = codec::encode(version, packet, output).is_ok()
            && output.len() - before <= usize::try_from(packet_bytes_max).unwrap_or(usize::MAX);
        if fits {
            self.packets_sent += 1;
            self.last_out = Some(packet.kind());
            let turn = self.turn.get_or_insert_default();
            turn.packets_out += 1;
            turn.bytes_out += u64::try_from(output.len() - before).unwrap_or(u64::MAX);
        } else {
            output.truncate(before);
        }
        fits
    }

    /// A connected client broke a rule.
    fn fail(&mut self, now: Tick, fault: &Fault, output: &mut BytesMut) -> Step {
        let end = End::of(fault.reason).with_detail(&fault.detail);
        let wants = matches!(&self.stage, Stage::Connected(connected) if connected.wants_problems);
        let reason = wants.then_some(&*fault.detail);
        self.end_with(now, end, fault.code, About { reason, server: None }, output)
    }

    /// Ends the link with the code that fits its reason.
    fn end(&mut self, now: Tick, end: End, output: &mut BytesMut) -> Step {
        let broker = Arc::clone(&self.broker);
        let server = broker.limits().redirect_to.as_deref().filter(|_| end.reason == Reason::ServerShutdown);
        let code = if server.is_some() { codes::USE_ANOTHER_SERVER } else { codes::disconnect(end.reason) };
        self.end_with(now, end, code, About { reason: None, server }, output)
    }

    /// The one way in which the server ends a connection: who waits for its CONNACK is refused by it [MQTT-3.14.0-1],
    /// MQTT 5.0 clients that are connected get a DISCONNECT, all others nothing.
    fn end_with(&mut self, now: Tick, mut end: End, code: u8, about: About<'_>, output: &mut BytesMut) -> Step {
        end.reason_code = None;
        if self.is_unwelcomed() {
            end.reason_code = self.send_refusal(end.reason, code, about, output);
        } else if let Stage::Connected(connected) = &self.stage
            && connected.version == ProtocolVersion::V5
        {
            let most = connected.packet_bytes_max;
            // Without the words where they would make it too large [MQTT-3.14.2-3].
            let sent = [about, About::default()]
                .into_iter()
                .any(|about| self.send(ProtocolVersion::V5, most, &Outgoing::Disconnect { code, about }, output));
            end.reason_code = sent.then_some(code);
        }
        self.close(now, Closing::End(end), true)
    }

    /// Releases everything, once. `with_will` tells whether the will is to be published.
    fn close(&mut self, now: Tick, closing: Closing, with_will: bool) -> Step {
        if let Stage::Closed(closing) = &self.stage {
            return Step::Close(Closing::clone(closing));
        }
        self.turn_is_over();
        self.missed_at_end = self.missed_keep_alives(now);
        match std::mem::replace(&mut self.stage, Stage::Closed(Box::new(closing.clone()))) {
            Stage::Connected(mut connected) => {
                self.held_at_end = Some(connected.held());
                if let Some(backlog) = connected.backlog.take() {
                    self.give_up(&backlog);
                }
                let departure = Departure {
                    connection: self.connection,
                    mailbox: &self.mailbox,
                    session: &connected.session,
                    // Without a CONNACK it was never accepted.
                    will: connected.will.filter(|_| with_will && connected.welcome.is_none()),
                    permissions: &connected.permissions,
                };
                self.broker.detach(now, departure);
            }
            Stage::Opening | Stage::Deciding(_) | Stage::Closed(_) => self.broker.forget(self.connection),
        }
        Step::Close(closing)
    }
}

/// A link that is dropped without [`Link::gone`] counts as gone since its last packet: it has no other clock.
impl Drop for Link {
    fn drop(&mut self) {
        self.gone(self.last_received);
    }
}
