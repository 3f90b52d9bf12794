//! Front coding: a text as what differs from the end of the one before.
//!
//! ```text
//! a byte: how many bytes of the one before are dropped (low half), how many are added (high half); 15 says that the
//! rest of that number follows as a varint | the rest of dropped | the rest of added | the added bytes
//! ```
//!
//! At most [`SHARED_MAX`] bytes are shared, so that a few bytes on disk never become megabytes in memory.

use crate::varint;

/// Names that are longer share no more than this.
const SHARED_MAX: usize = 255;

const HALF_MAX: usize = 15;

/// Appends `text` as what it is behind `before`.
pub(super) fn push(out: &mut Vec<u8>, before: &[u8], text: &[u8]) {
    let same = before.iter().zip(text).take(SHARED_MAX).take_while(|(one, other)| one == other).count();
    let (dropped, added) = (before.len() - same, text.len() - same);
    out.push(half(dropped) | half(added) << 4);
    push_rest(out, dropped);
    push_rest(out, added);
    out.extend_from_slice(text.get(same..).unwrap_or_default());
}

fn half(length: usize) -> u8 {
    u8::try_from(length.min(HALF_MAX)).unwrap_or(0)
}

fn push_rest(out: &mut Vec<u8>, length: usize) {
    if let Some(rest) = length.checked_sub(HALF_MAX) {
        varint::push(out, u64::try_from(rest).unwrap_or(u64::MAX));
    }
}

/// Takes a text off the front of `bytes`: how many bytes of the one before it, which has `before`, it shares, and what it
/// adds. None when there is none.
pub(super) fn take<'a>(bytes: &mut &'a [u8], before: usize) -> Option<(usize, &'a [u8])> {
    let (&halves, rest) = bytes.split_first()?;
    *bytes = rest;
    let dropped = take_rest(bytes, halves & 0x0f)?;
    let added = take_rest(bytes, halves >> 4)?;
    let same = before.checked_sub(dropped).filter(|same| *same <= SHARED_MAX)?;
    let (added, rest) = bytes.split_at_checked(added)?;
    *bytes = rest;
    Some((same, added))
}

fn take_rest(bytes: &mut &[u8], half: u8) -> Option<usize> {
    let half = usize::from(half);
    if half < HALF_MAX {
        return Some(half);
    }
    usize::try_from(varint::take(bytes)?).ok()?.checked_add(HALF_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_two_names_share_takes_no_room() {
        let mut out = Vec::new();
        push(&mut out, b"GID_fleet@@@dev-00000017", b"GID_fleet@@@dev-00000023");
        assert_eq!(out, [0x22, b'2', b'3']);
    }

    #[test]
    fn more_than_there_is_cannot_be_shared() {
        assert_eq!(take(&mut &[0x03][..], 2), None);
        assert_eq!(take(&mut &[0x00][..], 256), None);
        assert_eq!(take(&mut &[0x00][..], 255), Some((255, &[][..])));
        assert_eq!(take(&mut &[0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..], 0), None);
    }

    proptest! {
        #[test]
        fn texts_come_back(shared in "[ab]{0,400}", before in "[ab]{0,20}", text in "[ab]{0,20}") {
            let (before, text) = (format!("{shared}{before}"), format!("{shared}{text}"));
            let mut out = Vec::new();
            push(&mut out, before.as_bytes(), text.as_bytes());
            let mut rest = out.as_slice();
            let (same, added) = take(&mut rest, before.len()).unwrap();
            prop_assert_eq!([&before.as_bytes()[..same], added].concat(), text.as_bytes());
            prop_assert!(rest.is_empty());
        }
    }
}
