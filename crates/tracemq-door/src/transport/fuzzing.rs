//! For the fuzzer: the layers on their own, fed with whatever it finds.

use std::sync::Arc;

use bytes::BytesMut;
use tracemq_model::{End, InstanceId, Observation};

use super::{Transport, WebSocketRules, hello};
use crate::settings::DoorSettings;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Feeds `bytes` to a PROXY header and a WebSocket, whole and in pieces: what comes of them must be the same, and no
/// more than went in. The first byte says which layers there are, and whether the upgrade is over.
///
/// # Panics
/// When it is not.
pub fn transport(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    hello::offered(bytes);
    let is_upgraded = first & 3 == 3;
    let settings = DoorSettings {
        proxies: (first & 1 == 0).then(|| Arc::from([])),
        websocket: (first & 2 != 0).then(|| WebSocketRules { path: "/".into(), origins: Arc::from([]) }),
        ..DoorSettings::new(InstanceId::new("fuzz").expect("a plain word"), "fuzz")
    };
    let prefix = if is_upgraded { UPGRADE } else { &[] };
    let whole = fed(&settings, prefix, bytes, bytes.len().max(1));
    let cut = fed(&settings, prefix, bytes, usize::from(first >> 2) + 1);
    assert_eq!(whole, cut, "the cut of the bytes makes a difference");
    assert!(whole.0.len() <= bytes.len(), "more MQTT than bytes");
}

fn fed(
    settings: &DoorSettings,
    prefix: &[u8],
    bytes: &[u8],
    step: usize,
) -> (BytesMut, Vec<u8>, Vec<Observation>, Option<End>) {
    let mut transport = Transport::new(settings);
    let (mut mqtt, mut wire, mut news) = (BytesMut::new(), Vec::new(), Vec::new());
    for piece in std::iter::once(prefix).chain(bytes.chunks(step)).filter(|piece| !piece.is_empty()) {
        transport.take(piece, &mut mqtt);
        let mut none = BytesMut::new();
        wire.extend_from_slice(&transport.wire(&mut none).split());
        news.extend(transport.news());
    }
    (mqtt, wire, news, transport.end())
}
