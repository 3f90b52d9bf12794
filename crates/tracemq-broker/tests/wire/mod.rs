//! Bytes by hand, and a link driven by them: independent of the codec under test.

// Each test file uses a part; and a helper of tests may panic as a test may.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::BytesMut;
use tracemq_broker::{Broker, Closing, Decision, Limits, Link, Permissions, Step, Tick};
use tracemq_model::{Acceptance, ConnectionId, End, Reason};

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

pub fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text);
    bytes
}

pub fn props(block: &[u8]) -> Vec<u8> {
    [variable(block.len()), block.to_vec()].concat()
}

#[derive(Clone)]
pub struct Connect {
    pub v5: bool,
    pub flags: u8,
    pub keep_alive: u16,
    pub props: Vec<u8>,
    pub id: Vec<u8>,
    pub will: Option<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

pub fn connect(v5: bool, id: &str) -> Connect {
    Connect { v5, flags: 2, keep_alive: 60, props: vec![], id: id.into(), will: None, user: None, password: None }
}

impl Connect {
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }
    pub fn props(mut self, block: &[u8]) -> Self {
        self.props = block.to_vec();
        self
    }
    /// Sets the flag, QoS 0, not retained.
    pub fn will(mut self, props: &[u8], topic: &str, payload: &str) -> Self {
        self.will = Some((props.to_vec(), topic.into(), payload.into()));
        self.flags |= 4;
        self
    }
    pub fn user(mut self, name: impl AsRef<[u8]>) -> Self {
        self.user = Some(name.as_ref().to_vec());
        self.flags |= 0x80;
        self
    }
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.flags |= 0x40;
        self
    }
    /// Keeps the session for `seconds` (3.1.1: for good).
    pub fn lasting(mut self, seconds: u32) -> Self {
        self.flags &= !2;
        if self.v5 {
            self.props.push(0x11);
            self.props.extend(seconds.to_be_bytes());
        }
        self
    }
    pub fn body(&self) -> Vec<u8> {
        let mut body = text("MQTT");
        body.extend([if self.v5 { 5 } else { 4 }, self.flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.v5 {
            body.extend(props(&self.props));
        }
        body.extend(text(&self.id));
        if let Some((block, topic, payload)) = &self.will {
            if self.v5 {
                body.extend(props(block));
            }
            body.extend(text(topic));
            body.extend(text(payload));
        }
        body.extend(self.user.iter().flat_map(text));
        body.extend(self.password.iter().flat_map(text));
        body
    }
    pub fn bytes(&self) -> Vec<u8> {
        packet(0x10, &self.body())
    }
}

/// `flags` is the lower half of the first byte.
pub fn publish(v5: bool, flags: u8, topic: impl AsRef<[u8]>, id: u16, block: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    if v5 {
        body.extend(props(block));
    }
    body.extend(payload);
    packet(0x30 | flags, &body)
}

pub fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

pub fn subscribe_with(v5: bool, id: u16, block: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if v5 {
        body.extend(props(block));
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

pub fn subscribe(v5: bool, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(v5, 77, &[], filters)
}

pub fn unsubscribe(v5: bool, filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 78];
    if v5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(text(filter));
    }
    packet(0xa2, &body)
}

pub struct Rules {
    pub publish: fn(&str) -> bool,
    pub subscribe: fn(&str) -> bool,
}

impl Permissions for Rules {
    fn may_publish(&self, topic: &str, _: u8, _: bool) -> bool {
        (self.publish)(topic)
    }
    fn may_subscribe(&self, filter: &str, _: Option<u8>) -> bool {
        (self.subscribe)(filter)
    }
    fn may_receive(&self, topic: &str) -> bool {
        (self.subscribe)(topic)
    }
    fn generation(&self) -> u64 {
        0
    }
}

/// Rules that change: everything but what is named may be done.
#[derive(Default)]
pub struct Changing {
    pub forbidden: Mutex<Vec<String>>,
    pub generation: AtomicU64,
    pub asked: AtomicU64,
}

impl Changing {
    pub fn forbid(&self, topics: &[&str]) {
        *self.forbidden.lock().unwrap() = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
    fn allows(&self, text: &str) -> bool {
        !self.forbidden.lock().unwrap().iter().any(|one| one == text)
    }
}

impl Permissions for Changing {
    fn may_publish(&self, topic: &str, _: u8, _: bool) -> bool {
        self.allows(topic)
    }
    fn may_subscribe(&self, filter: &str, _: Option<u8>) -> bool {
        self.allows(filter)
    }
    fn may_receive(&self, topic: &str) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.allows(topic)
    }
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub struct Woken(Mutex<usize>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Woken {
    pub fn take(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// One link with its socket's two directions.
pub struct Peer {
    pub link: Link,
    pub v5: bool,
    pub input: BytesMut,
    pub output: BytesMut,
    pub accepted: Option<Acceptance>,
    pub closed: Option<Closing>,
    pub permissions: Arc<dyn Permissions>,
    pub refuse: Option<Reason>,
    pub woken: Arc<Woken>,
    pub now: Tick,
}

pub fn broker() -> Arc<Broker> {
    Broker::new(Limits::default())
}

/// A packet that came out: first byte and body.
pub type Out = (u8, Vec<u8>);

impl Peer {
    pub fn open(broker: &Arc<Broker>, connection: u128, now: Tick) -> Self {
        Self {
            link: broker.open(ConnectionId(connection), now),
            v5: false,
            input: BytesMut::new(),
            output: BytesMut::new(),
            accepted: None,
            closed: None,
            permissions: Arc::new(Rules { publish: |_| true, subscribe: |_| true }),
            refuse: None,
            woken: Arc::default(),
            now,
        }
    }

    /// Opened, connected and accepted; the CONNACK is taken off.
    pub fn connected(broker: &Arc<Broker>, connection: u128, connect: &Connect) -> Self {
        Self::connected_at(broker, connection, connect, Tick(0))
    }

    pub fn connected_at(broker: &Arc<Broker>, connection: u128, connect: &Connect, now: Tick) -> Self {
        let mut peer = Self::open(broker, connection, now);
        peer.v5 = connect.v5;
        peer.send(&connect.bytes());
        assert!(peer.accepted.is_some(), "{:?}", peer.closed);
        assert_eq!(peer.packets().first().map(|p| p.0), Some(0x20));
        peer
    }

    /// The same with rules of its own.
    pub fn with_rules(
        broker: &Arc<Broker>,
        connection: u128,
        connect: &Connect,
        rules: &Arc<impl Permissions + 'static>,
    ) -> Self {
        let mut peer = Self::open(broker, connection, Tick(0));
        peer.v5 = connect.v5;
        peer.permissions = Arc::clone(rules) as Arc<dyn Permissions>;
        peer.send(&connect.bytes()).packets();
        peer
    }

    /// Feeds bytes and lets the link work until it needs more.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.input.extend_from_slice(bytes);
        loop {
            let mut step = self.link.receive(self.now, &mut self.input, &mut self.output);
            if let Step::Authenticate(_) = step {
                let decision = match self.refuse {
                    None => Decision::Admit { permissions: Arc::clone(&self.permissions) },
                    Some(reason) => Decision::Refuse { reason, detail: None },
                };
                step = self.link.decide(self.now, decision, &mut self.output);
            }
            match step {
                Step::Continue => return self,
                Step::Accepted(acceptance) => self.accepted = Some(acceptance),
                Step::Close(closing) => {
                    self.closed = Some(closing);
                    return self;
                }
                Step::Authenticate(_) => panic!("asked twice"),
            }
        }
    }

    /// Takes what others sent.
    pub fn deliver(&mut self) -> &mut Self {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(step) = self.link.poll_deliveries(self.now, &mut cx, 65_536, &mut self.output) {
            match step {
                Step::Continue => {}
                Step::Close(closing) => {
                    self.closed = Some(closing);
                    break;
                }
                Step::Accepted(acceptance) => self.accepted = Some(acceptance),
                Step::Authenticate(_) => panic!("not here"),
            }
        }
        if self.closed.is_none() && !self.input.is_empty() {
            self.send(&[]); // it may be taken now
        }
        self
    }

    /// Lets the link's deadline pass.
    pub fn time_out(&mut self, now: Tick) -> &mut Self {
        self.now = now;
        if let Step::Close(closing) = self.link.timed_out(now, &mut self.output) {
            self.closed = Some(closing);
        }
        self
    }

    /// Takes off what was written, as packets.
    pub fn packets(&mut self) -> Vec<Out> {
        let bytes = self.output.split();
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let (mut length, mut header) = (0, 1);
            loop {
                let byte = rest[header];
                length |= usize::from(byte & 0x7f) << (7 * (header - 1));
                header += 1;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            packets.push((rest[0], rest[header..header + length].to_vec()));
            rest = &rest[header + length..];
        }
        packets
    }

    /// Delivers, and gives the PUBLISH packets of it as (flags, topic, packet id, properties, payload).
    pub fn messages(&mut self) -> Vec<Got> {
        self.deliver();
        let v5 = self.v5;
        self.packets()
            .iter()
            .filter(|(first, _)| first >> 4 == 3)
            .map(|(first, body)| Got::of(*first, body, v5))
            .collect()
    }

    /// Payloads of what is delivered.
    pub fn payloads(&mut self) -> Vec<String> {
        self.messages().into_iter().map(|got| got.payload).collect()
    }

    pub fn end(&self) -> &End {
        match &self.closed {
            Some(Closing::End(end)) => end,
            other => panic!("not ended by the server: {other:?}"),
        }
    }

    pub fn reason(&self) -> Reason {
        self.end().reason
    }

    pub fn detail(&self) -> String {
        self.end().detail.as_deref().unwrap_or_default().to_owned()
    }

    /// Ended for that reason; MQTT 5.0 clients got a DISCONNECT with the recorded code as the last packet.
    pub fn assert_ended(&mut self, reason: Reason, context: &str) {
        assert_eq!(self.reason(), reason, "{context}: {}", self.detail());
        assert!(!self.detail().is_empty(), "{context}");
        let packets = self.packets();
        let last = packets.last().filter(|(first, _)| *first == 0xe0);
        if self.v5 && self.accepted.is_some() {
            assert_eq!(last.map(|(_, body)| body[0]), self.end().reason_code, "{context}");
        } else {
            assert_eq!(last, None, "{context}: a DISCONNECT to who can't take one");
        }
    }
}

/// A PUBLISH that came out.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub topic: String,
    pub id: u16,
    pub props: Vec<u8>,
    pub payload: String,
}

impl Got {
    pub fn of(first: u8, body: &[u8], v5: bool) -> Self {
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let mut rest = &body[2 + length..];
        let qos = first >> 1 & 3;
        let id = if qos > 0 { u16::from_be_bytes([rest[0], rest[1]]) } else { 0 };
        rest = &rest[if qos > 0 { 2 } else { 0 }..];
        let mut props = Vec::new();
        if v5 {
            let (mut length, mut header) = (0, 0);
            loop {
                let byte = rest[header];
                length |= usize::from(byte & 0x7f) << (7 * header);
                header += 1;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            props = rest[header..header + length].to_vec();
            rest = &rest[header + length..];
        }
        let payload = String::from_utf8_lossy(rest).into_owned();
        Self { qos, dup: first & 8 != 0, retain: first & 1 != 0, topic, id, props, payload }
    }
}
