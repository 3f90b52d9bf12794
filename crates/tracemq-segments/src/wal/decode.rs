//! What stands in a record, read as a whole before anybody sees a part of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use tracemq_model::{ClientId, ConnectionId, Details, Event, Gap, InstanceId, Subject, TimeMs};

use super::connection::Foretold;
use super::encode::{
    BATCH, CLIENT_KNOWN, CLIENT_NEW, CLIENT_NONE, CLIENT_OF_CONNECTION, CONNECTION_FORETOLD, CONNECTION_KNOWN,
    CONNECTION_RAW, ERASURE, OTHER_INSTANCE, PEER_NONE, PEER_OF_CONNECTION, PEER_V4, PEER_V6, bit,
};
use super::file::take;
use super::{codes, front};
use crate::cells::{self, Column};
use crate::key::{self, Key};
use crate::row::{Kind, Peer, Row};
use crate::varint::{self, unzigzag};

/// A part of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    Event(LoggedEvent<'a>),
    Gap(Gap),
    /// All that came before and is kept under this key is hidden.
    Erased {
        key: &'a [u8],
    },
}

/// An event as the log holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoggedEvent<'a> {
    /// As [`key::push_key_of`] makes it.
    pub(crate) key: &'a [u8],
    pub(crate) row: Row,
    /// In the order of the columns. Texts are numbers of `texts`.
    pub(crate) cells: &'a [(Column, u64)],
    /// Those of the whole record.
    pub(crate) texts: &'a [Arc<str>],
}

impl LoggedEvent<'_> {
    /// Appends the cells as [`cells::push_cells`] does; `intern` gives the number of a text.
    #[cfg(test)]
    pub(crate) fn push_cells(&self, mut intern: impl FnMut(&Arc<str>) -> u32, out: &mut Vec<u8>) {
        for (column, value) in self.cells {
            // The decoder has seen that a text has that number.
            let text = if column.is_text() { self.text(*value) } else { None };
            cells::push_cell(out, *column, text.map_or(*value, |text| u64::from(intern(text))));
        }
    }

    /// As it was logged; none only when its key is none.
    pub(crate) fn to_event(self) -> Option<Event> {
        let mut details = Details::default();
        for (column, value) in self.cells {
            cells::set(&mut details, *column, *value, |_| self.text(*value).cloned())?;
        }
        self.row.to_event(&Key::read(self.key)?, details)
    }

    fn text(&self, number: u64) -> Option<&Arc<str>> {
        self.texts.get(usize::try_from(number).ok()?)
    }
}

/// A record taken apart. Kept from one record to the next for its memory.
#[derive(Default)]
pub(super) struct Decoded {
    erased: Option<Vec<u8>>,
    texts: Vec<Arc<str>>,
    shapes: Vec<Shape>,
    gaps: Vec<Gap>,
    events: Vec<Place>,
    /// Keys of events and cells of events, one behind the other.
    keys: Vec<u8>,
    cells: Vec<(Column, u64)>,
    clients: Vec<Client>,
    connections: Vec<Connection>,
    instances: Vec<Option<Instance>>,
}

struct Shape {
    kind: Kind,
    cells: Vec<(Column, u64)>,
    /// Whether an event has it. Until then its cells are no values.
    used: bool,
}

struct Place {
    key: Range<usize>,
    row: Row,
    cells: Range<usize>,
}

struct Client {
    instance: usize,
    key: Range<usize>,
}

#[derive(Clone, Copy)]
struct Connection {
    id: ConnectionId,
    peer: Peer,
    client: Option<usize>,
}

struct Instance {
    name: InstanceId,
    /// Where the new name before stands in the keys.
    name_before: Range<usize>,
}

/// What one event leaves for the next.
#[derive(Clone, Copy, Default)]
struct Before {
    instance: Option<usize>,
    time: TimeMs,
    connection: Option<ConnectionId>,
}

impl Decoded {
    /// Takes `payload` apart; none when it has no meaning to this version.
    pub(super) fn decode(&mut self, payload: &[u8]) -> Option<()> {
        self.clear();
        let (&what, mut rest) = payload.split_first()?;
        match what {
            BATCH => self.batch(&mut rest)?,
            ERASURE => {
                Key::read(rest).filter(|key| key.subject.is_some())?;
                self.erased = Some(rest.to_vec());
                rest = &[];
            }
            _ => return None,
        }
        rest.is_empty().then_some(())
    }

