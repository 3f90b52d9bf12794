//! A batch in few bytes. What a batch repeats (instances, texts, names, connections, which details are known) stands in
//! it once; what changes little stands as a difference.
//!
//! ```text
//! batch     numbers of texts, shapes, gaps and events (varints) | texts | shapes | gaps | events
//! text      front-coded behind the text before; numbered from 0
//! shape     kind varint | the columns of its cells, a bit each, varint; numbered from 0
//! gap       see `codes`
//! event     head byte | the parts below, in their order
//!
//! instance    if bit 6 of the head is set: the number of its text. Else it is the instance of the event before
//! shape       its number, varint
//! cells       if the shape has any: which of them differ from the event before of the same shape, a bit each (varint),
//!             then those, varints in the order of the columns. Before the first of its shape all are 0
//! time        zigzag varint: less the time of the event before
//! peer        bits 4-5 of the head: 0 none | 1 that of the event before of its connection | 2 IPv4 [4], port u16
//!             | 3 IPv6 [16], port u16
//! connection  bits 2-3: 0 sixteen bytes | 1 one of before: how many other ones began in the batch since, varint
//!             | 2 as it can be foretold, see `connection`
//! client      bits 0-1: 0 a new one, front-coded behind the new one before of its instance | 1 one of before, in any
//!             instance, which becomes that of the event: how many new ones since, varint | 2 none
//!             | 3 that of the event before of its connection. An event without one is kept under its message, if it tells of one,
//!             else under its address
//! ```
//!
//! LZ4 behind that would save 3 to 8 of 100 bytes, and take as long as all of this does: what is left are ids, addresses
//! and ports, which look random.

use std::net::IpAddr;

use hashbrown::HashMap;
use tracemq_model::{ClientId, ConnectionId, Details, Event, TimeMs};
use tracemq_store::Batch;

use super::connection::Foretold;
use super::names::Names;
use super::{codes, front};
use crate::cells::{self, Column};
use crate::row::{Kind, Peer, Row};
use crate::varint::{self, zigzag};

/// The memory of an encoder is given back when a batch has made it larger than this.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What the first byte of a payload says.
pub(super) const BATCH: u8 = 1;
pub(super) const ERASURE: u8 = 2;

pub(super) const CLIENT_NEW: u8 = 0;
pub(super) const CLIENT_KNOWN: u8 = 1;
pub(super) const CLIENT_NONE: u8 = 2;
pub(super) const CLIENT_OF_CONNECTION: u8 = 3;
pub(super) const CONNECTION_RAW: u8 = 0;
pub(super) const CONNECTION_KNOWN: u8 = 1;
pub(super) const CONNECTION_FORETOLD: u8 = 2;
pub(super) const PEER_NONE: u8 = 0;
pub(super) const PEER_OF_CONNECTION: u8 = 1;
pub(super) const PEER_V4: u8 = 2;
pub(super) const PEER_V6: u8 = 3;
pub(super) const OTHER_INSTANCE: u8 = 1 << 6;

/// Appends the payload of `key`'s erasure to `out`.
pub(super) fn encode_erasure(key: &[u8], out: &mut Vec<u8>) {
    out.push(ERASURE);
    out.extend_from_slice(key);
}

/// Makes the payloads of batches, and keeps its memory from one to the next.
#[derive(Default)]
pub(super) struct Encoder {
    texts: Texts,
    shapes: Shapes,
    /// By the number of the instance's text and the name.
    clients: Names,
    connections: HashMap<ConnectionId, usize>,
    /// Of each connection the event before, by the connection's number.
    events_before: Vec<EventBefore>,
    /// The number of the new client before in each instance, by the number of the instance's text.
    clients_before: Vec<Option<u32>>,
    instance: Option<u32>,
    time: TimeMs,
    connection: Option<ConnectionId>,
    events: Vec<u8>,
}

struct EventBefore {
    peer: Peer,
    client: Option<u32>,
}

enum Client {
    New { number: u32 },
    Known { since: usize },
    OfConnection,
    None,
}

