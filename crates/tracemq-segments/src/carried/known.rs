//! Connections that something is known of, looked up for each that is open: nearly always in vain.

/// Bits for each connection that is known: one look-up of twelve finds something for nothing.
const BITS_EACH: usize = 12;

/// What is known of connections.
pub(crate) struct Known<T> {
    sorted: Vec<(u128, T)>,
    /// A bit for some of the connections that there can be; set when it is for one that is known.
    bits: Vec<u64>,
    /// 64 less the number of bits of a number of a bit.
    shift: u32,
}

impl<T: Copy> Known<T> {
    pub(crate) fn new(mut known: Vec<(u128, T)>) -> Self {
        known.sort_unstable_by_key(|(connection, _)| *connection);
        let count = (known.len() * BITS_EACH).next_power_of_two().max(64);
        let mut bits = vec![0_u64; count / 64];
        let shift = 64 - count.trailing_zeros();
        for (connection, _) in &known {
            let (word, bit) = place(*connection, shift);
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
        Self { sorted: known, bits, shift }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    pub(crate) fn get(&self, connection: u128) -> Option<T> {
        let (word, bit) = place(connection, self.shift);
        if self.bits.get(word).is_none_or(|word| word & bit == 0) {
            return None;
        }
        let at = self.sorted.binary_search_by_key(&connection, |(known, _)| *known).ok()?;
        self.sorted.get(at).map(|(_, known)| *known)
    }

    /// All of it, by connection.
    pub(crate) fn into_sorted(self) -> Vec<(u128, T)> {
        self.sorted
    }
}

/// The word and the bit for a connection.
fn place(connection: u128, shift: u32) -> (usize, u64) {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let bytes = connection.to_le_bytes();
    let (low, high) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let high = high.first_chunk::<8>().copied().unwrap_or_default();
    let mixed = (u64::from_le_bytes(*low).wrapping_mul(MIX) ^ u64::from_le_bytes(high)).wrapping_mul(MIX);
    let number = mixed >> shift;
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_found_and_nothing_else() {
        for count in [0, 1, 5, 1_000] {
            let known = Known::new((0..count).rev().map(|n| ((n << 70) | (n * 3), n)).collect());
            for n in 0..count + 10 {
                assert_eq!(known.get((n << 70) | (n * 3)), (n < count).then_some(n));
                assert_eq!(known.get((n << 70) | (n * 3 + 1)), None);
            }
        }
    }
}
