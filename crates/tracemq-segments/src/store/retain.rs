//! How long and how much is kept.
//!
//! What is kept of an instance is a moment, its cutoff: what is older is not shown. Files that hold nothing else are deleted,
//! others are written anew once the larger part has expired.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracemq_model::{InstanceId, TimeMs, TimeRange};
use tracemq_store::StoreError;
use tracing::info;

use super::{Shared, lock};
use crate::carried::Moved;
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
/// 2024 in UTC. There was no such store before: a clock that says less is one that nobody has set.
const PLAUSIBLE_FROM: TimeMs = TimeMs(1_704_067_200_000);
/// What is dated so much later than the present is so because a clock was ahead.
const AHEAD_MS: i64 = 86_400_000;

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

    /// The wall clock says `now`; `at` is the same by a clock that does not step; `newest` is the latest event on record that
    /// is dated neither before there was a store nor after `now`. Gives the time to go by, if any.
    ///
    /// That is the earlier one of what the wall clock says and of a clock of our own, which begins at `newest` and follows
    /// the wall clock, but not too fast. So a wall clock that is wrong from the first start on, either way, deletes nothing.
    fn look(&mut self, now: TimeMs, at: Instant, newest: Option<TimeMs>) -> Option<TimeMs> {
        if now < PLAUSIBLE_FROM {
            return None;
        }
        let passed = self.looked.map_or(0, |looked| u64::try_from((at - looked).as_millis()).unwrap_or(u64::MAX));
        self.looked = Some(at);
        // Where nothing is dated plausibly, nothing is lost by going by the wall clock.
        let Some(begin) = self.trusted.or(newest) else { return Some(now) };
        let reach = i64::try_from(passed.saturating_mul(CATCH_UP)).unwrap_or(i64::MAX);
        let trusted = begin.max(now.min(begin.plus(reach)));
        self.trusted = Some(trusted);
        Some(trusted.min(now))
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

    /// From when on events are dated later than they can have happened. Without a plausible wall clock the store's own says
    /// that.
    pub(super) fn ahead_from(&self) -> TimeMs {
        self.latest().plus(AHEAD_MS)
    }

    fn latest(&self) -> TimeMs {
        let now = TimeMs(self.now.load(Ordering::Relaxed));
        if now >= PLAUSIBLE_FROM { now } else { lock(&self.clock).trusted.unwrap_or(TimeMs::MAX) }
    }

    /// Moves the cutoffs, and deletes what has expired as a whole.
    pub(super) fn retain(&self) -> Result<(), StoreError> {
        self.retain_at(Instant::now())
    }

    /// The same, at a moment by a clock that does not step.
    pub(super) fn retain_at(&self, at: Instant) -> Result<(), StoreError> {
        let now = TimeMs(self.now.load(Ordering::Relaxed));
        if now == TimeMs::MIN {
            return Ok(());
        }
        // Not while a merge reads what is deleted, and would bring it back.
        let _merging = lock(&self.merging);
        self.refuse_when_poisoned()?;
        let view = self.view();
        let ends = view.segments.iter().map(|segment| segment.meta().times.to);
        let plausible = ends.filter(|to| *to >= PLAUSIBLE_FROM && *to < now.plus(AHEAD_MS));
        let time = lock(&self.clock).look(now, at, plausible.max().map(|newest| newest.min(now)));
        let expiry = self.expiry(&view, time)?;
        let expired = self.expired(&expiry);
        match self.expire(&expiry, &expired) {
            // Where nothing is deleted the reserve would be spent for nothing, and be missing when something is.
            Err(full @ StoreError::Full { .. }) if !expired.is_empty() => {
                self.with_the_reserve(full, || self.expire(&expiry, &expired))?;
            }
            done => done?,
        }
        self.keep_a_reserve();
        Ok(())
    }

    /// The segments that nothing is to be kept of.
    fn expired(&self, expiry: &Expiry) -> Vec<Arc<Segment>> {
        let snapshot = self.snapshot();
        let cutoff = |instance: &InstanceId| {
            let moved = expiry.moved.iter().find(|cutoff| cutoff.instance == *instance);
            moved.map_or_else(|| snapshot.cutoff(instance), |cutoff| cutoff.time)
        };
        let is_expired = |segment: &&Arc<Segment>| {
            let id = segment.meta().id.number;
            segment.meta().instances.iter().all(|total| {
                total.times.to < cutoff(&total.instance)
                    || expiry.surplus.iter().any(|(surplus, of)| {
                        *surplus == id && of.as_ref().is_none_or(|instance| *instance == total.instance)
                    })
            })
        };
        snapshot.segments().iter().filter(is_expired).cloned().collect()
    }

    fn expire(&self, expiry: &Expiry, expired: &[Arc<Segment>]) -> Result<(), StoreError> {
        if !expiry.moved.is_empty() {
            let mut publisher = lock(&self.publisher);
            self.publish(
                &mut publisher,
                None,
                |manifest| {
                    for cutoff in &expiry.moved {
                        manifest.cutoffs.retain(|known| known.instance != cutoff.instance);
                        manifest.cutoffs.extend((cutoff.time > TimeMs::MIN).then(|| cutoff.clone()));
                    }
                    manifest.clock.seen = Some(TimeMs(self.now.load(Ordering::Relaxed)));
                    manifest.clock.trusted = lock(&self.clock).trusted;
                },
                |_| {},
            )?;
        }
        if !expired.is_empty() {
            let events: u64 = expired.iter().map(|segment| segment.meta().rows).sum();
            let bytes: u64 = expired.iter().map(|segment| segment.meta().bytes).sum();
            self.replace(expired, None, Moved::default())?;
            info!(segments = expired.len(), events, bytes, "deleted what is older than what is to be kept");
        }
        Ok(())
    }

    /// What is beyond what is to be kept at `time`; without one, only what is beyond the bounds in bytes.
    fn expiry(&self, view: &View, time: Option<TimeMs>) -> Result<Expiry, StoreError> {
        let mut instances: Vec<&InstanceId> =
            view.segments.iter().flat_map(|segment| &segment.meta().instances).map(|total| &total.instance).collect();
        instances.sort_unstable();
        instances.dedup();
        let retention = &self.settings.retention;
        let latest = self.latest();
        let mut expiry = Expiry::default();
        let of_all = match retention.bytes {
            Some(bytes) => expiry.beyond(view, None, bytes, latest)?,
            None => TimeMs::MIN,
        };
        for instance in instances {
            let keep = retention.of(instance);
            let mut from = of_all;
            let mut step = 0;
            if let Some((age, time)) = keep.age_ms.zip(time) {
                from = from.max(time.plus(-i64::try_from(age).unwrap_or(i64::MAX)));
                step = STEP_MS_MAX.min(age / 24);
            }
            if let Some(bytes) = keep.bytes {
                from = from.max(expiry.beyond(view, Some(instance), bytes, latest)?);
            }
            let known = view.cutoffs.iter().find(|(known, _)| known == instance).map_or(TimeMs::MIN, |(_, time)| *time);
            let is_due = from > known && (known == TimeMs::MIN || from.since(known) >= step);
            // A clock that was ahead for long has left one that would hide all that comes. Of what has expired by it no more
            // is shown again than has to be.
            let was_ahead = time.is_some() && known > latest.plus(AHEAD_MS);
            if was_ahead {
                from = from.max(latest.plus(-AHEAD_MS));
            }
            if is_due || was_ahead {
                expiry.moved.push(Cutoff { instance: instance.clone(), time: from });
            }
        }
        Ok(expiry)
    }
}

