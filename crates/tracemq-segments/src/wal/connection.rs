//! Ids of connections that this program made, as what differs from what can be foretold.
//!
//! Such an id is 48 bits of the accept's time, 32 of the process, 48 of a counter. The process is that of the id before;
//! the accept's time is nearly the event's, less the connection's duration where that is known; the counter is near
//! the one before. Ids of other brokers look random, and don't fit.

use tracemq_model::{ConnectionId, TimeMs};

use crate::varint::{self, unzigzag, zigzag};

const BITS_48: u64 = (1 << 48) - 1;

/// What is known ahead of the id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foretold {
    pub(super) before: Option<ConnectionId>,
    pub(super) time: TimeMs,
    pub(super) duration_ms: u64,
}

impl Foretold {
    /// Whether `id` differs by little.
    pub(super) fn fits(&self, id: ConnectionId) -> bool {
        self.before.is_some_and(|before| node(before) == node(id))
    }

    /// Appends how `id`, which fits, differs.
    pub(super) fn push(&self, out: &mut Vec<u8>, id: ConnectionId) {
        let counter = self.before.map_or(0, counter);
        varint::push(out, difference(self.accepted(), time(id)));
        varint::push(out, difference(counter, self::counter(id)));
    }

    /// Takes an id off the front of `bytes`; none when there is none, or no id before it.
    pub(super) fn take(&self, bytes: &mut &[u8]) -> Option<ConnectionId> {
        let before = self.before?;
        let time = moved(self.accepted(), varint::take(bytes)?)?;
        let counter = moved(counter(before), varint::take(bytes)?)?;
        Some(ConnectionId(u128::from(time) << 80 | node(before) | u128::from(counter)))
    }

    #[expect(clippy::cast_sign_loss, reason = "the bits are kept")]
    fn accepted(&self) -> u64 {
        (self.time.0 as u64).wrapping_sub(self.duration_ms) & BITS_48
    }
}

/// From one number of 48 bits to another, round the shorter way.
#[expect(clippy::cast_possible_wrap, reason = "the bits are kept")]
fn difference(from: u64, to: u64) -> u64 {
    let difference = to.wrapping_sub(from) << 16;
    zigzag(difference as i64 >> 16)
}

#[expect(clippy::cast_sign_loss, reason = "the bits are kept")]
fn moved(from: u64, difference: u64) -> Option<u64> {
    // Written in one way alone.
    (difference <= BITS_48).then(|| from.wrapping_add(unzigzag(difference) as u64) & BITS_48)
}

fn time(id: ConnectionId) -> u64 {
    (id.0 >> 80) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "48 bits are meant")]
fn counter(id: ConnectionId) -> u64 {
    id.0 as u64 & BITS_48
}

/// In its place.
fn node(id: ConnectionId) -> u128 {
    id.0 & (0xffff_ffff << 48)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracemq_model::ConnectionIds;

    use super::*;

    #[test]
    fn ids_of_one_process_take_few_bytes() {
        let mut ids = ConnectionIds::new(0xdead_beef);
        let before = Some(ids.next(TimeMs(1_763_800_000_000)));
        let id = ids.next(TimeMs(1_763_800_000_007));
        let foretold = Foretold { before, time: TimeMs(1_763_800_060_009), duration_ms: 60_000 };
        let mut out = Vec::new();
        assert!(foretold.fits(id));
        foretold.push(&mut out, id);
        assert_eq!(out.len(), 2);
        assert!(!foretold.fits(ConnectionIds::new(1).next(TimeMs(0))));
    }

    proptest! {
        #[test]
        fn ids_come_back(before: u128, high: u128, low: u128, time: i64, duration_ms: u64) {
            let id = ConnectionId(high << 80 | before & (0xffff_ffff << 48) | low & u128::from(BITS_48));
            let foretold = Foretold { before: Some(ConnectionId(before)), time: TimeMs(time), duration_ms };
            let mut out = Vec::new();
            foretold.push(&mut out, id);
            let mut rest = out.as_slice();
            prop_assert_eq!(foretold.take(&mut rest), Some(id));
            prop_assert!(rest.is_empty() && out.len() <= 14);
        }
    }
}
