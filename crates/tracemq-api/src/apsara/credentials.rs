//! Tokens and credentials of devices: given out, looked up, taken back.
//!
//! These operations name no region; policies know their instance by the region that is configured for it.

use std::sync::Arc;

use tracemq_access::mqtt::issued::{DeviceCredential, Grant, Group, GroupError, TokenError};
use tracemq_access::{AccessKey, Holder};
use tracemq_model::{ClientId, InstanceId, TimeMs};

use crate::caller::Caller;
use crate::issuing::{DevicesPage, IssueError, Issuing};
use crate::lookup::LookupError;
use crate::state::Shared;

use super::actions::Operation;
use super::fault::Fault;
use super::incoming::Incoming;
use super::noted::Note;
use super::scope::{self, find_instance, is_plain, number, resource_names, text};

/// How long a token lives: at least so long, and never longer, whatever is asked for.
const LIFE_MIN_MS: i64 = 60_000;
const LIFE_MAX_MS: i64 = 30 * 24 * 3_600_000;

/// Topics of one token.
const RESOURCES_MAX: usize = 100;

/// Clients of a page.
const PAGE_SIZE_MAX: usize = 100;

/// Bytes of a client identifier: longer ones can't connect unless the server was told to take them.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// What is answered, but for the request's id.
pub(super) enum Given {
    Token(String),
    TokenStatus(bool),
    Device(DeviceCredential),
    Groups(Vec<Group>),
    Devices(Listed),
    /// That it is done.
    Nothing,
}

pub(super) async fn call(
    app: &Shared,
    key: &Caller,
    operation: Operation,
    incoming: &Incoming,
    now: TimeMs,
) -> Result<Given, Fault> {
    let named = Named::of(app, key, incoming);
    if operation == Operation::ApplyToken {
        named.allow_topics(key, operation, incoming)?;
    } else {
        scope::allow(key, operation, &named.instance())?;
    }
    let instance = text(incoming, "InstanceId")?;
    let wanted = Wanted::read(operation, key, incoming, instance, now)?;
    let instance = find_instance(app, key, instance, None)?.id.clone();
    let (issuing, of) = (Arc::clone(&app.issuing), instance.clone());
    let note = operation.is_change().then(|| (Note::of(key, operation, incoming), Arc::clone(&app.audit)));
    let done = app.turns.take(move || match note {
        Some((note, audit)) => note.changing(&audit, || wanted.have(&*issuing, &of)),
        None => wanted.have(&*issuing, &of),
    });
    let done = done.await;
    let given = done.map_err(|error| no_turn(&error))??;
    app.metrics.metered(&instance);
    Ok(given)
}

pub(super) fn no_turn(error: &LookupError) -> Fault {
    match error {
        LookupError::Busy => Fault::overloaded(),
        LookupError::Store(_) | LookupError::BrokenOff => Fault::internal(),
    }
}

/// The names by which policies know what is called for.
pub(super) struct Named {
    names: [String; 2],
    topics: String,
}

impl Named {
    /// As for the query of a history: what could not name anything stands as nothing.
    pub(super) fn of(app: &Shared, key: &AccessKey, incoming: &Incoming) -> Self {
        let id = incoming.all.get("InstanceId").filter(|text| is_plain(text)).unwrap_or_default();
        let known = app.instances.iter().find(|instance| instance.id.as_str() == id);
        let region = known.and_then(|instance| instance.region.as_deref()).unwrap_or("*");
        let topics = format!("acs:mq:{region}:{}:topic/{id}/", key.account);
        Self { names: resource_names(region, key, id), topics }
    }

    fn instance(&self) -> [&str; 2] {
        self.names.each_ref().map(String::as_str)
    }

    /// A topic is named whole, and by its first level.
    pub(super) fn allow_topic(&self, key: &Caller, operation: Operation, topic: &str) -> Result<(), Fault> {
        let parent = topic.split('/').next().unwrap_or_default();
        let whole = [parent, topic].map(|topic| format!("{}{topic}", self.topics));
        let [short, long] = self.instance();
        let [parent, whole] = whole.each_ref().map(String::as_str);
        scope::allow(key, operation, &[short, long, parent, whole])
    }

