//! How long and how much is kept.
//!
//! What is kept of an instance is a moment, its cutoff: what is older is not shown. Files that hold nothing else are deleted,
//! others are written anew once the larger part has expired.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracemq_model::{InstanceId, TimeMs};
use tracemq_store::StoreError;
use tracing::info;

use super::{Shared, lock};
use crate::manifest::Cutoff;
use crate::segment::Segment;
use crate::view::View;

/// How often retention is looked after.
const LOOK_MS: u64 = 60_000;
/// Cutoffs move in steps of a 24th of the age, and of no more than this.
const STEP_MS_MAX: u64 = 3_600_000;
/// A clock that is ahead of the time that was seen to pass is followed so many times as fast as time passes: a server that
/// was off for a week has caught up after a day, and one whose clock is a year ahead for an hour deletes eight hours too
/// early at most.
const CATCH_UP: u64 = 8;

/// What retention knows of the time.
#[derive(Debug)]
pub(super) struct Clock {
    /// Up to when it believes that time has passed.
    trusted: Option<TimeMs>,
    looked: Option<Instant>,
    looked_at: Option<TimeMs>,
}

impl Clock {
    pub(super) fn new(trusted: Option<TimeMs>) -> Self {
        Self { trusted, looked: None, looked_at: None }
    }

    /// The wall clock says `now`; `at` is the same by a clock that does not step. Gives the time to go by.
    fn look(&mut self, now: TimeMs, at: Instant) -> TimeMs {
        let passed = self.looked.map_or(0, |looked| u64::try_from((at - looked).as_millis()).unwrap_or(u64::MAX));
        self.looked = Some(at);
        let trusted = match self.trusted {
            None => now,
            Some(trusted) => {
                let reach = i64::try_from(passed.saturating_mul(CATCH_UP)).unwrap_or(i64::MAX);
                trusted.max(now.min(trusted.plus(reach)))
            }
        };
        self.trusted = Some(trusted);
        trusted
    }
}

impl Shared {
    /// Takes note of the time, and has retention looked after every minute.
    pub(super) fn tick(&self, now: TimeMs) {
        self.now.store(now.0, Ordering::Relaxed);
        let is_due = {
            let mut clock = lock(&self.clock);
            let is_due = clock.looked_at.is_none_or(|before| now.since(before).max(before.since(now)) >= LOOK_MS);
            if is_due {
                clock.looked_at = Some(now);
            }
            is_due
        };
        if is_due {
            self.announce(|changes| changes.retention_is_due = true);
        }
    }

    /// Moves the cutoffs, and deletes what has expired as a whole.
    pub(super) fn retain(&self) -> Result<(), StoreError> {
        let now = TimeMs(self.now.load(Ordering::Relaxed));
        if now == TimeMs::MIN {
            return Ok(());
        }
        let trusted = lock(&self.clock).look(now, Instant::now());
        let view = self.view();
        let moved = self.moved_cutoffs(&view, trusted)?;
        if !moved.is_empty() {
            let mut publisher = lock(&self.publisher);
            self.publish(
                &mut publisher,
                None,
                |manifest| {
                    for cutoff in moved {
                        manifest.cutoffs.retain(|known| known.instance != cutoff.instance);
                        manifest.cutoffs.push(cutoff);
                    }
                    manifest.clock.seen = Some(now);
                    manifest.clock.trusted = Some(trusted);
                },
                |_| {},
            )?;
        }
        let snapshot = self.snapshot();
        let is_expired = |segment: &&Arc<Segment>| {
            segment.meta().instances.iter().all(|total| total.times.to < snapshot.cutoff(&total.instance))
        };
        // Not while a merge reads them, which would bring them back.
        let _merging = lock(&self.merging);
        let live = self.view();
        let expired: Vec<Arc<Segment>> = live.segments.iter().filter(is_expired).cloned().collect();
        if !expired.is_empty() {
            let events: u64 = expired.iter().map(|segment| segment.meta().rows).sum();
            let bytes: u64 = expired.iter().map(|segment| segment.meta().bytes).sum();
            self.replace(&expired, None, &[])?;
            info!(segments = expired.len(), events, bytes, "deleted what is older than what is to be kept");
        }
        Ok(())
    }

