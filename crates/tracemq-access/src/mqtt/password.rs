//! Stored passwords: argon2id in the PHC form, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`, as other programs write it too.
//!
//! Hashing is work on purpose (some 20 ms and 19 MiB): whoever serves connections must do it elsewhere.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::{PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// The most that a stored password may ask for: memory of one comparison in KiB, rounds, lanes.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const ROUNDS_MAX: u32 = 16;
const LANES_MAX: u32 = 8;
const TEXT_BYTES_MAX: usize = 512;

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
    pub fn fits(&self, password: &[u8]) -> bool {
        let Ok(stored) = PasswordHash::new(&self.text) else { return false };
        Argon2::default().verify_password(password, &stored).is_ok()
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
        assert!(stored.fits(b"correct horse"));
        for wrong in [&b""[..], b"correct hors", b"correct horse ", b"\xff"] {
            assert!(!stored.fits(wrong));
        }
        assert_eq!(StoredPassword::parse(stored.as_str()), Ok(stored.clone()));
        assert_ne!(stored, StoredPassword::hash(b"correct horse", &[8; 16], CHEAP).unwrap());
        assert!(!stored.as_str().contains("horse") && !format!("{stored:?}").contains("argon"));
    }

    #[test]
    fn what_the_reference_implementation_writes_is_read() {
        // echo -n password | argon2 somesalt -id -e -t 2 -m 16 -p 1 (the vectors of the reference implementation)
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let stored = StoredPassword::parse(text).unwrap();
        assert!(stored.fits(b"password") && !stored.fits(b"passwore"));
    }

    #[test]
    fn nobody_has_the_same_cost_and_no_password() {
        let nobody = StoredPassword::of_nobody(CHEAP);
        assert_eq!(StoredPassword::parse(nobody.as_str()), Ok(nobody.clone()));
        assert_eq!(nobody.cost(), CHEAP);
        assert!(!nobody.fits(b"") && !nobody.fits(b"nobody"));
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
