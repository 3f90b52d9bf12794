//! The front door: accepts connections, moves bytes between sockets and the broker, and observes how each connection
//! lives and ends.
//!
//! Nothing here waits for the recorder or the store. An idle connection holds no read or write buffer.

mod addresses;
mod admission;
mod connection;
mod ending;
mod listener;
mod messages;
mod record;
mod settings;
mod shared;
mod spare;
mod transport;

pub use admission::{Guard, GuardSettings, Hook, HookLimits};
pub use listener::{BACKLOG_MAX, Door};
pub use messages::{Choice, Messages};
pub use settings::{Clock, DoorSettings, HouseSettings};
pub use shared::House;
pub use transport::{
    Certificates, CertificatesError, ClientCertificates, Network, NetworkError, TlsFiles, WebSocketRules,
};

/// For the fuzzers, and no part of the interface.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use transport::fuzzing;
