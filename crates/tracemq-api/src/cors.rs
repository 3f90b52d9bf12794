//! Pages of other origins: none may read an answer unless its origin is configured, to the letter. Callers log in with each call, so
//! that no cookie of somebody else's is ever at work.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The origin of the page that calls, if it is one of those `allowed`.
pub(crate) fn origin(allowed: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let mut sent = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (sent.next(), sent.next()) else { return None };
    let text = origin.to_str().ok()?;
    allowed.iter().any(|known| known == text).then(|| origin.clone())
}

/// Whether a browser asks beforehand.
pub(crate) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

pub(crate) fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization, content-type, if-none-match, last-event-id, x-acs-action, x-acs-version, x-acs-date, x-acs-signature-nonce, \
             x-acs-content-sha256, x-acs-accesskey-id, x-acs-security-token",
        ),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets the page read the answer. What is kept of it between is kept for each origin apart.
pub(crate) fn allow(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("x-request-id, x-tracemq-gaps, retry-after, x-acs-retry-after, etag"),
        );
    }
}
