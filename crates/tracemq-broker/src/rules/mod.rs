//! Every rule of MQTT that a packet can break by its bytes alone, judged on the bytes, before anything is kept.
//!
//! The codec library leaves many of these open (U+0000, wildcards in topic names, bytes behind the last field, reserved
//! bits of a 3.x SUBSCRIBE...) and names few of those that it checks. Here each is checked by hand and named, with
//! the number of the standard's statement where it has one, because the text goes on record and is read by whoever
//! has to mend the client. Nothing here knows a session or a connection's state.

mod connect;
mod packets;
mod properties;
mod reader;
mod topic;

use std::fmt::Display;

use tracemq_model::Reason;

pub(crate) use connect::{Sketch, judge};
pub(crate) use packets::inspect;
pub(crate) use reader::Reader;
#[cfg(test)]
pub(crate) use topic::naive_match;
pub(crate) use topic::{Filter, filter, name, parts};

/// A rule that was broken: what goes on record, and the code for a client of MQTT 5.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Nearest reason on record.
    pub(crate) reason: Reason,
    /// MQTT 5.0 reason code.
    pub(crate) code: u8,
    /// Which packet, which rule, which statement; which byte, where the bytes are no packet.
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(reason: Reason, code: u8, detail: impl Into<String>) -> Self {
        Self { reason, code, detail: detail.into() }
    }

    /// Bytes that can't be parsed; what is wrong with them begins at byte `at` of the packet, whose first byte is 0.
    pub(crate) fn malformed(at: usize, detail: impl Display) -> Self {
        Self::new(Reason::MalformedPacket, 0x81, format!("{detail}, at byte {at}"))
    }

    /// Parses, but is forbidden.
    pub(crate) fn protocol(detail: impl Into<String>) -> Self {
        Self::new(Reason::ProtocolError, 0x82, detail)
    }

    /// Of ours, not of the client's.
    pub(crate) fn not_connected() -> Self {
        Self::new(Reason::InternalError, 0x80, "a packet was handled on a link that is not connected")
    }

    /// The same with `packet` named in front.
    pub(crate) fn within(mut self, packet: &str) -> Self {
        self.detail = format!("{packet}: {}", self.detail);
        self
    }
}
