//! Credentials of devices: for one client identifier each, with an id and a secret of its own.
//!
//! In the file, a line of a client stands in place of all its lines before.

use std::collections::BTreeMap;
use std::ops::Bound;

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

impl DeviceCredential {
    fn key(&self) -> (String, String) {
        key(&self.instance, &self.client_id)
    }
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
    /// As many as there may be.
    #[error("all {0} credentials are in use")]
    Full(usize),
}

/// Whose credential was taken away, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unregistered {
    pub(super) instance: String,
    pub(super) client_id: String,
    /// Always true: it tells this line from a credential's.
    unregistered: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Is(DeviceCredential),
    IsNot(Unregistered),
}

/// All credentials.
#[derive(Debug)]
pub struct DeviceBook {
    by_client: BTreeMap<(String, String), DeviceCredential>,
    credentials_max: usize,
}

impl Default for DeviceBook {
    /// Empty, with room for a million devices.
    fn default() -> Self {
        Self { by_client: BTreeMap::new(), credentials_max: 1_000_000 }
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
    /// Makes a credential for a client, out of `random`; it takes the place of the one that the client has.
    ///
    /// # Errors
    /// When the book is full.
    pub fn register(
        &mut self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Result<DeviceCredential, DeviceError> {
        let credential = self.draw(instance, client_id, random, now)?;
        self.put(credential.clone());
        Ok(credential)
    }

    /// The same, and nothing is changed yet.
    pub(super) fn draw(
        &self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Result<DeviceCredential, DeviceError> {
        let (instance, client_id) = key(instance, client_id);
        let (id, secret) = pair(random);
        let credential = DeviceCredential { instance, client_id, id, secret, created_ms: now.0, updated_ms: now.0 };
        if self.by_client.len() >= self.credentials_max && !self.by_client.contains_key(&credential.key()) {
            return Err(DeviceError::Full(self.credentials_max));
        }
        Ok(credential)
    }

    pub(super) fn put(&mut self, credential: DeviceCredential) {
        self.by_client.insert(credential.key(), credential);
    }

    pub(super) fn take_out(&mut self, gone: &Unregistered) {
        self.by_client.remove(&key(&gone.instance, &gone.client_id));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// The client's credential.
    pub fn get(&self, instance: &str, client_id: &str) -> Option<&DeviceCredential> {
        self.by_client.get(&key(instance, client_id))
    }

    /// The client identifiers of a group (`GROUP@@@...`) that have a credential, in their order, behind `after`.
    pub fn of_group<'a>(
        &'a self,
        instance: &'a str,
        group: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let prefix = format!("{group}@@@");
        let from = match after.filter(|after| *after >= prefix.as_str()) {
            Some(after) => Bound::Excluded(key(instance, after)),
            None => Bound::Included(key(instance, &prefix)),
        };
        let behind = self.by_client.range((from, Bound::Unbounded)).map(|((of, client), _)| (of, client.as_str()));
        behind.take_while(move |(of, client)| *of == instance && client.starts_with(&prefix)).map(|(_, client)| client)
    }

    /// Gives the client's credential a new secret; its id stays. None when it has none.
    pub fn refresh(
        &mut self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Option<DeviceCredential> {
        let credential = self.refreshed(instance, client_id, random, now)?;
        self.put(credential.clone());
        Some(credential)
    }

    /// The same, and nothing is changed yet.
    pub(super) fn refreshed(
        &self,
        instance: &str,
        client_id: &str,
        random: &[u8; 64],
        now: TimeMs,
    ) -> Option<DeviceCredential> {
        let known = self.get(instance, client_id)?;
        Some(DeviceCredential { secret: pair(random).1, updated_ms: now.0, ..known.clone() })
    }

    /// What takes the client's credential away. None when it has none.
    pub(super) fn unregistered(&self, instance: &str, client_id: &str) -> Option<Unregistered> {
        let (instance, client_id) = self.get(instance, client_id)?.key();
        Some(Unregistered { instance, client_id, unregistered: true })
    }

    pub(super) fn lines(&self, from: usize, count: usize) -> String {
        let lines = self
            .by_client
            .values()
            .skip(from)
            .take(count)
            .filter_map(|credential| serde_json::to_string(credential).ok());
        lines.map(|line| line + "\n").collect()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// The line that is none.
    pub fn parse(text: &str) -> Result<Self, BookError> {
        let mut book = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            match serde_json::from_str(line).map_err(|_| BookError(number))? {
                Line::Is(credential) => book.put(credential),
                Line::IsNot(gone) => book.take_out(&gone),
            }
        }
        Ok(book)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_registered_refreshed_and_registered_anew() {
        let mut book = DeviceBook { credentials_max: 2, ..DeviceBook::default() };
        let first = book.register("i", "GID_a@@@1", &[1; 64], TimeMs(5)).unwrap();
        assert!(first.id.starts_with("DC.") && first.secret.len() == 40);
        assert!(book.register("j", "GID_a@@@1", &[2; 64], TimeMs(6)).is_ok());
        let mut random = [0; 64];
        random[63 - 10] = 9;
        let second = book.refresh("i", "GID_a@@@1", &random, TimeMs(7)).unwrap();
        assert_eq!((&second.id, second.created_ms, second.updated_ms), (&first.id, 5, 7));
        assert_ne!(second.secret, first.secret);
        assert_eq!(book.refresh("i", "GID_a@@@2", &random, TimeMs(7)), None);
        assert_eq!(book.register("i", "GID_a@@@2", &[3; 64], TimeMs(8)), Err(DeviceError::Full(2)));
        let third = book.register("i", "GID_a@@@1", &[3; 64], TimeMs(8)).unwrap();
        assert!(third.id != first.id && third.created_ms == 8, "the last one that was registered counts");
        let read = DeviceBook::parse(&book.lines(0, 9)).unwrap();
        assert_eq!(read.get("i", "GID_a@@@1"), Some(&third));
        assert!(!format!("{read:?}").contains(&third.secret));
        for bad in ["x", "{}", r#"{"instance":"i","client_id":"c"}"#, r#"{"instance":"i","client_id":"c","gone":true}"#]
        {
            assert_eq!(DeviceBook::parse(bad).unwrap_err(), BookError(1), "{bad}");
        }
    }
}
