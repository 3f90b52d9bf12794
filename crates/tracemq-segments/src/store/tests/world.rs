//! A store on a simulated disk, beside the list of what it has to know.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracemq_model::{
    Action, ClientId, ConnectionId, Count, Details, Event, Filter, Gap, GapCause, InstanceId, Order, Pattern,
    Provenance, Reason, Subject, TimeMs, TimeRange, TracePage, TraceQuery,
};
use tracemq_store::{Batch, EventStore, StoreError, bucket_of};

use crate::fs::Fs;
use crate::fs::simulated::{Dice, SimulatedFs, Unsynced};
use crate::store::{Recovery, Segments};
use crate::{Retention, SegmentSettings};

/// A midnight in 2024: retention does not go by a clock that says less.
pub(super) const START: i64 = 20_000 * 86_400_000;

pub(super) const CLIENTS: [&str; 4] = ["a", "b", "bb", "c"];

pub(super) struct World {
    pub(super) disk: SimulatedFs,
    /// Only the lock and its mark are in it.
    folder: TempDir,
    pub(super) settings: SegmentSettings,
    store: Option<Segments>,
    /// In the order of arrival.
    pub(super) acknowledged: Vec<Event>,
    /// A batch of which is not known whether it is there.
    pub(super) doubtful: Vec<Event>,
    number: u32,
    moment: i64,
    /// Whether a start has cut an unfinished write off: it looks as damage to what came last would, and is shown as a gap.
    is_torn: bool,
    /// What comes between the store and the disk.
    pub(super) between: fn(SimulatedFs) -> Arc<dyn Fs>,
    /// Done to each disk before it is used.
    pub(super) prepare: fn(&SimulatedFs),
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(SegmentSettings {
            memtable_events: 12,
            merge_segments: 3,
            retention: Retention::default(),
            ..SegmentSettings::default()
        })
    }

    pub(super) fn with(settings: SegmentSettings) -> Self {
        let folder = TempDir::new().unwrap();
        let (store, acknowledged, doubtful) = (None, Vec::new(), Vec::new());
        let mut world = Self {
            disk: SimulatedFs::default(),
            folder,
            settings,
            store,
            acknowledged,
            doubtful,
            number: 0,
            moment: 0,
            is_torn: false,
            between: |disk| Arc::new(disk),
            prepare: |_| {},
        };
        world.open().unwrap();
        world
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(super) fn store(&self) -> &Segments {
        self.store.as_ref().unwrap()
    }

    /// Opens what is on the disk.
    pub(super) fn open(&mut self) -> Result<Recovery, StoreError> {
        self.store = None;
        (self.prepare)(&self.disk);
        let fs = (self.between)(self.disk.clone());
        let (store, recovery) = Segments::open_on(fs, self.folder.path(), self.settings.clone(), false)?;
        self.store = Some(store);
        self.is_torn |= recovery.cut_bytes > 0;
        Ok(recovery)
    }

    /// Takes the power away, and opens what is left.
    pub(super) fn lose_power(&mut self, unsynced: Unsynced) -> Recovery {
        // Whatever closing writes comes too late.
        let left = self.disk.after_power_loss(unsynced);
        self.store = None;
        self.disk = left;
        self.open().unwrap()
    }

    /// Goes on with another disk, as after the end of a process.
    pub(super) fn restart_on(&mut self, disk: SimulatedFs) -> Recovery {
        self.store = None;
        self.disk = disk;
        self.is_torn = false;
        self.open().unwrap()
    }

    /// Answers may say from here on that something could be missing.
    pub(super) fn expect_gaps(&mut self) {
        self.is_torn = true;
    }

    pub(super) fn close(&mut self) {
        self.store = None;
    }

    pub(super) fn batch(&mut self, dice: &mut Dice) -> Vec<Event> {
        (0..=dice.roll(9)).map(|_| self.event(dice)).collect()
    }

    fn event(&mut self, dice: &mut Dice) -> Event {
        self.number += 1;
        let actions = [Action::Open, Action::Connect, Action::Disconnect, Action::Close];
        let reason = Reason::ALL[dice.roll(Reason::ALL.len())];
        let detail = (dice.roll(3) == 0).then(|| format!("detail {}", dice.roll(5)).into());
        // A day has a minute here and there; some are far off.
        let days = if dice.roll(20) == 0 { dice.roll(900) } else { dice.roll(2) };
        let time = days * 86_400_000 + dice.roll(4) * 50_000;
        Event {
            time: TimeMs(i64::try_from(time).unwrap()),
            instance: InstanceId::new(if dice.roll(6) == 0 { "other" } else { "mqtt-local" }).unwrap(),
            // Each connection has an event or two.
            connection: ConnectionId(u128::from(self.number / 2)),
            action: actions[dice.roll(4)],
            reason,
            provenance: Provenance::Observed,
            client: Some(ClientId::new(CLIENTS[dice.roll(CLIENTS.len())]).unwrap()),
            peer: Some(([10, 0, 0, 1], u16::try_from(dice.roll(3)).unwrap()).into()),
            details: Details { detail, ..Details::default() },
        }
    }

    /// Appends, and notes what came of it.
    pub(super) fn append(&mut self, events: Vec<Event>) -> Result<(), StoreError> {
        let batch = Batch { events, gaps: Vec::new() };
        let result = self.store().append(&batch);
        match &result {
            Ok(()) => self.acknowledged.extend(batch.events),
            // Nothing of it was written that was not taken back.
            Err(StoreError::Full { .. } | StoreError::Io { .. }) => {}
            Err(_) if self.doubtful.is_empty() => self.doubtful = batch.events,
            // Refused without a look at it.
            Err(_) => {}
        }
        result
    }

    /// Every answer is that of the list. What is doubtful is there as a whole, or not at all.
    pub(super) fn check(&mut self, context: &str) {
        let doubtful = std::mem::take(&mut self.doubtful);
        if let Some(first) = doubtful.first()
            && self.pages(&[]).values().flatten().any(|event| event == first)
        {
            self.acknowledged.extend(doubtful);
        }
        let found = self.pages(&self.acknowledged);
        assert_eq!(found, by_subject(&self.acknowledged), "{context}");
        for instance in ["mqtt-local", "other"] {
            let instance = InstanceId::new(instance).unwrap();
            self.check_fleet(&instance, context);
            self.check_subjects(&instance, context);
        }
    }

    /// How many events each subject has, what names there are, and whose newest event is which.
    fn check_subjects(&self, instance: &InstanceId, context: &str) {
        let mut known: BTreeMap<Subject, Vec<&Event>> = BTreeMap::new();
        for event in self.acknowledged.iter().filter(|event| event.instance == *instance) {
            known.entry(Subject::of(event).unwrap()).or_default().push(event);
        }
        let mut tallied = Vec::new();
        let tally = self.store().tally(&Filter::all(instance.clone(), TimeRange::ALL), &mut |tally| {
            tallied.push((tally.subject.clone(), tally.events, tally.first, tally.last));
            ControlFlow::Continue(())
        });
        tally.unwrap();
        let expected = known.iter().map(|(subject, events)| {
            let times = || events.iter().map(|event| event.time);
            (subject.clone(), events.len() as u64, times().min().unwrap(), times().max().unwrap())
        });
        assert_eq!(tallied, expected.collect::<Vec<_>>(), "{context}: tally");
        let names = self.store().subjects(instance, &Pattern::All, None, 1_000).unwrap();
        assert_eq!(names.subjects, known.keys().cloned().collect::<Vec<_>>(), "{context}: names");
        for (subject, events) in &known {
            let state = self.store().current_state(instance, subject).unwrap().unwrap();
            let newest = events.iter().map(|event| event.time).max().unwrap();
            assert_eq!(state.last.time, newest, "{context}: the state of {subject:?}");
        }
    }

    pub(super) fn orphans(&self) -> Vec<Event> {
        let mut found = Vec::new();
        self.store().orphans(&mut |event| found.push(event)).unwrap();
        found
    }

    /// What the start found open is what has a beginning and no end.
    pub(super) fn check_orphans(&self, context: &str) {
        let is_ended = |begun: &Event| {
            self.acknowledged.iter().any(|event| event.connection == begun.connection && event.action.is_end())
        };
        let begun = self.acknowledged.iter().filter(|event| !event.action.is_end() && !is_ended(event));
        let expected: BTreeSet<u128> = begun.map(|event| event.connection.0).collect();
        let orphans = self.orphans();
        let found: BTreeSet<u128> = orphans.iter().map(|event| event.connection.0).collect();
        assert_eq!(found.len(), orphans.len(), "{context}");
        assert_eq!(found, expected, "{context}");
        assert!(orphans.iter().all(|orphan| self.acknowledged.contains(orphan)), "{context}");
    }

    /// What can be asked for.
    pub(super) fn shown(&self) -> Vec<Event> {
        let mut shown = Vec::new();
        for instance in ["mqtt-local", "other"] {
            let filter = Filter::all(InstanceId::new(instance).unwrap(), TimeRange::ALL);
            let mut visit = |event: &Event| {
                shown.push(event.clone());
                ControlFlow::Continue(())
            };
            self.store().scan(&filter, Order::OldestFirst, &mut visit).unwrap();
        }
        shown
    }

    /// The next batch, whose times only grow.
    pub(super) fn ordered_batch(&mut self, dice: &mut Dice) -> Vec<Event> {
        let mut batch = self.batch(dice);
        for event in &mut batch {
            self.moment += 1_000;
            event.time = TimeMs(self.moment);
        }
        batch
    }

    /// A small store: segments, one of them merged, open connections, and some of it in the log.
    pub(super) fn small() -> Self {
        let (mut world, mut dice) = (Self::new(), Dice(21));
        for round in 0..8 {
            let batch = world.ordered_batch(&mut dice);
            world.append(batch).unwrap();
            if round < 6 {
                world.store().shared.seal_all().unwrap();
            }
            if round == 3 {
                world.store().shared.merge_next(&mut |_| {}).unwrap();
            }
        }
        world.close();
        world
    }

    /// What damage has left: nothing is made up, doubled or out of order, and what is missing is in a gap that says so. Gives how
    /// many events are missing.
    pub(super) fn check_left(&self, context: &str) -> usize {
        let mut missing = 0;
        for instance in ["mqtt-local", "other"] {
            for client in CLIENTS {
                let known = by_subject(&self.acknowledged).remove(&(instance.to_owned(), client.to_owned()));
                let page = self.page(instance, client);
                missing_of(&page.events, &known.unwrap_or_default(), &page.gaps, context);
            }
            let filter = Filter::all(InstanceId::new(instance).unwrap(), TimeRange::ALL);
            let mut known: Vec<Event> =
                self.acknowledged.iter().filter(|event| event.instance == filter.instance).cloned().collect();
            known.sort_by(|a, b| (a.time, &a.client).cmp(&(b.time, &b.client)));
            let mut found = Vec::new();
            let gaps = self.store().scan(&filter, Order::OldestFirst, &mut |event| {
                found.push(event.clone());
                ControlFlow::Continue(())
            });
            missing += missing_of(&found, &known, &gaps.unwrap(), context);
            self.check_counts_left(&filter, &known, context);
            self.check_subjects_left(&filter, &known, context);
        }
        missing
    }

    /// The same of how many events of a kind each minute has.
    fn check_counts_left(&self, filter: &Filter, known: &[Event], context: &str) {
        let counts = self.store().counts(filter, 60_000).unwrap();
        for Count { from, action, reason, events } in &counts.counts {
            let is_of = |event: &&Event| {
                (bucket_of(event.time, 60_000), event.action, event.reason) == (*from, *action, *reason)
            };
            assert!(*events <= known.iter().filter(is_of).count() as u64, "{context}: {counts:?}");
        }
        let counted: u64 = counts.counts.iter().map(|count| count.events).sum();
        let is_told = counts.gaps.iter().any(|gap| gap.cause == GapCause::Damaged);
        assert!(counted == known.len() as u64 || is_told, "{context}: {counted} counted of {}", known.len());
    }

    /// The same of how many events each subject has, of names, and of states.
    fn check_subjects_left(&self, filter: &Filter, known: &[Event], context: &str) {
        let of =
            |subject: &Subject| known.iter().filter(|event| Subject::of(event).as_ref() == Some(subject)).collect();
        let mut tallied = 0;
        let gaps = self.store().tally(filter, &mut |tally| {
            let events: Vec<&Event> = of(&tally.subject);
            assert!(tally.events <= events.len() as u64, "{context}: {tally:?}");
            for time in [tally.first, tally.last] {
                assert!(events.iter().any(|event| event.time == time), "{context}: {tally:?}");
            }
            tallied += tally.events;
            ControlFlow::Continue(())
        });
        let is_told = |gaps: &[Gap]| gaps.iter().any(|gap| gap.cause == GapCause::Damaged);
        assert!(
            tallied == known.len() as u64 || is_told(&gaps.unwrap()),
            "{context}: {tallied} tallied of {}",
            known.len()
        );
        let names = self.store().subjects(&filter.instance, &Pattern::All, None, 1_000).unwrap();
        let all: BTreeSet<Subject> = known.iter().filter_map(Subject::of).collect();
        assert!(names.subjects.iter().all(|name| all.contains(name)), "{context}: {names:?}");
        assert!(names.subjects.len() == all.len() || is_told(&names.gaps), "{context}: {names:?}");
        for subject in &all {
            let Some(state) = self.store().current_state(&filter.instance, subject).unwrap() else { continue };
            let events: Vec<&Event> = of(subject);
            let shown = state.open.iter().chain([&state.last]).chain(&state.last_end);
            assert!(shown.into_iter().all(|event| events.contains(&event)), "{context}: {state:?}");
            let newest = events.iter().map(|event| event.time).max();
            assert!(newest == Some(state.last.time) || is_told(&state.gaps), "{context}: {state:?}");
            let ended = events.iter().filter(|event| event.action.is_end());
            let newest_end = ended.clone().map(|event| event.time).max();
            assert!(
                newest_end == state.last_end.as_ref().map(|end| end.time) || is_told(&state.gaps),
                "{context}: {state:?}"
            );
            let is_over =
                |open: &&Event| ended.clone().any(|end| end.connection == open.connection && end.time >= open.time);
            assert!(!state.open.iter().any(|open| is_over(&open)) || is_told(&state.gaps), "{context}: {state:?}");
        }
    }

    /// All pages, of which `known` says how many there should be.
    fn pages(&self, known: &[Event]) -> BTreeMap<(String, String), Vec<Event>> {
        let mut all = BTreeMap::new();
        for instance in ["mqtt-local", "other"] {
            for client in CLIENTS {
                let page = self.page(instance, client);
                if !self.is_torn {
                    assert_eq!(page.gaps, [], "known: {}", known.len());
                }
                if page.total > 0 {
                    assert_eq!(page.total, page.events.len() as u64);
                    all.insert((instance.to_owned(), client.to_owned()), page.events);
                }
            }
        }
        all
    }

    pub(super) fn page(&self, instance: &str, client: &str) -> TracePage {
        let query = TraceQuery {
            instance: InstanceId::new(instance).unwrap(),
            subject: Subject::Client(ClientId::new(client).unwrap()),
            range: TimeRange::ALL,
            order: Order::OldestFirst,
            offset: 0,
            limit: TraceQuery::LIMIT_MAX,
        };
        self.store().page(&query).unwrap()
    }

    /// Appends the newest event of all, and leaves it in the log.
    pub(super) fn append_one_more(&mut self) {
        let mut event = self.event(&mut Dice(2));
        event.time = TimeMs(START + 41 * 86_400_000);
        self.append(vec![event]).unwrap();
    }

    /// Looks after retention twice, with a month in between: whatever the clock says has had time to be believed.
    pub(super) fn retain(&self, now: i64) -> Result<(), StoreError> {
        self.store().mark_alive(TimeMs(now)).unwrap();
        let at = Instant::now();
        self.store().shared.retain_at(at)?;
        self.store().shared.retain_at(at + Duration::from_secs(30 * 86_400))
    }

    /// Whether the event that was appended last can be asked for.
    pub(super) fn newest_is_there(&self) -> bool {
        let newest = self.acknowledged.last().unwrap();
        let page = self.page(newest.instance.as_str(), newest.client.as_ref().unwrap().as_str());
        page.events.last() == Some(newest)
    }

    fn check_fleet(&self, instance: &InstanceId, context: &str) {
        let filter = Filter::all(instance.clone(), TimeRange::ALL);
        let mut expected: Vec<Event> =
            self.acknowledged.iter().filter(|event| event.instance == *instance).cloned().collect();
        expected.sort_by(|a, b| (a.time, &a.client).cmp(&(b.time, &b.client)));
        let mut found = Vec::new();
        self.store()
            .scan(&filter, Order::OldestFirst, &mut |event| {
                found.push(event.clone());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(found, expected, "{context}");
        let counts = self.store().counts(&filter, 60_000).unwrap().counts;
        let mut naive: BTreeMap<_, u64> = BTreeMap::new();
        for event in &expected {
            *naive.entry((event.time.0.div_euclid(60_000) * 60_000, event.action, event.reason)).or_default() += 1;
        }
        let counted: BTreeMap<_, u64> =
            counts.iter().map(|count| ((count.from.0, count.action, count.reason), count.events)).collect();
        assert_eq!(counted, naive, "{context}");
    }
}

fn missing_of(found: &[Event], known: &[Event], gaps: &[Gap], context: &str) -> usize {
    let (mut rest, mut missing) = (found.iter().peekable(), 0);
    for event in known {
        if rest.next_if(|next| *next == event).is_none() {
            missing += 1;
            let tells = |gap: &Gap| gap.cause == GapCause::Damaged && gap.range().contains(event.time);
            assert!(gaps.iter().any(tells), "{context}: {event:?} is in none of {gaps:?}");
        }
    }
    assert_eq!(rest.next(), None, "{context}: made up, doubled or out of order");
    missing
}

fn by_subject(events: &[Event]) -> BTreeMap<(String, String), Vec<Event>> {
    let mut all: BTreeMap<_, Vec<Event>> = BTreeMap::new();
    for event in events {
        let client = event.client.clone().unwrap().to_string();
        all.entry((event.instance.to_string(), client)).or_default().push(event.clone());
    }
    for events in all.values_mut() {
        events.sort_by_key(|event| event.time);
    }
    all
}