    /// Nobody gets a token for a topic on which the policy forbids to give one out: named whole, by its first level, or
    /// covered by a wildcard.
    fn allow_topics(&self, key: &Caller, operation: Operation, incoming: &Incoming) -> Result<(), Fault> {
        // What is too many is refused with the parameters.
        for filter in incoming.all.get("Resources").unwrap_or_default().split(',').take(RESOURCES_MAX) {
            self.allow_topic(key, operation, filter)?;
            let literal = filter.find(['+', '#']).and_then(|end| filter.get(..end));
            let below = literal.map(|literal| format!("{}{literal}", self.topics));
            if let Some(below) = below {
                let free = key.is_free_below(operation.permissions(), &below);
                free.map_err(|denial| Fault::denied(key, operation, denial))?;
            }
        }
        Ok(())
    }
}

/// A call whose parameters are right.
enum Wanted {
    Token(Grant),
    TokenStatus(String),
    NoToken(String),
    NewDevice(ClientId),
    Device(ClientId),
    NewSecret(ClientId),
    NoDevice(ClientId),
    Devices { group: String, after: Option<String>, page_no: usize, page_size: usize },
    Groups,
    NewGroup(String),
    NoGroup(String),
}

impl Wanted {
    fn read(
        operation: Operation,
        key: &AccessKey,
        incoming: &Incoming,
        instance: &str,
        now: TimeMs,
    ) -> Result<Self, Fault> {
        let token = || text(incoming, "Token").map(str::to_owned);
        Ok(match operation {
            Operation::TraceDevice
            | Operation::TraceMessageOfClient
            | Operation::TraceMessagePublish
            | Operation::TraceMessageSubscribe
            | Operation::QuerySessionByClientId
            | Operation::BatchQuerySessionByClientIds
            | Operation::SendMessage => return Err(Fault::internal()), // it is none of these
            Operation::ListDeviceCredentialClientId => devices(incoming)?,
            Operation::ListGroupId => Self::Groups,
            Operation::CreateGroupId => Self::NewGroup(text(incoming, "GroupId")?.to_owned()),
            Operation::DeleteGroupId => Self::NoGroup(text(incoming, "GroupId")?.to_owned()),
            Operation::ApplyToken => Self::Token(grant(key, incoming, instance, now)?),
            Operation::QueryToken => Self::TokenStatus(token()?),
            Operation::RevokeToken => Self::NoToken(token()?),
            Operation::RegisterDeviceCredential => Self::NewDevice(client(incoming)?),
            Operation::GetDeviceCredential => Self::Device(client(incoming)?),
            Operation::RefreshDeviceCredential => Self::NewSecret(client(incoming)?),
            Operation::UnRegisterDeviceCredential => Self::NoDevice(client(incoming)?),
        })
    }

    /// Has it done. May block.
    fn have(self, issuing: &dyn Issuing, instance: &InstanceId) -> Result<Given, Fault> {
        let failed = |error: IssueError| failure(&error);
        let unknown_client = || Fault::unknown("No credential is registered for the client.");
        match self {
            Self::Token(grant) => issuing.issue_token(grant).map(Given::Token).map_err(failed),
            Self::TokenStatus(token) => Ok(Given::TokenStatus(issuing.token_is_valid(&token, instance))),
            Self::NoToken(token) => match issuing.revoke_token(&token, instance).map_err(failed)? {
                true => Ok(Given::Nothing),
                false => Err(Fault::unknown("The token was not given out for the instance.")),
            },
            Self::NewDevice(client) => issuing.register_device(instance, &client).map(Given::Device).map_err(failed),
            Self::Device(client) => issuing.device(instance, &client).map(Given::Device).ok_or_else(unknown_client),
            Self::NewSecret(client) => {
                let refreshed = issuing.refresh_device(instance, &client).map_err(failed)?;
                refreshed.map(Given::Device).ok_or_else(unknown_client)
            }
            Self::NoDevice(client) => match issuing.unregister_device(instance, &client).map_err(failed)? {
                true => Ok(Given::Nothing),
                false => Err(unknown_client()),
            },
            Self::Devices { group, after, page_no, page_size } => {
                // A token says where the page begins, whatever its number.
                let skip = if after.is_some() { 0 } else { page_no.saturating_sub(1).saturating_mul(page_size) };
                let page = issuing.devices_of_group(instance, &group, after.as_deref(), skip, page_size);
                Ok(Given::Devices(Listed { page, page_no, page_size }))
            }
            Self::Groups => Ok(Given::Groups(issuing.groups(instance))),
            Self::NewGroup(group) => issuing.create_group(instance, &group).map(|()| Given::Nothing).map_err(failed),
            Self::NoGroup(group) => match issuing.delete_group(instance, &group).map_err(failed)? {
                true => Ok(Given::Nothing),
                false if issuing.groups(instance).iter().any(|known| known.group == group) => Err(Fault::unknown(
                    "The group stands in mqtt.groups of the server's configuration: take it out there.",
                )),
                false => Err(Fault::unknown("There is no such group.")),
            },
        }
    }
}

