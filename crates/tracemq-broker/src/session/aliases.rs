//! Topic aliases on what is sent to one client (MQTT 5.0, 3.3.2.3.4).

use std::collections::HashMap;

use bytestring::ByteString;

/// What an alias costs in a packet. A topic that is no longer saves nothing.
const ALIAS_BYTES: usize = 3;

/// Topics that the client knows by a number. The first ones get one and keep it: a connection has few topics, or too many
/// for numbers to help.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    most: u16,
    known: HashMap<ByteString, u16>,
}

/// How a topic is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By its name.
    Name,
    /// By its name, and this number from now on.
    Introduce(u16),
    /// By its number.
    Number(u16),
}

impl Naming {
    pub(crate) fn alias(self) -> Option<u16> {
        match self {
            Self::Name => None,
            Self::Introduce(alias) | Self::Number(alias) => Some(alias),
        }
    }
}

impl Aliases {
    /// At most `most`, the smaller of what the client takes and what we keep.
    pub(crate) fn new(most: u16) -> Self {
        Self { most, known: HashMap::new() }
    }

    pub(super) fn naming(&self, topic: &str) -> Naming {
        if self.most == 0 || topic.len() <= ALIAS_BYTES {
            return Naming::Name;
        }
        match self.known.get(topic) {
            Some(alias) => Naming::Number(*alias),
            None if self.known.len() < usize::from(self.most) => {
                Naming::Introduce(u16::try_from(self.known.len() + 1).unwrap_or(self.most))
            }
            None => Naming::Name,
        }
    }

    /// The packet was written.
    pub(super) fn note(&mut self, topic: &ByteString, naming: Naming) {
        if let Naming::Introduce(alias) = naming {
            // A copy: a slice would keep the whole PUBLISH packet alive.
            self.known.insert(ByteString::from(topic.to_string()), alias);
        }
    }
}
