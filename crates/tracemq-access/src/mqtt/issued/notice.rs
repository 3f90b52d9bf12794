//! What a client that came by token is told of it, and how it renews one: topics of that service, which need no
//! subscription.

use serde::{Deserialize, Serialize};
use tracemq_model::TimeMs;

/// Where a client publishes a token in place of the one that it has.
pub const UPLOAD_TOPIC: &str = "$SYS/uploadToken";

const INVALID_TOPIC: &str = "$SYS/tokenInvalidNotice";
const EXPIRE_TOPIC: &str = "$SYS/tokenExpireNotice";

/// Longer uploads are not read: a token of ours has 43 bytes.
const UPLOAD_BYTES_MAX: usize = 4_096;

/// A message to one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its topic.
    pub topic: &'static str,
    /// Its payload.
    pub payload: String,
}

/// What a token is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Both,
}

impl Kind {
    pub(super) fn of(text: &str) -> Option<Self> {
        match text {
            "R" => Some(Self::Read),
            "W" => Some(Self::Write),
            "RW" => Some(Self::Both),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Read => "R",
            Self::Write => "W",
            Self::Both => "RW",
        }
    }

    pub(super) fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }
}

/// The codes of that service. Its 8, a bad signature, never comes here: a token is looked up, not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum Code {
    Forged = 1,
    Expired = 2,
    Revoked = 3,
    OtherResource = 4,
    OtherPermission = 5,
    Account = -1,
}

#[derive(Serialize)]
struct Invalid {
    code: i8,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Expires {
    #[serde(rename = "expireTime")]
    expire_time: i64,
    r#type: &'static str,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Notice {
    /// A token is not good, or not for this. Without a kind when that could not be read.
    pub(super) fn invalid(code: Code, kind: Option<Kind>) -> Self {
        let payload = json(&Invalid { code: code as i8, r#type: kind.map_or("", Kind::text) });
        Self { topic: INVALID_TOPIC, payload }
    }

    /// A token will end soon.
    pub(super) fn expires(at: TimeMs, kind: Kind) -> Self {
        Self { topic: EXPIRE_TOPIC, payload: json(&Expires { expire_time: at.0, r#type: kind.text() }) }
    }
}

/// What a client publishes to [`UPLOAD_TOPIC`].
#[derive(Deserialize)]
pub(super) struct Upload {
    pub(super) token: String,
    r#type: String,
}

impl Upload {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        Some(payload).filter(|payload| payload.len() <= UPLOAD_BYTES_MAX).and_then(|it| serde_json::from_slice(it).ok())
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        Kind::of(&self.r#type)
    }
}
