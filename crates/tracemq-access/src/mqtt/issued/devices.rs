//! Credentials of devices: for one client identifier each, with an id and a secret of its own.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tracemq_model::TimeMs;

use super::BookError;
use crate::AccessKey;

/// What a device logs in with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceCredential {
    /// The instance that it is for.
    pub instance: String,
    /// The client identifier that it is for.
    pub client_id: String,
    /// `DeviceAccessKeyId`.
    pub id: String,
    /// `DeviceAccessKeySecret`.
    pub secret: String,
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: i64,
    /// When its secret was last changed.
    pub updated_ms: i64,
}

impl std::fmt::Debug for DeviceCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceCredential")
            .field("client_id", &self.client_id)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why nothing was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// That client has one.
    #[error("the client has a credential already")]
    Registered,
    /// As many as there may be.
    #[error("all {0} credentials are in use")]
    Full(usize),
}

/// All credentials.
#[derive(Debug)]
pub struct DeviceBook {
    by_client: HashMap<(String, String), DeviceCredential>,
    credentials_max: usize,
}

impl Default for DeviceBook {
    /// Empty, with room for a million devices.
    fn default() -> Self {
        Self { by_client: HashMap::new(), credentials_max: 1_000_000 }
    }
}

fn key(instance: &str, client_id: &str) -> (String, String) {
    (instance.to_owned(), client_id.to_owned())
}

/// An id and a secret out of `random`.
fn pair(random: &[u8; 64]) -> (String, String) {
    let (id, secret) = AccessKey::random_pair(random);
    (format!("DC.{}", id.trim_start_matches("TMQ")), secret)
}

impl DeviceBook {
    /// Makes a credential for a client, out of `random`.
    ///
    /// # Errors
    /// When it has one, or the book is full.
    pub fn register(
        &mut self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Result<&DeviceCredential, DeviceError> {
        let key = key(instance, client_id);
        if self.by_client.contains_key(&key) {
            return Err(DeviceError::Registered);
        }
        if self.by_client.len() >= self.credentials_max {
            return Err(DeviceError::Full(self.credentials_max));
        }
        let (id, secret) = pair(random);
        let (instance, client_id) = key.clone();
        let credential = DeviceCredential { instance, client_id, id, secret, created_ms: now.0, updated_ms: now.0 };
        Ok(self.by_client.entry(key).or_insert(credential))
    }

    /// The client's credential.
    pub fn get(&self, instance: &str, client_id: &str) -> Option<&DeviceCredential> {
        self.by_client.get(&key(instance, client_id))
    }

    /// Gives the client's credential a new secret; its id stays. None when it has none.
    pub fn refresh(
        &mut self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Option<&DeviceCredential> {
        let credential = self.by_client.get_mut(&key(instance, client_id))?;
        credential.secret = pair(random).1;
        credential.updated_ms = now.0;
        Some(credential)
    }

    /// Takes the client's credential away. False when it has none.
    pub fn unregister(&mut self, instance: &str, client_id: &str) -> bool {
        self.by_client.remove(&key(instance, client_id)).is_some()
    }

    /// The book as a file's text.
    pub fn to_lines(&self) -> String {
        let lines = self.by_client.values().filter_map(|credential| serde_json::to_string(credential).ok());
        lines.map(|line| line + "\n").collect()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// The line that is none.
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let mut book = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let credential: DeviceCredential = serde_json::from_str(line).map_err(|_| BookError(number))?;
            book.by_client.insert(key(&credential.instance, &credential.client_id), credential);
        }
        Ok(book)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_registered_once_refreshed_and_taken_away() {
        let mut book = DeviceBook::default();
        let first = book.register("i", "GID_a@@@1", &[1; 64], TimeMs(5)).unwrap().clone();
        assert!(first.id.starts_with("DC.") && first.secret.len() == 40);
        assert_eq!(book.register("i", "GID_a@@@1", &[2; 64], TimeMs(6)), Err(DeviceError::Registered));
        assert!(book.register("j", "GID_a@@@1", &[2; 64], TimeMs(6)).is_ok());
        let mut random = [0; 64];
        random[63 - 10] = 9;
        let second = book.refresh("i", "GID_a@@@1", &random, TimeMs(7)).unwrap().clone();
        assert_eq!((&second.id, second.created_ms, second.updated_ms), (&first.id, 5, 7));
        assert_ne!(second.secret, first.secret);
        let read = DeviceBook::parse(&book.to_lines()).unwrap();
        assert_eq!(read.get("i", "GID_a@@@1"), Some(&second));
        assert!(!format!("{read:?}").contains(&second.secret));
        assert_eq!(DeviceBook::parse("x").unwrap_err(), BookError(1));
        assert!(book.unregister("i", "GID_a@@@1") && !book.unregister("i", "GID_a@@@1"));
        assert_eq!(book.refresh("i", "GID_a@@@1", &random, TimeMs(7)), None);
    }
}