/// What is beyond what is to be kept.
#[derive(Default)]
struct Expiry {
    moved: Vec<Cutoff>,
    /// Segments beyond it that hold only events dated later than the present, which no cutoff hides, and whose they are.
    surplus: Vec<(u64, Option<InstanceId>)>,
}

impl Expiry {
    /// The moment from which on the history of `instance`, or of all, takes no more than `bytes` on disk: the oldest goes.
    ///
    /// What is dated later than `latest` says nothing of its age: a clock was ahead when it was written, or is behind now. So
    /// it shares the room with all else, and neither gets less than half of it for the other's sake: what is recorded now
    /// stays in the first case, and what is newest in the second.
    fn beyond(
        &mut self,
        view: &View,
        instance: Option<&InstanceId>,
        bytes: u64,
        latest: TimeMs,
    ) -> Result<TimeMs, StoreError> {
        let ahead_from = latest.plus(AHEAD_MS);
        let (mut ahead, mut others): (Vec<Share<'_>>, Vec<Share<'_>>) = (Vec::new(), Vec::new());
        for segment in &view.segments {
            let mut add = |times: TimeRange, bytes: u64| {
                let shares = if times.from >= ahead_from { &mut ahead } else { &mut others };
                shares.push(Share { to: times.to, bytes, segment });
            };
            let meta = segment.meta();
            match instance {
                None => add(meta.times, meta.bytes),
                Some(instance) => {
                    let totals = meta.instances.iter().filter(|total| total.instance == *instance);
                    totals.for_each(|total| add(total.times, total.bytes));
                }
            }
        }
        // From the newest to the oldest, by their latest event.
        ahead.sort_by_key(|share| Reverse(share.to));
        others.sort_by_key(|share| Reverse(share.to.min(ahead_from)));
        let of_others: u64 = others.iter().map(|share| share.bytes).sum();
        let room = (bytes / 2).max(bytes.saturating_sub(of_others));
        let (mut kept, mut is_full) = (0_u64, false);
        for share in &ahead {
            // No cutoff can hide a part of it: a file goes whole, and the newest one stays.
            is_full |= kept > 0 && kept.saturating_add(share.bytes) > room;
            if is_full {
                self.surplus.push((share.segment.meta().id.number, instance.cloned()));
            } else {
                kept = kept.saturating_add(share.bytes);
            }
        }
        let mut left = (bytes / 2).max(bytes.saturating_sub(kept));
        for Share { to, bytes: share, segment } in others {
            let Some(room) = left.checked_sub(share) else {
                let from = match cut_of(segment, instance, share, left, ahead_from) {
                    Ok(cut) => cut.unwrap_or(to),
                    // The bound holds all the same.
                    Err(StoreError::Damaged { .. }) => to,
                    Err(error) => return Err(error),
                };
                return Ok(from.min(latest));
            };
            left = room;
        }
        Ok(TimeMs::MIN)
    }
}

