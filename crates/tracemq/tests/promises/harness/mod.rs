//! The hands and eyes of the tests: starts and stops the binary, speaks raw MQTT, asks the HTTP APIs.
//!
//! Must not use any of the product's crates: what it sends and understands is written down here a second time, from
//! the specifications, so that a mistake in the product can't hide in its own mirror.

mod api;
mod http;
mod mqtt;
mod pki;
mod server;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use api::{Event, basic, signed_as, signed_call};
pub(crate) use http::{Answer, Kept, encode, get};
pub(crate) use mqtt::{
    Connect, Device, PINGREQ, VERSIONS, Version, disconnect, packet, publish, string, subscribe, varint,
};
pub(crate) use pki::{Authority, Paper, client_config, tls};
pub(crate) use server::{Credentials, Home, Server, USERS, finish_within, signal, tracemq};

/// The longest that anything may take before a test gives up; generous, for slow and busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `probe` again and again until it is content; fails with its last complaint when patience runs out.
pub(crate) fn wait_until<T, E: Debug>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(complaint) if Instant::now() >= deadline => panic!("no {what} in {PATIENCE:?}: {complaint:#?}"),
            Err(_) => thread::sleep(Duration::from_millis(25)), // the API takes 500 questions a second, and a probe may be many
        }
    }
}

/// The end of the connection from `address` that never named a client, once it is on record.
pub(crate) fn nameless_end(server: &Server, address: SocketAddr) -> Event {
    let peer = address.to_string();
    wait_until(&format!("end of the connection from {peer}"), || {
        let history = server.nameless_history_of(address.ip());
        history.end_of(&peer).cloned().ok_or(history)
    })
}

/// Wall-clock time as it stands on record.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since_epoch.as_millis()).unwrap()
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// `length` bytes.
    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}
