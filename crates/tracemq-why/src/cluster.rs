//! Finding a constant among measured spans, some of which are something else.

/// Values that are the same but for jitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Their median.
    pub(crate) centre: u64,
    /// Which of the given values, by their places there.
    pub(crate) members: Vec<usize>,
}

/// How far values may lie apart and still be the same: so many thousandths of the lowest, and so many milliseconds more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width {
    pub(crate) permille: u64,
    pub(crate) ms: u64,
}

impl Width {
    /// How far apart values from `lowest` on may lie.
    pub(crate) fn at(self, lowest: u64) -> u64 {
        lowest.saturating_mul(self.permille) / 1_000 + self.ms
    }
}

/// The most values that lie within `width` of each other; of as many the tightest, then the highest.
pub(crate) fn densest(values: &[u64], width: Width) -> Option<Cluster> {
    let mut sorted: Vec<(u64, usize)> = values.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    let mut best: &[(u64, usize)] = &[];
    let mut end = 0;
    for (start, (lowest, _)) in sorted.iter().enumerate() {
        let reach = lowest.saturating_add(width.at(*lowest));
        while sorted.get(end).is_some_and(|(value, _)| *value <= reach) {
            end += 1;
        }
        let Some(window) = sorted.get(start..end) else { continue };
        if window.len() > best.len() || (window.len() == best.len() && spread(window) <= spread(best)) {
            best = window;
        }
    }
    let centre = best.get(best.len() / 2)?.0;
    let mut members: Vec<usize> = best.iter().map(|(_, place)| *place).collect();
    members.sort_unstable();
    Some(Cluster { centre, members })
}

fn spread(window: &[(u64, usize)]) -> u64 {
    window.first().zip(window.last()).map_or(0, |((lowest, _), (highest, _))| highest - lowest)
}

/// The median; none of nothing.
pub(crate) fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: Width = Width { permille: 20, ms: 0 };

    #[test]
    fn a_constant_is_found_among_others() {
        let found = densest(&[17_000, 300_000, 44, 301_000, 300_500, 900_000], WIDTH).unwrap();
        assert_eq!(found, Cluster { centre: 300_500, members: vec![1, 3, 4] });
        assert_eq!(densest(&[], WIDTH), None);
        assert_eq!(densest(&[u64::MAX, 0], WIDTH).unwrap().members.len(), 1);
    }
}
