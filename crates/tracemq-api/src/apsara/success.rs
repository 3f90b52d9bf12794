//! Answers of calls that succeed, in JSON and XML, each in the order in which it is documented.

use serde::Serialize;
use tracemq_access::mqtt::issued::{DeviceCredential, Group};

use super::actions::Operation;
use super::answer::json;
use super::credentials::Given;
use super::send_message::Sent;
use super::sessions::Online;
use super::trace_device::{DeviceInfo, Page};
use super::trace_messages::{MessageInfo, Messages};
use super::xml::Writer;

/// What is answered, but for the request's id.
pub(super) enum Answer {
    Page(Page),
    Messages(Messages),
    Given(Given),
    Online(Online),
    Sent(Sent),
}

impl Answer {
    pub(super) fn json(&self, operation: Operation, request_id: &str) -> String {
        match self {
            Self::Messages(messages) => json(&MessagesBody::of(messages, operation, request_id)),
            Self::Page(page) => json(&PageBody {
                current_page: page.paging.current_page,
                request_id,
                page_size: page.paging.page_size,
                total: page.total,
                device_info_list: &page.device_info_list,
            }),
            Self::Online(online) if operation == Operation::QuerySessionByClientId => {
                json(&SessionBody { online_status: online.0.iter().any(|(_, is_online)| *is_online), request_id })
            }
            Self::Online(online) => json(&SessionsBody { request_id, online_status_list: Session::all(online) }),
            Self::Sent(Sent(id)) => json(&SentBody { msg_id: &id.to_string(), request_id }),
            Self::Given(given) => json(&GivenBody {
                request_id,
                token: token_of(given),
                token_status: status_of(given),
                device_credential: device_of(given).map(Device::of),
                data: groups_of(given).map(|groups| groups.iter().map(GroupRow::of).collect()),
                device_credential_client_id_list: DeviceList::of(given),
            }),
        }
    }

    pub(super) fn xml(&self, operation: Operation, request_id: &str) -> String {
        let mut writer = Writer::new();
        writer.element(&format!("{}Response", operation.name()), |writer| match self {
            Self::Page(page) => {
                writer.text("CurrentPage", &page.paging.current_page.to_string());
                writer.text("RequestId", request_id);
                writer.text("PageSize", &page.paging.page_size.to_string());
                writer.text("Total", &page.total.to_string());
                for device in &page.device_info_list {
                    writer.element("DeviceInfoList", |writer| {
                        writer.text("ChannelId", &device.channel_id);
                        writer.text("Time", &device.time);
                        writer.text("ActionCode", device.action_code);
                        writer.text("Action", device.action);
                        writer.text("ActionInfo", device.action_info);
                    });
                }
            }
            Self::Messages(messages) => {
                if let Some(paging) = messages.paging {
                    writer.text("CurrentPage", &paging.current_page.to_string());
                }
                writer.text("RequestId", request_id);
                if let Some(paging) = messages.paging {
                    writer.text("PageSize", &paging.page_size.to_string());
                    writer.text("Total", &messages.total.to_string());
                }
                for message in &messages.list {
                    writer.element(list_name(operation), |writer| {
                        writer.text("Time", &message.time);
                        writer.text("Action", message.action);
                        writer.text("ActionCode", message.action_code);
                        writer.text("ActionInfo", message.action_info);
                        writer.text("MsgId", &message.msg_id);
                        writer.text("ClientId", &message.client_id);
                    });
                }
            }
            Self::Online(online) => {
                writer.text("RequestId", request_id);
                for (client, is_online) in &online.0 {
                    if operation == Operation::QuerySessionByClientId {
                        writer.text("OnlineStatus", &is_online.to_string());
                    } else {
                        writer.element("OnlineStatusList", |writer| {
                            writer.text("OnlineStatus", &is_online.to_string());
                            writer.text("ClientId", client);
                        });
                    }
                }
            }
            Self::Sent(Sent(id)) => {
                writer.text("MsgId", &id.to_string());
                writer.text("RequestId", request_id);
            }
            Self::Given(given) => write_given(writer, given, request_id),
        });
        writer.finish()
    }
}

fn write_given(writer: &mut Writer, given: &Given, request_id: &str) {
    writer.text("RequestId", request_id);
    if let Some(token) = token_of(given) {
        writer.text("Token", token);
    }
    if let Some(status) = status_of(given) {
        writer.text("TokenStatus", &status.to_string());
    }
    if let Some(device) = device_of(given).map(Device::of) {
        writer.element("DeviceCredential", |writer| device.write(writer));
    }
    if let Some(list) = DeviceList::of(given) {
        writer.element("DeviceCredentialClientIdList", |writer| list.write(writer));
    }
    for group in groups_of(given).unwrap_or_default().iter().map(GroupRow::of) {
        writer.element("Data", |writer| {
            writer.text("GroupId", group.group_id);
            writer.text("InstanceId", group.instance_id);
            writer.text("IndependentNaming", &group.independent_naming.to_string());
            writer.text("CreateTime", &group.create_time.to_string());
            writer.text("UpdateTime", &group.update_time.to_string());
        });
    }
}

