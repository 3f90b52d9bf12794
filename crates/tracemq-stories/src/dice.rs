//! Chance that is the same each time.

/// Numbers from a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let width = u64::try_from(most.saturating_sub(least)).unwrap_or(0).saturating_add(1);
        least.saturating_add(i64::try_from(self.number() % width).unwrap_or(0))
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of them; the first of none is its default.
    pub fn pick<T: Copy + Default>(&mut self, of: &[T]) -> T {
        let last = i64::try_from(of.len()).unwrap_or(1).saturating_sub(1);
        let place = usize::try_from(self.between(0, last.max(0))).unwrap_or(0);
        of.get(place).copied().unwrap_or_default()
    }

    /// A time that passes until something happens which happens every `mean` on average, whenever it last did; at most ten times
    /// that.
    pub fn wait(&mut self, mean: i64) -> i64 {
        // Minus the logarithm of an even number below one.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a time in milliseconds")]
        let waited = {
            let even = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
            (-(1.0 - even).ln() * mean as f64) as i64
        };
        waited.clamp(1, mean.saturating_mul(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_their_bounds() {
        let (mut one, mut other) = (Dice::new(7), Dice::new(7));
        for _ in 0..1_000 {
            let rolled = one.between(-5, 9);
            assert!((-5..=9).contains(&rolled));
            assert_eq!(rolled, other.between(-5, 9));
        }
        let sum: i64 = (0..10_000).map(|_| one.wait(1_000)).sum();
        assert!((900..1_100).contains(&(sum / 10_000)), "{sum}");
    }
}
