//! What of a call is written down: who made it, what it is about, and what became of it. Never a secret: of its
//! parameters those that are named here, a token by its digest.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use tracemq_access::params::encode;

use crate::audit::{Audit, cut};
use crate::caller::Caller;

use super::actions::Operation;
use super::fault::Fault;
use super::incoming::Incoming;

/// What says whom or what a call is about. Another parameter stays out, whatever it holds.
const NAMED: [&str; 11] = [
    "InstanceId",
    "ClientId",
    "MsgId",
    "GroupId",
    "MqttTopic",
    "BeginTime",
    "EndTime",
    "CurrentPage",
    "Resources",
    "Actions",
    "ExpireTime",
];

/// A list has members so called, with a number behind the dot.
const LISTED: &str = "ClientIdList.";

/// A token is what devices log in with.
const DIGESTED: &str = "Token";

/// A call as it is written down.
pub(super) struct Note {
    caller: Caller,
    action: &'static str,
    instance: Option<String>,
    target: String,
}

impl Note {
    pub(super) fn of(caller: &Caller, operation: Operation, incoming: &Incoming) -> Self {
        let instance = incoming.all.get("InstanceId").map(cut);
        let action = operation.permissions().first().copied().unwrap_or_default();
        Self { caller: caller.clone(), action, instance, target: cut(&target(operation, incoming)) }
    }

    /// Writes down what became of a question, or that a change did not come to be made.
    pub(super) fn answered<T>(&self, audit: &Audit, answer: &Result<T, Fault>) {
        let outcome = match answer {
            Ok(_) => "allowed",
            Err(fault) if fault.denied.is_some() => "denied",
            Err(fault) => &format!("refused: {}", fault.code),
        };
        audit.query(&self.caller.entry(self.action, self.instance.as_deref(), &self.target, outcome));
    }

    /// Writes down that a change is made, durably, before it is; then what became of it. One that can't be written down
    /// is not made. Blocks.
    pub(super) fn changing<T>(&self, audit: &Audit, change: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let entry = |outcome| self.caller.entry(self.action, self.instance.as_deref(), &self.target, outcome);
        if let Err(error) = audit.change(&entry("begun")) {
            tracing::error!(%error, action = self.action, "can't write down who changes something");
            return Err(Fault::internal());
        }
        let changed = change();
        let failed = changed.as_ref().err().map(|fault| format!("failed: {}", fault.code));
        // It is done by now, and that it was begun is on record.
        let _ = audit.change(&entry(failed.as_deref().unwrap_or("done")));
        changed
    }
}

/// The call as a request's target, as REST's stand there.
fn target(operation: Operation, incoming: &Incoming) -> String {
    let mut target = format!("/?Action={}", operation.name());
    for (name, value) in incoming.all.iter() {
        if NAMED.contains(&name) || name.starts_with(LISTED) {
            let _ = write!(target, "&{}={}", encode(name), encode(value)); // a String takes everything
        } else if name == DIGESTED {
            let digest: String = Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(target, "&{name}=sha256:{digest}");
        }
    }
    target
}
