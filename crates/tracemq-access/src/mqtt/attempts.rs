//! How many wrong passwords a client may offer: each costs the server work.
//!
//! Failures are counted, by address (of IPv6 by its first 64 bits) and by address and client identifier; who has used up
//! its allowance is refused unheard until some of it has grown again. A client identifier is never counted alone: else
//! anybody could lock a device out by failing in its name.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

use tracemq_model::TimeMs;

/// An allowance of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So many at once.
    pub burst: u32,
    /// So many more each second.
    pub per_second: u32,
}

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// Of one address: behind one there may be a factory.
    pub of_address: Allowance,
    /// Of one client identifier at one address.
    pub of_client: Allowance,
    /// How many of each are remembered; who is not, shares one allowance with all others.
    pub remembered_max: usize,
}

impl Default for AttemptLimits {
    /// 20 failures a second of an address, 1 of a client: at 20 ms each, one address takes less than half a core.
    fn default() -> Self {
        Self {
            of_address: Allowance { burst: 100, per_second: 20 },
            of_client: Allowance { burst: 10, per_second: 1 },
            remembered_max: 65_536,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of failures that have not been forgotten yet.
    used: u64,
    at: TimeMs,
}

impl Bucket {
    fn at(now: TimeMs) -> Self {
        Self { used: 0, at: now }
    }

    fn settle(&mut self, allowance: Allowance, now: TimeMs) {
        // A clock that steps back takes nothing away and gives nothing.
        self.used = self.used.saturating_sub(now.since(self.at).saturating_mul(allowance.per_second.into()));
        self.at = now;
    }
}

#[derive(Debug)]
struct Buckets {
    allowance: Allowance,
    known: HashMap<u64, Bucket>,
    known_max: usize,
    others: Bucket,
    swept: TimeMs,
}

impl Buckets {
    fn new(allowance: Allowance, known_max: usize) -> Self {
        let (others, swept) = (Bucket::at(TimeMs::MIN), TimeMs::MIN);
        Self { allowance, known: HashMap::new(), known_max, others, swept }
    }

    fn is_used_up(&mut self, key: u64, now: TimeMs) -> bool {
        let has_room = self.known.len() < self.known_max;
        let bucket = match self.known.get_mut(&key) {
            Some(bucket) => bucket,
            None if has_room => return false,
            None => &mut self.others,
        };
        bucket.settle(self.allowance, now);
        bucket.used >= u64::from(self.allowance.burst) * 1_000
    }

    fn add(&mut self, key: u64, now: TimeMs) {
        // Looked through at most once a second: a flood from many addresses would make it a burden of its own.
        if self.known.len() >= self.known_max && now.since(self.swept) >= 1_000 {
            self.swept = now;
            self.known.retain(|_, bucket| {
                bucket.settle(self.allowance, now);
                bucket.used > 0
            });
        }
        let has_room = self.known.len() < self.known_max;
        let bucket = match self.known.get_mut(&key) {
            Some(bucket) => bucket,
            None if has_room => self.known.entry(key).or_insert(Bucket::at(now)),
            None => &mut self.others,
        };
        bucket.settle(self.allowance, now);
        bucket.used += 1_000;
    }
}

/// Where clients come from that answer for each other: an address, of IPv6 its first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u128);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address) >> 64 | 1 << 64,
        })
    }
}

/// The failures of the last while.
#[derive(Debug)]
pub struct Attempts {
    hasher: RandomState,
    by_address: Buckets,
    by_client: Buckets,
}

/// Who has failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedUp {
    /// All of its address.
    Address,
    /// That client identifier, from there.
    Client,
}

impl Attempts {
    /// None yet.
    pub fn new(limits: AttemptLimits) -> Self {
        Self {
            hasher: RandomState::new(),
            by_address: Buckets::new(limits.of_address, limits.remembered_max),
            by_client: Buckets::new(limits.of_client, limits.remembered_max),
        }
    }

    /// Whether a client may not try now, and for whose failures.
    pub fn used_up(&mut self, address: IpAddr, client_id: &str, now: TimeMs) -> Option<UsedUp> {
        let [of_address, of_client] = self.keys(address, client_id);
        if self.by_address.is_used_up(of_address, now) {
            Some(UsedUp::Address)
        } else {
            self.by_client.is_used_up(of_client, now).then_some(UsedUp::Client)
        }
    }

    /// Counts a failure.
    pub fn failed(&mut self, address: IpAddr, client_id: &str, now: TimeMs) {
        let [of_address, of_client] = self.keys(address, client_id);
        self.by_address.add(of_address, now);
        self.by_client.add(of_client, now);
    }

    fn keys(&self, address: IpAddr, client_id: &str) -> [u64; 2] {
        let source = Source::from(address);
        [self.hasher.hash_one(source), self.hasher.hash_one((source, client_id))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(remembered_max: usize) -> Attempts {
        let of_address = Allowance { burst: 4, per_second: 2 };
        Attempts::new(AttemptLimits { of_address, of_client: Allowance { burst: 2, per_second: 1 }, remembered_max })
    }

    #[test]
    fn failures_are_held_to_their_client_and_address() {
        let mut attempts = attempts(100);
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = TimeMs(1_000_000);
        for _ in 0..2 {
            assert_eq!(attempts.used_up(a, "x", now), None);
            attempts.failed(a, "x", now);
        }
        assert_eq!(attempts.used_up(a, "x", now), Some(UsedUp::Client));
        assert_eq!(attempts.used_up(a, "y", now), None);
        assert_eq!(attempts.used_up(b, "x", now), None, "nobody is locked out from elsewhere");
        attempts.failed(a, "y", now);
        attempts.failed(a, "z", now);
        assert_eq!(attempts.used_up(a, "new", now), Some(UsedUp::Address));
        assert_eq!(attempts.used_up(b, "new", now), None);
        assert_eq!(attempts.used_up(a, "new", TimeMs(1_000_500)), None);
        assert_eq!(attempts.used_up(a, "x", TimeMs(1_000_500)), None);
        assert_eq!(attempts.used_up(a, "x", TimeMs(0)), None, "a clock that steps");
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_ipv4_in_ipv6_is_ipv4() {
        let mut attempts = attempts(100);
        let now = TimeMs(0);
        for n in 0..4 {
            attempts.failed(format!("2001:db8::{n}").parse().unwrap(), &n.to_string(), now);
            attempts.failed("::ffff:192.0.2.1".parse().unwrap(), &n.to_string(), now);
        }
        for full in ["2001:db8::ffff", "192.0.2.1"] {
            assert_eq!(attempts.used_up(full.parse().unwrap(), "z", now), Some(UsedUp::Address), "{full}");
        }
        assert_eq!(attempts.used_up("2001:db8:0:1::1".parse().unwrap(), "z", now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_rest_share() {
        let mut attempts = attempts(3);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..100 {
            attempts.failed(address(n), "x", TimeMs(0));
        }
        assert!(attempts.by_address.known.len() == 3 && attempts.by_client.known.len() == 3);
        assert!(attempts.used_up(address(1_000), "x", TimeMs(0)).is_some());
        attempts.failed(address(1_000), "x", TimeMs(60_000));
        assert_eq!(attempts.used_up(address(2_000), "x", TimeMs(60_000)), None, "what is forgotten made room");
    }
}
