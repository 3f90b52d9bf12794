//! Identifiers: of a network connection, of a client, of an instance.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TimeMs;

/// Why a text can't be an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than `max` bytes.
    #[error("is longer than {max} bytes")]
    TooLong {
        /// The most bytes that are taken.
        max: usize,
    },
    /// Holds a character that no identifier of this kind may hold.
    #[error("holds a character that is not allowed")]
    Character,
}

/// One network connection, from accept to close. Shown as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u128);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

impl FromStr for ConnectionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() != 32 {
            return Err(IdError::TooLong { max: 32 });
        }
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(IdError::Character);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| IdError::Character)
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

/// Makes connection ids that compress well: 48 bits of time, 32 of the process, 48 of a counter.
///
/// Two processes never share the middle part but by a chance of one in four thousand million for the same
/// millisecond, and one process never repeats its counter within a start.
#[derive(Debug)]
pub struct ConnectionIds {
    node: u32,
    counter: u64,
}

impl ConnectionIds {
    /// `node` must be random, drawn anew at each start.
    pub fn new(node: u32) -> Self {
        Self { node, counter: 0 }
    }

    /// The next id, for a connection accepted at `now`.
    pub fn next(&mut self, now: TimeMs) -> ConnectionId {
        self.counter = (self.counter + 1) & BITS_48;
        ConnectionId(made(now, self.node, self.counter))
    }
}

/// One application message, made by this server when it took the PUBLISH. Shown as 32 upper-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

impl MessageId {
    /// The id of the message that a process took at `now` as its number `count`; laid out as those of [`ConnectionIds`].
    pub fn made(now: TimeMs, node: u32, count: u64) -> Self {
        Self(made(now, node, count))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032X}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    /// Takes digits of either case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse::<ConnectionId>().map(|id| Self(id.0))
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ConnectionId::deserialize(deserializer).map(|id| Self(id.0))
    }
}

const BITS_48: u64 = (1 << 48) - 1;

fn made(now: TimeMs, node: u32, count: u64) -> u128 {
    let time = u128::from(now.since(TimeMs(0)) & BITS_48);
    time << 80 | u128::from(node) << 48 | u128::from(count & BITS_48)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, max $max:expr, allowed $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most bytes that are taken.
            pub const MAX_BYTES: usize = $max;

            /// Takes `text` if it can be such an identifier.
            ///
            /// # Errors
            /// Empty, too long, or with a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if text.is_empty() {
                    return Err(IdError::Empty);
                }
                if text.len() > Self::MAX_BYTES {
                    return Err(IdError::TooLong { max: Self::MAX_BYTES });
                }
                let allowed: fn(char) -> bool = $allowed;
                if !text.chars().all(allowed) {
                    return Err(IdError::Character);
                }
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id! {
    /// An MQTT client identifier: what a CONNECT packet names itself. Non-empty, at most 65,535 bytes of UTF-8, no
    /// U+0000 (MQTT 5.0, 1.5.4 and 3.1.3.1). A broker's own, tighter limit is a setting, not a property of history.
    ClientId, max 65_535, allowed |c| c != '\0'
}

text_id! {
    /// One tenant of a server: its devices, credentials and history are apart from all others'.
    /// 1 to 128 of `A-Z a-z 0-9 - _ .`
    InstanceId, max 128, allowed |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_are_32_hex_and_never_repeat() {
        let mut ids = ConnectionIds::new(0xdead_beef);
        let a = ids.next(TimeMs(1_621_580_400_000));
        let b = ids.next(TimeMs(1_621_580_400_000));
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 32);
        assert_eq!(a.to_string().parse(), Ok(a));
        assert!("xyz".parse::<ConnectionId>().is_err());
        assert!("+0000000000000000000000000000001".parse::<ConnectionId>().is_err());
    }

    #[test]
    fn message_ids_are_32_upper_case_hex_in_the_order_of_time() {
        let id = MessageId::made(TimeMs(1_621_580_400_000), 0xdead_beef, 7);
        assert_eq!(id.to_string(), "01798DB94580DEADBEEF000000000007");
        assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        assert_eq!(serde_json::from_str::<MessageId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        assert!(id < MessageId::made(TimeMs(1_621_580_400_001), 0, 1));
        assert!(["", "7", "01798DB94580DEADBEEF00000000000G"].iter().all(|text| text.parse::<MessageId>().is_err()));
    }

    #[test]
    fn client_ids_take_what_mqtt_takes() {
        assert!(ClientId::new("GID_test@@@producer").is_ok());
        assert!(ClientId::new("é中 #+/").is_ok());
        assert_eq!(ClientId::new(""), Err(IdError::Empty));
        assert_eq!(ClientId::new("a\0b"), Err(IdError::Character));
        assert_eq!(ClientId::new(&"x".repeat(65_536)), Err(IdError::TooLong { max: 65_535 }));
        assert!(ClientId::new(&"x".repeat(65_535)).is_ok());
    }

    #[test]
    fn text_ids_survive_json_and_are_checked_on_the_way_in() {
        let id: InstanceId = serde_json::from_str("\"mqtt-local\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"mqtt-local\"");
        assert!(serde_json::from_str::<InstanceId>("\"a b\"").is_err());
    }
}
