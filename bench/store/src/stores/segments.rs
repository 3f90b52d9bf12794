//! TraceMQ's own store, asked as the recorder and the API ask it: through [`EventStore`].

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use tracemq_model::{Filter, InstanceId, Order, Pattern, Reason, TimeRange, TracePage, TraceQuery};
use tracemq_segments::SegmentSettings;
use tracemq_store::{Batch, EventStore};

use super::{MINUTE_MS, NAMES_MAX, Reader, Store, Tuning};
use crate::generator::INSTANCE;

pub(super) struct Segments {
    store: Arc<tracemq_segments::Segments>,
    from_log: u64,
}

impl Segments {
    pub(super) fn open(dir: &Path, tuning: Tuning) -> Result<Self> {
        Self::open_with(dir, tuning.settings())
    }

    pub(super) fn open_unsealed(dir: &Path, tuning: Tuning) -> Result<Self> {
        let mut settings = tuning.settings();
        settings.memtable_events *= 2 + SegmentSettings::FROZEN_MAX;
        settings.memtable_bytes *= 2 + SegmentSettings::FROZEN_MAX;
        Self::open_with(dir, settings)
    }

    fn open_with(dir: &Path, settings: SegmentSettings) -> Result<Self> {
        let (store, recovery) = tracemq_segments::Segments::open(dir, settings)?;
        ensure!(recovery.damaged.is_empty(), "damaged: {:?}", recovery.damaged);
        Ok(Self { store: Arc::new(store), from_log: recovery.replayed })
    }
}

impl Tuning {
    fn settings(self) -> SegmentSettings {
        let default = SegmentSettings::default();
        SegmentSettings {
            memtable_events: self.memtable_events.unwrap_or(default.memtable_events),
            merge_segments: self.merge_segments.unwrap_or(default.merge_segments),
            ..default
        }
    }
}

impl Store for Segments {
    fn append(&mut self, batch: &Batch) -> Result<()> {
        Ok(self.store.append(batch)?)
    }

    fn tidy(&mut self) -> Result<()> {
        Ok(self.store.settle(&mut |_| ())?)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        let store: Arc<dyn EventStore> = Arc::clone(&self.store) as _;
        Ok(Box::new(SegmentsReader { store, instance: InstanceId::new(INSTANCE)? }))
    }

    fn from_log(&self) -> Option<u64> {
        Some(self.from_log)
    }

    fn close(self: Box<Self>) -> Result<()> {
        ensure!(Arc::into_inner(self.store).is_some(), "somebody still asks, so that it is not closed");
        Ok(())
    }
}

struct SegmentsReader {
    store: Arc<dyn EventStore>,
    instance: InstanceId,
}

impl Reader for SegmentsReader {
    fn events(&mut self) -> Result<u64> {
        Ok(self.store.stats().events)
    }

    fn page(&mut self, query: &TraceQuery) -> Result<TracePage> {
        Ok(self.store.page(query)?)
    }

    fn by_minute(&mut self, range: TimeRange) -> Result<u64> {
        let counts = self.store.counts(&Filter::all(self.instance.clone(), range), MINUTE_MS.into())?;
        Ok(u64::try_from(counts.counts.len())?)
    }

    fn by_address(&mut self, address: IpAddr, reasons: &[Reason]) -> Result<u64> {
        let reasons = reasons.to_vec();
        let filter = Filter { address: Some(address), reasons, ..Filter::all(self.instance.clone(), TimeRange::ALL) };
        let mut events = 0;
        self.store.scan(&filter, Order::OldestFirst, &mut |_| {
            events += 1;
            ControlFlow::Continue(())
        })?;
        Ok(events)
    }

    fn clients(&mut self, range: TimeRange, reasons: &[Reason]) -> Result<u64> {
        let filter = Filter { reasons: reasons.to_vec(), ..Filter::all(self.instance.clone(), range) };
        let mut clients = 0;
        self.store.tally(&filter, &mut |_| {
            clients += 1;
            ControlFlow::Continue(())
        })?;
        Ok(clients)
    }

    fn names(&mut self, pattern: &Pattern) -> Result<u64> {
        Ok(u64::try_from(self.store.subjects(&self.instance, pattern, None, NAMES_MAX)?.subjects.len())?)
    }
}
