//! One rule a cause. Each looks at the whole scene, and says what it finds.
//!
//! They are asked in an order: what the record names outright comes before what is concluded from a pattern, and a pattern that says
//! much before one that says little. What a rule explains, later ones leave alone.

mod bad_credentials;
mod certificate;
mod client_fault;
mod credentials_ended;
mod fixed_period;
mod flapping;
mod fleet;
mod healthy;
mod idle_timeout;
mod keep_alive;
mod own_takeover;
mod server_ended;
mod topic_refused;
mod two_devices;

use std::collections::BTreeMap;

use tracemq_model::{ConnectionId, Event, TimeMs};

use crate::histories::{Connection, Histories};
use crate::judge::Case;
use crate::verdict::{Cause, Confidence, Fact, RuledOut};

pub(crate) use healthy::nothing_wrong_or_unknown;

/// What the rules look at.
pub(crate) struct Scene<'a> {
    pub(crate) case: &'a Case<'a>,
    pub(crate) histories: Histories<'a>,
    /// For each connection, whether an earlier rule explains its end.
    explained: Vec<bool>,
}

impl<'a> Scene<'a> {
    pub(crate) fn of(case: &'a Case<'a>) -> Self {
        let histories = Histories::of(case.events);
        let explained = vec![false; histories.connections.len()];
        Self { case, histories, explained }
    }

    /// Notes that an end is explained.
    pub(crate) fn explain(&mut self, connections: &[usize]) {
        for at in connections {
            if let Some(explained) = self.explained.get_mut(*at) {
                *explained = true;
            }
        }
    }

    /// Connections with their places.
    pub(crate) fn connections(&self) -> impl Iterator<Item = (usize, &Connection<'a>)> {
        self.histories.connections.iter().enumerate()
    }

    /// Those that were accepted and ended without a DISCONNECT packet.
    pub(crate) fn drops(&self) -> impl Iterator<Item = (usize, &Connection<'a>)> {
        self.connections().filter(|(_, connection)| connection.is_drop())
    }

    /// The drops that no earlier rule explains.
    pub(crate) fn unexplained(&self) -> impl Iterator<Item = (usize, &Connection<'a>)> {
        self.drops().filter(|(at, _)| !self.is_explained(*at))
    }

    pub(crate) fn is_explained(&self, at: usize) -> bool {
        self.explained.get(at) != Some(&false)
    }

    /// Where the connection `id` is, if it dropped and no earlier rule explains it.
    pub(crate) fn unexplained_of(&self, id: ConnectionId) -> Option<usize> {
        let at = self.histories.place_of(id)?;
        let dropped = self.histories.get(at).is_some_and(Connection::is_drop);
        (dropped && !self.is_explained(at)).then_some(at)
    }

    /// The places of the ends of `connections`.
    pub(crate) fn ends_of(&self, connections: &[usize]) -> Vec<usize> {
        connections.iter().filter_map(|at| self.histories.get(*at)?.end_place()).collect()
    }

    /// When the first of `connections` ended.
    pub(crate) fn first_end(&self, connections: &[usize]) -> Option<TimeMs> {
        connections.iter().filter_map(|at| self.histories.get(*at)?.ended()).min()
    }
}

/// What a rule finds.
pub(crate) enum Outcome {
    Holds(Box<Finding>),
    /// Something speaks for the cause, and this against it.
    RuledOut(String),
    /// Nothing speaks for the cause.
    Silent,
}

/// What holds.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) cause: Cause,
    pub(crate) confidence: Confidence,
    pub(crate) sentence: String,
    pub(crate) facts: BTreeMap<&'static str, Fact>,
    pub(crate) since: Option<TimeMs>,
    /// Places of the client's events that prove it.
    pub(crate) evidence: Vec<usize>,
    /// Events beside the client's own that prove it.
    pub(crate) beside: Vec<Event>,
    pub(crate) ruled_out: Vec<RuledOut>,
    pub(crate) advice: String,
    /// The connections whose ends it explains.
    pub(crate) explains: Vec<usize>,
    /// Among how many it looked for them; none where that is all.
    pub(crate) examined: Option<usize>,
    /// Whether it keeps the client away now.
    pub(crate) is_urgent: bool,
    /// Whether a gap takes nothing from it.
    pub(crate) defies_gaps: bool,
}

impl Finding {
    pub(crate) fn new(cause: Cause, confidence: Confidence, sentence: String, advice: &str) -> Self {
        Self {
            cause,
            confidence,
            sentence,
            facts: BTreeMap::new(),
            since: None,
            evidence: Vec::new(),
            beside: Vec::new(),
            ruled_out: Vec::new(),
            advice: advice.to_owned(),
            explains: Vec::new(),
            examined: None,
            is_urgent: false,
            defies_gaps: false,
        }
    }

    pub(crate) fn fact(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.facts.insert(name, fact.into());
        self
    }

    /// Explains the ends of `connections`, which prove it.
    pub(crate) fn explaining(mut self, scene: &Scene<'_>, connections: Vec<usize>) -> Self {
        self.evidence = scene.ends_of(&connections);
        self.since = scene.first_end(&connections);
        self.explains = connections;
        self
    }

    pub(crate) fn ruling_out(mut self, cause: Cause, because: &str) -> Self {
        self.ruled_out.push(RuledOut { cause, because: because.to_owned() });
        self
    }

    pub(crate) fn holds(self) -> Outcome {
        Outcome::Holds(Box::new(self))
    }
}

type Rule = fn(&Scene<'_>) -> Outcome;

/// In the order in which they are asked.
pub(crate) const RULES: [(Cause, Rule); 14] = [
    (Cause::CertificateExpired, certificate::expired),
    (Cause::BadCredentials, bad_credentials::rule),
    (Cause::TopicRefused, topic_refused::rule),
    (Cause::ServerSide, server_ended::rule),
    (Cause::ClientFault, client_fault::rule),
    (Cause::FixedPeriod, credentials_ended::rule),
    (Cause::TwoDevicesOneId, two_devices::rule),
    (Cause::NetworkOfSubnet, fleet::rule),
    (Cause::KeepAliveNotHonoured, keep_alive::rule),
    (Cause::IdleTimeoutInPath, idle_timeout::rule),
    (Cause::FixedPeriod, fixed_period::rule),
    (Cause::OwnTakeover, own_takeover::rule),
    (Cause::Flapping, flapping::rule),
    (Cause::CertificateExpiring, certificate::expiring),
];

#[cfg(test)]
mod tests;
