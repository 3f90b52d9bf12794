//! Where a page ended, as a text that callers hand back.
//!
//! It holds a moment, not a number of rows, so that events which come in between shift nothing: oldest first, how many
//! events of that very moment were passed; newest first, how many were not. It carries what the first page was asked
//! for, and is good for the same subject only. It is not secret and gives no rights.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};
use tracemq_model::{InstanceId, Order, Subject, TimeMs, TimeRange};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) order: Order,
    /// What the first page was asked for.
    pub(super) range: TimeRange,
    /// The moment of the last event that was given.
    pub(super) at: TimeMs,
    /// Events of that moment: passed, when oldest come first; still to give, when newest do.
    pub(super) mark: u64,
}

impl Cursor {
    pub(super) fn write(&self, instance: &InstanceId, subject: &Subject) -> String {
        let order = match self.order {
            Order::OldestFirst => 'a',
            Order::NewestFirst => 'd',
        };
        let (from, to, at, mark) = (self.range.from, self.range.to, self.at, self.mark);
        BASE64.encode(format!("{order}.{from}.{to}.{at}.{mark}.{}", tag(instance, subject)))
    }

    pub(super) fn read(text: &str, instance: &InstanceId, subject: &Subject) -> Option<Self> {
        let decoded = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
        let mut parts = decoded.split('.');
        let order = match parts.next()? {
            "a" => Order::OldestFirst,
            "d" => Order::NewestFirst,
            _ => return None,
        };
        let mut moment = || parts.next()?.parse().ok().map(TimeMs);
        let range = TimeRange { from: moment()?, to: moment()? };
        let at = moment()?;
        let mark = parts.next()?.parse().ok()?;
        let matching = parts.next()? == tag(instance, subject) && parts.next().is_none() && range.contains(at);
        matching.then_some(Self { order, range, at, mark })
    }

    /// From where the next page is read: a range, and how many of its events to pass over. `count` counts events.
    pub(super) fn resume<E>(&self, count: impl Fn(TimeRange) -> Result<u64, E>) -> Result<(TimeRange, u64), E> {
        Ok(match self.order {
            Order::OldestFirst => (TimeRange { from: self.at, to: self.range.to }, self.mark),
            Order::NewestFirst => {
                let of_that_moment = count(TimeRange { from: self.at, to: self.at })?;
                let passed = of_that_moment.saturating_sub(self.mark);
                (TimeRange { from: self.range.from, to: self.at }, passed)
            }
        })
    }
}

fn tag(instance: &InstanceId, subject: &Subject) -> String {
    let subject = match subject {
        Subject::Client(id) => format!("c{id}"),
        Subject::Address(ip) => format!("a{ip}"),
    };
    let digest = Sha256::new().chain_update(instance.as_str()).chain_update([0]).chain_update(subject).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
