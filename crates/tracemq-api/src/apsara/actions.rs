//! Which operation is called: the parameter `Action`, or the header `x-acs-action` where the signature covers headers.

use super::fault::Fault;
use super::incoming::Incoming;

macro_rules! operations {
    ($($variant:ident = $name:literal, $permissions:expr;)+) => {
        /// An operation that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation {
            $($variant,)+
        }

        impl Operation {
            /// All of them.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant),+];

            fn of(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }

            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What a key's policy must allow one of.
            pub(super) fn permissions(self) -> &'static [&'static str] {
                match self { $(Self::$variant => $permissions,)+ }
            }
        }
    };
}

operations! {
    TraceDevice = "QueryMqttTraceDevice", TRACE_DEVICE_PERMISSIONS;
    TraceMessageOfClient = "QueryMqttTraceMessageOfClient", TRACE_MESSAGE_OF_CLIENT_PERMISSIONS;
    TraceMessagePublish = "QueryMqttTraceMessagePublish", &[TRACE, "mq:QueryMqttTraceMessagePublish"];
    TraceMessageSubscribe = "QueryMqttTraceMessageSubscribe", &[TRACE, "mq:QueryMqttTraceMessageSubscribe"];
    QuerySessionByClientId = "QuerySessionByClientId", &["mq:QuerySessionByClientId"];
    BatchQuerySessionByClientIds = "BatchQuerySessionByClientIds", &["mq:BatchQuerySessionByClientIds"];
    SendMessage = "SendMessage", &["mq:SendMessage"];
    ListGroupId = "ListGroupId", &["mq:ListGroupId"];
    CreateGroupId = "CreateGroupId", &["mq:CreateGroupId"];
    DeleteGroupId = "DeleteGroupId", &["mq:DeleteGroupId"];
    ApplyToken = "ApplyToken", &["mq:ApplyToken"];
    QueryToken = "QueryToken", &["mq:QueryToken"];
    RevokeToken = "RevokeToken", &["mq:RevokeToken"];
    RegisterDeviceCredential = "RegisterDeviceCredential", &["mq:RegisterDeviceCredential"];
    GetDeviceCredential = "GetDeviceCredential", &["mq:GetDeviceCredential"];
    ListDeviceCredentialClientId = "ListDeviceCredentialClientId", &["mq:ListDeviceCredentialClientId"];
    RefreshDeviceCredential = "RefreshDeviceCredential", &["mq:RefreshDeviceCredential"];
    UnRegisterDeviceCredential = "UnRegisterDeviceCredential", &["mq:UnRegisterDeviceCredential"];
}

impl Operation {
    /// Whether it changes something, for the server or for devices.
    pub(super) fn is_change(self) -> bool {
        match self {
            Self::SendMessage
            | Self::CreateGroupId
            | Self::DeleteGroupId
            | Self::ApplyToken
            | Self::RevokeToken
            | Self::RegisterDeviceCredential
            | Self::RefreshDeviceCredential
            | Self::UnRegisterDeviceCredential => true,
            Self::TraceDevice
            | Self::TraceMessageOfClient
            | Self::TraceMessagePublish
            | Self::TraceMessageSubscribe
            | Self::QuerySessionByClientId
            | Self::BatchQuerySessionByClientIds
            | Self::ListGroupId
            | Self::ListDeviceCredentialClientId
            | Self::QueryToken
            | Self::GetDeviceCredential => false,
        }
    }
}

/// The names of the right that an operation needs, of which a policy may allow any, by one that is its own: `mq:ApplyToken`.
pub fn names_of_right(action: &str) -> Option<&'static [&'static str]> {
    action.strip_prefix("mq:").and_then(Operation::of).map(Operation::permissions)
}

/// The permission that all queries of the trace directory need.
const TRACE: &str = "mq:QueryMqttDeviceTrace";

/// The permission that the query of a device's history needs, and the operation's own name, which is taken too.
pub(crate) const TRACE_DEVICE_PERMISSIONS: &[&str] = &[TRACE, "mq:QueryMqttTraceDevice"];

/// The same for the messages of a client.
pub(crate) const TRACE_MESSAGE_OF_CLIENT_PERMISSIONS: &[&str] = &[TRACE, "mq:QueryMqttTraceMessageOfClient"];

/// The same for the way of one message, of which operations tell a part each.
pub(crate) const TRACE_MESSAGE_PERMISSIONS: &[&str] = &[TRACE];

/// The version of the API that they belong to.
const VERSION: &str = "2020-04-20";

/// The other operations of that version.
const NOT_SERVED: [&str; 32] = [
    "ActiveCaCertificate",
    "ActiveDeviceCertificate",
    "AddCustomAuthConnectBlack",
    "AddCustomAuthIdentity",
    "AddCustomAuthPermission",
    "CloseConnection",
    "DeleteCaCertificate",
    "DeleteCustomAuthConnectBlack",
    "DeleteCustomAuthIdentity",
    "DeleteCustomAuthPermission",
    "DeleteDeviceCertificate",
    "DisasterDowngrade",
    "DisasterRecovery",
    "GetCaCertificate",
    "GetDeviceCertificate",
    "GetRegisterCode",
    "InactivateCaCertificate",
    "InactivateDeviceCertificate",
    "ListCaCertificate",
    "ListDeviceCertificate",
    "ListDeviceCertificateByCaSn",
    "ListInstances",
    "ListTagResources",
    "QueryCustomAuthConnectBlack",
    "QueryCustomAuthIdentity",
    "QueryCustomAuthPermission",
    "RegisterCaCertificate",
    "SetSniConfig",
    "TagResources",
    "UntagResources",
    "UpdateCustomAuthIdentity",
    "UpdateCustomAuthPermission",
];

/// The operation that is called.
pub(super) fn called(incoming: &Incoming) -> Result<Operation, Fault> {
    if incoming.lacks_authorization() {
        return Err(Fault::missing("Authorization"));
    }
    let action = named_once(incoming, "Action", "x-acs-action")?;
    let version = named_once(incoming, "Version", "x-acs-version")?;
    if version != VERSION {
        return Err(Fault::no_such_api());
    }
    match Operation::of(action) {
        Some(operation) => Ok(operation),
        None if NOT_SERVED.contains(&action) => Err(Fault::api_not_supported()),
        None => Err(Fault::no_such_api()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/apsara-actions.md` lists each operation of that version once, and says of each what becomes of it.
    #[test]
    fn the_table_of_operations_is_what_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apsara-actions.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(name, rest)| (name, rest.split(" |").next().unwrap()))
            .collect();
        let mut names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        names.dedup();
        assert_eq!((names.len(), rows.len()), (50, 50));
        for (name, state) in rows {
            match Operation::of(name) {
                Some(operation) => assert_eq!((state, operation.name()), ("served", name)),
                None => assert!(state == "`ApiNotSupport`" && NOT_SERVED.contains(&name), "{name}: {state}"),
            }
        }
    }

    /// The explorer's form has each operation that is served, and no other.
    #[test]
    fn the_explorer_has_what_is_served() {
        let operations: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../explorer/operations.json")).unwrap();
        let mut listed: Vec<_> = operations.iter().map(|operation| operation["name"].as_str().unwrap()).collect();
        let mut served: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        listed.sort_unstable();
        served.sort_unstable();
        assert_eq!(listed, served);
    }
}
