//! Entity tags (RFC 9110, section 8.8.3): who asks again for what has not changed is told so, without the answer.
//!
//! The tag is made from the answer itself, so that it is right whatever the answer depends on. It saves the way back, not the question.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// Larger than any page: what is longer has no tag.
const TAGGED_MAX_BYTES: u64 = 8 << 20;

/// Gives JSON answers of our own API to GET a tag, and leaves out the body of one that the caller has.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    let may_have = request.method() == Method::GET && request.uri().path().starts_with("/api/");
    if !may_have {
        return next.run(request).await;
    }
    let known = request.headers().clone();
    let response = next.run(request).await;
    if is_tagged(&response) { tagged(response, &known).await } else { response }
}

fn is_tagged(response: &Response) -> bool {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    // Streams don't know their length.
    let length = response.body().size_hint().exact();
    response.status() == StatusCode::OK && is_json && length.is_some_and(|length| length <= TAGGED_MAX_BYTES)
}

async fn tagged(response: Response, known: &HeaderMap) -> Response {
    let (mut head, body) = response.into_parts();
    // It is in memory as a whole already.
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let digest = Sha256::digest(&bytes);
    let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let is_known = holds(known, &tag);
    if let Ok(value) = HeaderValue::try_from(tag) {
        head.headers.insert(header::ETAG, value);
    }
    if !is_known {
        return Response::from_parts(head, Body::from(bytes));
    }
    head.status = StatusCode::NOT_MODIFIED;
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::empty())
}

/// Whether the caller has what `tag` stands for, or takes anything that is there: by the weak comparison, as RFC 9110 has it for
/// `If-None-Match`.
fn holds(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known.trim_start_matches("W/") == tag || known == "*")
}
