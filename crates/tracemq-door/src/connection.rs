//! One connection, from accept to close.
//!
//! A small state machine around a socket: bytes in, the broker's steps, bytes out. What it sees it tells the
//! [`Record`]; the events that come of it go to the recorder at once, before any last bytes are written, so that a slow
//! client can't delay them. Buffers exist only while they hold bytes.

mod closing;

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tracemq_broker::{Closing, ConnectAttempt, Decision, Link, Step};
use tracemq_model::{End, Observation, Opening, Reason};

use crate::admission::{Admission, Newcomer, Pending};
use crate::ending;
use crate::record::Record;
use crate::shared::{Place, Shared};
use crate::spare;
use crate::transport::Transport;

/// Bytes taken from a socket in one read; on the stack, so that it costs an idle connection nothing.
const READ_BYTES: usize = 8 * 1024;
/// Reads in a row that the last words of a client may take, so that a flood of them can't put an end off.
const LAST_READS_MAX: usize = 8;

pub(crate) struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    transport: Transport,
    link: Link,
    record: Record,
    input: BytesMut,
    output: BytesMut,
    timer: Pin<Box<Sleep>>,
    last_in: Option<Instant>,
    last_out: Option<Instant>,
    /// Since when the client has not taken the bytes that wait.
    stalled: Option<Instant>,
    waiting_noted: bool,
    /// Deliveries have the next turn.
    just_received: bool,
    bytes_in: u64,
    bytes_out: u64,
    place: Place,
    /// The decision on its CONNECT, while that takes time.
    deciding: Option<Pending>,
    /// The client has closed its half while bytes of it wait for the decision.
    half_closed: bool,
}

/// Takes `bytes` in; gives how many bytes of MQTT came of them.
fn take(transport: &mut Transport, bytes: &[u8], mqtt: &mut BytesMut) -> u64 {
    let before = mqtt.len();
    transport.take(bytes, mqtt);
    (mqtt.len() - before) as u64
}

