//! `GET /api/v1/openapi.json`: this API, described by the code that serves it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::export::FormatWord;
use super::parameters::OrderWord;
use super::problem::ProblemDocument;
use super::{connections, devices, erasure, events, export, fleet, gaps, history, live, messages, why};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(title = "TraceMQ", version = "1", description = "Why MQTT devices drop: the history of every connection.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")),
    servers((url = "/", description = "This server.")),
    paths(
        devices::search, devices::state, devices::sessions, why::why, history::client_events, erasure::erase, history::address_events,
        events::list, gaps::list, fleet::reasons::reasons, fleet::flappers::flappers, fleet::dropped::dropped,
        fleet::common::common, live::live, export::export,
        messages::of_client, messages::way, connections::list, connections::end,
    ),
    // Which nothing but a reference names.
    components(schemas(ProblemDocument<'static>, OrderWord, FormatWord)),
    modifiers(&Login),
    security(("access-key" = [])),
)]
pub(crate) struct Document;

struct Login;

impl Modify for Login {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let basic = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("Access key id as user, its secret as password. A key for a time sends its token in the header x-acs-security-token, too."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("access-key", SecurityScheme::Http(basic));
    }
}

/// Without a login: it says what anybody can read in the documents of the project.
pub(crate) async fn document() -> Response {
    Json(Document::openapi()).into_response()
}
