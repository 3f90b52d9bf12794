//! How often an account may call: a bucket of tokens for each, refilled evenly.

use std::collections::HashMap;

use tracemq_model::TimeMs;

use crate::AccountId;

/// A thousandth of a call.
const MILLI: u64 = 1_000;

struct Bucket {
    milli_tokens: u64,
    at: TimeMs,
}

/// The buckets of all accounts.
pub struct Throttle {
    per_second: u32,
    accounts_max: usize,
    buckets: HashMap<AccountId, Bucket>,
}

impl Throttle {
    /// Each account may make `per_second` calls a second, and as many at once after a second of silence.
    ///
    /// At most `accounts_max` accounts are remembered; one beyond it is refused while none of them is idle.
    pub fn new(per_second: u32, accounts_max: usize) -> Self {
        Self { per_second, accounts_max, buckets: HashMap::new() }
    }

    /// Counts a call of `account` at `now`.
    ///
    /// # Errors
    /// When it is one too many: after how many milliseconds, at least 1, the next may be made.
    pub fn take(&mut self, account: &AccountId, now: TimeMs) -> Result<(), u64> {
        let full = u64::from(self.per_second) * MILLI;
        if !self.buckets.contains_key(account) && self.buckets.len() >= self.accounts_max {
            let per_second = self.per_second;
            self.buckets.retain(|_, bucket| refilled(bucket, per_second, now) < full);
            if self.buckets.len() >= self.accounts_max {
                return Err(MILLI);
            }
        }
        let per_second = self.per_second;
        let bucket = self.buckets.entry(account.clone()).or_insert(Bucket { milli_tokens: full, at: now });
        bucket.milli_tokens = refilled(bucket, per_second, now);
        bucket.at = now; // also when the clock stepped back: else nothing would refill until it caught up
        match bucket.milli_tokens.checked_sub(MILLI) {
            Some(left) => {
                bucket.milli_tokens = left;
                Ok(())
            }
            None => Err((MILLI - bucket.milli_tokens).div_ceil(u64::from(per_second).max(1)).max(1)),
        }
    }
}

/// A millisecond brings `per_second` thousandths.
fn refilled(bucket: &Bucket, per_second: u32, now: TimeMs) -> u64 {
    let full = u64::from(per_second) * MILLI;
    let gained = now.since(bucket.at).saturating_mul(u64::from(per_second));
    bucket.milli_tokens.saturating_add(gained).min(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountId {
        AccountId::new(name).unwrap()
    }

    #[test]
    fn a_flood_is_held_to_the_rate_and_to_its_account() {
        let mut throttle = Throttle::new(500, 10);
        let (a, b) = (account("a"), account("b"));
        let taken = (0..1_000).filter(|_| throttle.take(&a, TimeMs(0)).is_ok()).count();
        assert_eq!(taken, 500);
        assert_eq!(throttle.take(&a, TimeMs(0)), Err(2));
        assert_eq!(throttle.take(&b, TimeMs(0)), Ok(()));
        assert_eq!(throttle.take(&a, TimeMs(1)), Err(1));
        assert_eq!(throttle.take(&a, TimeMs(2)), Ok(()));
        let taken = (3..10_003).filter(|ms| throttle.take(&a, TimeMs(*ms)).is_ok()).count();
        assert_eq!(taken, 5_000);
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
    fn accounts_are_bounded_and_idle_ones_make_room() {
        let mut throttle = Throttle::new(1, 2);
        for name in ["a", "b"] {
            assert_eq!(throttle.take(&account(name), TimeMs(0)), Ok(()));
        }
        assert!(throttle.take(&account("c"), TimeMs(999)).is_err());
        assert_eq!(throttle.take(&account("c"), TimeMs(1_000)), Ok(()));
        assert_eq!(throttle.buckets.len(), 1);
    }
}