impl Encoder {
    /// Appends the payload of `batch` to `out`.
    pub(super) fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for event in &batch.events {
            self.event(event);
        }
        out.push(BATCH);
        for count in [self.texts.names.len(), self.shapes.known.len(), batch.gaps.len(), batch.events.len()] {
            varint::push(out, wide(count));
        }
        out.extend_from_slice(&self.texts.section);
        out.extend_from_slice(&self.shapes.section);
        for gap in &batch.gaps {
            codes::push_gap(out, gap);
        }
        out.extend_from_slice(&self.events);
        self.clear();
    }

    fn clear(&mut self) {
        if self.events.capacity() + self.clients.capacity() + self.texts.names.capacity() > KEPT_BYTES_MAX {
            *self = Self::default();
            return;
        }
        self.texts.clear();
        self.shapes.clear();
        self.clients.clear();
        self.connections.clear();
        self.events_before.clear();
        self.clients_before.clear();
        (self.instance, self.time, self.connection) = (None, TimeMs(0), None);
        self.events.clear();
    }

    fn event(&mut self, event: &Event) {
        let row = Row::of(event);
        let instance = self.texts.number(event.instance.as_str());
        let known = self.connections.get(&event.connection).copied();
        let before = known.and_then(|number| self.events_before.get(number));
        let peer = peer_tag(row.peer, before);
        let of_connection = before.and_then(|before| before.client);
        let (number, client) = self.client(instance, event.client.as_ref(), of_connection);
        let duration_ms = event.details.duration_ms.unwrap_or(0);
        let foretold = Foretold { before: self.connection, time: event.time, duration_ms };
        let connection = match known {
            Some(_) => CONNECTION_KNOWN,
            None if foretold.fits(event.connection) => CONNECTION_FORETOLD,
            None => CONNECTION_RAW,
        };
        // A client of before brings its instance.
        let tells_instance = match client {
            Client::New { .. } | Client::None => self.instance != Some(instance),
            Client::Known { .. } | Client::OfConnection => false,
        };
        let instance_tag = if tells_instance { OTHER_INSTANCE } else { 0 };
        self.events.push(client.tag() | connection << 2 | peer << 4 | instance_tag);
        if tells_instance {
            varint::push(&mut self.events, u64::from(instance));
        }
        self.shapes.push(row.kind, &event.details, &mut self.texts, &mut self.events);
        varint::push(&mut self.events, zigzag(event.time.0.wrapping_sub(self.time.0)));
        push_peer(&mut self.events, peer, row.peer);
        self.push_connection(event.connection, connection, known, &foretold);
        self.push_client(instance, &client);
        self.instance = Some(instance);
        self.time = event.time;
        self.note(event.connection, known, EventBefore { peer: row.peer, client: number });
    }

    /// The number of the event's client, and how it is told.
    fn client(
        &mut self,
        instance: u32,
        client: Option<&ClientId>,
        of_connection: Option<u32>,
    ) -> (Option<u32>, Client) {
        let Some(client) = client else { return (None, Client::None) };
        let next = self.clients.len();
        let (number, is_new) = self.clients.number(instance, client.as_str().as_bytes());
        let client = if is_new {
            Client::New { number }
        } else if of_connection == Some(number) {
            Client::OfConnection
        } else {
            Client::Known { since: next - 1 - narrow(number) }
        };
        (Some(number), client)
    }

    fn push_connection(&mut self, id: ConnectionId, tag: u8, known: Option<usize>, foretold: &Foretold) {
        match (tag, known) {
            (_, Some(number)) => varint::push(&mut self.events, wide(self.events_before.len() - 1 - number)),
            (CONNECTION_FORETOLD, None) => foretold.push(&mut self.events, id),
            (_, None) => self.events.extend_from_slice(&id.0.to_le_bytes()),
        }
    }

    fn push_client(&mut self, instance: u32, client: &Client) {
        match client {
            Client::New { number } => {
                let place = narrow(instance);
                if self.clients_before.len() <= place {
                    self.clients_before.resize(place + 1, None);
                }
                if let Some(before) = self.clients_before.get_mut(place) {
                    let name_before = before.map(|before| self.clients.get(before)).unwrap_or_default();
                    front::push(&mut self.events, name_before, self.clients.get(*number));
                    *before = Some(*number);
                }
            }
            Client::Known { since } => varint::push(&mut self.events, wide(*since)),
            Client::OfConnection | Client::None => {}
        }
    }

    fn note(&mut self, id: ConnectionId, known: Option<usize>, event: EventBefore) {
        match known.and_then(|number| self.events_before.get_mut(number)) {
            Some(before) => *before = event,
            None => {
                self.connections.insert(id, self.events_before.len());
                self.events_before.push(event);
                self.connection = Some(id);
            }
        }
    }
}

