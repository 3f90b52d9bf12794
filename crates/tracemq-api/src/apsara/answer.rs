//! Answers in JSON and XML, with the headers that belong to them.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::metrics::Outcome;
use crate::request_id;

use super::actions::Operation;
use super::fault::{AccessDenied, Fault};
use super::incoming::Incoming;
use super::success::Answer;
use super::xml;

/// In what answers are written. JSON when nothing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Xml,
}

impl Format {
    /// The parameter `Format`, or by signatures over headers what is accepted first.
    pub(super) fn of(incoming: &Incoming) -> Result<Self, Fault> {
        match incoming.all.get("Format") {
            Some(json) if json.eq_ignore_ascii_case("JSON") => Ok(Self::Json),
            Some(xml) if xml.eq_ignore_ascii_case("XML") => Ok(Self::Xml),
            Some("") | None if incoming.is_signed_by_header() || incoming.lacks_authorization() => {
                let accept = incoming.headers.one("accept").map_err(|error| Fault::unreadable(&error))?;
                let first = accept.unwrap_or_default().split([',', ';']).next().unwrap_or_default().trim();
                Ok(if matches!(first, "application/xml" | "text/xml") { Self::Xml } else { Self::Json })
            }
            Some("") | None => Ok(Self::Json),
            Some(_) => Err(Fault::format()),
        }
    }

    /// To the letter: SDKs compare the second with what they know, and read nothing else as XML.
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json;charset=utf-8",
            Self::Xml => "text/xml;charset=utf-8",
        })
    }
}

/// What stands around every answer.
pub(super) struct Envelope {
    pub(super) format: Format,
    request_id: String,
    host: String,
}

/// As much of a Host header as is echoed.
const HOST_MAX_CHARS: usize = 255;

impl Envelope {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let host =
            headers.get(header::HOST).map(HeaderValue::as_bytes).map(String::from_utf8_lossy).unwrap_or_default();
        let host = host.chars().take(HOST_MAX_CHARS).collect();
        Self { format: Format::Json, request_id: request_id::current(), host }
    }

    pub(super) fn success(&self, operation: Operation, answer: &Answer) -> (Response, Outcome) {
        let body = match self.format {
            Format::Json => answer.json(operation, &self.request_id),
            Format::Xml => answer.xml(operation, &self.request_id),
        };
        let mut response = self.response(StatusCode::OK, body);
        let gaps = match answer {
            Answer::Page(page) => page.gaps,
            Answer::Messages(messages) => messages.gaps,
            Answer::Given(_) | Answer::Online(_) | Answer::Sent(_) => 0,
        };
        if gaps > 0 {
            response.headers_mut().insert(HeaderName::from_static("x-tracemq-gaps"), HeaderValue::from(gaps));
        }
        (response, Outcome::Success)
    }

    pub(super) fn failure(&self, fault: &Fault) -> (Response, Outcome) {
        let body = match self.format {
            Format::Json => json(&self.error(fault)),
            Format::Xml => self.failure_xml(fault),
        };
        let mut response = self.response(fault.status, body);
        let headers = response.headers_mut();
        if let Some(ms) = fault.retry_after_ms {
            headers.insert(HeaderName::from_static("x-acs-retry-after"), HeaderValue::from(ms));
        }
        if fault.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let outcome = if fault.retry_after_ms.is_some() { Outcome::Throttled } else { Outcome::of(fault.status) };
        (response, outcome)
    }

    fn response(&self, status: StatusCode, body: String) -> Response {
        let mut response = (status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.format.content_type());
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(HeaderName::from_static("x-acs-request-id"), id);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("{:032x}", request_id::random())) {
            headers.insert(HeaderName::from_static("x-acs-trace-id"), id);
        }
        response
    }

    fn failure_xml(&self, fault: &Fault) -> String {
        let error = self.error(fault);
        let mut writer = xml::Writer::new();
        writer.element("Error", |writer| {
            writer.text("RequestId", error.request_id);
            writer.text("HostId", error.host_id);
            writer.text("Code", error.code);
            writer.text("Message", error.message);
            writer.text("Recommend", &error.recommend);
            if let Some(detail) = &error.access_denied_detail {
                writer.element("AccessDeniedDetail", |writer| {
                    for (name, text) in detail.members() {
                        writer.text(name, text);
                    }
                });
            }
        });
        writer.finish()
    }

    fn error<'a>(&'a self, fault: &'a Fault) -> ErrorBody<'a> {
        ErrorBody {
            request_id: &self.request_id,
            message: &fault.message,
            host_id: &self.host,
            code: &fault.code,
            recommend: format!(
                "https://api.aliyun.com/troubleshoot?q={}&product=OnsMqtt&requestId={}",
                fault.code, self.request_id
            ),
            access_denied_detail: fault.denied.as_deref().map(AccessDeniedDetail::of),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody<'a> {
    request_id: &'a str,
    message: &'a str,
    host_id: &'a str,
    code: &'a str,
    recommend: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied_detail: Option<AccessDeniedDetail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AccessDeniedDetail<'a> {
    policy_type: &'a str,
    auth_principal_owner_id: &'a str,
    auth_principal_type: &'a str,
    auth_principal_display_name: &'a str,
    no_permission_type: &'a str,
    auth_action: &'a str,
}

impl<'a> AccessDeniedDetail<'a> {
    fn of(denied: &'a AccessDenied) -> Self {
        Self {
            policy_type: denied.policy,
            auth_principal_owner_id: &denied.owner,
            auth_principal_type: denied.principal,
            auth_principal_display_name: &denied.name,
            no_permission_type: denied.kind,
            auth_action: denied.action,
        }
    }

    fn members(&self) -> [(&'static str, &'a str); 6] {
        [
            ("PolicyType", self.policy_type),
            ("AuthPrincipalOwnerId", self.auth_principal_owner_id),
            ("AuthPrincipalType", self.auth_principal_type),
            ("AuthPrincipalDisplayName", self.auth_principal_display_name),
            ("NoPermissionType", self.no_permission_type),
            ("AuthAction", self.auth_action),
        ]
    }
}

pub(super) fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts, numbers and lists of them are JSON")
}
