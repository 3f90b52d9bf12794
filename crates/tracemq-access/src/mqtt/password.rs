//! Stored passwords: argon2id in the PHC form, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`, as other programs write it too.
//!
//! Hashing is work on purpose (some 20 ms and 19 MiB): whoever serves connections must do it elsewhere.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::{Output, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};

/// The most that a stored password may ask for: memory of one comparison in KiB, rounds, lanes.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const ROUNDS_MAX: u32 = 16;
const LANES_MAX: u32 = 8;
const TEXT_BYTES_MAX: usize = 512;
/// Room for at least 33 MiB is taken, of which only what is used costs memory: smaller pieces the C library takes from its heaps,
/// where they stay when they are given back, the larger ones from the operating system, which gets them back.
const ROOM_BLOCKS_MIN: usize = 33 * 1024;

/// What a comparison costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Rounds over it.
    pub rounds: u32,
    /// Lanes, done one after another.
    pub lanes: u32,
}

impl Default for Cost {
    /// What OWASP recommends for argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, rounds: 2, lanes: 1 }
    }
}

/// Why a text is no stored password. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Another form.
    #[error("is no stored password ($argon2id$v=19$...); `tracemq passwd` makes one")]
    Form,
    /// Another way of hashing.
    #[error("is not of argon2id, version 19")]
    Algorithm,
    /// A comparison would take too much.
    #[error("asks for more than {} MiB, {ROUNDS_MAX} rounds and {LANES_MAX} lanes", MEMORY_KIB_MAX / 1024)]
    Cost,
    /// Shorter than can be safe.
    #[error("has a salt of less than 8 or a hash of less than 16 bytes")]
    Short,
}

/// The memory of one comparison after another. Empty until the first.
#[derive(Debug, Default)]
pub struct Workspace(Vec<Block>);

impl Workspace {
    fn of(&mut self, blocks: usize) -> &mut [Block] {
        // The next that takes so much brings it again; what one user's password takes is not kept for all others.
        if self.0.len() != blocks {
            self.0 = Vec::new(); // first, so that both are never there at once
            self.0.reserve_exact(blocks.max(ROOM_BLOCKS_MIN));
            self.0.resize(blocks, Block::new());
        }
        &mut self.0
    }
}

/// A password as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword {
    text: Arc<str>,
    cost: Cost,
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(..)")
    }
}