fn token_of(given: &Given) -> Option<&str> {
    match given {
        Given::Token(token) => Some(token),
        Given::TokenStatus(_) | Given::Device(_) | Given::Groups(_) | Given::Devices(_) | Given::Nothing => None,
    }
}

fn status_of(given: &Given) -> Option<bool> {
    match given {
        Given::TokenStatus(status) => Some(*status),
        Given::Token(_) | Given::Device(_) | Given::Groups(_) | Given::Devices(_) | Given::Nothing => None,
    }
}

fn device_of(given: &Given) -> Option<&DeviceCredential> {
    match given {
        Given::Device(device) => Some(device),
        Given::Token(_) | Given::TokenStatus(_) | Given::Groups(_) | Given::Devices(_) | Given::Nothing => None,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SentBody<'a> {
    msg_id: &'a str,
    request_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PageBody<'a> {
    current_page: i32,
    request_id: &'a str,
    page_size: i32,
    total: u64,
    device_info_list: &'a [DeviceInfo],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionBody<'a> {
    online_status: bool,
    request_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SessionsBody<'a> {
    request_id: &'a str,
    online_status_list: Vec<Session<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Session<'a> {
    online_status: bool,
    client_id: &'a str,
}

impl<'a> Session<'a> {
    fn all(online: &'a Online) -> Vec<Self> {
        let one = |(client, is_online): &'a (String, bool)| Self { online_status: *is_online, client_id: client };
        online.0.iter().map(one).collect()
    }
}

/// What the operation calls its list.
fn list_name(operation: Operation) -> &'static str {
    if operation == Operation::TraceMessageOfClient { "MessageOfClientList" } else { "MessageTraceLists" }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MessagesBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    current_page: Option<i32>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_of_client_list: Option<&'a [MessageInfo]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_trace_lists: Option<&'a [MessageInfo]>,
}

impl<'a> MessagesBody<'a> {
    fn of(messages: &'a Messages, operation: Operation, request_id: &'a str) -> Self {
        let (of_client, list) = (operation == Operation::TraceMessageOfClient, messages.list.as_slice());
        Self {
            current_page: messages.paging.map(|paging| paging.current_page),
            request_id,
            page_size: messages.paging.map(|paging| paging.page_size),
            total: messages.paging.map(|_| messages.total),
            message_of_client_list: of_client.then_some(list),
            message_trace_lists: (!of_client).then_some(list),
        }
    }
}

fn groups_of(given: &Given) -> Option<&[Group]> {
    match given {
        Given::Groups(groups) => Some(groups),
        Given::Token(_) | Given::TokenStatus(_) | Given::Device(_) | Given::Devices(_) | Given::Nothing => None,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupRow<'a> {
    group_id: &'a str,
    instance_id: &'a str,
    /// Whether names of groups are the instance's own; they are.
    independent_naming: bool,
    create_time: i64,
    update_time: i64,
}

impl<'a> GroupRow<'a> {
    fn of(group: &'a Group) -> Self {
        Self {
            group_id: &group.group,
            instance_id: &group.instance,
            independent_naming: true,
            create_time: group.created_ms,
            update_time: group.created_ms,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GivenBody<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_status: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_credential: Option<Device<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<GroupRow<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_credential_client_id_list: Option<DeviceList<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeviceList<'a> {
    client_id_list: &'a [String],
    /// The last client of this page, where there are more behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
    /// Texts, as the official models have them.
    page_no: String,
    page_size: String,
    total: String,
}

impl<'a> DeviceList<'a> {
    fn of(given: &'a Given) -> Option<Self> {
        let Given::Devices(listed) = given else { return None };
        let last = listed.page.clients.last().filter(|_| listed.page.has_more);
        Some(Self {
            client_id_list: &listed.page.clients,
            next_token: last.map(String::as_str),
            page_no: listed.page_no.to_string(),
            page_size: listed.page_size.to_string(),
            total: listed.page.total.to_string(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.client_id_list.iter().for_each(|client| writer.text("ClientIdList", client));
        if let Some(token) = self.next_token {
            writer.text("NextToken", token);
        }
        writer.text("PageNo", &self.page_no);
        writer.text("PageSize", &self.page_size);
        writer.text("Total", &self.total);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Device<'a> {
    update_time: i64,
    device_access_key_id: &'a str,
    create_time: i64,
    instance_id: &'a str,
    device_access_key_secret: &'a str,
    client_id: &'a str,
}

impl<'a> Device<'a> {
    fn of(credential: &'a DeviceCredential) -> Self {
        Self {
            update_time: credential.updated_ms,
            device_access_key_id: &credential.id,
            create_time: credential.created_ms,
            instance_id: &credential.instance,
            device_access_key_secret: &credential.secret,
            client_id: &credential.client_id,
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.text("UpdateTime", &self.update_time.to_string());
        writer.text("DeviceAccessKeyId", self.device_access_key_id);
        writer.text("CreateTime", &self.create_time.to_string());
        writer.text("InstanceId", self.instance_id);
        writer.text("DeviceAccessKeySecret", self.device_access_key_secret);
        writer.text("ClientId", self.client_id);
    }
}
