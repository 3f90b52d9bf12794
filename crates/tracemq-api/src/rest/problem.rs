//! Errors of our own API: RFC 9457, naming what to change.

use std::fmt::Display;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracemq_access::Denial;
use utoipa::{IntoResponses, ToSchema};

use crate::lookup::LookupError;
use crate::request_id;

/// Of a text that may hold what a caller sent.
const DETAIL_MAX_CHARS: usize = 512;

#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    field: Option<String>,
    retry_after_s: Option<u64>,
}

/// Why a call was refused, as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemDocument<'a> {
    /// The kind, as a URI.
    r#type: String,
    /// The kind, in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What to change.
    detail: &'a str,
    /// The kind, as a stable code.
    code: &'a str,
    /// The part of the request that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// Of this call, as in the server's log.
    request_id: String,
}

/// What any call may be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the document alone")]
pub(super) enum Problems {
    /// A parameter is not valid; `field` names it.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemDocument<'static>),
    /// No valid access key.
    #[response(status = 401, content_type = "application/problem+json")]
    Login(ProblemDocument<'static>),
    /// The access key's policy does not allow it.
    #[response(status = 403, content_type = "application/problem+json")]
    Denied(ProblemDocument<'static>),
    /// The account has no such instance.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemDocument<'static>),
    /// Too many calls; `Retry-After` says when to go on.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemDocument<'static>),
    /// The history could not be read.
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(ProblemDocument<'static>),
    /// As many questions as can be are under way; `Retry-After` says when to go on.
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(ProblemDocument<'static>),
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), field: None, retry_after_s: None }
    }

    /// A part of the request, called `field`, that `why`.
    pub(crate) fn field(field: &str, why: &dyn Display) -> Self {
        let detail: String = format!("`{field}` {why}").chars().take(DETAIL_MAX_CHARS).collect();
        let problem = Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is not valid", detail);
        Self { field: Some(field.to_owned()), ..problem }
    }

    /// The kind, as a stable code.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn login() -> Self {
        let detail = "give a valid access key id and its secret by HTTP Basic";
        Self::new(StatusCode::UNAUTHORIZED, "login-required", "Who is asking?", detail)
    }

    pub(crate) fn denied(action: &str, denial: Denial) -> Self {
        let whose = if denial.by_session { "the temporary key's own policy" } else { "the access key's policy" };
        let does = if denial.is_explicit { "forbids" } else { "does not allow" };
        let detail = format!("{whose} {does} {action} on this instance");
        Self::new(StatusCode::FORBIDDEN, "not-allowed", "The access key may not do this", detail)
    }

    pub(crate) fn no_such_instance() -> Self {
        let detail = "the access key's account has no such instance";
        let problem = Self::new(StatusCode::NOT_FOUND, "no-such-instance", "No such instance", detail);
        Self { field: Some("instance".to_owned()), ..problem }
    }

    pub(crate) fn no_such_path() -> Self {
        let detail = "/api/v1/openapi.json names the paths; beside them are /metrics, /livez, /readyz, and / for SDKs of ApsaraMQ \
                      for MQTT";
        Self::new(StatusCode::NOT_FOUND, "no-such-path", "Nothing is here", detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path takes other methods; the header `allow` names them";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not taken here", detail)
    }

    pub(crate) fn target_too_long(max: usize) -> Self {
        let detail = format!("path and query together may have {max} bytes");
        Self::new(StatusCode::URI_TOO_LONG, "target-too-long", "The request's target is too long", detail)
    }

    pub(crate) fn absolute_target() -> Self {
        let detail = "the request's target must begin with /";
        Self::new(StatusCode::BAD_REQUEST, "absolute-target", "The request's target names a host", detail)
    }

    /// Not by a redirect: it would hide from whoever sent a secret in the clear that it was.
    pub(crate) fn plain_on_tls_port() -> Self {
        let detail = "this port speaks TLS alone: write https:// in the place of http://. A secret that was sent just now crossed \
                      the network unencrypted";
        Self::new(StatusCode::BAD_REQUEST, "tls-required", "Plain HTTP on a port for HTTPS", detail)
    }

    pub(crate) fn too_many_of_address(retry_after_ms: u64) -> Self {
        let detail = format!("the calls of your address for this second are used up; next in {retry_after_ms} ms");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-calls", "Too many calls", detail);
        Self { retry_after_s: Some(retry_after_ms.div_ceil(1_000)), ..problem }
    }

    pub(crate) fn too_many(retry_after_ms: u64) -> Self {
        let detail = format!("the account's calls for this second are used up; next in {retry_after_ms} ms");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-calls", "Too many calls", detail);
        Self { retry_after_s: Some(retry_after_ms.div_ceil(1_000)), ..problem }
    }

    pub(super) fn too_many_streams(max: usize, of_account: usize) -> Self {
        let detail =
            format!("{max} streams may be open at once, {of_account} of one account; close one that is not needed");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", "Too many streams", detail)
    }

    pub(super) fn recording_is_off() -> Self {
        let detail = "recording is switched off (`recorder.enabled`), so that there are no new events";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "recording-is-off", "Nothing is recorded", detail)
    }

    pub(super) fn not_written_down() -> Self {
        let detail = "it can't be written down who changes this, so it was not changed; the server's log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit-failed", "Nothing was changed", detail)
    }

    pub(crate) fn lookup(error: &LookupError) -> Self {
        match error {
            LookupError::Busy => {
                let detail = "as many questions as can be are under way; try again";
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy", detail);
                Self { retry_after_s: Some(1), ..problem }
            }
            LookupError::Store(source) => {
                tracing::error!(error = source as &dyn std::error::Error, "a query of the store failed");
                Self::failed()
            }
            LookupError::BrokenOff => Self::failed(),
        }
    }

    fn failed() -> Self {
        let detail = "the history could not be read; the server's log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", "The history could not be read", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let id = request_id::current();
        let body = ProblemDocument {
            r#type: format!("urn:tracemq:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            field: self.field.as_deref(),
            request_id: id.clone(),
        };
        let json = serde_json::to_string(&body).expect("texts and numbers are JSON");
        let mut response = (self.status, Body::from(json)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Ok(id) = HeaderValue::try_from(id) {
            headers.insert("x-request-id", id);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(r#"Basic realm="tracemq", charset="UTF-8""#);
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