impl StoredPassword {
    /// Takes `text` if a password can be compared with it at a cost that a server can bear.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PasswordError::Form);
        }
        let parsed = PasswordHash::new(text).map_err(|_| PasswordError::Form)?;
        if parsed.algorithm != argon2::ARGON2ID_IDENT || parsed.version != Some(19) {
            return Err(PasswordError::Algorithm);
        }
        let (Some(salt), Some(hash)) = (parsed.salt, parsed.hash) else { return Err(PasswordError::Form) };
        let mut salt_bytes = [0; Salt::MAX_LENGTH];
        let salt = salt.decode_b64(&mut salt_bytes).map_err(|_| PasswordError::Form)?;
        if salt.len() < 8 || hash.len() < 16 {
            return Err(PasswordError::Short);
        }
        let params = Params::try_from(&parsed).map_err(|_| PasswordError::Cost)?;
        let cost = Cost { memory_kib: params.m_cost(), rounds: params.t_cost(), lanes: params.p_cost() };
        if cost.memory_kib > MEMORY_KIB_MAX || cost.rounds > ROUNDS_MAX || cost.lanes > LANES_MAX {
            return Err(PasswordError::Cost);
        }
        Ok(Self { text: text.into(), cost })
    }

    /// Stores `password` under a random `salt`.
    ///
    /// # Errors
    /// When `cost` can't be.
    pub fn hash(password: &[u8], salt: &[u8; 16], cost: Cost) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib, cost.rounds, cost.lanes, None).map_err(|_| PasswordError::Cost)?;
        let salt = SaltString::encode_b64(salt).map_err(|_| PasswordError::Short)?;
        let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password(password, &salt)
            .map_err(|_| PasswordError::Cost)?;
        Self::parse(&hashed.to_string())
    }

    /// One that nothing fits, and that is as much work to compare with.
    #[must_use]
    pub fn of_nobody(cost: Cost) -> Self {
        let Cost { memory_kib, rounds, lanes } = cost;
        let (salt, hash) = ("bm9ib2R5Lm5vYm9keQ", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let text = format!("$argon2id$v=19$m={memory_kib},t={rounds},p={lanes}${salt}${hash}");
        Self { text: text.into(), cost }
    }

    /// Whether `password` is the one. Takes as long for one that is as for one that is not.
    pub fn fits(&self, password: &[u8], workspace: &mut Workspace) -> bool {
        self.try_fits(password, workspace).unwrap_or(false)
    }

    fn try_fits(&self, password: &[u8], workspace: &mut Workspace) -> argon2::password_hash::Result<bool> {
        let stored = PasswordHash::new(&self.text)?;
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else { return Ok(false) };
        let mut salt_bytes = [0; Salt::MAX_LENGTH];
        let salt = salt.decode_b64(&mut salt_bytes)?;
        let params = Params::try_from(&stored)?;
        let memory = workspace.of(params.block_count());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let found = Output::init_with(expected.len(), |out| {
            Ok(argon2.hash_password_into_with_memory(password, salt, out, memory)?)
        })?;
        Ok(found == expected) // in constant time
    }

    /// What a comparison costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// As it stands in a file.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const CHEAP: Cost = Cost { memory_kib: 8, rounds: 1, lanes: 1 };

    #[test]
    fn a_password_fits_what_was_stored_of_it_and_nothing_else_does() {
        let stored = StoredPassword::hash(b"correct horse", &[7; 16], CHEAP).unwrap();
        assert!(stored.fits(b"correct horse", &mut Workspace::default()));
        for wrong in [&b""[..], b"correct hors", b"correct horse ", b"\xff"] {
            assert!(!stored.fits(wrong, &mut Workspace::default()));
        }
        assert_eq!(StoredPassword::parse(stored.as_str()), Ok(stored.clone()));
        assert_ne!(stored, StoredPassword::hash(b"correct horse", &[8; 16], CHEAP).unwrap());
        assert!(!stored.as_str().contains("horse") && !format!("{stored:?}").contains("argon"));
    }

    #[test]
    fn the_memory_of_a_comparison_is_used_again_and_tells_the_next_nothing() {
        let mut workspace = Workspace::default();
        let stored = |password: &[u8], memory_kib, lanes| {
            StoredPassword::hash(password, &[7; 16], Cost { memory_kib, rounds: 2, lanes }).unwrap()
        };
        let (one, two, large) = (stored(b"one", 8, 1), stored(b"two", 8, 1), stored(b"one", 64, 2));
        assert!(one.fits(b"one", &mut workspace));
        let memory = workspace.0.as_ptr();
        for _ in 0..2 {
            assert!(two.fits(b"two", &mut workspace) && !one.fits(b"two", &mut workspace));
            assert!(one.fits(b"one", &mut workspace) && !two.fits(b"one", &mut workspace));
            assert_eq!((workspace.0.as_ptr(), workspace.0.len()), (memory, 8));
        }
        assert!(large.fits(b"one", &mut workspace) && workspace.0.len() == 64);
        assert!(one.fits(b"one", &mut workspace) && workspace.0.len() == 8);
    }

    #[test]
    fn what_the_reference_implementation_writes_is_read() {
        // echo -n password | argon2 somesalt -id -e -t 2 -m 16 -p 1 (the vectors of the reference implementation)
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let stored = StoredPassword::parse(text).unwrap();
        assert!(
            stored.fits(b"password", &mut Workspace::default()) && !stored.fits(b"passwore", &mut Workspace::default())
        );
    }

    #[test]
    fn nobody_has_the_same_cost_and_no_password() {
        let nobody = StoredPassword::of_nobody(CHEAP);
        assert_eq!(StoredPassword::parse(nobody.as_str()), Ok(nobody.clone()));
        assert_eq!(nobody.cost(), CHEAP);
        assert!(!nobody.fits(b"", &mut Workspace::default()) && !nobody.fits(b"nobody", &mut Workspace::default()));
        let real = Cost::default();
        assert!(StoredPassword::parse(StoredPassword::of_nobody(real).as_str()).is_ok());
    }

    #[test]
    fn what_can_t_be_borne_is_refused() {
        let good = StoredPassword::of_nobody(CHEAP).as_str().to_owned();
        for (from, to, error) in [
            ("argon2id", "argon2i", PasswordError::Algorithm),
            ("v=19", "v=16", PasswordError::Algorithm),
            ("m=8,", "m=4194304,", PasswordError::Cost),
            ("t=1", "t=100000", PasswordError::Cost),
            ("p=1", "p=0", PasswordError::Cost),
            ("bm9ib2R5Lm5vYm9keQ", "bm9i", PasswordError::Short),
            ("$m", "m", PasswordError::Form),
        ] {
            assert_eq!(StoredPassword::parse(&good.replace(from, to)), Err(error), "{to}");
        }
        assert_eq!(StoredPassword::parse("hunter2"), Err(PasswordError::Form));
        assert_eq!(StoredPassword::parse(&"$".repeat(10_000)), Err(PasswordError::Form));
    }
}
