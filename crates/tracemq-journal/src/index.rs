//! Which events there are and where they stand: for each subject of each instance, sorted by (time, arrival). In
//! memory, rebuilt at every start.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use tracemq_model::{ClientId, Event, Gap, InstanceId, Subject, TimeMs, TimeRange};
use tracemq_store::gaps_overlapping;

use crate::format::FramePlace;

/// An event's time and place. The derived order is that of answers: files and places in them grow with arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) time: TimeMs,
    pub(crate) file: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl Entry {
    /// None when the place is beyond what the format allows.
    pub(crate) fn new(time: TimeMs, file: u32, place: FramePlace) -> Option<Self> {
        let (offset, length) = (u32::try_from(place.offset).ok()?, u32::try_from(place.length).ok()?);
        Some(Self { time, file, offset, length })
    }
}

/// A subject, borrowed from wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SubjectRef<'a> {
    Client(&'a str),
    Address(IpAddr),
}

impl<'a> SubjectRef<'a> {
    /// The same as [`Subject::of`], without making it.
    pub(crate) fn new(client: Option<&'a str>, address: Option<IpAddr>) -> Option<Self> {
        match (client, address) {
            (Some(client), _) => Some(Self::Client(client)),
            (None, Some(address)) => Some(Self::Address(address)),
            (None, None) => None,
        }
    }

    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        let address = event.peer.map(|peer| peer.ip().to_canonical());
        Self::new(event.client.as_ref().map(ClientId::as_str), address)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    instances: HashMap<InstanceId, Instance>,
    events: u64,
    /// Sorted by first moment; with the file that they go with.
    gaps: Vec<(Gap, u32)>,
}

#[derive(Debug, Default)]
struct Instance {
    clients: HashMap<ClientId, Series>,
    addresses: HashMap<IpAddr, Series>,
}

type Series = Vec<Entry>;

impl Index {
    /// Adds events in the order of their arrival, wherever their times belong. A batch at once, because an event that
    /// is older than its subject's last costs a sort of that subject.
    pub(crate) fn extend<'a>(&mut self, events: impl Iterator<Item = (&'a str, SubjectRef<'a>, Entry)>) {
        let mut late: HashSet<(&str, SubjectRef<'_>)> = HashSet::new();
        for (instance, subject, entry) in events {
            if !self.push(instance, subject, entry) {
                late.insert((instance, subject));
            }
        }
        for (instance, subject) in late {
            if let Some(series) = self.series_mut(instance, subject) {
                // Two sorted runs, mostly: the stable sort merges them in linear time.
                series.sort();
            }
        }
    }

    /// Adds an event behind its subject's others. False when its time belongs elsewhere: [`Index::sort`] has to follow.
    pub(crate) fn push(&mut self, instance: &str, subject: SubjectRef<'_>, entry: Entry) -> bool {
        // Looked up before it is made, since it is nearly always there: names cost a hash each, on every event.
        let instance = match self.instances.get_mut(instance) {
            Some(known) => known,
            None => match InstanceId::new(instance) {
                Ok(id) => self.instances.entry(id).or_default(),
                Err(_) => return true, // no file holds a name that is none
            },
        };
        let series = match subject {
            SubjectRef::Client(client) => match instance.clients.get_mut(client) {
                Some(known) => known,
                None => match ClientId::new(client) {
                    Ok(id) => instance.clients.entry(id).or_default(),
                    Err(_) => return true,
                },
            },
            SubjectRef::Address(address) => instance.addresses.entry(address).or_default(),
        };
        let in_order = series.last().is_none_or(|last| *last < entry);
        series.push(entry);
        self.events += 1;
        in_order
    }

    /// Puts every subject's events in order.
    pub(crate) fn sort(&mut self) {
        for series in self.instances.values_mut().flat_map(Instance::all_mut) {
            if !series.is_sorted() {
                series.sort_unstable();
            }
        }
    }

    pub(crate) fn push_gap(&mut self, gap: Gap, file: u32) {
        let at = self.gaps.partition_point(|(other, _)| other.from <= gap.from);
        self.gaps.insert(at, (gap, file));
    }

    /// The events of a subject within `range`, oldest first.
    pub(crate) fn matching(&self, instance: &InstanceId, subject: &Subject, range: TimeRange) -> &[Entry] {
        let series = self.instances.get(instance).and_then(|instance| match subject {
            Subject::Client(client) => instance.clients.get(client),
            Subject::Address(address) => instance.addresses.get(address),
        });
        let series = series.map(Vec::as_slice).unwrap_or_default();
        let first = series.partition_point(|entry| entry.time < range.from);
        let behind = series.partition_point(|entry| entry.time <= range.to);
        series.get(first..behind).unwrap_or_default()
    }

    pub(crate) fn gaps(&self, range: TimeRange) -> Vec<Gap> {
        gaps_overlapping(self.gaps.iter().map(|(gap, _)| *gap), range)
    }

    /// Drops what stands in `file`. Looks at every event.
    pub(crate) fn forget_file(&mut self, file: u32) {
        let mut events = 0;
        let mut keep = |series: &mut Series| {
            series.retain(|entry| entry.file != file);
            series.shrink_to(series.len().saturating_mul(2));
            events += series.len();
            !series.is_empty()
        };
        for instance in self.instances.values_mut() {
            instance.clients.retain(|_, series| keep(series));
            instance.addresses.retain(|_, series| keep(series));
        }
        self.instances.retain(|_, instance| !instance.clients.is_empty() || !instance.addresses.is_empty());
        self.gaps.retain(|(_, other)| *other != file);
        self.events = u64::try_from(events).unwrap_or(u64::MAX);
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn subjects(&self) -> u64 {
        let count: usize = self.instances.values().map(|i| i.clients.len() + i.addresses.len()).sum();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn series_mut(&mut self, instance: &str, subject: SubjectRef<'_>) -> Option<&mut Series> {
        let instance = self.instances.get_mut(instance)?;
        match subject {
            SubjectRef::Client(client) => instance.clients.get_mut(client),
            SubjectRef::Address(address) => instance.addresses.get_mut(&address),
        }
    }
}

impl Instance {
    fn all_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        self.clients.values_mut().chain(self.addresses.values_mut())
    }
}
