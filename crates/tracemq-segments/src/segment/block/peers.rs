//! The peers of a block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ROWS;
use super::references::{References, Slots, small};
use crate::row::Peer;
use crate::segment::bits::{self, Numbers};
use crate::segment::source::{Source, What, size};

const ABSENT: u8 = 0;
const LIKE_CONNECTION: u8 = 1;
const OWN: u8 = 2;

const NO_PEER: u64 = 0;
const V4: u64 = 4;
const V6: u64 = 6;

const NEW_PEER_BITS: usize = 32;
const NEW_ADDRESS_BITS: usize = 24;
const UNKNOWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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

/// Kept for its memory.
#[derive(Default)]
pub(super) struct PeersDecoder {
    peers: Slots,
    addresses: Slots,
}

impl PeersDecoder {
    /// Takes the peers of as many rows as `connections` has off `source`, whose bytes are `bytes`.
    pub(super) fn read(
        &mut self,
        source: &mut Source<'_>,
        bytes: &[u8],
        connections: &Slots,
        out: &mut Vec<Peer>,
    ) -> Result<(), What> {
        let rows = connections.slots.len();
        out.clear();
        let mode = source.u8()?;
        let slots = match mode {
            ABSENT => {
                out.resize(rows, Peer::None);
                return Ok(());
            }
            LIKE_CONNECTION => connections,
            OWN => {
                self.peers.read(source, bytes, rows)?;
                &self.peers
            }
            _ => return Err("peers of an unknown mode"),
        };
        let mut new = [Peer::None; ROWS];
        let new = new.get_mut(..slots.first.len()).ok_or("more peers than rows")?;
        read_new(source, bytes, &mut self.addresses, new)?;
        for slot in &slots.slots {
            out.push(*new.get(usize::from(*slot)).ok_or("a reference leaves its block")?);
        }
        Ok(())
    }
}

fn read_new(source: &mut Source<'_>, bytes: &[u8], slots: &mut Slots, new: &mut [Peer]) -> Result<(), What> {
    let families = Numbers::read(source, new.len())?;
    let mut v4 = [false; ROWS];
    let mut with_address = 0;
    for at in 0..families.count() {
        match families.get(bytes, at) {
            NO_PEER => continue,
            family @ (V4 | V6) => *v4.get_mut(with_address).ok_or("more peers than rows")? = family == V4,
            _ => return Err("an address of an unknown family"),
        }
        with_address += 1;
    }
    slots.read(source, bytes, with_address)?;
    let mut ips = [UNKNOWN_ADDRESS; ROWS];
    read_addresses(source, bytes, slots, &v4, &mut ips)?;
    let ports = Numbers::read(source, with_address)?;
    let mut at = 0;
    for (place, peer) in new.iter_mut().enumerate() {
        if families.get(bytes, place) == NO_PEER {
            continue;
        }
        let slot = slots.slots.get(at).copied().unwrap_or(small(ROWS));
        let ip = *ips.get(usize::from(slot)).ok_or("an address that is not there")?;
        let port = u16::try_from(ports.get(bytes, at)).map_err(|_| "a port of more than 16 bits")?;
        *peer = Peer::Some { ip, port };
        at += 1;
    }
    Ok(())
}

/// The new addresses; `v4` says of each place whether it is one of IPv4.
fn read_addresses(
    source: &mut Source<'_>,
    bytes: &[u8],
    slots: &Slots,
    v4: &[bool; ROWS],
    out: &mut [IpAddr; ROWS],
) -> Result<(), What> {
    let is_v4 = |place: &u16| v4.get(usize::from(*place)) == Some(&true);
    let addresses = Numbers::read(source, slots.first.iter().filter(|place| is_v4(place)).count())?;
    let mut at = 0;
    for (ip, place) in out.iter_mut().zip(&slots.first) {
        if is_v4(place) {
            let address =
                u32::try_from(addresses.get(bytes, at)).map_err(|_| "an IPv4 address of more than 32 bits")?;
            *ip = IpAddr::V4(Ipv4Addr::from_bits(address));
            at += 1;
        } else {
            *ip = IpAddr::V6(Ipv6Addr::from(source.array::<16>()?));
        }
    }
    Ok(())
}
