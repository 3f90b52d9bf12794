//! Which paths exist, and how callers prove who they are. The table is the router: a path that is not in it is not
//! served, and a test walks it so that none is served without its login.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};

use crate::access_log::{self, Line, Told};
use crate::audit::{Peer, Way};
use crate::cors;
use crate::etag;
use crate::request_id;
use crate::rest::Problem;
use crate::state::{ApiError, ApiState, App, Shared};
use crate::{apsara, explorer, metrics, rest};

/// Longer targets are refused: the longest call of an SDK is a tenth of it.
const TARGET_MAX_BYTES: usize = 16_384;

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// By a signature over the request.
    Signature,
    /// By HTTP Basic: access key id and secret.
    Basic,
    /// Not at all: no history is shown.
    None,
}

/// A path that is served.
pub struct Route {
    /// As the router takes it: `/api/v1/clients/{client_id}/events`.
    pub path: &'static str,
    /// How callers prove who they are.
    pub login: Login,
    build: fn() -> MethodRouter<Shared>,
}

/// Every path that is served.
pub const ROUTES: &[Route] = &[
    Route { path: "/", login: Login::Signature, build: || any(root) },
    Route { path: "/api/v1/clients", login: Login::Basic, build: || get(rest::devices::search) },
    Route { path: "/api/v1/clients/{client_id}", login: Login::Basic, build: || get(rest::devices::state) },
    Route { path: "/api/v1/clients/{client_id}/sessions", login: Login::Basic, build: || get(rest::devices::sessions) },
    Route {
        path: "/api/v1/clients/{client_id}/messages",
        login: Login::Basic,
        build: || get(rest::messages::of_client),
    },
    Route { path: "/api/v1/messages/{message_id}", login: Login::Basic, build: || get(rest::messages::way) },
    Route { path: "/api/v1/clients/{client_id}/why", login: Login::Basic, build: || get(rest::why::why) },
    Route { path: "/api/v1/events", login: Login::Basic, build: || get(rest::events::list) },
    Route { path: "/api/v1/fleet/reasons", login: Login::Basic, build: || get(rest::fleet::reasons::reasons) },
    Route { path: "/api/v1/fleet/flappers", login: Login::Basic, build: || get(rest::fleet::flappers::flappers) },
    Route { path: "/api/v1/fleet/dropped", login: Login::Basic, build: || get(rest::fleet::dropped::dropped) },
    Route { path: "/api/v1/fleet/common", login: Login::Basic, build: || get(rest::fleet::common::common) },
    Route { path: "/api/v1/export", login: Login::Basic, build: || get(rest::export::export) },
    Route { path: "/api/v1/live", login: Login::Basic, build: || get(rest::live::live) },
    Route { path: "/api/v1/gaps", login: Login::Basic, build: || get(rest::gaps::list) },
    Route {
        path: "/api/v1/clients/{client_id}/events",
        login: Login::Basic,
        build: || get(rest::history::client_events).delete(rest::erasure::erase),
    },
    Route { path: "/api/v1/addresses/{ip}/events", login: Login::Basic, build: || get(rest::history::address_events) },
    Route {
        path: "/api/v1/connections",
        login: Login::Basic,
        build: || get(rest::connections::list).delete(rest::connections::end),
    },
    Route { path: "/api/v1/openapi.json", login: Login::None, build: || get(rest::openapi::document) },
    Route { path: "/explorer", login: Login::None, build: || get(explorer::page) },
    Route { path: "/explorer/{file}", login: Login::None, build: || get(explorer::file) },
    Route { path: "/livez", login: Login::None, build: || get(async || "alive\n") },
    Route { path: "/readyz", login: Login::None, build: || get(ready) },
    Route { path: "/metrics", login: Login::None, build: || get(metrics::scrape) },
];

/// All of the API as a value.
///
/// # Errors
/// When the file of the nonces can't be used.
pub fn router(state: ApiState) -> Result<Router, ApiError> {
    let app = Arc::new(App::new(state)?);
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.build)());
    }
    let router = router
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .fallback(async || Problem::no_such_path())
        .layer(middleware::from_fn(etag::tag))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app);
    Ok(router)
}

async fn ready(State(app): State<Shared>) -> Response {
    let why = if !(app.gauges.ready)() {
        "not ready: the server is starting or stopping\n"
    } else if app.recorder.counts().failing {
        "not ready: the store does not take events; its error is in the server's log\n"
    } else {
        return "ready\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// `/` is the RPC surface, and a page of words for the browser of somebody who wonders what runs here.
async fn root(State(app): State<Shared>, request: Request) -> Response {
    let bare = matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().query().unwrap_or_default().is_empty()
        && request.headers().get_all(header::AUTHORIZATION).iter().all(is_basic)
        && !request.headers().contains_key("x-acs-action");
    if bare && accepts_html(request.headers()) {
        return Html(include_str!("landing.html")).into_response();
    }
    apsara::handle(&app, request).await
}

/// A login at the REST API, which browsers and curl send along here, is no signature.
fn is_basic(authorization: &HeaderValue) -> bool {
    let scheme = authorization.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"basic")
}

/// Whether the Accept headers name HTML, and not to refuse it.
fn accepts_html(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let refused = parts.filter_map(|part| part.split_once('=')).any(|(name, weight)| {
            name.trim().eq_ignore_ascii_case("q") && weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
        });
        is_html && !refused
    })
}

/// Before any handler: targets that are too long or could be read two ways. After it: headers on every answer.
async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id::drawn();
    let asked = app.access_log.as_ref().map(|_| (request.method().clone(), access_log::cut(request.uri().path())));
    let peer = request.extensions().get::<Peer>().copied();
    let origin = cors::origin(&app.settings.cors_origins, request.headers());
    let mut response = match &origin {
        _ if peer.is_some_and(|peer| peer.way == Way::PlainOnTlsPort) => {
            request_id::during(id.clone(), async { Problem::plain_on_tls_port().into_response() }).await
        }
        Some(_) if cors::is_preflight(&request) => cors::preflight(),
        Some(_) | None => request_id::during(id.clone(), answer(request, next)).await,
    };
    app.metrics.took(begun.elapsed());
    let headers = response.headers_mut();
    cors::allow(origin, headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if !headers.contains_key("x-acs-request-id")
        && let Ok(id) = HeaderValue::try_from(&id)
    {
        headers.insert("x-request-id", id);
    }
    let (Some(log), Some((method, path))) = (&app.access_log, asked) else { return response };
    let line = Line {
        peer: peer.map(|peer| peer.address),
        is_tls: peer.is_some_and(|peer| peer.way == Way::Tls),
        method,
        path,
        status: response.status().as_u16(),
        request_id: id,
        begun,
    };
    response.map(|body| Told::body(body, line, Arc::clone(log)))
}

async fn answer(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > TARGET_MAX_BYTES {
        Problem::target_too_long(TARGET_MAX_BYTES).into_response()
    } else if uri.authority().is_some() || uri.scheme().is_some() {
        // Two places would name the host, and a signature covers one of them.
        Problem::absolute_target().into_response()
    } else {
        next.run(request).await
    }
}