    fn moved_cutoffs(&self, view: &View, now: TimeMs) -> Result<Vec<Cutoff>, StoreError> {
        let mut instances: Vec<&InstanceId> =
            view.segments.iter().flat_map(|segment| &segment.meta().instances).map(|total| &total.instance).collect();
        instances.sort_unstable();
        instances.dedup();
        let retention = &self.settings.retention;
        let of_all = match retention.bytes {
            // What a clock that ran ahead wrote does not push the present out.
            Some(bytes) => beyond(view, None, bytes)?.min(now),
            None => TimeMs::MIN,
        };
        let mut moved = Vec::new();
        for instance in instances {
            let keep = retention.of(instance);
            let mut time = of_all;
            let mut step = 0;
            if let Some(age) = keep.age_ms {
                time = time.max(now.plus(-i64::try_from(age).unwrap_or(i64::MAX)));
                step = STEP_MS_MAX.min(age / 24);
            }
            if let Some(bytes) = keep.bytes {
                time = time.max(beyond(view, Some(instance), bytes)?.min(now));
            }
            let known = view.cutoffs.iter().find(|(known, _)| known == instance).map_or(TimeMs::MIN, |(_, time)| *time);
            if time > known && (known == TimeMs::MIN || time.since(known) >= step) {
                moved.push(Cutoff { instance: instance.clone(), time });
            }
        }
        Ok(moved)
    }
}

/// The moment from which on the history of `instance`, or of all, takes no more than `bytes` on disk.
fn beyond(view: &View, instance: Option<&InstanceId>, bytes: u64) -> Result<TimeMs, StoreError> {
    // From the newest to the oldest, by their latest event.
    let mut shares: Vec<(TimeMs, u64, &Segment)> = Vec::new();
    for segment in &view.segments {
        let meta = segment.meta();
        match instance {
            None => shares.push((meta.times.to, meta.bytes, segment)),
            Some(instance) => shares.extend(
                meta.instances
                    .iter()
                    .filter(|total| total.instance == *instance)
                    .map(|total| (total.times.to, total.bytes, &**segment)),
            ),
        }
    }
    shares.sort_by_key(|(to, ..)| std::cmp::Reverse(*to));
    let mut left = bytes;
    for (to, share, segment) in shares {
        match left.checked_sub(share) {
            Some(rest) => left = rest,
            None => {
                return match cut_of(segment, instance, share, left) {
                    Ok(cut) => Ok(cut.unwrap_or(to)),
                    // The bound holds all the same.
                    Err(StoreError::Damaged { .. }) => Ok(to),
                    Err(error) => Err(error),
                };
            }
        }
    }
    Ok(TimeMs::MIN)
}

/// Within a segment, whose events take `share` bytes: from when on they take `left`.
fn cut_of(
    segment: &Segment,
    instance: Option<&InstanceId>,
    share: u64,
    left: u64,
) -> Result<Option<TimeMs>, StoreError> {
    let minutes = segment.minutes()?;
    let mut counts: Vec<(i64, u64)> = minutes
        .instances()
        .filter(|(name, _)| instance.is_none_or(|instance| instance == *name))
        .flat_map(|(_, counts)| counts.iter().map(|count| (count.minute, count.events)))
        .collect();
    counts.sort_unstable_by_key(|(minute, _)| std::cmp::Reverse(*minute));
    let all = counts.iter().map(|(_, events)| *events).sum::<u64>().max(1);
    let keep = u128::from(all) * u128::from(left) / u128::from(share.max(1));
    let mut kept = 0_u128;
    for (minute, events) in counts {
        kept += u128::from(events);
        if kept > keep {
            return Ok(Some(TimeMs(minute.saturating_add(1).saturating_mul(60_000))));
        }
    }
    Ok(None)
}
