//! Where a page ended, as a text that callers hand back: not secret, and without any right. It is good for the question that it
//! came from alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Problem;
use super::parameters::CursorParameter;

#[derive(Serialize, Deserialize)]
struct Cursor<T> {
    of: String,
    at: T,
}

/// What tells one question from another, as a short text.
pub(super) fn of_question(question: &impl Serialize) -> String {
    let digest = Sha256::digest(serde_json::to_vec(question).unwrap_or_default());
    BASE64.encode(digest.get(..12).unwrap_or_default())
}

/// The cursor of the question `of` whose page ended `at`.
pub(super) fn write(of: &str, at: &impl Serialize) -> String {
    BASE64.encode(serde_json::to_vec(&Cursor { of: of.to_owned(), at }).unwrap_or_default())
}

impl CursorParameter {
    /// Where the page before ended, if one was sent.
    pub(super) fn read<T: DeserializeOwned>(&self, of: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.cursor.as_deref() else { return Ok(None) };
        let decoded = BASE64.decode(text).map_err(|_| refused())?;
        let cursor: Cursor<T> = serde_json::from_slice(&decoded).map_err(|_| refused())?;
        if cursor.of == of { Ok(Some(cursor.at)) } else { Err(refused()) }
    }
}

/// The problem with a cursor from elsewhere.
pub(super) fn refused() -> Problem {
    Problem::field("cursor", &"is not one of this question's pages")
}
