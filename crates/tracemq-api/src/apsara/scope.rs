//! What all operations have in common: reading parameters, asking the policy, finding the instance.

use std::str::FromStr;

use tracemq_access::AccessKey;
use tracemq_model::InstanceId;

use crate::caller::Caller;
use crate::state::{Instance, Shared};

use super::actions::Operation;
use super::fault::Fault;
use super::incoming::Incoming;

/// The names by which policies know an instance.
pub(crate) fn resource_names(region: &str, key: &AccessKey, instance: &str) -> [String; 2] {
    let account = &key.account;
    [format!("acs:mq:{region}:{account}:{instance}"), format!("acs:mq:{region}:{account}:instance/{instance}")]
}

/// Whether the caller's policies allow the operation on what goes by these names.
pub(super) fn allow(caller: &Caller, operation: Operation, resources: &[&str]) -> Result<(), Fault> {
    caller.allows(operation.permissions(), resources).map_err(|denial| Fault::denied(caller, operation, denial))
}

/// Whether a text can be a part of a resource's name: instances and regions are of the same characters.
pub(super) fn is_plain(text: &str) -> bool {
    InstanceId::new(text).is_ok()
}

/// The key's own instance called `id`, in `region` if the operation names one.
pub(super) fn find_instance<'a>(
    app: &'a Shared,
    key: &AccessKey,
    id: &str,
    region: Option<&str>,
) -> Result<&'a Instance, Fault> {
    let found = app.instances.iter().find(|instance| instance.id.as_str() == id).ok_or_else(Fault::no_such_instance)?;
    if found.account != key.account {
        return Err(Fault::instance_of_another());
    }
    let elsewhere = |configured: &str| region.is_some_and(|region| region != configured);
    if found.region.as_deref().is_some_and(elsewhere) {
        return Err(Fault::no_such_instance());
    }
    Ok(found)
}

pub(super) fn text<'a>(incoming: &'a Incoming, name: &'static str) -> Result<&'a str, Fault> {
    incoming.all.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Fault::missing(name))
}

/// Decimal digits, with a `-` before them at most: no `+`, no space, no exponent.
pub(super) fn number<T: FromStr>(incoming: &Incoming, name: &'static str) -> Result<T, Fault> {
    let text = text(incoming, name)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::invalid(name));
    }
    text.parse().map_err(|_| Fault::invalid(name))
}
