//! How many connections each address holds at a listener: of IPv6 a network of 64 bits, as whoever has one has all of it.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracemq_access::mqtt::attempts::Source;

/// The connections of each address that has any: as many entries as there are connections at most.
pub(crate) struct Addresses {
    pub(crate) max: NonZeroUsize,
    held: Mutex<HashMap<Source, usize>>,
}

/// One of the connections of an address, for as long as it is kept.
pub(crate) struct Held {
    of: Arc<Addresses>,
    source: Source,
}

impl Addresses {
    pub(crate) fn new(max: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { max, held: Mutex::default() })
    }

    /// None when `address` holds as many as it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Held> {
        let source = Source::from(address);
        let mut held = self.lock();
        let count = held.entry(source).or_default();
        if *count >= self.max.get() {
            return None;
        }
        *count += 1;
        Some(Held { of: Arc::clone(self), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.of.lock();
        if let Some(count) = held.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.source);
            }
        }
    }
}

/// What counts as one address, in words.
pub(crate) struct Shown(pub(crate) IpAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_places_and_gives_each_back_once() {
        let addresses = Addresses::new(NonZeroUsize::new(2).unwrap());
        let mut first = vec![addresses.take(ip("192.0.2.1")).unwrap(), addresses.take(ip("::ffff:192.0.2.1")).unwrap()];
        assert!(addresses.take(ip("192.0.2.1")).is_none());
        let second = addresses.take(ip("192.0.2.2")).unwrap();
        first.pop();
        first.push(addresses.take(ip("192.0.2.1")).unwrap());
        assert!(addresses.take(ip("192.0.2.1")).is_none());
        drop((first, second));
        assert!(addresses.lock().is_empty(), "nothing is left of who has gone");
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let addresses = Addresses::new(NonZeroUsize::new(1).unwrap());
        let _held = addresses.take(ip("2001:db8::1")).unwrap();
        assert!(addresses.take(ip("2001:db8::ffff:1")).is_none());
        assert!(addresses.take(ip("2001:db8:0:1::1")).is_some());
        let shown = ["2001:db8::ffff:1", "::ffff:192.0.2.1"].map(|address| Shown(ip(address)).to_string());
        assert_eq!(shown, ["2001:db8::/64", "192.0.2.1"]);
    }
}
