//! Numbers that look random and are the same for the same seed, on every machine and in every version.

/// SplitMix64: one multiplication chain a number, good enough for shares and names.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 32 bits of it.
    pub(crate) fn bits(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or_default()
    }

    /// From 0 to `end`, which it is never.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        scaled(self.next() >> 32, end)
    }

    /// From 0 to `end`, crowded at 0: the chance of `r` falls with `r` to the power of two thirds.
    pub(crate) fn skewed_below(&mut self, end: u64) -> u64 {
        let u = self.next() >> 32;
        scaled(scaled(scaled(u, u), u), end)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// `fraction` of 2^32 parts of `of`.
fn scaled(fraction: u64, of: u64) -> u64 {
    u64::try_from((u128::from(fraction) * u128::from(of)) >> 32).unwrap_or(u64::MAX)
}
