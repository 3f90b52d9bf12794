//! WebSocket frames around MQTT: a stream of bytes, whatever the frames' borders are [MQTT-6.0.0-2].
//!
//! Nothing of a frame is held but its header and, for control frames, up to 125 bytes: payload goes on as it comes.

use std::io::Cursor;

use bytes::{Buf, BufMut, BytesMut};
use tracemq_model::{End, Reason};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::begins_http;
use super::upgrade::{Upgrade, WebSocketRules, upgrade};

/// The longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;
/// Frames that one message may be cut into: clients send one; a flood of empty ones has an end.
const FRAMES_A_MESSAGE_MAX: u32 = 1_024;

pub(super) struct WebSocket {
    phase: Phase,
    frame_bytes_max: u64,
    /// The upgrade request, or the header of a frame, as long as it is not whole.
    held: BytesMut,
    control: Vec<u8>,
    /// Frames and bytes of the message that is under way, if one is.
    message: Option<(u32, u64)>,
    close_is_sent: bool,
}

enum Phase {
    Upgrade(WebSocketRules),
    Header,
    Payload { opcode: OpCode, mask: [u8; 4], at: usize, left: u64 },
}

impl WebSocket {
    pub(super) fn new(rules: &WebSocketRules, frame_bytes_max: u64) -> Self {
        Self {
            phase: Phase::Upgrade(rules.clone()),
            frame_bytes_max,
            held: BytesMut::new(),
            control: Vec::new(),
            message: None,
            close_is_sent: false,
        }
    }

    pub(super) fn is_upgrading(&self) -> bool {
        matches!(self.phase, Phase::Upgrade(_))
    }

    /// Takes `bytes`; MQTT goes to `mqtt`, answers to `reply`. Gives the end when there is one.
    pub(super) fn take(&mut self, bytes: &[u8], mqtt: &mut BytesMut, reply: &mut BytesMut) -> Option<End> {
        self.held.extend_from_slice(bytes);
        let mut held = std::mem::take(&mut self.held);
        let end = self.take_held(&mut held, mqtt, reply);
        if end.is_none() && !held.is_empty() {
            self.held = held;
        }
        end
    }

