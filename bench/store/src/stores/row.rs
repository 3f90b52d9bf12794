//! An event as columns, for stores that have such.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Provenance, Reason, TimeMs};

const ACTIONS: [Action; 4] = [Action::Open, Action::Connect, Action::Disconnect, Action::Close];
const PROVENANCES: [Provenance; 3] = [Provenance::Observed, Provenance::Reported, Provenance::Inferred];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) instance: String,
    pub(super) client: String,
    pub(super) time: i64,
    pub(super) connection: Vec<u8>,
    pub(super) action: i16,
    pub(super) reason: i16,
    pub(super) provenance: i16,
    /// 4 or 16 bytes.
    pub(super) address: Vec<u8>,
    pub(super) port: i32,
    /// JSON; none when nothing is known.
    pub(super) details: Option<Vec<u8>>,
}

impl Row {
    pub(super) fn of(event: &Event) -> Result<Self> {
        let peer = event.peer.context("all events of the fleet have an address")?;
        Ok(Self {
            instance: event.instance.to_string(),
            client: event.client.as_ref().context("all events of the fleet have a client")?.to_string(),
            time: event.time.0,
            connection: event.connection.0.to_be_bytes().to_vec(),
            action: place(&ACTIONS, &event.action)?,
            reason: reason_number(event.reason)?,
            provenance: place(&PROVENANCES, &event.provenance)?,
            address: address_bytes(peer.ip()),
            port: peer.port().into(),
            details: (event.details != Details::default()).then(|| serde_json::to_vec(&event.details)).transpose()?,
        })
    }

    pub(super) fn event(&self) -> Result<Event> {
        let address = match <[u8; 4]>::try_from(&*self.address) {
            Ok(v4) => IpAddr::from(v4),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(&*self.address)?),
        };
        Ok(Event {
            time: TimeMs(self.time),
            instance: InstanceId::new(&self.instance)?,
            connection: ConnectionId(u128::from_be_bytes(self.connection.as_slice().try_into()?)),
            action: at(&ACTIONS, self.action)?,
            reason: at(Reason::ALL, self.reason)?,
            provenance: at(&PROVENANCES, self.provenance)?,
            client: Some(ClientId::new(&self.client)?),
            peer: Some(SocketAddr::new(address, u16::try_from(self.port)?)),
            details: self.details.as_deref().map(serde_json::from_slice).transpose()?.unwrap_or_default(),
        })
    }
}

pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(super) fn reason_number(reason: Reason) -> Result<i16> {
    place(Reason::ALL, &reason)
}

fn place<T: PartialEq>(all: &[T], one: &T) -> Result<i16> {
    let place = all.iter().position(|other| other == one).context("not in the list")?;
    Ok(i16::try_from(place)?)
}

fn at<T: Copy>(all: &[T], place: i16) -> Result<T> {
    all.get(usize::try_from(place)?).copied().context("no such number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::{Fleet, Generator, Ids};

    #[test]
    fn events_come_back_from_rows() {
        let fleet = Fleet { shape: crate::generator::Shape::Fleet, clients: 100, seed: 1, ids: Ids::Own, rich: true };
        for event in Generator::new(fleet).unwrap().batch(1_000) {
            assert_eq!(Row::of(&event).unwrap().event().unwrap(), event);
        }
    }
}