    /// Shows all that is in the record to `visit`, in the order of arrival.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(Entry<'_>)) {
        if let Some(key) = &self.erased {
            visit(Entry::Erased { key });
        }
        for gap in &self.gaps {
            visit(Entry::Gap(*gap));
        }
        for place in &self.events {
            visit(Entry::Event(LoggedEvent {
                key: self.keys.get(place.key.clone()).unwrap_or_default(),
                row: place.row,
                cells: self.cells.get(place.cells.clone()).unwrap_or_default(),
                texts: &self.texts,
            }));
        }
    }

    /// How many events there are, and the times of the first and the last.
    pub(super) fn events(&self) -> (u64, Option<(TimeMs, TimeMs)>) {
        let times = self.events.first().zip(self.events.last()).map(|(first, last)| (first.row.time, last.row.time));
        (u64::try_from(self.events.len()).unwrap_or(u64::MAX), times)
    }

    fn clear(&mut self) {
        self.erased = None;
        self.texts.clear();
        self.shapes.clear();
        self.gaps.clear();
        self.events.clear();
        self.keys.clear();
        self.cells.clear();
        self.clients.clear();
        self.connections.clear();
        self.instances.clear();
    }

    fn batch(&mut self, rest: &mut &[u8]) -> Option<()> {
        let [texts, shapes, gaps, events] =
            [varint::take(rest)?, varint::take(rest)?, varint::take(rest)?, varint::take(rest)?];
        let mut text = Vec::new();
        // Each takes a byte at least, so that a wrong number ends with the bytes.
        for _ in 0..texts {
            let (same, added) = front::take(rest, text.len())?;
            text.truncate(same);
            text.extend_from_slice(added);
            self.texts.push(std::str::from_utf8(&text).ok()?.into());
        }
        for _ in 0..shapes {
            self.shapes.push(Shape::take(rest)?);
        }
        for _ in 0..gaps {
            self.gaps.push(codes::take_gap(rest)?);
        }
        let mut before = Before::default();
        for _ in 0..events {
            self.event(rest, &mut before)?;
        }
        Some(())
    }

    fn event(&mut self, rest: &mut &[u8], before: &mut Before) -> Option<()> {
        let [head] = take(rest)?;
        let (client_tag, connection_tag, peer_tag) = (head & 3, head >> 2 & 3, head >> 4 & 3);
        if head & OTHER_INSTANCE != 0 {
            before.instance = Some(usize::try_from(varint::take(rest)?).ok()?);
        }
        if head >> 7 != 0 {
            return None;
        }
        let cells_begin = self.cells.len();
        let (kind, duration_ms) = self.shape(rest)?;
        let time = TimeMs(before.time.0.wrapping_add(unzigzag(varint::take(rest)?)));
        let new_peer = take_peer(rest, peer_tag)?;
        let number = match connection_tag {
            CONNECTION_KNOWN => usize::try_from(varint::take(rest)?).ok()?.checked_add(1)?,
            CONNECTION_RAW | CONNECTION_FORETOLD => {
                let id = match connection_tag {
                    CONNECTION_RAW => ConnectionId(u128::from_le_bytes(take(rest)?)),
                    _ => Foretold { before: before.connection, time, duration_ms }.take(rest)?,
                };
                self.connections.push(Connection { id, peer: Peer::None, client: None });
                before.connection = Some(id);
                1
            }
            _ => return None,
        };
        let number = self.connections.len().checked_sub(number)?;
        let known = *self.connections.get(number)?;
        let peer = if peer_tag == PEER_OF_CONNECTION { known.peer } else { new_peer };
        let (client, key) = self.client(rest, client_tag, known.client, before, (peer, cells_begin))?;
        *self.connections.get_mut(number)? = Connection { id: known.id, peer, client };
        before.time = time;
        let row = Row { time, connection: known.id, peer, kind };
        self.events.push(Place { key, row, cells: cells_begin..self.cells.len() });
        Some(())
    }

    /// The kind of an event and the duration among its cells, which are put behind those of the others.
    fn shape(&mut self, rest: &mut &[u8]) -> Option<(Kind, u64)> {
        let shape = self.shapes.get_mut(usize::try_from(varint::take(rest)?).ok()?)?;
        if shape.cells.is_empty() {
            return Some((shape.kind, 0));
        }
        let mut differing = varint::take(rest)?;
        for (column, value) in &mut shape.cells {
            let differs = differing & 1 == 1;
            if differs {
                *value = varint::take(rest)?;
            }
            if (differs || !shape.used) && !is_value(*column, *value, self.texts.len()) {
                return None;
            }
            differing >>= 1;
        }
        shape.used = true;
        if differing != 0 {
            return None;
        }
        self.cells.extend_from_slice(&shape.cells);
        let duration = shape.cells.iter().find(|(column, _)| *column == Column::Duration);
        Some((shape.kind, duration.map_or(0, |(_, value)| *value)))
    }

    /// The number of an event's client, and where its key stands.
    fn client(
        &mut self,
        rest: &mut &[u8],
        tag: u8,
        of_connection: Option<usize>,
        before: &mut Before,
        (peer, cells_begin): (Peer, usize),
    ) -> Option<(Option<usize>, Range<usize>)> {
        let number = match tag {
            CLIENT_NEW => {
                let instance = before.instance?;
                let key = self.new_client(rest, instance)?;
                self.clients.push(Client { instance, key });
                self.clients.len().checked_sub(1)?
            }
            CLIENT_KNOWN => {
                let since = usize::try_from(varint::take(rest)?).ok()?;
                self.clients.len().checked_sub(1)?.checked_sub(since)?
            }
            CLIENT_OF_CONNECTION => of_connection?,
            CLIENT_NONE => return Some((None, self.nobody(before.instance?, peer, cells_begin)?)),
            _ => return None,
        };
        let client = self.clients.get(number)?;
        before.instance = Some(client.instance);
        Some((Some(number), client.key.clone()))
    }

    fn new_client(&mut self, rest: &mut &[u8], number: usize) -> Option<Range<usize>> {
        let begin = self.keys.len();
        let instance = instance(&mut self.instances, &self.texts, number)?;
        let (same, added) = front::take(rest, instance.name_before.len())?;
        key::push_client_prefix(&instance.name, "", &mut self.keys);
        let name_begin = self.keys.len();
        let shared = instance.name_before.start..instance.name_before.start.checked_add(same)?;
        self.keys.extend_from_within(shared);
        self.keys.extend_from_slice(added);
        let name = name_begin..self.keys.len();
        if !is_client(self.keys.get(name.clone())?) {
            return None;
        }
        instance.name_before = name;
        Some(begin..self.keys.len())
    }

    /// The key of an event without a client, whose cells are the last ones.
    fn nobody(&mut self, number: usize, peer: Peer, cells_begin: usize) -> Option<Range<usize>> {
        let begin = self.keys.len();
        let instance = instance(&mut self.instances, &self.texts, number)?;
        let message = cells::message_of(self.cells.get(cells_begin..).unwrap_or_default());
        match (message, peer) {
            (Some(id), _) => key::push_key(&instance.name, &Subject::Message(id), &mut self.keys),
            (None, Peer::Some { ip, .. }) => key::push_key(&instance.name, &Subject::Address(ip), &mut self.keys),
            (None, Peer::None) => {
                key::push_instance(&instance.name, &mut self.keys);
                self.keys.push(0);
            }
        }
        Some(begin..self.keys.len())
    }
}

