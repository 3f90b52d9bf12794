//! Which events of a fleet are asked for.

use std::net::IpAddr;

use crate::{Action, Event, InstanceId, Reason, Subject, TimeRange};

/// Which events of an instance: those for which every condition holds. An empty list is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// In which instance.
    pub instance: InstanceId,
    /// When.
    pub range: TimeRange,
    /// Whose; none for everybody's.
    pub subject: Option<Subject>,
    /// With one of these actions; with any when empty.
    pub actions: Vec<Action>,
    /// For one of these reasons; for any when empty.
    pub reasons: Vec<Reason>,
    /// From this address, however it is written (an IPv4 address and its IPv6-mapped form are one).
    pub address: Option<IpAddr>,
    /// With exactly this user name.
    pub username: Option<String>,
    /// Over the listener of this name.
    pub listener: Option<String>,
}

impl Filter {
    /// Everything that is on record for `instance` in `range`.
    pub fn all(instance: InstanceId, range: TimeRange) -> Self {
        Self {
            instance,
            range,
            subject: None,
            actions: Vec::new(),
            reasons: Vec::new(),
            address: None,
            username: None,
            listener: None,
        }
    }

    /// Whether `event` is one of those asked for.
    pub fn matches(&self, event: &Event) -> bool {
        event.instance == self.instance
            && self.range.contains(event.time)
            && self.matches_kind(event.action, event.reason)
            && self.subject.as_ref().is_none_or(|subject| subject.is_of(event))
            && self.matches_address(event.peer.map(|peer| peer.ip()))
            && self.username.as_deref().is_none_or(|name| event.details.username.as_deref() == Some(name))
            && self.listener.as_deref().is_none_or(|name| event.details.listener.as_deref() == Some(name))
    }

    /// Whether an event with this action and reason can be one of those asked for.
    pub fn matches_kind(&self, action: Action, reason: Reason) -> bool {
        (self.actions.is_empty() || self.actions.contains(&action))
            && (self.reasons.is_empty() || self.reasons.contains(&reason))
    }

    /// Whether an event from this address can be one of those asked for.
    pub fn matches_address(&self, address: Option<IpAddr>) -> bool {
        self.address.is_none_or(|wanted| address.is_some_and(|found| found.to_canonical() == wanted.to_canonical()))
    }

    /// Whether it leaves out some of a subject's events, but for their time.
    pub fn is_of_some(&self) -> bool {
        let Self { instance: _, range: _, subject: _, actions, reasons, address, username, listener } = self;
        !actions.is_empty() || !reasons.is_empty() || address.is_some() || username.is_some() || listener.is_some()
    }

    /// Whether it asks by nothing but instance, time, action and reason.
    pub fn is_by_kind_alone(&self) -> bool {
        self.subject.is_none() && self.address.is_none() && self.username.is_none() && self.listener.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, ConnectionId, Details, Provenance, TimeMs};

    fn event() -> Event {
        Event {
            time: TimeMs(10),
            instance: InstanceId::new("i").unwrap(),
            connection: ConnectionId(1),
            action: Action::Close,
            reason: Reason::KeepAliveTimeout,
            provenance: Provenance::Observed,
            client: Some(ClientId::new("device").unwrap()),
            peer: Some("[::ffff:10.0.0.7]:1883".parse().unwrap()),
            details: Details { username: Some("u".into()), listener: Some("mqtt".into()), ..Details::default() },
        }
    }

    fn filter() -> Filter {
        Filter::all(event().instance, TimeRange { from: TimeMs(10), to: TimeMs(10) })
    }

    #[test]
    fn every_condition_has_to_hold() {
        let device = || Some(Subject::Client(ClientId::new("device").unwrap()));
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let text = |text: &str| Some(text.to_owned());
        let full = Filter {
            subject: device(),
            actions: vec![Action::Connect, Action::Close],
            reasons: vec![Reason::KeepAliveTimeout],
            address: address("10.0.0.7"),
            username: text("u"),
            listener: text("mqtt"),
            ..filter()
        };
        assert!(filter().matches(&event()) && full.matches(&event()));
        let misses = [
            Filter { instance: InstanceId::new("I").unwrap(), ..full.clone() },
            Filter { range: TimeRange { from: TimeMs(11), to: TimeMs(20) }, ..full.clone() },
            Filter { range: TimeRange { from: TimeMs(20), to: TimeMs(1) }, ..full.clone() },
            Filter { subject: Some(Subject::Client(ClientId::new("Device").unwrap())), ..full.clone() },
            Filter { subject: Some(Subject::Address("10.0.0.7".parse().unwrap())), ..full.clone() },
            Filter { actions: vec![Action::Open], ..full.clone() },
            Filter { reasons: vec![Reason::Kicked], ..full.clone() },
            Filter { address: address("10.0.0.8"), ..full.clone() },
            Filter { username: text("U"), ..full.clone() },
            Filter { listener: text(""), ..full.clone() },
        ];
        assert!(misses.iter().all(|filter| !filter.matches(&event())));
    }

    #[test]
    fn an_address_is_the_same_in_either_notation() {
        let nobody = Event { client: None, ..event() };
        for address in ["10.0.0.7", "::ffff:10.0.0.7"] {
            let address: IpAddr = address.parse().unwrap();
            let of_subject = Filter { subject: Some(Subject::Address(address)), ..filter() };
            assert!(of_subject.matches(&nobody) && !of_subject.matches(&event()));
            assert!(Filter { address: Some(address), ..filter() }.matches(&event()));
        }
        let nowhere = Event { peer: None, ..nobody };
        assert!(filter().matches(&nowhere));
        assert!(!Filter { address: Some("10.0.0.7".parse().unwrap()), ..filter() }.matches(&nowhere));
        assert!(!Filter { subject: Some(Subject::Address("::".parse().unwrap())), ..filter() }.matches(&nowhere));
    }
}
