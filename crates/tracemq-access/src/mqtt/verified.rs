//! Passwords that were compared and fit, so that a storm of reconnects does not compare them all again.
//!
//! Kept are keyed digests alone. A stored password that is changed makes what was kept of it worthless.

use std::collections::{HashSet, VecDeque};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::StoredPassword;

type Digest = [u8; 32];

/// The latest that fit.
pub struct Verified {
    key: [u8; 32],
    known: HashSet<Digest>,
    oldest_first: VecDeque<Digest>,
    entries_max: usize,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verified({})", self.known.len())
    }
}

impl Verified {
    /// None yet, with room for `entries_max`. `key` is random, and of this process alone.
    pub fn new(key: [u8; 32], entries_max: usize) -> Self {
        Self { key, known: HashSet::new(), oldest_first: VecDeque::new(), entries_max }
    }

    fn digest(&self, stored: &StoredPassword, password: &[u8]) -> Digest {
        // Lengths are of one form (a stored password holds no NUL), so that no two pairs give the same text.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.update(stored.as_str().as_bytes());
        mac.update(&[0]);
        mac.update(password);
        mac.finalize().into_bytes().into()
    }

    /// Whether `password` is known to fit `stored`.
    pub fn knows(&self, stored: &StoredPassword, password: &[u8]) -> bool {
        self.known.contains(&self.digest(stored, password))
    }

    /// Notes that it fits; the oldest makes room.
    pub fn note(&mut self, stored: &StoredPassword, password: &[u8]) {
        let digest = self.digest(stored, password);
        if self.entries_max == 0 || !self.known.insert(digest) {
            return;
        }
        self.oldest_first.push_back(digest);
        if self.oldest_first.len() > self.entries_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Cost;

    #[test]
    fn the_latest_are_known_each_with_its_stored_password_alone() {
        let stored =
            |salt| StoredPassword::hash(b"a", &[salt; 16], Cost { memory_kib: 8, rounds: 1, lanes: 1 }).unwrap();
        let (one, two) = (stored(1), stored(2));
        let mut verified = Verified::new([3; 32], 2);
        verified.note(&one, b"a");
        assert!(verified.knows(&one, b"a") && !verified.knows(&one, b"b") && !verified.knows(&two, b"a"));
        assert!(!Verified::new([4; 32], 2).knows(&one, b"a"));
        for password in [&b"b"[..], b"b", b"c"] {
            verified.note(&one, password);
        }
        assert!(!verified.knows(&one, b"a") && verified.knows(&one, b"b") && verified.knows(&one, b"c"));
        assert_eq!((verified.known.len(), verified.oldest_first.len()), (2, 2));
    }
}