fn instance<'a>(known: &'a mut Vec<Option<Instance>>, texts: &[Arc<str>], number: usize) -> Option<&'a mut Instance> {
    let text = texts.get(number)?;
    if known.len() <= number {
        known.resize_with(number + 1, || None);
    }
    let place = known.get_mut(number)?;
    if place.is_none() {
        *place = Some(Instance { name: InstanceId::new(text).ok()?, name_before: 0..0 });
    }
    place.as_mut()
}

/// What [`ClientId::new`] takes.
fn is_client(name: &[u8]) -> bool {
    (1..=ClientId::MAX_BYTES).contains(&name.len()) && !name.contains(&0) && std::str::from_utf8(name).is_ok()
}

/// Whether `column` can have `value`.
fn is_value(column: Column, value: u64, texts: usize) -> bool {
    if column.is_text() {
        return usize::try_from(value).is_ok_and(|number| number < texts);
    }
    cells::set(&mut Details::default(), column, value, |_| None).is_some()
}

impl Shape {
    fn take(rest: &mut &[u8]) -> Option<Self> {
        let kind = Kind(u16::try_from(varint::take(rest)?).ok()?);
        kind.parts()?;
        let columns = varint::take(rest)?;
        let known = Column::ALL.iter().filter(|column| columns & bit(**column) != 0);
        let cells: Vec<_> = known.map(|column| (*column, 0)).collect();
        (u32::try_from(cells.len()) == Ok(columns.count_ones())).then_some(Self { kind, cells, used: false })
    }
}

fn take_peer(rest: &mut &[u8], tag: u8) -> Option<Peer> {
    let ip = match tag {
        PEER_NONE | PEER_OF_CONNECTION => return Some(Peer::None),
        PEER_V4 => IpAddr::V4(Ipv4Addr::from(take::<4>(rest)?)),
        PEER_V6 => IpAddr::V6(Ipv6Addr::from(take::<16>(rest)?)),
        _ => return None,
    };
    Some(Peer::Some { ip, port: u16::from_le_bytes(take(rest)?) })
}
