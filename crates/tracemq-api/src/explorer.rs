//! The API explorer: a page on which an operation of the compatible API is filled in, signed and run in the browser.
//!
//! The server only hands out its files. Keys and secrets stay in the page, so that it needs no login.

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::rest::Problem;

/// Scripts, styles and calls of this server alone, and none in the page itself.
const CONTENT_SECURITY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// Name, kind and content of each.
const FILES: [(&str, &str, &str); 6] = [
    ("", "text/html; charset=utf-8", include_str!("explorer/index.html")),
    ("explorer.css", "text/css; charset=utf-8", include_str!("explorer/explorer.css")),
    ("explorer.js", "text/javascript; charset=utf-8", include_str!("explorer/explorer.js")),
    ("operations.json", "application/json", include_str!("explorer/operations.json")),
    ("samples.js", "text/javascript; charset=utf-8", include_str!("explorer/samples.js")),
    ("sign.js", "text/javascript; charset=utf-8", include_str!("explorer/sign.js")),
];

pub(crate) async fn page() -> Response {
    file_called("")
}

pub(crate) async fn file(Path(name): Path<String>) -> Response {
    file_called(&name)
}

fn file_called(name: &str) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Problem::no_such_path().into_response();
    };
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY)];
    (headers, *content).into_response()
}
