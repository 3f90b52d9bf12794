//! The numbers that stand for causes of gaps on disk. A number is never changed and never used again.

use tracemq_model::{Gap, GapCause, TimeMs};

use crate::varint::{push, take, unzigzag, zigzag};

/// Appends `gap`: from and to as zigzag varints, cause and whether the loss is known in a byte, the loss.
pub(super) fn push_gap(out: &mut Vec<u8>, gap: &Gap) {
    let Gap { from, to, lost, cause } = *gap;
    push(out, zigzag(from.0));
    push(out, zigzag(to.0));
    out.push(cause_number(cause) << 1 | u8::from(lost.is_some()));
    if let Some(lost) = lost {
        push(out, lost);
    }
}

/// Takes a gap off the front of `bytes`; none when there is none, or one of a cause that this version doesn't know.
pub(super) fn take_gap(bytes: &mut &[u8]) -> Option<Gap> {
    let from = TimeMs(unzigzag(take(bytes)?));
    let to = TimeMs(unzigzag(take(bytes)?));
    let (&flags, rest) = bytes.split_first()?;
    *bytes = rest;
    let lost = if flags & 1 == 1 { Some(take(bytes)?) } else { None };
    Some(Gap { from, to, lost, cause: cause_of(flags >> 1)? })
}

fn cause_number(cause: GapCause) -> u8 {
    match cause {
        GapCause::QueueFull => 1,
        GapCause::StoreFailed => 2,
        GapCause::NotRunning => 3,
        GapCause::Damaged => 4,
    }
}

fn cause_of(number: u8) -> Option<GapCause> {
    GapCause::ALL.iter().copied().find(|cause| cause_number(*cause) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gap_comes_back() {
        for cause in GapCause::ALL {
            for lost in [None, Some(0), Some(u64::MAX)] {
                let gap = Gap { from: TimeMs::MIN, to: TimeMs::MAX, lost, cause: *cause };
                let mut bytes = Vec::new();
                push_gap(&mut bytes, &gap);
                let mut rest = bytes.as_slice();
                assert_eq!((take_gap(&mut rest), rest.len()), (Some(gap), 0));
            }
        }
        assert_eq!(take_gap(&mut &[0, 0, 0][..]), None);
        assert_eq!(take_gap(&mut &[0, 0, 10][..]), None);
    }
}
