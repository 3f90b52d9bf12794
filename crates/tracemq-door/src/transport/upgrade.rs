//! The HTTP request that becomes a WebSocket: which are taken, and what the others are told.

use std::sync::Arc;

use bytes::BytesMut;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::header::{HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};

use super::quoted;

/// Bytes of a request: browsers with many cookies stay below.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// The subprotocols that mean MQTT; the second is what clients of MQTT 3.1 ask for.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What a WebSocket listener takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketRules {
    /// The path of the request.
    pub path: Arc<str>,
    /// The web pages that may connect; any when empty. Programs that are no browser send none, and are not asked.
    pub origins: Arc<[String]>,
}

/// What became of a request.
pub(super) enum Upgrade {
    /// It is not whole yet.
    Unfinished,
    /// It was so many bytes long, and is answered.
    Done(usize),
    /// It was answered with no, and why.
    Refused(String),
}

struct Refusal {
    status: &'static str,
    headers: &'static str,
    why: String,
}

impl Refusal {
    fn new(status: &'static str, why: String) -> Self {
        Self { status, headers: "", why }
    }

    fn too_large(why: String) -> Self {
        Self::new("431 Request Header Fields Too Large", why)
    }
}

/// Looks at the request in `bytes` and writes the answer.
pub(super) fn upgrade(bytes: &[u8], rules: &WebSocketRules, answer: &mut BytesMut) -> Upgrade {
    let head = bytes.get(..REQUEST_BYTES_MAX).unwrap_or(bytes);
    let refusal = match Request::try_parse(head) {
        Ok(Some((length, request))) => match accept(&request, rules) {
            Ok(response) => {
                answer.extend_from_slice(&response);
                return Upgrade::Done(length);
            }
            Err(refusal) => refusal,
        },
        Ok(None) if head.len() < REQUEST_BYTES_MAX => return Upgrade::Unfinished,
        Ok(None) => Refusal::too_large(format!("the request has more than {REQUEST_BYTES_MAX} bytes")),
        Err(tungstenite::Error::Capacity(_)) => Refusal::too_large("the request has too many headers".into()),
        Err(error @ tungstenite::Error::Protocol(ProtocolError::WrongHttpMethod)) => no_upgrade(&error),
        Err(error) => Refusal::new("400 Bad Request", format!("no request of HTTP/1.1: {error}")),
    };
    let Refusal { status, headers, why } = refusal;
    let body = "This port speaks MQTT over WebSocket.\n";
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain\r\nContent-Length: {length}\r\n");
    answer.extend_from_slice(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
    Upgrade::Refused(format!("answered {status}: {why}"))
}

/// The answer that makes the connection a WebSocket.
fn accept(request: &Request, rules: &WebSocketRules) -> Result<Vec<u8>, Refusal> {
    let path = request.uri().path();
    if path != &*rules.path {
        return Err(Refusal::new("404 Not Found", format!("path {} is not {}", quoted(path), rules.path)));
    }
    let origin = request.headers().get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
    if let Some(origin) = origin
        && !rules.origins.is_empty()
        && !rules.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(&origin))
    {
        let why = format!("origin {} is not one of websocket.origins", quoted(&origin));
        return Err(Refusal::new("403 Forbidden", why));
    }
    let mut response = create_response(request).map_err(|error| no_upgrade(&error))?;
    let subprotocol = HeaderValue::from_static(subprotocol(request.headers())?);
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    let mut written = Vec::new();
    write_response(&mut written, &response).map_err(|error| no_upgrade(&error))?;
    Ok(written)
}

fn subprotocol(headers: &HeaderMap) -> Result<&'static str, Refusal> {
    let texts = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<_> = texts.flat_map(|text| text.split(',')).map(str::trim).collect();
    SUBPROTOCOLS.into_iter().find(|known| offered.contains(known)).ok_or_else(|| {
        let why = if offered.is_empty() {
            "no Sec-WebSocket-Protocol is offered [MQTT-6.0.0-3]".to_owned()
        } else {
            format!("Sec-WebSocket-Protocol {} is not mqtt [MQTT-6.0.0-3]", quoted(&offered.join(", ")))
        };
        Refusal::new("400 Bad Request", why)
    })
}

/// For a request that asks for no WebSocket, or not as it must.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors, of which these have a status of their own")]
fn no_upgrade(error: &tungstenite::Error) -> Refusal {
    use ProtocolError as Wrong;
    let (status, headers) = match error {
        tungstenite::Error::Protocol(Wrong::WrongHttpMethod) => ("405 Method Not Allowed", "Allow: GET\r\n"),
        tungstenite::Error::Protocol(
            Wrong::MissingConnectionUpgradeHeader
            | Wrong::MissingUpgradeWebSocketHeader
            | Wrong::MissingSecWebSocketVersionHeader,
        ) => ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        _ => ("400 Bad Request", ""),
    };
    Refusal { status, headers, why: error.to_string() }
}
