//! The embedded MQTT broker's core: framing, the rules of the protocol, sessions, routing.
//!
//! It owns no socket, no clock, no runtime and no thread: bytes and time come in as arguments of [`Link`]'s calls, bytes
//! and a [`Step`] go out. So it is tested without I/O, and whoever owns the socket sees each end of a connection
//! itself. MQTT 3.1, 3.1.1 and 5.0.
//!
//! One [`Broker`] holds what outlives connections (sessions, subscriptions, retained messages); each network connection
//! has one [`Link`]. A publisher's link puts messages into the sessions of the subscribers and wakes their tasks; no
//! link ever waits for another.
//!
//! What outlives the process is handed to a [`Keeper`], and a [`Tracer`] is told the way of messages: the crate itself writes no file. What it does not do: enhanced
//! authentication (refused).
//!
//! Where the standard leaves a choice: a payload that is not what its Payload Format Indicator says goes through
//! unjudged; a PUBLISH or SUBSCRIBE without permission, and a filter that breaks the rules, end the connection, also in
//! MQTT 5.0, so that the cause stands on record (unless `Limits::refuses_by_code`); overlapping subscriptions give one copy; messages of QoS 0 do not wait
//! for a client that is away; MQTT 3.1 clients may have identifiers longer than 23 characters.

mod broker;
mod codec;
mod keeping;
mod limits;
mod link;
mod packet;
mod routing;
mod rules;
mod session;

pub use broker::{
    Broker, BrokerStats, ClientsPage, ConnectedClient, NotSent, Origin, Passage, Sent, Traced, Tracer, Whose,
};
pub use keeping::{
    Change, Keeper, Kept, KeptEntry, KeptMessage, KeptOwed, KeptSession, KeptStage, KeptSubscription, KeptWill, Mark,
    Recall,
};
pub use limits::{Limits, Tick};
pub use link::{Closing, ConnectAttempt, Decision, Heard, Link, Notice, Permissions, Refused, Step, Wanted};