    fn take_held(&mut self, held: &mut BytesMut, mqtt: &mut BytesMut, reply: &mut BytesMut) -> Option<End> {
        loop {
            match &mut self.phase {
                Phase::Upgrade(rules) => {
                    if begins_http(held)? {
                        match upgrade(held, rules, reply) {
                            Upgrade::Unfinished => return None,
                            Upgrade::Done(length) => held.advance(length),
                            Upgrade::Refused(why) => {
                                self.close_is_sent = true; // there is nothing to close yet
                                return Some(End::of(Reason::WebsocketRefused).with_detail(&why));
                            }
                        }
                        self.phase = Phase::Header;
                    } else {
                        self.close_is_sent = true;
                        return Some(no_request(held));
                    }
                }
                Phase::Header => {
                    let mut cursor = Cursor::new(&held[..]);
                    let (header, length) = match FrameHeader::parse(&mut cursor) {
                        Ok(Some(parsed)) => parsed,
                        Ok(None) => return None,
                        Err(error) => return Some(self.refuse(1002, &error.to_string(), reply)),
                    };
                    let header_bytes = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                    let mask = match self.judge(&header, length) {
                        Ok(mask) => mask,
                        Err((code, why)) => return Some(self.refuse(code, &why, reply)),
                    };
                    held.advance(header_bytes);
                    self.phase = Phase::Payload { opcode: header.opcode, mask, at: 0, left: length };
                }
                Phase::Payload { opcode, mask, at, left } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(held.len());
                    let mut payload = held.split_to(count);
                    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle().skip(*at)) {
                        *byte ^= mask;
                    }
                    *at = (*at + count) % 4;
                    *left -= count as u64;
                    let (opcode, is_whole) = (*opcode, *left == 0);
                    if is_whole {
                        self.phase = Phase::Header;
                    }
                    match opcode {
                        OpCode::Data(_) => mqtt.extend_from_slice(&payload),
                        OpCode::Control(control) => {
                            self.control.extend_from_slice(&payload);
                            if is_whole && let Some(end) = self.answer(control, reply) {
                                return Some(end);
                            }
                        }
                    }
                    if !is_whole {
                        return None;
                    }
                }
            }
        }
    }

    /// Looks at a frame before its payload: its mask, or the code of the close and why.
    fn judge(&mut self, header: &FrameHeader, length: u64) -> Result<[u8; 4], (u16, String)> {
        let wrong = |why: &str| Err((1002, why.to_owned()));
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return wrong("a frame uses an extension that was not agreed on");
        }
        let Some(mask) = header.mask else { return wrong("a frame is not masked (RFC 6455, 5.1)") };
        let (frames, bytes) = match (header.opcode, self.message) {
            (OpCode::Control(_), _) if !header.is_final || length > CONTROL_BYTES_MAX => {
                return wrong("a control frame is fragmented or longer than 125 bytes");
            }
            (OpCode::Control(_), _) => return Ok(mask),
            (OpCode::Data(Data::Text), _) => return Err((1003, "a text frame [MQTT-6.0.0-1]".into())),
            (OpCode::Data(Data::Binary), None) => (1, length),
            (OpCode::Data(Data::Binary), Some(_)) => return wrong("a new message begins within another"),
            (OpCode::Data(Data::Continue), Some((frames, bytes))) => (frames + 1, bytes.saturating_add(length)),
            (OpCode::Data(Data::Continue | Data::Reserved(_)), _) => return wrong("a frame continues no message"),
        };
        if bytes > self.frame_bytes_max {
            return Err((1009, format!("a message of {bytes} bytes, at most {} are taken", self.frame_bytes_max)));
        }
        if frames > FRAMES_A_MESSAGE_MAX {
            return Err((1008, format!("a message in more than {FRAMES_A_MESSAGE_MAX} frames")));
        }
        self.message = (!header.is_final).then_some((frames, bytes));
        Ok(mask)
    }

    /// Answers a whole control frame.
    fn answer(&mut self, control: Control, reply: &mut BytesMut) -> Option<End> {
        let payload = std::mem::take(&mut self.control);
        match control {
            Control::Ping => {
                put_frame(OpCode::Control(Control::Pong), &payload, reply);
                None
            }
            Control::Pong | Control::Reserved(_) => None,
            Control::Close => {
                let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                self.close(1000, reply);
                let detail =
                    code.map_or_else(|| "WebSocket close".to_owned(), |code| format!("WebSocket close, code {code}"));
                Some(End::of(Reason::ClientClosed).with_detail(&detail))
            }
        }
    }

    fn refuse(&mut self, code: u16, why: &str, reply: &mut BytesMut) -> End {
        self.close(code, reply);
        End::of(Reason::WebsocketRefused).with_detail(&format!("{why}; closed with code {code}"))
    }

    /// One binary frame around `mqtt`.
    pub(super) fn frame(&self, mqtt: &[u8], out: &mut BytesMut) {
        put_frame(OpCode::Data(Data::Binary), mqtt, out);
    }

    /// A close frame, once.
    pub(super) fn close(&mut self, code: u16, out: &mut BytesMut) {
        if !self.is_upgrading() && !std::mem::replace(&mut self.close_is_sent, true) {
            put_frame(OpCode::Control(Control::Close), &code.to_be_bytes(), out);
        }
    }
}

fn put_frame(opcode: OpCode, payload: &[u8], out: &mut BytesMut) {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    // Memory takes all that it is given.
    let _ = header.format(payload.len() as u64, &mut out.writer());
    out.extend_from_slice(payload);
}

fn no_request(bytes: &[u8]) -> End {
    match bytes.first() {
        Some(22) => End::of(Reason::TlsOnPlainPort).with_detail("a TLS handshake on a WebSocket port without TLS"),
        Some(0x10) => {
            End::of(Reason::WebsocketRefused).with_detail("an MQTT CONNECT without WebSocket on a WebSocket port")
        }
        _ => End::of(Reason::WebsocketRefused).with_detail("no HTTP request on a WebSocket port"),
    }
}
