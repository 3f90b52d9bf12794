//! A client that keeps the rules of MQTT on its side, over a network that cuts packets and connections anywhere.

// A helper of tests may panic as a test may.
#![allow(clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tracemq_broker::{Broker, Tick};

use crate::Reading;
use crate::wire::{Connect, Got, Peer, ack, connect, publish};

/// How far a publication is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Published,
    /// PUBREC came.
    Released,
}

#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) topic: &'static str,
    pub(crate) payload: String,
    pub(crate) qos: u8,
}

pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) v5: bool,
    pub(crate) peer: Option<Peer>,
    /// On its way to the server.
    pub(crate) to_server: VecDeque<u8>,
    /// Arrived, not yet a whole packet.
    from_server: BytesMut,
    pub(crate) ready: bool,
    next_id: u16,
    /// In their order.
    pub(crate) unacknowledged: Vec<(u16, Publication, Sent)>,
    /// Successfully acknowledged.
    pub(crate) acknowledged: Vec<Publication>,
    /// Identifiers of QoS 2 messages that were taken and not yet released.
    taken: BTreeSet<u16>,
    /// How often each payload arrived.
    pub(crate) got: BTreeMap<String, u32>,
    /// Acknowledgements that it puts off.
    pub(crate) owed: VecDeque<Vec<u8>>,
}

impl Device {
    pub(crate) fn new(name: &str, v5: bool) -> Self {
        Self {
            name: name.to_owned(),
            v5,
            peer: None,
            to_server: VecDeque::new(),
            from_server: BytesMut::new(),
            ready: false,
            next_id: 0,
            unacknowledged: Vec::new(),
            acknowledged: Vec::new(),
            taken: BTreeSet::new(),
            got: BTreeMap::new(),
            owed: VecDeque::new(),
        }
    }

    fn hello(&self) -> Connect {
        connect(self.v5, &self.name).keep_alive(0).lasting(1_000_000)
    }

    pub(crate) fn open(&mut self, broker: &Arc<Broker>, number: u128, rules: &Arc<Reading>, now: Tick) {
        self.lose();
        let mut peer = Peer::open(broker, number, now);
        peer.v5 = self.v5;
        peer.permissions = Arc::clone(rules) as _;
        self.peer = Some(peer);
        self.to_server.extend(self.hello().bytes());
    }

    /// The connection is gone for the client; the server may learn of it later.
    pub(crate) fn lose(&mut self) -> Option<Peer> {
        self.ready = false;
        self.to_server.clear();
        self.from_server.clear();
        self.owed.clear();
        self.peer.take()
    }

    pub(crate) fn publish(&mut self, publication: Publication) {
        if publication.qos == 0 {
            self.to_server.extend(publish(self.v5, 0, publication.topic, 0, &[], publication.payload.as_bytes()));
            return;
        }
        loop {
            self.next_id = self.next_id % 7 + 1; // few, so that they are used again soon
            if !self.unacknowledged.iter().any(|(id, ..)| *id == self.next_id) {
                break;
            }
        }
        let id = self.next_id;
        self.write_publish(id, &publication, false);
        self.unacknowledged.push((id, publication, Sent::Published));
    }

    fn write_publish(&mut self, id: u16, one: &Publication, dup: bool) {
        let flags = one.qos << 1 | u8::from(dup) << 3;
        self.to_server.extend(publish(self.v5, flags, one.topic, id, &[], one.payload.as_bytes()));
    }

    /// So many bytes arrive at the server.
    pub(crate) fn carry_up(&mut self, count: usize, now: Tick) {
        let Some(peer) = &mut self.peer else { return };
        peer.now = now;
        let bytes: Vec<u8> = self.to_server.drain(..count.min(self.to_server.len())).collect();
        peer.send(&bytes);
    }

    /// So many bytes arrive at the client, which answers, unless it puts acknowledgements off.
    pub(crate) fn carry_down(&mut self, count: usize, put_off: bool) {
        let Some(peer) = &mut self.peer else { return };
        let count = count.min(peer.output.len());
        self.from_server.extend_from_slice(&peer.output[..count]);
        peer.output.advance(count);
        while let Some((first, body)) = take(&mut self.from_server) {
            self.handle(first, &body);
        }
        if !put_off {
            self.acknowledge();
        }
    }

    pub(crate) fn acknowledge(&mut self) {
        for packet in std::mem::take(&mut self.owed) {
            self.to_server.extend(packet);
        }
    }

    fn handle(&mut self, first: u8, body: &[u8]) {
        let id = || u16::from_be_bytes([body[0], body[1]]);
        let failed = |at: usize| body.get(at).is_some_and(|code| *code >= 0x80);
        match first >> 4 {
            2 => {
                assert_eq!(body[1], 0, "{}: refused", self.name);
                self.ready = true;
                for (id, one, sent) in self.unacknowledged.clone() {
                    match sent {
                        Sent::Published => self.write_publish(id, &one, true),
                        Sent::Released => self.to_server.extend(ack(0x62, id)),
                    }
                }
            }
            3 => {
                let got = Got::of(first, body, self.v5);
                if got.qos == 2 {
                    self.owed.push_back(ack(0x50, got.id));
                    if !self.taken.insert(got.id) {
                        return;
                    }
                } else if got.qos == 1 {
                    self.owed.push_back(ack(0x40, got.id));
                }
                *self.got.entry(got.payload).or_default() += 1;
            }
            4 => self.finish(id(), 1, failed(2)),
            5 if failed(2) => self.finish(id(), 2, true),
            5 => {
                let known = self.unacknowledged.iter_mut().find(|(known, one, _)| *known == id() && one.qos == 2);
                known.expect("a PUBREC for what was sent").2 = Sent::Released;
                self.to_server.extend(ack(0x62, id()));
            }
            6 => {
                self.taken.remove(&id());
                self.owed.push_back(ack(0x70, id()));
            }
            7 => self.finish(id(), 2, false),
            9 | 13 | 14 => {}
            other => panic!("{}: a packet of type {other}", self.name),
        }
    }

    fn finish(&mut self, id: u16, qos: u8, failed: bool) {
        let at = self.unacknowledged.iter().position(|(known, one, _)| *known == id && one.qos == qos);
        let (_, one, _) = self.unacknowledged.remove(at.expect("an acknowledgement of what was sent"));
        if !failed {
            self.acknowledged.push(one);
        }
    }

    pub(crate) fn received(&self, payload: &str) -> u32 {
        self.got.get(payload).copied().unwrap_or(0)
    }
}

fn take(bytes: &mut BytesMut) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut header) = (0, 1);
    loop {
        let byte = *bytes.get(header)?;
        length |= usize::from(byte & 0x7f) << (7 * (header - 1));
        header += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let first = *bytes.first()?;
    let body = bytes.get(header..header + length)?.to_vec();
    bytes.advance(header + length);
    Some((first, body))
}
