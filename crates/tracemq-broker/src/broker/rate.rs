//! How often CONNECT may come, by listener and by address: token buckets that hold five seconds' worth, so that a fleet
//! behind one address can come back together after a cut.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tracemq_model::{End, Reason};

use super::{Broker, Origin};
use crate::limits::Tick;

/// Seconds' worth of CONNECTs that may come at once.
const BURST_S: u64 = 5;
/// Addresses that are remembered. Beyond it those that have not come for a while are forgotten, if need be all: who has
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
}

fn take<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket>, key: K, per_second: u32, now: Tick) -> bool {
    let bucket = buckets.entry(key).or_insert_with(|| Bucket::full(per_second, now));
    *bucket = bucket.refilled(per_second, now);
    let taken = bucket.thousandths >= 1_000;
    if taken {
        bucket.thousandths -= 1_000;
    }
    taken
}

/// All buckets.
#[derive(Debug, Default)]
pub(super) struct Rates {
    listeners: HashMap<Arc<str>, Bucket>,
    addresses: HashMap<IpAddr, Bucket>,
}

/// Whoever has one IPv6 address has all of its network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

impl Broker {
    /// Counts a CONNECT; refuses one too many.
    pub(crate) fn count_connect(&self, now: Tick, origin: Option<&Origin>) -> Result<(), End> {
        let (of_listener, of_address) = (self.limits.connects_per_s_max, self.limits.connects_per_address_per_s_max);
        let Some(origin) = origin.filter(|_| of_listener > 0 || of_address > 0) else { return Ok(()) };
        let refused = |detail: String| Err(End::of(Reason::RateLimited).with_detail(&detail));
        let mut rates = self.rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let address = network(origin.peer.ip());
        if of_address > 0 {
            if rates.addresses.len() >= ADDRESSES_MAX && !rates.addresses.contains_key(&address) {
                let full = Bucket::full(of_address, now).thousandths;
                rates.addresses.retain(|_, bucket| bucket.refilled(of_address, now).thousandths < full);
                if rates.addresses.len() >= ADDRESSES_MAX {
                    rates.addresses.clear();
                }
            }
            if !take(&mut rates.addresses, address, of_address, now) {
                return refused(format!("CONNECT: more than {of_address} a second from {address}"));
            }
        }
        if of_listener > 0 && !take(&mut rates.listeners, Arc::clone(&origin.listener), of_listener, now) {
            return refused(format!(
                "CONNECT: more than {of_listener} a second at the listener {:?}",
                &*origin.listener
            ));
        }
        Ok(())
    }
}
