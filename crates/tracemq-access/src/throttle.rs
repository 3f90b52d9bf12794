//! How often somebody may call, an account or an address: so many calls in any span of one second.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use tracemq_model::TimeMs;

const SECOND_MS: i64 = 1_000;
const SECOND: u64 = SECOND_MS.unsigned_abs();

/// The calls of one in the last second: how many in which millisecond, at most a thousand of them, in order.
#[derive(Debug, Default)]
struct Window {
    calls: VecDeque<(TimeMs, u64)>,
    count: u64,
}

impl Window {
    /// Forgets what is a second old at `now`, and gives the moment that counts as now.
    ///
    /// Callers that read the clock at about the same moment may come here in another order: whoever comes late counts
    /// as coming with the last. After a clock stepped back, all that is remembered counts as of now: else the account
    /// would be locked out until the clock has caught up, or could call twice as often.
    fn settle(&mut self, now: TimeMs) -> TimeMs {
        let mut at = now;
        if let Some((last, _)) = self.calls.back().copied()
            && now < last
        {
            if last.since(now) < SECOND {
                at = last;
            } else {
                self.calls.clear();
                self.calls.push_back((now, self.count));
            }
        }
        while let Some((_, calls)) = self.calls.pop_front_if(|(time, _)| at.since(*time) >= SECOND) {
            self.count -= calls;
        }
        at
    }

    fn add(&mut self, at: TimeMs) {
        match self.calls.back_mut() {
            Some((last, calls)) if *last == at => *calls += 1,
            Some(_) | None => self.calls.push_back((at, 1)),
        }
        self.count += 1;
    }
}

/// The windows of all callers of one kind.
pub struct Throttle<K> {
    per_second: u64,
    callers_max: usize,
    windows: HashMap<K, Window>,
}

impl<K: Clone + Eq + Hash> Throttle<K> {
    /// Each caller may make `per_second` calls in any span of one second, evenly or at once.
    ///
    /// At most `callers_max` callers are remembered; one beyond it is refused while all of them have called within
    /// the last second.
    pub fn new(per_second: u32, callers_max: usize) -> Self {
        Self { per_second: per_second.into(), callers_max, windows: HashMap::new() }
    }

    /// Counts a call of `caller` at `now`. A call that is refused does not count.
    ///
    /// # Errors
    /// When it is one too many: after how many milliseconds, at least 1, the next may be made.
    pub fn take(&mut self, caller: &K, now: TimeMs) -> Result<(), u64> {
        if !self.windows.contains_key(caller) && self.windows.len() >= self.callers_max {
            self.windows.retain(|_, window| {
                window.settle(now);
                window.count > 0
            });
            if self.windows.len() >= self.callers_max {
                return Err(SECOND);
            }
        }
        let window = self.windows.entry(caller.clone()).or_default();
        let at = window.settle(now);
        if window.count < self.per_second {
            window.add(at);
            return Ok(());
        }
        // The window is full: there is room when the first of it is a second old.
        let first = window.calls.front().map_or(now, |(time, _)| *time);
        Err(first.plus(SECOND_MS).since(now).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountId;

    fn account(name: &str) -> AccountId {
        AccountId::new(name).unwrap()
    }

    #[test]
    fn a_flood_is_held_to_the_rate_and_to_its_account() {
        let mut throttle = Throttle::new(500, 10);
        let (a, b) = (account("a"), account("b"));
        let taken = (0..1_000).filter(|_| throttle.take(&a, TimeMs(0)).is_ok()).count();
        assert_eq!(taken, 500);
        assert_eq!(throttle.take(&a, TimeMs(0)), Err(1_000));
        assert_eq!(throttle.take(&b, TimeMs(0)), Ok(()));
        assert_eq!(throttle.take(&a, TimeMs(1)), Err(999));
        assert_eq!(throttle.take(&a, TimeMs(999)), Err(1));
        assert_eq!(throttle.take(&a, TimeMs(1_000)), Ok(()));
        assert_eq!(throttle.windows.len(), 2);
    }

    #[test]
    fn no_second_holds_more_whenever_it_begins() {
        // A few calls a millisecond, in bursts and pauses, from a generator of numbers that look random.
        let mut seed: u64 = 1;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for per_second in [1, 7, 500] {
            let mut throttle = Throttle::new(per_second, 10);
            let a = account("a");
            let (mut now, mut granted) = (0, Vec::new());
            for _ in 0..20_000 {
                now += i64::try_from(random(3) * random(2) + random(200) / 199 * random(1_500)).unwrap();
                match throttle.take(&a, TimeMs(now)) {
                    Ok(()) => granted.push(now),
                    // It says when, to the millisecond.
                    Err(wait) => {
                        let then = now + i64::try_from(wait).unwrap();
                        let first = granted[granted.len() - usize::try_from(per_second).unwrap()];
                        assert_eq!(then, first + 1_000);
                    }
                }
                assert!(throttle.windows[&a].calls.len() <= 1_000);
            }
            for (n, time) in granted.iter().enumerate() {
                let after = granted.get(n + usize::try_from(per_second).unwrap());
                assert!(after.is_none_or(|after| after - time >= 1_000), "{per_second}: {time}");
            }
            assert!(granted.len() > 20, "{per_second}: {}", granted.len());
        }
    }

    #[test]
    fn a_clock_that_steps_neither_locks_out_nor_lets_through() {
        let mut throttle = Throttle::new(1, 10);
        let a = account("a");
        assert_eq!(throttle.take(&a, TimeMs(10_000_000)), Ok(()));
        assert_eq!(throttle.take(&a, TimeMs(0)), Err(1_000));
        assert_eq!(throttle.take(&a, TimeMs(1_000)), Ok(()));
        assert_eq!(throttle.take(&a, TimeMs::MAX), Ok(()));
        assert!(throttle.take(&a, TimeMs::MIN).is_err());
    }

    #[test]
    fn callers_that_come_out_of_order_get_no_more() {
        let mut throttle = Throttle::new(3, 10);
        let a = account("a");
        for ms in [5, 4, 6] {
            assert_eq!(throttle.take(&a, TimeMs(ms)), Ok(()));
        }
        assert_eq!(throttle.take(&a, TimeMs(3)), Err(1_002));
        assert_eq!(throttle.take(&a, TimeMs(1_004)), Err(1));
        assert_eq!(throttle.take(&a, TimeMs(1_005)), Ok(()));
    }

    #[test]
    fn accounts_are_bounded_and_idle_ones_make_room() {
        let mut throttle = Throttle::new(1, 2);
        for name in ["a", "b"] {
            assert_eq!(throttle.take(&account(name), TimeMs(0)), Ok(()));
        }
        assert!(throttle.take(&account("c"), TimeMs(999)).is_err());
        assert_eq!(throttle.take(&account("c"), TimeMs(1_000)), Ok(()));
        assert_eq!(throttle.windows.len(), 1);
    }

    #[test]
    fn none_is_a_rate_too() {
        let mut throttle = Throttle::new(0, 2);
        assert_eq!(throttle.take(&account("a"), TimeMs(0)), Err(1_000));
    }
}
