//! Which operation is called: the parameter `Action`, or the header `x-acs-action` where the signature covers headers.

use super::fault::Fault;
use super::incoming::Incoming;

/// The operation that is served.
pub(super) const TRACE_DEVICE: &str = "QueryMqttTraceDevice";

/// The version of the API that it belongs to.
const VERSION: &str = "2020-04-20";

/// The other operations of that version.
const NOT_SERVED: [&str; 49] = [
    "ActiveCaCertificate",
    "ActiveDeviceCertificate",
    "AddCustomAuthConnectBlack",
    "AddCustomAuthIdentity",
    "AddCustomAuthPermission",
    "ApplyToken",
    "BatchQuerySessionByClientIds",
    "CloseConnection",
    "CreateGroupId",
    "DeleteCaCertificate",
    "DeleteCustomAuthConnectBlack",
    "DeleteCustomAuthIdentity",
    "DeleteCustomAuthPermission",
    "DeleteDeviceCertificate",
    "DeleteGroupId",
    "DisasterDowngrade",
    "DisasterRecovery",
    "GetCaCertificate",
    "GetDeviceCertificate",
    "GetDeviceCredential",
    "GetRegisterCode",
    "InactivateCaCertificate",
    "InactivateDeviceCertificate",
    "ListCaCertificate",
    "ListDeviceCertificate",
    "ListDeviceCertificateByCaSn",
    "ListDeviceCredentialClientId",
    "ListGroupId",
    "ListInstances",
    "ListTagResources",
    "QueryCustomAuthConnectBlack",
    "QueryCustomAuthIdentity",
    "QueryCustomAuthPermission",
    "QueryMqttTraceMessageOfClient",
    "QueryMqttTraceMessagePublish",
    "QueryMqttTraceMessageSubscribe",
    "QuerySessionByClientId",
    "QueryToken",
    "RefreshDeviceCredential",
    "RegisterCaCertificate",
    "RegisterDeviceCredential",
    "RevokeToken",
    "SendMessage",
    "SetSniConfig",
    "TagResources",
    "UnRegisterDeviceCredential",
    "UntagResources",
    "UpdateCustomAuthIdentity",
    "UpdateCustomAuthPermission",
];

/// Passes calls of the one operation.
pub(super) fn check(incoming: &Incoming) -> Result<(), Fault> {
    let lacks = |name| !incoming.headers.names().any(|known| known == name);
    if lacks("authorization") && !lacks("x-acs-date") && incoming.all.get("AccessKeyId").is_none() {
        return Err(Fault::missing("Authorization")); // all but signed in its headers
    }
    let action = named_once(incoming, "Action", "x-acs-action")?;
    let version = named_once(incoming, "Version", "x-acs-version")?;
    if version != VERSION {
        return Err(Fault::no_such_api());
    }
    match action {
        TRACE_DEVICE => Ok(()),
        other if NOT_SERVED.contains(&other) => Err(Fault::api_not_supported()),
        _ => Err(Fault::no_such_api()),
    }
}

/// The value of a parameter or a header, whichever the scheme signs. When both are there they must be the same: else
/// one could be signed and the other used.
fn named_once<'a>(incoming: &'a Incoming, parameter: &'static str, header: &str) -> Result<&'a str, Fault> {
    let sent = incoming.all.get(parameter).filter(|value| !value.is_empty());
    let in_header = incoming.headers.one(header).map_err(|error| Fault::unreadable(&error))?;
    if let (Some(sent), Some(in_header)) = (sent, in_header)
        && sent != in_header
    {
        return Err(Fault::invalid(parameter));
    }
    let signed = if incoming.is_signed_by_header() { in_header } else { sent };
    signed.filter(|value| !value.is_empty()).ok_or_else(|| Fault::missing(parameter))
}
