//! A text that is read from the configuration and never shown again.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A password, secret or token.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct ConfigSecret(#[serde(deserialize_with = "secret_text")] String);

/// Reads a text that is secret.
///
/// # Errors
/// When it is no text. The usual error would quote what is there instead.
pub(crate) fn secret_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map_err(|_| D::Error::custom("a password, secret or token must stand in quotes"))
}

impl ConfigSecret {
    /// The text itself, for comparing and signing.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for ConfigSecret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

const HIDDEN: &str = "(hidden)";

impl fmt::Debug for ConfigSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for ConfigSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}