fn failure(error: &IssueError) -> Fault {
    match error {
        IssueError::Token(TokenError::Resource { .. } | TokenError::Nothing) => Fault::invalid("Resources"),
        IssueError::Token(full @ (TokenError::Full(_) | TokenError::TooMuch)) => {
            tracing::warn!(error = full as &dyn std::error::Error, "no token is given out");
            Fault::tokens_full()
        }
        IssueError::Device(full) => {
            tracing::warn!(error = full as &dyn std::error::Error, "no device credential is registered");
            Fault::overloaded()
        }
        IssueError::Group(GroupError::Name) => Fault::invalid("GroupId"),
        IssueError::Group(GroupError::Exists) => Fault::unknown("There is such a group."),
        IssueError::Group(GroupError::Full(_)) => Fault::unknown("The instance has as many groups as it may have."),
        IssueError::Write(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "what is given out can't be written");
            Fault::internal()
        }
        IssueError::Off => Fault::api_not_supported(),
    }
}

/// A page of clients that have a credential.
pub(super) struct Listed {
    pub(super) page: DevicesPage,
    pub(super) page_no: usize,
    pub(super) page_size: usize,
}

fn devices(incoming: &Incoming) -> Result<Wanted, Fault> {
    let group = text(incoming, "GroupId")?.to_owned();
    let page_size: usize = number(incoming, "PageSize")?;
    if !(1..=PAGE_SIZE_MAX).contains(&page_size) {
        return Err(Fault::invalid("PageSize"));
    }
    let is_sent = |name: &str| incoming.all.get(name).is_some_and(|value| !value.is_empty());
    let page_no = if is_sent("PageNo") { number(incoming, "PageNo")? } else { 1 };
    if page_no == 0 {
        return Err(Fault::invalid("PageNo"));
    }
    let after = is_sent("NextToken").then(|| text(incoming, "NextToken").map(str::to_owned)).transpose()?;
    Ok(Wanted::Devices { group, after, page_no, page_size })
}

fn client(incoming: &Incoming) -> Result<ClientId, Fault> {
    let id = text(incoming, "ClientId")?;
    let id = Some(id).filter(|id| id.len() <= CLIENT_ID_BYTES_MAX).and_then(|id| ClientId::new(id).ok());
    id.ok_or_else(|| Fault::invalid("ClientId"))
}

fn grant(key: &AccessKey, incoming: &Incoming, instance: &str, now: TimeMs) -> Result<Grant, Fault> {
    let (read, write) = actions(text(incoming, "Actions")?)?;
    let resources = resources(text(incoming, "Resources")?)?;
    let wanted: i64 = number(incoming, "ExpireTime")?;
    if wanted < now.0.saturating_add(LIFE_MIN_MS) {
        return Err(Fault::invalid("ExpireTime"));
    }
    let expires_ms = wanted.min(now.0.saturating_add(LIFE_MAX_MS));
    if matches!(key.holder, Holder::Session(_)) {
        return Err(Fault::unknown(
            "A temporary key can't give out tokens: devices name the key, which they could not prove.",
        ));
    }
    let (access_key_id, instance) = (key.id.clone(), instance.to_owned());
    Ok(Grant { access_key_id, instance, read, write, resources, expires_ms })
}

/// `R`, `W`, or both with a comma between them.
fn actions(text: &str) -> Result<(bool, bool), Fault> {
    match text {
        "R" => Ok((true, false)),
        "W" => Ok((false, true)),
        "R,W" | "W,R" => Ok((true, true)),
        _ => Err(Fault::invalid("Actions")),
    }
}

/// Topic filters with commas between them. The server's own topics are nobody's to give away.
fn resources(text: &str) -> Result<Vec<String>, Fault> {
    let resources: Vec<String> = text.split(',').map(str::to_owned).collect();
    if resources.len() > RESOURCES_MAX || resources.iter().any(|one| one.is_empty() || one.starts_with('$')) {
        return Err(Fault::invalid("Resources"));
    }
    Ok(resources)
}