/// What a segment holds of what is bounded.
struct Share<'a> {
    to: TimeMs,
    bytes: u64,
    segment: &'a Segment,
}

/// Within a segment, whose events take `share` bytes: from when on they take `left`.
fn cut_of(
    segment: &Segment,
    instance: Option<&InstanceId>,
    share: u64,
    left: u64,
    ahead_from: TimeMs,
) -> Result<Option<TimeMs>, StoreError> {
    let minutes = segment.minutes()?;
    let is_ahead = |minute: i64| minute.saturating_mul(60_000) >= ahead_from.0;
    let mut counts: Vec<(i64, u64)> = minutes
        .instances()
        .filter(|(name, _)| instance.is_none_or(|instance| instance == *name))
        .flat_map(|(_, counts)| counts.iter().map(|count| (count.minute, count.events)))
        .collect();
    counts.sort_unstable_by_key(|(minute, _)| (is_ahead(*minute), Reverse(*minute)));
    let all = counts.iter().map(|(_, events)| *events).sum::<u64>().max(1);
    let keep = u128::from(all) * u128::from(left) / u128::from(share.max(1));
    let mut kept = 0_u128;
    for (minute, events) in counts {
        kept += u128::from(events);
        if kept > keep {
            // No cutoff hides what is ahead; what is older than all here goes.
            let cut = TimeMs(minute.saturating_add(1).saturating_mul(60_000));
            return Ok(Some(if is_ahead(minute) { segment.meta().times.from } else { cut }));
        }
    }
    Ok(None)
}
