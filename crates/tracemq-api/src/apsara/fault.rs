//! Errors as callers see them: an HTTP status, a code that programs act on, and a message. The one place where those
//! are chosen.

use std::borrow::Cow;
use std::fmt::Display;

use axum::http::StatusCode;
use tracemq_access::signature::{Claim, ClaimError};
use tracemq_access::{AccessKey, Denial, Holder};

use super::actions::Operation;

/// What was signed is echoed up to this length: enough for any string to sign of an SDK.
const ECHO_MAX_BYTES: usize = 8_192;

/// Other texts that callers sent are echoed up to this length, with what is said of them.
const WHY_MAX_BYTES: usize = 256;

/// Beside a refusal by policy.
#[derive(Clone, Debug)]
pub(super) struct AccessDenied {
    pub(super) policy: &'static str,
    pub(super) owner: String,
    /// What kind of caller, in that service's words.
    pub(super) principal: &'static str,
    pub(super) name: String,
    pub(super) action: &'static str,
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
    pub(super) retry_after_ms: Option<u64>,
    pub(super) denied: Option<Box<AccessDenied>>,
    /// Nothing more can be read from the connection.
    pub(super) closes: bool,
}

impl Fault {
    fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self { status, code, message, retry_after_ms: None, denied: None, closes: false }
    }

    fn bad(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    // Can it be read?

    pub(super) fn unreadable(why: &dyn Display) -> Self {
        let why = why.to_string();
        Self::bad("InvalidParameter", format!("The request can't be read: {}.", capped(&why, WHY_MAX_BYTES)))
    }

    pub(super) fn method() -> Self {
        Self::bad("UnsupportedHTTPMethod", "This http method is not supported.")
    }

    pub(super) fn body_too_large() -> Self {
        let message = "The request body is larger than 65536 bytes.";
        Self { closes: true, ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message) }
    }

    pub(super) fn body_too_slow() -> Self {
        let message = "The request body did not arrive in time.";
        Self { closes: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message) }
    }

    pub(super) fn format() -> Self {
        Self::bad("InvalidParameter.Format", "Specified parameter format is not valid.")
    }

    // Which operation?

    pub(super) fn api_not_supported() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ApiNotSupport", "The specified API is not supported.")
    }

    pub(super) fn no_such_api() -> Self {
        let message = "Specified api is not found, please check your url and method.";
        Self::new(StatusCode::NOT_FOUND, "InvalidApi.NotFound", message)
    }

    // Parameters, `name` as the operation spells it.

    pub(super) fn missing(name: &'static str) -> Self {
        Self::bad(format!("Missing{name}"), format!("{name} is mandatory for this action."))
    }

    pub(super) fn invalid(name: &'static str) -> Self {
        Self::bad(format!("Invalid{name}"), format!("Specified parameter {name} is not valid."))
    }

    // Who calls, and when?

    pub(super) fn claim(error: &ClaimError) -> Self {
        match error {
            ClaimError::Missing(name) => Self::missing(name),
            ClaimError::Invalid(name) => Self::invalid(name),
            ClaimError::Method => Self::bad("InvalidSignatureMethod", "Specified signature method is not valid."),
            ClaimError::Incomplete(why) => Self::bad(
                "IncompleteSignature",
                format!("The request signature does not conform to Aliyun standards: {}.", capped(why, WHY_MAX_BYTES)),
            ),
        }
    }

    pub(super) fn scheme_is_off(scheme: &str) -> Self {
        let message = format!("Signatures by {scheme} are switched off on this server.");
        Self::new(StatusCode::FORBIDDEN, "Forbidden.SignatureMethod", message)
    }

    pub(super) fn timestamp_format() -> Self {
        Self::bad("InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
    }

    pub(super) fn timestamp_expired() -> Self {
        Self::bad("InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
    }

    pub(super) fn no_such_key() -> Self {
        let message = "Specified access key is not found.";
        Self::new(StatusCode::NOT_FOUND, "InvalidAccessKeyId.NotFound", message)
    }

    pub(super) fn key_inactive() -> Self {
        Self::bad("InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
    }

    pub(super) fn token_missing() -> Self {
        Self::bad("MissingSecurityToken", "SecurityToken is mandatory for this action.")
    }

    pub(super) fn token_malformed() -> Self {
        Self::bad("InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
    }

    pub(super) fn token_of_another_key() -> Self {
        let message = "Specified SecurityToken is not that of the AccessKey.";
        Self::bad("InvalidSecurityToken.MismatchWithAccessKey", message)
    }

    pub(super) fn token_expired() -> Self {
        Self::bad("InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
    }

    /// Says what was signed by our reckoning, never by which signature. One SDK takes what stands behind the first
    /// colon of a message with no canonical request for that text, and compares.
    pub(super) fn signature(claim: &Claim<'_>) -> Self {
        let signed = capped(&claim.string_to_sign, ECHO_MAX_BYTES);
        let message = match &claim.canonical_request {
            None => {
                format!("Specified signature is not matched with our calculation. server string to sign is:{signed}")
            }
            Some(canonical) => format!(
                "Specified signature does not match our calculation. server StringToSign is [{signed}] \
                 server CanonicalRequest is [{}]",
                capped(canonical, ECHO_MAX_BYTES)
            ),
        };
        Self::bad("SignatureDoesNotMatch", message)
    }

    pub(super) fn nonce_used() -> Self {
        Self::bad("SignatureNonceUsed", "Specified signature nonce was used already.")
    }

    // How often, and may it?

    pub(super) fn nonces_full() -> Self {
        let fault = Self::bad("Throttling", "Request was denied due to request throttling.");
        Self { retry_after_ms: Some(1_000), ..fault }
    }

    pub(super) fn throttled(retry_after_ms: u64) -> Self {
        let fault = Self::bad("Throttling.User", "Request was denied due to user flow control.");
        Self { retry_after_ms: Some(retry_after_ms), ..fault }
    }

    /// The documented bound of calls from one address; which code that service has for it is not.
    pub(super) fn throttled_address(retry_after_ms: u64) -> Self {
        let fault = Self::bad("Throttling", "Request was denied due to request throttling.");
        Self { retry_after_ms: Some(retry_after_ms), ..fault }
    }

    pub(super) fn denied(key: &AccessKey, operation: Operation, denial: Denial) -> Self {
        let (principal, name) = match &key.holder {
            Holder::Account => ("SubUser", key.id.clone()), // some policy binds it, so that it is less than the account
            Holder::User(user) => ("SubUser", user.to_string()),
            Holder::Session(user) => ("AssumedRoleUser", format!("{user}:{}", key.id)),
        };
        let denied = AccessDenied {
            policy: if denial.by_session { "SessionPolicy" } else { "AccountLevelIdentityBasedPolicy" },
            owner: key.account.to_string(),
            principal,
            name,
            kind: if denial.is_explicit { "ExplicitDeny" } else { "ImplicitDeny" },
            action: operation.permissions().first().copied().unwrap_or_default(),
        };
        let message = "The user is not authorized to operate on the specified resource.";
        Self { denied: Some(Box::new(denied)), ..Self::new(StatusCode::FORBIDDEN, "NoPermission", message) }
    }

    // Does the instance exist, and was it answered?

    pub(super) fn no_such_instance() -> Self {
        Self::bad("InstanceNotFound", "Failed to find the instance. The instanceId may be invalid.")
    }

    pub(super) fn instance_of_another() -> Self {
        Self::bad("InstancePermissionCheckFailed", "The instance does not belong to the account of the access key.")
    }

    /// All is well formed, but there is no such token or credential.
    pub(super) fn unknown(message: &str) -> Self {
        Self::bad("ParameterCheckFailed", message)
    }

    pub(super) fn tokens_full() -> Self {
        let message = "No more tokens can be given out. Please try again later.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ApplyTokenOverFlow", message)
    }

    pub(super) fn overloaded() -> Self {
        let message = "An error occurred while processing your request. Please try again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "SystemOverFlow", message)
    }

    pub(super) fn internal() -> Self {
        let message = "The request processing has failed due to some unknown error, exception or failure.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }
}

fn capped(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
