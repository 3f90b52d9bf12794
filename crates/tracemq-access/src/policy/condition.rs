//! Conditions of a statement: from where, when, and over what a call comes.
//!
//! All of a statement's conditions must hold; of several values of one condition any, or with a `Not` none. A key or an operator
//! that is not in the table below is refused where the policy is read, `...IfExists` and `ForAllValues:...` among them.

use std::cmp::Ordering;
use std::net::IpAddr;

use tracemq_model::TimeMs;

use super::document::Node;
use super::{Misfit, PolicyError};
use crate::Network;

/// What is known of a call beside its names. What is not known (none) meets no condition of an Allow and each of a Deny.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// `acs:SourceIp`: the address that the connection comes from, whatever its headers say.
    pub source_ip: Option<IpAddr>,
    /// `acs:CurrentTime`
    pub time: Option<TimeMs>,
    /// `acs:SecureTransport`: whether it comes over TLS.
    pub secure: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    Unknown,
}

const SOURCE_IP: &str = "acs:SourceIp";
const CURRENT_TIME: &str = "acs:CurrentTime";
const SECURE_TRANSPORT: &str = "acs:SecureTransport";

#[derive(Clone, Debug)]
pub(super) struct Condition {
    operator: &'static str,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Address { networks: Vec<Network>, is_negative: bool },
    Time { moments: Vec<TimeMs>, allowed: &'static [Ordering], is_negative: bool },
    Secure { values: Vec<bool> },
}

/// Operators of moments: the name, how the call's moment may stand to the value's, and whether that is to hold of none.
const OF_TIME: [(&str, &[Ordering], bool); 6] = [
    ("DateEquals", &[Ordering::Equal], false),
    ("DateNotEquals", &[Ordering::Equal], true),
    ("DateLessThan", &[Ordering::Less], false),
    ("DateLessThanEquals", &[Ordering::Less, Ordering::Equal], false),
    ("DateGreaterThan", &[Ordering::Greater], false),
    ("DateGreaterThanEquals", &[Ordering::Greater, Ordering::Equal], false),
];

/// Reads what stands at `path`.
pub(super) fn read(operator: &str, key: &str, values: &[Node], path: &str) -> Result<Condition, PolicyError> {
    if values.is_empty() {
        return Err(PolicyError::at(path, "is empty"));
    }
    let wrong = |what| PolicyError::at(path, what);
    let of_address = [("IpAddress", false), ("NotIpAddress", true)].into_iter().find(|(name, _)| *name == operator);
    let of_time = OF_TIME.into_iter().find(|(name, ..)| *name == operator);
    if let Some((operator, is_negative)) = of_address {
        let networks = each(values, key == SOURCE_IP, path, |node| node.text()?.parse().ok());
        let networks = networks?.ok_or_else(|| wrong("must hold addresses or networks such as 192.0.2.0/24"))?;
        Ok(Condition { operator, test: Test::Address { networks, is_negative } })
    } else if let Some((operator, allowed, is_negative)) = of_time {
        let moments = each(values, key == CURRENT_TIME, path, |node| {
            let time: jiff::Timestamp = node.text()?.parse().ok()?;
            Some(TimeMs(time.as_millisecond()))
        });
        let moments = moments?.ok_or_else(|| wrong("must hold times such as 2026-11-22T08:00:00Z"))?;
        Ok(Condition { operator, test: Test::Time { moments, allowed, is_negative } })
    } else if operator == "Bool" {
        let values = each(values, key == SECURE_TRANSPORT, path, |node| {
            if let Node::Bool(is) = node { Some(*is) } else { node.text()?.parse().ok() }
        });
        let values = values?.ok_or_else(|| wrong("must be \"true\" or \"false\""))?;
        Ok(Condition { operator: "Bool", test: Test::Secure { values } })
    } else {
        Err(wrong("is not supported: the operators are IpAddress, NotIpAddress, Bool, and DateLessThan and its like"))
    }
}

/// All values, none if one of them can't be read.
fn each<T>(
    values: &[Node],
    key_is_known: bool,
    path: &str,
    read: impl FnMut(&Node) -> Option<T>,
) -> Result<Option<Vec<T>>, PolicyError> {
    if !key_is_known {
        return Err(PolicyError::at(path, "is not supported with this operator"));
    }
    Ok(values.iter().map(read).collect())
}

impl Condition {
    pub(super) fn fit(&self, context: &Context) -> Fit {
        let holds = match &self.test {
            Test::Address { networks, is_negative } => context
                .source_ip
                .map(|address| networks.iter().any(|network| network.contains(address)) != *is_negative),
            Test::Time { moments, allowed, is_negative } => context
                .time
                .map(|time| moments.iter().any(|moment| allowed.contains(&time.cmp(moment))) != *is_negative),
            Test::Secure { values } => context.secure.map(|secure| values.contains(&secure)),
        };
        match holds {
            Some(true) => Fit::Yes,
            Some(false) => Fit::No,
            None => Fit::Unknown,
        }
    }

    pub(super) fn misfit(&self, unknown: bool) -> Misfit {
        let key = match &self.test {
            Test::Address { .. } => SOURCE_IP,
            Test::Time { .. } => CURRENT_TIME,
            Test::Secure { .. } => SECURE_TRANSPORT,
        };
        Misfit::Condition { operator: self.operator, key, unknown }
    }
}
