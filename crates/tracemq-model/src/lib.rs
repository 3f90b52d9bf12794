//! The domain of TraceMQ: what a connection is, what can happen to it, and how its history is asked for.
//!
//! Pure by law: no clock, no socket, no file, no logger, no randomness. Time and ids come in as arguments, so that
//! everything here can be tested by feeding it values.
//!
//! The words are the MQTT specification's (client identifier, keep alive, reason code). The words of a cloud API
//! that answers from this history live in `tracemq-api` alone.

mod event;
mod filter;
mod fleet;
mod id;
mod lifecycle;
mod packet;
mod pattern;
mod query;
mod reason;
mod time;

pub use event::{Action, Details, Event, MessageDetails, ProtocolVersion, Provenance, TlsVersion, Traffic};
pub use filter::Filter;
pub use fleet::{Count, Counts, CurrentState, Session, SessionPage, SubjectPage, Tally};
pub use id::{ClientId, ConnectionId, ConnectionIds, IdError, InstanceId, MessageId};
pub use lifecycle::{Acceptance, ConnectRequest, End, Lifecycle, Meter, Observation, Opening};
pub use lifecycle::{TlsFacts, close_orphan};
pub use packet::PacketKind;
pub use pattern::{Matcher, Pattern};
pub use query::{Gap, GapCause, Order, Subject, TimeRange, TracePage, TraceQuery};
pub use reason::{Initiator, Reason};
pub use time::TimeMs;