impl Client {
    fn tag(&self) -> u8 {
        match self {
            Self::New { .. } => CLIENT_NEW,
            Self::Known { .. } => CLIENT_KNOWN,
            Self::None => CLIENT_NONE,
            Self::OfConnection => CLIENT_OF_CONNECTION,
        }
    }
}

fn peer_tag(peer: Peer, before: Option<&EventBefore>) -> u8 {
    match peer {
        Peer::None => PEER_NONE,
        Peer::Some { .. } if before.is_some_and(|before| before.peer == peer) => PEER_OF_CONNECTION,
        Peer::Some { ip: IpAddr::V4(_), .. } => PEER_V4,
        Peer::Some { ip: IpAddr::V6(_), .. } => PEER_V6,
    }
}

fn push_peer(out: &mut Vec<u8>, tag: u8, peer: Peer) {
    let Peer::Some { ip, port } = peer else { return };
    if tag == PEER_OF_CONNECTION {
        return;
    }
    match ip {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
    out.extend_from_slice(&port.to_le_bytes());
}

/// The texts of a batch.
#[derive(Default)]
struct Texts {
    names: Names,
    section: Vec<u8>,
    /// Those that were asked for last: most events ask for the same few.
    recent: [Option<u32>; 4],
    oldest: usize,
}

impl Texts {
    fn clear(&mut self) {
        self.names.clear();
        self.section.clear();
        self.recent = [None; 4];
    }

    fn number(&mut self, text: &str) -> u32 {
        let text = text.as_bytes();
        if let Some(number) = self.recent.iter().flatten().find(|number| self.names.get(**number) == text) {
            return *number;
        }
        let (number, is_new) = self.names.number(0, text);
        if is_new {
            let before = number.checked_sub(1).map(|before| self.names.get(before)).unwrap_or_default();
            front::push(&mut self.section, before, text);
        }
        self.oldest = (self.oldest + 1) % self.recent.len();
        if let Some(place) = self.recent.get_mut(self.oldest) {
            *place = Some(number);
        }
        number
    }
}

/// Which kinds come with which details.
#[derive(Default)]
struct Shapes {
    numbers: HashMap<(Kind, u64), usize>,
    /// The cells of the event before, by the shape's number.
    known: Vec<Vec<u64>>,
    section: Vec<u8>,
    values: Vec<u64>,
}

impl Shapes {
    fn clear(&mut self) {
        self.numbers.clear();
        self.known.clear();
        self.section.clear();
    }

    /// Appends the shape of an event with `kind` and `details`, and what differs from the one before.
    fn push(&mut self, kind: Kind, details: &Details, texts: &mut Texts, out: &mut Vec<u8>) {
        self.values.clear();
        let mut columns = 0_u64;
        cells::each_cell(
            details,
            |text| texts.number(text),
            |column, value| {
                columns |= bit(column);
                self.values.push(value);
            },
        );
        let next = self.known.len();
        let number = *self.numbers.entry((kind, columns)).or_insert(next);
        if number == next {
            varint::push(&mut self.section, u64::from(kind.0));
            varint::push(&mut self.section, columns);
            self.known.push(vec![0; self.values.len()]);
        }
        varint::push(out, wide(number));
        let Some(before) = self.known.get_mut(number).filter(|before| !before.is_empty()) else { return };
        let mut differing = 0_u64;
        for (place, (before, value)) in before.iter().zip(&self.values).enumerate() {
            differing |= u64::from(before != value) << place;
        }
        varint::push(out, differing);
        for (before, value) in before.iter_mut().zip(&self.values).filter(|(before, value)| before != value) {
            varint::push(out, *value);
            *before = *value;
        }
    }
}

/// The place of `column` in a shape.
pub(super) fn bit(column: Column) -> u64 {
    1 << column as u8
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn narrow(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
