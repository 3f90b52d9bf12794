//! Time as it stands on record.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z, may be negative.
///
/// Wall-clock time, as recorded. It orders history; it never measures a duration while a connection lives
/// (a host's clock may step), for that the connection path uses a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeMs(pub i64);

impl TimeMs {
    /// The earliest moment that can be written down.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest moment that can be written down.
    pub const MAX: Self = Self(i64::MAX);

    /// Milliseconds from `earlier` to here; 0 when `earlier` is later (the clock stepped back in between).
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// This moment moved by `ms`, clamped to what can be written down.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for TimeMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stepped_back_gives_no_negative_duration() {
        assert_eq!(TimeMs(5).since(TimeMs(9)), 0);
        assert_eq!(TimeMs(9).since(TimeMs(5)), 4);
        assert_eq!(TimeMs::MAX.since(TimeMs::MIN), i64::MAX as u64);
    }
}
