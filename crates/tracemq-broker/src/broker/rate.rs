//! How often CONNECT may come, by listener and by address at a listener: token buckets that hold five seconds' worth, so that a fleet
//! behind one address can come back together after a cut.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tracemq_model::{End, Reason};

use super::{Broker, Origin};
use crate::limits::{Limits, Tick};

/// Seconds' worth of CONNECTs that may come at once.
const BURST_S: u64 = 5;
/// Addresses that are remembered of each listener. Beyond it those that have not come for a while are forgotten, if need be all: who has
/// more addresses than that is not held by a limit for each, but by the listener's.
const ADDRESSES_MAX: usize = 65_536;

/// Tokens in thousandths, and when they were counted.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    thousandths: u64,
    at: Tick,
}

impl Bucket {
    fn full(per_second: u32, now: Tick) -> Self {
        Self { thousandths: u64::from(per_second) * 1_000 * BURST_S, at: now }
    }

    fn refilled(self, per_second: u32, now: Tick) -> Self {
        let gained = now.since(self.at).saturating_mul(u64::from(per_second));
        let most = Self::full(per_second, now).thousandths;
        Self { thousandths: self.thousandths.saturating_add(gained).min(most), at: now }
    }

    /// Takes one token, if there is one.
    fn take(&mut self, per_second: u32, now: Tick) -> bool {
        *self = self.refilled(per_second, now);
        let taken = self.thousandths >= 1_000;
        if taken {
            self.thousandths -= 1_000;
        }
        taken
    }
}

/// Of one listener.
#[derive(Debug, Default)]
struct Rate {
    all: Option<Bucket>,
    addresses: HashMap<IpAddr, Bucket>,
}

impl Rate {
    fn take_of(&mut self, address: IpAddr, per_second: u32, now: Tick) -> bool {
        let full = Bucket::full(per_second, now);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            self.addresses.retain(|_, bucket| bucket.refilled(per_second, now).thousandths < full.thousandths);
            if self.addresses.len() >= ADDRESSES_MAX {
                self.addresses.clear();
            }
        }
        self.addresses.entry(address).or_insert(full).take(per_second, now)
    }
}

/// All buckets, by the listener's name.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<Arc<str>, Rate>);

/// Whoever has one IPv6 address has all of its network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

impl Broker {
    /// Counts a CONNECT by the listener of `origin`, whose limits these are; refuses one too many.
    pub(crate) fn count_connect(&self, now: Tick, origin: Option<&Origin>, limits: &Limits) -> Result<(), End> {
        let (of_listener, of_address) = (limits.connects_per_s_max, limits.connects_per_address_per_s_max);
        let Some(origin) = origin.filter(|_| of_listener > 0 || of_address > 0) else { return Ok(()) };
        let refused = |detail: String| Err(End::of(Reason::RateLimited).with_detail(&detail));
        let (address, listener) = (network(origin.peer.ip()), &*origin.listener);
        let mut rates = self.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rate = rates.0.entry(Arc::clone(&origin.listener)).or_default();
        if of_address > 0 && !rate.take_of(address, of_address, now) {
            return refused(format!(
                "CONNECT: more than {of_address} a second from {address} at the listener {listener:?} (max_connects_per_address_per_s)"
            ));
        }
        if of_listener > 0 && !rate.all.get_or_insert(Bucket::full(of_listener, now)).take(of_listener, now) {
            return refused(format!(
                "CONNECT: more than {of_listener} a second at the listener {listener:?} (max_connects_per_s)"
            ));
        }
        Ok(())
    }
}