enum Wake {
    /// So many bytes were read into `input`; none at the end of the stream.
    Received(io::Result<usize>),
    Writable,
    Delivered(Step),
    /// A takeover or the server's stop waits to be obeyed.
    Ordered,
    /// The decision on its CONNECT is there.
    Decided(Decision),
    Timer,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, opening: Opening, place: Place) -> Self {
        // The record first: no deadline of the link may seem to be over early by the duration on record.
        let record = Record::new(Arc::clone(&shared), opening);
        let (now, limits) = (shared.house.tick(), shared.settings.limits.as_ref());
        let link = shared.broker.open_from(record.opening(), limits, (shared.house.clock)(), now);
        let transport = Transport::new(&shared.settings);
        let first_timer = record.opened + shared.settings.waiting_after;
        Self {
            shared,
            stream,
            transport,
            link,
            record,
            input: BytesMut::new(),
            output: BytesMut::new(),
            timer: Box::pin(tokio::time::sleep_until(first_timer.into())),
            last_in: None,
            last_out: None,
            stalled: None,
            waiting_noted: false,
            just_received: false,
            bytes_in: 0,
            bytes_out: 0,
            place,
            deciding: None,
            half_closed: false,
        }
    }

    /// Lives until the connection has ended and its end is on record.
    pub(crate) async fn run(mut self) {
        loop {
            let wake = std::future::poll_fn(|cx| self.poll_wake(cx)).await;
            let step = match wake {
                Wake::Received(read) => self.received(read),
                Wake::Writable => self.write(),
                Wake::Delivered(Step::Continue) if !self.input.is_empty() => self.receive(), // it may be taken now
                Wake::Delivered(step) => step,
                Wake::Ordered => self.on_order(),
                Wake::Decided(decision) => self.link.decide(self.shared.house.tick(), decision, &mut self.output),
                Wake::Timer => self.on_timer(),
            };
            if let Some(closing) = self.act_on(step) {
                self.seal();
                self.transport.farewell(&closing);
                let lingers = self.client_may_still_read(&closing);
                self.send_last_packet();
                // Lingering may take a while; what the socket did not take yet goes out meanwhile.
                self.input = BytesMut::new();
                spare::take_back(&mut self.output);
                self.end(closing);
                if lingers {
                    Box::pin(self.linger()).await;
                }
                return;
            }
        }
    }

    /// Waits for the next thing to do. Bytes that came are looked at before anything is written: a DISCONNECT that
    /// arrived together with a reset is the reason, not the reset. Who floods us with packets gets its deliveries all
    /// the same: the two take turns.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let waiting = self.output.len() + self.transport.waiting();
        if waiting < self.shared.settings.write_buffer_max {
            let deliveries_first = std::mem::take(&mut self.just_received);
            let reads = self.link.takes_input() && self.hears_while_deciding();
            if reads
                && !deliveries_first
                && let Poll::Ready(received) = self.poll_read(cx)
            {
                return Poll::Ready(received);
            }
            if self.link.is_ordered_to_end() {
                return Poll::Ready(Wake::Ordered);
            }
            if let Some(deciding) = &mut self.deciding
                && let Poll::Ready(decision) = deciding.as_mut().poll(cx)
            {
                self.deciding = None;
                return Poll::Ready(Wake::Decided(decision));
            }
            let room = self.shared.settings.write_buffer_max - waiting;
            let now = self.shared.house.tick();
            spare::lend(&mut self.output);
            if let Poll::Ready(step) = self.link.poll_deliveries(now, cx, room, &mut self.output) {
                return Poll::Ready(Wake::Delivered(step));
            }
            spare::take_back(&mut self.output);
            if reads
                && deliveries_first
                && let Poll::Ready(received) = self.poll_read(cx)
            {
                return Poll::Ready(received);
            }
        } else if self.link.poll_ordered_to_end(cx) {
            return Poll::Ready(Wake::Ordered);
        }
        if waiting > 0 && self.stream.poll_write_ready(cx).is_ready() {
            return Poll::Ready(Wake::Writable);
        }
        self.set_timer();
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Wake::Timer)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch));
        let bytes = scratch.filled();
        let read = read.map(|()| bytes.len());
        spare::lend(&mut self.input);
        self.bytes_in += take(&mut self.transport, bytes, &mut self.input);
        self.just_received = true;
        Poll::Ready(Wake::Received(read))
    }

    /// While its CONNECT is decided on, a client is heard only as far as it takes to see it leave: what it sends behind
    /// the CONNECT waits.
    fn hears_while_deciding(&self) -> bool {
        self.deciding.is_none() || (!self.half_closed && self.input.len() < READ_BYTES)
    }

    /// Moves the timer earlier when it must be; later it moves by itself when it fires, so that an ordinary packet
    /// does not touch the runtime's timers.
    fn set_timer(&mut self) {
        if let Some(next) = self.next_deadline()
            && next < self.timer.deadline().into_std()
        {
            self.timer.as_mut().reset(next.into());
        }
    }

    /// When a client without CONNACK is noted as open: later, if it only waits for us.
    fn waiting_after(&self) -> Duration {
        self.shared.settings.waiting_after * if self.deciding.is_some() { 4 } else { 1 }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let settings = &self.shared.settings;
        let waiting = (!self.waiting_noted).then(|| self.record.opened + self.waiting_after());
        let stalled = self.stalled.map(|since| since + settings.write_stall_max);
        let link = self.link.deadline().map(|tick| self.shared.house.instant(tick));
        [waiting, stalled, link].into_iter().flatten().min()
    }

    fn on_timer(&mut self) -> Step {
        let now = Instant::now();
        let settings = &self.shared.settings;
        if self.stalled.is_some_and(|since| now >= since + settings.write_stall_max) {
            if let said @ (Step::Close(_) | Step::Authenticate(_) | Step::Accepted(_)) = self.last_words() {
                return said;
            }
            let detail = format!(
                "{} bytes waited, and the client took none of them",
                self.output.len() + self.transport.waiting()
            );
            return Step::Close(Closing::End(End::of(Reason::SlowConsumer).with_detail(&detail)));
        }
        if !self.waiting_noted && now >= self.record.opened + self.waiting_after() {
            self.waiting_noted = true;
            self.observe(Observation::Waiting);
        }
        let mut step = Step::Continue;
        if self.link.deadline().is_some_and(|deadline| deadline <= self.shared.house.tick()) {
            step = self.last_words();
            if matches!(step, Step::Continue) {
                step = self.link.timed_out(self.shared.house.tick(), &mut self.output);
            }
            if let (Step::Close(Closing::End(end)), Some(what)) = (&mut step, self.transport.unfinished())
                && end.reason == Reason::ConnectTimeout
            {
                let ms = self.record.opened.elapsed().as_millis();
                *end = End::of(end.reason).with_detail(&format!("no whole {what} {ms} ms after the TCP accept"));
            }
        }
        let next = self.next_deadline().unwrap_or_else(|| now + Duration::from_secs(24 * 3600));
        self.timer.as_mut().reset(next.into());
        step
    }

    fn received(&mut self, read: io::Result<usize>) -> Step {
        match read {
            // What it had sent before is to be done yet, if it is let in.
            Ok(0) if self.deciding.is_some() && !self.input.is_empty() => {
                self.half_closed = true;
                Step::Continue
            }
            Ok(0) => match self.transport.unfinished().filter(|_| self.last_in.is_some()) {
                Some(what) => Step::Close(Closing::End(ending::of_early_fin(what))),
                None => Step::Close(Closing::End(ending::of_fin(self.input.len()))),
            },
            Ok(_) => {
                // A health check of the proxy's own sends the header alone: as silent as one without a proxy.
                self.last_in = (!self.transport.has_only_a_proxy_header()).then(Instant::now);
                let mut full = None;
                for news in self.transport.news() {
                    if let Observation::ProxyHeader { client } = &news {
                        self.link.came_from(*client);
                        full = self.shared.hold_for(&mut self.place, client.ip()).err();
                    }
                    self.observe(news);
                }
                match full {
                    Some(end) => Step::Close(Closing::End(end)),
                    None => self.receive(),
                }
            }
            Err(error) => Step::Close(Closing::End(ending::of_io_error(&error, "reading"))),
        }
    }

    fn receive(&mut self) -> Step {
        let now = self.shared.house.tick();
        spare::lend(&mut self.output);
        let step = self.link.receive(now, &mut self.input, &mut self.output);
        spare::take_back(&mut self.input);
        match (step, self.transport.end()) {
            (Step::Continue, Some(end)) => Step::Close(Closing::End(end)),
            (step, _) => step,
        }
    }

    /// Does what a step asks for, until there is nothing more to do or the connection is to be closed.
    fn act_on(&mut self, mut step: Step) -> Option<Closing> {
        loop {
            step = match step {
                Step::Continue => match self.write() {
                    Step::Close(closing) => return Some(closing),
                    Step::Continue | Step::Authenticate(_) | Step::Accepted(_) => return None,
                },
                Step::Authenticate(attempt) => {
                    let request = self.under_its_proven_name(attempt.request.clone());
                    self.observe(Observation::ConnectReceived(request));
                    match self.consider(attempt) {
                        Admission::Decided(decision) => {
                            self.link.decide(self.shared.house.tick(), decision, &mut self.output)
                        }
                        Admission::Pending(deciding) => {
                            self.deciding = Some(deciding);
                            Step::Continue
                        }
                    }
                }
                Step::Accepted(acceptance) => match self.write() {
                    Step::Close(closing) => return Some(closing),
                    Step::Continue | Step::Authenticate(_) | Step::Accepted(_) => {
                        self.waiting_noted = true;
                        if acceptance.keep_alive_s == 0 {
                            self.let_the_system_watch();
                        }
                        self.observe(Observation::ConnectAccepted(acceptance));
                        self.receive()
                    }
                },
                Step::Close(closing) => return Some(closing),
            };
        }
    }

    fn consider(&self, attempt: Box<ConnectAttempt>) -> Admission {
        self.shared.guard.consider(Newcomer {
            attempt,
            connection: self.record.connection(),
            address: self.record.client_address(),
            instance: &self.shared.settings.instance,
            listener: &self.shared.settings.name,
            proven: self.transport.user_of_certificate(),
            anonymous: self.shared.settings.anonymous,
            broker: &self.shared.broker,
        })
    }

    /// A client without keep alive that loses power would never be missed: the operating system asks for it instead,
    /// after ten minutes of silence and then each minute, and gives up after five questions.
    fn let_the_system_watch(&self) {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(600))
            .with_interval(Duration::from_secs(60))
            .with_retries(5);
        // Without it the connection is as it was; there is nothing better to do.
        let _ = SockRef::from(&self.stream).set_tcp_keepalive(&keepalive);
    }

    /// Writes what waits, as far as the socket takes it.
    fn write(&mut self) -> Step {
        self.seal();
        loop {
            let wire = self.transport.wire(&mut self.output);
            if wire.is_empty() {
                spare::take_back(wire);
                spare::take_back(&mut self.output); // under TLS another one
                return Step::Continue;
            }
            match self.stream.try_write(wire) {
                Ok(n) => {
                    wire.advance(n);
                    self.bytes_out += self.transport.mqtt_in(n);
                    self.last_out = Some(Instant::now());
                    self.stalled = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Step::Continue;
                }
                Err(error) => return self.after_failed_write(&error),
            }
        }
    }

    fn seal(&mut self) {
        self.bytes_out += self.transport.seal(&mut self.output);
    }

    /// What the client had said when others ordered the end; then the order is obeyed.
    fn on_order(&mut self) -> Step {
        match self.last_words() {
            Step::Continue => self.receive(),
            said @ (Step::Close(_) | Step::Authenticate(_) | Step::Accepted(_)) => said,
        }
    }

    /// Before the server, a failed write or a deadline decides how the connection ends: what the client had already said
    /// by then is asked of the operating system itself, whatever the runtime knows of readiness. A DISCONNECT, a close or
    /// a ping that waits there is the truth.
    fn last_words(&mut self) -> Step {
        let mut scratch = [0; READ_BYTES];
        for _ in 0..LAST_READS_MAX {
            let read = (&*SockRef::from(&self.stream)).read(&mut scratch);
            let step = match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Continue,
                Err(error) => self.received(Err(error)),
                Ok(n) => {
                    let bytes = scratch.get(..n).unwrap_or_default();
                    self.bytes_in += take(&mut self.transport, bytes, &mut self.input);
                    self.received(Ok(n))
                }
            };
            if !matches!(step, Step::Continue) {
                return step;
            }
        }
        Step::Continue
    }

    /// The peer is gone. If its last words still wait to be read, they are the reason.
    fn after_failed_write(&mut self, error: &io::Error) -> Step {
        let said = self.last_words();
        self.output = BytesMut::new(); // nobody takes it any more
        match said {
            Step::Close(closing @ Closing::DisconnectReceived { .. }) => Step::Close(closing),
            Step::Close(Closing::End(end)) if matches!(end.reason, Reason::ConnectionReset | Reason::ClientClosed) => {
                Step::Close(Closing::End(end))
            }
            Step::Close(_) | Step::Continue | Step::Authenticate(_) | Step::Accepted(_) => {
                Step::Close(Closing::End(ending::of_io_error(error, "writing")))
            }
        }
    }
}
