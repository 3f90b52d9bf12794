//! Which timestamps belonged to nonces that were forgotten: a request that bears one may have been made before.
//!
//! Kept as spans, so that what a clock which was wrong for a moment left behind refuses that moment alone, and not all
//! before it.

use tracemq_model::TimeMs;

use super::REMEMBERED_MS;

/// Spans kept at once. While the clock runs on, one is in use; each step of the clock may leave another.
const SPANS_MAX: usize = 64;

/// Timestamps are valid for so long: what is older at a time is refused then whatever is kept here.
const VALID_MS: i64 = 15 * 60 * 1_000;

/// From one timestamp to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: TimeMs,
    pub(super) to: TimeMs,
}

/// The spans: in order, none touching another.
#[derive(Clone, Debug, Default)]
pub(super) struct Forgotten(Vec<Span>);

impl Forgotten {
    pub(super) fn contains(&self, timestamp: TimeMs) -> bool {
        let after = self.0.partition_point(|span| span.from <= timestamp);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|span| timestamp <= span.to)
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Adds `new`; all that it contains is refused from now on.
    pub(super) fn add(&mut self, new: Span, now: TimeMs) {
        let first = self.0.partition_point(|span| span.to < new.from);
        let last = self.0.partition_point(|span| span.from <= new.to);
        let met = self.0.get(first..last).unwrap_or_default();
        let from = met.first().map_or(new.from, |span| span.from.min(new.from));
        let to = met.last().map_or(new.to, |span| span.to.max(new.to));
        self.0.splice(first..last.max(first), [Span { from, to }]);
        self.tidy(now);
    }

    /// Joins neighbours where both are past, so that nothing is refused for it which is not too old anyway unless the
    /// clock steps back; beyond the bound, the closest two wherever they are.
    fn tidy(&mut self, now: TimeMs) {
        let past = now.plus(-VALID_MS);
        self.0.dedup_by(|span, before| {
            let near = span.from.since(before.to) <= REMEMBERED_MS.unsigned_abs() && span.from <= past;
            if near {
                before.to = span.to;
            }
            near
        });
        while self.0.len() > SPANS_MAX {
            let distances = self.0.iter().zip(self.0.iter().skip(1)).enumerate();
            let closest = distances.min_by_key(|(_, (before, after))| (after.from > past, after.from.since(before.to)));
            let Some((at, (before, after))) = closest else { return };
            let joined = Span { from: before.from, to: after.to };
            self.0.splice(at..at + 2, [joined]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn point(ms: i64) -> Span {
        Span { from: TimeMs(ms), to: TimeMs(ms) }
    }

    #[test]
    fn whatever_was_forgotten_stays_refused_in_bounded_space() {
        let mut forgotten = Forgotten::default();
        let mut seed: u64 = 1;
        let mut known = Vec::new();
        for round in 0..3_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let spread = if round % 10 == 0 { 100_000 * MINUTE } else { 90 * MINUTE };
            let at = i64::try_from(seed >> 33).unwrap() % spread + round * MINUTE;
            let span = Span { from: TimeMs(at), to: TimeMs(at + round % 7) };
            forgotten.add(span, TimeMs(round * MINUTE));
            known.push(span);
            assert!(forgotten.0.len() <= SPANS_MAX);
            assert!(forgotten.0.is_sorted_by(|a, b| a.to < b.from), "{:?}", forgotten.0);
            assert!(forgotten.0.iter().all(|span| span.from <= span.to));
        }
        assert!(known.iter().all(|span| forgotten.contains(span.from) && forgotten.contains(span.to)));
    }

    #[test]
    fn what_lies_ahead_is_not_joined_with_what_was() {
        let mut forgotten = Forgotten::default();
        forgotten.add(point(0), TimeMs(31 * MINUTE));
        forgotten.add(point(40 * MINUTE), TimeMs(32 * MINUTE));
        forgotten.add(point(20 * MINUTE), TimeMs(36 * MINUTE));
        assert_eq!(forgotten.0, [Span { from: TimeMs(0), to: TimeMs(20 * MINUTE) }, point(40 * MINUTE)]);
        assert!(!forgotten.contains(TimeMs(39 * MINUTE)) && !forgotten.contains(TimeMs(41 * MINUTE)));
        forgotten.add(point(24 * MINUTE), TimeMs(55 * MINUTE));
        assert_eq!(forgotten.0, [Span { from: TimeMs(0), to: TimeMs(40 * MINUTE) }]);
        // Apart by more than a nonce is remembered: two.
        forgotten.add(point(72 * MINUTE), TimeMs(200 * MINUTE));
        assert_eq!(forgotten.0.len(), 2);
    }
}
