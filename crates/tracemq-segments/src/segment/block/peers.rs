//! The peers of a block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::references::{References, Slots, small};
use crate::row::Peer;
use crate::segment::bits::{self, Numbers};
use crate::segment::source::{CUT, Source, What, size};

const ABSENT: u8 = 0;
const LIKE_CONNECTION: u8 = 1;
const OWN: u8 = 2;

const NO_PEER: u64 = 0;
const V4: u64 = 4;
const V6: u64 = 6;

const NEW_PEER_BITS: usize = 32;
const NEW_ADDRESS_BITS: usize = 24;
const V6_BYTES: usize = 16;

/// Kept for its memory.
pub(super) struct PeersEncoder {
    peers: References,
    addresses: References,
    ips: Vec<IpAddr>,
    families: Vec<u64>,
    ports: Vec<u64>,
    v4: Vec<u64>,
}

impl PeersEncoder {
    pub(super) fn new() -> Self {
        Self {
            peers: References::new(),
            addresses: References::new(),
            ips: Vec::new(),
            families: Vec::new(),
            ports: Vec::new(),
            v4: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, peers: &[Peer], connections: &References, out: &mut Vec<u8>) {
        if peers.iter().all(|peer| *peer == Peer::None) {
            out.push(ABSENT);
            return;
        }
        if is_like(peers, &connections.distances) {
            out.push(LIKE_CONNECTION);
            self.set_new(peers, connections.new_places());
        } else {
            out.push(OWN);
            self.peers.find(peers, hash_peer, NEW_PEER_BITS);
            self.peers.push(out);
            let places: Vec<usize> = self.peers.new_places().collect();
            self.set_new(peers, places.into_iter());
        }
        bits::push(&self.families, out);
        self.push_addresses(out);
        bits::push(&self.ports, out);
    }

    fn set_new(&mut self, peers: &[Peer], places: impl Iterator<Item = usize>) {
        self.families.clear();
        self.ips.clear();
        self.ports.clear();
        for peer in places.filter_map(|at| peers.get(at)) {
            match peer {
                Peer::None => self.families.push(NO_PEER),
                Peer::Some { ip, port } => {
                    self.families.push(if ip.is_ipv4() { V4 } else { V6 });
                    self.ips.push(*ip);
                    self.ports.push(u64::from(*port));
                }
            }
        }
    }

    fn push_addresses(&mut self, out: &mut Vec<u8>) {
        self.addresses.find(&self.ips, hash_ip, NEW_ADDRESS_BITS);
        self.addresses.push(out);
        let new = || self.addresses.new_places().filter_map(|at| self.ips.get(at));
        self.v4.clear();
        for ip in new() {
            match ip {
                IpAddr::V4(v4) => self.v4.push(u64::from(v4.to_bits())),
                IpAddr::V6(_) => {}
            }
        }
        bits::push(&self.v4, out);
        for ip in new() {
            match ip {
                IpAddr::V4(_) => {}
                IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
            }
        }
    }
}

/// Whether the peer stays the same wherever the connection does.
fn is_like(peers: &[Peer], distances: &[u64]) -> bool {
    peers.iter().zip(distances).enumerate().all(|(at, (peer, distance))| {
        *distance == 0 || at.checked_sub(size(*distance)).and_then(|before| peers.get(before)) == Some(peer)
    })
}

fn hash_peer(peer: &Peer) -> u128 {
    match peer {
        Peer::None => 0,
        Peer::Some { ip, port } => hash_ip(ip) ^ u128::from(*port) << 32,
    }
}

fn hash_ip(ip: &IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The peers of a block: where they stand, and of which new one each row's is.
#[derive(Default)]
pub(super) struct Peers {
    mode: u8,
    /// Of the rows, unless they are like the connections'.
    own: Slots,
    families: Families,
    addresses: Slots,
    v4: Numbers,
    /// Where the addresses of IPv6 stand.
    v6: usize,
    ports: Numbers,
}

/// What the new peers have for an address.
#[derive(Default)]
struct Families {
    /// The family of all of them, if it is one; what follows is of no use then.
    same: Option<u64>,
    /// Of each new peer with an address, which of these it is.
    ranks: Vec<Option<u16>>,
    /// Of each new peer with an address: whether it is one of IPv4.
    v4: Vec<bool>,
    /// Of each new address: whether it is one of IPv4, and its place among those of its family.
    places: Vec<(bool, usize)>,
}

impl Peers {
    /// Takes the column of `rows` rows off `source`, whose bytes are `bytes`.
    pub(super) fn read(
        &mut self,
        source: &mut Source<'_>,
        bytes: &[u8],
        rows: usize,
        connections: &Slots,
    ) -> Result<(), What> {
        self.mode = source.u8()?;
        let new = match self.mode {
            ABSENT => return Ok(()),
            LIKE_CONNECTION => connections.new_count(),
            OWN => self.own.read(source, bytes, rows)?,
            _ => return Err("peers of an unknown mode"),
        };
        let with_address = self.families.read(source, bytes, new)?;
        let addresses = self.addresses.read(source, bytes, with_address)?;
        let v4 = self.families.place(&mut self.addresses)?.unwrap_or(addresses);
        self.v4 = Numbers::read(source, v4)?;
        self.v6 = source.at();
        source.take(V6_BYTES * addresses.saturating_sub(v4))?;
        self.ports = Numbers::read(source, with_address)?;
        Ok(())
    }

    /// Puts the peers of the rows in `range` into `out`.
    pub(super) fn fill(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
        connections: &Slots,
        out: &mut Vec<Peer>,
    ) -> Result<(), What> {
        if self.mode == ABSENT {
            out.clear();
            out.resize(range.len(), Peer::None);
            return Ok(());
        }
        if self.mode == OWN {
            self.own.prepare(&range)?;
        }
        // An address stands no later than the peer that has it.
        self.addresses.prepare(&range)?;
        let slots = if self.mode == OWN { &self.own } else { connections };
        slots.fill(range, out, |slot, _| self.peer(bytes, slot))
    }

    /// The new peer at `slot`.
    fn peer(&self, bytes: &[u8], slot: usize) -> Result<Peer, What> {
        let Some(rank) = self.families.rank(slot) else { return Ok(Peer::None) };
        let ip = self.address(bytes, self.addresses.slot(rank)?)?;
        let port = u16::try_from(self.ports.get(bytes, rank)).map_err(|_| "a port of more than 16 bits")?;
        Ok(Peer::Some { ip, port })
    }

    /// The new address at `slot`.
    fn address(&self, bytes: &[u8], slot: usize) -> Result<IpAddr, What> {
        let (is_v4, place) = self.families.address(slot).ok_or("an address that is not there")?;
        if is_v4 {
            let address = u32::try_from(self.v4.get(bytes, place));
            Ok(IpAddr::V4(Ipv4Addr::from_bits(address.map_err(|_| "an IPv4 address of more than 32 bits")?)))
        } else {
            let octets = bytes.get(self.v6 + V6_BYTES * place..).and_then(<[u8]>::first_chunk::<V6_BYTES>);
            Ok(IpAddr::V6(Ipv6Addr::from(*octets.ok_or(CUT)?)))
        }
    }

    /// Whether any row has an address that `is_wanted`. Asks once for each that is new.
    pub(super) fn any_address(&self, bytes: &[u8], is_wanted: impl Fn(IpAddr) -> bool) -> Result<bool, What> {
        if self.mode == ABSENT {
            return Ok(false);
        }
        for slot in 0..self.addresses.new_count() {
            if is_wanted(self.address(bytes, slot)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Families {
    /// Takes those of `new` peers off `source`. Returns how many have an address.
    fn read(&mut self, source: &mut Source<'_>, bytes: &[u8], new: usize) -> Result<usize, What> {
        const UNKNOWN: What = "an address of an unknown family";
        let families = Numbers::read(source, new)?;
        self.same = families.constant();
        match self.same {
            Some(NO_PEER) => return Ok(0),
            Some(V4 | V6) => return Ok(new),
            Some(_) => return Err(UNKNOWN),
            None => {}
        }
        self.ranks.clear();
        self.v4.clear();
        for at in 0..new {
            let family = families.get(bytes, at);
            let rank = small(self.v4.len());
            match family {
                NO_PEER => self.ranks.push(None),
                V4 | V6 => {
                    self.ranks.push(Some(rank));
                    self.v4.push(family == V4);
                }
                _ => return Err(UNKNOWN),
            }
        }
        Ok(self.v4.len())
    }

    /// Places the new addresses. Returns how many are of IPv4; none when all are.
    fn place(&mut self, addresses: &mut Slots) -> Result<Option<usize>, What> {
        match self.same {
            Some(V4) => return Ok(None),
            Some(_) => return Ok(Some(0)),
            None => {}
        }
        let new = addresses.follow(self.v4.len())?;
        let (mut v4, mut v6) = (0, 0);
        self.places.clear();
        for slot in 0..new {
            let is_v4 = addresses.first(slot).and_then(|rank| self.v4.get(rank)) == Some(&true);
            let count = if is_v4 { &mut v4 } else { &mut v6 };
            self.places.push((is_v4, *count));
            *count += 1;
        }
        Ok(Some(v4))
    }

    /// Which of the new peers with an address the one at `slot` is; none when it has none.
    fn rank(&self, slot: usize) -> Option<usize> {
        match self.same {
            Some(NO_PEER) => None,
            Some(_) => Some(slot),
            None => self.ranks.get(slot).copied().flatten().map(usize::from),
        }
    }

    /// Whether the new address at `slot` is one of IPv4, and its place among those of its family.
    fn address(&self, slot: usize) -> Option<(bool, usize)> {
        match self.same {
            Some(family) => Some((family == V4, slot)),
            None => self.places.get(slot).copied(),
        }
    }
}
