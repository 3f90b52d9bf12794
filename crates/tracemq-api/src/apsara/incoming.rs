//! A request as it came in: read once, whole, within bounds, by the one parser that verifier and operation share.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tracemq_access::params::Params;
use tracemq_access::signature::{self, Headers};

use super::fault::Fault;

/// Larger bodies are refused before anything is computed over them. A call's form is below 1 kB.
const BODY_MAX_BYTES: usize = 65_536;

/// How long a body may take: SDKs send theirs at once.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers by which some frameworks let a request say another method than its own.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

pub(super) struct Incoming {
    pub(super) method: String,
    path: String,
    query: Params,
    form: Params,
    /// Query and form as one set.
    pub(super) all: Params,
    pub(super) headers: Headers,
    body: Vec<u8>,
}

impl Incoming {
    pub(super) async fn read(request: Request) -> Result<Self, Fault> {
        let (parts, body) = request.into_parts();
        let headers = Headers::new(parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        let body = read_body(&parts.headers, body).await?;
        let query = parts.uri.query().unwrap_or_default();
        let query = Params::parse(query.as_bytes()).map_err(|error| Fault::unreadable(&error))?;
        let form = if is_form(&headers)? {
            Params::parse(&body).map_err(|error| Fault::unreadable(&error))?
        } else {
            Params::default() // a body that is no form says nothing
        };
        let all = Params::joined(&query, &form).map_err(|error| Fault::unreadable(&error))?;
        let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
        Ok(Self { method, path, query, form, all, headers, body })
    }

    pub(super) fn check_method(&self) -> Result<(), Fault> {
        let overridden = self.headers.names().any(|name| METHOD_OVERRIDES.contains(&name));
        if overridden || !matches!(self.method.as_str(), "GET" | "POST") {
            return Err(Fault::method());
        }
        Ok(())
    }

    /// Whether it claims a signature in its headers, not among its parameters.
    pub(super) fn is_signed_by_header(&self) -> bool {
        self.headers.names().any(|name| name == "authorization")
    }

    /// Whether it is as signed in its headers, but for the header that would hold the signature.
    pub(super) fn lacks_authorization(&self) -> bool {
        let has_date = self.headers.names().any(|name| name == "x-acs-date");
        has_date && !self.is_signed_by_header() && self.all.get("AccessKeyId").is_none()
    }

    pub(super) fn signed_parts(&self) -> signature::Request<'_> {
        signature::Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            form: &self.form,
            all: &self.all,
            headers: &self.headers,
            body: &self.body,
        }
    }
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Fault> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > BODY_MAX_BYTES as u64) {
        return Err(Fault::body_too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_MAX_BYTES).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::body_too_large()),
        Ok(Err(_)) => Err(Fault::unreadable(&"the body broke off")),
        Err(_) => Err(Fault::body_too_slow()),
    }
}

/// Whether the body is a form in UTF-8, as the one Content-Type says.
fn is_form(headers: &Headers) -> Result<bool, Fault> {
    let Some(content_type) = headers.one("content-type").map_err(|error| Fault::unreadable(&error))? else {
        return Ok(false);
    };
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
        return Ok(false);
    }
    let charset = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset")));
    match charset {
        Some((_, charset)) if !charset.trim_matches('"').eq_ignore_ascii_case("utf-8") => {
            Err(Fault::unreadable(&"a form must be in UTF-8"))
        }
        Some(_) | None => Ok(true),
    }
}
